"""``python -m experiments.benchmarks [--size full|smoke]``: every benchmark, one after the other, and all their tables."""

from __future__ import annotations

import argparse
import os
import time


def run_all() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks", description="Run every benchmark.")
    parser.add_argument("--size", choices=["full", "smoke"], default="full")
    size = parser.parse_args().size
    # Before any library that counts the cores is imported: one thread for everybody.
    for library in ("OMP", "MKL", "OPENBLAS", "RAYON"):
        os.environ[f"{library}_NUM_THREADS"] = "1"

    from experiments.benchmarks import digits, lifting, noise_levels, overhead, parallel, perceptron, scaling, total_variation
    from experiments.benchmarks.measuring import stored_targets, verdicts

    names = []
    for benchmark in (perceptron, digits, overhead, scaling, total_variation, lifting, noise_levels, parallel):
        names.append(benchmark.__name__.rsplit(".", 1)[-1])
        print(f"== {names[-1]} ({size})", flush=True)
        began = time.perf_counter()
        benchmark.main(size=size)
        print(f"== {names[-1]}: {time.perf_counter() - began:.1f} s", flush=True)
    print(f"== all figures ({size})\n{verdicts(stored_targets(digits.SIZES[size].folder, names))}")


if __name__ == "__main__":
    run_all()
