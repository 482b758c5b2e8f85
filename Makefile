# ptpool: everything a newcomer types. Each target does its own set-up.
PYTHON ?= python3
VENV   ?= .venv
DB     ?= ptpool.duckdb
OUT    ?= report
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help report test check wheel bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

report: $(READY) ## sample captures -> warehouse -> all strategies -> report/
	@for bundle in data/captures/*/; do $(BIN)/ptpool ingest trace $$bundle --replace --db $(DB) || exit; done
	@$(BIN)/ptpool replay run --db $(DB)
	@$(BIN)/ptpool report build --db $(DB) --out $(OUT)

test: $(READY) ## run the tests
	@$(BIN)/pytest

check: $(READY) ## format, lint, types, tests: what has to be green before a change lands
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pytest

wheel: $(READY) ## build the wheel and run the tests against it, installed outside the checkout
	@rm -rf dist $(VENV)/wheel
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist . > /dev/null
	@$(PYTHON) -m venv $(VENV)/wheel
	@$(VENV)/wheel/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(VENV)/wheel/bin/pip install --quiet --disable-pip-version-check --no-deps dist/*.whl
	@cd $(VENV)/wheel && bin/python -c 'import ptpool; assert "site-packages" in ptpool.__file__, ptpool.__file__'
	@cd $(VENV)/wheel && bin/pytest -p no:cacheprovider -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) $(CURDIR)/tests

bench: $(READY) ## throughput of ingest and replay beside what one would otherwise run, as ratios
	@$(BIN)/python tests/bench/run.py

clean: ## remove the virtual environment, the warehouse and the report
	rm -rf $(VENV) $(DB) $(DB).wal $(OUT) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ptpool needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up $(VENV) (about a minute, once)"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; install it (Debian: python3-venv)" >&2; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
