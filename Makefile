# `make` alone tells what there is. Everything a target needs beside Rust and make is installed by the target.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench chaos scale postgres schemathesis

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Ctrl-C is the demo's normal end: the shell ignores it, the demo does not, and its exit code is make's.
demo: postgres ## everything on this machine: PostgreSQL, three tenants, the gateway, a delivery; Ctrl-C ends it
	@cargo build --release --locked
	@trap '' INT; $${CARGO_TARGET_DIR:-target}/release/turnpike demo

test: postgres schemathesis ## unit, integration and documentation tests; they start a PostgreSQL of their own
	cargo test --locked

check: ## formatting, lints, dependencies, scripts, documentation
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny check; \
	else echo "cargo deny: skipped, not installed (cargo install --locked cargo-deny)"; fi
	bash -n .ci/run
	sh -n deploy/install-postgres.sh
	sh -n tests/schemathesis/install.sh
	sh -n docs/examples/collect.sh
	@if command -v php >/dev/null; then php -l docs/examples/collect.php; \
	else echo "php -l: skipped, not installed (apt-get install php-cli)"; fi
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run deploy/install-postgres.sh docs/examples/collect.sh tests/schemathesis/install.sh; \
	else echo "shellcheck: skipped, not installed (apt-get install shellcheck)"; fi
	@if command -v promtool >/dev/null; then cd deploy && promtool check rules prometheus-alerts.yaml \
	&& promtool test rules prometheus-alerts.test.yaml; \
	else echo "promtool: skipped, not installed (apt-get install prometheus)"; fi
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --locked

bench: postgres ## what the gateway costs, beside its floor and its peers; BENCH_FULL=1 with a history of ten million
	cargo bench --locked --bench delivery -- $(if $(BENCH_FULL),full)
	cargo bench --locked --bench parts

chaos: postgres ## ten minutes of faults, killed gateways and crashing databases; the promise must hold
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} CHAOS_HITS=$${CHAOS_HITS:-20} cargo test --locked --test chaos

scale: postgres ## a thousand tenants, and one that is broken: memory, start, reload, isolation; needs 10 GB of disk
	SCALE_TENANTS=$${SCALE_TENANTS:-1000} SCALE_SECONDS=$${SCALE_SECONDS:-8} SCALE_ROUNDS=$${SCALE_ROUNDS:-3} \
		cargo test --release --locked --test scale

postgres:
	@deploy/install-postgres.sh

schemathesis: postgres
	@tests/schemathesis/install.sh
