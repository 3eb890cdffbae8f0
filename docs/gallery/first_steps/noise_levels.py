"""
A batch in which every sample has its own noise
===============================================

Noise level, weight, status and certificate are one number for each sample. The same picture at eight noise levels is
one batch; every sample gets the weight that suits its own noise, and would get the same one alone.
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(144, 200), nn.ReLU()).eval()
picture = torch.zeros(1, 1, 12, 12)
picture[..., 2:8, 3:7] = 1.0
picture[..., 5:11, 6:10] = 0.5

relative = torch.logspace(-3, -0.5, 8)
clean = network(picture).detach().expand(8, -1)
data, noise_level = ni.add_noise(clean, relative=relative, seed=0)
result = ni.invert(network, data, input_shape=(1, 12, 12), noise_level=noise_level, tolerance=1e-3)

# %%
# What the sample with the most noise would get alone:

alone = ni.invert(network, data[7:], input_shape=(1, 12, 12), noise_level=noise_level[7:], tolerance=1e-3)
print(f"alpha of the last sample: {result.alpha[7]:.6g} in the batch, {alone.alpha[0]:.6g} alone")

# %%
# Weight, residual and pictures against the noise level. The residual follows the noise that projection onto the range of
# the ReLU leaves.

figure = Figure(figsize=(8, 4.4), layout="constrained")
upper, lower = figure.subfigures(2, 1, height_ratios=(2.2, 1))
left, right = upper.subplots(1, 2)
left.loglog(relative, result.alpha, "o-")
left.set(xlabel="relative noise", ylabel="alpha")
right.loglog(relative, result.residual, "o-", label="residual")
right.loglog(relative, result.noise_level, "--", color="0.4", label="noise level left")
right.set(xlabel="relative noise")
right.legend(frameon=False, fontsize=8)
for axes, x, r in zip(lower.subplots(1, 8), result.x, relative, strict=True):
    axes.imshow(x[0], cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[], xlabel=f"{100 * r:.1f} %")
