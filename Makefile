# Every target runs the state machine's invariants in the pool (build tag invariants).
GO      ?= go
TAGS    := -tags=invariants
CHECKS  ?= 1000
TOOLS   := GOWORK=off $(GO) tool -modfile=tools/go.mod
MODULES := . cmd/poolproof otelpool

.PHONY: help build test race explore conform props sched bench lint check fmt

build: ## compile every module
	@for m in $(MODULES); do (cd $$m && $(GO) build ./...) || exit 1; done

test: build ## everything that must hold, the race detector included where it matters
	$(GO) test $(TAGS) -timeout 9m ./... ./cmd/poolproof/... ./otelpool/...
	$(GO) test $(TAGS) -race -timeout 9m ./pool ./pool/pooltest ./pool/process/... ./pool/fallback ./otelpool ./examples/...
	$(GO) test $(TAGS) -race -timeout 9m ./props -run 'Test(Verify|Traces)' -rapid.checks=50

sched: ## tests that need instrumented pools
	$(GO) run ./cmd/poolproof test -instrument ./props/internal/racy ./props -- $(TAGS),sched -run TestRacy

race: ## all tests under the race detector, twice, in random order
	$(GO) test $(TAGS) -race -shuffle=on -count=2 -timeout 30m ./... ./otelpool/...

explore: ## enumerate the reference model
	$(GO) test ./model -run Explore -v

conform: ## the pool along every transition of large graphs of the model; ten minutes or more
	$(GO) test $(TAGS) ./props -run Conform -conform.deep -v -timeout 60m

props: ## deep random checks; CHECKS=n sets how many
	$(GO) test $(TAGS) ./props -rapid.checks=$(CHECKS) -timeout 60m

bench: ## the pool beside its references; compare ratios, see docs/benchmarks.md
	$(GO) test ./pool -run '^$$' -bench . -benchtime 200ms -count 10 | tee bench.out
	$(TOOLS) benchstat -col /peer bench.out

lint: ## vet, staticcheck and format
	@for m in $(MODULES); do (cd $$m && $(GO) vet $(TAGS) ./...) || exit 1; done
	@root=$$PWD; for m in $(MODULES); do \
		(cd $$m && GOWORK=off $(GO) tool -modfile=$$root/tools/go.mod staticcheck $(TAGS) ./...) || exit 1; done
	@out=$$($(TOOLS) gofumpt -l .); if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi

fmt: ## format all Go files
	$(TOOLS) gofumpt -w .

check: lint test ## what a change must pass

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
