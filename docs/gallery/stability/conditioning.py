"""
Where a network loses its input
===============================

Singular values of the Jacobian, layer by layer, at one input. A small one is a direction in which noise is amplified;
one that is zero is a direction of the input that no later layer can see.
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

torch.manual_seed(0)
encoder = nn.Sequential(
    *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()),
    *(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32)),
).eval()
x = torch.rand(1, 1, 8, 8)

layers = ni.layer_conditioning(encoder, x, k=64)
for name, found in layers:
    amplification, unseen = float(found.noise_amplification), float(found.invisible_share)
    print(f"{name:8} rank {int(found.rank):3}, amplification {amplification:6.1f}, unseen {unseen:.0%}")

# %%
# Where the rank falls from one layer to the next, that layer loses what those before it kept. The first convolution loses
# nothing of these 64 pixels; dead units of the second one do, and the code of 32 numbers shows no more than 32
# directions.

figure = Figure(figsize=(7, 3.4), layout="constrained")
axes = figure.subplots()
for name, found in layers:
    values = found.largest[0]
    axes.semilogy(range(1, int(found.rank) + 1), values[: int(found.rank)], ".-", label=name)
axes.set(xlabel="number", ylabel="singular value")
axes.legend(frameon=False)

assert layers[-1][1].rank <= 32
