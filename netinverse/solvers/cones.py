"""Second-order cones |v| <= t, one for each group of a field, and the algebra an interior-point method needs of them.

An element is (head, tail): head (batch, *rest), tail (batch, group, *rest). The dual cone of |v| <= t is itself; here its
elements are (alpha, -q) with |q| <= alpha.
Alizadeh & Goldfarb, Math. Program. 95, 2003; Nesterov & Todd, SIAM J. Optim. 8, 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.tensors import per_sample

Element = tuple[Tensor, Tensor]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> over the group axis."""
    return (a * b).sum(1)


def root(a: Element) -> Tensor:
    """sqrt(t^2 - |v|^2), without cancellation."""
    size = dot(a[1], a[1]).sqrt()
    return ((a[0] - size) * (a[0] + size)).sqrt()


def product(a: Element, b: Element) -> Element:
    """The Jordan product (<a, b>, a_0 b_1 + b_0 a_1)."""
    return a[0] * b[0] + dot(a[1], b[1]), a[0].unsqueeze(1) * b[1] + b[0].unsqueeze(1) * a[1]


def divide(a: Element, b: Element) -> Element:
    """u with a o u = b."""
    head = (a[0] * b[0] - dot(a[1], b[1])) / root(a).square()
    return head, (b[1] - head.unsqueeze(1) * a[1]) / a[0].unsqueeze(1)


def longest_step(a: Element, d: Element) -> Tensor:
    """The largest s with a + s d in every cone, (batch,); inf where there is none."""
    size = dot(d[1], d[1])
    quadratic = d[0].square() - size
    linear = a[0] * d[0] - dot(a[1], d[1])
    constant = root(a).square()
    discriminant = linear.square() - quadratic * constant
    leaves = (quadratic < 0) | ((linear < 0) & (discriminant >= 0))
    step = constant / (discriminant.clamp(min=0).sqrt() - linear)
    step = torch.where(leaves & (step > 0), step, torch.inf)
    return step.flatten(1).amin(1)


@dataclass(frozen=True)
class Scaling:
    """The Nesterov-Todd point of a primal and a dual element: W z = W^-1 s, W = eta * (boost along (head, tail))."""

    eta: Tensor
    head: Tensor
    tail: Tensor

    @classmethod
    def of(cls, s: Element, z: Element) -> Scaling:
        size_s, size_z = root(s), root(z)
        s = (s[0] / size_s, s[1] / size_s.unsqueeze(1))
        z = (z[0] / size_z, z[1] / size_z.unsqueeze(1))
        cosine = ((1 + s[0] * z[0] + dot(s[1], z[1])) / 2).sqrt()
        return cls((size_s / size_z).sqrt(), (s[0] + z[0]) / (2 * cosine), (s[1] - z[1]) / (2 * cosine).unsqueeze(1))

    def apply(self, u: Element, sign: float = 1.0) -> Element:
        """W u; W^-1 u for ``sign`` -1."""
        along = dot(self.tail, u[1])
        eta = self.eta**sign
        tail = u[1] + (sign * u[0] + along / (1 + self.head)).unsqueeze(1) * self.tail
        return eta * (self.head * u[0] + sign * along), eta.unsqueeze(1) * tail

    def stiffness(self) -> tuple[Tensor, Tensor]:
        """D = (I - shrink tail tail^T)/eta^2, what W^-2 leaves on v once t is eliminated: (1/eta^2, shrink)."""
        return self.eta**-2, 2 / (1 + 2 * dot(self.tail, self.tail))

    def coupling(self) -> tuple[Tensor, Tensor]:
        """The entries tt and vt of W^-2."""
        inverse = self.eta**-2
        return (2 * self.head.square() - 1) * inverse, (-2 * self.head * inverse).unsqueeze(1) * self.tail


def central(u: Tensor, rho: Tensor, alpha: Tensor, mu: Tensor) -> tuple[Element, Tensor]:
    """((t, v), q) on the central path, v = mu q/(alpha^2 - |q|^2) and t = mu alpha/(alpha^2 - |q|^2), with v + q/rho = u.

    rho, alpha, mu: (batch,), positive. |q| is found by bisection.
    """
    size = dot(u, u).sqrt()
    rho, alpha, mu = (per_sample(value, size) for value in (rho, alpha, mu))
    low, high = torch.zeros_like(size), alpha * torch.ones_like(size)
    for _ in range(60):
        middle = (low + high) / 2
        above = middle / rho + mu * middle / ((alpha - middle) * (alpha + middle)) > size
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    q = (low / torch.where(size > 0, size, 1.0)).unsqueeze(1) * u
    v = u - q / rho.unsqueeze(1)
    return ((mu + dot(v, q)) / alpha, v), q
