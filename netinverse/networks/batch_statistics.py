"""Batch normalisation in training: layers that normalise by the batch that enters them, and remember what they saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netinverse.networks.graph import LiftedNetwork
from netinverse.networks.program import Instruction, Ref

EVALUATION = torch.ops.aten._native_batch_norm_legit_no_training.default
TRAINING = torch.ops.aten._native_batch_norm_legit.no_stats


@dataclass(frozen=True)
class Moments:
    """Of the values that enter a layer: mean and mean squared deviation of each channel, (channels,), over ``count`` numbers."""

    mean: Tensor
    variance: Tensor
    count: int


@dataclass(frozen=True, eq=False)
class BatchStatistics:
    """z -> gamma (z - m)/sqrt(v + eps) + beta: in training m and v are the moments of z over the batch.

    ``uses``: the layers that a model has in training mode, each with the instruction of the lifted network in which it runs;
    ``modules``: their names in the model. A layer in evaluation mode keeps its running statistics, as in torch. ``network``
    normalises by the running statistics, ``coupled`` by the moments of whatever enters, which depend on all samples and on the
    parameters; ``held`` by given moments, so that its nodes are affine. All share one set of parameters. Without such layers the
    three are one network.
    """

    network: LiftedNetwork
    uses: tuple[tuple[str, _BatchNorm], ...] = ()
    modules: tuple[str, ...] = ()

    @classmethod
    def of(cls, network: LiftedNetwork, model: nn.Module) -> BatchStatistics:
        """The layers of ``model`` that train, in the order in which the network runs them."""
        names = {m: name for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
        by_buffer = {id(m.running_mean): m for m in names if m.training and m.running_mean is not None}
        tensors = network.tensors()
        uses: dict[str, _BatchNorm] = {}
        for name, instruction in network.instructions().items():
            if instruction.target is EVALUATION:
                layer = by_buffer.get(id(tensors.get(instruction.args[3].name)))
                if layer is not None:
                    uses[name] = layer
        return cls(network, tuple(uses.items()), tuple(names[layer] for layer in uses.values()))

    @cached_property
    def coupled(self) -> LiftedNetwork:
        """The network in which each layer normalises by the batch that enters it. Only forward and backward sweeps know what to
        do with it: an affine node is affine in each channel, but its offset and its scale depend on the batch."""
        changed = {name: Instruction(name, TRAINING, (*args[:3], True, 0.0, args[6])) for name, args in self._arguments.items()}
        return self.network.rewritten(changed, {}) if changed else self.network

    def held(self, found: Mapping[str, Moments]) -> LiftedNetwork:
        """The network in which each layer normalises by these moments."""
        changed: dict[str, Instruction] = {}
        moments: dict[str, Tensor] = {}
        for name, args in self._arguments.items():
            mean, variance = f"mean_in_{name}", f"variance_in_{name}"
            given = (*args[:3], Ref(mean), Ref(variance), *args[5:])
            changed[name] = Instruction(name, EVALUATION, given, offsets=frozenset({2, 3}))
            moments |= {mean: found[name].mean, variance: found[name].variance}
        return self.network.rewritten(changed, moments) if changed else self.network

    @torch.no_grad()
    def at(self, x: Tensor) -> dict[str, Moments]:
        """The moments in a forward pass of torch's training mode, by use; one forward pass, and nothing is changed.

        Raises ValueError where a layer sees one number for each channel, whose deviation is zero.
        """
        entering = {name: args[0].name for name, args in self._arguments.items()}
        values = self.coupled.values(x, *dict.fromkeys(entering.values())) if entering else {}
        found = {}
        for module, (name, source) in zip(self.modules, entering.items(), strict=True):
            z = values[source]
            count = z.numel() // max(z.shape[1], 1)
            if count < 2:
                raise ValueError(
                    f"LiftedTraining.fit: a batch of {len(x)} sample(s) gives {count} number(s) for each channel of module "
                    f"{module!r}, but batch normalisation divides by their deviation, so it needs two. Use drop_last=True in the "
                    f"DataLoader, or call eval() on the layer, which then keeps its statistics."
                )
            variance, mean = torch.var_mean(z, [axis for axis in range(z.ndim) if axis != 1], correction=0)
            found[name] = Moments(mean, variance, count)
        return found

    @torch.no_grad()
    def update(self, found: Mapping[str, Moments]) -> None:
        """running <- (1 - f) running + f moment, the variance with count - 1; f the momentum, or 1/batches where it is None."""
        for name, layer in self.uses:
            seen = found[name]
            factor = layer.momentum
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked.add_(1)
                factor = 1 / float(layer.num_batches_tracked) if factor is None else factor
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.lerp_(seen.mean, factor or 0.0)
            layer.running_var.lerp_(seen.variance * (seen.count / (seen.count - 1)), factor or 0.0)

    @property
    def buffers(self) -> dict[str, Tensor]:
        """What ``update`` changes, by the names of the network."""
        changed = {
            id(buffer) for _, layer in self.uses for buffer in (layer.running_mean, layer.running_var, layer.num_batches_tracked)
        }
        return {name: tensor for name, tensor in self.network.tensors().items() if id(tensor) in changed}

    @cached_property
    def _arguments(self) -> dict[str, tuple[Any, ...]]:
        """Of each use: input, weight, bias, mean, variance, momentum, eps."""
        given = self.network.instructions()
        return {name: given[name].args for name, _ in self.uses}
