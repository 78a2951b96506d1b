# make demo    simulate slides, label, cut, train, score, report; then the scores
# make test    every check CI runs
# make benchmarks    the cheap ones, each against its peer, beside the committed ratios
# make slurm   what a run on a cluster needs besides
# make test-slurm   the workflow on a Slurm of one node, and what goes wrong there (root; installs Slurm by apt)
# make test-paper    config/paper with all its models and label methods, small, on simulated slides and made-up weights
# make test-faults   every stage killed, out of disk, damaged, twice at once; the table of docs/reliability.md
# make lint    formatting and style only
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# uv installs the same lock faster. torch comes before it by pip, which knows the wheels this machine is configured for.
INSTALL := $(if $(shell command -v uv 2>/dev/null),uv pip install --quiet --python $(BIN)/python,$(PIP))

# On a small machine many one-thread jobs pack better than few of several.
SMALL := --set-threads read_sample=1 cluster_cells=1 label_cells=1 cut_patches=1 predict_patches=1 score_segmentation=1 score_classification=1 segment_slide=1 export_spatialdata=1

.PHONY: demo test test-all benchmarks test-fast test-paper test-faults test-slurm lint lint-types lint-style lint-workflow environment slurm rulegraph clean-demo

# Installed anew when the lock changes; a half-made environment is never taken for whole.
.venv/ready: requirements.lock pyproject.toml setup.py
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "stnuclei needs Python 3.11 to 3.13, this is %d.%d: make PYTHON=python3.11 ..." % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) $$(grep '^torch==' requirements.lock)
	$(INSTALL) -r requirements.lock
	$(PIP) --no-deps -e .
	touch $@

environment: .venv/ready

# Not in every environment: each Snakemake process, a local job's too, imports the executor plugins that are installed.
slurm: environment
	$(PIP) -r requirements-slurm.lock

demo: environment
	@$(BIN)/snakemake --cores $(CORES) $(SMALL) --configfile config/demo/config.yaml
	@$(BIN)/python workflow/scripts/show_results.py demo/results

# One run for all: while the workflow waits for one job, the other processes test the package. A file stays with one
# process, so that what its tests share is made once; tests/conftest.py begins with the workflow. A thread each, and three
# processes for two cores: 677 s in a fresh clone, 804 with two. Types are checked beside the first tests.
test: environment
	$(MAKE) -j2 lint test-all

test-all: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow_dag and not slurm' -n 3 --dist loadfile --no-loadscope-reorder --durations=15

# A busy machine fails none of them: a ratio that fell is for a person to judge, a crash is not.
benchmarks: environment
	$(BIN)/python benchmarks/all.py --quick

test-fast: environment
	$(BIN)/python -m pytest -m 'not dag and not slow_dag and not slurm' -n $(CORES) --dist loadfile

test-paper: environment
	$(BIN)/python -m pytest tests/workflow/test_paper_run.py -m slow_dag --durations=0

test-faults: environment
	cd tests && ../$(BIN)/python -m faults.drill
	STNUCLEI_BATCHES=10000 STNUCLEI_SLIDES=60 $(BIN)/python -m pytest -s tests/training/test_leaks.py tests/prediction/test_leaks.py

# Two processes: the demo with its drills, and the drills that need nothing of it. The daemons end with the tests.
test-slurm: slurm
	tests/slurm/one_node.sh start
	STNUCLEI_SLURM=1 $(BIN)/python -m pytest tests/slurm -m slurm -n 2 --dist loadfile --durations=0; \
	  status=$$?; tests/slurm/one_node.sh stop; exit $$status

lint: lint-types lint-style lint-workflow

lint-types: environment
	$(BIN)/mypy

lint-style: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-workflow: environment
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

rulegraph: environment
	$(BIN)/snakemake --configfile config/demo/config.yaml --rulegraph mermaid-js

clean-demo:
	rm -rf demo
