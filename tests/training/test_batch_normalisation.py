"""Batch normalisation in training: torch's statistics, torch's derivative, and nothing kept where something goes wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netinverse as ni
from netinverse.networks.batch_statistics import BatchStatistics
from netinverse.training import BlockDescent, DataParallel, ForwardPass, ImplicitSGD, LiftedTraining, ProximalSAGA, ProximalSGD
from netinverse.training.algorithm import Algorithm
from netinverse.training.problem import TrainingProblem
from tests.training.test_algorithms import accuracy
from tests.training.test_algorithms import loader as digits

GENERATOR = torch.Generator().manual_seed(0)
Y = torch.arange(60) % 3
X = torch.randn(60, 6, generator=GENERATOR, dtype=torch.float64) + 2 * torch.eye(6, dtype=torch.float64)[Y]
BATCHES = [(X[k : k + 12], Y[k : k + 12]) for k in range(0, 60, 12)]


class Twice(nn.Module):
    """One layer of normalisation in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(6, 6), nn.Linear(6, 3), nn.BatchNorm1d(6, momentum=0.3)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.second(torch.relu(self.norm(self.first(torch.relu(self.norm(x))))))
        return z


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "default": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)),
    "mean of all batches": lambda: nn.Sequential(nn.BatchNorm1d(6, momentum=None), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)),
    "without scale": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, affine=False), nn.ReLU(), nn.Linear(8, 3)),
    "channels": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4, momentum=0.2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ),
    "in two places": Twice,
}


def drawn(name: str = "default", seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name]().double()


def problem(model: nn.Module) -> TrainingProblem:
    modes = {module: module.training for module in model.modules()}
    network = ni.lift(model.eval(), X[:2])
    for module, training in modes.items():
        module.training = training
    statistics = BatchStatistics.of(network, model)
    return TrainingProblem(statistics.coupled, "auto", "bregman", 1.0, 1, ForwardPass(), None, {}, statistics)


class Shadowed:
    """Batches, each shown first to a copy in torch's training mode that has the parameters of that moment."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.shadow, self.passes = model, copy.deepcopy(model), 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        for x, y in BATCHES:
            if self.passes > 1:  # the first pass is the one that looks at an example
                self.shadow.train()
                for into, p in zip(self.shadow.parameters(), self.model.parameters(), strict=True):
                    into.data.copy_(p.data)
                self.shadow(x)
            yield x, y


CASES = [(name, ProximalSGD(1e-2)) for name in NETWORKS] + [("default", ImplicitSGD(sweeps=2))]


@pytest.mark.parametrize(("name", "algorithm"), CASES, ids=[f"{name}, {type(a).__name__}" for name, a in CASES])
def test_running_statistics_are_those_of_torch(name: str, algorithm: Algorithm) -> None:
    model = drawn(name)
    before = ni.lift(model.eval(), X[:2])
    pairs = Shadowed(model.train())
    LiftedTraining(algorithm=algorithm).fit(model, pairs, 2)
    found, expected = dict(model.named_buffers()), dict(pairs.shadow.named_buffers())
    assert model.training and any(int(value) >= 10 for key, value in found.items() if key.endswith("tracked"))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(before(X), model.eval()(X))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_of_a_batch_is_the_model_in_training_mode(name: str) -> None:
    model = drawn(name)
    buffers = copy.deepcopy(dict(model.named_buffers()))
    statistics = problem(model).statistics
    held = statistics.held(statistics.at(X))
    assert all(torch.equal(value, buffers[key]) for key, value in model.named_buffers())
    expected = copy.deepcopy(model).train()(X)
    torch.testing.assert_close(statistics.coupled(X), expected)
    torch.testing.assert_close(held(X), expected)
    direction = torch.randn(X.shape, generator=torch.Generator().manual_seed(1), dtype=X.dtype)
    for node in held.nodes:
        if node.kind == "affine" and node.inputs == (held.input_name,):
            torch.testing.assert_close(node(X + direction) - node(X), node.linear(direction))


def test_gradients_are_those_through_the_moments() -> None:
    """Without activations the lifted gradient is that of back-propagation; a shift before the layer has none."""
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).double()
    whole = problem(model)
    found = whole.summed(X, Y, 0.0).gradients
    loss = nn.functional.cross_entropy(copy.deepcopy(model).train()(X), Y, reduction="sum")
    reference = copy.deepcopy(model).train()
    loss = nn.functional.cross_entropy(reference(X), Y, reduction="sum")
    for ours, g in zip(found.values(), torch.autograd.grad(loss, list(reference.parameters())), strict=True):
        torch.testing.assert_close(ours, g)
    assert float(found["p_0_bias"].abs().max()) < 1e-10 < float(found["p_0_weight"].abs().max())


@pytest.mark.parametrize(
    "algorithm",
    [ProximalSGD(3e-3), ProximalSAGA(0.1), pytest.param(ImplicitSGD(1.0), marks=pytest.mark.slow)],
    ids=lambda a: type(a).__name__,
)
def test_digits_are_learned_at_least_as_well_as_without(algorithm: Algorithm) -> None:
    epochs, found = 1 if isinstance(algorithm, ImplicitSGD) else 2, {}
    for normalised in (False, True):
        torch.manual_seed(0)
        widths = (64, 30, 30, 30)
        hidden = [
            part
            for n, m in pairwise(widths)
            for part in (nn.Linear(n, m), nn.BatchNorm1d(m) if normalised else nn.Identity(), nn.ReLU())
        ]
        model = nn.Sequential(*hidden, nn.Linear(30, 10))
        LiftedTraining(algorithm=algorithm).fit(model, digits(shuffle=algorithm.batches == "any"), epochs)
        found[normalised] = accuracy(model.eval())
    assert found[True] > max(0.75, found[False])


def test_a_layer_in_evaluation_mode_keeps_its_statistics_and_every_module_its_mode() -> None:
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)
    )
    model.double().train()[1].eval()
    kept = copy.deepcopy(model[1].state_dict())
    LiftedTraining().fit(model, BATCHES, 1)
    assert [module.training for module in model] == [True, False, True, True, True, True, True]
    assert torch.equal(model[1].running_mean, kept["running_mean"]) and int(model[1].num_batches_tracked) == 0
    assert not torch.equal(model[1].weight, kept["weight"]) and int(model[4].num_batches_tracked) == 5


def loader() -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(X, Y), 12, shuffle=True)


def test_an_interrupted_training_and_the_best_epoch_carry_the_statistics(tmp_path: Path) -> None:
    class Broken(Exception):
        pass

    class Breaking(Shadowed):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            self.passes += 1
            for k, pair in enumerate(BATCHES):
                if self.passes == 4 and k == 3:
                    raise Broken
                yield pair

    training = LiftedTraining(algorithm=ProximalSGD(0.3))
    whole, parts, resumed = drawn(), drawn(), drawn(seed=9)
    noise = [(X.flip(0), Y)]
    history = training.fit(whole, BATCHES, 6, validation=noise, patience=4)
    with pytest.raises(Broken):
        training.fit(
            parts, Breaking(parts), 6, validation=noise, patience=4, checkpoint=tmp_path / "t.npz", checkpoint_share=math.inf
        )
    again = training.fit(resumed, BATCHES, 6, validation=noise, patience=4, checkpoint=tmp_path / "t.npz")
    assert again.drop(columns="seconds").equals(history.drop(columns="seconds"))
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in resumed.state_dict().items())
    best = int(history.validation_loss.idxmin())
    assert best < len(history) - 1 and int(whole[1].num_batches_tracked) == 5 * (best + 1)
    loss = nn.functional.cross_entropy(whole.eval()(X.flip(0)), Y)
    assert float(loss.detach()) == pytest.approx(history.validation_loss.min(), rel=1e-9)


def test_refusals_and_a_batch_that_is_not_finite_change_no_statistics() -> None:
    model = drawn()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ValueError, match=r"a batch of 1 sample\(s\) gives 1 number\(s\) for each channel of module '1'.*drop_last=True"
    ):
        LiftedTraining().fit(model, [(X[:1], Y[:1])], 1)
    with pytest.raises(RuntimeError, match="not finite in batch 0 of epoch 0"):
        LiftedTraining().fit(model, [(X * torch.nan, Y)], 1)
    with pytest.raises(ValueError, match=r"BlockDescent: the network has batch normalisation in training mode.*eval"):
        LiftedTraining(algorithm=BlockDescent()).fit(model, BATCHES, 1)
    with pytest.raises(
        ValueError, match=r"DataParallel: the network has batch normalisation in training mode .module '1'.*one process"
    ):
        DataParallel().share(problem(model))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    LiftedTraining(algorithm=BlockDescent()).fit(model.eval(), BATCHES, 1)
    assert int(model[1].num_batches_tracked) == 0  # type: ignore[index]
