"""The contract of several processes that train one network together, and the case of a single one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netinverse.training.algorithm import Algorithm
from netinverse.training.problem import TrainingProblem

NumberedBatch = tuple[int, tuple[Tensor, Tensor]]


class Processes(Protocol):
    """Configuration only. What a process does alike for all, such as a step of the optimiser, it does without asking."""

    @property
    def rank(self) -> int:
        """The number of this process; that with 0 writes checkpoints and shows progress."""
        ...

    @property
    def count(self) -> int: ...

    @property
    def schedule(self) -> tuple[object, ...]:
        """What makes the parameters differ from those of one process by more than rounding; empty where nothing does."""
        ...

    def accept(self, algorithm: Algorithm, sweeps: int) -> None:
        """Raise where there is nobody to talk to, or nothing to share in this algorithm or so many sweeps a batch."""
        ...

    def agree(self, mark: str, device: torch.device) -> None:
        """Raise in all processes unless all came with this mark, a number in hexadecimal digits."""
        ...

    def share(self, problem: TrainingProblem) -> Team:
        """Begin, with the same parameters everywhere and the work of a batch divided among the processes."""
        ...

    def part(self, count: int) -> slice:
        """Which of ``count`` samples to validate on are this process's own; it may be none."""
        ...

    def total(self, sums: Tensor) -> Tensor:
        """The sum over the processes, the same bits in all of them; in place."""
        ...


@dataclass(eq=False)
class Team:
    """One training under way, as one of the processes takes part in it; this one has everything at hand.

    ``problem``: what this process minimises, over the parameters that it owns. Between batches the processes owe each other
    nothing but what ``state`` holds; after ``complete`` not even that.
    """

    problem: TrainingProblem

    @property
    def kept(self) -> str:
        """What the network has after a batch from which nothing could be learned."""
        return "the parameters from before that batch"

    def ahead(self, batches: Iterator[NumberedBatch], progress: float) -> Iterator[NumberedBatch]:
        """The batches of an epoch, each given back when its step is due; work on later ones may have begun."""
        yield from batches

    def due(self, elapsed: float, every: float) -> bool:
        """Whether to write a checkpoint now, ``elapsed`` seconds after the last one; all that take part in it say the same."""
        return elapsed > every

    def whole(self, parts: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """The parts of all processes, in the one that writes; None elsewhere."""
        return parts

    def state(self) -> dict[str, Tensor]:
        """What, with parameters and run, is needed to go on after the last batch that was given back."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        return None

    def complete(self) -> None:
        """All parameters in every process."""
        return

    def stop(self, error: BaseException) -> None:
        """Let the others know of what ended this process's epoch."""
        return


@dataclass(frozen=True)
class OneProcess:
    """Nothing is shared."""

    rank = 0
    count = 1
    schedule: tuple[object, ...] = ()

    def accept(self, algorithm: Algorithm, sweeps: int) -> None:
        return None

    def agree(self, mark: str, device: torch.device) -> None:
        return None

    def share(self, problem: TrainingProblem) -> Team:
        return Team(problem)

    def part(self, count: int) -> slice:
        return slice(0, count)

    def total(self, sums: Tensor) -> Tensor:
        return sums
