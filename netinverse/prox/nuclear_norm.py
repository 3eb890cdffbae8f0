"""The sum of the singular values: matrices of low rank."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.checks import require_positive
from netinverse.protocols import Step
from netinverse.prox.scalar import beyond


@dataclass(frozen=True)
class NuclearNorm:
    """weight * sum of the singular values of x, (batch, m, n); filters (batch, m, ...) count as matrices (m, n) of their rows.

    Proximal map: U max(S - step weight, 0) V^T for x = U S V^T. Conjugate: 0 where the largest singular value of p is at most
    weight, inf outside. Cai, Candes & Shen, SIAM J. Optim. 20, 2010.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        require_positive("NuclearNorm", "weight", self.weight, "its dual ball has this radius; for no penalty there is Zero()")

    def __call__(self, x: Tensor) -> Tensor:
        values: Tensor = torch.linalg.svdvals(as_matrices(x))
        return self.weight * values.sum(1)

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        u, s, vh = torch.linalg.svd(as_matrices(x), full_matrices=False)
        threshold = self.weight * torch.as_tensor(step, dtype=s.dtype, device=s.device).reshape(-1, 1)
        found: Tensor = u * torch.relu(s - threshold)[:, None] @ vh
        return found.reshape(x.shape)

    def conjugate(self, p: Tensor) -> Tensor:
        largest = torch.linalg.matrix_norm(as_matrices(p), 2)
        return torch.zeros_like(largest).masked_fill(beyond(largest, self.weight), inf)


def as_matrices(x: Tensor) -> Tensor:
    """(batch, m, ...) -> (batch, m, n). Raises ValueError where one sample is no matrix and no filter."""
    if x.ndim < 3:
        raise ValueError(
            f"singular values: x has shape {tuple(x.shape)}, but each sample must be a matrix or a filter, so that the shape is "
            f"(batch, m, n) or (batch, m, ...). For one matrix pass x[None]."
        )
    return x.flatten(2)
