"""``RNNX_REQUIRE_BACKENDS``: backends whose absence is a failure and not a remark."""

import os

from rnnx import backends
from rnnx.errors import OptionError


def required_backends() -> set[str]:
    """Backends that must not be missing, from the environment."""
    required = {name.strip() for name in os.environ.get("RNNX_REQUIRE_BACKENDS", "").split(",")} - {""}
    unknown = sorted(required - {*backends.names(), "numpy-readonly"})
    if unknown:
        raise OptionError(
            f"RNNX_REQUIRE_BACKENDS names {', '.join(unknown)}.", f"Known are {', '.join(backends.names())}."
        )
    return required
