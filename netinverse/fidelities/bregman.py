"""The Bregman penalty of the last activation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.networks import LiftedNetwork, PreActivation
from netinverse.noise.projection import require_snap, snap_to_saturation
from netinverse.protocols import Operator, Potential, Step
from netinverse.prox.scalar import Separable
from netinverse.tensors import per_sample, total


@dataclass(frozen=True)
class BregmanTerm:
    """G(z) = B(y, z) = 1/2||y||^2 + Psi(y) + Phi(z) - <y, z>, convex in z, gradient sigma(z) - y.

    G*(q) = 1/2||q + y||^2 + Psi(q + y) - 1/2||y||^2 - Psi(y), so prox of t G comes from prox of Psi at step 1/(1 + t)
    (Moreau), and the activation is never differentiated.
    """

    potential: Potential
    data: Tensor

    @property
    def curvature(self) -> Tensor:
        return self.data.new_ones(self.data.shape[0])

    def __call__(self, x: Tensor) -> Tensor:
        return self.potential.penalty(self.data, x)

    def gradient(self, z: Tensor) -> Tensor:
        return self.potential.prox(z) - self.data

    def second(self, z: Tensor) -> Tensor | None:
        """The slopes of the activation; None where it does not act entry by entry."""
        return self.potential.slope(z) if isinstance(self.potential, Separable) else None

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        t = per_sample(step, x)
        return x - t * self.conjugate_prox(x / t, 1 / torch.as_tensor(step, dtype=x.dtype, device=x.device))

    def conjugate_prox(self, p: Tensor, step: Step = 1.0) -> Tensor:
        step = torch.as_tensor(step, dtype=p.dtype, device=p.device)
        c = 1 / (1 + step)
        return self.potential.prox((p + self.data) * per_sample(c, p), step * c) - self.data

    def conjugate(self, p: Tensor) -> Tensor:
        # 1/2||q + y||^2 - 1/2||y||^2 = <q, y> + 1/2||q||^2, which does not cancel where q is small.
        u = p + self.data
        return total(p * (self.data + p / 2)) + self.potential(u) - self.potential(self.data)

    def select(self, index: Tensor) -> BregmanTerm:
        return replace(self, data=self.data[index])


@dataclass(frozen=True)
class BregmanFidelity:
    """B(y, z) on the last pre-activation z: convex in z, zero exactly where the activation of z is the data.

    snap: entries of the data within at most ``snap`` standard deviations of an end at which the activation is constant are set
    to that end where that costs less on average (``snap_to_saturation``); 0 leaves all as they are. A Gaussian
    error on an inactive ReLU costs u|z|, linear in the noise; with such entries at zero the penalty is quadratic in the noise
    again. Zero noise changes nothing.

    The residual of a solution is taken to the projected data before this, since it is their noise that is known.
    """

    snap: float = 3.0

    def __post_init__(self) -> None:
        require_snap("BregmanFidelity", self.snap)

    @property
    def keeps_last_activation(self) -> bool:
        return True

    def variable(self, network: LiftedNetwork) -> Operator:
        return PreActivation(network)

    def at(self, network: LiftedNetwork, data: Tensor) -> BregmanTerm:
        return BregmanTerm(network.output_potential, data)

    def treat(self, network: LiftedNetwork, projected: Tensor, noise_level: Tensor | None) -> Tensor:
        if noise_level is None:
            return projected
        return snap_to_saturation(network.output_potential, projected, noise_level, self.snap)
