# make demo: look at boxes in a few minutes. make test: the tests. make lint: ruff and mypy. make docs: site/index.html.
# make bench: how fast, against what (an hour on 2 cores; make bench DATA=... WEIGHTS=... for your own data).
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/installed
BIN := $(VENV)/bin

.PHONY: demo test lint fuzz faults soak audit-deps docs bench clean

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

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(STAMP)  # damaged and hostile files for MINUTES minutes, another seed each time
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py --minutes $(or $(MINUTES),10)

faults: $(STAMP)  # KILLS kills over all commands, full disks, two at once, …; half an hour on an idle core
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults.py --kills $(or $(KILLS),500)

soak: $(STAMP)  # IMAGES pictures, one in twenty broken, through predict and the service
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py --images $(or $(IMAGES),20000)

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
