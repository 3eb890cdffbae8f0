"""``python -m experiments [NAME ...] [--size full|smoke]``: run the named scripts, or all of them."""

from __future__ import annotations

import argparse
import importlib
import time

from experiments import names


def run_all() -> None:
    known = names()
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Run the scripts of experiments/.")
    parser.add_argument("names", nargs="*", choices=[*known, []], default=[], metavar="NAME", help=", ".join(known))
    parser.add_argument("--size", choices=["full", "smoke"], default="full")
    chosen = parser.parse_args()
    for name in chosen.names or known:
        print(f"== {name} ({chosen.size})", flush=True)
        began = time.perf_counter()
        importlib.import_module(f"experiments.{name}").main(size=chosen.size)
        print(f"== {name}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    run_all()
