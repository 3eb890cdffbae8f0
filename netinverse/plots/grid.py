"""Reconstructions side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from netinverse.checks import require_floating, require_object
from netinverse.diagnostics.metrics import psnr


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
