# Needs Go. What else a target needs (a C compiler, kcat, Java, Maven, Python, Node, strace), .ci/need installs where it may.

BIN          := $(CURDIR)/.bin
GOLANGCI     := v2.15.0
GOVULNCHECK  := v1.9.0
FUZZTIME     ?= 30s
INTEROP      ?=
SHORT        ?=
DR           ?=
ORACLE       ?=
TRACE        ?=
VERSION      ?=

export CGO_ENABLED = 0

.PHONY: build test race fuzz lint vuln interop oracle bench mutants trace dr keys

build: ## one static binary in .bin/
	go build -trimpath -ldflags "-s -w $(if $(VERSION),-X main.version=$(VERSION))" -o $(BIN)/tandem ./cmd/tandem

test:
	go test ./...

race: ## needs a C compiler
	.ci/need gcc
	CGO_ENABLED=1 go test -race -short $$(go list ./... | grep -v /cmd/tandem$$)
	CGO_ENABLED=1 go test -race -short ./cmd/tandem # its many processes, alone

fuzz: ## every fuzz target for FUZZTIME
	@set -e; grep -rlE --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$$file"); do \
			echo "== $$(dirname "$$file") $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
		done; \
	done

$(BIN)/golangci-lint-$(GOLANGCI):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv $(BIN)/golangci-lint $@

$(BIN)/govulncheck-$(GOVULNCHECK):
	GOBIN=$(BIN) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK)
	mv $(BIN)/govulncheck $@

lint: $(BIN)/golangci-lint-$(GOLANGCI)
	$(BIN)/golangci-lint-$(GOLANGCI) run ./...

# A machine that cannot reach the vulnerability database says so and goes on; a vulnerability that is found fails.
vuln: $(BIN)/govulncheck-$(GOVULNCHECK)
	@out=$$($(BIN)/govulncheck-$(GOVULNCHECK) ./... 2>&1); status=$$?; echo "$$out"; \
	if [ $$status -ne 0 ] && echo "$$out" | grep -q 'fetching vulnerabilities'; then \
		echo "vuln: NOT CHECKED: the vulnerability database cannot be reached from here"; exit 0; \
	fi; exit $$status

# A client that cannot be had here is said to be NOT RUN, and the others are run.
interop: build ## stock clients against the binary; INTEROP=-short for small numbers
	.ci/need kcat java mvn
	@for command in javac python3-venv node npm; do .ci/need $$command || true; done
	go run ./bench/interop -tandem $(BIN)/tandem $(INTEROP)

oracle: build ## answers against Apache Kafka's; ORACLE=-short for 40 sequences of requests
	.ci/need java mvn
	go run ./bench/oracle -tandem $(BIN)/tandem $(ORACLE)

bench:
	go test -run '^$$' -bench . -benchmem ./...

mutants: ## every seeded bug must be caught by its test; SHARE=K/N for every Nth, from the Kth on
	go run ./bench/mutants $(if $(SHARE),-share $(SHARE))

trace: build ## power losses on a system-call trace of the binary; TRACE=-bursts=20 for a short one. Linux only
	.ci/need strace
	go build -o $(BIN)/recoverlogs ./cmd/internal/recoverlogs
	go run ./bench/chaos/trace -tandem $(BIN)/tandem -recoverlogs $(BIN)/recoverlogs $(TRACE)

dr: build ## two sites through 50 switchovers and 50 losses or more; SHORT=1 for every kind of round once
	go run ./bench/chaos/dr -bin $(BIN)/tandem $(if $(SHORT),-rounds 30 -every 4) $(DR)

# Writes the table of Kafka's configuration keys anew, from the release that bench/interop/pom.xml names.
keys:
	mvn -q -B -f bench/interop/pom.xml dependency:build-classpath -Dmdep.outputFile=$(BIN)/class-path
	java -cp "$$(cat $(BIN)/class-path)" broker/config/gen/KafkaKeys.java > $(BIN)/keys_kafka.go
	gofmt $(BIN)/keys_kafka.go > broker/config/keys_kafka.go
