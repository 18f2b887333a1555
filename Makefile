# make run    the hello example on http://127.0.0.1:8000, until Ctrl-C
# make test   every test
#
# Both install what they need from the system when run as root on Debian or Ubuntu, and say what is missing otherwise.

.PHONY: run test cargo

STOCKADE_TEST_VENV ?= $(abspath target/venv)
export STOCKADE_TEST_VENV
STOCKADE_ADAPTER = $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/libstockade_python.so

run: cargo
	tests/install run
	cargo build --release --locked
	cargo build --release --locked --package stockade-python
	examples/run hello 8000

test: cargo
	tests/install test
	cargo build --workspace --locked
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --workspace --locked && cargo test --workspace --locked --doc; \
	else cargo test --workspace --locked; \
	fi
	STOCKADE_ADAPTER=$(STOCKADE_ADAPTER) /usr/bin/python3 -m unittest discover --start-directory tests/python

cargo:
	@command -v cargo >/dev/null || { \
	  echo "Rust is missing: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; exit 1; }
