"""Pictures of results. Every function returns a Figure and shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from netinverse.checks import require_floating, require_object
from netinverse.diagnostics.metrics import psnr
from netinverse.networks.layout import Cell, Lane, Layout, layout
from netinverse.networks.summary import operator, shape_text

if TYPE_CHECKING:
    import pandas as pd

    from netinverse.networks.graph import LiftedNetwork
    from netinverse.reconstruction import Reconstruction
    from netinverse.studies import Study


def reconstruction_grid(columns: Mapping[str, Tensor], truth: Tensor | None = None, samples: int = 8) -> Figure:
    """One row a sample, one column for each entry of ``columns``; the PSNR against ``truth`` under each picture but the truth's.

    Shapes: every entry (batch, channels, height, width), or (batch, ...) drawn as a curve. Grey scale: that of the first column.
    The PSNR is for entries from [0, 1] where those of the truth are, and otherwise from the interval that they fill.
    """
    require_object("reconstruction_grid", "columns", columns, ("items", "values"), "Pass {'reconstruction': result.x}.")
    columns = {name: require_floating("reconstruction_grid", name, x) for name, x in columns.items()}
    if not columns:
        raise ValueError("reconstruction_grid: columns is empty, so there is nothing to draw. Pass {'reconstruction': result.x}.")
    rows = min([samples, *(len(x) for x in columns.values())])
    figure = Figure(figsize=(1.7 * len(columns), max(1.9 * rows, 1.2) + 0.3), layout="constrained")
    if not rows:
        figure.text(0.5, 0.5, "no samples", ha="center")
        return figure
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for j, (name, x) in enumerate(columns.items()):
        shown = x[:rows].detach().cpu()
        values = None if truth is None or x is truth else psnr(shown, truth[:rows].detach().cpu(), _width(truth))
        for i in range(rows):
            first = next(iter(columns.values()))[i]
            _draw(axes[i, j], shown[i], float(first.min()), float(first.max()))
            if i == 0:
                axes[i, j].set_title(name, fontsize=9)
            if values is not None:
                axes[i, j].set_xlabel(f"{values[i].item():.1f} dB", fontsize=8)
    return figure


def _width(truth: Tensor) -> float:
    low, high = float(truth.min()), float(truth.max())
    return 1.0 if low == high or (low >= 0 and high <= 1) else high - low


def rule_trace(result: Reconstruction) -> Figure:
    """Residual against alpha at every weight the rule visited, one line a sample, with the largest and least noise level left."""
    table = result.tried
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for _, part in table.groupby("sample"):
        part = part.sort_values("alpha")
        axes.loglog(part["alpha"], part["residual"], ".-", lw=0.8, ms=3, alpha=0.6)
    if result.noise_level is not None and len(result.noise_level):
        levels = result.noise_level.detach().double().cpu()
        if bool((levels > 0).any()):
            low, high = float(levels[levels > 0].min()), float(levels.max())
            axes.axhspan(low, high, color="0.85", zorder=0)
            axes.axhline(float(levels.median()), color="0.3", ls="--", lw=1, label="noise level left (median, range)")
            axes.legend(fontsize=8, frameon=False)
    axes.set(xlabel="alpha", ylabel="residual")
    return figure


def convergence(result: Reconstruction) -> Figure:
    """Optimality against the number of steps so far, one line a sample."""
    table = result.history
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for _, part in table.groupby("sample"):
        values = part["optimality"].to_numpy(dtype=float)
        axes.semilogy(np.arange(1, len(values) + 1), np.where(values > 0, values, np.nan), ".-", lw=0.8, ms=3, alpha=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="step", ylabel=f"optimality ({result.certificate.kind})")
    return figure


def study(found: Study) -> Figure:
    """Error against noise, both logarithmic: medians, bands from the 10th to the 90th percentile, reference slopes 1/2 and 1.

    With source elements a second panel shows the Bregman distance, its bound, and the error that the solver may have left,
    gap/alpha. Rows without noise are left out.
    """
    table = found.table[found.table["noise_level"] > 0]
    distances = bool((table["bregman_distance"] > 0).any())
    figure = Figure(figsize=(10.0 if distances else 5.4, 4.2), layout="constrained")
    panels = figure.subplots(1, 2 if distances else 1, squeeze=False)[0]
    if not len(table):
        panels[0].text(0.5, 0.5, "no rows with noise", ha="center", transform=panels[0].transAxes)
        return figure
    for number, rule in enumerate(found.rules):
        part, colour = table[table["rule"] == rule], f"C{number}"
        _band(panels[0], part, part["relative_error"], rule, colour, "o-")
        if distances:
            _band(panels[1], part, part["bregman_distance"], rule, colour, "o-")
            _band(panels[1], part, part["bound"], f"{rule}, bound", colour, "--", filled=False)
            _band(panels[1], part, part["gap"] / part["alpha"], f"{rule}, gap/alpha", colour, ":", filled=False)
    labels = ("||x - truth|| / ||truth||", "Bregman distance to the truth")
    for axes, label in zip(panels, labels, strict=False):
        _reference_slopes(axes)
        axes.set(xscale="log", yscale="log", xlabel="noise, relative to the norm of the data", ylabel=label)
        axes.grid(alpha=0.3, which="major")
    lines = {str(line.get_label()): line for axes in panels for line in axes.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _band(
    axes: Axes, rows: pd.DataFrame, values: pd.Series[float], label: str, colour: str, style: str, filled: bool = True
) -> None:
    """The median of the positive values at each noise level, with the band that holds four fifths of them."""
    kept = values.where(values > 0).where(np.isfinite(values))
    grouped = kept.groupby(rows["level"])
    low, middle, high = (grouped.quantile(q) for q in (0.1, 0.5, 0.9))
    if middle.notna().any():
        noise = rows["relative_noise"].groupby(rows["level"]).median()
        axes.plot(noise, middle, style, color=colour, markersize=4, lw=1.4, label=label)
        if filled:
            axes.fill_between(noise, low.to_numpy(), high.to_numpy(), color=colour, alpha=0.15, lw=0)


def _reference_slopes(axes: Axes) -> None:
    """Lines of slope 1/2 and 1 through the upper right end of what is drawn."""
    points = [line.get_xydata() for line in axes.get_lines()]
    if not points:
        return
    x, y = np.concatenate([np.asarray(p, dtype=float) for p in points]).T
    there = np.isfinite(y) & (y > 0)
    if not there.any():
        return
    ends, top = np.array([x[there].min(), x[there].max()]), 1.6 * y[there].max()
    for slope, style in ((0.5, (0, (1, 1))), (1.0, (0, (4, 2)))):
        axes.plot(ends, top * (ends / ends[1]) ** slope, ls=style, color="0.6", lw=1, label=f"slope {slope:g}")


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


def _draw(axes: Axes, x: Tensor, low: float, high: float) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    array = x.double().numpy()
    if array.ndim == 3 and array.shape[0] in (1, 3):
        high = high if high > low else low + 1
        scaled = np.clip((array - low) / (high - low), 0, 1)
        axes.imshow(scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
    else:
        axes.plot(array.reshape(-1), lw=0.8, color="0.2")
