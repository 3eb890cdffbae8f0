"""One step of the interior-point method: one factorisation, a predictor, Mehrotra's corrector, and correctors of centrality."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.solvers.cones import Element, dot
from netinverse.solvers.newton_system import Direction, Inner, Layer, System, Target

CORRECTORS = 2
"""Directions beyond Mehrotra's, each a tenth of a factorisation."""
FARTHER = 0.3
"""By how much a corrector is to lengthen the step; it is kept if it does a tenth of that."""
SPREAD = 10.0
"""How many times larger or smaller than their aim the products may be."""


def newton_step(layer: Layer, at: Inner, share: float = 0.99) -> tuple[Inner, Tensor]:
    """The next point, one sample, ``share`` of the way to the nearest cone or wall; and whether the system was sound.

    A corrector looks at the products ``FARTHER`` than the step may go, and asks those to return that are outliers there.
    Gondzio, Comput. Optim. Appl. 6, 1996.
    """
    system = System(layer, at)
    if not system.factor.sound:
        return at, torch.zeros((), dtype=torch.bool, device=at.x.device)
    count = layer.cones + layer.bend_walls + layer.walls
    mu = layer.products(at) / count
    affine = system.direction(system.target(None, None))
    reach = system.longest_step(affine).clamp(max=1)
    sigma = (system.products(reach, affine) / count / mu).clamp(0, 1) ** 3
    final = _centred(system, system.target(sigma * mu, affine), sigma * mu)
    step = (share * system.longest_step(final)).clamp(max=1)
    new = system.moved(step, final)
    finite = torch.stack([torch.isfinite(part).all() for part in (new.x, new.t, new.q, new.y)]).all()
    return new, finite & (step > 1e-10).all()


def _centred(system: System, target: Target, mu: Tensor) -> Direction:
    """The direction of the target, with corrections of the products that lengthen the step."""
    direction = system.direction(target)
    length = system.longest_step(direction)
    for _ in range(CORRECTORS):
        corrected = _corrected(system, target, direction, (length + FARTHER).clamp(max=1), mu)
        candidate = system.direction(corrected)
        reached = system.longest_step(candidate)
        if not bool(reached >= length + FARTHER / 10):
            break
        target, direction, length = corrected, candidate, reached
    return system.direction(target, start=direction)


def _corrected(system: System, target: Target, d: Direction, step: Tensor, mu: Tensor) -> Target:
    """The target, changed by what brings the products after ``step`` along d to within ``SPREAD`` of mu, (1,)."""
    cones, bends, walls = system.products_after(step, d)
    size = dot(cones[1], cones[1]).sqrt()
    high, low = _return(cones[0] + size, mu), _return(cones[0] - size, mu)
    along = cones[1] / torch.where(size > 0, size, 1.0).unsqueeze(1)
    change: Element = (high + low) / 2, ((high - low) / 2).unsqueeze(1) * along
    return Target(
        (target.cones[0] + change[0], target.cones[1] + change[1]),
        target.bends + _return(bends, mu) * system.at.bends.there,
        target.walls + _return(walls, mu) * system.at.walls.there,
    )


def _return(products: Tensor, mu: Tensor) -> Tensor:
    """What leads them back into [mu/SPREAD, SPREAD mu], those far above not at once."""
    inside = products.clamp(mu / SPREAD, SPREAD * mu)
    return (inside - products).clamp(min=-SPREAD * mu)
