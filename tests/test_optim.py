import numpy as np
import pytest

from rnnx import backends
from rnnx.errors import DtypeError, MixedArraysError, OptionError, RnnxError, ShapeError
from rnnx.optim import SGD, Adagrad, AdamW, RMSprop, clip_by_global_norm, clip_by_value

STEPS = 20
DTYPES = {"float32": 1e-6, "float64": 1e-14}
SHAPES = {"layers.0.Wx": (5, 7), "layers.0.b": (7,), "scale": (), "head.W": (7, 1)}

# Ours, the name in torch.optim, and torch's options where they are called differently.
PAIRS = [
    (SGD(0.05), "SGD", dict(lr=0.05)),
    (SGD(0.02, momentum=0.9), "SGD", dict(lr=0.02, momentum=0.9)),
    (Adagrad(0.1), "Adagrad", dict(lr=0.1)),
    (Adagrad(0.1, eps=0.1), "Adagrad", dict(lr=0.1, eps=0.1)),
    (RMSprop(0.01), "RMSprop", dict(lr=0.01)),
    (RMSprop(0.01, decay=0.5, eps=0.1), "RMSprop", dict(lr=0.01, alpha=0.5, eps=0.1)),
    (AdamW(0.01), "AdamW", dict(lr=0.01)),
    (
        AdamW(0.01, betas=(0.5, 0.8), eps=0.1, weight_decay=0.5),
        "AdamW",
        dict(lr=0.01, betas=(0.5, 0.8), eps=0.1, weight_decay=0.5),
    ),
    (AdamW(0.01, betas=(0.0, 0.0), weight_decay=0), "AdamW", dict(lr=0.01, betas=(0.0, 0.0), weight_decay=0)),
]
NAMES = [repr(ours) for ours, _, _ in PAIRS]


def draw(rng, scale=1.0):
    return {name: scale * rng.normal(size=shape) for name, shape in SHAPES.items()}


def on(backend, arrays, dtype):
    return {name: backend.asarray(value, dtype) for name, value in arrays.items()}


def reference(torch, name, options, params, gradients, rates=None):
    """The parameters after torch's own updates in float64."""
    tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in params.items()}
    optimizer = getattr(torch.optim, name)(list(tensors.values()), **options)
    for step, grads in enumerate(gradients):
        for key, tensor in tensors.items():
            tensor.grad = torch.tensor(grads[key], dtype=torch.float64)
        if rates:
            optimizer.param_groups[0]["lr"] = rates[step]
        optimizer.step()
    return {key: tensor.numpy() for key, tensor in tensors.items()}


def check(backend, found, expected, dtype):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert backend.holds(value)
        assert value.dtype == backend.dtype(dtype)
        assert tuple(value.shape) == np.shape(expected[name])
        np.testing.assert_allclose(
            backend.to_numpy(value), expected[name], rtol=DTYPES[dtype], atol=DTYPES[dtype], err_msg=name
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("optimizer", "name", "options"), PAIRS, ids=NAMES)
def test_updates_are_those_of_torch(backend, rng, torch, optimizer, name, options, dtype):
    start, gradients = draw(rng), [draw(rng, 10.0 ** rng.uniform(-2, 0)) for _ in range(STEPS)]
    # Both sides start from the numbers as rounded to that dtype.
    start, *gradients = (
        {k: v.astype(dtype).astype(float) for k, v in a.items()} for a in (start, *gradients)
    )
    params = on(backend, start, dtype)
    state = optimizer.init(params)
    for step, grads in enumerate(gradients):
        assert state.step == step
        params, state = optimizer.update(params, on(backend, grads, dtype), state)
        # Back through asarray, so that a read-only backend sees every write, to the state too.
        params = on(backend, params, dtype)
        state = state._replace(
            **{field: on(backend, getattr(state, field), dtype) for field in state._fields[1:]}
        )
    check(backend, params, reference(torch, name, options, start, gradients), dtype)
    assert any(np.abs(backend.to_numpy(params[key]) - start[key]).max() > 0.05 for key in start)


@pytest.mark.parametrize(("optimizer", "name", "options"), PAIRS, ids=NAMES)
def test_nothing_is_written_to(backend, rng, optimizer, name, options):
    params, grads = on(backend, draw(rng), "float64"), on(backend, draw(rng), "float64")
    _, state = optimizer.update(params, grads, optimizer.init(params))
    dicts = [params, grads, *state[1:]]
    before = [{key: backend.to_numpy(value).copy() for key, value in values.items()} for values in dicts]
    twice = [optimizer.update(params, grads, state) for _ in range(2)]
    for values, kept in zip(dicts, before, strict=True):
        for key, value in values.items():
            np.testing.assert_array_equal(backend.to_numpy(value), kept[key], err_msg=key)
    for key in params:
        first, second = (backend.to_numpy(result[0][key]) for result in twice)
        np.testing.assert_array_equal(first, second)
        assert np.all(first != before[0][key])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("optimizer", "name", "options"), PAIRS, ids=NAMES)
def test_a_schedule_is_that_of_torch(backend, rng, torch, optimizer, name, options, dtype):
    start, gradients = draw(rng), [draw(rng) for _ in range(5)]
    start, *gradients = (
        {k: v.astype(dtype).astype(float) for k, v in a.items()} for a in (start, *gradients)
    )
    rates = [0.05, 0.0, np.float64(0.02), np.float32(0.01), 0.001]
    params, state = on(backend, start, dtype), None
    state = optimizer.init(params)
    for grads, rate in zip(gradients, rates, strict=True):
        params, state = optimizer.update(params, on(backend, grads, dtype), state, learning_rate=rate)
    check(backend, params, reference(torch, name, options, start, gradients, list(map(float, rates))), dtype)


def test_the_state_begins_with_zeros(backend, rng):
    params = on(backend, draw(rng), "float32")
    for optimizer, fields in [
        (SGD(0.1, 0.9), ("velocity",)),
        (Adagrad(0.1), ("total",)),
        (RMSprop(0.1), ("mean_square",)),
        (AdamW(0.1), ("mean", "mean_square")),
    ]:
        state = optimizer.init(params)
        assert state.step == 0
        assert state._fields == ("step", *fields)
        for field in fields:
            check(
                backend,
                getattr(state, field),
                {key: np.zeros(shape) for key, shape in SHAPES.items()},
                "float32",
            )
    assert SGD(0.1).init(params) == (0, {})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limit", [0.0, 0.5, 100])
def test_clip_by_value_is_that_of_torch(backend, rng, torch, dtype, limit):
    host = draw(rng)
    tensors = [torch.zeros(()) for _ in host]
    for tensor, value in zip(tensors, host.values(), strict=True):
        tensor.data = torch.tensor(value)
        tensor.grad = torch.tensor(value)
    torch.nn.utils.clip_grad_value_(tensors, limit)
    expected = {key: tensor.grad.numpy() for key, tensor in zip(host, tensors, strict=True)}
    check(backend, clip_by_value(on(backend, host, dtype), limit), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limit", [0.0, 0.5, 100, 1e-7])
def test_clip_by_global_norm_is_that_of_torch(backend, rng, torch, dtype, limit):
    host = draw(rng)
    tensors = [torch.tensor(value) for value in host.values()]
    for tensor in tensors:
        tensor.grad = tensor.clone()
    norm = torch.nn.utils.clip_grad_norm_(tensors, limit)
    expected = {key: tensor.grad.numpy() for key, tensor in zip(host, tensors, strict=True)}
    clipped, found = clip_by_global_norm(on(backend, host, dtype), limit)
    check(backend, clipped, expected, dtype)
    check(backend, {"norm": found}, {"norm": norm.numpy()}, dtype)
    if limit == 0.5:
        after = np.sqrt(sum(np.sum(backend.to_numpy(g) ** 2) for g in clipped.values()))
        assert 0.4999 < after <= 0.5


def test_clipping_zeros_keeps_zeros(backend):
    zeros = {"W": np.zeros((2, 3)), "b": np.zeros(3)}
    clipped, norm = clip_by_global_norm(on(backend, zeros, "float64"), 1.0)
    check(backend, clipped | {"norm": norm}, zeros | {"norm": 0.0}, "float64")


def test_every_parameter_keeps_its_dtype(backend, rng):
    values = {
        "W": backend.asarray(rng.normal(size=(3, 2)), "float32"),
        "b": backend.asarray(rng.normal(size=2)),
    }
    updated, _ = AdamW(0.1).update(values, values, AdamW(0.1).init(values))
    for result in (updated, clip_by_value(values, 0.1), clip_by_global_norm(values, 0.1)[0]):
        assert {key: value.dtype for key, value in result.items()} == {
            key: value.dtype for key, value in values.items()
        }


ONE = {"W": np.ones((2, 3)), "b": np.ones(3)}
ZERO = AdamW(0.1).init(ONE)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (
            OptionError,
            lambda: SGD(-0.1),
            "SGD: learning_rate is -0.1; expected a finite number of at least 0",
        ),
        (OptionError, lambda: SGD(float("inf")), "SGD: learning_rate is inf"),
        (OptionError, lambda: SGD("0.1"), "SGD: learning_rate is '0.1'"),
        (OptionError, lambda: SGD(True), "SGD: learning_rate is True"),
        (
            OptionError,
            lambda: SGD(0.1, momentum=1.0),
            "SGD: momentum is 1.0; expected a number in 0 <= momentum < 1",
        ),
        (OptionError, lambda: SGD(0.1, momentum=-0.5), "SGD: momentum is -0.5"),
        (OptionError, lambda: Adagrad(float("nan")), "Adagrad: learning_rate is nan"),
        (OptionError, lambda: Adagrad(0.1, eps=-1e-8), "Adagrad: eps is -1e-08"),
        (OptionError, lambda: RMSprop(0.1, decay=1.0), "RMSprop: decay is 1.0"),
        (OptionError, lambda: RMSprop(0.1, eps=-1.0), "RMSprop: eps is -1.0"),
        (OptionError, lambda: AdamW(-1.0), "AdamW: learning_rate is -1.0"),
        (OptionError, lambda: AdamW(0.1, betas=(0.9, 1.0)), r"AdamW: betas\[1\] is 1.0"),
        (OptionError, lambda: AdamW(0.1, betas=(-0.1, 0.9)), r"AdamW: betas\[0\] is -0.1"),
        (OptionError, lambda: AdamW(0.1, betas=0.9), "AdamW: betas is 0.9"),
        (OptionError, lambda: AdamW(0.1, weight_decay=-0.1), "AdamW: weight_decay is -0.1"),
        (OptionError, lambda: AdamW(0.1, eps=-0.1), "AdamW: eps is -0.1"),
        (OptionError, lambda: AdamW(0.1).init({}), "AdamW.init: params is empty"),
        (OptionError, lambda: AdamW(0.1).update({}, {}, ZERO), "AdamW.update: params is empty"),
        (OptionError, lambda: AdamW(0.1).update(ONE, (ONE, 1.0), ZERO), "AdamW.update: grads is a tuple"),
        (OptionError, lambda: AdamW(0.1).update(ONE, ONE, None), "state is a NoneType; expected AdamWState"),
        (OptionError, lambda: AdamW(0.1).update(ONE, ONE, ZERO, -1.0), "AdamW.update: learning_rate is -1.0"),
        (OptionError, lambda: AdamW(0.1).update(ONE, ONE, ZERO, np.ones(1)), "learning_rate is array"),
        (ShapeError, lambda: AdamW(0.1).update(ONE, {"W": ONE["W"]}, ZERO), "params and grads differ in b"),
        (ShapeError, lambda: AdamW(0.1).update(ONE, {**ONE, "x": 1}, ZERO), "params and grads differ in x"),
        (
            ShapeError,
            lambda: AdamW(0.1).update(ONE, ONE, ZERO._replace(mean={})),
            "params and mean differ in W, b",
        ),
        (
            ShapeError,
            lambda: SGD(0.1).update(ONE, ONE | {"b": np.ones(1)}, SGD(0.1).init(ONE)),
            r"grads\['b'\] has",
        ),
        (
            DtypeError,
            lambda: AdamW(0.1).update(ONE, ONE | {"b": np.ones(3, "f4")}, ZERO),
            r"grads\['b'\] has dtype",
        ),
        (OptionError, lambda: clip_by_value({}, 1.0), "clip_by_value: grads is empty"),
        (OptionError, lambda: clip_by_value(ONE, -1.0), "clip_by_value: limit is -1.0"),
        (OptionError, lambda: clip_by_global_norm({}, 1.0), "clip_by_global_norm: grads is empty"),
        (OptionError, lambda: clip_by_global_norm(ONE, -1.0), "clip_by_global_norm: limit is -1.0"),
    ],
)
def test_what_does_not_fit_is_named(error, call, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, RnnxError)


def test_arrays_of_two_libraries_are_named():
    with backends.use_backend("strict") as strict:
        grads = on(strict, ONE, "float64")
    with pytest.raises(MixedArraysError, match=r"AdamW.update: .*grads\['W'\] is on strict"):
        AdamW(0.1).update(ONE, grads, ZERO)


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(np.float64(0.1), momentum=np.float64(0.9)),
        Adagrad(np.float64(0.1), eps=np.float64(1e-9)),
        RMSprop(np.float64(0.1), decay=np.float64(0.9), eps=np.float64(1e-8)),
        AdamW(
            0.1, betas=[np.float64(0.9), np.float64(0.99)], eps=np.float64(1e-8), weight_decay=np.float64(0.1)
        ),
    ],
)
def test_options_of_numpy_keep_the_dtype(optimizer, backend, rng):
    params = {"w": backend.asarray(rng.standard_normal(3), "float32")}
    grads = {"w": backend.asarray(rng.standard_normal(3), "float32")}
    state = optimizer.init(params)
    for _ in range(2):
        params, state = optimizer.update(params, grads, state)
    assert params["w"].dtype == backend.dtype("float32")
    assert isinstance(hash(optimizer), int)
