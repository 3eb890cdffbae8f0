"""``LiftedTraining``: parameters from data, without differentiating activations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from netinverse.checks import require_number, require_object, require_path, require_seed, require_whole
from netinverse.modes import in_usual_modes
from netinverse.networks import LiftedNetwork, lift
from netinverse.networks.batch_statistics import BatchStatistics
from netinverse.protocols import ProximalFunction
from netinverse.training.activation_regulariser import by_node
from netinverse.training.algorithm import Algorithm, Run
from netinverse.training.auxiliaries import Auxiliaries, ForwardPass
from netinverse.training.batches import Batches, fitted
from netinverse.training.journal import Journal, Kept
from netinverse.training.losses import Loss, require_loss
from netinverse.training.problem import PENALTIES, TrainingProblem, WeightPenalty
from netinverse.training.processes import OneProcess, Processes, Team
from netinverse.training.proximal_sgd import ProximalSGD
from netinverse.training.validation import validated

if TYPE_CHECKING:
    import pandas as pd

MANY = 10
"""Sweeps of the contrastive penalty, whose activations are to be near their minimiser."""


@dataclass(frozen=True)
class LiftedTraining:
    """min over theta and u of mean loss(z_out, y) + sum_l weight (C_l(u_l, A_l(theta)(x, u_<l)) + R_l(u_l)) + R(theta).

    penalty: C_l. "bregman", B(u, z); "fenchel", the Lagrangian of the Fenchel-lifted network, which is the same B; "quadratic",
    1/2||u - sigma(z)||^2, which differentiates activations; "contrastive", the minimum over u of loss + B, found by 10 sweeps.
    algorithm: ProximalSGD(), ProximalSAGA(), ImplicitSGD() or BlockDescent(). loss: "auto", "cross-entropy", "squared" or a
    function of output and targets; "auto" is cross-entropy on the last affine output for whole targets (batch,), and for float
    ones the Bregman penalty of the last activation, which is the squared loss where there is none; "squared", 1/2||y -
    output||^2, differentiates that activation. weight: of all layers.
    auxiliaries: where the activations of a batch begin, ForwardPass() or TargetCodes(). regulariser: R on matrices and filters,
    by its proximal map: ni.L1(1e-4), ni.SquaredNorm(1e-4), ni.GroupL21(2, 1e-4) for rows of zeros, ni.NuclearNorm(1e-3) for low
    rank, ni.training.ConditioningPenalty() for singular values in an interval; constraints too, ni.NonNegative().
    activation_regulariser: R_l by the name of a module or node, {"encoder.3": ni.L1(1e-3)} for a sparse code; which functions can
    be added to which potential says ``netinverse.prox.prox_of_sum``. It is no part of the loss in the history.

    Of a parametrised weight the free matrices are trained, and R is one of those: leave it out with ``netinverse.layers``, whose
    singular values are confined already.

    Wang & Benning, Lifted Bregman Training of Neural Networks, JMLR 24(232), 2023.
    """

    penalty: str = "bregman"
    algorithm: Algorithm = field(default_factory=ProximalSGD)
    loss: str | Loss = "auto"
    weight: float = 1.0
    auxiliaries: Auxiliaries = field(default_factory=ForwardPass)
    regulariser: WeightPenalty | None = None
    activation_regulariser: Mapping[str, ProximalFunction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.penalty not in PENALTIES:
            raise ValueError(
                f"LiftedTraining: penalty is {self.penalty!r}, but must be one of {', '.join(map(repr, PENALTIES))}."
            )
        require_number("LiftedTraining", "weight", self.weight, "The default is 1.")
        require_object("LiftedTraining", "algorithm", self.algorithm, ("begin",), "Write algorithm=ni.training.ProximalSGD().")
        require_loss(self.loss)
        if self.regulariser is not None:
            _require_function("regulariser", self.regulariser, "regulariser=ni.L1(1e-3)")
        require_object(
            "LiftedTraining", "activation_regulariser", self.activation_regulariser, ("values",), 'Write {"name": ni.L1(1e-3)}.'
        )
        for added in self.activation_regulariser.values():
            _require_function("activation_regulariser", added, '{"name": ni.L1(1e-3)}')
        require_object("LiftedTraining", "auxiliaries", self.auxiliaries, ("at",), "Write auxiliaries=ni.training.TargetCodes().")

    @in_usual_modes
    def fit(
        self,
        network: nn.Module,
        loader: Iterable[Any],
        epochs: int = 10,
        *,
        validation: Iterable[Any] | None = None,
        patience: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_share: float = 0.1,
        parallel: Processes | None = None,
        progress: bool = False,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Train the network in place; the history: one row an epoch.

        network: a LiftedNetwork, or a module that ``ni.lift`` lifts exactly. Its layers of batch normalisation in training mode
        normalise by the moments of each batch and update their running statistics as torch does; those in evaluation mode, and
        those of a LiftedNetwork, keep theirs. Dropout is left out.
        loader: gives (x, targets), x (batch, *input_shape); where a sampler of torch draws, as with shuffle=True, it does so by
        ``seed``, and has its own generator back afterwards. validation: another
        loader; with ``patience`` the training ends after so many epochs without a smaller loss on it, with the parameters of the
        best one.
        checkpoint: a file that is written at the end of each epoch, and after a batch wherever writing then takes at most the
        ``checkpoint_share`` of the time. Called again with the same arguments, an interrupted ``fit`` goes on from there, to the
        same parameters; one that has ended returns at once. With ``checkpoint_share=math.inf`` the file is written after every
        batch, and a process that is killed loses the batch under way and nothing else; by default it loses up to ten times the
        seconds of one writing too, where batches are shorter than that.
        parallel: ni.training.DataParallel() or LayerParallel() in every process of a group; the first writes the checkpoint, all
        go on from it.

        Columns: epoch, loss, accuracy (of whole targets (batch,)), validation_loss, validation_accuracy, samples, seconds.
        Raises ValueError for a network that is not exactly lifted or has nothing to train, for targets that do not fit, and an
        empty loader; RuntimeError where a batch has no finite loss or gradient: the parameters are then those before that batch;
        and where ``patience`` has a validation loss to compare that is NaN.
        """
        _require_settings(epochs, validation, patience, seed)
        _require_share(checkpoint_share)
        processes = _processes(parallel)
        processes.accept(self.algorithm, self._sweeps)
        batches = Batches.of(loader, self.algorithm.batches, seed)
        lifted = _lifted(network, batches)
        problem = self._problem(lifted, network)
        settings = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "loss"}
        settings["order of steps in the processes"] = processes.schedule
        path = None if checkpoint is None else require_path("LiftedTraining.fit", "checkpoint", checkpoint)
        journal = Journal.open(path, settings, problem, epochs, batches, checkpoint_share)
        processes.agree(journal.place, lifted.device)
        team = processes.share(problem)
        run = self.algorithm.begin(team.problem)
        journal.restore(run, team)
        with _bar(progress and processes.rank == 0, epochs, journal.epoch) as ticker:
            for epoch in range(journal.epoch, epochs):
                if journal.exhausted(patience):
                    break
                self._epoch(team, run, batches, journal, epoch, epochs)
                team.complete()
                found = validated(self.loss, lifted, validation, processes, patience)
                row = journal.finish_epoch(run, team, found, patience)
                if ticker is not None:
                    ticker.update(1)
                    ticker.set_postfix({k: f"{v:.4g}" for k, v in row.items() if k not in ("epoch", "samples") and v == v})
        journal.put_best(team.problem.learned, patience)
        team.complete()
        return journal.table()

    @property
    def _sweeps(self) -> int:
        return MANY if self.penalty == "contrastive" else 1

    def _problem(self, lifted: LiftedNetwork, network: nn.Module) -> TrainingProblem:
        statistics = BatchStatistics.of(lifted, network)
        problem = TrainingProblem(
            statistics.coupled,
            self.loss,
            self.penalty,
            self.weight,
            self._sweeps,
            self.auxiliaries,
            self.regulariser,
            by_node(self.activation_regulariser, lifted),
            statistics,
        )
        if not problem.parameters:
            raise ValueError("LiftedTraining.fit: no parameter of the network requires a gradient, so there is nothing to train.")
        return problem

    def _epoch(self, team: Team, run: Run, batches: Batches, journal: Journal, epoch: int, epochs: int) -> None:
        network, progress = team.problem.network, epoch / epochs
        coming = ((k, fitted(network, *pair)) for k, pair in enumerate(batches.epoch(epoch)) if k >= journal.batch)
        try:
            for number, (x, targets) in team.ahead(coming, progress):
                seen = team.problem.statistics.at(x)
                try:
                    result = run.batch(number, x, targets, progress)
                except FloatingPointError as error:
                    remedy = "or lower the learning rate"
                    if self.regulariser is not None:
                        remedy = f"lower the learning rate, or weaken the regulariser {self.regulariser}"
                    raise RuntimeError(
                        f"LiftedTraining.fit: {error} in batch {number} of epoch {epoch}, so nothing can be learned from it. The "
                        f"network has {team.kept}. Look for NaN in its samples, {remedy}."
                    ) from error
                team.problem.statistics.update(seen)
                journal.record(run, team, Kept(float(result.loss), float(result.hits), len(x)))
        except BaseException as error:
            team.stop(error)
            raise
        if journal.batch == 0:
            raise ValueError(
                "LiftedTraining.fit: the loader gives no batch, so there is nothing to learn from. Check its dataset."
            )


def _require_settings(epochs: int, validation: object, patience: int | None, seed: int) -> None:
    require_whole("LiftedTraining.fit", "epochs", epochs, 1, "The default is 10.")
    if patience is not None:
        require_whole("LiftedTraining.fit", "patience", patience, 1, "Leave it out to train for all epochs.")
    if validation is not None:
        require_object("LiftedTraining.fit", "validation", validation, ("__iter__",), "Pass a DataLoader, or a list of batches.")
    require_seed("LiftedTraining.fit", seed)


def _processes(parallel: Processes | None) -> Processes:
    if parallel is None:
        return OneProcess()
    require_object("LiftedTraining.fit", "parallel", parallel, ("share",), "Write parallel=ni.training.DataParallel().")
    return parallel


def _require_function(name: str, value: object, example: str) -> None:
    """Raise TypeError for what has no proximal map, and for regularisers of inputs, whose map is an iteration with a result."""
    require_object("LiftedTraining", name, value, ("__call__", "prox"), f"Write {example}.")
    if hasattr(value, "check_shape"):
        raise TypeError(
            f"LiftedTraining: {name} is {value!r}, which regularises inputs, by a proximal map with a tolerance, but "
            f"{name} takes a function with a proximal map of its own. Write {example}."
        )


def _lifted(network: nn.Module, batches: Batches) -> LiftedNetwork:
    """The network lifted, with the parameters of the module itself."""
    if isinstance(network, LiftedNetwork):
        lifted = network
    elif isinstance(network, nn.Module):
        modes = {module: module.training for module in network.modules()}
        parameter = next(network.parameters(), torch.zeros(()))
        x = batches.example().to(dtype=parameter.dtype, device=parameter.device)
        try:
            lifted = lift(network.eval(), x)
        finally:
            for module, training in modes.items():
                module.training = training
    else:
        raise TypeError(
            f"LiftedTraining.fit: network is a {type(network).__name__}, but must be a torch.nn.Module or a LiftedNetwork."
        )
    smooth = [node.name for node in lifted.nodes if node.kind == "smooth"]
    if smooth:
        raise ValueError(
            f"LiftedTraining.fit: the network is not exactly lifted: {', '.join(smooth)} {'is' if len(smooth) == 1 else 'are'} "
            f"no proximal map, and has no penalty. Replace it by a proximal activation; lift(...).summary() says why it is none."
        )
    return lifted


def _bar(shown: bool, epochs: int, begun: int) -> Any:
    if not shown:
        return nullcontext()
    from tqdm.auto import tqdm

    return tqdm(total=epochs, initial=begun, desc="training", unit="epoch")


def _require_share(checkpoint_share: object) -> None:
    if isinstance(checkpoint_share, bool) or not isinstance(checkpoint_share, int | float) or not checkpoint_share > 0:
        raise ValueError(
            f"LiftedTraining.fit: checkpoint_share is {checkpoint_share!r}, but must be a positive number: the share of the time "
            f"that writing the checkpoint may take. The default is 0.1; math.inf writes after every batch."
        )
