"""
A convergence rate
==================

The classical theorem: with a source element, and the weight proportional to the noise, the Bregman distance to the
truth falls at least like the noise. For Tikhonov that distance is half the squared error. Three decades of noise,
several draws, two rules; the slope is fitted with a bootstrap interval, and every inversion is compared with its bound.
"""

import torch
from torch import nn

import netinverse as ni

# A layer that smooths: singular values from 1 down to 0.01. The truths W^T v have a source element, v.
generator = torch.Generator().manual_seed(0)
left, right = (torch.linalg.qr(torch.randn(40, 40, generator=generator, dtype=torch.float64)).Q for _ in range(2))
network = nn.Sequential(nn.Linear(40, 40, bias=False), nn.Tanh()).eval().double()
network[0].weight.data = left @ torch.diag(torch.logspace(0, -2, 40, dtype=torch.float64)) @ right.T
truth = torch.randn(3, 40, generator=generator, dtype=torch.float64) @ network[0].weight.detach()

study = ni.convergence_study(
    network,
    truth,
    noise_levels=torch.logspace(-4, -1, 5, dtype=torch.float64),
    regulariser=ni.Tikhonov(),
    rule=[ni.APriori(), ni.DiscrepancyPrinciple(floor=0.0)],
    seeds=3,
)
for rule in study.rules:
    print(f"{rule:22} {study.rate('bregman_distance', rule)}")
print(study.kept)

# %%
# On the left the error with reference slopes, on the right the distance and its bound. ``study.violations`` has the rows
# whose distance is above the bound.

figure = study.plot()
assert study.bounded and not len(study.violations)
assert study.rate("bregman_distance", "APriori").slope > 0.9
