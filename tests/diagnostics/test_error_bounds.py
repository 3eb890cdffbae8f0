"""Error bounds are never below the error: against minimisers with their own duality gap, and against Clarabel."""

from collections import Counter

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.regularisers import Regulariser

COLUMNS, ROWS = 20, 14
F64 = torch.float64


def perceptron(activation: nn.Module, seed: int, rows: int = ROWS, offset: float = 0.0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(COLUMNS, rows).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64) / 4)
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator, dtype=torch.float64) / 4 + offset)
    return nn.Sequential(nn.Flatten(), layer, activation).eval()


def truths(regulariser: Regulariser, network: nn.Module, batch: int, generator: torch.Generator) -> Tensor:
    """Inputs at which the source condition has a chance: in the range of W^T, sparse, or with few jumps."""
    if isinstance(regulariser, ni.Tikhonov):
        v = torch.randn(batch, network[1].out_features, generator=generator, dtype=torch.float64)
        return (v @ network[1].weight.detach()).reshape(batch, 1, COLUMNS)
    x = torch.zeros(batch, 1, COLUMNS, dtype=torch.float64)
    for sample in x:
        sample[0, torch.randperm(COLUMNS, generator=generator)[:2]] = torch.randn(2, generator=generator, dtype=torch.float64)
    return x.cumsum(-1) if isinstance(regulariser, ni.TotalVariation) else x


CASES = [
    (nn.ReLU(), ni.Tikhonov(), 2.5),
    (nn.ReLU(), ni.Sparsity(), 0.5),
    (nn.ReLU(), ni.TotalVariation(), 0.5),
    (nn.Tanh(), ni.Tikhonov(), 0.0),
    (nn.Tanh(), ni.Sparsity(), 0.0),
    (nn.Sigmoid(), ni.TotalVariation(), 0.0),
    (nn.Softshrink(0.3), ni.Sparsity(), 0.0),
    (nn.Hardtanh(), ni.TotalVariation(isotropic=False), 0.0),
    (nn.Identity(), ni.Sparsity(), 0.0),
]


FORMS = ("tight", "symmetric", "published", "rectified")


def cases(batch: int, seed: int, decades: float, kinds: slice = slice(None)) -> Counter[str]:
    """Check one batch of every kind; how many samples met the source condition and had a finite bound, of each form."""
    generator = torch.Generator().manual_seed(seed)
    checked: Counter[str] = Counter()
    for activation, regulariser, offset in CASES[kinds]:
        network = perceptron(activation, seed, offset=offset)
        truth = truths(regulariser, network, batch, generator)
        source = ni.source_element(network, truth, regulariser, max_iterations=800)
        clean = network(truth).detach()
        relative = 10 ** (-4 * torch.rand(batch, generator=generator, dtype=torch.float64) - 0.5)
        data, _ = ni.add_noise(clean, relative=relative, seed=seed)
        alpha = 10 ** (-decades * torch.rand(batch, generator=generator, dtype=torch.float64) - 0.5)
        bound = ni.error_bound(network, truth, data, alpha, regulariser, source)
        result = ni.invert(network, data, input_shape=(1, COLUMNS), rule=ni.Fixed(alpha), regulariser=regulariser, tolerance=1e-6)
        assert bound.kind == "symmetric" and result.certificate.kind == "duality gap"
        usable = torch.isfinite(bound.value)
        assert not (usable & ~source.holds).any()
        # A solution with an objective within ``gap`` of the least is within gap/alpha of the bound; v leaves a residual r.
        slack = result.certificate.value / alpha + 2e-6 * source.subgradient.flatten(1).norm(dim=1) * (result.x - truth).flatten(
            1
        ).norm(dim=1)
        one_sided = ni.bregman_distance(regulariser, result.x, truth, source.subgradient)
        for form in FORMS:
            values = getattr(bound, form)
            there = torch.isfinite(values)
            assert (one_sided <= values + slack)[there].all(), form
            checked[form] += int(there.sum())
        # Proven for p_x in dR(x): by the gap, the dual of the solver is one up to gap/alpha.
        assert result.subgradient is not None
        symmetric = ni.symmetric_bregman_distance(regulariser, result.x, truth, result.subgradient, source.subgradient)
        assert (symmetric <= bound.value + 2 * slack + 1e-4 * bound.value)[usable].all()
        after = ni.error_bound(network, truth, data, alpha, regulariser, source, x=result.x)
        finite = torch.isfinite(after.value)
        assert after.kind == "a posteriori" and (one_sided <= after.value + 1e-9)[finite].all()
        order = torch.isfinite(bound.published)
        assert (bound.symmetric <= bound.published * (1 + 1e-12) + 1e-14)[order].all() and torch.isfinite(bound.value)[
            order
        ].all()
        checked["a posteriori"] += int(finite.sum())
    return checked


def test_never_violated() -> None:
    checked = cases(30, seed=0, decades=1.0, kinds=slice(1, None, 2))
    assert checked["symmetric"] >= 80 and checked["published"] >= 40 and checked["rectified"] >= 10


@pytest.mark.slow
def test_never_violated_in_a_thousand_cases() -> None:
    checked = sum((cases(60, seed, decades=2.0) for seed in range(1, 4)), Counter())
    assert checked["symmetric"] == checked["tight"] >= 1000 and checked["published"] >= 600 and checked["a posteriori"] >= 1000
    assert sum((cases(400, seed, 3.0, slice(0, 2)) for seed in range(4, 8)), Counter())["rectified"] >= 1000


def linearised(activation: nn.Module, hidden: nn.Module, batch: int, seed: int) -> int:
    """Check the bound of a deep network against the minimisers of its linearisation at the truth, which has one affine map."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        deep = nn.Sequential(nn.Linear(8, 16), hidden, nn.Linear(16, 14), activation).double().eval().requires_grad_(False)
    truth = 0.5 * torch.randn(1, 8, generator=generator, dtype=F64)
    k = torch.autograd.functional.jacobian(lambda x: deep[:3](x), truth[0])
    flat = nn.Sequential(nn.Linear(8, 14), activation).double().eval().requires_grad_(False)
    flat[0].weight.copy_(k)
    flat[0].bias.copy_(deep[:3](truth)[0] - k @ truth[0])
    truth = truth.expand(batch, 8)
    source = ni.source_element(deep, truth, ni.Tikhonov())
    relative = 10 ** (-3 * torch.rand(batch, generator=generator, dtype=F64) - 0.5)
    data, _ = ni.add_noise(deep(truth), relative=relative, seed=seed)
    alpha = 10 ** (-2 * torch.rand(batch, generator=generator, dtype=F64) - 0.5)
    bound = ni.error_bound(deep, truth, data, alpha, ni.Tikhonov(), source)
    assert bound.kind == "conditional"
    result = ni.invert(flat, data, input_shape=(8,), rule=ni.Fixed(alpha), regulariser=ni.Tikhonov(), tolerance=1e-9)
    usable = torch.isfinite(bound.value)
    distance = (result.x - truth).square().sum(1)  # for Tikhonov the symmetric Bregman distance
    assert (distance <= bound.value * (1 + 1e-6) + 2 * result.certificate.value / alpha)[usable].all()
    assert (bound.value <= bound.published)[usable].all()
    return int(usable.sum())


def test_the_conditional_bound_is_kept_by_the_linearised_network() -> None:
    assert linearised(nn.Tanh(), nn.Tanh(), 40, seed=0) >= 20 and linearised(nn.Identity(), nn.ReLU(), 40, seed=1) >= 20


@pytest.mark.slow
def test_the_conditional_bound_is_kept_in_a_thousand_cases() -> None:
    pairs = [(nn.Tanh(), nn.Tanh()), (nn.Identity(), nn.ReLU()), (nn.ReLU(), nn.Tanh()), (nn.Softshrink(0.1), nn.Softplus())]
    assert sum(linearised(*pair, 100, seed) for pair in pairs for seed in range(8)) >= 1000


def test_published_and_rectified_forms_by_hand() -> None:
    """[I]: 2 d^2/alpha + alpha ||v||^2 + [Psi(f + alpha v) + Psi(f - alpha v) - 2 Psi(f)]/alpha, Psi of the logistic function."""
    for activation, offset in ((nn.Sigmoid(), 0.0), (nn.ReLU(), 4.0)):
        network = perceptron(activation, 3, offset=offset)
        truth = truths(ni.Tikhonov(), network, 4, torch.Generator().manual_seed(1)) / 8
        source = ni.source_element(network, truth, ni.Tikhonov())
        data, _ = ni.add_noise(network(truth).detach(), relative=0.01)
        potential, alpha = ni.lift(network, truth).output_potential, 0.02
        f, v, z = data, source.v, network[:2](truth).detach()
        d2 = ni.bregman_penalty(potential, f, z)
        psi = potential(f + alpha * v) + potential(f - alpha * v) - 2 * potential(f)
        expected = 2 * d2 / alpha + alpha * v.square().sum(1) + psi / alpha
        bound = ni.error_bound(network, truth, data, alpha, ni.Tikhonov(), source)
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(bound.published, expected, rtol=1e-8, atol=1e-10)
        if offset:
            best = (2 * d2).sqrt() / source.norm
            assert ((best[:, None] * v.abs()) <= f).all()
            least = ni.error_bound(network, truth, data, best, ni.Tikhonov(), source).rectified
            torch.testing.assert_close(least, 2 * 2**0.5 * source.norm * d2.sqrt())
            torch.testing.assert_close(bound.rectified, bound.published)
        else:
            assert torch.isinf(bound.rectified).all()


def test_against_clarabel() -> None:
    """The minimiser from another solver: least squares with l1, where p_x follows from the normal equations."""
    network, regulariser = perceptron(nn.Identity(), 2), ni.Sparsity()
    truth = truths(regulariser, network, 6, torch.Generator().manual_seed(7))
    source = ni.source_element(network, truth, regulariser)
    data, _ = ni.add_noise(network(truth).detach(), relative=0.02)
    w, b, alpha = network[1].weight.detach().numpy(), network[1].bias.detach().numpy(), 0.01
    bound = ni.error_bound(network, truth, data, alpha, regulariser, source)
    assert source.holds.any()
    for i in source.holds.nonzero().flatten().tolist():
        x = cp.Variable(COLUMNS)
        f = data[i].numpy()
        problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(w @ x + b - f) + alpha * cp.norm1(x)))
        problem.solve(solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
        p_x = -w.T @ (w @ x.value + b - f) / alpha
        distance = np.dot(p_x - source.subgradient[i].flatten().numpy(), x.value - truth[i].flatten().numpy())
        assert -1e-8 <= distance <= float(bound.value[i]) + 1e-7


def test_value_by_hand_for_exact_least_squares() -> None:
    """F = identity, Tikhonov, no noise: v = truth, and ||alpha v||^2/(4 alpha)."""
    network, alpha = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False).double()).eval(), 1e-6
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(4))
    truth = torch.tensor([[3.0, 0.0, 4.0, 0.0]], dtype=torch.float64)
    source = ni.source_element(network, truth, ni.Tikhonov())
    torch.testing.assert_close(source.norm, torch.tensor([5.0], dtype=torch.float64), rtol=1e-5, atol=0)
    bound = ni.error_bound(network, truth, truth, alpha, ni.Tikhonov(), source)
    torch.testing.assert_close(bound.value, torch.tensor([6.25e-6], dtype=torch.float64), rtol=1e-4, atol=0)
    torch.testing.assert_close(bound.symmetric, 2 * bound.value, rtol=1e-9, atol=0)
    torch.testing.assert_close(bound.published, 4 * bound.value, rtol=1e-4, atol=0)


def test_the_bound_is_attained() -> None:
    """F = identity, R = ||.||_1: where x_alpha lies half way between u = f - alpha v and the truth, as in the third entry."""
    network, alpha = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False).double()).eval(), 0.1
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(3))
    truth = torch.tensor([[2.0, -3.0, 0.0]], dtype=torch.float64)
    source = ni.source_element(network, truth, ni.Sparsity())
    assert source.holds.all() and source.verdict[0].startswith("the source condition holds")
    data = truth - alpha * source.v + torch.tensor([[0.0, 0.0, 2 * alpha]], dtype=torch.float64)
    x = torch.sign(data) * (data.abs() - alpha).clamp(min=0)  # the minimiser, in closed form
    p_x = (data - x) / alpha
    bound = ni.error_bound(network, truth, data, alpha, ni.Sparsity(), source)
    distance = ni.symmetric_bregman_distance(ni.Sparsity(), x, truth, p_x, source.subgradient)
    torch.testing.assert_close(distance, torch.tensor([0.1], dtype=torch.float64), rtol=1e-5, atol=0)
    third = bound.value - 2 * (2 * alpha) ** 2 / (4 * alpha)  # what the two entries with p_x = p cannot use
    torch.testing.assert_close(distance, third, rtol=1e-5, atol=0)


def test_any_depth_a_posteriori() -> None:
    """For the x that was found and for any other: nothing is assumed of the network."""
    network = ni.mlp((10, 24, 16), activation="tanh", dtype=torch.float64)
    generator = torch.Generator().manual_seed(4)
    truth = torch.randn(12, 10, generator=generator, dtype=torch.float64)
    source = ni.source_element(network, truth, ni.Tikhonov())
    data, level = ni.add_noise(network(truth), relative=0.02)
    result = ni.invert(network, data, noise_level=level, regulariser=ni.Tikhonov())
    before = ni.error_bound(network, truth, data, result.alpha, ni.Tikhonov(), source)
    assert before.kind == "conditional" and "linearised" in before.bounds
    for x in (result.x, truth, result.x + torch.randn(truth.shape, generator=generator, dtype=torch.float64), 0 * truth):
        bound = ni.error_bound(network, truth, data, result.alpha, ni.Tikhonov(), source, x=x)
        distance = ni.bregman_distance(ni.Tikhonov(), x, truth, source.subgradient)
        assert bound.kind == "a posteriori" and (distance <= bound.value + 1e-9).all()


def test_lifted_solutions_obey_the_bound_of_their_first_layer() -> None:
    """At a minimiser in x of the lifted energy: data u_1, weight alpha/lambda_1, whatever the depth."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 16), nn.Tanh()).double().eval()
    truth = 0.5 * torch.randn(8, 10, dtype=torch.float64)
    data, _ = ni.add_noise(model(truth).detach(), relative=0.02)
    method = ni.Variational(formulation="lifted")
    result = ni.invert(
        model,
        data,
        input_shape=(10,),
        rule=ni.Fixed(0.02),
        regulariser=ni.Tikhonov(),
        method=method,
        tolerance=1e-10,
        max_steps=3000,
    )
    first, u, alpha = model[:2], result.continuation["activation_0"], 0.02 / 10.0
    source = ni.source_element(first, truth, ni.Tikhonov())
    bound = ni.error_bound(first, truth, u, alpha, ni.Tikhonov(), source)
    assert source.holds.all()
    distance = (result.x - truth).square().sum(1)
    finite = torch.isfinite(bound.value)
    assert bound.kind == "symmetric" and finite.any() and (distance <= bound.value * (1 + 1e-3))[finite].all()


def test_data_are_treated_as_by_invert() -> None:
    """Negative data of a ReLU are projected, and small ones set to zero where the noise level is given."""
    network = perceptron(nn.ReLU(), 5)
    truth = truths(ni.Sparsity(), network, 3, torch.Generator().manual_seed(2))
    source = ni.source_element(network, truth, ni.Sparsity())
    data, level = ni.add_noise(network(truth).detach(), relative=0.05)
    assert (data < 0).any()
    plain = ni.error_bound(network, truth, data, 0.05, ni.Sparsity(), source)
    projected = ni.error_bound(network, truth, data.clamp(min=0), 0.05, ni.Sparsity(), source)
    torch.testing.assert_close(plain.symmetric, projected.symmetric, rtol=0, atol=0)
    treated = ni.error_bound(network, truth, data, 0.05, ni.Sparsity(), source, noise_level=level)
    assert not torch.equal(treated.symmetric, plain.symmetric)


def test_bad_input() -> None:
    network = perceptron(nn.Tanh(), 0)
    truth = truths(ni.Tikhonov(), network, 2, torch.Generator().manual_seed(0))
    source, data = ni.source_element(network, truth, ni.Tikhonov()), network(truth).detach()
    with pytest.raises(ValueError, match=r"error_bound: alpha is 0 in samples 0, 1, but must be positive"):
        ni.error_bound(network, truth, data, 0.0, ni.Tikhonov(), source)
    with pytest.raises(ValueError, match=r"error_bound: data has shape \(2, 3\), but \(2, 14\)"):
        ni.error_bound(network, truth, data[:, :3], 0.1, ni.Tikhonov(), source)
    with pytest.raises(ValueError, match=r"error_bound: source.v has shape \(1, 14\), but \(2, 14\)"):
        ni.error_bound(network, truth, data, 0.1, ni.Tikhonov(), ni.source_element(network, truth[:1], ni.Tikhonov()))
    with pytest.raises(ValueError, match=r"error_bound: x has shape \(2, 20\)"):
        ni.error_bound(network, truth, data, 0.1, ni.Tikhonov(), source, x=truth[:, 0])


def test_a_source_element_that_holds_only_loosely_bounds_nothing() -> None:
    """<K^T v - p, x - truth> is no part of the bound without x, and here all of the distance."""
    network = perceptron(nn.ReLU(), 2, rows=8)
    truth = torch.randn(5, 1, COLUMNS, generator=torch.Generator().manual_seed(3), dtype=F64)
    data = network(truth).detach()
    loose = ni.source_element(network, truth, ni.Tikhonov(), tolerance=0.999)
    assert loose.holds.any()
    found = ni.error_bound(network, truth, data, 1e-4, ni.Tikhonov(), loose)
    assert torch.isinf(found.value).all()
    x = ni.invert(network, data, input_shape=(1, COLUMNS), rule=ni.Fixed(1e-4), regulariser=ni.Tikhonov(), tolerance=1e-9).x
    given = ni.error_bound(network, truth, data, 1e-4, ni.Tikhonov(), loose, x=x)
    distance = 0.5 * (x - truth).flatten(1).square().sum(1)
    assert given.kind == "a posteriori" and (distance <= given.value * (1 + 1e-6)).all()
