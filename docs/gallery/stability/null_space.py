"""
What no method can see
======================

A network with fewer outputs than inputs has a null space. The component of a picture in it leaves no trace in the data,
so that only the regulariser can say anything about it. ``ni.conditioning`` splits a picture into the two parts.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import netinverse as ni
from netinverse.plots import reconstruction_grid

torch.manual_seed(0)
digits = torch.tensor(load_digits().images[:3, None] / 16)
network = nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.Softplus()).eval().double()

found = ni.conditioning(network, digits)
visible = digits - found.invisible
print("unseen share of the norm:", [f"{share:.0%}" for share in found.invisible_share.tolist()])

# %%
# To first order the data do not change when the invisible part is taken away.

step = 1e-3 * found.invisible
changed = (network(digits + step) - network(digits)).norm(dim=1) / step.flatten(1).norm(dim=1)
print("change of the data over change of the input:", changed.tolist())
assert changed.max() < 1e-6

# %%
# Tikhonov's reconstruction puts nothing there, total variation what has few edges.

data, noise_level = ni.add_noise(network(digits).detach(), relative=0.01, seed=0)
given = {"input_shape": (1, 8, 8), "noise_level": noise_level, "tolerance": 1e-3}
small = ni.invert(network, data, regulariser=ni.Tikhonov(), **given)
pieces = ni.invert(network, data, regulariser=ni.TotalVariation(), constraint=ni.Box(0.0, 1.0), **given)
figure = reconstruction_grid(
    {"truth": digits, "visible part": visible, "Tikhonov": small.x, "total variation, box": pieces.x}, truth=digits
)
