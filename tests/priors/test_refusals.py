"""Priors that are no g(K x): what the diagnostics say, and studies without bounds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import netinverse as ni

NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(16, 30), nn.ReLU()).double().eval()
TRUTH = torch.linspace(0.1, 0.9, 4, dtype=torch.float64).expand(2, 1, 4, 4)
PRIORS = [
    ni.TotalGeneralisedVariation(),
    ni.DenoiserPrior(nn.AvgPool2d(3, stride=1, padding=1).eval()),
    ni.GeneratorPrior(nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (1, 4, 4))).double().eval()),
]


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
def test_no_source_element_and_no_bound_but_a_study(prior: ni.DenoiserPrior) -> None:
    with pytest.raises(TypeError, match=rf"source_element: regulariser is a {type(prior).__name__}, whose subdifferential"):
        ni.source_element(NETWORK, TRUTH, prior)
    source = ni.source_element(NETWORK, TRUTH, ni.Tikhonov())
    with pytest.raises(TypeError, match=rf"error_bound: regulariser is a {type(prior).__name__}"):
        ni.error_bound(NETWORK, TRUTH, NETWORK(TRUTH).detach(), 0.1, prior, source)
    study = ni.stability_study(NETWORK, TRUTH, noise_levels=[0.1], regulariser=prior, rule=ni.Fixed(0.1), tolerance=1e-2)
    assert len(study.table) == 2 and study.table.bound.isna().all() and study.table.error.notna().all()


def test_a_bound_needs_a_source_element() -> None:
    with pytest.raises(TypeError, match="error_bound: source is a NoneType, but must be a SourceElement"):
        ni.error_bound(NETWORK, TRUTH, NETWORK(TRUTH).detach(), 0.1, ni.Tikhonov(), None)  # type: ignore[arg-type]
