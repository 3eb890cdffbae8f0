"""Where the activations of a batch begin, before the block steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from netinverse.checks import require_number, require_whole
from netinverse.lifting.sweep import Beginning, forward_pass
from netinverse.networks.node import Node


class Auxiliaries(Protocol):
    """Configuration; ``progress`` is the share of the epochs that is over, in [0, 1)."""

    def at(self, progress: float, blocks: Sequence[Node], targets: Tensor, outputs: int) -> Beginning:
        """u_l from (l, sigma_l(z_l)), for the batch with these targets and a network with so many outputs."""
        ...


@dataclass(frozen=True)
class ForwardPass:
    """The activations of the forward pass: the penalties vanish, and what is learned comes from the output alone."""

    def at(self, progress: float, blocks: Sequence[Node], targets: Tensor, outputs: int) -> Beginning:
        return forward_pass


@dataclass(frozen=True)
class TargetCodes:
    """u_l = sigma_l(z_l) + s (c_l - sigma_l(z_l)), c_l a code of the target: what no forward pass through a deep network carries.

    c_l = sigma_l(scale P_l t), P_l fixed standard normal numbers from ``seed``, t the unit vector of the class, or the flattened
    float targets. The share s is 1 for the first ``held`` of the epochs and falls linearly to 0 at ``gone``; from there on it is
    the forward pass. The first ``free`` activations keep their own value throughout: codes know the target alone, and features of
    the input have to come first. While codes are held every layer learns to map one code to the next, whatever lies above it, so
    that depth costs nothing and no gradient has to survive it.
    """

    scale: float = 4.0
    free: int = 2
    held: float = 0.2
    gone: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        require_number("TargetCodes", "scale", self.scale, "The default is 4.")
        require_whole("TargetCodes", "free", self.free, 0, "The default is 2.")
        if not 0 <= self.held < self.gone <= 1:
            raise ValueError(
                f"TargetCodes: held is {self.held} and gone is {self.gone}, but they are shares of the epochs with "
                f"0 <= held < gone <= 1. The defaults are 0.2 and 0.6."
            )

    def share(self, progress: float) -> float:
        return min(1.0, max(0.0, (self.gone - progress) / (self.gone - self.held)))

    def at(self, progress: float, blocks: Sequence[Node], targets: Tensor, outputs: int) -> Beginning:
        share = self.share(progress)
        if share == 0:
            return forward_pass
        labels = not targets.is_floating_point()
        flat = targets if labels else targets.flatten(1)
        width = outputs if labels else flat.shape[1]

        def begin(block: int, activation: Tensor) -> Tensor:
            if block < self.free:
                return activation
            directions = _directions(self.seed, block, width, tuple(activation.shape[1:]), activation.dtype, activation.device)
            z = directions[flat] if labels else torch.tensordot(flat.to(activation), directions, dims=1)
            return torch.lerp(activation, blocks[block](self.scale * z), share)

        return begin


@lru_cache(maxsize=256)
def _directions(seed: int, block: int, width: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """(width, *shape) standard normal numbers; read-only."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + block)
    return torch.randn((width, *shape), generator=generator).to(dtype=dtype, device=device)
