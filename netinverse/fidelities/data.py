"""What becomes of the data: the default fidelity, and their way into the range of the last activation."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.checks import first_samples
from netinverse.fidelities.bregman import BregmanFidelity
from netinverse.fidelities.fidelity import Fidelity
from netinverse.fidelities.squared import SquaredFidelity
from netinverse.networks import LiftedNetwork
from netinverse.tensors import choose, norm

SHARE_LIMIT = 1e-6
"""How far into the range data at its end may be moved, relative to the way to its middle: less than single precision shows."""


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
