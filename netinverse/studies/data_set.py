"""Inversion of data sets that do not fit into memory, or not into one process: data in batches in, results in files out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from netinverse.checks import require_path, require_whole
from netinverse.diagnostics.arguments import Network
from netinverse.fingerprint import fingerprint
from netinverse.inversion import invert, lifted_network
from netinverse.modes import in_usual_modes
from netinverse.networks import LiftedNetwork
from netinverse.reconstruction import Reconstruction
from netinverse.studies.batches import WHO, Batches, as_tensor, batches_of
from netinverse.studies.folder import Folder
from netinverse.studies.sweep import computed, require_jobs
from netinverse.version import __version__


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
    data: Batches
    noise_level: Any
    arguments: dict[str, Any]

    def work(self, number: int) -> Reconstruction:
        level = self.noise_level
        if level is not None and np.ndim(level):
            before = sum(self.data.sizes[:number])
            level = as_tensor(level[before : before + self.data.sizes[number]])
        return invert(self.network, self.data.batch(number), noise_level=level, **self.arguments)


@in_usual_modes
def invert_data_set(
    network: Network,
    data: Tensor | np.ndarray[Any, Any] | Sequence[Any] | DataLoader[Any],
    folder: str | os.PathLike[str],
    *,
    noise_level: float | Tensor | np.ndarray[Any, Any] | None = None,
    input_shape: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    jobs: int | None = None,
    progress: bool = True,
    **arguments: Any,
) -> InvertedDataSet:
    """``invert`` for every batch of ``data``, each result kept in ``folder`` as soon as it is there, and nowhere else.

    data: anything with a length whose slices are arrays (batch, ...): a tensor, or ``numpy.load(path, mmap_mode="r")`` for an
    array that stays on the disk, cut into batches of ``batch_size``, 64 by default. Or a DataLoader of a map-style dataset that
    does not shuffle, in its own batches; where these are tuples, their first entry is the data. jobs: as in ``stability_study``;
    they read the data themselves. noise_level: a number, or one for each sample, in order. Further arguments are those of
    ``invert``. A sample's result does not depend on its batch.

    Called again, it goes on where it stopped. A folder of other settings is refused, and of other data as far as their number
    and their first and last sample tell: reading all of them would take as long as using them. Raises OSError where a result
    cannot be written, since there is no other place for it; those written stay.
    """
    if batch_size is not None:
        require_whole(WHO, "batch_size", batch_size, 1, "The default is 64.")
    require_jobs(WHO, jobs)
    require_path(WHO, "folder", folder)
    batches = batches_of(data, batch_size)
    samples = sum(batches.sizes)
    if np.ndim(noise_level) and len(noise_level) != samples:  # type: ignore[arg-type]
        raise ValueError(
            f"{WHO}: noise_level has {len(noise_level)} values, but there are {samples} samples. "  # type: ignore[arg-type]
            f"Pass one for each, or one number."
        )
    taken = {"regulariser", "constraint", "rule", "method", "fidelity", "tolerance", "max_steps", "seed", "memory_budget"}
    if unknown := sorted(set(arguments) - taken):
        raise TypeError(f"{WHO}: there is no argument {', '.join(unknown)}. Of invert's it takes {', '.join(sorted(taken))}.")
    if not samples:
        return InvertedDataSet(())
    first, last = batches.batch(0), batches.batch(len(batches.sizes) - 1)
    cells = _Cells(lifted_network(network, first[:1], input_shape), batches, noise_level, arguments)
    kept: Folder[Reconstruction] = Folder(Path(folder), ".npz", lambda value, path: value.save(path), Reconstruction.load)
    kept.claim(WHO, _settings(cells, [first[:1], last[-1:]]))
    count = len(batches.sizes)
    done = {number for number in range(count) if kept.finished(number) is not None}
    for _ in computed(cells.work, count, done, keep=_keep(kept), jobs=jobs, progress=progress, title="inverting"):
        pass
    return InvertedDataSet(tuple(kept.cell(number) for number in range(count)))


def _keep(folder: Folder[Reconstruction]) -> Callable[[int, Reconstruction], None]:
    def keep(number: int, value: Reconstruction) -> None:
        try:
            folder.put(number, value)
        except OSError as error:
            raise OSError(
                f"{WHO}: {folder.cell(number)} could not be written ({error}), so the inversion stopped. The results before it "
                f"are kept. Make room and call again: it goes on from there."
            ) from error

    return keep


def _settings(cells: _Cells, ends: Sequence[Tensor]) -> dict[str, Any]:
    return {
        "study": WHO,
        "netinverse": __version__,
        "network": fingerprint(cells.network),
        "samples": sum(cells.data.sizes),
        "ends": fingerprint(list(ends)),
        "noise_level": fingerprint(None if cells.noise_level is None else torch.as_tensor(np.asarray(cells.noise_level))),
        "arguments": fingerprint(cells.arguments),
        "batches": fingerprint(cells.data.sizes),
    }
