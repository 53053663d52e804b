"""Every way in which CuPy can fail on a machine, shown by a stub of CuPy at the seams where CuPy shows it."""

import importlib
import sys

import pytest
from typer.testing import CliRunner

import rnnx
from rnnx.backends import registry
from rnnx.cli.app import app
from rnnx.errors import BackendError
from support.cupy_stub import CompileException, Machine

UNUSABLE = "cupy cannot be used: "


def check_refusal(problem, hint, name="cupy"):
    """The name is refused so, the default stays what it was, and the list of backends and doctor say it."""
    before = rnnx.get_backend()
    with pytest.raises(BackendError) as caught:
        rnnx.set_backend(name)
    assert (caught.value.problem, caught.value.hint) == (problem, hint)
    assert str(caught.value) == f"{problem} {hint}"
    assert rnnx.get_backend() is before
    result = CliRunner().invoke(app, ["doctor", "--backend", name])
    assert result.exit_code == 1
    assert f"  problem            {problem}\n  remedy             {hint}\n" in result.stdout
    if name == "cupy":
        assert rnnx.available_backends()["cupy"] == (False, problem, hint)


def test_where_all_is_well(put):
    put(Machine(devices=2))
    assert rnnx.available_backends()["cupy"][::2] == (True, "")
    assert rnnx.available_backends()["cupy"].reason.startswith("CuPy 14.2.0 on ")
    for name, index in {"cupy": 0, "cupy:0": 0, "cupy:1": 1}.items():
        with rnnx.use_backend(name) as backend:
            assert backend.device.id == index
            assert backend.asynchronous
            assert not backend.complex
    assert registry.resolve("cupy") is registry.resolve("cupy:0")
    assert str(registry.resolve("cupy:1")) == "cupy:1"


SITUATIONS = {
    "no driver": (
        Machine(driver=0, status=35),
        "there is no NVIDIA driver here.",
        "Run: nvidia-smi; if it is missing, install NVIDIA's driver (a container needs --gpus all).",
    ),
    "driver too old for CUDA 13": (
        Machine(driver=12080, status=35),
        "the NVIDIA driver is too old: it knows CUDA 12.8, and this CuPy needs CUDA 13.",
        "Update the NVIDIA driver to 580 or newer, or run: pip uninstall -y cupy-cuda13x;"
        ' pip install "rnnx[cuda12]".',
    ),
    "driver too old for any": (
        Machine(driver=11080, status=35),
        "the NVIDIA driver is too old: it knows CUDA 11.8, and this CuPy needs CUDA 13.",
        "Update the NVIDIA driver to 580 or newer.",
    ),
    "driver too old for CUDA 12": (
        Machine(wheels=("cupy-cuda12x",), cuda=12, driver=11080, status=35),
        "the NVIDIA driver is too old: it knows CUDA 11.8, and this CuPy needs CUDA 12.",
        "Update the NVIDIA driver to 525 or newer.",
    ),
    "no device": (
        Machine(status=100),
        "the NVIDIA driver shows no CUDA device.",
        'Run: nvidia-smi -L; or use set_backend("numpy").',
    ),
    "no device, without an error": (
        Machine(devices=0),
        "the NVIDIA driver shows no CUDA device.",
        'Run: nvidia-smi -L; or use set_backend("numpy").',
    ),
    "driver and kernel module differ": (
        Machine(status=803),
        "the NVIDIA kernel module and libcuda are of different versions, as after an update of the driver"
        " (CUDA status 803).",
        "Run: sudo reboot; in a container, take cuda-compat's folder off LD_LIBRARY_PATH.",
    ),
    "compatibility libraries": (
        Machine(status=804),
        "CUDA's compatibility libraries (cuda-compat) are in use, which this device does not support"
        " (CUDA status 804).",
        "Run: unset LD_LIBRARY_PATH (it shows the way to cuda-compat), or update the NVIDIA driver.",
    ),
    "driver stuck": (
        Machine(status=999),
        "the NVIDIA driver is stuck, as happens after the machine was suspended (CUDA status 999).",
        "Run: sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm; or reboot.",
    ),
    "forked process": (
        Machine(status=3),
        "CUDA does not initialise in this process, as happens after a fork, or when the driver is stuck"
        " (CUDA status 3).",
        'Run: sudo reboot; worker processes need multiprocessing.set_start_method("spawn").',
    ),
    "driver that is not whole": (
        Machine(driver=13000, status=35),
        "CUDA reports cudaErrorOfStatus35: what CUDA says (CUDA status 35).",
        "Run nvidia-smi for the state of the driver.",
    ),
    "any other status": (
        Machine(status=46),
        "CUDA reports cudaErrorOfStatus46: what CUDA says (CUDA status 46).",
        "Run nvidia-smi for the state of the driver.",
    ),
    "no NVRTC": (
        Machine(libraries=("cublas",)),
        "the CUDA runtime compiler (NVRTC), which every kernel needs, was not found.",
        'Run: pip install "rnnx[cuda13]".',
    ),
    "no cuBLAS": (
        Machine(wheels=("cupy-cuda12x",), cuda=12, libraries=("nvrtc",)),
        "cuBLAS, which every matrix product needs, was not found.",
        'Run: pip install "rnnx[cuda12]".',
    ),
    "no headers": (
        Machine(headers=None),
        "the CUDA headers, which every kernel needs, were not found.",
        'Run: pip install "rnnx[cuda13]".',
    ),
    "device too old": (
        Machine(capability="61"),
        "device 0 has compute capability 6.1, and CUDA 13 needs at least 7.5.",
        'Run: pip uninstall -y cupy-cuda13x; pip install "rnnx[cuda12]".',
    ),
    "device that does not answer": (
        Machine(capability=802),
        "CUDA reports cudaErrorOfStatus802: what CUDA says (CUDA status 802).",
        "Run nvidia-smi for the state of the driver.",
    ),
    "first kernel fails": (
        Machine(kernel=CompileException("\n=====\nnvrtc: error: no such file.\nmore\n")),
        "its self-test failed on device 0 (CompileException: nvrtc: error: no such file).",
        'Run: python -c "import cupy; cupy.show_config()".',
    ),
    "first product fails": (
        Machine(product=ImportError("libcublas.so.13: cannot open shared object file")),
        "its self-test failed on device 0 (ImportError: libcublas.so.13: cannot open shared object file).",
        'Run: python -c "import cupy; cupy.show_config()".',
    ),
    "wrong numbers": (
        Machine(wrong=1.0),
        "its self-test gave wrong numbers on device 0.",
        "Run nvidia-smi for its state.",
    ),
    "two wheels": (
        Machine(wheels=("cupy-cuda12x", "cupy-cuda13x")),
        "cupy-cuda12x and cupy-cuda13x are installed together and overwrite each other.",
        'Run: pip uninstall -y cupy-cuda12x cupy-cuda13x; then: pip install "rnnx[cuda13]" (or "rnnx[cuda12]"'
        " for an NVIDIA driver before 580).",
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_situation_is_told_apart(put, situation):
    machine, problem, hint = SITUATIONS[situation]
    put(machine)
    check_refusal(UNUSABLE + problem, hint)


def test_no_two_situations_read_the_same():
    sentences = {problem for _, problem, _ in SITUATIONS.values()}
    assert len(sentences) == len(SITUATIONS) - 1  # a device count of 0 reads as status 100


@pytest.mark.parametrize("value", ["", "-1", "7"])
def test_hidden_device_shows_the_variable(put, monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    put(Machine(status=100))
    check_refusal(
        f"{UNUSABLE}the NVIDIA driver shows no CUDA device: CUDA_VISIBLE_DEVICES is {value!r}.",
        'Run: unset CUDA_VISIBLE_DEVICES; or use set_backend("numpy").',
    )


def test_index_beyond_the_devices(put, monkeypatch):
    put(Machine(devices=1))
    problem = "cupy has no device 7: there is 1 CUDA device, counted from 0."
    check_refusal(problem, 'Use set_backend("cupy").', "cupy:7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    put(Machine(devices=2))
    problem = (
        "cupy has no device 2: there are 2 CUDA devices (CUDA_VISIBLE_DEVICES is '4,5'), counted from 0."
    )
    check_refusal(problem, 'Use one of "cupy:0" to "cupy:1".', "cupy:2")


@pytest.mark.parametrize("device", ["-1", "one", "1.0", "cuda:0", "٣"])
def test_index_that_is_none(put, device):
    put(Machine())
    problem = f"cupy has no device {device!r}; expected the index of a CUDA device."
    check_refusal(problem, 'For example set_backend("cupy:1").', f"cupy:{device}")


def test_not_installed(put):
    put(Machine(wheels=()), cupy=None)
    del sys.modules["array_api_compat.cupy"]
    check_refusal(
        f"{UNUSABLE}the package 'cupy' is not installed.",
        'Run: pip install "rnnx[cuda13]" for cupy-cuda13x (NVIDIA driver 580 or newer),'
        ' or pip install "rnnx[cuda12]" for cupy-cuda12x (525 or newer).',
    )


def test_a_broken_installation(put, tmp_path, monkeypatch):
    (tmp_path / "cupy.py").write_text(
        "try:\n    raise ImportError('libcudart.so.13: cannot open')\n"
        "except ImportError as error:\n    raise ImportError('\\n====\\nFailed to import.\\n') from error\n"
    )
    put(Machine())
    del sys.modules["cupy"]
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(BackendError) as caught:
        rnnx.set_backend("cupy")
    assert caught.value.problem == f"{UNUSABLE}it does not import (libcudart.so.13: cannot open)."
    assert caught.value.hint.startswith('Install it anew: pip install "rnnx[cuda13]"')


def test_libraries_that_cupy_finds_by_itself(put):
    put(Machine(libraries=(), headers=None), **{"cuda.pathfinder": None})
    assert rnnx.available_backends()["cupy"].usable
