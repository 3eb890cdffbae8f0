"""
What the library sees of a network
==================================

``ni.lift`` rewrites a trained model, exactly, as affine maps between activations that are proximal maps. A residual
network with max-pooling shows how: the pooling becomes differences and ReLUs, and the skip connection a line of its
own.
"""

import torch
from torch import nn

import netinverse as ni
from netinverse.plots import structure


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Residual(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10)).eval()
example = torch.randn(3, 1, 8, 8)

network = ni.lift(model, example)
torch.testing.assert_close(network(example), model(example))
print(network.summary())

# %%
# White boxes are affine, light ones are activations; each knows its potential, of which it is the proximal map.

figure = structure(network)
assert network.is_exactly_lifted
