"""Processes of torch.distributed that train one network: what ways of sharing the work have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from netinverse.training.algorithm import Algorithm
from netinverse.training.problem import TrainingProblem


class LostProcess(RuntimeError):
    """Another process has ended, or does not answer within the timeout."""


@dataclass(frozen=True)
class ProcessGroup:
    """``group``: of torch.distributed, by default that of all processes; its timeout is how long one waits for the others."""

    group: dist.ProcessGroup | None = None

    @property
    def rank(self) -> int:
        return dist.get_rank(self.group)

    @property
    def count(self) -> int:
        return dist.get_world_size(self.group)

    def accept(self, algorithm: Algorithm, sweeps: int) -> None:
        who = type(self).__name__
        if not dist.is_available() or not dist.is_initialized():
            raise RuntimeError(
                f"{who}: torch.distributed is not initialised, so there are no processes to share the work. Start the "
                "script with torchrun and call torch.distributed.init_process_group('gloo') in it first, or leave out parallel."
            )
        if not algorithm.separable:
            raise ValueError(
                f"{who}: the algorithm is {type(algorithm).__name__}, whose steps depend on more of a batch than its "
                f"gradients: on energies of the whole of it. Take ProximalSGD() or ProximalSAGA(), or one process."
            )

    def accept_problem(self, problem: TrainingProblem) -> None:
        """Raise where the samples of a batch are coupled by what no process has at hand."""
        if problem.statistics.uses:
            raise ValueError(
                f"{type(self).__name__}: the network has batch normalisation in training mode (module "
                f"{problem.statistics.modules[0]!r}), whose moments are those of all samples at the current parameters of all "
                f"layers, and no process has both. Call eval() on these layers, which then keep their statistics, or train in "
                f"one process."
            )

    def agree(self, mark: str, device: torch.device) -> None:
        own = torch.tensor([int(mark[:15], 16)], device=device)
        found = self.gathered(own)
        others = [k for k, each in enumerate(found) if not torch.equal(each, found[0])]
        if others:
            raise ValueError(
                f"{type(self).__name__}: rank(s) {', '.join(map(str, others))} came with another network, other settings, "
                f"epochs or seed than rank 0, or found another checkpoint, so they would not train one network. Call fit with "
                f"the same arguments in every process, and keep the checkpoint where all can read it."
            )

    def part(self, count: int) -> slice:
        return slice(count * self.rank // self.count, count * (self.rank + 1) // self.count)

    def total(self, sums: Tensor) -> Tensor:
        self.exchange(dist.all_reduce, sums)
        return sums

    def gathered(self, own: Tensor) -> list[Tensor]:
        """The tensors of all processes, which have the same shape."""
        found = [torch.zeros_like(own) for _ in range(self.count)]
        self.exchange(dist.all_gather, found, own)
        return found

    def spread(self, tensor: Tensor, source: int) -> None:
        """That of rank ``source`` in every process; in place."""
        sent = tensor.detach().clone(memory_format=torch.contiguous_format)
        self.exchange(dist.broadcast, sent, group_src=source)
        with torch.no_grad():
            tensor.copy_(sent)

    def spread_from_first(self, problem: TrainingProblem) -> None:
        for p in problem.network.parameters():
            self.spread(p, 0)

    def exchange(self, collective: Callable[..., Any], *tensors: Any, **named: Any) -> None:
        try:
            collective(*tensors, group=self.group, **named)
        except RuntimeError as error:
            raise self.lost(error) from error

    def lost(self, error: RuntimeError) -> LostProcess:
        return LostProcess(
            f"{type(self).__name__}: rank {self.rank} of {self.count} lost the others ({error}), so the training cannot go on: "
            f"one of them has ended or hangs; its own output says why. The network has the parameters after the last batch that "
            f"{self.finished}, and the checkpoint, if any, is whole: start all processes again with the same arguments."
        )

    @property
    def finished(self) -> str:
        """Whose last batch the parameters are from when another process is lost."""
        return "all finished"


def batch_mark(x: Tensor, targets: Tensor) -> Tensor:
    """A number that tells a batch from another one: it knows the order of the samples and how many there are."""
    sizes = (1 + _size(x) + _size(targets)).to(x.dtype)
    return sizes @ torch.arange(1, len(x) + 1, dtype=x.dtype, device=x.device) / max(len(x), 1)


def same_marks(marks: Tensor, first: Tensor, dtype: torch.dtype) -> Tensor:
    """Those of the same batch may differ by rounding in ``dtype`` between machines; those of another batch differ by more."""
    return torch.isclose(marks, first, rtol=100 * torch.finfo(dtype).eps, equal_nan=True)


def _size(x: Tensor) -> Tensor:
    """Of each sample, (batch,)."""
    flat = x.flatten(1) if x.ndim > 1 else x[:, None]
    size: Tensor = torch.linalg.vector_norm(flat if flat.is_floating_point() else flat.double(), dim=1)
    return size
