"""The installed CuPy wheel where the driver or a CUDA library is wrong, made so by stub libraries built here.

Nothing of CuPy is replaced, but for the number of devices where a missing library is to be met: no stub makes
CUDA start. What stubs cannot show stands in test_cupy_diagnosis.py.
"""

import json

import pytest

from rnnx.backends import cupy_diagnosis
from support import broken_machine

UNUSABLE = "cupy cannot be used: "
CUDA = int((broken_machine.installed_wheel() or "cupy-cuda13x")[len("cupy-cuda") :][:2])
WHEEL = f"cupy-cuda{CUDA}x"
CURRENT = str(1000 * CUDA + 90)


@pytest.fixture(scope="module", autouse=True)
def _all_is_there():
    missing = broken_machine.what_is_missing()
    if missing and broken_machine.is_required():
        pytest.fail(f"RNNX_REQUIRE_BACKENDS names cupy. {missing}")
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """A folder with the stub driver."""
    folder = tmp_path_factory.mktemp("driver")
    broken_machine.build(folder / "libcuda.so.1", broken_machine.STUB)
    return folder


def check(found, problem, hint):
    """`set_backend` raised this, and doctor printed the same and failed."""
    assert found["raised"] == [problem, hint]
    assert found["status"] == 1
    assert f"  problem            {problem}\n  remedy             {hint}\n" in found["text"]
    (finding,) = json.loads(found["json"])["findings"]
    assert (finding["problem"], finding["hint"], finding["works"]) == (problem, hint, False)


def test_no_driver(tmp_path):
    (tmp_path / "libcuda.so.1").touch()  # found before any other, and no library
    check(
        broken_machine.examine([tmp_path]),
        f"{UNUSABLE}there is no NVIDIA driver here.",
        "Run: nvidia-smi; if it is missing, install NVIDIA's driver (a container needs --gpus all).",
    )


OLD = {
    13: {
        "12080": ("12.8", f'580 or newer, or run: pip uninstall -y {WHEEL}; pip install "rnnx[cuda12]".'),
        "11080": ("11.8", "580 or newer."),
    },
    12: {"11080": ("11.8", "525 or newer.")},
}[CUDA]


@pytest.mark.parametrize("version", OLD)
def test_driver_too_old(libraries, version):
    shown, driver = OLD[version]
    check(
        broken_machine.examine([libraries], STUB_VERSION=version),
        f"{UNUSABLE}the NVIDIA driver is too old: it knows CUDA {shown}, and this CuPy needs CUDA {CUDA}.",
        f"Update the NVIDIA driver to {driver}",
    )


def test_no_device(libraries):
    check(
        broken_machine.examine([libraries], STUB_VERSION=CURRENT, STUB_INIT="100"),
        f"{UNUSABLE}the NVIDIA driver shows no CUDA device.",
        'Run: nvidia-smi -L; or use set_backend("numpy").',
    )


def test_hidden_device(libraries):
    variables = dict(STUB_VERSION=CURRENT, STUB_INIT="100", CUDA_VISIBLE_DEVICES="-1")
    check(
        broken_machine.examine([libraries], **variables),
        f"{UNUSABLE}the NVIDIA driver shows no CUDA device: CUDA_VISIBLE_DEVICES is '-1'.",
        'Run: unset CUDA_VISIBLE_DEVICES; or use set_backend("numpy").',
    )


@pytest.mark.parametrize("status", cupy_diagnosis.STATUS)
def test_driver_that_does_not_start(libraries, status):
    problem, hint = cupy_diagnosis.STATUS[status]
    check(
        broken_machine.examine([libraries], STUB_VERSION=CURRENT, STUB_INIT=str(status)),
        f"{UNUSABLE}{problem} (CUDA status {status}).",
        hint,
    )


def test_status_that_is_not_known(libraries):
    found = broken_machine.examine([libraries], STUB_VERSION=CURRENT, STUB_INIT="46")
    problem, hint = found["raised"]
    assert problem.startswith(f"{UNUSABLE}CUDA reports cudaErrorDevicesUnavailable: ")
    assert problem.endswith(" (CUDA status 46).")
    check(found, problem, hint)


def test_two_wheels(libraries, tmp_path):
    other = {12: "cupy-cuda13x", 13: "cupy-cuda12x"}[CUDA]
    folder = tmp_path / f"{other.replace('-', '_')}-14.2.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {other}\nVersion: 14.2.0\n")
    check(
        broken_machine.examine([libraries], paths=[tmp_path]),
        f"{UNUSABLE}cupy-cuda12x and cupy-cuda13x are installed together and overwrite each other.",
        'Run: pip uninstall -y cupy-cuda12x cupy-cuda13x; then: pip install "rnnx[cuda13]" (or "rnnx[cuda12]"'
        " for an NVIDIA driver before 580).",
    )


def test_no_wheel(libraries):
    check(
        broken_machine.examine([libraries], "import sys\nsys.modules['cupy'] = None\n"),
        f"{UNUSABLE}the package 'cupy' is not installed.",
        'Run: pip install "rnnx[cuda13]" for cupy-cuda13x (NVIDIA driver 580 or newer),'
        ' or pip install "rnnx[cuda12]" for cupy-cuda12x (525 or newer).',
    )


MISSING = {
    "NVRTC": (
        ("cublas", "cublasLt"),
        "the CUDA runtime compiler (NVRTC), which every kernel needs, was not found.",
    ),
    "cuBLAS": (("nvrtc",), "cuBLAS, which every matrix product needs, was not found."),
    "headers": (
        ("cublas", "cublasLt", "cudart", "nvrtc"),  # the system's headers are looked for beside libcudart
        "the CUDA headers, which every kernel needs, were not found.",
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_missing_part_of_cuda(libraries, tmp_path, what):
    there, problem = MISSING[what]
    for name in there:
        broken_machine.build(tmp_path / f"lib{name}.so.{CUDA}")
    found = broken_machine.examine([tmp_path, libraries], broken_machine.HIDE_LIBRARIES, STUB_VERSION=CURRENT)
    if found["raised"] is None or problem not in found["raised"][0]:
        in_the_way = broken_machine.system_cuda()
        if in_the_way:
            pytest.skip(f"A CUDA of the system cannot be hidden: {in_the_way}")
    check(found, UNUSABLE + problem, f'Run: pip install "rnnx[cuda{CUDA}]".')
