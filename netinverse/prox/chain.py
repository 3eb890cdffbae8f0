"""The proximal map of total variation in one dimension: a direct method, for many signals at once."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.operators.differences import Gradient
from netinverse.protocols import ProximalFunction, Step
from netinverse.prox.norms import L1
from netinverse.prox.total_variation import ProxResult
from netinverse.tensors import inner, norm, per_sample


def chain_prox(z: Tensor, step: Step, constraint: ProximalFunction | None = None) -> ProxResult:
    """argmin over x in C of step sum_i |x_{i+1} - x_i| + 1/2||x - z||^2, z (batch, channels, n), exact up to rounding.

    C is a set of bounds that are the same for all entries, or the whole space. The free minimiser u moved into C is the
    minimiser over C: its differences have the signs of those of u or vanish, so that a dual p of u is one of clip(u), and u -
    clip(u) is normal to C there. The gap is that of this pair: of the order of rounding.
    """
    batch, channels = z.shape[:2]
    steps = torch.as_tensor(step, dtype=z.dtype, device=z.device).expand(batch)
    u, signs = level_sets(z.flatten(0, 1), steps.repeat_interleave(channels))
    u = torch.where(per_sample(steps, z) > 0, u.reshape(z.shape), z)
    dual = _dual(z, u, steps, signs.reshape(z.shape))
    x = u if constraint is None else constraint.prox(u)
    image, free = Gradient()(x), z - per_sample(steps, z) * Gradient().adjoint(dual)
    best = free if constraint is None else constraint.prox(free)
    defect = (steps * (L1()(image) - inner(image, dual))).clamp(min=0)
    gap = defect + inner(best - free, x - best).clamp(min=0) + 0.5 * norm(x - best).square()
    return ProxResult(x, dual, gap, torch.zeros_like(steps, dtype=torch.long))


def level_sets(z: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """(the free minimiser, +1 or -1 where it jumps up or down from the entry before, else 0), z (rows, n), step (rows,).

    The entries above t of the minimiser minimise the sum of t - z_i over them plus step times the number of their ends. With t
    the mean of z this set and the rest part the signal, unless one of the two is empty: then the mean is the minimiser. The
    jumps between the parts have known signs, so that each part is a problem of the same kind, with step added to or taken from
    z at its ends. All parts of all signals are parted at once, about log n times.
    Hochbaum, J. ACM 48, 2001; Chambolle, EMMCVPR 2005.
    """
    if not z.numel():
        return z, torch.zeros_like(z)
    heights = step[:, None]
    centre = z.mean(1, keepdim=True)
    signs, moved = torch.zeros_like(z), z - centre
    begins = torch.zeros_like(z, dtype=torch.bool)
    begins[:, 0] = True
    while True:
        mean, longest = _means(moved, begins)
        above = _above(mean - moved, heights, begins, longest)
        jump = above.diff(dim=1).masked_fill_(begins[:, 1:], 0)
        if not jump.any():
            return mean + centre, signs
        signs[:, 1:] += jump
        moved[:, 1:] -= heights * jump
        moved[:, :-1] += heights * jump
        begins[:, 1:] |= jump != 0


def _means(values: Tensor, begins: Tensor) -> tuple[Tensor, int]:
    """The mean over the part of each entry, and the length of the longest part."""
    part = begins.flatten().cumsum(0) - 1
    lengths = torch.bincount(part)
    sums = values.new_zeros(lengths.shape).index_add_(0, part, values.flatten())
    return (sums / lengths)[part].reshape(values.shape), int(lengths.max())


def _above(cost: Tensor, height: Tensor, begins: Tensor, longest: int) -> Tensor:
    """1 in the set that minimises the sum of ``cost`` over it plus ``height`` for each of its ends inside a part, else 0.

    d_i, the least cost of the entries up to i with i in the set less that without it, is cost_i + clip(d_{i-1}, -height, height).
    Such maps, d -> clip(d + shift, lower, upper), can be composed, and so all d_i follow in log n rounds. From the right, i is
    in the set where d_i < -height, not where d_i > height, and otherwise does as i + 1.
    """
    shift, lower, upper = cost, torch.where(begins, cost, cost - height), torch.where(begins, cost, cost + height)
    reach = 1
    while reach < longest:
        ahead, low, high = shift[:, reach:], lower[:, reach:], upper[:, reach:]
        new_lower = (lower[:, :-reach] + ahead).clamp(low, high)
        new_upper = (upper[:, :-reach] + ahead).clamp(low, high)
        shift = torch.cat([shift[:, :reach], shift[:, :-reach] + ahead], 1)
        lower, upper = torch.cat([lower[:, :reach], new_lower], 1), torch.cat([upper[:, :reach], new_upper], 1)
        reach *= 2
    ends = torch.ones_like(begins)
    ends[:, :-1] = begins[:, 1:]
    decided = ends | (lower.abs() > height)
    place = torch.arange(cost.shape[1], device=cost.device).expand_as(cost)
    deciding = torch.where(decided, place, cost.shape[1]).flip(1).cummin(1).values.flip(1)
    return (lower < 0).to(cost.dtype).gather(1, deciding)


def _dual(z: Tensor, u: Tensor, steps: Tensor, signs: Tensor) -> Tensor:
    """p with K^T p = (z - u)/step and |p| <= 1: the signs of the jumps, and between them sums of what was taken from z."""
    size = per_sample(torch.where(steps > 0, steps, torch.inf), z)
    dual = ((u - z).cumsum(-1) / size).clamp(-1, 1)
    dual[..., :-1] = torch.where(signs[..., 1:] != 0, signs[..., 1:], dual[..., :-1])
    dual[..., -1:] = 0
    return dual.unsqueeze(1)
