"""The batches of an epoch, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader


@dataclass(frozen=True)
class Batches:
    """``how``: "any", "fixed" (the loader must not shuffle) or "whole" (one batch of all samples, in one order)."""

    loader: Iterable[Any]
    how: str
    seed: int

    @classmethod
    def of(cls, loader: Iterable[Any], how: str, seed: int) -> Batches:
        if isinstance(loader, Iterator):
            raise TypeError(
                "LiftedTraining.fit: loader is an iterator, which is used up after one epoch. Pass a DataLoader, or a list of "
                "batches."
            )
        if how == "fixed" and _drawing(loader) is not None:
            raise ValueError(
                "LiftedTraining.fit: the loader shuffles, but ProximalSAGA keeps the last gradient of every batch, which has to "
                "be the same batch in every epoch. Use shuffle=False."
            )
        return cls(loader, how, seed)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(x, targets); the order depends on the seed and the epoch alone, so that an interrupted one can be taken up again.

        That of "whole" does not depend on the epoch: what is kept of the samples, such as their activations, stays theirs.
        """
        sampler = _drawing(self.loader)
        if sampler is not None:
            drawn = 0 if self.how == "whole" else epoch
            sampler.generator = torch.Generator().manual_seed(1_000_003 * self.seed + drawn)
        pairs = map(_pair, self.loader)
        if self.how != "whole":
            yield from pairs
            return
        if all_ := tuple(zip(*pairs, strict=True)):
            yield torch.cat(all_[0]), torch.cat(all_[1])

    def example(self) -> Tensor:
        """Two inputs, to lift a network with."""
        for x, _ in self.epoch(0):
            return torch.zeros(2, *x.shape[1:])
        raise ValueError("LiftedTraining.fit: the loader gives no batch, so there is nothing to learn from. Check its dataset.")


def _drawing(loader: Iterable[Any]) -> Any:
    """The sampler of a DataLoader that draws from a generator, such as torch's RandomSampler; None where there is none."""
    if not isinstance(loader, DataLoader):
        return None
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    return sampler if hasattr(sampler, "generator") else None


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        raise TypeError(
            f"LiftedTraining.fit: the loader gives {type(batch).__name__} objects, but each batch has to be a pair of tensors, "
            f"inputs and targets. For an autoencoder pair the inputs with themselves."
        )
    return batch[0], batch[1]
