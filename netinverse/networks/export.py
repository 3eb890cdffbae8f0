"""From a torch module to a functional program of torch operators, and what is refused on the way."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from netinverse.checks import require_floating

_aten = torch.ops.aten


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(query key^T scale) value, in operators each of which has a second derivative: torch's fused kernels have none."""
    if dropout_p > 0:
        return NotImplemented  # it stays what it is, and is refused where it is read
    if enable_gqa:
        key, value = (t.repeat_interleave(query.size(-3) // t.size(-3), -3) for t in (key, value))
    scores = query @ key.transpose(-2, -1) * (query.size(-1) ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # Finite, as what enters an activation has to be; its exponential is zero all the same.
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value


_DIFFERENTIABLE_TWICE = {_aten.scaled_dot_product_attention.default: _attention}
"""A product with a derivative F'(x) is the derivative of F'(x)^* y in y, so that operators have to have a second one."""

_ONE = "Wrap it in a module whose forward takes the one tensor to be reconstructed and holds the others as buffers"


def export(model: nn.Module, example: Tensor | None) -> ExportedProgram:
    """The program of a module in evaluation mode, with the batch size free; ``example`` is (batch, *input_shape)."""
    _refuse_wrappers(model)
    refuse_training_mode(model)
    _refuse_hooks(model)
    if example is None:
        raise ValueError(
            "lift: example is missing, but a module does not tell the shape of its input. Pass one input with the batch first, "
            "such as torch.zeros(1, 1, 28, 28)."
        )
    _check_example(model, example)
    # Two equal samples: a batch of one would be taken for a constant by the exporter.
    pair = example[:1].detach().expand(2, *example.shape[1:]).clone()
    _refuse_example(model, pair)
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(model, (pair,), strict=False, dynamic_shapes=(_batch_is_free(pair),))
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"lift: torch.export cannot capture the model: {first_line(error)}{_where(error)}. Its Python code may depend on the "
            f"values of the input; write it with torch operators alone (torch.where instead of if), or pass a "
            f"torch.export.ExportedProgram."
        ) from error


def _refuse_wrappers(model: nn.Module) -> None:
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "lift: the model is a torch.jit.ScriptModule, which torch.export does not read. Lift the module it was made from, "
            "with the weights of its state_dict()."
        )
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise TypeError(
            f"lift: the model is wrapped in {type(model).__name__}, which sends batches to devices and computes nothing itself. "
            f"Lift what is inside: model.module."
        )


def functional(program: ExportedProgram) -> ExportedProgram:
    """The same program without operators that work in place. Raises ValueError where it changes its input or its buffers."""
    _drop_dropout(program)
    with quiet():
        program = program.run_decompositions(_DIFFERENTIABLE_TWICE)
    for spec in program.graph_signature.output_specs:
        if spec.kind == OutputKind.USER_INPUT_MUTATION:
            raise ValueError(
                f"lift: the model changes its input {spec.target!r} in place, which would destroy the reconstruction it is "
                f"evaluated at. Work on a copy: replace x += 1 by x = x + 1, or nn.ReLU(inplace=True) on the input by nn.ReLU()."
            )
        if spec.kind in {OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION}:
            raise ValueError(
                f"lift: the model changes its buffer {spec.target!r} at every call, so it is another function each time. Call "
                f"model.eval() first; where the buffer changes in evaluation mode too, remove the statement that writes it."
            )
    return program


def _drop_dropout(program: ExportedProgram) -> None:
    """Dropout in evaluation mode returns its argument itself; the decomposition would lose that what changes one changes both."""
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.dropout.default and not node.args[2]:
            node.replace_all_uses_with(node.args[0])


def refuse_training_mode(model: nn.Module) -> None:
    """Raise if a submodule that behaves differently in training is in training mode."""
    different = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.RReLU)
    rates = (nn.MultiheadAttention, nn.RNNBase)
    for name, module in model.named_modules():
        drops = isinstance(module, rates) and module.dropout > 0
        if module.training and (isinstance(module, different) or drops):
            raise ValueError(training_mode(f"{type(module).__name__} {name!r}" if name else type(module).__name__))


def training_mode(what: str) -> str:
    return (
        f"lift: the model is in training mode ({what}); its batch statistics or dropout would make it another function in every "
        f"evaluation, and not the one whose outputs you have. Call model.eval() first."
    )


def _refuse_hooks(model: nn.Module) -> None:
    """Raise for hooks, but not for those by which torch reparametrises weights."""
    for name, module in model.named_modules():
        hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values(), *module._backward_hooks.values()]
        found = next((hook for hook in hooks if not isinstance(hook, (WeightNorm, SpectralNorm))), None)
        if found is not None:
            raise ValueError(
                f"lift: the module {name or type(model).__name__!r} has a hook ({getattr(found, '__qualname__', found)}), which "
                f"may change what the model computes and would not be part of the lifted network. Remove it with "
                f"handle.remove(); what it computes belongs into forward."
            )


def _check_example(model: nn.Module, example: Tensor) -> None:
    require_floating("lift", "example", example)
    if example.ndim < 2 or not example.numel():
        raise ValueError(
            f"lift: example has shape {tuple(example.shape)}, but must be (batch, ...) with at least one sample: the batch comes "
            f"first. For one input use example[None]."
        )
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, tensor in tensors.items():
        if tensor.device != example.device:
            raise ValueError(
                f"lift: example is on {example.device}, but {name!r} of the model is on {tensor.device}; torch computes on one "
                f"device at a time. Move one of them: example.to({str(tensor.device)!r})."
            )
        if tensor.is_complex():
            raise TypeError(
                f"lift: {name!r} of the model is complex ({tensor.dtype}), but activations and penalties are real here. Write "
                f"the model with real and imaginary parts as two channels."
            )
    dtypes = {tensor.dtype: name for name, tensor in tensors.items() if tensor.is_floating_point()}
    if len(dtypes) > 1:
        found = ", ".join(f"{dtype} ({name})" for dtype, name in dtypes.items())
        raise TypeError(
            f"lift: the model mixes dtypes: {found}; one evaluation has one dtype. Convert it: model.to(torch.float32)."
        )


def _batch_is_free(pair: Tensor) -> dict[int, Any]:
    return {0: Dim.AUTO, **dict.fromkeys(range(1, pair.ndim), Dim.STATIC)}


def _refuse_example(model: nn.Module, pair: Tensor) -> None:
    """Raise if the model itself, run as it is, does not take the example."""
    try:
        with torch.no_grad():
            model(pair.clone())
    except TypeError as cause:
        raise ValueError(f"lift: the model does not take exactly one input: {first_line(cause)}. {_ONE}.") from cause
    except (RuntimeError, ValueError, IndexError) as cause:
        raise ValueError(
            f"lift: the model does not accept an example of shape {tuple(pair.shape[1:])} (without the batch) and dtype "
            f"{pair.dtype}: {first_line(cause)}. Pass an example shaped like one input, with the batch first."
        ) from cause


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _where(error: BaseException) -> str:
    """The line of the user's source at which torch gave up, where it is known."""
    lines = str(error).splitlines()
    at = next((k for k, line in enumerate(lines) if line.startswith("The following call raised this error")), None)
    return "" if at is None else " at " + " ".join(line.strip() for line in lines[at + 1 : at + 3])


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's own warnings, which say nothing about the model."""
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.split(".")[0] == "torch"]
    handlers = [handler for logger in loggers for handler in logger.handlers]
    levels = [handler.level for handler in handlers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for handler in handlers:
            handler.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for handler, level in zip(handlers, levels, strict=True):
                handler.setLevel(level)
