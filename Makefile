# make run    the hello example on http://127.0.0.1:8000, until Ctrl-C
# make test   every test
# make wheel  the command and the adapter as a wheel, in target/wheels
# make install  the command, the adapter and the systemd unit, to $(DESTDIR)$(PREFIX); after `make build`
#
# The first three install what they need from the system when run as root on Debian or Ubuntu, and say what is missing otherwise.

.PHONY: run test build wheel install cargo

PREFIX ?= /usr/local
# systemd looks there and in /usr/lib/systemd/system; below another PREFIX it is told with `systemctl link`
UNITS ?= $(if $(filter /usr/local,$(PREFIX)),/etc/systemd/system,$(PREFIX)/lib/systemd/system)

STOCKADE_TEST_VENV ?= $(abspath target/venv)
export STOCKADE_TEST_VENV
STOCKADE_ADAPTER = $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/libstockade_python.so

run: cargo
	tests/install run
	$(MAKE) build
	examples/run hello 8000

build: cargo
	cargo build --release --locked
	cargo build --release --locked --package stockade-python

# with the tag that PyPI asks for, manylinux and the oldest C library that it runs with: refused when what was built needs more
wheel: cargo
	tests/install wheel
	test -x target/pip/bin/pip || /usr/bin/python3 -m venv target/pip
	target/pip/bin/pip wheel --no-deps --wheel-dir target/wheels --config-settings 'build-args=--compatibility pypi' .

# the command finds the adapter beside itself, behind the link
install:
	install -D -t $(DESTDIR)$(PREFIX)/lib/stockade target/release/stockade target/release/libstockade_python.so
	mkdir -p $(DESTDIR)$(PREFIX)/bin
	ln -sf $(PREFIX)/lib/stockade/stockade $(DESTDIR)$(PREFIX)/bin/stockade
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/stockade docs/manual.md docs/python.md docs/configuration.md
	sed 's|/usr/local|$(PREFIX)|g' conf/systemd/stockade.service | \
	install -D -m 644 /dev/stdin $(DESTDIR)$(UNITS)/stockade.service

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
