"""The slope of a measured quantity in the noise level, with the interval that the spread of the measurements leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]

LEAST_LEVELS = 3


@dataclass(frozen=True)
class Rate:
    """quantity ~ noise_level^slope; [low, high] is a bootstrap interval of 95 % over samples and seeds.

    levels: how many noise levels the line goes through. slope is NaN, and ``reason`` says why, where there is none to be had.
    """

    quantity: str
    slope: float
    low: float
    high: float
    levels: int
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.quantity}: no slope, since {self.reason}"
        return f"{self.quantity} ~ noise^{self.slope:.3f} [{self.low:.3f}, {self.high:.3f}] over {self.levels} noise levels"


def fit(table: pd.DataFrame, quantity: str, repeats: int = 1000, seed: int = 0) -> Rate:
    """The least-squares slope of the mean of log(quantity) over (sample, seed) against log(noise).

    Rows with no noise, and values that are not positive and finite, are left out. The interval resamples (sample, seed) pairs,
    which share their truth and so are not independent between noise levels.
    """
    values, noise = _grid(table, quantity)
    if len(noise) < LEAST_LEVELS:
        reason = f"a line needs {LEAST_LEVELS} noise levels with positive values, and there are {len(noise)}"
        return Rate(quantity, np.nan, np.nan, np.nan, len(noise), reason)
    slope = float(_slopes(values[None], noise[None])[0])
    chosen = np.random.default_rng(seed).integers(0, len(values[0]), (repeats, len(values[0])))
    slopes = _slopes(values[:, chosen].transpose(1, 0, 2), np.broadcast_to(noise, (repeats, len(noise))))
    slopes = slopes[np.isfinite(slopes)]
    low, high = np.quantile(slopes, [0.025, 0.975]) if len(slopes) else (np.nan, np.nan)
    return Rate(quantity, slope, float(low), float(high), len(noise))


def _grid(table: pd.DataFrame, quantity: str) -> tuple[Array, Array]:
    """log(quantity), (levels, pairs), NaN where it is missing, and the mean log noise of each level."""
    rows = table[table["noise_level"] > 0]
    logs = np.log(rows[quantity].where(rows[quantity] > 0)).where(np.isfinite(rows[quantity]))
    shaped = rows.assign(value=logs, noise=np.log(rows["noise_level"]))
    grid = shaped.pivot_table(index="level", columns=["sample", "seed"], values="value", dropna=False)
    noise = shaped.groupby("level")["noise"].mean().reindex(grid.index)
    there = grid.notna().any(axis=1).to_numpy(bool)
    return grid.to_numpy(float)[there], noise.to_numpy(float)[there]


def _slopes(values: Array, noise: Array) -> Array:
    """Of many resamples at once: values (repeats, levels, pairs), noise (repeats, levels) -> (repeats,)."""
    there = np.isfinite(values)
    count = there.sum(-1)
    mean = np.where(there, values, 0).sum(-1) / np.where(count > 0, count, 1)
    weight = (count > 0).astype(float)
    total = weight.sum(-1, keepdims=True)
    x = noise - (weight * noise).sum(-1, keepdims=True) / total
    y = mean - (weight * mean).sum(-1, keepdims=True) / total
    spread: Array = (weight * x * x).sum(-1)
    slopes: Array = np.where(spread > 0, (weight * x * y).sum(-1) / np.where(spread > 0, spread, 1), np.nan)
    return slopes
