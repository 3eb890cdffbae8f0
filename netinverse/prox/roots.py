"""The roots of increasing scalar functions, entry by entry."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ITERATIONS = 28
_NEWTON_ENDS = 2.0**-40


def solve_monotone(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], lower: Tensor, upper: Tensor, start: Tensor, iterations: int = ITERATIONS
) -> Tensor:
    """The root of an increasing scalar function, entry by entry, by Newton steps kept inside a shrinking bracket.

    ``function`` returns (value, derivative). A Newton step that leaves the bracket is replaced by bisection. An entry stays where
    it is once it is found: at a value of 0, after a Newton step below 2^-40 |t|, whose error is that squared, or in a bracket of
    rounding width. So its root does not depend on how long the others take, and the loop may end once all are found. That is
    looked up on the CPU alone: nothing waits for another device, where all iterations are made.
    """
    t = torch.minimum(torch.maximum(start, lower), upper)
    found = torch.zeros_like(t, dtype=torch.bool)
    narrow = 4 * torch.finfo(t.dtype).eps
    for _ in range(iterations):
        value, slope = function(t)
        lower = torch.where(value < 0, t, lower)
        upper = torch.where(value > 0, t, upper)
        newton = t - value / slope
        inside = (newton >= lower) & (newton <= upper)
        step = torch.where(inside, newton, 0.5 * (lower + upper)) - t
        step = step.masked_fill_(found | (value == 0), 0)
        t = t + step
        found = step.abs() <= torch.where(inside, _NEWTON_ENDS, narrow) * t.abs()
        if t.device.type == "cpu" and bool(found.all()):
            break
    return t
