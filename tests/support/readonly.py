"""NumPy whose input arrays refuse to be written to: a test that passes on it leaves its inputs alone."""

from dataclasses import dataclass
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from rnnx.backends.numpy_backend import NumpyBackend


@dataclass(frozen=True)
class ReadOnlyNumpyBackend(NumpyBackend):
    """Every array that `asarray` makes is read-only."""

    def asarray(self, values: Any, dtype: Any = None) -> np.ndarray:
        array = np.array(values, dtype=self.dtype(dtype))
        array.flags.writeable = False
        return array


READ_ONLY = ReadOnlyNumpyBackend("numpy-readonly", xp, "cpu")
