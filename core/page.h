/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The words of a block's struct pages, for the inline fast paths and for page.c
 *
 * No API. Every page of a block says in three words whose it is:
 *
 *	lru.next	the lines: per-CPU address of its class's magazines on the page's node
 *	lru.prev	the key word: the lines and a key, added; and blockslab_key_base()
 *	private		the block's descriptor
 *
 * One compare of the key word, on a line that is read anyway, tells a foreign page, and the class's
 * lines are known without a dependent load. Whoever reads @private must do so before the compare,
 * with preemption off or under rcu_read_lock(): on clearing, the key word goes first, and
 * descriptors live on for a grace period. On setting, it may have read too early, and looks again:
 * blockslab_is_block().
 *
 * What it does not do: it keeps nothing in slots but the canary of free ones, a secret of this boot
 * with the slot's own address added, which says nothing of the words above.
 */
#ifndef _BLOCKSLAB_PAGE_H
#define _BLOCKSLAB_PAGE_H

#include <linux/compiler.h>
#include <linux/mm_types.h>
#include <linux/percpu.h>
#include <linux/types.h>
#include <linux/uaccess.h>

struct blockslab_block;

/* Where a page is found by one subtraction and one shift */
struct blockslab_span {
	unsigned long base;	/* the first address of lowmem */
	unsigned long size;	/* in bytes, holes too; 0: struct pages stand in no row */
	unsigned long reach;	/* @size, or 0 where every free is to take the slow path */
	struct page *page;	/* of @base */
	unsigned long canary;	/* the secret that tells free slots */
};

extern struct blockslab_span blockslab_span;

/*
 * Neither this nor one more or less is a multiple of eight: no pair of pointers that another owner
 * keeps in these words looks like it, even if one has its lowest bit set.
 */
#define BLOCKSLAB_KEY_FAST	0x62c1b3a5UL	/* the fast path may free it */

static __always_inline unsigned long blockslab_offset(const void *slot)
{
	return (unsigned long)slot - blockslab_span.base;
}

/* Beyond it, or something rare is to be done. */
static __always_inline bool blockslab_beyond(unsigned long offset)
{
	/* in no order: who switches something rare on is seen soon enough */
	return offset >= data_race(blockslab_span.reach);
}

/* For offsets in the span. In a hole there is no such page: see blockslab_page_word(). */
static __always_inline struct page *blockslab_page(unsigned long offset)
{
	return blockslab_span.page + (offset >> PAGE_SHIFT);
}

/* The descriptor that a page of a block names; of any other page, what is there. */
static __always_inline struct blockslab_block *blockslab_block_of(const struct page *page)
{
	return (struct blockslab_block *)READ_ONCE(page->private);
}

/*
 * Orders loads. On x86 they are; User Mode Linux has a fence there that the same processor can do
 * without: 20 ns of a pair's 26.
 */
static __always_inline void blockslab_rmb(void)
{
	if (IS_ENABLED(CONFIG_X86) || IS_ENABLED(CONFIG_UML_X86))
		barrier();
	else
		smp_rmb();	/* as the caller says */
}

/* With 32 bits, a pointer and a small number may look like a key, but for the page's address. */
static __always_inline unsigned long blockslab_key_base(const struct page *page)
{
	return BITS_PER_LONG == 32 ? (unsigned long)page : 0;
}

/* A word of a struct page; 0 where memory has a hole, at no cost where x86 has that filled in. */
static __always_inline unsigned long blockslab_page_word(const unsigned long *from)
{
	unsigned long __maybe_unused word;

#if defined(CONFIG_X86) && defined(CONFIG_SPARSEMEM_VMEMMAP)
	asm volatile("1:	mov %1, %0\n"
		     "2:\n" _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_ZERO_REG, %0)
		     : "=r" (word) : "m" (*from));
	return word;
#elif defined(CONFIG_SPARSEMEM_VMEMMAP)
	__get_kernel_nofault(&word, from, unsigned long, hole);
	return word;

hole:
	return 0;
#else
	return READ_ONCE(*from);
#endif
}

/*
 * The @lines that a page names, if they are wanted, its descriptor, and then the key word: 0, which
 * no page of a block has, where memory has a hole. What page_defer() adds to that is seen or not:
 * either leads to where the other would.
 */
static __always_inline unsigned long blockslab_words(const struct page *page, unsigned long *lines,
						     struct blockslab_block **block)
{
	if (lines)
		*lines = blockslab_page_word((unsigned long *)&page->lru.next);
	*block = (struct blockslab_block *)blockslab_page_word(&page->private);
	blockslab_rmb();	/* page_words_clear() */
	return blockslab_page_word((unsigned long *)&page->lru.prev) - blockslab_key_base(page);
}

/*
 * Whether the descriptor that was read is still the page's, once its key was found right: that may
 * have come after it was read. Of a slot that is its caller's it always is.
 */
static __always_inline bool blockslab_is_block(const struct page *page,
					       const struct blockslab_block *block)
{
	blockslab_rmb();	/* page_words_set() */
	return likely(READ_ONCE(page->private) == (unsigned long)block);
}

/* What a free slot holds in one word. */
static __always_inline unsigned long blockslab_canary(const void *slot)
{
	return blockslab_span.canary + (unsigned long)slot;
}

/*
 * Whether a slot has its canary in @word. Looked at before the block's bit: a slot that goes back
 * may lose it, as the page is soon another's, but had its bit set by then.
 */
static __always_inline bool blockslab_has_canary(const unsigned long *word, unsigned long canary)
{
	/* whatever else is read there is no canary */
	if (data_race(*word) == canary)
		return true;
	blockslab_rmb();	/* return_run() */
	return false;
}

#endif /* _BLOCKSLAB_PAGE_H */
