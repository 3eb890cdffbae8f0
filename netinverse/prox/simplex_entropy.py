"""The entropy on the simplex: softmax, and cross-entropy as its penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.checks import require_whole
from netinverse.protocols import Step
from netinverse.prox.compensated import Pair, accurate_sum, exponential, two_product, two_sum
from netinverse.prox.indicators import Simplex
from netinverse.prox.roots import solve_monotone
from netinverse.prox.scalar import no_ends, rounding_tolerance
from netinverse.prox.special import relative_entropy
from netinverse.tensors import per_sample, total

_NEWTON = 10  # steps on mu beside the ceil(log n) that bring the sum down to about 1: 9 were the most in 14,000 problems
_BRACKETED = 40  # steps on mu in a bracket
_FIRST, _NEXT = 16, 4  # steps on t: from the end of the bracket, and from the last root


@dataclass(frozen=True)
class SimplexEntropy:
    """Psi(x) = sum x ln x - ||x||^2/2 on the simplex along ``axis``. Activation: softmax; Phi(z) = logsumexp z.

    Other axes hold independent simplices. The penalty is the relative entropy sum u ln(u/q) - u + q, q = softmax(z):
    cross-entropy up to a constant in z. A sum within 64 eps n of 1 counts as inside.
    """

    axis: int = -1

    def __post_init__(self) -> None:
        require_whole("SimplexEntropy", "axis", self.axis, -(2**31), "The default is -1, the last.")
        if self.axis == 0:
            raise ValueError(
                "SimplexEntropy: axis is 0, but axis 0 counts the samples, which are independent. Pass an axis >= 1."
            )

    def outside(self, x: Tensor) -> Tensor:
        tolerance = rounding_tolerance(x) * x.shape[self.axis]
        return (x < 0).any(self.axis) | ((x.sum(self.axis) - 1).abs() > tolerance)

    def __call__(self, x: Tensor) -> Tensor:
        positive = x.clamp(min=0)
        value = (torch.xlogy(positive, positive) - 0.5 * positive.square()).sum(self.axis)
        return total(value.masked_fill(self.outside(x), inf))

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        """step (ln x + 1 - x) + x - v = mu: one monotone equation per entry, and one for mu."""
        if isinstance(step, (int, float)) and step == 1:
            return torch.softmax(x, self.axis)
        steps = per_sample(step, x)
        return self._solve(x, steps, 1 - steps)

    def _solve(self, v: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """x = e^t on the simplex with a t + b e^t = v + mu.

        Each x_i is an increasing convex function of mu, x' = x/(a + b x). So Newton on sum x = 1 started at the mu that makes the
        largest entry 1, where the sum is too large, comes down without overshooting: a factor e a step at first, then
        quadratically. The roots t of one step start the next.
        """
        shifted = v - v.amax(self.axis, keepdim=True)
        mu = torch.zeros_like(shifted.amax(self.axis, keepdim=True)) + b
        t = self._roots(torch.minimum(shifted + mu, b), a, b, None, _FIRST)
        for _ in range(_NEWTON + math.ceil(math.log(v.shape[self.axis]))):
            x = torch.exp(t)
            slope = (x / (a + b * x).clamp(min=torch.finfo(v.dtype).eps)).sum(self.axis, keepdim=True)
            mu = mu - (x.sum(self.axis, keepdim=True) - 1) / slope
            t = self._roots(torch.minimum(shifted + mu, b), a, b, t, _NEXT)
        x = torch.exp(t)
        return x / x.sum(self.axis, keepdim=True)

    @staticmethod
    def _roots(y: Tensor, a: Tensor, b: Tensor, start: Tensor | None, iterations: int) -> Tensor:
        """The t <= 0 with a t + b e^t = y, entry by entry."""
        lower, upper = torch.minimum(y / a, (y - b) / a), torch.maximum(y / a, (y - b) / a).clamp(max=0)
        start = upper if start is None else start
        return solve_monotone(lambda t: (a * t + b * torch.exp(t) - y, a + b * torch.exp(t)), lower, upper, start, iterations)

    def conjugate(self, p: Tensor) -> Tensor:
        """Psi^*(p) = <p, x> - Psi(x) at the x with ln x - x = p + mu."""
        x = self._maximiser(p)
        top = p.amax(self.axis, keepdim=True)
        gain = ((p - top) * x - torch.xlogy(x, x) + 0.5 * x.square()).sum(self.axis)
        return total(gain + top.squeeze(self.axis))

    def _maximiser(self, p: Tensor) -> Tensor:
        """x = e^t on the simplex with t - e^t = p + mu. At x = 1 the slope in mu is infinite, so mu is kept in a bracket."""
        one = p.new_ones(())
        shifted = p - p.amax(self.axis, keepdim=True)
        high = -torch.ones_like(shifted.amax(self.axis, keepdim=True))
        low = high + 1 - math.log(p.shape[self.axis]) - 1 / p.shape[self.axis]

        def entries(mu: Tensor) -> Tensor:
            return torch.exp(self._roots(torch.minimum(shifted + mu, -one), one, -one, None, _FIRST))

        def sums(mu: Tensor) -> tuple[Tensor, Tensor]:
            x = entries(mu)
            slope = (x / (1 - x).clamp(min=torch.finfo(p.dtype).eps)).sum(self.axis, keepdim=True)
            return x.sum(self.axis, keepdim=True) - 1, slope

        x = entries(solve_monotone(sums, low, high, low, _BRACKETED))
        return x / x.sum(self.axis, keepdim=True)

    def smooth_conjugate(self, z: Tensor) -> Tensor:
        return total(torch.logsumexp(z, self.axis))

    def flat_ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return no_ends(x)

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the simplex, by sorting."""
        return Simplex().project(x.movedim(self.axis, -1)).movedim(-1, self.axis)

    def penalty(self, u: Tensor, z: Tensor) -> Tensor:
        """Relative entropy of u and softmax(z), (batch,), in float64, rounded once to the dtype of u."""
        wide, logits = u.double().clamp(min=0).movedim(self.axis, -1), z.double().movedim(self.axis, -1)
        top = logits.amax(-1, keepdim=True)
        (growth, low), _ = exponential(*two_sum(logits, -top))
        mass = _pair_sum((growth, low))
        product, error = two_product(wide, mass[0].expand_as(wide))
        excess = accurate_sum(product, -growth, error + wide * mass[1] - low) / growth
        log_q = (logits - top) - torch.log(mass[0])
        value = relative_entropy(wide, growth / mass[0], excess, log_q).sum(-1)
        return total(value.masked_fill(self.outside(u), inf)).to(u.dtype)


def _pair_sum(x: Pair) -> Pair:
    """Sum of pairs along the last axis, kept, by halving."""
    high, low = x
    while high.shape[-1] > 1:
        if high.shape[-1] % 2:
            high, low = (torch.cat([part, torch.zeros_like(part[..., :1])], -1) for part in (high, low))
        s, e = two_sum(high[..., ::2], high[..., 1::2])
        high, low = s, low[..., ::2] + low[..., 1::2] + e
    return high, low
