"""Compile every kernel of the library for a real GPU, without one: ``python -m support.nvrtc -arch=sm_90``.

CuPy writes the source that it would write on a device, and NVIDIA's runtime compiler makes machine code of
it; that needs no driver. It is a process of its own, since a simulator may stand in the compiler's place. It
prints JSON: per kernel what the assembler reports, or why there is no compiler.

``python -m support.nvrtc --programs FILE -arch=sm_90`` compiles all that a run on the simulator left in
``$CUPYSIM_PROGRAMS``, and exits with 1 if a kernel spills.
"""

import io
import json
import re
import sys
from pathlib import Path

import numpy as np

from rnnx.backends import cupy_kernels
from support.programs import BODIES, scalars_of

LAYOUTS = {"one block": (1, True), "with a column": (2, False)}
"""Dimensions that CuPy's loop has, and whether all arrays are contiguous: those of a time step's kernels."""

REPORT = re.compile(
    r"entry function '(?P<name>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, "
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)
NUMBERS = ("stack", "stores", "loads", "registers")


def source_of(body, dtype, layout):
    """The CUDA source that CuPy makes of a body's kernel, without the common headers."""
    names = scalars_of(body)
    scalars = {k: dtype for k, name in enumerate(body.program.inputs) if name in names}
    ndim, contiguous = LAYOUTS[layout]
    return source(cupy_kernels.print_kernel(body.program), dtype, scalars, ndim, ndim, contiguous)


def source_of_recurrence(dtype, layout):
    """The same of the one kernel that is no body's: its arrays are matrices, its loop is over one row."""
    scalars = {1: "int64", 2: "int64", 3: "bool"}
    return source(cupy_kernels.LINEAR_RECURRENCE, dtype, scalars, 2, 1, LAYOUTS[layout][1])


def source(text, dtype, scalars, ndim, loop, contiguous):
    """The source of a kernel: types of its numbers by position, dimensions of its arrays and of its loop."""
    from cupy import ElementwiseKernel, ndarray
    from cupy._core import _kernel

    array, indexer, scalar = 1, 2, 3  # kinds of arguments, as CuPy numbers them
    kernel, dtype = ElementwiseKernel(*text), np.dtype(dtype)
    scalars = {k: np.dtype(name) for k, name in scalars.items()}
    arguments = [
        _kernel._ArgInfo(scalar, object, scalars[k], 0, True, True)
        if k in scalars
        else _kernel._ArgInfo(array, ndarray, dtype, ndim, contiguous, True)
        for k in range(kernel.nin + kernel.nout)
    ]
    arguments.append(_kernel._ArgInfo(indexer, object, None, loop, True, True))
    inputs = tuple(scalars.get(k, dtype) for k in range(kernel.nin))
    _, _, types = kernel._decide_params_type(inputs, (dtype,) * kernel.nout)
    return _kernel._get_elementwise_kernel_code(
        tuple(arguments),
        types,
        kernel.params,
        kernel.operation,
        kernel.name,
        kernel.preamble,
        **kernel.kwargs,
    )


def compile_all(options, dtype, layout):
    """Compile all bodies as one source, which has the headers once; report by kernel."""
    from cupy._core import core
    from cupy.cuda.compiler import _NVRTCProgram

    headers = [f"#include <{name}>\n" for name in core._cupy_header_list]
    sources = [source_of(body, dtype, layout) for body in BODIES.values()]
    source = "".join([*headers, *sources, source_of_recurrence(dtype, layout)])
    options = (
        *core.assemble_cupy_compiler_options(()),
        "-ftz=true",
        *options,
        "--ptxas-options=-v",
    )
    log = io.StringIO()
    code, _ = _NVRTCProgram(source, "kernels.cu", method="cubin").compile(options, log)
    assert code[:4] == b"\x7fELF", "no machine code"
    found = {}
    for entry in REPORT.finditer(log.getvalue()):
        name, *numbers = entry.group("name", *NUMBERS)
        found[name] = dict(zip(NUMBERS, map(int, numbers), strict=True))
    return found


def compile_programs(path, architecture):
    """Compile every program that a run of the tests on the simulator left; report what spills."""
    from cupy._core import core
    from cupy.cuda.compiler import _NVRTCProgram

    kernels, spills = 0, []
    for source, names, options in json.loads(Path(path).read_text(encoding="utf-8")):
        chosen = (option for option in options if option.startswith(("-D", "-U", "--std", "-std")))
        own = (
            *core.assemble_cupy_compiler_options(()),
            *chosen,
            "-ftz=true",
            architecture,
            "--ptxas-options=-v",
        )
        log = io.StringIO()
        program = _NVRTCProgram(source, "kernel.cu", name_expressions=names or (), method="cubin")
        code, _ = program.compile(own, log)
        assert code[:4] == b"\x7fELF", f"no machine code of\n{source}"
        for entry in REPORT.finditer(log.getvalue()):
            kernels += 1
            if int(entry["stores"]) or int(entry["loads"]):
                spills.append(entry["name"])
    return kernels, spills


def missing():
    """Why nothing can be compiled here, or an empty string."""
    try:
        import cupy
        from cuda import pathfinder

        pathfinder.load_nvidia_dynamic_lib("nvrtc")
        cupy._core.core.assemble_cupy_compiler_options(())
    except (ImportError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return ""


def main():
    if reason := missing():
        print(json.dumps({"missing": reason}))
        return
    if "--programs" in sys.argv:
        _, _, path, architecture = sys.argv
        kernels, spills = compile_programs(path, architecture)
        print(f"{architecture}: {kernels} kernels compiled, {len(spills)} spill {' '.join(spills)}")
        sys.exit(1 if spills or not kernels else 0)
    kernels = {
        f"{name}, {dtype}, {layout}": report
        for dtype in ("float32", "float64")
        for layout in LAYOUTS
        for name, report in compile_all(sys.argv[1:], dtype, layout).items()
    }
    print(json.dumps({"kernels": kernels}))


if __name__ == "__main__":
    main()
