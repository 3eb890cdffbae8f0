"""Data sets as numbered batches, each of which any process can get at by itself, in any order and again."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

WHO = "invert_data_set"


class Batches(Protocol):
    """``sizes``: how many samples each batch holds."""

    @property
    def sizes(self) -> tuple[int, ...]: ...

    def batch(self, number: int) -> Tensor:
        """The data of one batch, (samples, ...)."""
        ...


@dataclass(frozen=True)
class Slices:
    """Batches of ``size`` samples of what has a length and slices."""

    data: Any
    size: int

    @property
    def sizes(self) -> tuple[int, ...]:
        whole, rest = divmod(len(self.data), self.size)
        return (self.size,) * whole + ((rest,) if rest else ())

    def batch(self, number: int) -> Tensor:
        return as_tensor(self.data[number * self.size : (number + 1) * self.size])


@dataclass(frozen=True)
class MappedFile:
    """An array on the disk. It is opened where it is read: what is sent to another process is its place, not its numbers."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, array: np.memmap[Any, Any]) -> MappedFile:
        return cls(str(array.filename), array.dtype.str, array.shape, array.offset)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray[Any, Any]:
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[rows]


@dataclass(frozen=True)
class Loaded:
    """The batches of a DataLoader, in its order, made without it: ``indices`` of the samples of each."""

    dataset: Any
    collate: Callable[[list[Any]], Any]
    indices: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(map(len, self.indices))

    def batch(self, number: int) -> Tensor:
        found = self.collate([self.dataset[i] for i in self.indices[number]])
        data = found[0] if isinstance(found, list | tuple) and found else found
        if not isinstance(data, Tensor):
            raise TypeError(
                f"{WHO}: a batch of the DataLoader is a {type(found).__name__}, but must be a tensor, or a tuple whose first "
                f"entry is the tensor of the data. Wrap the data set in one that returns the data, or pass collate_fn=."
            )
        return data


def batches_of(data: Any, batch_size: int | None) -> Batches:
    """Raises TypeError or ValueError where batches cannot be had by their number."""
    if isinstance(data, DataLoader):
        return _of_loader(data, batch_size)
    if isinstance(data, str) or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise TypeError(
            f"{WHO}: data is a {type(data).__name__}, but must have a length and slices, so that batches can be computed in any "
            f"order and again. Pass a tensor, a DataLoader, or an array opened with numpy.load(path, mmap_mode='r')."
        )
    base: object = getattr(data, "base", None)  # a slice of a mapped array has that array there, and does not know its own place
    whole = isinstance(data, np.memmap) and isinstance(base, mmap.mmap) and data.flags["C_CONTIGUOUS"]
    return Slices(MappedFile.of(data) if whole else data, 64 if batch_size is None else batch_size)


def _of_loader(loader: DataLoader[Any], batch_size: int | None) -> Loaded:
    if batch_size is not None:
        raise ValueError(
            f"{WHO}: batch_size is {batch_size}, but a DataLoader makes its own batches. Leave it out, or set it in the loader."
        )
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        raise TypeError(
            f"{WHO}: the DataLoader gives its batches only one after the other, but they are computed in any order, and again "
            f"after an interruption. Pass one with a map-style dataset and a batch_size."
        )
    batches, again = (tuple(tuple(batch) for batch in loader.batch_sampler) for _ in range(2))
    if batches != again:
        raise ValueError(
            f"{WHO}: the DataLoader draws its samples in another order every time, so that no result could be told from another. "
            f"Pass one with shuffle=False."
        )
    return Loaded(loader.dataset, loader.collate_fn, batches)


def as_tensor(values: Tensor | np.ndarray[Any, Any] | Sequence[Any]) -> Tensor:
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
