"""
One code, four regularisers
===========================

The same noisy outputs, and four statements about what the input looks like: small (Tikhonov), few edges (total
variation), few wavelets, affine pieces (total generalised variation). The discrepancy principle finds the weight of
each, so that all four explain the data equally well; what differs is what they put where the data say nothing.
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(100, 80), nn.ReLU()).eval()

truth = torch.zeros(1, 1, 10, 10)
truth[..., 1:6, 1:5] = 1.0  # a piece that is constant
truth[..., 2:9, 6:9] = torch.linspace(0.2, 0.9, 7)[:, None]  # and one that is affine

data, noise_level = ni.add_noise(network(truth).detach(), relative=0.02, seed=1)

regularisers = {
    "Tikhonov": ni.Tikhonov(),
    "wavelets": ni.WaveletSparsity("haar"),
    "total variation": ni.TotalVariation(),
    "total generalised variation": ni.TotalGeneralisedVariation(),
}
pictures, errors = {"truth": truth}, {}
for name, regulariser in regularisers.items():
    result = ni.invert(network, data, input_shape=(1, 10, 10), noise_level=noise_level, regulariser=regulariser, tolerance=1e-2)
    pictures[name], errors[name] = result.x, float((result.x - truth).norm() / truth.norm())
    print(f"{name:28} residual {result.residual.item():.4f}, alpha {result.alpha.item():.2e}, error {errors[name]:.3f}")

# %%
# Below each picture its error, relative to the norm of the truth.

figure = Figure(figsize=(9, 2.4), layout="constrained")
for axes, (name, x) in zip(figure.subplots(1, 5), pictures.items(), strict=True):
    axes.imshow(x[0, 0], cmap="gray", vmin=0, vmax=1)
    axes.set_title(name, fontsize=9)
    axes.set(xticks=[], yticks=[], xlabel=f"error {errors[name]:.3f}" if name in errors else "")

assert errors["total variation"] < errors["Tikhonov"]
