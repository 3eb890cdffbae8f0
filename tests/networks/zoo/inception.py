"""Branches that are concatenated: GoogLeNet with batch normalisation, and a network of the five blocks of Inception-v3.

Szegedy and others, Going deeper with convolutions, CVPR 2015; Rethinking the Inception Architecture for
Computer Vision, CVPR 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BasicConv2d(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel_size: int | tuple[int, int], **options: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, bias=False, **options)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    def __init__(self, inputs: int, ch1: int, red3: int, ch3: int, red5: int, ch5: int, pool: int) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(inputs, ch1, 1)
        self.branch2 = nn.Sequential(BasicConv2d(inputs, red3, 1), BasicConv2d(red3, ch3, 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv2d(inputs, red5, 1), BasicConv2d(red5, ch5, 3, padding=1))
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True), BasicConv2d(inputs, pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    """All nine blocks, with a sixteenth of the published widths."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = BasicConv2d(3, 4, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(4, 4, 1)
        self.conv3 = BasicConv2d(4, 12, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(12, 4, 6, 8, 1, 2, 2)
        self.inception3b = Inception(16, 8, 8, 12, 2, 6, 4)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(30, 12, 6, 13, 1, 3, 4)
        self.inception4b = Inception(32, 10, 7, 14, 2, 4, 4)
        self.inception4c = Inception(32, 8, 8, 16, 2, 4, 4)
        self.inception4d = Inception(32, 7, 9, 18, 2, 4, 4)
        self.inception4e = Inception(33, 16, 10, 20, 2, 8, 8)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(52, 16, 10, 20, 2, 8, 8)
        self.inception5b = Inception(52, 24, 12, 24, 3, 8, 8)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.maxpool4(self.inception4e(self.inception4d(x)))
        x = self.inception5b(self.inception5a(x))
        return self.fc(self.dropout(torch.flatten(self.avgpool(x), 1)))


class InceptionA(nn.Module):
    def __init__(self, inputs: int, w: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(inputs, 2 * w, kernel_size=1)
        self.branch5x5_1 = BasicConv2d(inputs, w, kernel_size=1)
        self.branch5x5_2 = BasicConv2d(w, 2 * w, kernel_size=5, padding=2)
        self.branch_pool = BasicConv2d(inputs, w, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch_pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([self.branch1x1(x), branch5x5, branch_pool], 1)


class InceptionB(nn.Module):
    def __init__(self, inputs: int, w: int) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(inputs, 2 * w, kernel_size=3, stride=2)
        self.branch_double_1 = BasicConv2d(inputs, w, kernel_size=1)
        self.branch_double_2 = BasicConv2d(w, 2 * w, kernel_size=3, padding=1)
        self.branch_double_3 = BasicConv2d(2 * w, 2 * w, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        branch_double = self.branch_double_3(self.branch_double_2(self.branch_double_1(x)))
        return torch.cat([self.branch3x3(x), branch_double, F.max_pool2d(x, kernel_size=3, stride=2)], 1)


class InceptionC(nn.Module):
    def __init__(self, inputs: int, w: int) -> None:
        super().__init__()
        self.branch7x7_1 = BasicConv2d(inputs, w, kernel_size=1)
        self.branch7x7_2 = BasicConv2d(w, w, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7_3 = BasicConv2d(w, 2 * w, kernel_size=(7, 1), padding=(3, 0))
        self.branch_pool = BasicConv2d(inputs, 2 * w, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        branch7x7 = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        branch_pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([branch7x7, branch_pool], 1)


class InceptionD(nn.Module):
    def __init__(self, inputs: int, w: int) -> None:
        super().__init__()
        self.branch3x3_1 = BasicConv2d(inputs, w, kernel_size=1)
        self.branch3x3_2 = BasicConv2d(w, 2 * w, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        branch3x3 = self.branch3x3_2(self.branch3x3_1(x))
        return torch.cat([branch3x3, F.max_pool2d(x, kernel_size=3, stride=2)], 1)


class InceptionE(nn.Module):
    def __init__(self, inputs: int, w: int) -> None:
        super().__init__()
        self.branch3x3_1 = BasicConv2d(inputs, 2 * w, kernel_size=1)
        self.branch3x3_2a = BasicConv2d(2 * w, w, kernel_size=(1, 3), padding=(0, 1))
        self.branch3x3_2b = BasicConv2d(2 * w, w, kernel_size=(3, 1), padding=(1, 0))
        self.branch_pool = BasicConv2d(inputs, w, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        branch3x3 = self.branch3x3_1(x)
        branch3x3 = torch.cat([self.branch3x3_2a(branch3x3), self.branch3x3_2b(branch3x3)], 1)
        branch_pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([branch3x3, branch_pool], 1)


class InceptionV3(nn.Module):
    """One block of each of the five kinds, and the published way to undo one normalisation of the input by another."""

    def __init__(self, w: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(3, w, kernel_size=3, stride=2)
        self.Mixed_5 = InceptionA(w, w)
        self.Mixed_6a = InceptionB(5 * w, w)
        self.Mixed_6b = InceptionC(9 * w, w)
        self.Mixed_7a = InceptionD(4 * w, w)
        self.Mixed_7b = InceptionE(6 * w, w)
        self.fc = nn.Linear(3 * w, classes)

    def forward(self, x: Tensor) -> Tensor:
        x_ch0 = torch.unsqueeze(x[:, 0], 1) * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
        x_ch1 = torch.unsqueeze(x[:, 1], 1) * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
        x_ch2 = torch.unsqueeze(x[:, 2], 1) * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
        x = self.Conv2d_1a_3x3(torch.cat((x_ch0, x_ch1, x_ch2), 1))
        x = self.Mixed_7b(self.Mixed_7a(self.Mixed_6b(self.Mixed_6a(self.Mixed_5(x)))))
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.fc(F.dropout(x, training=self.training).squeeze(3).squeeze(2))
