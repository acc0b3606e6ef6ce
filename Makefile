# make demo | test | test-patched | check | docs | bench: each makes .venv first if need be.
# PYTHON says which interpreter .venv is made with (another one makes it anew); ARGS goes to pytest.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# The interpreter is part of the stamp's name, so that `make test PYTHON=python3.13` does not use a .venv of another.
STAMP := $(VENV)/.installed-$(subst /,_,$(subst ~,_,$(PYTHON)))
PIP := $(BIN)/python -m pip --disable-pip-version-check

# What mypy looks at: folders without a Python file in them would be an error.
CODE := $(foreach dir,ring supervisor processhub tests examples benchmarks,$(if $(shell find $(dir) -name '*.py' 2>/dev/null),$(dir)))
BENCHMARKS := $(basename $(notdir $(wildcard benchmarks/[a-z]*.py)))

.PHONY: help venv demo test test-patched check lint types house docs bench format clean

help:
	@echo "make demo    run examples/wordcount.py"
	@echo "make test    run the tests            (make test ARGS='tests/ring -x')"
	@echo "make test-patched    run them in an interpreter that gevent has patched first"
	@echo "make check   lint, formatting, types, the house rules and docs: what CI runs beside the tests"
	@echo "make docs    build docs/ into build/docs; fails on links that lead nowhere"
	@echo "make bench   run every benchmark; each prints JSON lines"
	@echo "make format  let ruff rewrite what 'make check' would complain about"
	@echo "make venv    only make .venv"
	@echo "make clean   remove .venv and all that was generated"

venv: $(STAMP)

demo: $(STAMP)
	@$(BIN)/python examples/wordcount.py

test: $(STAMP)
	@$(BIN)/python -m pytest $(ARGS)

# In parts, like test: make test-patched ARGS=tests/supervisor
test-patched: $(STAMP)
	@$(BIN)/python -m tests.patched $(ARGS)

check: lint types house docs
	@echo "check: all is well"

lint: $(STAMP)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .

types: $(STAMP)
	@$(BIN)/mypy --no-error-summary $(CODE)

house: $(STAMP)
	@$(BIN)/python -m pytest -q tests/test_house.py

# Not --quiet: it does not count the warnings, which must fail the build.
docs: $(STAMP)
	@$(BIN)/properdocs build --clean --config-file properdocs.yml

# From the root with -m, so that benchmarks may share a module: `from benchmarks._harness import ...`.
bench: $(STAMP)
	@set -e; for name in $(BENCHMARKS); do echo "# $$name" >&2; $(BIN)/python -m benchmarks.$$name; done

format: $(STAMP)
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

clean:
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "ProcessHub needs Python 3.10 or later")'
	@echo "Setting up $(VENV) (once, about a minute) ..." >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install -qq -e '.[dev]'
	@touch $@
