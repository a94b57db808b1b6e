# tcptally. `make help` lists what there is to make.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo

BIN  ?= target/release/tcptally
ROOT  = $(DESTDIR)$(PREFIX)
FUZZ_TIME ?= 60
FUZZ_KIB ?= 64
FUZZ_OPTIONS ?=
# The same cases at each run of `make test`; `cargo test` draws new ones.
PROPTEST_RNG_SEED ?= 11
SOAK ?= 200
SOAK_ROUNDS ?= 20
SOAK_SECONDS ?= 600
KERNELS ?=
TARGET ?=
CASES ?=

.DEFAULT_GOAL := build
.PHONY: build build-aarch64 static dist demo test soak test-engines test-dist test-needs kernels test-aarch64 lint bench bench-screen bench-overhead fuzz fuzz-corpora pictures install help

build: ## the release: target/release/tcptally
	$(CARGO) build --release --locked

build-aarch64: ## the static program for AArch64, also on another machine (gcc-aarch64-linux-gnu): target/aarch64-unknown-linux-gnu/dist
	@CARGO='$(CARGO)' TARGET=aarch64-unknown-linux-gnu packaging/dist.sh --only-program

static: ## a small static program that needs no library: target/TARGET/dist/tcptally (TARGET: that of this machine)
	@CARGO='$(CARGO)' TARGET='$(TARGET)' packaging/dist.sh --only-program

dist: ## the same in packages, in target/packages: .tar.gz, .deb, .rpm, SHA256SUMS, bill of materials
	@CARGO='$(CARGO)' TARGET='$(TARGET)' packaging/dist.sh

demo: ## a small server under tcptally, its clients, and the table
	$(CARGO) build --release --locked --bin tcptally --example demo --example demo_server
	@target/release/examples/demo

# Run in the background or by nohup, tests would inherit ignored signals, and so what they end by them.
# One test at a time: traced servers share the CPUs, and tracers of one user the memory for ring buffers.
test: test-needs ## all tests; installs the servers they trace where it may
	env --default-signal=HUP,INT,QUIT RUST_TEST_THREADS=1 PROPTEST_RNG_SEED=$(PROPTEST_RNG_SEED) $(CARGO) test --locked

test-engines: ## DuckDB, ClickHouse and Spark (pip, 700 MB; Spark needs Java) answer as tcptally does
	python3 -m venv target/engines
	@for package in duckdb chdb pyspark; do \
		target/engines/bin/pip install --quiet $$package || echo "$$package cannot be installed"; done
	$(CARGO) test --locked --test engines -- --nocapture

test-dist: ## the packages in roots of their own, the image, the crate, and whether two builds are alike (20 minutes)
	@packaging/test.sh $(CASES)

test-needs:
	@tests/needs.sh

lint: ## format, clippy (for AArch64 too, where its tools are), imports between modules, documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@missing=$$(contrib/cargo-aarch64 --missing); \
	if [ -n "$$missing" ]; then echo "clippy for AArch64 is skipped; missing: $$missing"; \
	else contrib/cargo-aarch64 clippy --locked --all-targets -- -D warnings; fi
	$(CARGO) test --locked --quiet --test imports
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

kernels: ## each engine inside Debian's kernels, in virtual machines (KERNELS='6.1 6.12'; needs qemu-system-x86)
	@tests/kernels/kernels.sh $(KERNELS)

test-aarch64: ## the same inside Debian's kernels for AArch64, emulated (KERNELS='6.1 6.12'; needs qemu-system-arm)
	@ARCH=arm64 tests/kernels/kernels.sh $(KERNELS)

soak: test-needs ## faults and detaches by the hundred, attaching for SOAK_SECONDS at a time (SOAK, SOAK_ROUNDS)
	env --default-signal=HUP,INT,QUIT TCPTALLY_SOAK=$(SOAK) \
		$(CARGO) test --locked --test trace -- --nocapture perf_harmless
	env --default-signal=HUP,INT,QUIT TCPTALLY_ROUNDS=$(SOAK_ROUNDS) \
		$(CARGO) test --locked --test trace -- --test-threads 1 under_load a_killed_tracer
	env --default-signal=HUP,INT,QUIT TCPTALLY_ROUNDS=$(SOAK_ROUNDS) $(CARGO) test --locked --test faults
	env --default-signal=HUP,INT,QUIT SOAK_SECONDS=$(SOAK_SECONDS) \
		$(CARGO) test --release --locked --test faults -- --ignored --nocapture soak::

bench: ## speed of parse against gawk, grep, tcpdump (PERCENT of the full sizes, MEGABYTES of each shape), and of a line
	@benches/parse.sh $(PERCENT)
	@benches/parse_shapes.sh $(MEGABYTES)
	@benches/records.sh $(PERCENT)
	$(CARGO) bench --locked --bench line

bench-screen: ## how long a frame of --live takes with 100,000 addresses
	$(CARGO) test --release --locked --lib -- --ignored --nocapture frames_of_a_hundred_thousand

bench-overhead: ## what watching costs a server, against strace (options: ARGS=--help)
	$(CARGO) build --release --locked --bin tcptally \
		--example overhead --example load --example accept_server
	@target/release/examples/overhead $(ARGS)

# AddressSanitizer is on. FUZZ_OPTIONS='-s none' is some times faster for readers, which have no unsafe code.
fuzz: ## each fuzz target for FUZZ_TIME seconds, from the corpora in testdata/fuzz (cargo-fuzz, nightly)
	@for target in $$($(CARGO) fuzz list); do \
		mkdir -p fuzz/corpus/$$target; \
		$(CARGO) +nightly fuzz run $(FUZZ_OPTIONS) $$target fuzz/corpus/$$target testdata/fuzz/$$target -- \
			-max_total_time=$(FUZZ_TIME) -timeout=20 -rss_limit_mb=2048 -max_len=4000 \
			-dict=fuzz/words.dict || exit 1; \
	done

fuzz-corpora: ## what `make fuzz` found, minimised, into testdata/fuzz (at most FUZZ_KIB for each target)
	@fuzz/corpora.sh $(FUZZ_KIB)

# The browser and the terminal are real ones, so the pictures differ a little each time.
pictures: ## the pictures of README.md, made again (tmux, chromium, pngquant, optipng, python3; after make)
	@docs/pictures/make.py $(BIN)

# Does not build: `make && sudo make install` must not leave root's files in target/.
install: ## to $(DESTDIR)$(PREFIX): the program, manual pages, completions
	@[ -x $(BIN) ] || { echo 'Run `make` first.' >&2; exit 1; }
	install -D -m 755 $(BIN) '$(ROOT)/bin/tcptally'
	install -d '$(ROOT)/share/man/man1' '$(ROOT)/share/bash-completion/completions' \
		'$(ROOT)/share/zsh/site-functions' '$(ROOT)/share/fish/vendor_completions.d'
	$(BIN) man > '$(ROOT)/share/man/man1/tcptally.1'
	for page in trace watch parse; do \
		$(BIN) man $$page > "$(ROOT)/share/man/man1/tcptally-$$page.1" || exit 1; done
	$(BIN) completions bash > '$(ROOT)/share/bash-completion/completions/tcptally'
	$(BIN) completions zsh > '$(ROOT)/share/zsh/site-functions/_tcptally'
	$(BIN) completions fish > '$(ROOT)/share/fish/vendor_completions.d/tcptally.fish'

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | \
		while IFS="$$(printf '\t')" read -r name what; do \
			printf '  make %-15s %s\n' "$$name" "$$what"; done
