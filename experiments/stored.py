"""Trained weights kept in a file: read only if they can be trusted, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm


def trained(
    name: str, settings: Any, build: Callable[[], nn.Module], train: Callable[[nn.Module], None], folder: str | Path
) -> nn.Module:
    """``build()`` with the weights in ``folder`` if these settings were trained before, else trained and written there.

    The weights that it begins with follow from ``settings.seed``. In evaluation mode, without gradients.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = build()
    path = Path(folder) / f"{name}-{key(settings, model)}.npz"
    if not read(model, path):
        train(model)
        write(model, path)
    return model.eval().requires_grad_(False)


def key(settings: Any, model: nn.Module) -> str:
    """Other settings or other layers make another file, so that a quick model is never taken for a full one."""
    text = json.dumps(asdict(settings), sort_keys=True) + repr(model)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read(model: nn.Module, path: Path) -> bool:
    """Load the weights; False where there are none that can be used."""
    if not path.exists():
        return False
    expected = model.state_dict()
    try:
        with np.load(path, allow_pickle=False) as archive:
            weights = {name: torch.from_numpy(archive[name]) for name in archive.files}
        if weights.keys() != expected.keys() or any(weights[name].shape != expected[name].shape for name in expected):
            raise ValueError("it holds other layers")
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise ValueError("it holds NaN or infinite weights")
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        tqdm.write(f"The stored weights in {path} cannot be used ({error}); training again.")
        return False
    model.load_state_dict(weights)
    return True


def write(model: nn.Module, path: Path) -> None:
    """Write beside the file and move it there, so that an interrupted run leaves no half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **{key: value.numpy() for key, value in model.state_dict().items()})
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
