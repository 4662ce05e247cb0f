# For contributors. Users need only Go: see README.md.
TOOL = go tool -modfile=tools/go.mod

.PHONY: build test interop lint generate bench fuzz

build:
	go build -trimpath -o bin/sealpost .

test:
	go test -race ./...

# Needs Node; takes some minutes.
interop:
	cd interop/peer && npm ci
	go test -count=1 -timeout 30m ./interop

lint:
	$(TOOL) golangci-lint run ./...
	$(TOOL) buf lint

generate:
	$(TOOL) buf generate

bench:
	go test -run '^$$' -bench . -benchmem ./...

# Each fuzz target for FUZZTIME.
FUZZTIME = 30s
fuzz:
	@set -e; for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg; \
	  done; \
	done
