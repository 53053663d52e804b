"""``RNNX_REQUIRE_BACKENDS=numpy,torch``: backends whose absence fails a test instead of skipping it."""

import os

REQUIRED = tuple(filter(None, os.environ.get("RNNX_REQUIRE_BACKENDS", "").replace(" ", "").split(",")))
