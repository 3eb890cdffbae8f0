"""Processes that own layers: the parameters of a delayed sweep written out, and the same refusals in all of them."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import netinverse as ni
from experiments import training
from netinverse.networks.batch_statistics import BatchStatistics
from netinverse.training import LayerParallel, LiftedTraining
from netinverse.training.batches import Batches
from netinverse.training.layer_groups import layer_groups, sweep_cost
from netinverse.training.problem import Summed, TrainingProblem
from tests.training.data_parallel_process import X, Y, encoder
from tests.training.layer_parallel_process import ADAM, PLAIN, SIZE, SPLITS, Split, lifted, rectified, skipping
from tests.training.test_data_parallel import same

ROOT = Path(__file__).parents[2]
EPOCHS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the three processes left: all that is tested here comes from one start of torch."""
    place = tmp_path_factory.mktemp("layers")
    assert _ran(place, 3) == [0, -signal.SIGKILL, 0]
    return place


def _ran(place: Path, count: int) -> list[int]:
    """The exit codes of so many processes."""
    command = [sys.executable, "-m", "tests.training.layer_parallel_process"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    lines = [[*command, str(k), str(place), str(count)] for k in range(count)]
    processes = [subprocess.Popen(line, cwd=ROOT, env=environment) for line in lines]
    try:
        return [process.wait(400) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{k}.pt") for k in range(3)]


@dataclass(frozen=True, eq=False)
class Delayed(TrainingProblem):
    """One process: each parameter in the sweep of batch k of an epoch is that from before the step of batch k - behind."""

    behind: dict[str, int]
    past: list[dict[str, Tensor]] = field(default_factory=list)

    def summed(self, x: Tensor, targets: Tensor, progress: float) -> Summed:
        now = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.past.append(now)
        place = len(self.past) - 1
        self._put({name: self.past[max(0, place - self.behind[name])][name] for name in now})
        found = super().summed(x, targets, progress)
        self._put(now)
        return found

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, p in self.parameters.items():
            p.copy_(values[name])


def simulated(split: Split) -> tuple[list[Tensor], list[float]]:
    """The parameters and the losses of the epochs, by the sweeps of one process at delayed parameters."""
    chosen, network = split.case.training, lifted(split.case.network, 0)
    plain = TrainingProblem(
        network, chosen.loss, chosen.penalty, 1.0, 1, chosen.auxiliaries, chosen.regulariser, {}, BatchStatistics(network)
    )
    groups = layer_groups(network, plain.parameters, split.count)
    behind = {
        name: split.delay * (split.count - 1 - k)
        for k, nodes in enumerate(groups)
        for node in nodes
        for name in node.program.free
    }
    problem = Delayed(**{each.name: getattr(plain, each.name) for each in fields(plain)}, behind=behind)
    run, losses = chosen.algorithm.begin(problem), []
    batches = Batches.of(split.case.loader(), chosen.algorithm.batches, 0)
    for epoch in range(EPOCHS):
        problem.past.clear()
        each = [float(run.batch(k, *pair, epoch / EPOCHS).loss) for k, pair in enumerate(batches.epoch(epoch))]
        losses.append(sum(each) / len(X))
    return [p.detach().clone() for p in network.parameters()], losses


@pytest.mark.parametrize("name", SPLITS)
def test_processes_that_own_layers_end_where_delayed_sweeps_of_one_do(name: str, results: list[dict[str, Any]]) -> None:
    """Although the others began at other parameters than rank 0."""
    split = SPLITS[name]
    found = [each[name] for each in results[: split.count]]
    expected, losses = simulated(split)
    begun = [p.detach().clone() for p in lifted(split.case.network, 0).parameters()]
    for each in found:
        assert same(each["parameters"], found[0]["parameters"])
        torch.testing.assert_close(
            torch.tensor(each["history"]), torch.tensor(found[0]["history"]), rtol=0, atol=0, equal_nan=True
        )
    for a, b, start in zip(found[0]["parameters"], expected, begun, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
        assert not torch.allclose(a, start, atol=1e-3)
    torch.testing.assert_close(torch.tensor(found[0]["history"])[:, 1], torch.tensor(losses), rtol=0, atol=1e-9)


def test_without_delay_it_is_the_ordinary_training(results: list[dict[str, Any]]) -> None:
    """Its validation too, which the processes share."""
    name = "skip, three, in step"
    expected = SPLITS[name].fit(0, None)
    for a, b in zip(results[0][name]["parameters"], expected["parameters"], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        torch.tensor(results[0][name]["history"]), torch.tensor(expected["history"]), rtol=0, atol=1e-9, equal_nan=True
    )


def written_out(split: Split, sparse: bool) -> list[Tensor]:
    """The same for a chain of rectified layers with cross-entropy, from the formulas alone.

    u_l = relu(z_l); u_l+ = relu((u_l + z_l - A_{l+1}^T r_{l+1}) / 2), r_l = relu(z_l) - u_l+, r of the output softmax(z) - e_y;
    the gradient in W_l is r_l u_{l-1}^T. Adam, or momentum 0.9, whose steps are ten times as long, and soft-thresholding of the
    matrices.
    """
    theta = [p.detach().clone() for p in split.case.network(0).parameters()]
    layers, network = len(theta) // 2, lifted(split.case.network, 0)
    groups = layer_groups(network, dict(network.named_parameters()), split.count)
    owner = [k for k, nodes in enumerate(groups) for node in nodes if node.kind == "affine"]
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in theta]
    batches, count, rate = Batches.of(split.case.loader(), "any", 0), 0, 1e-2
    for epoch in range(EPOCHS):
        past = []
        for k, (x, y) in enumerate(batches.epoch(epoch)):
            past.append([p.clone() for p in theta])
            old = [past[max(0, k - split.delay * (split.count - 1 - owner[j // 2]))][j] for j in range(2 * layers)]
            us, zs = [x], []
            for j in range(layers):
                zs.append(us[-1] @ old[2 * j].T + old[2 * j + 1])
                us.append(zs[-1].clamp(min=0))
            r = torch.softmax(zs[-1], 1) - functional.one_hot(y, zs[-1].shape[1])
            gradients = [torch.empty(0)] * len(theta)
            for j in reversed(range(layers)):
                if j < layers - 1:
                    r = us[j + 1] - ((us[j + 1] + zs[j] - r @ old[2 * j + 2]) / 2).clamp(min=0)
                gradients[2 * j], gradients[2 * j + 1] = r.T @ us[j] / len(x), r.sum(0) / len(x)
            count += 1
            for p, g, (first, second) in zip(theta, gradients, moments, strict=True):
                if sparse:
                    first.mul_(0.9).add_(g)
                    p.sub_(rate * first)
                    if p.ndim > 1:
                        p.copy_(p.sign() * (p.abs() - rate / (1 - 0.9) * 1e-2).clamp(min=0))
                else:
                    first.mul_(0.9).add_(0.1 * g)
                    second.mul_(0.999).add_(0.001 * g * g)
                    p.sub_(rate * (first / (1 - 0.9**count)) / ((second / (1 - 0.999**count)).sqrt() + 1e-8))
    return theta


@pytest.mark.parametrize(
    ("name", "sparse"), [("adam", False), ("adam, three", False), ("sparse, three, longer than an epoch", True)]
)
def test_the_schedule_written_out_by_hand(name: str, sparse: bool, results: list[dict[str, Any]]) -> None:
    for a, b in zip(results[0][name]["parameters"], written_out(SPLITS[name], sparse), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_a_training_interrupted_with_batches_under_way_ends_where_the_uninterrupted_one_does(
    results: list[dict[str, Any]],
) -> None:
    """One file has the parameters and moments of both, and those with which the batches under way ran forward."""
    first, second = (each["resumed"] for each in results[:2])
    assert first["message"] == second["message"] == "RuntimeError: the loader has failed"
    assert first["kept"] == second["kept"]
    names = {name.partition("/")[2] for name in first["kept"] if name.startswith("parameters/")}
    assert len(names) == 8
    assert {name.split("/")[1] for name in first["kept"] if name.startswith("run/")} == names
    assert {name.split("/")[1] for name in first["kept"] if name.startswith("team/")} == {"0", "1"}
    assert same(first["parameters"], second["parameters"])
    for a, b in zip(first["parameters"], simulated(Split(PLAIN))[0], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_the_checkpoint_of_another_delay_is_refused(results: list[dict[str, Any]]) -> None:
    assert re.match(
        r"ValueError: .*is of another training: .*the order of steps in the processes", results[0]["resumed"]["other"]
    )


def test_a_process_that_hangs_or_dies_stops_the_others_and_they_go_on_from_a_whole_checkpoint(folder: Path) -> None:
    left = [torch.load(folder / f"left{k}.pt") for k in (0, 2)]
    for name in ("hung", "killed"):
        assert left[0]["messages"][name].startswith("LostProcess: LayerParallel: rank 0 of 2 lost the others"), left[0][
            "messages"
        ]
    assert same(left[0]["parameters"], left[1]["parameters"])
    for a, b in zip(left[0]["parameters"], simulated(Split(PLAIN))[0], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nan", r"RuntimeError: .*loss of sample\(s\) 8, 10 is not finite in batch 1 of epoch 0, .* up to 2 batches later"),
        ("first layers' gradient", "RuntimeError: .*the gradient of .* is not finite in batch 0 of epoch 0"),
        ("label", "ValueError: .*label of sample 11 of the batch is 7"),
        ("order", "ValueError: LayerParallel: rank 1 came with another batch than rank 0, .* without a DistributedSampler"),
        ("longer batch", "ValueError: LayerParallel: rank 1 came with another batch than rank 0"),
        ("one batch less", "ValueError: LayerParallel: rank 1 came with another batch than rank 0"),
        ("one batch more", "ValueError: LayerParallel: rank 1 came with another batch than rank 0"),
        ("seed", r"ValueError: LayerParallel: rank\(s\) 1 came with another network, other settings, epochs or seed"),
        ("algorithm", "ValueError: LayerParallel: the algorithm is ImplicitSGD, .* Take ProximalSGD"),
        ("penalty", "ValueError: LayerParallel: the penalty is 'contrastive', which takes 10 sweeps"),
        ("groups", r"ValueError: LayerParallel: there are 3 processes, .* no more than 2 group\(s\)"),
        ("tied", r"ValueError: .*no more than 1 group\(s\) .*p_layer_weight is in linear and linear_1"),
    ],
)
def test_every_process_raises_the_same(name: str, text: str, results: list[dict[str, Any]]) -> None:
    first, second = (each["messages"][name] for each in results[:2])
    assert first == second
    assert re.match(text, first), first


def test_whatever_ends_one_process_stops_the_others_at_once(results: list[dict[str, Any]]) -> None:
    assert results[0]["messages"]["loader"] == "RuntimeError: LayerParallel: rank 1 of 2 ended with OSError: the disk is gone"
    assert results[1]["messages"]["loader"] == "OSError: the disk is gone"


def test_a_stopped_training_leaves_one_finite_network(results: list[dict[str, Any]]) -> None:
    """After NaN in the second batch that from after the first, in both processes."""
    kept = [name for name in results[0]["messages"] if name.endswith(": parameters")]
    assert len(kept) == 8
    for name in kept:
        first, second = (each["messages"][name] for each in results[:2])
        assert same(first, second) and all(bool(torch.isfinite(p).all()) for p in first)
    once = lifted(rectified, 0)
    ADAM.training.fit(once, [(X[:SIZE], Y[:SIZE])], 1)
    for a, b in zip(results[0]["messages"]["nan: parameters"], once.parameters(), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=0, atol=1e-9)


def test_without_a_process_group_it_says_how_to_start() -> None:
    with pytest.raises(RuntimeError, match=r"LayerParallel: torch\.distributed is not initialised.*torchrun"):
        LiftedTraining().fit(encoder(), [(X, Y)], 1, parallel=LayerParallel())
    with pytest.raises(ValueError, match="LayerParallel: delay is -1, but must be at least 0"):
        LayerParallel(delay=-1)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("make", [rectified, skipping])
def test_no_division_of_the_layers_is_better_balanced(make: Any, count: int) -> None:
    """By trying all that keep activations with their affine nodes."""
    network = lifted(make, 0)
    trained = dict(network.named_parameters())
    costs = [sweep_cost(node, trained) for node in network.nodes]
    affine = {node.name for node in network.nodes if node.kind == "affine"}
    used = [{name for node in network.nodes[k:] if node.kind != "affine" for name in node.inputs} for k in range(len(costs))]
    allowed = [k for k in range(1, len(costs)) if not used[k] & affine & {node.name for node in network.nodes[:k]}]
    best = min(
        max(sum(costs[a:b]) for a, b in itertools.pairwise((0, *cuts, len(costs))))
        for cuts in itertools.combinations(allowed, count - 1)
    )
    groups = layer_groups(network, trained, count)
    assert [node for nodes in groups for node in nodes] == list(network.nodes)
    assert max(sum(sweep_cost(node, trained) for node in nodes) for nodes in groups) == pytest.approx(best)


def test_the_cost_of_a_dense_layer_is_that_of_its_products() -> None:
    """Two for the first layer, three for the others, 2 m n operations each."""
    network = ni.lift(nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 30)), torch.zeros(2, 50))
    costs = [sweep_cost(node, dict(network.named_parameters())) for node in network.nodes]
    assert costs == [2 * 2 * 50 * 40 + 16 * 40, 16 * 40, 3 * 2 * 40 * 30 + 16 * 30]
    frozen = sweep_cost(network.nodes[2], {})
    assert frozen == 2 * 2 * 40 * 30 + 16 * 30


@pytest.mark.slow
def test_digits_are_learnt_as_well_with_delayed_layers(tmp_path: Path) -> None:
    assert _ran(tmp_path, 2) == [0, 0]
    first, second = (torch.load(tmp_path / f"{k}.pt") for k in range(2))
    train, test = training.digits(4500)
    model = training.perceptron([784, 256, 256, 256, 10])
    ordinary = LiftedTraining().fit(model, train, 6, validation=test)["validation_accuracy"].iloc[-1]
    assert first == second
    assert first > 0.93
    assert abs(first - ordinary) < 0.015
