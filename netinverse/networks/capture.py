"""From a torch model to its lifted graph."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument

from netinverse.checks import require_floating
from netinverse.modes import in_usual_modes
from netinverse.networks.affine import affine_offsets, operator_name
from netinverse.networks.assembler import Assembler, Shape
from netinverse.networks.export import export, functional
from netinverse.networks.graph import LiftedNetwork
from netinverse.networks.origin import modules_in, modules_of, origin_of
from netinverse.networks.patterns import Composed, composed_activations
from netinverse.networks.program import BATCH, Instruction, Ref
from netinverse.networks.rectified import RECTIFIED
from netinverse.networks.refusals import refuse
from netinverse.networks.verification import check_agreement, check_samples_are_separate
from netinverse.prox import activation_of_aten

Model = nn.Module | ExportedProgram | str | PathLike[str]

_RESHAPES = frozenset({"view", "reshape", "_unsafe_view", "expand"})
_FILLED = {"zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0, "full_like": None, "new_full": None}


@in_usual_modes
def lift(model: Model, example: Tensor | None = None, output: str | None = None) -> LiftedNetwork:
    """The network as affine maps and activations: u_l = prox_Psi_l(A_l(x, u_<l)).

    model: nn.Module in evaluation mode, ExportedProgram, or path of a .pt2. example: (batch, *input_shape), needed for a module;
    its values do not matter, and any batch size can be passed to the result. output: the name of an inner module, whose value at
    its last call becomes the output (``"layer3.1.relu"``). Parameters are shared with the model. A module from torch.compile
    counts as what it was compiled from.

    Raises ValueError for a model in training mode, with hooks, random, or with a state; for an example that the model refuses,
    more than one input or output, and a model that mixes samples; FileNotFoundError for a missing file.
    """
    if isinstance(model, LiftedNetwork):
        if output is not None:
            raise ValueError(
                f"lift: output is {output!r}, but the network is lifted already. Choose the output of the model itself."
            )
        return model
    if example is not None:
        example = require_floating("lift", "example", example)
    if output is not None and not isinstance(output, str):
        raise TypeError(f"lift: output is {output!r}, but must be the name of an inner module, such as 'layer3.1'.")
    model = getattr(model, "_orig_mod", model)  # torch.compile keeps the module that it compiles under this name
    program = _program(model, example)
    network = _Reader(functional(program)).read(output)
    if example is not None and tuple(example.shape[1:]) != network.input_shape:
        raise ValueError(
            f"lift: example has shape {tuple(example.shape)}, but the exported program takes (batch, "
            f"{', '.join(map(str, network.input_shape))}). Pass such an example, or none."
        )
    check_samples_are_separate(network)
    if isinstance(model, nn.Module):
        check_agreement(network, model, output)
    return network


def _program(model: Model, example: Tensor | None) -> ExportedProgram:
    if isinstance(model, str | PathLike):
        from netinverse.networks.files import load_program

        return load_program(model)
    if isinstance(model, nn.Module):
        return export(model, example)
    if isinstance(model, ExportedProgram):
        return model
    raise TypeError(
        f"lift: model is a {type(model).__name__}, but must be a torch.nn.Module, a torch.export.ExportedProgram or the path of "
        f"a .pt2 file."
    )


@dataclass
class _Reader:
    """Walks an exported graph once and hands each operator to the assembler as what it is."""

    program: ExportedProgram

    def read(self, output: str | None) -> LiftedNetwork:
        placeholder, tensors = self._inputs()
        val = placeholder.meta["val"]
        self._batch = val.shape[0]
        shape = tuple(int(n) for n in val.shape[1:])
        self.build = Assembler(LiftedNetwork(placeholder.name, shape, tensors, val.dtype))
        last = self._output() if output is None else self._module_output(output)
        self._composed = composed_activations(self.program.graph)
        needed = _ancestors(last, self._composed)
        for node in self.program.graph.nodes:
            if node in needed and node.op != "placeholder":
                self._visit(node)
        return self.build.finish(last.name)

    def _inputs(self) -> tuple[fx.Node, dict[str, Tensor]]:
        """The input to be reconstructed, and parameters, buffers and constants by the names that the graph uses."""
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        users = [s for s in specs.values() if s.kind == InputKind.USER_INPUT and isinstance(s.arg, TensorArgument)]
        if len(users) != 1:
            raise ValueError(
                f"lift: the model takes {len(users)} input tensors, but one is to be reconstructed. Wrap it in a module whose "
                f"forward takes that one and holds the others as buffers."
            )
        stored = {**self.program.state_dict, **self.program.constants}
        nodes = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        tensors = {name: stored[spec.target] for name, spec in specs.items() if spec.target in stored and name in nodes}
        return nodes[users[0].arg.name], {name: t for name, t in tensors.items() if isinstance(t, Tensor)}

    def _output(self) -> fx.Node:
        outputs = [s.arg for s in self.program.graph_signature.output_specs if s.kind == OutputKind.USER_OUTPUT]
        if len(outputs) != 1 or not isinstance(outputs[0], TensorArgument):
            raise ValueError(
                f"lift: the model returns {len(outputs)} values, but the data are one tensor. Choose one by the name of the "
                f'module that computes it, output="{modules_in(self.program.graph)[-1]}", or wrap the model in a module whose '
                f"forward returns that tensor alone."
            )
        name = outputs[0].name
        found: fx.Node = next(node for node in self.program.graph.nodes if node.name == name)
        return found

    def _module_output(self, name: str) -> fx.Node:
        found: list[fx.Node] = [node for node in self.program.graph.nodes if name in modules_of(node)]
        if not found:
            names = modules_in(self.program.graph)
            close = difflib.get_close_matches(name, names, n=5, cutoff=0.3) or names[-5:]
            raise ValueError(
                f"lift: output is {name!r}, but no operator of the model runs in a module of this name. Names like it: "
                f"{', '.join(map(repr, close))}; all are listed by model.named_modules()."
            )
        return found[-1]

    def _visit(self, node: fx.Node) -> None:
        build = self.build
        build.origin = origin_of(node)
        refuse(node, build.network.dtype)
        instruction, shape = self._instruction(node), self._shape(node)
        if node in self._composed:
            z, composed = self._composed[node]
            if z.name in build.shapes:
                return build.activation(node.name, z.name, composed)
            instruction = Instruction(node.name, composed, (Ref(z.name),))
        if not any(name in build.variable for name in instruction.refs):
            return build.constant(instruction)
        target, args, kwargs = instruction.target, instruction.args, dict(instruction.kwargs)
        offsets = affine_offsets(target, args, build.is_variable, kwargs)
        if offsets is not None:
            build.affine(Instruction(node.name, target, args, instruction.kwargs, offsets), shape)
            return None
        if shape is not None and not any(name in build.bent for name in instruction.refs):
            if isinstance(args[0], Ref) and args[0].name in build.shapes and not build.is_variable([*args[1:], *kwargs.values()]):
                settings = [build.network.tensors().get(a.name, a) if isinstance(a, Ref) else a for a in args[1:]]
                activation = activation_of_aten(target, settings, kwargs)
                if activation is not None:
                    return build.activation(node.name, args[0].name, activation)
            rectified = RECTIFIED.get(operator_name(target))
            if rectified is not None and not kwargs and rectified(build, node.name, args, shape):
                return None
        build.smooth(instruction, shape)
        return None

    def _instruction(self, node: fx.Node) -> Instruction:
        assert callable(node.target)
        name = operator_name(node.target)
        args = tuple(_convert(a) for a in node.args)
        kwargs = {k: _convert(v) for k, v in node.kwargs.items()}
        if name.startswith("sym_size"):
            size = node.meta["val"]
            # Only the batch is free; every other size is a number.
            return Instruction(node.name, _same, (size if isinstance(size, int) and node.args[1] != 0 else Ref(BATCH),))
        if name in _FILLED and self.build.is_variable(args[0]):
            value = args[-1] if _FILLED[name] is None else _FILLED[name]
            return self._full(node, value)
        if name == "detach" or (name == "type_as" and node.meta["val"].is_floating_point()):  # the derivative does not end here
            return Instruction(node.name, torch.ops.aten.alias.default, args[:1])
        if name == "copy":  # its first argument gives no more than the shape
            return Instruction(node.name, torch.ops.aten.expand.default, (args[1], self._size(node)))
        if name in _RESHAPES:
            target = torch.ops.aten.expand.default if name == "expand" else torch.ops.aten.reshape.default
            return Instruction(node.name, target, (args[0], self._free(node, args[1]), *args[2:]), kwargs)
        return Instruction(node.name, node.target, args, kwargs)

    def _shape(self, node: fx.Node) -> Shape | None:
        """The shape without the batch; None where the value is no floating tensor with the batch first, and so no node's."""
        value = node.meta.get("val")
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.ndim:
            return None
        # Compared as text: comparing the symbol itself would bind it to a number.
        is_first = str(value.shape[0]) == str(self._batch)
        return tuple(value.shape[1:]) if is_first and all(isinstance(n, int) for n in value.shape[1:]) else None

    def _full(self, node: fx.Node, value: Any) -> Instruction:
        like = node.meta["val"]
        options = {"dtype": like.dtype, "device": like.device}
        return Instruction(node.name, torch.ops.aten.full.default, (self._size(node), value), options)

    def _size(self, node: fx.Node) -> list[Any]:
        """The shape of a value, with the batch free wherever it stands; where the program fixed it, on the first axis."""
        shape = enumerate(node.meta["val"].shape)
        return [Ref(BATCH) if str(n) == str(self._batch) and (i == 0 or not isinstance(n, int)) else n for i, n in shape]

    def _free(self, node: fx.Node, sizes: Any) -> Any:
        """Sizes in which the batch of a program that was exported for one batch size is free again."""
        fixed = isinstance(self._batch, int) and isinstance(sizes, list) and sizes[:1] == [self._batch]
        return [Ref(BATCH), *sizes[1:]] if fixed and node.meta["val"].shape[0] == self._batch else sizes


def _ancestors(node: fx.Node, composed: Composed) -> set[fx.Node]:
    """The operators that lead to ``node``; what a composed activation consists of is not among them."""
    found, waiting = {node}, [node]
    while waiting:
        node = waiting.pop()
        sources = [composed[node][0]] if node in composed else node.all_input_nodes
        new = [source for source in sources if source not in found]
        found.update(new)
        waiting += new
    return found


def _same(value: int) -> int:
    return value


def _convert(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return Ref(value.name)
    if isinstance(value, list | tuple):
        return [_convert(part) for part in value]
    return value
