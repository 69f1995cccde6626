# Everything that a developer or CI calls.  Each target is one or two lines; the work is in tools/.
#   make test ARGS='-k cookies'      passes options on to pytest
.DEFAULT_GOAL := help
.PHONY: help setup run test test-strict bench lint types docs docs-check policies load-order check lock clean
SHELL := /bin/bash
PYTHON := .venv/bin/python
ARGS ?=

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)$$/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
	    printf '  make %-12s %s\n' "$$name" "$$text"; done

setup:  ## make or refresh .venv from the lock; name the system packages that are missing
	@bash tools/setup.sh

run: setup  ## show foxden at work
	@.venv/bin/foxden demo

test: setup  ## every test, as this user and, when this is root, as an ordinary user too
	@bash tools/test.sh $(ARGS)

test-strict: export FOXDEN_TEST_STRICT := 1
test-strict: test  ## the same, and a test skipped for want of something fails

bench: setup  ## measure
	@$(PYTHON) -m bench $(ARGS)

lint: setup  ## style
	@$(PYTHON) -m ruff check

types: setup  ## annotations
	@$(PYTHON) -m mypy

docs: setup  ## write the reference pages from the tables
	@$(PYTHON) tools/make_docs.py

docs-check: setup  ## fail when a reference page, a compiled policy or the order of loading is older than the tree
	@$(PYTHON) tools/make_docs.py --check
	@$(PYTHON) tools/compile_policies.py --check
	@$(PYTHON) tools/make_load_order.py --check

policies: setup  ## compile the policies that `foxden run` reads: after a change of one, or of the sets
	@$(PYTHON) tools/compile_policies.py

load-order: setup  ## write down anew what fork servers load: after a change of an import
	@$(PYTHON) tools/make_load_order.py

check: lint types docs-check test  ## all that must hold before a change lands

lock: setup  ## write requirements.lock anew and try it for every Python (needs the package index)
	@$(PYTHON) tools/lock.py $(ARGS)

clean:  ## remove what building and testing left; .venv stays
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info bench/results.json
	@find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +
