"""The walk: one grid of weights a sample, from where the residual begins to fall."""

from __future__ import annotations

import pytest
import torch

from netinverse.parameter_choice import RuleProblem, Walk
from tests.parameter_choice.linear import F64, PROBLEMS, Exact, Linear


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_grid_is_geometric_and_begins_where_the_residual_falls(name: str, scale: float) -> None:
    """However far the start is from there: at the heaviest weight the residual is about the norm of the data."""
    problem = PROBLEMS[name]
    given = problem.problem(noise=False)
    walk = Walk()
    trace = walk(RuleProblem(None, given.data_norm, scale * given.start), Exact(problem), accurate=True)
    ratio = (trace.alpha[1:] / trace.alpha[:-1])[trace.taken[1:]]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.5))
    power = torch.log2(trace.alpha[0] / (scale * given.start))
    torch.testing.assert_close(power, power.round(), atol=1e-9, rtol=0)
    for b in range(problem.batch):
        at = [problem.residual(problem.solution(trace.alpha[0, b].item() * f))[b] for f in (1.0, 0.125)]
        assert 1.03 * at[0] >= problem.data[b].norm() > 1.01 * at[1]
    for i in range(len(trace.alpha)):
        for b in torch.nonzero(trace.taken[i]).flatten().tolist():
            torch.testing.assert_close(trace.x[i, b], problem.solution(trace.alpha[i, b].item())[b], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(trace.penalty[i, b], trace.x[i, b].square().sum() / 2)


def test_the_walk_ends_at_the_floor_and_at_the_noise() -> None:
    problem = PROBLEMS["square, mildly ill-posed"]
    for noise, least in ((False, 8e-4 * problem.data.norm(dim=1)), (True, 0.5 * problem.level)):
        trace = Walk()(problem.problem(noise=noise), Exact(problem), accurate=True)
        for b in range(problem.batch):
            residual = trace.residual[trace.taken[:, b], b]
            assert residual[-1] <= least[b] < residual[-2]
    assert Walk(max_tries=5)(problem.problem(noise=False), Exact(problem), accurate=True).alpha.shape == (5, 3)


def test_the_walk_ends_where_solutions_stand_still() -> None:
    """More outputs than inputs: the residual never comes down to the floor."""
    problem = Linear(torch.ones(10, dtype=F64), 50, 10, noise=0.2)
    trace = Walk()(problem.problem(noise=False), Exact(problem), accurate=True)
    assert len(trace.alpha) < 30
    change = (trace.x[1:] - trace.x[:-1]).norm(dim=2) / trace.x[1:].norm(dim=2)
    assert (change[-4:] <= 1e-3).all() and (change[-5] > 1e-3).any()


@pytest.mark.parametrize(("ratio", "tries"), [(1.0, 40), (0.0, 40), (0.5, 2), (float("nan"), 40)])
def test_a_walk_that_goes_nowhere_is_refused(ratio: float, tries: int) -> None:
    with pytest.raises(ValueError, match=r"Walk: ratio is .* and max_tries is .*at least 3.*defaults are 0.5 and 40"):
        Walk(ratio=ratio, max_tries=tries)


def test_data_that_are_zero_take_the_weight_they_began_with() -> None:
    problem = Linear(torch.ones(4, dtype=F64), 4, 4)
    problem.data = torch.zeros_like(problem.data)
    start = torch.ones(3, dtype=F64)
    trace = Walk()(RuleProblem(None, problem.data.norm(dim=1), start), Exact(problem), accurate=False)
    assert torch.equal(trace.alpha[0], start) and len(trace.alpha) == 1
