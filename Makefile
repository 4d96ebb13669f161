# make demo     set up everything, then search on a real model and real data
# make test     set up everything, then run the test suite
# make test-all the same with the slow tests
# make kernels  compile every kernel for every kind of GPU; none is needed
# make check    lint, formatting and types
# make docs     write the generated pages anew and build the site into build/site
# make clean    remove what these commands have made

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-all kernels check docs clean

demo: $(VENV)/ready
	cd examples && ../$(BIN)/autopeft search --budget 1%

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup --max-worker-restart 0
	TRITON_INTERPRET=1 $(BIN)/python -m pytest tests/kernels/interpreted

test-all: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup --max-worker-restart 0 -m "slow or not slow"
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -m "slow or not slow" tests/kernels/interpreted

kernels: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m "slow or not slow" tests/kernels/test_ahead.py

check: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/check
	$(BIN)/pip install --quiet --no-deps --target build/check .
	cd build && MYPYPATH=check ../$(BIN)/mypy --strict --config-file ../pyproject.toml -p autopeft

docs: $(VENV)/ready-dev
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache examples/autopeft-runs

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "autopeft needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

$(VENV)/ready-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/ready
