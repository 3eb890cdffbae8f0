"""Laws of rules that choose alpha."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netinverse.checks import require_object
from netinverse.modes import in_usual_modes
from netinverse.parameter_choice import ParameterRule, RuleProblem, Solved
from netinverse.tensors import norm
from netinverse.testing.laws import METHODS, require_law

SIZE = 40
LEVELS = (1e-1, 1e-2, 1e-3, 1e-4)


@in_usual_modes
def check_rule(rule: ParameterRule, *, seed: int = 0) -> None:
    """alpha -> 0 and delta^2/alpha -> 0 as the noise level delta -> 0, on a linear problem with Tikhonov's solutions exact.

    Singular values 1/k, k = 1, ..., 40, truths in their range, three noises at each of four levels from 1e-1 to 1e-4 of the data.
    These two limits make Tikhonov's regularisation converge (Engl, Hanke & Neubauer, 1996, thm 5.2). Also: asked twice the rule
    answers the same, and each sample alone as in the batch. For a rule that needs no noise level the two limits are not asked: no
    such rule has them for all noise (Bakushinskii, 1984).
    """
    require_object("check_rule", "rule", rule, ("choose",), METHODS)
    who = f"check_rule({rule!r})"
    model = _Diagonal.drawn(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alpha = rule.choose(model.problem(), model).alpha
        again = rule.choose(model.problem(), model).alpha
        alone = torch.cat([rule.choose(each.problem(), each).alpha for each in model.samples()])
    require_law(who, "alpha is positive", -alpha, 0.0, "A weight of zero regularises nothing.")
    require_law(who, "the same question has the same answer", (again - alpha).abs(), 1e-12 * alpha, "The rule keeps a state.")
    require_law(who, "a sample alone = in its batch", (alone - alpha).abs(), 1e-9 * alpha, "Samples are mixed.")
    if rule.needs_noise_level:
        means = alpha.reshape(len(LEVELS), -1).log().mean(1)
        ratio = (model.level.square() / alpha).reshape(len(LEVELS), -1).log().mean(1)
        require_law(who, "alpha -> 0 with the noise", means.diff(), -1e-3, "It has to fall from level to level.")
        require_law(who, "delta^2/alpha -> 0 with the noise", ratio.diff(), -1e-3, "The weight falls too fast.")


@dataclass
class _Diagonal:
    """``solve_at`` for y = s x + noise, entry by entry; one sample for each level and noise."""

    values: Tensor
    data: Tensor
    level: Tensor
    x: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.x = torch.zeros_like(self.data)

    @classmethod
    def drawn(cls, seed: int) -> _Diagonal:
        generator = torch.Generator().manual_seed(seed)
        values = 1 / torch.arange(1, SIZE + 1, dtype=torch.float64)
        truth = values * torch.randn(3, SIZE, generator=generator, dtype=torch.float64)
        clean = (values * truth).repeat(len(LEVELS), 1)
        error = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        relative = torch.tensor(LEVELS, dtype=torch.float64).repeat_interleave(3)
        level = relative * norm(clean)
        return cls(values, clean + level[:, None] * error / norm(error)[:, None], level)

    def problem(self) -> RuleProblem:
        return RuleProblem(self.level, norm(self.data), torch.ones_like(self.level), convex=True)

    def samples(self) -> list[_Diagonal]:
        return [_Diagonal(self.values, self.data[i : i + 1], self.level[i : i + 1]) for i in range(len(self.data))]

    def __call__(self, alpha: Tensor, samples: Tensor, *, final: bool, start: Tensor | None = None) -> Tensor:
        data = self.data[samples]
        x = self.values * data / (self.values.square() + alpha[:, None])
        self.x[samples] = x
        return norm(self.values * x - data)

    def solved(self, samples: Tensor) -> Solved:
        x = self.x[samples]
        return Solved(x, x.square().sum(1) / 2, x)
