"""How well a network does on data that it is not trained with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from netinverse.networks import LiftedNetwork
from netinverse.training.batches import fitted
from netinverse.training.losses import Loss, labels_met, loss_of
from netinverse.training.processes import Processes


def validated(
    loss: str | Loss, network: LiftedNetwork, loader: Iterable[Any] | None, processes: Processes, patience: int | None
) -> dict[str, float]:
    """Mean loss and accuracy over another loader; nothing where there is none.

    Raises ValueError for a loader without batches, RuntimeError for a loss that is NaN where ``patience`` is to compare it.
    """
    if loader is None:
        return {}
    total, hits, count = 0.0, 0.0, 0
    with torch.no_grad():
        for pair in loader:
            x, targets = fitted(network, *pair)
            count += len(x)
            # A function of torch may take the samples of a batch together: the first process has the whole of it.
            own = slice(0, 0 if processes.rank else len(x)) if callable(loss) else processes.part(len(x))
            if own.start == own.stop:
                continue
            x, targets = x[own], targets[own]
            z = network.pre_activation(x)
            total += float(loss_of(loss, network, targets)(z).double().sum())
            hits += float(labels_met(z, targets))
    if count == 0:
        raise ValueError("LiftedTraining.fit: the validation loader gives no batch. Check its dataset, or leave it out.")
    # Summed, so that all processes see the same numbers and end at the same epoch.
    total, hits = processes.total(torch.tensor([total, hits], dtype=torch.float64, device=network.device)).tolist()
    if patience is not None and math.isnan(total):
        raise RuntimeError(
            "LiftedTraining.fit: the validation loss is NaN, which is neither more nor less than that of another epoch, so "
            "patience has nothing to go by. The network has the parameters from after this epoch. Look for NaN in the validation "
            "data, or leave out patience or validation."
        )
    return {"validation_loss": total / count, "validation_accuracy": hits / count}
