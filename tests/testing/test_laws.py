"""The testing kit passes what is right, and catches what is wrong, each law by an object that breaks it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import netinverse as ni
from netinverse.networks import NetworkOutput
from netinverse.parameter_choice import ParameterChoice, ParameterRule, RuleProblem
from netinverse.parameter_choice.rule import SolveAt
from netinverse.protocols import LinearMap, Step
from netinverse.solvers.status import Status
from netinverse.testing import (
    LawBroken,
    check_adjoint,
    check_conjugate,
    check_derivative,
    check_prox,
    check_regulariser,
    check_rule,
)

F64 = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@dataclass(frozen=True)
class Map:
    """x -> scale * cumsum(x) + offset, whose adjoint runs backwards; ``wrong`` spoils the adjoint."""

    offset: float = 0.0
    wrong: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return x.cumsum(1) + self.offset

    def adjoint(self, y: Tensor) -> Tensor:
        return y.flip(1).cumsum(1).flip(1) + self.wrong * y


@dataclass(frozen=True)
class Squares:
    """x -> x^2 with a derivative that is ``factor`` times the right one."""

    factor: float = 2.0

    def __call__(self, x: Tensor) -> Tensor:
        return x.square()

    def linearise(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        return self(x), _Times(self.factor * x)


@dataclass(frozen=True)
class _Times:
    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.weight * x

    adjoint = __call__


@dataclass(frozen=True)
class Absolute:
    """||x||_1 with a threshold and a conjugate that can be wrong."""

    threshold: float = 1.0
    radius: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs().flatten(1).sum(1)

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        return torch.nn.functional.softshrink(x, self.threshold * float(step))

    def conjugate(self, p: Tensor) -> Tensor:
        largest = p.abs().flatten(1).amax(1)
        return torch.where(largest > self.radius * (1 + 1e-12), torch.inf, 0.0).to(p)


class Mixed(Absolute):
    """A proximal map that looks at the neighbours in the batch."""

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        return torch.nn.functional.softshrink(x, float(step) * len(x) / 3)


@dataclass(frozen=True)
class Rule:
    """alpha = delta^power."""

    power: float
    needs_noise_level: bool = True

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        assert problem.noise_level is not None
        return ParameterChoice(problem.noise_level**self.power, (Status.CONVERGED,) * len(problem.start))


class Forgetful(Rule):
    """Counts how often it was asked."""

    asked = 0

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        Forgetful.asked += 1
        found = super().choose(problem, solve_at)
        return ParameterChoice(found.alpha * Forgetful.asked, found.verdict)


def test_what_is_right_passes() -> None:
    x = 2 * drawn(3, 7)
    check_adjoint(Map(), x)
    check_adjoint(Map(), x.float())
    check_derivative(Squares(), x)
    check_derivative(NetworkOutput(ni.mlp((7, 9, 4), "tanh", dtype=F64)), x)
    check_prox(Absolute(), x)
    check_conjugate(Absolute(), x)
    check_rule(Rule(1.0))


def test_an_adjoint_that_is_none_and_a_map_with_an_offset() -> None:
    with pytest.raises(LawBroken, match=r"check_adjoint\(Map\): <K v, q> = <v, K\* q> does not hold in samples 0, 1, 2"):
        check_adjoint(Map(wrong=1e-6), drawn(3, 7))
    with pytest.raises(LawBroken, match="The map is not linear"):
        check_adjoint(Map(offset=1e-3), torch.zeros(3, 7, dtype=F64))


def test_a_derivative_off_by_a_thousandth() -> None:
    with pytest.raises(LawBroken, match="The derivative is wrong, or x lies on a kink"):
        check_derivative(Squares(2.002), drawn(3, 7))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Absolute(threshold=1.01), "v minimises"),
        (Absolute(threshold=0.99), "v minimises"),
        (Mixed(), "a sample alone = in its batch"),
    ],
)
def test_a_wrong_proximal_map(function: Absolute, message: str) -> None:
    with pytest.raises(LawBroken, match=message):
        check_prox(function, 2 * drawn(3, 7))


def test_a_conjugate_of_another_function() -> None:
    with pytest.raises(LawBroken, match="conjugate is not"):
        check_conjugate(Absolute(radius=0.9), 2 * drawn(3, 7))


class Steep(ni.Sparsity):
    """A bound of the norm that is too small."""

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        return 0.5


class Sloppy(ni.Sparsity):
    """R(x) that is not g(K x)."""

    def __call__(self, x: Tensor) -> Tensor:
        return 1.01 * super().__call__(x)


@pytest.mark.parametrize("regulariser", [ni.TotalVariation(), ni.WaveletSparsity("haar", levels=1), ni.ElasticNet()], ids=repr)
def test_the_own_regularisers_pass(regulariser: ni.TotalVariation) -> None:
    check_regulariser(regulariser, drawn(2, 1, 4, 6))


def test_a_wrong_regulariser() -> None:
    with pytest.raises(LawBroken, match=r"\|\|K\|\| <= transform_norm"):
        check_regulariser(Steep(), drawn(2, 5))
    with pytest.raises(LawBroken, match=r"R\(x\) = g\(K x\)"):
        check_regulariser(Sloppy(), drawn(2, 5))


@pytest.mark.parametrize(
    "rule", [ni.DiscrepancyPrinciple(), ni.APriori(constant=0.01), ni.Lepskii(), ni.QuasiOptimality()], ids=repr
)
def test_the_own_rules_pass(rule: ParameterRule) -> None:
    check_rule(rule)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(2.5), "delta\\^2/alpha -> 0"),
        (Rule(0.0), "alpha -> 0 with the noise"),
        (Forgetful(1.0), "the same question has the same answer"),
    ],
)
def test_a_rule_that_does_not_regularise(rule: Rule, message: str) -> None:
    with pytest.raises(LawBroken, match=message):
        check_rule(rule)
