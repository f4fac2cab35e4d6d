# Everything alone: each target makes its own environment in .venv, builds the native core and runs.
# Needs Python 3.11 or newer, g++ and make; CMake and Ninja come from PyPI.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What the extension is built from: a change makes the next target rebuild it.
NATIVE := CMakeLists.txt pyproject.toml $(shell find native -name '*.h' -o -name '*.cc' -o -name '*.txt')

.PHONY: help venv test lint demo bench sanitize soak fuzz test-tf peer format clean

help:
	@grep -E '^## ' Makefile | sed 's/^## //'

## make venv      the environment and the native core alone
venv: $(VENV)/.built

$(VENV)/.made:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "kvarn needs Python 3.11 or newer, this is " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "scikit-build-core>=0.11" "nanobind>=2.9" "cmake>=3.26" ninja "setuptools>=70.1"
	touch $@

$(VENV)/.built: $(VENV)/.made $(NATIVE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[cli]'
	touch $@

$(VENV)/.test: $(VENV)/.built
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[test]' 'clang-format==19.*'
	touch $@

$(VENV)/.demo: $(VENV)/.built
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[demo]'
	touch $@

## make test      lint, types, layers and all tests
test: lint
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

## make lint      ruff, clang-format, mypy, import-linter
lint: $(VENV)/.test
	$(BIN)/ruff check src tests examples bench tools fuzz
	$(BIN)/ruff format --check src tests examples bench tools fuzz
	$(BIN)/clang-format --dry-run --Werror $$(find native -name '*.h' -o -name '*.cc')
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

## make demo      train on real flights, kill, restore, finish, show; a PNG at the end
demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

## make bench     speed and size against the bare machine (and TensorFlow 1.15 with PY_TF115=its python)
bench: $(VENV)/.built
	$(BIN)/python bench/run.py

## make sanitize  the native tests under ASan and UBSan, and again under TSan
sanitize: $(VENV)/.made
	for preset in asan tsan; do \
	  PATH="$(abspath $(BIN)):$$PATH" cmake --preset $$preset && \
	  PATH="$(abspath $(BIN)):$$PATH" cmake --build --preset $$preset && \
	  PATH="$(abspath $(BIN)):$$PATH" ctest --preset $$preset || exit 1; \
	done

## make soak      the table's state machine, native against reference: STEPS of it (2 million: 12 minutes on each of two cores)
STEPS ?= 2000000
soak: $(VENV)/.test
	KVARN_STATE_STEPS=$(STEPS) $(BIN)/python -m pytest -q -n 2 -rP tests/property/test_embedding_table.py

## make fuzz      coverage-guided fuzzing of everything that parses files; RUNS each (needs clang for the native ones)
RUNS ?= 100000
fuzz: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[fuzz]'
	$(BIN)/python fuzz/run.py --target all --runs $(RUNS)

## make test-tf   tests that compare with a real TensorFlow 2.x (downloads it)
test-tf: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[test-tf]'
	$(BIN)/python -m pytest -q -m tf

## make peer      TensorFlow 1.15.5's own tests under kvarn; TREE=<its source tree>, ONLY=<glob over files>
ONLY ?= *
peer: $(VENV)/.test
	$(BIN)/python tests/peer/run.py --source "$(TREE)" --only '$(ONLY)'

## make format    ruff and clang-format, in place
format: $(VENV)/.test
	$(BIN)/ruff check --fix src tests examples bench tools fuzz
	$(BIN)/ruff format src tests examples bench tools fuzz
	$(BIN)/clang-format -i $$(find native -name '*.h' -o -name '*.cc')

## make clean     remove the environment and everything built
clean:
	rm -rf $(VENV) build dist demo_output .hypothesis .mypy_cache .pytest_cache .ruff_cache
