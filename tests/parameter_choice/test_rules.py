"""Each rule against the textbook: Tikhonov's regularisation of linear problems, written out once more in NumPy and SciPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

import netinverse as ni
from netinverse.parameter_choice import RuleWarning, Walk
from netinverse.parameter_choice.path_rule import RISE, HeuristicRule, PathRule
from netinverse.parameter_choice.rule import ParameterChoice, RuleProblem, SolveAt
from netinverse.solvers.status import Status
from tests.parameter_choice.linear import F64, PROBLEMS, Exact, Linear, exponential, polynomial

Array = NDArray[np.float64]
HEURISTIC = [ni.QuasiOptimality, ni.LCurve, ni.HankeRaus]
pytestmark = pytest.mark.filterwarnings("ignore::netinverse.RuleWarning")


def tikhonov(problem: Linear, sample: int, alphas: Array) -> tuple[Array, Array]:
    """Solutions and residuals by the singular value decomposition."""
    A, y = problem.A.numpy(), problem.data[sample].numpy()
    u, s, vt = np.linalg.svd(A, full_matrices=False)
    xs = np.array([vt.T @ (s / (s**2 + a) * (u.T @ y)) for a in alphas])
    return xs, np.array([np.linalg.norm(A @ x - y) for x in xs])


def inner_minimum(values: Array) -> int | None:
    """The lowest value that is a local minimum with a later value 1.5 times as high, by comparison one by one."""
    found = [
        i
        for i in range(1, len(values) - 1)
        if np.isfinite(values[i - 1 : i + 2]).all()
        and values[i] < values[i - 1]
        and values[i] < values[i + 1]
        and values[i:][np.isfinite(values[i:])].max() >= RISE * values[i]
    ]
    return min(found, key=lambda i: values[i]) if found else None


def textbook_quasi_optimality(alphas: Array, xs: Array, residuals: Array) -> int | None:
    return inner_minimum(np.array([np.linalg.norm(a - b) for a, b in zip(xs[1:], xs[:-1], strict=True)] + [np.inf]))


def textbook_hanke_raus(alphas: Array, xs: Array, residuals: Array) -> int | None:
    return inner_minimum(residuals / np.sqrt(alphas))


def textbook_l_curve(alphas: Array, xs: Array, residuals: Array) -> int | None:
    """One over the radius of the circle through three points of (ln ||Ax - y||, ln ||x||), positive towards the origin."""
    points = np.stack([np.log(residuals), np.log(np.linalg.norm(xs, axis=1))], 1)
    curvature = np.full(len(points), np.nan)
    for i in range(1, len(points) - 1):
        a, b, c = points[i - 1 : i + 2]
        centre = np.linalg.solve(2 * np.array([b - a, c - a]), [b @ b - a @ a, c @ c - a @ a])
        towards_origin = np.dot(centre - b, [1.0, 1.0]) > 0
        curvature[i] = (1 if towards_origin else -1) / np.linalg.norm(centre - b)
    corners = [
        i for i in range(2, len(points) - 2) if curvature[i] > 0 and curvature[i] > max(curvature[i - 1], curvature[i + 1])
    ]
    return max(corners, key=lambda i: curvature[i]) if corners else None


TEXTBOOK: dict[type[HeuristicRule], Callable[[Array, Array, Array], int | None]] = {
    ni.QuasiOptimality: textbook_quasi_optimality,
    ni.HankeRaus: textbook_hanke_raus,
    ni.LCurve: textbook_l_curve,
}


def grid_of(solver: Exact, sample: int, walk: Walk) -> Array:
    """The weights that the walk visited for a sample: the heaviest, and on by the ratio."""
    asked = [a[s == sample].item() for a, s, _ in solver.asked if (s == sample).any()]
    runs: list[list[float]] = [[]]
    for a in asked[:-1]:  # the last one is the weight chosen
        runs[-1].append(a)
        if len(runs[-1]) > 1 and not np.isclose(a, walk.ratio * runs[-1][-2], rtol=1e-9):
            runs.append([a])
    return np.array(max(runs, key=len))


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("kind", HEURISTIC, ids=lambda kind: kind.__name__)
def test_heuristic_rules_take_the_weight_of_the_textbook(kind: type[HeuristicRule], name: str) -> None:
    problem = PROBLEMS[name]
    solver, rule = Exact(problem), kind()
    choice = rule.choose(problem.problem(noise=False), solver)
    for b in range(problem.batch):
        alphas = grid_of(solver, b, rule.walk)
        xs, residuals = tikhonov(problem, b, alphas)
        expected = TEXTBOOK[kind](alphas, xs, residuals)
        assert (choice.verdict[b] is Status.CONVERGED) == (expected is not None)
        if expected is not None:
            assert choice.alpha[b].item() == pytest.approx(alphas[expected], rel=1e-6)
    for b in range(problem.batch):  # left solved, accurately, at the weight returned
        last = [(a[s == b].item(), f) for a, s, f in solver.asked if (s == b).any()][-1]
        assert last == (choice.alpha[b].item(), True)


@pytest.mark.parametrize("name", PROBLEMS)
def test_lepskii_takes_the_weight_of_the_textbook(name: str) -> None:
    """max{i : ||x_i - x_j|| <= 4 delta/(2 sqrt(alpha_j)) for all j < i}, weights numbered from the lightest."""
    problem = PROBLEMS[name]
    solver, rule = Exact(problem), ni.Lepskii()
    choice = rule.choose(problem.problem(noise=True), solver)
    for b in range(problem.batch):
        alphas = grid_of(solver, b, rule.walk)[::-1]
        xs, _ = tikhonov(problem, b, alphas)
        noise = problem.level[b].item() / (2 * np.sqrt(alphas))
        fits = [i for i in range(len(alphas)) if all(np.linalg.norm(xs[i] - xs[j]) <= 4 * noise[j] for j in range(i))]
        assert choice.alpha[b].item() == pytest.approx(alphas[max(fits)], rel=1e-6)
        assert 0 < max(fits) < len(alphas) - 1  # the rule had a choice
    assert choice.verdict == (Status.CONVERGED,) * problem.batch


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_discrepancy_principle_takes_the_weight_of_the_textbook(name: str) -> None:
    """The root of ||A x_alpha - y|| = aim * tau * delta by the singular values and Brent's method, to 1e-6."""
    problem = PROBLEMS[name]
    rule = ni.DiscrepancyPrinciple(accuracy=1e-9)
    choice = rule.choose(problem.problem(noise=True), Exact(problem))
    for b in range(problem.batch):
        target = rule.aim * rule.tau * problem.level[b].item()

        def excess(t: float, b: int = b, target: float = target) -> float:
            return float(np.log(tikhonov(problem, b, np.array([np.exp(t)]))[1][0] / target))

        assert choice.verdict[b] is Status.CONVERGED
        assert choice.alpha[b].item() == pytest.approx(np.exp(brentq(excess, -25, 10, xtol=1e-13)), rel=1e-6)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_sequential_principle_takes_the_first_weight_within_the_noise(name: str) -> None:
    problem = PROBLEMS[name]
    solver, rule = Exact(problem), ni.SequentialDiscrepancy(tau=1.2)
    choice = rule.choose(problem.problem(noise=True), solver)
    for b in range(problem.batch):
        alphas = choice.alpha[b].item() * 2.0 ** np.arange(8, -1, -1)
        _, residuals = tikhonov(problem, b, alphas)
        assert (residuals[:-1] > 1.2 * problem.level[b].item()).all() and residuals[-1] <= 1.2 * problem.level[b].item()
        assert [(a[s == b].item(), f) for a, s, f in solver.asked if (s == b).any()][-1] == (choice.alpha[b].item(), True)
    assert choice.verdict == (Status.CONVERGED,) * problem.batch


def test_the_sequential_principle_on_a_network_on_exact_data_and_on_data_out_of_reach() -> None:
    problem = Linear(polynomial(8, 1.0), 12, 8, batch=2, noise=0.05, seed=3)
    arguments = {"input_shape": (8,), "regulariser": ni.Tikhonov(), "rule": ni.SequentialDiscrepancy()}
    exact = ni.SequentialDiscrepancy().choose(problem.problem(noise=True), Exact(problem))
    found = ni.invert(problem.layer(), problem.data, noise_level=problem.level, **arguments)
    torch.testing.assert_close(found.alpha, exact.alpha, rtol=1e-6, atol=0)
    clean = problem.truth @ problem.A.T
    without = ni.invert(problem.layer(), clean, noise_level=0.0, tolerance=1e-8, **arguments)
    assert without.converged and (without.residual <= 1.01 * 8e-4 * clean.norm(dim=1)).all()
    far = ni.invert(problem.layer(), problem.data, noise_level=0.01 * problem.level, **arguments)
    assert far.status == (Status.UNREACHABLE,) * 2
    with pytest.raises(ValueError, match=r"SequentialDiscrepancy: tau is 0.9, but must be at least 1.*default is 1.01"):
        ni.SequentialDiscrepancy(tau=0.9)


@pytest.mark.parametrize("kind", [*HEURISTIC, ni.Lepskii, ni.SequentialDiscrepancy], ids=lambda kind: kind.__name__)
def test_noise_as_large_as_the_data_is_said_by_every_rule_that_is_told_of_it(kind: type[PathRule]) -> None:
    problem = PROBLEMS["more outputs"]
    told = replace(problem.problem(noise=True), noise_level=problem.data.norm(dim=1) * torch.tensor([1.5, 0.02, 1.0]))
    choice = kind().choose(told, Exact(problem))
    assert choice.verdict[0] is choice.verdict[2] is Status.NOISE_EXCEEDS_DATA
    assert choice.verdict[1] is not Status.NOISE_EXCEEDS_DATA


def fine(kind: type[PathRule]) -> PathRule:
    return kind(walk=Walk(ratio=0.95, max_tries=600))


@pytest.mark.parametrize("kind", HEURISTIC, ids=lambda kind: kind.__name__)
def test_on_a_fine_grid_the_weight_is_that_of_the_continuous_functional(kind: type[HeuristicRule]) -> None:
    """Quasi-optimality: ||alpha dx/dalpha||; Hanke-Raus: residual/sqrt(alpha); L-curve: the curvature."""
    problem = PROBLEMS["square, ill-posed"]
    choice = fine(kind).choose(problem.problem(noise=False), Exact(problem))
    u, s, _ = np.linalg.svd(problem.A.numpy(), full_matrices=False)
    for b in range(problem.batch):
        c = u.T @ problem.data[b].numpy()

        def functional(t: float, c: Array = c) -> float:
            a = np.exp(t)
            if kind is ni.QuasiOptimality:
                return float(np.linalg.norm(a * s * c / (s**2 + a) ** 2))
            if kind is ni.HankeRaus:
                return float(np.linalg.norm(a / (s**2 + a) * c) / np.sqrt(a))

            # To the right, with growing alpha, the curve goes down and then turns left around the corner.
            def point(t: float) -> Array:
                a = np.exp(t)
                return np.array([np.log(np.linalg.norm(a / (s**2 + a) * c)), np.log(np.linalg.norm(s / (s**2 + a) * c))])

            h = 1e-3
            first, second = (point(t + h) - point(t - h)) / (2 * h), (point(t + h) - 2 * point(t) + point(t - h)) / h**2
            return float(-(first[0] * second[1] - first[1] * second[0]) / np.linalg.norm(first) ** 3)

        alpha = choice.alpha[b].item()
        near = minimize_scalar(functional, bounds=(np.log(alpha) - 0.15, np.log(alpha) + 0.15), method="bounded")
        assert abs(near.x - np.log(alpha)) <= -1.1 * np.log(0.95)


@pytest.mark.parametrize("kind", [*HEURISTIC, ni.Lepskii], ids=lambda kind: kind.__name__)
def test_invert_takes_the_weight_of_exact_solutions(kind: type[PathRule]) -> None:
    """The solver's errors do not move the choice: the same weight as with Tikhonov's closed form, to 1e-6."""
    problem = Linear(polynomial(8, 1.0), 12, 8, batch=2, noise=0.05, seed=3)
    with_noise = kind is ni.Lepskii
    exact = kind().choose(problem.problem(noise=with_noise), Exact(problem))
    result = ni.invert(
        problem.layer(),
        problem.data,
        input_shape=(8,),
        noise_level=problem.level if with_noise else None,
        regulariser=ni.Tikhonov(),
        rule=kind(),
        tolerance=1e-7,
    )
    torch.testing.assert_close(result.alpha, exact.alpha, rtol=1e-6, atol=0)
    assert result.status == exact.verdict
    for b in range(2):
        torch.testing.assert_close(result.x[b], problem.solution(exact.alpha[b].item())[b], rtol=1e-3, atol=1e-3)
    assert f"rule: {kind.__name__}." in result.message


@pytest.mark.parametrize("kind", [*HEURISTIC, ni.Lepskii], ids=lambda kind: kind.__name__)
def test_a_sample_chooses_alone_as_in_the_batch_and_in_any_unit(kind: type[PathRule]) -> None:
    problem = PROBLEMS["more outputs"]
    together = kind().choose(problem.problem(noise=True), Exact(problem))
    for b in range(problem.batch):
        alone = Linear(problem.values, problem.rows, problem.columns, noise=problem.noise, seed=problem.seed)
        alone.data, alone.truth, alone.level = problem.data[b : b + 1], problem.truth[b : b + 1], problem.level[b : b + 1]
        assert kind().choose(alone.problem(noise=True), Exact(alone)).alpha.item() == pytest.approx(together.alpha[b].item())
        # Data 2^20 times as large move the weight the walk begins at, but neither its grid nor Tikhonov's best weight.
        alone.data, alone.level = 2.0**20 * alone.data, 2.0**20 * alone.level
        assert kind().choose(alone.problem(noise=True), Exact(alone)).alpha.item() == pytest.approx(together.alpha[b].item())


@pytest.mark.parametrize("kind", [*HEURISTIC, ni.Lepskii], ids=lambda kind: kind.__name__)
def test_errors_are_near_the_least_where_the_noise_is_white(kind: type[PathRule]) -> None:
    """Median over the problems, against the best weight there is; Lepskii allows for the worst noise and pays for it."""
    ratios, found = [], []
    for problem in PROBLEMS.values():
        solver = Exact(problem)
        choice = kind().choose(problem.problem(noise=kind is ni.Lepskii), solver)
        ratios.append(problem.error(solver.x) / problem.least_error())
        found.extend(choice.verdict)
    allowed = {ni.QuasiOptimality: 1.3, ni.LCurve: 1.3, ni.HankeRaus: 2.0, ni.Lepskii: 4.0}[kind]
    assert torch.cat(ratios).median() <= allowed
    assert sum(verdict is Status.CONVERGED for verdict in found) >= len(found) / 2


def test_the_error_of_lepskii_is_of_best_order() -> None:
    """delta from 1e-1 to 1e-4: never more than six times the best balance of bias and the bound of the noise."""
    for noise in (1e-1, 1e-2, 1e-3, 1e-4):
        problem = Linear(polynomial(40, 1.0), 40, 40, noise=noise, smoothness=1.0)
        solver = Exact(problem)
        # The floor of the walk would end it before weights that small noise allows.
        ni.Lepskii(walk=Walk(floor=1e-6)).choose(problem.problem(noise=True), solver)
        exact = Linear(polynomial(40, 1.0), 40, 40, noise=0.0, smoothness=1.0)
        alphas = 2.0 ** -torch.arange(0.0, 30.0, dtype=F64)
        balance = [exact.error(exact.solution(a.item())) + problem.level / (2 * a.sqrt()) for a in alphas]
        assert (problem.error(solver.x) <= 6 * torch.stack(balance).amin(0)).all()


def test_a_priori_is_its_formula_of_the_noise_given() -> None:
    problem = PROBLEMS["more outputs"]
    choice = ni.APriori(power=0.5, constant=0.1).choose(problem.problem(noise=True), Exact(problem))
    torch.testing.assert_close(choice.alpha, 0.1 * problem.level.sqrt())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU()).double().eval().requires_grad_(False)
        data, level = ni.add_noise(layer(torch.rand(2, 6, dtype=F64)), relative=0.2)
    result = ni.invert(layer, data, input_shape=(6,), noise_level=level, rule=ni.APriori(), tolerance=1e-3)
    torch.testing.assert_close(result.alpha, level)  # before the projection, which leaves less
    assert (result.noise_level < level).any()
    with pytest.raises(ValueError, match=r"APriori: power is 0 and.*must be positive.*defaults are 1 and 1"):
        ni.APriori(power=0)


def test_a_priori_takes_exact_data_for_data_with_the_least_noise() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU()).double().eval().requires_grad_(False)
    data = layer(torch.rand(2, 6, dtype=F64))
    result = ni.invert(layer, data, input_shape=(6,), noise_level=torch.tensor([0.1, 0.0]), rule=ni.APriori(), tolerance=1e-3)
    torch.testing.assert_close(result.alpha, torch.stack([torch.tensor(0.1, dtype=F64), 8e-4 * data[1].norm()]))
    data[1] = 0
    with pytest.raises(ValueError, match=r"APriori: the noise level is 0 and so is.* in sample 1.*DiscrepancyPrinciple.*Fixed"):
        ni.invert(layer, data, input_shape=(6,), noise_level=torch.tensor([0.1, 0.0]), rule=ni.APriori())


@pytest.mark.parametrize("kind", HEURISTIC, ids=lambda kind: kind.__name__)
def test_the_veto_is_said_where_there_is_no_noise_level(kind: type[HeuristicRule]) -> None:
    problem = PROBLEMS["square, ill-posed"]
    with pytest.warns(RuleWarning, match=rf"{kind.__name__}: alpha is chosen from the data alone.*Bakushinskii.*noise_level="):
        kind().choose(problem.problem(noise=False), Exact(problem))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind().choose(problem.problem(noise=True), Exact(problem))


@pytest.mark.parametrize("kind", HEURISTIC, ids=lambda kind: kind.__name__)
def test_no_minimum_is_a_verdict_and_a_warning(kind: type[HeuristicRule]) -> None:
    """A well-posed problem with exact data: every functional falls towards light weights."""
    problem = Linear(torch.ones(10, dtype=F64), 10, 10, noise=0.0)
    solver = Exact(problem)
    with pytest.warns(RuleWarning, match=rf"{kind.__name__}: samples 0, 1, 2: .*no minimum.*DiscrepancyPrinciple"):
        choice = kind().choose(problem.problem(noise=False), solver)
    assert choice.verdict == (Status.NO_MINIMUM,) * 3
    assert (problem.error(solver.x) < 0.01 * problem.truth.norm(dim=1)).all()  # light weights are right here


def iterates(problem: Linear, count: int) -> tuple[Tensor, Tensor]:
    """Landweber: x_{k+1} = x_k - A^T(A x_k - y), k = 1 ... count, and residuals."""
    A = problem.A / torch.linalg.matrix_norm(problem.A, 2)
    x, xs = torch.zeros_like(problem.truth), []
    for _ in range(count):
        x = x - (x @ A.T - problem.data) @ A
        xs.append(x)
    found = torch.stack(xs)
    return found, (found @ A.T - problem.data).norm(dim=2)


def test_rules_stop_iterations_where_the_textbook_does() -> None:
    """Landweber: the same step as the published formulas in k, found one by one."""
    problem = Linear(polynomial(30, 1.0), 30, 30, noise=0.1)
    xs, residual = iterates(problem, 400)
    k = torch.arange(1, 401)
    trace = ni.Trace.of_iterations(k, residual, xs, xs.square().sum(2) / 2)
    for b in range(problem.batch):
        r, x, delta = residual[:, b].numpy(), xs[:, b].numpy(), problem.level[b].item()
        below = next(i for i in range(400) if r[i] <= 1.01 * delta)
        for rule in (ni.DiscrepancyPrinciple(), ni.SequentialDiscrepancy()):
            assert rule.pick(trace, problem.level).index[b] == below
        product = inner_minimum(np.sqrt(k.numpy()) * r)
        pick = ni.HankeRaus().pick(trace)
        assert (product is None) == (pick.verdict[b] is Status.NO_MINIMUM)
        assert product is None or pick.index[b] == product
        weighted = [np.linalg.norm(x[i + 1] - x[i]) / np.log((i + 2) / (i + 1)) for i in range(399)] + [np.inf]
        quasi, expected = ni.QuasiOptimality().pick(trace), inner_minimum(np.array(weighted))
        assert (expected is None) == (quasi.verdict[b] is Status.NO_MINIMUM)
        assert expected is None or quasi.index[b] == expected
        corner, expected = ni.LCurve().pick(trace), textbook_l_curve(1 / k.numpy(), x, r)
        assert (expected is None) == (corner.verdict[b] is Status.NO_MINIMUM)
        assert expected is None or corner.index[b] == expected
        bound = 4 * delta * np.sqrt(k.numpy())
        agrees = [all(np.linalg.norm(x[i] - x[j]) <= bound[j] for j in range(i + 1, 400)) for i in range(400)]
        assert ni.Lepskii().pick(trace, problem.level).index[b] == agrees.index(True)
    assert ni.DiscrepancyPrinciple().pick(trace, 1e-9 * problem.level).verdict == (Status.STEP_LIMIT,) * 3
    assert ni.Fixed(0.099).pick(trace).index.tolist() == [10] * 3  # 1/11 is the first weight of at most 0.099
    assert ni.APriori(constant=2.0).pick(trace, torch.full((3,), 0.1, dtype=F64)).index.tolist() == [4] * 3


@pytest.mark.parametrize("rule", [ni.DiscrepancyPrinciple(), ni.SequentialDiscrepancy(), ni.Lepskii(), ni.APriori()], ids=str)
def test_rules_of_the_noise_ask_for_it(rule: ni.DiscrepancyPrinciple) -> None:
    residual = torch.tensor([[3.0], [2.0], [1.0]])
    trace = ni.Trace.of_iterations(torch.arange(1, 4), residual, residual)
    with pytest.raises(ValueError, match=rf"{rule}: there is no noise_level"):
        rule.pick(trace)
    problem = Linear(exponential(5, 1.0), 5, 5)
    need = rf"invert: {rule} needs a noise_level.*Fixed\(alpha\).*QuasiOptimality\(\).*LCurve\(\).*HankeRaus\(\)"
    with pytest.raises(ValueError, match=need):
        ni.invert(problem.layer(), problem.data, input_shape=(5,), rule=rule)


def test_lepskii_refuses_a_constant_that_is_not_positive() -> None:
    with pytest.raises(ValueError, match=r"Lepskii: constant is 0, but must be positive.*default is 4"):
        ni.Lepskii(constant=0)


class Forgetful(ni.Fixed):
    """Solves all samples but the last."""

    def choose(self, problem: RuleProblem, solve_at: SolveAt) -> ParameterChoice:
        alpha = torch.full_like(problem.start, 0.1)
        most = torch.arange(len(alpha) - 1)
        solve_at(alpha[most], most, final=True)
        return ParameterChoice(alpha, (Status.CONVERGED,) * len(alpha))


def test_a_rule_that_leaves_a_sample_without_a_solution_is_named() -> None:
    model = ni.mlp((6, 10, 8)).double().eval()
    data = model(torch.rand(3, 6, dtype=F64, generator=torch.Generator().manual_seed(0))).detach()
    with pytest.raises(ValueError, match=r"Forgetful: choose\(\) has solved nothing for sample 2,.*Call solve_at"):
        ni.invert(model, data, rule=Forgetful(0.1), progress=False)
