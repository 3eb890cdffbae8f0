"""Data terms against scipy and brute force, Fenchel-Young, Moreau's identity; what becomes of the data."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import kl_div
from torch import Tensor, nn

import netinverse as ni
from netinverse.fidelities import (
    BregmanFidelity,
    BregmanTerm,
    DataTerm,
    KullbackLeiblerTerm,
    SquaredFidelity,
    SquaredTerm,
    default_fidelity,
    project_data,
)
from netinverse.networks import lift, mlp
from netinverse.noise import snap_to_saturation
from netinverse.protocols import Potential
from netinverse.prox import (
    Box,
    LeakyReLUPotential,
    LogisticEntropy,
    NonNegative,
    SoftplusPotential,
    SoftsignPotential,
    TanhEntropy,
    Zero,
    potential_of,
    prox_conjugate,
)

F64 = torch.float64
ENTRIES = 4


@dataclass(frozen=True)
class Case:
    """An activation and data inside its range; ``end``: a point of the range at which the activation is constant."""

    potential: Potential | None
    low: float
    high: float
    end: float | None = None

    def data(self, batch: int = 5) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        y = self.low + (self.high - self.low) * torch.rand(batch, ENTRIES, generator=generator, dtype=F64)
        if self.end is not None:
            y[:, ::2] = self.end
        return y

    def term(self, data: Tensor) -> DataTerm:
        return SquaredTerm(data) if self.potential is None else BregmanTerm(self.potential, data)


@dataclass(frozen=True)
class Counts(Case):
    """Kullback-Leibler, whose variable is the output itself."""

    background: float = 0.3

    def term(self, data: Tensor) -> DataTerm:
        return KullbackLeiblerTerm(data, data.new_full(data.shape[:1], self.background))


CASES = {
    "kullback-leibler": Counts(None, 0.0, 3.0, 0.0),
    "squared": Case(None, -2.0, 2.0),
    "identity": Case(Zero(), -2.0, 2.0),
    "relu": Case(NonNegative(), 0.0, 2.0, 0.0),
    "hardtanh": Case(Box(-1.0, 1.0), -1.0, 1.0, 1.0),
    "leaky relu": Case(LeakyReLUPotential(0.1), -1.0, 2.0),
    "tanh": Case(TanhEntropy(), -0.95, 0.95),
    "sigmoid": Case(LogisticEntropy(), 0.03, 0.97),
    "softplus": Case(SoftplusPotential(), 0.05, 3.0),
}
STEPS = (0.01, 0.3, 1.0, 20.0)
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def points(batch: int = 5, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(batch, ENTRIES, generator=torch.Generator().manual_seed(11), dtype=F64)


def entry(case: Case, y: float) -> DataTerm:
    return case.term(torch.tensor([[y]], dtype=F64))


def at(term: DataTerm, v: float) -> float:
    return float(term(torch.tensor([[v]], dtype=F64)))


@each_case
def test_the_term_is_the_energy_of_the_activation(case: Case) -> None:
    """Zero with zero gradient where the data are the activation of z, and never below 1/2||sigma(z) - y||^2."""
    z = points()
    if isinstance(case, Counts):
        z = z.clamp(min=0)
    y = z if case.potential is None else case.potential.prox(z)
    assert case.term(y)(z).abs().max() < 1e-12 and case.term(y).gradient(z).abs().max() < 1e-12
    term = case.term(case.data())
    assert (term(z) >= term.gradient(z).square().sum(1) / (2 * term.curvature) - 1e-12).all()


@each_case
def test_the_gradient_is_as_steep_as_its_curvature_says_and_no_steeper(case: Case) -> None:
    term, a, b = case.term(case.data()), points(), points(scale=1.0).flip(0)
    rise = (term.gradient(a) - term.gradient(b)).norm(dim=1)
    assert (rise <= (1 + 1e-12) * term.curvature * (a - b).norm(dim=1)).all() and (term.curvature > 0).all()


def test_kullback_leibler_is_scipys_relative_entropy_and_stays_exact_near_the_data() -> None:
    generator = np.random.default_rng(0)
    y, z, b = generator.poisson(3.0, (4, 6)).astype(float), generator.random((4, 6)) * 5, 0.2
    term = KullbackLeiblerTerm(torch.as_tensor(y), torch.full((4,), b, dtype=F64))
    np.testing.assert_allclose(term(torch.as_tensor(z)), kl_div(y + b, z + b).sum(1), rtol=1e-12)
    near = KullbackLeiblerTerm(torch.full((1, 1), 2.0, dtype=F64), torch.full((1,), 0.5, dtype=F64))
    h = 1e-7
    assert near(torch.full((1, 1), 2.0 + h, dtype=F64)).item() == pytest.approx(h**2 / 2 / 2.5, rel=1e-6)


def test_counts_are_reconstructed_from_poisson_noise() -> None:
    """Behind positive weights the optimum is scipy's; the weight of the rule comes from the norm that add_noise returns."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Linear(6, 30, bias=False).double().eval()
    with torch.no_grad():
        model.weight.abs_().mul_(40)
        truth = torch.rand(2, 6, dtype=F64, generator=torch.Generator().manual_seed(1))
        clean = model(truth)
    data, level = ni.add_noise(clean, sigma=float(clean.mean()) ** 0.5, kind="poisson", seed=0)
    settings = {"input_shape": (6,), "fidelity": ni.KullbackLeibler(), "constraint": ni.NonNegative(), "tolerance": 1e-6}
    result = ni.invert(model, data, noise_level=level, **settings)
    assert result.converged and ((result.x - truth).norm(dim=1) < 0.3 * truth.norm(dim=1)).all()
    weight = model.weight.detach().numpy()
    fixed = ni.invert(model, data, rule=ni.Fixed(0.5), regulariser=ni.Tikhonov(), **settings)
    for sample, x in zip(data.numpy(), fixed.x.numpy(), strict=True):
        y, b = sample.clip(min=0), 0.01 * sample.clip(min=0).mean()

        def objective(v: np.ndarray, y: np.ndarray = y, b: float = b) -> float:
            return float(kl_div(y + b, weight @ v + b).sum() + 0.25 * v @ v)

        oracle = minimize(objective, np.full(6, 0.5), bounds=[(0, None)] * 6, options={"ftol": 1e-14, "gtol": 1e-10})
        assert objective(x) <= oracle.fun * (1 + 1e-6)


def test_what_is_no_count_is_refused() -> None:
    with pytest.raises(ValueError, match="KullbackLeibler: background is 0"):
        ni.KullbackLeibler(background=0)
    with pytest.raises(ValueError, match="more than half of the data are negative in sample 1"):
        ni.invert(
            nn.Linear(3, 4).eval(),
            torch.tensor([[1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -3.0, 4.0]]),
            input_shape=(3,),
            noise_level=0.1,
            fidelity=ni.KullbackLeibler(),
        )


@each_case
def test_gradient_against_central_differences(case: Case) -> None:
    data, z, h = case.data(), points() + 0.123, 1e-5  # away from the kinks of the gradient
    term = case.term(data)
    found = term.gradient(z)
    for i in range(ENTRIES):
        shift = torch.zeros_like(z)
        shift[:, i] = h
        slope = (term(z + shift) - term(z - shift)) / (2 * h)
        torch.testing.assert_close(slope, found[:, i], rtol=1e-6, atol=1e-8)


@each_case
@pytest.mark.parametrize("step", STEPS)
def test_prox_is_the_minimiser_found_by_scipy(case: Case, step: float) -> None:
    for y, z in zip(case.data(2).flatten().tolist(), points(2).flatten().tolist(), strict=True):
        term = entry(case, y)

        def objective(v: float, term: DataTerm = term, z: float = z) -> float:
            return step * at(term, v) + 0.5 * (v - z) ** 2

        found = term.prox(torch.tensor([[z]], dtype=F64), step).item()
        reach = 2 + 10 * abs(z) + 40 * step
        oracle = minimize_scalar(objective, bounds=(z - reach, z + reach), method="bounded", options={"xatol": 1e-11})
        assert objective(found) <= oracle.fun + 1e-12 * (1 + abs(oracle.fun))
        assert found == pytest.approx(oracle.x, abs=3e-6 * (1 + abs(z)))


@each_case
def test_prox_meets_the_optimality_condition_with_a_step_for_each_sample(case: Case) -> None:
    data, z, steps = case.data(), points(), torch.tensor([1e-3, 0.1, 1.0, 7.0, 100.0], dtype=F64)
    term = case.term(data)
    v = term.prox(z, steps)
    torch.testing.assert_close(v + steps[:, None] * term.gradient(v), z, rtol=1e-9, atol=1e-9)


@each_case
def test_conjugate_is_the_supremum(case: Case) -> None:
    """Fenchel-Young holds everywhere, with equality at gradients; a search finds no larger <p, z> - G(z)."""
    term = case.term(case.data())
    z, other = points(), points(scale=1.5).flip(0)
    p = term.gradient(other)
    young = term(z) + term.conjugate(p) - (p * z).sum(1)
    assert (young >= -1e-12).all()
    assert (term(other) + term.conjugate(p) - (p * other).sum(1)).abs().max() < 1e-10
    for y, slope_at in zip(case.data(1).flatten().tolist(), (-1.3, 0.4, 0.9, 2.0), strict=True):
        single = entry(case, y)
        q = single.gradient(torch.tensor([[slope_at]], dtype=F64))
        best = minimize_scalar(
            lambda v, single=single, q=q: at(single, v) - q.item() * v,
            bounds=(-60, 60),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert single.conjugate(q).item() == pytest.approx(-best.fun, abs=1e-8)


@pytest.mark.parametrize(
    "potential, y, p",
    [(NonNegative(), 0.5, -0.6), (Box(-1.0, 1.0), 0.5, 0.6), (TanhEntropy(), 0.2, 0.9), (LogisticEntropy(), 0.4, -0.5)],
)
def test_conjugate_is_infinite_outside_its_domain(potential: Potential, y: float, p: float) -> None:
    """q + y outside the closed range: <q, z> - B(y, z) grows without bound along a half-line."""
    term = BregmanTerm(potential, torch.tensor([[y]], dtype=F64))
    assert term.conjugate(torch.tensor([[p]], dtype=F64)).item() == float("inf")
    direction = 1.0 if p > 0 else -1.0
    values = [p * direction * t - at(term, direction * t) for t in (10.0, 100.0, 1000.0)]
    assert values[0] < values[1] < values[2]


@each_case
@pytest.mark.parametrize("step", STEPS)
def test_conjugate_prox_is_moreaus(case: Case, step: float) -> None:
    """prox_{sG*}(p) = p - s prox_{G/s}(p/s), with prox_G found by scipy, so that neither side borrows from the other."""
    for y, p in zip(case.data(1).flatten().tolist(), (-1.7, -0.2, 0.3, 2.5), strict=True):
        term = entry(case, y)

        def objective(v: float, term: DataTerm = term, p: float = p) -> float:
            return at(term, v) / step + 0.5 * (v - p / step) ** 2

        reach = 2 + (3 * abs(p) + 4) / step
        v = minimize_scalar(objective, bounds=(p / step - reach, p / step + reach), method="bounded", options={"xatol": 1e-12}).x
        found = prox_conjugate(term, torch.tensor([[p]], dtype=F64), step).item()
        assert found == pytest.approx(p - step * v, abs=3e-6 * (1 + reach * step))


@each_case
def test_samples_are_selected(case: Case) -> None:
    term, z, index = case.term(case.data()), points(), torch.tensor([3, 0])
    torch.testing.assert_close(term.select(index)(z[index]), term(z)[index], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(term.select(index).gradient(z[index]), term.gradient(z)[index], rtol=1e-14, atol=1e-14)


def test_the_default_follows_the_last_node() -> None:
    relu = lift(nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval(), torch.zeros(2, 3))
    affine = mlp((3, 5, 4))
    assert isinstance(default_fidelity(relu), BregmanFidelity) and isinstance(default_fidelity(affine), SquaredFidelity)
    x = torch.randn(2, 3)
    with torch.no_grad():
        assert torch.equal(BregmanFidelity().variable(relu)(x).clamp(min=0), relu(x))
        assert torch.equal(SquaredFidelity().variable(relu)(x), relu(x))


def test_data_are_projected_onto_the_range() -> None:
    """The nearest point of the range on a lattice, and how far each sample moved."""
    y = torch.tensor([[-0.5, 0.2, 1.7], [0.1, 0.3, 0.4]], dtype=F64)
    for activation, low, high in (
        (nn.ReLU(), 0.0, 3.0),
        (nn.Hardtanh(), -1.0, 1.0),
        (nn.Sigmoid(), 0.0, 1.0),
        (nn.Tanh(), -1.0, 1.0),
    ):
        network = lift(nn.Sequential(nn.Linear(2, 3), activation).double().eval(), torch.zeros(2, 2, dtype=F64))
        projected, moved = project_data(network, y)
        lattice = np.linspace(low, high, 30_001)
        nearest = lattice[np.abs(y.numpy()[..., None] - lattice).argmin(-1)]
        np.testing.assert_allclose(projected.numpy(), nearest, atol=1e-4)
        np.testing.assert_allclose(moved.numpy(), np.linalg.norm(nearest - y.numpy(), axis=1), atol=3e-4)
    network = mlp((2, 4, 3), dtype=F64)
    assert torch.equal(project_data(network, y)[0], y) and project_data(network, y)[1].abs().max() == 0


UNBOUNDED = ("softsign", "arctan", "squareplus", "softplus", "tanh", "sigmoid", "elu", "isrlu", "inverse_square_root", "relu")


@pytest.mark.parametrize("name", UNBOUNDED)
def test_projected_data_can_be_compared_with_every_input(name: str) -> None:
    """Psi and every penalty are finite at them, and they are the nearest such points, up to rounding."""
    potential = potential_of(name)
    y = torch.tensor([[-9.0, 0.3, 9.0], [-0.5, 1.5, 0.2], [0.1, 0.2, 0.3]], dtype=F64)
    projected, moved = project_data(SimpleNamespace(output_potential=potential), y)  # type: ignore[arg-type]
    assert torch.isfinite(potential(projected)).all()
    for z in (-1e4, -1.0, 0.0, 1.0, 1e4):
        assert torch.isfinite(potential.penalty(projected, torch.full_like(y, z))).all()
    torch.testing.assert_close(projected, potential.project(y), rtol=0, atol=1e-13)
    torch.testing.assert_close(moved, (projected - y).norm(dim=1), rtol=0, atol=0)
    assert torch.equal(projected[2], y[2])  # what lies inside stays


def test_data_at_which_no_potential_is_finite_are_refused() -> None:
    class Nowhere(SoftsignPotential):
        def __call__(self, x: Tensor) -> Tensor:
            return torch.full_like(x[:, 0], torch.inf)

    with pytest.raises(ValueError, match=r"project_data: the potential .* is infinite at the data of samples 0, 1,.*SquaredFid"):
        project_data(SimpleNamespace(output_potential=Nowhere()), torch.ones(2, 3, dtype=F64))  # type: ignore[arg-type]


def pre_activations(scale: float, samples: int = 64, entries: int = 300) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return scale * torch.randn(samples, entries, generator=generator, dtype=F64)


LEVELS = (0.001, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7)


@pytest.mark.parametrize("scale", [0.7, 3.0])
@pytest.mark.parametrize("activation", ["relu", "relu6", "hardtanh", "tanh", "sigmoid"])
def test_snapped_data_cost_less_at_the_truth(activation: str, scale: float) -> None:
    """The penalty at the true pre-activation: a tenth at 1 % behind a ReLU, and at no noise level more than 5 % above.

    Above it is where the unknown |z - end| is a fraction of what the other entries suggest: hard tanh of a narrow z.
    """
    potential, z = potential_of(activation), pre_activations(scale)
    y = potential.prox(z)
    for relative in LEVELS:
        data, level = ni.add_noise(y, relative=relative, seed=5)
        projected = potential.project(data)
        left = ni.noise.noise_left_after_projection(data, projected, level)
        found = snap_to_saturation(potential, projected, left, 3.0)
        assert torch.equal(found, potential.project(found))
        plain, snapped = (ni.bregman_penalty(potential, u, z).mean().item() for u in (projected, found))
        assert snapped <= 1.05 * plain, relative
        if activation.startswith("relu") and relative <= 0.01:
            assert snapped < 0.1 * plain


def test_snapping_keeps_to_the_nearest_end_and_its_half() -> None:
    data, level = torch.tensor([[0.0, -0.5, 0.5, -0.9, -1.0, 1.0]], dtype=F64), torch.ones(1, dtype=F64)
    assert torch.equal(snap_to_saturation(Box(-1.0, 1.0), data, level, 3.0), data)  # every entry is within the noise of both ends
    y = torch.full((1, 400), 0.5, dtype=F64)
    y[:, :100], y[:, 100:200], y[:, 200:250], y[:, 250:300] = -1.0, 1.0, -0.99, 0.99
    found = snap_to_saturation(Box(-1.0, 1.0), y, torch.tensor([0.2], dtype=F64), 3.0)
    assert (found[:, 200:250] == -1).all() and (found[:, 250:300] == 1).all() and torch.equal(found[:, 300:], y[:, 300:])


def test_snapping_leaves_what_it_has_no_reason_to_move() -> None:
    """Nothing at the end shows that entries belong there; no flat end; no noise; an empty batch."""
    y = torch.linspace(0.05, 2.0, 40, dtype=F64).repeat(2, 1)
    level = torch.tensor([1.0, 0.0], dtype=F64)
    assert torch.equal(snap_to_saturation(NonNegative(), y, level, 3.0), y)
    y[:, ::2] = 0.0
    before = y.clone()
    found = snap_to_saturation(NonNegative(), y, level, 3.0)
    assert not torch.equal(found[0], y[0]) and torch.equal(found[1], y[1]) and torch.equal(y, before)
    for potential in (Zero(), TanhEntropy(), LeakyReLUPotential(0.1), potential_of("softmax")):
        assert snap_to_saturation(potential, y, level, 3.0) is y
    assert snap_to_saturation(NonNegative(), y, level, 0.0) is y
    assert snap_to_saturation(NonNegative(), y[:0], level[:0], 2.0).shape == (0, 40)


INF = float("inf")
FLAT_ENDS = {
    "relu": (0.0, INF),
    "relu6": (0.0, 6.0),
    "hardtanh": (-1.0, 1.0),
    "shifted_relu": (0.0, INF),
    **dict.fromkeys(("tanh", "sigmoid", "softplus", "softsign", "elu", "leaky_relu", "softshrink", "softmax"), (-INF, INF)),
}


@pytest.mark.parametrize("name", FLAT_ENDS)
def test_flat_ends_are_the_values_that_a_half_line_is_mapped_to(name: str) -> None:
    potential = potential_of(name)
    ends = tuple(end.item() for end in potential.flat_ends(torch.zeros(1, 3, dtype=F64)))
    assert ends == FLAT_ENDS[name]
    for end, z in zip(ends, ([-50.0, -49.0, -9.0], [50.0, 51.0, 9.0]), strict=True):
        assert np.isinf(end) or potential.prox(torch.tensor([z], dtype=F64)).tolist() == [[end] * 3]


@pytest.mark.parametrize("snap", [-1.0, 0.5, float("nan")])
def test_a_snap_that_cannot_tell_noise_from_signal_is_refused(snap: float) -> None:
    with pytest.raises(
        ValueError, match=r"BregmanFidelity: snap is .*must be 0, which leaves the data as they are, or at least 1"
    ):
        BregmanFidelity(snap)


def test_snapping_makes_the_penalty_at_the_truth_quadratic_in_the_noise() -> None:
    """Without it noise on inactive entries costs in proportion to the noise; with it a tenth of the noise costs a hundredth."""
    generator = torch.Generator().manual_seed(2)
    z = 3 * torch.randn(1, 4000, generator=generator, dtype=F64)
    noise = torch.randn(z.shape, generator=generator, dtype=F64)
    network = lift(nn.Sequential(nn.Linear(2, 4000), nn.ReLU()).double().eval(), torch.zeros(2, 2, dtype=F64))

    def cost(sigma: float, snap: float) -> float:
        fidelity = BregmanFidelity(snap)
        y = (z.clamp(min=0) + sigma * noise).clamp(min=0)
        level = torch.tensor([sigma * 4000**0.5], dtype=F64)
        return float(fidelity.at(network, fidelity.treat(network, y, level))(z))

    assert 0.08 < cost(0.01, 0.0) / cost(0.1, 0.0) < 0.12
    assert cost(0.01, 3.0) / cost(0.1, 3.0) < 0.02
    assert BregmanFidelity().treat(network, z, None) is z and SquaredFidelity().treat(network, z, torch.ones(1)) is z
