"""Solutions from heavy to light regularisation, along weights or along iterations, and what a rule picks among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from netinverse.solvers.status import Status
from netinverse.tensors import norm


@dataclass(frozen=True)
class Trace:
    """Solutions x_i at weights alpha_1 > alpha_2 > ..., each sample along its own weights.

    alpha, residual ||F(x_i) - y^delta||, penalty R(x_i): (steps, batch). x, and subgradient p_i in dR(x_i): (steps, batch, ...).
    What a rule does not read may be None; subgradient None stands for x itself, that of 1/2||x||^2. A residual that is NaN
    marks a step that the sample did not take; those come last.

    amplification: c in ||noise in x_i|| <= c delta / sqrt(alpha_i). 1/2 for Tikhonov's regularisation of a linear problem.
    numbers: of the samples in the caller's batch, for messages; None counts from zero.
    """

    alpha: Tensor
    residual: Tensor
    x: Tensor | None = None
    penalty: Tensor | None = None
    subgradient: Tensor | None = None
    amplification: float = 0.5
    numbers: Tensor | None = None

    def __post_init__(self) -> None:
        taken = self.taken
        if bool((self.alpha[1:] >= self.alpha[:-1])[taken[1:]].any()):
            raise ValueError(
                "Trace: alpha does not fall from step to step, but a rule reads the steps from heavy to light "
                "regularisation. Sort them by falling alpha; for iterations use Trace.of_iterations."
            )

    @classmethod
    def of_iterations(
        cls, iterations: Tensor, residual: Tensor, x: Tensor | None = None, penalty: Tensor | None = None, step_size: float = 1.0
    ) -> Trace:
        """Iterates k = ``iterations``, (steps,), rising, of a method that regularises by stopping: alpha_k = 1/(step_size k).

        Landweber's iteration with step_size ||A||^2 <= 1 has ||noise in x_k|| <= sqrt(step_size k) delta, so amplification 1.
        """
        alpha = (1 / (step_size * iterations.to(residual))).reshape(-1, 1).expand_as(residual)
        return cls(alpha, residual, x, penalty, amplification=1.0)

    @property
    def taken(self) -> Tensor:
        """Which steps a sample took, (steps, batch)."""
        return ~self.residual.isnan()

    def select(self, index: Tensor) -> Trace:
        """The trace of the samples ``index``."""
        x, penalty, subgradient = (None if t is None else t[:, index] for t in (self.x, self.penalty, self.subgradient))
        numbers = index if self.numbers is None else self.numbers[index]
        return replace(
            self,
            alpha=self.alpha[:, index],
            residual=self.residual[:, index],
            x=x,
            penalty=penalty,
            subgradient=subgradient,
            numbers=numbers,
        )

    def need(self, who: str, name: str) -> Tensor:
        """The field of that name, or an error that says that the rule reads it."""
        found: Tensor | None = getattr(self, name)
        if found is None:
            raise ValueError(f"{who}: the trace has no {name}, which this rule reads. Pass {name}= to Trace.")
        return found


@dataclass(frozen=True)
class Pick:
    """The step of each sample, (batch,), and what the rule says of it."""

    index: Tensor
    verdict: tuple[Status, ...]

    @property
    def met(self) -> Tensor:
        """Where the rule is met, (batch,)."""
        return torch.tensor([v is Status.CONVERGED for v in self.verdict], device=self.index.device)


class TraceRule(Protocol):
    """A rule that is a function of a trace."""

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick: ...


def lowest_minimum(values: Tensor, rise: float = 1.0) -> Pick:
    """The lowest of the inner minima of (steps, batch) values after which they rise, each sample for itself.

    An inner minimum is no higher than both neighbours, lower than one, and some later step is at least ``rise`` times as high
    (for positive values). Values that are not finite are no neighbours. Functionals of heuristic rules also fall to zero at both
    ends of the weights, where nothing or everything is fitted, so that their least value says nothing.

    Where there is no such minimum, verdict NO_MINIMUM: the least value beyond the highest, or of all where the highest is last.
    """
    if not len(values):
        raise ValueError("lowest_minimum: the trace has no steps, so there is nothing to pick. Record at least three.")
    finite = torch.isfinite(values)
    filled = torch.where(finite, values, -torch.inf)
    later = filled.flip(0).cummax(0).values.flip(0)
    inner = torch.zeros_like(finite)
    left, here, right = values[:-2], values[1:-1], values[2:]
    inner[1:-1] = (here <= left) & (here <= right) & ((here < left) | (here < right)) & (later[1:-1] >= rise * here)
    inner[1:-1] &= finite[:-2] & finite[1:-1] & finite[2:]
    steps = torch.arange(len(values), device=values.device)[:, None]
    beyond = finite & (steps > filled.argmax(0))
    beyond = torch.where(beyond.any(0), beyond, finite)
    found = inner.any(0)
    candidates = torch.where(torch.where(found, inner, beyond), values, torch.inf)
    # Of equal values the lightest; argmin takes the first.
    index = len(values) - 1 - candidates.flip(0).argmin(0)
    return Pick(index, tuple(Status.CONVERGED if f else Status.NO_MINIMUM for f in found.tolist()))


def first_step(trace: Trace, met: Tensor) -> Pick:
    """The first step that a sample took with ``met``, (steps, batch); its last step and STEP_LIMIT where there is none."""
    met = met & trace.taken
    found = met.any(0)
    last = (trace.taken.sum(0) - 1).clamp(min=0)
    index = torch.where(found, met.to(torch.uint8).argmax(0) if len(met) else last, last)
    return Pick(index, tuple(Status.CONVERGED if f else Status.STEP_LIMIT for f in found.tolist()))


def at_index(values: Tensor, index: Tensor) -> Tensor:
    """values[index[b], b] for each sample b: (steps, batch, ...), (batch,) -> (batch, ...)."""
    return values[index, torch.arange(len(index), device=index.device)]


def step_norms(x: Tensor) -> Tensor:
    """||x_{i+1} - x_i||_2, (steps, batch, ...) -> (steps - 1, batch)."""
    return norm((x[1:] - x[:-1]).flatten(0, 1)).reshape(max(len(x) - 1, 0), x.shape[1])
