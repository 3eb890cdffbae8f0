"""Checkpoints: what is needed to go on with an interrupted solve, in one file."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from netinverse.archives import UNREADABLE, read_archive, write_archive

FORMAT = "netinverse checkpoint 1"
EVERY = 5.0
"""Seconds of work between two writings; more where writing takes more than a tenth of that."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written. The solve goes on."""


@dataclass
class Checkpoint:
    """The file of one solve. ``problem``: fingerprints of what decides the answer, by name; another problem's file is refused.

    Writing is atomic: a process that is killed leaves the last whole checkpoint. A writing that fails is a CheckpointWarning.
    """

    path: Path
    problem: dict[str, str]
    _next: float = field(init=False)
    _failed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"invert: the folder of the checkpoint {os.fspath(self.path)!r} does not exist, so nothing could be kept. "
                f"Make it first."
            )
        self._next = time.monotonic() + EVERY

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next

    def load(self, device: torch.device) -> dict[str, Tensor] | None:
        """What was saved; None where there is no file. Raises ValueError for a file that is damaged, or of another problem."""
        if not self.path.exists():
            return None
        who = f"invert: checkpoint {os.fspath(self.path)!r}"
        try:
            tensors, meta = read_archive(self.path)
            if meta.get("format") != FORMAT:
                raise ValueError(f"its format is {meta.get('format')!r}")
            before = dict(meta["problem"])
        except UNREADABLE as error:
            raise ValueError(
                f"{who} is no checkpoint that can be resumed ({error}). Delete the file to begin anew, or give another path."
            ) from error
        others = [name for name, value in self.problem.items() if before.get(name) != value]
        if others:
            raise ValueError(
                f"{who} belongs to another solve: its {' and its '.join(others)} differ. Resuming it would answer another "
                f"question. Give another path, or delete the file to begin anew."
            )
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        began = time.monotonic()
        try:
            write_archive(self.path, tensors, {"format": FORMAT, "problem": self.problem}, compressed=False)
        except OSError as error:
            if not self._failed:
                warnings.warn(
                    f"invert: checkpoint {os.fspath(self.path)!r} could not be written ({error}). The solve goes on without; an "
                    f"earlier checkpoint is still there. Make room or take another path next time.",
                    CheckpointWarning,
                    stacklevel=2,
                )
            self._failed = True
        now = time.monotonic()
        self._next = now + max(EVERY, 10 * (now - began))
