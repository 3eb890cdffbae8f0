"""
What a certificate says
=======================

One layer is a convex problem, and its certificate is global: a duality gap. Two layers are not convex, and theirs is
local: how much one more step could still lower the objective. Both are in units of the objective, and the inversion
ends where they are small beside it.
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

torch.manual_seed(0)
truth = torch.zeros(4, 1, 10, 10)
for i in range(4):
    truth[i, 0, 2 : 5 + i, 3:8] = 1.0

one = nn.Sequential(nn.Flatten(), nn.Linear(100, 150), nn.ReLU()).eval()
two = nn.Sequential(nn.Flatten(), nn.Linear(100, 150), nn.Tanh(), nn.Linear(150, 150), nn.ReLU()).eval()

figure = Figure(figsize=(8, 3.2), layout="constrained")
for axes, (name, network) in zip(figure.subplots(1, 2, sharey=True), {"one layer": one, "two layers": two}.items(), strict=True):
    data, noise_level = ni.add_noise(network(truth).detach(), relative=0.02, seed=0)
    result = ni.invert(network, data, input_shape=(1, 10, 10), noise_level=noise_level, rule=ni.Fixed(1e-3), tolerance=1e-6)
    print(f"{name}: {result.certificate.kind}; {result.certificate.meaning}")
    for _, steps in result.history.groupby("sample"):
        axes.semilogy(range(1, len(steps) + 1), steps["optimality"] / steps["objective"], ".-", lw=1)
    axes.axhline(1e-6, color="0.6", ls="--", lw=1)
    axes.set(title=f"{name}: {result.certificate.kind}", xlabel="step")
figure.axes[0].set_ylabel("certificate / objective")

# %%
# Each line is a sample, and ends where the certificate is below the tolerance, the dashed line.
# ``result.require_converged()`` returns the result, or raises an error that names the samples whose certificate, or whose
# rule, is not met.

print(result.require_converged().status[0])
