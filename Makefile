# make demo    sets everything up and runs the main job      make test    sets everything up and runs the tests
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
SIZE ?= full
SAMPLE ?= 300
SEED ?= 0
BIN := $(VENV)/bin
RUN := $(BIN)/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all coverage mutants lint format docs experiments figures benchmarks clean

help:
	@echo "make demo         reconstruct handwritten digits from the noisy codes of a trained encoder"
	@echo "make test         the quick tests            make test-all     all tests"
	@echo "make coverage     the quick tests and the lines and branches that none of them runs (half an hour)"
	@echo "make mutants      small mistakes put into prox/, lifting/ and solvers/, and those that no test sees (after make coverage)"
	@echo "make lint         ruff and mypy              make format       let ruff format the code"
	@echo "make docs         the pages, in docs/_build  make experiments  every script of experiments/ (SIZE=full or smoke)"
	@echo "make figures      the pictures and tables of docs/experiments.md, made anew at full size (an hour)"
	@echo "make benchmarks   seconds beside those of other libraries, in a set-up of their own (an hour; SIZE=smoke a minute or two)"
	@echo "make clean        remove the build products, the set-up included"

# One stamp for what the demo needs and one for what a developer needs; each is redone when the pins or the project change.
$(VENV)/.installed-demo: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "netinverse needs Python 3.11 or newer, but none was found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV): netinverse and what the demo needs (once, one to three minutes) ..."
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[experiments]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-demo
	@echo "Setting up $(VENV): the tools for tests, checks and pages (once, about a minute) ..."
	@$(RUN) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[experiments,docs,dev]"
	@touch $@

demo: $(VENV)/.installed-demo
	@$(BIN)/netinverse experiment demo --size $(SIZE)

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m "not slow" -n auto --dist loadgroup

test-all: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadgroup

# Fails under the share of lines and branches in pyproject.toml. Keeps which test ran which line, and how long each took.
coverage: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m "not slow" -n auto --dist loadgroup --cov --cov-context=test --cov-report=term \
		--junitxml=.durations.xml

# SAMPLE places drawn by SEED, one mutant each: an hour for 300.
mutants: $(VENV)/.installed-dev
	@$(RUN) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[mutants]"
	CI=1 OMP_NUM_THREADS=1 $(RUN) -m tests.mutants --sample $(SAMPLE) --seed $(SEED)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# A set-up of its own: ODL and pytest do not go together.
benchmarks: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "netinverse needs Python 3.11 or newer, but none was found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(VENV)-benchmarks/bin/python || $(PYTHON) -m venv $(VENV)-benchmarks
	@$(VENV)-benchmarks/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[experiments,benchmarks]"
	$(VENV)-benchmarks/bin/python -m experiments.benchmarks --size $(SIZE)

# The pictures and tables of docs/experiments.md, at full size: an hour on two cores.
figures: $(VENV)/.installed-demo
	$(RUN) -m experiments.figures $(NAMES)

experiments: $(VENV)/.installed-demo
	$(RUN) -m experiments --size $(SIZE)

clean:
	rm -rf $(VENV) $(VENV)-benchmarks build dist out docs/_build docs/examples docs/reference .coverage .durations.xml .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
