"""Small mistakes put into the code, and the tests that see them: ``python -m tests.mutants --rooms prox,lifting --sample 300``.

A mutant is the package with one operator, comparison, number or keyword replaced, as cosmic-ray does. A sample of the places is
drawn, and one mutant of each. It is run against the tests of the rooms' own folders that come by its line, which is known from
``make coverage``, the quickest first: it is killed when one of them fails, or takes a minute, and has survived when all of them
pass. Every mutant is a fork of this process. Inside a function it replaces the code of the living function, after the tests have
been collected once; what runs while a module is imported is imported anew.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from xml.etree import ElementTree

import coverage
import cvxpy
import hypothesis
import mpmath
import pandas
import pytest
import torch

from tests.mutations import Mutant, drawn, inside_a_function

IMPORTED = (cvxpy, mpmath, pandas, torch)
"""What the tests import as well: a fork has it."""

WHOLE = "tests/test_frozen.py"
"""What looks at the package as it has been imported, and comes by none of its lines."""

SECONDS = 60
"""Of a processor. A test of the quick suite takes less than ten; one that takes a minute does not end."""


class Tests:
    """Which tests come by a line, the quickest first."""

    def __init__(self, data_file: str, durations: str, rooms: list[str]) -> None:
        if not Path(data_file).exists() or not Path(durations).exists():
            raise SystemExit(
                f"mutants: {data_file} or {durations} is missing, which say what the tests run. Run make coverage first."
            )
        self.data = coverage.CoverageData(data_file)
        self.data.read()
        self.seconds = {
            f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}": float(case.get("time", 0))
            for case in ElementTree.parse(durations).iter("testcase")
        }
        self.folders = tuple(f"tests/{room}/" for room in rooms)
        self.files = {name[name.index("netinverse/") :]: name for name in self.data.measured_files()}

    def _contexts(self, mutant: Mutant) -> tuple[set[str], dict[int, list[str]]]:
        by_line = self.data.contexts_by_lineno(self.files[mutant.path])
        return set().union(*(by_line.get(line, []) for line in range(mutant.start[0], mutant.end[0] + 1))), by_line

    def imported(self, mutant: Mutant) -> bool:
        """Whether the line runs while modules are imported or tests collected."""
        return "" in self._contexts(mutant)[0] or not inside_a_function(mutant)

    def of(self, mutant: Mutant) -> list[str]:
        """Those of the line; of the whole file where it runs while it is imported."""
        contexts, by_line = self._contexts(mutant)
        if self.imported(mutant):
            contexts = contexts.union(*by_line.values())
        shared = {context.partition("::")[0] for context in contexts if context.endswith("|setup")}
        found = {context.partition("|")[0] for context in contexts}
        found |= {test for test in self.seconds if test.partition("::")[0] in shared}
        order = sorted(
            (test for test in found if test.startswith(self.folders)), key=lambda test: (self.seconds.get(test, 0.0), test)
        )
        whole = f"{WHOLE}::test_dataclasses_are_frozen[{mutant.path.split('/')[1]}]"
        return [whole, *order] if self.imported(mutant) else order


def codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and all in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """The functions and methods that a module defines, without what is wrapped around them."""
    members = [
        module,
        *(value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__),
    ]
    for member in [value for owner in members for value in vars(owner).values()]:
        for name in ("fget", "func", "__func__"):
            member = getattr(member, name, member)
        while hasattr(member, "__wrapped__"):
            member = member.__wrapped__
        if isinstance(member, FunctionType) and member.__code__.co_filename == module.__file__:
            yield member


def replace_code(mutant: Mutant) -> None:
    """Give the living functions of a module the code of the mutant."""
    module = sys.modules[mutant.module]
    new = {code.co_qualname: code for code in codes(compile(mutant.source() or "", module.__file__ or "", "exec"))}
    for function in functions_of(module):
        function.__code__ = new[function.__code__.co_qualname]


class Importer(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports one module as the mutant has it."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.mutant.module:
            return None
        package = self.mutant.path.endswith("__init__.py")
        return importlib.util.spec_from_loader(fullname, self, origin=self.mutant.path, is_package=package)

    def get_source(self, fullname: str) -> str:
        return self.mutant.source() or ""


class Forks:
    """For pytest: the tests are collected, and then each mutant meets its own in a fork, with a minute for each test."""

    def __init__(self, run: Callable[[dict[str, pytest.Item]], None]) -> None:
        self.run = run

    def pytest_sessionstart(self) -> None:
        """A failing example is not made simpler: to fail is enough."""
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutants", deadline=None, max_examples=30, derandomize=True, phases=phases)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.run({item.nodeid: item for item in session.items})
        return True


def all_pass(items: list[pytest.Item]) -> bool:
    """Run them until one fails."""
    for item, following in zip_longest(items, items[1:]):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if item.session.testsfailed:
            return False
    return True


def collected(files: set[str], run: Callable[[dict[str, pytest.Item]], None]) -> None:
    """Call ``run`` with the tests of some files by name."""
    options = ["-s", "-q", "-p", "no:cacheprovider", "--assert=plain", *sorted(files)]
    code = pytest.main(options, plugins=[Forks(run)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(int(code))


def survives(work: Callable[[], bool]) -> bool:
    """Whether ``work`` is true, in a fork that is silent and may crash or hang."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        alive = False
        try:
            alive = work()
        finally:
            os._exit(0 if alive else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def survives_import(mutant: Mutant, names: list[str]) -> bool:
    """Collects the tests with the mutant and runs them."""
    sys.meta_path.insert(0, Importer(mutant))
    passed = []
    collected(
        {name.partition("::")[0] for name in names},
        lambda items: passed.append(all_pass([items[n] for n in names if n in items])),
    )
    return all(passed)


def survives_in_place(mutant: Mutant, items: list[pytest.Item]) -> bool:
    replace_code(mutant)
    return all_pass(items)


def main() -> None:
    reading = argparse.ArgumentParser(description=__doc__)
    reading.add_argument("--rooms", default="prox,lifting,solvers")
    reading.add_argument("--sample", type=int, default=300)
    reading.add_argument("--seed", type=int, default=0)
    reading.add_argument("--data-file", default=".coverage")
    reading.add_argument("--durations", default=".durations.xml")
    chosen = reading.parse_args()
    rooms = chosen.rooms.split(",")
    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    tests, sample = Tests(chosen.data_file, chosen.durations, rooms), drawn(rooms, chosen.sample, chosen.seed)
    named = {mutant: tests.of(mutant) for mutant in sample}
    apart = [mutant for mutant in sample if tests.imported(mutant)]
    alive = multiprocessing.Value("i", 0)

    def judge(mutant: Mutant, work: Callable[[], bool]) -> None:
        begun = time.perf_counter()
        survived = not named[mutant] or survives(work)
        alive.value += survived
        seconds = time.perf_counter() - begun
        print(f"{'SURVIVED' if survived else 'killed'} ({len(named[mutant])} tests, {seconds:.1f} s) {mutant}", flush=True)

    def run(items: dict[str, pytest.Item]) -> None:
        for mutant in sample:
            if mutant not in apart:
                judge(mutant, partial(survives_in_place, mutant, [items[name] for name in named[mutant] if name in items]))

    # In a process of its own, so that this one stays without the package.
    inside = multiprocessing.get_context("fork").Process(
        target=collected, args=({name.partition("::")[0] for names in named.values() for name in names}, run)
    )
    inside.start()
    inside.join()
    for mutant in apart:
        judge(mutant, partial(survives_import, mutant, named[mutant]))
    print(f"{alive.value} of {len(sample)} mutants survived: {alive.value / max(len(sample), 1):.1%}")


if __name__ == "__main__":
    main()
