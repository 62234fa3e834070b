# Everything a bare machine with Python and make needs: the environment is made on first use.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
# Contracts, oracles and parts by themselves: run with every shape and type checked.
TYPED := tests/contracts tests/acting tests/learning/test_oracle.py \
  $(addprefix tests/data/test_,entries.py episode.py normalizer.py statistics.py) \
  $(addprefix tests/diffusion/test_,adjoint.py denoiser.py guide.py networks.py sampler.py schedule.py) \
  tests/objectives/test_matching.py tests/rewards/test_models.py

.PHONY: demo test test-fast test-slow check sbom release audit try-release docs pretrained pretrained-maze pretrained-policies \
  pretrained-halfcheetah clean

demo: $(INSTALLED)        ## learn a reward on U-Maze and write runs/demo/report/index.html
	$(BIN)/trailward demo --out runs/demo

test: .venv/.dev          ## every check: lint, types, import order, tests
	$(MAKE) --jobs=2 --output-sync=line check test-fast

test-fast: .venv/.dev     ## the tests alone, but for those that take minutes
	$(PYTEST) -m "not slow" --jaxtyping-packages=trailward,beartype.beartype $(TYPED)
	$(PYTEST) -m "not slow" $(TYPED:%=--ignore=%)

test-slow: .venv/.dev     ## the tests that take minutes
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python benchmarks/audit.py & $(BIN)/pyright && wait $$!

sbom: .venv/.dev           ## what is installed, with versions and licences, in CycloneDX form
	mkdir -p dist
	$(BIN)/python benchmarks/bill_of_materials.py > dist/sbom.json

release: sbom              ## wheel, source and bill of materials, in dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python -c "from hatchling.build import build_sdist; build_sdist('dist')"

audit: .venv/.dev          ## fails if a weakness is known of what is installed, or none could be asked
	$(BIN)/python benchmarks/audit.py --strict

try-release: .venv/.dev    ## install the release into clean environments and use it (gigabytes)
	$(BIN)/python benchmarks/release.py

docs: .venv/.dev           ## the site, in runs/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

pretrained: $(INSTALLED)  ## remake the packaged diffusers (about 15 minutes and an hour)
	$(MAKE) pretrained-maze MAZE=umaze PLAY_STEPS=400000
	$(MAKE) pretrained-maze MAZE=large PLAY_STEPS=1200000

pretrained-maze:
	test -d runs/pretrained/play-$(MAZE)-v0 || $(BIN)/trailward collect --what play \
	  --maze $(MAZE) --num-steps $(PLAY_STEPS) --seed 0 --out runs/pretrained/play-$(MAZE)
	$(BIN)/trailward train --play runs/pretrained/play-$(MAZE)-v0 --preset $(MAZE) \
	  --out runs/pretrained/$(MAZE)
	mkdir -p src/trailward/pretrained/$(MAZE)
	cp runs/pretrained/$(MAZE)/config.json runs/pretrained/$(MAZE)/weights.safetensors \
	  src/trailward/pretrained/$(MAZE)/

pretrained-policies: .venv/.dev  ## remake the packaged HalfCheetah policies
	$(BIN)/trailward policies --out runs/pretrained/policies --num-steps 300000 --num-policies 8
	mkdir -p src/trailward/pretrained/halfcheetah_policies
	cp runs/pretrained/policies/ladder/config.json runs/pretrained/policies/ladder/weights.safetensors \
	  src/trailward/pretrained/halfcheetah_policies/

pretrained-halfcheetah: .venv/.dev  ## remake the packaged HalfCheetah diffusers (half an hour)
	for what in play mixture; do \
	  test -d runs/pretrained/cheetah-$$what-v0 || $(BIN)/trailward collect --env halfcheetah \
	    --what $$what --out runs/pretrained/cheetah-$$what; \
	  $(BIN)/trailward train --play runs/pretrained/cheetah-$$what-v0 --preset halfcheetah \
	    --out runs/pretrained/halfcheetah-$$what && \
	  mkdir -p src/trailward/pretrained/halfcheetah_$$what && \
	  cp runs/pretrained/halfcheetah-$$what/config.json \
	    runs/pretrained/halfcheetah-$$what/weights.safetensors \
	    src/trailward/pretrained/halfcheetah_$$what/ || exit 1; \
	done

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[maze]"
	touch $@

.venv/.dev: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps imitation==1.0.1
	touch $@

clean:
	rm -rf .venv runs
