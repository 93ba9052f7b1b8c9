# PYTHON may name another interpreter, e.g. make test PYTHON=3.14
PYTHON ?= >=3.12,<3.15
# The number of test processes; each starts a PostgreSQL and a Valkey.
WORKERS ?= 2
SHARED := --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
STAMP := .venv/.requirements

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)
# Bytecode saves seconds at each start of NetBox, and the tests start it some 90 times.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo shell test test-fast test-shuffled fuzz audit bench chaos pgbouncer profile screenshots lint docs messages netbox dist lock clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

demo: $(STAMP)  ## Run NetBox with this plugin and sample data (PORT=8000)
	@exec python -m tests.stack demo

shell: $(STAMP)  ## Open NetBox's shell on the database of the running demo
	@exec python -m tests.stack shell

# Benchmarks run alone: they compare times.
test: $(STAMP)  ## Run the tests (ARGS="-k name")
ifdef ARGS
	@exec pytest $(ARGS)
else
	@status=0; pytest $(SHARED) -m "not benchmark" || status=$$?; \
	    pytest -m benchmark || status=$$?; exit $$status
endif

test-fast: $(STAMP)  ## Run the tests of the daily loop: in one process each, and what is at risk
	@exec pytest -m fast $(SHARED) $(ARGS)

test-shuffled: $(STAMP)  ## Run those of the daily loop in another order each time (ARGS="--randomly-seed=7")
	@exec pytest -m fast -p randomly $(SHARED) $(ARGS)

fuzz: $(STAMP)  ## Ask the API 10,000 things that nobody would (ARGS="--cases 100000 --seed 7")
	@exec python -m tests.fuzz $(ARGS)

audit: $(STAMP)  ## Look for known weaknesses, in the code and in what it uses (asks PyPI)
	@exec python -m tests.security.audit

bench: $(STAMP)  ## Measure against NetBox itself, into build/bench.json (ARGS="--only rest")
	@mkdir -p build
	@exec python -m tests.benchmarks --json build/bench.json $(ARGS)

chaos: $(STAMP)  ## Kill servers under load and look for what was lost, 15 minutes (ARGS="--only postgresql")
	@exec python -m tests.chaos $(ARGS)

pgbouncer: $(STAMP)  ## Run all concurrency tests through PgBouncer
	@exec env DB_POOLER=pgbouncer pytest tests/concurrency $(ARGS)

profile: $(STAMP)  ## Show where the time of an allocation goes (ARGS="--calls 100")
	@exec python -m tests.benchmarks.profile $(ARGS)

screenshots: $(STAMP)  ## Take the pictures of the README again, into docs/images
	@exec python -m tests.screenshots

lint: $(STAMP)  ## Check style, layers and missing migrations
	ruff check
	ruff format --check
	lint-imports
	DEVELOPER=true python -m tests.stack run netbox makemigrations --check --dry-run netbox_vlan_manager

netbox: $(STAMP)  ## Put another NetBox into .venv (NETBOX="netbox==4.7.*")
	$(UV) pip install --quiet --python .venv --upgrade-package netbox "$(NETBOX)"

dist: $(STAMP)  ## Build the wheel and the sdist into dist/
	rm -rf dist
	$(UV) build --quiet --no-build-isolation --python .venv --out-dir dist

docs: $(STAMP)  ## Build the documentation into build/site
	@exec zensical build --strict

messages: $(STAMP)  ## Collect the texts for translators again; needs GNU gettext
	@command -v xgettext >/dev/null || { echo "GNU gettext is needed (Debian: gettext)" >&2; exit 1; }
	@mkdir -p netbox_vlan_manager/locale
	@cd netbox_vlan_manager && django-admin makemessages --locale en --no-location --no-obsolete

lock: | $(filter .uv/bin/uv,$(UV))  ## Remake the lock file with the newest versions
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.12 \
	    pyproject.toml --group dev -o requirements-dev.txt
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --python-version 3.12 \
	    --constraint requirements-dev.txt docker/requirements.in -o docker/requirements.txt
	$(UV) pip compile --quiet --no-deps --generate-hashes --no-header \
	    tests/integrations/requirements.in -o tests/integrations/requirements.txt

clean:  ## Remove what these targets made
	rm -rf .venv .uv build dist *.egg-info

# The project's own build is not isolated: setuptools comes from the lock file like the rest.
$(STAMP): requirements-dev.txt | $(filter .uv/bin/uv,$(UV))
	@$(UV) venv --quiet --clear --python "$(PYTHON)" .venv 2>/dev/null || \
	    { echo "Python 3.12, 3.13 or 3.14 is needed: install one, or name one with make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing NetBox and the tools into .venv: a minute or two" >&2
	@$(UV) pip sync --quiet --python .venv --require-hashes requirements-dev.txt
	@$(UV) pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
	@touch $@

.uv/bin/uv:
	@python3 -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv || \
	    { rm -rf .uv; echo "uv is needed and could not be installed with pip: install it, then run make again" >&2; exit 1; }
