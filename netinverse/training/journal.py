"""How far a training is: the history, the best of what was learned, and the checkpoint that keeps them."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netinverse.archives import UNREADABLE, clear_leftovers, read_archive, require_format, write_archive
from netinverse.checkpoints import CheckpointWarning
from netinverse.fingerprint import fingerprint
from netinverse.training.algorithm import Run
from netinverse.training.batches import Batches
from netinverse.training.problem import TrainingProblem
from netinverse.training.processes import Team

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "netinverse training 2"
COLUMNS = ("epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "samples", "seconds")


@dataclass(frozen=True)
class Kept:
    """Of one batch: the sum of the losses, the labels met, the samples."""

    loss: float
    hits: float
    samples: int


@dataclass
class Journal:
    """``epoch``, ``batch``: what comes next. ``decisive``, ``data``: what the checkpoint of another training differs in.

    ``decisive``: by name, a number as it is and anything else by its fingerprint. ``share``: of the time
    since the last writing, what another one within an epoch may take; it is expected to take as long as the last.
    """

    path: Path | None
    decisive: dict[str, str | float]
    data: tuple[str, int | None] = ("", None)
    epoch: int = 0
    batch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    sums: tuple[float, float, int] = (0.0, 0.0, 0)
    best: dict[str, Tensor] = field(default_factory=dict)
    found: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    share: float = 0.1

    def __post_init__(self) -> None:
        self._began = time.perf_counter()
        self._written, self._cost = time.monotonic(), 0.0
        self._failed = False

    @classmethod
    def open(
        cls,
        path: Path | None,
        settings: Mapping[str, object],
        problem: TrainingProblem,
        epochs: int,
        batches: Batches,
        share: float,
    ) -> Journal:
        """A new one, or that of the checkpoint.

        Another training is one with other settings, another loss by its name, layers of other names, sizes or activations,
        another number of epochs, seed or order of steps in the processes, another first batch or number of batches.
        Raises FileNotFoundError for a folder that is not there, ValueError for a file that is damaged or of another training.
        """
        tensors = {**dict(problem.network.named_parameters()), **problem.learned}
        shapes = tuple((name, tuple(p.shape), str(p.dtype)) for name, p in tensors.items())
        # Slopes of an activation that are learned count by their shapes, as all parameters do: they move, and are in the file.
        named = [(node.name, node.potential) for node in problem.network.nodes]
        nodes = copy.deepcopy(named, {id(p): torch.zeros(()) for p in tensors.values()})
        loss = problem.loss if isinstance(problem.loss, str) else _name_of(problem.loss)
        decisive = {**settings, "loss": loss, "network": (shapes, nodes), "epochs": epochs, "seed": batches.seed}
        numbers = {name: value for name, value in decisive.items() if isinstance(value, int | float)}
        named_decisive = {name: numbers.get(name, fingerprint(value)) for name, value in decisive.items()}
        journal = cls(path, named_decisive, share=share)
        if path is None:
            return journal
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"LiftedTraining.fit: the folder of the checkpoint {str(path)!r} does not exist. Make it first."
            )
        journal.data = batches.mark
        if path.exists():
            journal._read(path, batches)
        return journal

    def _read(self, path: Path, batches: Batches) -> None:
        try:
            tensors, meta = read_archive(path)
            require_format(meta.get("format"), FORMAT)
            numbers = (meta["epoch"], meta["batch"], meta["rows"], meta["sums"], meta["seconds"])
            decisive, data = meta["decisive"], (meta["first batch"], meta["batches"])
        except UNREADABLE as error:
            raise ValueError(
                f"LiftedTraining.fit: checkpoint {str(path)!r} is no complete checkpoint of a training ({error}). It is left as "
                f"it is; pass another file, or delete this one to begin anew."
            ) from error
        differs = "; ".join(_differences(self.decisive, decisive)) or batches.difference(data)
        if differs:
            raise ValueError(
                f"LiftedTraining.fit: checkpoint {str(path)!r} is of another training: {differs}. It is left as it is; pass "
                f"another file, or the arguments of that training."
            )
        self.epoch, self.batch, self.rows, self.seconds = numbers[0], numbers[1], list(numbers[2]), numbers[4]
        self.sums = (numbers[3][0], numbers[3][1], int(numbers[3][2]))
        self.found = tensors

    @property
    def place(self) -> str:
        """Equal for processes that do the same training and go on at the same batch."""
        return fingerprint(self.decisive, self.epoch, self.batch, self.path is None)

    def restore(self, run: Run, team: Team) -> None:
        """What this process learns, and the states of run and team, as the checkpoint has them."""
        if not self.found:
            return
        learned = team.problem.learned
        device = next(iter(learned.values())).device
        run.restore(_under("run", self.found, device))
        team.restore(_under("team", self.found, device))
        _put(learned, _under("parameters", self.found, device))
        self.best = {name: p for name, p in _under("best", self.found, device).items() if name in learned}
        self.found = {}

    def record(self, run: Run, team: Team, kept: Kept) -> None:
        """After a batch."""
        self.batch += 1
        loss, hits, samples = self.sums
        self.sums = (loss + kept.loss, hits + kept.hits, samples + kept.samples)
        if self.path is not None and team.due(time.monotonic() - self._written, self._cost / self.share):
            self._write(self.path, run, team)

    def finish_epoch(self, run: Run, team: Team, validated: Mapping[str, float], patience: int | None) -> dict[str, float]:
        """The row of the epoch that is over."""
        loss, hits, samples = self.sums
        row = dict.fromkeys(COLUMNS, math.nan)
        row |= {"epoch": self.epoch, "loss": loss / samples, "accuracy": hits / samples, "samples": samples, **validated}
        row["seconds"] = self.seconds + time.perf_counter() - self._began
        self.rows.append(row)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, (0.0, 0.0, 0)
        if patience is not None and self._since_best() == 0:
            self.best = {name: p.detach().clone() for name, p in team.problem.learned.items()}
        if self.path is not None:
            self._write(self.path, run, team)
        return row

    def _since_best(self) -> int:
        """Epochs since the least loss, on the validation data where there are any."""
        name = "validation_loss" if self.rows and not math.isnan(self.rows[-1]["validation_loss"]) else "loss"
        losses = [row[name] for row in self.rows]
        return len(losses) - 1 - losses.index(min(losses))

    def exhausted(self, patience: int | None) -> bool:
        """Whether the training is over: asked before an epoch, so that the checkpoint of one that has ended ends at once."""
        return patience is not None and bool(self.rows) and self._since_best() >= patience

    def put_best(self, learned: Mapping[str, Tensor], patience: int | None) -> None:
        if patience is not None and self.best:
            _put(learned, self.best)

    def table(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(COLUMNS)).astype({"epoch": int, "samples": int})

    def _write(self, path: Path, run: Run, team: Team) -> None:
        began = time.monotonic()
        self._put_down(path, run, team)
        self._written = time.monotonic()
        self._cost = self._written - began

    def _put_down(self, path: Path, run: Run, team: Team) -> None:
        parts = {f"run/{name}": value for name, value in run.state().items()}
        parts |= {f"team/{name}": value for name, value in team.state().items()}
        parts |= {f"parameters/{name}": p.detach() for name, p in team.problem.learned.items()}
        parts |= {f"best/{name}": p for name, p in self.best.items()}
        tensors = team.whole(parts)
        if tensors is None:
            return
        meta = {
            "format": FORMAT,
            "decisive": self.decisive,
            "first batch": self.data[0],
            "batches": self.data[1],
            "epoch": self.epoch,
            "batch": self.batch,
            "rows": self.rows,
            "sums": list(self.sums),
            "seconds": self.seconds + time.perf_counter() - self._began,
        }
        try:
            write_archive(path, tensors, meta, compressed=False)
            clear_leftovers(path)
        except OSError as error:
            if not self._failed:
                warnings.warn(
                    f"LiftedTraining.fit: checkpoint {str(path)!r} could not be written ({error}). The training goes on without; "
                    f"an earlier checkpoint is still there. Make room or take another path next time.",
                    CheckpointWarning,
                    stacklevel=2,
                )
            self._failed = True


def _differences(here: Mapping[str, str | float], there: Mapping[str, str | float]) -> list[str]:
    return [
        f"the {name} differs" if isinstance(value, str) else f"{name} is {value}, and was {there.get(name)}"
        for name, value in here.items()
        if value != there.get(name)
    ]


def _name_of(function: object) -> str:
    """Of a loss; nothing else tells one function from another in the next process."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _under(kind: str, found: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    prefix = f"{kind}/"
    return {name.removeprefix(prefix): value.to(device) for name, value in found.items() if name.startswith(prefix)}


def _put(learned: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, p in learned.items():
            p.copy_(values[name])
