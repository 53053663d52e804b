"""The gradient check's own proof: small errors are put into every cell's backward pass, and it must see them.

A mutant is a cell with one change in what its backward pass runs. It is *killed* if the check fails on it,
killed *by an error* if it raises, and *equivalent* if its gradients are the true ones on many random
problems, which is measured, not proven. All others have *survived*.
"""

from rnnx.gradient_check.mutation.report import Mutant, MutationReport
from rnnx.gradient_check.mutation.run import mutation_run

__all__ = ["Mutant", "MutationReport", "mutation_run"]
