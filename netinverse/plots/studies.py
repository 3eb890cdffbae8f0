"""Error against noise, on logarithmic axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    import pandas as pd

    from netinverse.studies import Study


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
