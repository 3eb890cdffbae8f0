"""Depthwise convolutions: MobileNetV2 and ShuffleNetV2.

Sandler and others, MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
Ma, Zhang, Zheng, Sun, ShuffleNet V2, ECCV 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvBNReLU(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel_size: int = 3, stride: int = 1, groups: int = 1) -> None:
        padding = (kernel_size - 1) // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expand_ratio: int) -> None:
        super().__init__()
        hidden = inputs * expand_ratio
        self.use_res_connect = stride == 1 and inputs == outputs
        layers: list[nn.Module] = [ConvBNReLU(inputs, hidden, kernel_size=1)] if expand_ratio != 1 else []
        layers += [
            ConvBNReLU(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, 1, 0, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Module):
    """Rows: expansion, channels (an eighth of the published), stride. ``blocks`` a row; the published network has seventeen."""

    settings = ((1, 2, 1), (6, 3, 2), (6, 4, 2), (6, 8, 2), (6, 12, 1), (6, 20, 2), (6, 40, 1))

    def __init__(self, blocks: tuple[int, ...] = (1, 2, 3, 4, 3, 3, 1), classes: int = 10) -> None:
        super().__init__()
        channels = 4
        features: list[nn.Module] = [ConvBNReLU(3, channels, stride=2)]
        for (expansion, outputs, stride), repeats in zip(self.settings, blocks, strict=True):
            for i in range(repeats):
                features.append(InvertedResidual(channels, outputs, stride if i == 0 else 1, expand_ratio=expansion))
                channels = outputs
        features.append(ConvBNReLU(channels, 64, kernel_size=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], -1)
        return self.classifier(x)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    batchsize, num_channels, height, width = x.data.size()
    x = x.view(batchsize, groups, num_channels // groups, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(batchsize, -1, height, width)


def depthwise_conv(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1, bias=False, groups=channels)


class ShuffleUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = outputs // 2
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                depthwise_conv(inputs, stride),
                nn.BatchNorm2d(inputs),
                nn.Conv2d(inputs, half, kernel_size=1, stride=1, padding=0, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(inplace=True),
            )
        self.branch2 = nn.Sequential(
            nn.Conv2d(inputs if stride > 1 else half, half, kernel_size=1, stride=1, padding=0, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            depthwise_conv(half, stride),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, half, kernel_size=1, stride=1, padding=0, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(out, 2)


class ShuffleNetV2(nn.Module):
    """``repeats`` units a stage; the published network has sixteen in all."""

    channels = (4, 8, 16, 32, 64)

    def __init__(self, repeats: tuple[int, ...] = (4, 8, 4), classes: int = 10) -> None:
        super().__init__()
        first, *stages, last = self.channels
        self.conv1 = nn.Sequential(nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True))
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        units: list[nn.Module] = []
        inputs = first
        for outputs, count in zip(stages, repeats, strict=True):
            units.append(ShuffleUnit(inputs, outputs, 2))
            units += [ShuffleUnit(outputs, outputs, 1) for _ in range(count - 1)]
            inputs = outputs
        self.stages = nn.ModuleList(units)
        self.conv5 = nn.Sequential(nn.Conv2d(inputs, last, 1, 1, 0, bias=False), nn.BatchNorm2d(last), nn.ReLU(inplace=True))
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        for unit in self.stages:
            x = unit(x)
        x = self.conv5(x).mean([2, 3])
        return self.fc(x)
