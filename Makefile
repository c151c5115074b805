# What developers run. `make help` lists it.

GO ?= go
ONCE ?=
BIN := $(CURDIR)/bin
# The data race detector needs cgo, and so a C compiler.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## See alerts fire for a broken shop, on this machine; ONCE=1 ends by itself.
	$(GO) build -o $(BIN)/demo ./hack/demo
	exec $(BIN)/demo $(if $(ONCE),--once)

.PHONY: test
test: build vet lint drift unit ## Everything that CI checks.

.PHONY: build
build: ## Compile the programs into bin/.
	$(GO) build -ldflags '-X main.version=$(VERSION)' -o $(BIN)/ ./cmd/...

.PHONY: unit
unit: parts ## All tests, the data race detector on where goroutines meet.
# First the one that mostly waits, beside which others can run.
	$(GO) test -timeout 30m ./hack/e2e ./api/... ./controllers/... ./config/... ./hack/...
	$(if $(RACE),,@echo "no C compiler, so no data race detector")
	$(GO) test -timeout 30m $(RACE) ./cmd/...
	$(GO) -C hack/chart test ./...

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
	$(GO) -C hack/lint build -o $(BIN)/sojourn-lint .
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

.PHONY: bench-files
bench-files: ## Measure how long a thousand files take to lint, render and compare, beside Sloth.
	$(GO) run ./hack/bench/files --check

.PHONY: test-crash
test-crash: parts ## Kill gateway and databases a hundred times each, and count what was promised.
	$(GO) test -timeout 40m -count 1 -v -run 'TestCrash$$' ./cmd/gateway -crashes 100

.PHONY: test-browser
test-browser: parts ## Answer the survey page in a real browser.
	$(GO) -C hack/browser test -count 1 ./...

.PHONY: fuzz
fuzz: ## Fuzz every decoder of the gateway, half a minute each.
	@for target in intake/FuzzBody intake/FuzzEvents webhook/FuzzDecode webhook/FuzzVerify sources/FuzzParse link/FuzzForm; do \
		$(GO) test -run '^$$' -fuzz "^$${target#*/}$$" -fuzztime 30s ./cmd/gateway/internal/$${target%/*} || exit 1; \
	done

.PHONY: generate
generate: ## Write deep copies, apply configurations and CRDs anew.
	$(GO) tool -modfile=hack/generate/go.mod controller-gen \
		object:headerFile=hack/generate/header.txt \
		applyconfiguration:headerFile=hack/generate/header.txt \
		crd:generateEmbeddedObjectMeta=false \
		paths=./api/... output:crd:artifacts:config=config/crd
	cp config/crd/sojourn.dev_*.yaml charts/sojourn/files/crds/

.PHONY: drift
drift: ## Fail if generated code is not what the sources say.
	@before=$$(mktemp -d) && trap 'rm -rf '"$$before" EXIT && cp -R api config charts $$before && \
	$(MAKE) --no-print-directory generate && for folder in api config charts; do \
		diff -r $$before/$$folder $$folder || { echo "generated code had drifted: commit what make generate just wrote"; exit 1; }; \
	done
