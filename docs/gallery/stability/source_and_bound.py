"""
A source element, and a bound of the error
==========================================

How far can a reconstruction be from the truth? Where a subgradient of the regulariser at the truth lies in the range of
the adjoint derivative, a source element says it in numbers: the Bregman distance is at most a bound that is known for
each noise and weight.
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(24, 60), nn.Tanh()).eval().double()
truth = torch.zeros(1, 1, 24, dtype=torch.float64)
truth[..., 6:14], truth[..., 14:19] = 1.0, 0.4
regulariser = ni.HuberTotalVariation(width=0.5)

source = ni.source_element(network, truth, regulariser)
print(source.verdict[0])

# %%
# Twelve inversions in one batch: three draws of noise at four levels, each with the weight that is best in theory, alpha
# = delta/||v||.

levels = torch.logspace(-4, -1, 4, dtype=torch.float64).repeat_interleave(3)
clean = network(truth).detach().expand(12, -1, -1)
data, noise_level = ni.add_noise(clean, relative=levels, seed=1)
alpha = noise_level / source.norm
result = ni.invert(network, data, input_shape=(1, 24), noise_level=noise_level, regulariser=regulariser, rule=ni.Fixed(alpha))
many = truth.expand(12, -1, -1)
bounds = ni.error_bound(network, many, data, alpha, regulariser, ni.source_element(network, many, regulariser))
distance = ni.symmetric_bregman_distance(regulariser, result.x, many, result.subgradient, source.subgradient.expand(12, -1, -1))
print(bounds.bounds)
assert (distance <= bounds.value + result.certificate.value / alpha).all()

# %%
# The bound is kept everywhere, and falls like the noise. The distance falls faster here, where the layer is well
# conditioned.

figure = Figure(figsize=(6.5, 3.4), layout="constrained")
axes = figure.subplots()
axes.loglog(noise_level, bounds.value, "_", color="C3", ms=12, label="bound")
axes.loglog(noise_level, distance, ".", label="symmetric Bregman distance")
axes.loglog(noise_level, noise_level * float(bounds.value[0] / noise_level[0]), color="0.7", lw=1, label="slope 1")
axes.set(xlabel="noise level")
axes.legend(frameon=False)
