"""Morozov's discrepancy principle along a sequence of weights that is fixed before the data are seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from netinverse.parameter_choice.discrepancy import met_at, require_tau, required
from netinverse.parameter_choice.path_rule import PathRule
from netinverse.parameter_choice.rule import RuleProblem
from netinverse.parameter_choice.trace import Pick, Trace, first_step
from netinverse.parameter_choice.walk import Walk
from netinverse.solvers.status import Status


@dataclass(frozen=True)
class SequentialDiscrepancy(PathRule):
    """The first weight of alpha_0, q alpha_0, q^2 alpha_0, ... with ||F(x_alpha) - y^delta|| <= tau * delta.

    alpha is known to a factor q, the ``ratio`` of the walk, which bounds what the residual may fall short of tau * delta by; in
    exchange nothing is asked of the residual as a function of alpha, where ``DiscrepancyPrinciple`` closes a bracket on it. For a
    problem that is not convex this is the rule that the theory is written for: each weight starts at the solution of the last.
    delta is the noise left in the projected data. Every weight is solved accurately. Reads residuals only.

    Verdicts: CONVERGED; NOISE_EXCEEDS_DATA where delta is at least the norm of the data; UNREACHABLE where the walk ends above.
    Exact data need a floor: noise below 8e-4 of the norm of the data, the ``floor`` of the walk, counts as that.
    Anzengruber & Ramlau, Inverse Problems 26, 2010; Kaltenbacher, Neubauer & Scherzer 2008, 4.
    """

    tau: float = 1.01
    walk: Walk = field(default_factory=lambda: Walk(noise_share=1.0), kw_only=True)
    accurate: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_tau("SequentialDiscrepancy", self.tau)

    @property
    def needs_noise_level(self) -> bool:
        return True

    def ends(self, problem: RuleProblem) -> Tensor:
        return met_at(self.tau, self.noise(problem), problem)

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick:
        found = first_step(trace, trace.residual <= self.tau * required("SequentialDiscrepancy", noise_level))
        return Pick(found.index, tuple(v if v is Status.CONVERGED else Status.UNREACHABLE for v in found.verdict))
