"""Projection leaves no more noise than the bound."""

import torch

from netinverse.noise import add_noise, noise_left_after_projection
from netinverse.tensors import norm


def test_what_projection_leaves() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.relu(torch.randn(200, 300, generator=generator, dtype=torch.float64))
    data, level = add_noise(clean, relative=0.05)
    projected = data.clamp(min=0)
    left, true = noise_left_after_projection(data, projected, level), norm(projected - clean)
    assert (left >= true * (1 - 1e-12)).all() and (left < level).all()
    assert (left / true).mean() < 1.02
