# `make` alone prints this help. Every target does its own set-up.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .make
EXTRAS_FILES := pyproject.toml requirements.lock

# Install the project with some of its extras, every wheel checked against the hashes in requirements.lock.
define install
	@echo "==> installing framehouse[$(1)] into $(VENV)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable '.[$(1)]'
	@mkdir -p $(STAMPS) && touch $@
endef

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/uv: requirements.lock
	@echo "==> setting up $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@awk '/^uv==/{on=1} on{print} on && !/\\$$/{exit}' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement $(VENV)/uv.lock
	@touch $@

$(STAMPS)/demo: $(BIN)/uv $(EXTRAS_FILES)
	$(call install,demo)

$(STAMPS)/dev: $(BIN)/uv $(EXTRAS_FILES)
	$(call install,dev)
	@touch $(STAMPS)/demo

.PHONY: setup
setup: $(STAMPS)/dev ## Install everything for development into .venv

.PHONY: demo
demo: $(STAMPS)/demo ## From nothing to a scored estimate, on real ffmpeg jobs
	@$(BIN)/framehouse demo

.PHONY: lint
lint: $(STAMPS)/dev ## ruff, mypy --strict, import-linter
	@echo "==> lint"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache > $(STAMPS)/imports.log || { cat $(STAMPS)/imports.log; exit 1; }

.PHONY: test
test: lint ## The linters, then every test, on a real TimescaleDB
	@echo "==> tests"
	@$(BIN)/pytest -n auto --dist worksteal

# Chosen once, so that what failed can be run again.
SEED := $(shell echo $$RANDOM)

.PHONY: fuzz
fuzz: $(STAMPS)/dev ## 1,000 random requests to each endpoint (make test sends 50)
	@echo "==> fuzz (the same requests again: make fuzz SEED=$(SEED))"
	@$(BIN)/pytest tests/api/test_fuzz.py -n auto --dist worksteal --fuzz-examples 1000 --hypothesis-seed $(SEED)

.PHONY: bench
bench: $(STAMPS)/dev ## The benchmarks, each beside its baseline
	@$(BIN)/python -m benchmarks

.PHONY: up
up: $(STAMPS)/demo ## Start the embedded TimescaleDB and bring its schema up to date
	@$(BIN)/framehouse up

.PHONY: down
down: $(STAMPS)/demo ## Stop the embedded TimescaleDB
	@$(BIN)/framehouse down

.PHONY: serve
serve: $(STAMPS)/demo ## API, ingest and maintenance on one port
	@$(BIN)/framehouse serve

.PHONY: lock
lock: $(BIN)/uv ## Pin every dependency anew in requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --no-annotate --all-extras pyproject.toml --output-file requirements.lock

.PHONY: clean
clean: ## Remove what was built here (the warehouse's data stays)
	@rm -rf $(VENV) $(STAMPS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build \
		dbt_project/target dbt_project/logs
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
