"""Linear problems with known singular values, and Tikhonov's solutions of them in closed form, for the tests of rules."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from netinverse.parameter_choice import RuleProblem, Solved

F64 = torch.float64


@dataclass
class Linear:
    """A = U diag(values) V^T, truths V values^smoothness g, data A x + noise of relative norm ``noise``, white."""

    values: Tensor
    rows: int
    columns: int
    batch: int = 3
    smoothness: float = 0.5
    noise: float = 0.03
    seed: int = 0
    A: Tensor = field(init=False)
    truth: Tensor = field(init=False)
    data: Tensor = field(init=False)
    level: Tensor = field(init=False)

    def __post_init__(self) -> None:
        g = torch.Generator().manual_seed(self.seed)
        k = len(self.values)
        left = torch.linalg.qr(torch.randn(self.rows, k, generator=g, dtype=F64))[0]
        right = torch.linalg.qr(torch.randn(self.columns, k, generator=g, dtype=F64))[0]
        self.A = left @ torch.diag(self.values) @ right.T
        self.truth = (torch.randn(self.batch, k, generator=g, dtype=F64) * self.values**self.smoothness) @ right.T
        clean = self.truth @ self.A.T
        error = torch.randn(clean.shape, generator=g, dtype=F64)
        self.level = self.noise * clean.norm(dim=1)
        self.data = clean + self.level[:, None] * error / error.norm(dim=1, keepdim=True)

    def solution(self, alpha: float) -> Tensor:
        """(A^T A + alpha)^{-1} A^T y, by the normal equations."""
        gram = self.A.T @ self.A + alpha * torch.eye(self.columns, dtype=F64)
        return torch.linalg.solve(gram, (self.data @ self.A).T).T

    def residual(self, x: Tensor) -> Tensor:
        return (x @ self.A.T - self.data).norm(dim=1)

    def error(self, x: Tensor) -> Tensor:
        return (x - self.truth).norm(dim=1)

    def least_error(self) -> Tensor:
        """Over all weights."""
        return torch.stack([self.error(self.solution(10 ** (k / 10))) for k in range(-110, 31)]).amin(0)

    def problem(self, *, noise: bool) -> RuleProblem:
        weight = 0.4 * (self.data @ self.A).norm(dim=1) / self.columns**0.5
        return RuleProblem(self.level if noise else None, self.data.norm(dim=1), weight)

    def layer(self) -> nn.Module:
        layer = nn.Linear(self.columns, self.rows, bias=False).double().requires_grad_(False)
        layer.weight.copy_(self.A)
        return layer.eval()


@dataclass
class Exact:
    """``solve_at`` without an error: Tikhonov's solutions by the singular values. Remembers what was asked."""

    linear: Linear
    asked: list[tuple[Tensor, Tensor, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parts = torch.linalg.svd(self.linear.A, full_matrices=False)
        self.x = torch.zeros_like(self.linear.truth)

    def __call__(self, alpha: Tensor, samples: Tensor, *, final: bool, start: Tensor | None = None) -> Tensor:
        self.asked.append((alpha.clone(), samples.clone(), final))
        left, values, right = self.parts
        data = self.linear.data[samples]
        x = (values / (values.square() + alpha[:, None]) * (data @ left)) @ right
        self.x[samples] = x
        return (x @ self.linear.A.T - data).norm(dim=1)

    def solved(self, samples: Tensor) -> Solved:
        x = self.x[samples]
        return Solved(x, x.square().sum(1) / 2, x)


def polynomial(count: int, power: float) -> Tensor:
    return torch.arange(1, count + 1, dtype=F64) ** -power


def exponential(count: int, rate: float) -> Tensor:
    return torch.exp(-rate * torch.arange(count, dtype=F64))


PROBLEMS = {
    "square, mildly ill-posed": Linear(polynomial(30, 1.0), 30, 30, noise=0.005),
    "square, ill-posed": Linear(polynomial(40, 2.0), 40, 40, noise=0.01),
    "square, severely ill-posed": Linear(exponential(40, 0.5), 40, 40),
    "more outputs": Linear(polynomial(30, 1.5), 60, 30, noise=0.02, seed=1),
    "more inputs": Linear(polynomial(25, 1.5), 25, 50, noise=0.02, seed=2),
}
