"""A stub of CuPy and of the finder of CUDA libraries: a broken machine, at the seams where CuPy shows it."""

from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import numpy as np


class CUDARuntimeError(RuntimeError):
    def __init__(self, status):
        super().__init__(f"cudaErrorOfStatus{status}: what CUDA says.")
        self.status = status


class DynamicLibNotFoundError(RuntimeError):
    pass


class CompileException(Exception):
    pass


class OutOfMemoryError(MemoryError):
    pass


@dataclass
class Machine:
    """What CuPy would meet; by default all is well."""

    wheels: tuple = ("cupy-cuda13x",)
    cuda: int = 13
    driver: int = 13020
    status: int = 0
    devices: int = 1
    libraries: tuple = ("nvrtc", "cublas")
    headers: str | None = "/usr/include"
    capability: str | int = "90"  # a number is the status of the error
    kernel: Exception | None = None
    product: Exception | None = None
    wrong: float = 0.0
    free: int = 2**30
    total: int = 2**30
    used: int = 0
    held: int = 0
    limit: int = 0

    def device_count(self):
        if self.status:
            raise CUDARuntimeError(self.status)
        return self.devices

    def load(self, name):
        if name not in self.libraries:
            raise DynamicLibNotFoundError(f'Failure finding "lib{name}.so"')

    def ones(self, shape, dtype):
        if self.kernel:
            raise self.kernel
        return np.ones(shape, dtype)

    def matmul(self, a, b):
        if self.product:
            raise self.product
        return a @ b + self.wrong


class Device:
    def __init__(self, index, capability):
        self.id = index
        self.capability = capability

    @property
    def compute_capability(self):
        if isinstance(self.capability, int):
            raise CUDARuntimeError(self.capability)
        return self.capability

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class ndarray:
    """No more of an array than what tells where it is."""

    __module__ = "cupy"

    def __init__(self, shape, device):
        self.shape, self.ndim, self.dtype = shape, len(shape), np.dtype("float32")
        self.device = Device(device, "90")


def module(name, **content):
    made = ModuleType(name)
    vars(made).update(content)
    return made


def stubs_of(machine):
    """Modules by name, as they would be in sys.modules on that machine."""
    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        runtimeGetVersion=lambda: 1000 * machine.cuda + 20,
        driverGetVersion=lambda: machine.driver,
        getDeviceCount=machine.device_count,
        memGetInfo=lambda: (machine.free, machine.total),
    )
    cuda = SimpleNamespace(
        runtime=runtime,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        Device=lambda index: Device(index, machine.capability),
    )
    pool = SimpleNamespace(
        used_bytes=lambda: machine.used, total_bytes=lambda: machine.held, get_limit=lambda: machine.limit
    )
    cupy = module(
        "cupy",
        __version__="14.2.0",
        cuda=cuda,
        ones=machine.ones,
        matmul=machine.matmul,
        asnumpy=np.asarray,
        ndarray=ndarray,
        get_default_memory_pool=lambda: pool,
    )
    pathfinder = module(
        "cuda.pathfinder",
        load_nvidia_dynamic_lib=machine.load,
        find_nvidia_header_directory=lambda name: machine.headers,
    )
    stubs = (cupy, module("array_api_compat.cupy"), module("cuda"), pathfinder)
    return {stub.__name__: stub for stub in stubs}
