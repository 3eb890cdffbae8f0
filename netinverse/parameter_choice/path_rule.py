"""What the rules have in common that pick from a walk over the weights."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from netinverse.checks import first_samples, require_object
from netinverse.parameter_choice.composition import Rule
from netinverse.parameter_choice.rule import ParameterChoice, RuleProblem, RuleWarning, SolveAt, one_end
from netinverse.parameter_choice.trace import Pick, Trace, at_index, lowest_minimum
from netinverse.parameter_choice.walk import Walk
from netinverse.solvers.status import Status

# A dip of a functional between two gaps of the spectrum is no minimum. On 220 linear problems of eleven kinds, at 0.3 to 30 % of
# noise, nine of ten answers of the quasi-optimality criterion had at most 1.7 to 2.5 times the least error; with 1.0 up to 15.
RISE = 1.5


@dataclass(frozen=True)
class PathRule(Rule):
    """Walk from heavy to light weights, ``pick`` a step of the walk, and return to it.

    ``accurate`` says that the rule compares solutions so closely that the solver's error would decide. Noise below the floor of
    the walk counts as that much; where it is at least the norm of the data, the verdict is NOISE_EXCEEDS_DATA.
    """

    walk: Walk = field(default_factory=Walk, kw_only=True)
    accurate: ClassVar[bool]

    def __post_init__(self) -> None:
        require_object(type(self).__name__, "walk", self.walk, ("__call__",), "Write walk=ni.Walk(max_tries=60), for example.")

    @property
    def floor(self) -> float:
        return self.walk.floor

    def ends(self, problem: RuleProblem) -> Tensor:
        """Where the walk over the weights ends."""
        return one_end(self.walk.least_residual(problem), 0.0, problem.start)

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        trace = self.walk(problem, solve_at, accurate=self.accurate)
        pick = self.pick_of(trace, problem)
        alpha = at_index(trace.alpha, pick.index)
        everyone = torch.arange(len(alpha), device=alpha.device)
        solve_at(alpha, everyone, final=True, start=at_index(trace.need(str(self), "x"), pick.index))
        hopeless = problem.hopeless.tolist()
        verdict = tuple(Status.NOISE_EXCEEDS_DATA if h else v for h, v in zip(hopeless, pick.verdict, strict=True))
        return ParameterChoice(alpha, verdict)


class HeuristicRule(PathRule):
    """Takes the lowest inner minimum of a functional of the data alone. Needs no noise level.

    Bakushinskii's veto: no rule that does not use the noise level can give answers that converge to the truth for every noise as
    it vanishes, if the problem is ill-posed. Such rules work where the noise is irregular, as white noise is; a RuleWarning says
    so where no noise level is given. Where one is, the walk ends before the data are fitted far better than it allows.

    Bakushinskii, USSR Comput. Math. Math. Phys. 24, 1984; Kindermann, ETNA 38, 2011.
    """

    @property
    def needs_noise_level(self) -> bool:
        return False

    @abstractmethod
    def functional(self, trace: Trace) -> Tensor:
        """What is to be least, (steps, batch); not finite where it is not defined."""
        ...

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick:
        if noise_level is None:
            warnings.warn(
                f"{self}: alpha is chosen from the data alone, and no such rule is right for every noise (Bakushinskii's veto): "
                f"it trusts the noise to be irregular, and smooth errors deceive it. Pass noise_level= (ni.estimate_noise_level "
                f"may find it) and use rule=ni.DiscrepancyPrinciple().",
                RuleWarning,
                stacklevel=2,
            )
        pick = lowest_minimum(self.functional(trace), RISE)
        missing = ~pick.met
        if missing.any():
            warnings.warn(
                f"{self}: {first_samples(missing, numbers=trace.numbers)}: {Status.NO_MINIMUM}.", RuleWarning, stacklevel=2
            )
        return pick
