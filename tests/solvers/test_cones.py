"""The algebra of second-order cones, by its own laws and by brute force."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from netinverse.solvers.cones import Scaling, central, divide, dot, longest_step, product, root

F64 = torch.float64


def inside(seed: int, group: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(2, group, 5, generator=generator, dtype=F64)
    return v.square().sum(1).sqrt() * (1 + torch.rand(2, 5, generator=generator, dtype=F64)), v


@pytest.mark.parametrize("group", [1, 2, 3])
def test_the_scaling_takes_the_dual_to_the_inverse_image_of_the_primal(group: int) -> None:
    s, z = inside(0, group), inside(1, group)
    scaling = Scaling.of(s, z)
    for one, other in zip(scaling.apply(z), scaling.apply(s, -1.0), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    for back, start in zip(scaling.apply(scaling.apply(s), -1.0), s, strict=True):
        torch.testing.assert_close(back, start, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("group", [1, 2])
def test_the_stiffness_is_the_schur_complement_of_the_inverse_square(group: int) -> None:
    scaling = Scaling.of(inside(0, group), inside(1, group))
    columns = []
    for k in range(1 + group):
        head, tail = torch.zeros(2, 5, dtype=F64), torch.zeros(2, group, 5, dtype=F64)
        (head if k == 0 else tail[:, k - 1])[:] = 1
        once = scaling.apply(scaling.apply((head, tail), -1.0), -1.0)
        columns.append(torch.cat([once[0].unsqueeze(1), once[1]], 1))
    square = torch.stack(columns, 2).movedim(-1, 1)  # (batch, cones, 1 + group, 1 + group)
    corner, side = square[..., :1, :1], square[..., 1:, :1]
    schur = square[..., 1:, 1:] - side @ side.mT / corner
    inverse, shrink = scaling.stiffness()
    tail = scaling.tail.movedim(1, -1)
    eye = torch.eye(group, dtype=F64)
    found = inverse[..., None, None] * (eye - shrink[..., None, None] * tail[..., :, None] * tail[..., None, :])
    torch.testing.assert_close(found, schur, rtol=1e-9, atol=1e-9)
    head, along = scaling.coupling()
    torch.testing.assert_close(head, corner[..., 0, 0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(along.movedim(1, -1), side[..., 0], rtol=1e-9, atol=1e-9)


def test_divide_undoes_product() -> None:
    a, b = inside(2, 2), inside(3, 2)
    for found, truth in zip(divide(a, product(a, b)), b, strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-9)


def test_the_longest_step_ends_on_the_first_cone_that_is_left() -> None:
    a = inside(4, 2)
    generator = torch.Generator().manual_seed(5)
    for scale in (0.1, 1.0, 10.0):
        d = (
            scale * torch.randn(2, 5, generator=generator, dtype=F64),
            scale * torch.randn(2, 2, 5, generator=generator, dtype=F64),
        )

        def slack(step: Tensor, d: tuple[Tensor, Tensor] = d) -> Tensor:
            v = a[1] + step[:, None, None] * d[1]
            return (a[0] + step[:, None] * d[0] - dot(v, v).sqrt()).amin(1)

        step = longest_step(a, d)
        leaves = step.isfinite()
        assert (slack(torch.where(leaves, 0.999 * step, 1e6)) > 0).all()
        assert (slack(1.001 * step)[leaves] < 0).all()
    assert longest_step(a, (a[0], torch.zeros_like(a[1]))).isinf().all()


def test_the_central_point_solves_its_equations() -> None:
    u = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(6), dtype=F64)
    u[:, :, 0] = 0
    rho, alpha, mu = (torch.tensor(value, dtype=F64) for value in ([1.0, 3.0], [0.5, 2.0], [1e-3, 1e-2]))
    (t, v), q = central(u, rho, alpha, mu)
    torch.testing.assert_close(v + q / rho[:, None, None], u, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(alpha[:, None] * t - dot(v, q), mu[:, None].expand_as(t), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(alpha[:, None, None] * v, t[:, None] * q, rtol=1e-6, atol=1e-10)
    assert (root((t, v)) > 0).all()
