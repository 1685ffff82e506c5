/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The inline fast paths, and only what they need. Nothing here is API: names, layouts and meanings
 * change at any time, and a module that uses them breaks. Included by blockslab.h, at its end.
 *
 * An allocation pops a slot off this CPU's loaded magazine, a free pushes one, and whatever is out
 * of the ordinary is left to the functions behind. No lock: preemption is off, and the line is
 * claimed by a plain flag, which an interrupt that comes in between respects.
 */
#ifndef _BLOCKSLAB_FAST_H
#define _BLOCKSLAB_FAST_H

#include "page.h"

#define BLOCKSLAB_NR_STEPS		64	/* classes of 8-byte steps, to 512 */
#define BLOCKSLAB_STEPS_PER_DOUBLING	16	/* above them: no step over 6.25 % */
#define BLOCKSLAB_CACHE_CREDIT		64	/* what a cache's object counts for: sample.c */
#define BLOCKSLAB_NR_SIZES		(BLOCKSLAB_NR_STEPS + 4 * BLOCKSLAB_STEPS_PER_DOUBLING)

/* GFP bits that lead out of the fast path. */
#define BLOCKSLAB_GFP_SLOW	(__GFP_ZERO | __GFP_ACCOUNT | __GFP_DMA | __GFP_DMA32 | \
				 __GFP_THISNODE)

#ifndef BLOCKSLAB_CONSTANT
#define BLOCKSLAB_CONSTANT(value)	__builtin_constant_p(value)
#endif

struct blockslab_magazine;
struct blockslab_node;

/*
 * A CPU's part of a class on a node; one cache line. Changed only by its own CPU with preemption
 * off and @busy set, or after that CPU died. cached == moved + frees - allocs; that is how frees
 * are counted.
 */
struct blockslab_cpu {
	union {
		u64 tally;	/* loaded slots (low 16 bits), and allocations so far: one add */
		u16 parts[4];	/* parts[BLOCKSLAB_COUNT_PART] are the loaded slots */
	};
	void **loaded;		/* slots of the loaded magazine, NULL for none */
	long credit;		/* to the slow path, see credit_size(); granted - credit is used */
	u16 capacity;		/* room in the loaded magazine */
	u8 busy;		/* being changed; interrupts leave it alone then */
	u8 stale;		/* @credit was given for another period; set by anybody */
	u16 size;		/* of its class's slots, in bytes; not used of a cache's */
	u8 trades;		/* of its magazines so far */
	u8 looked;		/* so many then: see magazines_grow() */
	struct blockslab_node *node;	/* what this is a part of */
	struct blockslab_magazine *spare;	/* full or not; none without a loaded one */
	unsigned long granted;	/* credit given so far */
	long moved;		/* slots that came by trades, less those that left */
} ____cacheline_aligned;

#ifdef __LITTLE_ENDIAN
#define BLOCKSLAB_COUNT_PART	0
#else
#define BLOCKSLAB_COUNT_PART	3
#endif
#define BLOCKSLAB_COUNT	0xffffULL
#define BLOCKSLAB_ALLOC	0x10000ULL

DECLARE_PER_CPU(unsigned long, blockslab_home);
DECLARE_STATIC_KEY_FALSE(blockslab_rare);

/* Of this CPU, for the node it belongs to. Preemption is off. */
static __always_inline struct blockslab_cpu *blockslab_home_line(struct blockslab_cpu __percpu *cpu)
{
	unsigned long line = (__force unsigned long)cpu;

	if (!IS_ENABLED(CONFIG_NUMA))
		return this_cpu_ptr(cpu);
#if defined(CONFIG_X86) && defined(CONFIG_SMP) && !defined(CONFIG_CC_HAS_NAMED_AS)
	/* as this_cpu_ptr(): else the offset is loaded first */
	asm("add " __percpu_arg(1) ", %0" : "+r"(line) : "m"(blockslab_home));
	return (struct blockslab_cpu *)line;
#else
	return (struct blockslab_cpu *)(line + __this_cpu_read(blockslab_home));
#endif
}

static __always_inline unsigned long blockslab_count(const struct blockslab_cpu *line)
{
	return line->parts[BLOCKSLAB_COUNT_PART];
}

/* Plain stores will do: only this CPU's interrupts come between, and leave it as it was. */
static __always_inline bool blockslab_claim(struct blockslab_cpu *line)
{
	/* so will a plain load */
	if (unlikely(data_race(line->busy)))
		return false;
	WRITE_ONCE(line->busy, 1);
	barrier();
	return true;
}

static __always_inline void blockslab_unclaim(struct blockslab_cpu *line)
{
	barrier();
	WRITE_ONCE(line->busy, 0);
}

/*
 * A count that one CPU, or the holder of a lock, changes, and that others read without: they need
 * it no more than near enough. (A depot's are near enough for all.) Not WRITE_ONCE(), which would
 * take the add to memory apart.
 */
#define blockslab_add(count, change)	((void)data_race((count) += (change)))
/* the same */
#define blockslab_sub(count, change)	((void)data_race((count) -= (change)))

/* The word that tells a cached slot. */
static __always_inline unsigned long *blockslab_word(const void *slot, unsigned long offset)
{
	return (unsigned long *)(slot + offset);
}

/*
 * The fast path: a slot of this CPU's loaded magazine; false where that cannot be. Whatever is
 * called from here would cost every caller the saving of registers, so nothing is.
 */
static __always_inline bool blockslab_alloc_fast(struct blockslab_cpu __percpu *cpu, size_t size,
						 unsigned long canary, void **slot)
{
	struct blockslab_cpu *line;
	unsigned long count;

	preempt_disable();
	line = blockslab_home_line(cpu);
	if (unlikely(!blockslab_claim(line)))
		goto busy;
	count = blockslab_count(line);
	if (unlikely(!count))
		goto empty;
	blockslab_sub(line->credit, size);
	if (unlikely(line->credit < 0))
		goto no_credit;
	*slot = line->loaded[count - 1];
	blockslab_add(line->tally, BLOCKSLAB_ALLOC - 1);
	*blockslab_word(*slot, canary) = 0;
	blockslab_unclaim(line);
	preempt_enable();
	return true;

no_credit:
	barrier();	/* else the old value is kept in a register all along */
	blockslab_add(line->credit, size);
empty:
	blockslab_unclaim(line);
busy:
	preempt_enable();
	return false;
}

struct blockslab_note;

/*
 * Descriptor of a block. @map is two bitmaps, see map_words(): free slots, with the bits of the
 * tail always set (node->lock; one bit is tested without it), and slots whose free is deferred
 * (atomic). What every free looks at stands together, at the end: most often in one cache line.
 */
struct blockslab_block {
	union {
		struct hlist_node listed;	/* in node->blocks[state] (node->lock) */
		struct list_head list;	/* on its way */
		struct rcu_head rcu;	/* of its end: it lives on for a grace period */
	};
	struct list_head all;		/* in node->all (node->lock) */
	union {
		struct blockslab_note *notes;	/* one a slot, or NULL */
		u16 *usable;		/* of a coarse class: bytes of each that are its owner's */
	};
	struct llist_node deferred;	/* in deferred_blocks */
	struct blockslab_node *node;	/* changes only while it has no slots out */
	u32 state : 3;			/* the list it is on (node->lock) */
	u32 reserved : 1;		/* it belongs to the heap's reserve */
	u32 small : 1;			/* from block_cache */
	u32 charged : 1;		/* to a memory cgroup, by its request's __GFP_ACCOUNT */
	u32 born : 26;			/* when it got its pages, by block_clock() */
	u32 queued;			/* whether it is in deferred_blocks: block_queued */
	void *base;			/* its first slot */
	u32 recip;			/* 2^32 / slot size, rounded up */
	u16 nr_slots;			/* slots in it */
	u16 nr_free;			/* bits of slots set in the bitmap (node->lock) */
	u16 size;			/* of its slots */
	u16 sizes;	/* so many, from @size down, are right for blockslab_free_sized() */
	u16 nr_pages;			/* pages in it */
	u16 meta;			/* bytes of descriptor and notes, in eights */
	unsigned long map[];
};

/* The largest size for the fast path of an allocation; 0 while something rare is to be done. */
extern unsigned long blockslab_fast_size;
/* size -> index of the class */
extern u8 blockslab_size_index[];

/* The slot that begins so many bytes into a block, or -1. Exact up to BLOCK_BYTES_MAX. */
static __always_inline long blockslab_number_at(unsigned long offset, unsigned long recip)
{
	u64 product = (u64)offset * recip;

	return likely((u32)product < (u32)recip) ? (long)(product >> 32) : -1;
}

/*
 * The fast path for a page whose key is right, with preemption off: the start of a slot, not free
 * in its block, and no canary at @word of the slot; then into this CPU's loaded magazine. False
 * where that cannot be. Ends with preemption on.
 */
static __always_inline bool
blockslab_free_fast(const struct blockslab_block *block, unsigned long lines, const void *slot,
		    unsigned long word)
{
	long number = blockslab_number_at((u32)(slot - block->base), block->recip);
	unsigned long canary = blockslab_canary(slot), count;
	struct blockslab_cpu *line;

	if (unlikely(number < 0))
		goto out;
	if (unlikely(blockslab_has_canary(blockslab_word(slot, word), canary)) ||
	    unlikely(test_bit(number, block->map)))
		goto out;
	line = raw_cpu_ptr((struct blockslab_cpu __percpu *)lines);
	if (unlikely(!blockslab_claim(line)))
		goto out;
	count = blockslab_count(line);
	if (unlikely(count >= line->capacity))
		goto full;
	data_race(line->loaded[count] = (void *)slot);	/* readers elsewhere can do with any */
	blockslab_add(line->tally, 1);
	if (!BLOCKSLAB_CONSTANT(word))
		OPTIMIZER_HIDE_VAR(word);	/* else the sum is made first, and kept */
	*blockslab_word(slot, word) = canary;
	blockslab_unclaim(line);
	preempt_enable();
	return true;

full:
	blockslab_unclaim(line);
out:
	preempt_enable();
	return false;
}

/* What a free into a cache, whose lines of all nodes are in a row, looks for. */
struct blockslab_pages {
	unsigned long keyed;	/* the key, and the first line's address, added */
	unsigned long first;	/* that address */
	unsigned long bytes;	/* of its lines */
	unsigned long canary;	/* offset of the word that tells a cached slot */
};

/*
 * Whether slots of this page are for a call: of @any_heap, or of that cache. Then the page is of
 * @block, with @lines; a cache's are taken from the key word, which alone is looked at.
 */
static __always_inline bool blockslab_page_serves(const struct page *page, bool any_heap,
						  const struct blockslab_pages *cache,
						  struct blockslab_block **block,
						  unsigned long *lines)
{
	unsigned long offset, key;

	if (any_heap) {
		key = blockslab_words(page, lines, block);
		return likely(key == *lines + BLOCKSLAB_KEY_FAST);
	}
	/* one load for both uses, and one compare for the key and for the cache */
	offset = blockslab_words(page, NULL, block) - cache->keyed;
	if (unlikely(offset >= cache->bytes))
		return false;
	*lines = cache->first + offset;
	OPTIMIZER_HIDE_VAR(*lines);	/* the same */
	return true;
}

/* A slot of any heap, or of a cache; of a size, or, where that is SIZE_MAX, of any. */
static __always_inline bool blockslab_free_try(const void *slot, size_t size, bool any_heap,
					       const struct blockslab_pages *cache)
{
	bool any_size = BLOCKSLAB_CONSTANT(size) && size == SIZE_MAX;
	unsigned long offset = blockslab_offset(slot), lines;
	struct blockslab_block *block;
	struct page *page;

	if (unlikely(blockslab_beyond(offset)))
		return false;
	page = blockslab_page(offset);
	preempt_disable();
	if (unlikely(!blockslab_page_serves(page, any_heap, cache, &block, &lines)))
		goto out;
	/* A size that is right all the same is told by the slow path. */
	if (!any_size && unlikely(block->size - size >= block->sizes))
		goto out;
	return blockslab_free_fast(block, lines, slot, any_heap ? 0 : cache->canary);

out:
	preempt_enable();
	return false;
}

/* What the fast path sees of a heap: its first member. */
struct blockslab_heap_cpus {
	struct blockslab_cpu __percpu *cpu[BLOCKSLAB_NR_SIZES + 1];
};

/* What NULL stands for. */
extern struct blockslab_heap blockslab_shared;

/* The index of the class that serves a size of 1 to BLOCKSLAB_SLOT_MAX; for constants. */
static __always_inline unsigned int blockslab_index(size_t size)
{
	unsigned int bits;

	size = ALIGN(size, ARCH_KMALLOC_MINALIGN);
	bits = fls_long(size - 1);
	if (size <= 8 * BLOCKSLAB_NR_STEPS)
		return (size - 1) / 8;
	return BLOCKSLAB_NR_STEPS + BLOCKSLAB_STEPS_PER_DOUBLING * (bits - 11) +
	       ((size - 1) >> (bits - 5));
}

/* blockslab_alloc() of a heap that is not NULL, with none of BLOCKSLAB_GFP_SLOW. */
void *blockslab_alloc_plain(struct blockslab_heap *heap, size_t size, gfp_t gfp)
	__alloc_size(2) __malloc;

/* A wait in the wrong place is told under the debug options, which look for that, at every call. */
static __always_inline void blockslab_might_alloc(gfp_t gfp)
{
	if (IS_ENABLED(CONFIG_DEBUG_ATOMIC_SLEEP) || IS_ENABLED(CONFIG_LOCKDEP))
		might_alloc(gfp);
}

/* blockslab_alloc() of @room bytes: that is what the compiler is to know of the slot. */
void *blockslab_alloc_room(struct blockslab_heap *heap, size_t size, gfp_t gfp, size_t room)
	__alloc_size(4) __malloc;

/*
 * Returns @slot, of @room bytes: FORTIFY knows the size of what a call with __alloc_size returns,
 * and nothing of a slot that was taken inline.
 */
void *blockslab_known(void *slot, size_t room) __alloc_size(2);

/* What the shared heap gives for a size; for constants. */
static __always_inline size_t blockslab_room(size_t size)
{
	size = ALIGN(size, ARCH_KMALLOC_MINALIGN);
	if (size <= 8 * BLOCKSLAB_NR_STEPS)
		return ALIGN(size, 8);
	if (size > BLOCKSLAB_SLOT_MAX)
		return ALIGN(size, PAGE_SIZE);
	return ALIGN(size, 1UL << (fls_long(size - 1) - 5));
}

/* Whether FORTIFY looks at a slot of that size: see blockslab_known(). */
#ifndef CONFIG_FORTIFY_SOURCE
#define BLOCKSLAB_FORTIFIED(size)	false
#elif defined(MAX_PAGE_ORDER)
/* Newer kernels know sizes that only the run tells; what tells them is of 6.8. */
#define BLOCKSLAB_FORTIFIED(size)	true
#else
#define BLOCKSLAB_FORTIFIED(size)	__builtin_constant_p(size)
#endif

/* The class of a constant is found by the compiler; no size is too large for it. */
static __always_inline void *blockslab_alloc_class(struct blockslab_heap_cpus *cpus, size_t size,
						   gfp_t gfp)
{
	bool constant = __builtin_constant_p(size);
	unsigned int index;
	void *slot;

	if (constant && (!size || size > BLOCKSLAB_SLOT_MAX))
		goto plain;
	if (constant && static_branch_unlikely(&blockslab_rare))
		goto plain;
	/* in no order, as in blockslab_beyond() */
	if (!constant && unlikely(size > data_race(blockslab_fast_size)))
		goto plain;
	index = constant ? blockslab_index(size) : blockslab_size_index[size];
	if (likely(blockslab_alloc_fast(READ_ONCE(cpus->cpu[index]), size, 0, &slot)))
		return slot;
plain:
	return blockslab_alloc_plain((struct blockslab_heap *)cpus, size, gfp);
}

/* What the compiler knows of the arguments is not looked at again. */
static __always_inline void *blockslab_alloc_inline(struct blockslab_heap *heap, size_t size,
						    gfp_t gfp)
{
	size_t room = __builtin_constant_p(size) ? blockslab_room(size) : size;
	void *slot;

	if (!__builtin_constant_p(gfp) || gfp & BLOCKSLAB_GFP_SLOW)
		return blockslab_alloc_room(heap, size, gfp, room);
	blockslab_might_alloc(gfp);
	heap = heap ?: &blockslab_shared;
	slot = blockslab_alloc_class((struct blockslab_heap_cpus *)heap, size, gfp);
	return BLOCKSLAB_FORTIFIED(size) ? blockslab_known(slot, room) : slot;
}

static __always_inline void *blockslab_zalloc_inline(struct blockslab_heap *heap, size_t size,
						     gfp_t gfp)
{
	if (__builtin_constant_p(size))
		return blockslab_alloc_room(heap, size, gfp | __GFP_ZERO, blockslab_room(size));
	return blockslab_zalloc(heap, size, gfp);
}

/* No more than FORTIFY lets be written, where it knows. */
static __always_inline size_t blockslab_usable_size_inline(const void *slot)
{
	size_t usable = blockslab_usable_size(slot);

#if defined(CONFIG_FORTIFY_SOURCE) && defined(__struct_size)
	usable = min_t(size_t, usable, __struct_size(slot));
#endif
	return usable;
}

/* blockslab_cache_alloc() with none of BLOCKSLAB_GFP_SLOW. */
void *blockslab_cache_alloc_plain(struct blockslab_cache *cache, gfp_t gfp) __malloc;

static __always_inline void *blockslab_cache_alloc_inline(struct blockslab_cache *cache, gfp_t gfp)
{
	if (!__builtin_constant_p(gfp) || gfp & BLOCKSLAB_GFP_SLOW)
		return blockslab_cache_alloc(cache, gfp);
	return blockslab_cache_alloc_plain(cache, gfp);
}

static __always_inline void blockslab_free_sized_inline(const void *slot, size_t size)
{
	/* as a constant that would be any size */
	if (__builtin_constant_p(size) && size == SIZE_MAX)
		size--;
	if (unlikely(!blockslab_free_try(slot, size, true, NULL)))
		blockslab_free_sized(slot, size);
}

#ifndef BLOCKSLAB_BUILD
#define blockslab_alloc(heap, size, gfp)	blockslab_alloc_inline(heap, size, gfp)
#define blockslab_zalloc(heap, size, gfp)	blockslab_zalloc_inline(heap, size, gfp)
#define blockslab_usable_size(slot)		blockslab_usable_size_inline(slot)
#define blockslab_free_sized(slot, size)	blockslab_free_sized_inline(slot, size)
#define blockslab_cache_alloc(cache, gfp)	blockslab_cache_alloc_inline(cache, gfp)
#endif

#endif /* _BLOCKSLAB_FAST_H */
