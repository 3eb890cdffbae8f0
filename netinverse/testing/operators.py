"""Laws of linear maps and of operators."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.checks import require_finite, require_floating, require_object
from netinverse.modes import in_usual_modes
from netinverse.protocols import LinearMap, Operator
from netinverse.tensors import inner, norm
from netinverse.testing.laws import METHODS, drawn_like, require_law, rounding


@in_usual_modes
def check_adjoint(linear_map: LinearMap, x_like: Tensor, *, seed: int = 0) -> None:
    """<K v, q> = <v, K* q> and K(v + 2 w) = K v + 2 K w for random v, w and q, sample by sample.

    x_like: (batch, *shape) gives shape, dtype and device of K's argument; its values are not used. What is allowed is a multiple
    of the rounding error of sums of that length.
    """
    require_object("check_adjoint", "linear_map", linear_map, ("__call__", "adjoint"), METHODS)
    x_like = require_floating("check_adjoint", "x_like", x_like)
    v, w = drawn_like(x_like, seed), drawn_like(x_like, seed + 1)
    with torch.no_grad():
        image, other = linear_map(v), linear_map(w)
        q = drawn_like(image, seed + 2)
        back = linear_map.adjoint(q)
        both = linear_map(v + 2 * w)
    slack = 100 * rounding(x_like)
    size = norm(image) * norm(q) + norm(v) * norm(back)
    who = f"check_adjoint({type(linear_map).__name__})"
    require_law(
        who,
        "K(v + 2 w) = K v + 2 K w",
        norm(both - image - 2 * other),
        slack * (norm(both) + norm(image) + 2 * norm(other)),
        "The map is not linear: is there an offset or an activation in it?",
    )
    require_law(
        who,
        "<K v, q> = <v, K* q>",
        (inner(image, q) - inner(v, back)).abs(),
        slack * size,
        "The method adjoint is not the transpose of the map.",
    )


@in_usual_modes
def check_derivative(operator: Operator, x: Tensor, *, seed: int = 0, tolerance: float = 1e-5) -> None:
    """linearise(x) = (F(x), F'(x)): the value, the adjoint of F'(x), and F'(x) v against central differences at x.

    Differences (F(x + t v) - F(x - t v))/(2 t) are taken for t = 10^-1, ..., 10^-7 times ||x||/||v||; the best has to agree to
    ``tolerance`` in float64, to its square root in float32. x has to be a point where F is differentiable twice.
    """
    require_object("check_derivative", "operator", operator, ("__call__", "linearise"), METHODS)
    x = require_finite("check_derivative", "x", require_floating("check_derivative", "x", x))
    v = drawn_like(x, seed)
    with torch.no_grad():
        value, derivative = operator.linearise(x)
        plain, tangent = operator(x), derivative(v)
        scale = (norm(x) + 1) / norm(v).clamp(min=rounding(x))
        best = torch.full_like(scale, torch.inf)
        for power in range(1, 8):
            t = (scale * 10.0**-power).reshape(-1, *[1] * (x.ndim - 1))
            ahead, behind = operator(x + t * v), operator(x - t * v)
            slope = (ahead - behind) / (2 * t.reshape(-1, *[1] * (ahead.ndim - 1)))
            best = torch.minimum(best, norm(slope - tangent))
    who = f"check_derivative({type(operator).__name__})"
    require_law(
        who,
        "linearise(x)[0] = F(x)",
        norm(value - plain),
        100 * rounding(x) * (1 + norm(plain)),
        "The value and the call disagree.",
    )
    allowed = tolerance if x.dtype == torch.float64 else tolerance**0.5
    require_law(
        who,
        "F'(x) v = lim (F(x + t v) - F(x - t v))/(2 t)",
        best,
        allowed * (norm(tangent) + rounding(x)),
        "The derivative is wrong, or x lies on a kink of F.",
    )
    check_adjoint(derivative, x, seed=seed)
