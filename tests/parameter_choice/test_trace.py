"""What is picked from a trace: laws of the inner minimum, and what a trace refuses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import netinverse as ni
from netinverse.parameter_choice.trace import first_step, lowest_minimum
from netinverse.solvers.status import Status
from tests.parameter_choice.linear import F64


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)[:, None]


@given(st.lists(st.floats(0.1, 10.0), min_size=3, max_size=12), st.floats(1.0, 3.0))
def test_the_lowest_inner_minimum_is_found_one_by_one(values: list[float], rise: float) -> None:
    pick = lowest_minimum(column(*values), rise)
    inner = [
        i
        for i in range(1, len(values) - 1)
        if values[i] <= min(values[i - 1], values[i + 1])
        and values[i] < max(values[i - 1], values[i + 1])
        and max(values[i:]) >= rise * values[i]
    ]
    assert (pick.verdict[0] is Status.CONVERGED) == bool(inner)
    if inner:
        assert values[int(pick.index)] == min(values[i] for i in inner) and int(pick.index) in inner
    else:
        top = values.index(max(values))
        assert values[int(pick.index)] == (min(values[top + 1 :]) if top + 1 < len(values) else min(values))


@pytest.mark.parametrize(
    ("values", "index", "verdict"),
    [
        ((1, 5, 2, 4, 1), 2, Status.CONVERGED),
        ((1, 5, 2, 4, 1, 6, 0.5), 4, Status.CONVERGED),
        ((1, 5, 2, 2.1, 1), 4, Status.NO_MINIMUM),  # a dip
        ((5, 4, 3, 2, 1), 4, Status.NO_MINIMUM),  # falls to the light end
        ((1, 2, 3, 4, 5), 0, Status.NO_MINIMUM),  # grows to the light end
        ((5, 2, math.inf, 9, 3, 8), 4, Status.CONVERGED),  # what is not finite is no neighbour
        ((math.nan, 5, 2, 9, math.nan), 2, Status.CONVERGED),
        ((3, 3, 3, 3), 3, Status.NO_MINIMUM),
        ((2, 1), 1, Status.NO_MINIMUM),
    ],
)
def test_minima_by_hand(values: tuple[float, ...], index: int, verdict: Status) -> None:
    pick = lowest_minimum(column(*values), 1.5)
    assert pick.index.tolist() == [index] and pick.verdict == (verdict,)


def test_samples_pick_alone() -> None:
    values = torch.tensor([[1.0, 5, 5, 1], [5, 4, 1, 2], [2, 3, 7, 3], [4, 2, 0, 4], [1, 1, 1, 5]], dtype=F64)
    together = lowest_minimum(values, 1.5)
    for b in range(4):
        alone = lowest_minimum(values[:, b : b + 1], 1.5)
        assert alone.index == together.index[b] and alone.verdict[0] is together.verdict[b]
    with pytest.raises(ValueError, match=r"lowest_minimum: the trace has no steps.*at least three"):
        lowest_minimum(values[:0])


def test_the_first_step_of_those_taken() -> None:
    nan = math.nan
    residual = torch.tensor([[4.0, 4, nan], [3, 3, nan], [2, nan, nan]], dtype=F64)
    trace = ni.Trace(torch.tensor([[3.0], [2.0], [1.0]], dtype=F64).expand(3, 3), residual)
    pick = first_step(trace, residual <= 3)
    assert pick.index.tolist() == [1, 1, 0]
    assert pick.verdict == (Status.CONVERGED, Status.CONVERGED, Status.STEP_LIMIT)
    assert first_step(trace, residual <= 1).index.tolist() == [2, 1, 0]  # the last step taken
    assert trace.taken.tolist() == [[True, True, False], [True, True, False], [True, False, False]]


def test_weights_that_do_not_fall_are_refused() -> None:
    residual = torch.ones(3, 1)
    with pytest.raises(ValueError, match=r"Trace: alpha does not fall.*falling alpha.*of_iterations"):
        ni.Trace(torch.tensor([[1.0], [2.0], [3.0]]), residual)
    # Steps that were not taken say nothing.
    ni.Trace(torch.tensor([[3.0], [2.0], [2.0]]), torch.tensor([[1.0], [1.0], [math.nan]]))


@pytest.mark.parametrize(
    ("rule", "name"), [(ni.QuasiOptimality(), "x"), (ni.LCurve(), "penalty"), (ni.Lepskii(), "x")], ids=lambda v: str(v)
)
def test_what_a_rule_reads_must_be_there(rule: ni.QuasiOptimality, name: str) -> None:
    trace = ni.Trace.of_iterations(torch.arange(1, 4), torch.ones(3, 1))
    with pytest.raises(ValueError, match=rf"{rule}: the trace has no {name}, which this rule reads"):
        rule.pick(trace, torch.ones(1))
