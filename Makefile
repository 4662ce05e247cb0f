# For contributors. Users need only Go: see README.md.
TOOL = go tool -modfile=tools/go.mod

# The race detector leaves out what is arithmetic on memory that its caller owns: SQLite,
# which is C that was translated to Go, ciphers and curves. It makes them ten times slower.
# Two goroutines with one connection are still found: in the driver, which is watched.
QUIET = github.com/ncruces/go-sqlite3-wasm/... lukechampine.com/adiantum/... filippo.io/edwards25519/... \
  golang.org/x/crypto/scrypt golang.org/x/crypto/argon2 \
  $(addprefix crypto/internal/fips140/,edwards25519/... nistec/... bigmod mlkem sha3)
RACE = -race $(QUIET:%=-gcflags=%=-race=false)
PACKAGES = ./...

.PHONY: build test interop lint generate bench fuzz

build:
	go build -trimpath -o bin/sealpost .

test:
	go test $(RACE) -timeout 20m $(PACKAGES)

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
