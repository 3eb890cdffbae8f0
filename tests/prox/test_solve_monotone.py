"""The root-finding that scalar potentials share."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from netinverse.prox.roots import ITERATIONS, solve_monotone


def cubic(v: Tensor, calls: list[int]):
    def function(t: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(len(t))
        return t * t * t + t - v, 3 * t * t + 1

    return function


def solved(v: Tensor) -> tuple[Tensor, int]:
    calls: list[int] = []
    ends = 1 + v.abs()
    return solve_monotone(cubic(v, calls), -ends, ends, v), len(calls)


def test_roots_are_those_of_brent() -> None:
    v = torch.linspace(-1e4, 1e4, 41, dtype=torch.float64)
    expected = [brentq(lambda t, r=float(r): t**3 + t - r, -1e4, 1e4, xtol=1e-15, rtol=1e-14) for r in v]
    np.testing.assert_allclose(solved(v)[0].numpy(), expected, rtol=1e-13, atol=1e-15)


def test_an_entry_is_found_the_same_beside_easy_and_hard_ones() -> None:
    """Only sums and products, which round alike whatever the length: equal to the last bit."""
    easy, hard = torch.tensor([0.0, 1e-3, 2.0]).double(), torch.tensor([1e4, -300.0]).double()
    alone, few = solved(easy)
    beside, more = solved(torch.cat([easy, hard]))
    assert torch.equal(alone, beside[:3])
    assert few < more < ITERATIONS, "each ends once its last root is found"
