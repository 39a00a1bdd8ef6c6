# Two commands: `make quickstart` shows what sonolex does, `make test` checks that it is right.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
NVIDIA := cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13
NVIDIA += nccl-cu13 nvjitlink nvshmem-cu13 nvtx
BUILDS := torch triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,$(NVIDIA))

.PHONY: quickstart test lint bench lock extras clean

quickstart: $(STAMP)
	$(BIN)/sonolex train quickstart --out runs/quickstart
	$(BIN)/sonolex report runs/quickstart

test: $(STAMP) lint
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# torch's build depends on the machine, and sonolex is a folder: they have no hash (see constraints.txt).
$(STAMP): pyproject.toml constraints.txt requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	touch $(STAMP)

# Needs uv, which resolves for every system and Python at once. To upgrade, edit constraints.txt first.
lock:
	printf 'hatchling\neditables\n' | uv pip compile --quiet --universal --python-version 3.11 --extra dev \
		--generate-hashes --no-header --no-annotate --constraint constraints.txt \
		$(addprefix --no-emit-package ,$(BUILDS)) --output-file requirements.txt pyproject.toml -

# Installs sonolex with each extra alone, and uses the extra's feature there. tests/test_extras.py does so without network.
extras:
	$(PYTHON) -m tests.extras_alone --fresh .extras

clean:
	rm -rf $(VENV) .extras runs
