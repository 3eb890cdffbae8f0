"""Messages between two processes: activations of a batch one way, what is pulled back to them the other way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from netinverse.training.process_group import LostProcess

BYTES = 1024
FIELDS = 6
GOES_ON, CLOSED, STOPPED = 0, 1, 2
KINDS: tuple[type[Exception], ...] = (RuntimeError, ValueError, LostProcess)


@dataclass(frozen=True)
class Header:
    """The first part of every message, always as long: how many samples come, with which ``mark``, and in the next message.

    ``loss``, ``hits``: of the batch, on the way back. ``state``: CLOSED after the last batch of an epoch, STOPPED with ``text``
    where the sender has stopped, for the error ``KINDS[kind]``.
    """

    state: int = GOES_ON
    length: int = 0
    following: int = 0
    mark: float = 0.0
    loss: float = 0.0
    hits: float = 0.0
    kind: int = 0
    text: str = ""

    def encoded(self, device: torch.device) -> Tensor:
        numbers = [self.state + 10 * self.kind, self.length, self.following, self.mark, self.loss, self.hits]
        first = torch.tensor(numbers, dtype=torch.float64).view(torch.uint8)
        text = torch.frombuffer(bytearray(self.text.encode()[: BYTES - len(first)] or b" "), dtype=torch.uint8)
        return torch.cat([first, text, text.new_zeros(BYTES - len(first) - len(text))]).to(device)

    @classmethod
    def decoded(cls, sent: Tensor) -> Header:
        sent = sent.cpu()
        what, length, following, mark, loss, hits = sent[: 8 * FIELDS].view(torch.float64).tolist()
        text = bytes(sent[8 * FIELDS :].tolist()).rstrip(b"\0 ").decode(errors="ignore") if what % 10 == STOPPED else ""
        return cls(int(what) % 10, int(length), int(following), mark, loss, hits, int(what) // 10, text)


@dataclass
class Outbox:
    """To one process. A message is under way until the other takes it; ``most``: how many may be before this one waits.

    ``tag``: one that no other training of these processes has, so that what a stopped one has left meets nobody.
    """

    group: dist.ProcessGroup | None
    peer: int
    tag: int
    most: int
    device: torch.device
    lost: Callable[[RuntimeError], LostProcess]
    _sent: deque[list[tuple[dist.Work, Tensor]]] = field(default_factory=deque)

    def send(self, header: Header, tensors: Sequence[Tensor]) -> None:
        try:
            self.leave(header, tensors)
            while len(self._sent) > self.most:
                for work, _ in self._sent.popleft():
                    work.wait()
        except RuntimeError as error:
            raise self.lost(error) from error

    def leave(self, header: Header, tensors: Sequence[Tensor] = ()) -> None:
        """Send, and never wait."""
        parts = [header.encoded(self.device), *(each.contiguous() for each in tensors)]
        self._sent.append(
            [(_started(dist.isend(each, group=self.group, tag=self.tag, group_dst=self.peer)), each) for each in parts]
        )


@dataclass
class Inbox:
    """From one process: ``expect`` early, so that a message arrives while other work is done; ``head`` and ``body`` in turn.

    A message has to be expected with exactly the length that it has.
    """

    group: dist.ProcessGroup | None
    peer: int
    tag: int
    shapes: tuple[tuple[int, ...], ...]
    like: Tensor
    lost: Callable[[RuntimeError], LostProcess]
    _expected: deque[tuple[tuple[dist.Work, Tensor], list[tuple[dist.Work, Tensor]] | None]] = field(default_factory=deque)

    def expect(self, length: int | None) -> None:
        """One more message, of so many samples; None where only its header will tell, 0 for the last one."""
        header = self._received(torch.zeros(BYTES, dtype=torch.uint8, device=self.like.device))
        self._expected.append((header, None if length is None else self._bodies(length)))

    def head(self) -> Header:
        """Raises what stopped the sender."""
        (work, sent), bodies = self._expected[0]
        self._wait(work)
        header = Header.decoded(sent)
        if header.state == STOPPED:
            raise KINDS[header.kind](header.text)
        if bodies is None:
            self._expected[0] = ((work, sent), self._bodies(header.length))
        return header

    def body(self) -> list[Tensor]:
        _, bodies = self._expected.popleft()
        for work, _ in bodies or []:
            self._wait(work)
        return [each for _, each in bodies or []]

    def _bodies(self, length: int) -> list[tuple[dist.Work, Tensor]]:
        return [self._received(self.like.new_empty((length, *shape))) for shape in self.shapes] if length else []

    def _received(self, into: Tensor) -> tuple[dist.Work, Tensor]:
        try:
            return _started(dist.irecv(into, group=self.group, tag=self.tag, group_src=self.peer)), into
        except RuntimeError as error:
            raise self.lost(error) from error

    def _wait(self, work: dist.Work) -> None:
        try:
            work.wait()
        except RuntimeError as error:
            raise self.lost(error) from error


def _started(work: dist.Work | None) -> dist.Work:
    assert work is not None  # None only where this process is not in the group
    return work
