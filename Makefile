# make benchmark: from nothing to a scored table.   make test: set-up and tests.   make check: all that CI checks.
# make wheel: writes dist/gatito-VERSION-py3-none-any.whl.   make wheel-check: the wheel in a bare environment, tried out.
# make mutants: do the tests of the core notice small faults? An hour or more; it resumes.
# make speed: every measurement against peers and machine, an hour or more.   make speed-check: has anything become slower?
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: benchmark docs test test-slow lint mutants wheel wheel-check speed speed-check check install clean

benchmark: install
	$(BIN)/gatito suite=classic

install: $(INSTALLED)

# torch first and pinned: a looser requirement would fetch whatever build is newest.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "error: gatito needs Python 3.11 to 3.13; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing (some minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	touch $(INSTALLED)

test: install
	$(BIN)/pytest -m "not slow" -n auto --dist loadgroup

test-slow: install
	$(BIN)/pytest -m slow

# Part of test-slow.
wheel-check: install
	$(BIN)/pytest -m slow tests/test_install.py

wheel: install
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The generated parts of the pages are held up to date by a test; `python -m benchmarks.report.docs` draws them anew.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/docs

mutants: install
	$(BIN)/python -m tests.mutants

speed: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[speed]'
	$(BIN)/python -m tests.speed

speed-check: install
	$(BIN)/python -m tests.speed --check

check: test lint docs test-slow speed-check

clean:
	rm -rf $(VENV) build dist *.egg-info
