"""Newton's equations of the interior-point method: a point, its residuals, one factorisation, and directions from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.operators.matrix import Matrix
from netinverse.problems import CompositeProblem
from netinverse.protocols import LinearMap
from netinverse.prox import Box, GroupL21, NonNegative, Scaled
from netinverse.solvers.bends import Bend, bend_of
from netinverse.solvers.cones import Element, Scaling, divide, dot, longest_step, product
from netinverse.solvers.normal_equations import Factor, Weights
from netinverse.solvers.walls import Walls
from netinverse.tensors import per_sample, total


@dataclass(frozen=True)
class Inner:
    """A point inside all cones and walls, and its multipliers.

    x (batch, channels, height, width); t and v of the cones |v| <= t, v -> K x; q with |q| <= alpha; u -> clip(W x + b) with the
    walls of the activation's corners, ``bends``; y -> grad G(W x + b), small beside the data and therefore a variable of its own;
    ``walls`` of the constraint on x. Every part has the batch first.
    """

    x: Tensor
    t: Tensor
    v: Tensor
    q: Tensor
    y: Tensor
    u: Tensor
    bends: Walls
    walls: Walls

    def joined(self, others: list[Inner]) -> Inner:
        """The samples of several."""

        every = (self, *others)

        def walls(parts: list[Walls]) -> Walls:
            return Walls(torch.cat([w.distance for w in parts]), torch.cat([w.force for w in parts]))

        x, t, v, q, y, u = (torch.cat([getattr(each, name) for each in every]) for name in "xtvqyu")
        return Inner(x, t, v, q, y, u, walls([each.bends for each in every]), walls([each.walls for each in every]))


@dataclass(frozen=True)
class Layer:
    """The pieces of the problem that a step needs. alpha (batch,); data and offset are flat, (batch, rows)."""

    matrix: Matrix
    transform: LinearMap
    alpha: Tensor
    data: Tensor
    offset: Tensor
    shape: tuple[int, ...]
    grouped: bool
    bend: Bend
    bend_lower: Tensor
    bend_upper: Tensor
    lower: Tensor
    upper: Tensor
    cones: int
    bend_walls: int
    walls: int

    @classmethod
    def of(cls, problem: CompositeProblem, x: Tensor) -> Layer:
        data_term, penalty = problem.terms
        term, function, matrix = data_term.function, penalty.function, data_term.map
        assert isinstance(matrix, Matrix) and isinstance(function, Scaled)
        bend = bend_of(term)  # type: ignore[arg-type]
        assert bend is not None
        like = x.new_zeros((x.shape[0], *matrix.rows))
        offset = like if data_term.offset is None else data_term.offset.expand_as(like)
        ends = [torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in _ends(problem)]
        corners = [
            torch.as_tensor(end, dtype=x.dtype, device=x.device).expand(matrix.rows).flatten() for end in (bend.lower, bend.upper)
        ]
        grouped = isinstance(function.function, GroupL21)
        weight = torch.as_tensor(function.weight, dtype=x.dtype, device=x.device).expand(x.shape[0])
        entries = x[0].numel() if x.shape[0] else 0
        return cls(
            matrix=matrix,
            transform=penalty.map,
            alpha=weight * function.function.weight,  # type: ignore[attr-defined]
            data=term.data.flatten(1),  # type: ignore[attr-defined]
            offset=offset.flatten(1),
            shape=tuple(x.shape[1:]),
            grouped=grouped,
            bend=bend,
            bend_lower=corners[0],
            bend_upper=corners[1],
            lower=ends[0].expand(x.shape[1:]),
            upper=ends[1].expand(x.shape[1:]),
            cones=entries if grouped else 2 * entries,
            bend_walls=sum(int(end.isfinite().sum()) for end in corners),
            walls=sum(int(end.expand(x.shape[1:]).isfinite().sum()) for end in ends),
        )

    def select(self, index: Tensor) -> Layer:
        return replace(self, alpha=self.alpha[index], data=self.data[index], offset=self.offset[index])

    def pre_activation(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.weight.T + self.offset

    def groups(self, field: Tensor) -> Tensor:
        """A field (batch, 2, *shape) as tails of cones: as it is, or every entry on its own."""
        return field if self.grouped else field.unsqueeze(1)

    def field(self, tail: Tensor) -> Tensor:
        return tail if self.grouped else tail.squeeze(1)

    def difference(self, x: Tensor) -> Tensor:
        return self.groups(self.transform(x))

    def pull(self, tail: Tensor) -> Tensor:
        """K^T."""
        return self.transform.adjoint(self.field(tail))

    def products(self, at: Inner) -> Tensor:
        """The sum of all products of distance and force: the gap of a point that solves all equations, (batch,)."""
        cones = total(at.t * per_sample(self.alpha, at.t) - dot(at.v, at.q))
        return cones + total(at.bends.products()) + total(at.walls.products())

    def gradient(self, z: Tensor, u: Tensor) -> Tensor:
        """base(z) + weight u - data."""
        return self.bend.base(z)[0] + self.bend.weight * u - self.data


def _ends(problem: CompositeProblem) -> tuple[float | Tensor, float | Tensor]:
    if isinstance(problem.constraint, Box):
        return problem.constraint.lower, problem.constraint.upper
    return (0.0 if isinstance(problem.constraint, NonNegative) else -torch.inf), torch.inf


@dataclass(frozen=True)
class Target:
    """By how much each product is to change."""

    cones: Element
    bends: Tensor
    walls: Tensor


@dataclass(frozen=True)
class Direction:
    x: Tensor
    primal: Element
    dual: Element
    y: Tensor
    u: Tensor
    bends: Walls
    walls: Walls


class System:
    """Newton's equations at a point, reduced to x."""

    def __init__(self, layer: Layer, at: Inner) -> None:
        self.layer, self.at = layer, at
        alpha = per_sample(layer.alpha, at.t) * torch.ones_like(at.t)
        self.primal, self.dual = (at.t, at.v), (alpha, -at.q)
        self.scaling = Scaling.of(self.primal, self.dual)
        self.eigen = self.scaling.apply(self.dual)
        self.head, self.side = self.scaling.coupling()
        self.stiffness, self.shrink = self.scaling.stiffness()
        z = layer.pre_activation(at.x)
        base, slope = layer.bend.base(z)
        self.weight = layer.bend.weight
        self.soft = 1 + at.bends.stiffness()
        self.rows = (slope * self.soft + self.weight) / self.soft
        self.clip_gap = z + at.bends.net() - at.u
        self.field_gap = layer.difference(at.x) - at.v
        gap, size = layer.gradient(z, at.u) - at.y, base.abs() + at.u.abs() + layer.data.abs()
        self.gradient_gap = torch.where(gap.abs() > 64 * torch.finfo(gap.dtype).eps * size, gap, 0.0)
        self.residual = layer.matrix.adjoint(at.y) + layer.pull(at.q) - at.walls.net()
        # A share of the gap, relative to what the penalty is worth, that the next step is to make smaller.
        share = layer.products(at) / total(alpha * at.t)
        self.tolerance = float((1e-2 * share).clamp(1e-10, 1e-6))
        self.factor = Factor.of(self._weights(), layer.matrix.weight)

    def _weights(self) -> Weights:
        inverse, tail = self.stiffness, self.scaling.tail
        diagonal = self.at.walls.stiffness()[0]
        if self.layer.grouped:
            down, right = (inverse * (1 - self.shrink * tail[:, k].square()) for k in range(2))
            cross = -inverse * self.shrink * tail[:, 0] * tail[:, 1]
            return Weights(down[0], right[0], cross[0], self.rows[0], diagonal)
        both = (inverse * (1 - self.shrink * tail[:, 0].square()))[0]
        return Weights(both[0], both[1], torch.zeros_like(both[0]), self.rows[0], diagonal)

    def _stiffen(self, v: Tensor) -> Tensor:
        """D v."""
        tail = self.scaling.tail
        return self.stiffness.unsqueeze(1) * (v - (self.shrink * dot(tail, v)).unsqueeze(1) * tail)

    def target(self, mu: Tensor | None, affine: Direction | None) -> Target:
        """Products down to zero, or to mu less what the affine direction changes in second order."""
        square = product(self.eigen, self.eigen)
        cones, bends, walls = (-square[0], -square[1]), -self.at.bends.products(), -self.at.walls.products()
        if mu is None or affine is None:
            return Target(cones, bends, walls)
        second = product(self.scaling.apply(affine.primal, -1.0), self.scaling.apply(affine.dual))
        cones = (cones[0] + per_sample(mu, cones[0]) - second[0], cones[1] - second[1])
        bends = bends + per_sample(mu, bends) * self.at.bends.there - affine.bends.products()
        walls = walls + per_sample(mu, walls) * self.at.walls.there - affine.walls.products()
        return Target(cones, bends, walls)

    def direction(self, target: Target, start: Direction | None = None) -> Direction:
        """As the factor has it; refined to the tolerance from ``start``, one for the same target."""
        layer, at = self.layer, self.at
        head, tail = self.scaling.apply(divide(self.eigen, target.cones), -1.0)
        force = tail - self.side * (head / self.head).unsqueeze(1)  # q changes by D dv - force
        clip = (self.clip_gap + at.bends.push(target.bends)) / self.soft
        right = layer.pull(force - self._stiffen(self.field_gap)) - self.residual + at.walls.push(target.walls)
        right = (right - layer.matrix.adjoint(self.weight * clip + self.gradient_gap))[0]
        if start is None:
            dx = self.factor.approximate(right).unsqueeze(0)
        else:
            dx = self.factor.refined(start.x[0], right, self.tolerance, 4).unsqueeze(0)
        dv = layer.difference(dx) + self.field_gap
        dt = (head - dot(self.side, dv)) / self.head
        dq = self._stiffen(dv) - force
        dz = dx.flatten(1) @ layer.matrix.weight.T
        du, dy = dz / self.soft + clip, self.rows * dz + self.weight * clip + self.gradient_gap
        return Direction(
            dx, (dt, dv), (torch.zeros_like(dt), -dq), dy, du, at.bends.moved(du, target.bends), at.walls.moved(dx, target.walls)
        )

    def longest_step(self, d: Direction) -> Tensor:
        steps = (
            longest_step(self.primal, d.primal),
            longest_step(self.dual, d.dual),
            self.at.bends.longest_step(d.bends),
            self.at.walls.longest_step(d.walls),
        )
        return torch.stack(steps).amin(0)

    def products(self, step: Tensor, d: Direction) -> Tensor:
        """The sum of all products after a step."""
        s, z = _plus(self.primal, step, d.primal), _plus(self.dual, step, d.dual)
        return total(s[0] * z[0] + dot(s[1], z[1])) + self.at.bends.work(step, d.bends) + self.at.walls.work(step, d.walls)

    def products_after(self, step: Tensor, d: Direction) -> tuple[Element, Tensor, Tensor]:
        """The products after a step, one by one: those of the cones in the scaled space, where they are Jordan products."""
        s, z = _plus(self.primal, step, d.primal), _plus(self.dual, step, d.dual)
        cones = product(self.scaling.apply(s, -1.0), self.scaling.apply(z))
        return cones, self.at.bends.plus(step, d.bends).products(), self.at.walls.plus(step, d.walls).products()

    def moved(self, step: Tensor, d: Direction) -> Inner:
        at = self.at
        (t, v), (_, q) = _plus(self.primal, step, d.primal), _plus(self.dual, step, d.dual)
        x, y, u = (old + per_sample(step, old) * new for old, new in ((at.x, d.x), (at.y, d.y), (at.u, d.u)))
        return Inner(x, t, v, -q, y, u, at.bends.plus(step, d.bends), at.walls.plus(step, d.walls))


def _plus(a: Element, step: Tensor, d: Element) -> Element:
    return a[0] + per_sample(step, a[0]) * d[0], a[1] + per_sample(step, a[1]) * d[1]
