# The virtual environment is made by the first target that needs it. Variables:
#   PYTHON       the interpreter it is made with
#   TORCH_INDEX  a package index to take PyTorch from; the default build carries CUDA (several gigabytes).
#                CPU only: make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
#   VENV         where the environment is
#   ARGS         more options for bnstudy: make lr-sweep ARGS="--profile smoke"
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ABLATIONS := $(subst _,-,$(patsubst ablations/%.py,%,$(wildcard ablations/[a-z]*.py)))

.PHONY: help setup figures report test lint check clean $(ABLATIONS)

help:
	@echo "make setup      install into $(VENV)"
	@echo "make ABLATION   run one, quick profile: $(ABLATIONS)"
	@echo "make figures    draw the figures again from the ledgers"
	@echo "make report     paper/report.html and .pdf from the ledgers of the study of record"
	@echo "make test       run the tests"
	@echo "make check      ruff, mypy (make lint) and the tests"
	@echo "make clean      remove the environment and caches; results stay"

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install torch torchvision --index-url $(TORCH_INDEX))
	$(BIN)/pip install --editable ".[dev]"
	@touch $@

$(ABLATIONS): $(STAMP)
	$(BIN)/bnstudy run $@ $(ARGS)

figures: $(STAMP)
	$(BIN)/bnstudy figures $(ARGS)

report: $(STAMP)
	$(BIN)/bnstudy report $(ARGS)
	$(BIN)/bnstudy report --lang zh $(ARGS)

test: $(STAMP)
	$(BIN)/pytest -n auto -m "not alone"
	$(BIN)/pytest -m alone

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
