"""The proximal map of g(K x) over a constraint, by an accelerated dual method, with its own duality gap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.calculus import prox_conjugate
from netinverse.tensors import inner, norm, per_sample

CHECK_EVERY = 10
# The proximal map of g* at a vanishing step projects onto its domain, and leaves a point inside where it is.
NO_STEP = 1e-9


@dataclass(frozen=True)
class ProxResult:
    """x, and what shows how good it is.

    x: (batch, ...). dual: p on K's range with p in the domain of g*, p in dg(K x) at the exact solution; it does not scale with
    the step, so it warm-starts the same map at any other. gap: (batch,), the objective step*g(Kx) + 1/2||x - z||^2 at x is
    at most this above its minimum, and so 1/2||x - exact||^2 <= gap. iterations: (batch,).
    """

    x: Tensor
    dual: Tensor
    gap: Tensor
    iterations: Tensor


def dual_prox(
    function: ProximalFunction,
    transform: LinearMap,
    transform_norm: float,
    z: Tensor,
    step: Step = 1.0,
    constraint: ProximalFunction | None = None,
    tolerance: float = 1e-8,
    warm: Tensor | None = None,
    max_iterations: int = 20_000,
) -> ProxResult:
    """argmin over x in C of step g(K x) + 1/2||x - z||^2, each sample until gap <= tolerance * objective.

    C is the set of ``constraint``. Accelerated proximal gradient on the dual, p+ = prox_{t g*}(q + t K P_C(z - step K^T q)), t =
    1/(step L^2), L = ``transform_norm`` >= ||K||, with the momentum restarted where it points uphill; for a norm g, prox_{t g*}
    is the projection onto its dual ball. At x = P_C(z - step K^T p) the duality gap is step (g(Kx) + g*(p) - <Kx, p>). Below
    rounding, 8 eps ||z||^2, no gap is asked for. Every operation is sample by sample, and finished samples leave the batch. If
    ``max_iterations`` ends the work first, ``gap`` says how far it got.

    Beck & Teboulle, IEEE Trans. Image Process. 18, 2009; restarts: O'Donoghue & Candes, Found. Comput. Math. 15, 2015.
    """
    batch = z.shape[0]
    steps = torch.as_tensor(step, dtype=z.dtype, device=z.device).expand(batch)
    start = torch.zeros_like(transform(z)) if warm is None else prox_conjugate(function, warm.to(z), NO_STEP)
    out_x, out_p = z.clone(), start.clone()
    out_gap, out_iterations = z.new_zeros(batch), torch.zeros(batch, dtype=torch.long, device=z.device)
    index = torch.arange(batch, device=z.device)
    p, q = start, start
    momentum = torch.ones_like(steps)
    floor = 8 * torch.finfo(z.dtype).eps * norm(z).square()
    for iteration in range(max_iterations + 1):
        if iteration % CHECK_EVERY == 0 or iteration == max_iterations:
            x = _primal(transform, constraint, z, steps, p)
            image = transform(x)
            gap = (steps * (function(image) + function.conjugate(p) - inner(image, p))).clamp(min=0)
            objective = steps * function(image) + 0.5 * norm(x - z).square()
            done = ~(gap > torch.maximum(tolerance * objective, floor))
            if iteration == max_iterations:
                done = torch.ones_like(done)
            if done.any():
                leaving, staying = done.nonzero().flatten(), (~done).nonzero().flatten()
                places = index[leaving]
                out_x[places], out_p[places], out_gap[places] = x[leaving], p[leaving], gap[leaving]
                out_iterations[places] = iteration
                index, z, steps, p, q = index[staying], z[staying], steps[staying], p[staying], q[staying]
                momentum, floor = momentum[staying], floor[staying]
                if not len(index):
                    break
            weights = 1 / (steps * transform_norm**2)
        ascent = transform(_primal(transform, constraint, z, steps, q))
        new = prox_conjugate(function, torch.addcmul(q, ascent, per_sample(weights, q)), weights)
        change = new - p
        uphill = inner(q - new, change) > 0
        momentum = torch.where(uphill, torch.ones_like(momentum), momentum)
        following = 0.5 * (1 + torch.sqrt(1 + 4 * momentum.square()))
        q = torch.addcmul(new, change, per_sample((momentum - 1) / following, change))
        p, momentum = new, following
    return ProxResult(out_x, out_p, out_gap, out_iterations)


def _primal(transform: LinearMap, constraint: ProximalFunction | None, z: Tensor, steps: Tensor, p: Tensor) -> Tensor:
    """P_C(z - step K^T p)."""
    x = torch.addcmul(z, transform.adjoint(p), per_sample(steps, z), value=-1)
    return x if constraint is None else constraint.prox(x)
