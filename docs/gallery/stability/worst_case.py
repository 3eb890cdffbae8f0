"""
Random noise and the worst case
===============================

Noise of the same length can do very different harm. The worst direction is that of the smallest singular value of the
Jacobian that is not zero; ``ni.add_noise`` draws it, ``ni.conditioning`` says beforehand how far it can move an
unregularised answer.
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(20, 20), nn.Tanh()).eval().double()
truth = torch.randn(1, 20, dtype=torch.float64) / 2
clean = network(truth).detach().expand(7, -1)
bound = float(ni.conditioning(network, truth).noise_amplification)

relative = torch.logspace(-4, -1, 7, dtype=torch.float64)
moved = {}
for kind, where in {"gaussian": {}, "worst-case": {"network": network, "truth": truth.expand(7, -1)}}.items():
    data, noise_level = ni.add_noise(clean, relative=relative, kind=kind, **where)
    for name, rule in {
        "hardly regularised": ni.Fixed(1e-10),
        "discrepancy principle": ni.DiscrepancyPrinciple(floor=0.0),
    }.items():
        result = ni.invert(network, data, input_shape=20, noise_level=noise_level, rule=rule)
        moved[f"{kind}, {name}"] = (result.x - truth).norm(dim=1) / truth.norm()

print(f"amplification at the truth: {bound:.1f}")

# %%
# The grey line is that amplification times the noise: no noise moves the unregularised answer farther, to first order,
# and the worst case reaches it.

figure = Figure(figsize=(7, 3.6), layout="constrained")
axes = figure.subplots()
axes.loglog(relative, bound * relative * clean[0].norm() / truth.norm(), color="0.85", lw=6, label="amplification x noise")
for (name, error), style in zip(moved.items(), ("o-C0", "o--C0", "s-C3", "s--C3"), strict=True):
    axes.loglog(relative, error, style[:-2], color=style[-2:], label=name, ms=4)
axes.set(xlabel="relative noise", ylabel="relative error")
axes.legend(frameon=False, fontsize=8)
