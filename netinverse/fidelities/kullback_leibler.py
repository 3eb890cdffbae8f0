"""The Kullback-Leibler divergence, the fidelity of counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.checks import first_samples, require_number
from netinverse.networks import LiftedNetwork, NetworkOutput
from netinverse.protocols import Operator, Step
from netinverse.tensors import per_sample, total

SHARE = 0.01
"""The default background, relative to the mean of the data: so much stray light is more than rounding and less than a signal."""


@dataclass(frozen=True)
class KullbackLeiblerTerm:
    """G(z) = sum of z - y + w log(w / (z + b)), w = y + b; below z = 0 continued by its second-order expansion there.

    Zero exactly at z = y >= 0. With a background b > 0, (batch,), the gradient 1 - w/(z + b) is Lipschitz with the constant max
    w/b^2, and G is finite everywhere, so that a linearised network may leave the range of the true one.
    G*(p) = -p b - w log(1 - p) for -y/b <= p < 1, infinite above, and (p + y/b)^2 b^2/(2 w) - G(0) below.
    """

    data: Tensor
    background: Tensor

    @property
    def curvature(self) -> Tensor:
        largest = self.data.flatten(1).amax(1) if self.data[0:1].numel() else torch.zeros_like(self.background)
        return (largest + self.background) / self.background.square()

    def __call__(self, x: Tensor) -> Tensor:
        b, w = self._parts()
        inside = w * _excess((x.clamp(min=0) - self.data) / w)
        below = x.clamp(max=0)
        return total(inside - (self.data / b) * below + w / b.square() * below.square() / 2)

    def gradient(self, z: Tensor) -> Tensor:
        b, w = self._parts()
        return 1 - w / (z.clamp(min=0) + b) + w / b.square() * z.clamp(max=0)

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        b, w = self._parts()
        t = per_sample(step, x)
        q = x + b - t  # the root s = z + b of s^2 - q s - t w = 0, without cancellation
        root = (q.square() + 4 * t * w).sqrt()
        s = torch.where(q >= 0, (q + root) / 2, 2 * t * w / (root - q).clamp(min=torch.finfo(x.dtype).tiny))
        below = (x + t * self.data / b) / (1 + t * w / b.square())
        return torch.where(s >= b, s - b, below)

    def conjugate(self, p: Tensor) -> Tensor:
        b, w = self._parts()
        end = -self.data / b
        above = p >= 1
        inner = torch.where(above, torch.zeros_like(p), p).clamp(min=end)
        value = -inner * b - w * torch.log1p(-inner) + (p - end).clamp(max=0).square() * b.square() / (2 * w)
        return total(value.masked_fill(above, torch.inf))

    def select(self, index: Tensor) -> KullbackLeiblerTerm:
        return replace(self, data=self.data[index], background=self.background[index])

    def _parts(self) -> tuple[Tensor, Tensor]:
        """b, in the shape of the data, and w = y + b."""
        b = per_sample(self.background, self.data)
        return b, self.data + b


@dataclass(frozen=True)
class KullbackLeibler:
    """sum of F(x) - y + (y + b) log((y + b)/(F(x) + b)), for counts y >= 0 with Poisson noise and a background b.

    background: a positive number, the counts that every entry has without any signal; by default 1 % of the mean of a sample's
    data, which keeps the logarithm finite. Negative entries of the data count as zero. The noise level stays the l2 norm of the
    noise: ``add_noise(kind="poisson")`` returns it.
    Csiszar, Ann. Statist. 19, 1991.
    """

    background: float | None = None

    def __post_init__(self) -> None:
        if self.background is not None:
            why = "Without it the divergence from an output of zero is infinite; leave it out for 1 % of the mean of the data."
            require_number("KullbackLeibler", "background", self.background, why)

    @property
    def keeps_last_activation(self) -> bool:
        return False

    def variable(self, network: LiftedNetwork) -> Operator:
        return NetworkOutput(network)

    def at(self, network: LiftedNetwork, data: Tensor) -> KullbackLeiblerTerm:
        if self.background is not None:
            return KullbackLeiblerTerm(data, torch.full_like(data.flatten(1)[:, 0], self.background))
        mean = data.flatten(1).mean(1)
        return KullbackLeiblerTerm(data, torch.where(mean > 0, SHARE * mean, torch.ones_like(mean)))

    def treat(self, network: LiftedNetwork, projected: Tensor, noise_level: Tensor | None) -> Tensor:
        negative = (projected < 0).flatten(1)
        few = negative.double().mean(1) > 0.5
        if bool(few.any()):
            raise ValueError(
                f"KullbackLeibler: more than half of the data are negative in {first_samples(few)}, which counts never are. Use "
                f"fidelity=ni.SquaredFidelity(), or ni.BregmanFidelity()."
            )
        return projected.clamp(min=0)


def _excess(r: Tensor) -> Tensor:
    """r - log(1 + r) for r > -1, without the cancellation at zero."""
    small = r.abs() < 1e-3
    series = r.square() * (1 / 2 - r * (1 / 3 - r * (1 / 4 - r * (1 / 5 - r / 6))))
    return torch.where(small, series, r - torch.log1p(r))
