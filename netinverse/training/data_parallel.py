"""Data-parallel training: the samples of every batch are divided among the processes of torch.distributed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from netinverse.training.algorithm import Algorithm
from netinverse.training.problem import TrainingProblem
from netinverse.training.shared_problem import SharedProblem


@dataclass(frozen=True)
class DataParallel:
    """grad sum_i E_i = sum over ranks r of grad sum_{i in part r} E_i: given the weights, samples know nothing of each other.

    Every rank runs the same ``fit`` over the same batches and takes a contiguous part of each; one all_reduce a batch adds up
    the gradients, and all take the same step. The parameters are those of one process, up to the order of the sums. They begin at
    those of rank 0. ``group``: a process group of torch.distributed, by default that of all processes; its timeout says how long
    a process waits for the others. ProximalSGD and ProximalSAGA only: the other algorithms search steps by energies of the batch.

    Raises RuntimeError, in every process that is left, when one has ended or does not answer within the timeout.
    """

    group: dist.ProcessGroup | None = None

    @property
    def rank(self) -> int:
        return dist.get_rank(self.group)

    @property
    def count(self) -> int:
        return dist.get_world_size(self.group)

    def accept(self, algorithm: Algorithm) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise RuntimeError(
                "DataParallel: torch.distributed is not initialised, so there are no processes to share the work. Start the "
                "script with torchrun and call torch.distributed.init_process_group('gloo') in it first, or leave out parallel."
            )
        if not algorithm.separable:
            raise ValueError(
                f"DataParallel: the algorithm is {type(algorithm).__name__}, whose steps depend on more of a batch than the sum "
                f"of its gradients, so that its samples cannot be divided. Take ProximalSGD() or ProximalSAGA(), or one process."
            )

    def agree(self, mark: str, device: torch.device) -> None:
        own = torch.tensor([int(mark[:15], 16)], device=device)
        found = [torch.zeros_like(own) for _ in range(self.count)]
        self._exchange(dist.all_gather, found, own)
        others = [k for k, each in enumerate(found) if not torch.equal(each, found[0])]
        if others:
            raise ValueError(
                f"DataParallel: rank(s) {', '.join(map(str, others))} came with another network, other settings, epochs or seed "
                f"than rank 0, or found another checkpoint, so they would not train one network. Call fit with the same "
                f"arguments in every process, and keep the checkpoint where all can read it."
            )

    def share(self, problem: TrainingProblem) -> SharedProblem:
        with torch.no_grad():
            for p in problem.network.parameters():
                sent = p.detach().clone(memory_format=torch.contiguous_format)
                self._exchange(_broadcast, sent)
                p.copy_(sent)
        return SharedProblem(**{each.name: getattr(problem, each.name) for each in fields(problem)}, processes=self)

    def part(self, count: int) -> slice:
        return slice(count * self.rank // self.count, count * (self.rank + 1) // self.count)

    def total(self, sums: Tensor) -> Tensor:
        self._exchange(dist.all_reduce, sums)
        return sums

    def _exchange(self, collective: Callable[..., Any], *tensors: Any) -> None:
        try:
            collective(*tensors, group=self.group)
        except RuntimeError as error:
            raise RuntimeError(
                f"DataParallel: rank {self.rank} of {self.count} lost the others ({error}), so the training cannot go on: one of "
                f"them has ended or hangs; its own output says why. The network has the parameters after the last batch that "
                f"all finished, and the checkpoint, if any, is whole: start all processes again with the same arguments."
            ) from error


def _broadcast(tensor: Tensor, group: dist.ProcessGroup | None) -> None:
    dist.broadcast(tensor, group_src=0, group=group)
