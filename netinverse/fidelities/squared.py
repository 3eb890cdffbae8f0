"""Half the squared distance of the output."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.networks import LiftedNetwork, NetworkOutput
from netinverse.protocols import Operator, Step
from netinverse.tensors import per_sample, total


@dataclass(frozen=True)
class SquaredTerm:
    """G(z) = 1/2||z - y||^2."""

    data: Tensor

    @property
    def curvature(self) -> Tensor:
        return self.data.new_ones(self.data.shape[0])

    def __call__(self, x: Tensor) -> Tensor:
        return total((x - self.data).square()) / 2

    def gradient(self, z: Tensor) -> Tensor:
        return z - self.data

    def second(self, z: Tensor) -> Tensor:
        """The slopes of the gradient."""
        return torch.ones_like(z)

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        t = per_sample(step, x)
        return (x + t * self.data) / (1 + t)

    def conjugate(self, p: Tensor) -> Tensor:
        return total(p * (self.data + p / 2))

    def select(self, index: Tensor) -> SquaredTerm:
        return replace(self, data=self.data[index])


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
