"""Cells of work that do not depend on each other: in this process, in many, or on many machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from netinverse.checks import require_whole
from netinverse.studies.folder import Folder

T = TypeVar("T")

ATTEMPTS = 3
"""How often the cells of a worker that died are given to others."""


def require_jobs(who: str, jobs: int | None) -> None:
    """Raise unless ``jobs`` is what joblib counts processes by: None, or a whole number other than 0."""
    if jobs is not None:
        require_whole(who, "jobs", jobs, -(2**15), "-1 is one for each core; leave it out for one process.")
        if jobs == 0:
            raise ValueError(f"{who}: jobs is 0, but somebody has to do the work. Leave it out for one process.")


def sweep(
    work: Callable[[int], T], count: int, *, folder: Folder[T] | None, jobs: int | None, progress: bool, title: str
) -> list[T]:
    """work(0), ..., work(count - 1), in order. A finished cell goes to ``folder`` at once, and is not computed again.

    jobs: processes, as joblib counts them; None is one, or what ``joblib.parallel_config`` says, such as the workers of a dask
    cluster. ``work`` is sent to each and has to be picklable. The cells of a worker that dies are computed by another.
    """
    done: dict[int, T] = {}
    if folder is not None:
        done = {number: found for number in range(count) if (found := folder.finished(number)) is not None}
    keep = None if folder is None else folder.keep
    done.update(computed(work, count, set(done), keep=keep, jobs=jobs, progress=progress, title=title))
    return [done[number] for number in range(count)]


def computed(
    work: Callable[[int], T],
    count: int,
    done: set[int],
    *,
    keep: Callable[[int, T], None] | None,
    jobs: int | None,
    progress: bool,
    title: str,
) -> Iterator[tuple[int, T]]:
    """(number, work(number)) of the cells not yet ``done``, as they are ready. ``keep`` is called with each; none stays here."""
    done = set(done)
    with _bar(progress, count, len(done), title) as tick:
        for attempt in range(1, ATTEMPTS + 1):
            missing = [number for number in range(count) if number not in done]
            try:
                for number, value in _in_parallel(work, missing, jobs):
                    if keep is not None:
                        keep(number, value)
                    done.add(number)
                    tick()
                    yield number, value
                break
            except BaseException as error:
                if attempt == ATTEMPTS or not _is_death(error):
                    raise


def _in_parallel(work: Callable[[int], T], cells: list[int], jobs: int | None) -> Iterator[tuple[int, T]]:
    from joblib import Parallel, delayed

    if cells:
        yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(_numbered)(work, cell) for cell in cells)


def _numbered(work: Callable[[int], T], number: int) -> tuple[int, T]:
    return number, work(number)


def _is_death(error: BaseException) -> bool:
    """True for a lost process, and for nothing that the work itself raises."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    return isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker"


class _Silent:
    def __enter__(self) -> Callable[[], object]:
        return lambda: None

    def __exit__(self, *_: object) -> None:
        return None


def _bar(shown: bool, count: int, done: int, title: str) -> Any:
    if not shown:
        return _Silent()
    from tqdm.auto import tqdm

    class Shown:
        def __enter__(self) -> Callable[[], object]:
            self._bar = tqdm(total=count, initial=done, desc=title, unit="cell")
            return lambda: self._bar.update(1)

        def __exit__(self, *_: object) -> None:
            self._bar.close()

    return Shown()
