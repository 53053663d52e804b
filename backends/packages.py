"""Versions of what a backend may need, from the metadata of the packages: nothing is imported."""

from importlib import metadata

from rnnx.backends import cupy_diagnosis

PACKAGES = (
    "rnnx",
    "numpy",
    "array-api-compat",
    "array-api-strict",
    "numba",
    "torch",
    *cupy_diagnosis.WHEELS,
    "cuda-pathfinder",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-runtime",
    "nvidia-cublas",
)


def installed() -> dict[str, str | None]:
    """Version of every package that a backend may need; None for one that is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
