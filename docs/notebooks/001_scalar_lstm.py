# %% [markdown]
# # One LSTM unit, derivative by derivative
#
# One unit with given gates i, f, o:
#
#     a = tanh(V x + U h_prev + b)
#     s = i a + f s_prev
#     h = o tanh(s)
#
# Its partial derivatives are single outputs of the pointwise backward pass of `rnnx.LSTM`, each taken where
# all other paths are zero. `rnnx.notebooks.scalar_lstm` has one function for each.

# %%
import numpy as np

from rnnx.notebooks.proof import Proof
from rnnx.notebooks.scalar_lstm import candidate, cell_state, da_dV, dh_ds, dh_dV, ds_da, output

V = x = U = h_prev = np.ones(2)
b = f = i = o = s_prev = np.array(1.0)
proof = Proof()

# %% [markdown]
# ## s by a, and h by s
#
# The first is the input gate itself; the second is `o (1 - tanh(s)²)`.

# %%
proof.number("ds/da at i = 2", 2.0, ds_da(2.0), 0.0)
proof.number("ds/da at i = 1", 1.0, ds_da(1.0), 0.0)
proof.number("dh/ds at o = 1, s = 1.9998", 0.07067807364430378, dh_ds(1.0, 1.9998), 1e-16)

# %% [markdown]
# ## a by V, and the whole way from V to h
#
# `V x + U h_prev + b` is 5, where tanh is nearly flat: a change of V hardly arrives. Both components are
# equal, since both inputs are.

# %%
for k in range(2):
    proof.number(f"da/dV[{k}]", 0.00018158, da_dV(V, x, U, h_prev, b)[k], 5e-9)
    proof.number(f"dh/dV[{k}]", 1.28312511e-05, dh_dV(V, x, U, h_prev, b, f, i, o, s_prev)[k], 5e-14)

# %% [markdown]
# ## The chain rule by hand
#
# dh/dV is the product of the other three, each at the values that this forward pass has. With `dh/ds` rounded
# to 0.0707, and taken at s = 1.9998 in place of its own s, the product is 0.05 % off.

# %%
a = candidate(V, x, U, h_prev, b)
s = cell_state(i, a, f, s_prev)
print(f"a = {a:.8f}, s = {s:.8f}, h = {output(o, s):.8f}")
product = dh_ds(o, s) * ds_da(i) * da_dV(V, x, U, h_prev, b)
proof.difference("dh/dV, as the product of three", dh_dV(V, x, U, h_prev, b, f, i, o, s_prev), product, 1e-19)

# %% [markdown]
# ## All derivatives at random numbers

# %%
rng = np.random.default_rng(1)
shapes = {"V": (3,), "x": (3,), "U": (2,), "h_prev": (2,), "b": (), "f": (), "i": (), "o": (), "s_prev": ()}
arrays = {name: np.asarray(rng.uniform(-0.8, 0.8, shape)) for name, shape in shapes.items()}


def h_of_V(V, x, U, h_prev, b, f, i, o, s_prev):
    return (output(o, cell_state(i, candidate(V, x, U, h_prev, b), f, s_prev)),)


def a_of_V(V, x, U, h_prev, b):
    return tuple(candidate(V, x, U, h_prev, b)[None])


inner = {name: arrays[name] for name in ("V", "x", "U", "h_prev", "b")}
outer = {"o": arrays["o"], "s": arrays["s_prev"]}
proof.gradients("h by V", h_of_V, arrays, (np.array(1.0),), {"V": dh_dV(**arrays)})
proof.gradients("a by V", a_of_V, inner, (np.array(1.0),), {"V": da_dV(**inner)})
proof.gradients("h by s", lambda o, s: (output(o, s),), outer, (np.array(1.0),), {"s": dh_ds(**outer)})

# %% [markdown]
# ## Expected and found

# %%
proof.close()
