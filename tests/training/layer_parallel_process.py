"""One of three processes that train layers together; ``main(rank, folder)`` leaves what it found in the folder."""

from __future__ import annotations

import copy
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

import netinverse as ni
from netinverse.archives import read_archive
from netinverse.training import ImplicitSGD, LayerParallel, LiftedTraining, ProximalSAGA, ProximalSGD, TargetCodes
from tests.training import data_parallel_process as data
from tests.training.data_parallel_process import CODES, SIZE, Broken, Case, Found, X, Y, found


class Skipping(nn.Module):
    """The first activation is taken by the second layer and by the last, and the input by the last but one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.last = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(12, 3)
        self.beside = nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.first(x))
        third = torch.tanh(self.third(torch.relu(self.second(first))) + self.beside(x))
        return self.last(torch.cat([first, third], 1))


class Tied(nn.Module):
    """The same matrix in the first layer and in the last."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.relu(self.layer(x)))


def rectified(seed: int = 0) -> nn.Module:
    layers = (nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    return data._drawn(nn.Sequential(*layers), seed)


def skipping(seed: int = 0) -> nn.Module:
    return data._drawn(Skipping(), seed)


@cache
def _lifted(make: Callable[[int], nn.Module]) -> ni.LiftedNetwork:
    return ni.lift(make(0), X[:2])


def lifted(make: Callable[[int], nn.Module], seed: int) -> ni.LiftedNetwork:
    """The same object for the same network, which takes longer to lift than to train."""
    network, drawn = _lifted(make), dict(make(seed).named_parameters())
    with torch.no_grad():
        for name, p in drawn.items():
            network.get_parameter(f"p_{name.replace('.', '_')}").copy_(p)
    return network


@dataclass(frozen=True)
class Split:
    """A case, and how its layers are divided."""

    case: Case
    count: int = 2
    delay: int = 2

    def fit(self, seed: int, parallel: LayerParallel | None) -> Found:
        return replace(self.case, network=partial(lifted, self.case.network)).fit(seed, parallel)


def root_of_mean(output: Tensor, targets: Tensor) -> Tensor:
    """No mean of what it is of the samples."""
    return functional.mse_loss(output, targets).sqrt()


ADAM = Case(LiftedTraining(algorithm=ProximalSGD(1e-2)), rectified)
SPARSE = Case(LiftedTraining(algorithm=ProximalSGD(1e-2, "sgd"), regulariser=ni.L1(1e-2)), rectified)
CODED = Case(LiftedTraining(algorithm=ProximalSGD(1e-2), auxiliaries=TargetCodes(free=1)), skipping)
AGGREGATED = Case(LiftedTraining(algorithm=ProximalSAGA()), data.convolutional, shuffle=False)
QUADRATIC = Case(LiftedTraining("quadratic", ProximalSGD(1e-2), root_of_mean), data.encoder, CODES)
PLAIN = replace(ADAM, shuffle=False)
SPLITS = {
    "adam": Split(ADAM),
    "adam, three": Split(ADAM, 3, 1),
    "sparse, three, longer than an epoch": Split(SPARSE, 3, 5),
    "skip, three": Split(CODED, 3),
    "skip, three, in step": Split(CODED, 3, 0),
    "convolutional, aggregated": Split(AGGREGATED),
    "quadratic, a loss of the whole batch": Split(QUADRATIC, 2, 1),
}


class Groups:
    """``pair``: ranks 0 and 1; ``others``: 0 and 2; ``brief``: ranks 0 and 1, with a timeout of a second."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.pair, self.others = dist.new_group([0, 1]), dist.new_group([0, 2])
        self.brief = dist.new_group([0, 1], timeout=timedelta(seconds=1))

    def of(self, count: int, delay: int) -> LayerParallel | None:
        """None in a process that is not among so many."""
        if self.rank >= count:
            return None
        return LayerParallel(self.pair if count == 2 else None, delay)


def together(rank: int, groups: Groups, folder: Path) -> Found:
    results: Found = {}
    for name, split in SPLITS.items():
        if parallel := groups.of(split.count, split.delay):
            results[name] = split.fit(rank, parallel)
    results["messages"] = _too_few()
    if rank < 2:
        results["resumed"] = _resumed(rank, groups, folder)
        results["messages"] |= _refusals(rank, LayerParallel(groups.pair))
    return results


def _too_few() -> dict[str, str]:
    """Of all three processes."""
    network = lifted(data.encoder, 0)
    return {
        "groups": data._refused(lambda: ADAM.training.fit(network, [(X, Y)], 1, parallel=LayerParallel())),
        "tied": data._refused(lambda: ADAM.training.fit(Tied().double(), [(X, Y)], 1, parallel=LayerParallel())),
    }


def _resumed(rank: int, groups: Groups, folder: Path) -> Found:
    """Interrupted in the middle of an epoch, with batches under way, and taken up again."""
    path, parallel = folder / "training.npz", LayerParallel(groups.pair)
    message = data._refused(lambda: _fit(PLAIN, rank, Broken(PLAIN.loader(), 2, 5, _fail), path, parallel))
    kept = sorted(read_archive(path)[0])
    dist.barrier(group=groups.pair)
    results = found(_fit(PLAIN, rank + 2, PLAIN.loader(), path, parallel))
    other = data._refused(lambda: _fit(PLAIN, rank, PLAIN.loader(), path, replace(parallel, delay=1)))
    return results | {"message": message, "other": other, "kept": kept}


def _fit(case: Case, seed: int, loader: Any, path: Path | None, parallel: LayerParallel) -> nn.Module:
    network = lifted(case.network, seed)
    case.training.fit(network, loader, 4, checkpoint=path, checkpoint_share=math.inf, parallel=parallel)
    return network


def _refusals(rank: int, parallel: LayerParallel) -> Found:
    lost, wrong, huge, adam = X.clone(), Y.clone(), X.clone(), ADAM.training
    lost[[20, 22], 1] = torch.nan
    wrong[23] = 7
    huge[:SIZE] = 1e200

    def batches(x: Tensor = X, y: Tensor = Y, end: int = 85) -> list[tuple[Tensor, Tensor]]:
        return [(x[k : k + SIZE], y[k : k + SIZE]) for k in range(0, end, SIZE)]

    messages: Found = {}
    network = lifted(rectified, rank)
    begun = copy.deepcopy(network.state_dict())
    loaders: dict[str, Any] = {
        "nan": batches(lost),
        "label": batches(X, wrong),
        "order": batches(X.flip(0), Y.flip(0)) if rank else batches(),
        "longer batch": [(X[:12], Y[:12]), (X[12 : 24 + rank], Y[12 : 24 + rank])],
        "one batch less": batches(end=85 - 12 * rank),
        "one batch more": batches(end=73 + 12 * rank),
        "loader": _Ending(batches(), 3) if rank else batches(),
        "first layers' gradient": batches(huge),
    }
    for name, loader in loaders.items():
        network.load_state_dict(begun)
        if name.startswith("first"):
            _steep(network)
        messages[name] = data._refused(lambda each=loader: adam.fit(network, each, 2, parallel=parallel))  # type: ignore[misc]
        messages[f"{name}: parameters"] = found(network)["parameters"]
    messages["seed"] = data._refused(lambda: adam.fit(network, batches(), 2, seed=rank, parallel=parallel))
    others = {"algorithm": replace(adam, algorithm=ImplicitSGD()), "penalty": replace(adam, penalty="contrastive")}
    for name, each in others.items():
        messages[name] = data._refused(lambda to=each: to.fit(network, batches(), 2, parallel=parallel))  # type: ignore[misc]
    return messages


@dataclass(frozen=True)
class _Ending:
    """Batches that cannot all be read, in this process alone."""

    batches: list[Any]
    most: int

    def __iter__(self) -> Iterator[Any]:
        yield from self.batches[: self.most]
        raise OSError("the disk is gone")


def _steep(network: nn.Module) -> None:
    """The loss stays finite; what goes back overflows where it meets a huge input, in the first layer alone."""
    with torch.no_grad():
        first, bias, second = list(network.parameters())[:3]
        first.zero_()
        bias.zero_()
        second.mul_(1e150)


def broken(rank: int, groups: Groups, folder: Path) -> Found:
    """Rank 1 hangs, then, in another training, is killed. Ranks 0 and 2 go on from the checkpoint."""
    done, path, messages = folder / "done", folder / "killed.npz", {}

    def loader(happens: Callable[[], None]) -> Any:
        return Broken(PLAIN.loader(), 1, 4, happens) if rank == 1 else PLAIN.loader()

    def hang() -> None:
        while not done.exists():
            time.sleep(0.05)
        _fail()

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if rank < 2:
        messages["hung"] = data._refused(lambda: _fit(PLAIN, 0, loader(hang), None, LayerParallel(groups.brief)))
        done.touch()
        messages["killed"] = data._refused(lambda: _fit(PLAIN, 0, loader(kill), path, LayerParallel(groups.pair)))
        (folder / "gone").touch()
    while not (folder / "gone").exists():
        time.sleep(0.05)
    return found(_fit(PLAIN, rank, PLAIN.loader(), path, LayerParallel(groups.others))) | {"messages": messages}


def _fail() -> None:
    raise RuntimeError("the loader has failed")


def digits() -> float:
    """The accuracy on 500 digits after six epochs of 4,500."""
    from experiments import training  # with pictures and tables, which the other trainings do without

    train, test = training.digits(4500)
    model = training.perceptron([784, 256, 256, 256, 10])
    fitted = LiftedTraining().fit(model, train, 6, validation=test, parallel=LayerParallel())
    return float(fitted["validation_accuracy"].iloc[-1])


def main(rank: int, folder: Path, world: int = 3) -> None:
    torch.set_num_threads(1)
    where = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    if world == 2:
        torch.save(digits(), folder / f"{rank}.pt")
        return
    groups = Groups(rank)
    torch.save(together(rank, groups, folder), folder / f"{rank}.pt")
    dist.barrier()
    torch.save(broken(rank, groups, folder), folder / f"left{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
