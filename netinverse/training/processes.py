"""The contract of several processes that train one network together, and the case of a single one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netinverse.training.algorithm import Algorithm
from netinverse.training.problem import TrainingProblem


class Processes(Protocol):
    """Configuration only. What a process does alike for all, such as a step of the optimiser, it does without asking."""

    @property
    def rank(self) -> int:
        """The number of this process; that with 0 writes checkpoints and shows progress."""
        ...

    @property
    def count(self) -> int: ...

    def accept(self, algorithm: Algorithm) -> None:
        """Raise where there is nobody to talk to, or nothing to share in this algorithm."""
        ...

    def agree(self, mark: str, device: torch.device) -> None:
        """Raise in all processes unless all came with this mark, a number in hexadecimal digits."""
        ...

    def share(self, problem: TrainingProblem) -> TrainingProblem:
        """The same problem, with the same parameters everywhere and the work of a batch divided among the processes."""
        ...

    def part(self, count: int) -> slice:
        """Which of ``count`` samples are this process's own; it may be none."""
        ...

    def total(self, sums: Tensor) -> Tensor:
        """The sum over the processes, the same bits in all of them; in place."""
        ...


@dataclass(frozen=True)
class OneProcess:
    """Nothing is shared."""

    rank = 0
    count = 1

    def accept(self, algorithm: Algorithm) -> None:
        return None

    def agree(self, mark: str, device: torch.device) -> None:
        return None

    def share(self, problem: TrainingProblem) -> TrainingProblem:
        return problem

    def part(self, count: int) -> slice:
        return slice(0, count)

    def total(self, sums: Tensor) -> Tensor:
        return sums
