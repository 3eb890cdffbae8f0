"""For sphinx-gallery: the pictures of the examples, and the order in which the examples stand."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

ORDER = (
    *("first_inversion.py", "own_network.py", "certificate.py", "noise_levels.py", "lifting.py"),
    *("regularisers.py", "bregman_or_squared.py", "generator.py", "denoiser.py"),
    *("discrepancy.py", "rules.py", "bregman_iteration.py", "semiconvergence.py"),
    *("conditioning.py", "null_space.py", "worst_case.py", "source_and_bound.py", "stability_study.py", "rates.py"),
    *("monotone_network.py", "lifted_training.py", "sparse_weights.py"),
    *("resume.py", "scipy_operator.py"),
)
"""From the first inversion on; an example that is not here fails the build."""

_drawn: WeakSet[Figure] = WeakSet()


def scraper(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """The figures that an example has by a name, each once; pyplot does not know of those that the library draws."""
    figures = [v for v in block_vars["example_globals"].values() if isinstance(v, Figure) and v not in _drawn]
    paths = []
    for figure in figures:
        _drawn.add(figure)
        paths.append(next(block_vars["image_path_iterator"]))
        figure.savefig(paths[-1], dpi=120)
    return figure_rst(paths, gallery_conf["src_dir"])


class Order:
    """The place of an example among the others."""

    def __init__(self, src_dir: str) -> None:
        del src_dir

    def __call__(self, filename: str) -> int:
        return ORDER.index(filename)

    def __repr__(self) -> str:
        return "Order"
