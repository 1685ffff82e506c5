/* SPDX-License-Identifier: GPL-2.0 */
/* Requests that tests make fail. No API: the symbol is in the namespace BLOCKSLAB_TEST. */
#ifndef _BLOCKSLAB_INJECT_H
#define _BLOCKSLAB_INJECT_H

#include <linux/bits.h>
#include <linux/export.h>
#include <linux/limits.h>
#include <linux/module.h>

#ifndef BLOCKSLAB_BUILD
#ifdef EXPORT_SYMBOL_FOR_MODULES	/* names are strings since 6.13 */
MODULE_IMPORT_NS("BLOCKSLAB_TEST");
#else
MODULE_IMPORT_NS(BLOCKSLAB_TEST);
#endif
#endif

/* With CONFIG_FAULT_INJECTION_DEBUG_FS debugfs/blockslab/fail_* do the same as blockslab_fail(). */
#define BLOCKSLAB_FAIL_PAGES		BIT(0)	/* pages of blocks and of large allocations */
#define BLOCKSLAB_FAIL_DESCRIPTOR	BIT(1)	/* descriptors of blocks */
#define BLOCKSLAB_FAIL_MAGAZINE		BIT(2)	/* magazines */
#define BLOCKSLAB_FAIL_CLASS		BIT(3)	/* heaps, classes and their per-CPU state */
#define BLOCKSLAB_FAIL_TRACK		BIT(4)	/* what TRACK and RED_ZONE keep beside a block */
#define BLOCKSLAB_FAIL_ONCE_NEVER	ULONG_MAX	/* as @after: only @percent counts */

unsigned long blockslab_fail(unsigned int what, unsigned long after, unsigned int percent);

/* What passes of the time that growth is told by. */
void blockslab_grow(struct blockslab_heap *heap, unsigned int minutes);

#endif /* _BLOCKSLAB_INJECT_H */
