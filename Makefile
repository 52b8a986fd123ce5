# make, or make help, says what there is.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/installed
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint format fuzz faults soak soak-watch coverage mutants audit-deps constraints docs docs-serve notebooks bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "weakspot needs Python 3.11 or newer; make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps label-studio-sdk==2.1.2  # for a test; see pyproject.toml
	touch $@

demo: $(STAMP)  ## look at boxes in a few minutes
	$(BIN)/weakspot demo

test: $(STAMP)  ## the tests, one thread in each of several processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test-fast: $(STAMP)  ## without those that train several models, or start a browser, a cluster or other programs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow'

lint: $(STAMP)  ## style, types, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy

format: $(STAMP)  ## lay the code out, and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: $(STAMP)  ## damaged and hostile files for MINUTES minutes, another seed each time
	OMP_NUM_THREADS=1 $(BIN)/python tests/robustness/fuzz.py --minutes $(or $(MINUTES),10)

faults: $(STAMP)  ## KILLS kills over all commands, full disks, two at once, …; half an hour on an idle core
	OMP_NUM_THREADS=1 $(BIN)/python tests/robustness/faults.py --kills $(or $(KILLS),500)

soak: $(STAMP)  ## IMAGES pictures, one in twenty broken, through predict and the service
	OMP_NUM_THREADS=1 $(BIN)/python tests/robustness/soak.py --images $(or $(IMAGES),20000)

soak-watch: $(STAMP)  ## IMAGES pictures to a watcher that is killed KILLS times, with its broker restarted
	OMP_NUM_THREADS=1 $(BIN)/python tests/robustness/soak_watch.py --images $(or $(IMAGES),20000) --kills $(or $(KILLS),50)

coverage: $(STAMP)  ## which lines and branches the tests run; about twice as long as make test
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --fail-under=95 --include='$(CORE)'

CORE := */weakspot/types.py,*/weakspot/postprocess/boxes.py,*/weakspot/postprocess/box_calibration.py,*/weakspot/metrics/*,*/weakspot/postprocess/predictions.py,*/weakspot/data/splits.py,*/weakspot/data/readers.py

mutants: $(STAMP)  ## small faults put into the numbers one at a time; each must fail a test
	OMP_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

audit-deps: $(STAMP)  ## known holes in what is installed; asks a public service
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

constraints: $(STAMP)  ## constraints.txt anew, from what is installed; best after make clean
	$(BIN)/python -m pip freeze --exclude-editable > $(VENV)/frozen
	grep -v -E ' @ |^(weakspot|label-studio-sdk)=|^(nvidia|cuda)-|^triton=' $(VENV)/frozen \
	  | sed -E 's/^torch(vision)?==/# &/' | LC_ALL=C sort -f > $(VENV)/pins
	sed -n -e '/^# torch/q' -e '/^#/p' constraints.txt > $(VENV)/head
	cat $(VENV)/head $(VENV)/pins > constraints.txt

docs: $(STAMP)  ## site/index.html
	$(BIN)/mkdocs build --strict

docs-serve: $(STAMP)  ## the documentation in a browser, following what is written
	$(BIN)/mkdocs serve

notebooks: $(STAMP)  ## the notebooks in a browser, on the run made last (RUN=outputs/... for another)
	$(BIN)/python -m pip install --quiet --editable '.[lab]'
	$(if $(RUN),WEAKSPOT_RUN=$(abspath $(RUN))) $(BIN)/jupyter lab --notebook-dir notebooks

bench:  ## how fast, against what; more than an hour on 2 cores (DATA=... WEIGHTS=... for your own data)
	$(PYTHON) -m venv $(VENV)-bench  # of its own: what is compared with brings another build of OpenCV
	$(VENV)-bench/bin/python -m pip install --quiet --editable '.[dev,peers]'
	$(VENV)-bench/bin/python benchmarks/run_all.py $(DATA) $(if $(WEIGHTS),--weights $(WEIGHTS)) --output benchmarks/results.md

clean:  ## what make made, the environment too
	rm -rf $(VENV) $(VENV)-bench build dist site .pytest_cache .mypy_cache .ruff_cache
