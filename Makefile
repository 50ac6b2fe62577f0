.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage test-fast test-faults test-gpu check fix bench docs site lock

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
DEMO_DIR ?= runs/demo
# Every worker imports thousands of modules: keep their bytecode, also where the environment says not to (images often do).
export PYTHONDONTWRITEBYTECODE :=

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## */\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## .venv from requirements.lock, git hooks
	@if [ -d .git ] && [ -z "$$CI" ]; then $(BIN)/pre-commit install >/dev/null 2>&1 || echo "pre-commit hooks not installed"; fi

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup  ## the quickstart sweep on the embedded digits, and its report
	$(BIN)/rlp-sweeps run quickstart --output $(DEMO_DIR)

# Sweeps wait for Ray most of their time: they run beside the others, which leave them a core and take turns with their workers.
test: setup  ## every test but the GPU and fault ones (what README and CI run)
	@$(BIN)/python -m pytest tests/integration -m "not gpu and not faults" >$(VENV)/sweeps.log 2>&1 & sweeps=$$!; \
	export OMP_NUM_THREADS=1; \
	nice -n 15 $(BIN)/python -m pytest --ignore=tests/integration -m "not slow and not gpu and not faults"; fast=$$?; \
	nice -n 15 $(BIN)/python -m pytest --ignore=tests/integration -m "slow and not gpu and not faults"; slow=$$?; \
	wait $$sweeps; sweeps=$$?; cat $(VENV)/sweeps.log; \
	echo "exit statuses: $$fast fast, $$slow slow, $$sweeps sweeps"; \
	test $$fast -eq 0 -a $$sweeps -eq 0 -a $$slow -eq 0

coverage: setup  ## the quick tests under coverage, which slows them: at least 90 %
	$(BIN)/python -m pytest --ignore=tests/integration -m "not slow and not gpu and not faults" --cov --cov-report=term

test-fast: setup  ## without the slow ones, while you work
	$(BIN)/python -m pytest -m "not slow and not gpu and not faults" -q

KILLS ?= 220
FAULTS_LOG ?= faults.jsonl

test-faults: setup  ## kill drivers, nodes, clusters; inject KILLS faults, log each (about 90 minutes)
	$(BIN)/python -m pytest -m faults
	$(BIN)/python -m benchmarks.faults --kills $(KILLS) --log $(FAULTS_LOG)

test-gpu: setup  ## only those that need CUDA
	$(BIN)/python -m pytest tests/gpu

check: setup  ## format, lint, types, layers: changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: setup  ## format and repair
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## the table of ratios
	$(BIN)/python -m benchmarks

docs: setup  ## docs/results.md from schema.py, docs/reference/cli.md from the command line
	$(BIN)/python -m rlp_sweeps.schema > docs/results.md
	$(BIN)/python -m typer rlp_sweeps.cli.app utils docs --name rlp-sweeps > docs/reference/cli.md

site: setup  ## the documentation as pages, in build/site; fetches nothing
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: setup  ## requirements.lock from pyproject.toml: hashes, no index addresses
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra postgresql --extra s3 --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 --quiet --output-file requirements.lock
