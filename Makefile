# SPDX-License-Identifier: Apache-2.0
# Run as root on Debian 12. `make help` lists what there is.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

VMS    ?= 2
HOSTS  ?= 1
NAME   ?= lab
TARGET ?= softswitch
FEED   ?= sqlite
VM     ?= namespace
ENGINE ?= auto
ARCH   ?= v1model
FRAMES ?= 100000
TEST   ?=
JSON   ?=
ROUNDS ?= 200
SEED   ?=
FAULT  ?=
# not ?=: some shells export HOST, the machine's name
HOST   := host
PART   ?=

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
PTF_VENV  := .venv-ptf
PTF_READY := $(PTF_VENV)/.ready

PACKAGES := telemetry/hvchannel_telemetry privilege/hvchannel_privilege softswitch/hvchannel_softswitch control/hvchannel_control daemons/hvchannel_daemons lab/hvchannel_lab
CODE     := $(PACKAGES) tests ptf-tests bench p4src/compile.py requirements/audit.py
PIP      := install --quiet --disable-pip-version-check --require-hashes

.PHONY: help
help: ## this list
	@echo "make run      a hypervisor and two VMs: the journey of a document, hop by hop (VMS=8, ENGINE=interpreter, ARCH=pna, TARGET=bmv2, FEED=nats, HOSTS=2, VM=qemu)"
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14 | sed 's/^/make /'

# --- what everything stands on ---------------------------------------------------------------------------------------

.PHONY: setup
setup: $(READY) ## the virtual environment, from the lock file

# ensurepip is what a Debian without python3-venv lacks; ip lays the PTF suite's veths.
.PHONY: debian
debian:
	@python3 -c 'import ensurepip, sys; assert sys.version_info >= (3, 11)' 2>/dev/null && command -v ip >/dev/null || \
	  { echo "installing python3-venv, iproute2"; apt-get update -qq && apt-get install -y -qq python3 python3-venv iproute2; }

$(READY): requirements/dev.txt pyproject.toml | debian
	@echo "setting up $(VENV) from requirements/dev.txt (about half a minute)"
	@python3 -m venv $(VENV)
	@$(BIN)/pip $(PIP) -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# p4runtime-shell's pins exclude a modern protobuf: the PTF suite and the shell have an environment of their own. ptf names
# packages that it never imports, one of which needs a C compiler; the lock file leaves them out, hence --no-deps.
$(PTF_READY): requirements/ptf.txt | debian
	@echo "setting up $(PTF_VENV) from requirements/ptf.txt"
	@python3 -m venv $(PTF_VENV)
	@$(PTF_VENV)/bin/pip $(PIP) --no-deps -r requirements/ptf.txt
	@touch $@

# --- use it ----------------------------------------------------------------------------------------------------------

.PHONY: run
run: $(READY)
	@$(BIN)/hvchannel run --name $(NAME) --vms $(VMS) --hosts $(HOSTS) --target $(TARGET) --engine $(ENGINE) --arch $(ARCH) --feed $(FEED) --vm $(VM)

.PHONY: up
up: $(READY) ## the same lab, and it stays up until Ctrl-C
	@$(BIN)/hvchannel up --name $(NAME) --vms $(VMS) --hosts $(HOSTS) --target $(TARGET) --engine $(ENGINE) --arch $(ARCH) --feed $(FEED) --vm $(VM)

.PHONY: down
down: $(READY) ## stop the lab, and remove what a killed one left, in the kernel too
	@$(BIN)/hvchannel down --name $(NAME)

.PHONY: shell
shell: $(PTF_READY) ## p4runtime-shell on the running lab's host vSwitch (HOST=hv2 of several; reads only: the controller is its primary)
	@test -S state/$(NAME)/$(HOST)/p4rt.sock || { \
	  hosts=$$(cd state/$(NAME) 2>/dev/null && ls -d host/p4rt.sock hv*/p4rt.sock 2>/dev/null | sed 's,/.*,,' | paste -sd' '); \
	  [ -n "$$hosts" ] && echo "error: no hypervisor '$(HOST)' in lab '$(NAME)': give HOST= (valid: $$hosts)" >&2 || \
	  echo "error: no lab '$(NAME)' is running: start one with make up" >&2; exit 1; }
	@$(PTF_VENV)/bin/python -m p4runtime_sh --device-id 1 --grpc-addr unix:state/$(NAME)/$(HOST)/p4rt.sock --election-id 0,1

# --- prove it --------------------------------------------------------------------------------------------------------

.PHONY: test
test: $(READY) $(PTF_READY) ## all tests (TEST=tests/control for a part)
	@$(BIN)/pytest $(TEST)

.PHONY: test-vm
test-vm: $(READY) ## the tests with a real virtual machine (QEMU), of which make test runs the first only
	@HVCHANNEL_VM_TESTS=1 $(BIN)/pytest tests/vm

.PHONY: test-deploy
test-deploy: $(READY) ## the ten commands of docs/deploy.md, to a document in a VM (mmdebstrap, libvirt; ten minutes without KVM)
	@HVCHANNEL_DEPLOY_TEST=1 $(BIN)/pytest tests/deploy --timeout 3600

.PHONY: ptf
ptf: $(READY) $(PTF_READY) ## the PTF suite (ENGINE=xdp or interpreter, ARCH=pna, TARGET=bmv2, TEST=a class, file or group; GRPC_ADDR= and PORT_MAP=1=eth1,2=eth2,3=eth3 for a device)
	@ptf-tests/run --target $(TARGET) --engine $(ENGINE) --arch $(ARCH) $(if $(TEST),--test $(TEST)) \
	  $(if $(GRPC_ADDR),--grpc-addr $(GRPC_ADDR) --port-map $(PORT_MAP) $(if $(BENCH),--bench $(BENCH)) \
	  $(if $(P4INFO),--p4info $(P4INFO)) $(if $(CONFIG),--config $(CONFIG)))

.PHONY: diff
diff: $(READY) ## softswitch and bmv2 side by side, frame by frame (FRAMES=100000 per program)
	@HVCHANNEL_DIFF_FRAMES=$(FRAMES) $(BIN)/pytest tests/diff --timeout 3600

.PHONY: equal
equal: $(READY) ## the two engines side by side, frame by frame (FRAMES=100000 per program)
	@HVCHANNEL_EQUAL_FRAMES=$(FRAMES) $(BIN)/pytest tests/softswitch/test_xdp_equal_channel.py --timeout 3600

.PHONY: chaos
chaos: $(READY) ## faults injected one after the other, and what recovers (ROUNDS=200, SEED=, ENGINE=, FEED=nats, FAULT="kill -9")
	@$(BIN)/python -m tests.chaos --rounds $(ROUNDS) --engine $(ENGINE) --feed $(FEED) $(if $(SEED),--seed $(SEED)) $(if $(FAULT),--fault "$(FAULT)")

# A long run of tests/attacks, which make test runs in a short form; HVCHANNEL_ATTACKS_SEED=... replays random frames.
.PHONY: attacks
attacks: $(READY) ## attacks from inside a VM, at length (ENGINE=xdp or interpreter, TARGET=bmv2)
	@HVCHANNEL_ATTACKS=$(if $(filter bmv2,$(TARGET)),bmv2,$(if $(filter auto,$(ENGINE)),xdp,$(ENGINE))) $(BIN)/pytest tests/attacks -s

.PHONY: lint
lint: $(READY) ## ruff and mypy --strict
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/mypy bench p4src/compile.py requirements/audit.py
	@cd ptf-tests && MYPYPATH=. ../$(BIN)/mypy --strict -p runner

AUDIT_VENV := .venv-audit

$(AUDIT_VENV)/.ready: requirements/audit.txt | debian
	@python3 -m venv $(AUDIT_VENV)
	@$(AUDIT_VENV)/bin/pip $(PIP) -r requirements/audit.txt
	@touch $@

.PHONY: audit
audit: $(AUDIT_VENV)/.ready ## known vulnerabilities in what the lock files name
	@python3 requirements/audit.py $(AUDIT_VENV)/bin/pip-audit requirements/dev.txt requirements/ptf.txt requirements/audit.txt

.PHONY: bench
bench: $(READY) ## figures side by side (JSON=file to keep them, PART=path, documents, entries, costs, scale or flood)
	@$(BIN)/python -m bench $(if $(JSON),--json $(JSON)) $(if $(PART),--part $(PART))

# --- what is generated, and kept in the repository -------------------------------------------------------------------

.PHONY: p4
p4: ## compile p4src/ for what bmv2 and softswitch run (v1model, PNA), with p4c on PATH or its container
	@python3 p4src/compile.py

.PHONY: p4-all
p4-all: ## compile p4src/ for every architecture that a p4c is here for, and say which not (docs/ports.md)
	@python3 p4src/compile.py --all

PROTOS_telemetry := telemetry/hvchannel_telemetry/process.proto
PROTOS_control := control/hvchannel_control/api/control.proto
PROTOS_daemons := $(wildcard daemons/hvchannel_daemons/*/*.proto)

.PHONY: proto
proto: $(READY) ## the gRPC stubs beside their .proto
	@for root in telemetry control daemons; do \
	  case $$root in telemetry) protos="$(PROTOS_telemetry)";; control) protos="$(PROTOS_control)";; \
	    *) protos="$(PROTOS_daemons)";; esac; \
	  PATH=$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -I $$root --python_out=$$root --grpc_python_out=$$root \
	    --mypy_out=$$root --mypy_grpc_out=$$root $$protos || exit 1; \
	done

.PHONY: lock
lock: ## the lock files, with uv
	@uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 pyproject.toml --group dev -o requirements/dev.txt
	@uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 pyproject.toml -c requirements/dev.txt -o requirements/run.txt
	@uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 requirements/ptf.in -o requirements/ptf.txt \
	  $(foreach name,netifaces scapy-helper pyperclip tabulate getmac,--no-emit-package $(name))
	@uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 requirements/audit.in -o requirements/audit.txt

.PHONY: dist
dist: $(READY) ## dist/hvchannel-*.whl: all of the project that a guest or a hypervisor needs
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

GENISOIMAGE := genisoimage -quiet -V cidata -R -J -input-charset utf-8

# All that a VM needs without a network: wheels, pip (which a cloud's image lacks), units, a cloud-init seed.
.PHONY: guest-disc
guest-disc: dist ## dist/guest.iso: a cloud-init seed that puts the channel into a VM, without a network
	@command -v genisoimage >/dev/null || { echo "installing genisoimage"; apt-get install -y -qq genisoimage; }
	@rm -rf dist/guest && mkdir -p dist/guest/wheels
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --require-hashes --wheel-dir dist/guest/wheels -r requirements/run.txt
	@cp dist/hvchannel-*.whl dist/guest/wheels/
	@cp -r $(VENV)/lib/python3*/site-packages/pip dist/guest/wheels/
	@cp -r packaging dist/guest/
	@cp packaging/cloud-init/* dist/guest/
	@$(GENISOIMAGE) -o dist/guest.iso dist/guest
	@ls dist/guest.iso

.PHONY: install
install: dist ## the programs into /opt/hvchannel, units, configuration and libvirt's hook: a hypervisor (docs/deploy.md)
	@packaging/install hypervisor

.PHONY: clean
clean: ## remove environments, caches and the state of stopped labs
	@rm -rf $(VENV) $(PTF_VENV) $(AUDIT_VENV) state .mypy_cache .ruff_cache .pytest_cache .hypothesis
