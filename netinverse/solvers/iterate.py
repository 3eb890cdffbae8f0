"""The one loop. It owns stopping, history, progress and the divergence guard; a solver is ``init`` and ``step``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from netinverse.protocols import Solver, SolverState
from netinverse.solvers.status import Status
from netinverse.tensors import choose, scatter, select

S = TypeVar("S", bound=SolverState)

RUNNING, CONVERGED, STALLED, DIVERGED, INFINITE_START = -1, 0, 1, 2, 3
_MEANING = {
    RUNNING: Status.STEP_LIMIT,
    CONVERGED: Status.CONVERGED,
    STALLED: Status.STALLED,
    DIVERGED: Status.DIVERGED,
    INFINITE_START: Status.INFINITE_START,
}


def status_of(code: int) -> Status:
    return _MEANING[code]


@dataclass(frozen=True)
class Solution(Generic[S]):
    """The state at which each sample stopped, why, and after how many steps."""

    state: S
    codes: Tensor
    steps: Tensor

    @property
    def status(self) -> tuple[Status, ...]:
        return tuple(map(status_of, self.codes.tolist()))


@dataclass(frozen=True)
class Loop(Generic[S]):
    """Where ``solve`` stands after ``number`` steps: the samples ``index`` still in the batch, which of them are ``running``,
    their state, and how the others ended. Enough to go on as if nothing had happened. The state of a sample that is not
    running is the one it ended with; ``final`` has the states of those that left the batch.
    """

    number: int
    state: S
    index: Tensor
    running: Tensor
    final: S
    codes: Tensor
    steps: Tensor


def relative_optimality(tolerance: float) -> Callable[[Any], Tensor]:
    """Stop where what is left to gain is at most ``tolerance`` times the objective, and the objective is finite."""
    return lambda state: torch.isfinite(state.objective) & (state.optimality <= tolerance * state.objective.abs())


def iterates(solver: Solver[Any, S], problem: Any, x: Tensor) -> Iterator[S]:
    """The states of a solver one by one, for stepping by hand."""
    state = solver.init(problem, x)
    while True:
        yield state
        state = solver.step(problem, state)


def solve(
    solver: Solver[Any, S],
    problem: Any,
    state: S | Loop[S],
    *,
    stop: Callable[[S], Tensor],
    max_steps: int,
    on_step: Callable[[int, Tensor, S], None] | None = None,
    on_loop: Callable[[Loop[S]], None] | None = None,
    look_every: int | None = None,
) -> Solution[S]:
    """Step until ``stop(state)`` holds, sample by sample.

    A sample that stops keeps the state it stopped with, whatever the others do; where the problem can ``select`` samples,
    finished ones leave the batch once half of it is done. A sample whose objective becomes NaN or infinite ends with its last
    finite state and status DIVERGED; one whose objective is so at the start ends there, with INFINITE_START.
    ``on_step(step, samples, state)`` sees the samples that are still running, ``on_loop`` all that is needed to go on: given
    as ``state``, it does.

    Which samples are done is decided where the tensors are; the host looks every ``look_every`` steps, and an accelerator need
    not wait for it in between. No answer depends on that. By default the host looks at every step, of work on an accelerator as
    seldom as the solver's own ``look_every`` says. ``on_step`` and ``on_loop`` are called when it looks.
    """
    loop = state if isinstance(state, Loop) else _begun(state)
    every = _looks(solver, loop.index) if look_every is None else look_every
    if len(loop.index) < len(loop.codes):
        problem = problem.select(loop.index)
    unseen: list[Loop[S]] = []
    while True:
        looking = loop.number % every == 0 or loop.number == max_steps
        if looking and unseen:
            if on_step is not None:
                for each in unseen:
                    on_step(each.number, each.index[each.running], select(each.state, each.running.nonzero().flatten()))
            if on_loop is not None:
                on_loop(loop)
            unseen = []
        loop = _judged(loop, stop, max_steps)
        if looking:
            if not loop.running.any():
                break
            if hasattr(problem, "select") and loop.running.sum() <= loop.running.numel() // 2:
                keep = loop.running.nonzero().flatten()
                problem, loop = problem.select(keep), _without_finished(loop, keep)
        loop = _advanced(loop, solver.step(problem, loop.state))
        unseen.append(loop)
    return Solution(scatter(loop.final, loop.index, loop.state), loop.codes, loop.steps)


def _looks(solver: object, like: Tensor) -> int:
    return 1 if like.device.type == "cpu" else getattr(solver, "look_every", 1)


def _judged(loop: Loop[S], stop: Callable[[S], Tensor], max_steps: int) -> Loop[S]:
    """With the samples out that have converged or stalled, all of them at the last step."""
    codes = torch.where(loop.state.stalled, STALLED, RUNNING)
    codes = torch.where(stop(loop.state), CONVERGED, codes)
    if loop.number == 0:
        codes = torch.where(torch.isfinite(loop.state.objective), codes, INFINITE_START)
    return _ended(loop, loop.running & ((codes != RUNNING) | (loop.number == max_steps)), codes)


def _advanced(loop: Loop[S], new: S) -> Loop[S]:
    """One step further; a sample whose objective is lost stays where it was, as do those that are done."""
    lost = loop.running & ~torch.isfinite(new.objective)
    state = choose(loop.running & ~lost, new, loop.state)
    return _ended(replace(loop, number=loop.number + 1, state=state), lost, torch.full_like(loop.index, DIVERGED))


def _ended(loop: Loop[S], leaving: Tensor, codes: Tensor) -> Loop[S]:
    """The samples ``leaving`` end here, with these codes."""
    return replace(
        loop,
        running=loop.running & ~leaving,
        codes=loop.codes.index_copy(0, loop.index, torch.where(leaving, codes, loop.codes[loop.index])),
        steps=loop.steps.index_copy(0, loop.index, torch.where(leaving, loop.number, loop.steps[loop.index])),
    )


def _without_finished(loop: Loop[S], keep: Tensor) -> Loop[S]:
    return replace(
        loop,
        state=select(loop.state, keep),
        index=loop.index[keep],
        running=loop.running[keep],
        final=scatter(loop.final, loop.index, loop.state),
    )


def _begun(state: S) -> Loop[S]:
    batch, device = state.x.shape[0], state.x.device
    return Loop(
        number=0,
        state=state,
        index=torch.arange(batch, device=device),
        running=torch.ones(batch, dtype=torch.bool, device=device),
        final=state,
        codes=torch.full((batch,), RUNNING, device=device),
        steps=torch.zeros(batch, dtype=torch.long, device=device),
    )
