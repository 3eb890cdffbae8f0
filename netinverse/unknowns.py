"""Another unknown than the input: the network after a synthesis T, and the way back from its solution to x = T(xi)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from netinverse.arguments import check_constraint
from netinverse.networks import LiftedNetwork, lift
from netinverse.priors import SynthesisRegulariser
from netinverse.protocols import ProximalFunction
from netinverse.reconstruction import Reconstruction
from netinverse.regularisers import Regulariser


@dataclass(frozen=True)
class Unknowns:
    """The problem in xi: F after T, S, the set of the xi, and where to begin; in float64."""

    regulariser: SynthesisRegulariser
    shape: tuple[int, ...]
    synthesis: nn.Module
    network: LiftedNetwork
    penalty: Regulariser
    constraint: ProximalFunction | None
    start: Tensor | None

    @classmethod
    def of(
        cls,
        regulariser: SynthesisRegulariser,
        network: LiftedNetwork,
        constraint: ProximalFunction | None,
        start: Tensor | None,
        batch: int,
        seed: int,
    ) -> Unknowns:
        """Raises ValueError for inputs or a constraint that the regulariser does not take, and for a start of another shape."""
        shape = tuple(network.input_shape)
        regulariser.check_shape(shape)
        check_constraint(constraint, torch.zeros((batch, *shape), dtype=torch.float64, device=network.device))
        synthesis = (
            copy.deepcopy(regulariser.synthesis(shape)).to(device=network.device, dtype=torch.float64).requires_grad_(False)
        )
        whole = nn.Sequential(synthesis, network.astype(torch.float64)).eval()
        example = torch.zeros((2, *regulariser.unknowns(shape)), dtype=torch.float64, device=network.device)
        begun = regulariser.start(start, batch, shape, seed)
        return cls(
            regulariser=regulariser,
            shape=shape,
            synthesis=synthesis,
            network=lift(whole, example),
            penalty=regulariser.penalty(shape),
            constraint=regulariser.constraint_on_unknowns(constraint, shape),
            start=None if begun is None else begun.to(example),
        )

    def back(self, found: Reconstruction) -> Reconstruction:
        """The result in x = T(xi); ``latent`` is xi."""
        with torch.no_grad():
            x = self.synthesis(found.x.double()).to(found.x.dtype)
        slope = None if found.subgradient is None else self.regulariser.subgradient(found.subgradient, self.shape)
        return replace(found, x=x, latent=found.x, subgradient=slope)
