"""H = K^T D K + W^T E W + diag(c) for one image, K the forward differences: factorised by rows of pixels, W by Woodbury."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = 8
"""Numbers between the lines of the image of W: lines whose length is a power of two fall into few places of the cache, and
products with them take half as long again."""


@dataclass(frozen=True)
class Weights:
    """D = [[down, cross], [cross, right]] at each pixel, E and c: (channels, height, width) thrice, (rows,), (channels, ...)."""

    down: Tensor
    right: Tensor
    cross: Tensor
    rows: Tensor
    diagonal: Tensor


@dataclass(frozen=True)
class Factor:
    """The factorisation of H for one sample. ``sound`` is False where rounding made H indefinite.

    Block Cholesky of K^T D K + diag(c) + shift along the height, one block for each row of pixels: L_ii^-1 in ``inverses``, and
    what the substitutions carry from row to row in ``down`` = L_ii^-1 L_i,i-1 and ``up`` = L_ii^-T L_i+1,i^T; then
    I + E^1/2 W L^-T L^-1 W^T E^1/2 = I + E^1/2 Y^T Y E^1/2 with Y = L^-1 W^T, the ``image``, and ``roots`` for E^1/2. Rows
    of W with a negligible weight are left out. Cost: about height * width * rows * (width + rows) products. What shift and
    omissions spoil, conjugate gradients repair.
    """

    weights: Weights
    matrix: Tensor
    inverses: Tensor
    down: tuple[Tensor, ...]
    up: tuple[Tensor, ...]
    image: Tensor
    roots: Tensor
    small: Tensor
    sound: bool

    @classmethod
    def of(cls, weights: Weights, matrix: Tensor, negligible: float = 1e-9) -> Factor:
        """``matrix`` is W, (rows, channels * height * width)."""
        channels, height, width = weights.down.shape
        inverses, couplings, failed = _block_cholesky(*_rows_of_pixels(weights))
        kept = (weights.rows > negligible * weights.rows.max()).nonzero().flatten()
        chosen = matrix if len(kept) == len(matrix) else matrix.index_select(0, kept)
        by_row = chosen.reshape(-1, channels, height, width).permute(2, 1, 3, 0)
        down = tuple((inverses[1:] @ couplings).unbind())
        up = tuple((inverses[:-1].mT @ couplings.mT).unbind())
        image = matrix.new_empty(height, channels, width, len(kept) + PADDING)[..., : len(kept)]
        for i in range(height):
            torch.bmm(inverses[i], by_row[i], out=image[i])
            if i:
                image[i].baddbmm_(down[i - 1], image[i - 1], alpha=-1)
        flat, roots = image.flatten(0, 2), weights.rows[kept].sqrt()
        gram = _gram(flat).mul_(roots).mul_(roots[:, None])
        gram.diagonal().add_(1)
        small, indefinite = torch.linalg.cholesky_ex(gram)
        sound = not bool(failed) and not bool(indefinite) and bool(torch.isfinite(small).all())
        return cls(weights, matrix, inverses, down, up, flat, roots, small, sound)

    def approximate(self, r: Tensor) -> Tensor:
        """H^-1 r but for the shift and the rows left out; r (channels, height, width)."""
        forward = list((self.inverses @ r.transpose(0, 1)[..., None]).unbind())
        for i, coupling in enumerate(self.down):
            forward[i + 1] = torch.baddbmm(forward[i + 1], coupling, forward[i], alpha=-1)
        flat = torch.stack(forward).flatten()
        inner = self.roots * torch.mv(self.image.T, flat)
        inner = self.roots * torch.cholesky_solve(inner[:, None], self.small)[:, 0]
        rest = torch.addmv(flat, self.image, inner, alpha=-1).reshape(*self.inverses.shape[:3], 1)
        back = list((self.inverses.mT @ rest).unbind())
        for i in reversed(range(len(self.up))):
            back[i] = torch.baddbmm(back[i], self.up[i], back[i + 1], alpha=-1)
        return torch.stack(back, 1).squeeze(-1)

    def apply(self, x: Tensor) -> Tensor:
        """H x."""
        w = self.weights
        down, right = torch.zeros_like(x), torch.zeros_like(x)
        down[:, :-1], right[:, :, :-1] = x.diff(dim=1), x.diff(dim=2)
        down, right = w.down * down + w.cross * right, w.cross * down + w.right * right
        out = w.diagonal * x
        out[:, 1:] += down[:, :-1]
        out[:, :-1] -= down[:, :-1]
        out[:, :, 1:] += right[:, :, :-1]
        out[:, :, :-1] -= right[:, :, :-1]
        return out + ((w.rows * (self.matrix @ x.flatten())) @ self.matrix).reshape(x.shape)

    def refined(self, x: Tensor, r: Tensor, tolerance: float, max_steps: int) -> Tensor:
        """H^-1 r by preconditioned conjugate gradients from x, to ``tolerance`` in the residual."""
        residual, p, before = r - self.apply(x), torch.zeros_like(x), torch.ones_like(x[0, 0, 0])
        goal = tolerance * torch.linalg.vector_norm(r)
        for _ in range(max_steps):
            if not bool(torch.linalg.vector_norm(residual) > goal):
                break
            z = self.approximate(residual)
            rz = (residual * z).sum()
            if not bool(rz > 0):
                break
            p = z + (rz / before) * p
            image = self.apply(p)
            step, before = rz / (p * image).sum(), rz
            x, residual = x + step * p, residual - step * image
        return x


def _gram(y: Tensor, block: int = 128) -> Tensor:
    """Y^T Y, whose blocks above the diagonal are copied, not computed."""
    n = y.shape[1]
    out = y.new_empty(n, n)
    for start in range(0, n, block):
        end = min(start + block, n)
        part = y[:, start:].T @ y[:, start:end]
        out[start:, start:end] = part
        out[start:end, start:] = part.T
    return out


def _block_cholesky(blocks: Tensor, between: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(L_ii^-1, L_i+1,i, whether it failed) of the block tridiagonal matrix, both (height, channels, width, width)."""
    inverses: list[Tensor] = []
    couplings: list[Tensor] = []
    failures = []
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device).expand_as(blocks[:, 0])
    for i in range(blocks.shape[1]):
        block = blocks[:, i]
        if i:
            couplings.append(between[:, i - 1] @ inverses[-1].mT)
            block = torch.baddbmm(block, couplings[-1], couplings[-1].mT, alpha=-1)
        root, failed = torch.linalg.cholesky_ex(block)
        failures.append(failed)
        inverses.append(torch.linalg.solve_triangular(root, eye, upper=False))
    joined = torch.stack(couplings) if couplings else blocks.new_empty(0, *eye.shape)
    return torch.stack(inverses), joined, torch.stack(failures).any()


def _rows_of_pixels(w: Weights) -> tuple[Tensor, Tensor]:
    """Blocks of K^T D K + diag(c) + shift: of each row of pixels, and between it and the next, (channels, height, width, width).

    The shift, which makes the blocks definite, is a millionth of the geometric mean of D and some rounding of the diagonal.
    """
    down, right, cross = w.down.clone(), w.right.clone(), w.cross.clone()
    down[:, -1], cross[:, -1] = 0, 0
    right[:, :, -1], cross[:, :, -1] = 0, 0
    shift = 1e-6 * w.down.log().mean().exp()
    n = down.shape[2]
    blocks = down.new_zeros((*down.shape, n))
    between = torch.zeros_like(blocks)
    at = torch.arange(n, device=down.device)
    diagonal = down + right + 2 * cross + w.diagonal + shift
    diagonal[:, 1:] += down[:, :-1]
    diagonal[:, :, 1:] += right[:, :, :-1]
    blocks[..., at, at] = diagonal * (1 + 64 * torch.finfo(down.dtype).eps)
    side = -(right + cross)[:, :, :-1]
    blocks[..., at[:-1], at[1:]] = side
    blocks[..., at[1:], at[:-1]] = side
    between[..., at, at] = -(down + cross)
    between[..., at[:-1], at[1:]] = cross[:, :, :-1]
    return blocks, between
