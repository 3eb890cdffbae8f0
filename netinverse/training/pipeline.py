"""One process's share of layer-parallel training: its layers, the batches under way in them, and the exchange at the ends."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netinverse.lifting import LiftedEnergy
from netinverse.lifting.sweep import ForwardHalf, backward_half, forward_half
from netinverse.networks import LiftedNetwork
from netinverse.networks.node import Node
from netinverse.training.links import CLOSED, GOES_ON, KINDS, STOPPED, Header
from netinverse.training.losses import labels_met
from netinverse.training.neighbours import neighbours
from netinverse.training.problem import Summed, TrainingProblem, not_finite
from netinverse.training.process_group import LostProcess, batch_mark, same_marks
from netinverse.training.processes import NumberedBatch, Team

if TYPE_CHECKING:
    from netinverse.training.layer_parallel import LayerParallel


@dataclass(frozen=True, eq=False)
class OwnLayers(TrainingProblem):
    """Over the parameters with these ``names``; ``summed`` is the sweep of the batch that has been under way longest."""

    names: frozenset[str]
    finish: Callable[[], Summed]

    @cached_property
    def parameters(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.network.named_parameters() if name in self.names}

    def summed(self, x: Tensor, targets: Tensor, progress: float) -> Summed:
        return self.finish()


@dataclass(frozen=True)
class UnderWay:
    """A batch that has passed these layers forward, and the parameters with which it did."""

    targets: Tensor
    energy: LiftedEnergy
    half: ForwardHalf
    version: TrainingProblem


class Pipeline(Team):
    """Batches run forward through this process's layers up to ``behind`` ahead of the one whose step is due.

    A batch keeps the parameters that it ran forward with for its way back, so that its sweep is an ordinary one, at parameters
    some of which are older than others.
    """

    def __init__(self, problem: TrainingProblem, processes: LayerParallel, groups: Sequence[Sequence[Node]], tag: int) -> None:
        trained = frozenset(problem.parameters)
        owned = [{name for node in nodes for name in node.program.free} & trained for nodes in groups]
        shared = {each.name: getattr(problem, each.name) for each in fields(problem)}
        super().__init__(OwnLayers(**shared, names=frozenset(owned[processes.rank]), finish=self._finish))
        self._owners = {name: rank for name in problem.parameters for rank, names in enumerate(owned) if name in names}
        self._processes = processes
        self._behind = processes.behind(processes.rank)
        self._places = {node.name for node in groups[processes.rank]}
        self._earlier, self._later = neighbours(problem.network, processes, groups, tag)
        copied = [_version(problem.network, self.problem.parameters) for _ in range(self._behind + 1)]
        whole = [problem.network] if self._behind == 0 else copied
        self._idle = deque(replace(problem, network=network) for network in whole)
        self._under_way: deque[UnderWay] = deque()
        self._older: deque[dict[str, Tensor]] = deque()
        self._left, self._next, self._since, self._told = 1, 1, 0, False

    @property
    def kept(self) -> str:
        most = self._processes.behind(0)
        return super().kept + (f", layers nearer to the output perhaps those of up to {most} batches later" if most else "")

    def ahead(self, batches: Iterator[NumberedBatch], progress: float) -> Iterator[NumberedBatch]:
        waiting: deque[NumberedBatch] = deque()
        for each in self._earlier:
            each.inbox.expect(None)
        for (number, pair), following in _with_next(batches):
            self._forward(*pair, progress, len(following[1][0]) if following else 0)
            waiting.append((number, pair))
            if len(waiting) > self._behind:
                yield waiting.popleft()
        yield from waiting
        self._close_epoch()

    def _forward(self, x: Tensor, targets: Tensor, progress: float, following: int) -> None:
        version, mark = self._idle.popleft(), float(batch_mark(x, targets))
        with torch.no_grad():
            source = self._older.popleft() if self._older else self.problem.parameters
            for name, p in version.network.named_parameters():
                if name in source:
                    p.copy_(source[name])
        energy = version.energy(targets)
        given = {version.network.input_name: x}
        for each in self._earlier:
            header = each.inbox.head()
            same = header.state == GOES_ON and header.length == len(x)
            if not same or not bool(same_marks(torch.tensor(mark), torch.tensor(header.mark), x.dtype)):
                raise self._other_batch(each.rank)
            each.inbox.expect(header.following)
            given |= {name: u.requires_grad_(True) for name, u in zip(each.given, each.inbox.body(), strict=True)}
        begin = version.auxiliaries.at(progress, energy.blocks, targets, version.network.nodes[-1].shape[0])
        nodes = [node for node in version.network.nodes if node.name in self._places]
        half = forward_half(energy, nodes, given, begin)
        for each in self._later:
            each.outbox.send(
                Header(length=len(x), following=following, mark=mark), [half.leaves[name].detach() for name in each.taken]
            )
            each.inbox.expect(len(x))
        self._under_way.append(UnderWay(targets, energy, half, version))

    def _finish(self) -> Summed:
        begun = self._under_way.popleft()
        pulled: dict[str, Tensor] = {}
        told = Header()
        for each in self._later:
            told = each.inbox.head()  # all of them say the same
            for name, part in zip(each.taken, each.inbox.body(), strict=True):
                pulled[name] = pulled[name] + part if name in pulled else part
        energy, half = begun.energy, begun.half
        found = backward_half(energy, half, [1.0 / begun.version.weight] * len(energy.blocks), pulled)
        loss, hits = told.loss, told.hits
        lost: tuple[int, ...] = ()
        if not self._later:
            output = half.recorded[energy.output].detach()
            with torch.no_grad():
                losses = energy.fidelity(output).double()
            loss, hits, lost = float(losses.sum()), float(labels_met(output, begun.targets)), not_finite(losses)
        for each in self._earlier if not lost else ():
            residuals = [found.pulled.get(name, torch.zeros_like(half.leaves[name])) for name in each.given]
            each.outbox.send(Header(length=len(begun.targets), loss=loss, hits=hits), residuals)
        self._idle.append(begun.version)
        numbers = torch.tensor([loss, hits], dtype=torch.float64)
        return Summed(tuple(found.us.values()), numbers[0], numbers[1], lost, found.gradients)

    def _close_epoch(self) -> None:
        """Down and up again, so that none goes on before all have taken every step."""
        for before, after in ((self._earlier, self._later), (self._later, self._earlier)):
            for each in before:
                if before is self._later:
                    each.inbox.expect(0)
                if each.inbox.head().state != CLOSED:
                    raise self._other_batch(each.rank)
                each.inbox.body()
            for each in after:
                each.outbox.send(Header(CLOSED), ())

    def _other_batch(self, rank: int) -> ValueError:
        return ValueError(
            f"LayerParallel: rank {self._processes.rank} came with another batch than rank {rank}, but each process takes every "
            f"batch through its own layers. Give all of them the same data in the same order, without a DistributedSampler."
        )

    def due(self, elapsed: float, every: float) -> bool:
        """All count the batches that the first process says: no two clocks agree on which batch it is."""
        self._since, self._left = self._since + 1, self._left - 1
        self._next = max(1, math.ceil(every * self._since / max(elapsed, 1e-6)))
        return self._left <= 0 and not self._told

    def whole(self, parts: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        well, self._left = self._processes.all_of(True, self._next, self.problem.network.device)
        self._since = 0
        if not well:  # another process has stopped, and its next message says why
            self._told = True
            return None
        return self._processes.first_gathers({name: part.cpu() for name, part in parts.items()})

    def state(self) -> dict[str, Tensor]:
        """The parameters with which the batches under way ran forward; running them again gives what else they had."""
        return {
            f"{k}/{name}": p.detach()
            for k, begun in enumerate(self._under_way)
            for name, p in begun.version.network.named_parameters()
            if name in self.problem.parameters
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for k in range(self._behind):
            older = {name: state[f"{k}/{name}"] for name in self.problem.parameters if f"{k}/{name}" in state}
            if older:
                self._older.append(older)

    def complete(self) -> None:
        parameters = dict(self.problem.network.named_parameters())
        for name, owner in self._owners.items():
            self._processes.spread(parameters[name], owner)

    def stop(self, error: BaseException) -> None:
        """The next message to each neighbour says why; then all complete the network, unless one is lost."""
        kind = max((k for k, each in enumerate(KINDS) if isinstance(error, each)), default=0)
        processes = self._processes
        text = f"LayerParallel: rank {processes.rank} of {processes.count} ended with {type(error).__name__}: {error}"
        header = Header(STOPPED, kind=kind, text=str(error) if isinstance(error, KINDS) else text)
        for each in (*self._earlier, *self._later):
            with suppress(RuntimeError):
                each.outbox.leave(header)
        if isinstance(error, Exception) and not isinstance(error, LostProcess):
            with suppress(LostProcess):
                if not self._told:
                    processes.all_of(False, 0, self.problem.network.device)
                self.complete()


def _version(network: LiftedNetwork, own: Mapping[str, nn.Parameter]) -> LiftedNetwork:
    """A copy with these parameters of its own; it shares the others."""
    memo: dict[int, object] = {id(tensor): tensor for tensor in network.tensors().values()}
    memo |= {id(p): nn.Parameter(p.detach().clone()) for p in own.values()}
    return copy.deepcopy(network, memo)


def _with_next(batches: Iterator[NumberedBatch]) -> Iterator[tuple[NumberedBatch, NumberedBatch | None]]:
    """Each with the one after it."""
    this = next(batches, None)
    while this is not None:
        following = next(batches, None)
        yield this, following
        this = following
