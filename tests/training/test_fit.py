"""``fit``: bad input, interruption and resumption, early stopping, and what it leaves alone."""

from __future__ import annotations

import copy
import io
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, StepLR
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import netinverse as ni
from netinverse.archives import read_archive
from netinverse.layers import parseval
from netinverse.training import AdaBreg, BlockDescent, ImplicitSGD, LiftedTraining, LinBreg, ProximalSAGA, ProximalSGD, sparsify
from netinverse.training.algorithm import Algorithm
from netinverse.training.batches import fitted
from netinverse.training.problem import WeightPenalty


def blobs(count: int = 120) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    return torch.randn(count, 5, generator=generator) + 2 * torch.eye(5)[labels], labels


X, Y = blobs()


def network(seed: int = 0) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in layers.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator))
    return layers


def loader(shuffle: bool = True) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(X, Y), 20, shuffle=shuffle)


class Interrupted(Exception):
    pass


class Breaking:
    """Batches that end in the middle of the epoch with this number."""

    def __init__(self, inner: DataLoader[tuple[Tensor, ...]], epoch: int, batch: int) -> None:
        self.inner, self.left, self.batch = inner, epoch + 1, batch

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.left -= 1
        for k, pair in enumerate(self.inner):
            if self.left == 0 and k == self.batch:
                raise Interrupted
            yield pair


@pytest.mark.parametrize(
    "algorithm",
    [
        ProximalSGD(1e-2),
        ProximalSGD(1e-2, "sgd"),
        ProximalSAGA(),
        ImplicitSGD(),
        ImplicitSGD(warm=True),
        BlockDescent("nesterov", 2),
        BlockDescent("adam", 2),
    ],
    ids=str,
)
def test_an_interrupted_training_ends_as_the_uninterrupted_one(algorithm: Algorithm, tmp_path: Path) -> None:
    training, whole, parts = LiftedTraining(algorithm=algorithm), network(), network()
    expected = training.fit(whole, loader(shuffle=False), 4, patience=3)
    path = tmp_path / "training.npz"
    with pytest.raises(Interrupted):  # the first pass is the one that looks at an example
        training.fit(parts, Breaking(loader(shuffle=False), 3, 2), 4, patience=3, checkpoint=path, checkpoint_share=math.inf)
    resumed = network(seed=9)
    history = training.fit(resumed, loader(shuffle=False), 4, patience=3, checkpoint=path)
    assert history.drop(columns="seconds").equals(expected.drop(columns="seconds"))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


SCRIPT = """
import math, sys
sys.path.insert(0, {tests!r})
from test_fit import Killed, network
from netinverse.training import LiftedTraining
LiftedTraining().fit(network(), Killed(), 3, checkpoint={path!r}, checkpoint_share=math.inf, seed=3)
"""
PAIRS = [(X[k : k + 20], Y[k : k + 20]) for k in range(0, 120, 20)]


class Killed:
    """Batches, of which the fourth of the second epoch kills the process that asks for it."""

    begun = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for k, pair in enumerate(PAIRS):
            self.begun += k == 1  # no look at the first batch
            if self.begun == 2 and k == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            yield pair


def test_a_kill_loses_the_batch_under_way_alone_where_every_batch_is_written(tmp_path: Path) -> None:
    path = tmp_path / "training.npz"
    script = SCRIPT.format(tests=str(Path(__file__).parent), path=str(path))
    assert subprocess.run([sys.executable, "-c", script], timeout=600).returncode == -signal.SIGKILL
    _, meta = read_archive(path)
    assert (meta["epoch"], meta["batch"]) == (1, 3)
    resumed, whole = network(5), network()
    LiftedTraining().fit(resumed, PAIRS, 3, checkpoint=path, seed=3)
    LiftedTraining().fit(whole, PAIRS, 3, seed=3)
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))


@pytest.mark.parametrize(("cost", "expected"), [(0.09, [*range(1, 13), 0]), (0.25, [1, 4, 7, 10, 0])])
def test_every_batch_is_written_where_that_takes_at_most_a_tenth_of_the_time(
    cost: float, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a batch lasts a second: writing of 0.25 s comes after 2.5 s, that is three batches."""
    now, written = [0.0], []

    def write(path: Path, tensors: object, meta: dict[str, int], compressed: bool) -> None:
        now[0] += cost
        written.append(meta["batch"])

    class Seconds:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for _ in range(12):
                now[0] += 1.0
                yield X, Y

    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr("netinverse.training.journal.time", clock)
    monkeypatch.setattr("netinverse.training.journal.write_archive", write)
    LiftedTraining().fit(network(), Seconds(), 1, checkpoint=tmp_path / "training.npz")
    assert written == expected


def test_a_foreign_or_damaged_checkpoint_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "training.npz"
    LiftedTraining().fit(network(), loader(), 1, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is of another training"):
        LiftedTraining().fit(nn.Sequential(nn.Linear(5, 3)), loader(), 1, checkpoint=path)
    with pytest.raises(ValueError, match="is of another training"):
        LiftedTraining(algorithm=ProximalSGD(0.5)).fit(network(), loader(), 1, checkpoint=path)
    with pytest.raises(ValueError, match="is of another training: the number of batches is 4, and was 6"):
        LiftedTraining().fit(network(), PAIRS[:4], 1, checkpoint=path)
    assert path.read_bytes() == before
    path.write_bytes(before[:100])
    with pytest.raises(ValueError, match="is no complete checkpoint of a training"):
        LiftedTraining().fit(network(), loader(), 1, checkpoint=path)
    with pytest.raises(FileNotFoundError, match="folder of the checkpoint"):
        LiftedTraining().fit(network(), loader(), 1, checkpoint=tmp_path / "none" / "training.npz")


def other_loss(output: Tensor, targets: Tensor) -> Tensor:
    return 5 * nn.functional.cross_entropy(output, targets)


def leaky(slope: float) -> nn.Sequential:
    layers = network()
    return nn.Sequential(layers[0], nn.LeakyReLU(slope), layers[2])


def test_data_losses_and_activations_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    def interrupted(name: str, model: nn.Module, training: LiftedTraining = LiftedTraining()) -> Path:  # noqa: B008
        path = tmp_path / name
        with pytest.raises(Interrupted):
            training.fit(model, Breaking(loader(False), 2, 2), 3, checkpoint=path)
        return path

    path = interrupted("a.npz", leaky(0.1))
    before = path.read_bytes()
    plain, data = LiftedTraining(), loader(False)
    for training, model, pairs, epochs, seed, text in (
        (plain, leaky(0.1), DataLoader(TensorDataset(X, Y), 40), 3, 0, "the first batch differs"),
        (plain, leaky(0.1), DataLoader(TensorDataset(-X, Y), 20), 3, 0, "the first batch differs"),
        (plain, leaky(0.9), data, 3, 0, "the network differs"),
        (plain, leaky(0.1), data, 5, 0, "epochs is 5, and was 3"),
        (plain, leaky(0.1), data, 3, 8, "seed is 8, and was 0"),
        (LiftedTraining(loss=other_loss), leaky(0.1), data, 3, 0, "the loss differs"),
        (LiftedTraining("quadratic", weight=0.5), leaky(0.1), data, 3, 0, "the penalty differs; weight is 0.5, and was 1.0"),
        (LiftedTraining(algorithm=ProximalSAGA()), leaky(0.1), data, 3, 0, "the algorithm differs"),
    ):
        with pytest.raises(ValueError, match=rf"is of another training: {text}\. It is left"):
            training.fit(model, pairs, epochs, checkpoint=path, seed=seed)
    assert path.read_bytes() == before
    assert len(LiftedTraining().fit(leaky(0.1), loader(False), 3, checkpoint=path)) == 3
    path = interrupted("b.npz", network(), LiftedTraining(loss=nn.functional.cross_entropy))
    with pytest.raises(ValueError, match=r"is of another training: the loss differs\."):
        LiftedTraining(loss=other_loss).fit(network(), loader(False), 3, checkpoint=path)
    path = interrupted("d.npz", nn.Sequential(nn.Linear(5, 4), nn.PReLU(init=0.3), nn.Linear(4, 3)))
    other = nn.Sequential(nn.Linear(5, 4), nn.PReLU(init=0.4), nn.Linear(4, 3))  # its slope is learned, as its weights are
    assert len(LiftedTraining().fit(other, loader(False), 3, checkpoint=path)) == 3


def test_data_with_noise_of_their_own_are_taken_up_again(tmp_path: Path) -> None:
    class Noisy:
        def __len__(self) -> int:
            return len(PAIRS)

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return ((x + 0.1 * torch.randn(x.shape), y) for x, y in PAIRS)

    path = tmp_path / "noisy.npz"
    for _ in range(2):
        assert len(LiftedTraining().fit(network(), Noisy(), 2, checkpoint=path)) == 2


@pytest.mark.parametrize(
    "sampler",
    [RandomSampler(X), RandomSampler(X, True, 70), SubsetRandomSampler(range(90)), WeightedRandomSampler([1.0] * 120, 100)],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize("nested", [False, True], ids=["samples", "batches"])
def test_the_seed_decides_what_every_sampler_draws_and_its_generator_stays(sampler: Any, nested: bool) -> None:
    if nested:
        pairs = DataLoader(TensorDataset(X, Y), batch_sampler=BatchSampler(sampler, 20, False))
    else:
        pairs = DataLoader(TensorDataset(X, Y), 20, sampler=sampler)
    found = []
    for seed in (0, 0, 1):
        model = network()
        torch.manual_seed(len(found))
        LiftedTraining().fit(model, pairs, 2, seed=seed)
        found.append(torch.nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    own = sampler.generator = torch.Generator().manual_seed(7)
    state = own.get_state()
    with pytest.raises(RuntimeError, match="not finite"):
        LiftedTraining(loss=lambda output, targets: output[:, 0] / 0).fit(network(), pairs, 2)
    assert sampler.generator is own and torch.equal(own.get_state(), state)
    sampler.generator = None


def test_an_order_that_may_change_is_refused_where_it_has_to_stay() -> None:
    data, training = TensorDataset(X, Y), LiftedTraining(algorithm=ProximalSAGA())
    sequential = BatchSampler(SequentialSampler(X), 60, False)
    for pairs in (DataLoader(data, 60), DataLoader(data, batch_sampler=sequential), DataLoader(data, None, sampler=sequential)):
        training.fit(network(), pairs, 1)
    for sampler in (RandomSampler(X), SubsetRandomSampler(range(90)), WeightedRandomSampler([1.0] * 120, 100)):
        batched = DataLoader(data, batch_sampler=BatchSampler(sampler, 20, False))
        for pairs in (DataLoader(data, 20, sampler=sampler), batched):
            with pytest.raises(ValueError, match=rf"the order of {type(sampler).__name__}, .* Use shuffle=False"):
                training.fit(network(), pairs, 1)


def test_early_stopping_keeps_the_best_parameters() -> None:
    model = network()
    noise = DataLoader(TensorDataset(torch.randn(60, 5, generator=torch.Generator().manual_seed(1)), torch.arange(60) % 3), 60)
    history = LiftedTraining(algorithm=ProximalSGD(0.05)).fit(model, loader(), 50, validation=noise, patience=3)
    assert len(history) < 50 and history.validation_loss.idxmin() == len(history) - 4
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(model(noise.dataset.tensors[0]), noise.dataset.tensors[1]))  # type: ignore[attr-defined]
    assert loss == pytest.approx(history.validation_loss.min(), rel=1e-5)


def test_a_training_that_stopped_early_stays_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called again, and killed between the last writing and the end."""
    noise = [(torch.randn(60, 5, generator=torch.Generator().manual_seed(1)), torch.arange(60) % 3)]

    def fit(path: Path, seed: int = 0) -> tuple[list[Tensor], int]:
        model = network(seed)
        training = LiftedTraining(algorithm=ProximalSGD(0.05))
        history = training.fit(model, loader(), 50, validation=noise, patience=2, checkpoint=path)
        return [p.detach() for p in model.parameters()], len(history)

    expected, rows = fit(tmp_path / "a.npz")
    assert rows < 50
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr("netinverse.training.journal.Journal.put_best", Mock(side_effect=Interrupted))
        fit(tmp_path / "b.npz")
    for path, seed in (("a.npz", 5), ("a.npz", 6), ("b.npz", 7)):
        found, count = fit(tmp_path / path, seed)
        assert count == rows and all(map(torch.equal, found, expected))


def test_the_result_is_an_ordinary_module_and_modes_are_kept() -> None:
    model = network().train()
    frozen = model[0].weight.requires_grad_(False).clone()
    LiftedTraining().fit(model, loader(), 2)
    assert model.training and torch.equal(model[0].weight, frozen) and model[2].weight.requires_grad
    assert set(model.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert torch.export.export(model.eval(), (X[:2],)).module()(X[:2]).shape == (2, 3)
    assert all(p.grad is None for p in model.parameters())


def test_the_same_seed_is_the_same_training_and_another_is_another() -> None:
    found = []
    for seed in (0, 0, 1):
        model = network()
        torch.manual_seed(len(found))
        LiftedTraining().fit(model, loader(), 2, seed=seed)
        found.append(torch.nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_a_batch_that_is_not_finite_is_named_and_nothing_moves() -> None:
    model = network()
    x = X.clone()
    x[45, 2] = torch.nan
    pairs = [(x[k : k + 20], Y[k : k + 20]) for k in range(0, 120, 20)]
    expected = network()
    LiftedTraining().fit(expected, pairs[:2], 1)
    with pytest.raises(RuntimeError, match=r"loss of sample\(s\) 5 is not finite in batch 2 of epoch 0"):
        LiftedTraining().fit(model, pairs, 3)
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("regulariser", "holds"),
    [
        (ni.NonNegative(), lambda w: bool((w >= 0).all())),
        (ni.Box(-0.2, 0.2), lambda w: bool((w.abs() <= 0.2).all())),
        (ni.GroupL21(2, 0.3), lambda w: bool((w.norm(dim=1) == 0).any())),
        (ni.NuclearNorm(0.3), lambda w: int(torch.linalg.matrix_rank(w, atol=1e-5)) < min(w.shape)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_matrices_meet_constraints_and_have_the_structure_of_their_regulariser(
    regulariser: WeightPenalty, holds: Callable[[Tensor], bool]
) -> None:
    model = network()
    LiftedTraining(algorithm=ProximalSGD(0.1, "sgd"), regulariser=regulariser).fit(model, loader(), 5)
    assert holds(model[0].weight.detach()) and float(model[0].bias.detach().abs().max()) > 0


def test_batches_go_where_the_network_is() -> None:
    """The loader is on the CPU in float64; a device without numbers stands for any other one."""
    model = network()
    pairs = [(X.double(), Y)]
    LiftedTraining().fit(model, pairs, 1)
    assert model[0].weight.dtype == torch.float32
    lifted = ni.lift(network().eval(), X[:2]).to("meta")
    x, targets = fitted(lifted, X.double(), Y)
    assert x.device == targets.device == torch.device("meta") and x.dtype == torch.float32 and targets.dtype == Y.dtype
    if torch.cuda.is_available():
        away = network().cuda()
        LiftedTraining().fit(away, pairs, 1, validation=pairs)
        for a, b in zip(away.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-3, atol=1e-4)


def test_the_bar_shows_epochs_and_losses(capsys: pytest.CaptureFixture[str]) -> None:
    LiftedTraining().fit(network(), loader(), 2, progress=True)
    assert re.search(r"training: 100%.*2/2.*loss=", capsys.readouterr().err.replace("\r", ""))


def test_the_accuracy_is_known_for_any_loss_of_labels() -> None:
    model = network()
    history = LiftedTraining(loss=nn.CrossEntropyLoss()).fit(model, loader(), 2, validation=[(X, Y)])
    with torch.no_grad():
        assert history.validation_accuracy.iloc[-1] == pytest.approx(float((model(X).argmax(1) == Y).double().mean()))
    assert 0 < history.accuracy.iloc[-1] <= 1


def test_a_validation_loss_that_is_nan_ends_a_training_that_compares_it() -> None:
    lost = [(X * torch.nan, Y)]
    assert LiftedTraining().fit(network(), loader(), 2, validation=lost).validation_loss.isna().all()
    with pytest.raises(RuntimeError, match=r"the validation loss is NaN.*patience has nothing to go by.*Look for NaN"):
        LiftedTraining().fit(network(), loader(), 2, validation=lost, patience=1)


def test_what_a_training_cannot_use_is_refused_when_it_is_built() -> None:
    for wrong, text in ((0.1, "no method __call__, prox"), (ni.TotalVariation(), "regularises inputs")):
        with pytest.raises(TypeError, match=rf"LiftedTraining: regulariser is .*{text}.*Write regulariser=ni\.L1"):
            LiftedTraining(regulariser=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=rf"LiftedTraining: activation_regulariser is .*{text}.*ni\.L1"):
            LiftedTraining(activation_regulariser={"1": wrong})  # type: ignore[dict-item]
    for loss in (nn.CrossEntropyLoss(reduction="sum"), nn.MSELoss(reduction="sum")):
        with pytest.raises(ValueError, match=rf"with reduction='sum', .* Write {type(loss).__name__}\(\)"):
            LiftedTraining(loss=loss)


def test_a_gradient_that_is_not_finite_is_named_with_the_regulariser() -> None:
    """The free matrix of an orthogonal one falls to zero, where there is no direction to keep."""
    model = nn.Sequential(parseval(nn.Linear(5, 5)), nn.ReLU(), nn.Linear(5, 3))
    message = r"the gradient of .*0_parametrizations_weight_original is not finite .* or weaken the regulariser L1\(weight=50"
    with pytest.raises(RuntimeError, match=message):
        LiftedTraining(algorithm=ProximalSGD(0.1, "sgd"), regulariser=ni.L1(50.0)).fit(model, loader(), 2)


def test_refusals() -> None:
    fit = LiftedTraining().fit
    with pytest.raises(ValueError, match="not exactly lifted: gelu is no proximal map"):
        fit(nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3)), loader(), 1)
    with pytest.raises(ValueError, match="the label of sample 1 of the batch is 7, but the network has 3 outputs"):
        fit(network(), [(X[:3], torch.tensor([0, 7, 1]))], 1)
    with pytest.raises(ValueError, match="gives no batch"):
        fit(network(), [], 1)
    with pytest.raises(TypeError, match="loader is an iterator"):
        fit(network(), iter(loader()), 1)
    with pytest.raises(TypeError, match="each batch has to be a pair of tensors"):
        fit(network(), [X[:3]], 1)
    with pytest.raises(ValueError, match=r"inputs of shape \(3, 4\).*takes \(batch, 5\)"):
        fit(ni.lift(network().eval(), X[:2]), [(X[:3, :4], Y[:3])], 1)
    with pytest.raises(ValueError, match="nothing to train"):
        fit(network().requires_grad_(False), loader(), 1)
    with pytest.raises(ValueError, match=r"sample 0 are outside the range of the last activation"):
        fit(nn.Sequential(nn.Linear(5, 5), nn.Sigmoid()), [(X[:3], 9 * torch.ones(3, 5))], 1)
    with pytest.raises(ValueError, match="cross-entropy takes whole targets"):
        fit(nn.Sequential(nn.Linear(5, 3), nn.ReLU()), loader(), 1)
    with pytest.raises(ValueError, match="the order of RandomSampler, which may shuffle, but ProximalSAGA"):
        LiftedTraining(algorithm=ProximalSAGA()).fit(network(), loader(), 1)
    with pytest.raises(ValueError, match="penalty is 'l2', but must be one of 'bregman'"):
        LiftedTraining("l2")
    with pytest.raises(ValueError, match="loss is 'hinge'"):
        LiftedTraining(loss="hinge").fit(network(), loader(), 1)
    with pytest.raises(TypeError, match="algorithm"):
        LiftedTraining(algorithm=torch.optim.Adam)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="acceleration is 'momentum'"):
        BlockDescent("momentum")
    with pytest.raises(ValueError, match=r"held is 0\.7 and gone is 0\.2"):
        ni.training.TargetCodes(held=0.7, gone=0.2)


@pytest.mark.parametrize("kind", [LinBreg, AdaBreg])
def test_linearised_bregman_optimisers(kind: type[LinBreg] | type[AdaBreg]) -> None:
    """theta = prox_{delta J}(delta v) after every step; without J the plain method; state_dict, closure and scheduler work."""
    theta = nn.Parameter(torch.tensor([[0.5, 0.0, -0.3]], dtype=torch.float64))
    optimiser = kind([theta], lr=0.1, regulariser=ni.L1(0.2), delta=2.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 5, 0.5)
    target = torch.tensor([[1.0, 0.05, -2.0]], dtype=torch.float64)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = 0.5 * (theta - target).square().sum()
        loss.backward()
        return loss

    losses = []
    for step in range(12):
        losses.append(float(optimiser.step(closure)))
        scheduler.step()
        dual = optimiser.state[theta]["dual"]
        torch.testing.assert_close(theta.detach(), 2.0 * torch.sign(dual) * (dual.abs() - 0.2).clamp(min=0))
        if step == 0:
            assert theta[0, 1] == 0
    assert losses[-1] < losses[0]
    other = nn.Parameter(theta.detach().clone())
    again = kind([other], lr=0.1, regulariser=ni.L1(0.2), delta=2.0)
    again.load_state_dict(optimiser.state_dict())
    theta.grad = other.grad = torch.ones_like(theta)
    optimiser.step()
    again.step()
    assert torch.equal(theta, other)
    plain, reference = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    pair = (kind([plain], lr=0.1), (torch.optim.SGD if kind is LinBreg else torch.optim.Adam)([reference], lr=0.1))
    for _ in range(3):
        plain.grad, reference.grad = 2 * plain.detach(), 2 * reference.detach()
        for each in pair:
            each.step()
    torch.testing.assert_close(plain, reference, rtol=1e-5, atol=1e-6)


def shrunk(v: np.ndarray, weight: float) -> np.ndarray:
    return np.sign(v) * np.maximum(np.abs(v) - weight, 0)


LR, DELTA, WEIGHT = 0.3, 2.0, 0.2
BEGUN, TARGET = np.array([0.5, 0.0, -0.3, 0.0]), np.array([1.0, 0.05, -2.0, 3.0])


def dual_at(theta: np.ndarray) -> np.ndarray:
    """The dual variable at the beginning: theta/delta plus the least subgradient of weight ||.||_1."""
    return theta / DELTA + WEIGHT * np.sign(theta)


def by_momentum(momentum: float, steps: int) -> np.ndarray:
    theta, v, d = BEGUN, dual_at(BEGUN), np.zeros(4)
    for _ in range(steps):
        d = momentum * d + (1 - momentum) * (theta - TARGET)
        v = v - LR * d
        theta = DELTA * shrunk(v, WEIGHT)
    return theta


def by_adam(first: float, second: float, eps: float, steps: int) -> np.ndarray:
    theta, v, m, s = BEGUN, dual_at(BEGUN), np.zeros(4), np.zeros(4)
    for k in range(1, steps + 1):
        g = theta - TARGET
        m, s = first * m + (1 - first) * g, second * s + (1 - second) * g**2
        v = v - LR * (m / (1 - first**k)) / (np.sqrt(s / (1 - second**k)) + eps)
        theta = DELTA * shrunk(v, WEIGHT)
    return theta


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize(
    ("kind", "settings", "recursion"),
    [
        (LinBreg, {}, partial(by_momentum, 0.0)),
        (LinBreg, {"momentum": 0.7}, partial(by_momentum, 0.7)),
        (AdaBreg, {}, partial(by_adam, 0.9, 0.999, 1e-8)),
        (AdaBreg, {"betas": (0.5, 0.8), "eps": 0.1}, partial(by_adam, 0.5, 0.8, 0.1)),
    ],
    ids=["plain", "momentum", "adam", "adam of other settings"],
)
def test_the_sparse_optimisers_follow_the_recursions_of_the_paper(
    kind: type[LinBreg] | type[AdaBreg], settings: dict[str, Any], recursion: Callable[[int], np.ndarray], steps: int
) -> None:
    """Written in NumPy, for 1/2||theta - target||^2; entries that begin at zero, and one that stays there for steps."""
    theta = nn.Parameter(torch.tensor(BEGUN))
    optimiser = kind([theta], lr=LR, regulariser=ni.L1(WEIGHT), delta=DELTA, **settings)
    for _ in range(steps):
        theta.grad = theta.detach() - torch.tensor(TARGET)
        optimiser.step()
    expected = recursion(steps)
    np.testing.assert_allclose(theta.detach().numpy(), expected, rtol=1e-12, atol=1e-14)
    assert kind is AdaBreg or expected[1] == 0


@pytest.mark.parametrize("kind", [LinBreg, AdaBreg])
def test_a_regulariser_of_rows_is_refused_for_biases_when_the_optimiser_is_built(
    kind: type[LinBreg] | type[AdaBreg],
) -> None:
    rows, model = ni.GroupL21(2, 0.1), network()
    text = rf"{kind.__name__}: regulariser GroupL21.* cannot take parameter {{}} of its group, of shape \(8,\).*'params': biases"
    with pytest.raises(ValueError, match=text.format(1)):
        kind(model.parameters(), regulariser=rows)
    with pytest.raises(ValueError, match=text.format("0.bias")):
        kind(model.named_parameters(), regulariser=rows)
    matrices, biases = ([p for p in model.parameters() if (p.ndim > 1) == wide] for wide in (True, False))
    optimiser = kind([{"params": matrices, "regulariser": rows}, {"params": biases[:1]}])
    with pytest.raises(ValueError, match="cannot take parameter 0"):
        optimiser.add_param_group({"params": biases[1:], "regulariser": rows})
    optimiser.add_param_group({"params": biases[1:]})
    nn.functional.cross_entropy(model(X), Y).backward()
    optimiser.step()


@pytest.mark.parametrize("kind", [LinBreg, AdaBreg])
def test_an_optimiser_goes_on_from_the_disk_with_its_own_regularisers(kind: type[LinBreg] | type[AdaBreg]) -> None:
    """By torch's own save and load, with a scheduler and two groups; a deep copy goes on too."""

    def begun(weight: float) -> tuple[nn.Sequential, LinBreg | AdaBreg, LRScheduler]:
        model = network()
        matrices = {"params": [model[0].weight, model[2].weight], "regulariser": ni.L1(weight)}
        optimiser = kind([matrices, {"params": [model[0].bias, model[2].bias]}], lr=0.02)
        return model, optimiser, StepLR(optimiser, 3, 0.5)

    def advance(model: nn.Module, optimiser: torch.optim.Optimizer, scheduler: LRScheduler) -> None:
        for _ in range(5):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(X), Y).backward()
            optimiser.step()
            scheduler.step()

    model, optimiser, scheduler = begun(0.05)
    advance(model, optimiser, scheduler)
    stream = io.BytesIO()
    torch.save([each.state_dict() for each in (model, optimiser, scheduler)], stream)
    copied = copy.deepcopy((model, optimiser, scheduler))
    stream.seek(0)
    loaded, resumed = torch.load(stream), begun(0.05)
    for each, state in zip(resumed, loaded, strict=True):
        each.load_state_dict(state)
    for each in ((model, optimiser, scheduler), copied, resumed):
        advance(*each)
    for other in (copied[0], resumed[0]):
        assert all(map(torch.equal, model.parameters(), other.parameters()))
    _, another, _ = begun(0.7)
    another.load_state_dict(optimiser.state_dict())
    assert [group["regulariser"] for group in another.param_groups] == [ni.L1(0.7), None]
    assert optimiser.param_groups[0]["regulariser"] == ni.L1(0.05)


@pytest.mark.parametrize("kind", [LinBreg, AdaBreg])
def test_what_an_optimiser_cannot_use_is_refused_when_it_is_built(kind: type[LinBreg] | type[AdaBreg]) -> None:
    def parameters() -> list[nn.Parameter]:
        return [nn.Parameter(torch.ones(4, 3))]

    with pytest.raises(TypeError, match=f"{kind.__name__}: regulariser is 0.1, a float, which has no method prox.*ni.L1"):
        kind(parameters(), regulariser=0.1)  # type: ignore[arg-type]
    for regulariser in (ni.NuclearNorm(0.1), ni.NonNegative(), ni.Box(-0.1, 0.1), ni.training.ConditioningPenalty()):
        with pytest.raises(TypeError, match=f"{kind.__name__}: {type(regulariser).__name__} has no nearest_subgradient"):
            kind(parameters(), regulariser=regulariser)  # type: ignore[arg-type]
    optimiser = kind(parameters())
    for wrong, text in (({"lr": -3.0}, "lr is -3"), ({"delta": 0.0}, "delta is 0")):
        with pytest.raises(ValueError, match=f"{kind.__name__}: {text}"):
            optimiser.add_param_group({"params": parameters(), **wrong})
    with pytest.raises(TypeError, match="NonNegative has no nearest_subgradient"):
        optimiser.add_param_group({"params": parameters(), "regulariser": ni.NonNegative()})
    assert len(optimiser.param_groups) == 1


def test_sparsify_and_refusals_of_the_optimisers() -> None:
    weights, bias = torch.ones(200, 100), torch.ones(5)
    sparsify([weights, bias], 0.1)
    assert float((weights != 0).float().mean()) == pytest.approx(0.1, abs=0.01) and bool((bias == 1).all())
    assert float(weights.max()) == pytest.approx(10**0.5)
    with pytest.raises(ValueError, match="density is 0"):
        sparsify([weights], 0.0)
    with pytest.raises(ValueError, match="LinBreg: lr is -1"):
        LinBreg([nn.Parameter(weights)], lr=-1.0)
    with pytest.raises(ValueError, match="LinBreg: momentum is 1"):
        LinBreg([nn.Parameter(weights)], momentum=1.0)
    for wrong, text in (
        ({"betas": (0.9, 1.0)}, r"betas is \(0\.9, 1\.0\), but both must be at least 0 and below 1"),
        ({"betas": (0.9,)}, r"betas is \(0\.9,\), but both must be"),
        ({"eps": -1.0}, r"eps is -1.0, but must be positive"),
    ):
        with pytest.raises(ValueError, match=f"AdaBreg: {text}"):
            AdaBreg([nn.Parameter(weights)], **wrong)  # type: ignore[arg-type]
