"""Architectures that people train, written out as their authors write them: narrow, on small images, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.networks.zoo.decoders import Autoencoder, UNet
from tests.networks.zoo.densenet import DenseNet
from tests.networks.zoo.inception import GoogLeNet, InceptionV3
from tests.networks.zoo.invertible import IResNet
from tests.networks.zoo.mobile import MobileNetV2, ShuffleNetV2
from tests.networks.zoo.plain import VGG, AlexNet, SqueezeNet
from tests.networks.zoo.resnet import resnet18, resnet50
from tests.networks.zoo.transformers import ConvNeXt, ViT


@dataclass(frozen=True)
class Architecture:
    """``smooth``: the operators that are neither affine nor proximal. ``is_deep``: takes several seconds to export."""

    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...] = (3, 32, 32)
    smooth: frozenset[str] = frozenset()
    is_deep: bool = False

    @property
    def is_exactly_liftable(self) -> bool:
        return not self.smooth

    def model(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
        """In evaluation mode, with weights and statistics that keep the signal at the size of the input."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self.make()
            randomise(model)
        return model.to(dtype).eval()


ZOO: dict[str, Architecture] = {
    "ResNet-18": Architecture(resnet18),
    "ResNet-50": Architecture(resnet50, is_deep=True),
    "VGG-11-BN": Architecture(VGG),
    "AlexNet": Architecture(AlexNet, (3, 64, 64)),
    "SqueezeNet": Architecture(SqueezeNet),
    "DenseNet": Architecture(DenseNet),
    "GoogLeNet": Architecture(GoogLeNet, is_deep=True),
    "Inception-v3": Architecture(InceptionV3),
    "MobileNetV2": Architecture(MobileNetV2, is_deep=True),
    "MobileNetV2, short": Architecture(lambda: MobileNetV2((1, 1, 2, 1, 1, 1, 1))),
    "ShuffleNetV2": Architecture(ShuffleNetV2, is_deep=True),
    "ShuffleNetV2, short": Architecture(lambda: ShuffleNetV2((2, 2, 1))),
    "U-Net, transposed": Architecture(lambda: UNet(bilinear=False), (1, 32, 32), is_deep=True),
    "U-Net, bilinear": Architecture(lambda: UNet(bilinear=True), (1, 36, 32)),
    "autoencoder": Architecture(Autoencoder, (1, 32, 32)),
    "i-ResNet": Architecture(IResNet, (3, 16, 16)),
    "ViT": Architecture(ViT, smooth=frozenset({"layer_norm", "matmul", "gelu"})),
    "ConvNeXt": Architecture(ConvNeXt, smooth=frozenset({"layer_norm", "gelu"})),
}


def randomise(model: nn.Module) -> None:
    """Weights by He's rule, biases and batch statistics away from 0 and 1.

    Weights under a parametrisation stay as they are: a spectral norm is estimated when it is registered.
    """
    for name, parameter in model.named_parameters():
        if "parametrizations" in name:
            continue
        if name.endswith("weight") and parameter.ndim > 1:
            nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.2)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2.0)
