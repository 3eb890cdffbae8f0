"""Pictures to be reconstructed by the autoencoders: Fashion-MNIST where it can be fetched, digits otherwise."""

from __future__ import annotations

import gzip

import torch
from torch import Tensor

from experiments.autoencoder import images

ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FILE, DIGEST = "train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"
HELD_OUT = 500


def garments() -> Tensor:
    """The first 5,000 pictures of Fashion-MNIST, (5000, 784) in [0, 1]; fetched once, and kept where pooch keeps files.

    Raises ImportError without pooch, OSError or ValueError where the file cannot be had or is another.
    """
    import pooch

    path = pooch.retrieve(ADDRESS + FILE, known_hash=DIGEST, progressbar=False)
    with gzip.open(path) as stream:
        stream.read(16)
        pixels = bytearray(stream.read(5000 * 784))
    return torch.frombuffer(pixels, dtype=torch.uint8).reshape(5000, 784).float() / 255


def pictures(fetch: bool) -> tuple[str, Tensor, Tensor]:
    """What they are, those to learn from and 500 others, (n, 784) in [0, 1]; prints why where they are not Fashion-MNIST."""
    name, x = "digits", images().flatten(1)
    if fetch:
        try:
            name, x = "Fashion-MNIST", garments()
        except (ImportError, OSError, ValueError) as error:
            print(f"Fashion-MNIST cannot be fetched ({type(error).__name__}); digits serve in its place")
    else:
        print("digits serve in place of Fashion-MNIST: nothing is fetched at this size")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return name, x[order[:-HELD_OUT]], x[order[-HELD_OUT:]]
