# Causeway: `make` alone prints the targets.
GO      ?= go
BIN     ?= bin/causeway
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
TOOL     = $(GO) tool -modfile=build/tools/go.mod
FUZZTIME ?= 30s
# The cgo-free builds that every change must keep.
PLATFORMS = linux/amd64 linux/arm64 linux/arm darwin/arm64 windows/amd64

.PHONY: help run build test race unit peers interop cross fuzz bench lint fmt gen clean
help: ## print this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build, then start a hub with a simulated sensor and show what arrives
	$(BIN) quickstart

build: ## build one static binary into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/causeway

test: peers race cross interop ## everything this machine can run: race detector, cross-builds, SDK interop

race: ## all Go tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 15m ./...

unit: ## all Go tests without the race detector, for a quick look
	$(GO) test -short ./...

# rhea, the AMQP library under Azure's Node SDKs: a peer in the tests of wire/amqp.
RHEA = wire/amqp/testdata/rhea
peers: ## install what Go tests talk to from npm and Maven, if they are there
	@if command -v npm >/dev/null 2>&1; then $(MAKE) -s $(RHEA)/node_modules/.stamp; else false; fi || \
	  { echo "rhea could not be installed: its tests skip"; test -z "$$CI"; }
	@if command -v mvn >/dev/null 2>&1; then $(MAKE) -s $(KAFKA)/target/.stamp; else false; fi || \
	  { echo "Apache Kafka could not be installed: its tests skip"; test -z "$$CI"; }

$(RHEA)/node_modules/.stamp: $(RHEA)/package.json $(RHEA)/package-lock.json
	npm ci --prefix $(RHEA) --no-audit --no-fund --loglevel=error
	touch $@

# Apache Kafka, a peer in the tests of connector/kafka.
KAFKA = connector/kafka/testdata/broker
$(KAFKA)/target/.stamp: $(KAFKA)/pom.xml
	mvn -q -B -f $< dependency:copy-dependencies
	touch $@

cross: ## check that the binary builds for every platform, without cgo
	@for p in $(PLATFORMS); do \
	  echo "build $$p"; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} GOARM=7 $(GO) build -o /dev/null ./cmd/causeway || exit 1; \
	done

interop: ## unmodified Azure SDKs (Node, Python, Go, Java) against a hub of this build
	test/interop/run

fuzz: ## every fuzz target for FUZZTIME each (default 30s)
	test/fuzz $(FUZZTIME)

bench: ## Go benchmarks of the hot paths; bench/run.sh compares with mosquitto
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... ./wire/...

lint: ## golangci-lint
	$(TOOL) golangci-lint run ./...

fmt: ## gofumpt
	$(TOOL) gofumpt -w $$(git ls-files '*.go')

gen: ## rewrite golden files and generated documents
	$(GO) test ./internal/head/... ./internal/app/config/... -update

clean: ## remove what was built
	rm -rf bin
