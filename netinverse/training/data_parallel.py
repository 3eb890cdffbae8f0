"""Data-parallel training: the samples of every batch are divided among the processes of torch.distributed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from torch import Tensor

from netinverse.training.problem import TrainingProblem
from netinverse.training.process_group import ProcessGroup
from netinverse.training.processes import Team
from netinverse.training.shared_problem import SharedProblem


@dataclass(frozen=True)
class DataParallel(ProcessGroup):
    """grad sum_i E_i = sum over ranks r of grad sum_{i in part r} E_i: given the weights, samples know nothing of each other.

    Every rank runs the same ``fit`` over the same batches and takes a contiguous part of each; one all_reduce a batch adds up
    the gradients, and all take the same step. The parameters are those of one process, up to the order of the sums. They begin at
    those of rank 0. ``group``: a process group of torch.distributed, by default that of all processes; its timeout says how long
    a process waits for the others. ProximalSGD and ProximalSAGA only: the other algorithms search steps by energies of the batch.
    A function as loss has to give one number for each sample.

    Raises RuntimeError, in every process that is left, when one has ended or does not answer within the timeout.
    """

    @property
    def schedule(self) -> tuple[object, ...]:
        return ()

    def share(self, problem: TrainingProblem) -> Team:
        self.accept_problem(problem)
        self.spread_from_first(problem)
        shared = SharedProblem(**{each.name: getattr(problem, each.name) for each in fields(problem)}, processes=self)
        return _SameEverywhere(shared, self.rank == 0)


@dataclass(eq=False)
class _SameEverywhere(Team):
    """Every process has everything, and one of them writes."""

    writes: bool

    def due(self, elapsed: float, every: float) -> bool:
        return self.writes and elapsed > every

    def whole(self, parts: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        return parts if self.writes else None
