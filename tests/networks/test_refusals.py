"""Models and examples that cannot be lifted: one clear error each, with module, line and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from netinverse.networks import LiftedNetwork, lift


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class ChangesInput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x += 1
        return 2 * x


class ChangesAnAlias(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(functional.dropout(x, 0.3, self.training), inplace=True)


class EmptyWindow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool1d(x[:, None, :1], 2, 2, padding=1, dilation=2)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], dropout_p=0.1)[:, 0]


class Rounding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.half().float()


class Integers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(1)


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.other = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = torch.relu(self.body(x))
        return self.head(u), self.other(u)


class Selecting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, x[0] > 0]


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 2, 2)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).double())


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model[1].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def tracing() -> nn.Module:
    model = nn.Linear(4, 4)
    model.register_forward_pre_hook(lambda module, inputs: None)
    return model


MODELS: dict[str, tuple[nn.Module, str]] = {
    "random": (Random(), r"the model is random: rand_like \(test_refusals\.py:\d+\).*another output at every call.*as a buffer"),
    "control flow": (
        Branching(),
        r"cannot capture the model: .* at File .*test_refusals\.py.*line \d+.*torch\.where instead of if",
    ),
    "changes its input": (ChangesInput(), r"changes its input 'x' in place.*replace x \+= 1 by x = x \+ 1"),
    "changes an alias": (ChangesAnAlias(), r"changes its input.* in place"),
    "empty window": (EmptyWindow(), r"a max-pooling has a window without any entry"),
    "has a state": (Counting(), r"changes its buffer 'calls' at every call.*model\.eval\(\)"),
    "trains": (nn.Sequential(nn.BatchNorm1d(4)).train(), r"training mode \(BatchNorm1d '0'\).*model\.eval\(\)"),
    "drops": (Attention(), r"training mode \(scaled_dot_product_attention \(test_refusals\.py:\d+\)\)"),
    "rounds": (Rounding(), r"rounds to torch\.float16, _to_copy \(test_refusals\.py:\d+\), but computes in torch\.float32"),
    "integers": (Integers(), r"the output is no floating tensor with the batch first.*choose an inner module by output="),
    "constant": (Constant(), r"the output is the same for every input"),
    "two outputs": (TwoHeads(), r"returns 2 values.*output=\"other\", or wrap the model"),
    "fixed batch": (FixedBatch(), r"cannot capture the model|batch size of the example only"),
    "hook": (hooked(), r"the module '1' has a hook \(hooked\.<locals>\.<lambda>\).*Remove it with handle\.remove\(\)"),
    "hook before": (tracing(), r"the module 'Linear' has a hook"),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    model, text = MODELS[name]
    model = model if name == "trains" else model.eval()
    with pytest.raises(ValueError, match=r"(?s)lift: .*" + text):
        lift(model, torch.randn(2, 4))


def test_a_selection_that_depends_on_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lift: "):
        lift(Selecting().eval(), torch.randn(2, 4))


EXAMPLES: dict[str, tuple[nn.Module, Any, type[Exception], str]] = {
    "integers": (nn.Linear(4, 4), torch.zeros(2, 4, dtype=torch.long), TypeError, r"example has dtype torch\.int64"),
    "complex": (nn.Linear(4, 4), torch.zeros(2, 4, dtype=torch.complex64), TypeError, r"example has dtype torch\.complex64"),
    "no batch": (
        nn.Linear(4, 4),
        torch.zeros(4),
        ValueError,
        r"example has shape \(4,\).*the batch comes first.*example\[None\]",
    ),
    "empty": (nn.Linear(4, 4), torch.zeros(0, 4), ValueError, r"example has shape \(0, 4\).*at least one sample"),
    "other device": (
        nn.Linear(4, 4, device="meta"),
        torch.zeros(2, 4),
        ValueError,
        r"example is on cpu, but 'weight' .* on meta",
    ),
    "other dtype": (
        nn.Linear(4, 4).double(),
        torch.zeros(2, 4),
        ValueError,
        r"does not accept an example .* dtype torch\.float32",
    ),
    "other shape": (nn.Linear(4, 4), torch.zeros(2, 5), ValueError, r"does not accept an example of shape \(5,\)"),
    "complex weights": (
        nn.Linear(4, 4, dtype=torch.complex64),
        torch.zeros(2, 4),
        TypeError,
        r"'weight' of the model is complex",
    ),
    "mixed dtypes": (
        Mixed(),
        torch.zeros(2, 4),
        TypeError,
        r"mixes dtypes: torch\.float32 \(a\.bias\), torch\.float64 \(b\.bias\)",
    ),
    "two inputs": (
        nn.Bilinear(4, 4, 2),
        torch.zeros(2, 4),
        ValueError,
        r"does not take exactly one input.*holds the others as buff",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str) -> None:
    model, example, kind, text = EXAMPLES[name]
    with pytest.raises(kind, match=r"(?s)lift: .*" + text):
        lift(model.eval(), example)


def test_an_example_that_does_not_fit_the_program() -> None:
    program = torch.export.export(nn.Linear(4, 2).eval(), (torch.zeros(2, 4),))
    with pytest.raises(ValueError, match=r"example has shape \(1, 5\), but the exported program takes \(batch, 4\)"):
        lift(program, torch.zeros(1, 5))


class DropsInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        z = self.linear(x)
        u = functional.dropout(z, 0.3, self.training)
        u.sigmoid_()
        return z


def test_dropout_in_evaluation_mode_is_its_argument_itself() -> None:
    model, x = DropsInPlace().eval(), torch.randn(3, 4)
    assert torch.allclose(lift(model, x)(x), model(x))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.conv(x))
        y = y + x
        return self.relu(y)


def features() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Block(), nn.Sequential(Block(), Block()), nn.Flatten(), nn.Linear(75, 4)).eval()


@pytest.mark.parametrize("output", ["0", "1.0.relu", "1", "1.1.conv"])
@pytest.mark.parametrize("how", ["module", "program", "file"])
def test_an_inner_module_becomes_the_output(output: str, how: str, tmp_path: Path) -> None:
    """Its value at its last call, which a hook records; what comes after it leaves no trace."""
    model, x = features(), torch.randn(3, 3, 5, 5)
    values: list[Tensor] = []
    handle = model.get_submodule(output).register_forward_hook(lambda module, inputs, value: values.append(value.clone()))
    model(x)
    handle.remove()
    program = torch.export.export(model, (x[:2],), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, tmp_path / "model.pt2")
    source: Any = {"module": model, "program": program, "file": tmp_path / "model.pt2"}[how]
    network = lift(source, x if how == "module" else None, output=output)
    assert torch.allclose(network(x), values[-1], rtol=1e-5, atol=1e-6)
    assert not any(node.name == "linear" for node in network.nodes)


def test_a_head_of_a_model_with_several_outputs() -> None:
    model, x = TwoHeads().eval(), torch.randn(3, 4)
    assert torch.allclose(lift(model, x, output="head")(x), model(x)[0])
    assert torch.allclose(lift(model, x, output="other")(x), model(x)[1])


def test_an_unknown_inner_module_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"output is '1\.0\.rely'.*Names like it: .*'1\.0\.relu'.*named_modules"):
        lift(features(), torch.zeros(1, 3, 5, 5), output="1.0.rely")
    network = lift(features(), torch.zeros(1, 3, 5, 5))
    with pytest.raises(ValueError, match=r"output is '1', but the network is lifted already"):
        lift(network, output="1")
    assert isinstance(network, LiftedNetwork)
