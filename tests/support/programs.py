"""Every pointwise body that the library has, by name."""

from rnnx.cells import REGISTRY
from rnnx.ops import Pointwise
from rnnx.optim import rules

CELLS = {body.__name__: body for make in REGISTRY.values() for body in make(2, 3).bodies}
OPTIMISERS = {name: body for name, body in vars(rules).items() if isinstance(body, Pointwise)}
BODIES = CELLS | OPTIMISERS


def scalars_of(body):
    """Names of the inputs that are Python numbers: in an optimiser's body those behind the gradient."""
    inputs = body.program.inputs
    return inputs[inputs.index("in_g") + 1 :] if body in OPTIMISERS.values() else ()
