"""The TF-LSTM as it is defined: a loop over steps and, inside it, one over blocks.

Written once for NumPy, so that the complex step can differentiate it, and for PyTorch, for its autograd; gate
order i, f, g, o.
"""


def double_loop(xp, params, x, h, c, stride):
    """Outputs (T, N, B*H) and final h and c of x (T, N, D) and a state (N, B*H), in any such namespace."""
    F, H = params["Wx"].shape[0], params["Wh"].shape[0]
    blocks = (x.shape[2] - F) // stride + 1
    pi, pf, po = (params.get(name, 0.0) for name in ("pi", "pf", "po"))
    hidden, cells = ([state[:, k * H : (k + 1) * H] for k in range(blocks)] for state in (h, c))
    rows = []
    for t in range(x.shape[0]):
        below = 0.0 * hidden[0]
        for k in range(blocks):
            window = x[t, :, k * stride : k * stride + F]
            a = window @ params["Wx"] + hidden[k] @ params["Wh"] + below @ params["Wk"] + params["b"]
            i = sigmoid(xp, a[:, :H] + pi * cells[k])
            f = sigmoid(xp, a[:, H : 2 * H] + pf * cells[k])
            cells[k] = f * cells[k] + i * xp.tanh(a[:, 2 * H : 3 * H])
            o = sigmoid(xp, a[:, 3 * H :] + po * cells[k])
            below = hidden[k] = o * xp.tanh(cells[k])
        rows.append(xp.hstack(hidden))
    return xp.stack(rows), xp.hstack(hidden), xp.hstack(cells)


def sigmoid(xp, x):
    """Logistic function."""
    return 1.0 / (1.0 + xp.exp(-x))
