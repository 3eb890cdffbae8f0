"""Fidelities: how far the network's output is from the data, as a convex function of the variable that is linearised.

A fidelity names the map that Gauss-Newton linearises (the network, or the network up to its last activation), projects data
onto the closure of the range that the last activation can reach, and is a convex function of that map's value z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from netinverse.checks import first_samples
from netinverse.networks import LiftedNetwork, NetworkOutput, PreActivation
from netinverse.noise.projection import require_snap, snap_to_saturation
from netinverse.protocols import Operator, Potential, Step
from netinverse.tensors import choose, norm, per_sample, total

SHARE_LIMIT = 1e-6
"""How far into the range data at its end may be moved, relative to the way to its middle: less than single precision shows."""


class DataTerm(Protocol):
    """z -> fidelity(z, data): a ProximalFunction with a gradient."""

    def __call__(self, x: Tensor) -> Tensor: ...
    def gradient(self, z: Tensor) -> Tensor: ...
    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor: ...
    def conjugate(self, p: Tensor) -> Tensor: ...
    def select(self, index: Tensor) -> DataTerm: ...


class Fidelity(Protocol):
    """A family of data terms, one for each data set and network."""

    @property
    def keeps_last_activation(self) -> bool:
        """True where the variable is what enters a proximal last activation, whose penalty the data term holds, convex."""
        ...

    def variable(self, network: LiftedNetwork) -> Operator:
        """x -> z, the map whose value the data term takes."""
        ...

    def at(self, network: LiftedNetwork, data: Tensor) -> DataTerm: ...

    def treat(self, network: LiftedNetwork, projected: Tensor, noise_level: Tensor | None) -> Tensor:
        """The data as this fidelity uses them, given their noise level."""
        ...


@dataclass(frozen=True)
class BregmanTerm:
    """G(z) = B(y, z) = 1/2||y||^2 + Psi(y) + Phi(z) - <y, z>, convex in z, gradient sigma(z) - y.

    G*(q) = 1/2||q + y||^2 + Psi(q + y) - 1/2||y||^2 - Psi(y), so prox of t G comes from prox of Psi at step 1/(1 + t)
    (Moreau), and the activation is never differentiated.
    """

    potential: Potential
    data: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.potential.penalty(self.data, x)

    def gradient(self, z: Tensor) -> Tensor:
        return self.potential.prox(z) - self.data

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
class SquaredTerm:
    """G(z) = 1/2||z - y||^2."""

    data: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return total((x - self.data).square()) / 2

    def gradient(self, z: Tensor) -> Tensor:
        return z - self.data

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        t = per_sample(step, x)
        return (x + t * self.data) / (1 + t)

    def conjugate(self, p: Tensor) -> Tensor:
        return total(p * (self.data + p / 2))

    def select(self, index: Tensor) -> SquaredTerm:
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


@dataclass(frozen=True)
class SquaredFidelity:
    """1/2||F(x) - y||^2 on the output of the network."""

    @property
    def keeps_last_activation(self) -> bool:
        return False

    def variable(self, network: LiftedNetwork) -> Operator:
        return NetworkOutput(network)

    def at(self, network: LiftedNetwork, data: Tensor) -> SquaredTerm:
        return SquaredTerm(data)

    def treat(self, network: LiftedNetwork, projected: Tensor, noise_level: Tensor | None) -> Tensor:
        return projected


def default_fidelity(network: LiftedNetwork) -> Fidelity:
    """Bregman where the network ends in a proximal activation, squared (the same thing) where it ends in an affine map."""
    return BregmanFidelity() if network.nodes[-1].kind == "proximal" else SquaredFidelity()


def project_data(network: LiftedNetwork, data: Tensor) -> tuple[Tensor, Tensor]:
    """Data moved to the nearest point of the last activation's range, and how far each sample moved, ``(batch,)``.

    Where Psi is infinite at an end of the range, as for softsign and arctan, the sample is moved on towards sigma(0) by a share
    of 1e-15, and tenfold more until Psi is finite: at the end itself every penalty would be infinite, whatever the input.
    """
    potential = network.output_potential
    projected = potential.project(data)
    middle, share = potential.prox(torch.zeros_like(data)), 1e-15
    while bool((outside := ~torch.isfinite(potential(projected))).any()):
        if share > SHARE_LIMIT:
            raise ValueError(
                f"project_data: the potential {potential} of the last activation is infinite at the data of "
                f"{first_samples(outside)}, and next to them inside its range, so that no input can be compared with them. "
                f"Look at these data, or use fidelity=SquaredFidelity()."
            )
        projected = choose(outside, torch.lerp(projected, middle, share), projected)
        share *= 10
    return projected, norm(projected - data)
