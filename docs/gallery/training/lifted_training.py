"""
Training without differentiating activations
============================================

Lifted training makes the activations variables of their own. What goes backward through a layer is the difference of
activation and variable, so that no activation is differentiated. Here it trains a classifier of digits, beside
back-propagation, both with Adam.
"""

import copy

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import netinverse as ni

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
loader = DataLoader(TensorDataset(images[:1500], labels[:1500]), 50, shuffle=True)
held_out = DataLoader(TensorDataset(images[1500:], labels[1500:]), 297)

lifted = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
usual = copy.deepcopy(lifted)

training = ni.training.LiftedTraining(algorithm=ni.training.ProximalSGD(3e-3))
history = training.fit(lifted, loader, epochs=8, validation=held_out)
print(history[["epoch", "loss", "accuracy", "validation_accuracy"]].round(3).to_string(index=False))

# %%
# The same in torch:

optimiser = torch.optim.Adam(usual.parameters(), 3e-3)
accuracy = []
for _ in range(8):
    for x, y in loader:
        optimiser.zero_grad()
        nn.functional.cross_entropy(usual(x), y).backward()
        optimiser.step()
    accuracy.append(float((usual(images[1500:]).argmax(1) == labels[1500:]).float().mean()))

figure = Figure(figsize=(6, 3.2), layout="constrained")
axes = figure.subplots()
axes.plot(history["epoch"], history["validation_accuracy"], "o-", label="lifted")
axes.plot(history["epoch"], accuracy, "s--", label="back-propagation")
axes.set(xlabel="epoch", ylabel="accuracy on held-out digits")
axes.legend(frameon=False)
