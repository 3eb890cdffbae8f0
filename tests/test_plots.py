"""Pictures hold what they say they hold, and nothing lies on anything else."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Bbox

import netinverse as ni
from tests.networks.zoo import ZOO


def lifted(name: str) -> ni.LiftedNetwork:
    architecture = ZOO[name]
    return ni.lift(architecture.model(), torch.zeros(1, *architecture.input_shape, dtype=torch.float64))


@pytest.fixture(scope="module", params=["ResNet-18", "ViT"])
def network(request: pytest.FixtureRequest) -> ni.LiftedNetwork:
    return lifted(request.param)


@pytest.fixture(scope="module")
def figure(network: ni.LiftedNetwork) -> Figure:
    drawn = ni.plots.structure(network)
    FigureCanvasAgg(drawn).draw()
    return drawn


def boxes(figure: Figure) -> list[Bbox]:
    """The nodes and the input, without the legend, which is above them; in units of the axes."""
    found = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    return [patch.get_bbox() for patch in found if patch.get_bbox().y1 <= 0]


def lines(figure: Figure) -> list[Line2D]:
    return [line for line in figure.axes[0].lines if len(line.get_xdata()) > 1]


def test_the_structure_names_every_node_with_its_shape(figure: Figure, network: ni.LiftedNetwork) -> None:
    said = [text.get_text() for text in figure.axes[0].texts]
    for node in network.nodes:
        assert node.name in said
        assert "x".join(map(str, node.shape)) in said
    assert len(boxes(figure)) == len(network.nodes) + 1


def test_the_text_of_a_node_fits_into_its_box(figure: Figure) -> None:
    inverted = figure.axes[0].transData.inverted()
    for text in figure.axes[0].texts:
        extent = Bbox(inverted.transform(text.get_window_extent()))
        if text.get_text() and extent.y1 < 0 and text.get_text() != "output":
            assert any(
                box.x0 < extent.x0 and extent.x1 < box.x1 and box.y0 < extent.y0 and extent.y1 < box.y1 for box in boxes(figure)
            ), text


def test_no_two_boxes_overlap(figure: Figure) -> None:
    for a, b in combinations(boxes(figure), 2):
        assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 1e-9 or b.y1 <= a.y0 + 1e-9


def test_no_line_that_skips_a_row_runs_through_a_box(figure: Figure) -> None:
    assert lines(figure)
    for line in lines(figure):
        corners = np.column_stack([np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)])
        for start, end in pairwise(corners):
            low, high = np.minimum(start, end), np.maximum(start, end)
            assert all(
                high[0] <= b.x0 or low[0] >= b.x1 or high[1] <= b.y0 + 1e-9 or low[1] >= b.y1 - 1e-9 for b in boxes(figure)
            )


def test_lines_that_skip_rows_do_not_lie_on_each_other(figure: Figure) -> None:
    """Two horizontal pieces at one height are of one line; no two values share a height and a stretch."""
    pieces = []
    for line in lines(figure):
        x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
        pieces += [(y[k], *sorted((x[k], x[k + 1])), line.get_color()) for k in range(len(x) - 1) if y[k] == y[k + 1]]
    for (h, a, b, _), (i, c, d, _) in combinations(pieces, 2):
        assert abs(h - i) > 1e-6 or b <= c or d <= a


def test_the_figure_grows_with_the_network() -> None:
    short, long = (ni.plots.structure(ni.mlp([4] * n)).get_size_inches() for n in (3, 30))
    assert long[0] <= 1.2 * short[0]
    assert 5 < long[1] / short[1] < 15


def test_kinds_differ_without_colour() -> None:
    """Affine, proximal and smooth boxes differ in lightness and in outline."""
    drawn = ni.plots.structure(lifted("ViT"))
    looks = {}
    for patch in drawn.axes[0].patches:
        if isinstance(patch, FancyBboxPatch) and patch.get_bbox().y1 > 0:
            looks[float(np.dot(patch.get_facecolor()[:3], (0.299, 0.587, 0.114)))] = (
                type(patch.get_boxstyle()),
                patch.get_linestyle(),
            )
    lightness = sorted(looks)
    assert len(lightness) == 3
    assert min(np.diff(lightness)) > 0.08
    assert len(set(looks.values())) == 3
