"""
An interrupted run goes on
==========================

Inversions, studies and trainings take a checkpoint. The same call goes on from it, to the very answer that an
uninterrupted run has. Here a training is stopped in the middle of its third epoch.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import netinverse as ni

torch.manual_seed(0)
inputs = torch.randn(320, 8)
labels = (inputs[:, :4].sum(1) > inputs[:, 4:].prod(1)).long()


class Fragile(TensorDataset):
    """Data whose reading fails once, after so many samples."""

    left = 800

    def __getitem__(self, index):
        Fragile.left -= 1
        if Fragile.left == 0:
            raise OSError("the disk is gone")
        return super().__getitem__(index)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))


training = ni.training.LiftedTraining()
with TemporaryDirectory() as folder:
    given = {
        "loader": DataLoader(Fragile(inputs, labels), 32, shuffle=True),
        "epochs": 6,
        "checkpoint": Path(folder) / "training.npz",
    }
    interrupted = network()
    try:
        training.fit(interrupted, **given)
    except OSError as error:
        print(f"stopped: {error}")
    resumed = network()
    history = training.fit(resumed, **given)

whole = network()
reference = training.fit(whole, DataLoader(TensorDataset(inputs, labels), 32, shuffle=True), epochs=6)

# %%
# Bit for bit:

assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))
figure = Figure(figsize=(5.5, 3), layout="constrained")
axes = figure.subplots()
axes.plot(reference["epoch"], reference["loss"], "o-", lw=4, color="0.8", label="uninterrupted")
axes.plot(history["epoch"], history["loss"], ".-", label="stopped and resumed")
axes.set(xlabel="epoch", ylabel="loss")
axes.legend(frameon=False)
