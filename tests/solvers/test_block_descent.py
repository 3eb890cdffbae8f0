"""Laws of block descent: the objective never rises, samples are separate, the inputs stay as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.fidelities import BregmanFidelity, Fidelity, SquaredFidelity, default_fidelity
from netinverse.networks import LiftedNetwork, NetworkOutput, lift, mlp
from netinverse.problems import InverseProblem, LiftedProblem
from netinverse.prox import Box
from netinverse.regularisers import Regulariser, Tikhonov, TotalVariation
from netinverse.solvers.block_descent import BlockDescent
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
    method = ni.Variational(formulation="lifted")
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
