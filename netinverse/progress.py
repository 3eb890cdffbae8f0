"""The progress bar of long work. Off unless asked for; tqdm is imported only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from netinverse.methods.method import Try


@contextmanager
def bar(shown: bool, samples: int, title: str) -> Iterator[Callable[[Try], None] | None]:
    """A bar that counts solutions along the path of weights, with the mean weight and residual of the last ones beside it."""
    if not shown:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(desc=f"{title} {samples} sample{'s' if samples != 1 else ''}", unit="solve") as ticker:

        def on_try(last: Try) -> None:
            alpha = float(torch.exp(torch.log(last.alpha).mean()))
            ticker.set_postfix(running=len(last.samples), alpha=f"{alpha:.3g}", residual=f"{float(last.residual.mean()):.3g}")
            ticker.update(1)

        yield on_try
