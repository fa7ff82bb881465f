# make demo    set up and run a first search: SrTiO3 with CHGNet on the CPU, no service to install
# make test    set up and run the tests, all but the slow ones
# make help    list the rest
#
# Settings, e.g. `make test PYTHON=python3.12`:
PYTHON      ?= python3
VENV        ?= .venv
EXTRAS      ?= chgnet,dev,optimade,prototypes,qe,sevennet,vasp
PIP_ARGS    ?=
PYTEST_ARGS ?=
TEST_JOBS   ?= 2

# AiiDA keeps its data below these folders, never in ~/.aiida: no profile of the user is touched.
DEMO_PATH := $(CURDIR)/.demo
TEST_PATH := $(CURDIR)/.aiida-test

BIN   := $(VENV)/bin
OURS  := $(VENV)/.made-by-aiida-fuse2
COMMA := ,
STAMP := $(VENV)/.installed-aiida-fuse2-$(subst $(COMMA),-,$(EXTRAS))

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint format docs wheel clean clean-demo

help:
	@printf 'make %-11s %s\n' \
		setup 'make the virtual environment $(VENV) with the versions of constraints.txt' \
		demo 'set up, then run a first search on the embedded storage and broker' \
		test 'set up, then run the tests (some: PYTEST_ARGS="-k slicing"), $(TEST_JOBS) files at a time' \
		test-slow 'set up, then run the tests that take long or need other programs' \
		lint 'set up, then run ruff and mypy' \
		format 'set up, then let ruff format and fix' \
		docs 'set up, then build the documentation in docs/_build/html' \
		wheel 'set up, then build wheel and source distribution in dist, with the kernels for all processors' \
		clean 'remove what the other targets made, except the results of the demo' \
		clean-demo 'remove the results of the demo'

setup: $(STAMP)

# The target is pip and not python, so that an environment that was left half made is made again.
$(BIN)/pip:
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		echo "aiida-fuse2 needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1 || true)" >&2
		echo 'Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)' >&2
		exit 1
	fi
	$(PYTHON) -m venv $(VENV)
	touch $(OURS)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: export AIIDA_PATH := $(DEMO_PATH)
demo: setup
	@mkdir -p $$AIIDA_PATH
	echo "AIIDA_PATH=$$AIIDA_PATH"
	$(BIN)/aiida-fuse2 setup
	$(BIN)/aiida-fuse2 run SrTiO3 --protocol fast --max-atoms 5 --max-structures 20 --population 10
	$(BIN)/aiida-fuse2 structures --output $$AIIDA_PATH/structures --force
	printf '%s\n' '' \
		'The search and everything it made are in the AiiDA profile of this checkout. To use it:' '' \
		'  source $(BIN)/activate' \
		"  export AIIDA_PATH=$$AIIDA_PATH" \
		'  verdi process list --all' \
		'  aiida-fuse2 --help' ''

test test-slow: export AIIDA_PATH := $(TEST_PATH)
test test-slow: export OMP_NUM_THREADS := 1
test test-slow: setup
	@mkdir -p $$AIIDA_PATH
	echo "AIIDA_PATH=$$AIIDA_PATH"
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile $(if $(filter test-slow,$@),-m slow) $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: export AIIDA_PATH := $(TEST_PATH)
docs: setup
	@mkdir -p $$AIIDA_PATH
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# auditwheel finds out on which versions of Linux the kernels load, and says so in the name of the wheel. Without a
# compiler there are no kernels, and the wheel is the same on all machines.
wheel: setup
	@rm -rf dist
	$(BIN)/python -m build --outdir dist
	shopt -s nullglob
	for built in dist/*-linux_*.whl; do
		PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist "$$built"
		rm "$$built"
	done
	ls -l dist

# A daemon that still runs would lose its interpreter or its data.
STOP_DAEMONS = if [ -d $(1) ] && [ -x $(BIN)/verdi ]; then AIIDA_PATH=$(1) $(BIN)/verdi daemon stop --all; fi

clean:
	@$(call STOP_DAEMONS,$(DEMO_PATH))
	$(call STOP_DAEMONS,$(TEST_PATH))
	rm -rf $(TEST_PATH) docs/_build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	if [ -e $(OURS) ]; then rm -rf $(VENV); else rm -f $(VENV)/.installed-aiida-fuse2-*; fi

clean-demo:
	@$(call STOP_DAEMONS,$(DEMO_PATH))
	rm -rf $(DEMO_PATH)
