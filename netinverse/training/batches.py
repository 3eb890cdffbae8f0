"""The batches of an epoch, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from netinverse.checks import require_object
from netinverse.fingerprint import fingerprint
from netinverse.networks import LiftedNetwork


@dataclass(frozen=True)
class Batches:
    """``how``: "any", "fixed" (the same batches in every epoch) or "whole" (one batch of all samples, in one order)."""

    loader: Iterable[Any]
    how: str
    seed: int

    @classmethod
    def of(cls, loader: Iterable[Any], how: str, seed: int) -> Batches:
        """Raises TypeError for an iterator, ValueError for a sampler that may shuffle where the order has to stay."""
        if isinstance(loader, Iterator):
            raise TypeError(
                "LiftedTraining.fit: loader is an iterator, which is used up after one epoch. Pass a DataLoader, or a list of "
                "batches."
            )
        require_object("LiftedTraining.fit", "loader", loader, ("__iter__",), "Pass a DataLoader, or a list of batches.")
        sampler = _sampler(loader)
        if how == "fixed" and sampler is not None and not isinstance(sampler, SequentialSampler):
            raise ValueError(
                f"LiftedTraining.fit: the loader takes its samples in the order of {type(sampler).__name__}, which may shuffle, "
                f"but ProximalSAGA keeps the last gradient of every batch, and ImplicitSGD(warm=True) its activations: it has to "
                f"be the same batch in every epoch. Use shuffle=False, without a sampler."
            )
        return cls(loader, how, seed)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(x, targets); the order depends on the seed and the epoch alone, so that an interrupted one can be taken up again.

        That of "whole" does not depend on the epoch: what is kept of the samples, such as their activations, stays theirs.
        """
        pairs = self._pairs(0 if self.how == "whole" else epoch)
        if self.how != "whole":
            yield from pairs
            return
        if all_ := tuple(zip(*pairs, strict=True)):
            yield torch.cat(all_[0]), torch.cat(all_[1])

    @cached_property
    def first(self) -> tuple[Tensor, Tensor]:
        """The first batch of the loader in epoch 0. Raises ValueError where there is none."""
        for pair in self._pairs(0):
            return pair
        raise ValueError("LiftedTraining.fit: the loader gives no batch, so there is nothing to learn from. Check its dataset.")

    def example(self) -> Tensor:
        """Two inputs, to lift a network with."""
        return torch.zeros(2, *self.first[0].shape[1:])

    @property
    def mark(self) -> tuple[str, int | None]:
        """Of these data, as far as it is known without going through them: the first batch, and how many there are."""
        try:
            return fingerprint(*self.first), len(self.loader)  # type: ignore[arg-type]
        except TypeError:  # a loader that does not know
            return fingerprint(*self.first), None

    def difference(self, mark: tuple[str, int | None]) -> str:
        """Of these data from those with the mark, in words; "" where it may be theirs.

        Of a loader that draws anew every time, as noise, any first batch may be.
        """
        first, count = self.mark
        if count != mark[1] and None not in (count, mark[1]):
            return f"the number of batches is {count}, and was {mark[1]}"
        return "" if first == mark[0] or first != fingerprint(*next(self._pairs(0))) else "the first batch differs"

    def _pairs(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The sampler has a generator of ours while it draws, and its own whenever anybody else could see it."""
        ours = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
        with _drawing_by(ours, self.loader):
            batches = iter(self.loader)
        while True:
            with _drawing_by(ours, self.loader):
                batch = next(batches, _END)
            if batch is _END:
                return
            yield _pair(batch)


_END = object()


def _sampler(loader: Iterable[Any]) -> Any:
    """What chooses the samples one by one, below what gathers them; None for loaders other than torch's, and streams."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    found: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    while isinstance(found, BatchSampler):
        found = found.sampler
    return found


@contextmanager
def _drawing_by(generator: torch.Generator, loader: Iterable[Any]) -> Iterator[None]:
    """Samplers of torch that draw have a ``generator``."""
    sampler = _sampler(loader)
    if not hasattr(sampler, "generator"):
        yield
        return
    own, sampler.generator = sampler.generator, generator
    try:
        yield
    finally:
        sampler.generator = own


def fitted(network: LiftedNetwork, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """A batch on the network's device, floats in its dtype."""
    if tuple(x.shape[1:]) != tuple(network.input_shape) or len(x) != len(targets):
        raise ValueError(
            f"LiftedTraining.fit: a batch has inputs of shape {tuple(x.shape)} and targets of shape {tuple(targets.shape)}, but "
            f"the network takes (batch, {', '.join(map(str, network.input_shape))}), with one target for each."
        )
    targets = targets.to(network.device)
    return x.to(network.device, network.dtype), targets.to(network.dtype) if targets.is_floating_point() else targets


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        raise TypeError(
            f"LiftedTraining.fit: the loader gives {type(batch).__name__} objects, but each batch has to be a pair of tensors, "
            f"inputs and targets. For an autoencoder pair the inputs with themselves."
        )
    return batch[0], batch[1]
