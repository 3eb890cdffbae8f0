"""The one loop. It owns stopping, history, progress and the divergence guard; a solver is ``init`` and ``step``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    their state, and how the others ended. Enough to go on as if nothing had happened.
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
) -> Solution[S]:
    """Step until ``stop(state)`` holds, sample by sample.

    A sample that stops keeps the state it stopped with, whatever the others do; where the problem can ``select`` samples,
    finished ones leave the batch once half of it is done. A sample whose objective becomes NaN or infinite ends with its last
    finite state and status DIVERGED; one whose objective is so at the start ends there, with INFINITE_START.
    ``on_step(step, samples, state)`` sees the samples that are still running, ``on_loop`` all that is needed to go on: given
    as ``state``, it does.
    """
    loop = state if isinstance(state, Loop) else _begun(state)
    state, final, index, running, codes, steps = loop.state, loop.final, loop.index, loop.running, loop.codes, loop.steps
    if len(index) < len(codes):
        problem = problem.select(index)
    for step in range(loop.number, max_steps + 1):
        codes_now = torch.full_like(codes[index], RUNNING)
        codes_now[state.stalled] = STALLED
        codes_now[stop(state)] = CONVERGED
        if step == 0:
            codes_now[~torch.isfinite(state.objective)] = INFINITE_START
        finished = running & (codes_now != RUNNING)
        last = step == max_steps
        if (leaving := running if last else finished).any():
            final = scatter(final, index[leaving], select(state, leaving.nonzero().flatten()))
            codes[index[leaving]] = codes_now[leaving]
            steps[index[leaving]] = step
            running = running & ~leaving
        if last or not running.any():
            break
        if hasattr(problem, "select") and running.sum() <= running.numel() // 2:
            keep = running.nonzero().flatten()
            problem, state, index, running = problem.select(keep), select(state, keep), index[keep], running[keep]
        previous, state = state, solver.step(problem, state)
        lost = running & ~torch.isfinite(state.objective)
        if lost.any():
            state = choose(lost, previous, state)
            final = scatter(final, index[lost], select(previous, lost.nonzero().flatten()))
            codes[index[lost]] = DIVERGED
            steps[index[lost]] = step + 1
            running = running & ~lost
        if on_step is not None:
            on_step(step + 1, index[running], select(state, running.nonzero().flatten()))
        if on_loop is not None:
            on_loop(Loop(step + 1, state, index, running, final, codes, steps))
    return Solution(final, codes, steps)


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
