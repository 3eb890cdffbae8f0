"""
The derivative of a network in SciPy
====================================

The linear maps of netinverse are LinearOperators of SciPy, and through SciPy those of PyLops. So the linearised problem
at a point can go to any solver for linear inverse problems: here to LSQR, whose damping is Tikhonov's weight.
"""

import torch
from matplotlib.figure import Figure
from scipy.sparse.linalg import lsqr
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = ni.lift(
    nn.Sequential(nn.Linear(50, 60), nn.Tanh(), nn.Linear(60, 60)).eval().double(), torch.zeros(1, 50, dtype=torch.float64)
)
truth = torch.cumsum(torch.randn(1, 50, dtype=torch.float64), 1) / 5
data, noise_level = ni.add_noise(network(truth).detach(), relative=0.01, seed=0)

# %%
# The reconstruction, and one Gauss-Newton step of LSQR from it at the weight that was found. The two must agree, since
# the reconstruction is a minimiser.

found = ni.invert(network, data, noise_level=noise_level, regulariser=ni.Tikhonov(), tolerance=1e-9)
alpha = float(found.alpha)
operator = ni.NetworkOutput(network).to_scipy(found.x)
target = operator.matvec(found.x.numpy().reshape(-1)) - (network(found.x) - data).detach().numpy().reshape(-1)
step = lsqr(operator, target, damp=alpha**0.5, atol=1e-12, btol=1e-12)[0]
print(f"{operator.shape}, alpha {alpha:.3g}; LSQR is {abs(step - found.x.numpy()[0]).max():.1e} away")

figure = Figure(figsize=(6.5, 3), layout="constrained")
axes = figure.subplots()
axes.plot(truth[0], color="0.7", lw=3, label="truth")
axes.plot(found.x[0], label="netinverse")
axes.plot(step, ":", color="k", label="one step of LSQR from there")
axes.set(xlabel="entry")
axes.legend(frameon=False)

assert abs(step - found.x.numpy()[0]).max() < 1e-2
