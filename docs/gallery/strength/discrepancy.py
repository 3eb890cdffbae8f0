"""
The weight that the noise level chooses
=======================================

Too little weight, and the reconstruction explains the noise; too much, and it is flat. The discrepancy principle takes
the weight at which the residual is as large as the noise. It needs no truth. Here we have one, and can see how near to
the best weight that is.
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(144, 160), nn.ReLU()).eval()
truth = torch.zeros(1, 1, 12, 12)
truth[..., 2:8, 2:7] = 1.0
truth[..., 6:11, 6:11] = 0.5
data, noise_level = ni.add_noise(network(truth).detach(), relative=0.1, seed=0)

chosen = ni.invert(network, data, input_shape=(1, 12, 12), noise_level=noise_level, tolerance=1e-4)
print(chosen.tried[["alpha", "residual", "objective"]].to_string(float_format=lambda v: f"{v:.4g}"))

# %%
# Thirteen weights by hand, as one batch: the same data thirteen times, each with a weight of its own.

alpha = torch.logspace(-4, 0, 13)
many = ni.invert(
    network,
    data.expand(13, -1),
    input_shape=(1, 12, 12),
    noise_level=noise_level.expand(13),
    rule=ni.Fixed(alpha),
    tolerance=1e-4,
)
error = (many.x - truth).flatten(1).norm(dim=1) / truth.norm()

figure = Figure(figsize=(8, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
left.loglog(alpha, many.residual, ".-", label="residual")
left.axhline(float(chosen.noise_level), color="0.5", ls="--", lw=1, label="noise level left")
left.plot(chosen.alpha, chosen.residual, "o", color="C3", label="chosen")
left.set(xlabel="alpha")
left.legend(frameon=False)
right.loglog(alpha, error, ".-")
right.plot(chosen.alpha, (chosen.x - truth).norm() / truth.norm(), "o", color="C3")
right.set(xlabel="alpha", ylabel="relative error")
