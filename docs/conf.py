"""Sphinx: the pages of docs/ in Markdown, the gallery of docs/gallery/, and the reference from the docstrings."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference_pages

project = "netinverse"
author = "The netinverse authors"
copyright = f"2026, {author}"
release = re.findall(r'^__version__ = "(.*)"$', (Path(__file__).parents[1] / "netinverse/version.py").read_text("utf-8"), re.M)[0]
version = release

extensions = ["myst_parser", "mathml", "sphinx.ext.autodoc", "sphinx_gallery.gen_gallery"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "gallery"]
nitpicky = True

autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# Names, not objects: what is configured by an object cannot be compared with the last build.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": "/",
    "image_scrapers": ("example_figures.scraper",),
    "subsection_order": [
        f"gallery/{part}" for part in ("first_steps", "regularisers", "strength", "stability", "training", "working")
    ],
    "within_subsection_order": "example_figures.Order",
    "abort_on_example_error": True,
    "capture_repr": (),
    "doc_module": ("netinverse",),
    "download_all_examples": False,
    "write_computation_times": False,
    "min_reported_time": 3600,
    "matplotlib_animations": False,
}

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"netinverse {release}"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False


def setup(app):
    reference_pages.setup(app)
