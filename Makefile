# Two commands for a new machine:  make reproduce   and   make test
#
#   PYTHON       interpreter that makes the environment (default: the first of python3, python3.13 ... that is 3.11-3.13)
#   TORCH_INDEX  package index for the torch step only, e.g. the CPU build's (see README.md); empty: pip's own setting
#   PROFILE      smoke | quick | lite | gpu | paper          JOBS  notebooks executed at a time
#   LAB          folder of the copies that `make lab` opens (default: my-notebooks)
#   ARGS         more words for `oshp-lite reproduce`, e.g. ARGS="--only 03 06"

suits = $(1) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$(call suits,$$p) && { echo $$p; break; }; done)
VENV ?= .venv
TORCH_INDEX ?=
PROFILE ?= quick
JOBS ?= 0
MINUTES ?= 9
WORKERS ?= $(shell n=$$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && n=4; echo $$n)
ARGS ?=
LAB ?= $(CURDIR)/my-notebooks

BIN := $(VENV)/bin
# tests/ has no use for nbval's plugin, and each process that loads it compiles a grammar of web addresses
# glibc gives large blocks back to the system and asks for them anew at every layer; told not to, it saves a twentieth
PYTEST := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:nbval -n $(WORKERS) --dist worksteal
STAMP := $(VENV)/.oshp-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: reproduce test test-fast lint env notebooks solutions book gpu-check doctor lab clean

reproduce: $(STAMP)
	$(BIN)/oshp-lite reproduce --profile $(PROFILE) --jobs $(JOBS) $(ARGS)

test: $(STAMP)
	$(PYTEST) $(PYTEST_ARGS)

test-fast: $(STAMP)
	$(PYTEST) -m "not slow and not notebook and not browser" $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/house.py
	$(BIN)/mypy

env: $(STAMP)

# torch goes first and alone: TORCH_INDEX is for it only, and the rest then finds it there
$(STAMP): pyproject.toml .ci/constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "error: no Python 3.11, 3.12 or 3.13 found; install one or say make PYTHON=/path/to/python"; exit 2; }
	@$(call suits,$(PYTHON)) || { echo "error: $(PYTHON) is not Python 3.11, 3.12 or 3.13"; exit 2; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: $(PYTHON) cannot make a virtual environment; install its venv module (python3-venv)"; exit 2; }
	$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c .ci/constraints.txt torch
	$(PIP) install --quiet -c .ci/constraints.txt -e '.[notebooks,ccp,study,book,export,test]'
	@touch $@

# run every notebook again and keep its outputs; commit notebooks only as this leaves them
notebooks: $(STAMP)
	$(BIN)/python -m oshp_lite.study.execute --in-place notebooks/[0-9]*.ipynb notebooks/solutions/[0-9]*.ipynb

# run the solutions cell by cell; each must print what is committed
solutions: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --nbval --nbval-current-env \
	    --nbval-cell-timeout 600 notebooks/solutions $(PYTEST_ARGS)

# static pages from the notebooks as they are, under reports/book
book: $(STAMP)
	$(BIN)/oshp-lite book $(ARGS)

gpu-check: $(STAMP)
	$(BIN)/oshp-lite bench --device cuda --minutes $(MINUTES) $(ARGS)

doctor: $(STAMP)
	$(BIN)/oshp-lite doctor

# yours to change: the tracked notebooks stay as they are, and a copy that is there already is kept
lab: $(STAMP)
	mkdir -p $(LAB)/solutions
	cd notebooks && for one in *.ipynb solutions/*.ipynb; do test -e "$(LAB)/$$one" || cp "$$one" "$(LAB)/$$one"; done
	$(BIN)/jupyter lab $(LAB)

# data, runs and the environment stay: they are the expensive things
clean:
	rm -rf reports build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +
