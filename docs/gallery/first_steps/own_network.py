"""
A network of your own
=====================

A convolutional encoder is trained on handwritten digits, together with a decoder. Then digits that it has never seen
are reconstructed from their noisy codes: by the decoder, which was trained for nothing else, and by inverting the
encoder, which was not.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import netinverse as ni
from netinverse.plots import reconstruction_grid

torch.manual_seed(0)
digits = torch.tensor(load_digits().images[:, None] / 16, dtype=torch.float32)
seen, unseen = digits[:1500], digits[1500:1503]

encoder = nn.Sequential(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(256, 48))
decoder = nn.Sequential(nn.Linear(48, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))

# %%
# Ordinary training in torch; netinverse has no part in it.

optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 3e-3)
for _ in range(8):
    for batch in seen[torch.randperm(len(seen))].split(100):
        optimiser.zero_grad()
        (decoder(encoder(batch)) - batch).square().mean().backward()
        optimiser.step()
encoder.eval()
decoder.eval()

# %%
# The encoder as it is, the noisy codes, and that pixels lie between 0 and 1.

codes, noise_level = ni.add_noise(encoder(unseen).detach(), relative=0.01, seed=0)
result = ni.invert(encoder, codes, input_shape=(1, 8, 8), noise_level=noise_level, constraint=ni.Box(0.0, 1.0), tolerance=1e-2)
print(result.summary())

# %%
# A deep network makes the problem non-convex, and the certificate local: "stationarity".

with torch.no_grad():
    decoded = decoder(codes)
figure = reconstruction_grid({"truth": unseen, "decoder": decoded, "inversion": result.x}, truth=unseen)
