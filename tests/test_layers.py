import numpy as np
import pytest

from rnnx import backends
from rnnx.errors import DtypeError, MixedArraysError, OptionError, RnnxError, ShapeError
from rnnx.layers import Dropout, Embedding, Linear
from support.complexstep import complex_step

DTYPES = {"float32": 1e-5, "float64": 1e-12}
LEADING = [(), (1,), (4,), (3, 2), (2, 1, 3), (0,), (3, 0)]


def on(backend, arrays, dtype):
    return {name: backend.asarray(value, dtype) for name, value in arrays.items()}


def check(backend, found, expected, dtype, tolerance=None):
    """The result is an array of that backend, dtype and shape, with these values."""
    assert backend.holds(found)
    assert found.dtype == backend.dtype(dtype)
    assert tuple(found.shape) == tuple(expected.shape)
    tolerance = DTYPES[dtype] if tolerance is None else tolerance
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("leading", LEADING, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_is_that_of_torch(backend, rng, torch, dtype, leading):
    host = {"W": rng.normal(size=(5, 3)), "b": rng.normal(size=3), "x": rng.normal(size=(*leading, 5))}
    dy = rng.normal(size=(*leading, 3))
    given = on(backend, host, dtype)
    x = given.pop("x")
    layer = Linear(5, 3)

    y, tape = layer.forward(given, x)
    dx, grads = layer.backward(tape, backend.asarray(dy, dtype))

    W, b, x = (torch.tensor(host[name], requires_grad=True) for name in ("W", "b", "x"))
    expected = torch.nn.functional.linear(x, W.T, b)
    expected.backward(torch.tensor(dy))
    check(backend, y, expected.detach().numpy(), dtype)
    check(backend, dx, x.grad.numpy(), dtype)
    assert grads.keys() == layer.param_shapes.keys()
    check(backend, grads["W"], W.grad.numpy(), dtype)
    check(backend, grads["b"], b.grad.numpy(), dtype)


def test_linear_gradients_by_complex_step(rng):
    host = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=3), "x": rng.normal(size=(2, 5, 4))}
    dy = rng.normal(size=(2, 5, 3))
    layer = Linear(4, 3)

    def loss(point):
        return np.sum(dy * layer.forward({"W": point["W"], "b": point["b"]}, point["x"])[0])

    _, tape = layer.forward({"W": host["W"], "b": host["b"]}, host["x"])
    dx, grads = layer.backward(tape, dy)
    expected = complex_step(loss, host)
    for name, gradient in {**grads, "x": dx}.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-13, atol=1e-13, err_msg=name)


def test_a_tape_serves_again(backend, rng):
    layer = Linear(4, 3)
    params = layer.init(seed=1, dtype="float64")
    _, tape = layer.forward(params, backend.asarray(rng.normal(size=(5, 4))))
    dy = rng.normal(size=(5, 3))
    first, second = (layer.backward(tape, backend.asarray(scale * dy)) for scale in (1.0, 2.0))
    np.testing.assert_allclose(2.0 * backend.to_numpy(first[0]), backend.to_numpy(second[0]), rtol=1e-14)
    np.testing.assert_allclose(
        2.0 * backend.to_numpy(first[1]["W"]), backend.to_numpy(second[1]["W"]), rtol=1e-14
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_init_is_the_same_on_every_backend(backend, dtype):
    for layer, prefix in ((Linear(400, 30), "head."), (Embedding(70, 50), "embedding.")):
        params = layer.init(seed=3, dtype=dtype, prefix=prefix)
        with backends.use_backend("numpy"):
            expected = layer.init(seed=3, dtype=dtype, prefix=prefix)
            other = layer.init(seed=4, dtype=dtype, prefix=prefix)
        assert list(params) == [prefix + name for name in layer.param_shapes]
        for name, shape in layer.param_shapes.items():
            assert tuple(params[prefix + name].shape) == shape
            check(backend, params[prefix + name], expected[prefix + name], dtype, tolerance=0.0)
            assert np.all(expected[prefix + name] != other[prefix + name])


def test_init_has_the_distribution_of_torch():
    with backends.use_backend("numpy"):
        linear, embedding = Linear(400, 300).init(dtype="float64"), Embedding(300, 400).init(dtype="float64")
    for value in linear.values():
        assert 0.99 / 20 < np.max(np.abs(value)) <= 1 / 20
    assert np.std(linear["W"]) == pytest.approx(1 / 20 / np.sqrt(3), rel=0.01)
    assert np.mean(embedding["W"]) == pytest.approx(0.0, abs=0.01)
    assert np.std(embedding["W"]) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("leading", LEADING, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding_is_that_of_torch(backend, rng, torch, dtype, leading):
    W, ids = rng.normal(size=(6, 3)), rng.choice([0, 2, 5], size=leading)
    dy = rng.normal(size=(*leading, 3))
    layer = Embedding(6, 3)

    x, tape = layer.forward({"W": backend.asarray(W, dtype)}, ids)
    grads = layer.backward(tape, backend.asarray(dy, dtype))

    W = torch.tensor(W, requires_grad=True)
    expected = torch.nn.functional.embedding(torch.tensor(ids), W)
    expected.backward(torch.tensor(dy))
    check(backend, x, expected.detach().numpy(), dtype)
    assert grads.keys() == {"W"}
    check(backend, grads["W"], W.grad.numpy(), dtype)
    assert np.all(backend.to_numpy(grads["W"])[[1, 3, 4]] == 0.0)


def test_embedding_gradient_by_complex_step(rng):
    W, ids, dy = rng.normal(size=(5, 3)), [[4, 0, 4], [4, 2, 0]], rng.normal(size=(2, 3, 3))
    layer = Embedding(5, 3)
    _, tape = layer.forward({"W": W}, ids)
    expected = complex_step(lambda point: np.sum(dy * layer.forward(point, ids)[0]), {"W": W})
    np.testing.assert_allclose(layer.backward(tape, dy)["W"], expected["W"], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", [list, np.uint8, np.int16, np.int32, np.int64, np.uint64])
def test_ids_of_any_integer_kind(backend, kind):
    ids = [[0, 3], [2, 3]] if kind is list else np.array([[0, 3], [2, 3]], dtype=kind)
    layer = Embedding(4, 2)
    params = layer.init(dtype="float64")
    x, _ = layer.forward(params, ids)
    check(backend, x, backend.to_numpy(params["W"])[[[0, 3], [2, 3]]], "float64", tolerance=0.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_masks_are_the_same_on_every_backend(backend, rng, dtype):
    host, dy = rng.normal(size=(40, 5, 30)), rng.normal(size=(40, 5, 30))
    layer = Dropout(0.2)
    y, mask = layer.forward(backend.asarray(host, dtype), np.random.default_rng(7))
    expected = (np.random.default_rng(7).random(host.shape, dtype=np.float32) >= 0.2) / 0.8
    assert np.mean(expected == 0.0) == pytest.approx(0.2, abs=0.02)
    check(backend, mask, expected, dtype)
    check(backend, y, expected * host, dtype)
    check(backend, layer.backward(mask, backend.asarray(dy, dtype)), expected * dy, dtype)


def test_dropout_goes_on_drawing(backend, rng):
    x, generator = backend.asarray(rng.normal(size=(20, 10))), np.random.default_rng(7)
    first, second = (backend.to_numpy(Dropout(0.5).forward(x, generator)[1]) for _ in range(2))
    assert np.any(first != second)


def test_no_dropout_is_the_identity(backend, rng):
    x, generator = backend.asarray(rng.normal(size=(3, 2))), np.random.default_rng(7)
    y, mask = Dropout(0.0).forward(x, generator)
    assert y is x
    assert mask is None
    assert Dropout(0.0).backward(mask, x) is x
    assert generator.random() == np.random.default_rng(7).random()


PARAMS = {"W": np.zeros((4, 3)), "b": np.zeros(3)}


def linear_tape():
    return Linear(4, 3).forward(PARAMS, np.zeros((5, 4)))[1]


def embedding_tape():
    return Embedding(4, 3).forward({"W": PARAMS["W"]}, [1, 2])[1]


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (OptionError, lambda: Linear(0, 3), "Linear: input_size is 0"),
        (OptionError, lambda: Linear(3, 1.5), "Linear: output_size is 1.5"),
        (OptionError, lambda: Embedding(3, -1), "Embedding: embedding_size is -1"),
        (OptionError, lambda: Embedding(True, 3), "Embedding: vocabulary_size is True"),
        (OptionError, lambda: Dropout(1.0), r"Dropout: rate is 1.0; expected a number in 0 <= rate < 1\."),
        (OptionError, lambda: Dropout(-0.1), "Dropout: rate is -0.1"),
        (OptionError, lambda: Dropout(float("nan")), "Dropout: rate is nan"),
        (OptionError, lambda: Dropout("0.5"), "Dropout: rate is '0.5'"),
        (
            ShapeError,
            lambda: Linear(4, 3).forward(PARAMS, np.zeros((5, 3))),
            r"x has shape \(5, 3\).*\(..., 4\)",
        ),
        (ShapeError, lambda: Linear(4, 3).forward(PARAMS, np.zeros(())), r"x has shape \(\)"),
        (ShapeError, lambda: Linear(4, 3).forward({"W": PARAMS["W"]}, np.zeros((5, 4))), "params"),
        (
            ShapeError,
            lambda: Linear(3, 4).forward(PARAMS, np.zeros((5, 3))),
            r"params\['W'\] has shape \(4, 3\)",
        ),
        (
            DtypeError,
            lambda: Linear(4, 3).forward(PARAMS, np.zeros((5, 4), "float32")),
            "x has dtype float32",
        ),
        (
            ShapeError,
            lambda: Linear(4, 3).backward(linear_tape(), np.zeros((5, 4))),
            r"dy has shape \(5, 4\)",
        ),
        (
            DtypeError,
            lambda: Linear(4, 3).backward(linear_tape(), np.zeros((5, 3), "float32")),
            "dy has dtype",
        ),
        (OptionError, lambda: Embedding(4, 3).forward({"W": PARAMS["W"]}, [3, 9, 4]), r"ids holds 9.*0\.\.3"),
        (OptionError, lambda: Embedding(4, 3).forward({"W": PARAMS["W"]}, [-1, 2]), r"ids holds -1.*0\.\.3"),
        (OptionError, lambda: Embedding(4, 3).forward({"W": PARAMS["W"]}, [5, -7]), r"ids holds -7"),
        (OptionError, lambda: Embedding(4, 3).forward({"W": PARAMS["W"]}, 4), r"ids holds 4"),
        (DtypeError, lambda: Embedding(4, 3).forward({"W": PARAMS["W"]}, [1.0]), "ids has dtype float64"),
        (DtypeError, lambda: Embedding(4, 3).forward({"W": PARAMS["W"]}, [True]), "ids has dtype bool"),
        (ShapeError, lambda: Embedding(4, 3).forward({"W": PARAMS["W"]}, [[1], [1, 2]]), "ids is ragged"),
        (ShapeError, lambda: Embedding(4, 3).backward(embedding_tape(), np.zeros((3, 3))), "dy has shape"),
        (
            DtypeError,
            lambda: Embedding(4, 3).backward(embedding_tape(), np.zeros((2, 3), "f4")),
            "dy has dtype",
        ),
        (ShapeError, lambda: Dropout(0.5).backward(np.ones((2, 3)), np.ones(3)), r"dy has shape \(3,\)"),
    ],
)
def test_what_does_not_fit_is_named(error, call, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, RnnxError)


def test_arrays_of_two_libraries_are_named(rng):
    with backends.use_backend("strict") as strict:
        x, dy = strict.asarray(np.zeros((5, 4))), strict.asarray(np.zeros((5, 3)))
        ids = strict.asarray(np.array([1, 2]))
    with pytest.raises(MixedArraysError, match="x is on strict"):
        Linear(4, 3).forward(PARAMS, x)
    with pytest.raises(MixedArraysError, match="dy is on strict, the tape is on numpy"):
        Linear(4, 3).backward(linear_tape(), dy)
    with pytest.raises(DtypeError, match="ids is a Array; expected integers on the host"):
        Embedding(4, 3).forward({"W": PARAMS["W"]}, ids)


def test_the_caller_may_fill_its_ids_anew(backend, rng):
    layer = Embedding(4, 3)
    ids = np.array([[0, 1]])
    _, tape = layer.forward(layer.init(dtype="float64"), ids)
    ids[...] = 2
    grads = layer.backward(tape, backend.asarray(rng.standard_normal((1, 2, 3))))
    assert backend.to_numpy(grads["W"])[:2].all()
    assert not backend.to_numpy(grads["W"])[2:].any()


def test_a_rate_of_numpy_keeps_the_dtype(backend, rng):
    x = backend.asarray(rng.standard_normal((5, 2)), "float32")
    y, mask = Dropout(np.float64(0.5)).forward(x, rng)
    assert y.dtype == mask.dtype == backend.dtype("float32")


def test_autograd_is_not_involved(torch):
    with backends.use_backend("torch"):
        linear, table = Linear(3, 2), Embedding(4, 3)
        params = {name: value.requires_grad_() for name, value in linear.init().items()}
        y, tape = linear.forward(params, torch.ones((5, 3), requires_grad=True))
        dx, grads = linear.backward(tape, torch.ones((5, 2), requires_grad=True))
        x, ids = table.forward({"W": table.init()["W"].requires_grad_()}, [1, 2])
        rows = table.backward(ids, torch.ones((2, 3), requires_grad=True))
    for value in (y, dx, x, *grads.values(), *rows.values()):
        assert not value.requires_grad
