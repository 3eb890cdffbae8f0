"""
A denoiser as a prior
=====================

A denoiser knows what clean pictures look like without a formula for it. ``ni.DenoiserPrior`` solves the equation of
regularisation by denoising, and measures whether this denoiser is one for which that is known to work: averaged, that
is.
"""

import torch
from torch import nn

import netinverse as ni
from netinverse.plots import reconstruction_grid

torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(144, 70), nn.Tanh()).eval()

rows, columns = torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 12), indexing="ij")
truth = torch.stack([torch.sin(3 * rows + 2 * columns), torch.cos(2 * rows - 3 * columns)])[:, None] / 2 + 0.5
data, noise_level = ni.add_noise(network(truth).detach(), relative=0.03, seed=0)


class Blur(nn.Module):
    """A binomial filter: a simple denoiser for smooth pictures."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        taps = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
        padded = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return nn.functional.conv2d(padded, (taps[:, None] * taps)[None, None])


given = {"input_shape": (1, 12, 12), "noise_level": noise_level, "tolerance": 1e-2}
smooth = ni.invert(network, data, regulariser=ni.DenoiserPrior(Blur().eval()), **given)
edges = ni.invert(network, data, regulariser=ni.TotalVariation(), **given)
print(smooth.message)

# %%
# Total variation makes steps of a slope; the denoiser does not.

figure = reconstruction_grid({"truth": truth, "total variation": edges.x, "denoiser": smooth.x}, truth=truth)
