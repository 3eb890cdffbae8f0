"""
All rules side by side
======================

Seven rules choose the weight for the same eight noisy outputs. Those that know the noise level have a theory for every
problem; those that read the weight off the data alone can be misled, and sometimes say so themselves.
"""

import warnings

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(20, 30), nn.Softplus()).eval()
truth = torch.cumsum(torch.randn(8, 20), 1) / 6
data, noise_level = ni.add_noise(network(truth).detach(), relative=0.03, seed=0)

rules = {
    "discrepancy principle": ni.DiscrepancyPrinciple(),
    "a priori, alpha = delta": ni.APriori(),
    "Lepskii": ni.Lepskii(),
    "quasi-optimality": ni.QuasiOptimality(),
    "L-curve": ni.LCurve(),
    "Hanke-Raus": ni.HankeRaus(),
}
errors, weights = {}, {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ni.RuleWarning)  # that heuristic rules have no theory for all noise
    for name, rule in rules.items():
        result = ni.invert(network, data, input_shape=20, noise_level=noise_level, rule=rule, tolerance=1e-3)
        errors[name] = (result.x - truth).norm(dim=1) / truth.norm(dim=1)
        weights[name] = result.alpha
        print(
            f"{name:24} median error {errors[name].median():.3f}; {sum(s is ni.Status.CONVERGED for s in result.status)} of 8 met"
        )

# %%
# The best weight of a fine grid, sample by sample, is what no rule can beat.

grid = torch.logspace(-4, 1, 21)
many = ni.invert(
    network,
    data.repeat(21, 1),
    input_shape=20,
    rule=ni.Fixed(grid.repeat_interleave(8)),
    noise_level=noise_level.repeat(21),
    tolerance=1e-3,
)
best = ((many.x - truth.repeat(21, 1)).reshape(21, 8, 20).norm(dim=2) / truth.norm(dim=1)).amin(0)

figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.subplots()
for place, name in enumerate(rules):
    axes.plot(errors[name] / best, [place] * 8, "o", alpha=0.6)
axes.axvline(1.0, color="0.6", lw=1)
axes.set(xscale="log", xlabel="error / error at the best weight", yticks=range(len(rules)))
axes.set_yticklabels(list(rules))
axes.invert_yaxis()
