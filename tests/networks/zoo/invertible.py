"""i-ResNet. Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen, Invertible Residual Networks, ICML 2019."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class ActNorm2d(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(0.1 * torch.randn(channels))
        self.log_scale = nn.Parameter(0.1 * torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        bias, log_scale = self.bias[None, :, None, None], self.log_scale[None, :, None, None]
        return (x + bias) * torch.exp(log_scale)


class Squeeze(nn.Module):
    """(C, H, W) -> (4C, H/2, W/2), as its authors write it."""

    def forward(self, x: Tensor) -> Tensor:
        output = x.permute(0, 2, 3, 1)
        batch_size, s_height, _, s_depth = output.size()
        d_height, d_depth = s_height // 2, 4 * s_depth
        stack = [t.contiguous().view(batch_size, d_height, d_depth) for t in output.split(2, 2)]
        output = torch.stack(stack, 1).permute(0, 2, 1, 3)
        return output.permute(0, 3, 1, 2).contiguous()


class InvertibleBlock(nn.Module):
    """x + g(x) with ||g||_Lip < 1."""

    def __init__(self, channels: int, hidden: int, coefficient: float = 0.9) -> None:
        super().__init__()
        self.coefficient = coefficient
        self.actnorm = ActNorm2d(channels)
        self.bottleneck_block = nn.Sequential(
            nn.ELU(),
            spectral_norm(nn.Conv2d(channels, hidden, 3, padding=1)),
            nn.ELU(),
            spectral_norm(nn.Conv2d(hidden, hidden, 1)),
            nn.ELU(),
            spectral_norm(nn.Conv2d(hidden, channels, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.actnorm(x)
        return x + self.coefficient * self.bottleneck_block(x)


class IResNet(nn.Module):
    """Three scales of two blocks."""

    def __init__(self, channels: int = 3, hidden: int = 8, blocks: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for scale in range(3):
            if scale > 0:
                layers.append(Squeeze())
                channels *= 4
            layers += [InvertibleBlock(channels, hidden) for _ in range(blocks)]
        self.stack = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        z = x
        for block in self.stack:
            z = block(z)
        return z
