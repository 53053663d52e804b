import numpy as np
import pytest

from rnnx import backends
from rnnx.errors import DtypeError, MixedArraysError, OptionError, RnnxError, ShapeError
from rnnx.losses import half_squared_error, softmax_cross_entropy
from support.complexstep import complex_step

DTYPES = {"float32": 2e-6, "float64": 1e-13}
SHAPES = [(), (4,), (3, 5), (2, 1, 3)]


def check(backend, found, expected, dtype, tolerance=None):
    """The result is an array of that backend, dtype and shape, with these values."""
    assert backend.holds(found)
    assert found.dtype == backend.dtype(dtype)
    assert tuple(found.shape) == tuple(np.shape(expected))
    tolerance = DTYPES[dtype] if tolerance is None else tolerance
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=tolerance, atol=tolerance)


def case(rng, positions, masked, V=7):
    mask = np.arange(int(np.prod(positions))).reshape(positions) % 3 != 1 if masked else None
    return 3.0 * rng.normal(size=(*positions, V)), rng.integers(0, V, positions), mask


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_squared_error_is_that_of_torch(backend, rng, torch, dtype):
    y, target = rng.normal(size=(2, 4, 3))
    loss, dy = half_squared_error(backend.asarray(y, dtype), backend.asarray(target, dtype))
    y = torch.tensor(y, requires_grad=True)
    expected = 0.5 * torch.nn.functional.mse_loss(y, torch.tensor(target), reduction="sum")
    expected.backward()
    check(backend, loss, expected.item(), dtype)
    check(backend, dy, y.grad.numpy(), dtype)


def test_half_squared_error_by_complex_step(rng):
    y, target = rng.normal(size=(2, 4, 3))
    expected = complex_step(lambda point: half_squared_error(point["y"], target.astype(complex))[0], {"y": y})
    np.testing.assert_allclose(half_squared_error(y, target)[1], expected["y"], rtol=1e-14)


@pytest.mark.parametrize("positions", SHAPES, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_is_that_of_torch(backend, rng, torch, dtype, reduction, masked, positions):
    logits, targets, mask = case(rng, positions, masked)
    loss, dlogits = softmax_cross_entropy(backend.asarray(logits, dtype), targets, mask, reduction)

    logits = torch.tensor(logits, requires_grad=True)
    ignored = targets if mask is None else np.where(mask, targets, -100)
    expected = torch.nn.functional.cross_entropy(
        logits.reshape(-1, 7), torch.tensor(ignored).reshape(-1), reduction=reduction
    )
    expected.backward()
    scale = 1 + expected.item()
    check(backend, loss, expected.item(), dtype, tolerance=DTYPES[dtype] * scale)
    check(backend, dlogits, logits.grad.numpy(), dtype)
    if masked:
        assert np.all(backend.to_numpy(dlogits)[~mask] == 0.0)


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_by_complex_step(rng, reduction, masked):
    logits, targets, mask = case(rng, (3, 5), masked)
    _, dlogits = softmax_cross_entropy(logits, targets, mask, reduction)
    expected = complex_step(
        lambda point: softmax_cross_entropy(point["logits"], targets, mask, reduction)[0], {"logits": logits}
    )["logits"]
    np.testing.assert_allclose(dlogits, expected, rtol=1e-12, atol=1e-15)


def test_the_mean_is_over_unmasked_positions(backend, rng):
    logits, targets, mask = case(rng, (3, 5), True)
    total, of_total = softmax_cross_entropy(backend.asarray(logits), targets, mask, "sum")
    mean, of_mean = softmax_cross_entropy(backend.asarray(logits), targets, mask)
    check(backend, mean, float(backend.to_numpy(total)) / mask.sum(), "float64")
    check(backend, of_mean, backend.to_numpy(of_total) / mask.sum(), "float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_neither_overflow_nor_vanish(backend, dtype):
    logits = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [3e38, 3e38, 0.0], [0.0, -np.inf, 0.0]])
    loss, dlogits = softmax_cross_entropy(backend.asarray(logits, dtype), [1, 2, 0, 2], reduction="sum")
    check(backend, loss, 1e4 + np.log(3.0) + 2.0 * np.log(2.0), dtype)
    third, half = 1.0 / 3.0, 0.5
    expected = [
        [1.0, -1.0, 0.0],
        [third, third, third - 1.0],
        [half - 1.0, half, 0.0],
        [half, 0.0, half - 1.0],
    ]
    check(backend, dlogits, np.array(expected), dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_what_the_mask_leaves_out_is_not_looked_at(backend, rng, reduction):
    logits, targets, mask = case(rng, (3, 5), True)
    clean = softmax_cross_entropy(backend.asarray(logits), targets, mask, reduction)
    logits[~mask] = np.resize([np.nan, np.inf, -np.inf, 1e300], logits[~mask].shape)
    targets[~mask] = np.resize([-100, 7, 10**12], targets[~mask].shape)
    dirty = softmax_cross_entropy(backend.asarray(logits), targets, mask, reduction)
    for found, expected in zip(dirty, clean, strict=True):
        check(backend, found, backend.to_numpy(expected), "float64", tolerance=0.0)


def test_a_sum_over_nothing_is_zero(backend, rng):
    logits, targets, _ = case(rng, (4,), False)
    loss, dlogits = softmax_cross_entropy(backend.asarray(logits), targets, np.zeros(4, bool), "sum")
    check(backend, loss, 0.0, "float64", tolerance=0.0)
    check(backend, dlogits, np.zeros((4, 7)), "float64", tolerance=0.0)


LOGITS = np.zeros((2, 3, 4))
TARGETS = np.zeros((2, 3), int)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (
            ShapeError,
            lambda: half_squared_error(np.zeros(3), np.zeros((3, 1))),
            r"target has shape \(3, 1\).*\(3,\)",
        ),
        (DtypeError, lambda: half_squared_error(np.zeros(3), np.zeros(3, "f4")), "target has dtype float32"),
        (ShapeError, lambda: softmax_cross_entropy(np.zeros(()), 0), r"logits has shape \(\)"),
        (
            ShapeError,
            lambda: softmax_cross_entropy(np.zeros((3, 0)), [0, 0, 0]),
            r"logits has shape \(3, 0\)",
        ),
        (
            ShapeError,
            lambda: softmax_cross_entropy(LOGITS, TARGETS.T),
            r"targets has shape \(3, 2\).*\(2, 3\)",
        ),
        (ShapeError, lambda: softmax_cross_entropy(LOGITS, [[0], [0, 0]]), "targets is ragged"),
        (
            OptionError,
            lambda: softmax_cross_entropy(LOGITS, TARGETS + 4),
            r"targets holds 4; expected ids in 0\.\.3",
        ),
        (OptionError, lambda: softmax_cross_entropy(LOGITS, TARGETS - 1), "targets holds -1"),
        (DtypeError, lambda: softmax_cross_entropy(LOGITS, TARGETS * 1.0), "targets has dtype float64"),
        (
            DtypeError,
            lambda: softmax_cross_entropy(LOGITS, TARGETS * 1.0, TARGETS == 0),
            "targets has dtype float64",
        ),
        (
            DtypeError,
            lambda: softmax_cross_entropy(LOGITS, TARGETS, TARGETS),
            "mask has dtype int64; expected bool",
        ),
        (ShapeError, lambda: softmax_cross_entropy(LOGITS, TARGETS, [True, False]), r"mask has shape \(2,\)"),
        (OptionError, lambda: softmax_cross_entropy(LOGITS, TARGETS, TARGETS > 0), "no position is unmasked"),
        (
            OptionError,
            lambda: softmax_cross_entropy(np.zeros((0, 4)), np.zeros(0, int)),
            "no position is unmasked",
        ),
        (OptionError, lambda: softmax_cross_entropy(LOGITS, TARGETS, None, "max"), "reduction is 'max'"),
    ],
)
def test_what_does_not_fit_is_named(error, call, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, RnnxError)


def test_arrays_of_two_libraries_are_named():
    with backends.use_backend("strict") as strict:
        there = {"targets": strict.asarray(TARGETS), "mask": strict.asarray(TARGETS == 0)}
        y = strict.asarray(np.zeros(3))
    with pytest.raises(MixedArraysError, match="target is on strict"):
        half_squared_error(np.zeros(3), y)
    with pytest.raises(DtypeError, match="targets is a Array; expected integers on the host"):
        softmax_cross_entropy(LOGITS, there["targets"])
    with pytest.raises(DtypeError, match="mask is a Array; expected booleans on the host"):
        softmax_cross_entropy(LOGITS, TARGETS, there["mask"])


def test_autograd_is_not_involved(torch):
    logits = torch.zeros((2, 4), requires_grad=True)
    loss, dlogits = softmax_cross_entropy(logits, [1, 2])
    assert not loss.requires_grad
    assert not dlogits.requires_grad
