# One virtual environment for everything. `make` alone lists the targets.
PYTHON ?= python3
export PYTHON
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
SOURCES := $(shell find src -name '*.py')
# More arguments for a target, such as: make test ARGS="tests/io -x"
ARGS ?=
# Processes among which `make test` shares out the modules of tests; 0 runs all in one.
WORKERS ?= 2

# Real windows want a display; where there is none, a virtual one.
ifeq ($(shell uname -s)$(DISPLAY)$(WAYLAND_DISPLAY),Linux)
    IN_DISPLAY := xvfb-run -a -s "-screen 0 1920x1080x24"
endif

.PHONY: help install demo test lint docs pictures wheel bench clean

help:
	@echo "make demo    segment a sample image; a window opens where there is a display"
	@echo "make test    run all tests"
	@echo "make lint    ruff, mypy, import contracts and circles, docstrings, the plugin's manifest"
	@echo "make docs    build the documentation into site/; a warning is an error"
	@echo "make pictures  take the pictures of the documentation again"
	@echo "make wheel   build a wheel into dist/"
	@echo "make bench   run the benchmarks"
	@echo "make clean   remove $(VENV) and all caches"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml .ci/system-libraries
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, got {sys.version.split()[0]}: make PYTHON=python3.12")'
	.ci/system-libraries
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --editable ".[all]" --group dev
	touch $@

demo: $(INSTALLED)
	$(BIN)/napari-foundseg demo $(ARGS)

test: $(INSTALLED)
	$(IN_DISPLAY) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: lint-ruff lint-format lint-types lint-imports lint-structure lint-docstrings lint-manifest

.PHONY: lint-ruff lint-format lint-types lint-imports lint-structure lint-docstrings lint-manifest
lint-ruff: $(INSTALLED)
	$(BIN)/ruff check .
lint-format: $(INSTALLED)
	$(BIN)/ruff format --check .
lint-types: $(INSTALLED)
	$(BIN)/mypy
lint-imports: $(INSTALLED)
	$(BIN)/lint-imports
lint-structure:
	$(PYTHON) .ci/check_structure.py
lint-docstrings: $(INSTALLED)
	$(BIN)/numpydoc lint $(SOURCES)
lint-manifest: $(INSTALLED)
	NAPARI_CONFIG=$(abspath $(VENV))/napari-settings.yaml $(BIN)/npe2 validate --imports napari-foundseg

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: $(INSTALLED)
	$(IN_DISPLAY) $(BIN)/python docs/pictures.py $(ARGS)

wheel: $(INSTALLED)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

bench: $(INSTALLED)
	$(IN_DISPLAY) $(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build site src/*.egg-info
