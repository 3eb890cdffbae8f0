"""A training problem whose batches are swept by several processes, each its own part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.training.losses import TorchLoss, TrainingLoss, loss_of
from netinverse.training.problem import Summed, TrainingProblem
from netinverse.training.process_group import ProcessGroup, batch_mark, same_marks


@dataclass(frozen=True, eq=False)
class SharedProblem(TrainingProblem):
    """``summed`` takes the whole batch in every process and returns the sums over it in every process; ``us`` of its own part.

    One exchange a batch, of a length that does not depend on the batch: the gradients, the loss, the labels met, and for each
    process a number that tells its batch from another one.
    Raises ValueError, in every process, where they came with different batches, and for a loss that gives one number for a batch:
    what it is of the whole does not follow from what it is of the parts, as where classes have weights or labels are left out.
    """

    processes: ProcessGroup

    def summed(self, x: Tensor, targets: Tensor, progress: float) -> Summed:
        # Targets that one process would refuse are refused by all, which would wait for it otherwise.
        self._require_one_each(loss_of(self.loss, self.network, targets), x)
        sizes = [p.numel() for p in self.parameters.values()]
        sums = x.new_zeros(sum(sizes) + 2 + self.processes.count)
        *gradients, loss, hits, marks = torch.split(sums, [*sizes, 1, 1, self.processes.count])
        own = self.processes.part(len(x))
        us: tuple[Tensor, ...] = ()
        lost: tuple[int, ...] = ()
        if own.start < own.stop:
            found = super().summed(x[own], targets[own], progress)
            us, lost = found.us, found.lost
            loss.copy_(found.loss)
            hits.copy_(found.hits)
            for name, into in zip(self.parameters, gradients, strict=True):
                if name in found.gradients:
                    into.copy_(found.gradients[name].flatten())
        marks[self.processes.rank] = batch_mark(x, targets)
        self.processes.total(sums)
        self._compare(marks)
        if not bool(torch.isfinite(loss)):
            lost = self._all_lost(len(x), own, lost, x)
        named = zip(self.parameters.items(), gradients, strict=True)
        return Summed(us, loss[0], hits[0], lost, {name: g.view_as(p) for (name, p), g in named})

    def _require_one_each(self, loss: TrainingLoss, x: Tensor) -> None:
        # Asked of a batch of zeros, in which every process, that without a sample too, hears the same.
        if isinstance(loss, TorchLoss) and loss.joint(x.new_zeros(len(x), *self.network.nodes[-1].shape)):
            name = getattr(self.loss, "__name__", type(self.loss).__name__)
            raise ValueError(
                f"DataParallel: loss is {name}, which gives one number for the batch, but each process has a part of it, "
                f"and the parts tell the whole only of a loss that is known sample by sample. Give one number for each sample, "
                f"as losses of torch do with reduction='none'."
            )

    def _compare(self, marks: Tensor) -> None:
        same = same_marks(marks, marks[0], marks.dtype)
        if not bool(same.all()):
            others = ", ".join(map(str, (~same).nonzero().flatten().tolist()))
            raise ValueError(
                f"DataParallel: rank(s) {others} came with another batch than rank 0, but each process takes its own part of the "
                f"same one. Give all of them the same data in the same order, without a DistributedSampler."
            )

    def _all_lost(self, count: int, own: slice, lost: tuple[int, ...], like: Tensor) -> tuple[int, ...]:
        """Numbers in the whole batch, from those in each part."""
        found = like.new_zeros(count)
        found[[own.start + k for k in lost]] = 1
        return tuple(self.processes.total(found).nonzero().flatten().tolist())
