"""Sphinx: the pages of docs/, in Markdown."""

import re
from pathlib import Path

project = "netinverse"
author = "The netinverse authors"
copyright = f"2026, {author}"
release = re.findall(r'^__version__ = "(.*)"$', (Path(__file__).parents[1] / "netinverse/version.py").read_text("utf-8"), re.M)[0]
version = release

extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"netinverse {release}"
