// SPDX-License-Identifier: GPL-2.0
/*
 * profile: a plugin of QEMU's that counts the instructions of a guest by address, for
 * tools/bench --profile
 *
 * It counts between two marks, instructions that do nothing and that no compiler makes:
 * `xchg %bx,%bx` begins and `xchg %cx,%cx` ends it, see test/clients/blockslab_bench.c. At QEMU's
 * end it writes a line `ADDRESS COUNT TIMES` for each run of instructions to the file that the
 * argument out=FILE names. One processor, one thread.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

struct run {
	uint64_t address;
	uint64_t length;
	uint64_t now;	/* instructions since the last mark */
	uint64_t sum;	/* of those between marks */
};

#define NR_RUNS	0x100000
static struct run runs[NR_RUNS];
static FILE *out;

static struct run *run_of(uint64_t address, uint64_t length)
{
	uint64_t i = (address ^ length << 7) * 0x9e3779b97f4a7c15 >> 44;

	for (;; i = (i + 1) % NR_RUNS) {
		if (!runs[i].length)
			runs[i] = (struct run){ .address = address, .length = length };
		if (runs[i].address == address && runs[i].length == length)
			return &runs[i];
	}
}

/* At a mark: what was counted since the last one is kept where that began. */
static void mark(unsigned int cpu, void *end)
{
	size_t i;

	for (i = 0; i < NR_RUNS; i++) {
		if (end)
			runs[i].sum += runs[i].now;
		runs[i].now = 0;
	}
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, nr = qemu_plugin_tb_n_insns(tb);

	for (i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const void *bytes = qemu_plugin_insn_data(insn);

		if (qemu_plugin_insn_size(insn) != 3)
			continue;
		if (!memcmp(bytes, "\x66\x87\xdb", 3))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, QEMU_PLUGIN_CB_NO_REGS,
							       NULL);
		else if (!memcmp(bytes, "\x66\x87\xc9", 3))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, QEMU_PLUGIN_CB_NO_REGS,
							       runs);
	}
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
						 &run_of(qemu_plugin_tb_vaddr(tb), nr)->now, nr);
}

static void finish(qemu_plugin_id_t id, void *data)
{
	size_t i;

	for (i = 0; i < NR_RUNS; i++)
		if (runs[i].sum)
			fprintf(out, "%lx %lu %lu\n", runs[i].address, runs[i].sum,
				runs[i].sum / runs[i].length);
	fclose(out);
}

__attribute__((visibility("default")))
int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	out = argc == 1 && !strncmp(argv[0], "out=", 4) ? fopen(argv[0] + 4, "w") : NULL;
	if (!out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
