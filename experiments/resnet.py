"""A small residual network that tells which picture a 32x32 patch was cut from, trained once and kept under ``out/``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from skimage import data
from skimage.transform import rescale
from torch import Tensor, nn
from tqdm import tqdm

from experiments import stored

PATCH = 32
TRAINED_SHARE = 0.75  # the upper part of a picture gives the patches to learn from, the rest those to test with


@dataclass(frozen=True)
class Settings:
    """All that decides the trained weights. ``patches``: of each picture."""

    widths: tuple[int, int, int, int] = (16, 24, 48, 96)
    patches: int = 150
    epochs: int = 5
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 5e-2
    seed: int = 0


SMOKE = Settings(widths=(6, 24, 32, 32), patches=20, epochs=1)


@dataclass(frozen=True)
class Classifier:
    """The trained network, in evaluation mode, and the share of the test patches it names correctly."""

    network: ResNet
    accuracy: float


class Block(nn.Module):
    """relu(x' + f(x)), f two 3x3 convolutions and x' the input, or a strided convolution of it where the shape changes."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        same = stride == 1 and channels == out
        projection = nn.Sequential(nn.Conv2d(channels, out, stride, stride, bias=False), nn.BatchNorm2d(out))
        self.shortcut = nn.Identity() if same else projection

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.bn1(self.conv1(x)))
        summed: Tensor = self.shortcut(x) + self.bn2(self.conv2(hidden))
        return self.relu(summed)


class ResNet(nn.Module):
    """3xHxW -> stem -> four blocks, at a half and then a quarter of the resolution -> classes."""

    def __init__(self, widths: tuple[int, int, int, int], classes: int) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.stem = nn.Sequential(nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        self.layer1 = Block(first, first, 1)
        self.layer2 = Block(first, second, 2)
        self.layer3 = Block(second, third, 1)
        self.layer4 = Block(third, fourth, 2)
        self.head = nn.Linear(fourth, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.orthogonal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        features = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        classes: Tensor = self.head(features.mean((2, 3)))
        return classes


@functools.cache
def pictures() -> dict[str, Tensor]:
    """Nine pictures of scikit-image, ``(3, height, width)`` in [0, 1], at half or a quarter of their size."""
    found = {
        "cat": data.chelsea(),
        "coffee": data.coffee(),
        "rocket": data.rocket(),
        "galaxies": data.hubble_deep_field(),
        "retina": data.retina(),
        "tissue": data.immunohistochemistry(),
        "motorcycle": data.stereo_motorcycle()[0],
        "brick": data.brick(),
        "grass": data.grass(),
    }
    return {name: _reduced(picture) for name, picture in found.items()}


def _reduced(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    colour = picture if picture.ndim == 3 else np.stack([picture] * 3, -1)
    factor = 0.5 if min(colour.shape[:2]) < 800 else 0.25
    return torch.as_tensor(rescale(colour / 255, factor, anti_aliasing=True, channel_axis=-1)).permute(2, 0, 1).float()


def patches(count: int, seed: int, train: bool) -> tuple[Tensor, Tensor]:
    """``count`` patches of each picture, ``(9 count, 3, 32, 32)``, and the number of the picture each was cut from."""
    generator = torch.Generator().manual_seed(seed)
    cut, labels = [], []
    for label, picture in enumerate(pictures().values()):
        _, height, width = picture.shape
        border = int(TRAINED_SHARE * height)
        first, last = (0, border - PATCH) if train else (border, height - PATCH)
        for _ in range(count):
            top = int(torch.randint(first, last + 1, (), generator=generator))
            left = int(torch.randint(0, width - PATCH + 1, (), generator=generator))
            cut.append(picture[:, top : top + PATCH, left : left + PATCH])
            labels.append(label)
    return torch.stack(cut), torch.tensor(labels)


def classifier(settings: Settings | None = None, folder: str | Path = "out/models") -> Classifier:
    """The trained network: read from ``folder`` if these settings were trained before, else trained and written there."""
    settings = settings or Settings()
    network = stored.trained(
        "resnet", settings, lambda: ResNet(settings.widths, len(pictures())), lambda model: _train(model, settings), folder
    )
    assert isinstance(network, ResNet)
    held_out, labels = patches(60, settings.seed + 1, train=False)
    accuracy = (network(held_out).argmax(1) == labels).float().mean().item()
    return Classifier(network, accuracy)


def _train(network: nn.Module, settings: Settings) -> None:
    """AdamW on the smoothed cross-entropy, with flipped and slightly noisy patches."""
    x, labels = patches(settings.patches, settings.seed, train=True)
    generator = torch.Generator().manual_seed(settings.seed)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(x) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
    loss_function = nn.CrossEntropyLoss(label_smoothing=0.1)
    network.train()
    bar = tqdm(range(settings.epochs), desc="training the residual network", unit="epoch")
    for _ in bar:
        for chosen in torch.randperm(len(x), generator=generator).split(settings.batch):
            batch = x[chosen]
            if torch.rand((), generator=generator) < 0.5:
                batch = batch.flip(3)
            batch = batch + 0.05 * torch.randn(batch.shape, generator=generator)
            optimiser.zero_grad()
            loss = loss_function(network(batch), labels[chosen])
            loss.backward()
            optimiser.step()
            schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
