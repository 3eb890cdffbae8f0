"""Configuration and state are frozen: whoever holds a function, an energy, a solver or a state of one can pass it on."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

import pytest

ROOMS = ("prox", "lifting", "solvers")


@pytest.mark.parametrize("room", ROOMS)
def test_dataclasses_are_frozen(room: str) -> None:
    package = importlib.import_module(f"netinverse.{room}")
    modules = [importlib.import_module(f"netinverse.{room}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    mine = [each for each in classes if dataclasses.is_dataclass(each) and each.__module__.startswith(package.__name__)]
    assert mine
    for each in mine:
        assert each.__dataclass_params__.frozen, each
