"""The worst noise against dense singular value decompositions of the Jacobian."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni

F64 = torch.float64


def network(*layers: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for layer in layers:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


def low_rank() -> nn.Module:
    """Rank 4: what is below is rounding."""
    return network(nn.Linear(12, 4), nn.Linear(4, 9))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "more outputs": lambda: network(nn.Linear(12, 30), nn.Tanh(), nn.Linear(30, 20)),
    "more inputs": lambda: network(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 7)),
    "inactive outputs": lambda: network(nn.Linear(12, 40), nn.ReLU()),
    "low rank": low_rank,
}


def inputs(batch: int = 3) -> Tensor:
    return torch.randn(batch, 12, generator=torch.Generator().manual_seed(1), dtype=F64)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_last_left_singular_vector_that_counts(name: str) -> None:
    model, x = NETWORKS[name](), inputs()
    clean = model(x)
    data, level = ni.add_noise(clean, relative=0.1, kind="worst-case", network=model, truth=x)
    torch.testing.assert_close(level, 0.1 * clean.norm(dim=1))
    for b in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda v: model(v[None])[0], x[b])
        left, values, _ = torch.linalg.svd(jacobian, full_matrices=False)
        rank = int((values > 1e-10 * values[0]).sum())
        direction = (data[b] - clean[b]) / level[b]
        assert abs(direction @ left[:, rank - 1]).item() == pytest.approx(1, abs=1e-8)
        assert direction.sum() >= 0
        # No noise of that norm moves the least-squares inverse farther, and random noise moves it less.
        inverse = torch.linalg.pinv(jacobian, rtol=1e-10)
        moved = (inverse @ direction).norm()
        assert moved.item() == pytest.approx(1 / values[rank - 1].item(), rel=1e-6)
        others = torch.randn(len(direction), 50, generator=torch.Generator().manual_seed(b), dtype=F64)
        assert ((inverse @ (others / others.norm(dim=0))).norm(dim=0) < moved).all()


def test_samples_are_alone_and_dtype_and_inputs_are_kept() -> None:
    model, x = NETWORKS["more outputs"](), inputs()
    clean = model(x)
    together = ni.add_noise(clean, sigma=0.01, kind="worst-case", network=model, truth=x)
    alone = ni.add_noise(clean[1:2], sigma=0.01, kind="worst-case", network=ni.lift(model, x[:2]), truth=x[1:2])
    torch.testing.assert_close(alone[0][0], together[0][1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(together[1], torch.full((3,), 0.01 * 20**0.5, dtype=F64))
    single = model.float()
    before = [p.clone() for p in single.parameters()]
    data, level = ni.add_noise(clean.float(), relative=0.1, kind="worst-case", network=single, truth=x.float())
    assert data.dtype == level.dtype == torch.float32 and not data.requires_grad
    assert all(torch.equal(p, q) for p, q in zip(before, single.parameters(), strict=True))
    assert next(single.parameters()).dtype == torch.float32
    empty = ni.add_noise(clean[:0], relative=0.1, kind="worst-case", network=model, truth=x[:0].float())
    assert empty[0].shape == (0, 20) and empty[1].shape == (0,)


def test_it_hurts_more_than_random_noise_in_an_inversion() -> None:
    model = network(nn.Linear(12, 14))
    x = inputs(2)
    clean, errors = model(x), {}
    for kind, extra in (("gaussian", {}), ("worst-case", {"network": model, "truth": x})):
        data, level = ni.add_noise(clean, relative=0.01, kind=kind, **extra)
        result = ni.invert(model, data, input_shape=(12,), rule=ni.Fixed(1e-8), regulariser=ni.Tikhonov(), noise_level=level)
        errors[kind] = (result.x - x).norm(dim=1)
    assert (errors["worst-case"] > 1.5 * errors["gaussian"]).all()


def test_what_is_missing_or_does_not_fit_is_said() -> None:
    model, x = NETWORKS["more outputs"](), inputs()
    clean = model(x)
    worst = {"relative": 0.1, "kind": "worst-case"}
    with pytest.raises(ValueError, match=r"kind is 'worst-case', but network and truth are missing.*network=.*truth="):
        ni.add_noise(clean, **worst)
    with pytest.raises(ValueError, match=r"but truth is missing"):
        ni.add_noise(clean, network=model, **worst)
    with pytest.raises(ValueError, match=r"network and truth given, but noise of kind 'gaussian' depends on neither"):
        ni.add_noise(clean, relative=0.1, network=model, truth=x)
    with pytest.raises(ValueError, match=r"clean differs from network\(truth\).*in sample 1,.*evaluation mode"):
        ni.add_noise(clean, network=model, truth=x + torch.tensor([[0.0], [0.5], [0.0]]), **worst)
    with pytest.raises(ValueError, match=r"clean has shape \(3, 19\), but \(3, 20\) is expected"):
        ni.add_noise(clean[:, 1:], network=model, truth=x, **worst)
    with pytest.raises(ValueError, match=r"truth has shape \(3, 11\)"):
        ni.add_noise(clean, network=ni.lift(model, x[:2]), truth=x[:, 1:], **worst)
    constant = network(nn.Linear(12, 20))
    constant[0].weight.zero_()
    data, level = ni.add_noise(constant(x), network=constant, truth=x, **worst)
    assert torch.equal(data, constant(x)) and not level.any()
