"""The graph of a lifted network as a drawing."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from netinverse.checks import require_object
from netinverse.networks.layout import Cell, Lane, Layout, layout
from netinverse.networks.summary import operator, shape_text

if TYPE_CHECKING:
    from netinverse.networks.graph import LiftedNetwork


def structure(network: LiftedNetwork) -> Figure:
    """The graph of a lifted network, input at the top: what each node is, its shape, and the way of every value.

    An affine map (white, square) and the activation that alone takes its value (light, rounded) are one box; smooth nodes are
    darker, with a dashed edge. In each: name and shape, and below the operators or the potential, and the module in brackets.
    An arrow leads to the next row; a value that skips a row runs down a line of its own at the right, with a dot where a branch
    leaves it. The figure grows with the network: about an inch for each activation.
    """
    require_object("structure", "network", network, ("activations", "values"), "Write ni.lift(model, example).")
    drawing = _Structure(layout(network), network)
    figure = Figure(figsize=(drawing.right - drawing.left, drawing.top - drawing.bottom))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(drawing.left, drawing.right), ylim=(drawing.bottom, drawing.top))
    axes.set_axis_off()
    drawing.draw(axes)
    return figure


_LOOKS: dict[str, dict[str, Any]] = {
    "input": {"boxstyle": "round,pad=0,rounding_size=0.15", "facecolor": "white", "linewidth": 1.6, "edgecolor": "0.1"},
    "affine": {"boxstyle": "square,pad=0", "facecolor": "white", "linewidth": 0.9, "edgecolor": "0.1"},
    "proximal": {"boxstyle": "round,pad=0,rounding_size=0.1", "facecolor": "#cfe0ef", "linewidth": 0.9, "edgecolor": "0.1"},
    "smooth": {"boxstyle": "round,pad=0,rounding_size=0.1", "facecolor": "#e0965a", "linestyle": "--", "edgecolor": "0.1"},
}
_LANE_COLOURS = ("#1f4e79", "#8c2d04", "#2e6b34", "#5a3d7a", "#444444")
_STRIP, _SLOT, _TRACK, _CHARACTER = 0.36, 0.09, 0.13, 0.063  # inches


class _Structure:
    """Coordinates of a layout, in inches, and the strokes that draw it. Rows grow downwards from zero."""

    def __init__(self, plan: Layout, network: LiftedNetwork) -> None:
        self.plan, self.network = plan, network
        strips = [strip for cell in plan.cells.values() for strip in self._strips(cell)]
        self.width = max(_CHARACTER * max(len(name) + len(shape) + 3, len(what) + 2) for _, name, shape, what in strips)
        self.pitch = self.width + 0.3
        # Inner lanes arrive higher and further left than outer ones, so that they do not cross.
        by_track = sorted(plan.lanes, key=lambda lane: lane.track)
        self.exits = [[lane for lane in plan.lanes if lane.first == row - 1] for row in range(len(plan.rows))]
        self.entries = [
            [(lane, t) for lane in by_track for t in lane.targets if plan.cells[t].row == row] for row in range(len(plan.rows))
        ]
        self.tops = [0.0]
        for row, cells in enumerate(plan.rows[:-1]):
            slots = len(self.exits[row + 1]) + len(self.entries[row + 1])
            self.tops.append(self.tops[-1] - max(map(self._height, cells)) - max(0.3, _SLOT * (slots + 2)))
        half = max(len(cells) for cells in plan.rows) * self.pitch / 2
        tracks = 1 + max((lane.track for lane in plan.lanes), default=-1)
        self.first_track = half + 0.05
        self.left, self.right = -half - 0.1, max(half + _TRACK * tracks + 0.2, 2.6)
        self.top, self.bottom = 0.55, self.tops[-1] - max(map(self._height, plan.rows[-1])) - 0.5

    def draw(self, axes: Axes) -> None:
        for source, target in self.plan.direct:
            start, end = self.plan.cells[source], self.plan.cells[target]
            self._arrow(axes, (self._x(start), self._foot(start)), (self._x(end), self.tops[end.row]), "0.15")
        for lane, colour in zip(self.plan.lanes, cycle(_LANE_COLOURS), strict=False):
            self._draw_lane(axes, lane, colour)
        for cell in self.plan.cells.values():
            self._draw_cell(axes, cell)
        last = self.plan.cells[self.network.nodes[-1].name]
        self._arrow(axes, (self._x(last), self._foot(last)), (self._x(last), self._foot(last) - 0.25), "0.15")
        axes.text(self._x(last), self._foot(last) - 0.36, "output", ha="center", va="center", fontsize=7)
        self._draw_legend(axes)

    def _strips(self, cell: Cell) -> list[tuple[str, str, str, str]]:
        """Look, name, shape and operator of each part of a cell."""
        if not cell.nodes:
            return [("input", cell.name, shape_text(self.network.input_shape), "input")]
        module = cell.nodes[-1].origin.module
        places = [""] * (len(cell.nodes) - 1) + [f"  [{module}]" if module else ""]
        return [(n.kind, n.name, shape_text(n.shape), operator(n) + place) for n, place in zip(cell.nodes, places, strict=True)]

    def _height(self, cell: Cell) -> float:
        return _STRIP * max(1, len(cell.nodes))

    def _x(self, cell: Cell) -> float:
        return cell.place * self.pitch

    def _foot(self, cell: Cell) -> float:
        return self.tops[cell.row] - self._height(cell)

    def _slot(self, row: int, number: int) -> float:
        """The height of a horizontal line in the channel above ``row``, counted from the channel's top."""
        floor = self.tops[row - 1] - max(map(self._height, self.plan.rows[row - 1]))
        count = len(self.exits[row]) + len(self.entries[row])
        return floor - (floor - self.tops[row]) * (number + 1) / (count + 1.5)

    def _port(self, cell: Cell, number: int, count: int) -> float:
        """Where a lane meets a cell: on its right half."""
        return self._x(cell) + self.width * (0.1 + 0.35 * (number + 1) / (count + 1))

    def _draw_lane(self, axes: Axes, lane: Lane, colour: str) -> None:
        line: dict[str, Any] = {"color": colour, "lw": 0.9, "solid_joinstyle": "round", "zorder": 1}
        source, x = self.plan.cells[lane.source], self.first_track + _TRACK * lane.track
        leave = self._slot(source.row + 1, self.exits[source.row + 1].index(lane))
        port = self._port(source, 0, 1)
        axes.plot([port, port, x], [self._foot(source), leave, leave], **line)
        branches = []
        for target in lane.targets:
            cell = self.plan.cells[target]
            entries = self.entries[cell.row]
            own = [entry for entry in entries if entry[1] == target]
            height = self._slot(cell.row, len(self.exits[cell.row]) + entries.index((lane, target)))
            branches.append((height, self._port(cell, own.index((lane, target)), len(own)), self.tops[cell.row]))
        for height, port, top in branches:
            axes.plot([x, x, port], [leave, height, height], **line)
            self._arrow(axes, (port, height), (port, top), colour)
        for height in sorted(height for height, _, _ in branches)[1:]:
            axes.plot([x], [height], "o", color=colour, ms=2.6, zorder=2)

    def _draw_cell(self, axes: Axes, cell: Cell) -> None:
        x, y = self._x(cell) - self.width / 2, self.tops[cell.row]
        for look, name, shape, what in self._strips(cell):
            y -= _STRIP
            axes.add_patch(FancyBboxPatch((x, y), self.width, _STRIP, **_LOOKS[look]))
            axes.text(x + 0.07, y + 0.24, name, fontsize=7, fontweight="bold", va="center")
            axes.text(x + self.width - 0.07, y + 0.24, shape, fontsize=7, ha="right", va="center")
            axes.text(x + 0.07, y + 0.1, what, fontsize=6.5, color="0.15", va="center")

    def _draw_legend(self, axes: Axes) -> None:
        x = self.left + 0.15
        for kind in dict.fromkeys(["affine", "proximal", *(node.kind for node in self.network.nodes)]):
            axes.add_patch(FancyBboxPatch((x, 0.27), 0.24, 0.16, **(_LOOKS[kind] | {"mutation_aspect": 0.5})))
            axes.text(x + 0.3, 0.35, kind, fontsize=7, va="center")
            x += 0.85

    @staticmethod
    def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        style = {"arrowstyle": "-|>,head_width=0.12,head_length=0.25", "color": colour, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", end, start, arrowprops=style, zorder=1)
