# make demo     from a fresh machine to a finished, exported study on real data (needs Python >= 3.11 and make)
# make test     unit and integration tests, and a sample of the faults (some eight minutes on 2 cores)
# make slow     the other tests: whole studies, services, browsers, clusters (about half an hour on 2 cores)
# make check    format, lint, types, the laws on imports, and the tests
# make faults   all kills, crashes, outages, full disks and damaged files, as CI runs them
# make faults-long  the same with ten times as many of each, drawn anew every time (hours)
# make bench    this project beside its peers, in one table (some minutes)
# make gpu-wheels  what a machine with torch but without a network needs for benchmarks/gpu_check.sh, in gpu-wheels/
# make format   put the code in the project's format
# make clean    remove what make has made; studies, databases and exports stay
#
# Everything sets up .venv first; done once, that costs nothing. Two variables, if you need them:
#   PYTHON=python3.12   the Python that .venv is made with
#   TORCH_INDEX=...     where torch comes from: the address of PyTorch's CPU wheels, on the page "Get started" of pytorch.org
#                       behind --index-url. On Linux without an NVIDIA GPU it saves gigabytes of CUDA libraries.

PYTHON ?= python3
TORCH_INDEX ?=
GPU_PYTHON ?= 3.12

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := PYTHONWARNINGS=ignore $(PIP) install --quiet --constraint constraints.txt

# The stamp holds the folder it was made for: a .venv that was moved or copied (its scripts name the old place) is made anew, and so is
# one whose Python has gone.
STAMP := $(VENV)/.installed
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat $(STAMP) 2>/dev/null),$(CURDIR))
STALE := stale
endif

# Where this is set, as in many images, every process compiles the tuner's modules anew: a tenth of the tests' time.
unexport PYTHONDONTWRITEBYTECODE

DEMO := search_spaces/digits.yaml
DEMO_EXPORT := best

.PHONY: demo test slow faults faults-long bench gpu-wheels check format clean format-check lint types imports stale
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/tuner run $(DEMO) --set search.trials=40
	@if [ ! -e $(DEMO_EXPORT) ] || grep -qs '^name: digits' $(DEMO_EXPORT)/config.yaml; then \
		$(BIN)/tuner export digits $(DEMO_EXPORT) --force; \
	else echo "$(DEMO_EXPORT)/ holds something else and was left alone: $(BIN)/tuner export digits FOLDER"; fi
	@echo
	@echo "Browse the study in MLflow:  $(BIN)/tuner dashboard"

TESTS := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --hypothesis-profile repeated --ignore tests/faults

# The faults come after the tests: some of them start processes of their own for both cores.
# tests/PLACES.md says which command runs which test. Where `faults` is made as well, their sample is left out.
test: $(STAMP)
	$(TESTS) -m "not long and not slow"
	$(if $(filter faults,$(MAKECMDGOALS)),,TUNER_FAULTS=sample $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m sample tests/faults)

slow: $(STAMP)
	$(TESTS) -m "slow and not long"

faults: $(STAMP)
	TUNER_FAULTS=ci $(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/faults
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/faults -m long

faults-long: $(STAMP)
	TUNER_FAULTS=long $(BIN)/python -m pytest tests/faults

bench: $(STAMP)
	$(BIN)/python benchmarks/bench.py

gpu-wheels: $(STAMP)
	PYTHON=$(BIN)/python benchmarks/gpu_wheels.sh $(GPU_PYTHON)

check: format-check lint types imports test

format: $(STAMP)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

format-check: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports --no-logo

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find tuner tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f tuner/learning/compiled/*.so

# `.installing` stands from the first step to the last, when it becomes the stamp: what was interrupted begins again from nothing.
$(STAMP): pyproject.toml constraints.txt $(wildcard tuner/learning/compiled/*.?pp) $(STALE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) must be Python 3.11 or newer, got: $$($(PYTHON) --version 2>&1 || true). Another one: make PYTHON=python3.12" >&2; exit 1; }
	@if [ -e $(VENV)/.installing ] || ! $(BIN)/python -c '' 2>/dev/null || { \
		[ -e $(STAMP) ] && [ "$$(cat $(STAMP))" != "$(CURDIR)" ]; }; then rm -rf $(VENV); fi
	@rm -f $(STAMP) && mkdir -p $(VENV) && echo "$(CURDIR)" > $(VENV)/.installing
	@echo "Setting up $(VENV) with the versions of constraints.txt; this is done once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) pip setuptools
	@$(if $(TORCH_INDEX),$(INSTALL) --no-deps --index-url $(TORCH_INDEX) torch,$(notice_cuda))
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@mv $(VENV)/.installing $(STAMP)

# Only a notice: it looks at what pip would take for torch, without taking it.
define notice_cuda
[ "$$(uname)" != Linux ] || [ -e /dev/nvidiactl ] || $(PIP) show --quiet torch 2>/dev/null || \
	if $(INSTALL) --dry-run --no-deps --report - torch 2>/dev/null | grep -qE '"(nvidia|cuda)-'; then \
		echo "NOTE: no NVIDIA GPU is seen here, but pip takes torch's CUDA build (gigabytes). To avoid it: make clean, then TORCH_INDEX=... (see Makefile)." >&2; fi
endef

stale:
