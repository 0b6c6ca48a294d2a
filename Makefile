# What there is to do with a checkout. `make quickstart` and `make test` are all a newcomer needs; both
# want only Python >= 3.11, a C compiler and make, and build $(VENV) for themselves.

VENV ?= .venv
PY := $(VENV)/bin/python
BUILD := engram_core/kernel/backend/engram_build.py
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
PACKAGES := $(wildcard engram engram_core engram_cli)
SOURCES := $(shell find $(PACKAGES) $(wildcard config man completions) -type f \
	! -name '*.so' ! -name '*.pyc' ! -name '*.c' 2>/dev/null)
BENCH ?=
TESTS ?= tests
PYTEST_ARGS ?= -n 2 --dist loadgroup
CYCLES ?= 1000
INPUTS ?= 1000000
APPENDS ?= 10000000
SOAK_SECONDS ?= inf
SECONDS_OF_LOAD ?= 60

# The question of `make quickstart Q="..."`, for the script to read from its environment whatever it holds.
export Q

.PHONY: quickstart test cluster-test torture fuzz soak overload lint bench docs services kernel dist clean
.DELETE_ON_ERROR:

quickstart: $(VENV)/.installed
	@sh examples/quickstart.sh $(VENV)/bin/engram

test: $(VENV)/.editable kernel
	$(PY) -m pytest $(PYTEST_ARGS) $(TESTS)

# The long forms of what tests/faults does in short; see docs/reliability.md.
torture: $(VENV)/.editable kernel
	$(PY) -m tests.faults.torture --cycles $(CYCLES)

# atheris has wheels for some Pythons only; without it the inputs come from hypothesis.
fuzz: $(VENV)/.editable kernel
	-@$(PIP_INSTALL) --only-binary=:all: atheris
	$(PY) -m tests.faults.fuzz --inputs $(INPUTS)

soak: $(VENV)/.editable kernel
	$(PY) -m tests.faults.soak --appends $(APPENDS) --seconds $(SOAK_SECONDS)

overload: $(VENV)/.editable kernel
	$(PY) -m tests.faults.overload --seconds $(SECONDS_OF_LOAD)

# Three nodes of a Galera cluster, three daemons: a minute and a half of a machine that does nothing else, which the
# 15 minutes of the whole check do not have to spare.
cluster-test: $(VENV)/.editable kernel
	@sh .ci/services cluster
	ENGRAM_CLUSTER_TEST=1 $(PY) -m pytest -q tests/cluster

lint: $(VENV)/.editable kernel
	$(PY) -m ruff check .
	$(PY) -m mypy $(PACKAGES)

# Figures are those of an installed wheel, so the checkout must not be on the path: scripts, not -m.
bench: $(VENV)/.installed
	@$(PY) benchmarks $(BENCH)

docs: $(VENV)/.editable kernel
	@for script in $(sort $(wildcard docs/*.py)); do echo "$(PY) $$script"; $(PY) $$script || exit 1; done

services:
	@sh .ci/services

kernel: | $(PY)
	@$(PY) -c 'import Cython, setuptools' 2>/dev/null || $(MAKE) --no-print-directory $(VENV)/.editable
	@$(PY) $(BUILD) kernel

dist: $(VENV)/.editable
	rm -rf dist
	$(PY) -m build --outdir dist .

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis $(VENV)
	rm -f engram_core/kernel/*.so engram_core/kernel/*.c
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@python=$$(sh .ci/find-python) && "$$python" $(BUILD) check && "$$python" -m venv $(VENV)

# The one environment is either editable, for work on Engram, or holds a copy, as a user has it.
$(VENV)/.editable: pyproject.toml $(BUILD) | $(PY)
	@$(PY) $(BUILD) check
	$(PIP_INSTALL) --editable '.[dev]'
	@rm -f $(VENV)/.installed && touch $@

$(VENV)/.installed: pyproject.toml $(SOURCES) | $(PY)
	@$(PY) $(BUILD) check
	$(PIP_INSTALL) .
	@rm -f $(VENV)/.editable && touch $@
