"""Layer-parallel training: the layers are divided among the processes of torch.distributed, and batches flow through them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import torch
import torch.distributed as dist
from torch import Tensor

from netinverse.checks import require_whole
from netinverse.training.algorithm import Algorithm
from netinverse.training.layer_groups import layer_groups
from netinverse.training.pipeline import Pipeline
from netinverse.training.problem import TrainingProblem
from netinverse.training.process_group import ProcessGroup

_TAGS = count(1)
"""Of messages, one for each training; those of the first process count."""


@dataclass(frozen=True)
class LayerParallel(ProcessGroup):
    """theta_p^{k+1} = step of theta_p^k with grad_p E_k(theta_1^{k-D_1}, ..., theta_P^{k-D_P}), where D_p = delay (P - p).

    E_k is the lifted energy of batch k, after one sweep. Process p owns the p-th of P groups of layers: their parameters, the
    state of their steps, their activations. Of the others it needs the activations that enter its layers, and sum A^T(sigma(z) -
    u+) over the layers that take its own; both come while it works on other batches. It runs up to D_p batches forward before it
    takes the steps of the first, so that it waits for nobody who keeps up. The delays are fixed, and at the end of an epoch all
    steps are taken: the parameters depend on seed, delay and number of processes alone. With delay 0, or one process, they are
    those of the ordinary sweep, and the processes wait for one another. delay 1 leaves no time for the messages.

    All processes run the same ``fit`` over the same batches and end with all parameters; they begin at those of rank 0. The
    groups are balanced by counted operations. ``group``: by default that of all processes; its timeout says how long a process
    waits for the others. ProximalSGD and ProximalSAGA, with one sweep a batch.

    Narayanan et al., PipeDream, SOSP 2019 (the order of work); Agarwal & Duchi, NeurIPS 2011 (steps with delayed gradients).
    Raises ValueError for networks with fewer groups than processes; RuntimeError, in every process that is left, when one has
    ended.
    """

    delay: int = 2

    def __post_init__(self) -> None:
        require_whole("LayerParallel", "delay", self.delay, 0, "The default is 2; 0 is the ordinary sweep.")

    @property
    def schedule(self) -> tuple[object, ...]:
        return ("layers", self.count, self.delay) if self.count > 1 and self.delay > 0 else ()

    @property
    def finished(self) -> str:
        return "this process finished, those of other layers from the last epoch that all finished"

    def accept(self, algorithm: Algorithm, sweeps: int) -> None:
        super().accept(algorithm, sweeps)
        if sweeps > 1:
            raise ValueError(
                f"LayerParallel: the penalty is 'contrastive', which takes {sweeps} sweeps a batch, but a batch passes "
                f"through the processes once. Take another penalty, or DataParallel()."
            )

    def share(self, problem: TrainingProblem) -> Pipeline:
        self.accept_problem(problem)
        groups = layer_groups(problem.network, problem.parameters, self.count)
        self.spread_from_first(problem)
        tag = torch.tensor([next(_TAGS)], device=problem.network.device)
        self.spread(tag, 0)
        return Pipeline(problem, self, groups, int(tag))

    def behind(self, rank: int) -> int:
        """D_p."""
        return self.delay * (self.count - 1 - rank)

    def all_of(self, well: bool, then: int, device: torch.device) -> tuple[bool, int]:
        """Whether all processes are well, and the number that the first came with."""
        found = self.gathered(torch.tensor([int(well), then], device=device))
        return all(int(each[0]) for each in found), int(found[0][1])

    def first_gathers(self, parts: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """The parts of all processes, whose names differ, in rank 0; None elsewhere."""
        found: list[dict[str, Tensor]] | None = [{} for _ in range(self.count)] if self.rank == 0 else None
        self.exchange(dist.gather_object, parts, found, group_dst=0)
        return None if found is None else {name: value for each in found for name, value in each.items()}
