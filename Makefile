# The one entry to everything. `make` alone lists the targets.

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv/bin
ROOT := setup/root.sh
LINKS := topologies/emulation/links/daemon
DEMO := europe
LABS := 3 # real labs under test at a time; they mostly wait
NOISY := [ $$? -eq 3 ] # poplab run says so itself: this machine was too busy for true times

.PHONY: help setup packages links virtual hermetic bgp check test test-netem vm vm-box demo reference picture bench doctor lock clean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

setup: packages .venv/.ready links ## everything that is needed: packages, Python environment, link daemon

packages:
	@setup/packages.sh

# The mark holds the folder in which .venv was made: a copy of it would run that folder's code.
MOVED := $(filter-out $(CURDIR),$(shell cat .venv/.ready 2>/dev/null))

# PYTHON=/path/to/python3 chooses the interpreter.
.venv/.ready: requirements.lock setup/uv.lock setup/venv.sh pyproject.toml $(if $(PYTHON)$(MOVED),FORCE) | packages
	@$(if $(MOVED),rm -rf .venv)
	@setup/venv.sh
	@echo "$(CURDIR)" >$@

links: | packages
	@$(MAKE) --silent -C $(LINKS)

# SOURCE=/path/to/linux-source-*.deb where no mirror has the pinned one.
virtual: setup ## the guest's kernel for runs in virtual time, into your cache folder (a few minutes, once)
	@setup/packages.sh flex bison bc xz-utils patch
	@$(VENV)/python -m topologies.emulation.sandbox.kernel $(SOURCE)

hermetic: setup ## pinned files for guests, into your cache folder, so that the host's no longer matter (a minute, once)
	@$(VENV)/python -m topologies.emulation.sandbox.root

bgp: setup ## FRR, whose BGP speakers a network may have upstream (its service is not started)
	@setup/packages.sh frr

check: setup ## lint, types, layers and the tests that need no root (a few minutes)
	@$(VENV)/uv pip check --quiet
	$(VENV)/ruff check --quiet .
	$(VENV)/ruff format --quiet --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-logo
	@setup/lint.sh
	$(VENV)/pytest -q -m "not net and not virtual and not browser" -n auto

test: check ## check, then every test on real labs (root or sudo), in virtual time and in a browser if they are there
	$(VENV)/pytest -q -m browser
	$(VENV)/pytest -q -m virtual -n auto --dist load --maxschedchunk 1
	$(ROOT) $(VENV)/pytest -q -m "net and not alone" --require-net -p no:cacheprovider -n $(LABS) --dist load --maxschedchunk 1
	$(ROOT) $(VENV)/pytest -q -m "net and alone" --require-net -p no:cacheprovider

# CLOCK=real: by the host's clock, so that what netem does to time meets a busy machine.
test-netem: virtual ## the tests of netem, in a guest whose kernel has it
	$(VENV)/python tests/in_guest.py $(or $(CLOCK),virtual) -q -m netem tests/links

vm: ## the Vagrantfile's machine in QEMU: set up, provisioned, a study on its stock kernel (without KVM about 10 minutes)
	@setup/packages.sh mmdebstrap qemu-system-x86 openssh-client rsync e2fsprogs fdisk
	@image=$$($(ROOT) setup/vm/image.sh) && $(ROOT) env ACCEL=$(ACCEL) POPLAB_CPUS=$(POPLAB_CPUS) setup/vm/run.sh "$$image"

vm-box: ## the same machine as a box for Vagrant with libvirt
	@setup/packages.sh mmdebstrap qemu-utils openssh-client rsync e2fsprogs fdisk
	@image=$$($(ROOT) setup/vm/image.sh) && $(ROOT) setup/vm/box.sh "$$image"

demo: setup ## two short studies on a real network: who is served where, and how addresses are shared
	$(ROOT) $(VENV)/poplab run latency --network $(DEMO) --quick || $(NOISY)
	$(ROOT) $(VENV)/poplab run borrowing --network $(DEMO) --quick || $(NOISY)

reference: virtual hermetic ## the reference runs and the README's figures again, in virtual time
	@results/reference/make.sh

picture: setup ## the README's animated picture of the live page again, from a real lab (root or sudo)
	@setup/packages.sh chromium
	$(ROOT) $(VENV)/python -m tests.picture

bench: setup ## how fast poplab itself is, beside stock Mininet
	$(ROOT) $(VENV)/python -m benchmarks $(ONLY)

doctor: setup ## what this host can do, and what mends the rest
	$(ROOT) $(VENV)/poplab doctor

lock: setup ## renew the locked versions of every Python package
	setup/lock.sh

clean: ## remove what set-up and tests made (results stay)
	$(MAKE) --silent -C $(LINKS) clean
	$(ROOT) rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	$(ROOT) find . -name __pycache__ -type d -prune -exec rm -rf {} +

FORCE:
