"""Laws of block descent: the objective never rises, samples are separate, the inputs stay as they were."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.fidelities import BregmanFidelity, Fidelity, KullbackLeibler, SquaredFidelity, SquaredTerm, default_fidelity
from netinverse.networks import LiftedNetwork, NetworkOutput, lift, mlp
from netinverse.problems import InverseProblem, LiftedProblem
from netinverse.prox import Box
from netinverse.regularisers import Regulariser, Tikhonov, TotalVariation
from netinverse.solvers.block_descent import BlockDescent
from netinverse.solvers.continuation import Continuation
from netinverse.solvers.iterate import relative_optimality, solve
from netinverse.tensors import norm

torch.set_num_threads(1)


def problem_of(
    network: LiftedNetwork,
    data: Tensor,
    alpha: float,
    regulariser: Regulariser | None = None,
    fidelity: Fidelity | None = None,
    weight: float = 1.0,
) -> LiftedProblem:
    fidelity = fidelity or default_fidelity(network)
    inverse = InverseProblem(
        variable=fidelity.variable(network),
        output=NetworkOutput(network),
        term=fidelity.at(network, data),
        data=data,
        regulariser=regulariser or Tikhonov(),
        constraint=Box(-2.0, 2.0),
        alpha=torch.full((len(data),), alpha, dtype=data.dtype),
        affine=False,
    )
    return LiftedProblem.lift(inverse, network, weight)


def deep(last_activation: bool = False) -> tuple[LiftedNetwork, Tensor]:
    """A network and the outputs of three inputs."""
    network = mlp((4, 12, 10, 8), dtype=torch.float64)
    if last_activation:
        torch.manual_seed(1)
        layers = (nn.Conv1d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(24, 20), nn.ReLU())
        network = lift(nn.Sequential(*layers).double(), torch.zeros(2, 1, 6, dtype=torch.float64)).astype(torch.float64)
    truth = torch.randn(3, *network.input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        return network, network(truth)


@pytest.mark.parametrize("inertia", [True, False])
@pytest.mark.parametrize("last_activation", [True, False])
def test_the_objective_never_rises_and_the_limit_is_stationary(inertia: bool, last_activation: bool) -> None:
    network, data = deep(last_activation)
    problem = problem_of(network, data, 1e-3, TotalVariation() if last_activation else Tikhonov())
    x = torch.zeros(3, *network.input_shape, dtype=torch.float64)
    solver = BlockDescent(tolerance=1e-9, sweeps_per_step=1, inertia=inertia)
    state = solver.init(problem, x)
    start = state.objective
    for _ in range(400):
        previous, state = state, solver.step(problem, state)
        assert (state.objective <= previous.objective).all()
        assert torch.allclose(state.objective, problem.objective(state.x, state.us), rtol=1e-12)
    assert (state.objective < (0.3 if inertia else 0.9) * start).all()
    assert (state.optimality < (1e-5 if inertia else 1e-3) * start).all()
    assert x.abs().max() == 0


def test_inertia_gets_there_sooner() -> None:
    network, data = deep(last_activation=True)
    problem = problem_of(network, data, 1e-3, TotalVariation())
    x = torch.zeros(3, *network.input_shape, dtype=torch.float64)
    reached = []
    for solver in (BlockDescent(sweeps_per_step=150), BlockDescent(sweeps_per_step=150, inertia=False)):
        reached.append(solver.step(problem, solver.init(problem, x)).objective)
    assert (reached[0] < reached[1]).all()


def test_the_optimality_bounds_the_steps_that_are_left() -> None:
    """Against sum ||v - w||^2 / (2t) of the block steps, written out with the energy's own parts."""
    network, data = deep()
    problem, energy = problem_of(network, data, 1e-3), problem_of(network, data, 1e-3).energy
    solver = BlockDescent(sweeps_per_step=5)
    state = solver.step(problem, solver.init(problem, torch.zeros(3, 4, dtype=torch.float64)))
    x, us, left = state.x, list(state.us), torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for block in reversed(range(len(us))):
            t = energy.step_size(block)
            new = energy.prox(block, us[block] - t * energy.gradient(block, x, us), t)
            left, us[block] = left + norm(new - us[block]).square() / (2 * t), new
        t = energy.step_size(-1)
        new = ((x - t * energy.gradient(-1, x, us)) / (1 + t * 1e-3)).clamp(-2, 2)
        left = left + norm(new - x).square() / (2 * t)
    assert (state.optimality >= left * (1 - 1e-9)).all()
    assert (left > 0).all()


def test_an_affine_network_is_solved_to_the_normal_equations() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 7).double()
    network = lift(layer, torch.zeros(1, 5, dtype=torch.float64))
    data = torch.randn(2, 7, dtype=torch.float64)
    problem = problem_of(network, data, 0.1)
    problem = replace(problem, inverse=replace(problem.inverse, constraint=None))
    state = BlockDescent().init(problem, torch.zeros(2, 5, dtype=torch.float64))
    for _ in range(40):
        state = BlockDescent().step(problem, state)
    with torch.no_grad():
        weight = layer.weight
        system = weight.T @ weight + 0.1 * torch.eye(5, dtype=torch.float64)
        expected = torch.linalg.solve(system, weight.T @ (data - layer.bias).T).T
    assert (norm(state.x - expected) <= 1e-7 * norm(expected)).all()


def test_a_sample_alone_is_the_same_and_each_has_its_own_alpha() -> None:
    network, data = deep(last_activation=True)
    problem = problem_of(network, data, 1.0, TotalVariation()).at(torch.tensor([1e-1, 1e-2, 1e-3], dtype=torch.float64))
    x = torch.zeros(3, *network.input_shape, dtype=torch.float64)
    stop = relative_optimality(1e-7)
    together = solve(BlockDescent(), problem, BlockDescent().init(problem, x), stop=stop, max_steps=100).state
    for i in range(3):
        index = torch.tensor([i])
        part = problem.select(index)
        alone = solve(BlockDescent(), part, BlockDescent().init(part, x[index]), stop=stop, max_steps=100).state
        assert torch.allclose(alone.x, together.x[index], atol=1e-9)
        assert torch.allclose(alone.optimality, together.optimality[index], rtol=1e-4, atol=1e-12)


def test_a_warm_start_keeps_the_activations() -> None:
    network, data = deep()
    problem = problem_of(network, data, 1e-2)
    solver = BlockDescent()
    state = solver.step(problem, solver.init(problem, torch.zeros(3, 4, dtype=torch.float64)))
    again = solver.init(problem.at(2 * problem.inverse.alpha), state.x, state)
    assert all(torch.equal(u, v) for u, v in zip(again.us, state.us, strict=True))
    assert torch.allclose(again.objective, state.objective + problem.inverse.alpha * problem.inverse.regulariser(state.x))


def test_it_stalls_at_rounding_instead_of_running_on() -> None:
    network, data = deep()
    problem = problem_of(network, data, 0.1)
    solver = BlockDescent()
    start = solver.init(problem, torch.zeros(3, 4, dtype=torch.float64))
    found = solve(solver, problem, start, stop=lambda state: state.objective < 0, max_steps=2000)
    assert all(status is ni.Status.STALLED for status in found.status)


def test_smooth_nodes_are_refused() -> None:
    network = lift(nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)), torch.zeros(1, 4))
    problem = problem_of(network, torch.zeros(1, 2), 1.0)
    with pytest.raises(ValueError, match=r"BlockDescent: the network has smooth nodes \(gelu\).*reduced formulation"):
        BlockDescent().init(problem, torch.zeros(1, 4))


@dataclass(frozen=True)
class Poisoned:
    """A data term that is NaN wherever it is at most ``limit``, (batch,)."""

    term: SquaredTerm
    limit: Tensor

    @property
    def curvature(self) -> Tensor:
        return self.term.curvature

    def __call__(self, z: Tensor) -> Tensor:
        value = self.term(z)
        return torch.where(value <= self.limit, torch.nan, value)

    def gradient(self, z: Tensor) -> Tensor:
        return self.term.gradient(z)

    def select(self, index: Tensor) -> Poisoned:
        return Poisoned(self.term.select(index), self.limit[index])


def test_a_nan_that_arises_in_one_step_ends_its_sample_alone_with_the_last_good_state() -> None:
    network, data = deep()
    problem = problem_of(network, data, 1e-2)
    x, term = torch.zeros(3, 4, dtype=torch.float64), problem.inverse.term
    assert isinstance(term, SquaredTerm)
    limit = torch.tensor([-1.0, 0.05, -1.0], dtype=torch.float64) * term(network(x))
    poisoned = Poisoned(term, limit)
    spoilt = replace(
        problem,
        inverse=replace(problem.inverse, term=poisoned),  # type: ignore[arg-type]
        energy=replace(problem.energy, fidelity=poisoned),
    )
    solver = BlockDescent(sweeps_per_step=1)
    found = solve(solver, spoilt, solver.init(spoilt, x), stop=relative_optimality(1e-3), max_steps=300)
    assert found.status == (ni.Status.CONVERGED, ni.Status.DIVERGED, ni.Status.CONVERGED)
    assert 1 < found.steps[1] < 300 and torch.isfinite(found.state.objective).all()
    assert (found.state.objective < solver.init(problem, x).objective).all()


def test_weights_that_grow_sample_by_sample() -> None:
    """A batch whose samples are at different stiffness is each sample at its own; step sizes fall with it."""
    network, data = deep()
    problem = problem_of(network, data, 1e-2)
    factors = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    stiff, x = problem.stiffened(factors), torch.zeros(3, 4, dtype=torch.float64)
    together = BlockDescent(sweeps_per_step=3).step(stiff, BlockDescent().init(stiff, x))
    for i, factor in enumerate(factors.tolist()):
        alone = problem_of(network, data[i : i + 1], 1e-2, weight=factor)
        state = BlockDescent(sweeps_per_step=3).step(alone, BlockDescent().init(alone, x[:1]))
        assert torch.allclose(state.x[0], together.x[i], rtol=1e-12) and torch.allclose(state.objective[0], together.objective[i])
        assert torch.allclose(alone.step_size(-1)[0], stiff.step_size(-1)[i], rtol=1e-12)


def test_the_default_weights_follow_the_scale_of_the_network() -> None:
    """A last layer and data a thousand times larger: weights a million times larger, and the same inputs."""
    network, data = deep()
    large = mlp((4, 12, 10, 8), dtype=torch.float64)
    last = list(large.parameters())[-2:]
    for p in last:
        p.data *= 1e3
    states = []
    for net, y, alpha in ((network, data, 1e-2), (large, 1e3 * data, 1e4)):
        problem = LiftedProblem.lift(problem_of(net, y, alpha).inverse, net)
        states.append(BlockDescent().step(problem, BlockDescent().init(problem, torch.zeros(3, 4, dtype=torch.float64))))
    assert torch.allclose(states[0].x, states[1].x, rtol=1e-6, atol=1e-9)
    assert torch.allclose(1e6 * states[0].objective, states[1].objective, rtol=1e-6)


def test_counts_are_descended_with_the_curvature_of_their_divergence() -> None:
    network, data = deep()
    term = KullbackLeibler().at(network, data.abs())
    problem = LiftedProblem.lift(replace(problem_of(network, data, 1e-2).inverse, term=term), network)
    assert (term.curvature > 1).all() and (problem.step_size(1) < 1 / problem.curvatures[2][0]).all()
    solver = BlockDescent(sweeps_per_step=1, inertia=False)
    state = solver.init(problem, torch.zeros(3, 4, dtype=torch.float64))
    for _ in range(20):
        plain = solver._sweep(problem, state.x, state.us, state.dual)
        assert (plain.objective <= state.objective).all()
        state = solver.step(problem, state)


def test_continuation_ends_on_the_graph_of_the_network_and_rises_only_with_the_weights() -> None:
    network, data = deep()
    problem = problem_of(network, data, 0.1)
    solver, x = Continuation(), torch.zeros(3, 4, dtype=torch.float64)
    states = [solver.init(problem, x)]
    for _ in range(60):
        states.append(solver.step(problem, states[-1]))
        before, after = states[-2:]
        same = before.stiffness == after.stiffness
        assert (after.objective[same] <= before.objective[same] * (1 + 1e-12)).all()
        assert (after.stiffness >= before.stiffness).all() and torch.isinf(after.optimality[~after.on_graph]).all()
        assert (after.x - before.x).abs().max() < 10
    end = states[-1]
    assert end.on_graph.all() and torch.allclose(end.objective, problem.inverse.objective(end.x))
    held = Continuation(last=0.0)
    again = held.step(problem, held.init(problem, x))
    assert (again.stiffness == 1).all() and torch.isfinite(again.optimality).all()


def test_a_continuation_goes_on_at_another_weight_with_the_stiffness_it_had() -> None:
    """Samples on the graph stay there; whatever a sample's state says is said of the point it is at."""
    network, data = deep()
    problem, x = problem_of(network, data, 0.1), torch.zeros(3, 4, dtype=torch.float64)
    solver = Continuation(last=10.0)
    begun = solver.init(problem, x)
    state = replace(begun, stiffness=torch.tensor([1.0, 10.0, torch.inf], dtype=torch.float64))
    state = solver.step(problem, solver.init(problem, x, state))
    other = replace(problem, inverse=replace(problem.inverse, alpha=problem.inverse.alpha / 2))
    warm = solver.init(other, state.x, state)
    assert torch.equal(warm.stiffness, state.stiffness) and warm.on_graph.tolist() == [False, False, True]
    assert torch.isinf(warm.optimality).all() and not warm.stalled.any()
    finite = torch.where(warm.on_graph, 1.0, warm.stiffness)
    lifted = other.stiffened(finite).objective(warm.lifted.x, warm.lifted.us)
    assert torch.allclose(warm.objective, torch.where(warm.on_graph, other.inverse.objective(warm.x), lifted), rtol=1e-12)
    assert torch.allclose(warm.residual, other.inverse.residual(warm.x), rtol=1e-12)
    dual = warm.dual(other.inverse.alpha)
    assert torch.allclose(dual[2], warm.reduced.duals[1][2] / 0.05) and torch.allclose(dual[:2], warm.lifted.dual[:2])


@pytest.mark.slow
def test_a_sample_is_continued_alone_as_in_the_batch() -> None:
    network, data = deep()
    problem, x = problem_of(network, data, 0.1), torch.zeros(3, 4, dtype=torch.float64)
    solver, stop = Continuation(), relative_optimality(1e-6)
    together = solve(solver, problem, solver.init(problem, x), stop=stop, max_steps=60).state
    part = problem.select(torch.tensor([1]))
    alone = solve(solver, part, solver.init(part, x[:1]), stop=stop, max_steps=60).state
    assert torch.allclose(alone.x[0], together.x[1], atol=1e-8)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"formulation": "reduced", "layer_weights": 2.0}, r"layer_weights and continuation are of the lifted formulation"),
        ({"continuation": True}, r"formulation is 'auto'. Write Variational\('lifted', ...\)"),
        ({"formulation": "lifted", "layer_weights": 0.0}, r"layer_weights is 0.0, but must be one positive number"),
        ({"formulation": "lifted", "layer_weights": (1.0, -1.0)}, r"or one for each activation but the last"),
        ({"formulation": "lifted", "layer_weights": "heavy"}, r"Leave it out for weights that suit the network"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ni.Variational(**settings)


def test_a_fidelity_on_the_output_of_the_last_activation_is_refused() -> None:
    network, data = deep(last_activation=True)
    with pytest.raises(
        ValueError, match=r"LiftedProblem: the network ends in the activation relu\w*.*fidelity=BregmanFidelity\(\)"
    ):
        problem_of(network, data, 1.0, fidelity=SquaredFidelity())
    problem_of(network, data, 1.0, fidelity=BregmanFidelity())


def test_invert_by_the_lifted_formulation() -> None:
    network, clean = deep(last_activation=True)
    data, noise_level = ni.add_noise(clean, relative=0.02, seed=0)
    method = ni.Variational(formulation="lifted", layer_weights=10.0)
    result = ni.invert(network, data, noise_level=noise_level, method=method, tolerance=1e-4)
    assert result.converged, result.summary()
    assert result.certificate.kind == "stationarity"
    assert (result.residual <= 1.02 * result.noise_level).all()
    assert (result.residual >= 0.9 * result.noise_level).all()
    assert result.subgradient is not None
    for i in range(3):
        alone = ni.invert(network, data[i : i + 1], noise_level=noise_level[i : i + 1], method=method, tolerance=1e-4)
        assert (alone.x - result.x[i]).abs().max() <= 1e-6
    history = result.history
    for _, rows in history.groupby(["sample", "alpha"]):
        # The steps of one solve; a second solve at the same weight starts where the first one ended.
        assert (rows.objective.diff().dropna() <= 1e-12).all()
