"""
A stability study and its report
================================

How does the error follow the noise, for your network, your inputs and the rules you consider? A study inverts at every
noise level, seed and rule, measures against the truth, and puts everything into one table. The report is one HTML page
that needs no other file.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

import netinverse as ni

torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(64, 90), nn.ReLU()).eval()
truth = torch.zeros(2, 1, 8, 8)
for i in range(2):
    truth[i, 0, 1 : 4 + i, 2:6] = 1.0

study = ni.stability_study(
    network,
    truth,
    noise_levels=[0.01, 0.03, 0.1],
    relative=True,
    constraint=ni.Box(0.0, 1.0),
    rule=[ni.DiscrepancyPrinciple(), ni.APriori(constant=0.01)],
    seeds=2,
    tolerance=1e-2,
)
print(study.summary())

# %%
# ``study.table`` is a pandas DataFrame with a row for each inversion, ``study.plot()`` the picture,
# ``study.report(path)`` the page.

print(study.table[["sample", "seed", "relative_noise", "rule", "alpha", "relative_error", "status"]].head(6).to_string())
with TemporaryDirectory() as folder:
    study.report(Path(folder) / "study.html")
    print(f"{(Path(folder) / 'study.html').stat().st_size // 1000} kB of HTML")
figure = study.plot()
