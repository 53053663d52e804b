"""Configuration of the documentation site: `tox -e docs`."""

from importlib.metadata import version as installed_version

project = "rnnx"
author = "the rnnx developers"
project_copyright = "2026, the rnnx developers"
version = release = installed_version("rnnx")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# api.md lists the public names; no pages are generated into the source tree.
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"rnnx {release}"
