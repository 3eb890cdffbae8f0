"""Singular values of Jacobians against dense decompositions, and the tangential cone constant by hand."""

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni


def points(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def jacobian(network: nn.Module, x: Tensor) -> Tensor:
    full = torch.autograd.functional.jacobian(lambda v: network(v[None])[0].flatten(), x)
    return full.reshape(full.shape[0], -1)


@pytest.mark.parametrize(
    ("sizes", "activation"), [((40, 60, 50), "tanh"), ((50, 60, 30), "softplus"), ((30, 40, 40, 20), "leaky_relu")]
)
def test_against_a_dense_decomposition(sizes: tuple[int, ...], activation: str) -> None:
    network, x = ni.mlp(sizes, activation, dtype=torch.float64), points(3, sizes[0])
    found = ni.conditioning(network, x)
    assert found.complete and (found.error == 0).all()
    for i in range(3):
        values = torch.linalg.svdvals(jacobian(network, x[i]))
        torch.testing.assert_close(found.largest[i], values[:8], rtol=1e-8, atol=0)
        torch.testing.assert_close(found.smallest[i], values.flip(0)[:8], rtol=1e-8, atol=0)
        torch.testing.assert_close(found.condition_number[i], values[0] / values[-1], rtol=1e-8, atol=0)
        torch.testing.assert_close(found.noise_amplification[i], 1 / values[-1], rtol=1e-8, atol=0)


def test_five_hundred_dimensions() -> None:
    network, x = ni.mlp((500, 500, 500), "leaky_relu", dtype=torch.float64), points(1, 500)
    found, values = ni.conditioning(network, x, k=8), torch.linalg.svdvals(jacobian(network, x[0]))
    torch.testing.assert_close(found.largest[0], values[:8], rtol=1e-8, atol=0)
    torch.testing.assert_close(found.smallest[0], values.flip(0)[:8], rtol=1e-8, atol=0)


def test_what_dead_units_hide() -> None:
    network, x = ni.mlp((12, 10, 14), "relu", dtype=torch.float64), points(4, 12)
    found = ni.conditioning(network, x)
    for i in range(4):
        j = jacobian(network, x[i])
        _, values, right = torch.linalg.svd(j)
        rank = int(torch.linalg.matrix_rank(j))
        assert int(found.rank[i]) == rank < 12 and found.condition_number[i] == torch.inf and found.smallest[i, 0] == 0
        torch.testing.assert_close(found.noise_amplification[i], 1 / values[rank - 1])
        null = right[rank:]
        torch.testing.assert_close(found.invisible[i], null.T @ (null @ x[i]), rtol=1e-9, atol=1e-11)
        assert float((j @ found.invisible[i]).norm()) < 1e-10
        assert float(found.invisible_share[i]) == pytest.approx(float(found.invisible[i].norm() / x[i].norm()))


def test_amplification_is_what_noise_can_do() -> None:
    """The change of the data that moves the input most, to first order."""
    network, x = ni.mlp((6, 12, 6), "softplus", dtype=torch.float64), points(1, 6)
    factor = float(ni.conditioning(network, x).noise_amplification)
    j = jacobian(network, x[0])
    moves = [float(torch.linalg.solve(j, e).norm() / e.norm()) for e in points(2000, 6)]
    assert 0.5 * factor < max(moves) <= factor * (1 + 1e-9)


def test_layers_and_convolutions() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 20), nn.Tanh()).double().eval()
    x = points(2, 1, 8, 8)
    layers = ni.layer_conditioning(model, x, k=3)
    assert len(layers) == 2
    (_, first), (_, last) = layers
    for i in range(2):
        torch.testing.assert_close(first.largest[i], torch.linalg.svdvals(jacobian(model[:2], x[i]))[:3])
        torch.testing.assert_close(last.largest[i], torch.linalg.svdvals(jacobian(model, x[i]))[:3])
    assert (first.invisible_share <= last.invisible_share + 1e-12).all()
    torch.testing.assert_close(ni.conditioning(model, x, k=3).largest, last.largest)


def test_too_few_steps_are_said() -> None:
    network, x = ni.mlp((40, 50, 40), "tanh", dtype=torch.float64), points(2, 40)
    found = ni.conditioning(network, x, k=3, max_steps=15)
    full = ni.conditioning(network, x, k=3)
    assert not found.complete and torch.isnan(found.invisible).all()
    assert (found.largest <= full.largest + 1e-12).all() and (found.smallest >= full.smallest - 1e-12).all()
    assert (full.largest[:, 0] - found.largest[:, 0] <= found.error[:, 0] + 1e-10).all()


def test_float32_input_empty_batch_and_constant_network() -> None:
    network = ni.mlp((5, 8, 5), "tanh")
    x = points(2, 5).float()
    assert ni.conditioning(network, x, k=2).largest.dtype == torch.float64 and network.dtype == torch.float32
    assert ni.conditioning(network, x[:0]).rank.shape == (0,)
    dead = nn.Sequential(nn.Linear(5, 3), nn.ReLU()).eval()
    with torch.no_grad():
        dead[0].weight.zero_()
    found = ni.conditioning(dead, x)
    assert (found.rank == 0).all() and torch.isinf(found.noise_amplification).all() and torch.isinf(found.condition_number).all()
    torch.testing.assert_close(found.invisible, x.double())


def test_tangential_cone_constant() -> None:
    affine = ni.mlp((4, 3), dtype=torch.float64)
    assert (ni.tangential_cone_constant(affine, points(2, 4), 1.0) < 1e-12).all()
    # softplus(x): |F(x + h) - F(x) - F'(x) h| / |F(x + h) - F(x)| at the ends of the interval, by hand.
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Softplus()).double().eval()
    with torch.no_grad():
        network[0].weight.fill_(1.0)
    x, h = torch.zeros(1, 1, dtype=torch.float64), torch.tensor([-2.0, 2.0], dtype=torch.float64)
    f = nn.functional.softplus
    change = f(h) - f(torch.zeros_like(h))
    by_hand = float(((change - h / 2) / change).abs().max())
    assert 0.9 * by_hand < float(ni.tangential_cone_constant(network, x, 2.0)) <= by_hand * (1 + 1e-9)
    small = ni.tangential_cone_constant(network, x, 0.1)
    assert float(small) < 0.05 < float(ni.tangential_cone_constant(network, x, 2.0))


def test_bad_input() -> None:
    network, x = ni.mlp((4, 3), dtype=torch.float64), points(2, 4)
    with pytest.raises(ValueError, match=r"conditioning: k is 0, but must be at least 1"):
        ni.conditioning(network, x, k=0)
    with pytest.raises(ValueError, match=r"conditioning: x has shape \(2, 3\)"):
        ni.conditioning(network, x[:, :3])
    with pytest.raises(ValueError, match=r"tangential_cone_constant: radius is -1"):
        ni.tangential_cone_constant(network, x, -1.0)
    with pytest.raises(ValueError, match=r"tangential_cone_constant: points is 0"):
        ni.tangential_cone_constant(network, x, 1.0, points=0)
