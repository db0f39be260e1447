# What there is to do: `make help`.
#
# Two environments: .venv holds the program as its users get it (a wheel, so
# that it starts fast); build/venv holds the tools and an editable install, so
# that tests run what stands in the checkout, the C rebuilt when it changed.

SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
.NOTPARALLEL:
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Each worker would else compile all tests anew, which takes several seconds.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv/bin
DEV := $(CURDIR)/build/venv/bin
NATIVE := build/editable
# One build at a time, whoever starts it, with the environment's tools first.
$(shell mkdir -p build)
BUILD := PATH="$(CURDIR)/$(VENV):$$PATH" flock build/.lock
DEV_BUILD := PATH="$(DEV):$$PATH" flock build/.lock

SOURCES := meson.build pyproject.toml README.md LICENSE $(wildcard tests/c/meson.build) \
  $(shell find scsi2nvme/ target/ drivers/ fuzz/ -name '*.py' -o -name '*.[ch]')
C_FILES := $(shell find scsi2nvme/ target/ drivers/ tests/ bench/ -name '*.[ch]')

# ---- Debian packages ----

# A Python that is not Debian's brings its own headers and venv module.
PYTHON_PACKAGES := $(if $(filter /usr/bin/python3 /bin/python3,$(shell command -v $(PYTHON))),python3-dev python3-venv)
BUILD_PACKAGES := gcc libc6-dev systemtap-sdt-dev $(PYTHON_PACKAGES)
LINT_PACKAGES := $(BUILD_PACKAGES) clang-format
SYSTEM_PACKAGES := $(BUILD_PACKAGES) debian-archive-keyring e2fsprogs mmdebstrap qemu-system-x86
TEST_PACKAGES := $(LINT_PACKAGES) chromium-headless-shell dbus-daemon groff-base libiscsi-bin libiscsi-dev qemu-block-extra qemu-system-x86 qemu-utils
FUZZ_PACKAGES := $(BUILD_PACKAGES) clang libclang-rt-dev
BENCH_PACKAGES := $(BUILD_PACKAGES) libiscsi-dev tgt valgrind
DOCS_PACKAGES := graphviz fonts-dejavu-core
STRANGER_PACKAGES := iproute2 libiscsi-bin mmdebstrap qemu-block-extra qemu-utils
ALL_PACKAGES := $(sort $(FUZZ_PACKAGES) $(TEST_PACKAGES) $(SYSTEM_PACKAGES) $(BENCH_PACKAGES) $(DOCS_PACKAGES))

# $(call packages,NAMES): install what is missing when root, else say how and stop.
define packages
@if ! command -v dpkg-query >/dev/null; then \
  echo "This is not Debian: what these packages hold must be there: $(1)"; \
else \
  missing=; for package in $(1); do \
    [ "$$(dpkg-query -W -f='$${db:Status-Status}' $$package 2>/dev/null)" = installed ] \
      || missing="$$missing $$package"; \
  done; \
  if [ -n "$$missing" ]; then \
    install="apt-get install --yes --no-install-recommends$$missing"; \
    if [ "$$(id -u)" != 0 ]; then \
      echo "Debian packages are missing. Run this, then make again:"; \
      echo "  sudo $$install"; exit 1; \
    fi; \
    echo "Installing:$$missing"; export DEBIAN_FRONTEND=noninteractive; \
    compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || apt-get update --quiet=2; \
    $$install >/dev/null || { apt-get update --quiet=2 && $$install >/dev/null; }; \
  fi; \
fi
endef

.PHONY: help
help: ## say what there is to do
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

.PHONY: system-packages
system-packages: ## install the Debian packages that any target needs
	$(call packages,$(ALL_PACKAGES))

# ---- the program ----

# Whoever has the program from here has all that it can do, without asking pip for more.
EXTRAS := completion,metrics,shell,tcmu

.PHONY: build serve
build: build-packages $(VENV)/.installed ## set up .venv with the program in it

serve: build ## serve a 1 GiB emulated disk, var/disk.img, on 127.0.0.1:3260
	@exec $(VENV)/scsi2nvme serve --controller emulated:var/disk.img,size=1G --state-dir var \
	  --iqn iqn.2026-11.io.github.scsi2nvme:disk0

# Not below /home: the unit of systemd hides that from the daemon.
PREFIX ?= /opt/scsi2nvme
.PHONY: wheel install uninstall
wheel: build # for others to install
	@rm -rf build/dist
	@$(BUILD) pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/dist \
	  --config-settings=build-dir=build/wheel .

install uninstall: COMPLETIONS := $(addprefix /usr/local/share/,bash-completion/completions zsh/site-functions)
install: wheel ## as root, install into PREFIX=/opt/scsi2nvme, with a link in /usr/local/sbin
	@$(PYTHON) -m venv $(PREFIX)
	@$(PREFIX)/bin/pip install --quiet --force-reinstall --no-deps build/dist/*.whl
	@$(PREFIX)/bin/pip install --quiet "scsi2nvme[$(EXTRAS)] @ file://$$(echo $(CURDIR)/build/dist/*.whl)"
	@mkdir -p /usr/local/sbin && ln -sfn $(PREFIX)/bin/scsi2nvme /usr/local/sbin/scsi2nvme
	@$(PREFIX)/bin/python -P -m scsi2nvme.manual $(PREFIX)/share/man
	@for section in man5 man8; do mkdir -p /usr/local/share/man/$$section && \
	  ln -sf $(PREFIX)/share/man/$$section/* /usr/local/share/man/$$section; done
	@mkdir -p $(COMPLETIONS) && \
	  $(PREFIX)/bin/scsi2nvme completion bash >$(firstword $(COMPLETIONS))/scsi2nvme && \
	  $(PREFIX)/bin/scsi2nvme completion zsh >$(lastword $(COMPLETIONS))/_scsi2nvme
	@echo "Installed: /usr/local/sbin/scsi2nvme"

# What the daemon keeps, and how the system is to run it, is an operator's.
uninstall: ## as root, take away what `make install` has put there; with the same PREFIX
	@[ "$$(readlink /usr/local/sbin/scsi2nvme)" = $(PREFIX)/bin/scsi2nvme ] || \
	  { echo "it is not installed in $(PREFIX); give PREFIX=" >&2; exit 1; }
	@$(PREFIX)/bin/python -P -c 'from scsi2nvme.cli.verbs.install_units.units import FILES; \
	  print(*FILES.values(), sep="\n")' | while read -r file; do \
	  [ ! -e "/$$file" ] || echo "Stays, as install-units has written it: /$$file"; done
	@find /usr/local/share/man -lname '$(PREFIX)/share/man/*' -delete
	@rm -f /usr/local/sbin/scsi2nvme $(firstword $(COMPLETIONS))/scsi2nvme $(lastword $(COMPLETIONS))/_scsi2nvme
	@case $(PREFIX) in \
	  */scsi2nvme) rm -rf $(PREFIX);; \
	  *) echo "Stays, as others may be there, too: $(PREFIX)";; esac

.PHONY: build-packages lint-packages test-packages system-test-packages
build-packages:
	$(call packages,$(BUILD_PACKAGES))
lint-packages:
	$(call packages,$(LINT_PACKAGES))
test-packages:
	$(call packages,$(TEST_PACKAGES))
system-test-packages:
	$(call packages,$(SYSTEM_PACKAGES))

PYTHON_CHECK = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
  f"scsi2nvme needs Python 3.11 or newer; $(PYTHON) is {sys.version.split()[0]}")'
TOOLS := 'meson-python>=0.22' 'meson>=1.4' 'ninja>=1.11' 'cffi>=2.1'

$(VENV)/.tools: pyproject.toml
	@$(PYTHON_CHECK)
	@echo "Setting up .venv"
	@$(BUILD) $(PYTHON) -m venv .venv
	@$(BUILD) pip install --quiet $(TOOLS)
	@touch $@

$(VENV)/.installed: $(VENV)/.tools $(SOURCES)
	@echo "Building scsi2nvme"
	@$(BUILD) pip install --quiet --no-build-isolation --config-settings=build-dir=build/wheel '.[$(EXTRAS)]'
	@touch $@

# ---- tests and checks ----

build/venv/.installed: pyproject.toml meson.build tests/c/meson.build
	@$(PYTHON_CHECK)
	@echo "Setting up build/venv"
	@$(DEV_BUILD) $(PYTHON) -m venv build/venv
	@$(DEV_BUILD) pip install --quiet --upgrade 'pip>=23.1' $(TOOLS)
	@$(DEV_BUILD) pip install --quiet --no-build-isolation --editable '.[dev,docs]' \
	  -Cbuild-dir=$(NATIVE) -Csetup-args=-Dwerror=true -Csetup-args=-Db_ndebug=false \
	  -Csetup-args=-Ddebug=true
	@touch $@

# Each import looks with ninja whether to build. Its logs are tidied here, lest several
# processes that import at once do so at once.
.PHONY: environment c-tests
environment: build/venv/.installed
	@$(DEV_BUILD) ninja --quiet -C $(NATIVE) all meson-test-prereq
	@$(DEV_BUILD) ninja --quiet -C $(NATIVE) -t recompact

c-tests: environment
	@$(DEV_BUILD) meson test -C $(NATIVE) --no-rebuild --print-errorlogs

# With the slowest tests named in the end; docs/test-times.md has the modules.
PYTEST_OPTIONS := --durations=10 --durations-min=1
PYTEST := PATH="$(DEV):$$PATH" pytest $(PYTEST_OPTIONS)
# Two and a half times as many as processors, since many tests wait for something.
MANY := -n $(shell echo $$((5 * $$(nproc) / 2))) --dist worksteal
# Two machines, each of which takes whole modules, the longest first; and beside them, at low
# priority, what needs none: a machine waits often.
MACHINES := -n $(shell echo $$((2 + $$(nproc)))) --machines 2
SYSTEM_PYTEST := KERNEL=$(or $(KERNEL),linux-image-amd64) $(PYTEST)

.PHONY: test check lint sanitize
test: test-packages system-test-packages images c-tests ## run every test, or TESTS=tests/drivers
	@$(if $(TESTS),$(PYTEST) $(MANY) -m 'not system' $(TESTS),\
	  $(SYSTEM_PYTEST) $(MACHINES) --junitxml build/junit.xml)

# Who needs what machines boot from waits for it, or builds it anew and says what is wrong.
.PHONY: images
images: environment system-test-packages
	@$(if $(TESTS),,$(DEV)/python -m tests.system.image $(KERNEL) >build/images.log 2>&1 &)

# Beside `lint`, which keeps one processor busy: each worker would else compile all tests, and look
# for constants in all modules (hypothesis does), in a checkout where nobody has done so.
.PHONY: collection
collection: environment
	@$(DEV)/python -m pytest --collect-only -n 0 >/dev/null 2>&1 &

check: test-packages collection lint c-tests ## lint, and the tests that take no minutes
	@$(PYTEST) $(MANY) -m 'not slow' $(TESTS)

.PHONY: test-times system-test
test-times: environment ## write docs/test-times.md from what the last `make test` reported
	@$(DEV)/python -m tests.times

system-test: system-test-packages environment ## run the tests in a whole machine; KERNEL=linux-image-6.12-amd64 for that
	@$(SYSTEM_PYTEST) -n 2 --machines 2 $(or $(TESTS),tests/system)

# The build itself is the check for compiler warnings: each is an error.
lint: lint-packages environment ## ruff, mypy strict, clang-format, compiler warnings, circles, sizes
	@$(DEV)/ruff check .
	@$(DEV)/ruff format --check .
	@PATH="$(DEV):$$PATH" mypy
	@clang-format --dry-run -Werror $(C_FILES)
	@$(DEV)/python -m tests.architecture --quiet

.PHONY: graph
graph: environment ## print who depends on whom, in circles or not, and how large it is
	@$(DEV)/python -m tests.architecture

# The editable install steps aside for the tree that was built with sanitizers, and
# programs that are not ours are run without the sanitizer's library: it breaks them.
ASAN := $(CURDIR)/build/asan
sanitize: test-packages environment ## run C tests and test suite under ASan and UBSan
	@[ -f $(ASAN)/build.ninja ] || $(DEV_BUILD) meson setup $(ASAN) -Dbuildtype=debugoptimized \
	  -Dwerror=true -Db_lto=false -Db_sanitize=address,undefined -Dpython.platlibdir=$(ASAN)/site
	@rm -rf $(ASAN)/site
	@$(DEV_BUILD) meson install -C $(ASAN) --quiet
	@$(DEV_BUILD) meson test -C $(ASAN) --print-errorlogs
	@rm -rf $(ASAN)/bin && mkdir $(ASAN)/bin
	@for tool in /usr/bin/chromium-headless-shell /usr/bin/groff /usr/bin/iscsi-* /usr/bin/qemu-*; do \
	  printf '#!/bin/sh\nunset LD_PRELOAD\nexec %s "$$@"\n' $$tool >$(ASAN)/bin/$${tool##*/}; \
	done; chmod +x $(ASAN)/bin/*
	@ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=1:handle_sigbus=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	  LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" PYTHONPATH="$(ASAN)/site:$(CURDIR)" \
	  PYTHONSAFEPATH=1 MESONPY_EDITABLE_SKIP="$(CURDIR)/$(NATIVE)" \
	  PATH="$(ASAN)/bin:$(DEV):$$PATH" pytest $(PYTEST_OPTIONS) $(MANY) \
	  --override-ini pythonpath= --ignore tests/test_packaging.py -m 'not slow' $(TESTS)

.PHONY: fuzz fuzz-iscsi fuzz-nvme fuzz-tcmu bench system-bench docs stranger
# With clang, half of the time is for the tables and a sixth for each target in C.
fuzz: build-packages environment ## fuzz tables, both translations and, with clang, the targets in C for TIME=10m
	@time=$(or $(TIME),10m); seconds=$${time%[smh]}; status=0; \
	case $$time in *m) seconds=$$((60 * seconds));; *h) seconds=$$((3600 * seconds));; esac; \
	if command -v clang >/dev/null; then \
	  $(DEV)/scsi2nvme fuzz --time $$((seconds / 2)) --corpus var/corpus || status=1; \
	  for target in iscsi nvme tcmu; do \
	    $(MAKE) --no-print-directory fuzz-$$target SECONDS=$$((seconds / 6 + 1)) || status=1; \
	  done; \
	else \
	  echo "clang is not there: the targets in C are left out"; \
	  $(DEV)/scsi2nvme fuzz --time $$seconds --corpus var/corpus || status=1; \
	fi; exit $$status

.PHONY: fuzz-hot
fuzz-hot: build-packages environment ## hold C and Python against each other for CDBS=1000000 of the hot path (SEED=)
	@$(DEV)/python -m scsi2nvme.fuzz.bulk --cdbs $(or $(CDBS),1000000) $(if $(SEED),--seed $(SEED))

.PHONY: mutants
mutants: test-packages environment ## plant faults and name those that no fast test notices, for MINUTES=30 (0: all; FILES=, SEED=, COUNT=, ALONE=1, BY=)
	@PATH="$(DEV):$$PATH" python -m tests.mutants --minutes $(or $(MINUTES),30) \
	  $(if $(FILES),--files $(FILES)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(COUNT),--count $(COUNT)) $(if $(ALONE),--alone) $(if $(BY),--by $(BY))

.PHONY: model
model: test-packages environment ## hold the logical unit against a model of a disk for STEPS=100000 (SEED=, CONTROLLER=, WAY=)
	@$(DEV)/python -m tests.model --steps $(or $(STEPS),100000) $(if $(SEED),--seed $(SEED)) \
	  $(addprefix --controller ,$(CONTROLLER)) $(addprefix --way ,$(WAY))

fuzz-iscsi: ## fuzz the iSCSI full-feature phase with libFuzzer for SECONDS=600 (or RUNS=)
fuzz-nvme: ## fuzz what a controller writes into a completion queue
fuzz-tcmu: ## fuzz the rings of the kernel's target
LIBFUZZER := $(CURDIR)/build/libfuzzer
# What was freed is kept for the length of several inputs: more costs a fifth of the time, in pages
# that are touched for the first time.
fuzz-iscsi fuzz-nvme fuzz-tcmu: fuzz-%: environment
	$(call packages,$(FUZZ_PACKAGES))
	@[ -f $(LIBFUZZER)/build.ninja ] || CC=clang $(DEV_BUILD) meson setup $(LIBFUZZER) \
	  -Dbuildtype=debugoptimized -Db_lto=false -Db_lundef=false -Db_sanitize=address,undefined
	@$(DEV_BUILD) ninja --quiet -C $(LIBFUZZER) tests/c/fuzz_$* tests/c/libfuzzer_$*
	@mkdir -p var/corpus-$* && $(LIBFUZZER)/tests/c/fuzz_$* --seed var/corpus-$*/seed
	@ASAN_OPTIONS=quarantine_size_mb=4 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	  $(LIBFUZZER)/tests/c/libfuzzer_$* \
	  $(if $(RUNS),-runs=$(RUNS),-max_total_time=$(or $(SECONDS),600)) -max_len=16384 -entropic=0 -artifact_prefix=var/ var/corpus-$*

bench: build ## measure speed side by side with tgt
	$(call packages,$(BENCH_PACKAGES))
	@PYTHONSAFEPATH=1 $(VENV)/python -c 'import sys; sys.path.append("."); \
	  import runpy; runpy.run_module("bench", run_name="__main__")' --json build/bench.json

system-bench: system-test-packages environment ## measure speed beside tcmu-runner and LIO, in a whole machine
	@PATH="$(DEV):$$PATH" python -m bench.system --json build/system-bench.json

docs: build-packages environment ## generate the pages of docs/ that come from the tables, and the pictures
	$(call packages,$(DOCS_PACKAGES))
	@$(DEV)/python -m scsi2nvme.documentation docs
	@$(DEV)/python -m tests.architecture.comparison
	@$(DEV)/python -m tests.architecture.emulated
	@$(DEV)/python -m tests.architecture.pictures
	@$(DEV)/python -m tests.recording

stranger: ## check that it builds, serves, installs and is a package in a bare Debian 12 (needs root)
	$(call packages,$(STRANGER_PACKAGES))
	@tests/stranger.sh

.PHONY: site
site: environment ## build the documentation as a site, in build/site
	@$(DEV)/mkdocs build --quiet --strict

.PHONY: deb
deb: wheel ## make a Debian package in build/deb, for this Debian's Python
	@rm -rf build/deb && mkdir -p build/deb
	@packaging/deb.sh $(VENV)/python build/dist/*.whl $(EXTRAS) build/deb

.PHONY: man
man: environment ## write the manual's pages into build/man: scsi2nvme(8), a page per verb, scsi2nvme.toml(5)
	@rm -rf build/man && $(DEV)/python -m scsi2nvme.manual build/man
	@echo "Written: try man -l build/man/man8/scsi2nvme.8"

.PHONY: clean
clean: ## remove what was built; var/ keeps its disks
	rm -rf build .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find scsi2nvme/ target/ drivers/ fuzz/ tests/ -name __pycache__ -prune -exec rm -r {} +
	rm -f scsi2nvme/_dataplane*.so
