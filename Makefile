# hadir: `make help` lists what there is. It wants Go and nothing else; Node and
# protoc only where a target says so.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Pinned tools are built once into .cache/bin/NAME@VERSION; they are no part of
# go.mod, so that their dependencies cannot move ours.
GOLANGCI_VERSION    := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
TOOLS       := $(CURDIR)/.cache/bin
GOLANGCI    := $(TOOLS)/golangci-lint@$(GOLANGCI_VERSION)/golangci-lint
GOVULNCHECK := $(TOOLS)/govulncheck@$(GOVULNCHECK_VERSION)/govulncheck

# Exact, whatever the resolver prefers: raft-boltdb v2.3.1 does not build with
# raft v1.8.0, and the bbolt that raft-boltdb asks for is too old.
PINS := github.com/hashicorp/raft@v1.8.0 github.com/hashicorp/raft-boltdb/v2@v2.3.0 go.etcd.io/bbolt@v1.5.0 \
	modernc.org/sqlite@v1.50.1 github.com/pressly/goose/v3@v3.27.1

COMMIT  := $(shell git rev-parse -q --verify HEAD 2>/dev/null)
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)

# What is too long for every run rotates by commit: a number from its hash, 1
# outside git. Tests read it as their seed too.
HADIR_SEED ?= $(if $(COMMIT),$(shell echo $$((16#$(shell echo $(COMMIT) | cut -c1-7) + 1))),1)
SHARE := $(shell echo $$(($(HADIR_SEED) % 6 + 1)))/6
CROSS ?= $(if $(filter 0,$(shell echo $$(($(HADIR_SEED) % 2)))),darwin/arm64,linux/arm64)
export HADIR_SEED

PKG      ?= ./...
RUN      ?= .
FUZZTIME ?= 10s
TIMEOUT  ?= 15m
TESTFLAGS = -timeout $(TIMEOUT) -run '$(RUN)' $(if $(RACE),-race)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "  variables: PKG=./store/... RUN=TestName RACE=1 FUZZTIME=10s HADIR_SEED=1 HADIR_CASES=2000 HADIR_TEST_REQUIRE=redis,…"

# The pages' scripts are built by Node and embedded; without Node the program is
# built all the same and its pages work without them.
HAVE_NPM := $(shell command -v npm)
UI_SOURCES := $(wildcard ui/src/*.ts ui/src/*/*.ts ui/css/*.css) ui/build.mjs

.PHONY: assets
ifneq ($(HAVE_NPM),)
assets: ui/dist/app.css ## the pages' scripts and style sheet (needs Node)

ui/node_modules/.installed: ui/package.json ui/package-lock.json
	cd ui && npm ci --silent --no-audit --no-fund
	@touch $@

ui/dist/app.css: $(UI_SOURCES) ui/node_modules/.installed
	cd ui && npm run -s build
else
assets:
	@echo "assets: Node is not installed, the pages will have no scripts"
endif

.PHONY: build
build: assets ## bin/hadir, or every package while there is no command yet
ifneq ($(wildcard cmd/hadir/*.go),)
	go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o bin/hadir ./cmd/hadir
else
	go build ./...
	@echo "build: there is no cmd/hadir yet, so every package was compiled and no binary was made"
endif

.PHONY: demo
demo: build ## three nodes, a front and sample people on this machine (DEMO: arguments)
	@bin/hadir demo $(DEMO)

.PHONY: test
test: assets test-ui ## tests (RACE=1: with the race detector), then what was left out
	@go run ./tests/tools/gotest $(TESTFLAGS) $(PKG)

.PHONY: test-ui
test-ui: assets
	@if [ -n "$(HAVE_NPM)" ]; then cd ui && npm run -s test; else echo "left out: the scripts' tests, Node is not installed"; fi

.PHONY: upgrade-test
upgrade-test: assets ## the previous commit's program is replaced by this one, node by node, under load (HADIR_UPGRADE_FROM: another revision)
	HADIR_LONG=1 HADIR_TEST_REQUIRE=history go test -count=1 -v -timeout $(TIMEOUT) -run TestRollingUpgrade ./tests/system

.PHONY: test-full
test-full: ## everything that rotates in CI, whole: 200 000 property cases, every fuzz target, every mutant, both cross builds
	$(MAKE) test HADIR_CASES=200000 HADIR_LONG=1 TIMEOUT=60m
	$(MAKE) fuzz mutants
	$(MAKE) check-cross CROSS="darwin/arm64 linux/arm64"

.PHONY: check
check: check-format check-ui check-modules check-generated check-mutants check-cross lint check-deploy check-vulnerabilities ## format, modules, generated code, stale mutants, cross builds, lint, files of deploy/, vulnerabilities

.PHONY: check-format
check-format:
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './.cache/*' -not -path '*/node_modules/*')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

.PHONY: check-ui
check-ui: assets
	@if [ -n "$(HAVE_NPM)" ]; then cd ui && npm run -s check; else echo "left out: the scripts' types, Node is not installed"; fi
	@if grep -nE '"(resolved|funding)"|https?:' ui/package-lock.json; then echo "ui/package-lock.json holds addresses: run npm run lock in ui/"; exit 1; fi

.PHONY: check-modules
check-modules:
	go mod verify
	@go mod tidy -diff || { echo "go.mod is not tidy: run go mod tidy"; exit 1; }
	@for pin in $(PINS); do \
		got=$$(go list -m -f '{{.Path}}@{{.Version}}{{with .Replace}} => {{.Path}}@{{.Version}}{{end}}' "$${pin%@*}"); \
		if [ "$$got" != "$$pin" ]; then echo "go.mod has $$got and must have $$pin (see PINS in the Makefile)"; exit 1; fi; \
	done

# Regenerates into a directory of its own and compares; the line that names
# protoc's version may differ.
.PHONY: check-generated
check-generated:
	@if command -v protoc >/dev/null; then \
		tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
		$(call protoc,$$tmp); \
		for f in $(PROTO:.proto=.pb.go); do \
			diff -u <(grep -v '^// 	protoc  ' $$f) <(grep -v '^// 	protoc  ' "$$tmp/$$f") || { echo "$$f is out of date: run make generate"; exit 1; }; \
		done; \
		echo "generated code is up to date"; \
	elif [[ ",$${HADIR_TEST_REQUIRE:-}," == *,protoc,* ]]; then \
		echo "protoc is required and not installed"; exit 1; \
	else \
		echo "left out: generated code was not compared, protoc is not installed"; \
	fi

# A mutant whose text is gone tests nothing; this only looks, make mutants runs them.
.PHONY: check-mutants
check-mutants:
	@go run ./tests/mutants -list | { grep -Ev "^[a-z]" || true; }

.PHONY: check-cross
check-cross:
	@for target in $(CROSS); do \
		echo "go build ./... for $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} go build ./...; \
	done

.PHONY: lint
lint: $(GOLANGCI) ## golangci-lint, go vet in it
	$(GOLANGCI) run ./...

.PHONY: check-deploy
check-deploy:
	@tests/deploy/check.sh

# Where there is a timeout command (not on a Mac), a silent network ends the wait too.
TIMEOUT120 := $(if $(shell command -v timeout),timeout 120)

# Exit code 3 means findings. Anything else that names the database means that it
# could not be read, which is no finding and must not look like a clean result.
.PHONY: check-vulnerabilities
check-vulnerabilities: $(GOVULNCHECK)
	@code=0; out=$$($(TIMEOUT120) $(GOVULNCHECK) ./... 2>&1) || code=$$?; \
	if [ $$code -eq 0 ]; then echo "$$out" | tail -n 1; \
	elif [ $$code -ne 3 ] && { [ $$code -eq 124 ] || grep -q 'fetching vulnerabilities' <<<"$$out"; }; then \
		echo "****************************************************************************"; \
		echo "*** NOT CHECKED: the vulnerability database is out of reach from here.   ***"; \
		echo "*** Run make check-vulnerabilities where it is, before a release.        ***"; \
		echo "****************************************************************************"; \
	else echo "$$out"; exit 1; fi

$(GOLANGCI):
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(GOVULNCHECK):
	GOBIN=$(@D) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)

.PHONY: tools
tools: $(GOLANGCI) $(GOVULNCHECK) ## the pinned tools of make check

PROTO := attendance/pb/command.proto

protoc = protoc --plugin=protoc-gen-go=$$(go tool -n protoc-gen-go) --go_out=$(1) --go_opt=module=hadir $(PROTO)

.PHONY: generate
generate: ## generated code anew (needs protoc)
	$(call protoc,.)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	@tests/tools/fuzz.sh $(FUZZTIME)

.PHONY: fuzz-rotating
fuzz-rotating: ## a sixth of the fuzz targets, by commit
	@tests/tools/fuzz.sh $(FUZZTIME) $(SHARE)

.PHONY: mutants
mutants: ## seeded mistakes, each of which the tests must notice
	@go run ./tests/mutants

.PHONY: mutants-rotating
mutants-rotating: ## a sixth of them, by commit
	@go run ./tests/mutants -share $(SHARE)

.PHONY: bench
bench: ## benchmarks (BENCH: arguments)
ifneq ($(wildcard tests/bench/*.go),)
	go run ./tests/bench $(BENCH)
else
	@echo "bench: there is no tests/bench yet"
endif

.PHONY: chaos
chaos: build ## a demo is broken under load for a minute; the report goes to chaos-report/ (CHAOS: arguments)
	@bin/hadir chaos --out chaos-report $(CHAOS)

.PHONY: chaos-full
chaos-full: build ## three seeds, three minutes each
	@for seed in 1 2 3; do bin/hadir chaos --out chaos-report --duration 3m --seed $$seed; done

.PHONY: screenshots
screenshots: assets ## pictures of every page into screenshots/ (needs Chromium)
	go run ./tests/browser/screenshots

IMAGE   ?= hadir:dev
COMPOSE ?= $(if $(shell docker compose version 2>/dev/null),docker compose,docker-compose)

.PHONY: docker
docker: ## the image IMAGE (hadir:dev; DOCKER_FLAGS: more for docker build)
	DOCKER_BUILDKIT=1 docker build -t $(IMAGE) --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) $(DOCKER_FLAGS) .

.PHONY: secrets
secrets: ## once, for Compose: keys, passwords, certificate (HOSTS="absen.lan 192.168.1.10") into secrets/
	@HADIR_IMAGE=$(IMAGE) deploy/secrets.sh $(HOSTS)

.PHONY: up
up: ## the whole system with Compose, after make docker secrets
	$(COMPOSE) up -d --no-build

.PHONY: down
down: ## ends it; the data stays
	$(COMPOSE) down

.PHONY: clean
clean: ## what make built, pinned tools included
	rm -rf bin .cache screenshots ui/node_modules ui/dist/*
