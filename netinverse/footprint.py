"""The memory of a piece of work: the bytes of the tensors that it makes, where they are most."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes that tensors made by ``work`` hold at one time, those that autograd keeps among them; on any device.

    What was there before does not count, nor what an operator needs and gives back inside of itself.
    """
    ledger = _Ledger()
    with ledger:
        work()
    return ledger.peak


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Books every storage when an operator first returns it and strikes it off when it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for each in tree_leaves((args, kwargs)):
            self._book(each, made=False)
        found = func(*args, **kwargs)
        for each in tree_leaves(found):
            self._book(each, made=True)
        return found

    def _book(self, value: object, *, made: bool) -> None:
        """A storage that an operator takes before any has returned it was there before."""
        if not isinstance(value, Tensor):
            return
        storage = value.untyped_storage()
        place = storage._cdata
        if place in self._known:
            return
        size = storage.nbytes() if made else 0
        self._known.add(place)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._strike, place, size).atexit = False

    def _strike(self, place: int, size: int) -> None:
        self._known.discard(place)
        self._now -= size
