"""What a study found: a table with a row for each inversion, and what follows from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netinverse.archives import require_format
from netinverse.checks import require_path
from netinverse.studies.folder import write_whole
from netinverse.studies.rates import Rate, fit
from netinverse.studies.tables import read_table, write_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMAT = "netinverse study 1"
ROUNDING = 1e-9
"""Of the size of R(truth): what float64 leaves of a Bregman distance, which is a difference."""


@dataclass(frozen=True, eq=False)
class Study:
    """Inversions at several noise levels, seeds and rules. ``settings`` say how they were made, ``notes`` what to know of them.

    Columns of ``table``, one row for each sample, seed, noise level and rule: sample, seed; level, the number of the noise level
    in the order given; noise_level, ||y^delta - y||_2 of that row; relative_noise, that over ||y||; rule; alpha; error, ||x -
    truth||_2; relative_error; bregman_distance, R(x) - R(truth) - <p, x - truth> with p in dR(truth); symmetric_distance; bound,
    of the Bregman distance of the row, NaN where none is known; bound_kind; gap, the value of the certificate, in units of the
    objective; certificate; penalty, R(truth); residual, ||F(x) - projected data||_2; noise_left, what of the noise is left in
    those; status; steps; seconds, its share of those of its batch.
    """

    table: pd.DataFrame
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.table["rule"]))

    def rate(self, quantity: str = "error", rule: str | None = None) -> Rate:
        """quantity ~ noise_level^slope for one rule: see ``Rate``. ``rule`` may be left out where there is only one."""
        numbers = [str(name) for name in self.table.select_dtypes("number")]
        if quantity not in numbers:
            raise ValueError(f"Study.rate: quantity is {quantity!r}, which is no column of numbers. Take {', '.join(numbers)}.")
        return fit(self._of(rule), quantity)

    @property
    def violations(self) -> pd.DataFrame:
        """The rows whose Bregman distance is above its bound; empty where theory and code agree.

        A symmetric bound is one of the exact minimiser: what the solver left, gap/alpha, is allowed for.
        """
        table = self.table
        symmetric = table["bound_kind"] == "symmetric"
        measured = table["bregman_distance"].where(~symmetric, table["symmetric_distance"])
        slack = (table["gap"] / table["alpha"]).where(symmetric, 0.0) + ROUNDING * table["penalty"].abs()
        return table[measured > table["bound"] + slack]

    @property
    def bounded(self) -> int:
        """How many rows have a bound."""
        return int(np.isfinite(self.table["bound"]).sum())

    def summary(self) -> str:
        """Medians at each noise level and rule, the rates, the count of violations."""
        shown = self.table.groupby(["rule", "level"], sort=False).agg(
            noise=("relative_noise", "median"),
            alpha=("alpha", "median"),
            error=("relative_error", "median"),
            residual=("residual", "median"),
            noise_left=("noise_left", "median"),
            converged=("status", lambda s: f"{(s == 'CONVERGED').sum()}/{len(s)}"),
        )
        text = shown.to_string(float_format=lambda value: f"{value:.4g}", sparsify=True)
        rates = [f"{rule}: {self.rate('error', rule)}" for rule in self.rules]
        return "\n".join([text, *rates, self.kept, *self.notes])

    @property
    def kept(self) -> str:
        """How many bounds there are and how many are violated, in words."""
        if not self.bounded:
            return "no bounds"
        without = len(self.table) - self.bounded
        said = f"; {without} of {len(self.table)} rows have none" if without else ""
        return f"{len(self.violations)} of {self.bounded} bounds violated{said}"

    def plot(self) -> Figure:
        """Error against noise with bands, reference slopes, the Bregman distance with its bound: see ``plots.study``."""
        from netinverse.plots import study

        return study(self)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML page with figures, tables, settings and versions; it needs no other file."""
        from netinverse.studies.report import page

        _written("Study.report", path, ".html", lambda target: target.write_text(page(self), "utf-8"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one Parquet file; it appears whole or not at all."""
        meta = {"format": FORMAT, "settings": dict(self.settings), "notes": list(self.notes)}
        _written("Study.save", path, ".parquet", lambda target: write_table(self.table, target, meta))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Study:
        """Read what ``save`` wrote; nothing in the file is executed."""
        source = require_path("Study.load", "path", path)
        if not source.is_file():
            raise FileNotFoundError(f"Study.load: there is no file {os.fspath(path)!r}. Check the path.")
        try:
            table, meta = read_table(source)
            require_format(meta.get("format"), FORMAT)
            return cls(table, meta["settings"], tuple(meta["notes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"Study.load: {os.fspath(path)!r} is no study ({error}). Study.save writes one.") from error

    def _of(self, rule: str | None) -> pd.DataFrame:
        known = self.rules
        if rule is None and len(known) == 1:
            return self.table
        if rule not in known:
            raise ValueError(f"Study: rule is {rule!r}, but the study has {', '.join(map(repr, known)) or 'no rows'}. Name one.")
        return self.table[self.table["rule"] == rule]


def _written(who: str, path: str | os.PathLike[str], suffix: str, write: Callable[[Path], object]) -> None:
    target = require_path(who, "path", path)
    if target.suffix != suffix:
        raise ValueError(f"{who}: the path is {os.fspath(path)!r}, but must end in {suffix}.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{who}: the folder of {os.fspath(path)!r} does not exist, so nothing was written. Make it first."
        )
    try:
        write_whole(target, write)
    except OSError as error:
        raise OSError(
            f"{who}: {os.fspath(path)!r} could not be written ({error}). What was there before is as it was, and this study is "
            f"still in memory. Make room, or give another path."
        ) from error
