"""
A first inversion
=================

One random layer of ReLUs sees a picture of 256 pixels. From 200 of its outputs, with 1 % of noise on them,
``ni.invert`` finds the picture again: total variation says that it is made of few pieces, the noise level says how well
the outputs are to be explained, and everything else is found automatically.
"""

import torch
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(256, 200), nn.ReLU()).eval()

truth = torch.zeros(1, 1, 16, 16)
truth[..., 3:10, 2:8] = 1.0
truth[..., 6:13, 9:14] = 0.6

# %%
# The outputs, and noise of exactly one per cent of their norm. ``noise_level`` is the length of the noise, one number for
# each sample of the batch.

data, noise_level = ni.add_noise(network(truth).detach(), relative=0.01, seed=0)
print(f"{int((data > 0).sum())} of 200 outputs are active, for {truth.numel()} pixels; noise level {noise_level.item():.4f}")

# %%
# The inversion. No step size, no weight, no Lipschitz constant.

result = ni.invert(network, data, input_shape=(1, 16, 16), noise_level=noise_level, tolerance=1e-4)
print(result.summary())

# %%
# The problem of a single layer is convex. The certificate is a duality gap: no other picture has an objective that is
# lower by more than that. What remains between the picture and the truth is due to the noise, and to the outputs that
# were not measured.

figure = result.plot(truth)
assert result.converged and result.certificate.kind == "duality gap"
