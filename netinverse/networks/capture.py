"""From a torch module to its lifted graph, through ``torch.export``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, OutputKind, TensorArgument

from netinverse.checks import require_floating
from netinverse.networks.affine import affine_offsets, operator_name
from netinverse.networks.graph import Kind, LiftedNetwork, Node
from netinverse.networks.program import BATCH, Instruction, Ref
from netinverse.protocols import Potential
from netinverse.prox import ScaledActivation, activation_of_aten

Model = nn.Module | ExportedProgram | str | PathLike[str]

_RESHAPES = frozenset({"view", "reshape", "_unsafe_view", "expand"})


def lift(model: Model, example: Tensor | None = None) -> LiftedNetwork:
    """The network as affine maps and activations: u_l = prox_Psi_l(A_l(x, u_<l)).

    model: nn.Module in evaluation mode, ExportedProgram, or path of a .pt2. example: (batch, *input_shape), needed for a module;
    its values do not matter, and any batch size can be passed to the result. Parameters are shared with the model.

    Raises ValueError for a model in training mode, an example that the model refuses, more than one input or output, and a model
    that mixes samples; FileNotFoundError for a missing file.
    """
    if isinstance(model, LiftedNetwork):
        return model
    if isinstance(model, str | PathLike):
        from netinverse.networks.files import load_program

        model = load_program(model)
    if isinstance(model, nn.Module):
        model = _export(model, example)
    elif not isinstance(model, ExportedProgram):
        raise TypeError(
            f"lift: model is a {type(model).__name__}, but must be a torch.nn.Module, a torch.export.ExportedProgram "
            f"or the path of "
            f"a .pt2 file."
        )
    with _quiet():
        network = _Builder(_functional(model)).build()
    if example is not None and tuple(example.shape[1:]) != network.input_shape:
        raise ValueError(
            f"lift: example has shape {tuple(example.shape)}, but the exported program takes (batch, "
            f"{', '.join(map(str, network.input_shape))}). Pass such an example, or none."
        )
    _check_samples_are_separate(network)
    return network


def refuse_training_mode(model: nn.Module) -> None:
    """Raise if a submodule that behaves differently in training is in training mode."""
    different = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.RReLU)
    rates = (nn.MultiheadAttention, nn.RNNBase)
    for name, module in model.named_modules():
        drops = isinstance(module, rates) and module.dropout > 0
        if module.training and (isinstance(module, different) or drops):
            raise ValueError(_training_mode(f"{type(module).__name__} {name!r}" if name else type(module).__name__))


def _training_mode(what: str) -> str:
    return (
        f"lift: the model is in training mode ({what}); its batch statistics or dropout would make it another "
        f"function in every "
        f"evaluation, and not the one whose outputs you have. Call model.eval() first."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own warnings, which say nothing about the model."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _export(model: nn.Module, example: Tensor | None) -> ExportedProgram:
    refuse_training_mode(model)
    if example is None:
        raise ValueError(
            "lift: example is missing, but a module does not tell the shape of its input. Pass one input with the "
            "batch first, such as "
            "torch.zeros(1, 1, 28, 28)."
        )
    require_floating("lift", "example", example)
    if example.ndim < 2 or not example.numel():
        raise ValueError(
            f"lift: example has shape {tuple(example.shape)}, but must be (batch, ...) with at least one sample: the "
            f"batch comes first. "
            f"For one input use example[None]."
        )
    # Two equal samples: a batch of one would be taken for a constant by the exporter.
    pair = example[:1].detach().expand(2, *example.shape[1:]).clone()
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(model, (pair,), strict=False, dynamic_shapes=(_batch_is_free(pair),))
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError, TypeError, ValueError) as error:
        with torch.no_grad():
            _explain_refusal(model, pair, error)
        raise ValueError(
            f"lift: torch.export cannot capture the model: {_first_line(error)}. Its Python code may depend on the "
            f"values of the input; "
            f"write it with torch operators alone, or pass a torch.export.ExportedProgram."
        ) from error


def _batch_is_free(pair: Tensor) -> dict[int, Any]:
    return {0: Dim.AUTO, **dict.fromkeys(range(1, pair.ndim), Dim.STATIC)}


def _functional(program: ExportedProgram) -> ExportedProgram:
    """The program without operators that work in place. Only then is it rewritten, since that also takes activations apart."""
    targets = (node.target for node in program.graph.nodes if node.op == "call_function")
    in_place = any(isinstance(t, torch._ops.OpOverload) and t._schema.is_mutable for t in targets)
    return program.run_decompositions({}) if in_place else program


def _calls(value: object, name: str) -> TypeGuard[fx.Node]:
    """True for the call of an operator of this name."""
    return (
        isinstance(value, fx.Node)
        and value.op == "call_function"
        and callable(value.target)
        and operator_name(value.target) == name
    )


def _softsigns(graph: fx.Graph) -> tuple[dict[str, fx.Node], set[str]]:
    """Quotients z/(1 + |z|), torch's way to write softsign, with their z; and the names of the steps that lead to them."""
    found: dict[str, fx.Node] = {}
    steps: set[str] = set()
    for node in graph.nodes:
        if not _calls(node, "div") or len(node.args) != 2:
            continue
        z, bottom = node.args
        if not isinstance(z, fx.Node) or not _calls(bottom, "add") or len(bottom.args) != 2 or bottom.kwargs:
            continue
        size, one = bottom.args
        if _calls(size, "abs") and size.args == (z,) and one == 1 and len(bottom.users) == len(size.users) == 1:
            found[node.name] = z
            steps |= {bottom.name, size.name}
    return found, steps


def _explain_refusal(model: nn.Module, pair: Tensor, error: Exception) -> None:
    try:
        model(pair)
    except TypeError as cause:
        raise ValueError(
            f"lift: the model does not take exactly one input: {_first_line(cause)}. Wrap it in a module whose "
            f"forward takes the one "
            f"tensor to be reconstructed and holds the others as buffers."
        ) from error
    except (RuntimeError, ValueError, IndexError) as cause:
        raise ValueError(
            f"lift: the model does not accept an example of shape {tuple(pair.shape[1:])} (without the batch) and "
            f"dtype {pair.dtype}: "
            f"{_first_line(cause)}. Pass an example shaped like one input, with the batch first."
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@dataclass
class _Builder:
    """Walks the exported graph once. Affine operators wait as instructions until a node needs their value."""

    program: ExportedProgram
    variable: set[str] = field(default_factory=set)
    instructions: dict[str, Instruction] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)  # the input, and the outputs of nodes
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    batch: int | None = None  # a batch size the program was exported with for good

    def build(self) -> LiftedNetwork:
        placeholder = self._read_inputs()
        self.network = LiftedNetwork(placeholder.name, self.shapes[placeholder.name], self.tensors, placeholder.meta["val"].dtype)
        softsigns, steps = _softsigns(self.program.graph)
        for node in self.program.graph.nodes:
            if node.name in softsigns and softsigns[node.name].name in self.variable:
                self._activation(node.name, softsigns[node.name].name, activation_of_aten("softsign"))
            elif node.op == "call_function" and node.name not in steps:
                self._visit(node)
        self._close_output(self._output_name())
        self.network.nodes = tuple(self.nodes)
        return self.network

    def _read_inputs(self) -> fx.Node:
        specs: dict[str, InputSpec] = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        users = [s for s in specs.values() if s.kind == InputKind.USER_INPUT and isinstance(s.arg, TensorArgument)]
        if len(users) != 1:
            raise ValueError(
                f"lift: the model takes {len(users)} input tensors, but one is to be reconstructed. Wrap it in a "
                f"module whose forward takes "
                f"that one and holds the others as buffers."
            )
        stored = {**self.program.state_dict, **self.program.constants}
        found: fx.Node | None = None
        for node in self.program.graph.nodes:
            if node.op != "placeholder":
                continue
            spec = specs[node.name]
            if spec is users[0]:
                found = node
            elif spec.target is not None and isinstance(stored.get(spec.target), Tensor):
                self.tensors[node.name] = stored[spec.target]
        assert found is not None
        shape = found.meta["val"].shape
        self.batch = shape[0] if isinstance(shape[0], int) else None
        self.variable.add(found.name)
        self.closed.add(found.name)
        self.shapes[found.name] = tuple(int(n) for n in shape[1:])
        return found

    def _output_name(self) -> str:
        outputs = [s.arg for s in self.program.graph_signature.output_specs if s.kind == OutputKind.USER_OUTPUT]
        if len(outputs) != 1 or not isinstance(outputs[0], TensorArgument):
            raise ValueError(
                f"lift: the model returns {len(outputs)} values, but the data are one tensor. Wrap it in a module "
                f"whose forward returns that "
                f"tensor alone."
            )
        return outputs[0].name

    def _visit(self, node: fx.Node) -> None:
        instruction = self._instruction(node)
        is_variable = any(name in self.variable for name in instruction.refs)
        if not is_variable:
            self.instructions[node.name] = instruction
            return
        self.variable.add(node.name)
        if isinstance(node.meta.get("val"), Tensor):
            self.shapes[node.name] = tuple(int(n) for n in node.meta["val"].shape[1:])
        offsets = affine_offsets(instruction.target, instruction.args, self._is_variable)
        if offsets is not None:
            self.instructions[node.name] = Instruction(
                node.name, instruction.target, instruction.args, instruction.kwargs, offsets
            )
            return
        first, rest = instruction.args[:1], instruction.args[1:]
        settings = [self.tensors.get(a.name, a) if isinstance(a, Ref) else a for a in rest]  # the slope of a PReLU
        activation = activation_of_aten(instruction.target, settings, dict(instruction.kwargs))
        if not isinstance(first[0], Ref) or self._is_variable(list(rest)):
            activation = None
        if activation is None:
            self._smooth(instruction)
        else:
            self._activation(node.name, first[0].name, activation)

    def _activation(self, name: str, source: str, activation: ScaledActivation | None) -> None:
        """name = factor * prox(inner_scale * source + inner_shift)."""
        assert activation is not None
        self.variable.add(name)
        self.shapes[name] = self.shapes[source]
        z = self._scaled(source, f"{name}_in", activation.inner_scale, activation.inner_shift)
        inner = name if activation.factor == 1.0 else f"{name}_prox"
        self._proximal(inner, z, activation.potential)
        if inner != name:
            self._scaled(inner, name, activation.factor, 0.0)

    def _is_variable(self, value: Any) -> bool:
        if isinstance(value, Ref):
            return value.name in self.variable
        return isinstance(value, list | tuple) and any(self._is_variable(part) for part in value)

    def _instruction(self, node: fx.Node) -> Instruction:
        assert callable(node.target)
        name = operator_name(node.target)
        if name in {
            "dropout",
            "native_dropout",
            "batch_norm",
            "_native_batch_norm_legit",
            "native_batch_norm",
            "rrelu_with_noise",
        }:
            self._refuse_training(name, node)
        if name.startswith("sym_size"):
            size = node.meta["val"]
            # Only the batch is free; every other size is a number.
            return Instruction(node.name, _same, (size if isinstance(size, int) and node.args[1] != 0 else Ref(BATCH),))
        args = tuple(_convert(a) for a in node.args)
        target = torch.ops.aten.reshape.default if name in {"view", "_unsafe_view"} else node.target
        if name in _RESHAPES and self.batch is not None and isinstance(args[1], list) and args[1][:1] == [self.batch]:
            out = node.meta["val"].shape
            if out[0] == self.batch:
                args = (args[0], [Ref(BATCH), *args[1][1:]], *args[2:])
        return Instruction(node.name, target, args, {k: _convert(v) for k, v in node.kwargs.items()})

    def _refuse_training(self, name: str, node: fx.Node) -> None:
        flag = {
            "batch_norm": 5,
            "dropout": 2,
            "native_dropout": 2,
            "feature_dropout": 2,
            "alpha_dropout": 2,
            "native_batch_norm": 5,
        }.get(name)
        if flag is None or (len(node.args) > flag and node.args[flag]):
            raise ValueError(_training_mode(f"operator {name.removeprefix('native_')}"))

    def _scaled(self, source: str, name: str, scale: float, shift: float) -> str:
        """name = scale * source + shift, as affine instructions; ``source`` itself where nothing is to be done."""
        shape = self.shapes[source]
        for suffix, target, value in (("", torch.ops.aten.mul.Tensor, scale), ("_shift", torch.ops.aten.add.Tensor, shift)):
            if value != (1.0 if suffix == "" else 0.0):
                offsets = frozenset({1}) if suffix else frozenset[int]()
                self.instructions[name + suffix] = Instruction(name + suffix, target, (Ref(source), value), {}, offsets)
                source = name + suffix
                self.variable.add(source)
                self.shapes[source] = shape
        return source

    def _affine(self, output: str) -> str:
        """Close ``output`` as an affine node and return the node's name."""
        name = f"{output}_identity" if output in self.closed else output
        if all(node.name != name for node in self.nodes):
            program, inputs = self._program_of(output)
            self._add(name, "affine", inputs, output, program, shape=self.shapes[output])
        return name

    def _program_of(self, output: str) -> tuple[tuple[Instruction, ...], tuple[str, ...]]:
        """The instructions that lead from closed values to ``output``, in order, and the names of those values."""
        needed: set[str] = set()
        inputs: list[str] = []
        waiting = [output]
        while waiting:
            name = waiting.pop()
            if name in self.closed:
                if name not in inputs:
                    inputs.append(name)
            elif name in self.instructions and name not in needed:
                needed.add(name)
                waiting += self.instructions[name].refs
        order = [self.network.input_name, *(n.name for n in self.nodes)]
        return tuple(i for n, i in self.instructions.items() if n in needed), tuple(sorted(inputs, key=order.index))

    def _proximal(self, name: str, z: str, potential: Potential) -> None:
        self._add(name, "proximal", (self._affine(z),), name, (), shape=self.shapes[z], potential=potential)
        self.variable.add(name)
        self.closed.add(name)

    def _smooth(self, instruction: Instruction) -> None:
        """One node for the operator; its arguments are closed values, made so by affine nodes where they are not."""
        variable = [name for name in instruction.refs if name in self.variable]
        names = [name if name in self.closed else self._affine(name) for name in variable]
        constants: dict[str, Instruction] = {}
        for name in instruction.refs:
            if name not in self.variable:
                constants.update({i.name: i for i in self._program_of(name)[0]})
        program = (*constants.values(), instruction)
        self._add(
            instruction.name, "smooth", tuple(names), instruction.name, program, shape=self.shapes.get(instruction.name, ())
        )
        self.closed.add(instruction.name)

    def _add(
        self,
        name: str,
        kind: Kind,
        inputs: tuple[str, ...],
        output: str,
        program: tuple[Instruction, ...],
        *,
        shape: tuple[int, ...],
        potential: Potential | None = None,
    ) -> None:
        self.shapes[name] = shape
        shapes = tuple(self.shapes[i] for i in inputs)
        self.nodes.append(Node(name, kind, inputs, shape, shapes, program, output, self.network, potential))

    def _close_output(self, name: str) -> None:
        if not self.nodes or self.nodes[-1].name != name or self.nodes[-1].kind == "affine":
            self._affine(name)


def _same(value: int) -> int:
    return value


def _convert(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return Ref(value.name)
    if isinstance(value, list | tuple):
        return [_convert(part) for part in value]
    return value


def _check_samples_are_separate(network: LiftedNetwork) -> None:
    """Each sample's output is its own affair: two random inputs together give what they give alone."""
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn((3, *network.input_shape), generator=generator, dtype=torch.float64)
    probes = probes.to(network.dtype).to(network.device)
    with torch.no_grad():
        try:
            together, alone = network(probes), network(probes[:1])
        except RuntimeError as error:
            raise ValueError(
                f"lift: the model works for the batch size of the example only: {_first_line(error)}. Write its "
                f"shapes with x.shape[0] or "
                f"flatten(1) instead of a number, or export it with a dynamic batch: dynamic_shapes=({{0: "
                f"torch.export.Dim.AUTO}},)."
            ) from error
    tolerance = 1e3 * torch.finfo(together.dtype).eps if together.is_floating_point() else 0.0
    same = alone.shape == together[:1].shape and torch.allclose(
        together[:1], alone, rtol=tolerance, atol=tolerance, equal_nan=True
    )
    if together.shape[0] != 3 or not same:
        raise ValueError(
            "lift: the output of one sample depends on the other samples of the batch, or the output has no batch "
            "axis; a reconstruction "
            "goes sample by sample. Remove what mixes the batch (sums or norms over axis 0), and keep axis 0 for the samples."
        )
