"""One of two processes that train together; ``main(rank, folder)`` leaves what it found in the folder."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import netinverse as ni
from netinverse.training import DataParallel, ImplicitSGD, LiftedTraining, ProximalSAGA, ProximalSGD, TargetCodes
from netinverse.training import journal as journals
from netinverse.training.processes import Processes

GENERATOR = torch.Generator().manual_seed(0)
Y = torch.arange(85) % 3
X = torch.randn(85, 5, generator=GENERATOR, dtype=torch.float64) + 2 * torch.eye(5, dtype=torch.float64)[Y]
CODES = torch.sigmoid(X[:, :3])
SIZE = 12  # seven batches, and a last one of a single sample: one process has none of it


def classifier(seed: int = 0) -> nn.Module:
    return _drawn(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)), seed)


def convolutional(seed: int = 0) -> nn.Module:
    return _drawn(nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)), seed)


def encoder(seed: int = 0) -> nn.Module:
    return _drawn(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3), nn.Sigmoid()), seed)


def mean_squares(output: Tensor, targets: Tensor) -> Tensor:
    return functional.mse_loss(output, targets, reduction="none").mean(1)


@dataclass(frozen=True)
class Case:
    training: LiftedTraining
    network: Callable[[int], nn.Module] = classifier
    targets: Tensor = Y
    shuffle: bool = True

    def loader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(X, self.targets), SIZE, shuffle=self.shuffle)

    def fit(self, seed: int, parallel: Processes | None) -> Found:
        network = self.network(seed)
        history = self.training.fit(
            network, self.loader(), 4, validation=[(X[:33], self.targets[:33])], patience=2, parallel=parallel
        )
        return found(network, history.drop(columns="seconds").to_numpy().tolist())


Found = dict[str, Any]

CASES = {
    "adam": Case(LiftedTraining(algorithm=ProximalSGD(1e-2))),
    "momentum, sparse, codes": Case(
        LiftedTraining(algorithm=ProximalSGD(1e-2, "sgd"), regulariser=ni.L1(1e-2), auxiliaries=TargetCodes(free=1))
    ),
    "aggregated": Case(LiftedTraining(algorithm=ProximalSAGA()), shuffle=False),
    "contrastive, convolutional": Case(LiftedTraining("contrastive", ProximalSGD(1e-2)), convolutional),
    "codes of an encoder": Case(LiftedTraining(algorithm=ProximalSGD(1e-2)), encoder, CODES),
    "a loss of torch": Case(LiftedTraining("quadratic", ProximalSGD(1e-2), mean_squares), encoder, CODES),
}


class Broken:
    """The batches of a loader, with something that happens before that with this number in this epoch."""

    def __init__(self, inner: Any, epoch: int, batch: int, happens: Callable[[], None]) -> None:
        self.inner, self.left, self.batch, self.happens = inner, epoch + 1, batch, happens

    def __iter__(self) -> Iterator[Any]:
        for k, pair in enumerate(self.inner):
            self.left -= k == 1  # no look at the first batch
            if self.left == 0 and k == self.batch:
                self.happens()
            yield pair


def found(network: nn.Module, history: Any = None) -> Found:
    return {"parameters": [p.detach().clone() for p in network.parameters()], "history": history}


def together(rank: int, folder: Path) -> Found:
    """Every case, an interrupted training taken up again, and everything that is refused."""
    results = {name: case.fit(rank, DataParallel()) for name, case in CASES.items()}
    return results | {"resumed": _resumed(rank, folder), "messages": _refusals(rank)}


def _resumed(rank: int, folder: Path) -> Found:
    written: list[Path] = []
    write = journals.write_archive

    def counted(path: Path, *arguments: Any, **named: Any) -> None:
        written.append(path)
        write(path, *arguments, **named)

    journals.write_archive = counted  # type: ignore[attr-defined]
    case, path = CASES["aggregated"], folder / "training.npz"
    message = _refused(lambda: _fit(case, rank, Broken(case.loader(), 2, 3, _interrupt), path))
    before = len(written)
    network = _fit(case, rank + 2, case.loader(), path)
    journals.write_archive = write  # type: ignore[attr-defined]
    return found(network) | {"written": (before, len(written)), "message": message}


def _fit(case: Case, seed: int, loader: Any, path: Path | None, group: dist.ProcessGroup | None = None) -> nn.Module:
    network = ni.lift(case.network(seed), X[:2])
    case.training.fit(network, loader, 4, checkpoint=path, checkpoint_share=math.inf, parallel=DataParallel(group))
    return network


def _refusals(rank: int) -> dict[str, str]:
    lost, wrong, adam = X.clone(), Y.clone(), CASES["adam"].training
    lost[[20, 22], 1] = torch.nan  # of the second batch, 12..23, in the part of rank 1
    wrong[23] = 7
    pairs = {
        "nan": [(lost[k : k + SIZE], Y[k : k + SIZE]) for k in range(0, 48, SIZE)],
        "label": [(X[k : k + SIZE], wrong[k : k + SIZE]) for k in range(0, 48, SIZE)],
        "sampler": [(X[rank : 24 + rank : 2], Y[rank : 24 + rank : 2])],
        "order": [(X[:12].flip(0), Y[:12].flip(0))] if rank else [(X[:12], Y[:12])],
        "length": [(X[: 12 + rank], Y[: 12 + rank])],
    }
    network = ni.lift(classifier(), X[:2])
    messages = {
        name: _refused(lambda each=each: adam.fit(network, each, 2, parallel=DataParallel()))  # type: ignore[misc]
        for name, each in pairs.items()
    }
    whole = CASES["adam"].loader()
    messages["seed"] = _refused(lambda: adam.fit(network, whole, 2, seed=rank, parallel=DataParallel()))
    implicit = LiftedTraining(algorithm=ImplicitSGD())
    weighted = LiftedTraining(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 1.0], dtype=torch.float64)))
    messages["loss"] = _refused(lambda: weighted.fit(network, whole, 2, parallel=DataParallel()))
    messages["algorithm"] = _refused(lambda: implicit.fit(network, whole, 2, parallel=DataParallel()))
    return messages


def broken(rank: int, folder: Path) -> Found:
    """Rank 1 hangs in a group of one second, then, in another training, is killed; what rank 0 says, and where it is then."""
    case, group = CASES["aggregated"], dist.new_group(timeout=timedelta(seconds=1))
    done = folder / "done"

    def hang() -> None:
        while not done.exists():
            time.sleep(0.05)
        _interrupt()

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def loader(happens: Callable[[], None]) -> Any:
        return Broken(case.loader(), 1, 3, happens) if rank == 1 else case.loader()

    hung = _refused(lambda: _fit(case, 0, loader(hang), None, group))
    done.touch()
    network = ni.lift(case.network(0), X[:2])
    path = folder / "killed.npz"
    # Written after every batch: by default the checkpoint may be some batches behind the parameters.
    settings: dict[str, Any] = {"checkpoint": path, "checkpoint_share": math.inf, "parallel": DataParallel()}
    killed = _refused(lambda: case.training.fit(network, loader(kill), 4, **settings))
    return found(network) | {"messages": {"hung": hung, "killed": killed}}


def _refused(call: Callable[[], object]) -> str:
    try:
        call()
    except (Exception, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def _interrupt() -> None:
    raise KeyboardInterrupt


def _drawn(network: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.double().parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return network


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    where = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    torch.save(together(rank, folder), folder / f"{rank}.pt")
    torch.save(broken(rank, folder), folder / "left.pt")  # one process is


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
