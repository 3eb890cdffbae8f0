"""Models of torchvision, timm and Hugging Face, with random weights: lifted where the library is installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own_network.md"


class Output(nn.Module):
    """The one tensor of what a model returns."""

    def __init__(self, model: nn.Module, keyword: str | None = None) -> None:
        super().__init__()
        self.model, self.keyword = model, keyword

    def forward(self, x: Tensor) -> Tensor:
        out = self.model(x) if self.keyword is None else self.model(**{self.keyword: x})
        return out if isinstance(out, Tensor) else out.last_hidden_state


def of_torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: getattr(import_module("torchvision.models"), name)(weights=None)


def of_timm(name: str) -> Callable[[], nn.Module]:
    return lambda: import_module("timm").create_model(name, pretrained=False)


def of_transformers(name: str, keyword: str | None = None, **settings: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        library = import_module("transformers")
        return Output(getattr(library, f"{name}Model")(getattr(library, f"{name}Config")(**settings)), keyword)

    return make


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], bool]] = {
    "torchvision: resnet18": (of_torchvision("resnet18"), (3, 64, 64), True),
    "torchvision: squeezenet1_1": (of_torchvision("squeezenet1_1"), (3, 64, 64), True),
    "torchvision: mobilenet_v3_small": (of_torchvision("mobilenet_v3_small"), (3, 64, 64), False),
    "timm: resnet18": (of_timm("resnet18"), (3, 64, 64), True),
    "timm: convnext_atto": (of_timm("convnext_atto"), (3, 64, 64), False),
    "transformers: ResNet": (
        of_transformers("ResNet", embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"),
        (3, 64, 64),
        True,
    ),
    "transformers: ViT": (of_transformers("ViT", image_size=16, patch_size=4, **SMALL), (3, 16, 16), False),
    "transformers: Bert, of embeddings": (of_transformers("Bert", "inputs_embeds", **SMALL), (7, 32), False),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_a_library_is_lifted(name: str) -> None:
    pytest.importorskip(name.partition(":")[0])
    make, shape, exactly = MODELS[name]
    torch.manual_seed(0)
    model, x = make().eval(), torch.rand(2, *shape)
    lifted = ni.lift(model, x)
    assert lifted.is_exactly_lifted is exactly
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(lifted(x), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_the_section_of_the_page_runs() -> None:
    for library in ("torchvision", "timm", "transformers"):
        pytest.importorskip(library)
    names: dict[str, object] = {"__name__": "page"}
    with torch.random.fork_rng():
        for block in re.findall(r"^```py\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL):
            exec(compile(block, PAGE.name, "exec", dont_inherit=True), names)
