"""The two ends of an interval as an interior-point method sees them: a distance and a force, whose product goes to zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.tensors import per_sample, total


@dataclass(frozen=True)
class Walls:
    """distance = (u - lower, upper - u) and the forces of both ends on u, (batch, 2, ...); an end at infinity has force 0."""

    distance: Tensor
    force: Tensor

    @classmethod
    def around(cls, point: Tensor, lower: Tensor, upper: Tensor, spread: Tensor, mu: Tensor) -> tuple[Tensor, Walls]:
        """``point`` moved inside, and forces mu/distance.

        The distance g to the nearer end solves g - spread^2/g = distance of the point, negative where it is beyond: with spread
        sqrt(mu), u = point + net force. Shapes: point (batch, ...), bounds that broadcast against it, spread and mu (batch,).
        """
        ends = torch.stack((lower.expand(point.shape[1:]), upper.expand(point.shape[1:])))
        there = ends.isfinite().expand(point.shape[0], *ends.shape)
        near = torch.stack((point - ends[0], ends[1] - point), 1)
        reach = (near.square() + 4 * per_sample(spread, near).square()).sqrt()
        distance = torch.where(near > 0, (near + reach) / 2, 2 * per_sample(spread, near).square() / (reach - near))
        length = ends[1] - ends[0]
        distance = torch.minimum(distance, length / 2)
        low, high = distance[:, 0], distance[:, 1]
        nearer = near[:, 0] < near[:, 1]
        low, high = torch.where(nearer, low, length - high), torch.where(nearer, length - low, high)
        inside = torch.where(nearer, ends[0] + low, ends[1] - high)
        inside = torch.where(there.any(1), inside, point)
        distance = torch.where(there, torch.stack((low, high), 1), 1.0)
        return inside, cls(distance, torch.where(there, per_sample(mu, distance) / distance, 0.0))

    @property
    def there(self) -> Tensor:
        return self.force > 0

    def products(self) -> Tensor:
        return self.distance * self.force

    def net(self) -> Tensor:
        """The force on u."""
        return self.force[:, 0] - self.force[:, 1]

    def stiffness(self) -> Tensor:
        """By how much the force falls as u moves, to first order."""
        return (self.force / self.distance).sum(1)

    def push(self, change: Tensor) -> Tensor:
        """The change of the force where u stays and the products change by ``change``."""
        pushes = change / self.distance
        return pushes[:, 0] - pushes[:, 1]

    def moved(self, du: Tensor, change: Tensor) -> Walls:
        """The first-order changes of distance and force, for products that change by ``change``."""
        distance = torch.where(self.there, torch.stack((du, -du), 1), 0.0)
        return Walls(distance, (change - self.force * distance) / self.distance)

    def plus(self, step: Tensor, d: Walls) -> Walls:
        return Walls(
            self.distance + per_sample(step, self.distance) * d.distance, self.force + per_sample(step, self.force) * d.force
        )

    def longest_step(self, d: Walls) -> Tensor:
        """(batch,)."""
        ratios = [
            torch.where(change < 0, -value / change, torch.inf).flatten(1).amin(1)
            for value, change in ((self.distance, d.distance), (self.force, d.force))
        ]
        return torch.minimum(*ratios)

    def work(self, step: Tensor, d: Walls) -> Tensor:
        """Sum of the products after a step, (batch,)."""
        return total(self.plus(step, d).products())
