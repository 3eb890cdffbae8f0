"""Laws of regularisers R(x) = g(K x)."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.checks import require_finite, require_floating, require_object
from netinverse.modes import in_usual_modes
from netinverse.operators.linear import norm_bound
from netinverse.regularisers import Regulariser
from netinverse.tensors import norm
from netinverse.testing.functions import check_prox
from netinverse.testing.laws import METHODS, drawn_like, require_law, rounding
from netinverse.testing.operators import check_adjoint

CLOSE = 1e-9
"""The tolerance the proximal map is asked for."""


@in_usual_modes
def check_regulariser(regulariser: Regulariser, x: Tensor, *, seed: int = 0) -> None:
    """R(x) = g(K x), the adjoint of K, ||K|| <= transform_norm, the laws of g, and the proximal map of R to its own gap.

    The proximal point v has to satisfy t R(w) + 1/2||w - x||^2 >= t R(v) + 1/2||v - x||^2 - gap at the points w around it; gap is
    what ``prox`` returns, at most 1e-9 times the objective. x (batch, *shape), float64.
    """
    methods = ("__call__", "function", "transform", "transform_norm", "check_shape", "prox")
    require_object("check_regulariser", "regulariser", regulariser, methods, METHODS)
    x = require_finite("check_regulariser", "x", require_floating("check_regulariser", "x", x))
    who, shape = f"check_regulariser({regulariser.name})", tuple(x.shape[1:])
    regulariser.check_shape(shape)
    transform = regulariser.transform(shape)
    with torch.no_grad():
        value, image = regulariser(x), transform(x)
        slack = 1000 * rounding(x) * (1 + value.abs())
        require_law(who, "R(x) = g(K x)", (value - regulariser.function(image)).abs(), slack, "See __call__ and transform.")
        found = norm_bound(transform, x[:1])[0]
        over = (found - regulariser.transform_norm(shape) * 1.1).reshape(1)
        require_law(who, "||K|| <= transform_norm", over, 0.0, "A step size from this bound may be too long.")
    check_adjoint(transform, x, seed=seed)
    check_prox(regulariser.function, image, seed=seed)
    for step in (0.1, 1.0):
        with torch.no_grad():
            result = regulariser.prox(x, step, None, CLOSE)
            v = result.x
            least = step * regulariser(v) + 0.5 * norm(v - x).square()
            allowed = 1000 * rounding(x) * (1 + norm(x).square()) + 2 * result.gap
            require_law(who, "gap <= 1e-9 of the objective", result.gap, CLOSE * least + allowed, "prox stops too early.")
            for k, distance in enumerate((1e-4, 1e-2, 1.0)):
                for direction in (drawn_like(x, seed + k), x - v, -v):
                    w = v + distance * direction
                    excess = least - step * regulariser(w) - 0.5 * norm(w - x).square()
                    require_law(who, f"prox minimises at step {step:g}", excess, allowed, "A point nearby is better by more.")
