# Two commands matter: `make demo` runs the whole life of a policy on a real game, `make test` passes the tests.
# Both set up .venv by themselves from requirements.lock (needs Python 3.11+, git, make; no GPU).

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SOURCES := gi_model data train serve tests

.PHONY: help setup demo test quick check lint rehearse api-server format lock clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## Create .venv from requirements.lock

demo: $(READY)  ## Record, shard, pretrain, serve, and play three games; writes runs/demo/report.html
	$(BIN)/gi demo $(ARGS)

test: $(READY)  ## Run every test, slow ones included
	$(BIN)/pytest

quick: $(READY)  ## Run the tests that take seconds
	$(BIN)/pytest -m "not slow"

check: lint test  ## What CI runs

lint: $(READY)  ## Style, types, and layers
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

rehearse: $(READY)  ## Play the Kubernetes manifests through as local processes (root; about five minutes)
	GI_REHEARSE=1 $(BIN)/pytest -s tests/k8s/test_rehearsal.py tests/k8s/test_images.py

api-server: $(READY)  ## Build a real Kubernetes API server, into a cache, for tests/k8s/test_api_server.py (Debian; 12 minutes)
	k8s/api_server/build

format: $(READY)  ## Rewrite the sources in house style
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

lock: $(READY)  ## Resolve requirements.lock anew: versions and hashes, no addresses
	$(BIN)/uv pip compile --upgrade --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --all-extras --python-version 3.11 --quiet pyproject.toml --output-file requirements.lock
	k8s/images/lock

clean:  ## Delete what runs and builds made; keep .venv
	rm -rf runs dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' requirements.lock)"
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	touch $@
