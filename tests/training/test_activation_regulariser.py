"""Functions added to the potentials of activations: the energy they belong to, sparse codes, and names that are none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.lifting import BregmanPenalty, LiftedEnergy, QuadraticPenalty, RegularisedPenalty
from netinverse.networks.batch_statistics import BatchStatistics
from netinverse.prox import GroupL21
from netinverse.training import BlockDescent, ForwardPass, ImplicitSGD, LiftedTraining, ProximalSGD
from netinverse.training.activation_regulariser import by_node
from netinverse.training.problem import TrainingProblem
from tests.training.test_algorithms import X


def autoencoder(code: nn.Module, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 30), code)
        return nn.Sequential(encoder, nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 64)))


def pairs(count: int = 1500, size: int = 50) -> list[tuple[Tensor, Tensor]]:
    return [(X[k : k + size], X[k : k + size]) for k in range(0, count, size)]


@pytest.mark.parametrize("penalty", [BregmanPenalty, QuadraticPenalty], ids=lambda p: p.__name__)
@pytest.mark.parametrize("code", [nn.ReLU(), nn.Softshrink(0.1), nn.Tanh()], ids=lambda c: type(c).__name__)
def test_the_block_step_is_the_minimiser_and_the_value_is_the_sum(penalty: type, code: nn.Module) -> None:
    """On a lattice, and by the parts."""
    network = ni.lift(autoencoder(code).double().eval(), torch.zeros(2, 64, dtype=torch.float64))
    node = network.hidden[1]
    plain = penalty(node) if penalty is QuadraticPenalty else penalty(node.potential)
    both = RegularisedPenalty(plain, ni.L1(0.3))
    v = torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None]
    found, lattice = both.prox(v, 0.7), torch.linspace(-3, 3, 1201, dtype=torch.float64)
    potential = node.potential if penalty is BregmanPenalty else ni.potential_of("identity")

    def cost(u: Tensor) -> Tensor:
        return 0.7 * (0.5 * u.square() + 0.3 * u.abs() + potential(u.reshape(-1, 1)).reshape(u.shape)) + 0.5 * (u - v).square()

    assert bool((cost(found)[:, 0] <= cost(lattice.expand(41, -1)).amin(1) + 1e-9).all())
    u, z = node.potential.prox(v), 2 * v
    torch.testing.assert_close(both(u, z), plain(u, z) + 0.3 * u.abs().sum(1))
    torch.testing.assert_close(both.z_gradient(u, z)[0], plain.z_gradient(u, z)[0])


@pytest.mark.parametrize("function", [ni.L1(0.2), GroupL21(1, 0.2), ni.SquaredNorm(0.5), ni.Box(0.0, 0.4)], ids=str)
def test_the_energy_falls_in_every_block_step(function: ni.L1) -> None:
    """BlockDescent compares it, with R, after every step."""
    training = LiftedTraining(algorithm=BlockDescent(sweeps=4, debug=True), activation_regulariser={"0": function})
    model = autoencoder(nn.ReLU()).double()
    training.fit(model, [(X[:40].double(), X[:40].double())], 2)


@pytest.mark.parametrize(("penalty", "count", "bound"), [("bregman", 1500, 0.06), ("contrastive", 400, 0.09)])
def test_codes_become_sparse(penalty: str, count: int, bound: float) -> None:
    active: list[float] = []
    for weight in (None, 0.05):
        model = autoencoder(nn.ReLU())
        added = {} if weight is None else {"0.3": ni.L1(weight)}
        LiftedTraining(penalty, ProximalSGD(3e-3), activation_regulariser=added).fit(model, pairs(count), 4)
        with torch.no_grad():
            error = float((model(X[1500:]) - X[1500:]).square().mean())
            active.append(float((model[0](X[1500:]) > 1e-3).float().mean()))
        assert error < bound
    assert active[1] < 0.75 * active[0]


def test_one_implicit_step_lowers_the_objective_with_the_regulariser() -> None:
    network = ni.lift(autoencoder(nn.ReLU()).double().eval(), torch.zeros(2, 64, dtype=torch.float64))
    added = by_node({"0": ni.L1(0.1)}, network)
    problem = TrainingProblem(network, "auto", "bregman", 1.0, 1, ForwardPass(), None, added, BatchStatistics(network))
    x = X[:30].double()
    run = ImplicitSGD().begin(problem)
    energy = problem.energy(x)
    with torch.no_grad():
        before = energy.value(x, energy.activations(x)).mean()
        assert before > LiftedEnergy(network, energy.fidelity).value(x, energy.activations(x)).mean() + 0.01
        run.batch(0, x, x, 0.0)
        assert energy.value(x, energy.activations(x)).mean() < before


def test_names_and_refusals() -> None:
    model = autoencoder(nn.Softmax(1)).eval()
    network = ni.lift(model, X[:2])
    code, last = network.hidden[1], network.hidden[2]
    assert by_node({"0": ni.L1()}, network) == by_node({"0.3": ni.L1()}, network) == {code.name: ni.L1()}
    assert by_node({last.name: ni.L1()}, network) == by_node({"1": ni.L1()}, network) == {last.name: ni.L1()}
    with pytest.raises(ValueError, match=r"activation_regulariser names 'code', but no hidden activation.*'0\.3' \(softmax\)"):
        LiftedTraining(activation_regulariser={"code": ni.L1()}).fit(model, pairs(), 1)
    with pytest.raises(ValueError, match="no proximal map is known for SimplexEntropy"):
        LiftedTraining(activation_regulariser={"0": ni.L1()}).fit(model, pairs(), 1)
    with pytest.raises(TypeError, match="activation_regulariser"):
        LiftedTraining(activation_regulariser={"0": 0.1})  # type: ignore[dict-item]
    ends = nn.Sequential(nn.Linear(64, 64), nn.Sigmoid())
    with pytest.raises(ValueError, match=r"There are: none\. What the output should be belongs into the loss"):
        LiftedTraining(activation_regulariser={"1": ni.L1()}).fit(ends, pairs(), 1)
