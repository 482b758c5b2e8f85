# ptpool: everything a newcomer types. Each target does its own set-up.
PYTHON ?= python3
VENV   ?= .venv
DB     ?= ptpool.duckdb
OUT    ?= report
LAB    ?= .lab
SEED   ?= 1
FRAGMENTATION ?= none
SECONDS ?= 60
TARGETS ?=
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help report test quick browser check lint wheel docs bench fuzz lab record oracle lab-pools record-pools clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

SAMPLES := data/captures/*/ data/pools/comb-many-unprotected
FEW := pba,reserve-block,self-split,pte-mapped,buddy-reserve
# One machine drawn says little, and the report says so: more with --seeds.
RISK := --capture sharedmem-frag-1g --fragmentation 0.15,0.8 --seeds 1 --strategy $(FEW)
# The machine with a real clock had memory to spare; here its demand meets one that has little, and none of it in whole blocks.
WORN := --capture native-postgres --machine worn-2g --reclaim moderate --strategy unprotected,$(FEW)

report: $(READY) ## sample captures -> warehouse -> all strategies -> report/
	@$(BIN)/ptpool ingest trace $(SAMPLES) --replace --db $(DB)
	@$(BIN)/ptpool replay run --db $(DB)
	@$(BIN)/ptpool replay run --db $(DB) $(WORN)
	@$(BIN)/ptpool replay contention --db $(DB) > /dev/null
	@$(BIN)/ptpool replay risk --db $(DB) $(RISK) > /dev/null
	@$(BIN)/ptpool replay validate --db $(DB) > /dev/null || [ $$? = 1 ]
	@$(BIN)/ptpool replay validate --db $(DB) --pools data/pools/*/ --seeds 0 > /dev/null || [ $$? = 1 ]
	@$(BIN)/ptpool replay check --db $(DB) --depth 10 > /dev/null || [ $$? = 1 ]
	@$(BIN)/ptpool report build --db $(DB) --out $(OUT)

test: $(READY) ## run the tests
	@$(BIN)/pytest

quick: $(READY) ## run the tests that are not marked slow, in less than two minutes
	@$(BIN)/pytest -m "not slow"

browser: $(READY) ## look at the pages of a report in headless Chromium (Debian: apt install chromium) [PTPOOL_REPORT=report]
	@$(BIN)/pytest -m browser

check: lint test ## format, lint, types, tests: what has to be green before a change lands

lint: $(READY) ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# That every tracked file is in the wheel is a test of test_house.py; the others read rules, queries, figures and
# strategies from where it is installed. None of them compiles the replay loop once more.
WHEEL_TESTS := test_house.py reports/test_build.py ingest/test_golden.py replay/check replay/contract/test_document.py

wheel: $(READY) ## build the wheel and run the tests of what it could lack against it, installed outside the checkout
	@rm -rf dist $(VENV)/wheel
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist . > /dev/null
	@$(PYTHON) -m venv $(VENV)/wheel
	@$(VENV)/wheel/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(VENV)/wheel/bin/pip install --quiet --disable-pip-version-check --no-deps dist/*.whl
	@cd $(VENV)/wheel && bin/python -c 'import ptpool; assert "site-packages" in ptpool.__file__, ptpool.__file__'
	@cd $(VENV)/wheel && bin/pytest -p no:cacheprovider -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) \
		$(addprefix $(CURDIR)/tests/,$(WHEEL_TESTS))

docs: $(READY) ## the generated pages of docs/ and, from the last make report, the figures that README shows
	@for figure in sharedmem-frag-1g/where-the-choice-matters server-16g/direct-map; do [ ! -f $(OUT)/$$figure.svg ] || cp $(OUT)/$$figure.svg docs/; done
	@$(BIN)/ptpool replay describe all --markdown > docs/strategies.md
	@$(BIN)/python -c 'from ptpool.dictionary import markdown; print(markdown())' > docs/tables.md
	@$(BIN)/python -c 'from ptpool.cli import app; from ptpool.manual import manual; print(manual(app))' > docs/commands.md

bench: $(READY) ## throughput of ingest and replay beside what one would otherwise run, as ratios (peers: tests/bench/run.py)
	@$(BIN)/python tests/bench/run.py

fuzz: $(READY) ## mutated inputs for every reader and mutated machines for replays: SECONDS=60 each [TARGETS="ftrace machines"]
	@$(BIN)/python tests/fuzz/campaign.py --seconds $(SECONDS) $(TARGETS)

lab: ## kernels, an emulator and guests from Debian packages, unpacked in LAB=.lab (data/lab/README.md)
	@LAB=$(LAB) data/lab/setup.sh

record: ## record a bundle on a real kernel under emulation: WORKLOAD=fork SEED=1, into LAB=.lab
	@LAB=$(LAB) data/lab/record.sh "$(WORKLOAD)" "$(LAB)/captures/$(WORKLOAD)-$(SEED)" $(SEED)

oracle: $(READY) ## compare random permission changes on real kernels with the model: SEED=1
	@LAB=$(LAB) data/lab/oracle.sh "$(LAB)/sequences" $(SEED)
	@$(BIN)/ptpool replay validate --db $(DB) --sequence $(LAB)/sequences/*.jsonl

lab-pools: ## a kernel whose page tables come from a strategy (data/lab/pools/README.md): ten minutes, once
	@LAB=$(LAB) data/lab/setup.sh pools

record-pools: $(READY) ## record a strategy in that kernel: STRATEGY=pba WORKLOAD=mixed FRAGMENTATION=frag4 [CPUS= MEM= SET=] SEED=1
	@LAB=$(LAB) CPUS=$(CPUS) MEM=$(MEM) SET=$(SET) PYTHON=$(BIN)/python data/lab/pools/record.sh "$(STRATEGY)" "$(WORKLOAD)" \
		"$(FRAGMENTATION)" "$(LAB)/pools/$(STRATEGY)-$(WORKLOAD)-$(FRAGMENTATION)-$(SEED)" $(SEED)

clean: ## remove the virtual environment, the warehouse and the report
	rm -rf $(VENV) $(DB) $(DB).wal $(OUT) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ptpool needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up $(VENV) (about a minute, once)"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; install it (Debian: python3-venv)" >&2; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
