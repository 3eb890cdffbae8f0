"""Inputs that a generator makes: the search is in its latent space."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from netinverse.checks import require_shape
from netinverse.networks import LiftedNetwork
from netinverse.protocols import ProximalFunction
from netinverse.regularisers import Regulariser, Tikhonov

TEXTURE = 0.1
"""The standard deviation of the latent variable that the search begins at: at zero the units of a network lie on their kinks."""


@dataclass(frozen=True)
class GeneratorPrior:
    """R(x) = min { S(xi) : G(xi) = x }, infinite where the generator G makes no such x; S = ``regulariser``.

    generator: a module in evaluation mode, (batch, *latent_shape) -> (batch, *input_shape), a trained decoder for example.
    latent_shape: of one xi, without the batch; a LiftedNetwork knows it, and it can be read off a first linear layer.
    constraint: the set of the latent variables, such as NonNegative() for a decoder of ReLU codes.

    ``invert`` minimises fidelity(F(G(xi))) + alpha S(xi) and returns x = G(xi), with xi in ``result.latent``. No input outside
    the range of G is found, however the data look: what the generator cannot make is an error that no noise level knows of.
    ``start``, where given, is a latent variable. The problem is not convex, and certificates are local.
    Bora, Jalal, Price & Dimakis, ICML 2017.
    """

    generator: nn.Module
    latent_shape: tuple[int, ...] | None = None
    regulariser: Regulariser = field(default_factory=Tikhonov)
    constraint: ProximalFunction | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.generator, nn.Module):
            raise TypeError(
                f"GeneratorPrior: generator is a {type(self.generator).__name__}, but must be a torch.nn.Module that maps latent "
                f"variables to inputs. Wrap a function in a module."
            )
        if self.generator.training:
            raise ValueError(
                "GeneratorPrior: generator is in training mode, in which a module may answer differently at every call. Call "
                "generator.eval() first."
            )
        if self.latent_shape is None:
            object.__setattr__(self, "latent_shape", _latent_shape(self.generator))
        self.regulariser.check_shape(self.unknowns(()))

    @property
    def name(self) -> str:
        return f"{self.regulariser.name} of the latent variable of a generator"

    def __call__(self, latent: Tensor) -> Tensor:
        """S(xi), (batch,), at a latent variable: R at an input would be a search."""
        return self.regulariser(latent)

    def input_shape(self, start: Tensor | None) -> tuple[int, ...]:
        """Of what the generator makes; ``start`` is a latent variable, and does not tell."""
        parameter = next(self.generator.parameters(), torch.zeros(()))
        with torch.no_grad():
            return tuple(self.generator(parameter.new_zeros((2, *self.unknowns(())))).shape[1:])

    def check_shape(self, shape: tuple[int, ...]) -> None:
        made = self.input_shape(None)
        if made != tuple(shape):
            raise ValueError(
                f"GeneratorPrior: the generator makes inputs of shape {made}, but the network takes {tuple(shape)}. "
                f"Add a reshape or a crop to the generator."
            )

    def synthesis(self, shape: tuple[int, ...]) -> nn.Module:
        return self.generator

    def unknowns(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        assert self.latent_shape is not None
        return tuple(self.latent_shape)

    def penalty(self, shape: tuple[int, ...]) -> Regulariser:
        return self.regulariser

    def constraint_on_unknowns(self, constraint: ProximalFunction | None, shape: tuple[int, ...]) -> ProximalFunction | None:
        if constraint is not None:
            raise ValueError(
                f"invert: constraint is a {type(constraint).__name__} on the input, but with GeneratorPrior the unknown is a "
                f"latent variable, and nothing projects onto those whose input lies in the set. Let the generator end in an "
                f"activation with that range, or pass GeneratorPrior(generator, constraint=...) for the latent variable."
            )
        return self.constraint

    def start(self, given: Tensor | None, batch: int, shape: tuple[int, ...], seed: int) -> Tensor:
        """The given latent variable, or a small random one from ``seed``, the same for every sample."""
        if given is not None:
            meaning = "with GeneratorPrior the start is a latent variable for each sample of the data"
            return require_shape("invert", "start", given, (batch, *self.unknowns(shape)), meaning)
        generator = torch.Generator().manual_seed(seed)
        return (TEXTURE * torch.randn(self.unknowns(shape), generator=generator)).expand(batch, *self.unknowns(shape))

    def subgradient(self, slope: Tensor, shape: tuple[int, ...]) -> None:
        return None


def _latent_shape(generator: nn.Module) -> tuple[int, ...]:
    if isinstance(generator, LiftedNetwork):
        return tuple(generator.input_shape)
    leaves = [module for module in generator.modules() if not list(module.children())]
    if leaves and isinstance(leaves[0], nn.Linear):
        return (leaves[0].in_features,)
    raise ValueError(
        "GeneratorPrior: latent_shape is missing, and only of a LiftedNetwork or of a generator that begins with nn.Linear can "
        "it be read off. Pass latent_shape=(features,), the shape of one latent variable without the batch."
    )
