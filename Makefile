# The whole developer interface. `make` alone says what there is.

PYTHON ?= python3
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
CARGO := cargo
MANIFEST := --manifest-path engine/Cargo.toml --locked

# KEEP=1 makes the demo leave its cluster running.
KEEP ?=
export KEEP
# How often each load of the benchmarks runs, for how many seconds; which scenarios, against which proxies (beginnings of
# names, with commas; all by default, and only then docs/benchmarks.md is written).
ROUNDS ?= 3
SECONDS_EACH ?= 3
ONLY ?=
PROXIES ?=
# How long each fuzz target runs, in seconds; ONLY names some (beginnings, with commas). How long a cluster is under faults.
TIME ?= 60
# How many data nodes are simulated.
NODES ?= 1000
# Where the command of the installed package is.
BINDIR ?= /opt/traefikee/bin
# What decides everything about a run under faults: one number, or several as in SEEDS=1-100 or SEEDS=1,5,9. PLAN=1 prints
# what would happen, and does nothing.
SEED ?= 1
SEEDS ?= $(SEED)
PLAN ?=
# More arguments for pytest, for example: make pytest ARGS='-k malformed -x'
ARGS ?=

ENGINE_SOURCES := engine/Cargo.toml engine/Cargo.lock $(shell find engine/src -name '*.rs' 2>/dev/null)
COMMAND_SOURCES := $(wildcard packaging/wheel/scripts/*)
CLUSTERS := $(patsubst %,tests/cluster/test_%.py,faults guide many_nodes nodes_leave operations)
OTHER_CLUSTERS := tests/chaos $(filter-out $(CLUSTERS),$(wildcard tests/cluster/test_*.py))
TYPED := tests scripts/local_cluster.py
LOAD := --manifest-path bench/load/Cargo.toml --locked

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: #? what this prints
	@echo 'Usage: make <target>'
	@echo
	@sed -n 's/^\([a-z-]*\):.*#? \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do \
		printf '%-12s %s\n' "$$target" "$$text"; done

.PHONY: setup
setup: system-packages $(VENV)/.dependencies #? install system packages, make .venv and install the Python dependencies

.PHONY: system-packages
system-packages:
	@PYTHON=$(PYTHON) scripts/install-system-packages

$(VENV)/.dependencies: pyproject.toml | system-packages
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement <($(BIN)/python scripts/requirements pyproject.toml)
	@touch $@

.PHONY: build
build: setup $(VENV)/.built #? .venv/bin/{traefikee,traefikeectl,traefikee-engine}, the engine in release mode

# Editable: a change of a Python file needs no new build.
$(VENV)/.built: $(ENGINE_SOURCES) $(COMMAND_SOURCES) pyproject.toml $(VENV)/.dependencies
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: demo
demo: build #? start a whole cluster on this machine and show it at work (KEEP=1: leave it running)
	$(BIN)/python scripts/demo

.PHONY: measure
measure: build #? how long changes and failovers take here, and how much memory (docs/measurements.md)
	$(BIN)/python scripts/measure

.PHONY: measure-scale
measure-scale: build #? how long a change takes with 10,000 frontends in Consul, and what it costs (docs/measurements.md)
	$(BIN)/python scripts/measure-scale

.PHONY: measure-nodes
measure-nodes: build #? what many data nodes (NODES=1000, simulated) cost three control nodes (docs/measurements.md)
	NODES='$(NODES)' $(BIN)/python scripts/measure-nodes

.PHONY: bench
bench: build $(VENV)/.bench-dependencies #? the engine beside other proxies (ROUNDS=1 ONLY=http1,idle: a short turn)
	$(CARGO) build --release --quiet $(LOAD)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench \
		--rounds '$(ROUNDS)' --seconds '$(SECONDS_EACH)' --only '$(ONLY)' --proxies '$(PROXIES)'

$(VENV)/.bench-dependencies: pyproject.toml scripts/install-system-packages $(VENV)/.dependencies
	@PYTHON=$(PYTHON) scripts/install-system-packages bench
	$(BIN)/python -m pip install --quiet --requirement <($(BIN)/python scripts/requirements pyproject.toml bench)
	@touch $@

.PHONY: test
test: cargo-test pytest #? every test: the engine's own, then the Python ones with real processes

.PHONY: cargo-test
cargo-test: setup #? the engine's own tests
	$(CARGO) test $(MANIFEST)

# The tests of whole clusters wait most of the time, for elections and deadlines: two halves of them run beside all others.
.PHONY: pytest
pytest: build $(BIN)/h2spec #? the Python tests (ARGS='-k word -x' passes arguments on)
ifeq ($(strip $(ARGS)),)
	$(BIN)/python scripts/side-by-side \
		'$(BIN)/python -m pytest --ignore=tests/chaos --ignore=tests/cluster' \
		'$(BIN)/python -m pytest -p no:cacheprovider $(CLUSTERS)' \
		'$(BIN)/python -m pytest -p no:cacheprovider $(OTHER_CLUSTERS)'
else
	$(BIN)/python -m pytest $(ARGS)
endif

# The conformance suite of HTTP/2, at the versions that its go.mod and go.sum name.
$(BIN)/h2spec: tests/engine/h2spec/go.mod tests/engine/h2spec/go.sum $(VENV)/.dependencies
	cd tests/engine/h2spec && go build -o '$(CURDIR)/$@' github.com/summerwind/h2spec/cmd/h2spec
	@touch $@

.PHONY: fuzz
fuzz: setup #? feed the engine's parsers and its router with anything (TIME=60 seconds each, ONLY=http1,routes)
	$(BIN)/python scripts/fuzz --seconds '$(TIME)' --only '$(ONLY)'

.PHONY: chaos
chaos: build #? a cluster under random faults, then heal and judge (SEED=1 TIME=60; SEEDS=1-100; PLAN=1 only tells)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.chaos --seeds '$(SEEDS)' --time '$(TIME)' $(if $(PLAN),--plan)

.PHONY: chaos-prove
chaos-prove: build #? show that it finds faults that are known (ONLY=no-fencing; SEED=1: the first that is tried)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.chaos --prove --known '$(ONLY)' --seed '$(SEED)' --time '$(TIME)'

.PHONY: lint
lint: setup #? formatting, lints and types of both languages; never writes
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy $(TYPED)
	$(BIN)/mypy --package bench
	$(CARGO) fmt --manifest-path engine/Cargo.toml --check
	$(CARGO) clippy $(MANIFEST) --all-targets --all-features -- -D warnings
	$(CARGO) fmt --manifest-path engine/fuzz/Cargo.toml --check
	$(CARGO) fmt --manifest-path bench/load/Cargo.toml --check
	$(CARGO) clippy $(LOAD) -- -D warnings

.PHONY: fix
fix: setup #? what lint complains about and a tool can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(CARGO) clippy $(MANIFEST) --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --manifest-path engine/Cargo.toml

.PHONY: install-systemd
install-systemd: #? install the systemd units, as root (BINDIR=/opt/traefikee/bin is where traefikee is)
	packaging/systemd/install --bindir='$(BINDIR)'

.PHONY: clean
clean: #? remove everything that was built, .venv included
	rm -rf $(VENV) engine/target engine/fuzz/{Cargo.lock,corpus} bench/load/target dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
