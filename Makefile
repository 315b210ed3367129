# Every target installs what it needs into .venv first; the stamp makes the second call quick.
# make PYTHON=python3.12 test   another interpreter
# make PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" demo   a torch without CUDA

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.hivelearn-installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt

# Tests and demo use what is on this machine; a lookup on a model hub would only hang or lie.
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format cover docs proof bench clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

install: $(STAMP)  ## .venv with hivelearn, its plots and the tools for work on it

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hivelearn needs Python 3.11 or later: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e '.[dev,docs,plots]'
	$(PIP) --no-deps byzfl # a second opinion in the tests; what it asks for fits no torch without CUDA
	touch $@

demo: $(STAMP)  ## three experts, three processes, one table (about 3 minutes)
	$(BIN)/hivelearn demo --json demo.json --plot demo.png

test: lint  ## everything that must hold before a change lands (at most 12 minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP)  ## style, types, arrows between the rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## what can be mended by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

cover: $(STAMP)  ## the tests once more, with branch coverage
	$(BIN)/python -m pytest --cov --cov-report=term

docs: $(STAMP)  ## the pages and the reference as a site, build/site/index.html; reads no network
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -d build/doctrees . build/site

proof: $(STAMP)  ## long proofs that do not fit into the tests; with the real model, if it is installed
	$(BIN)/python -m pytest -m proof -o faulthandler_timeout=0

bench: $(STAMP)  ## the figures that the README names, into build/
	mkdir -p build
	$(BIN)/python benchmarks/bench_demo.py --quick --json build/bench_demo.json
	$(BIN)/python benchmarks/bench_merge.py --quick --json build/bench_merge.json
	$(BIN)/python benchmarks/bench_lift.py --quick --json build/bench_lift.json

clean:  ## remove what these targets made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
	  .import_linter_cache .hypothesis .coverage demo.json demo.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
