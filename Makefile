# The verbs. Each sets up what it needs in .venv (1.4 GB, most of it torch); a fresh machine needs Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable

.PHONY: demo test lint test-all clean
demo: .venv/ready  ## stream a bundled recording through a real server, live captions in the terminal
	@$(BIN)/earshot demo

test: lint  ## lint, types, tests
	@$(BIN)/python -m pytest --quiet --numprocesses auto --maxprocesses 8

lint: .venv/ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test-all: lint  ## also what is slow, wants a GPU, a microphone or a browser; says what it skips, and what that needs
	@$(BIN)/python -m pytest --quiet --numprocesses auto --maxprocesses 8 -rs --override-ini addopts=--strict-markers

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Earshot needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@echo "setting up .venv (1.4 GB, most of it torch: this takes a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/ready: .venv/python pyproject.toml .ci/constraints.txt
	@$(INSTALL) .
	@touch $@

.venv/ready-dev: .venv/python pyproject.toml .ci/constraints.txt
	@$(INSTALL) '.[dev]'
	@touch .venv/ready $@
