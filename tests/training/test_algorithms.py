"""Every algorithm and penalty: what falls, what is learned, and what the formulas say."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, SubsetRandomSampler, TensorDataset

import netinverse as ni
from netinverse.networks.batch_statistics import BatchStatistics
from netinverse.training import BlockDescent, ForwardPass, ImplicitSGD, LiftedTraining, ProximalSAGA, ProximalSGD, TargetCodes
from netinverse.training.algorithm import BatchResult
from netinverse.training.block_descent import BlockDescentRun
from netinverse.training.descent import descended
from netinverse.training.losses import Loss, loss_of
from netinverse.training.problem import TrainingProblem
from netinverse.training.weight_step import curvatures, energy_gradients, objective, weight_step


def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.as_tensor(images, dtype=torch.float32) / 16, torch.as_tensor(labels)


X, Y = digits()
HELD_OUT = DataLoader(TensorDataset(X[1500:], Y[1500:]), 300)


def loader(shuffle: bool = True) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(X[:1500], Y[:1500]), 50, shuffle=shuffle)


def model(*sizes: int, activation: type[nn.Module] = nn.ReLU, seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        layer = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            for p in layer.parameters():
                p.copy_((2 * torch.rand(p.shape, generator=generator) - 1) / fan_in**0.5)
        layers += [layer] if i == len(sizes) - 2 else [layer, activation()]
    return nn.Sequential(*layers).eval()


def accuracy(network: nn.Module) -> float:
    with torch.no_grad():
        return float((network(X[1500:]).argmax(1) == Y[1500:]).float().mean())


@pytest.mark.parametrize("penalty", ["bregman", "quadratic", "fenchel", "contrastive"])
def test_every_penalty_learns_the_digits(penalty: str) -> None:
    network = model(64, 40, 10)
    history = LiftedTraining(penalty, ProximalSGD(3e-3)).fit(network, loader(), 8, validation=HELD_OUT)
    assert list(history.columns[:3]) == ["epoch", "loss", "accuracy"] and len(history) == 8
    assert accuracy(network) > 0.85 and history.loss.iloc[-1] < 0.5 * history.loss.iloc[0]
    assert history.validation_accuracy.iloc[-1] == pytest.approx(accuracy(network))


@pytest.mark.parametrize(
    ("algorithm", "epochs", "least"),
    [
        (ProximalSGD(0.1, "sgd"), 8, 0.83),
        (ProximalSAGA(0.1), 15, 0.85),
        pytest.param(ImplicitSGD(1.0), 6, 0.85, marks=pytest.mark.slow),
        (BlockDescent("adam"), 8, 0.75),
    ],
    ids=["sgd", "saga", "implicit", "blocks"],
)
def test_every_algorithm_learns_the_digits(algorithm: ni.training.Algorithm, epochs: int, least: float) -> None:
    network = model(64, 40, 10)
    LiftedTraining(algorithm=algorithm).fit(network, loader(shuffle=algorithm.batches == "any"), epochs)
    assert accuracy(network) > least


def problem(network: ni.LiftedNetwork, regulariser: ni.L1 | None = None) -> TrainingProblem:
    return TrainingProblem(network, "auto", "bregman", 1.0, 1, ForwardPass(), regulariser, {}, BatchStatistics(network))


@pytest.mark.parametrize("acceleration", [None, "nesterov", "heavy-ball", "adam"])
def test_the_energy_falls_in_every_sweep_of_block_descent(acceleration: str | None) -> None:
    network = ni.lift(model(64, 20, 10).double(), torch.zeros(2, 64, dtype=torch.float64))
    x, y = X[:200].double(), Y[:200]
    whole = problem(network, ni.L1(1e-4))
    run = BlockDescent(acceleration, sweeps=1).begin(whole)
    values = []
    for _ in range(15):
        run.batch(0, x, y, 0.0)
        us = tuple(value for name, value in run.state().items() if name.startswith("u/"))
        values.append(float(objective(whole, whole.energy(y), x, us, None)))
    assert all(after <= before for before, after in pairwise(values))
    assert values[-1] < 0.9 * values[0]


def test_the_energy_falls_in_every_block_step() -> None:
    network = ni.lift(model(64, 20, 15, 10).double(), torch.zeros(2, 64, dtype=torch.float64))
    x, y = X[:100].double(), Y[:100]
    whole = problem(network)
    energy = whole.energy(y)
    us = list(energy.activations(x))
    steps, length = whole.safe_steps(), 1.0
    for _ in range(5):
        for block in (1, 0):
            before = objective(whole, energy, x, us, None)
            with torch.no_grad():
                us[block] = energy.prox(block, us[block] - steps[block] * energy.gradient(block, x, us), steps[block])
            assert objective(whole, energy, x, us, None) <= before + 1e-12
        before = objective(whole, energy, x, us, None)
        length, after = weight_step(whole, energy, x, us, length)
        assert after < before


def test_gradients_and_curvatures_of_the_parameters() -> None:
    """Against automatic differentiation of the energy, and against the largest eigenvalue of its Hessian in one layer."""
    network = ni.lift(model(6, 5, 3).double(), torch.zeros(2, 6, dtype=torch.float64))
    x, y = torch.randn(8, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64), torch.arange(8) % 3
    whole = problem(network)
    energy = whole.energy(y)
    us = tuple(u.detach() + 0.1 for u in energy.activations(x))
    found = energy_gradients(energy, x, us, whole.parameters)
    exact = torch.autograd.grad(energy.value(x, us).mean(), list(whole.parameters.values()))
    for ours, g in zip(found.values(), exact, strict=True):
        torch.testing.assert_close(ours, g)
    steep = curvatures(whole, energy, x, us)
    for key, entering in zip(list(steep)[::2], (x, us[0]), strict=True):
        with_one = torch.cat([entering, torch.ones(8, 1, dtype=torch.float64)], 1)
        assert steep[key] >= float(torch.linalg.eigvalsh(with_one.T @ with_one / 8)[-1])


def test_one_implicit_step_stays_near_and_lowers_the_objective_of_the_batch() -> None:
    near, far = model(64, 20, 10), model(64, 20, 10)
    before = [p.detach().clone() for p in near.parameters()]
    moved = []
    for network, proximity in ((near, 1e-3), (far, 1.0)):
        LiftedTraining(algorithm=ImplicitSGD(proximity, sweeps=5)).fit(network, [(X[:50], Y[:50])], 1)
        moved.append(float(sum((p.detach() - q).norm() for p, q in zip(network.parameters(), before, strict=True))))
    assert 0 < moved[0] < 0.3 * moved[1]


def test_aggregated_gradients_end_where_the_mean_over_samples_is_least() -> None:
    """Batches of 50, 50 and 10: the gradient of the mean over all 110 vanishes, that of the mean over batches does not."""
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(110, k, generator=generator, dtype=torch.float64) for k in (3, 2))
    network = nn.Sequential(nn.Linear(3, 2, bias=False)).double()
    LiftedTraining(algorithm=ProximalSAGA(0.1)).fit(network, DataLoader(TensorDataset(x, y), 50), 400)
    with torch.no_grad():
        parts = [(x[k].T @ (network(x[k]) - y[k])).T for k in (slice(0, 50), slice(50, 100), slice(100, 110))]
    assert float(sum(parts).norm()) / 110 < 1e-10
    assert float((parts[0] / 50 + parts[1] / 50 + parts[2] / 10).norm()) / 3 > 1e-2


def test_a_regulariser_makes_weights_sparse() -> None:
    network = model(64, 40, 10)
    LiftedTraining(algorithm=ProximalSGD(0.05, "sgd"), regulariser=ni.L1(3e-3)).fit(network, loader(), 15)
    weights = torch.cat([p.flatten() for p in network.parameters() if p.ndim > 1])
    assert float((weights == 0).float().mean()) > 0.15 and accuracy(network) > 0.8


@pytest.mark.slow
def test_codes_of_the_targets_train_what_back_propagation_cannot() -> None:
    """Ten sigmoid layers from torch's own start: stochastic gradients by back-propagation stay at chance."""
    sizes = (64, *[32] * 10, 10)
    codes, plain = (model(*sizes, activation=nn.Sigmoid) for _ in range(2))
    training = LiftedTraining(algorithm=ProximalSGD(1e-2), auxiliaries=TargetCodes())
    training.fit(codes, loader(), 12)
    optimiser = torch.optim.SGD(plain.parameters(), 0.1, 0.9)
    for _ in range(12):
        for x, y in loader():
            optimiser.zero_grad()
            nn.functional.cross_entropy(plain(x), y).backward()
            optimiser.step()
    assert accuracy(plain) < 0.2 and accuracy(codes) > 0.8


def test_float_targets_take_the_penalty_of_the_last_activation_or_half_the_squares() -> None:
    network = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 64), nn.Sigmoid()).eval()
    untrained = copy.deepcopy(network)
    pairs = [(X[k : k + 50], X[k : k + 50]) for k in range(0, 1500, 50)]
    history = LiftedTraining(algorithm=ProximalSGD(3e-3)).fit(network, pairs, 10)
    assert history.accuracy.isna().all()
    with torch.no_grad():
        errors = [float((each(X[1500:]) - X[1500:]).square().mean()) for each in (network, untrained)]
        z = network[:-1](X[:1])
        penalty = ni.bregman_penalty(ni.potential_of("sigmoid"), X[:1], z)
    assert errors[0] < 0.5 * errors[1]
    assert float(penalty) >= 0.5 * float((network(X[:1]) - X[:1]).square().sum())


def test_the_squared_loss_is_that_of_the_output_behind_every_last_activation() -> None:
    """Its value and its gradient; the penalty of the last activation, "auto", is larger."""
    x, generator = X[:30].double(), torch.Generator().manual_seed(2)
    targets = torch.rand(30, 4, generator=generator, dtype=torch.float64)
    for end in (nn.Sigmoid(), nn.Tanh(), nn.Identity()):
        network = nn.Sequential(*model(64, 4), end).double()
        lifted = ni.lift(network, x[:2])
        z = lifted.pre_activation(x).detach().requires_grad_(True)
        expected = 0.5 * (end(z) - targets).square().sum(1)
        loss = loss_of("squared", lifted, targets)
        torch.testing.assert_close(loss(z), expected)
        torch.testing.assert_close(loss.gradient(z), torch.autograd.grad(expected.sum(), z)[0])
        larger = loss_of("auto", lifted, targets)(z) - expected
        assert bool((larger > 1e-3).all()) if not isinstance(end, nn.Identity) else bool((larger.abs() < 1e-12).all())
        first = LiftedTraining(loss="squared").fit(network, [(x, 3 * targets)], 1).loss[0]
        assert first == pytest.approx(float(0.5 * (end(z) - 3 * targets).square().sum(1).mean()))


def test_convolutions_and_any_torch_loss() -> None:
    network = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 10)).eval()
    batches = [(X[k : k + 50].reshape(-1, 1, 8, 8), Y[k : k + 50]) for k in range(0, 1500, 50)]

    def smoothed(output: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, targets, label_smoothing=0.1)

    LiftedTraining(algorithm=ProximalSGD(3e-3), loss=smoothed).fit(network, batches, 15)
    with torch.no_grad():
        found = network(X[1500:].reshape(-1, 1, 8, 8)).argmax(1)
    assert float((found == Y[1500:]).float().mean()) > 0.82


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Softshrink], ids=lambda a: a.__name__)
def test_debugging_block_descent_compares_the_energy_after_every_block_step(
    activation: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(debug: bool) -> nn.Module:
        network = model(64, 20, 20, 10, activation=activation)
        LiftedTraining(algorithm=BlockDescent("nesterov", 5, debug=debug)).fit(network, [(X[:60], Y[:60])], 3)
        return network

    for p, q in zip(train(debug=True).parameters(), train(debug=False).parameters(), strict=True):
        assert torch.equal(p, q)
    safe = TrainingProblem.safe_steps
    monkeypatch.setattr(TrainingProblem, "safe_steps", lambda problem: [1e3 * step for step in safe(problem)])
    with pytest.raises(AssertionError, match=r"the step in activation '.*' raised the energy of sample \d+ from"):
        train(debug=True)


@pytest.mark.parametrize("sampler", [None, RandomSampler, SubsetRandomSampler], ids=["shuffle", "batch sampler", "subset"])
def test_a_shuffling_loader_leaves_each_sample_its_activations(sampler: type[Sampler[int]] | None) -> None:
    """The objective goes on in the next epoch where it was; another order of the samples would raise it."""
    data, ends = TensorDataset(X[:90], Y[:90]), list[tuple[float, float]]()

    class Noted(BlockDescentRun):
        def batch(self, number: int, x: Tensor, targets: Tensor, progress: float) -> BatchResult:
            before = self._energy(x, targets)
            result = super().batch(number, x, targets, progress)
            ends.append((before, self._energy(x, targets)))
            return result

        def _energy(self, x: Tensor, targets: Tensor) -> float:
            energy = self._problem.energy(targets)
            return float(objective(self._problem, energy, x, self._us, None)) if self._us else float("inf")

    class Noting(BlockDescent):
        def begin(self, problem: TrainingProblem) -> BlockDescentRun:
            return Noted(problem, self)

    if sampler is None:
        loader = DataLoader(data, 30, shuffle=True)
    elif sampler is RandomSampler:
        loader = DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 30, drop_last=False))
    else:
        loader = DataLoader(data, 30, sampler=SubsetRandomSampler(range(90)))
    LiftedTraining(algorithm=Noting(sweeps=3, debug=True)).fit(model(64, 20, 20, 10), loader, 4)
    assert all(after[0] == before[1] for before, after in pairwise(ends))


class Turning:
    """Batches that begin at another sample in every epoch."""

    turn = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.turn += 1
        x, targets = X[:60].roll(self.turn, 0), Y[:60].roll(self.turn, 0)
        yield from zip(x.split(20), targets.split(20), strict=True)


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [
        (BlockDescent(sweeps=1), "BlockDescent: the loader gives other samples, or another order of them"),
        (ProximalSAGA(), "ProximalSAGA: batch 0 has other samples, or another order of them, than in the epoch before"),
    ],
    ids=["blocks", "saga"],
)
def test_data_that_differ_between_epochs_are_refused_where_something_is_kept(algorithm: ni.training.Algorithm, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        LiftedTraining(algorithm=algorithm).fit(model(64, 20, 10), Turning(), 3)


def test_aggregated_gradients_that_go_on_know_their_batches() -> None:
    network = ni.lift(model(64, 20, 10).double(), torch.zeros(2, 64, dtype=torch.float64))
    whole, x, y = problem(network), X[:60].double(), Y[:60]
    run, again = ProximalSAGA().begin(whole), ProximalSAGA().begin(whole)
    for number in range(2):
        run.batch(number, x[number::2], y[number::2], 0.0)
    again.restore(run.state())
    again.batch(0, x[::2], y[::2], 0.5)
    with pytest.raises(ValueError, match="ProximalSAGA: batch 1 has other samples"):
        again.batch(1, x[::2], y[::2], 0.5)


def steep(output: Tensor, targets: Tensor) -> Tensor:
    return 20 * (output - targets).square().sum(1)


def steep_mean(output: Tensor, targets: Tensor) -> Tensor:
    return 20 * (output - targets).square().sum(1).mean()


@pytest.mark.parametrize("penalty", ["bregman", "quadratic", "fenchel", "contrastive"])
@pytest.mark.parametrize("loss", ["auto", "squared", steep, steep_mean], ids=["entropy", "squared", "steep", "steep mean"])
@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.Sigmoid], ids=lambda a: a.__name__)
def test_the_energy_of_every_sample_falls_in_every_block_step(
    penalty: str, loss: str | Loss, activation: type[nn.Module]
) -> None:
    """With weights, targets and beginnings far from where the network would be at rest."""
    x, generator = X[:20].double(), torch.Generator().manual_seed(1)
    network = ni.lift(model(64, 12, 12, 10, activation=activation).double(), x[:2])
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(3)
    targets = Y[:20] if loss == "auto" else 3 * torch.randn(20, 10, generator=generator, dtype=torch.float64)
    codes = TargetCodes(free=0)
    whole = TrainingProblem(network, loss, penalty, 0.1, 1, codes, None, {}, BatchStatistics(network))
    run = BlockDescent(sweeps=1, debug=True).begin(whole)
    values = []
    for _ in range(2):
        run.batch(0, x, targets, 0.0)
        us = tuple(value for name, value in run.state().items() if name.startswith("u/"))
        values.append(float(objective(whole, whole.energy(targets), x, us, None)))
    assert values[0] > values[1]


def test_a_step_across_a_kink_is_shortened_sample_by_sample() -> None:
    """u_2 is far outside the range of ReLU: its quadratic penalty bends by more than the norm of the layer says."""
    layers = [nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False)]
    network = ni.lift(nn.Sequential(*layers).double().eval(), torch.zeros(2, 1, dtype=torch.float64))
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(1.0)
    whole = TrainingProblem(network, "squared", "quadratic", 1.0, 1, ForwardPass(), None, {}, BatchStatistics(network))
    energy, x = whole.energy(torch.zeros(2, 1, dtype=torch.float64)), torch.full((2, 1), 4.0, dtype=torch.float64)
    us = [torch.tensor([[-0.1], [1.0]], dtype=torch.float64), torch.tensor([[-3.0], [1.0]], dtype=torch.float64)]
    step = whole.safe_steps()[0]
    u = energy.prox(0, us[0] - step * energy.gradient(0, x, us), step)
    with torch.no_grad():
        assert float((energy.value(x, [u, us[1]]) - energy.value(x, us))[0]) > 0
    seen = [energy.value(x, us).detach()]
    found = descended(whole, energy, x, us, on_block=lambda block, us: seen.append(energy.value(x, us).detach()))
    assert all((after <= before).all() for before, after in pairwise(seen))
    assert all(bool((after != before).any()) for after, before in zip(found, us, strict=True))


def test_a_warm_implicit_step_begins_where_the_last_one_of_the_batch_ended() -> None:
    network = ni.lift(model(64, 20, 10).double(), torch.zeros(2, 64, dtype=torch.float64))
    whole, x, y = problem(network), X[:60].double(), Y[:60]
    run = ImplicitSGD(1.0, sweeps=1, warm=True).begin(whole)
    for number in range(2):
        run.batch(number, x[number::2], y[number::2], 0.0)
    kept = [value for name, value in run.state().items() if name.startswith("kept/0/")][1:]
    expected = descended(whole, whole.energy(y[::2]), x[::2], kept)
    run.batch(0, x[::2], y[::2], 0.5)
    found = [value for name, value in run.state().items() if name.startswith("kept/0/")][1:]
    for u, v, before in zip(found, expected, kept, strict=True):
        torch.testing.assert_close(u, v, rtol=0, atol=0)
        assert not torch.equal(u, before)
    with pytest.raises(ValueError, match="ImplicitSGD: batch 1 has other samples"):
        run.batch(1, x[::2], y[::2], 0.5)
    with pytest.raises(ValueError, match=r"which may shuffle, but .*ImplicitSGD\(warm=True\)"):
        LiftedTraining(algorithm=ImplicitSGD(warm=True)).fit(model(64, 20, 10), loader(), 1)
