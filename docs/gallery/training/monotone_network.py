"""
A network whose inverse cannot be unstable
==========================================

Plus layers, u + W' relu(W u + b), never bring two points closer, whatever their weights. Chains of them have a lifted
energy that is jointly convex, so that a network of any depth is inverted with a global certificate, and the error is at
most the residual plus the noise.
"""

import torch
from matplotlib.figure import Figure

import netinverse as ni

network = ni.monotone_residual_network(features=20, depth=6, seed=1)
truth = torch.randn(24, 20, generator=torch.Generator().manual_seed(0))
data, noise_level = ni.add_noise(network(truth).detach(), relative=torch.logspace(-3, -0.3, 24), seed=0)

result = ni.invert(network, data, noise_level=noise_level, tolerance=1e-4)
print(result.certificate.kind, "-", result.certificate.meaning)
print("no noise is amplified by more than", f"{float(ni.conditioning(network, truth).noise_amplification.max()):.3f}")

# %%
# The bound needs nothing but the data: the residual that is left, plus the noise level.

error = (result.x - truth).norm(dim=1)
bound = result.residual + noise_level
assert result.certificate.is_global and (error <= bound).all()

figure = Figure(figsize=(6, 3.4), layout="constrained")
axes = figure.subplots()
axes.loglog(noise_level, bound, "_", color="C3", ms=9, label="residual + noise level")
axes.loglog(noise_level, error, ".", label="error")
axes.set(xlabel="noise level", ylabel="||x - truth||")
axes.legend(frameon=False)
