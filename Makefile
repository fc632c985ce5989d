# Every target sets up what it needs: a virtual environment inside the project, from locked and
# hashed requirements. PYTHON picks the interpreter, PYTEST_ARGS adds to the test runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=
# Test files run in so many processes, each with a broker of its own; most of them wait for others.
PROCESSES ?= 4
# Files as they come: those whose tests take longest begin, and tests/unit fills up what is left.
# By itself pytest-xdist puts files of one test last, and one process has what the others wait for.
IN_TURN := --dist loadfile --no-loadscope-reorder
SPREAD := -n $(PROCESSES) $(IN_TURN)
# With fewer where it takes longest: what waits for a machine that is busy fails first.
SPREAD_ALL := -n 2 $(IN_TURN)
BENCH ?= all
SEEDS ?= 2000
SEED_START ?= 0
RUNS ?= 3
SECONDS ?= 60
SEED ?= 1
CHAOS_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo simulate planted chaos test test-all lint types unit bench lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
	  || { echo "streamjobs needs Python 3.11 to 3.14, and $(PYTHON) is $$($(PYTHON) -V 2>&1): make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## 336,776 real flights through Kafka as jobs
	$(BIN)/streamjobs demo

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

unit: $(READY)  ## the tests that need no broker
	$(BIN)/pytest tests/unit $(PYTEST_ARGS)

test: lint types  ## lint, types and every test but tests/system: some 10 minutes
	$(BIN)/pytest --ignore=tests/system $(SPREAD) $(PYTEST_ARGS)

test-all: lint types  ## with both group protocols, and tests/system: under 45 minutes
	STREAMJOBS_TEST_PROTOCOLS=classic,consumer $(BIN)/pytest $(SPREAD_ALL) $(PYTEST_ARGS)

bench: $(READY)  ## benchmarks against the bare client loop: make bench BENCH=throughput
	$(BIN)/python -m benchmarks $(BENCH)

# Sets of texts are walked through in another order in each process unless the hash is seeded.
simulate: $(READY)  ## seeded histories of the engine: make simulate SEEDS=100000 SEED_START=0
	PYTHONPATH=tests PYTHONHASHSEED=0 $(BIN)/python -m unit.simulator.simulate \
	  --seeds $(SEEDS) --start $(SEED_START)

planted: $(READY)  ## which history catches each planted bug of the engine
	PYTHONPATH=tests PYTHONHASHSEED=0 $(BIN)/python -m unit.simulator.planted.hunt

chaos: $(READY)  ## workers and brokers killed under load, judged: make chaos RUNS=3 SECONDS=60 SEED=1
	PYTHONPATH=tests $(BIN)/python -m chaos \
	  --runs $(RUNS) --seconds $(SECONDS) --seed $(SEED) $(CHAOS_ARGS)

lock: $(READY)  ## resolve the dependencies anew (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --extra docker --group dev \
	  --upgrade --quiet --custom-compile-command 'make lock' pyproject.toml -o requirements/dev.txt

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
