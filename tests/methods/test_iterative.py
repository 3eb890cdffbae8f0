"""Methods that regularise by stopping: against closed forms, against their theory, and sample by sample."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.methods import Method
from netinverse.methods.bregman_iteration import BregmanSteps, Reduced
from netinverse.solvers.iterate import iterates

F64 = torch.float64
METHODS: list[Method] = [
    ni.BregmanIteration(),
    ni.LinearisedBregman(),
    ni.Landweber(max_iterations=3000),
    ni.GaussNewton(),
    ni.LevenbergMarquardt(),
]
EVERY = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
PATIENT = (ni.LinearisedBregman, ni.Landweber)
"""They take a thousand gradient steps through a deep network."""


@functools.cache
def network(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = {
            "linear": lambda: nn.Linear(12, 16, bias=False),
            "layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU()),
            "deep": lambda: nn.Sequential(
                nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 128), nn.ReLU()
            ),
        }[name]()
    return built.double().eval().requires_grad_(False)


def images() -> Tensor:
    truth = torch.zeros(3, 1, 8, 8, dtype=F64)
    truth[0, :, 2:6, 3:7], truth[1, :, 1:5, 2:8], truth[2, :, 0:3, :] = 0.8, 0.5, 0.3
    return truth


def linear_problem(batch: int = 2, noise: float = 0.05) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The matrix, the truths, noisy data and their noise level."""
    model = network("linear")
    assert isinstance(model, nn.Linear)
    truth = torch.randn(batch, 12, generator=torch.Generator().manual_seed(1), dtype=F64)
    data, level = ni.add_noise(model(truth), relative=noise, seed=0)
    return model.weight, truth, data, level


@pytest.mark.parametrize(
    ("method", "name"),
    [
        pytest.param(
            m,
            name,
            id=f"{type(m).__name__}-{name}",
            marks=[pytest.mark.slow] if name == "deep" and isinstance(m, PATIENT) else [],
        )
        for m in METHODS
        for name in ("layer", "deep")
    ],
)
@pytest.mark.parametrize("constraint", [None, ni.Box(0.0, 1.0)], ids=["free", "box"])
def test_the_first_iterate_within_the_noise_is_returned(method: Method, name: str, constraint: Any) -> None:
    truth = images()
    data, level = ni.add_noise(network(name)(truth), relative=0.05, seed=0)
    result = ni.invert(
        network(name), data, input_shape=(1, 8, 8), noise_level=level, constraint=constraint, method=method, tolerance=1e-4
    )
    met = [b for b, status in enumerate(result.status) if status is ni.Status.CONVERGED]
    # Gradient steps on a deep network may end in a minimum whose residual is above the noise.
    assert len(met) >= (2 if isinstance(method, ni.Landweber) and name == "deep" else 3), result.summary()
    assert result.noise_level is not None
    bound = 1.01 * result.noise_level
    assert (result.residual <= bound + 1e-12)[met].all()
    for b in met:
        rows = result.tried[result.tried["sample"] == b]
        assert (rows["residual"][:-1] > bound[b].item()).all() and len(rows) == result.steps[b]
        assert rows["alpha"].is_monotonic_decreasing
    if constraint is not None:
        assert result.x.min() >= 0 and result.x.max() <= 1
    assert result.subgradient is not None and result.subgradient.shape == truth.shape


BRIEF = [
    pytest.param(
        dataclasses.replace(m, max_iterations=200) if isinstance(m, PATIENT) else m,
        id=type(m).__name__,
        marks=[pytest.mark.slow] if isinstance(m, ni.LinearisedBregman) else [],
    )
    for m in METHODS
]
"""Where the law is one of every iterate, however early it stops."""


@pytest.mark.parametrize("method", BRIEF)
def test_a_sample_is_the_same_alone_and_in_the_batch(method: Method) -> None:
    data, level = ni.add_noise(network("deep")(images()), relative=0.05, seed=0)
    arguments: dict[str, Any] = {"input_shape": (1, 8, 8), "constraint": ni.Box(0.0, 1.0), "method": method, "tolerance": 1e-4}
    together = ni.invert(network("deep"), data, noise_level=level, **arguments)
    for b in (0, 2):
        alone = ni.invert(network("deep"), data[[b]], noise_level=level[[b]], **arguments)
        assert (alone.x[0] - together.x[b]).abs().max() <= 1e-6
        assert alone.status[0] is together.status[b]


def test_landweber_is_its_formula() -> None:
    a, _, data, level = linear_problem()
    result = ni.invert(network("linear"), data, input_shape=(12,), noise_level=level, method=ni.Landweber(3000))
    assert result.converged
    for b in range(2):
        step = 1 / result.tried[result.tried["sample"] == b]["alpha"].iloc[0]
        assert 0.9 <= step * torch.linalg.matrix_norm(a, 2).item() ** 2 <= 1.0
        x = torch.zeros(12, dtype=F64)
        for _ in range(int(result.steps[b])):
            x = x - step * a.T @ (a @ x - data[b])
        torch.testing.assert_close(result.x[b], x, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(result.alpha[b].item(), 1 / (step * int(result.steps[b])), rtol=1e-9, atol=0)


def weights(method: Method, alpha: float, number: int) -> list[float]:
    """alpha_k of a method on a problem that begins at alpha."""
    decay = getattr(method, "decay", 1.0)
    return [alpha * decay**k for k in range(number)]


@pytest.mark.parametrize("method", [ni.BregmanIteration(), ni.LevenbergMarquardt()], ids=lambda m: type(m).__name__)
def test_with_tikhonov_they_are_the_iterated_tikhonov_method(method: Method) -> None:
    """x_{k+1} = x_k + (A^T A + alpha_k)^{-1} A^T (y - A x_k)."""
    a, _, data, level = linear_problem()
    result = ni.invert(
        network("linear"), data, input_shape=(12,), noise_level=level, regulariser=ni.Tikhonov(), method=method, tolerance=1e-10
    )
    assert result.converged
    for b in range(2):
        first = result.tried[result.tried["sample"] == b]["alpha"].iloc[0]
        x = torch.zeros(12, dtype=F64)
        for alpha in weights(method, first, int(result.steps[b])):
            x = x + torch.linalg.solve(a.T @ a + alpha * torch.eye(12, dtype=F64), a.T @ (data[b] - a @ x))
        # Levenberg-Marquardt solves each step to a hundredth of the decrease it promises.
        close = 2e-3 if isinstance(method, ni.BregmanIteration) else 1e-2
        torch.testing.assert_close(result.x[b], x, rtol=close, atol=close)
        assert result.subgradient is not None
        torch.testing.assert_close(result.subgradient[b], x, rtol=close, atol=close)


def test_gauss_newton_is_tikhonovs_method_where_the_network_is_linear() -> None:
    a, _, data, level = linear_problem()
    result = ni.invert(
        network("linear"),
        data,
        input_shape=(12,),
        noise_level=level,
        regulariser=ni.Tikhonov(),
        method=ni.GaussNewton(),
        tolerance=1e-10,
    )
    assert result.converged
    for b in range(2):
        x = torch.linalg.solve(a.T @ a + result.alpha[b] * torch.eye(12, dtype=F64), a.T @ data[b])
        # The step is solved to a hundredth of the decrease it promises.
        torch.testing.assert_close(result.x[b], x, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("regulariser", [ni.Sparsity(), pytest.param(ni.TotalVariation(), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("name", ["layer", pytest.param("deep", marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", [ni.Variational(), *METHODS], ids=lambda m: type(m).__name__)
def test_the_subgradient_is_one_and_the_certificate_claims_what_is_known(method: Method, name: str, regulariser: Any) -> None:
    """R(y) >= R(x) + <p, y - x>, up to what the solver left, for y near x and far; Landweber's R is 1/2||x - x_0||^2."""
    truth = images()
    data, level = ni.add_noise(network(name)(truth), relative=0.05, seed=0)
    result = ni.invert(
        network(name), data, input_shape=(1, 8, 8), noise_level=level, regulariser=regulariser, method=method, tolerance=1e-5
    )
    x, p = result.x, result.subgradient
    assert p is not None
    kind = result.certificate.kind
    if isinstance(method, ni.Variational | ni.BregmanIteration):
        assert kind == ("duality gap" if name == "layer" else "stationarity")
    else:
        assert kind == "none" and "no minimiser" in result.certificate.meaning
    if isinstance(method, ni.Landweber):
        torch.testing.assert_close(p, x)  # it begins at zero
        return
    generator = torch.Generator().manual_seed(0)
    shift = torch.randn(20, *x.shape, generator=generator, dtype=F64)
    for y in (truth, 0 * x, 2 * x, *(x + 0.1 * shift), *(x + shift)):
        above = regulariser(y) - regulariser(x) - ((y - x) * p).flatten(1).sum(1)
        assert (above >= -2e-3 * (regulariser(x) + regulariser(y))).all()


class Caught(Exception):
    """Carries what ``invert`` would hand to a method."""


class Catching:
    def run(self, network: Any, problem: Any, start: Tensor, rule: Any, rule_problem: Any, **_: Any) -> Any:
        raise Caught(problem, start, rule_problem)


@pytest.mark.parametrize("regulariser", [ni.Tikhonov(), ni.TotalVariation(), ni.Sparsity()], ids=lambda r: r.name)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_the_bregman_distance_to_the_truth_falls_until_the_noise_is_reached(regulariser: Any, seed: int) -> None:
    """D_R^{p_k}(truth, x_k) from iterate to iterate, as long as the residual is above the noise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 80), nn.ReLU()).double().eval().requires_grad_(False)
    truth = images() * torch.rand(3, 1, 1, 1, generator=generator, dtype=F64)
    data, level = ni.add_noise(model(truth), relative=0.01, seed=seed)
    with pytest.raises(Caught) as caught:
        ni.invert(model, data, input_shape=(1, 8, 8), noise_level=level, regulariser=regulariser, method=Catching())
    problem, start, rule_problem = caught.value.args
    before, falls = torch.full((3,), torch.inf, dtype=F64), 0
    for state in itertools.islice(iterates(BregmanSteps(Reduced(1e-6)), problem, start), 1, 8):
        distance = ni.bregman_distance(regulariser, truth, state.x, state.subgradient)
        assert (distance >= -1e-4 * regulariser(truth)).all()
        above = state.residual > rule_problem.noise_level
        assert (distance <= before + 1e-4 * regulariser(truth))[above].all()
        falls += int(above.sum())
        before = torch.where(above, distance, torch.inf)
        if not above.any():
            break
    assert falls >= 2


def test_the_lifted_iteration_gives_back_what_the_regulariser_took_in_the_units_of_the_lifted_energy() -> None:
    """Behind a layer there is nothing to lift, and the iterates are the same; behind two the residual falls."""
    truth, results = images(), {}
    data, level = ni.add_noise(network("layer")(truth), relative=0.05, seed=0)
    arguments: dict[str, Any] = {"input_shape": (1, 8, 8), "tolerance": 1e-6, "regulariser": ni.Sparsity()}
    for form in ("reduced", "lifted"):
        method = ni.BregmanIteration(formulation=form)
        results[form] = ni.invert(network("layer"), data, noise_level=level, method=method, **arguments)
    lifted, reduced = results["lifted"], results["reduced"]
    assert lifted.certificate.kind == "stationarity" and (lifted.steps == reduced.steps).all()
    torch.testing.assert_close(lifted.x, reduced.x, rtol=0, atol=2e-2)
    assert lifted.subgradient is not None and reduced.subgradient is not None
    torch.testing.assert_close(lifted.subgradient, reduced.subgradient, rtol=0, atol=5e-2)
    method = ni.BregmanIteration(formulation="lifted", max_iterations=5)
    deep, delta = ni.add_noise(network("deep")(truth), relative=0.05, seed=0)
    found = ni.invert(network("deep"), deep, noise_level=delta, method=method, **{**arguments, "tolerance": 1e-3})
    for _, rows in found.tried.groupby("sample"):
        assert rows["residual"].is_monotonic_decreasing and len(rows) > 1
        assert rows["residual"].iloc[-1] < 0.9 * rows["residual"].iloc[0]


def test_what_is_lost_to_the_regulariser_comes_back() -> None:
    """The contrast that total variation takes away, at the same data."""
    truth = images()
    data, level = ni.add_noise(network("layer")(truth), relative=0.02, seed=0)
    error = {}
    for method in (ni.Variational(), ni.BregmanIteration()):
        result = ni.invert(network("layer"), data, input_shape=(1, 8, 8), noise_level=level, method=method, tolerance=1e-6)
        error[type(method)] = (result.x - truth).flatten(1).norm(dim=1)
    assert (error[ni.BregmanIteration] < 0.9 * error[ni.Variational]).all()


@EVERY
def test_noise_that_is_zero_too_large_or_not_reached(method: Method) -> None:
    data = network("layer")(images())
    arguments: dict[str, Any] = {"input_shape": (1, 8, 8), "method": method, "tolerance": 1e-4}
    exact = ni.invert(network("layer"), data, noise_level=0.0, max_steps=12, **arguments)
    assert (exact.residual < 0.9 * data.norm(dim=1)).all()
    drowned = ni.invert(network("layer"), data, noise_level=2 * data.norm(dim=1).max().item(), **arguments)
    assert drowned.status == (ni.Status.NOISE_EXCEEDS_DATA,) * 3
    short = ni.invert(network("layer"), data, noise_level=1e-6, max_steps=1, **arguments)
    assert short.status == (ni.Status.STEP_LIMIT,) * 3 and (short.steps == 1).all()
    assert len(ni.invert(network("layer"), data[:0], noise_level=0.1, **arguments).x) == 0


def test_rules_are_composed_and_need_no_noise_level() -> None:
    _, truth, data, level = linear_problem(noise=0.1)
    rule = ni.DiscrepancyPrinciple() | ni.QuasiOptimality()
    known = ni.invert(network("linear"), data, input_shape=(12,), noise_level=level, rule=rule, method=ni.GaussNewton())
    assert known.converged and (known.residual <= 1.01 * level).all()
    with pytest.warns(ni.RuleWarning, match="veto"):
        unknown = ni.invert(network("linear"), data, input_shape=(12,), rule=ni.QuasiOptimality(), method=ni.GaussNewton())
    assert ((unknown.x - truth).norm(dim=1) <= 0.5 * truth.norm(dim=1)).all()


BAD: list[tuple[type, dict[str, Any], str]] = [
    (ni.BregmanIteration, {"alpha": -1.0}, "BregmanIteration: alpha is -1"),
    (ni.BregmanIteration, {"formulation": "both"}, "BregmanIteration: formulation is 'both', which is not one of 'auto'"),
    (ni.BregmanIteration, {"max_iterations": 0}, "BregmanIteration: max_iterations is 0"),
    (ni.LinearisedBregman, {"mu": 0.0}, "LinearisedBregman: mu is 0"),
    (ni.Landweber, {"max_iterations": -3}, "Landweber: max_iterations is -3"),
    (ni.GaussNewton, {"decay": 1.0}, "GaussNewton: decay is 1.0, but must lie between 0 and 1"),
    (ni.LevenbergMarquardt, {"decay": 0.0}, "LevenbergMarquardt: decay is 0.0"),
]


@pytest.mark.parametrize("kind, arguments, text", BAD, ids=[text for _, _, text in BAD])
def test_settings_that_make_no_method_are_refused(kind: type, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        kind(**arguments)


def test_linearised_bregman_reaches_the_noise_at_a_loose_tolerance() -> None:
    """A mirror as loose as the tolerance stalls: its error is longer than the steps."""
    data, level = ni.add_noise(network("deep")(images()), relative=0.02, seed=0)
    arguments: dict[str, Any] = {"input_shape": (1, 8, 8), "constraint": ni.Box(0.0, 1.0), "method": ni.LinearisedBregman()}
    loose = ni.invert(network("deep"), data, noise_level=level, tolerance=1e-1, **arguments)
    assert loose.converged, loose.summary()
