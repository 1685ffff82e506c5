/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Parameters and constants
 */

static unsigned int max_order = 3;
module_param(max_order, uint, 0444);
MODULE_PARM_DESC(max_order, "Largest order of a block's pages, 1 to 4 (default 3)");

static unsigned int keep_kib = 512;
module_param(keep_kib, uint, 0644);
MODULE_PARM_DESC(keep_kib, "KiB of empty blocks and of slots in depots that a heap may keep in all, or a sixteenth of what it holds, if that is more; an eighth of it in a class's depot (default 512)");

static bool shuffle = IS_ENABLED(CONFIG_SLAB_FREELIST_RANDOM);
module_param(shuffle, bool, 0644);
MODULE_PARM_DESC(shuffle, "Give out the slots of a fresh block in random order (default: as CONFIG_SLAB_FREELIST_RANDOM)");

static unsigned int watch_kib = 192 * (PAGE_SIZE / SZ_1K);
module_param(watch_kib, uint, 0644);
MODULE_PARM_DESC(watch_kib, "KiB of blocks in which a heap keeps freed tracked slots from reuse, the latest ones (default 768 with pages of 4 KiB)");

/* These parameters in bytes; of 32 bits, as many as there can be. */
static unsigned long kib_bytes(unsigned int kib)
{
	return min_t(unsigned long, kib, LONG_MAX / SZ_1K) * SZ_1K;
}

/* draw_credit() gives up to 23 times as much. */
#define PERIOD_MAX	(BITS_PER_LONG == 64 ? SZ_1G : SZ_64M)

static unsigned long new_heap_track;

/* A number as memparse() takes it, 1M or 0x1000, but none that starts again at 0 past 64 bits. */
static int number_parse(const char *text, u64 least, u64 most, unsigned long *number)
{
	char unit[] = "1\n", *end;
	u64 value = memparse(text, &end);
	long long digits;

	if (!isdigit(*text) || *skip_spaces(end) || kstrtou64(text, 0, &value) == -ERANGE ||
	    sscanf(text, "%lli%c", &digits, unit + 1) < 1 ||
	    check_mul_overflow((u64)digits, (u64)memparse(unit, NULL), &value) ||
	    value < least || value > most)
		return -EINVAL;
	*number = value;
	return 0;
}

static int track_param_set(const char *text, const struct kernel_param *param)
{
	return number_parse(text, 0, PERIOD_MAX, param->arg);
}

static const struct kernel_param_ops track_param_ops = {
	.set = track_param_set,
	.get = param_get_ulong,
};

module_param_cb(track, &track_param_ops, &new_heap_track, 0644);
MODULE_PARM_DESC(track, "New heaps track one of so many bytes, 8M say (default 0: none)");

static unsigned long quarantined;	/* quarantine_lock */
module_param(quarantined, ulong, 0444);
MODULE_PARM_DESC(quarantined, "Pages that are kept from reuse now");

#define NR_SIZES		BLOCKSLAB_NR_SIZES
#define INDEX_SLOW		NR_SIZES	/* in heap->cpu[]: always the slow path */
#define INDEX_LARGE		NR_SIZES	/* of the class of whole pages */
#define NR_INDEXES		(NR_SIZES + 1)
#define INDEX_CACHE		0xff	/* of the class of a cache */

#define NR_PARTIAL		4	/* lists of partial blocks, fullest first */
#define BLOCK_ORDER_MAX		4
#define BLOCK_BYTES_MAX		min_t(size_t, PAGE_SIZE << BLOCK_ORDER_MAX, SZ_512K)
#define BLOCK_SLOTS_MAX		8192
#define MAGAZINE_SLOTS_MAX	124
#define KIND_COARSE	__GFP_COMP	/* of coarse classes; pages_get() leaves it out */
/* It does not count if it fails. Nobody asks for slots so; pages_get() leaves it out, too. */
#define GFP_TRIAL	(__GFP_COMP | __GFP_WRITE | __GFP_NOWARN)
#define OWN_CLASSES	6	/* sizes of a heap that get classes of their own at once */
#define COARSE_ASKS	64	/* requests after which any other size gets one */
#define REST_ALLOCS	64	/* in a period of the trim; a class with fewer for 2 s rests */
/* Of blocks: with no more than that its size shares, too. */
#define REST_BYTES	max_t(unsigned long, PAGE_SIZE, SZ_32K)
#define COARSE_LEAST	64	/* bytes of the smallest coarse slots; in use, they are one more */
#define RUN_MAX			128	/* slots of a bulk call that one hold of a lock moves */
#define BLOCKS_RUN		32	/* blocks that one hold of a lock takes off their lists */
#define TRIM_PERIOD		(HZ / 2)
#define TRIM_QUIET		4U	/* periods without activity before a trim */
#define REFILL_MAX		32	/* slots that one call takes into a magazine, */
#define FLUSH_MAX		16	/* and returns from one, but for waves: see at_once() */
#define BULK_BYTES		(160 * SZ_1K)	/* in a magazine of a class that sees bulk calls */
#define LINES_AT_ONCE	SZ_2K	/* of all CPUs, that a class gets at its making: lines_due() */
#define DEFERRED_SHARE		32	/* of memory; more than that waits: deferred_much() */
#define ROUND			2	/* turns: see round_ends() */
#define ROUND_LARGE		8	/* of whole pages */
#define LARGE_KEPT_MAX		8	/* empty blocks of whole pages, per node */
#define RESERVE_ORDER		get_order(BLOCKSLAB_SLOT_MAX)
#define RESERVE_NOTES		128U	/* slots of a block of the reserve that have notes */

/* GFP bits of a request that hold for descriptors, magazines and classes too. 6.4 lost one. */
#ifndef __GFP_ATOMIC
#define __GFP_ATOMIC	((gfp_t)0)
#endif
#define GFP_META	(__GFP_RECLAIM | __GFP_IO | __GFP_FS | __GFP_HIGH | __GFP_ATOMIC | \
			 __GFP_MEMALLOC | \
			 __GFP_NOMEMALLOC | __GFP_NORETRY | __GFP_RETRY_MAYFAIL | __GFP_NOLOCKDEP)

/* Those by which it gets what is hard to get: not for what it can do without. */
#define GFP_EFFORT	(__GFP_RECLAIM | __GFP_HIGH | __GFP_ATOMIC | __GFP_MEMALLOC)

#define HEAP_FLAGS	(BLOCKSLAB_HWCACHE_ALIGN | BLOCKSLAB_ZERO | BLOCKSLAB_POISON | \
			 BLOCKSLAB_RED_ZONE | BLOCKSLAB_TRACK | BLOCKSLAB_ACCOUNT | \
			 BLOCKSLAB_PANIC | BLOCKSLAB_RECLAIMABLE)
#define CACHE_FLAGS	(HEAP_FLAGS | BLOCKSLAB_TYPESAFE_BY_RCU)
/* Heaps with these keep the exact state of every slot in its block: no magazines. */
#define EXACT_FLAGS	(BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE)
#define RED_ZONE_BYTES	8
#define WATCH_ZONE	32	/* bytes before a watched slot, and behind it, that are nobody's */
#define WATCH_SLOTS	128	/* that a heap keeps from reuse at most, */
#define WATCH_BLOCK	4	/* from blocks of so many: one that is kept may keep its block */

/*
 * Keys of pages, as BLOCKSLAB_KEY_FAST, and odd as that is (page.h). They are farther from one
 * another than addresses of per-CPU state, so that one compare with all of a cache's lines tells
 * the key too.
 */
#define KEY_CACHE	(BLOCKSLAB_KEY_FAST + (ULONG_MAX / 3 & ~1UL))	/* its cache may free it */
#define KEY_SLOW	(BLOCKSLAB_KEY_FAST - (ULONG_MAX / 3 & ~1UL))	/* by the slow path alone */
