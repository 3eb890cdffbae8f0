"""What a lifted network is tried for before anyone relies on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netinverse.networks.export import first_line
from netinverse.networks.graph import LiftedNetwork


def check_samples_are_separate(network: LiftedNetwork) -> None:
    """Each sample's output is its own affair: two random inputs together give what they give alone."""
    probes = _probes(network)
    with torch.no_grad():
        try:
            together, alone = network(probes), network(probes[:1])
        except RuntimeError as error:
            raise ValueError(
                f"lift: the model works for the batch size of the example only: {first_line(error)}. Write its shapes with "
                f"x.shape[0] or flatten(1) instead of a number, or export it with a dynamic batch: dynamic_shapes=({{0: "
                f"torch.export.Dim.AUTO}},)."
            ) from error
    tolerance = 1e3 * torch.finfo(together.dtype).eps if together.is_floating_point() else 0.0
    # An output that is small by cancellation carries the rounding of what cancelled: the largest output says how much.
    largest = float(alone.abs().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).max()) if alone.numel() else 0.0
    same = alone.shape == together[:1].shape and torch.allclose(
        together[:1], alone, rtol=tolerance, atol=tolerance * max(1.0, largest), equal_nan=True
    )
    if together.shape[0] != 3 or not same:
        raise ValueError(
            "lift: the output of one sample depends on the other samples of the batch, or the output has no batch axis; a "
            "reconstruction goes sample by sample. Remove what mixes the batch (sums or norms over axis 0), and keep axis 0 for "
            "the samples."
        )


def check_agreement(network: LiftedNetwork, model: nn.Module, output: str | None) -> None:
    """The lifted network equals the model, or the value of its inner module ``output`` at its last call, at random inputs."""
    probes = _probes(network)
    found: list[Tensor] = []
    handle = (
        None if output is None else model.get_submodule(output).register_forward_hook(lambda _, __, y: found.append(y.clone()))
    )
    try:
        with torch.no_grad():
            given = probes.clone()
            whole = model(given)
            lifted = network(probes)
    finally:
        if handle is not None:
            handle.remove()
    if not given.equal(probes):
        raise ValueError(
            "lift: the model changes its input in place, which would destroy the reconstruction it is evaluated at. Work on a "
            "copy: replace x += 1 by x = x + 1, or nn.ReLU(inplace=True) on the input by nn.ReLU()."
        )
    truth = found[-1] if found else whole
    scale = truth.abs().max().clamp(min=torch.finfo(truth.dtype).tiny)
    difference = float((lifted - truth).abs().max() / scale) if lifted.shape == truth.shape else float("inf")
    if difference > torch.finfo(truth.dtype).eps ** 0.5:
        raise RuntimeError(
            f"lift: the lifted network differs from the model by {difference:.1e} relative to its largest output; what is "
            f"reconstructed would belong to another map. This is a defect of netinverse, or the value of {output!r} is not "
            f"that of its last operator; please report it with the model."
        )


def _probes(network: LiftedNetwork) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn((3, *network.input_shape), generator=generator, dtype=torch.float64)
    return probes.to(network.dtype).to(network.device)
