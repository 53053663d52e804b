"""Initial parameters, drawn on the host: the same numbers on every backend.

Glorot: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
AISTATS 2010. Orthogonal: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning
in deep linear neural networks", ICLR 2014. Chrono: Tallec and Ollivier, "Can recurrent neural networks warp
time?", ICLR 2018.
"""

from collections.abc import Callable, Mapping
from math import sqrt
from numbers import Integral, Real
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from rnnx.backends import asarray, get_backend
from rnnx.errors import DtypeError, OptionError
from rnnx.typing import Array


def generator(seed: Any, name: str) -> np.random.Generator:
    """Random numbers of one purpose: the seed's child of that name, independent of all other names."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise OptionError(f"The seed is {seed!r}; expected an integer of at least 0.")
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(int(seed), spawn_key=(crc32(name.encode()),)))
    )


def child_seed(seed: Any, name: str) -> int:
    """Seed of a part of that name: independent of those of all other names."""
    return int(generator(seed, name).integers(2**62))


class Slot(NamedTuple):
    """Parameter to draw: its shape, its gate blocks on the last axis, and the bound of `uniform`."""

    shape: tuple[int, ...]
    blocks: int
    bound: float


def uniform(rng: np.random.Generator, slot: Slot) -> np.ndarray:
    """Uniform in ±bound, as torch.nn draws the parameters of its recurrent layers."""
    return rng.uniform(-slot.bound, slot.bound, slot.shape)


def zeros(rng: np.random.Generator, slot: Slot) -> np.ndarray:
    """Nothing but zeros."""
    return np.zeros(slot.shape)


def glorot(rng: np.random.Generator, slot: Slot) -> np.ndarray:
    """Uniform in ±sqrt(6 / (inputs + outputs)) of one gate block."""
    rows, columns = slot.shape
    bound = sqrt(6.0 / (rows + columns / slot.blocks))
    return rng.uniform(-bound, bound, slot.shape)


def orthogonal(rng: np.random.Generator, slot: Slot) -> np.ndarray:
    """Each gate block a random matrix of orthonormal columns, or rows where it has fewer of these."""
    rows, columns = slot.shape[0], slot.shape[1] // slot.blocks
    tall = rng.standard_normal((slot.blocks, max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]  # else they are not uniformly distributed
    return np.concatenate(list(q if rows >= columns else np.swapaxes(q, 1, 2)), axis=1)


INITIALISERS: dict[str, Callable[[np.random.Generator, Slot], np.ndarray]] = {
    "uniform": uniform,
    "glorot": glorot,
    "orthogonal": orthogonal,
    "zeros": zeros,
}
"""Initialisers by name."""

MATRICES = ("glorot", "orthogonal")
"""Those that need a matrix."""


def assigned(where: str, shapes: Mapping[str, tuple[int, ...]], weights: Any) -> dict[str, str]:
    """Initialiser of each parameter that `weights` names by its whole name or the end of it."""
    if not isinstance(weights, Mapping):
        raise OptionError(
            f"{where}: weights is {weights!r}; expected initialisers by parameter.",
            'Such as {"Wh": "orthogonal"}.',
        )
    found: dict[str, str] = {}
    for key in sorted(weights, key=lambda key: str(key).count(".")):  # the longer names have the last word
        names, initialiser = [name for name in shapes if f".{name}".endswith(f".{key}")], weights[key]
        if not names:
            raise OptionError(
                f"{where}: weights has {key!r}; expected names of parameters: {', '.join(shapes)}."
            )
        if initialiser not in INITIALISERS:
            raise OptionError(
                f"{where}: weights[{key!r}] is {initialiser!r}; expected one of {', '.join(INITIALISERS)}."
            )
        found |= {name: str(initialiser) for name in names}
    for name, initialiser in found.items():
        if initialiser in MATRICES and len(shapes[name]) != 2:
            raise OptionError(
                f"{where}: {name} of shape {shapes[name]} cannot be {initialiser}; expected a matrix.",
                'Use "uniform" or "zeros".',
            )
    return found


def draw(slots: Mapping[str, Slot], chosen: Mapping[str, str], seed: int, dtype: str) -> dict[str, Array]:
    """Draw each parameter from its name's child seed, on the default backend; uniformly if none is chosen."""
    backend = get_backend()
    if not backend.xp.isdtype(backend.dtype(dtype), ("real floating", "complex floating")):
        raise DtypeError(f"dtype is {dtype!r}; expected one of floating numbers.", 'Use "float32".')
    return {
        name: asarray(INITIALISERS[chosen.get(name, "uniform")](generator(seed, name), slot), dtype=dtype)
        for name, slot in slots.items()
    }


def draw_uniform(
    shapes: Mapping[str, tuple[int, ...]], bound: float, seed: int, dtype: str, prefix: str = ""
) -> dict[str, Array]:
    """Draw each parameter uniformly in ±bound, from its name's child seed, on the default backend."""
    return draw({prefix + name: Slot(shape, 1, bound) for name, shape in shapes.items()}, {}, seed, dtype)


class MemoryBias(NamedTuple):
    """Rows of a bias (size,): of the gate that keeps the old state, of the one that lets the new one in."""

    size: int
    keep: slice
    write: slice | None


def memory(
    where: str,
    biases: Mapping[str, MemoryBias],
    params: dict[str, Array],
    seed: int,
    forget_bias: Any,
    chrono: Any,
) -> dict[str, Array]:
    """Parameters in which the biases of the gates that keep the old state are set for a longer memory."""
    given = {"forget_bias": forget_bias, "chrono": chrono}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return params
    if len(given) == 2:
        raise OptionError(f"{where}: forget_bias and chrono are both given; expected one of them.")
    ((option, value),) = given.items()
    wanted = "a finite number" if option == "forget_bias" else "a number of steps above 2"
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise OptionError(f"{where}: {option} is {value!r}; expected {wanted}.")
    if option == "chrono" and float(value) <= 2.0:
        raise OptionError(f"{where}: chrono is {value!r}; expected {wanted}.")
    if not biases:
        cell = where.partition(".")[0]
        raise OptionError(f"{where}: {option} is given, but {cell} has no gate that keeps its state.")
    changed = dict(params)
    for name, rows in biases.items():
        bias = params[name]
        if option == "forget_bias":
            added = np.zeros(rows.size)
            added[rows.keep] = value
        else:
            kept, added = _chrono(rows, generator(seed, f"{name}.chrono"), float(value))
            bias = bias * asarray(kept, dtype=bias.dtype)
        changed[name] = bias + asarray(added, dtype=bias.dtype)
    return changed


def _chrono(rows: MemoryBias, rng: np.random.Generator, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Factor of a bias, and what is added to it."""
    kept, added = np.ones(rows.size), np.zeros(rows.size)
    kept[rows.keep] = 0.0
    added[rows.keep] = np.log(rng.uniform(1.0, longest - 1.0, added[rows.keep].shape))
    if rows.write is not None:
        kept[rows.write], added[rows.write] = 0.0, -added[rows.keep]
    return kept, added
