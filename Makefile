# SPDX-License-Identifier: GPL-2.0
# Builds blockslab.ko and its test modules against a kernel's headers; `make help` says how.

KDIR ?= /lib/modules/$(shell uname -r)/build
CHECKPATCH ?= $(firstword $(wildcard $(KDIR)/scripts/checkpatch.pl $(KDIR)/../*-common/scripts/checkpatch.pl))
# Modules are built in a copy of the sources, so that nothing is left behind in the tree.
BUILD ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/blockslab/modules
RELEASE = $(shell cat $(KDIR)/include/config/kernel.release)
sources := Kbuild blockslab.c blockslab.h core test

all: sync
	$(MAKE) -C $(KDIR) M=$(abspath $(BUILD)) modules

help:
	@echo 'make [all]            build the modules against KDIR, in BUILD'
	@echo 'make modules_install  install blockslab.ko for that kernel (as root)'
	@echo 'make check            build with W=1 and sparse, and run checkpatch'
	@echo 'make clean            remove what was built'
	@echo
	@echo 'KDIR=$(KDIR)  (headers of the kernel to build for)'
	@echo 'BUILD=$(BUILD)  (where the modules are built)'
	@echo 'LLVM=1 builds with clang. tools/demo and tools/test need no make: see README.md.'

# Only what changed is copied: a second build does only what is needed.
sync:
	@mkdir -p $(BUILD)
	@cp -urT --preserve=timestamps core $(BUILD)/core
	@cp -urT --preserve=timestamps test $(BUILD)/test
	@cp -u --preserve=timestamps $(filter-out core test,$(sources)) $(BUILD)/

# blockslab.ko alone: the clients and suites beside it are for guests.
modules_install: all
	install -D -m 644 $(BUILD)/blockslab.ko $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)/updates/blockslab.ko
	depmod $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) $(RELEASE)

check: sync
	$(MAKE) -C $(KDIR) M=$(abspath $(BUILD)) clean
	$(MAKE) -C $(KDIR) M=$(abspath $(BUILD)) W=1 C=2 CF=-D__CHECK_ENDIAN__ modules
	$(CHECKPATCH) --strict --no-tree --no-summary -q -f \
		blockslab.c blockslab.h $(wildcard core/*.[ch] test/*/*.[ch])

clean:
	rm -rf $(BUILD)

.PHONY: all help sync modules_install check clean
