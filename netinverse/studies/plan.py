"""What a study is to compute, checked, and cut into cells that any process can work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from netinverse.diagnostics.error_bounds import error_bound
from netinverse.diagnostics.source_condition import SourceElement
from netinverse.fidelities import BregmanFidelity, Fidelity
from netinverse.inversion import invert
from netinverse.methods import Method
from netinverse.networks import LiftedNetwork
from netinverse.noise import add_noise
from netinverse.parameter_choice import ParameterRule
from netinverse.protocols import ProximalFunction
from netinverse.reconstruction import Reconstruction
from netinverse.regularisers import Regulariser
from netinverse.tensors import inner, norm

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One inversion: the numbers of its noise level and sample, and its seed."""

    level: int
    seed: int
    sample: int


@dataclass(frozen=True)
class Plan:
    """Everything in float64, per sample. noise: (levels, samples), absolute. ``source`` is None where no bound is to be had.

    A cell is one rule on up to ``batch_size`` rows; how rows are cut into cells changes results by rounding alone. Where the
    noise is zero or the worst there is, every seed has the same data, and the first stands for all.
    """

    network: LiftedNetwork
    truth: Tensor
    clean: Tensor
    noise: Tensor
    kind: str
    seeds: tuple[int, ...]
    rules: Mapping[str, ParameterRule]
    regulariser: Regulariser
    constraint: ProximalFunction | None
    method: Method | None
    fidelity: Fidelity | None
    source: SourceElement | None
    tolerance: float
    max_steps: int | None
    batch_size: int

    @cached_property
    def cells(self) -> tuple[tuple[str, tuple[Row, ...]], ...]:
        levels, samples = self.noise.shape
        noisy = (self.noise > 0).tolist()
        rows = [
            Row(level, seed, sample)
            for level, seed, sample in product(range(levels), self.seeds, range(samples))
            if (noisy[level][sample] and self.kind != "worst-case") or seed == self.seeds[0]
        ]
        chunks = [tuple(rows[i : i + self.batch_size]) for i in range(0, len(rows), self.batch_size)]
        return tuple((name, chunk) for name in self.rules for chunk in chunks)

    def work(self, number: int) -> pd.DataFrame:
        """The rows of one cell, measured."""
        name, rows = self.cells[number]
        samples = torch.tensor([row.sample for row in rows])
        data, level = self._noisy(rows)
        result = invert(
            self.network,
            data,
            noise_level=level,
            regulariser=self.regulariser,
            constraint=self.constraint,
            rule=self.rules[name],
            method=self.method,
            fidelity=self.fidelity,
            tolerance=self.tolerance,
            max_steps=self.max_steps,
        )
        return self._measured(name, rows, samples, data, level, result)

    def _noisy(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Data and noise levels of some rows. A sample has the same noise whatever the cell is."""
        network, truth = (self.network, self.truth) if self.kind == "worst-case" else (None, None)
        size = norm(self.clean)
        found = {}
        for level, seed in dict.fromkeys((row.level, row.seed) for row in rows):
            share = torch.where(size > 0, self.noise[level] / torch.where(size > 0, size, 1.0), 0.0)
            found[level, seed] = add_noise(self.clean, relative=share, kind=self.kind, seed=seed, network=network, truth=truth)
        data = torch.stack([found[row.level, row.seed][0][row.sample] for row in rows])
        return data, torch.stack([found[row.level, row.seed][1][row.sample] for row in rows])

    def _measured(
        self, rule: str, rows: Sequence[Row], samples: Tensor, data: Tensor, level: Tensor, result: Reconstruction
    ) -> pd.DataFrame:
        import pandas as pd

        truth, clean = self.truth[samples], self.clean[samples]
        error, size = norm(result.x - truth), norm(truth)
        unknown = torch.full_like(error, torch.nan)
        one_sided, symmetric, bound, kind = unknown, unknown, unknown, "none"
        if self.source is not None:
            source = at_samples(self.source, samples)
            one_sided = self.regulariser(result.x) - self.regulariser(truth) - inner(source.subgradient, result.x - truth)
            if result.subgradient is not None:
                symmetric = inner(result.subgradient - source.subgradient, result.x - truth)
            bound, kind = self._bound(truth, data, level, source, result)
        columns: dict[str, Any] = {
            "rule": rule,
            "level": [row.level for row in rows],
            "seed": [row.seed for row in rows],
            "sample": [row.sample for row in rows],
            "noise_level": level,
            "relative_noise": level / norm(clean),
            "alpha": result.alpha,
            "error": error,
            "relative_error": error / size,
            "bregman_distance": one_sided,
            "symmetric_distance": symmetric,
            "bound": bound,
            "bound_kind": kind,
            "gap": result.certificate.value,
            "certificate": result.certificate.kind,
            "penalty": unknown if self.source is None else self.regulariser(truth),
            "residual": result.residual,
            "noise_left": unknown if result.noise_level is None else result.noise_level,
            "status": [status.name for status in result.status],
            "steps": result.steps,
            "seconds": np.full(len(rows), result.seconds / max(1, len(rows))),
        }
        return pd.DataFrame({n: c.detach().cpu().numpy() if isinstance(c, Tensor) else c for n, c in columns.items()})

    def _bound(
        self, truth: Tensor, data: Tensor, level: Tensor, source: SourceElement, result: Reconstruction
    ) -> tuple[Tensor, str]:
        """Where there is one affine map, that of the minimiser; deeper, the one that holds for any x."""
        known = torch.isfinite(result.alpha) & (result.alpha > 0)
        bound = torch.full_like(result.alpha, torch.nan)
        if self.fidelity is not None and not isinstance(self.fidelity, BregmanFidelity):
            return bound, "none"
        index = known.nonzero().flatten()
        arguments = (self.network, truth[index], data[index], result.alpha[index], self.regulariser)
        chosen = at_samples(source, index)
        found = error_bound(*arguments, chosen, noise_level=level[index])
        if found.kind != "symmetric":
            found = error_bound(*arguments, chosen, noise_level=level[index], x=result.x[index])
        return bound.index_copy(0, index, found.value.to(bound)), found.kind


def at_samples(source: SourceElement, index: Tensor) -> SourceElement:
    """The source elements of some samples."""
    names = ("v", "norm", "residual", "holds", "subgradient", "rows")
    return replace(source, **{name: getattr(source, name)[index] for name in names})
