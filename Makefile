# What developers run. `make help` lists it.

GO ?= go
ONCE ?=
BIN := $(CURDIR)/bin
# The data race detector needs cgo, and so a C compiler.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)
# Between releases a version as Go makes it of a commit, which sorts by time.
VERSION ?= $(shell git describe --tags --exact-match --match 'v[0-9]*' --dirty 2>/dev/null || \
	TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --abbrev=12 --format="v0.0.0-%cd-%h$$(git diff --quiet HEAD || echo -dirty)" 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## See alerts fire for a broken shop, on this machine; ONCE=1 ends by itself.
	$(GO) build -o $(BIN)/demo ./hack/demo
	exec $(BIN)/demo $(if $(ONCE),--once)

# Tests of the story, of the controllers and of the prober mostly wait. Whatever computes runs
# beside them, and gives way.
.PHONY: test computing
test: build drift parts ## Everything that CI checks.
	$(MAKE) --no-print-directory -j 3 story waiting computing
computing:
	nice $(MAKE) --no-print-directory vet
	nice $(MAKE) --no-print-directory lint
	nice $(MAKE) --no-print-directory others

.PHONY: build
build: ## Compile the programs into bin/.
	$(GO) build -ldflags '-X main.version=$(VERSION)' -o $(BIN)/ ./cmd/...

# What comes before the names of images, such as images.example.com/sojourn, and for which
# platforms is built; default: all of a cluster's nodes, or all of people's machines.
IMAGE_PREFIX ?=
PLATFORMS ?=
RELEASE = $(GO) -C hack/release build -o $(BIN)/release . && \
	$(BIN)/release --version '$(VERSION)' --image-prefix '$(IMAGE_PREFIX)' --platforms '$(PLATFORMS)'

.PHONY: push
push: ## Push images, and write a chart and a manifest that name them: make push IMAGE_PREFIX=images.example.com/sojourn
	@test -n '$(IMAGE_PREFIX)' || { echo "IMAGE_PREFIX is not set: write where your cluster finds images, such as make push IMAGE_PREFIX=images.example.com/sojourn"; exit 1; }
	@$(RELEASE) push

.PHONY: images
images: ## Write the images as files for this machine's architecture, without Docker, into dist/images.
	@rm -rf dist/images
	@$(RELEASE) $(if $(PLATFORMS),,--platforms linux/$(shell $(GO) env GOARCH)) images

.PHONY: plugin
plugin: ## Write the plugin's archives for all platforms and its krew manifest into dist/.
	@$(RELEASE) plugin

.PHONY: e2e
e2e: ## Install into a real cluster with Pods, and see that all goes on whatever befalls it; needs root and Linux.
	$(GO) build -o $(BIN)/e2e ./hack/e2e-cluster
	exec $(BIN)/e2e

.PHONY: unit
unit: parts ## All tests, the data race detector on where goroutines meet.
	$(MAKE) --no-print-directory -j 3 story waiting others

# What computes and little else: under the race detector it takes minutes.
LONE := internal/(mermaid|openslo|picture|terminal|backtest)
# Vet looks at all of it for itself.
TEST := $(GO) test -timeout 30m -vet=off

.PHONY: story waiting others
story:
	$(TEST) ./hack/e2e
waiting:
	$(TEST) ./controllers
	$(TEST) $(RACE) ./cmd/prober
others:
	$(TEST) ./api/... ./config/... $$($(GO) list ./controllers/... ./hack/... | grep -vE '/(controllers|hack/e2e)$$') $$($(GO) list ./cmd/... | grep -E '$(LONE)')
	$(if $(RACE),,@echo "no C compiler, so no data race detector")
	$(TEST) $(RACE) $$($(GO) list ./cmd/... | grep -vE '$(LONE)|/cmd/prober$$')
# What these read lies outside of their modules, where go test sees no change.
	for module in chart gitops openslo release; do $(GO) -C hack/$$module test -count 1 ./... || exit 1; done
	$(MAKE) --no-print-directory test-chart

.PHONY: parts
parts: ## Build etcd, Kubernetes, Prometheus and Alertmanager into the user's cache, once.
	$(GO) build -o $(BIN)/localstack ./hack/localstack/cmd/localstack
	exec $(BIN)/localstack build

.PHONY: vet
vet: ## Report what looks wrong.
	$(GO) vet ./...
	@unformatted=$$(gofmt -l api cmd config controllers hack); test -z "$$unformatted" || { echo "not formatted; run gofmt -w on:"; echo "$$unformatted"; exit 1; }

.PHONY: lint
lint: ## Report what staticcheck and kube-api-linter say.
# The same bytes wherever and whenever it is built: go vet keeps what a tool has found.
	$(GO) -C hack/lint build -trimpath -buildvcs=false -o $(BIN)/sojourn-lint .
	$(GO) vet -vettool=$(BIN)/sojourn-lint ./...

.PHONY: bench-rules
bench-rules: ## Measure what rules cost Prometheus, beside Sloth's and Pyrra's.
	$(GO) run ./hack/bench/rules

.PHONY: bench-alerts
bench-alerts: ## Measure how honest survey alerts are, beside Sloth's and Pyrra's.
	$(GO) run ./hack/bench/alerts

.PHONY: bench-prober
bench-prober: ## Measure what probing costs, beside blackbox_exporter.
	$(GO) run ./hack/bench/prober

.PHONY: bench-gateway
bench-gateway: ## Measure how many responses a second the gateway keeps, beside bare inserts.
	$(GO) run ./hack/bench/gateway

.PHONY: bench-operator
bench-operator: parts ## Measure how fast the manager serves what is applied, beside a bare client.
	$(GO) run ./hack/bench/operator

.PHONY: bench-backtest
bench-backtest: parts ## Measure how long a backtest of thirty days takes.
	$(GO) run ./hack/bench/backtest

.PHONY: bench-files
bench-files: ## Measure how long a thousand files take to lint, render and compare, beside Sloth.
	$(GO) run ./hack/bench/files --check

.PHONY: test-crash
test-crash: parts ## Kill gateway and databases a hundred times each, and count what was promised.
	$(GO) test -timeout 40m -count 1 -v -run 'TestCrash$$' ./cmd/gateway -crashes 100

.PHONY: test-browser
test-browser: parts ## Answer the survey page, and look at the journeys, in a real browser.
	$(GO) -C hack/browser test -count 1 ./...

.PHONY: test-mermaid
test-mermaid: ## Have Mermaid itself read the diagrams that kubectl journey writes; needs Node.
	npm --prefix hack/mermaid ci --no-audit --no-fund
	SOJOURN_MERMAID=$(CURDIR)/hack/mermaid $(GO) test -count 1 -run 'TestMermaidItself$$' ./cmd/kubectl-journey/internal/mermaid

.PHONY: test-gates
test-gates: parts ## Check the snippets of docs/gate.md against the CRDs of Argo Rollouts, Flagger and Tekton.
	crds=; for each in github.com/argoproj/argo-rollouts@v1.8.3:manifests/crds/analysis-template-crd.yaml \
		github.com/fluxcd/flagger@v1.41.0:artifacts/flagger/crd.yaml github.com/tektoncd/pipeline@v1.6.0:config/300-crds/300-task.yaml; do \
		dir=$$($(GO) mod download -json $${each%%:*} | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && crds=$$crds:$$dir/$${each#*:} || exit 1; \
	done; SOJOURN_GATE_CRDS=$${crds#:} $(GO) test -count 1 -run 'TestWithCluster$$' ./cmd/kubectl-journey

.PHONY: test-gitops
test-gitops: parts ## Check config/gitops against the CRDs of Flux and Argo CD.
	crds=; for each in github.com/fluxcd/kustomize-controller@v1.9.6:config/crd/bases github.com/fluxcd/source-controller@v1.9.6:config/crd/bases \
		github.com/argoproj/argo-cd/v3@v3.4.2:manifests/crds; do \
		dir=$$($(GO) mod download -json $${each%%:*} | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && crds=$$crds:$$dir/$${each#*:} || exit 1; \
	done; generate=$$($(GO) tool -n -modfile=hack/generate/go.mod controller-gen) && \
	made=$$(mktemp -d) && trap 'rm -rf '"$$made" EXIT && \
	cd $$($(GO) mod download -json github.com/fluxcd/helm-controller/api@v1.6.5 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
	$$generate crd paths=./v2 output:crd:artifacts:config=$$made && cd $(CURDIR) && \
	SOJOURN_GITOPS_CRDS=$${crds#:}:$$made $(GO) test -count 1 -run 'TestGitOpsSchemas$$' ./config

.PHONY: test-chart
test-chart: ## Render the chart by helm-unittest, which is Helm 3.
	$(GO) -C hack/chart/unittest tool helm-unittest $(CURDIR)/charts/sojourn

.PHONY: fuzz
fuzz: ## Fuzz every decoder of the gateway, and the importer of diagrams, half a minute each.
	@for target in intake/FuzzBody intake/FuzzEvents webhook/FuzzDecode webhook/FuzzVerify sources/FuzzParse link/FuzzForm; do \
		$(GO) test -run '^$$' -fuzz "^$${target#*/}$$" -fuzztime 30s ./cmd/gateway/internal/$${target%/*} || exit 1; \
	done
	$(GO) test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime 30s ./cmd/kubectl-journey/internal/mermaid

.PHONY: generate
generate: ## Write all that is made of the API and of the chart anew.
	$(GO) tool -modfile=hack/generate/go.mod controller-gen \
		object:headerFile=hack/generate/header.txt \
		applyconfiguration:headerFile=hack/generate/header.txt \
		crd:generateEmbeddedObjectMeta=false \
		paths=./api/... output:crd:artifacts:config=config/crd
	cp config/crd/sojourn.dev_*.yaml charts/sojourn/files/crds/
	$(GO) tool -modfile=hack/generate/go.mod crd-ref-docs \
		--source-path=api/v1alpha1 --config=hack/generate/reference/config.yaml --templates-dir=hack/generate/reference \
		--renderer=markdown --output-path=docs/reference.md --log-level=ERROR
	$(GO) run ./hack/dashboards
	$(GO) -C hack/chart run ./readme

.PHONY: drift
drift: ## Fail if generated code is not what the sources say.
	@before=$$(mktemp -d) && trap 'rm -rf '"$$before" EXIT && cp -R api config charts docs $$before && \
	$(MAKE) --no-print-directory generate && for folder in api config charts docs; do \
		diff -r $$before/$$folder $$folder || { echo "generated code had drifted: commit what make generate just wrote"; exit 1; }; \
	done

.PHONY: release
release: ## Write everything that is published into dist/: make release VERSION=v0.2.0
	@rm -rf dist
	@$(RELEASE) all

# Compiling from nothing takes minutes for each platform; PLATFORMS= asks for more of them.
.PHONY: release-check
release-check: VERSION = v0.0.0
release-check: PLATFORMS = linux/amd64
release-check: ## Build the last commit's release twice, in two folders, the second from nothing, and compare.
	@work=$$(mktemp -d) && trap "rm -rf $$work" EXIT && \
	git clone --quiet . $$work/one && git clone --quiet . $$work/another/place && \
	$(RELEASE) all --checkout $$work/one --out $$work/first && \
	GOCACHE=$$work/cache $(BIN)/release --version '$(VERSION)' --image-prefix '$(IMAGE_PREFIX)' --platforms '$(PLATFORMS)' \
		all --checkout $$work/another/place --out $$work/second && \
	diff -r $$work/first $$work/second && cat $$work/first/SHA256SUMS && echo "all these are the same bytes"
