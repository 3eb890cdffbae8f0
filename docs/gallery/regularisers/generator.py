"""
A generator as a prior
======================

A decoder that was trained on digits knows what digits look like. ``ni.GeneratorPrior`` confines the search to what it
can make, which serves where the data alone say little: here 16 random projections of 64 pixels, with 20 % noise.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import netinverse as ni
from netinverse.plots import reconstruction_grid

torch.manual_seed(0)
digits = torch.tensor(load_digits().images[:, None] / 16, dtype=torch.float32)
seen, unseen = digits[:1500], digits[1500:1503]

encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-2)
for _ in range(15):
    for batch in seen[torch.randperm(len(seen))].split(100):
        code = encoder(batch)
        loss = (decoder(code) - batch).square().mean() + 1e-4 * code.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
decoder.eval()

# %%
# The network to be inverted: one layer of 16 ReLUs with random weights.

network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU()).eval()
data, noise_level = ni.add_noise(network(unseen).detach(), relative=0.2, seed=0)

plain = ni.invert(network, data, input_shape=(1, 8, 8), noise_level=noise_level, constraint=ni.Box(0.0, 1.0), tolerance=1e-2)
made = ni.invert(network, data, noise_level=noise_level, regulariser=ni.GeneratorPrior(decoder), tolerance=1e-2)

# %%
# ``made.latent`` has the latent variables. What the decoder cannot make is an error that no noise level knows of.

print(made.latent.shape, [status.name for status in made.status])
figure = reconstruction_grid({"truth": unseen, "total variation": plain.x, "generator": made.x}, truth=unseen)
