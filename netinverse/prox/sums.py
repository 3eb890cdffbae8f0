"""The proximal map of a sum, where it follows from those of the two functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from netinverse.protocols import ProximalFunction, Step
from netinverse.prox.elastic_net import ElasticNetPotential
from netinverse.prox.groups import GroupL21
from netinverse.prox.indicators import Box, NonNegative
from netinverse.prox.norms import L1, NonNegativeL1, SquaredNorm, Zero
from netinverse.prox.scalar import Separable
from netinverse.tensors import per_sample

Map = Callable[[Tensor, Step], Tensor]
"""(x, step) -> prox_{step f}(x)."""


def prox_of_sum(f: ProximalFunction, g: ProximalFunction) -> Map:
    """(x, step) -> prox_{step (f + g)}(x) = argmin_v step (f(v) + g(v)) + 1/2||v - x||^2.

    For any f: g zero or SquaredNorm. For an f that acts entry by entry: g = L1, NonNegativeL1, the elastic net, NonNegative or
    Box. For f zero, L1, NonNegative or NonNegativeL1: g = GroupL21. Combettes & Pesquet, SIAM J. Optim. 18, 2007; Yu, NIPS 2013.

    Raises ValueError for other pairs, and where no point has a finite value of both.
    """
    if isinstance(f, Zero) or isinstance(g, Zero):
        return g.prox if isinstance(f, Zero) else f.prox
    rule = _RULES.get(type(g))
    if rule is None or not isinstance(f, _NEEDS.get(type(g), object)):
        raise ValueError(
            f"prox_of_sum: no proximal map is known for {type(f).__name__} + {type(g).__name__}. Known are L1, NonNegativeL1, "
            f"the elastic net, NonNegative and Box added to the potential of an activation that acts entry by entry, SquaredNorm "
            f"added to any, and GroupL21 added to that of ReLU, soft-thresholding or the identity."
        )
    if isinstance(f, Separable) and isinstance(g, Separable):
        _require_common_point(f, g)
    return rule(f, g)


def _require_common_point(f: Separable, g: Separable) -> None:
    lower = torch.maximum(torch.as_tensor(f.lower), torch.as_tensor(g.lower))
    upper = torch.minimum(torch.as_tensor(f.upper), torch.as_tensor(g.upper))
    if bool((lower > upper).any()):
        raise ValueError(
            f"prox_of_sum: {f} is finite nowhere where {g} is, so their sum is infinite everywhere. Widen the "
            f"bounds of the second."
        )


def _squared(f: ProximalFunction, g: SquaredNorm) -> Map:
    return _with_square(f.prox, g.weight)


def _l1(f: ProximalFunction, g: L1) -> Map:
    return _with_modulus(f.prox, g.weight)


def _elastic_net(f: ProximalFunction, g: ElasticNetPotential) -> Map:
    return _with_modulus(_with_square(f.prox, g.l2), g.l1)


def _nonnegative_l1(f: ProximalFunction, g: NonNegativeL1) -> Map:
    """On v >= 0 the second function is linear: x moves by its slope, and the scalar minimiser is projected."""
    return lambda x, step: torch.relu(f.prox(x - g.weight * per_sample(step, x), step))


def _set(f: ProximalFunction, g: Box | NonNegative) -> Map:
    """A scalar convex function over an interval: the minimiser over the line, projected."""
    return lambda x, step: g.project(f.prox(x, step))


def _groups(f: ProximalFunction, g: GroupL21) -> Map:
    """For f(c v) = c f(v), c > 0: its subdifferential at prox_f(x) is in that at every shorter vector of the same direction."""
    return lambda x, step: g.prox(f.prox(x, step), step)


def _with_square(prox: Map, weight: float) -> Map:
    """prox_{step (f + weight/2 ||.||^2)}(x) = prox_{t f}(x/(1 + step weight)), t = step/(1 + step weight)."""

    def combined(x: Tensor, step: Step) -> Tensor:
        shrink = 1 / (1 + weight * torch.as_tensor(step, dtype=x.dtype, device=x.device))
        return prox(x * per_sample(shrink, x), step * shrink)

    return combined


def _with_modulus(prox: Map, weight: float) -> Map:
    """prox_{step (f + weight |.|)}(x) = max(prox_{step f}(x - step weight), 0) + min(prox_{step f}(x + step weight), 0).

    For a convex f of one number: where the first is positive it is the minimiser over v > 0, where the second is negative that
    over v < 0, never both, as proximal maps are monotone; where neither is, the minimiser is 0.
    """

    def combined(x: Tensor, step: Step) -> Tensor:
        shift = weight * per_sample(step, x)
        return torch.relu(prox(x - shift, step)) - torch.relu(-prox(x + shift, step))

    return combined


_RULES: dict[type, Callable[[Any, Any], Map]] = {
    SquaredNorm: _squared,
    L1: _l1,
    ElasticNetPotential: _elastic_net,
    NonNegativeL1: _nonnegative_l1,
    NonNegative: _set,
    Box: _set,
    GroupL21: _groups,
}
_NEEDS: dict[type, type | tuple[type, ...]] = {
    **dict.fromkeys((L1, ElasticNetPotential, NonNegativeL1, NonNegative, Box), Separable),
    GroupL21: (L1, NonNegative, NonNegativeL1),
}
