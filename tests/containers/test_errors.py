"""What a user can pass wrongly to a container: the errors name the argument, what came, what is expected."""

import numpy as np
import pytest

import rnnx

LSTM, GRU = rnnx.LSTM(3, 4), rnnx.GRU(4, 5)
STACK, BOTH = rnnx.Stack(LSTM, GRU), rnnx.Bidirectional(rnnx.GRU(3, 4))
X = np.zeros((5, 2, 3), np.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rnnx.Stack(), "Stack: it was given no cells; expected at least one."),
        (
            lambda: rnnx.Stack(LSTM, LSTM),
            "Stack: cells[1].input_size is 3; expected 4, the output_size of cells[0].",
        ),
        (
            lambda: rnnx.Stack(LSTM, GRU, rnnx.Bidirectional(rnnx.RNN(5, 2)), rnnx.RNN(2, 2)),
            "Stack: cells[3].input_size is 2; expected 4, the output_size of cells[2].",
        ),
        (
            lambda: rnnx.Stack([LSTM, GRU]),
            "Stack: cells[0] is a list; expected a cell, such as rnnx.LSTM(3, 5).",
        ),
        (
            lambda: rnnx.Stack(LSTM, GRU, dropout=1.0),
            "Stack: dropout is 1.0; expected a number in 0 <= dropout < 1.",
        ),
        (lambda: rnnx.Bidirectional("lstm"), "Bidirectional: cell is 'lstm'; expected a cell, such as"),
        (lambda: rnnx.Bidirectional(LSTM, 3), "Bidirectional: reverse is 3; expected a cell, such as"),
        (
            lambda: rnnx.Bidirectional(LSTM, merge="mean"),
            "Bidirectional: merge is 'mean'; expected one of concat, sum.",
        ),
        (
            lambda: rnnx.Bidirectional(LSTM, GRU),
            "Bidirectional: reverse.input_size is 4; expected 3, the input_size of cell.",
        ),
        (
            lambda: rnnx.Bidirectional(LSTM, rnnx.GRU(3, 5), merge="sum"),
            "Bidirectional: reverse.output_size is 5; expected 4, the output_size of cell, to sum them. "
            'Or use merge="concat".',
        ),
        (
            lambda: STACK.forward(STACK.init(), X, dropout_seed=0.5),
            "Stack.forward: dropout_seed is 0.5; expected an integer of at least 0.",
        ),
        (
            lambda: BOTH.step(BOTH.init(), X[0]),
            "Bidirectional.step: each output depends on later steps too",
        ),
        (
            lambda: rnnx.Stack(BOTH, rnnx.RNN(8, 2)).step({}, X[0]),
            "Stack.step: each output depends on later steps too, since one direction runs from the end of "
            "the sequence; expected a causal cell. Use forward on the whole sequence.",
        ),
    ],
)
def test_options(make, message):
    with pytest.raises(rnnx.OptionError) as caught:
        make()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("cell", "state", "message"),
    [
        (STACK, STACK.init_state(2)[:1], "Stack.forward: state is a tuple of 1; expected a tuple of 2."),
        (STACK, list(STACK.init_state(2)), "Stack.forward: state is a list; expected a tuple of 2."),
        (
            STACK,
            (STACK.init_state(2)[1], STACK.init_state(2)[0]),
            "Stack.forward: state.0 is a GRUState of 1; expected LSTMState(h, c).",
        ),
        (
            STACK,
            (STACK.init_state(3)[0], STACK.init_state(2)[1]),
            "Stack.forward: state.0.h has shape (3, 4); expected (2, 4).",
        ),
        (
            BOTH,
            BOTH.init_state(2).forward,
            "Bidirectional.forward: state is a GRUState of 1; expected BidirectionalState(forward, backward)",
        ),
        (
            BOTH,
            BOTH.init_state(2)._replace(backward=rnnx.GRUState(np.zeros((2, 3), np.float32))),
            "Bidirectional.forward: state.backward.h has shape (2, 3); expected (2, 4).",
        ),
    ],
)
def test_states(cell, state, message):
    with pytest.raises(rnnx.ShapeError) as caught:
        cell.forward(cell.init(), X, state)
    assert str(caught.value).startswith(message)


def test_parameters_and_gradients():
    params = STACK.init()
    wrong = params | {"layers.1.Wh": params["layers.1.Wh"].T}
    with pytest.raises(rnnx.ShapeError, match=r"Stack.forward: params\['layers.1.Wh'\] has shape \(15, 5\)"):
        STACK.forward(wrong, X)
    with pytest.raises(rnnx.ShapeError, match=r"Stack.forward: params has Wx, Wh, b; expected layers.0.Wx,"):
        STACK.forward(LSTM.init(), X)
    _, _, tape = STACK.forward(params, X)
    with pytest.raises(
        rnnx.ShapeError, match=r"Stack.backward: dstate is a tuple of 1; expected a tuple of 2"
    ):
        STACK.backward(tape, None, (None,))
    STACK.backward(tape)
    with pytest.raises(rnnx.TapeConsumed, match=r"Stack.backward: this tape has served"):
        STACK.backward(tape)


def test_lengths_on_stacks():
    with pytest.raises(rnnx.OptionError, match=r"Stack.forward: lengths\[1\] is 6; expected lengths in 1..5"):
        STACK.forward(STACK.init(), X, lengths=[5, 6])
