# SPDX-License-Identifier: GPL-2.0
# Builds blockslab.ko and its test modules against a kernel's headers; `make help` says how.

KDIR ?= /lib/modules/$(shell uname -r)/build
# What the kernel calls itself; include/config/kernel.release is something else on Debian.
RELEASE := $(shell sed -n 's/^.define UTS_RELEASE "\(.*\)"/\1/p' \
	'$(KDIR)/include/generated/utsrelease.h' 2>/dev/null)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/blockslab
# Modules are built in a copy of the sources, so that nothing is left behind in the tree: one
# for each kernel and checkout.
BUILD ?= $(CACHE)/modules/$(RELEASE)-$(or $(ARCH),$(shell uname -m))-$(shell \
	printf '%s %s' "$$PWD" "$$(cd '$(KDIR)' 2>/dev/null && pwd -P)" | cksum | cut -d ' ' -f 1)
DOCS ?= $(CACHE)/docs
CHECKPATCH ?= $(firstword $(wildcard $(KDIR)/scripts/checkpatch.pl \
	$(KDIR)/source/scripts/checkpatch.pl $(KDIR)/../*-common/scripts/checkpatch.pl \
	$(CACHE)/source/6.1/scripts/checkpatch.pl))
prefix ?= /usr/local
INSTALL_MOD_PATH ?= $(DESTDIR)
into := $(DESTDIR)$(prefix)

export BUILD KDIR RELEASE
# It runs elsewhere: paths that begin here do not begin there.
kbuild = $(MAKE) -C $(KDIR) M=$(abspath $(BUILD)) \
	$(if $(INSTALL_MOD_PATH),INSTALL_MOD_PATH=$(abspath $(INSTALL_MOD_PATH)))
# Where the headers came without the kernel's key, Kbuild's attempts to sign would all fail.
unsigned = $(if $(wildcard $(KDIR)/certs/signing_key.x509),,CONFIG_MODULE_SIG_ALL=)

all: sync
	+$(kbuild) modules
	@echo 'blockslab.ko and Module.symvers are in $(BUILD)'

help:
	@echo 'make [all]            build the modules against KDIR, in BUILD'
	@echo 'make install          (as root) modules_install, and dev_install'
	@echo 'make modules_install  blockslab.ko, for that kernel'
	@echo 'make dev_install      what clients are built with: headers, Module.symvers, blockslab-config'
	@echo 'make uninstall        remove what these installed; the headers with the last kernel (RELEASE=$(RELEASE))'
	@echo 'make check            build with W=1 and sparse; checkpatch; the rules of the house'
	@echo 'make docs             man pages and HTML of the API, in DOCS'
	@echo 'make clean            remove what was built'
	@echo
	@echo 'KDIR=$(KDIR)  (headers of the kernel to build for)'
	@echo 'BUILD=$(BUILD)  (where the modules are built)'
	@echo 'DOCS=$(DOCS)'
	@echo 'INSTALL_MOD_PATH=$(INSTALL_MOD_PATH)  (installs modules below this directory)'
	@echo 'prefix=$(prefix)  (of what clients are built with; below DESTDIR=$(DESTDIR), as modules are)'
	@echo 'LLVM=1 builds with clang. tools/demo and tools/test need no make: see README.md.'

sync:
	@tools/dev/build-dir sync

# blockslab.ko alone: the clients and suites beside it are for guests.
alone: sync
	+$(kbuild) BLOCKSLAB_ALONE=y modules

modules_install: alone
	+$(kbuild) BLOCKSLAB_ALONE=y KERNELRELEASE=$(RELEASE) INSTALL_MOD_STRIP=1 \
		INSTALL_MOD_DIR=$(or $(INSTALL_MOD_DIR),updates) $(unsigned) modules_install
	depmod $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) $(RELEASE)
	@$(if $(unsigned),echo 'blockslab.ko is not signed: these headers have no key')

dev_install: alone
	install -D -m 644 $(BUILD)/Module.symvers '$(into)/lib/blockslab/$(RELEASE)/Module.symvers'
	tools/blockslab-config --install '$(into)'

install: modules_install dev_install

uninstall: headers
	rm -f $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)/$(or $(INSTALL_MOD_DIR),updates)/blockslab.ko*
	[ ! -d $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE) ] || \
		depmod $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) $(RELEASE)
	rm -rf '$(into)/lib/blockslab/$(RELEASE)'
	@rmdir '$(into)/lib/blockslab' 2>/dev/null || :
	[ -e '$(into)/lib/blockslab' ] || rm -rf '$(into)/include/blockslab' '$(into)/bin/blockslab-config'

headers:
	@tools/dev/build-dir headers

check: sync
	@command -v sparse >/dev/null || { echo 'make check: sparse is missing: apt install sparse'; exit 1; }
	@[ -r '$(CHECKPATCH)' ] || { echo 'make check: no checkpatch.pl with these headers:' \
		'name one with CHECKPATCH=FILE (tools/kernel source brings it)'; exit 1; }
	+$(kbuild) clean
	+tools/dev/quiet $(kbuild) W=1 C=2 CF=-D__CHECK_ENDIAN__ modules
	tools/dev/style '$(CHECKPATCH)'
	tools/dev/house

docs:
	tools/dev/docs '$(DOCS)'

clean:
	@tools/dev/build-dir clean

.PHONY: all alone check clean dev_install docs headers help install modules_install sync uninstall
