"""Images out: U-Net and a convolutional autoencoder.

Ronneberger, Fischer, Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DoubleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, middle: int | None = None) -> None:
        super().__init__()
        middle = middle or outputs
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, middle, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, bilinear: bool) -> None:
        super().__init__()
        self.up: nn.Module
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = DoubleConv(inputs, outputs, inputs // 2)
        else:
            self.up = nn.ConvTranspose2d(inputs, inputs // 2, kernel_size=2, stride=2)
            self.conv = DoubleConv(inputs, outputs)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        x1 = self.up(x1)
        dy, dx = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([x2, x1], dim=1))


class UNet(nn.Module):
    """Four levels down, four up."""

    def __init__(self, bilinear: bool, width: int = 4, classes: int = 2) -> None:
        super().__init__()
        self.inc = DoubleConv(1, width)
        self.down = nn.MaxPool2d(2)
        factor = 2 if bilinear else 1
        self.down1 = nn.Sequential(self.down, DoubleConv(width, 2 * width))
        self.down2 = nn.Sequential(self.down, DoubleConv(2 * width, 4 * width))
        self.down3 = nn.Sequential(self.down, DoubleConv(4 * width, 8 * width))
        self.down4 = nn.Sequential(self.down, DoubleConv(8 * width, 16 * width // factor))
        self.up1 = Up(16 * width, 8 * width // factor, bilinear)
        self.up2 = Up(8 * width, 4 * width // factor, bilinear)
        self.up3 = Up(4 * width, 2 * width // factor, bilinear)
        self.up4 = Up(2 * width, width, bilinear)
        self.outc = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.down4(x4)
        x = self.up2(self.up1(x, x4), x3)
        return self.outc(self.up4(self.up3(x, x2), x1))


class Autoencoder(nn.Module):
    """Strided convolutions to a code of 16 numbers, transposed ones back to an image in [0, 1]."""

    def __init__(self, code: int = 16) -> None:
        super().__init__()
        self.act = nn.LeakyReLU(0.2)
        self.enc1 = nn.Conv2d(1, 4, 4, stride=2, padding=1)
        self.enc2 = nn.Conv2d(4, 8, 4, stride=2, padding=1)
        self.enc3 = nn.Linear(8 * 8 * 8, code)
        self.dec1 = nn.Linear(code, 8 * 8 * 8)
        self.dec2 = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)
        self.dec3 = nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1)

    def encode(self, x: Tensor) -> Tensor:
        x = self.act(self.enc2(self.act(self.enc1(x))))
        return torch.tanh(self.enc3(x.view(x.shape[0], -1)))

    def decode(self, code: Tensor) -> Tensor:
        x = F.relu(self.dec1(code)).view(-1, 8, 8, 8)
        return torch.sigmoid(self.dec3(F.elu(self.dec2(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))
