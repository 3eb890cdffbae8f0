"""``python -m experiments.figures [NAME ...]``: the figures and tables of docs/experiments.md, made anew at full size."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import shutil
import sys
from pathlib import Path

SHOWN: dict[str, tuple[str, ...]] = {
    "demo": ("reconstruction.png",),
    "perceptron": ("pictures.png", "alphas.png"),
    "rates": ("distance.png", "error.png"),
    "shallow": ("single_layer.png", "residual.png"),
    "autoencoder_study": ("errors.png",),
    "fidelities": ("fidelities.png",),
    "semiconvergence": ("semiconvergence.png",),
    "worst_case": ("worst_case.png",),
    "classification": ("classification.png",),
    "depth": ("depth.png",),
    "formulations": ("formulations.png",),
    "lifted_schemes": ("lifted_schemes.png",),
    "sparse_weights": ("sparse_weights.png",),
    "encoders": ("encoders.png",),
    "proximal_denoiser": ("curves.png", "pictures.png"),
    "sparse_autoencoder": ("sparse_autoencoder.png",),
    "denoising_autoencoder": ("denoised.png",),
    "penalties": ("penalties.png",),
}
FOLDER = Path(__file__).parents[1] / "docs" / "figures"


class Tee(io.StringIO):
    """Keeps what is printed, and prints it."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]
        return super().write(text)


def made(name: str, folder: Path = FOLDER, size: str = "full") -> None:
    """Run the script; copy its figures to ``folder`` as NAME-FIGURE and what it printed as NAME.txt, without paths."""
    said = Tee()
    with contextlib.redirect_stdout(said):
        importlib.import_module(f"experiments.{name}").main(size=size)
    lines = said.getvalue().splitlines()
    out = Path("out") / (name if size == "full" else f"{name}-{size}")
    folder.mkdir(parents=True, exist_ok=True)
    for figure in SHOWN[name]:
        shutil.copyfile(out / figure, folder / f"{name}-{figure}")
    kept = [line.rstrip() for line in lines if not line.startswith("out/")]
    (folder / f"{name}.txt").write_text("\n".join(kept) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.figures", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*SHOWN, []], default=[], metavar="NAME", help=", ".join(SHOWN))
    for each in parser.parse_args().names or SHOWN:
        made(each)
