# adlens: every command a developer or a newcomer needs. All of them set up what they need first.
PYTHON3 ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := out/demo
TOOLS := out/tools
ANALYZER := $(TOOLS)/bin/perf_analyzer

.PHONY: demo test test-hostile test-conformance test-chaos check serve models models-int8 install lock bench-quick bench-gallery bench-influencers bench-embedding bench-creative bench-engagement bench-describing analyzer bench bench-gpu gpu-image gpu-demo clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## virtual environment with the exact versions of requirements.lock

# The constraint holds for build environments too, so the whole installation is the locked one.
$(INSTALLED): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON3) -m venv $(VENV)
	PIP_CONSTRAINT=requirements.lock $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server,export,dev]'
	touch $@

models: $(INSTALLED)  ## export what is missing or out of date into model_repository/
	$(BIN)/python -m export

models-int8: models  ## trunks in 8-bit integers beside the models, for python -m server --profile int8
	$(BIN)/python -m export.quantisation

demo: models  ## products, ads, the version of a picture that converts best, the picture to post and the influencers to ask, by a real Triton
	$(BIN)/python -m export.generated $(DEMO)/pictures
	$(BIN)/python -m export.generated_ads $(DEMO)/ads
	$(BIN)/python -m export.generated_creatives $(DEMO)/catalogue --models 8 --seed 77
	$(BIN)/python -m export.engagement.planted $(DEMO)/posts --count 8 --seed 77
	rm -rf $(DEMO)/accounts $(DEMO)/described
	$(BIN)/python -m export.influencers.generated_accounts $(DEMO)/accounts --brands 3 --influencers 12 --pictures 3
	echo '{"timestamp": "2026-11-20T18:30:00+01:00", "caption": "New in! #sneakers", "followers": 52000}' > $(DEMO)/post.json
	PATH=$(BIN):$$PATH ADLENS_GALLERY=$(DEMO)/ads/models/gallery ADLENS_ALTERNATES=$(DEMO)/ads/models/alternates \
		ADLENS_INFLUENCERS=$(DEMO)/ads/models/influencers \
		$(BIN)/python -m server --grpc-port 0 --metrics-port 0 \
		--model-repository $(DEMO)/ads/models --model-repository ensembles -- sh -exc '\
		adlens products $(DEMO)/pictures/*.jpg --out $(DEMO)/annotated; \
		adlens gallery build $(DEMO)/ads/campaign/campaign.csv; \
		adlens ads $(DEMO)/ads/users/*.jpg --customer $(DEMO)/ads/customer.json --out $(DEMO)/ads/out; \
		adlens alternates build $(DEMO)/catalogue/catalogue.csv; \
		adlens creative $(DEMO)/catalogue/model-002/0.jpg --campaign-type email --industry fashion --type women \
			--out $(DEMO)/creatives; \
		adlens engagement $(DEMO)/posts/pictures --context $(DEMO)/post.json --rank --out $(DEMO)/ranking; \
		adlens influencers describe $(DEMO)/accounts --out $(DEMO)/described; \
		adlens influencers build $(DEMO)/described; \
		adlens influencers rank shoes_brand_0 --accounts $(DEMO)/described --pictures $(DEMO)/accounts \
			--out $(DEMO)/influencers'

serve: models  ## the server on 127.0.0.1:8001, until Ctrl-C
	$(BIN)/python -m server

# Beside others what computes has one thread of its own, as what waits for a core that is taken spins.
test: models  ## all tests, with a real Triton: two at a time, then one by one those that measure time or memory
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not alone and not chaos"
	$(BIN)/python -m pytest -m alone

test-conformance: $(INSTALLED)  ## the stand-in backends against the native ones' contract, clause by clause
	$(BIN)/python -m pytest tests/conformance

test-chaos: models  ## break the whole server in every way we know, and overload it; figures in out/chaos.json
	ADLENS_CHAOS_REPORT=out/chaos.json $(BIN)/python -m pytest tests/chaos -m chaos

test-hostile: models  ## 20,000 damaged files and wrong requests, bombs; figures in out/hostile.json
	ADLENS_HOSTILE_COUNT=20000 ADLENS_HOSTILE_REPORT=out/hostile.json $(BIN)/python -m pytest tests/hostile

check: $(INSTALLED)  ## format, lint, types, layers, model repositories, profiles and graphs for GPUs, the container
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m server.lint model_repository ensembles
	$(BIN)/python -m export.profiles --check
	$(BIN)/python -m server.lint model_repository ensembles gpu --profile gpu
	$(BIN)/python -m server.lint model_repository ensembles gpu --profile gpu-onnxruntime
	$(BIN)/python -m export.tensorrt --check
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/shellcheck deploy/entrypoint.sh

bench: models  ## all benchmarks beside what one would pick instead, in 20 minutes; out/bench/report.html; BENCH="--only memory" watches ten more; BENCH="--price-per-hour 0.1"
	-$(MAKE) --no-print-directory analyzer
	$(BIN)/python -m export.quantisation attributes_dlib attributes_vgg16 attributes_resnet50
	$(BIN)/python -m perf.bench run $(BENCH)

bench-quick: models  ## recommend_products beside its own stages in one process, two leaves beside their graphs; what moved
	-$(MAKE) --no-print-directory analyzer
	$(BIN)/python -m perf.bench run --quick --out out/bench-quick $(BENCH)

bench-gallery: $(INSTALLED)  ## search of 200,000 photos beside numpy, and how a gallery changes
	rm -rf out/gallery
	$(BIN)/python -m perf.gallery repository out/gallery
	$(BIN)/python -m server --grpc-port 0 --metrics-port 0 --model-repository out/gallery -- \
		$(BIN)/python -m perf.gallery measure out/gallery

bench-influencers: models  ## ranking of 100,000 influencers for a brand beside numpy
	rm -rf out/influencers
	$(BIN)/python -m perf.influencers repository out/influencers
	$(BIN)/python -m server --grpc-port 0 --metrics-port 0 --model-repository out/influencers -- \
		$(BIN)/python -m perf.influencers measure out/influencers

bench-embedding: models  ## 64 faces in one request beside the bare network on a batch of 64 chips
	$(BIN)/python -m export.generated $(DEMO)/pictures
	$(BIN)/python -m server --grpc-port 0 --metrics-port 0 --admin-token bench --model embed_dlib -- \
		$(BIN)/python -m perf.embedding $(DEMO)/pictures --admin-token bench --threads 1
	$(BIN)/python -m server --grpc-port 0 --metrics-port 0 --admin-token bench --model embed_dlib -- \
		$(BIN)/python -m perf.embedding $(DEMO)/pictures --admin-token bench --threads 2

bench-creative: models  ## all variants of a picture in one request beside the bare ResNet on as many squares
	$(BIN)/python -m export.generated_creatives out/creatives
	$(BIN)/python -m server --grpc-port 0 --metrics-port 0 --model vary_creative -- \
		$(BIN)/python -m perf.creative out/creatives --threads 1
	$(BIN)/python -m server --grpc-port 0 --metrics-port 0 --model vary_creative -- \
		$(BIN)/python -m perf.creative out/creatives --threads 2

bench-describing: models  ## describe_posts of pictures in a stream beside the bare VGG16 on squares
	$(BIN)/python -m export.generated $(DEMO)/pictures
	$(BIN)/python -m server --grpc-port 0 --metrics-port 0 --model describe_posts -- \
		$(BIN)/python -m perf.describing $(DEMO)/pictures

bench-engagement: models  ## throughput of predict_engagement beside the bare ResNet in ONNX Runtime; after make analyzer, with its load, too
	$(BIN)/python -m export.engagement.planted out/posts --count 32
	$(BIN)/python -m server --grpc-port 0 --metrics-port 0 --admin-token bench --model predict_engagement -- \
		$(BIN)/python -m perf.engagement out/posts/pictures $(addprefix --analyzer ,$(wildcard $(ANALYZER))) --admin-token bench

analyzer: $(ANALYZER)  ## NVIDIA's load generator, for benchmarks alone, in out/tools

# Of tritonclient's wheels the last that holds the binary; beside it the two libraries that it needs.
$(ANALYZER): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(TOOLS) \
		tritonclient==2.49.0 nvidia-cuda-runtime-cu12==12.9.79
	cd $(TOOLS) && apt-get download --quiet libb64-0d && dpkg-deb --extract libb64-0d_*.deb .
	touch $@

bench-gpu: $(INSTALLED)  ## what a GPU reaches with whatever runs there; python -m perf.gpu needs torch and numpy alone
	$(BIN)/python -m perf.gpu

gpu-image: models  ## the container for GPUs, on NVIDIA's Triton
	docker build --file deploy/Dockerfile --tag adlens-gpu .

gpu-demo: models  ## the same on a GPU: plans, server, products of the demo's pictures; stops by itself
	$(BIN)/python -m export.generated $(DEMO)/pictures
	docker compose --file deploy/compose.yaml --profile demo up --build --exit-code-from client

lock: $(INSTALLED)  ## write the installed versions to requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' > requirements.lock

clean:  ## remove what was built, but for galleries, the virtual environment and the cache folder
	rm -rf out build dist *.egg-info client/*.egg-info
	rm -rf model_repository/*/warmup
	find model_repository -mindepth 2 -maxdepth 2 -type d -name '[0-9]*' ! -path '*/gallery/*' ! -path '*/alternates/*' \
		! -path '*/influencers/*' -exec rm -rf {} +
