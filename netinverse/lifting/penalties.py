"""What a lifted energy charges for u that is not the activation of z."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from netinverse.networks.node import Node
from netinverse.protocols import Potential, ProximalFunction, Step
from netinverse.prox import Zero, prox_of_sum
from netinverse.tensors import inner, per_sample, total


class Penalty(Protocol):
    """C(u, z): zero exactly where u is the activation of z; a smooth node may have several z.

    Split for a proximal-gradient step in u: C(u, z) = nonsmooth(u) - <u, z> + terms without u, where ``u_gradient`` is the
    gradient of the part that ``prox`` leaves.
    """

    def __call__(self, u: Tensor, *z: Tensor) -> Tensor: ...
    def z_gradient(self, u: Tensor, *z: Tensor) -> tuple[Tensor, ...]: ...
    def u_gradient(self, *z: Tensor) -> Tensor: ...
    def prox(self, v: Tensor, step: Step) -> Tensor: ...


@dataclass(frozen=True)
class BregmanPenalty:
    """B(u, z) = 1/2||u||^2 + Psi(u) + Phi(z) - <u, z>; gradient in z: prox_Psi(z) - u, which is 1-Lipschitz.

    Wang and Benning, Lifted Bregman Training of Neural Networks, JMLR 24(232), 2023.
    """

    potential: Potential

    def __call__(self, u: Tensor, *z: Tensor) -> Tensor:
        return self.potential.penalty(u, z[0])

    def z_gradient(self, u: Tensor, *z: Tensor) -> tuple[Tensor, ...]:
        return (self.potential.prox(z[0]) - u,)

    def u_gradient(self, *z: Tensor) -> Tensor:
        return -z[0]

    def prox(self, v: Tensor, step: Step) -> Tensor:
        return _beside_the_square(self.potential.prox, v, step)


@dataclass(frozen=True, eq=False)
class QuadraticPenalty:
    """C(u, z) = 1/2||u - s(z)||^2 for a differentiable s of one or several z; gradient in z: s'(z)^T (s(z) - u).

    MAC-QP: Carreira-Perpinan and Wang, AISTATS 2014.
    """

    node: Node

    def __call__(self, u: Tensor, *z: Tensor) -> Tensor:
        return total((u - self.node(*z)).square()) / 2

    def z_gradient(self, u: Tensor, *z: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            points = tuple(part.detach().requires_grad_(True) for part in z)
            value = self.node(*points)
            return torch.autograd.grad(inner(value, (value - u).detach()).sum(), points, materialize_grads=True)

    def u_gradient(self, *z: Tensor) -> Tensor:
        return -self.node(*z)

    def prox(self, v: Tensor, step: Step) -> Tensor:
        return v / (1.0 + per_sample(step, v))


@dataclass(frozen=True, eq=False)
class RegularisedPenalty:
    """C(u, z) + R(u): what an activation costs besides departing from z, such as the l1 norm of a sparse code.

    Its least value in u is not taken at the activation: u is drawn away from sigma(z) to a smaller R, and z follows u.

    Raises ValueError where the proximal map of Psi + R is not known, Psi the potential in C.
    """

    penalty: BregmanPenalty | QuadraticPenalty
    regulariser: ProximalFunction
    _map: Callable[[Tensor, Step], Tensor] = field(init=False)

    def __post_init__(self) -> None:
        potential = self.penalty.potential if isinstance(self.penalty, BregmanPenalty) else Zero()
        object.__setattr__(self, "_map", prox_of_sum(potential, self.regulariser))

    def __call__(self, u: Tensor, *z: Tensor) -> Tensor:
        return self.penalty(u, *z) + self.regulariser(u)

    def z_gradient(self, u: Tensor, *z: Tensor) -> tuple[Tensor, ...]:
        return self.penalty.z_gradient(u, *z)

    def u_gradient(self, *z: Tensor) -> Tensor:
        return self.penalty.u_gradient(*z)

    def prox(self, v: Tensor, step: Step) -> Tensor:
        return _beside_the_square(self._map, v, step)


def _beside_the_square(prox: Callable[[Tensor, Step], Tensor], v: Tensor, step: Step) -> Tensor:
    """argmin_u step (1/2||u||^2 + Psi(u)) + 1/2||u - v||^2 = prox of step/(1 + step) Psi at v/(1 + step)."""
    shrink = 1.0 / (1.0 + torch.as_tensor(step, dtype=v.dtype, device=v.device))
    return prox(v * per_sample(shrink, v), step * shrink)


def penalty_of(node: Node) -> Penalty:
    """The Bregman penalty of a proximal node, the quadratic one of a smooth node."""
    return QuadraticPenalty(node) if node.potential is None else BregmanPenalty(node.potential)
