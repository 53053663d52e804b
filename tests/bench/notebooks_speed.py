"""The notebooks' timings: plain per-step NumPy beside rnnx, SRU beside LSTM, TF-LSTM beside its double loop.

    OPENBLAS_NUM_THREADS=1 python tests/bench/notebooks_speed.py [ROUNDS]

The plain functions are the definitions, step by step, as a notebook has them: products of every step in the
loop, a cache of every step's arrays, float64. What is compared runs in turn, round by round; medians, and the
ratio of the medians, on the backends numpy and, where it is installed, numba.

"Products alone" are the limit of what can be reached: the matrix products of a cell's two passes in their
shapes, into memory that is in the cache, and nothing else.
"""

import sys
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np

import rnnx
from rnnx.notebooks.rnn_layers import lstm_forward
from rnnx.notebooks.sru import sru_forward, sru_forward_fast

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def plain_lstm_forward(x, h0, Wx, Wh, b):
    """LSTM over x (N, T, D), gates i, f, o, g."""
    N, T, _ = x.shape
    H = h0.shape[1]
    h, c, states, kept = h0, np.zeros((N, H)), np.zeros((N, T, H)), []
    for t in range(T):
        a = np.dot(x[:, t, :], Wx) + np.dot(h, Wh) + b
        i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 2 * H : 3 * H])
        g = np.tanh(a[:, 3 * H :])
        c_next = f * c + i * g
        h_next = o * np.tanh(c_next)
        kept.append((x[:, t, :], h, c, a, i, f, o, g, h_next, c_next))
        h, c = h_next, c_next
        states[:, t, :] = h
    return states, kept


def plain_sru_forward(x, W, Wf, Wr, Wh, bf, br):
    """SRU over x (N, T, D) on separate weights."""
    N, T, _ = x.shape
    H = W.shape[1]
    c, states, kept = np.zeros((N, H)), np.zeros((N, T, H)), []
    for t in range(T):
        x_t = x[:, t, :]
        candidate, v = np.dot(x_t, W), np.dot(x_t, Wh)
        f, r = sigmoid(np.dot(x_t, Wf) + bf), sigmoid(np.dot(x_t, Wr) + br)
        c_next = f * c + (1.0 - f) * candidate
        tanh_c = np.tanh(c_next)
        states[:, t, :] = r * tanh_c + (1.0 - r) * v
        kept.append((x_t, c, candidate, f, r, v, c_next, tanh_c))
        c = c_next
    return states, kept


def plain_tflstm(params, x, dy, F, S):
    """TF-LSTM forward and backward, block after block, step after step; x (T, N, D), gates i, f, g, o."""
    (T, N, D), H = x.shape, params["Wh"].shape[0]
    blocks = (D - F) // S + 1
    Wx, Wh, Wk, b, pi, pf, po = (params[name] for name in ("Wx", "Wh", "Wk", "b", "pi", "pf", "po"))
    zeros = np.zeros((N, H))
    h, c = [zeros] * blocks, [zeros] * blocks
    y, kept = np.zeros((T, N, blocks * H)), []
    for t in range(T):
        below = zeros
        for k in range(blocks):
            window, before = x[t, :, k * S : k * S + F], c[k]
            a = np.dot(window, Wx) + np.dot(h[k], Wh) + np.dot(below, Wk) + b
            i, f = sigmoid(a[:, :H] + pi * before), sigmoid(a[:, H : 2 * H] + pf * before)
            g = np.tanh(a[:, 2 * H : 3 * H])
            c[k] = f * before + i * g
            o = sigmoid(a[:, 3 * H :] + po * c[k])
            tanh_c = np.tanh(c[k])
            kept.append((window, h[k], below, before, c[k], i, f, g, o, tanh_c))
            below = h[k] = o * tanh_c
            y[t, :, k * H : (k + 1) * H] = below
    d = {name: np.zeros_like(value) for name, value in params.items()}
    dx, dh, dc = np.zeros_like(x), [zeros] * blocks, [zeros] * blocks
    for t in reversed(range(T)):
        from_above = zeros
        for k in reversed(range(blocks)):
            window, h_prev, below, before, after, i, f, g, o, tanh_c = kept.pop()
            dh_t = dy[t, :, k * H : (k + 1) * H] + dh[k] + from_above
            do = dh_t * tanh_c * o * (1.0 - o)
            dc_t = dc[k] + dh_t * o * (1.0 - tanh_c**2) + do * po
            di, df = dc_t * g * i * (1.0 - i), dc_t * before * f * (1.0 - f)
            da = np.concatenate([di, df, dc_t * i * (1.0 - g**2), do], axis=1)
            dc[k] = dc_t * f + di * pi + df * pf
            d["Wx"] += np.dot(window.T, da)
            d["Wh"] += np.dot(h_prev.T, da)
            d["Wk"] += np.dot(below.T, da)
            d["b"] += da.sum(0)
            d["pi"] += (di * before).sum(0)
            d["pf"] += (df * before).sum(0)
            d["po"] += (do * after).sum(0)
            dx[t, :, k * S : k * S + F] += np.dot(da, Wx.T)
            dh[k], from_above = np.dot(da, Wh.T), np.dot(da, Wk.T)
    return y, dx, d


def both_passes(cell, params, x, dy):
    """Forward and backward of a cell."""
    y, _, tape = cell.forward(params, x)
    dx, _, grads = cell.backward(tape, dy)
    return y, dx, grads


def compare(title, slow, fast, goal):
    """Print the medians of two functions that run in turn, and their ratio."""
    slow(), fast()
    start = perf_counter()
    fast()
    calls = max(1, int(0.02 / (perf_counter() - start)))
    times = {slow: [], fast: []}
    for _ in range(ROUNDS):
        for function, measured in times.items():
            start = perf_counter()
            for _ in range(calls):
                function()
            measured.append((perf_counter() - start) / calls)
    of_slow, of_fast = (1e3 * median(measured) for measured in times.values())
    print(f"{title:62} {of_slow:9.3f} {of_fast:9.3f} {of_slow / of_fast:6.2f} {goal:5.1f}", flush=True)


def normal(rng, **shapes):
    """Normal random numbers by name."""
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def notebook_sizes(rng):
    """The timing cell of notebook 002."""
    N, D, T, H = 2, 3, 10, 6
    x = {"x": (N, T, D)}
    lstm = normal(rng, **x, h0=(N, H), Wx=(D, 4 * H), Wh=(H, 4 * H), b=(4 * H,))
    weights = dict.fromkeys(["W", "Wf", "Wr", "Wh"], (D, H)) | {"bf": (H,), "br": (H,)}
    sru = normal(rng, **x, **weights)
    packed = [sru["x"], np.hstack([sru[name] for name in ("W", "Wf", "Wr", "Wh")]), sru["bf"], sru["br"]]
    np.testing.assert_allclose(lstm_forward(**lstm)[0], plain_lstm_forward(**lstm)[0], rtol=1e-10)
    np.testing.assert_allclose(sru_forward(**sru)[0], plain_sru_forward(**sru)[0], rtol=1e-10)
    sizes = f"N={N} D={D} T={T} H={H}"
    compare(
        f"LSTM forward, {sizes}: plain | lstm_forward",
        partial(plain_lstm_forward, **lstm),
        partial(lstm_forward, **lstm),
        2.0,
    )
    compare(
        f"SRU forward, {sizes}: plain | sru_forward",
        partial(plain_sru_forward, **sru),
        partial(sru_forward, **sru),
        3.0,
    )
    compare(
        f"SRU forward, {sizes}: plain | sru_forward_fast",
        partial(plain_sru_forward, **sru),
        partial(sru_forward_fast, *packed),
        3.0,
    )


def products_alone(rng, shapes):
    """All products ``(m, k) @ (k, n)`` of some shapes, as a function."""
    widest = {(m, k): max(n for *left, n in shapes if left == [m, k]) for m, k, _ in shapes}
    lefts = {left: rng.standard_normal(left) for left in widest}
    rights = {left: rng.standard_normal((left[1], n)) for left, n in widest.items()}
    outs = {left: np.empty((left[0], n)) for left, n in widest.items()}

    def run():
        for m, k, n in shapes:
            np.matmul(lefts[m, k], rights[m, k][:, :n], outs[m, k][:, :n])

    return run


def sru_beside_lstm(rng):
    """Forward and backward of rnnx's cells, D = H = 512."""
    D = H = 512
    lstm = rnnx.LSTM(D, H)
    lstm_params = lstm.init(dtype="float64")
    for N, T, highway, goal in ((1, 200, "linear", 5.0), (32, 100, "identity", 2.0)):
        sru = rnnx.SRU(D, H, highway=highway)
        arrays = sru.init(dtype="float64"), rng.standard_normal((T, N, D)), rng.standard_normal((T, N, H))
        compare(
            f"both passes, D=H={D} N={N} T={T}: LSTM | SRU, {highway}",
            partial(both_passes, lstm, lstm_params, *arrays[1:]),
            partial(both_passes, sru, *arrays),
            goal,
        )
        G, R = sru.param_shapes["W"][1], T * N
        compare(
            "    LSTM | SRU's products alone",
            partial(both_passes, lstm, lstm_params, *arrays[1:]),
            products_alone(rng, [(R, D, G), (R, G, D), (D, R, G)]),
            goal,
        )


def diagonals_beside_loop(rng):
    """TF-LSTM, forward and backward."""
    T, N, D, F, S, H = 100, 16, 40, 8, 1, 32
    cell = rnnx.TFLSTM(D, H, F, S)
    params, x = cell.init(dtype="float64"), rng.standard_normal((T, N, D))
    dy = rng.standard_normal((T, N, cell.output_size))
    *found, grads = both_passes(cell, params, x, dy)
    *expected, expected_grads = plain_tflstm(params, x, dy, F, S)
    found += [grads[name] for name in params]
    expected += [expected_grads[name] for name in params]
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-7, atol=1e-9)
    compare(
        f"both passes, T={T} D={D} F={F} S={S} H={H} N={N}: loop | TFLSTM",
        partial(plain_tflstm, params, x, dy, F, S),
        partial(both_passes, cell, params, x, dy),
        5.0,
    )
    shapes = []
    for s in range(T + cell.block_count - 1):
        columns = N * (min(cell.block_count, s + 1) - max(0, s - T + 1))
        operand, gates = 2 * H + F + 1, 4 * H
        shapes += [(gates, operand, columns), (operand - 1, gates, columns), (operand, columns, gates)]
    compare(
        "    loop | TFLSTM's products alone",
        partial(plain_tflstm, params, x, dy, F, S),
        products_alone(rng, shapes),
        5.0,
    )


def main():
    """Print all comparisons, on each backend of NumPy arrays that is there."""
    statuses = rnnx.available_backends()
    for name in ("numpy", "numba"):
        if not statuses[name].usable:
            print(f"{name}: {statuses[name].reason}")
            continue
        title = f"{name}: milliseconds, medians of {ROUNDS} rounds, float64"
        print(f"{title:62} {'first':>9} {'second':>9}  ratio  goal")
        with rnnx.use_backend(name):
            rng = np.random.default_rng(0)
            notebook_sizes(rng)
            sru_beside_lstm(rng)
            diagonals_beside_loop(rng)


if __name__ == "__main__":
    main()
