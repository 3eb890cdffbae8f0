"""
Sparse weights that grow as the data ask
========================================

``ni.training.LinBreg`` begins with nearly all weights at zero and lets them in one by one: linearised Bregman
iterations, as a torch optimiser. The picture shows the first layer of a classifier of digits; the corners, where no
digit has ink, stay out.
"""

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

import netinverse as ni

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
weights = [layer.weight for layer in network if isinstance(layer, nn.Linear)]
with torch.no_grad():
    for weight in weights:
        weight.mul_(torch.rand_like(weight) < 0.05)

optimiser = ni.training.LinBreg(
    [
        {"params": weights, "regulariser": ni.L1(0.02)},
        {"params": [layer.bias for layer in network if isinstance(layer, nn.Linear)]},
    ],
    lr=0.1,
)
shares, accuracies = [], []
for _ in range(20):
    for batch in torch.randperm(1500).split(50):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimiser.step()
    shares.append(float(sum((w != 0).sum() for w in weights) / sum(w.numel() for w in weights)))
    accuracies.append(float((network(images[1500:]).argmax(1) == labels[1500:]).float().mean()))
print(f"{accuracies[-1]:.1%} of the held-out digits with {shares[-1]:.1%} of the weights")

# %%
# Share of weights, accuracy, and how much weight each pixel has.

figure = Figure(figsize=(8, 3), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
left.plot(range(1, 21), shares, "o-", ms=3, label="weights that are not zero")
left.plot(range(1, 21), accuracies, "s-", ms=3, label="accuracy on held-out digits")
left.set(xlabel="epoch", ylim=(0, 1), xticks=range(0, 21, 5))
left.legend(frameon=False)
right.imshow(weights[0].detach().abs().sum(0).reshape(8, 8), cmap="gray_r")
right.set(title="weight of each pixel", xticks=[], yticks=[])
assert shares[-1] < 0.5
