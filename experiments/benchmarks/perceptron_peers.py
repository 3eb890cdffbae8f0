"""What else solves the perceptron's problem: Clarabel through cvxpy, pyproximal, ODL, and the published iteration.

Those that are not installed are left out, and said so. Each gets the settings at which it does best on the problem itself, found
by trying; the first-order methods are told the norms of both operators, and their operators are scaled by them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.benchmarks.measuring import Curve, processor_timed

Array = npt.NDArray[np.float64]

BALANCES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


class OutOfTime(Exception):
    """Ends a solver from inside its callback."""


@dataclass(frozen=True)
class Reference:
    """min over x of sum Phi(W x) - <f, W x> + alpha TV(x) + constant for ReLU, its least value, and when to stop looking."""

    matrix: Array
    data: Array
    side: int
    alpha: float
    minimum: float
    gap: float
    budget: float

    def objective(self, x: Array) -> float:
        """B(f, W x) + alpha TV(x), isotropic, nothing across the boundary."""
        z = self.matrix @ x.ravel()
        image = x.reshape(self.side, self.side)
        down = np.diff(image, axis=0, append=image[-1:])
        right = np.diff(image, axis=1, append=image[:, -1:])
        penalty = 0.5 * np.maximum(z, 0) @ np.maximum(z, 0) - self.data @ z + 0.5 * self.data @ self.data
        return float(penalty + self.alpha * np.sqrt(down**2 + right**2).sum())

    def norms(self) -> tuple[float, float]:
        return float(np.linalg.norm(self.matrix, 2)), 8**0.5


class Watch:
    """The processor's seconds of a solver without those of looking; raises OutOfTime at the goal and at the end of the budget."""

    def __init__(self, label: str, problem: Reference, every: int) -> None:
        self.problem, self.every = problem, every
        self.curve = Curve(label, [], [])
        self._count, self._spent, self._began = 0, 0.0, time.process_time()

    def __call__(self, x: Array) -> None:
        self._count += 1
        if self._count % self.every:
            return
        now = time.process_time()
        elapsed = now - self._began - self._spent
        gap = (self.problem.objective(np.asarray(x)) - self.problem.minimum) / self.problem.minimum
        self.curve.seconds.append(elapsed)
        self.curve.gaps.append(gap)
        self._spent += time.process_time() - now
        if gap <= self.problem.gap or elapsed > self.problem.budget:
            raise OutOfTime


def watched(label: str, problem: Reference, every: int, run: Callable[[Watch], object]) -> Curve:
    watch = Watch(label, problem, every)
    with suppress(OutOfTime):
        run(watch)
    return watch.curve


def best(curves: list[Curve], gap: float) -> Curve:
    """The first to reach the gap; where none does, the one that came nearest."""
    return min(curves, key=lambda curve: (curve.until(gap) or np.inf, min(curve.gaps, default=np.inf)))


def clarabel(problem: Reference) -> Curve:
    """At its default accuracy; the seconds are the solver's own, without those cvxpy takes to set the problem up."""
    import cvxpy as cp
    import scipy.sparse as sp

    step = sp.diags_array([-np.ones(problem.side), np.ones(problem.side - 1)], offsets=[0, 1]).tolil()
    step[-1, -1] = 0
    eye = sp.eye_array(problem.side)
    x = cp.Variable(problem.side**2)
    z = problem.matrix @ x
    pairs = cp.vstack([sp.kron(step, eye).tocsr() @ x, sp.kron(eye, step).tocsr() @ x])
    cost = 0.5 * cp.sum_squares(cp.pos(z)) - problem.data @ z + problem.alpha * cp.sum(cp.norm(pairs, 2, axis=0))
    posed = cp.Problem(cp.Minimize(cost))
    given, chain, inverse = posed.get_problem_data(cp.CLARABEL, solver_opts={})
    raw, seconds = processor_timed(lambda: chain.solve_via_data(posed, given))
    posed.unpack_results(raw, chain, inverse)
    gap = abs(problem.objective(x.value) - problem.minimum) / problem.minimum
    return Curve("Clarabel", [seconds], [gap])


def pyproximal(problem: Reference) -> Curve:
    """Its primal-dual method at the best of several balances of the two steps."""
    import pylops
    from pyproximal import L21, VStack
    from pyproximal.optimization.primaldual import PrimalDual
    from pyproximal.ProxOperator import ProxOperator

    size, steep = problem.norms()
    rows = len(problem.data)

    class Data(ProxOperator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(None, False)

        def __call__(self, w: Array) -> float:
            return float(0.5 * np.maximum(size * w, 0) @ np.maximum(size * w, 0) - size * problem.data @ w)

        def prox(self, w: Array, tau: float) -> Array:
            return data_prox(problem, size, w, tau)

    class Nothing(ProxOperator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(None, False)

        def __call__(self, x: Array) -> float:
            return 0.0

        def prox(self, x: Array, tau: float) -> Array:
            return x

    shape = (problem.side, problem.side)
    gradient = pylops.Gradient(shape, edge=False, kind="forward", dtype="float64")
    both = pylops.VStack([pylops.MatrixMult(problem.matrix / size), (1 / steep) * gradient])
    penalty = VStack([Data(), L21(ndim=2, sigma=problem.alpha * steep)], [rows, 2 * shape[0] * shape[1]])
    start = np.zeros(shape[0] * shape[1])

    def run(balance: float) -> Curve:
        step = 0.99 / 2**0.5
        return watched(
            "pyproximal",
            problem,
            25,
            lambda watch: PrimalDual(
                Nothing(), penalty, both, start, tau=step / balance, mu=step * balance, niter=10**7, callback=watch
            ),
        )

    return best([run(balance) for balance in BALANCES], problem.gap)


def odl(problem: Reference) -> Curve:
    """Its Douglas-Rachford primal-dual method at the best of several balances."""
    import odl

    size, steep = problem.norms()
    space = odl.uniform_discr([0, 0], [problem.side] * 2, [problem.side] * 2, dtype="float64")
    gradient = odl.Gradient(space, method="forward", pad_mode="order0")
    flat = odl.rn(problem.side**2)
    matrix = odl.MatrixOperator(problem.matrix)

    class Flat(odl.Operator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(space, matrix.range, linear=True)

        def _call(self, x: object) -> object:
            return matrix(flat.element(np.asarray(x.asarray()).ravel()))  # type: ignore[attr-defined]

        @property
        def adjoint(self) -> object:
            outer = self

            class Back(odl.Operator):  # type: ignore[misc]
                def __init__(self) -> None:
                    super().__init__(matrix.range, space, linear=True)

                def _call(self, y: object) -> object:
                    return space.element(matrix.adjoint(y).asarray().reshape(space.shape))

                @property
                def adjoint(self) -> object:
                    return outer

            return Back()

    class Conjugate(odl.functionals.Functional):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(matrix.range, linear=False)

        def _call(self, y: object) -> float:
            raise NotImplementedError

        @property
        def proximal(self) -> Callable[[float], object]:
            def factory(sigma: float) -> object:
                class Prox(odl.Operator):  # type: ignore[misc]
                    def __init__(self) -> None:
                        super().__init__(matrix.range, matrix.range, linear=False)

                    def _call(self, y: object) -> object:
                        v = y.asarray()  # type: ignore[attr-defined]
                        return matrix.range.element(v - sigma * data_prox(problem, 1.0, v / sigma, 1 / sigma))

                return Prox()

            return factory

    class Data(Conjugate):
        @property
        def convex_conj(self) -> object:
            return Conjugate()

    total_variation = problem.alpha * odl.functionals.GroupL1Norm(gradient.range)
    zero = odl.functionals.ZeroFunctional(space)

    def run(balance: float) -> Curve:
        x = space.zero()
        tau = 1 / balance
        # tau * sum_i sigma_i ||L_i||^2 < 4 is what the method needs.
        sigmas = [1.9 * balance / size**2, 1.9 * balance / steep**2]
        return watched(
            "ODL",
            problem,
            25,
            lambda watch: odl.solvers.douglas_rachford_pd(
                x,
                zero,
                [Data(), total_variation],
                [Flat(), gradient],
                niter=10**7,
                tau=tau,
                sigma=sigmas,
                callback=lambda at: watch(at.asarray()),
            ),
        )

    return best([run(balance) for balance in BALANCES], problem.gap)


def published(problem: Reference) -> Curve:
    """x+ = x - t (W^T (relu(W x) - f) - alpha div q), q+ = proj(q + s alpha grad(2 x+ - x)), at the best of several balances.

    1/t - s alpha^2 ||grad||^2 >= ||W||^2/2. Wang & Benning, Front. Appl. Math. Stat. 9, 2023.
    """
    size, steep = problem.norms()
    shape = (problem.side, problem.side)

    def iterate(watch: Watch, share: float) -> None:
        """``share`` of 1/t is left to the dual step."""
        t = 2 * (1 - share) / size**2
        s = share / t / (problem.alpha * steep) ** 2
        x, q = np.zeros(shape), np.zeros((2, *shape))
        while True:
            down, right = q[0].copy(), q[1].copy()
            down[-1], right[:, -1] = 0, 0
            adjoint = -down - right
            adjoint[1:] += down[:-1]
            adjoint[:, 1:] += right[:, :-1]
            pull = problem.matrix.T @ (np.maximum(problem.matrix @ x.ravel(), 0) - problem.data)
            new = x - t * (pull.reshape(shape) + problem.alpha * adjoint)
            ahead = 2 * new - x
            q[0] += s * problem.alpha * np.diff(ahead, axis=0, append=ahead[-1:])
            q[1] += s * problem.alpha * np.diff(ahead, axis=1, append=ahead[:, -1:])
            q /= np.maximum(1, np.sqrt((q**2).sum(0)))
            x = new
            watch(x)

    def run(share: float) -> Curve:
        return watched("published iteration", problem, 25, lambda watch: iterate(watch, share))

    return best([run(share) for share in (0.5, 0.1)], problem.gap)


def data_prox(problem: Reference, scale: float, w: Array, step: float) -> Array:
    """argmin over v of step (1/2 max(scale v, 0)^2 - scale f v) + 1/2 (v - w)^2, entry by entry."""
    moved = w + step * scale * problem.data
    return np.where(moved > 0, moved / (1 + step * scale**2), moved)


PEERS: dict[str, Callable[[Reference], Curve]] = {"Clarabel": clarabel, "pyproximal": pyproximal, "ODL": odl}
