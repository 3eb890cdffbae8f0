"""Pictures of results. Every function returns a Figure and shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from netinverse.diagnostics.metrics import psnr

if TYPE_CHECKING:
    from netinverse.reconstruction import Reconstruction


def reconstruction_grid(columns: Mapping[str, Tensor], truth: Tensor | None = None, samples: int = 8) -> Figure:
    """One row a sample, one column for each entry of ``columns``; the PSNR against ``truth`` under each picture but the truth's.

    Shapes: every entry (batch, channels, height, width), or (batch, ...) drawn as a curve. Grey scale: that of the first column.
    """
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
        values = None if truth is None or x is truth else psnr(shown, truth[:rows].detach().cpu())
        for i in range(rows):
            first = next(iter(columns.values()))[i]
            _draw(axes[i, j], shown[i], float(first.min()), float(first.max()))
            if i == 0:
                axes[i, j].set_title(name, fontsize=9)
            if values is not None:
                axes[i, j].set_xlabel(f"{values[i].item():.1f} dB", fontsize=8)
    return figure


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
