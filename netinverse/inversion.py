"""``invert``: from noisy network outputs to the inputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike

import torch
from torch import Tensor, nn

from netinverse.arguments import check_constraint, check_objects, check_settings, shape_of
from netinverse.checkpoints import Checkpoint
from netinverse.checks import per_sample_values, require_finite, require_floating, require_path, require_shape
from netinverse.chunks import chunks_of, run_in_chunks
from netinverse.fidelities import Fidelity, default_fidelity
from netinverse.fingerprint import fingerprint
from netinverse.methods import Method, Variational
from netinverse.modes import in_usual_modes
from netinverse.networks import LiftedNetwork, NetworkOutput, lift, load_network
from netinverse.parameter_choice import DiscrepancyPrinciple, ParameterRule
from netinverse.priors import DenoiserPrior, SynthesisRegulariser
from netinverse.problems import InverseProblem
from netinverse.progress import bar
from netinverse.projection import Projection
from netinverse.protocols import ProximalFunction
from netinverse.reconstruction import Reconstruction
from netinverse.regularisers import HuberTotalVariation, Regulariser, Tikhonov, TotalVariation, WaveletSparsity
from netinverse.solving import Inversion
from netinverse.starting import default_start
from netinverse.unknowns import Unknowns

WITHOUT_NOISE_LEVEL = (
    "a rule that needs none: rule=ni.Fixed(alpha), or one that reads alpha off the data alone, ni.QuasiOptimality(), ni.LCurve() "
    "or ni.HankeRaus()"
)

Network = nn.Module | torch.export.ExportedProgram | str | PathLike[str]


@in_usual_modes
def invert(
    network: Network,
    data: Tensor,
    *,
    input_shape: int | Sequence[int] | None = None,
    noise_level: float | Tensor | None = None,
    regulariser: Regulariser | SynthesisRegulariser | None = None,
    constraint: ProximalFunction | None = None,
    rule: ParameterRule | None = None,
    method: Method | None = None,
    fidelity: Fidelity | None = None,
    start: Tensor | None = None,
    tolerance: float = 1e-6,
    max_steps: int | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
    seed: int = 0,
    memory_budget: float | None = None,
) -> Reconstruction:
    """x_alpha in argmin fidelity(F(x), y^delta) + alpha R(x) over the constraint, alpha from the rule; sample by sample.

    network: nn.Module in evaluation mode, LiftedNetwork, ExportedProgram, or the path of a .pt2.
    data: (batch, ...), as the network returns it. A NumPy array, here and wherever tensors of numbers are taken, stands for the
    tensor of the same dtype on the CPU; what comes back are tensors. input_shape: of one input, without the batch; not needed
    for a LiftedNetwork, a .pt2 or with ``start``. noise_level: ||y^delta - y||_2 per sample, absolute, a number or (batch,).
    tolerance: relative, certificate value over objective. max_steps: of the solver, at the chosen alpha.
    checkpoint: a file to keep the work in, every few seconds. Called again with the same arguments, an interrupted ``invert``
    goes on from there, to the answer it would have had, bit for bit on the same machine. A file of another solve is refused.
    memory_budget: bytes for the tensors of the work; the batch is then worked off in chunks that fit, to the same answers up to
    rounding. What is held anyway (the data, the answers, their history) comes on top, and so does what operators take inside.
    start: (batch, *input_shape); by default the middle of the box with a little texture from ``seed``, zero without a box.

    The arithmetic is float64 whatever the dtype of the data: an ill-posed problem amplifies rounding, and a sample's result is
    to be the same alone and in a batch. The reconstruction has the dtype and the device of the data. Data outside the range of
    the last activation are projected onto it; what that removes is deducted from the noise level.

    Raises ValueError, TypeError or FileNotFoundError on bad input, before anything is computed.
    """
    began = time.perf_counter()
    check_settings(tolerance, max_steps, seed, memory_budget, progress)
    check_objects(regulariser, rule, method, fidelity)
    data = require_finite("invert", "data", require_floating("invert", "data", data))
    if start is not None:
        start = require_floating("invert", "start", start)
    unknowns = None
    if isinstance(regulariser, SynthesisRegulariser):
        shape = regulariser.input_shape(start) if input_shape is None else input_shape
        unknowns = Unknowns.of(regulariser, lifted_network(network, data, shape), constraint, start, len(data), seed)
        lifted, regulariser = unknowns.network, unknowns.penalty
        constraint, start = unknowns.constraint, unknowns.start
    else:
        lifted = lifted_network(network, data, input_shape, start)
    _check_data_shape(lifted, data)
    given = None if noise_level is None else per_sample_values("invert", "noise_level", noise_level, data.detach().double())
    rule = _rule(rule, given)
    x = data.new_zeros((data.shape[0], *lifted.input_shape), dtype=torch.float64)
    check_constraint(constraint, x)
    x = default_start(x, constraint, seed) if start is None else _checked(start, x).double()
    regulariser = default_regulariser(lifted.input_shape) if regulariser is None else regulariser
    regulariser.check_shape(tuple(lifted.input_shape))

    working = lifted.astype(torch.float64)
    fidelity = default_fidelity(working) if fidelity is None else fidelity
    method = Variational() if method is None else method
    projection = Projection.of(working, data, given)
    problem = _problem(working, projection, fidelity, regulariser, constraint)
    x = problem.feasible(x)
    kept = None
    if checkpoint is not None:
        settings = fingerprint(regulariser, constraint, rule, method, fidelity, tolerance, max_steps, seed, memory_budget)
        decisive = {"network": fingerprint(lifted), "data": fingerprint(data, given, x), "settings": settings}
        kept = Checkpoint(require_path("invert", "checkpoint", checkpoint), decisive)
    inversion = Inversion(
        working, problem, x, projection.left, given, projection.contradicted, rule, method, tolerance, max_steps, seed, data.dtype
    )
    chunks = chunks_of(inversion, memory_budget)
    with bar(progress, len(x), "inverting") as on_try:
        result = run_in_chunks(inversion, chunks, on_try, kept)
    message = _message(regulariser, fidelity, rule, projection, tuple(x.shape[1:])) + (
        f" {result.message}" if result.message else ""
    )
    if isinstance(regulariser, DenoiserPrior):
        message += f" {regulariser.averagedness(result.x.double(), seed).verdict}"
    found = replace(result, message=message, seconds=time.perf_counter() - began)
    return found if unknowns is None else unknowns.back(found)


def _problem(
    network: LiftedNetwork,
    projection: Projection,
    fidelity: Fidelity,
    regulariser: Regulariser,
    constraint: ProximalFunction | None,
) -> InverseProblem:
    """What is to be minimised, at weight 1."""
    return InverseProblem(
        variable=fidelity.variable(network),
        output=NetworkOutput(network),
        term=fidelity.at(network, fidelity.treat(network, projection.data, projection.left)),
        data=projection.data,
        regulariser=regulariser,
        constraint=constraint,
        alpha=torch.ones_like(projection.moved),
        affine=_is_affine(network, fidelity),
    )


def lifted_network(
    network: Network, data: Tensor, input_shape: int | Sequence[int] | None, start: Tensor | None = None
) -> LiftedNetwork:
    """The network of any form, lifted; an nn.Module needs the shape of an input, or a start that has it."""
    input_shape = shape_of(input_shape)
    if isinstance(network, LiftedNetwork):
        lifted = network
    elif isinstance(network, str | PathLike):
        lifted = load_network(network)
    elif isinstance(network, torch.export.ExportedProgram):
        lifted = lift(network)
    elif isinstance(network, nn.Module):
        shape = input_shape if input_shape is not None or start is None else tuple(start.shape[1:])
        if shape is None:
            raise ValueError(
                "invert: input_shape is missing; the shape of an input cannot be read off a torch module. Pass "
                "input_shape=(channels, height, width) (without the batch), or start=, or a network made by ni.lift."
            )
        parameter = next(network.parameters(), data)
        lifted = lift(network, torch.zeros((2, *shape), dtype=parameter.dtype, device=parameter.device))
    else:
        raise TypeError(
            f"invert: network is a {type(network).__name__}, but must be a torch.nn.Module, a LiftedNetwork, a "
            f"torch.export.ExportedProgram or the path of a .pt2 file."
        )
    if input_shape is not None and input_shape != tuple(lifted.input_shape):
        raise ValueError(
            f"invert: input_shape is {input_shape}, but the network takes inputs of shape {tuple(lifted.input_shape)}."
        )
    return lifted


def _rule(rule: ParameterRule | None, noise_level: Tensor | None) -> ParameterRule:
    if rule is None and noise_level is None:
        raise ValueError(
            "invert: neither a rule nor a noise_level is given, so nothing says how strongly to regularise. Pass noise_level= "
            f"(the l2 norm of the error of each sample; 0.0 for exact data), or {WITHOUT_NOISE_LEVEL}."
        )
    rule = DiscrepancyPrinciple() if rule is None else rule
    if rule.needs_noise_level and noise_level is None:
        raise ValueError(
            f"invert: {rule} needs a noise_level, but none is given. Pass noise_level= (the l2 norm of the error "
            f"of each sample), or {WITHOUT_NOISE_LEVEL}."
        )
    return rule


def _checked(start: Tensor, like: Tensor) -> Tensor:
    require_shape("invert", "start", start, tuple(like.shape), "one input for each sample of the data")
    return require_finite("invert", "start", start).detach()


def _check_data_shape(lifted: LiftedNetwork, data: Tensor) -> None:
    """Data must look like the network's output; two zero inputs tell."""
    with torch.no_grad():
        expected = tuple(lifted(torch.zeros((2, *lifted.input_shape), dtype=lifted.dtype, device=lifted.device)).shape[1:])
    if not expected:
        raise ValueError(
            "invert: the network returns one number for each sample, of shape (batch,), but an output needs an axis after the "
            "batch. Let the network end with a reshape to (batch, 1), and pass data[:, None]."
        )
    if not data.ndim or tuple(data.shape[1:]) != expected:
        alone = " For one sample use data[None]." if tuple(data.shape) == expected else ""
        raise ValueError(
            f"invert: data has shape {tuple(data.shape)}, but the network returns "
            f"(batch, {', '.join(map(str, expected))}). Pass data as the network returns it, the batch first.{alone}"
        )
    if data.device != lifted.device:
        raise ValueError(
            f"invert: data is on {data.device}, but the network is on {lifted.device}. Move one of them: "
            f"data.to({str(lifted.device)!r})."
        )


def default_regulariser(shape: tuple[int, ...]) -> Regulariser:
    return TotalVariation() if len(shape) == 3 else Tikhonov()


def _is_affine(network: LiftedNetwork, fidelity: Fidelity) -> bool:
    """True where the variable that the fidelity takes depends on the input by an affine map."""
    nonlinear = [node for node in network.nodes if node.kind != "affine"]
    last_is_kept = fidelity.keeps_last_activation and network.nodes[-1].kind == "proximal"
    return len(nonlinear) <= (1 if last_is_kept else 0)


def _message(
    regulariser: Regulariser, fidelity: Fidelity, rule: ParameterRule, projection: Projection, shape: tuple[int, ...]
) -> str:
    """What was chosen, and what was done to the data."""
    name = regulariser.name
    if len(shape) == 2 and isinstance(regulariser, TotalVariation | HuberTotalVariation | WaveletSparsity):
        name += (
            f" along {shape[1]} entries of {shape[0]} channels (an image of one channel has shape (1, {shape[0]}, {shape[1]}))"
        )
    return f"regulariser: {name}; fidelity: {type(fidelity).__name__}; rule: {rule}.{projection.describe()}"
