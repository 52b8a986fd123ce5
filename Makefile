# make demo: look at boxes in a few minutes. make test: the tests (make test-fast: the quick ones, in two minutes).
# make lint: ruff and mypy. make docs: site/index.html.
# make bench: how fast, against what (an hour on 2 cores; make bench DATA=... WEIGHTS=... for your own data).
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/installed
BIN := $(VENV)/bin

.PHONY: demo test test-fast lint fuzz faults soak coverage mutants audit-deps docs bench clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "weakspot needs Python 3.11 or newer; make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps label-studio-sdk==2.1.2  # for a test; see pyproject.toml
	touch $@

demo: $(STAMP)
	$(BIN)/weakspot demo

test: $(STAMP)  # one thread in each of several processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test-fast: $(STAMP)  # without those that train several models, start a browser or a cluster, or take seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow'

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(STAMP)  # damaged and hostile files for MINUTES minutes, another seed each time
	OMP_NUM_THREADS=1 $(BIN)/python tests/robustness/fuzz.py --minutes $(or $(MINUTES),10)

faults: $(STAMP)  # KILLS kills over all commands, full disks, two at once, …; half an hour on an idle core
	OMP_NUM_THREADS=1 $(BIN)/python tests/robustness/faults.py --kills $(or $(KILLS),500)

soak: $(STAMP)  # IMAGES pictures, one in twenty broken, through predict and the service
	OMP_NUM_THREADS=1 $(BIN)/python tests/robustness/soak.py --images $(or $(IMAGES),20000)

coverage: $(STAMP)  # which lines and branches the tests run; about twice as long as make test
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --fail-under=95 --include='$(CORE)'

CORE := */weakspot/types.py,*/weakspot/ops/*,*/weakspot/postprocess/boxes.py,*/weakspot/postprocess/box_calibration.py,*/weakspot/metrics/*,*/weakspot/postprocess/predictions.py,*/weakspot/data/splits.py,*/weakspot/data/readers.py

mutants: $(STAMP)  # small faults put into the numbers one at a time; each must fail a test
	OMP_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

audit-deps: $(STAMP)  # known holes in what is installed; asks a public service
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python benchmarks/run_all.py $(DATA) $(if $(WEIGHTS),--weights $(WEIGHTS)) --output benchmarks/results.md

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache
