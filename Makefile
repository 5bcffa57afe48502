# make demo, make test: each sets up what it needs in .venv (Python 3.11 and make are enough) and reuses it next time.
#   PYTHON=...       another interpreter
#   TORCH_ARGS=...   more options for the torch install, e.g. --index-url https://download.pytorch.org/whl/cpu
#                    (Linux without a GPU: saves gigabytes of CUDA packages)
#   PYTEST_ARGS=...  more options for pytest, e.g. -m "not slow"

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_ARGS ?=
PYTEST_ARGS ?=
BIN := .venv/bin
# The environment is rebuilt when what it is made from changes, whatever the files' dates say.
KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
READY := .venv/.ready-$(KEY)

.PHONY: help setup demo test lint types docs bench web web-check clean

help:
	@echo "make demo    made-up hearts: strokes -> training -> masks -> report (about five minutes)"
	@echo "make test    all tests"
	@echo "make lint    ruff, and mypy on the package"
	@echo "make docs    regenerate docs/cli.md and docs/images"
	@echo "make web     rebuild the annotation page from web/ (needs Node 20 or newer; nothing else does)"
	@echo "make bench   list the benchmarks and how to run them"

setup: $(READY)

# torch goes first and everything keeps to constraints.txt: otherwise a newer torch may be chosen.
$(READY):
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed; none was found in PATH."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is older; say: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt $(TORCH_ARGS) torch setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt --no-build-isolation \
		-e '.[dev,dicom,openvino,onnx,sam,annotate,postgresql,tensorboard,mlflow]'
	@rm -f .venv/.ready-*
	@touch $@

demo: $(READY)
	$(BIN)/medcl demo --out demo --overwrite

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python -m medcl.cli.reference docs/cli.md
	test -f demo/scores/report.html || $(BIN)/medcl demo --out demo --overwrite
	$(BIN)/python docs/make_images.py demo

bench: $(READY)
	@$(BIN)/python -c "import ast, pathlib; [print(f'{p}: {(ast.get_docstring(ast.parse(p.read_text())) or str()).splitlines()[0]}') \
		for p in sorted(pathlib.Path('benchmarks').glob('*.py'))]"

web:
	cd web && npm ci && npm run build

# The source of the page type-checks, its unit tests pass, and building it gives the files that are committed.
web-check:
	@command -v npm >/dev/null || { echo "Node is not installed: the annotation page is taken as it is committed, its source is not checked."; exit 0; }; \
	set -e; cd web; npm ci; npm run types; npm test; \
	built=$$(mktemp -d); npx vite build --outDir "$$built" --emptyOutDir; \
	diff -r "$$built" ../src/medcl/annotate/page || { echo "src/medcl/annotate/page is not what web/ builds: run make web and commit it."; exit 1; }; \
	rm -r "$$built"

clean:
	rm -rf .venv build demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
