"""The discrepancy principle on residual functions that are known in closed form, and on a convex problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netinverse as ni
from netinverse.parameter_choice import DiscrepancyPrinciple, Fixed, ParameterChoice, RuleProblem
from netinverse.solvers.status import Status

F64 = torch.float64
RULE = DiscrepancyPrinciple()
Residual = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Recorder:
    """``solve_at`` for residual(alpha, samples); quick solutions are off by up to one part in 500. Remembers what was asked."""

    residual: Residual
    sloppy: float = 0.0
    asked: list[tuple[Tensor, Tensor, bool]] = field(default_factory=list)

    def __call__(self, alpha: Tensor, samples: Tensor, *, final: bool) -> Tensor:
        self.asked.append((alpha.clone(), samples.clone(), final))
        exact = self.residual(alpha, samples)
        return exact if final else exact * (1 + self.sloppy * torch.sin(1e3 * alpha.log()))

    def last(self, sample: int) -> tuple[float, bool]:
        return [(a[s == sample].item(), f) for a, s, f in self.asked if (s == sample).any()][-1]


def choose(
    residual: Residual, noise: list[float], data: list[float], start: float = 10.0, **rule: float
) -> tuple[ParameterChoice, Recorder]:
    problem = RuleProblem(
        noise_level=torch.tensor(noise, dtype=F64),
        data_norm=torch.tensor(data, dtype=F64),
        start=torch.full((len(noise),), start, dtype=F64),
    )
    recorder = Recorder(residual, sloppy=0.002)
    return DiscrepancyPrinciple(**rule).choose(problem, recorder), recorder  # type: ignore[arg-type]


def power(scale: float, exponent: float, floor: float = 0.0) -> Residual:
    """floor + scale alpha^exponent, held below 100 as a residual is by the norm of the data."""
    return lambda alpha, samples: (floor + scale * alpha**exponent).clamp(max=100.0)


@given(st.floats(-2, 2), st.floats(0.15, 1.0), st.lists(st.floats(-0.9, 1.0), min_size=1, max_size=4), st.floats(-2, 3))
def test_the_residual_ends_in_the_band(scale: float, exponent: float, noise: list[float], start: float) -> None:
    """(aim - accuracy) tau delta <= residual <= tau delta, whatever the curve and wherever the walk begins.

    For noise above a thousandth of the data; below it the floor of the rule speaks.
    """
    rule, levels = DiscrepancyPrinciple(), [10**n for n in noise]
    residual = power(10**scale, exponent)
    choice, recorder = choose(residual, levels, [100.0] * len(noise), 10**start)
    for i, level in enumerate(levels):
        bound = rule.tau * level
        assert choice.verdict[i] is Status.CONVERGED
        found = residual(choice.alpha[i : i + 1], torch.tensor([i])).item()
        assert (rule.aim - rule.accuracy) * bound * (1 - 1e-9) <= found <= bound * (1 + 1e-9)
        assert recorder.last(i) == (choice.alpha[i].item(), True)  # solved accurately at the weight returned


@given(st.floats(0.05, 0.94), st.floats(0.3, 1.0))
def test_a_plateau_below_the_aim_is_no_obstacle(share: float, exponent: float) -> None:
    residual = power(1.0, exponent, floor=share * 1.01 * 0.1)
    choice, _ = choose(residual, [0.1], [50.0])
    found = residual(choice.alpha, torch.tensor([0])).item()
    assert choice.verdict == (Status.CONVERGED,) and (RULE.aim - RULE.accuracy) * 0.101 <= found <= 0.101


def test_a_plateau_between_the_aim_and_the_bound_moves_the_aim() -> None:
    """The residual cannot fall below 0.98 of what is allowed; it is accepted there, and not given up."""
    residual = power(1.0, 0.7, floor=0.98 * 0.101)
    choice, _ = choose(residual, [0.1], [100.0])
    found = residual(choice.alpha, torch.tensor([0])).item()
    assert choice.verdict == (Status.CONVERGED,) and 0.98 * 0.101 <= found <= 0.101


@pytest.mark.parametrize("exponent", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("excess", [1.05, 1.5, 20.0])
def test_a_plateau_above_the_noise_is_unreachable(exponent: float, excess: float) -> None:
    """The weight returned is where the residual stopped falling: solved there, and less weight would bring under 10 %."""
    residual = power(1.0, exponent, floor=excess * 0.101)
    choice, recorder = choose(residual, [0.1], [100.0])
    assert choice.verdict == (Status.UNREACHABLE,)
    assert recorder.last(0) == (choice.alpha.item(), True)
    assert residual(choice.alpha, torch.tensor([0])).item() <= 1.1 * excess * 0.101


def test_noise_at_least_as_large_as_the_data() -> None:
    choice, recorder = choose(power(1.0, 0.5), [100.0, 150.0, 0.2], [100.0, 100.0, 100.0])
    assert choice.verdict == (Status.NOISE_EXCEEDS_DATA, Status.NOISE_EXCEEDS_DATA, Status.CONVERGED)
    for i in (0, 1):
        assert recorder.last(i) == (choice.alpha[i].item(), True)
        assert choice.alpha[i] == 10.0  # the heavy weight it began from


def test_noise_zero_is_served_down_to_the_floor() -> None:
    """No alpha gives a residual of zero; the rule stops at its floor, relative to the data."""
    choice, recorder = choose(power(1.0, 0.8), [0.0], [100.0])
    assert choice.verdict == (Status.CONVERGED,)
    assert power(1.0, 0.8)(choice.alpha, torch.tensor([0])).item() <= DiscrepancyPrinciple().floor * 100
    assert recorder.last(0) == (choice.alpha.item(), True)
    stuck, _ = choose(power(1.0, 0.8, floor=1.0), [0.0], [100.0])
    assert stuck.verdict == (Status.UNREACHABLE,)


MIXED_NOISE, MIXED_DATA = [0.1, 0.1, 200.0, 0.0, 3.0, 0.07], [100.0] * 6


def mixed(alpha: Tensor, samples: Tensor) -> Tensor:
    """A curve of its own for each sample; the second has a plateau above the noise."""
    scale = torch.tensor([1.0, 1.0, 1.0, 0.3, 5.0, 0.01], dtype=F64)[samples]
    exponent = torch.tensor([0.5, 0.7, 0.5, 0.9, 0.2, 1.0], dtype=F64)[samples]
    floor = torch.tensor([0.0, 0.3, 0.0, 0.0, 0.0, 0.0], dtype=F64)[samples]
    return (floor + scale * alpha**exponent).clamp(max=100.0)


def test_a_sample_chooses_alone_as_in_the_batch() -> None:
    together, record = choose(mixed, MIXED_NOISE, MIXED_DATA)
    assert len(set(together.alpha.tolist())) == 6
    for i in range(6):
        alone, single = choose(lambda a, s, i=i: mixed(a, s + i), MIXED_NOISE[i : i + 1], MIXED_DATA[i : i + 1])
        assert alone.verdict[0] is together.verdict[i]
        assert alone.alpha.item() == pytest.approx(together.alpha[i].item(), rel=1e-12)
        asked = [(a[s == i].item(), f) for a, s, f in record.asked if (s == i).any()]
        assert len(asked) == len(single.asked)


def test_the_tries_are_bounded_and_the_last_is_accurate() -> None:
    """A residual that ignores alpha half of the time closes no bracket."""

    def wild(alpha: Tensor, samples: Tensor) -> Tensor:
        return 0.2 * (2 + torch.sin(1e4 * alpha))

    choice, recorder = choose(wild, [0.0001], [100.0], floor=0.0)
    assert len(recorder.asked) <= DiscrepancyPrinciple().max_tries
    assert choice.verdict[0] in (Status.SEARCH_LIMIT, Status.UNREACHABLE) and recorder.last(0)[1]


@pytest.mark.parametrize("place", [1e-3, 0.7, 40.0])
def test_a_jump_across_the_noise_level_is_found_and_said_with_the_residual_below(place: float) -> None:
    def jump(alpha: Tensor, samples: Tensor) -> Tensor:
        return torch.where(alpha > place, 5.0, 0.01) * (alpha / place) ** 0.3

    choice, recorder = choose(jump, [1.0], [100.0], 1.0, floor=0.0)
    assert choice.verdict == (Status.RESIDUAL_JUMPS,)
    assert 0.85 * place <= choice.alpha.item() <= place
    assert recorder.last(0) == (choice.alpha.item(), True) and len(recorder.asked) <= 30


CURVES: dict[str, Residual] = {
    "power": power(3.0, 0.6),
    "plateau below": power(1.0, 0.5, floor=2.0),
    "plateau above": lambda alpha, samples: 0.5 * alpha / (1 + alpha),
    "flat": lambda alpha, samples: torch.ones_like(alpha),
    "zero": lambda alpha, samples: torch.zeros_like(alpha),
    "falling": lambda alpha, samples: 1 / (1 + alpha),
    "jump": lambda alpha, samples: torch.where(alpha > 1e-3, 5.0, 0.01) * alpha**0.3,
    "jump up": lambda alpha, samples: torch.where(alpha > 50, 1.0, 0.001) + 1e-4 * alpha,
    "wild": lambda alpha, samples: 0.2 * (2 + torch.sin(1e4 * alpha)),
    "wild in the logarithm": lambda alpha, samples: torch.exp(3 * torch.sin(5 * alpha.log()) + 0.2 * alpha.log()),
}


@pytest.mark.parametrize("curve", CURVES)
@given(st.floats(-4, 3), st.floats(-6, 6), st.integers(1, 45))
def test_the_weight_returned_is_the_last_one_solved_whatever_the_verdict(
    curve: str, noise: float, start: float, tries: int
) -> None:
    """An answer belongs to its alpha only if it was solved there, accurately; and no search may ask for more than its tries."""
    choice, recorder = choose(CURVES[curve], [10**noise], [100.0], 10**start, max_tries=tries)
    assert recorder.last(0) == (choice.alpha.item(), True)
    assert len(recorder.asked) <= tries
    if choice.verdict[0] is Status.CONVERGED:
        residual = CURVES[curve](choice.alpha, torch.tensor([0])).item()
        assert residual <= max(RULE.tau * 10**noise, RULE.floor * 100)


@pytest.mark.parametrize("share", [1.03, 1.5, 20.0])
@pytest.mark.parametrize("start", [1e-3, 10.0, 1e4])
def test_noise_above_the_residual_that_any_weight_leaves_ends_where_weight_no_longer_matters(share: float, start: float) -> None:
    """The residual climbs to 0.5 and no higher. Ten times the weight returned changes it by less than 5 %."""
    residual = CURVES["plateau above"]
    choice, recorder = choose(residual, [share * 0.5 / (RULE.aim * RULE.tau)], [100.0], start)
    assert choice.verdict == (Status.NOISE_EXCEEDS_RESIDUAL,)
    assert recorder.last(0) == (choice.alpha.item(), True)
    assert residual(choice.alpha, torch.tensor([0])).item() >= 0.45 and choice.alpha <= max(1e3, start)
    assert len(recorder.asked) <= 20


@pytest.mark.parametrize("start", [1e-9, 1.0, 1e5])
def test_a_start_where_the_residual_is_flat_is_left_behind(start: float) -> None:
    """Above alpha = 1 the residual is held at that of the regulariser's own minimiser: no reason to give up."""

    def residual(alpha: Tensor, samples: Tensor) -> Tensor:
        return (100 * alpha).clamp(max=100.0, min=1e-3)

    choice, _ = choose(residual, [0.2], [1000.0], start, floor=0.0)
    assert choice.verdict == (Status.CONVERGED,)
    assert choice.alpha.item() == pytest.approx(RULE.aim * RULE.tau * 0.2 / 100, rel=0.02)


def test_a_residual_of_zero_at_every_weight_ends_soon() -> None:
    """As where the data are what the network gives at the regulariser's own minimiser."""
    choice, recorder = choose(CURVES["zero"], [0.1], [100.0])
    assert choice.verdict == (Status.NOISE_EXCEEDS_RESIDUAL,) and len(recorder.asked) <= 10 and choice.alpha <= 100.0


def test_exhausted_tries_are_not_a_solvers_step_limit() -> None:
    choice, recorder = choose(power(1.0, 0.5), [0.1], [100.0], 1e5, max_tries=3)
    assert choice.verdict == (Status.SEARCH_LIMIT,) and len(recorder.asked) == 3
    assert "max_tries" in str(Status.SEARCH_LIMIT) and str(Status.SEARCH_LIMIT) != str(Status.STEP_LIMIT)


@pytest.mark.parametrize("level", [1e-12, 1e-6, 1e-4])
def test_a_noise_level_below_what_the_solver_can_see_is_no_worse_than_none(level: float) -> None:
    """Where the residual stops at a solver's accuracy, below the floor, noise 0 is met, and so is a noise level next to it."""
    residual = power(1.0, 0.8, floor=3e-4)
    for given_level in (0.0, level):
        choice, recorder = choose(residual, [given_level], [1.0])
        assert choice.verdict == (Status.CONVERGED,) and recorder.last(0) == (choice.alpha.item(), True)
        assert residual(choice.alpha, torch.tensor([0])).item() <= RULE.floor
    sharp, _ = choose(power(1.0, 0.8), [1e-5], [1.0], floor=1e-8)  # for who can see so little, the noise level is kept
    found = power(1.0, 0.8)(sharp.alpha, torch.tensor([0])).item()
    assert (RULE.aim - RULE.accuracy) * RULE.tau * 1e-5 * (1 - 1e-9) <= found <= RULE.tau * 1e-5


BAD_RULES: list[tuple[dict[str, Any], str]] = [
    ({"aim": 2.0}, r"aim is 2.0 and accuracy is 0.003, but 0 < accuracy < aim <= 1 must hold.*defaults are 0.944"),
    ({"aim": float("nan")}, "aim is nan"),
    ({"accuracy": -1.0}, "accuracy is -1.0"),
    ({"floor": -1.0}, r"floor is -1.0, but must lie in \[0, 1\).*default is 8e-4"),
    ({"max_tries": 0}, "max_tries is 0, but must be a whole number of at least 1.*default is 40"),
    ({"max_tries": 1.5}, "max_tries is 1.5"),
]


@pytest.mark.parametrize("case", BAD_RULES, ids=lambda case: str(case[0]))
def test_settings_that_make_no_rule_are_refused(case: tuple[dict[str, Any], str]) -> None:
    with pytest.raises(ValueError, match=f"(?s)DiscrepancyPrinciple: .*{case[1]}"):
        DiscrepancyPrinciple(**case[0])


def test_tau_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"DiscrepancyPrinciple: tau is 0.9, but must be at least 1.*default is 1.01"):
        DiscrepancyPrinciple(tau=0.9)
    with pytest.raises(ValueError, match="tau is nan"):
        DiscrepancyPrinciple(tau=float("nan"))
    assert DiscrepancyPrinciple(tau=1.0).tau == 1.0


def test_fixed_solves_accurately_at_the_weight_named() -> None:
    alpha = torch.tensor([2e-3, 5.0, 40.0], dtype=F64)
    recorder = Recorder(power(1.0, 0.5))
    problem = RuleProblem(noise_level=None, data_norm=torch.ones(3, dtype=F64), start=torch.full((3,), 10.0, dtype=F64))
    choice = Fixed(alpha).choose(problem, recorder)
    assert torch.equal(choice.alpha, alpha) and choice.verdict == (Status.CONVERGED,) * 3
    for i in range(3):
        assert recorder.last(i) == (alpha[i].item(), True)
    way = [a[s == 0].item() for a, s, _ in recorder.asked if (s == 0).any()]
    assert way == pytest.approx([10.0, 1.0, 0.1, 2e-3])  # walks down, ten times lighter each time
    for bad in (0, -1.0, float("nan"), torch.tensor([0.1, 0.0])):
        with pytest.raises(ValueError, match=r"Fixed: alpha is .*positive and finite"):
            Fixed(bad)
    with pytest.raises(TypeError, match="Fixed: alpha is 'a', but must be a positive number"):
        Fixed("a")  # type: ignore[arg-type]
    assert Fixed(2.0).choose(problem, recorder).alpha.tolist() == [2.0] * 3
    assert not Fixed(2.0).needs_noise_level and DiscrepancyPrinciple().needs_noise_level


@pytest.mark.parametrize("row", [[0.1, 2], (0.1, 2.0), np.array([0.1, 2.0])], ids=["list", "tuple", "array"])
def test_fixed_takes_a_row_of_weights_for_the_tensor_of_them(row: Any) -> None:
    assert isinstance(ni.Fixed(row).alpha, torch.Tensor)
    assert ni.Fixed(row).alpha.tolist() == [0.1, 2.0]


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_fixed_refuses_weights_that_are_none(alpha: float) -> None:
    problem = RuleProblem(noise_level=None, data_norm=torch.ones(2), start=torch.ones(2))
    with pytest.raises(ValueError, match=r"Fixed: alpha (is|contains).*(must be positive|NaN)"):
        Fixed(alpha).choose(problem, Recorder(power(1.0, 0.5)))


def test_alpha_and_delta_squared_over_alpha_vanish_with_the_noise() -> None:
    """W x with decaying singular values, Tikhonov, truth = W* v (a source condition): alpha ~ delta, and the error falls.

    Tikhonov's own formula is the oracle of the residual: along its singular vectors alpha/(s^2 + alpha) of the data is left.
    """
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(40, 20, generator=generator, dtype=F64))[0]
    right = torch.linalg.qr(torch.randn(20, 20, generator=generator, dtype=F64))[0]
    values = 2.0 ** -torch.arange(20, dtype=F64).div(4)
    weight = left @ torch.diag(values) @ right.T
    layer = nn.Linear(20, 40, bias=False).double().requires_grad_(False)
    layer.weight.copy_(weight)
    truth = weight.T @ torch.randn(40, generator=generator, dtype=F64)
    noise = torch.randn(40, generator=generator, dtype=F64)
    clean, levels = weight @ truth, torch.tensor([0.3, 0.1, 0.03, 0.01, 0.003], dtype=F64) * (weight @ truth).norm()
    data = clean + levels[:, None] * noise / noise.norm()
    result = ni.invert(layer.eval(), data, input_shape=(20,), noise_level=levels, regulariser=ni.Tikhonov())
    assert result.converged
    alpha, error = result.alpha, (result.x - truth).norm(dim=1)
    filtered = alpha[:, None] / (values**2 + alpha[:, None]) * (data @ left)
    outside = data - (data @ left) @ left.T
    residual = (filtered.square().sum(1) + outside.square().sum(1)).sqrt()
    torch.testing.assert_close(result.residual, residual, rtol=2e-3, atol=0)
    assert (residual <= 1.01 * levels * (1 + 1e-3)).all()
    assert (alpha[1:] < alpha[:-1]).all() and alpha[-1] < 0.05 * alpha[0]
    ratio = levels.square() / alpha
    assert (ratio[1:] < ratio[:-1]).all() and ratio[-1] < 0.05 * ratio[0]
    assert (error[1:] < error[:-1]).all() and error[-1] < 0.3 * error[0]
