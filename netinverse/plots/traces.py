"""How an answer was found: what the rule visited, and how far each step got."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from netinverse.reconstruction import Reconstruction


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
