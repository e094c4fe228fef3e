"""Sphinx's settings: ``sphinx-build -W docs FOLDER``. What is generated, `generate` makes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cntbench

project = "cntbench"
author = "the authors of cntbench"
release = version = cntbench.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "generate",
]
exclude_patterns = ["generate", "examples", "pictures", "static"]

myst_heading_anchors = 3

# The example notebook is executed whenever the pages are built.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_output_stderr = "remove"

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False

html_theme = "furo"
html_title = "cntbench"
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
