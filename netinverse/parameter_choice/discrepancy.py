"""Morozov's discrepancy principle: the largest alpha whose residual is not above the noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.checks import require_numbers
from netinverse.parameter_choice.bracket import Bracket
from netinverse.parameter_choice.composition import Rule
from netinverse.parameter_choice.rule import FLOOR, ParameterChoice, RuleProblem, SolveAt, one_end
from netinverse.parameter_choice.trace import Pick, Trace, first_step
from netinverse.solvers.status import Status
from netinverse.tensors import choose, scatter, select

# The residual of a quick solution is no better known than to this share.
QUICK_ACCURACY = 0.01

OPEN, MET, UNREACHABLE, SATURATED, HOPELESS, JUMPS = range(6)
_VERDICT = {
    OPEN: Status.SEARCH_LIMIT,
    MET: Status.CONVERGED,
    UNREACHABLE: Status.UNREACHABLE,
    SATURATED: Status.NOISE_EXCEEDS_RESIDUAL,
    HOPELESS: Status.NOISE_EXCEEDS_DATA,
    JUMPS: Status.RESIDUAL_JUMPS,
}


@dataclass(frozen=True)
class _Search:
    """Where each sample's search stands; all ``(batch,)``.

    ``alpha`` is the weight to be solved at next, ``final`` whether accurately. ``bound`` is the largest residual that is
    accepted. ``end`` is what the sample ends as once it is ``done``.
    """

    alpha: Tensor
    bracket: Bracket
    bound: Tensor
    final: Tensor
    end: Tensor
    done: Tensor


def require_tau(who: str, tau: float) -> None:
    """Raise ValueError unless tau, how many noise levels a residual may have, is at least 1."""
    require_numbers(who, "The default is 1.01.", tau=tau)
    if not 1 <= tau < torch.inf:
        raise ValueError(
            f"{who}: tau is {tau}, but must be at least 1, since the truth itself leaves a residual of the noise level. "
            f"The default is 1.01."
        )


def required(who: str, noise_level: Tensor | None) -> Tensor:
    """The noise level, or an error where there is none."""
    if noise_level is None:
        raise ValueError(f"{who}: there is no noise_level to compare residuals with. Pass it.")
    return noise_level


def met_at(tau: float, noise: Tensor | None, problem: RuleProblem) -> Tensor:
    """``Rule.ends`` of a rule that is met at the first residual of at most tau * noise."""
    return one_end(0.0 if noise is None else tau * noise, 0.0, problem.start)


@dataclass(frozen=True)
class DiscrepancyPrinciple(Rule):
    """alpha with ||F(x_alpha) - y^delta|| <= tau * delta, each sample for itself.

    delta is the noise left in the projected data. The residual grows with alpha (for convex problems: provably; otherwise along
    the warm-started path), so the rule walks down from a heavy weight, extrapolating log residual against log alpha, until it
    has a bracket, and closes it by the secant rule in the logarithms. It searches with quick solutions and ends with accurate
    ones.

    The search goes for a residual of ``aim`` * tau * delta, to a share of ``accuracy``. Where it cannot be had so exactly, since
    the residual jumps or the tries end, everything between that and tau * delta is accepted.
    A regularised solution reproduces part of the noise, so its residual should lie a little below that of the truth, which is
    delta. Where the residual cannot come that low (many more outputs than inputs), the aim becomes tau * delta itself. No
    aim is below ``floor`` times the norm of the data, where any residual up to that is accepted: so exact data are served, and
    noise levels near zero. Smaller residuals are not determined by a solution of tolerance 1e-6: there the penalty is nearly all
    of the objective. For smaller noise give a smaller floor, and invert a smaller tolerance.

    Verdicts: CONVERGED; NOISE_EXCEEDS_DATA where delta is at least the norm of the data; UNREACHABLE where a smaller alpha no
    longer lowers the residual, and it is still above tau * delta; NOISE_EXCEEDS_RESIDUAL where a larger alpha no longer raises
    it, and it is still below; RESIDUAL_JUMPS where it passes tau * delta without taking a value near it, as it can where the
    problem is not convex; SEARCH_LIMIT after ``max_tries`` weights. Every sample ends solved accurately at its alpha.

    As delta -> 0, alpha -> 0 and delta^2/alpha -> 0 under a source condition. Morozov 1966; Engl, Hanke & Neubauer 1996, 4.3.
    """

    tau: float = 1.01
    aim: float = 0.944
    accuracy: float = 0.003
    floor: float = FLOOR
    max_tries: int = 40

    def __post_init__(self) -> None:
        require_tau("DiscrepancyPrinciple", self.tau)
        values = {"aim": self.aim, "accuracy": self.accuracy, "floor": self.floor}
        require_numbers("DiscrepancyPrinciple", "The defaults are 0.944, 0.003 and 8e-4.", **values)
        if not 0 < self.accuracy < self.aim <= 1:
            raise ValueError(
                f"DiscrepancyPrinciple: aim is {self.aim} and accuracy is {self.accuracy}, but 0 < accuracy < aim <= 1 must "
                f"hold: residuals are accepted from (aim - accuracy) times the bound on. The defaults are 0.944 and 0.003."
            )
        if not 0 <= self.floor < 1:
            raise ValueError(
                f"DiscrepancyPrinciple: floor is {self.floor}, but must lie in [0, 1): it is the residual of exact data that is "
                f"accepted, relative to the norm of the data. The default is 8e-4."
            )
        if isinstance(self.max_tries, bool) or not isinstance(self.max_tries, int) or self.max_tries < 1:
            raise ValueError(
                f"DiscrepancyPrinciple: max_tries is {self.max_tries!r}, but must be a whole number of at least 1: an answer "
                f"takes one weight. The default is 40."
            )

    @property
    def needs_noise_level(self) -> bool:
        return True

    def ends(self, problem: RuleProblem) -> Tensor:
        return met_at(self.tau, self.noise(problem), problem)

    def pick(self, trace: Trace, noise_level: Tensor | None = None) -> Pick:
        """The first step with a residual of at most tau * delta; STEP_LIMIT where the trace ends before."""
        return first_step(trace, trace.residual <= self.tau * required("DiscrepancyPrinciple", noise_level))

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        search, solved = self._begin(problem), problem.start
        for left in range(self.max_tries, 0, -1):
            if bool(search.done.all()):
                break
            if left <= 2:  # one accurate solution shows where the quick ones led, another may correct it
                search = replace(search, final=torch.ones_like(search.final))
            coarse, final = (~search.done & ~search.final).nonzero().flatten(), (~search.done & search.final).nonzero().flatten()
            for samples, accurate in ((coarse, False), (final, True)):
                if len(samples):
                    part = select(search, samples)
                    residual = solve_at(part.alpha, samples, final=accurate)
                    solved = scatter(solved, samples, part.alpha)
                    part = replace(part, bracket=part.bracket.record(part.alpha, residual))
                    judged = (
                        self._judge_accurate(part, residual, last=left == 1) if accurate else self._judge_quick(part, residual)
                    )
                    # What cannot be evaluated cannot be searched; the solver's status says what happened.
                    judged = replace(judged, done=judged.done | ~torch.isfinite(residual))
                    search = scatter(search, samples, judged)
        return ParameterChoice(solved, tuple(_VERDICT[end] for end in search.end.tolist()))

    def _begin(self, problem: RuleProblem) -> _Search:
        assert problem.noise_level is not None
        alpha, noise = problem.start, problem.noise_level
        floor, bound = self.floor * problem.data_norm, self.tau * noise
        target = torch.maximum(floor, self.aim * bound)
        hopeless = problem.hopeless
        return _Search(
            alpha=alpha,
            bracket=Bracket.around(target, alpha),
            bound=torch.maximum(floor, bound),
            final=hopeless,
            end=torch.where(hopeless, HOPELESS, OPEN),
            done=torch.zeros_like(hopeless),
        )

    def _near(self, search: _Search, residual: Tensor, accuracy: float) -> Tensor:
        """Where the residual is the target's; where the target is the bound itself, anything below it will do."""
        ratio = residual / search.bracket.target
        return torch.where(search.bracket.target >= search.bound, residual <= search.bound, (ratio - 1).abs() <= accuracy)

    def _judge_quick(self, search: _Search, residual: Tensor) -> _Search:
        """Search on; or solve accurately at a weight that will do, or that ends the search."""
        bracket = search.bracket
        near = self._near(search, residual, max(self.accuracy, QUICK_ACCURACY)) | (bracket.jumps & (residual <= search.bound))
        stuck = bracket.stuck & ~near
        # The residual falls no further, but is as low as it must be: the largest weight at which it is.
        enough = stuck & bracket.over & (residual <= search.bound)
        target = torch.where(enough, search.bound, bracket.target)
        following = torch.where(stuck, bracket.plateau, bracket.propose(search.alpha, residual))
        alpha = torch.where(near, search.alpha, following)
        # Accurate solutions differ a little from quick ones: the bracket of the quick ones is not theirs.
        fresh = replace(Bracket.around(target, alpha), moved=bracket.moved, shut=bracket.shut)
        return replace(
            search,
            alpha=alpha,
            bracket=choose(near | stuck, fresh, bracket),
            final=near | stuck,
            end=torch.where(stuck & ~enough, torch.where(bracket.over, UNREACHABLE, SATURATED), search.end),
        )

    def _judge_accurate(self, search: _Search, residual: Tensor, last: bool) -> _Search:
        """End with an accepted residual, or where the search was given up; otherwise search on."""
        bracket = search.bracket
        enough = bracket.over & (residual <= search.bound)
        accepted = self._near(search, residual, self.accuracy) | (enough & ((bracket.shut > 0) | last))
        jumped = ~accepted & bracket.jumps & (residual <= search.bound)
        given_up = search.end != OPEN
        done = accepted | jumped | given_up
        lost = bracket.stuck & ~done
        following = torch.where(lost, bracket.plateau, bracket.propose(search.alpha, residual))
        end = torch.where(accepted & (search.end != HOPELESS), MET, torch.where(jumped & ~given_up, JUMPS, search.end))
        return replace(
            search,
            alpha=following,
            end=torch.where(lost, torch.where(bracket.over, UNREACHABLE, SATURATED), end),
            done=done,
        )
