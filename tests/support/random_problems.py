"""Problems of cells at random sizes, for runs that must give no false alarm."""

import numpy as np

from rnnx.gradient_check.problem import cell_problem

LARGEST = {"D": 7, "H": 8, "T": 8, "N": 5}


def random_problem(make, name, seed):
    """A problem of a cell; its sizes and traps follow from the seed."""
    rng = np.random.default_rng([seed, 20240509])
    D, H, T, N = (int(rng.integers(1, largest + 1)) for largest in LARGEST.values())
    options = {"saturated": bool(rng.random() < 0.3), "with_state": bool(rng.random() < 0.7)}
    if rng.random() < 0.3:
        options["lengths"] = [int(length) for length in rng.integers(1, T + 1, N)]
    case = f"seed {seed}: T={T}, N={N}, D={D}, H={H}, {options}"
    return cell_problem(make(D, H), name, case, T, N, seed=seed, **options)
