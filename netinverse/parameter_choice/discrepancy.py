"""Morozov's discrepancy principle: the largest alpha whose residual is not above the noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from netinverse.parameter_choice.rule import ParameterChoice, RuleProblem, SolveAt
from netinverse.solvers.status import Status
from netinverse.tensors import choose, scatter, select


@dataclass(frozen=True)
class _Search:
    """Where each sample's search stands; all ``(batch,)``.

    ``target`` is the residual searched for, ``bound`` the largest that is accepted; ``below`` and ``above`` are the tries nearest
    the target on either side, (alpha, residual); ``slope`` is that of log residual against log alpha between the last tries;
    ``flat`` counts in a row the smaller weights that did not help, and ``plateau`` is the weight the residual stopped falling at.
    """

    alpha: Tensor
    target: Tensor
    bound: Tensor
    last: tuple[Tensor, Tensor]
    below: tuple[Tensor, Tensor]
    above: tuple[Tensor, Tensor]
    slope: Tensor
    flat: Tensor
    plateau: Tensor
    given_up: Tensor
    final: Tensor
    met: Tensor
    done: Tensor


@dataclass(frozen=True)
class DiscrepancyPrinciple:
    """alpha with ||F(x_alpha) - y^delta|| <= tau * delta, each sample for itself.

    delta is the noise left in the projected data. The residual grows with alpha (for convex problems: provably; otherwise along
    the warm-started path), so the rule walks down from a heavy weight, extrapolating log residual against log alpha, until it
    has a bracket, and closes it by the secant rule in the logarithms.

    Accepted is every residual between (aim - accuracy) * tau * delta and tau * delta; the search goes for ``aim`` * tau * delta.
    A regularised solution reproduces part of the noise, so its residual should lie a little below that of the truth, which is
    delta. Where the residual cannot come that low (many more outputs than inputs), the aim becomes tau * delta itself. For
    exact data, delta = 0, any residual up to ``floor`` times the norm of the data is accepted.

    Verdicts: CONVERGED; NOISE_EXCEEDS_DATA where delta is at least the norm of the data; UNREACHABLE where a smaller alpha no
    longer lowers the residual, and it is still above tau * delta.

    As delta -> 0, alpha -> 0 and delta^2/alpha -> 0 under a source condition. Morozov 1966; Engl, Hanke & Neubauer 1996, 4.3.
    """

    tau: float = 1.01
    aim: float = 0.953
    accuracy: float = 0.01
    floor: float = 8e-4
    max_tries: int = 40
    needs_noise_level: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.tau >= 1:
            raise ValueError(
                f"DiscrepancyPrinciple: tau is {self.tau}, but must be at least 1, since the truth itself leaves a residual of "
                f"the noise level. The default is 1.01."
            )

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        assert problem.noise_level is not None
        hopeless = (problem.noise_level >= problem.data_norm) & (problem.noise_level > 0)
        floor = self.floor * problem.data_norm
        bound = self.tau * problem.noise_level
        exact = problem.noise_level == 0
        target, bound = torch.where(exact, floor, self.aim * bound), torch.where(exact, floor, bound)
        search = _start(problem.start, target, bound, hopeless)
        for tries in range(self.max_tries):
            if bool(search.done.all()):
                break
            if tries == self.max_tries - 2:
                search = replace(search, final=torch.ones_like(search.final))
            coarse, final = (~search.done & ~search.final).nonzero().flatten(), (~search.done & search.final).nonzero().flatten()
            for samples, is_final in ((coarse, False), (final, True)):
                if len(samples):
                    residual = solve_at(search.alpha[samples], samples, final=is_final)
                    part = self._advance(select(search, samples), residual, is_final)
                    search = scatter(search, samples, part)
        return ParameterChoice(
            search.alpha, tuple(map(_verdict, search.met.tolist(), search.given_up.tolist(), hopeless.tolist()))
        )

    def _advance(self, search: _Search, residual: Tensor, is_final: bool) -> _Search:
        """Enter the residual at the current weights, and name the next ones."""
        tried = _record(search, residual)
        ratio = residual / search.target
        noise_free = search.target >= search.bound
        near = (ratio - 1).abs() <= self.accuracy
        met = torch.where(
            noise_free, residual <= search.target, near | ((ratio > 1) & (residual <= search.bound)) if is_final else near
        )
        if is_final:
            done = met | search.given_up
            return replace(
                tried, alpha=torch.where(done, search.alpha, _propose(tried, ratio)), met=met & ~search.given_up, done=done
            )
        lost = ~met & (tried.flat >= 2)
        relaxed = lost & (residual <= search.bound) & ~noise_free
        hopeless = lost & ~relaxed
        alpha = torch.where(met, search.alpha, torch.where(lost, tried.plateau, _propose(tried, ratio)))
        # Accurate solutions differ a little from quick ones: the bracket of the quick ones is not theirs.
        fresh = _start(alpha, torch.where(relaxed, search.bound, search.target), search.bound, search.given_up | hopeless)
        return choose(met | lost, replace(fresh, final=met | hopeless), replace(tried, alpha=alpha))


def _start(alpha: Tensor, target: Tensor, bound: Tensor, hopeless: Tensor) -> _Search:
    zero, inf, no = torch.zeros_like(alpha), torch.full_like(alpha, torch.inf), torch.zeros_like(hopeless)
    return _Search(
        alpha, target, bound, (alpha, inf), (zero, zero), (inf, inf), zero + 0.5, zero, alpha, hopeless, hopeless, no, no
    )


def _record(search: _Search, residual: Tensor) -> _Search:
    """The bracket around the target with this try in it, and how often in a row a much smaller alpha did not help.

    Only a fall of alpha by a third or more since the last count tells: what smaller steps show is the solver's own error.
    """
    over = residual > search.target
    judged = search.alpha < 0.4 * search.last[0]
    slope = torch.log(search.last[1] / residual) / torch.log(search.last[0] / search.alpha)
    usable = torch.isfinite(slope) & ((search.alpha / search.last[0] - 1).abs() > 0.1)
    flat = torch.where(
        judged & over & (slope < 0.02), search.flat + 1, torch.where(judged | ~over, torch.zeros_like(search.flat), search.flat)
    )
    reference = judged | ~torch.isfinite(search.last[1]) | (search.alpha > search.last[0])

    def put(where: Tensor, old: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.where(where, search.alpha, old[0]), torch.where(where, residual, old[1])

    below, above = put(~over, search.below), put(over, search.above)
    # The solutions of a nonconvex problem depend on the way: a bracket that closed on a jump is opened again.
    shut = below[0] > 0.97 * above[0]
    nothing, infinity = torch.zeros_like(residual), torch.full_like(residual, torch.inf)
    below = torch.where(shut, nothing, below[0]), torch.where(shut, nothing, below[1])
    above = torch.where(shut, infinity, above[0]), torch.where(shut, infinity, above[1])
    return replace(
        search,
        last=put(reference, search.last),
        below=below,
        above=above,
        slope=torch.where(usable, slope.clamp(0.15, 1.0), search.slope),
        flat=flat,
        plateau=torch.where(flat > 0, search.plateau, search.alpha),
    )


def _propose(search: _Search, ratio: Tensor) -> Tensor:
    """The next weight: inside the bracket by the secant in the logarithms, else further along the last direction."""
    (low, low_residual), (high, high_residual) = search.below, search.above
    share = (torch.log(search.target / low_residual) / torch.log(high_residual / low_residual)).nan_to_num(0.5).clamp(0.1, 0.9)
    inside = torch.exp(torch.lerp(torch.log(low), torch.log(high), share))
    # Along the way residual ~ alpha^slope; the step is bounded on either side.
    power = ratio.clamp(min=1e-9) ** (-1 / search.slope)
    outside = search.alpha * torch.where(ratio > 1, power.clamp(0.1, 0.9), power.clamp(1.1, 10.0))
    return torch.where((low > 0) & torch.isfinite(high), inside, outside)


def _verdict(met: bool, given_up: bool, hopeless: bool) -> Status:
    if hopeless:
        return Status.NOISE_EXCEEDS_DATA
    if given_up:
        return Status.UNREACHABLE
    return Status.CONVERGED if met else Status.STEP_LIMIT
