"""A weight that is known before the data are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import first_samples, require_numbers
from netinverse.parameter_choice.composition import Rule
from netinverse.parameter_choice.fixed import Fixed
from netinverse.parameter_choice.rule import FLOOR, ParameterChoice, RuleProblem, SolveAt
from netinverse.parameter_choice.trace import Pick, Trace


@dataclass(frozen=True)
class APriori(Rule):
    """alpha = constant * delta^power, delta the noise level as given, before the data are projected.

    Every 0 < power < 2 gives alpha -> 0 and delta^2/alpha -> 0. With the squared fidelity 1/2||F(x) - y||^2 and a source
    condition, power 1 is of best order in the Bregman distance, D(x_alpha, x) = O(delta) (Burger & Osher, Inverse Problems
    20, 2004), and for Tikhonov and a truth in the range of F*F power 2/3 is best (Engl, Hanke & Neubauer 1996, 5.1).

    Exact data, delta = 0, would make alpha 0, which is no regularised problem: they count as data with the noise that
    ``DiscrepancyPrinciple`` leaves in them, 8e-4 of their norm.
    """

    power: float = 1.0
    constant: float = 1.0

    def __post_init__(self) -> None:
        require_numbers("APriori", "The defaults are 1 and 1.", power=self.power, constant=self.constant)
        if not (0 < self.power < torch.inf and 0 < self.constant < torch.inf):
            raise ValueError(
                f"APriori: power is {self.power} and constant is {self.constant}, but both must be positive, since alpha = "
                f"constant * delta**power is to vanish with the noise. The defaults are 1 and 1."
            )

    @property
    def needs_noise_level(self) -> bool:
        return True

    def noise(self, problem: RuleProblem) -> Tensor | None:
        """As given; FLOOR times the norm of the data where they are exact."""
        given = problem.noise_level if problem.given_noise_level is None else problem.given_noise_level
        return None if given is None else torch.where(given == 0, FLOOR * problem.data_norm, given)

    def ends(self, problem: RuleProblem) -> Tensor:
        return self._fixed(self.noise(problem), problem.numbers).ends(problem)

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        return self._fixed(self.noise(problem), problem.numbers).choose(problem, solve_at)

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick:
        """The first step with a weight of at most constant * delta^power."""
        return self._fixed(noise_level, trace.numbers).pick(trace)

    def _fixed(self, delta: Tensor | None, numbers: Tensor | None) -> Fixed:
        if delta is None:
            raise ValueError("APriori: there is no noise_level, which alpha is a function of. Pass it, or use Fixed(alpha).")
        if bool((delta == 0).any()):
            raise ValueError(
                f"APriori: the noise level is 0 and so is the norm of the data in "
                f"{first_samples(delta == 0, numbers=numbers)}, which makes alpha "
                f"0, but a regularised problem has a positive weight. Use rule=ni.DiscrepancyPrinciple() or ni.Fixed(alpha)."
            )
        return Fixed(self.constant * delta**self.power)
