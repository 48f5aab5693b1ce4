# Every verb works in a fresh clone: each depends on the environment that it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
STAMP := $(VENV)/.installed
FAULT_MESSAGES := 100000
MINUTES := 60

.PHONY: help setup lock fmt lint type test test-gpu unit demo bench-stream bench-scale bench-backfill bench-scorer bench-scorer-gpu bench-guarantee bench-learn bench-online faults soak check clean
.DEFAULT_GOAL := help

help: ## List the verbs.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP) ## Make .venv from requirements.lock.

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Sluice needs Python 3.11 or later; name one with: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## Pin every dependency again, after a change to pyproject.toml.
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header --all-extras --group dev pyproject.toml --output-file requirements.lock

fmt: $(STAMP) ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

lint: $(STAMP) ## Format check, lint, docstrings, import contracts.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pydoclint --quiet pipeline actors
	$(BIN)/lint-imports --no-cache

type: $(STAMP) ## Check the types.
	$(BIN)/mypy

unit: $(STAMP) ## The tests that need neither Kafka nor Ray.
	$(BIN)/pytest -m "not kafka and not ray and not slow and not faults and not gpu"

test-gpu: $(STAMP) ## The tests that need a GPU.
	$(BIN)/pytest -m gpu

test: $(STAMP) ## All tests but the long fault suite and the GPU ones.
	$(BIN)/pytest -m "not faults and not gpu"

demo: $(STAMP) ## Watch the gate prune a generated catalogue, on a real Kafka and a real model.
	$(BIN)/sluice demo

bench-stream: $(STAMP) ## Measure the stream; writes bench/results/stream.json.
	$(BIN)/python -m bench.stream

bench-scale: $(STAMP) ## Measure how cost grows with replicas and gates; writes bench/results/scale.json.
	$(BIN)/python -m bench.scale

bench-backfill: $(STAMP) ## Measure the backfill; writes bench/results/backfill.json.
	$(BIN)/python -m bench.backfill

bench-scorer: $(STAMP) ## Measure the scorer in each precision; writes bench/results/scorer.json.
	$(BIN)/python -m bench.scorer

bench-scorer-gpu: $(STAMP) ## Measure the scorer on a GPU; writes bench/results/scorer-<device>.json.
	$(BIN)/python -m bench.scorer_gpu

bench-guarantee: $(STAMP) ## Measure whether proven thresholds keep their promise; writes bench/results/guarantee.json.
	$(BIN)/python -m bench.guarantee

bench-learn: $(STAMP) ## Measure learning on real pairs, out of fold; writes bench/results/learn.json.
	$(BIN)/python -m bench.learn

bench-online: $(STAMP) ## Measure the online door at twice its capacity; writes bench/results/online.json.
	$(BIN)/python -m bench.online

faults: $(STAMP) ## Break everything in turn, on three brokers and three Ray nodes; writes bench/results/faults.json.
	FAULT_MESSAGES=$(FAULT_MESSAGES) FAULT_ROUNDS=3 FAULT_RESULT=bench/results/faults.json $(BIN)/pytest tests/faults

soak: $(STAMP) ## A gate at half its load, a fault each minute; writes bench/results/soak.json. MINUTES=60
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES)

check: lint type test ## What CI runs.

clean: ## Forget the environment and what was written.
	rm -rf $(VENV) out
