"""
Semiconvergence: why an iteration has to stop
=============================================

Landweber's iteration has no regulariser. Its iterates come nearer to the truth for a while and then turn to the noise,
and only the number of iterations keeps them from it. A rule of our own, which is never met, keeps all iterates; then
the discrepancy principle picks one of them.
"""

from dataclasses import dataclass, field

import torch
from matplotlib.figure import Figure
from torch import nn

import netinverse as ni


@dataclass(frozen=True)
class Watching(ni.Fixed):
    """Asks for a weight that no iterate has, so that the method goes on to its end."""

    traces: list[ni.Trace] = field(default_factory=list)

    def pick(self, trace, noise_level=None):
        self.traces.append(trace)
        return super().pick(trace, noise_level)


# A layer whose singular values fall from 1 to 0.01: noise in the weak directions grows a hundredfold.
generator = torch.Generator().manual_seed(0)
left, right = (torch.linalg.qr(torch.randn(60, 60, generator=generator)).Q for _ in range(2))
network = nn.Sequential(nn.Linear(60, 60, bias=False), nn.Tanh()).eval()
network[0].weight.data = left @ torch.diag(torch.logspace(0, -2, 60)) @ right.T
truth = (right[:, :20] @ torch.randn(20, generator=generator))[None] / 3

data, noise_level = ni.add_noise(network(truth).detach(), relative=0.05, seed=0)
watching = Watching(1e-30)
ni.invert(network, data, input_shape=60, rule=watching, method=ni.Landweber(max_iterations=500))
(trace,) = watching.traces
error = (trace.x[:, 0] - truth[0]).norm(dim=1) / truth.norm()
stop = int(ni.DiscrepancyPrinciple().pick(trace, noise_level).index)
print(f"least error {error.min():.3f} at iterate {int(error.argmin()) + 1}, at the end {error[-1]:.3f}")
print(f"the discrepancy principle takes iterate {stop + 1}, with an error of {error[stop]:.3f}")

# %%
# The residual falls all the time, and cannot tell where to stop; compared with the noise level it can.

figure = Figure(figsize=(7, 3.2), layout="constrained")
axes = figure.subplots()
axes.loglog(range(1, len(error) + 1), error, label="relative error")
axes.loglog(range(1, len(error) + 1), trace.residual[:, 0] / noise_level, label="residual / noise level")
axes.axhline(1.0, color="0.6", ls="--", lw=1)
axes.axvline(stop + 1, color="C3", lw=1, label="discrepancy principle")
axes.set(xlabel="iteration")
axes.legend(frameon=False)
