# The commands of this repository. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Some folders appear only with later work; lint and type-check those that are there.
CODE   := $(wildcard src tests tools benchmarks examples hatch_build.py)

# Tests wait for other processes a third of their time: one worker more than there are processors.
WORKERS ?= $(shell $(PYTHON) -c "import os; print(min((os.cpu_count() or 1) + 1, 8))")

# Where Python may not keep byte code, each of the many processes that tests start compiles all it imports again.
unexport PYTHONDONTWRITEBYTECODE

# What the demo imports: its set-up keeps their byte code, else the first demo would spend seconds on compiling.
DEMO_IMPORTS := examples.flights.closing,examples.flights.data,mlflow.sklearn

.DEFAULT_GOAL := help
.PHONY: help setup setup-demo demo test lint format docs docs-reference peers bench clean constraints

help:            ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:           ## make .venv with hash-pinned packages and mlwright in it (does nothing when up to date)
	@$(PYTHON) -m tools.bootstrap $(VENV) constraints/dev.txt --editable

setup-demo: setup ## make .venv-demo: an ordinary MLflow client environment for the demo
	@$(PYTHON) -m tools.bootstrap .venv-demo constraints/demo.txt --import $(DEMO_IMPORTS)

demo: setup-demo ## start the platform, track real experiments on real data, print the ranking (KEEP=1 leaves it running)
	@$(BIN)/python -m examples.flights $(if $(KEEP),--keep)

test: setup      ## run the tests (T=path or options to narrow down)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(T)

lint: setup      ## style, strict types, import contracts, size budgets
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy $(CODE)
	@$(BIN)/python -m tools.imports
	@$(BIN)/python -m tools.ratchet

format: setup    ## bring the code into its standard form
	@$(BIN)/ruff check --fix-only $(CODE)
	@$(BIN)/ruff format $(CODE)

docs: setup      ## build the documentation of both languages into docs/site/
	@$(BIN)/python -m tools.docs build

docs-reference: setup ## write the generated reference pages anew
	@$(BIN)/python -m tools.docs reference

peers: setup     ## install the real programs that tests compare us with (MLflow, moto), outside the repository
	@$(BIN)/python -m tools.peers

bench: setup     ## measure us beside MLflow and MLServer on this machine (minutes; needs wrk)
	@$(BIN)/python -m benchmarks.tracking
	@$(BIN)/python -m benchmarks.registry
	@$(BIN)/python -m benchmarks.serving
	@$(BIN)/python -m benchmarks.deploying

clean:           ## remove environments, caches and built files
	rm -rf .venv .venv-demo node_modules build dist docs/site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/mlwright/web/static/vendor

constraints: setup ## resolve the newest allowed packages again and pin them by hash
	@$(BIN)/python -m tools.constraints
