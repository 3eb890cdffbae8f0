"""The contracts: how far the network's output is from the data, as a convex function of the variable that is linearised.

A fidelity names the map that Gauss-Newton linearises (the network, or the network up to its last activation), and is a convex
function of that map's value z.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from netinverse.networks import LiftedNetwork
from netinverse.protocols import Operator, Step


class DataTerm(Protocol):
    """z -> fidelity(z, data): a ProximalFunction with a gradient, whose Lipschitz constant is at most ``curvature``, (batch,)."""

    @property
    def curvature(self) -> Tensor: ...
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
