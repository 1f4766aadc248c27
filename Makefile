# `make demo` and `make test` do everything on a fresh machine: each makes .venv where there is none.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.kdzoo-installed
PYTEST := $(BIN)/python -m pytest --quiet --numprocesses auto --dist worksteal
# TensorFlow keeps some MB of every model that was trained for as long as a process lives, so these
# tests, which train most of them, have processes of their own.
MODEL_TESTS := tests/compression tests/distillation
RECIPE_TESTS := tests/experiments tests/tools
# JAX keeps what it has compiled.
JAX_MODEL_TESTS := tests/distillation tests/experiments tests/graph tests/losses
OTHER_TESTS := tests $(patsubst %,--ignore=%,$(MODEL_TESTS) $(RECIPE_TESTS))

# TensorFlow leaves oneDNN off on x86 processors without any of these, where it takes half of the time
# away; what is set stays.
CPUINFO ?= /proc/cpuinfo
LEFT_OFF := $(shell grep -m1 '^flags' $(CPUINFO) 2>/dev/null | grep -cvE 'avx512_vnni|avx512_bf16|avx_vnni|amx_')
ifeq ($(origin TF_ENABLE_ONEDNN_OPTS)$(LEFT_OFF),undefined1)
export TF_ENABLE_ONEDNN_OPTS := 1
endif

.PHONY: help demo test large benchmark estimate zoo zoo-estimate cards docs-tables clean

help:
	@echo "make demo          teach a small network, convert it, print the table; about a minute once installed"
	@echo "make test          the whole suite: lint, types, TensorFlow, JAX"
	@echo "make large         the tests that take minutes or need a prepared data set"
	@echo "make benchmark     one distillation step against its peers, images/s and memory"
	@echo "make estimate      what is left to train of every recipe, and about how long that takes"
	@echo "make zoo           train and publish all pretrained models anew; goes on in runs/ where it was stopped"
	@echo "make zoo-estimate  what is left to train for the zoo, and how long that takes"
	@echo "make cards         write the zoo's cards anew from zoo_weights/manifest.json"
	@echo "make docs-tables   write the tables of the docs and the README anew from results/ and the manifest"
	@echo "make clean         remove what builds and tests leave; .venv and runs/ stay"
	@echo "PYTHON=python3.12 make ...  chooses the Python that .venv is made with (3.11 or newer)"

demo: $(INSTALLED)
	@$(BIN)/kdzoo demo

test: $(INSTALLED)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/python -m mypy
	@echo "Backend: TensorFlow, in three parts"
	@KERAS_BACKEND=tensorflow $(PYTEST) $(MODEL_TESTS)
	@KERAS_BACKEND=tensorflow $(PYTEST) $(RECIPE_TESTS)
	@KERAS_BACKEND=tensorflow $(PYTEST) $(OTHER_TESTS)
	@echo "Backend: JAX, in two parts"
	@KERAS_BACKEND=jax $(PYTEST) $(JAX_MODEL_TESTS)
	@KERAS_BACKEND=jax $(PYTEST) tests $(JAX_MODEL_TESTS:%=--ignore=%)

large: $(INSTALLED)
	@KERAS_BACKEND=tensorflow $(BIN)/python -m pytest --quiet -m large
	@KERAS_BACKEND=jax $(BIN)/python -m pytest --quiet -m large tests/test_without_tensorflow.py
	@KERAS_BACKEND=jax $(BIN)/python -m pytest --quiet -m large_on_jax

benchmark: $(INSTALLED)
	@$(BIN)/python benchmarks/distiller_step

estimate: $(INSTALLED)
	@$(BIN)/python -m tools.estimate_recipes

zoo: $(INSTALLED)
	@$(BIN)/python -m tools.train_zoo --anew
	@$(BIN)/python -m tools.cards
	@$(BIN)/python -m tools.docs_tables

zoo-estimate: $(INSTALLED)
	@$(BIN)/python -m tools.train_zoo --estimate

cards: $(INSTALLED)
	@$(BIN)/python -m tools.cards

docs-tables: $(INSTALLED)
	@$(BIN)/python -m tools.docs_tables

clean:
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	@find kdzoo tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Again only when the dependencies may have changed: the package itself is installed editable.
$(INSTALLED): setup.cfg pyproject.toml
	@echo "Installing kdzoo into .venv (once; some minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[test,jax,report]'
	@touch $@
