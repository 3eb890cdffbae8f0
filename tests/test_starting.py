"""Where an inversion begins that was given no start."""

from __future__ import annotations

import pytest
import torch

import netinverse as ni
from netinverse.protocols import ProximalFunction
from netinverse.starting import default_start

LIKE = torch.zeros(3, 2, 50, dtype=torch.float64)


@pytest.mark.parametrize("constraint", [None, ni.NonNegative()], ids=repr)
def test_it_is_zero_without_a_box(constraint: ProximalFunction | None) -> None:
    assert torch.equal(default_start(LIKE, constraint, 0), LIKE)


def test_in_a_box_it_is_the_middle_with_a_tenth_of_the_width_of_texture() -> None:
    start = default_start(LIKE, ni.Box(-1.0, 3.0), 0)
    assert start[0].mean() == pytest.approx(1.0, abs=3 * 0.4 / 10)
    assert start[0].std() == pytest.approx(0.4, rel=0.25)
    assert start.min() >= -1 and start.max() <= 3


def test_every_sample_begins_at_the_same_input_and_the_seed_decides_which() -> None:
    start = default_start(LIKE, ni.Box(0.0, 1.0), 0)
    assert torch.equal(start[0], start[1]) and torch.equal(default_start(LIKE[:1], ni.Box(0.0, 1.0), 0), start[:1])
    assert not torch.equal(default_start(LIKE, ni.Box(0.0, 1.0), 1), start)


def test_bounds_are_met_entry_by_entry() -> None:
    lower, upper = torch.tensor([[0.0], [-1.0]]), torch.tensor([[0.0], [float("inf")]])
    start = default_start(LIKE, ni.Box(lower, upper), 0)
    assert torch.equal(start, LIKE)
    assert len(default_start(LIKE[:0], ni.Box(0.0, 1.0), 0)) == 0
