# The one list of commands, for people and CI alike. Every target sets up what it needs; a second run finds the stamps
# in .setup/ and starts at once. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL: # cargo, pip and npm use the cores themselves

PYTHON ?= python3
# Cargo profile of the Python extension: `make build PROFILE=dev` compiles fastest, benches need release.
PROFILE ?= release
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMPS := .setup
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PYTHON

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find crates -name '*.rs' -o -name Cargo.toml)
CONSOLE := console
CONSOLE_SOURCES := $(shell [ -d $(CONSOLE) ] && find $(CONSOLE) -type f -not -path '*/node_modules/*' -not -path '*/dist/*')
HAS_CONSOLE := $(wildcard $(CONSOLE)/package.json)

# What a command prints is of interest only when it fails.
quietly = mkdir -p $(STAMPS); $(1) >$(STAMPS)/output.log 2>&1 || { cat $(STAMPS)/output.log; exit 1; }

.PHONY: help run test soak lint format bench docs wheel clean setup build console lock \
        check-rust-style check-rust check-python-style check-python check-console

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 10

run: build console ## simulated venues, captured, stored and shown at http://127.0.0.1:8080 (ARGS="--live")
	@exec $(BIN)/tidebook run $(ARGS)

# Order: what fails most often and fastest comes first.
TEST_STEPS := setup check-rust-style check-python-style build check-stub check-rust console check-console check-python

test: ## every check; the last line says PASSED or FAILED
	@start=$$SECONDS; \
	for step in $(TEST_STEPS); do \
	    began=$$SECONDS; printf '\n== %s\n' "$$step"; \
	    $(MAKE) "$$step" || { printf '\nmake test: FAILED at %s after %d s\n' "$$step" $$((SECONDS - start)); exit 1; }; \
	    printf '== %s: %d s\n' "$$step" $$((SECONDS - began)); \
	done; \
	printf '\nmake test: PASSED in %d s\n' $$((SECONDS - start))

soak: build $(STAMPS)/postgresql ## the fault campaigns with their full numbers (long)
	@cargo test --release --workspace -- --ignored
	@$(BIN)/pytest -m soak --timeout 0 $(ARGS)

lint: setup check-rust-style check-python-style build check-stub ## formatters, linters, types, import order, stub

format: setup ## rewrite Rust and Python the way the linters want
	@cargo fmt --all
	@$(BIN)/ruff check -q --fix .
	@$(BIN)/ruff format -q .

# Those who measure beside our rings in Rust and C are built only for the area that needs them.
RIVALS := benches/rivals
WANTS_RIVALS := $(if $(ONLY),$(filter transport,$(ONLY)),all)
WANTS_RIVAL_BOOK := $(if $(ONLY),$(filter matching,$(ONLY)),all)
WANTS_POSTGRESQL := $(if $(ONLY),$(filter audit,$(ONLY)),all)

bench: build $(STAMPS)/bench $(if $(WANTS_RIVALS),$(STAMPS)/rivals) $(if $(WANTS_RIVAL_BOOK),$(STAMPS)/rival-book) $(if $(WANTS_POSTGRESQL),$(STAMPS)/postgresql) ## all benches, or one area: make bench ONLY=feeds
	@$(BIN)/python -m benches $(ONLY)

docs: build ## the documentation as pages in site/
	@$(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

wheel: build console ## a wheel in target/wheels, with the console's page in it
	@$(call quietly,$(BIN)/maturin build --release)
	@ls target/wheels/*.whl

clean: ## everything that was built or set up here; recorded data stays
	@rm -rf target $(RIVALS)/target $(STAMPS) $(VENV) $(CONSOLE)/node_modules python/tidebook/console/dist site benches/out \
	    .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache python/tidebook/*.so
	@find python tests benches -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## rewrite requirements/*.lock after a change of dependencies (ARGS=--upgrade for the newest)
	@$(PYTHON) setup/lock.py $(ARGS)

# ---- set-up: a stamp is newer than what it was made from -----------------------------------------------------------

setup: $(STAMPS)/system $(STAMPS)/strace $(STAMPS)/python

$(STAMPS)/system: setup/apt
	@mkdir -p $(STAMPS)
	@setup/apt cc gcc libc6-dev
	@setup/apt openssl openssl
	@command -v cargo >/dev/null || { echo "setup: cargo is missing; install Rust 1.89 or newer" >&2; exit 1; }
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy
	@touch $@

# Makes system calls fail in tests. It is not to be had everywhere, and some containers forbid it.
$(STAMPS)/strace: setup/apt
	@mkdir -p $(STAMPS)
	@setup/apt strace strace || echo "setup: no strace here; tests of failing system calls will run without faults and say so"
	@touch $@

$(STAMPS)/python: requirements/dev.lock setup/venv
	@mkdir -p $(STAMPS)
	@setup/venv $(VENV)
	@echo "setup: Python packages of requirements/dev.lock"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/dev.lock
	@touch $@

$(STAMPS)/bench: requirements/bench.lock $(STAMPS)/python
	@echo "setup: peers of requirements/bench.lock"
	@while read -r peer; do \
	    $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps "$$peer" || echo "setup: peer $$peer cannot be installed; its comparison will be printed as missed"; \
	done < requirements/bench.lock
	@touch $@

$(STAMPS)/rivals: $(RIVALS)/Cargo.lock $(wildcard $(RIVALS)/src/*.rs $(RIVALS)/src/bin/*.rs) \
        crates/ring/examples/transport/rounds.rs $(STAMPS)/bench
	@mkdir -p $(STAMPS)
	@echo "setup: rivals of $(RIVALS), some minutes the first time"
	@{ setup/apt clang clang libbsd-dev uuid-dev && \
	    CMAKE=$(BIN)/cmake cargo build -q --release --manifest-path $(RIVALS)/Cargo.toml; } || \
	    echo "setup: rivals cannot be built; their comparison will be printed as missed"
	@touch $@

$(STAMPS)/rival-book: $(RIVALS)/Cargo.lock $(wildcard $(RIVALS)/order_book_rs/src/*.rs)
	@mkdir -p $(STAMPS)
	@echo "setup: the order book of $(RIVALS)"
	@cargo build -q --release --manifest-path $(RIVALS)/Cargo.toml -p tidebook-rival-order-book || \
	    echo "setup: it cannot be built; its comparison will be printed as missed"
	@touch $@

$(STAMPS)/chromium: setup/apt
	@mkdir -p $(STAMPS)
	@setup/apt chromium chromium
	@touch $@

# Tests of the audit trail start a server of their own; Debian keeps its programs off the path, so its wrapper tells whether it is there.
$(STAMPS)/postgresql: setup/apt
	@mkdir -p $(STAMPS)
	@setup/apt pg_ctlcluster postgresql
	@touch $@

# ---- build -----------------------------------------------------------------------------------------------------------

# A stamp for each profile, and never more than one of them: a core that was compiled for debugging is not taken for the other.
CORE := $(STAMPS)/core-$(PROFILE)

build: $(CORE) ## compile the core in place (PROFILE=dev compiles fastest)

# Installs the package in place: Python sources are used where they lie, only the core is compiled.
$(STAMPS)/package: pyproject.toml $(STAMPS)/system $(STAMPS)/python
	@echo "build: the Rust core, some minutes the first time"
	@$(call quietly,$(BIN)/maturin develop --profile $(PROFILE))
	@touch $@

$(CORE): $(RUST_SOURCES) $(STAMPS)/package
	@rm -f $(STAMPS)/core $(STAMPS)/core-*
	@$(call quietly,$(BIN)/maturin develop --skip-install --profile $(PROFILE))
	@touch $@

console: $(if $(HAS_CONSOLE),$(STAMPS)/console)

$(STAMPS)/npm: $(CONSOLE)/package-lock.json
	@mkdir -p $(STAMPS)
	@echo "setup: npm packages of the console"
	@npm --prefix $(CONSOLE) ci --silent --no-audit --no-fund
	@touch $@

$(STAMPS)/console: $(STAMPS)/npm $(CONSOLE_SOURCES)
	@echo "build: the console's page"
	@$(call quietly,npm --prefix $(CONSOLE) run build)
	@touch $@

# ---- checks ----------------------------------------------------------------------------------------------------------

check-rust-style:
	@cargo fmt --all --check
	@cargo clippy -q --workspace --all-targets -- -D warnings

check-rust:
	@cargo test -q --workspace

check-python-style: $(STAMPS)/python
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy --no-error-summary
	@export PYTHONPATH=python; $(call quietly,$(BIN)/lint-imports)

# The stub promises exactly what the built module has.
check-stub: build
	@$(BIN)/python -m mypy.stubtest tidebook._core --concise

check-python: build $(STAMPS)/postgresql $(if $(HAS_CONSOLE),$(STAMPS)/chromium)
	@$(BIN)/pytest -q $(ARGS)

check-console: $(if $(HAS_CONSOLE),$(STAMPS)/npm)
	@$(if $(HAS_CONSOLE),cd $(CONSOLE) && npm run --silent check && npm test --silent,true)
