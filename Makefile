# popdns: `make run` shows it, `make test` proves it, `make help` lists the rest.

SHELL     := bash
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO        ?= go
LDFLAGS   := -s -w -X main.version=$(VERSION) -X github.com/coredns/coredns/coremain.GitCommit=$(VERSION)
GOFLAGS_B := -trimpath -tags grpcnotrace -ldflags "$(LDFLAGS)"
GOLANGCI  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME  ?= 30s

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: build
build: ## bin/coredns (drop-in) and bin/popctl
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_B) -o bin/coredns ./build
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_B) -o bin/popctl ./cmd/popctl

.PHONY: run
run: build ## serve the example zone on port 1053 from a directory store, no other server needed
	@build/run.sh dir

.PHONY: run-zk
run-zk: build deps ## the same on a real local ZooKeeper
	@build/run.sh zk

.PHONY: deps
deps: ## install what the tests need (Debian packages), or say what is missing
	@build/deps.sh

.PHONY: test
test: deps ## all tests, against a real ZooKeeper too (POPDNS_SKIP_ZK=1 leaves those out)
	@# The end-to-end tests run alone: one of them measures.
	$(GO) test -count=1 -timeout 9m $$($(GO) list ./... | grep -v /popdns/test)
	$(GO) test -count=1 -timeout 9m ./test
	$(GO) test -count=1 -short -timeout 5m ./test/chaos

.PHONY: chaos
chaos: deps ## every fault of servers, network, data and disk, under load, on ensembles of three (13 min)
	$(GO) test -count=1 -timeout 25m -v ./test/chaos

.PHONY: race
race: deps ## the packages of our own under the race detector
	$(GO) test -race -timeout 15m ./internal/... ./plugin/...

.PHONY: lint
lint: ## golangci-lint with CoreDNS's own rules
	$(GO) vet ./...
	$(GO) run $(GOLANGCI) run ./...

.PHONY: bench
bench: deps ## benchmarks against the stock file plugin in the same run; ends with a table (15 min)
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... ./plugin/...
	$(GO) test -run '^$$' -bench . -benchtime 5x -timeout 1h ./test

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s), and millions of questions to us, file, NSD and Knot
	@build/fuzz.sh $(FUZZTIME)
	@# A round puts about 100,000 questions to file and 40,000 to NSD and Knot; a failing one is named by its seed,
	@# which -conformance-seed repeats.
	$(GO) test -count=1 -timeout 1h -v -run RandomZones ./test -args -conformance-rounds=25 -conformance-seed=0

.PHONY: clean
clean: ## remove bin/ and what `make run` left in run/
	rm -rf bin run
