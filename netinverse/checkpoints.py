"""Checkpoints: what is needed to go on with an interrupted solve, in one file."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinverse.archives import UNREADABLE, clear_leftovers, read_archive, require_format, write_archive

FORMAT = "netinverse checkpoint 1"
PART = "part"
Part = tuple[Mapping[str, Tensor], Mapping[str, Any]]
EVERY = 5.0
"""Seconds of work between two writings; more where writing takes more than a tenth of that."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written. The solve goes on."""


@dataclass
class Checkpoint:
    """The file of one solve. ``problem``: fingerprints of what decides the answer, by name; another problem's file is refused.

    Writing is atomic: a process that is killed leaves the last whole checkpoint. A writing that fails is a CheckpointWarning.
    A solve in parts keeps those that are ``finished``, and what the next one needs to go on.
    """

    path: Path
    problem: dict[str, str]
    _parts: list[Part] = field(init=False, default_factory=list)
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
        """What was saved after the parts that are finished; None where nothing was.

        Raises ValueError for a file that is damaged, or of another problem.
        """
        saved, parts = self._read()
        # Where the end of a part could not be written, what is in the file is of that part and not of the next.
        if not saved or len(parts) != len(self._parts):
            return None
        return {name: tensor.to(device) for name, tensor in saved.items()}

    def finished(self, device: torch.device) -> list[Part]:
        """The parts that need not be done again, in order. Raises as ``load`` does."""
        self._parts = self._read()[1]
        return [({name: tensor.to(device) for name, tensor in tensors.items()}, meta) for tensors, meta in self._parts]

    def finish(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Keep the result of a part; what was saved for it is needed no more."""
        self._parts.append((tensors, meta))
        self.save({})

    def _read(self) -> tuple[dict[str, Tensor], list[Part]]:
        """What was saved last, and the finished parts; nothing where there is no file."""
        if not self.path.exists():
            return {}, []
        who = f"invert: checkpoint {os.fspath(self.path)!r}"
        if self.path.is_dir():
            raise ValueError(f"{who} is a folder, so that nothing can be kept in it. Give another path, of a file.")
        try:
            tensors, meta = read_archive(self.path)
            require_format(meta.get("format"), FORMAT)
            before, described = dict(meta["problem"]), [dict(each) for each in meta["parts"]]
            saved: dict[str, Tensor] = {}
            own: list[dict[str, Tensor]] = [{} for _ in described]
            for name, tensor in tensors.items():
                kind, _, rest = name.partition("/")
                if kind == PART:
                    number, _, inner = rest.partition("/")
                    own[int(number)][inner] = tensor
                else:
                    saved[name] = tensor
        except (*UNREADABLE, IndexError) as error:
            raise ValueError(
                f"{who} is no checkpoint that can be resumed ({error}). Delete the file to begin anew, or give another path."
            ) from error
        others = [name for name, value in self.problem.items() if before.get(name) != value]
        if others:
            raise ValueError(
                f"{who} belongs to another solve: its {' and its '.join(others)} differ. Resuming it would answer another "
                f"question. Give another path, or delete the file to begin anew."
            )
        return saved, list(zip(own, described, strict=True))

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Write ``tensors``, which are named without a leading ``part/``, beside the finished parts."""
        began = time.monotonic()
        parts = {f"{PART}/{i}/{name}": tensor for i, (own, _) in enumerate(self._parts) for name, tensor in own.items()}
        meta = {"format": FORMAT, "problem": self.problem, "parts": [dict(meta) for _, meta in self._parts]}
        try:
            write_archive(self.path, {**tensors, **parts}, meta, compressed=False)
            clear_leftovers(self.path)
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
