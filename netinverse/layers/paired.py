"""Injective ReLU layers: what one filter cuts off, its negative keeps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netinverse.checks import require_number
from netinverse.layers.filters import L, is_injective_matrix, require_layer
from netinverse.layers.spectral import spectrally_bounded


class PairedReLU(nn.Module):
    """z -> (relu(z), relu(-z)), twice the channels: with z = W x + b, the filters W and -W.

    ||z - z'||/sqrt(2) <= ||F(z) - F(z')|| <= ||z - z'||, and both are attained; at every z without zeros the Jacobian has
    orthonormal columns, so that a layer W has exactly the singular values of W there. Nothing is lost: z = F(z)_1 - F(z)_2.
    Shapes: (batch, channels, ...) -> (batch, 2 channels, ...). One affine map and one ReLU when lifted.
    Shang, Sohn, Almeida & Lee, Understanding and improving CNNs via concatenated ReLU, ICML 2016.
    """

    def forward(self, z: Tensor) -> Tensor:
        return torch.relu(torch.cat([z, -z], 1))


def injective(layer: L, smallest: float = 0.5, largest: float = 2.0) -> nn.Sequential:
    """x -> PairedReLU(W x + b), smallest/sqrt(2) ||x - x'|| <= ||F(x) - F(x')|| <= largest ||x - x'||, in training too.

    ``layer``: nn.Linear with at least as many outputs as inputs, or a convolution each group of which has at least as many
    filters as their entries, with a stride of at most the kernel. It is bounded by ``spectrally_bounded``; the result has twice
    its channels. Of a convolution the lower constant is smallest sqrt(n/(2N)), n and N the least and the largest number of
    windows that an entry of the input lies in: positive if they leave none out at the border.

    Raises ValueError for a layer with fewer outputs, which is not injective whatever its weight.
    """
    require_number("injective", "smallest", smallest, "Above zero, no input is lost; the default is 0.5.")
    if not is_injective_matrix(require_layer("injective", layer)):
        weight: Tensor = layer.weight  # type: ignore[assignment]
        raise ValueError(
            f"injective: the layer has {weight.shape[0]} outputs in {getattr(layer, 'groups', 1)} group(s) for windows of "
            f"{weight[0].numel()} entries, or windows with gaps between them, so different inputs have the same output whatever "
            f"its weight. Use at least as many outputs as inputs, or PairedReLU() after any layer, which then loses no more than "
            f"the layer itself."
        )
    return nn.Sequential(spectrally_bounded(layer, smallest, largest), PairedReLU())
