# The commands of the house; `make help` lists them. Everything installs itself on first use (deploy/prepare.sh).

MAKEFLAGS += --no-print-directory
PYTHON_IN_VENV := .venv/bin/python
READY := .venv/prepared
PYTEST = $(PYTHON_IN_VENV) -m pytest $(PYTEST_OPTIONS)
# Tests and benchmarks start processes by the hundred: each would compile all modules again, half of its start.
unexport PYTHONDONTWRITEBYTECODE

SEEDS ?= 1000
MIX ?= usual

# $(call suites,FOLDER...): stops where a folder holds no tests, so that an empty suite cannot pass.
suites = @for folder in $(1); do \
	test -n "$$(find $$folder -name 'test_*.py' -print -quit 2>/dev/null)" || \
	{ echo "make: there are no tests in $$folder" >&2; exit 1; }; done

.DEFAULT_GOAL := help
.PHONY: help demo test units integration stores chaos compose lint types sim sim-heavier sim-mutants lock up down clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@for file in benchmarks/bench_*.py; do \
	name=$${file##*/bench_}; test -e $$file && echo "  make bench-$${name%.py}" | tr _ -; done; true

$(READY): pyproject.toml deploy/prepare.sh
	@sh deploy/prepare.sh
	@touch $@

demo: $(READY) ## a local cluster whose leader is killed in mid-command; ends with one JSON line
	@$(PYTHON_IN_VENV) -m alb.local.demo

test: units integration ## the fast suites, both of them

units: $(READY) ## units and scenarios
	$(call suites,tests/unit tests/scenarios)
	@$(PYTEST) tests/unit tests/scenarios

integration: $(READY) ## the parts together, with a real ZooKeeper
	$(call suites,tests/integration)
	@$(PYTEST) tests/integration --numprocesses 3 --dist loadfile

stores: $(READY) ## the results store against real PostgreSQL, MariaDB and Redis servers
	@sh tests/stores/prepare.sh
	$(call suites,tests/stores)
	@$(PYTEST) tests/stores

chaos: $(READY) ## real processes and a real ensemble, killed and frozen
	$(call suites,tests/chaos)
	@$(PYTEST) tests/chaos --numprocesses 2

compose: $(READY) ## the compose file and docs/tour.md on a Docker engine, which is installed where there is none
	$(call suites,tests/compose)
	@settings=$$(sh tests/compose/prepare.sh) && env $$settings $(PYTEST) tests/compose --durations 8

lint: $(READY) ## ruff: rules and format
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --check --quiet
	@echo "lint: clean"

types: $(READY) ## mypy, strict
	@.venv/bin/mypy

sim: $(READY) ## the simulator: SEEDS=1000 seeds of faults, of MIX=usual, invariants checked after every event
	@$(PYTEST) -q tests/simulation
	@$(PYTHON_IN_VENV) -m tests.simulation --seeds $(SEEDS) --mix $(MIX)

sim-heavier: $(READY) ## ten seeds of each heavier mix of the simulator: what `.ci/run` runs after `make sim`
	@$(PYTHON_IN_VENV) -m tests.simulation --seeds 10 --mix heavier

sim-mutants: $(READY) ## the simulator against planted defects: each must be caught
	@$(PYTHON_IN_VENV) -m tests.simulation --mutants --seeds $(SEEDS) $(if $(HUNT_UNTIL),--until $(HUNT_UNTIL))

.SECONDEXPANSION:
bench-%: benchmarks/bench_$$(subst -,_,$$*).py $(READY)
	@$(PYTHON_IN_VENV) $< $(ARGS)

# Pins that still satisfy pyproject.toml stay; `make lock ARGS=--upgrade` takes the newest.
LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' $(ARGS)
BUILD_REQUIRES := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

lock: $(READY) ## pin what the image installs, with hashes: deploy/*.lock
	@$(LOCK) --extra postgresql --extra mariadb --extra redis pyproject.toml --output-file deploy/requirements.lock
	@$(PYTHON_IN_VENV) -c '$(BUILD_REQUIRES)' | $(LOCK) - --output-file deploy/build-requirements.lock

up: $(READY) ## start a local cluster in the background
	@.venv/bin/alb up

down: $(READY) ## stop it
	@.venv/bin/alb down

clean: ## remove what was built or installed here
	rm -rf .venv .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
