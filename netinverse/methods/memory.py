"""The answers that a path gave to its rule, in order: a resumed rule asks again, and is told what it was told before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from netinverse.checkpoints import Checkpoint
from netinverse.methods.method import Step
from netinverse.protocols import SolverState
from netinverse.solvers.iterate import Loop
from netinverse.tensors import flatten, unflatten

T = TypeVar("T")
S = TypeVar("S", bound=SolverState)
Answer = tuple[Tensor, ...]


class Memory:
    """Answers with the checkpoint that keeps them; without one they are not kept at all.

    A rule is a pure function of the answers, and so repeats its questions.
    """

    def __init__(self, checkpoint: Checkpoint | None, device: torch.device) -> None:
        self._checkpoint = checkpoint
        self.found = None if checkpoint is None else checkpoint.load(device)
        self._answers: list[Answer] = [] if self.found is None else _rows(self.found, "answer")
        self._told = 0

    def answer(self, work: Callable[[], Answer]) -> Answer:
        """The next answer: remembered, or worked out now."""
        if self._told < len(self._answers):
            told = self._answers[self._told]
        else:
            told = work()
            if self._checkpoint is not None:
                self._answers.append(told)
        self._told += 1
        return told

    def keep(self, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        """Write the answers so far and ``tensors``, if it is time."""
        if self._checkpoint is not None and self._checkpoint.due:
            answers = {f"answer/{i:05}/{j}": t for i, row in enumerate(self._answers) for j, t in enumerate(row)}
            self._checkpoint.save({**answers, **tensors()})


def packed(name: str, tree: object) -> dict[str, Tensor]:
    """The tensors of a tree under numbered names."""
    return {f"{name}/{i:03}": tensor for i, tensor in enumerate(flatten(tree))}


def unpacked(found: Mapping[str, Tensor], name: str, like: T) -> T:
    """The tree that ``packed`` took apart; ``like`` gives its form."""
    names = sorted(each for each in found if each.startswith(f"{name}/"))
    return unflatten(like, [found[each] for each in names])


def packed_loop(loop: Loop[S]) -> dict[str, Tensor]:
    whole = {"index": loop.index, "running": loop.running, "codes": loop.codes, "steps": loop.steps}
    return {
        "loop/number": torch.tensor(loop.number),
        **{f"loop/{name}": tensor for name, tensor in whole.items()},
        **packed("now", loop.state),
        **packed("final", loop.final),
    }


def unpacked_loop(found: Mapping[str, Tensor], like: S) -> Loop[S] | None:
    """The loop that was interrupted; None where none was."""
    if "loop/number" not in found:
        return None
    index, running, codes, steps = (found[f"loop/{name}"] for name in ("index", "running", "codes", "steps"))
    state, final = unpacked(found, "now", like), unpacked(found, "final", like)
    return Loop(int(found["loop/number"]), state, index, running, final, codes, steps)


_COLUMNS = ("samples", "alpha", "objective", "optimality", "residual")


def packed_steps(steps: Sequence[Step]) -> dict[str, Tensor]:
    """A history, column by column."""
    if not steps:
        return {}
    return {
        "history/length": torch.tensor([len(step.samples) for step in steps]),
        "history/number": torch.tensor([step.number for step in steps]),
        "history/seconds": torch.tensor([step.seconds for step in steps], dtype=torch.float64),
        **{f"history/{name}": torch.cat([getattr(step, name) for step in steps]) for name in _COLUMNS},
    }


def unpacked_steps(found: Mapping[str, Tensor]) -> list[Step]:
    if "history/length" not in found:
        return []
    lengths = found["history/length"].tolist()
    columns = zip(*(torch.split(found[f"history/{name}"], lengths) for name in _COLUMNS), strict=True)
    numbers, seconds = found["history/number"].tolist(), found["history/seconds"].tolist()
    return [
        Step(samples, alpha, number, objective, optimality, residual, at)
        for (samples, alpha, objective, optimality, residual), number, at in zip(columns, numbers, seconds, strict=True)
    ]


def _rows(found: Mapping[str, Tensor], name: str) -> list[Answer]:
    rows: dict[str, list[Tensor]] = {}
    for each in sorted(n for n in found if n.startswith(f"{name}/")):
        rows.setdefault(each.split("/")[1], []).append(found[each])
    return [tuple(row) for row in rows.values()]
