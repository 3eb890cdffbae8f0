"""The loop: each sample stops for itself, leaves the batch, and cannot be harmed by its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import netinverse as ni
from netinverse.fidelities.squared import SquaredTerm
from netinverse.operators.linear import Identity
from netinverse.problems import CompositeProblem, Term
from netinverse.prox import Scaled
from netinverse.solvers.convex import Convex
from netinverse.solvers.iterate import Solution, _looks, iterates, relative_optimality, solve
from netinverse.solvers.primal_dual import PrimalDual
from netinverse.solvers.semismooth_newton import SemismoothNewton
from netinverse.solvers.status import Status

F64 = torch.float64


@dataclass(frozen=True)
class State:
    x: Tensor
    objective: Tensor
    optimality: Tensor
    stalled: Tensor


@dataclass(frozen=True)
class Quadratics:
    """1/2 c (x - centre)^2, one for each sample; remembers the batch sizes it was stepped with."""

    centre: Tensor
    sizes: list[int]

    def select(self, index: Tensor) -> Quadratics:
        return replace(self, centre=self.centre[index])


@dataclass(frozen=True)
class Whole:
    """The same without ``select``."""

    centre: Tensor
    sizes: list[int]


@dataclass(frozen=True)
class Descent:
    """x+ = x + share (centre - x). Samples with a centre above ``poison`` become NaN at their third value below the start."""

    share: float = 0.5
    poison: float = 1e9
    wall: float = 1e9

    def init(self, problem: Quadratics | Whole, x: Tensor) -> State:
        return self._state(problem, x)

    def step(self, problem: Quadratics | Whole, state: State) -> State:
        problem.sizes.append(len(state.x))
        return self._state(problem, state.x + self.share * (problem.centre - state.x))

    def _state(self, problem: Quadratics | Whole, x: Tensor) -> State:
        value = (x - problem.centre).square().sum(1) / 2
        lost = (problem.centre[:, 0] > self.poison) & (x[:, 0] > 0.8 * problem.centre[:, 0])
        value = torch.where(lost, torch.nan, value)
        return State(torch.where(lost[:, None], torch.nan, x), value, value, x[:, 0] > self.wall)


CENTRES = torch.tensor([[1.0], [64.0], [0.0], [1024.0], [8.0]], dtype=F64)


class HostReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what makes the host wait for the device that holds the tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masked = func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)
        reads = func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal)
        self.count += reads or (masked and any(i is not None and i.dtype is torch.bool for i in args[1]))
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Run(Solution[State]):
    """A solution, the batch sizes of its steps, and what ``on_step`` saw: step, samples, x."""

    sizes: list[int]
    seen: list[tuple[int, list[int], list[float]]]


def run(
    centres: Tensor = CENTRES,
    solver: Descent = Descent(),
    max_steps: int = 60,
    whole: bool = False,
    look_every: int | None = None,
) -> Run:
    problem = Whole(centres, []) if whole else Quadratics(centres, [])
    start = solver.init(problem, torch.zeros_like(centres))
    seen: list[tuple[int, list[int], list[float]]] = []

    def note(step: int, samples: Tensor, state: State) -> None:
        seen.append((step, samples.tolist(), state.x.flatten().tolist()))

    found = solve(
        solver,
        problem,
        start,
        stop=lambda s: s.objective <= 0.5,
        max_steps=max_steps,
        on_step=note,
        look_every=look_every,
    )
    return Run(found.state, found.codes, found.steps, problem.sizes, seen)


# |x - centre| = centre/2^k <= 1 after k = log2(centre) steps, by hand.
EXPECTED = [0, 6, 0, 10, 3]


@pytest.mark.parametrize("whole", [False, True])
def test_each_sample_stops_at_its_own_first_success(whole: bool) -> None:
    found = run(whole=whole)
    assert found.steps.tolist() == EXPECTED and found.status == (Status.CONVERGED,) * 5
    expected = CENTRES * (1 - 0.5 ** torch.tensor(EXPECTED, dtype=F64))[:, None]
    assert torch.equal(found.state.x, expected)


def test_finished_samples_leave_the_batch_once_half_of_it_is_done() -> None:
    sizes = run().sizes
    assert sizes == [5] * 3 + [2] * 3 + [1] * 4
    assert run(whole=True).sizes == [5] * 10


def test_a_sample_alone_takes_the_same_way() -> None:
    together = run()
    for i in range(5):
        alone = run(CENTRES[i : i + 1])
        assert torch.equal(alone.state.x[0], together.state.x[i]) and alone.steps[0] == together.steps[i]


def test_the_step_limit_is_kept_and_said() -> None:
    found = run(max_steps=4)
    assert found.steps.tolist() == [0, 4, 0, 4, 3]
    late = Status.STEP_LIMIT
    assert found.status == (Status.CONVERGED, late, Status.CONVERGED, late, Status.CONVERGED)
    assert found.state.x[3].item() == 1024 * (1 - 2.0**-4)
    none = run(max_steps=0)
    assert none.steps.tolist() == [0] * 5 and none.sizes == []
    assert none.status.count(late) == 3 and none.state.x.abs().max() == 0


@pytest.mark.parametrize("whole", [False, True])
def test_a_nan_ends_its_sample_at_the_last_finite_state_and_no_other(whole: bool) -> None:
    """Sample 3 is lost at its third step, where x would be 7/8 of 1024."""
    found = run(solver=Descent(poison=100.0), whole=whole)
    assert found.status[3] is Status.DIVERGED and found.steps[3] == 3
    assert found.state.x[3].item() == 768.0 and torch.isfinite(found.state.objective).all()
    clean = run(whole=whole)
    others = torch.tensor([0, 1, 2, 4])
    assert torch.equal(found.state.x[others], clean.state.x[others]) and torch.equal(found.steps[others], clean.steps[others])
    assert all(found.status[i] is Status.CONVERGED for i in others)


def test_everything_may_diverge_at_once() -> None:
    found = run(CENTRES[3:4].repeat(3, 1), Descent(poison=100.0))
    assert found.status == (Status.DIVERGED,) * 3 and found.state.x.tolist() == [[768.0]] * 3


def test_a_stalled_sample_is_said_to_be_stalled_unless_it_has_converged() -> None:
    found = run(solver=Descent(wall=30.0))
    assert found.status[1] is Status.STALLED and found.steps[1] == 1 and found.state.x[1].item() == 32.0
    assert found.status[4] is Status.CONVERGED
    assert run(CENTRES[4:5], Descent(share=1.0, wall=7.0)).status == (Status.CONVERGED,)  # both at once


def test_on_step_sees_the_running_samples_and_their_states() -> None:
    seen = run().seen
    assert [k for k, _, _ in seen] == list(range(1, 11))
    for k, samples, values in seen:
        assert samples == [i for i in range(5) if EXPECTED[i] >= k]
        assert values == [CENTRES[i].item() * (1 - 0.5**k) for i in samples]


def test_a_status_is_its_sentence() -> None:
    for status in Status:
        assert str(status) == status.value and len(status.value.split()) > 5


def test_an_accelerator_is_looked_at_as_seldom_as_the_solver_says() -> None:
    """On the CPU at every step; the convex method says what the one inside it says."""
    far, here = torch.zeros(1, device="meta"), torch.zeros(1)
    for solver, every in ((PrimalDual(), 4), (Convex(), 4), (Convex(SemismoothNewton()), 1), (Descent(), 1)):
        assert _looks(solver, far) == every and _looks(solver, here) == 1


def test_an_empty_batch_ends_at_once() -> None:
    found = run(CENTRES[:0])
    assert found.status == () and found.state.x.shape == (0, 1) and found.steps.shape == (0,)


def test_the_start_is_never_written_to() -> None:
    problem, solver = Quadratics(CENTRES, []), Descent()
    start = solver.init(problem, torch.zeros_like(CENTRES))
    found = solve(solver, problem, start, stop=lambda s: s.objective <= 0.5, max_steps=60)
    assert start.x.abs().max() == 0 and found.state.x is not start.x


def test_iterates_are_the_states_of_the_loop() -> None:
    problem = Quadratics(CENTRES, [])
    states = list(islice(iterates(Descent(), problem, torch.zeros_like(CENTRES)), 5))
    for k, state in enumerate(states):
        assert torch.equal(state.x, CENTRES * (1 - 0.5**k))


def test_relative_optimality_compares_with_the_objective() -> None:
    values = torch.tensor([2.0, -2.0, 0.0, 0.0], dtype=F64)
    state = State(values, values, torch.tensor([0.2, 0.2, 0.0, 1e-9], dtype=F64), values > 9)
    assert relative_optimality(0.1)(state).tolist() == [True, True, True, False]
    assert not relative_optimality(0.099)(state)[:2].any()


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_an_objective_that_is_not_finite_is_never_good_enough(value: float) -> None:
    values = torch.full((1,), value, dtype=F64)
    for optimality in (values, torch.zeros_like(values)):
        assert not relative_optimality(0.1)(State(values, values, optimality, values > values))


@pytest.mark.parametrize("whole", [False, True])
def test_a_start_that_is_not_finite_ends_there_and_no_other_sample_does(whole: bool) -> None:
    centres = CENTRES.clone()
    centres[[1, 4]] = torch.tensor([[torch.inf], [torch.nan]], dtype=F64)
    found = run(centres, whole=whole)
    assert [found.status[i] for i in (1, 4)] == [Status.INFINITE_START] * 2 and found.steps[[1, 4]].tolist() == [0, 0]
    assert found.state.x[[1, 4]].tolist() == [[0.0], [0.0]]
    assert all(found.status[i] is Status.CONVERGED and found.steps[i] == EXPECTED[i] for i in (0, 2, 3))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("solver", [Descent(), Descent(poison=100.0), Descent(wall=30.0)])
@pytest.mark.parametrize("max_steps", [0, 4, 60])
def test_how_seldom_the_host_looks_changes_no_answer(whole: bool, solver: Descent, max_steps: int) -> None:
    often = run(solver=solver, max_steps=max_steps, whole=whole)
    for look_every in (3, 10):
        seldom = run(solver=solver, max_steps=max_steps, whole=whole, look_every=look_every)
        assert torch.equal(seldom.state.x, often.state.x) and torch.equal(seldom.state.objective, often.state.objective)
        assert torch.equal(seldom.codes, often.codes) and torch.equal(seldom.steps, often.steps)
        assert [each for each in seldom.seen if each[1]] == often.seen


def test_the_loop_goes_on_from_any_look() -> None:
    problem, solver = Quadratics(CENTRES, []), Descent()
    loops: list[Any] = []
    start = solver.init(problem, torch.zeros_like(CENTRES))

    def stop(state: State) -> Tensor:
        return state.objective <= 0.5

    whole = solve(solver, problem, start, stop=stop, max_steps=60, look_every=3, on_loop=loops.append)
    assert [loop.number for loop in loops] == [3, 6, 9, 12]
    for loop in loops:
        resumed = solve(solver, problem, loop, stop=stop, max_steps=60, look_every=3)
        assert torch.equal(resumed.state.x, whole.state.x) and torch.equal(resumed.steps, whole.steps)


def test_between_two_looks_a_step_of_the_primal_dual_method_reads_nothing_on_the_host() -> None:
    """min 1/2||x - b||^2 + 0.1 TV(x): what a device with a queue of its own would have to wait for is counted on the CPU."""
    generator = torch.Generator().manual_seed(0)
    b = torch.rand(3, 1, 6, 6, generator=generator, dtype=F64)
    regulariser, ones = ni.TotalVariation(), torch.ones(3, dtype=F64)
    terms = (
        Term(SquaredTerm(b), Identity(), ones),
        Term(
            Scaled(regulariser.function, 0.1 * ones),
            regulariser.transform((1, 6, 6)),
            ones * regulariser.transform_norm((1, 6, 6)),
        ),
    )
    solver = PrimalDual()
    problem = CompositeProblem(terms, ni.Box(0, 1))
    reads = {}
    for look_every in (1, 5):
        start = solver.init(problem, b)
        with HostReads() as counter:
            solve(solver, problem, start, stop=lambda s: s.stalled, max_steps=10, look_every=look_every)
        reads[look_every] = counter.count
    assert reads[5] == 3  # at the start and after every fifth step, whether anything still runs
    assert reads[1] == 11
