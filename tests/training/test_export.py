"""What was trained is an ordinary module: it goes through ``torch.export`` into a file, which is inverted as the module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import netinverse as ni

F64 = torch.float64


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()


def bounded() -> nn.Module:
    return nn.Sequential(ni.layers.spectrally_bounded(nn.Linear(6, 5)), ni.layers.PairedReLU(), nn.Linear(10, 3)).double()


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()


@pytest.mark.parametrize("make", [chain, bounded, normalised])
def test_a_trained_module_through_a_file(make: object, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = make(), torch.randn(12, 6, dtype=F64)  # type: ignore[operator]
    ni.training.LiftedTraining().fit(model, [(x, torch.arange(12) % 3)], 2)
    model.eval()
    path = tmp_path / "trained.pt2"
    torch.export.save(torch.export.export(model, (x[:2],), dynamic_shapes=({0: torch.export.Dim.AUTO},)), path)
    loaded = torch.export.load(path).module()
    assert torch.equal(loaded(x), model(x))
    y = model(x[:3]).detach()
    found = [ni.invert(each, y, input_shape=(6,), rule=ni.Fixed(0.1), max_steps=3) for each in (model, path)]
    torch.testing.assert_close(found[0].x, found[1].x, rtol=1e-9, atol=1e-12)
