# make demo   synthetic clips -> pose, I3D, VPN and their sum compared (2 cores: minutes)
# make test   lint and every test
# make test-pose   what needs MediaPipe, in an environment of its own
# make gpu-check   measures a GPU in under 8 minutes, with the Python that is there;
#                  JAX_PLATFORMS=cpu make gpu-check SIZE=tiny tries it without one
# make notebooks   runs the notebooks, in an environment of their own; SAVE=--save
#                  keeps their outputs in them
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
POSE_VENV := .venv-pose
NOTEBOOK_VENV := .venv-notebooks
DEMO := runs/demo
# As launch.py does for itself: keep the large buffers of a step (glibc).
export MALLOC_MMAP_MAX_ = 0
export MALLOC_TRIM_THRESHOLD_ = 68719476736
export MALLOC_TOP_PAD_ = 67108864

.PHONY: demo test test-pose gpu-check notebooks lint clean

$(VENV)/ready: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# Heads on the frozen features of the Kinetics network: each takes a minute.
DEMO_CS := $(BIN)/python launch.py --config=configs/synthetic.py:cs
DEMO_ARGS := --config.data.records=$(DEMO)/records
DEMO_VPN := $(DEMO_CS),embedding=none,frozen=True $(DEMO_ARGS)
DEMO_POSE := --config.init.pose_backbone=$(DEMO)/pose
demo: $(VENV)/ready
	$(DEMO_CS) --job=prepare $(DEMO_ARGS)
	$(DEMO_CS),model=pose $(DEMO_ARGS) --workdir=$(DEMO)/pose
	$(DEMO_CS),model=i3d,frozen=True $(DEMO_ARGS) --workdir=$(DEMO)/i3d
	$(DEMO_VPN) $(DEMO_POSE) --config.model.attention_norm=none \
	  --config.model.attention_scale=sum \
	  --workdir=$(DEMO)/vpn_eq2_to_the_letter
	$(DEMO_VPN) $(DEMO_POSE) --workdir=$(DEMO)/vpn
	$(BIN)/python launch.py --job=fuse --workdir=$(DEMO)/vpn,$(DEMO)/pose
	$(DEMO_VPN) --job=figures --workdir=$(DEMO)/i3d,$(DEMO)/vpn
	$(BIN)/python launch.py --job=tables --workdir=$(DEMO)

test: $(VENV)/ready lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

$(POSE_VENV)/ready: requirements.txt requirements-dev.txt requirements-pose.txt
	$(PYTHON) -m venv $(POSE_VENV)
	$(POSE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements-dev.txt -r requirements-pose.txt
	$(POSE_VENV)/bin/python -m pip uninstall --quiet --yes opencv-contrib-python
	$(POSE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --force-reinstall --no-deps $$(grep opencv requirements.txt)
	# A wheel that has the networks of PoseLandmarker; only they are read. Without it, some skip.
	-$(POSE_VENV)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps \
	  --python-version 3.11 --only-binary=:all: --dest $(POSE_VENV)/wheels mediapipe==0.10.21
	touch $@

test-pose: $(POSE_VENV)/ready
	$(POSE_VENV)/bin/python -m pytest -rs tests/datasets/test_pose_estimation.py \
	  tests/inference/test_own_videos.py tests/test_package.py::test_there_is_one_opencv

# Installs nothing: JAX for the GPU is not among the pins.
SIZE ?= full
GPU_PYTHON ?= $(firstword $(wildcard $(BIN)/python) python3)
gpu-check:
	$(GPU_PYTHON) -m benchmarks.gpu_check --size=$(SIZE)

$(NOTEBOOK_VENV)/ready: requirements.txt requirements-notebooks.txt
	$(PYTHON) -m venv $(NOTEBOOK_VENV)
	$(NOTEBOOK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements-notebooks.txt
	touch $@

notebooks: $(NOTEBOOK_VENV)/ready
	$(NOTEBOOK_VENV)/bin/python notebooks/execute.py $(SAVE)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(POSE_VENV) $(NOTEBOOK_VENV) $(DEMO) runs/notebooks .jax_cache .pytest_cache .ruff_cache
