"""g++ in the place of NVRTC, CUDA's run-time compiler.

CuPy hands a kernel's CUDA source to NVRTC and loads the machine code that comes back. Here the source is
compiled as C++, behind device/prelude.h, to a shared library in the cache folder, and what comes back is that
library's path (machine/kernels.cpp loads it).
"""

import functools
import hashlib
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from cupysim import machine_library
from cupysim.requirements import COMPILER, SimulatorError, require_wheel

FOLDER = Path(__file__).parent
HEADERS = FOLDER / "device"
OPTIONS = (
    "-O1",
    "-fPIC",
    "-shared",
    "-w",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-U_FORTIFY_SOURCE",  # its longjmp refuses to change stacks
    "-ffp-contract=off",  # float arithmetic as written, so that NumPy's is the same
)
BARRIER = re.compile(r"__sync(?:threads|warp)|__shfl")
SHARED = re.compile(r"extern\s+__shared__\s+([\w:<> ]+?)\s+(\w+)\s*\[\s*\]\s*;")
BOUNDS = r"(?:__launch_bounds__\([^)]*\)\s+)?"
KERNEL = re.compile(rf"__global__\s+{BOUNDS}void\s+{BOUNDS}(\w+)\s*\(")


class NVRTCError(RuntimeError):
    """A source that does not compile; CuPy makes a CompileException with the log of it."""


@dataclass
class Program:
    """One source that CuPy had compiled."""

    source: str
    names: list[str] = field(default_factory=list)
    """C++ expressions, such as ``k<float>``, of the kernels that are wanted; none if they are extern "C"."""
    options: tuple[str, ...] = ()
    """As CuPy gave them to NVRTC; the folder of CUDA's headers among them is the simulator's."""
    code: bytes = b""
    log: str = ""
    seconds: float = 0.0
    """Spent in g++; 0 where the cache had it."""


_open: dict[int, Program] = {}
_compiled: list[Program] = []


def programs() -> list[Program]:
    """Every program that was compiled, or found in the cache, in this process."""
    return list(_compiled)


def replace(module: ModuleType) -> None:
    """Let CuPy's module of NVRTC compile with g++."""
    for function in (
        createProgram, destroyProgram, addNameExpression, compileProgram, getLoweredName, getProgramLog,
        getCUBIN, getPTX, getVersion, NVRTCError,
    ):  # fmt: skip
        setattr(module, function.__name__, function)


# ---- the functions of cupy_backends.cuda.libs.nvrtc, under their names there


def createProgram(source, name, headers, include_names):
    handle = max(_open, default=0) + 1
    _open[handle] = Program(source)
    return handle


def destroyProgram(handle):
    _open.pop(handle, None)


def addNameExpression(handle, name):
    _open[handle].names.append(name)


def compileProgram(handle, options):
    program = _open[handle]
    program.options = tuple(options)
    if not program.source.strip():  # CuPy asks for the compiler's version so, to name its cache
        program.code = b"// cupysim"
        return
    try:
        library = _compile(program)
    except SimulatorError as error:
        program.log = str(error)
        raise NVRTCError(program.log) from None
    program.code = f"cupysim:{library}".encode()
    _compiled.append(program)


def getLoweredName(handle, name):
    return _identifier(name)


def getProgramLog(handle):
    return _open[handle].log


def getCUBIN(handle):
    return _open[handle].code


def getPTX(handle):
    return _open[handle].code


def getVersion():
    return 13, 0


# ---- what they do


def _identifier(name: str) -> str:
    return "_N" + hashlib.sha256(name.encode()).hexdigest()[:16]


def _translate(program: Program) -> str:
    """The source as C++, with what exports its kernels."""
    source = SHARED.sub(r"\1* \2 = reinterpret_cast<\1*>(cupysim::dynamic_shared);", program.source)
    kernels = {_identifier(name): name for name in program.names}
    if not kernels:
        kernels = {name: name for name in KERNEL.findall(source)}
    exports = [f'CUPYSIM_EXPORT({identifier}, "{name}", {name})' for identifier, name in kernels.items()]
    return "\n".join([source, *exports, ""])


def _compiler_options(program: Program) -> list[str]:
    """Those of NVRTC's options that mean the same to g++; not the paths."""
    standard = [option.replace("--std", "-std") for option in program.options if "std=" in option]
    defined = [option for option in program.options if option.startswith(("-D", "-U"))]
    barriers = ["-DCUPYSIM_BARRIERS"] if BARRIER.search(program.source) else []
    return [*(standard[-1:] or ["-std=c++17"]), *OPTIONS, *defined, *barriers]


@functools.cache
def _toolchain() -> str:
    """What compiled code depends on besides source and options; no path, so that checkouts share a cache."""
    compiler = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout
    headers = [*sorted(HEADERS.rglob("*.h")), FOLDER / "machine" / "launch.h"]
    text = "".join(path.read_text("utf-8") for path in headers)
    return f"{compiler} {require_wheel()} {text}"


def _compile(program: Program) -> Path:
    source, options = _translate(program), _compiler_options(program)
    text = "\0".join([_toolchain(), *options, source])
    target = (
        machine_library.cache_folder() / "kernels" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
    )
    if not target.exists():
        from cupy import _core

        start = time.perf_counter()
        include = [f"-I{HEADERS}", f"-I{Path(_core.__file__).parent / 'include'}", "-include", "prelude.h"]
        machine_library.compile_library([*options, *include, "-x", "c++", "-"], target, source)
        program.seconds = time.perf_counter() - start
    return target
