"""Data brought into the range of a network, and what that says of their noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import first_samples
from netinverse.fidelities import project_data
from netinverse.networks import LiftedNetwork
from netinverse.noise import noise_left_after_projection
from netinverse.tensors import norm


@dataclass(frozen=True)
class Projection:
    """Data moved to the nearest point of the last activation's range. Per-sample quantities are (batch,).

    moved: how far, 0 where that is rounding. left: the noise left in ``data``, None where no level is given. contradicted: where
    projection moved the data farther than the noise level given allows. Noise moves clean data, which lie in the range, by no
    less than that distance; it stands in for the noise left there.
    """

    data: Tensor
    moved: Tensor
    left: Tensor | None
    contradicted: Tensor

    @classmethod
    def of(cls, network: LiftedNetwork, data: Tensor, noise_level: Tensor | None) -> Projection:
        """The projection of ``data``, in float64; what rounding in their own dtype can move counts as not moved."""
        observed = data.detach().double()
        projected, moved = project_data(network, observed)
        eps = torch.finfo(data.dtype).eps
        rounding = 8 * eps * norm(observed)
        moved = torch.where(moved <= rounding, 0.0, moved)
        if noise_level is None:
            return cls(projected, moved, None, torch.zeros_like(moved, dtype=torch.bool))
        contradicted = moved > noise_level * (1 + 8 * eps) + rounding
        left = torch.where(moved > 0, noise_left_after_projection(observed, projected, noise_level), noise_level)
        left = torch.where((moved > 0) & (noise_level - moved <= 8 * eps * noise_level), 0.0, left)
        return cls(projected, moved, torch.where(contradicted, moved, left), contradicted)

    def describe(self) -> str:
        """What was done to the data, in sentences; nothing where nothing was."""
        outside = self.moved > 0
        if not outside.any():
            return ""
        text = (
            f" data outside the range of the last activation in {first_samples(outside)}: projected onto it, by at most "
            f"{float(self.moved.max()):.3g} (l2 norm)."
        )
        if self.left is not None and bool((outside & ~self.contradicted).any()):
            text += " What that removed of the noise is deducted from the noise level."
        if self.contradicted.any():
            least = float(self.moved[self.contradicted].min())
            text += f" The noise level does not allow that in {first_samples(self.contradicted)}, moved by {least:.3g} or more."
        return text
