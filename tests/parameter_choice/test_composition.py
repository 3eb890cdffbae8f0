"""``a | b`` and ``a & b``, sample by sample, for weights and for iterations."""

from __future__ import annotations

import pytest
import torch

import netinverse as ni
from netinverse.parameter_choice import Rule
from netinverse.solvers.status import Status
from tests.parameter_choice.linear import F64, PROBLEMS, Exact, Linear, polynomial
from tests.parameter_choice.test_rules import iterates

pytestmark = pytest.mark.filterwarnings("ignore::netinverse.RuleWarning")
LIGHT, HEAVY = ni.Fixed(1e-4), ni.Fixed(1e-2)


def mixed() -> Linear:
    """The noise level of the second sample is far too small for the data, that of the others right."""
    problem = Linear(polynomial(10, 1.0), 20, 10, noise=0.1, seed=4)
    problem.level = problem.level * torch.tensor([1.0, 0.1, 1.0], dtype=F64)
    return problem


def run(rule: Rule, problem: Linear, *, noise: bool = True) -> tuple[torch.Tensor, tuple[Status, ...]]:
    """The choice; every sample has to be left solved, accurately, at its weight."""
    solver = Exact(problem)
    choice = rule.choose(problem.problem(noise=noise), solver)
    for b in range(problem.batch):
        assert [(a[s == b].item(), f) for a, s, f in solver.asked if (s == b).any()][-1] == (choice.alpha[b].item(), True)
        torch.testing.assert_close(solver.x[b], problem.solution(choice.alpha[b].item())[b])
    return choice.alpha, choice.verdict


def test_or_takes_the_second_where_the_first_is_not_met() -> None:
    problem = mixed()
    alpha, verdict = run(ni.DiscrepancyPrinciple(), problem)
    assert verdict == (Status.CONVERGED, Status.UNREACHABLE, Status.CONVERGED)
    other, _ = run(ni.DiscrepancyPrinciple() | HEAVY, problem)
    torch.testing.assert_close(other, torch.stack([alpha[0], torch.tensor(1e-2, dtype=F64), alpha[2]]))
    assert run(ni.DiscrepancyPrinciple() | HEAVY, problem)[1] == (Status.CONVERGED,) * 3
    assert run(LIGHT | HEAVY, problem)[0].tolist() == [1e-4] * 3


def test_or_passes_over_a_rule_whose_noise_level_is_missing() -> None:
    problem = PROBLEMS["square, ill-posed"]
    rule = ni.DiscrepancyPrinciple() | ni.QuasiOptimality()
    assert not rule.needs_noise_level
    assert torch.equal(run(rule, problem, noise=False)[0], run(ni.QuasiOptimality(), problem, noise=False)[0])
    assert torch.equal(run(rule, problem)[0], run(ni.DiscrepancyPrinciple(), problem)[0])
    swapped = ni.QuasiOptimality() | ni.DiscrepancyPrinciple()
    assert torch.equal(run(swapped, problem, noise=False)[0], run(ni.QuasiOptimality(), problem, noise=False)[0])
    assert (ni.DiscrepancyPrinciple() | ni.Lepskii()).needs_noise_level


def test_and_takes_the_larger_weight() -> None:
    problem = mixed()
    alpha, verdict = run(ni.DiscrepancyPrinciple(), problem)
    for rule in (ni.DiscrepancyPrinciple() & HEAVY, HEAVY & ni.DiscrepancyPrinciple()):
        found, met = run(rule, problem)
        torch.testing.assert_close(found, alpha.clamp(min=1e-2))
        assert met == verdict  # met where both are
        assert rule.needs_noise_level
    assert run(LIGHT & HEAVY, problem)[0].tolist() == [1e-2] * 3
    assert not (LIGHT & HEAVY).needs_noise_level


def test_rules_of_rules() -> None:
    problem = mixed()
    rule = (ni.DiscrepancyPrinciple() | LIGHT) & HEAVY | ni.LCurve()
    assert str(rule) == "(DiscrepancyPrinciple | Fixed) & Fixed | LCurve"
    torch.testing.assert_close(run(rule, problem)[0], run(ni.DiscrepancyPrinciple() | LIGHT, problem)[0].clamp(min=1e-2))
    assert hash(ni.LCurve() | ni.HankeRaus()) == hash(ni.LCurve() | ni.HankeRaus())


def test_composed_rules_stop_iterations() -> None:
    """|: the step of the first where met; &: the earlier step, which has the larger 1/k."""
    problem = Linear(polynomial(30, 1.0), 30, 30, noise=0.1)
    xs, residual = iterates(problem, 100)
    trace = ni.Trace.of_iterations(torch.arange(1, 101), residual, xs)
    level = problem.level * torch.tensor([1.0, 1e-6, 1.0], dtype=F64)
    morozov, fixed = ni.DiscrepancyPrinciple(), ni.Fixed(0.1)
    by_noise = morozov.pick(trace, level)
    assert by_noise.verdict[1] is Status.STEP_LIMIT
    both = (morozov & fixed).pick(trace, level)
    assert both.index.tolist() == [min(i, 9) for i in by_noise.index.tolist()]
    either = (morozov | fixed).pick(trace, level)
    assert either.index.tolist() == [by_noise.index[0].item(), 9, by_noise.index[2].item()]
    assert either.verdict == (Status.CONVERGED,) * 3 and both.verdict[1] is Status.STEP_LIMIT
    assert (morozov | fixed).pick(trace).index.tolist() == [9] * 3


def test_invert_takes_composed_rules() -> None:
    problem = Linear(polynomial(6, 1.0), 12, 6, batch=2, noise=0.1)
    arguments = {"input_shape": (6,), "regulariser": ni.Tikhonov(), "tolerance": 1e-4}
    rule = ni.DiscrepancyPrinciple() | ni.Fixed(0.01)
    without = ni.invert(problem.layer(), problem.data, rule=rule, **arguments)
    assert without.alpha.tolist() == [0.01] * 2 and "rule: DiscrepancyPrinciple | Fixed." in without.message
    given = ni.invert(problem.layer(), problem.data, rule=rule, noise_level=problem.level, **arguments)
    plain = ni.invert(problem.layer(), problem.data, noise_level=problem.level, **arguments)
    assert torch.equal(given.alpha, plain.alpha)
    heavier = ni.invert(
        problem.layer(), problem.data, noise_level=problem.level, rule=ni.DiscrepancyPrinciple() & ni.Fixed(10.0), **arguments
    )
    assert heavier.alpha.tolist() == [10.0] * 2 and heavier.converged


def test_the_second_rule_is_asked_for_the_unmet_alone_and_names_them_as_the_caller_does() -> None:
    """Two ways to a pick, over weights and over iterations; sample 2 alone fails the first rule."""
    layer = torch.nn.Linear(3, 3, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([1.0, 0.5, 1e-9], dtype=torch.float64)))
    data = torch.tensor([[1.0, 0.5, 0.0], [2.0, 1.0, 0.0], [1.0, 0.5, 0.5]], dtype=torch.float64)
    for method in (None, ni.Landweber(max_iterations=60)):
        with pytest.warns(ni.RuleWarning, match="sample 2: ") as caught:
            ni.invert(
                layer,
                data,
                input_shape=3,
                noise_level=0.05,
                method=method,
                regulariser=ni.Tikhonov(),
                rule=ni.DiscrepancyPrinciple() | ni.QuasiOptimality(),
            )
        assert not any("sample 0" in str(each.message) or "samples" in str(each.message) for each in caught)


def test_weights_of_each_sample_serve_as_the_second_rule() -> None:
    layer = torch.nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([1.0, 1e-9], dtype=torch.float64)))
    data = torch.tensor([[1.0, 0.0], [2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    weights = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    found = ni.invert(
        layer,
        data,
        input_shape=2,
        noise_level=0.05,
        regulariser=ni.Tikhonov(),
        rule=ni.DiscrepancyPrinciple() | ni.Fixed(weights),
    )
    torch.testing.assert_close(found.alpha[1:], weights[1:], rtol=1e-6, atol=0)
    assert found.alpha[0] != weights[0]
