"""Iterations that relinearise, then Gauss-Newton: who has which sample, what is measured when, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.fidelities import SquaredFidelity
from netinverse.networks import NetworkOutput, lift
from netinverse.operators.linear import norm_bound
from netinverse.problems import InverseProblem
from netinverse.prox import Box
from netinverse.regularisers import Tikhonov, TotalVariation
from netinverse.solvers.gauss_newton import GaussNewton
from netinverse.solvers.iterate import iterates, relative_optimality, solve
from netinverse.solvers.nonconvex import Nonconvex
from netinverse.solvers.nonlinear_primal_dual import NonlinearPrimalDual
from netinverse.solvers.relinearised import Relinearised
from netinverse.solvers.stationarity import fidelity_gradient, proximal_gradient_step
from netinverse.solvers.status import Status
from tests.solvers.layered import BATCH, F64, layered, problem_of, truth, zeros

BOX = Box(0.0, 1.0)
NEVER = NonlinearPrimalDual(growth=0.0)
"""Takes no step at all: Gauss-Newton gets every sample at once."""


def deep(activation: type[nn.Module] = nn.ReLU) -> InverseProblem:
    return problem_of(layered(30, 28, activation=activation), TotalVariation(), BOX)


@pytest.mark.parametrize(
    ("activation", "tolerance", "agreement"), [(nn.Tanh, 1e-6, 1e-5), (nn.ReLU, 1e-5, 1e-2)], ids=["smooth", "kinks"]
)
def test_it_ends_where_gauss_newton_alone_ends(activation: type[nn.Module], tolerance: float, agreement: float) -> None:
    problem, start, stop = deep(activation), zeros() + 0.3, relative_optimality(tolerance)
    solver, newton = Nonconvex(newton=GaussNewton(tolerance=tolerance)), GaussNewton(tolerance=tolerance / 2)
    found = solve(solver, problem, solver.init(problem, start), stop=stop, max_steps=100)
    alone = solve(newton, problem, newton.init(problem, start), stop=stop, max_steps=40)
    assert found.status == alone.status == (Status.CONVERGED,) * BATCH
    torch.testing.assert_close(found.state.objective, alone.state.objective, rtol=agreement, atol=0)


def test_the_objective_never_rises_once_gauss_newton_has_a_sample() -> None:
    problem, solver = deep(), Nonconvex(first=NEVER)
    states = list(islice(iterates(solver, problem, zeros() + 0.3), 5))
    assert not states[0].by_newton.any() and all(state.by_newton.all() for state in states[1:])
    assert torch.equal(states[1].x, states[0].x)
    for before, after in pairwise(states):
        assert (after.objective <= before.objective).all()
    assert (states[2].objective < states[1].objective).all()


@dataclass(frozen=True)
class Rising(NonlinearPrimalDual):
    """Iterations that lead sample 1 away from where it was, uphill."""

    def step(self, problem: InverseProblem, state: Relinearised) -> Relinearised:
        after = super().step(problem, state)
        x = torch.where((torch.arange(BATCH) == 1).reshape(-1, 1, 1, 1), state.x + 0.01, after.x)
        objective = torch.where(torch.arange(BATCH) == 1, 1.01 * state.objective, after.objective)
        return replace(after, x=x, objective=objective)


def test_a_sample_that_finds_nothing_lower_goes_over_with_its_best_point() -> None:
    problem, start = deep(), zeros() + 0.3
    states = list(islice(iterates(Nonconvex(first=Rising(), patience=3, near=0.0), problem, start), 4))
    undisturbed = list(islice(iterates(Nonconvex(patience=3, near=0.0), problem, start), 4))
    assert [state.by_newton[1].item() for state in states] == [False, False, False, True]
    assert [state.waited[1].item() for state in states] == [0, 1, 2, 3]
    assert torch.equal(states[2].current.x[1], start[1] + 0.02) and torch.equal(states[2].x[1], start[1])
    assert torch.equal(states[3].current.x[1], start[1])
    assert states[3].objective[1] == states[0].objective[1]
    for ours, alone in zip(states, undisturbed, strict=True):
        assert torch.equal(ours.x[0], alone.x[0]) and torch.equal(ours.x[2], alone.x[2])


def test_what_has_ended_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that wait in the batch for others are passed to neither solver, and stay as they are."""
    problem, solver = deep(), Nonconvex()
    state = solve(solver, problem, solver.init(problem, zeros()), stop=relative_optimality(1e-6), max_steps=100).state
    assert (state.optimality <= 1e-6 * state.objective).all()
    one_open = replace(
        state, current=replace(state.current, optimality=state.optimality.clone().index_fill_(0, torch.tensor(2), 1))
    )
    seen: list[int] = []
    for kind in (NonlinearPrimalDual, GaussNewton):
        step = kind.step

        def counted(
            self: NonlinearPrimalDual | GaussNewton, problem: InverseProblem, state: Relinearised, step: object = step
        ) -> Relinearised:
            seen.append(len(state.x))
            return step(self, problem, state)  # type: ignore[operator]

        monkeypatch.setattr(kind, "step", counted)
    after = solver.step(problem, one_open)
    assert seen == [1]
    assert torch.equal(after.x[:2], state.x[:2]) and torch.equal(after.optimality[:2], state.optimality[:2])


def test_stationarity_is_measured_where_the_residual_has_come_to_rest() -> None:
    problem, solver = deep(), Nonconvex(near=1e-2)
    states = list(islice(iterates(solver, problem, zeros() + 0.3), 12))
    measured = 0
    for before, after in pairwise(states):
        known = torch.isfinite(after.current.optimality) & ~before.by_newton & ~torch.isfinite(before.current.optimality)
        measured += int(known.sum())
    assert torch.isinf(states[1].current.optimality).all() and measured >= BATCH


def test_the_optimality_of_what_was_not_measured_is_the_residual_there() -> None:
    problem, solver = deep(), Nonconvex(near=0.0)
    state = solver.step(problem, solver.init(problem, zeros() + 0.3))
    assert torch.isinf(state.optimality).all()
    found = solver.optimality(problem, state)
    size = norm_bound(problem.variable.linearise(state.x)[1], state.x)
    gradient = fidelity_gradient(problem, state.x)
    slope = state.duals[1] / problem.alpha.reshape(-1, 1, 1, 1, 1)
    expected = proximal_gradient_step(problem, state.x, gradient, size, slope, solver.newton.tolerance).residual
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    every = torch.ones(BATCH, dtype=F64)
    known = replace(state, current=replace(state.current, optimality=every), best=replace(state.best, optimality=every))
    assert torch.equal(solver.optimality(problem, known), torch.ones(BATCH, dtype=F64))


def test_a_residual_that_is_settled_is_enough_where_that_is_asked() -> None:
    problem, solver = deep(), Nonconvex(settled=0.1, near=0.0)
    found = solve(solver, problem, solver.init(problem, zeros() + 0.5), stop=relative_optimality(1e-12), max_steps=50)
    assert found.status == (Status.STALLED,) * BATCH
    for i, steps in enumerate(found.steps.tolist()):
        residuals = [state.current.residual[i].item() for state in islice(iterates(solver, problem, zeros() + 0.5), steps + 1)]
        changes = [abs(b - a) / a for a, b in pairwise(residuals)]
        assert changes[-1] < 0.1 and all(change >= 0.1 for change in changes[:-1])


def test_a_step_limit_leaves_a_certificate_all_the_same() -> None:
    """One step of iterations measures nothing; the result does."""
    model = layered(30, 28)
    result = ni.invert(model, deep().data, input_shape=(1, 5, 5), rule=ni.Fixed(0.05), tolerance=1e-12, max_steps=1)
    assert result.status == (Status.STEP_LIMIT,) * BATCH
    assert torch.isfinite(result.certificate.value).all() and (result.certificate.value > 0).all()


def test_at_another_weight_the_iterations_begin_again() -> None:
    problem, solver = problem_of(layered(30, 28), Tikhonov(), BOX), Nonconvex(first=NEVER)
    state = solver.step(problem, solver.init(problem, zeros() + 0.3))
    assert state.by_newton.all()
    lighter = problem.at(problem.alpha / 4)
    warm = solver.init(lighter, state.x, state)
    assert not warm.by_newton.any() and not warm.stalled.any() and (warm.waited == 0).all()
    assert torch.equal(warm.x, state.x) and torch.equal(warm.objective, lighter.objective(state.x))
    assert torch.equal(warm.best.objective, warm.objective) and torch.isinf(warm.optimality).all()


def test_what_is_measured_after_polishing_is_that_of_the_polished_point() -> None:
    """Residual and objective at the point itself; ||z'|| there too where the test is passed, elsewhere where polishing began."""
    problem, solver = deep(), Nonconvex(newton=GaussNewton(tolerance=1e-2), near=0.5)
    before = after = solver.init(problem, zeros() + 0.3)
    while not torch.isfinite(after.current.optimality).all():
        before, after = after, solver.step(problem, after)
    unpolished = solver.first.step(problem, before.current)
    current = after.current
    polished = (current.x != unpolished.x).flatten(1).any(1)
    assert polished.any()
    torch.testing.assert_close(current.residual, problem.residual(current.x), rtol=1e-12, atol=0)
    torch.testing.assert_close(current.objective, problem.objective(current.x), rtol=1e-12, atol=0)
    passed = current.optimality <= 1e-2 * current.objective
    assert (polished & passed).any()
    for i in passed.nonzero().flatten():
        here = current.x[i : i + 1]
        size = norm_bound(problem.select(i[None]).variable.linearise(here)[1], here)
        torch.testing.assert_close(current.size[i : i + 1], size, rtol=1e-9, atol=0)


def test_polishing_at_default_waits_until_the_residual_changes_by_thousandths() -> None:
    problem, solver = deep(), Nonconvex(newton=GaussNewton(polishing_steps=0))
    states = list(islice(iterates(solver, problem, zeros() + 0.3), 30))
    looked = 0
    for before, after in pairwise(states):
        known = (
            torch.isfinite(after.current.optimality) & ~after.by_newton & (after.current.x != before.current.x).flatten(1).any(1)
        )
        change = (after.current.residual - before.current.residual).abs() / before.current.residual
        assert (change[known] <= 2e-3).all()
        looked += int(known.sum())
    assert looked >= BATCH


def test_the_warm_start_of_the_measurement_is_a_subgradient_without_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The duals of total variation have norms of at most 1; those of the state are alpha times as long."""
    problem, solver = deep(), Nonconvex(near=0.0)
    state = solver.step(problem, solver.init(problem, zeros() + 0.3))
    seen: list[Tensor] = []
    prox = TotalVariation.prox

    def noting(self: TotalVariation, *given: object, warm: Tensor, **named: object) -> object:
        seen.append(warm)
        return prox(self, *given, warm=warm, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(TotalVariation, "prox", noting)
    solver.optimality(problem, state)
    torch.testing.assert_close(seen[0] * problem.alpha.reshape(-1, 1, 1, 1, 1), state.duals[1], rtol=1e-12, atol=0)


def test_a_sample_whose_step_was_refused_goes_to_gauss_newton_whatever_is_settled() -> None:
    """It stands still: neither is its residual settled, nor is it measured, since nothing has come to rest."""
    problem, solver, start = deep(), Nonconvex(first=NEVER, settled=0.1, near=0.1), zeros() + 0.3
    state = solver.step(problem, solver.init(problem, start))
    assert state.by_newton.all() and not state.stalled.any()
    assert torch.equal(state.x, start) and torch.isinf(state.optimality).all()


def test_a_settled_sample_is_passed_to_neither_solver() -> None:
    problem, solver = deep(), Nonconvex()
    state = solver.init(problem, zeros() + 0.3)
    first = torch.arange(BATCH) == 0
    waiting = replace(state, current=replace(state.current, stalled=first))
    after = solver.step(problem, waiting)
    moved = (after.current.x != state.current.x).flatten(1).any(1)
    assert moved.tolist() == (~first).tolist()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_at_the_step_limit_the_best_point_is_the_answer(activation: type[nn.Module]) -> None:
    """Of all that the iterations came by, and with its own residual and objective."""
    model = layered(30, 28, activation=activation)
    for limit in (1, 2, 3, 5):
        result = ni.invert(
            model,
            deep(activation).data,
            input_shape=(1, 5, 5),
            start=zeros() + 0.3,
            rule=ni.Fixed(0.5),
            tolerance=1e-12,
            max_steps=limit,
        )
        last = result.history.groupby("sample")["objective"].last().to_numpy()
        value = result.fidelity_value + 0.5 * TotalVariation()(result.x)
        torch.testing.assert_close(value, torch.tensor(last), rtol=1e-9, atol=0)
    problem, start = deep(activation), zeros() + 0.3
    states = list(islice(iterates(Nonconvex(first=Rising(), near=0.0), problem, start), 4))
    for before, after in pairwise(states):
        assert (after.objective <= before.objective).all()
        torch.testing.assert_close(after.objective, problem.objective(after.x), rtol=1e-12, atol=0)
    assert torch.equal(states[3].x[1], start[1])


class Root(nn.Module):
    """x -> (x, sqrt(relu(x + 1))), whose derivative is 0 * inf from x = -1 down."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.sqrt(torch.relu(x + 1))], 1)


def test_a_point_where_the_derivative_is_nan_is_no_answer() -> None:
    """The iterations rest at data whose derivative is NaN: their last step is no step, and its sample ends alone."""
    data = torch.tensor([[1.0, 1.4], [-2.0, 0.0]], dtype=F64)
    network = lift(Root(), torch.zeros(2, 1, dtype=F64))
    operator = NetworkOutput(network)
    term, alpha = SquaredFidelity().at(network, data), torch.full((2,), 1e-3, dtype=F64)
    problem = InverseProblem(operator, operator, term, data, Tikhonov(), None, alpha, affine=False)
    solver = Nonconvex(near=1.0)
    state = solver.init(problem, torch.tensor([[0.9], [-1.9]], dtype=F64))
    polished = solver._polished(problem, state.current)
    assert torch.isfinite(polished.objective).tolist() == [True, False]


def test_the_subgradient_is_that_of_the_answer() -> None:
    """p = x for R = 1/2||x||^2, also behind kinks, where the last linearised problem has another minimiser than the answer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 25))
        model = model.double().eval().requires_grad_(False)
        for layer in (model[0], model[2], model[4]):
            layer.weight *= 2
        data = model(torch.randn(8, 20, dtype=F64))
        data = data + 0.02 * torch.randn_like(data)
    result = ni.invert(model, data, input_shape=20, regulariser=Tikhonov(), rule=ni.Fixed(1e-2), tolerance=1e-4, progress=False)
    assert result.converged and result.subgradient is not None
    assert ((result.subgradient - result.x).norm(dim=1) <= 5e-3 * result.x.norm(dim=1)).all()


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_start_that_fits_exact_data_is_not_flattened(activation: type[nn.Module]) -> None:
    """The objective of the answer is not above that of the truth, from which it began."""
    model = layered(30, 28, activation=activation)
    data, alpha = model(truth()), 1e-4
    result = ni.invert(
        model, data, input_shape=(1, 5, 5), start=truth(), regulariser=Tikhonov(), rule=ni.Fixed(alpha), progress=False
    )
    assert ((result.fidelity_value + alpha * Tikhonov()(result.x)) <= (1 + 1e-9) * alpha * Tikhonov()(truth())).all()


def test_the_input_stays_and_the_bits_repeat() -> None:
    problem, x, solver = deep(), zeros() + 0.2, Nonconvex()

    def run() -> Tensor:
        return solve(solver, problem, solver.init(problem, x), stop=relative_optimality(1e-4), max_steps=30).state.x

    assert torch.equal(run(), run()) and torch.equal(x, zeros() + 0.2)


def test_the_way_down_from_a_weight_beyond_all_bounds_is_not_lost() -> None:
    """At alpha = 1e12 nothing moves; at the next one the input does, at once, and ends where a cold start does."""
    problem, solver, stop = deep(nn.Tanh), Nonconvex(), relative_optimality(1e-6)
    heavy = problem.at(torch.full_like(problem.alpha, 1e12))
    state = solve(solver, heavy, solver.init(heavy, zeros() + 0.3), stop=stop, max_steps=5).state
    warm = solve(solver, problem, solver.init(problem, state.x, state), stop=stop, max_steps=100)
    cold = solve(solver, problem, solver.init(problem, zeros() + 0.3), stop=stop, max_steps=100)
    assert warm.status == (Status.CONVERGED,) * BATCH
    torch.testing.assert_close(warm.state.objective, cold.state.objective, rtol=1e-5, atol=0)
    for begun in (solver.init(heavy, zeros() + 0.3), solver.init(problem, state.x, state)):
        assert (begun.primal_weight <= begun.current.size.square()).all()
    quick = Nonconvex(near=0.0, settled=0.03)
    left = solve(quick, problem, quick.init(problem, state.x, state), stop=stop, max_steps=40).state
    torch.testing.assert_close(left.residual, cold.state.residual, rtol=0.1, atol=0)


def test_a_sample_that_joins_others_on_their_way_to_a_fixed_weight_is_begun_as_alone() -> None:
    """The louder sample begins its way at a heavier weight; the other one has nothing to do with that."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8)).double().eval().requires_grad_(False)
        torch.manual_seed(3)
        x = torch.randn(2, 6).double() * torch.tensor([[0.1], [3.0]], dtype=F64)
        for layer in (model[0], model[2]):
            layer.weight *= 2
        data = model(x) + 0.05 * torch.randn(2, 8).double()
    together, alone = (
        ni.invert(model, y, input_shape=6, regulariser=Tikhonov(), rule=ni.Fixed(0.05), progress=False) for y in (data, data[:1])
    )
    torch.testing.assert_close(together.x[:1], alone.x, rtol=1e-9, atol=1e-9)
    assert int(together.steps[0]) == int(alone.steps[0])
