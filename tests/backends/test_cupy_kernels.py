"""CuPy kernels: their text, without a device, and their values against NumPy's, on one or the simulator."""

import math
import re

import numpy as np
import pytest

from rnnx.backends import cupy_kernels, printing
from rnnx.errors import BackendError
from rnnx.ops import pointwise, relu, sign, tanh
from rnnx.ops.pointwise import ANALYTIC
from rnnx.typing import Instruction, Program
from support import simulator
from support.programs import BODIES, CELLS, scalars_of

on_cupy = pytest.mark.parametrize("backend", ["cupy"], indirect=True)
SHAPE = (5, 3)
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(params=TOLERANCE)
def dtype(request):
    return request.param


@pytest.fixture(params=BODIES)
def body(request):
    return BODIES[request.param]


def test_the_text_of_a_kernel():
    assert cupy_kernels.print_kernel(BODIES["rnn_tanh_backward"].program) == (
        "T in0_dh, T in1_h",
        "T out0",
        "const T v0 = in1_h * in1_h;\nconst T v1 = T(1.0) - v0;\nconst T v2 = in0_dh * v1;\nout0 = v2;",
        "rnnx_rnn_tanh_backward",
    )


def test_every_operation_has_an_expression():
    assert cupy_kernels.EXPRESSIONS.keys() == ANALYTIC | {"relu", "sign"}


def test_every_number_in_a_body_is_of_the_kernels_type(body):
    operation = cupy_kernels.print_kernel(body.program).operation
    assert not re.findall(r"(?<![\w.])[-\d.]*\d\.\d", re.sub(r"T\([^()]*\)", "", operation))


def test_outputs_are_written_after_all_is_read(body):
    lines = cupy_kernels.print_kernel(body.program).operation.splitlines()
    reads = [at for at, line in enumerate(lines) if re.search(r"\bin\d", line)]
    writes = [at for at, line in enumerate(lines) if line.startswith("out")]
    assert max(reads) < min(writes)
    assert len(writes) == len(body.program.outputs)


HOSTILE = ("i", "n", "T", "_ind", "double", "in_out0", "size", "Δ", "v0", "__x")
"""Names that CuPy's own text uses, that C++ reserves, or that the printer makes itself."""


def hostile_program():
    steps = [Instruction("out0", "add", (HOSTILE[0], HOSTILE[1]))]
    for name in HOSTILE[2:]:
        steps.append(Instruction(f"{name}!", "add", (steps[-1].target, name)))
    return Program("template<class>", HOSTILE, tuple(steps), (steps[-1].target, "out0"))


def test_names_mean_nothing_to_the_compiler():
    text = cupy_kernels.print_kernel(hostile_program())
    words = set(re.findall(r"[^\W\d]\w*", " ".join(text)))
    assert {word for word in words if not re.fullmatch(r"in\d+_\w*|v\d+|out\d+", word, re.ASCII)} == {
        "T", "const", "rnnx_template_class_",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "T(0.5)"),
        (-2.0, "T(-2.0)"),
        (1e-8, "T(1e-08)"),
        (math.inf, "(T(1) / T(0))"),
        (-math.inf, "(T(-1) / T(0))"),
        (math.nan, "(T(0) / T(0))"),
    ],
)
def test_constants(value, text):
    assert cupy_kernels.constant(value) == text


def draw(body, rng, columns=()):
    """Host arguments in the order of the body's inputs; an optimiser's are not negative, for its roots."""
    numbers = scalars_of(body)
    drawn = []
    for name in body.program.inputs:
        shape = () if name in numbers else (SHAPE[0], 1) if name in columns else SHAPE
        drawn.append(float(rng.uniform(0.1, 0.9)) if shape == () else rng.normal(size=shape))
    return [value if body in CELLS.values() or isinstance(value, float) else np.abs(value) for value in drawn]


def move(backend, values, dtype):
    return [value if isinstance(value, float) else backend.asarray(value, dtype) for value in values]


def expect(program, values):
    """The functional kernel of NumPy, in float64."""
    return [np.broadcast_to(result, SHAPE) for result in printing.functional(program, np)(*values)]


def check(backend, results, expected, dtype):
    for result, wanted in zip(results, expected, strict=True):
        assert backend.holds(result)
        assert result.dtype == backend.dtype(dtype)
        assert result.shape == SHAPE
        scale = TOLERANCE[dtype]
        np.testing.assert_allclose(backend.to_numpy(result), wanted, rtol=scale, atol=scale)


def run_in_place(backend, program, inputs, aliased, dtype):
    """Run the bound kernel; outputs k of `aliased` have the memory of input k."""
    out = tuple(
        inputs[k] if k in aliased else backend.asarray(np.full(SHAPE, np.nan), dtype)
        for k in range(len(program.outputs))
    )
    with backend.untracked():
        returned = backend.kernel(program, SHAPE, backend.dtype(dtype))(*inputs, out=out)
    assert returned is out
    return out


def arrays_of(body):
    """Positions of the inputs that an output may share memory with."""
    count = min(len(body.program.inputs) - len(scalars_of(body)), len(body.program.outputs))
    return range(count)


@on_cupy
@pytest.mark.parametrize(
    "share", [lambda k: True, lambda k: k % 2, lambda k: False], ids=["all", "odd", "none"]
)
def test_in_place(body, backend, rng, dtype, share):
    host = draw(body, rng)
    aliased = {k for k in arrays_of(body) if share(k)}
    inputs = move(backend, host, dtype)
    check(
        backend,
        run_in_place(backend, body.program, inputs, aliased, dtype),
        expect(body.program, host),
        dtype,
    )
    for k, (value, given) in enumerate(zip(host, inputs, strict=True)):
        if k not in aliased and not isinstance(value, float):
            np.testing.assert_array_equal(backend.to_numpy(given), value.astype(dtype), err_msg=f"input {k}")


@on_cupy
def test_functional(body, backend, rng, dtype):
    host = draw(body, rng)
    inputs = move(backend, host, dtype)
    results = backend.functional_kernel(body.program)(*inputs)
    check(backend, results, expect(body.program, host), dtype)
    for value, given in zip(host, inputs, strict=True):
        if not isinstance(value, float):
            np.testing.assert_array_equal(backend.to_numpy(given), value.astype(dtype))


@on_cupy
@pytest.mark.parametrize("name", CELLS)
def test_columns_count_for_every_sequence_of_the_batch(name, backend, rng, dtype):
    body = CELLS[name]
    columns = body.program.inputs[1::2]
    host = draw(body, rng, columns)
    inputs = move(backend, host, dtype)
    expected = expect(body.program, host)
    aliased = {k for k in arrays_of(body) if body.program.inputs[k] not in columns}
    check(backend, run_in_place(backend, body.program, inputs, aliased, dtype), expected, dtype)


@on_cupy
def test_blocks_that_are_not_contiguous(backend, rng, dtype):
    program = BODIES["lstm_forward"].program
    host = rng.normal(size=(len(program.inputs), *SHAPE))
    slab = backend.zeros((len(program.inputs), *SHAPE[::-1]), dtype)
    inputs = [slab[k, ...].T for k in range(len(host))]
    for given, value in zip(inputs, host, strict=True):
        given[...] = backend.asarray(value, dtype)
    wide = backend.zeros((7, SHAPE[0], 2 * SHAPE[1]), dtype)
    out = tuple(inputs[k] if k < 5 else wide[k, :, ::2] for k in range(len(program.outputs)))
    with backend.untracked():
        backend.kernel(program, SHAPE, slab.dtype)(*inputs, out=out)
    check(backend, out, expect(program, host), dtype)
    assert not backend.to_numpy(wide)[:, :, 1::2].any(), "written between the elements of an output"


HAZARDS = {
    "swap": lambda a, b: (b, a),
    "rotation": lambda a, b, c: (b, c, a),
    "sum and difference": lambda a, b: (a + b, a - b),
    "one value, twice": lambda a, b: (tanh(a * b),) * 2,
}


@on_cupy
@pytest.mark.parametrize("hazard", HAZARDS)
def test_hazards_of_shared_memory(hazard, backend, rng):
    program = pointwise(HAZARDS[hazard]).program._replace(name="hazard")
    host = [rng.normal(size=SHAPE) for _ in program.inputs]
    inputs = move(backend, host, "float64")
    found = run_in_place(backend, program, inputs, range(len(program.outputs)), "float64")
    check(backend, found, expect(program, host), "float64")


@on_cupy
def test_names_that_the_compiler_would_refuse(backend, rng):
    host = [rng.normal(size=SHAPE) for _ in HOSTILE]
    found = run_in_place(backend, hostile_program(), move(backend, host, "float64"), (), "float64")
    check(backend, found, [sum(host), host[0] + host[1]], "float64")


@on_cupy
def test_numbers_at_the_edges(backend, dtype):
    steps = [
        Instruction(f"v{k}", "multiply", ("a", c)) for k, c in enumerate((math.inf, -math.inf, math.nan))
    ]
    steps += [Instruction("r", "relu", ("a",)), Instruction("s", "sign", ("a",))]
    program = Program("edges", ("a",), tuple(steps), tuple(step.target for step in steps))
    values = np.array([-math.inf, -2.0, -0.0, 0.0, 3.0, math.inf, math.nan])
    results = backend.functional_kernel(program)(backend.asarray(values, dtype))
    with np.errstate(invalid="ignore"):
        expected = [
            *(values * constant for constant in (math.inf, -math.inf, math.nan)),
            np.where(values < 0, 0, values),
            np.sign(values),
        ]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(result), wanted.astype(dtype))


@on_cupy
def test_an_empty_batch(backend, dtype):
    empty = backend.zeros((4, 0), dtype)
    (result,) = backend.functional_kernel(BODIES["rnn_tanh_forward"].program)(empty)
    assert result.shape == (4, 0)


@on_cupy
def test_two_dtypes_in_one_call_are_refused(backend):
    a, b = backend.zeros(SHAPE, "float32"), backend.zeros(SHAPE, "float64")
    with pytest.raises(TypeError, match=r"[Tt]ype"):
        backend.functional_kernel(BODIES["rnn_tanh_backward"].program)(a, b)


@on_cupy
def test_a_kernel_is_one_launch_whatever_its_body(body, backend, rng):
    inputs = move(backend, draw(body, rng), "float32")
    run_in_place(backend, body.program, inputs, arrays_of(body), "float32")
    out = tuple(backend.zeros(SHAPE, "float32") for _ in body.program.outputs)
    kernel = backend.kernel(body.program, SHAPE, out[0].dtype)
    with backend.untracked(), simulator.counted() as counts:
        kernel(*inputs, out=out)
    assert counts == {"launch": 1}


@on_cupy
def test_a_kernel_is_made_once_for_the_process(backend, monkeypatch, rng):
    import cupy

    made = []
    make = cupy.ElementwiseKernel
    monkeypatch.setattr(cupy, "ElementwiseKernel", lambda *text: made.append(text[-1]) or make(*text))

    def once_made(a, b):
        return relu(a) * sign(b)

    for dtype in TOLERANCE:
        for _ in range(2):
            program = pointwise(once_made).program  # traced anew, and equal
            inputs = [backend.asarray(rng.normal(size=SHAPE), dtype) for _ in range(2)]
            run_in_place(backend, program, inputs, {0}, dtype)
            backend.functional_kernel(program)(*inputs)
    assert made == ["rnnx_once_made"]


@on_cupy
def test_a_compile_error_shows_name_and_source(backend, monkeypatch):
    monkeypatch.setitem(cupy_kernels.EXPRESSIONS, "tanh", "no_such_function({})")
    program = Program("broken", ("in_a",), (Instruction("v0", "tanh", ("in_a",)),), ("v0",))
    kernel = backend.functional_kernel(program)
    with pytest.raises(
        BackendError, match=r"cupy: the kernel rnnx_broken does not compile .*no_such_function"
    ) as caught:
        kernel(backend.zeros(SHAPE, "float32"))
    (note,) = caught.value.__notes__
    assert "rnnx_broken(T in0_a -> T out0)" in note
    assert "const T v0 = no_such_function(in0_a);" in note
