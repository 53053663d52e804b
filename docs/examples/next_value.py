import numpy as np

import rnnx

rnnx.set_backend("cupy")  # "numpy" and "torch" run the same lines
time, phases = np.arange(51)[:, None, None], np.random.default_rng(0).uniform(0, 6.28, (1, 32, 1))
waves = rnnx.asarray(np.sin(0.3 * time + phases), "float32")  # (T, N, D)
lstm, head, adam = rnnx.LSTM(1, 32), rnnx.Linear(32, 1), rnnx.AdamW(learning_rate=1e-2)
params, readout = lstm.init(seed=0), head.init(seed=0)
memory, head_memory = adam.init(params), adam.init(readout)
for _ in range(100):
    y, _, tape = lstm.forward(params, waves[:-1, ...])
    prediction, head_tape = head.forward(readout, y)
    loss, dprediction = rnnx.half_squared_error(prediction, waves[1:, ...])
    dy, dreadout = head.backward(head_tape, dprediction)
    _, _, grads = lstm.backward(tape, dy)
    params, memory = adam.update(params, grads, memory)
    readout, head_memory = adam.update(readout, dreadout, head_memory)
print(f"half the squared error of the next value, summed: {float(loss):.2f}")
