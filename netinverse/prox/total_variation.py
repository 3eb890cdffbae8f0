"""The proximal map of g(K x) over a constraint, by an accelerated dual method, with its own duality gap."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.calculus import prox_conjugate
from netinverse.prox.pieces import Pieces, pieces_of
from netinverse.tensors import inner, norm, per_sample, select

CHECK_EVERY = 5
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
    1/(step L^2), L = ``transform_norm`` >= ||K||, q+ = p+ + k/(k + 5) (p+ - p), with k counted from 0 again where the dual value
    has fallen; for a norm g, prox_{t g*} is the projection onto its dual ball. At x = P_C(z - step K^T p) the duality gap is
    step (g(Kx) + g*(p) - <Kx, p>). Below rounding, 8 eps (||z||^2 + step ||z||_1), no gap is asked for. Every operation is sample
    by sample, and finished samples leave the batch. If ``max_iterations`` ends the work first, ``gap`` says how far it got.

    Differences of pictures are worked on strip by strip (``netinverse.prox.pieces``), and a cold start is made in single
    precision; what is returned, its gap included, is computed in the precision of z.
    Beck & Teboulle, IEEE Trans. Image Process. 18, 2009; the inertia: Chambolle & Dossal, J. Optim. Theory Appl. 166, 2015;
    restarts: O'Donoghue & Candes, Found. Comput. Math. 15, 2015.
    """
    steps = torch.as_tensor(step, dtype=z.dtype, device=z.device).expand(z.shape[0])
    ascent = _Ascent(function, constraint, pieces_of(transform, function, constraint), transform_norm)
    begun = torch.zeros_like(steps, dtype=torch.long)
    if warm is not None:
        start = ascent.feasible(warm.to(z, copy=True), z)
    elif ascent.pieces.single and z.dtype == torch.float64:
        single = z.float()
        rough = _run(ascent, single, steps.float(), ascent.pieces.zeros(single), 0.9 * tolerance, max_iterations)
        start, begun = ascent.feasible(rough.dual.to(z), z), rough.iterations
    else:
        start = ascent.pieces.zeros(z)
    found = _run(ascent, z, steps, start, tolerance, max_iterations)
    return replace(found, iterations=begun + found.iterations)


def _run(ascent: _Ascent, z: Tensor, steps: Tensor, p: Tensor, tolerance: float, max_iterations: int) -> ProxResult:
    """Iterate from the dual p, which is changed in place."""
    found: list[tuple[Tensor, ProxResult]] = []
    index = torch.arange(len(z), device=z.device)
    floor = 8 * torch.finfo(z.dtype).eps * (norm(z).square() + steps * torch.linalg.vector_norm(z.flatten(1), 1, dim=1))
    at, dual_value, iteration = _Iterate(p, p.clone(), torch.zeros_like(steps)), torch.full_like(steps, -torch.inf), 0
    while True:
        x, gap, objective = ascent.judge(z, steps, at.p)
        done = ~(gap > torch.maximum(tolerance * objective, floor)) | (iteration >= max_iterations)
        count = torch.full_like(index, iteration)
        if done.all():
            return _joined([*found, (index, ProxResult(x, at.p, gap, count))])
        if done.any():
            leaving, staying = done.nonzero().flatten(), (~done).nonzero().flatten()
            found.append((index[leaving], select(ProxResult(x, at.p, gap, count), leaving)))
            index, z, steps, floor, dual_value = (t[staying] for t in (index, z, steps, floor, dual_value))
            at, gap, objective = select(at, staying), gap[staying], objective[staying]
        at.age.masked_fill_(objective - gap < dual_value, 0.0)
        dual_value = objective - gap
        more = min(CHECK_EVERY + iteration // 10, max_iterations - iteration)
        ascent.advance(z, steps, at, more)
        iteration += more


def _joined(found: list[tuple[Tensor, ProxResult]]) -> ProxResult:
    """The results of all samples, in the order of their places."""
    if len(found) == 1:
        return found[0][1]
    order = torch.cat([places for places, _ in found]).argsort()
    return ProxResult(*(torch.cat([getattr(r, f.name) for _, r in found])[order] for f in fields(ProxResult)))


@dataclass(frozen=True)
class _Iterate:
    """The duals p and q, and the iterations since the last restart; all are changed in place."""

    p: Tensor
    q: Tensor
    age: Tensor


@dataclass(frozen=True)
class _Ascent:
    function: ProximalFunction
    constraint: ProximalFunction | None
    pieces: Pieces
    transform_norm: float

    def feasible(self, p: Tensor, z: Tensor) -> Tensor:
        """p in the domain of g*, changed in place; zero where it is not finite, as single precision may leave it."""
        for some in self.pieces.samples(z):
            for strip in self.pieces.strips(z[some]):
                part = self.pieces.image(p[some], strip)
                part.copy_(prox_conjugate(self.function, part.nan_to_num(nan=0.0), NO_STEP))
        return p

    def judge(self, z: Tensor, steps: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x at the dual p, the duality gap there, and the objective."""
        x, value, defect, distance = torch.empty_like(z), *(torch.zeros_like(steps) for _ in range(3))
        for some in self.pieces.samples(z):
            size = per_sample(steps[some], z[some])
            for strip in self.pieces.strips(z[some]):
                near = self.pieces.input(z[some], strip)
                new = near - self.pieces.back(p[some], strip) * size
                new = new if self.constraint is None else self.constraint.prox(new)
                self.pieces.input(x[some], strip).copy_(new)
                image, dual = self.pieces.forward(x[some], strip), self.pieces.image(p[some], strip)
                here = self.function(image)
                value[some] += here
                defect[some] += here + self.function.conjugate(dual) - inner(image, dual)
                distance[some] += 0.5 * norm(new - near).square()
        return x, (steps * defect).clamp_(min=0), steps * value + distance

    def advance(self, z: Tensor, steps: Tensor, at: _Iterate, iterations: int) -> None:
        """In units in which every step is 1: y = x/step."""
        target, y = z / per_sample(steps, z), torch.empty_like(z)
        for some in self.pieces.samples(z):
            part = _Iterate(at.p[some], at.q[some], at.age[some])
            for _ in range(iterations):
                self._iterate(target[some], steps[some], part, y[some])

    def _iterate(self, target: Tensor, steps: Tensor, at: _Iterate, y: Tensor) -> None:
        pieces, rate = self.pieces, self.transform_norm**-2
        inertia, size = per_sample(at.age / (at.age + 5), at.q), per_sample(steps, y)
        for strip in pieces.strips(y):
            new = pieces.input(y, strip)
            torch.sub(pieces.input(target, strip), pieces.back(at.q, strip), out=new)
            if self.constraint is not None:
                new.copy_(self.constraint.prox(new * size) / size)
            p, q = pieces.image(at.p, strip), pieces.image(at.q, strip)
            ascent = torch.add(q, pieces.forward(y, strip), alpha=rate)
            higher = prox_conjugate(self.function, ascent, rate / steps)
            change = higher - p
            p.copy_(higher)
            torch.add(higher, change.mul_(inertia), out=q)
        at.age.add_(1)
