"""
Bregman or squared fidelity
===========================

Behind a ReLU the squared fidelity has no slope where a unit is dead: an input at which all units are dead is a minimum
for it, however wrong. The Bregman fidelity of the same unit keeps a slope there, and is convex.
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

# 25 units with thresholds from 0 to 1, which add up to one number; the answer is x = 0.7.
network = nn.Sequential(nn.Linear(1, 25), nn.ReLU()).eval()
with torch.no_grad():
    network[0].weight.fill_(1.0)
    network[0].bias.copy_(-torch.linspace(0.0, 1.0, 25))
truth = torch.tensor([[0.7]])
data = network(truth).detach()

# %%
# Both fidelities as functions of the input: the squared one is flat on the left, where every unit is dead.

x = torch.linspace(-1.0, 1.5, 251)[:, None]
with torch.no_grad():
    squared = 0.5 * (network(x) - data).square().sum(1)
    bregman = ni.bregman_penalty(ni.NonNegative(), data.expand(len(x), -1), network[0](x))

figure = Figure(figsize=(6, 3.4), layout="constrained")
axes = figure.subplots()
axes.plot(x, squared, label="squared")
axes.plot(x, bregman, label="Bregman")
axes.axvline(0.7, color="0.5", ls=":", lw=1)
axes.plot([-0.5], [squared[50]], "ko", ms=5, label="start")
axes.set(xlabel="input", ylabel="fidelity", ylim=(0, 10))
axes.legend(frameon=False)

# %%
# Begun at -0.5, where all units are dead, only one of them leads anywhere, and the other says so.

for fidelity in (ni.SquaredFidelity(), ni.BregmanFidelity()):
    result = ni.invert(network, data, start=torch.full((1, 1), -0.5), rule=ni.Fixed(1e-6), fidelity=fidelity)
    print(f"{type(fidelity).__name__:16} x = {result.x.item():.4f}, {result.status[0].name}")
assert abs(result.x.item() - 0.7) < 1e-3
