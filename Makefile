# make help lists the targets. PYTHON names the interpreter that .venv is made with (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# -qq: errors only; the exact versions come from the lock, the place to get them from is the machine's own setting.
INSTALL := $(BIN)/python -m pip -qq --disable-pip-version-check install --constraint requirements.lock
PYTEST := $(BIN)/python -m pytest -n 2
# What is run with bounds checks as well; the rest of the kernel tests are in `make torture`.
CHECKED := tests/book tests/core tests/io tests/record tests/venues tests/workflow
BENCHES ?= core risk wire machine recovery journal memory book backtest kill report steady

.PHONY: help setup demo test warm test-jit test-plain test-boundscheck torture lint format perf clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.stamp ## make .venv with the pinned packages and the `tickroute` command

$(VENV)/.stamp: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "tickroute needs Python 3.11 or newer; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up $(VENV) (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) hatchling
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@

demo: setup ## feed, venues, engine and 500 parents over a day; prints where the report lies
	@$(BIN)/tickroute demo

test: warm test-jit test-plain test-boundscheck ## the whole suite, then the kernel tests in the two other modes

warm: setup ## compile what the tests need for both compiled modes at once, one a core
	@echo "compiling the kernels for both compiled modes (some minutes, once)"
	@NUMBA_BOUNDSCHECK=1 $(BIN)/python -m tests.warm core & checked=$$!; \
	$(BIN)/python -m tests.warm formats & formats=$$!; \
	$(BIN)/python -m tests.warm core && wait $$formats && wait $$checked

test-jit: setup ## the suite, kernels compiled
	TICKROUTE_TEST_MODE=jit $(PYTEST)

test-plain: setup ## the kernel tests, kernels as plain Python
	NUMBA_DISABLE_JIT=1 TICKROUTE_TEST_MODE=plain $(PYTEST) -m "kernel and not torture"

test-boundscheck: setup ## the kernels' own tests, compiled with bounds checks; those of all around them are in `make torture`
	NUMBA_BOUNDSCHECK=1 TICKROUTE_TEST_MODE=boundscheck $(PYTEST) -m "kernel and not torture" $(CHECKED)

torture: setup ## the long tests: kills, cuts, fuzz (hours)
	@$(INSTALL) --no-build-isolation --editable '.[dev,peers,ray]'
	TICKROUTE_TEST_MODE=jit TICKROUTE_HYPOTHESIS=torture $(PYTEST) -m torture --timeout=0
	TICKROUTE_TEST_MODE=jit $(PYTEST) tests/sweep/test_ray.py tests/perf/test_machine.py
	NUMBA_DISABLE_JIT=1 TICKROUTE_TEST_MODE=plain $(PYTEST) -m torture --timeout=0 tests/simulate/test_planted.py
	NUMBA_BOUNDSCHECK=1 TICKROUTE_TEST_MODE=boundscheck $(PYTEST) -m kernel --timeout=0 $(CHECKED:%=--ignore=%)

lint: setup ## ruff (rules and format) and mypy --strict
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "run: make format"; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@echo "lint: clean"

format: setup ## rewrite the sources in the one format
	@$(BIN)/ruff format .

perf: setup ## the benchmarks (BENCHES="core wire" runs those); figures to runs/perf-NAME.json
	@mkdir -p runs
	@for bench in $(BENCHES); do $(BIN)/tickroute perf $$bench --json runs/perf-$$bench.json || exit 1; done

clean: ## remove .venv and what tools left here; the kernel cache and runs/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
