# Every target runs the state machine's invariants in the pool (build tag invariants).
GO      ?= go
TAGS    := -tags=invariants
CHECKS  ?= 1000
TOOLS   := GOWORK=off $(GO) tool -modfile=tools/go.mod
SCHED   := $(GO) run ./cmd/poolproof test -instrument ./pool,./pool/pooltest/broken,./props/internal/racy ./props ./pool/pooltest/broken -- \
	-tags=invariants,sched -run 'Instrumented|Exhaust|Races|Racy|Schedules|TestVerify(Plain)?Pool/Scheduled'
MODULES := . cmd/poolproof otelpool peers

HISTORIES ?= 10000

CHAOS_SCALE ?= 0.2
CHAOS_FLAGS ?=

.PHONY: help build test race explore conform sched sched-deep props peers linearize chaos bench lint check fmt

build: ## compile every module
	@for m in $(MODULES); do (cd $$m && $(GO) build ./...) || exit 1; done

test: build ## everything that must hold, the race detector included where it matters
	$(GO) test $(TAGS) -timeout 9m ./... ./cmd/poolproof/... ./otelpool/... ./peers/...
	$(GO) test $(TAGS) -race -timeout 9m ./pool ./pool/pooltest ./pool/process/... ./pool/fallback ./otelpool ./examples/...
	$(GO) test $(TAGS) -race -timeout 9m ./props -run 'Test(Verify|Traces)' -rapid.checks=50
	@$(MAKE) --no-print-directory sched

race: ## all tests under the race detector, twice, in random order
	$(GO) test $(TAGS) -race -shuffle=on -count=2 -timeout 30m ./... ./otelpool/...

explore: ## enumerate the reference model
	$(GO) test ./model -run Explore -v

conform: ## the pool along every transition of large graphs of the model; ten minutes or more
	$(GO) test $(TAGS) ./props -run Conform -conform.deep -v -timeout 60m

sched: ## the pool and its broken variants under a scheduler that decides at each lock
	$(SCHED) -rapid.seed=1 -rapid.checks=5000 -timeout 9m

sched-deep: ## the same with one preemption more and 20,000 checks; an hour or more
	$(SCHED) -rapid.checks=20000 -sched.deep -v -timeout 180m

props: ## deep random checks; CHECKS=n sets how many
	$(GO) test $(TAGS) ./props -rapid.checks=$(CHECKS) -timeout 60m

linearize: ## the judges of histories beside porcupine on HISTORIES drawn ones, and on good, bad and large ones
	$(GO) test $(TAGS) ./linearize -linearize.deep=$(HISTORIES) -timeout 20m

peers: ## known faults of public pools, found and not found any more; half an hour
	$(GO) test $(TAGS) ./cmd/poolproof -run TestKnownFaults -peers.all -v -timeout 90m

chaos: ## all scenarios of faults on real processes; CHAOS_SCALE=1 for their full length
	$(GO) run $(TAGS) ./cmd/poolproof chaos -scale $(CHAOS_SCALE) $(CHAOS_FLAGS)

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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
