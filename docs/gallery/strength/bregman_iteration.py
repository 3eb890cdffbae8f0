"""
Bregman iteration gives the contrast back
=========================================

Total variation takes contrast away: the plateaus of a reconstruction are too low. Bregman's iteration begins with a
heavy weight and gives back, step by step, what the regulariser took, until the noise shows. The discrepancy principle
stops it.
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(64, 90), nn.ReLU()).eval()
truth = torch.zeros(1, 1, 64)
truth[..., 10:24], truth[..., 24:38], truth[..., 48:54] = 1.0, 0.4, 0.8
data, noise_level = ni.add_noise(network(truth).detach(), relative=0.1, seed=2)

given = {"input_shape": (1, 64), "noise_level": noise_level, "regulariser": ni.TotalVariation(), "tolerance": 1e-4}
variational = ni.invert(network, data, **given)
bregman = ni.invert(network, data, method=ni.BregmanIteration(), **given)
for name, result in (("variational", variational), ("Bregman", bregman)):
    error = (result.x - truth).norm() / truth.norm()
    print(f"{name:12} residual {result.residual.item():.3f} of {result.noise_level.item():.3f}, error {error:.3f}")
print(f"{int(bregman.steps)} iterations")

# %%
# Both explain the data as well as the noise allows.

figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots()
axes.plot(truth[0, 0], color="0.7", lw=3, label="truth")
axes.plot(variational.x[0, 0], label="variational")
axes.plot(bregman.x[0, 0], label="Bregman iteration")
axes.set(xlabel="entry", ylim=(-0.1, 1.3))
axes.legend(frameon=False, ncols=3, loc="upper right")

assert (bregman.x - truth).norm() < (variational.x - truth).norm()
