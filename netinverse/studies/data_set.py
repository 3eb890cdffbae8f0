"""Inversion of data sets that do not fit into memory, or not into one process: data in batches in, results in files out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netinverse.checks import require_whole
from netinverse.diagnostics.arguments import Network
from netinverse.fingerprint import fingerprint
from netinverse.inversion import invert, lifted_network
from netinverse.networks import LiftedNetwork
from netinverse.reconstruction import Reconstruction
from netinverse.studies.folder import Folder
from netinverse.studies.sweep import sweep
from netinverse.version import __version__

WHO = "invert_data_set"


@dataclass(frozen=True)
class InvertedDataSet:
    """The results, batch by batch, in files: ``len`` batches, each a ``Reconstruction`` when it is asked for."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Reconstruction:
        return Reconstruction.load(self.paths[number])

    def __iter__(self) -> Iterator[Reconstruction]:
        return map(Reconstruction.load, self.paths)


@dataclass(frozen=True)
class _Cells:
    network: LiftedNetwork
    data: Any
    noise_level: Any
    batch_size: int
    arguments: dict[str, Any]

    def work(self, number: int) -> Reconstruction:
        rows = slice(number * self.batch_size, min(len(self.data), (number + 1) * self.batch_size))
        data = _tensor(self.data[rows])
        level = self.noise_level
        if level is not None and np.ndim(level):
            level = _tensor(level[rows])
        return invert(self.network, data, noise_level=level, **self.arguments)


def invert_data_set(
    network: Network,
    data: Tensor | np.ndarray[Any, Any] | Sequence[Any],
    folder: str | os.PathLike[str],
    *,
    noise_level: float | Tensor | np.ndarray[Any, Any] | None = None,
    input_shape: int | Sequence[int] | None = None,
    batch_size: int = 64,
    jobs: int | None = None,
    progress: bool = True,
    **arguments: Any,
) -> InvertedDataSet:
    """``invert`` for every batch of ``data``, each result kept in ``folder`` as soon as it is there.

    data: anything with a length whose slices are arrays (batch, ...): a tensor, or ``numpy.load(path, mmap_mode="r")`` for an
    array that stays on the disk. noise_level: a number, or one for each sample. Further arguments are those of ``invert``. Called
    again, it goes on where it stopped; a folder of other settings, or other data, is refused. jobs: as in ``stability_study``.
    A sample's result does not depend on its batch.
    """
    require_whole(WHO, "batch_size", batch_size, 1, "The default is 64.")
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise TypeError(
            f"{WHO}: data is a {type(data).__name__}, but must have a length and slices, so that batches can be computed in any "
            f"order and again. Pass a tensor, or an array opened with numpy.load(path, mmap_mode='r')."
        )
    if np.ndim(noise_level) and len(noise_level) != len(data):  # type: ignore[arg-type]
        raise ValueError(
            f"{WHO}: noise_level has {len(noise_level)} values, but there are {len(data)} samples. "  # type: ignore[arg-type]
            f"Pass one for each, or one number."
        )
    taken = {"regulariser", "constraint", "rule", "method", "fidelity", "tolerance", "max_steps", "seed"}
    if unknown := sorted(set(arguments) - taken):
        raise TypeError(f"{WHO}: there is no argument {', '.join(unknown)}. Of invert's it takes {', '.join(sorted(taken))}.")
    lifted = lifted_network(network, _tensor(data[0:1]), input_shape)
    cells = _Cells(lifted, data, noise_level, batch_size, arguments)
    count = -(-len(data) // batch_size)
    kept: Folder[Reconstruction] = Folder(Path(folder), ".npz", lambda value, path: value.save(path), Reconstruction.load)
    kept.claim(WHO, _settings(cells))
    sweep(cells.work, count, folder=kept, jobs=jobs, progress=progress, title="inverting")
    return InvertedDataSet(tuple(kept.cell(number) for number in range(count)))


def _tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))


def _settings(cells: _Cells) -> dict[str, Any]:
    """The data count by their length and their first and last sample: reading all of them would take as long as using them."""
    ends = [cells.data[0:1], cells.data[len(cells.data) - 1 :]] if len(cells.data) else []
    return {
        "study": WHO,
        "netinverse": __version__,
        "network": fingerprint(cells.network),
        "samples": len(cells.data),
        "ends": fingerprint([_tensor(end) for end in ends]),
        "noise_level": fingerprint(None if cells.noise_level is None else torch.as_tensor(np.asarray(cells.noise_level))),
        "arguments": fingerprint(cells.arguments),
        "batch_size": cells.batch_size,
    }
