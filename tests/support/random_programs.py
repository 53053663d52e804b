"""Random straight-line programs, and what they mean."""

import numpy as np

from rnnx.typing import Instruction, Program

DIRECT = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "negative": np.negative,
    "positive": np.positive,
    "tanh": np.tanh,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "relu": lambda x: np.where(x < 0.0, 0.0, x),
}
BINARY = ("add", "subtract", "multiply", "divide")
UNARY = tuple(name for name in DIRECT if name not in BINARY)
SHAPE = (3, 4)


def evaluate(program, inputs):
    """Run the instructions one after another; the meaning of a program."""
    values = dict(zip(program.inputs, inputs, strict=True))
    for target, operation, arguments in program.instructions:
        values[target] = DIRECT[operation](*(values[a] if isinstance(a, str) else a for a in arguments))
    return [np.broadcast_to(values[name], SHAPE) for name in program.outputs]


def random_program(rng):
    """Straight-line program with repeated arguments, dead values, identities and doubled outputs."""
    inputs = tuple(f"in_{name}" for name in "abcdef"[: rng.integers(1, 7)])
    names, steps = list(inputs), []
    for at in range(rng.integers(1, 12)):
        recent = names[-4:] if rng.random() < 0.5 else names
        arguments = [str(rng.choice(recent)), str(rng.choice(names))]
        if rng.random() < 0.5:
            steps.append(Instruction(f"v{at}", str(rng.choice(UNARY)), (arguments[0],)))
        else:
            if rng.random() < 0.3:
                arguments[rng.integers(2)] = float(rng.choice([-2.0, 0.5, 1e-08, 3.0]))
            steps.append(Instruction(f"v{at}", str(rng.choice(BINARY)), tuple(arguments)))
        names.append(f"v{at}")
    targets = [step.target for step in steps]
    outputs = tuple(str(rng.choice(targets)) for _ in range(rng.integers(1, 8)))
    return Program("random_body", inputs, tuple(steps), outputs)
