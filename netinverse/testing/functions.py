"""Laws of proximal functions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from netinverse.checks import require_finite, require_floating, require_object
from netinverse.modes import in_usual_modes
from netinverse.protocols import ProximalFunction
from netinverse.prox.calculus import prox_conjugate
from netinverse.tensors import inner, norm
from netinverse.testing.laws import METHODS, drawn_like, require_law, rounding

STEPS = (0.1, 1.0, 7.0)


@in_usual_modes
def check_prox(function: ProximalFunction, x: Tensor, *, seed: int = 0) -> None:
    """v = prox_{t f}(x) is the minimiser, for t = 0.1, 1 and 7: t f(w) + 1/2||w - x||^2 >= the same at v + 1/2||w - v||^2.

    For a convex f that inequality holds for every w at v and at no other point. It is tried at w around v at distances from 1e-6
    to 1 times that of x, and at proximal points of other arguments, which lie in the domain. Then firm nonexpansiveness,
    ||v - v'||^2 <= <v - v', x - x'>, and each sample alone as in the batch. x (batch, ...): where the maps are taken.
    """
    who = f"check_prox({function!r})"
    require_object("check_prox", "function", function, ("__call__", "prox"), METHODS)
    x = require_finite("check_prox", "x", require_floating("check_prox", "x", x))
    other = x + drawn_like(x, seed + 1)
    for step in STEPS:
        with torch.no_grad():
            v, v_other = function.prox(x, step), function.prox(other, step)
            least = step * function(v) + 0.5 * norm(v - x).square()
            size = 1 + least.abs() + norm(x).square() + norm(other).square()
            slack = 1000 * rounding(x) * size
            require_law(who, f"f(prox(x)) is finite at step {step:g}", (~torch.isfinite(least)).to(x), 0.5, "v is outside dom f.")
            for w in _around(function, x, v, v_other, seed):
                objective = step * function(w) + 0.5 * norm(w - x).square()
                excess = torch.where(torch.isinf(objective), -torch.inf, least + 0.5 * norm(w - v).square() - objective)
                law = f"v minimises {step:g} f(v) + 1/2||v - x||^2"
                require_law(who, law, excess, slack, "A point nearby is better: prox is wrong, or f is not convex.")
            firm = norm(v - v_other).square() - inner(v - v_other, x - other)
            require_law(who, f"||v - v'||^2 <= <v - v', x - x'> at step {step:g}", firm, slack, "prox is no proximal map.")
            alone = torch.cat([function.prox(x[i : i + 1], step) for i in range(len(x))]) if len(x) else v
            require_law(who, "a sample alone = in its batch", norm(alone - v), slack, "Samples are mixed.")


@in_usual_modes
def check_conjugate(function: ProximalFunction, x: Tensor, *, seed: int = 0) -> None:
    """Fenchel-Young and Moreau: f(v) + f*(p) >= <v, p>, with equality at v = prox_{t f}(x), p = (x - v)/t, for t = 0.1, 1, 7.

    p = prox_{f*/t}(x/t) is the dual point of x. Where f has a method ``conjugate_prox``, that has to be it.
    """
    who = f"check_conjugate({function!r})"
    require_object("check_conjugate", "function", function, ("__call__", "prox", "conjugate"), METHODS)
    x = require_finite("check_conjugate", "x", require_floating("check_conjugate", "x", x))
    other = x + drawn_like(x, seed + 1)
    for step in STEPS:
        with torch.no_grad():
            v, v_other = function.prox(x, step), function.prox(other, step)
            p = (x - v) / step
            value, conjugate = function(v), function.conjugate(p)
            slack = 1000 * rounding(x) * (1 + value.abs() + norm(x) * norm(p) + norm(x).square())
            gap = value + conjugate - inner(v, p)
            hint = "conjugate is not sup_x <p, x> - f(x), or prox is wrong."
            require_law(who, f"f(v) + f*(p) = <v, p> at step {step:g}", gap.abs(), slack, hint)
            crossed = inner(v_other, p) - function(v_other) - conjugate
            require_law(who, f"f(v) + f*(p) >= <v, p> at step {step:g}", crossed, slack, hint)
            found = prox_conjugate(function, x / step, 1 / step)
            require_law(
                who, f"prox_f(x) + t prox_f*(x/t) = x at step {step:g}", norm(found - p) * step, slack, "Moreau's identity."
            )


def _around(function: ProximalFunction, x: Tensor, v: Tensor, v_other: Tensor, seed: int) -> Iterator[Tensor]:
    """Points to compare v with: around it, on the way to points of the domain, and x itself."""
    size = (norm(x) + 1).reshape(-1, *[1] * (x.ndim - 1))
    for k, distance in enumerate((1e-6, 1e-3, 1e-1, 1.0)):
        direction = drawn_like(x, seed + 10 + k)
        yield v + distance * size * direction / norm(direction).reshape(size.shape).clamp(min=1e-30)
        # A point of the domain: convex sets contain what lies between two of their points.
        yield v + distance * (v_other - v)
    yield x
    yield function.prox(-x, 1.0)
