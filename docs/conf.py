"""Sphinx's settings: ``sphinx-build -W docs FOLDER``. What is generated, `generate` makes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cntbench  # noqa: E402

project = "cntbench"
author = "the authors of cntbench"
release = version = cntbench.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "generate",
]
exclude_patterns = ["generate", "examples", "pictures"]

myst_heading_anchors = 3

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "cntbench"
html_show_copyright = False
