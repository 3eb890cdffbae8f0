"""The laws of proximal functions, over one list. A new function is one line in it."""

from __future__ import annotations

from math import inf
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import netinverse.prox as px
from netinverse.prox.rectifiers import Rectifier
from netinverse.prox.scalar import Separable

torch.set_num_threads(1)
F64 = torch.float64
STEPS = [0.01, 0.6, 1.0, 1.7, 40.0]
_BOUNDS = torch.tensor([-1.0, 0.0, -inf, 0.25], dtype=F64), torch.tensor([0.5, inf, 2.0, 0.25], dtype=F64)

SEPARABLE: list[Any] = [
    px.Zero(),
    px.SquaredNorm(),
    px.SquaredNorm(3.0),
    px.L1(),
    px.L1(0.3),
    px.NonNegativeL1(0.8),
    px.Huber(),
    px.Huber(0.2, 3.0),
    px.NonNegative(),
    px.Box(),
    px.Box(-1, 1),
    px.Box(-inf, 0.5),
    px.LeakyReLUPotential(0.2),
    px.TanhEntropy(),
    px.LogisticEntropy(),
    px.SoftplusPotential(),
    px.SoftplusPotential(5.0),
    px.LogSigmoidPotential(),
    px.ArctanPotential(),
    px.SoftsignPotential(),
    px.InverseSquareRootPotential(),
    px.ELUPotential(),
    px.ELUPotential(2.0, 0.5),
    px.ELUPotential(0.5, 1.0, 0.7),
    px.ISRLUPotential(),
    px.SquareplusPotential(),
    px.ElasticNetPotential(),
    px.ElasticNetPotential(0.3, 2.0),
]
POTENTIALS = [
    *SEPARABLE,
    px.Box(*_BOUNDS),
    px.PReLUPotential(torch.tensor([0.2, 1.0, 0.6])),
    px.GroupL21(),
    px.GroupL21(1, 0.4),
    px.Simplex(),
    px.SimplexEntropy(),
    px.SimplexEntropy(1),
]
FUNCTIONS = [
    *POTENTIALS,
    px.Scaled(px.L1(), 2.5),
    px.Scaled(px.TanhEntropy(), 0.3),
    px.Translated(px.Huber(), 0.7),
    px.Translated(px.GroupL21(), 0.7),
    px.Tilted(px.Huber(), torch.tensor(0.4, dtype=F64), torch.tensor(0.2, dtype=F64)),
    px.GroupHuber(1, 0.5),
]
FUNCTION = pytest.mark.parametrize("f", FUNCTIONS, ids=repr)
POTENTIAL = pytest.mark.parametrize("f", POTENTIALS, ids=repr)
NUMBERS = st.lists(st.floats(-30, 30, allow_subnormal=False), min_size=24, max_size=24)


def _pair(numbers: list[float]) -> tuple[Tensor, Tensor]:
    a, b = torch.tensor(numbers, dtype=F64).reshape(2, 1, 3, 4)
    return a, b


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).flatten(1).sum(1)


def _total(entries: Tensor) -> Tensor:
    return entries.flatten(1).sum(1)


def _points(seed: int, scale: float = 2.0, batch: int = 6) -> Tensor:
    return scale * torch.randn(batch, 3, 4, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("f", SEPARABLE, ids=repr)
@pytest.mark.parametrize("step", STEPS)
def test_prox_is_the_minimiser_on_a_lattice_with_the_kinks(f: Any, step: float) -> None:
    lattice = torch.linspace(-12, 12, 240001, dtype=F64)  # spacing 1e-4; 0, ±0.2, ±0.5, ±1 are in it
    values = step * f(lattice[:, None])
    for v in (-3.0, -1.0, -0.45, 0.0, 0.1, 0.5, 0.95, 1.0, 2.5):
        found = f.prox(torch.tensor([[v]], dtype=F64), step)
        objective = values + 0.5 * (lattice - v).square()
        best = lattice[objective.argmin()]
        assert abs(found - best).item() <= 1.01e-4
        assert (step * f(found) + 0.5 * (found - v).square().sum()).item() <= objective.min().item() + 1e-12


@pytest.mark.parametrize("step", [0.3, 1.0])
@pytest.mark.parametrize("kind", ["simplex", "entropy", "group"])
def test_prox_of_coupled_entries_agrees_with_a_cone_solver(kind: str, step: float) -> None:
    v = _points(1)[0]
    x = cp.Variable(v.shape)
    fit = 0.5 * cp.sum_squares(x - v.numpy())
    simplex = [x >= 0, cp.sum(x, axis=1) == 1]
    if kind == "entropy":
        # step Psi + 1/2||x - v||^2 = -step entropy + (1 - step)/2||x||^2 - <v, x> + constant
        objective = -step * cp.sum(cp.entr(x)) + 0.5 * (1 - step) * cp.sum_squares(x) - cp.sum(cp.multiply(v.numpy(), x))
        problem = cp.Problem(cp.Minimize(objective), [cp.sum(x, axis=1) == 1])
    elif kind == "simplex":
        problem = cp.Problem(cp.Minimize(fit), simplex)
    else:
        problem = cp.Problem(cp.Minimize(fit + step * cp.sum(cp.norm(x, 2, axis=0))))
    problem.solve(solver=cp.CLARABEL)
    f: Any = {"simplex": px.Simplex(), "entropy": px.SimplexEntropy(), "group": px.GroupL21()}[kind]
    np.testing.assert_allclose(f.prox(v[None], torch.tensor([step], dtype=F64))[0].numpy(), x.value, atol=3e-5)


@FUNCTION
@pytest.mark.parametrize("step", [0.3, 1.0, 1.7, 40.0])  # a small step would magnify the rounding of v - x
def test_fenchel_young_holds_with_equality_at_the_prox(f: Any, step: float) -> None:
    """(v - x)/step is a subgradient at x = prox(v): f(x) + f*(p) = <x, p>. Ties value, prox and conjugate together."""
    v = _points(2)
    x = f.prox(v, step)
    p = (v - x) / step
    size = f(x).abs() + f.conjugate(p).abs() + _dot(x, p).abs()
    assert torch.isfinite(size).all()
    assert ((f(x) + f.conjugate(p) - _dot(x, p)).abs() <= 1e-10 * (1 + size)).all()


@FUNCTION
def test_fenchel_young_inequality(f: Any) -> None:
    x, p = f.prox(_points(3)), _points(4, 0.5)
    assert (f(x) + f.conjugate(p) >= _dot(x, p) - 1e-10).all()


@FUNCTION
@settings(max_examples=12, deadline=None)
@given(numbers=NUMBERS, step=st.sampled_from(STEPS))
def test_prox_is_firmly_nonexpansive(f: Any, numbers: list[float], step: float) -> None:
    v, w = _pair(numbers)
    x, y = f.prox(v, step), f.prox(w, step)
    assert (_dot(x - y, x - y) <= _dot(x - y, v - w) + 1e-9).all()


@pytest.mark.parametrize("f", [*SEPARABLE, px.GroupL21(), px.Simplex()], ids=repr)
def test_an_array_stands_for_its_tensor(f: Any) -> None:
    x = _points(20)
    torch.testing.assert_close(f.prox(x.numpy(), 0.6), f.prox(x, 0.6), rtol=0, atol=0)
    torch.testing.assert_close(f(f.prox(x).numpy()), f(f.prox(x)), rtol=0, atol=0)


@FUNCTION
def test_steps_per_sample_equal_single_steps_and_leave_the_input_alone(f: Any) -> None:
    v = _points(5, batch=len(STEPS))
    before = v.clone()
    together = f.prox(v, torch.tensor(STEPS, dtype=F64))
    apart = torch.cat([f.prox(v[i : i + 1], step) for i, step in enumerate(STEPS)])
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-11)
    assert torch.equal(v, before)
    assert together.data_ptr() != v.data_ptr()


@FUNCTION
def test_moreau_identity(f: Any) -> None:
    """y = prox_{step f*}(v) has x = (v - y)/step as a subgradient of f* at y: f(x) + f*(y) = <x, y>."""
    v = _points(6)
    for step in (torch.tensor([0.2, 0.5, 1.0, 1.5, 3.0, 7.0], dtype=F64), 0.8):
        y = px.prox_conjugate(f, v, step)
        x = (v - y) / (step[:, None, None] if isinstance(step, Tensor) else step)
        x = f.project(x) if hasattr(f, "project") and not isinstance(f, px.Simplex | px.SimplexEntropy) else x
        size = 1 + f(x).abs() + _dot(x, y).abs()
        assert ((f(x) + f.conjugate(y) - _dot(x, y)).abs() <= 1e-9 * size).all()


@FUNCTION
def test_moreau_envelope_has_the_gradient_of_the_prox(f: Any) -> None:
    x, direction, step, h = _points(7), _points(8), 0.7, 1e-6
    slope = (px.moreau_envelope(f, x + h * direction, step) - px.moreau_envelope(f, x - h * direction, step)) / (2 * h)
    torch.testing.assert_close(slope, _dot((x - f.prox(x, step)) / step, direction), rtol=1e-6, atol=1e-6)


@POTENTIAL
@settings(max_examples=12, deadline=None)
@given(numbers=NUMBERS)
def test_penalty_laws(f: Any, numbers: list[float]) -> None:
    """B is its four terms, at least 1/2||u - sigma(z)||^2, and zero at u = sigma(z)."""
    z, w = _pair(numbers)
    u, s = f.prox(w), f.prox(z)
    found = f.penalty(u, z)
    if torch.isfinite(f(u)).all():
        terms = [0.5 * _dot(u, u), f(u), f.smooth_conjugate(z), -_dot(u, z)]
        torch.testing.assert_close(found, sum(terms), rtol=1e-9, atol=1e-12 * (1 + sum(t.abs() for t in terms).max().item()))
    assert (found >= 0.5 * _dot(u - s, u - s) * (1 - 1e-9) - 1e-25).all()
    # u = sigma(z) rounded is off by an ulp, where B is as large as that ulp times the slope of Psi, which is z - u.
    assert (f.penalty(s, z) <= 1e-15 * (1 + z.abs().max() + z.square().max() * 1e-3)).all()


@POTENTIAL
def test_gradient_of_the_penalty_is_activation_minus_u(f: Any) -> None:
    z, u, direction, h = _points(9), f.prox(_points(10)), _points(11), 1e-5
    slope = (f.penalty(u, z + h * direction) - f.penalty(u, z - h * direction)) / (2 * h)
    gradient = f.prox(z) - u
    torch.testing.assert_close(slope, _dot(gradient, direction), rtol=1e-6, atol=1e-6)
    assert (_dot(gradient, gradient) <= 2 * f.penalty(u, z) * (1 + 1e-12)).all()


@pytest.mark.parametrize("f", [*SEPARABLE, px.Box(*_BOUNDS), px.PReLUPotential(torch.tensor([0.2, 1.0, 0.6]))], ids=repr)
def test_the_slope_is_the_derivative_of_the_activation(f: Any) -> None:
    """At points between the corners, from where the activation is flat to where it is steep."""
    z, h = torch.linspace(-4.03, 4.07, 48, dtype=F64).reshape(4, 3, 4), 1e-6
    slope = (f.activation(z + h) - f.activation(z - h)) / (2 * h)
    torch.testing.assert_close(f.slope(z), slope, rtol=1e-8, atol=1e-8)
    assert f.slope(z.float()).dtype == torch.float32


RECTIFIERS = [f for f in SEPARABLE if isinstance(f, Rectifier)] + [px.PReLUPotential(torch.tensor([0.2, 1.0, 0.6]))]


@pytest.mark.parametrize("f", RECTIFIERS, ids=repr)
def test_the_left_half_of_a_rectifier_is_all_of_it_there(f: Any) -> None:
    """By its own functions: sigma, its slope, its antiderivative, x^2/2 + psi and the penalty."""
    z = -_points(17).abs()
    u = f.prox(-_points(18).abs())
    torch.testing.assert_close(f.left(z), f.activation(z), rtol=1e-14, atol=0)
    torch.testing.assert_close(f.left_slope(z), f.slope(z), rtol=1e-14, atol=0)
    torch.testing.assert_close(_total(f.left_antiderivative(z)), f.smooth_conjugate(z), rtol=1e-13, atol=0)
    torch.testing.assert_close(_total(f.left_energy(u)), f(u) + 0.5 * _dot(u, u), rtol=1e-13, atol=0)
    torch.testing.assert_close(_total(f.left_penalty(u, z)), f.penalty(u, z), rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("base", "names"),
    [
        (Separable, ("entries", "activation", "slope", "antiderivative", "penalties")),
        (Rectifier, ("left", "left_slope", "left_energy", "left_antiderivative", "left_penalty")),
    ],
)
def test_a_potential_that_lacks_a_part_cannot_be_made(base: type, names: tuple[str, ...]) -> None:
    parts = {name: lambda self, *args: args[0] for name in names}
    type("Complete", (base,), parts)()
    for name in names:
        with pytest.raises(TypeError, match=name):
            type("Incomplete", (base,), {other: part for other, part in parts.items() if other != name})()


@pytest.mark.parametrize("build", [px.SimplexEntropy, px.GroupL21, px.GroupHuber])
def test_an_axis_counted_from_the_end_is_the_one_counted_from_the_front(build: Any) -> None:
    x = _points(19)
    for before, behind in ((1, -2), (2, -1)):
        assert torch.equal(build(before).prox(x, 0.7), build(behind).prox(x, 0.7))


@POTENTIAL
def test_flat_ends_are_the_values_on_half_lines(f: Any) -> None:
    """An end is finite exactly where the activation stays at it from some point on; it has the dtype of the point."""
    ends = f.flat_ends(_points(0, batch=2))
    assert all(end.dtype == torch.float32 for end in f.flat_ends(torch.zeros(1, 3, 4)))
    if isinstance(f, px.Simplex | px.SimplexEntropy):  # entries that move together move no entry
        assert all(end.isinf() for end in ends)
        return
    for sign, end in zip((-1, 1), ends, strict=True):
        far, farther = (f.prox(torch.full((2, 3, 4), sign * size, dtype=F64)) for size in (5.0, 6.0))
        flat = end.isfinite().expand_as(far)
        assert torch.equal(far == farther, flat)
        assert torch.equal(far[flat], end.expand_as(far)[flat])


@pytest.mark.parametrize("weight", [0.3, 2.0])
def test_soft_shrinkage_says_where_it_is_constant(weight: float) -> None:
    value, half = px.L1(weight).plateau
    z = torch.linspace(-3, 3, 61, dtype=F64)[:, None]
    constant = px.L1(weight).activation(z) == value
    assert torch.equal(constant, z.abs() <= half)


WITH_SUBGRADIENTS = [
    px.Zero(),
    px.SquaredNorm(3.0),
    px.L1(0.3),
    px.GroupL21(1, 0.4),
    px.Huber(0.2, 3.0),
    px.ElasticNetPotential(0.3, 2.0),
    px.GroupHuber(1, 0.5),
    px.Translated(px.L1(0.3), 0.7),
]


@pytest.mark.parametrize("f", WITH_SUBGRADIENTS, ids=repr)
def test_the_nearest_subgradient(f: Any) -> None:
    """It is a subgradient (Fenchel-Young with equality), and the projection: no other one makes an acute angle with the rest."""
    x = _points(15)
    x[:, :, :2] = 0.7 if isinstance(f, px.Translated) else 0.0
    q = 3 * _points(16)
    q[0] *= 0.01  # inside the subdifferential at a kink, which leaves it where it is
    p = f.nearest_subgradient(x, q)
    assert px.subgradient_distance(f, x, p).max() < 1e-12
    torch.testing.assert_close(f(x) + f.conjugate(p), _dot(x, p), rtol=1e-12, atol=1e-12)
    for seed in range(20):
        another = f.nearest_subgradient(x, _points(100 + seed))
        assert (_dot(q - p, another - p) <= 1e-12).all()


def test_what_has_no_known_subdifferential_is_refused() -> None:
    with pytest.raises(TypeError, match=r"somebody: Simplex has no nearest_subgradient, .* Use a regulariser built from a norm"):
        px.subdifferential_of("somebody", px.Simplex())
    with pytest.raises(TypeError, match="Translated: Simplex has no nearest_subgradient"):
        px.Translated(px.Simplex(), 1.0).nearest_subgradient(torch.zeros(1, 3), torch.zeros(1, 3))


def test_entries_beside_zero_are_taken_for_zero_sample_by_sample() -> None:
    x = torch.tensor([[1.0, 1e-9, -1e-11, 0.0], [1e-3, -1e-9, 1e-11, 1e-14], [0.0, 0.0, 0.0, 0.0]], dtype=F64)
    expected = [[1.0, 1e-9, 0.0, 0.0], [1e-3, -1e-9, 1e-11, 0.0], [0.0, 0.0, 0.0, 0.0]]
    assert px.snap_to_zero(x).tolist() == expected
    assert px.snap_to_zero(x.reshape(3, 2, 2)).flatten(1).tolist() == expected
    assert px.snap_to_zero(x, relative=1e-3)[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert px.snap_to_zero(x[:0]).shape == (0, 4)


def test_functions_that_hold_tensors_are_told_apart_as_objects() -> None:
    """Entry by entry they would compare to a tensor, which is neither true nor false."""
    slope = torch.tensor([1.0, 2.0])
    for build in (
        lambda: px.Scaled(px.L1(), slope.clone()),
        lambda: px.Translated(px.L1(), slope.clone()),
        lambda: px.Tilted(px.L1(), slope.clone(), slope.clone()),
        lambda: px.Box(-slope, slope.clone()),
    ):
        one, other = build(), build()
        assert one == one and one != other and len({one, other}) == 2


@POTENTIAL
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_nothing_breaks_at_ten_thousand(f: Any, dtype: torch.dtype) -> None:
    z = torch.tensor([-1e4, -50.0, -1e-30, 0.0, 1e-30, 50.0, 1e4, 88.0, -88.0, 1.0, -710.0, 710.0], dtype=dtype).reshape(1, 3, 4)
    for step in STEPS:
        x = f.prox(z, step)
        assert x.dtype == dtype
        assert torch.isfinite(x).all()
        assert not f(x).isnan().any()
    others = z.flip(1)
    for u in (f.prox(z), f.prox(others), f.project(others)):
        assert not f.penalty(u, z).isnan().any()
        assert f.penalty(u, z).dtype == dtype
    assert torch.isfinite(f.smooth_conjugate(z)).all()
    assert not f.conjugate(z).isnan().any()


@POTENTIAL
def test_projection_reaches_the_closure_of_the_domain(f: Any) -> None:
    x = _points(12, 20.0)
    inside = f.project(x)
    torch.testing.assert_close(f.project(inside), inside, rtol=0, atol=1e-15)
    if not isinstance(f, px.ArctanPotential | px.SoftsignPotential | px.SquareplusPotential):  # infinite at the end of the domain
        assert torch.isfinite(f(inside)).all()
    nearer = f.prox(_points(13))
    assert ((x - inside).flatten(1).norm(dim=1) <= (x - nearer).flatten(1).norm(dim=1) + 1e-12).all()


@pytest.mark.parametrize(
    ("f", "outside"),
    [
        (px.NonNegative(), -1e-9),
        (px.Box(), 1.001),
        (px.TanhEntropy(), 1.0001),
        (px.LogisticEntropy(), -1e-9),
        (px.SoftplusPotential(), -1e-9),
        (px.LogSigmoidPotential(), 1e-9),
        (px.ArctanPotential(), 1.5708),
        (px.SoftsignPotential(), -1.1),
        (px.InverseSquareRootPotential(), 1.0001),
        (px.ELUPotential(), -1.01),
        (px.ISRLUPotential(), -1.01),
        (px.SquareplusPotential(), -0.1),
        (px.NonNegativeL1(), -0.1),
        (px.SimplexEntropy(), 0.5),
        (px.Simplex(), 0.5),
    ],
    ids=repr,
)
def test_infinite_outside_the_domain_and_only_in_that_sample(f: Any, outside: float) -> None:
    good = f.prox(torch.tensor([[0.3, 0.4]], dtype=F64))
    x = torch.cat([good, torch.tensor([[outside, 0.4]], dtype=F64)])
    z = torch.zeros_like(x)
    for value in (f(x), f.penalty(x, z)):
        assert value.isinf().tolist() == [False, True]


def test_values_at_the_boundary() -> None:
    one = torch.ones(1, 1, dtype=F64)
    for f, value in (
        (px.TanhEntropy(), np.log(2) - 0.5),
        (px.LogisticEntropy(), -0.5),
        (px.InverseSquareRootPotential(), -0.5),
    ):
        assert f(one).item() == pytest.approx(value, rel=1e-15)
    assert px.ELUPotential()(-one).item() == pytest.approx(0.5, rel=1e-15)
    assert px.ISRLUPotential()(-one).item() == pytest.approx(0.5, rel=1e-15)
    assert px.SoftplusPotential()(0 * one).item() == 0
    # B(1, z) of tanh is ln(1 + e^(-2z)): the coin that always shows heads.
    assert px.TanhEntropy().penalty(one, 20 * one).item() == pytest.approx(np.log1p(np.exp(-40.0)), rel=1e-12)


def test_conjugates_of_norms_and_sets() -> None:
    x = _points(14)
    assert torch.equal(px.L1().conjugate(x.clamp(-1, 1)), torch.zeros(6, dtype=F64))
    assert px.L1().conjugate(x.clamp(-1.001, 1.001)).isinf().all()
    field = x / x.norm(dim=1, keepdim=True)
    assert torch.equal(px.GroupL21().conjugate(field), torch.zeros(6, dtype=F64))
    assert px.GroupL21().conjugate(1.0001 * field).isinf().all()
    corners = torch.tensor([[a, b] for a in (-1.0, 2.0) for b in (-1.0, 2.0)], dtype=F64)
    p = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(px.Box(-1, 2).conjugate(p), (p @ corners.T).amax(1))
    assert px.NonNegative().conjugate(-p.abs()).eq(0).all()
    assert px.NonNegative().conjugate(p.abs()).isinf().all()


@pytest.mark.parametrize("function", [px.L1(), px.L1(0.5), px.GroupL21(), px.GroupL21(weight=3.0)])
def test_the_dual_ball_of_a_weighted_norm_is_that_of_the_norm_blown_up(function: px.L1 | px.GroupL21) -> None:
    """By Moreau's identity, p - s prox_{w f/s}(p/s), for a weight of each sample; with none at all the ball is a point."""
    weight = torch.tensor([0.3, 2.0, 0.0], dtype=F64)
    p = 3 * torch.randn(3, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    p[0] *= 0.01  # inside the ball
    for step in (0.5, 4.0):
        expected = p - step * function.prox(p / step, weight / step)
        found = px.Scaled(function, weight).conjugate_prox(p, step)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(found[0], p[0]) and found[2].abs().max() == 0


def test_the_zero_weight_switches_a_function_off() -> None:
    f = px.Scaled(px.NonNegative(), torch.tensor([0.0, 1.0], dtype=F64))
    x = torch.tensor([[-1.0, 2.0], [-1.0, 2.0]], dtype=F64)
    assert f(x).tolist() == [0.0, inf]
    assert f.prox(x, 0.5).tolist() == [[-1.0, 2.0], [0.0, 2.0]]
    assert f.conjugate(-x.abs()).tolist() == [inf, 0.0]


def _errors() -> list[tuple[Any, str]]:
    return [
        (lambda: px.Box(1, 0), r"Box: lower is 1 and upper is 0, but .*Swap or repair the bounds"),
        (lambda: px.Box(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 1.0])), "Box: lower is 2 and upper is 1"),
        (lambda: px.Box(float("nan"), 1), "Box: lower is nan"),
        (lambda: px.Scaled(px.L1(), -2.0), "Scaled: weight is -2, but must be zero or positive"),
        (lambda: px.Scaled(px.L1(), torch.tensor([1.0, -3.0])), "Scaled: weight is -3 in sample 1"),
        (lambda: px.L1(0.0), r"L1: weight is 0.0, but must be positive .* Zero\(\)"),
        (lambda: px.GroupL21(0), "GroupL21: axis is 0, but axis 0 counts the samples"),
        (lambda: px.Huber(width=-1.0), "Huber: width is -1.0"),
        (lambda: px.SimplexEntropy(0), "SimplexEntropy: axis is 0, but axis 0 counts the samples"),
        (lambda: px.GroupHuber(axis=0), "GroupHuber: axis is 0, but axis 0 counts the samples"),
        (lambda: px.GroupL21(3)(_points(0)), r"groups: x has shape \(6, 3, 4\), but groups run along axis 3, .* Pass axis=1"),
        (lambda: px.GroupL21(-3)(_points(0)), "groups: x has shape .* axis -3"),
        (lambda: px.TanhEntropy().prox(_points(0), -0.5), r"TanhEntropy.prox: step is -0.5, but must be zero or more"),
        (
            lambda: px.PReLUPotential(torch.tensor([0.5, 0.0])),
            r"PReLUPotential: slopes lie in \[0, 0.5\], but must lie in \(0, 1\]",
        ),
        (lambda: px.LeakyReLUPotential(1.5), r"LeakyReLUPotential: negative_slope is 1.5, but must lie in \(0, 1\]"),
        (lambda: px.ELUPotential(2.0), "ELUPotential: alpha is 2.0.*Divide the activation by its largest slope"),
        (lambda: px.SoftplusPotential(0.0), "SoftplusPotential: beta is 0.0"),
    ]


@pytest.mark.parametrize(("build", "text"), _errors())
def test_errors_say_who_what_and_what_to_do(build: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        build()


@pytest.mark.parametrize("bounds", [("0", 1.0), (torch.zeros(2), torch.ones(3))])
def test_bounds_that_are_no_numbers_or_do_not_fit_are_refused(bounds: Any) -> None:
    with pytest.raises(TypeError, match=r"Box: lower is .* broadcast to the shape of one sample. Write Box\(0.0, 1.0\)"):
        px.Box(*bounds)
