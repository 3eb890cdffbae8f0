"""A batch worked off in chunks that fit a memory budget, and one reconstruction of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from netinverse.checkpoints import Checkpoint
from netinverse.footprint import peak_bytes
from netinverse.methods import Try
from netinverse.methods.iterative import IterativeMethod
from netinverse.parameter_choice import Fixed
from netinverse.reconstruction import PER_SAMPLE, Reconstruction
from netinverse.solving import Inversion
from netinverse.starting import first_weight

RESERVE = 0.9
"""The share of the budget that is planned with: later steps differ a little from the first in what they need."""
LEVEL = 0.8
"""Where twice as many samples take at least this share of the bytes a sample, more samples would tell nothing new."""


def chunks_of(inversion: Inversion, memory_budget: float | None) -> tuple[Tensor, ...]:
    """The samples of each chunk, in order; one chunk where there is no budget, or where all fit.

    The tensors of one step from the start are counted, for one sample, two, four and so on. A part of what they take is for all
    samples together, so the bytes a sample fall from count to count, and the last of them, on the safe side, are those of any
    larger chunk.

    Raises ValueError where the budget does not hold a single sample.
    """
    everyone = torch.arange(len(inversion), device=inversion.start.device)
    if memory_budget is None or not len(inversion):
        return (everyone,)
    room, kept = RESERVE * memory_budget, _kept_bytes(inversion)
    size, each = 0, torch.inf
    for count in _doubling(len(inversion)):
        needed = _step_bytes(inversion, everyone[:count]) + count * kept
        if needed > room:
            break
        level, each = needed / count >= LEVEL * each, needed / count
        size = count
        if level:
            size = int(room // each)
            break
    if not size:
        raise ValueError(
            f"invert: memory_budget is {memory_budget:.3g} bytes, but one sample alone takes about {needed / RESERVE:.3g}, so no "
            f"chunk of the batch is small enough. Give at least that much."
        )
    # Chunks of one size, not full ones and a rest.
    return tuple(everyone.tensor_split(-(-len(everyone) // size)))


def _doubling(last: int) -> Iterator[int]:
    count = 1
    while count < last:
        yield count
        count *= 2
    yield last


def _step_bytes(inversion: Inversion, index: Tensor) -> int:
    part = inversion.select(index)
    rule = Fixed(first_weight(part.problem, part.start))
    return peak_bytes(lambda: replace(part, rule=rule, max_steps=1).run())


def _kept_bytes(inversion: Inversion) -> int:
    """Of one sample: x and its subgradient at every iterate, as they come, in a table, and once more while it is made."""
    if not isinstance(inversion.method, IterativeMethod):
        return 0
    steps = inversion.method.max_iterations if inversion.max_steps is None else inversion.max_steps
    return 5 * steps * inversion.start[0].numel() * inversion.start.element_size()


def run_in_chunks(
    inversion: Inversion,
    chunks: tuple[Tensor, ...],
    on_try: Callable[[Try], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Reconstruction:
    """``inversion.run`` for each chunk, and one reconstruction of all. The checkpoint keeps the chunks that are done."""
    if len(chunks) == 1:
        return inversion.run(on_try, checkpoint)
    done = [] if checkpoint is None else checkpoint.finished(inversion.start.device)
    parts = [Reconstruction.of_archive(*each) for each in done]
    if len(parts) > len(chunks) or any(len(p.status) != len(c) for p, c in zip(parts, chunks, strict=False)):
        raise ValueError(
            f"invert: the checkpoint has chunks of {', '.join(str(len(part.status)) for part in parts)} samples, but the budget "
            f"now makes chunks of {len(chunks[0])}: another version of torch or netinverse counts otherwise. Delete the file to "
            f"begin anew, or go on where it was written."
        )
    for index in chunks[len(parts) :]:
        parts.append(inversion.select(index).run(on_try, checkpoint))
        if checkpoint is not None:
            checkpoint.finish(*parts[-1].archive())
    return joined(parts)


def joined(parts: list[Reconstruction]) -> Reconstruction:
    """One reconstruction of all samples, numbered from zero through all parts; ``seconds`` are those of all."""
    first, certificates = parts[0], [part.certificate for part in parts]
    said = next((each for each in certificates if each.kind != "none"), certificates[0])
    samples, seconds = 0, 0.0
    tried, history = [], []
    for part in parts:
        tried.append(_shifted(part.tried_columns, samples, seconds))
        history.append(_shifted(part.history_columns, samples, seconds))
        samples, seconds = samples + len(part.status), seconds + part.seconds
    per_sample: dict[str, Any] = {name: _every([getattr(part, name) for part in parts]) for name in PER_SAMPLE}
    return replace(
        first,
        **per_sample,
        status=tuple(status for part in parts for status in part.status),
        certificate=replace(
            said,
            value=torch.cat([each.value for each in certificates]),
            made_feasible=tuple(way for each in certificates for way in each.made_feasible),
        ),
        seconds=seconds,
        tried_columns={name: torch.cat([table[name] for table in tried]) for name in first.tried_columns},
        history_columns={name: torch.cat([table[name] for table in history]) for name in first.history_columns},
        continuation={
            name: torch.cat([part.continuation[name] for part in parts])
            for name in first.continuation
            if all(name in part.continuation for part in parts)
        },
    )


def _every(values: list[Tensor | None]) -> Tensor | None:
    """All of them; None where one part has none."""
    present = [value for value in values if value is not None]
    return torch.cat(present) if len(present) == len(values) else None


def _shifted(table: Mapping[str, Tensor], samples: int, seconds: float) -> dict[str, Tensor]:
    """With the samples and the seconds that came before."""
    by = {"sample": samples, "seconds": seconds}
    return {name: column + by[name] if name in by else column for name, column in table.items()}
