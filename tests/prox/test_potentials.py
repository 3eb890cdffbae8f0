"""Every potential of the activation table against the table itself, evaluated with sixty digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import netinverse.prox as px

torch.set_num_threads(1)
F64 = torch.float64
Z = [0.0, 1e-6, 0.3, 1.0, 2.7, 8.0, 19.0]
POINTS = [-z for z in reversed(Z[1:])] + Z


@dataclass(frozen=True)
class Row:
    """One row of the table: psi and phi as printed there, the activation as torch computes it."""

    name: str
    potential: Any
    psi: Callable[[Any], Any]
    phi: Callable[[Any], Any]
    torch_activation: Callable[[Tensor], Tensor]


def _xlog(x: Any) -> Any:
    return x * mp.log(x) if x else mp.mpf(0)


def _elu_psi(a: Any, rate: Any, k: Any) -> Callable[[Any], Any]:
    a, rate, k = mp.mpf(a), mp.mpf(rate), mp.mpf(k)
    return lambda x: (1 / k - 1) * x**2 / 2 if x >= 0 else a / rate * (_xlog(1 + x / a) - x / a) - x**2 / 2


def _elu_phi(a: Any, rate: Any, k: Any) -> Callable[[Any], Any]:
    a, rate, k = mp.mpf(a), mp.mpf(rate), mp.mpf(k)
    return lambda z: k * z**2 / 2 if z >= 0 else a / rate * (mp.expm1(rate * z) - rate * z)


def _softplus(beta: float) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    b = mp.mpf(beta)
    return (
        lambda x: (mp.re(mp.polylog(2, mp.exp(-b * x))) - mp.pi**2 / 6) / b**2,
        lambda z: -mp.re(mp.polylog(2, -mp.exp(b * z))) / b**2,
    )


def _leaky(a: float) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    m = mp.mpf(a)
    return lambda x: 0 if x >= 0 else (1 / m - 1) * x**2 / 2, lambda z: z**2 / 2 if z >= 0 else m * z**2 / 2


def _huber(width: float, weight: float) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    d, w = mp.mpf(width), mp.mpf(weight)
    return (
        lambda x: w * x**2 / (2 * d) if abs(x) <= d else w * (abs(x) - d / 2),
        lambda z: d * z**2 / (2 * (d + w)) if abs(z) <= d + w else ((abs(z) - w) ** 2 + w * d) / 2,
    )


_SLOPE = torch.tensor([0.2])

# fmt: off
ROWS = [
    Row("identity", px.Zero(), lambda x: 0, lambda z: z**2 / 2, lambda z: z),
    Row("relu", px.NonNegative(), lambda x: 0, lambda z: max(0, z) ** 2 / 2, torch.relu),
    Row("prelu", px.PReLUPotential(_SLOPE), *_leaky(_SLOPE.item()), lambda z: torch.where(z > 0, z, _SLOPE.item() * z)),
    Row("leaky", px.LeakyReLUPotential(0.2), *_leaky(0.2), lambda z: torch.nn.functional.leaky_relu(z, 0.2)),
    Row(
        "soft",
        px.L1(0.7),
        lambda x: mp.mpf(0.7) * abs(x),
        lambda z: max(abs(z) - mp.mpf(0.7), 0) ** 2 / 2,
        lambda z: torch.nn.functional.softshrink(z, 0.7),
    ),
    Row(
        "shifted relu",
        px.NonNegativeL1(0.7),
        lambda x: mp.mpf(0.7) * x,
        lambda z: max(z - mp.mpf(0.7), 0) ** 2 / 2,
        lambda z: torch.relu(z - 0.7),
    ),
    Row(
        "hardtanh",
        px.Box(-1, 1),
        lambda x: 0,
        lambda z: z**2 / 2 if abs(z) <= 1 else abs(z) - mp.mpf(1) / 2,
        torch.nn.functional.hardtanh,
    ),
    Row(
        "tanh",
        px.TanhEntropy(),
        lambda x: mp.log(2) - mp.mpf(1) / 2 if abs(x) == 1 else x * mp.atanh(x) + (mp.log(1 - x**2) - x**2) / 2,
        lambda z: mp.log(mp.cosh(z)),
        torch.tanh,
    ),
    Row(
        "logistic",
        px.LogisticEntropy(),
        lambda x: _xlog(x) + _xlog(1 - x) - x**2 / 2,
        lambda z: mp.log(1 + mp.exp(z)),
        torch.sigmoid,
    ),
    Row("softplus", px.SoftplusPotential(), *_softplus(1.0), lambda z: torch.nn.functional.softplus(z, threshold=1e9)),
    Row("softplus 3.7", px.SoftplusPotential(3.7), *_softplus(3.7), lambda z: torch.nn.functional.softplus(z, 3.7, 1e9)),
    Row(
        "log-sigmoid",
        px.LogSigmoidPotential(),
        lambda x: mp.re(mp.polylog(2, mp.exp(x))) - mp.pi**2 / 6,
        lambda z: -mp.re(mp.polylog(2, -mp.exp(-z))),
        torch.nn.functional.logsigmoid,
    ),
    Row(
        "arctan",
        px.ArctanPotential(),
        lambda x: -mp.log(mp.cos(x)) - x**2 / 2,
        lambda z: z * mp.atan(z) - mp.log(1 + z**2) / 2,
        torch.atan,
    ),
    Row(
        "softsign",
        px.SoftsignPotential(),
        lambda x: -abs(x) - mp.log(1 - abs(x)) - x**2 / 2,
        lambda z: abs(z) - mp.log(1 + abs(z)),
        torch.nn.functional.softsign,
    ),
    Row(
        "inverse square root",
        px.InverseSquareRootPotential(),
        lambda x: -mp.sqrt(1 - x**2) - x**2 / 2,
        lambda z: mp.sqrt(1 + z**2),
        lambda z: z / torch.sqrt(1 + z**2),
    ),
    Row("elu", px.ELUPotential(), _elu_psi(1, 1, 1), _elu_phi(1, 1, 1), torch.nn.functional.elu),
    Row(
        "celu 1.7",
        px.ELUPotential(1.7, 1 / 1.7),
        _elu_psi(1.7, 1 / 1.7, 1),
        _elu_phi(1.7, 1 / 1.7, 1),
        lambda z: torch.nn.functional.celu(z, 1.7),
    ),
    Row("elu 0.4", px.ELUPotential(0.4), _elu_psi(0.4, 1, 1), _elu_phi(0.4, 1, 1), lambda z: torch.nn.functional.elu(z, 0.4)),
    Row(
        "elu slopes",
        px.ELUPotential(1.0, 1.0, 0.6),
        _elu_psi(1, 1, 0.6),
        _elu_phi(1, 1, 0.6),
        lambda z: torch.where(z < 0, torch.expm1(z), 0.6 * z),
    ),
    Row(
        "isrlu",
        px.ISRLUPotential(),
        lambda x: 0 if x >= 0 else 1 - mp.sqrt(1 - x**2) - x**2 / 2,
        lambda z: z**2 / 2 if z >= 0 else mp.sqrt(1 + z**2) - 1,
        lambda z: torch.where(z < 0, z / torch.sqrt(1 + z**2), z),
    ),
    Row(
        "squareplus",
        px.SquareplusPotential(),
        lambda x: -mp.log(2 * x) / 4 - mp.mpf(1) / 8,
        lambda z: (z**2 + z * mp.sqrt(z**2 + 1) + mp.asinh(z)) / 4,
        lambda z: torch.sqrt((z / 2) ** 2 + 0.25) + z / 2,
    ),
]
# fmt: on
ROW = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def _exact(row: Row, u: Tensor, z: Tensor) -> Any:
    """B(u, z) from the table, at exactly these floating-point numbers."""
    with mp.workdps(250 if abs(z.item()) > 30 else 60):
        a, b = mp.mpf(u.item()), mp.mpf(z.item())
        return a**2 / 2 + row.psi(a) + row.phi(b) - a * b


def _column(values: list[float], dtype: torch.dtype = F64) -> Tensor:
    return torch.tensor(values, dtype=dtype)[:, None]


@ROW
def test_step_one_is_the_activation(row: Row) -> None:
    for dtype, tolerance in ((F64, 1e-14), (torch.float32, 1e-6)):
        z = _column(POINTS, dtype)
        torch.testing.assert_close(row.potential.prox(z), row.torch_activation(z), rtol=tolerance, atol=tolerance)
        one = torch.ones(len(z), dtype=dtype)
        torch.testing.assert_close(row.potential.prox(z, one), row.torch_activation(z), rtol=8 * tolerance, atol=8 * tolerance)


@ROW
def test_smooth_conjugate_is_phi(row: Row) -> None:
    z = _column(POINTS)
    with mp.workdps(50):
        expected = [float(row.phi(mp.mpf(t))) for t in POINTS]
    torch.testing.assert_close(row.potential.smooth_conjugate(z), torch.tensor(expected, dtype=F64), rtol=2e-14, atol=1e-15)


@ROW
def test_value_is_psi(row: Row) -> None:
    u = row.torch_activation(_column([z for z in POINTS if abs(z) < 9]))
    with mp.workdps(50):
        expected = [float(row.psi(mp.mpf(t.item()))) for t in u]
    torch.testing.assert_close(row.potential(u), torch.tensor(expected, dtype=F64), rtol=1e-13, atol=1e-15)


@ROW
def test_penalty_to_ten_digits_also_where_it_is_tiny(row: Row) -> None:
    """u from far away to within rounding of sigma(z): every value of B above 1e-20 is right to ten digits."""
    worst, smallest = 0.0, 1.0
    for z in _column(POINTS):
        s = row.torch_activation(z)
        candidates = [s + sign * d for d in (3.0, 0.4, 0.02, 1e-4, 1e-7, 1e-9, 2e-10) for sign in (-1, 1)]
        others = row.torch_activation(_column(POINTS))
        for u in [*candidates, *others]:
            if row.potential(u[None]).isinf():
                continue
            exact = _exact(row, u, z)
            if exact < 1e-20:
                continue
            found = row.potential.penalty(u[None], z[None]).item()
            worst, smallest = max(worst, float(abs(found - exact) / exact)), min(smallest, float(exact))
    assert worst < 1e-10
    assert smallest < 1e-16  # tiny penalties were among them


@ROW
@settings(max_examples=40, deadline=None)
@given(
    size=st.floats(-8, 2.2),
    sign=st.sampled_from([-1, 1]),
    gap=st.floats(-12, 0.5),
    side=st.sampled_from([-1, 1]),
    relative=st.booleans(),
)
def test_penalty_to_ten_digits_at_any_scale(row: Row, size: float, sign: int, gap: float, side: int, relative: bool) -> None:
    z = torch.tensor([sign * 10**size], dtype=F64)
    s = row.torch_activation(z)
    u = s + side * 10**gap * (s.abs() if relative else 1)
    if row.potential(u[None]).isinf():
        return
    exact = _exact(row, u, z)
    if exact > 1e-20:
        assert abs(row.potential.penalty(u[None], z[None]).item() - exact) <= 1e-10 * exact


@ROW
def test_penalty_in_single_precision_is_right_to_single_precision(row: Row) -> None:
    """At exactly these float32 numbers, one rounding away from the truth."""
    z = _column(POINTS, torch.float32)
    for u in (row.torch_activation(z.flip(0)), row.torch_activation(z), row.potential.prox(z + 1e-3)):
        wide = row.potential.penalty(row.potential.project(u.double()), z.double())
        found = row.potential.penalty(u, z)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), wide, rtol=1e-7, atol=1e-37)
