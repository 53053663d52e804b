"""What keeps CuPy from working on this machine: each cause told apart by one sentence and one remedy.

CUDA reports a missing driver, an old one and a hidden device in the same few status codes, and CuPy without a
compiler or cuBLAS fails only at the first kernel or product. So all of it is tried when the backend is made.
"""

import importlib
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from rnnx.backends.registry import first_line
from rnnx.errors import BackendError

WHEELS = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")
"""Distributions that install the package ``cupy``; two of them overwrite each other's files."""

DRIVER = {12: 525, 13: 580}
"""Least NVIDIA driver by CUDA version (docs.nvidia.com/deploy/cuda-compatibility, minor version, table 1)."""

CAPABILITY = {12: (5, 0), 13: (7, 5)}
"""Least compute capability by CUDA version: CUDA 13 dropped Maxwell, Pascal and Volta (its release notes)."""

TOO_OLD, NO_DEVICE = 35, 100
"""cudaErrorInsufficientDriver, also where there is no driver at all; cudaErrorNoDevice."""

DRIVER_FILE = Path("/proc/driver/nvidia/version")

STATUS = {
    3: (
        "CUDA does not initialise in this process, as happens after a fork, or when the driver is stuck",
        'Run: sudo reboot; worker processes need multiprocessing.set_start_method("spawn").',
    ),
    803: (
        "the NVIDIA kernel module and libcuda are of different versions, as after an update of the driver",
        "Run: sudo reboot; in a container, take cuda-compat's folder off LD_LIBRARY_PATH.",
    ),
    804: (
        "CUDA's compatibility libraries (cuda-compat) are in use, which this device does not support",
        "Run: unset LD_LIBRARY_PATH (it shows the way to cuda-compat), or update the NVIDIA driver.",
    ),
    999: (
        "the NVIDIA driver is stuck, as happens after the machine was suspended",
        "Run: sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm; or reboot.",
    ),
}
"""Problem and remedy by CUDA status, where the status alone tells the cause."""


def require_one_wheel() -> None:
    """Raise if two CuPy wheels are installed; called before CuPy is imported, which would only warn."""
    found = _installed_wheels()
    if len(found) > 1:
        _refuse(
            f"{' and '.join(found)} are installed together and overwrite each other",
            f"Run: pip uninstall -y {' '.join(found)}; then: {_install()}.",
        )


def require_device(cupy: Any, index: int) -> None:
    """Raise `BackendError` unless CuPy runs kernels and matrix products on a device.

    Parameters
    ----------
    cupy : module
    index : int
        As CUDA counts the devices that ``CUDA_VISIBLE_DEVICES`` leaves.
    """
    cuda = cupy.cuda.runtime.runtimeGetVersion() // 1000
    count = _device_count(cupy.cuda.runtime, cuda)
    if index >= count:
        there = "there is 1 CUDA device" if count == 1 else f"there are {count} CUDA devices"
        there += _hidden(" (CUDA_VISIBLE_DEVICES is {!r})")
        raise BackendError(
            f"cupy has no device {index}: {there}, counted from 0.",
            'Use set_backend("cupy").' if count == 1 else f'Use one of "cupy:0" to "cupy:{count - 1}".',
        )
    _require_libraries(cuda)
    _require_capability(cupy, index, cuda)
    _require_self_test(cupy, index)


def details(cupy: Any, index: int) -> dict[str, str]:
    """Names and versions of a device that works, and of what CuPy runs on."""
    runtime = cupy.cuda.runtime
    digits = cupy.cuda.Device(index).compute_capability
    found = {
        "name": runtime.getDeviceProperties(index)["name"].decode(),
        "compute capability": f"{digits[:-1]}.{digits[-1]}",
        "NVIDIA driver": _driver_release(),
        "CUDA of the driver": _cuda_version(runtime.driverGetVersion()),
        "CUDA of CuPy": _cuda_version(runtime.runtimeGetVersion()),
    }
    return {name: value for name, value in found.items() if value}


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver_release() -> str:
    """Version of the kernel module, such as 580.65.06, which CUDA itself does not tell; empty if unknown."""
    try:
        text = DRIVER_FILE.read_text("utf-8", errors="replace")
    except OSError:
        return ""
    release = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return release[1] if release else ""


def _refuse(problem: str, hint: str) -> NoReturn:
    raise BackendError(f"cupy cannot be used: {problem}.", hint)


def _installed_wheels() -> list[str]:
    found = []
    for name in WHEELS:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def _install(cuda: int = 0) -> str:
    """The command that installs CuPy for a CUDA version; both commands for an unknown one."""
    if cuda in DRIVER:
        return f'pip install "rnnx[cuda{cuda}]"'
    return f'pip install "rnnx[cuda13]" (or "rnnx[cuda12]" for an NVIDIA driver before {DRIVER[13]})'


def _hidden(text: str) -> str:
    """The text with the value of ``CUDA_VISIBLE_DEVICES``, or nothing where that is not set."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if value is None else text.format(value)


def _device_count(runtime: Any, cuda: int) -> int:
    driver = runtime.driverGetVersion()
    status, text = NO_DEVICE, ""
    try:
        count: int = runtime.getDeviceCount()
        if count:
            return count
    except runtime.CUDARuntimeError as error:
        status, text = error.status, first_line(error)
    if status == TOO_OLD and driver == 0:
        _refuse(
            "there is no NVIDIA driver here",
            "Run: nvidia-smi; if it is missing, install NVIDIA's driver (a container needs --gpus all).",
        )
    if status == TOO_OLD and driver // 1000 < cuda:
        _refuse_driver(driver, cuda)
    if status == NO_DEVICE:
        hidden = _hidden(": CUDA_VISIBLE_DEVICES is {!r}")
        command = "unset CUDA_VISIBLE_DEVICES" if hidden else "nvidia-smi -L"
        _refuse(
            f"the NVIDIA driver shows no CUDA device{hidden}",
            f'Run: {command}; or use set_backend("numpy").',
        )
    _refuse_status(status, text)


def _refuse_status(status: int, text: str) -> NoReturn:
    unknown = f"CUDA reports {text}", "Run nvidia-smi for the state of the driver."
    problem, hint = STATUS.get(status, unknown)
    _refuse(f"{problem} (CUDA status {status})", hint)


def _refuse_driver(driver: int, cuda: int) -> NoReturn:
    hint = f"Update the NVIDIA driver to {DRIVER.get(cuda, DRIVER[13])} or newer."
    if cuda == 13 and driver >= 12000:
        installed = " ".join(_installed_wheels())
        hint = f"{hint[:-1]}, or run: pip uninstall -y {installed}; {_install(12)}."
    supported = _cuda_version(driver)
    _refuse(f"the NVIDIA driver is too old: it knows CUDA {supported}, and this CuPy needs CUDA {cuda}", hint)


def _require_libraries(cuda: int) -> None:
    """Raise unless compiler, headers and cuBLAS are found; a kernel from CuPy's cache would hide the loss."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
    except ImportError:  # a CuPy that finds its libraries without it; the self-test decides
        return
    problems = {
        "nvrtc": "the CUDA runtime compiler (NVRTC), which every kernel needs, was not found",
        "cublas": "cuBLAS, which every matrix product needs, was not found",
    }
    for library, problem in problems.items():
        try:
            pathfinder.load_nvidia_dynamic_lib(library)
        except RuntimeError:
            _refuse(problem, f"Run: {_install(cuda)}.")
    if pathfinder.find_nvidia_header_directory("cudart") is None:
        _refuse("the CUDA headers, which every kernel needs, were not found", f"Run: {_install(cuda)}.")


def _require_capability(cupy: Any, index: int, cuda: int) -> None:
    try:
        digits = cupy.cuda.Device(index).compute_capability
    except cupy.cuda.runtime.CUDARuntimeError as error:
        _refuse_status(error.status, first_line(error))
    found, needed = (int(digits[:-1]), int(digits[-1])), CAPABILITY.get(cuda, (0, 0))
    if found < needed:
        _refuse(
            f"device {index} has compute capability {found[0]}.{found[1]}, and CUDA {cuda} needs at least"
            f" {needed[0]}.{needed[1]}",
            f"Run: pip uninstall -y {' '.join(_installed_wheels())}; {_install(12)}."
            if cuda == 13
            else 'Use set_backend("numpy").',
        )


def _require_self_test(cupy: Any, index: int) -> None:
    """Raise unless one kernel and one matrix product give the right numbers."""
    try:
        with cupy.cuda.Device(index):
            ones = cupy.ones((2, 2), dtype="float32")
            result = cupy.asnumpy(cupy.matmul(ones + ones, ones)).tolist()
    except Exception as error:  # driver, compiler and cuBLAS have no base class in common
        what = f"{type(error).__name__}: {first_line(error)}"
        raise BackendError(
            f"cupy cannot be used: its self-test failed on device {index} ({what}).",
            'Run: python -c "import cupy; cupy.show_config()".',
        ) from error
    if result != [[4.0, 4.0], [4.0, 4.0]]:
        _refuse(f"its self-test gave wrong numbers on device {index}", "Run nvidia-smi for its state.")
