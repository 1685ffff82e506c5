// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab: small memory from page-backed blocks, each dedicated to one size class
 *
 * Purpose. Other modules allocate small memory here instead of from kmalloc(): in 8-byte steps,
 * fast, from heaps of their own that have a limit, a leak report and a place in debugfs.
 *
 * Terms. A *size class* is a slot size and everything that serves it within a heap. A *block* is
 * 2^order pages of one class, cut into *slots*. A slot is allocated (a caller has it), cached
 * (free, in a magazine) or free (in its block). A *magazine* is an array of cached slots; every
 * CPU has a loaded and a spare one per class. The *depot* keeps the magazines that CPUs trade. A
 * *retained* block is an empty one that is kept for reuse. A *cache* is a heap of one class, with
 * constructor and alignment.
 *
 * Design, from the page allocator up (each layer is a section below, in this order):
 *
 * - Pointer -> block. Every page of a block carries in its struct page: in lru.next the class's
 *   per-CPU state, a secret of this boot added, in lru.prev the sum of that, the page's own address
 *   and a key, in private the block's descriptor. One compare on a line that is read anyway tells
 *   a foreign pointer, and the class is known without a dependent load. Blocks are not compound
 *   pages: the words stand on every page, so no head page has to be found, and bit 0 of the first
 *   word stays clear. There is no metadata in slots.
 * - Blocks. The descriptor holds a bitmap of the free slots, so a double free is a bit test and
 *   what a writer after free destroys is only its own content. A slot's number is its offset
 *   times the reciprocal of the slot size; the low half of the product tells whether it is the
 *   start of a slot (Lemire, Kaser & Kurz, "Faster remainder by direct computation", 2019).
 * - Magazines (Bonwick & Adams, "Magazines and Vmem", 2001). The common alloc and free touch the
 *   CPU's loaded magazine only. It is guarded by preemption off and a plain flag, with interrupts
 *   left on: an interrupt that finds the flag set takes the slow path. Free slots carry a canary
 *   in one word (the key of their page, which a free has at hand), from the making of their block
 *   on, cleared on the way out: a free that finds it takes the exact, slow check. The canary is a
 *   hint and never followed.
 * - Depot. Two stacks of magazines per class and node, full and empty ones, without a lock: a
 *   trade leaves interrupts on, too, and waits for no other CPU. What that is worth: under User
 *   Mode Linux, where interrupts off and on are two system calls, half of a batch's time.
 * - Bulk calls move all that this CPU's magazines hold or take under one claim. The rest goes
 *   straight out of the blocks and into them, many slots per hold of the lock, if it is enough to
 *   be cheaper than a trade; magazines of classes that see bulk calls grow, so that it gets less.
 * - Nodes. A class keeps blocks and depot per NUMA node, and every CPU has one line of magazines
 *   per node, so that a slot freed anywhere is cached with its own node's slots and goes home
 *   with them in batches. The line of the CPU's own node is found by adding one per-CPU offset,
 *   at no cost.
 * - Giving back. Twice a second, as long as a heap has anything to give back and is in use, its
 *   classes are looked at: after two seconds without a change, what lies in a depot and in empty
 *   blocks goes back, and from a class that is not used at all the CPUs' magazines, too.
 * - Tracking. Every line counts the bytes asked for down from a credit; when that is used up, the
 *   allocation takes the slow path, and there may be sampled. Tracked slots come from blocks of
 *   their own, with notes beside them and a key that leads their frees to the slow path. So it
 *   can be switched on and off at any time, and what is not tracked pays nothing.
 * - Whatever is rare (tracing, init_on_alloc, init_on_free, kmemleak) hangs on two static keys,
 *   which the fast paths feel by what they compare with anyway: no size is then small enough, no
 *   address within the span. What is peculiar to a heap or block (poison, red zones, large
 *   pages) is told by another key in its pages and by empty magazines, both of which lead out of
 *   the fast path without a test of their own.
 *
 * Equations, checked by blockslab_validate():
 *
 * - allocated + cached + free == slots of all blocks
 * - allocs - frees == allocated
 * - held == block bytes + descriptors + magazines, and never above the limit
 * - a block is on the list that its number of free slots names, and its bitmap has that many bits
 *   set
 *
 * What a pair of blockslab_alloc() and blockslab_free() spends, in instructions on Debian's 6.1
 * (tools/bench --listing shows them; 60 in all, where kmalloc() and kfree() spend 262):
 *
 * - entry and return 3, of the free: allocation is inline where its GFP flags are constant, and
 *   they are looked at by the compiler; the rest of the request 2
 * - size -> class -> line 4, address -> page and its key 11, page -> block and slot 10: these are
 *   the dependent loads, two and three of them
 * - canary 1 + 3, preemption and this CPU's line 3 + 4, claim 4 + 4
 * - magazine 6 + 5, the last dependent load of each; statistics 3 + 1, on the same line
 *
 * A free with the size looks at 5 more, as what it is told cannot stand in for what it has to
 * check; it is inline, too, so that it ends 2 above the other. Out of line the two pairs were at
 * 67 and 74. An inline free is some 170 bytes at every place that calls it: those who call
 * blockslab_free() are spared them.
 *
 * What decided the sizes (tools/replay on a trace of 120 network namespaces made and half of them
 * deleted): 16 steps a doubling above 512, and orders that grow with use, hold 0.85 of what
 * kmalloc's classes hold at the peak, and 1.09 bytes a byte asked for; 0.02 of that are
 * descriptors and magazines. Magazines up to three times as large in classes up to 1 KiB moved
 * neither figure by 0.01 and took a third off batches of 256. Empty blocks, and magazines in the
 * depot, are kept as far as those given back were missed later: a depot of 64 KiB from the start
 * held a fifth more in small traces that free most of what they had. There, cached slots keep
 * nearly empty blocks from going back, too: a class with many of those has one magazine a CPU.
 * What is kept and was not needed for two turns from taking to returning goes back while the class
 * is in use: a storm of forks then holds 0.87 of kmalloc's classes on average, where it held 0.89,
 * and a day of 10 million operations on 40,000 slots ends 2 % above its second tenth, not 5. Rounds
 * that ended after 16 returns held less still, but forgot what a batch needs before its next one.
 * Slots of 544 to 1024 bytes in magazines of two went to the lock every other time where lifetimes
 * are random; in magazines of four hardly ever, and forks hold 0.003 more.
 * All of a heap's classes together keep no more than 512 KiB, or a sixteenth of what it holds:
 * without that, a load that opened and closed sockets by the hundred held 0.93 of kmalloc's classes
 * on average, a seventh of it for nothing, and with it 0.86; no other figure moved by 0.001.
 *
 * What it does not do: it does not move slots, does not merge classes or heaps, does not serve
 * more than the page allocator's largest order, and does not find a double free of a slot that
 * has a new owner.
 *
 * Lock order: heap->lock (the reserve) and heaps_lock (the list of heaps) are innermost, under
 * node->lock; the depot has none. No page and no descriptor is asked for under a lock, and no lock
 * is taken with preemption disabled by this file, so all of them may sleep on PREEMPT_RT.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/ctype.h>
#include <linux/debugfs.h>
#include <linux/fault-inject.h>
#include <linux/irq_work.h>
#include <linux/jump_label.h>
#include <linux/kasan.h>
#include <linux/kmemleak.h>
#include <linux/kmsan-checks.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/log2.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/poison.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched/clock.h>
#include <linux/sched/debug.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/smp.h>
#include <linux/sort.h>
#include <linux/srcu.h>
#include <linux/stackdepot.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#define BLOCKSLAB_BUILD
#include "blockslab.h"
#define CREATE_TRACE_POINTS
#include "blockslab_trace.h"

EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_alloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_free);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_block_get);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_block_put);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_refill);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_flush);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_limit_hit);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_fault);

/* ------------------------------------------------------------------------------------------------
 * Kernel versions: shims, named after the newer kernel's function
 */

#ifndef MAX_PAGE_ORDER
#define MAX_PAGE_ORDER		(MAX_ORDER - 1)
#endif

#ifndef SHRINKER_ALLOCATED
static struct shrinker *shrinker_alloc(unsigned int flags, const char *fmt, ...)
{
	return kzalloc(sizeof(struct shrinker), GFP_KERNEL);
}

static void shrinker_register(struct shrinker *shrinker)
{
	if (register_shrinker(shrinker, "blockslab"))
		pr_warn("no shrinker: memory is given back when idle, not under pressure\n");
}

static void shrinker_free(struct shrinker *shrinker)
{
	unregister_shrinker(shrinker);
	kfree(shrinker);
}
#endif

/* ------------------------------------------------------------------------------------------------
 * Parameters and constants
 */

static unsigned int retain;
module_param(retain, uint, 0644);
MODULE_PARM_DESC(retain, "Empty blocks kept per class and node even where none was missed after it was given back (default 0)");

static unsigned int max_order = 3;
module_param(max_order, uint, 0444);
MODULE_PARM_DESC(max_order, "Largest order of a block's pages, 1 to 4 (default 3)");

static unsigned int depot_kib = 64;
module_param(depot_kib, uint, 0644);
MODULE_PARM_DESC(depot_kib, "KiB of cached slots that a class's depot keeps per node, in 512 magazines at most (default 64)");

static unsigned int stock_kib = 512;
module_param(stock_kib, uint, 0644);
MODULE_PARM_DESC(stock_kib, "KiB of empty blocks and of slots in depots that a heap may keep in all, or a sixteenth of what it holds, if that is more (default 512)");

static bool shuffle = IS_ENABLED(CONFIG_SLAB_FREELIST_RANDOM);
module_param(shuffle, bool, 0644);
MODULE_PARM_DESC(shuffle, "Give out the slots of a fresh block in random order (default: as CONFIG_SLAB_FREELIST_RANDOM)");

static unsigned int quarantine_kib;
module_param(quarantine_kib, uint, 0644);
MODULE_PARM_DESC(quarantine_kib, "KiB of pages of destroyed heaps that are kept from reuse, the latest ones (default 0)");

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
#define DEPOT_MAGAZINES_MAX	512	/* full ones, so that a reader's walk past them is short */
#define STACK_STEPS_MAX		65536	/* of a look at full or empty ones */
#define RUN_MAX			128	/* slots of a bulk call that one hold of a lock moves */
#define RETAIN_BYTES		SZ_1M	/* of empty blocks, per class and node */
#define BULK_BYTES		(160 * SZ_1K)	/* in a magazine of a class that sees bulk calls */
#define ROUND			2	/* turns: see round_ends() */
#define RESERVE_ORDER		get_order(BLOCKSLAB_SLOT_MAX)

/* GFP bits of a request that hold for descriptors, magazines and classes too. */
#define GFP_META	(__GFP_RECLAIM | __GFP_IO | __GFP_FS | __GFP_HIGH | __GFP_MEMALLOC | \
			 __GFP_NOMEMALLOC | __GFP_NORETRY)

#define HEAP_FLAGS	(BLOCKSLAB_HWCACHE_ALIGN | BLOCKSLAB_ZERO | BLOCKSLAB_POISON | \
			 BLOCKSLAB_RED_ZONE | BLOCKSLAB_TRACK | BLOCKSLAB_ACCOUNT | BLOCKSLAB_PANIC)
#define CACHE_FLAGS	(HEAP_FLAGS | BLOCKSLAB_TYPESAFE_BY_RCU)
/* Heaps with these keep the exact state of every slot in its block: no magazines. */
#define EXACT_FLAGS	(BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE)
#define RED_ZONE_BYTES	8

/*
 * Keys of pages, as BLOCKSLAB_KEY_FAST, and odd as that is. They are farther from one another than
 * addresses of per-CPU state, so that one compare with all of a cache's lines tells the key too.
 */
#define KEY_CACHE	(BLOCKSLAB_KEY_FAST + (ULONG_MAX / 3 & ~1UL))	/* its cache may free it */
#define KEY_SLOW	(BLOCKSLAB_KEY_FAST - (ULONG_MAX / 3 & ~1UL))	/* by the slow path alone */

/* ------------------------------------------------------------------------------------------------
 * Data
 */

struct blockslab_node;
struct blockslab_class;

/**
 * struct blockslab_magazine - an array of cached slots, all of one class and node
 * @below: the next one in its stack: the depot's, or of those that come from drained CPUs
 * @node: whose slots these are
 * @rcu: of its end: other CPUs may be looking for a slot in it, and in those below
 * @count: slots in it, while it is not loaded
 * @capacity: room in @slots
 * @depth: how many there are from it to the bottom of its stack
 * @slots: the last in is the first out
 */
struct blockslab_magazine {
	struct blockslab_magazine *below;
	union {
		struct blockslab_node *node;
		struct rcu_head rcu;
	};
	u8 count;
	u8 capacity;
	u16 depth;
	void *slots[];
};

static_assert(MAGAZINE_SLOTS_MAX <= U8_MAX);
static_assert(offsetof(struct blockslab_magazine, slots) == 4 * sizeof(void *));

/* Magazines, the last in on top; @top may have the bit POPPING. */
struct blockslab_stack {
	unsigned long top;
};

static_assert(sizeof(struct blockslab_cpu) == SMP_CACHE_BYTES || SMP_CACHE_BYTES < 64);

/**
 * struct blockslab_note - what is remembered of a slot beside its block
 * @asked: bytes asked for
 * @period: one of so many bytes was tracked, when this slot was; 1 for all, 0 if it is not
 * @got: stack of its allocation, 0 for none
 * @gone: stack of its last free, 0 for none
 * @when: time of its allocation, by note_clock()
 * @cpu: that allocated it
 */
struct blockslab_note {
	u32 asked;
	u32 period;
	depot_stack_handle_t got;
	depot_stack_handle_t gone;
	u32 when;
	u32 cpu;
};

/* Where a block is listed; follows from its number of free slots. */
enum block_state {
	BLOCK_FULL,
	BLOCK_PARTIAL,				/* and NR_PARTIAL - 1 more, ever emptier */
	BLOCK_RETAINED = BLOCK_PARTIAL + NR_PARTIAL,
	NR_BLOCK_STATES,
	BLOCK_UNLISTED = NR_BLOCK_STATES,
};

/* Bits of block->flags, which may be set in NMI context. */
enum block_flags {
	BLOCK_QUEUED = BIT(0),		/* on deferred_blocks */
	BLOCK_WANTS_GRACE = BIT(1),	/* its deferred slots may go only after a grace period */
	BLOCK_HOLD = BIT(2),		/* above this, how many CPUs are in defer_free() */
};

static_assert(MAX_PAGE_ORDER < 16);	/* nr_pages */
static_assert(PAGE_SIZE <= 8 * BLOCK_SLOTS_MAX);	/* the smallest slots, in one page */
static_assert(BLOCK_UNLISTED < 8);	/* state */

/* For how many periods of the trim something stood still, and what it stood at. */
struct blockslab_quiet {
	unsigned long activity;
	unsigned int periods;
};

/**
 * struct blockslab_node - a class on one NUMA node
 * @class: of which it is a part
 * @lock: guards the blocks and all that follows up to @turns
 * @blocks: by state
 * @all: every block, and the places of readers
 * @nr: blocks by state
 * @nr_slots: slots of all blocks
 * @nr_free: free slots of all blocks
 * @pages: bytes of all blocks; little-used classes get small ones
 * @seed: of the order in which slots are taken
 * @retained: bytes of the empty ones
 * @allocs: allocations that went past the magazines
 * @frees: frees that went past the magazines
 * @requested: bytes asked for by such allocations
 * @fails: allocations that failed
 * @keep: empty blocks that it keeps; grows with how many were given back and missed soon after
 * @given_back: empty blocks given back and not missed yet
 * @least_retained: fewest retained blocks during this round
 * @turns: of slots taken from the blocks and returned, see round_ends()
 * @use: how long nothing was allocated or freed
 * @stock: how long nothing passed through the depot and the blocks; the trim alone sees to both
 * @held: bytes of blocks, descriptors and magazines
 * @full: the depot's magazines with slots; what follows these two is near enough: no lock guards it
 * @empty: the depot's magazines without
 * @capacity: of the next new magazine; grows while the depot is busy
 * @trades: with the depot or blocks so far
 * @room: slots that the depot keeps; grows with how many were flushed and missed later
 * @flushed: slots flushed for want of room and not missed yet
 * @least_full: fewest magazines in @full during this round
 * @depot_turns: of magazines taken from @full and left there
 */
struct blockslab_node {
	struct blockslab_class *class;
	spinlock_t lock;	/* blocks, and what is said of them */
	struct list_head blocks[NR_BLOCK_STATES];
	struct list_head all;
	unsigned int nr[NR_BLOCK_STATES];
	unsigned long nr_slots;
	unsigned long nr_free;
	unsigned long pages;
	u32 seed;
	unsigned long retained;
	unsigned long allocs;
	unsigned long frees;
	unsigned long requested;
	unsigned long fails;
	unsigned int keep;
	unsigned int given_back;
	unsigned int least_retained;
	unsigned int turns;
	struct blockslab_quiet use;
	struct blockslab_quiet stock;
	atomic_long_t held;

	struct blockslab_stack full;
	struct blockslab_stack empty;
	unsigned int capacity;
	unsigned int room;
	unsigned int flushed;
	unsigned int least_full;
	unsigned int depot_turns;
	unsigned long trades;
};

/**
 * struct blockslab_class - a size class of a heap
 * @cpu: per CPU, one line a node
 * @heap: it belongs to
 * @size: of its slots, in bytes; 0 for whole pages
 * @asked: of a cache's objects, as asked for; else 0
 * @canary: offset of the word that tells a cached slot
 * @index: among the sizes
 * @kind: GFP bits that all its pages are asked with, besides those of the request
 * @key: of its pages
 * @noted: its blocks have notes, and its slots are never cached
 * @tracked: the class that has its tracked slots, NULL until there is one
 * @of: the class whose tracked slots it has, or NULL
 * @list: in heap->classes, RCU, never removed
 * @nodes: nr_node_ids of them
 */
struct blockslab_class {
	struct blockslab_cpu __percpu *cpu;
	struct blockslab_heap *heap;
	unsigned int size;
	unsigned int asked;
	unsigned int canary;
	unsigned int index;
	gfp_t kind;
	unsigned long key;
	bool noted;
	struct blockslab_class *tracked;
	struct blockslab_class *of;
	struct list_head list;
	struct blockslab_node nodes[];
};

/**
 * struct blockslab_heap - an isolated set of classes
 * @cpu: by size index: the class's per-CPU state, or the empty one that leads to the slow path
 * @class: by size index: the class, NULL until it is first used
 * @rare: classes of rare GFP kinds, by kind and index
 * @classes: all of them
 * @flags: BLOCKSLAB_*
 * @exact: no magazines: every slot's state is in its block
 * @dying: destroyed; blocks go back as they drain
 * @zone: bytes added to every request for the red zone
 * @ctor: of a cache's slots
 * @cache: it is the heap of, or NULL
 * @track: one of so many bytes is tracked; 1 for all, 0 for none
 * @maker: address it was created from
 * @substituted: a class that could not be made was stood in for by a larger one
 * @lock: guards @fixed, @reserve, @reserved, and that a class is made once
 * @fixed: bytes of structures that do not count against the limit
 * @reserve: blocks kept for when pages are not to be had
 * @reserved: bytes of their pages
 * @limit: most bytes it may hold
 * @held: bytes it holds
 * @nr_blocks: blocks and large allocations
 * @moving: blocks and batches of magazines that are charged, but on no list at the moment
 * @hoard: about how many bytes a trim could give back
 * @stock: of these, bytes of empty blocks and of slots in depots; see overstocked()
 * @trim: gives back what is not used
 * @armed: @trim is pending
 * @refs: one for the owner, one for each block, one for each reader
 * @free_work: frees it after the last reference
 * @id: ever rising; the order in heaps
 * @list: in heaps (heaps_lock)
 * @dir: in debugfs
 * @validated: last result of the debugfs file validate
 * @shrunk: last result of the debugfs file shrink
 * @name: of the heap
 */
struct blockslab_heap {
	struct blockslab_cpu __percpu *cpu[NR_INDEXES];	/* first: struct blockslab_heap_cpus */
	struct blockslab_class *class[NR_INDEXES];
	struct xarray rare;
	struct list_head classes;
	unsigned long flags;
	bool exact;
	bool dying;
	bool substituted;
	unsigned int zone;
	void (*ctor)(void *object);
	struct blockslab_cache *cache;
	unsigned long track;
	unsigned long maker;

	spinlock_t lock;	/* fixed, reserve, and that a class is made once */
	size_t fixed;
	struct list_head reserve;
	size_t reserved;
	size_t limit;
	atomic_long_t held;
	atomic_long_t nr_blocks;
	atomic_long_t moving;
	atomic_long_t hoard;
	atomic_long_t stock;

	struct delayed_work trim;
	bool armed;

	refcount_t refs;
	struct work_struct free_work;
	u64 id;
	struct list_head list;
	struct dentry *dir;
	int validated;
	size_t shrunk;
	char name[BLOCKSLAB_NAME_MAX + 1];
};

static_assert(offsetof(struct blockslab_heap, cpu) == 0);

/* Index of the class that serves a size. */
u8 blockslab_size_index[BLOCKSLAB_SLOT_MAX + 1] __ro_after_init;
EXPORT_SYMBOL_GPL(blockslab_size_index);
static u16 index_size[NR_SIZES] __ro_after_init;

/* This CPU's per-CPU offset, plus the offset of its own node's line in a class's per-CPU state. */
DEFINE_PER_CPU(unsigned long, blockslab_home);
EXPORT_PER_CPU_SYMBOL_GPL(blockslab_home);
/* This CPU's per-CPU offset, less the secret that is in the pages. */
DEFINE_PER_CPU(unsigned long, blockslab_unsealing);
EXPORT_PER_CPU_SYMBOL_GPL(blockslab_unsealing);
/*
 * Stands for a class that is not there yet, or whose heap goes the slow way: no slots, no room. A
 * line a node, as every class has, since the home offset is added to this address too.
 */
static struct blockslab_cpu __percpu *no_class __ro_after_init;

/*
 * On while anything rare is to be done at every alloc (tracing, init_on_alloc, kmemleak), and at
 * every free (tracing, init_on_free, kmemleak).
 */
DEFINE_STATIC_KEY_FALSE(blockslab_rare);
EXPORT_SYMBOL_GPL(blockslab_rare);
static DEFINE_STATIC_KEY_FALSE(rare_free);
#define RARE_ALWAYS	(IS_ENABLED(CONFIG_DEBUG_KMEMLEAK) || IS_ENABLED(CONFIG_KASAN) || \
			 IS_ENABLED(CONFIG_KMSAN))

struct blockslab_heap blockslab_shared;
EXPORT_SYMBOL_GPL(blockslab_shared);
static LIST_HEAD(heaps);
static DEFINE_SPINLOCK(heaps_lock);	/* heaps, and each heap's way out of it */
static u64 last_id;			/* heaps_lock */
static struct workqueue_struct *workqueue;
/* Of sizes that kmalloc() would round up by a third: most descriptors, and all classes. */
static struct kmem_cache *block_cache, *class_cache;
static struct shrinker *shrinker;
static struct dentry *debugfs_dir, *debugfs_heaps;

/* ------------------------------------------------------------------------------------------------
 * Requests that tests make fail
 */

static struct {
	unsigned int what;
	unsigned int percent;
	atomic_long_t after;
	atomic_long_t calls;
} failing = { .after = ATOMIC_LONG_INIT(-1) };

#ifdef CONFIG_FAULT_INJECTION_DEBUG_FS
/* The same by the kernel's own means: fault attributes, in debugfs/blockslab/fail_*. */
static const char * const fail_names[] = {
	"fail_pages", "fail_descriptor", "fail_magazine", "fail_class", "fail_track",
};

static struct fault_attr fail_attrs[ARRAY_SIZE(fail_names)] = {
	[0 ... ARRAY_SIZE(fail_names) - 1] = FAULT_ATTR_INITIALIZER,
};

static_assert(ilog2(BLOCKSLAB_FAIL_TRACK) + 1 == ARRAY_SIZE(fail_names));

static bool should_fail_by_attr(unsigned int what)
{
	return should_fail(&fail_attrs[ilog2(what)], 1);
}

static void fail_debugfs(struct dentry *dir)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fail_names); i++)
		fault_create_debugfs_attr(fail_names[i], dir, &fail_attrs[i]);
}
#else
static bool should_fail_by_attr(unsigned int what)
{
	return false;
}

static void fail_debugfs(struct dentry *dir)
{
}
#endif

static bool should_fail_request(unsigned int what)
{
	unsigned int percent;

	if (should_fail_by_attr(what))
		return true;
	if (likely(!(READ_ONCE(failing.what) & what)))
		return false;
	atomic_long_inc(&failing.calls);
	if (atomic_long_dec_return(&failing.after) == -1)
		return true;
	percent = READ_ONCE(failing.percent);
	return percent && get_random_u32() % 100 < percent;
}

/**
 * blockslab_fail() - make requests fail, for tests
 * @what: which requests: BLOCKSLAB_FAIL_*
 * @after: how many of them succeed before one fails; ULONG_MAX for none that fails by count
 * @percent: how many in 100 of all fail at random
 *
 * Context: any; one caller at a time.
 * Return: the number of such requests since the last call.
 */
unsigned long blockslab_fail(unsigned int what, unsigned long after, unsigned int percent)
{
	WRITE_ONCE(failing.what, 0);
	WRITE_ONCE(failing.percent, percent);
	atomic_long_set(&failing.after, after > LONG_MAX - 1 ? LONG_MAX : after);
	WRITE_ONCE(failing.what, what);
	return atomic_long_xchg(&failing.calls, 0);
}
EXPORT_SYMBOL_GPL(blockslab_fail);

static void *meta_alloc(unsigned int what, size_t size, gfp_t gfp, int nid)
{
	if (should_fail_request(what))
		return NULL;
	return kzalloc_node(size, (gfp & GFP_META) | __GFP_NOWARN, nid);
}

static void *meta_cache_alloc(unsigned int what, struct kmem_cache *cache, gfp_t gfp, int nid)
{
	if (should_fail_request(what))
		return NULL;
	return kmem_cache_alloc_node(cache, (gfp & GFP_META) | __GFP_NOWARN | __GFP_ZERO, nid);
}

/* ------------------------------------------------------------------------------------------------
 * Pointer -> block
 */

struct blockslab_span blockslab_span __read_mostly;
EXPORT_SYMBOL_GPL(blockslab_span);
unsigned long blockslab_fast_size __read_mostly = BLOCKSLAB_SLOT_MAX;
EXPORT_SYMBOL_GPL(blockslab_fast_size);

/* NULL where no struct page stands behind the address. */
static struct page *page_of(const void *slot)
{
	unsigned long offset = blockslab_offset(slot);

	if (likely(offset < READ_ONCE(blockslab_span.size)))
		return blockslab_page(offset);
	return virt_addr_valid(slot) ? virt_to_page(slot) : NULL;
}

/* In pages, the address of per-CPU state has the secret added: it is sealed. */
static unsigned long seal(const struct blockslab_cpu __percpu *cpu)
{
	return (__force unsigned long)cpu + blockslab_span.secret;
}

/* What remains of a page's key when the page and the per-CPU state it names are taken away. */
static __always_inline unsigned long page_key(const struct page *page)
{
	return (unsigned long)page->lru.prev - (unsigned long)page - blockslab_sealed(page);
}

static __always_inline void *slot_address(const struct blockslab_block *block, unsigned int size,
					  unsigned int number)
{
	return block->base + (size_t)number * size;
}

/* Longs in each of a block's bitmaps: a bit a slot, and one at least for the tail. */
static unsigned int map_words(unsigned int nr_slots)
{
	return BITS_TO_LONGS(nr_slots + 1);
}

static unsigned long *deferred_map(struct blockslab_block *block)
{
	return block->map + map_words(block->nr_slots);
}

static int node_id(const struct blockslab_node *node)
{
	return node - node->class->nodes;
}

/* A node's part of its class's per-CPU state. */
static struct blockslab_cpu __percpu *node_cpu(const struct blockslab_node *node)
{
	return node->class->cpu + node_id(node);
}

static struct page *first_page(const struct blockslab_block *block)
{
	return virt_to_page(block->base);
}

static bool slot_is_free(const struct blockslab_block *block, unsigned int number)
{
	return test_bit(number, block->map);
}

/*
 * What a free slot holds in one word: the key of its page as it is in the page, so that the fast
 * path has it at hand. Being odd and made of two addresses and a secret of this boot, it is a
 * value that no data holds by accident.
 */
static unsigned long canary_of(const struct blockslab_node *node, const void *slot)
{
	return blockslab_mark(page_of(slot), seal(node_cpu(node)), node->class->key);
}

static bool has_canary(const struct blockslab_node *node, const void *slot)
{
	return *blockslab_word(slot, node->class->canary) == canary_of(node, slot);
}

static void put_canary(const struct blockslab_node *node, const void *slot)
{
	*blockslab_word(slot, node->class->canary) = canary_of(node, slot);
}

/* The block a pointer points into, exactly checked; NULL for a foreign pointer. */
static struct blockslab_block *block_of(const void *slot)
{
	struct page *page = page_of(slot);
	struct blockslab_block *block;
	unsigned long key;

	if (!page)
		return NULL;
	key = page_key(page);
	if (key != BLOCKSLAB_KEY_FAST && key != KEY_CACHE && key != KEY_SLOW)
		return NULL;
	block = blockslab_block_of(page);
	if (slot < block->base || slot >= block->base + block->nr_pages * PAGE_SIZE)
		return NULL;
	return block;
}

static void page_words_set(struct blockslab_block *block, unsigned long key)
{
	struct blockslab_node *node = block->node;
	struct page *page = first_page(block);
	unsigned long sealed = seal(node_cpu(node));
	unsigned int i;

	for (i = 0; i < block->nr_pages; i++, page++) {
		set_page_private(page, (unsigned long)block);
		WRITE_ONCE(page->lru.next, (struct list_head *)sealed);
		WRITE_ONCE(page->lru.prev, (struct list_head *)blockslab_mark(page, sealed, key));
	}
}

static void page_words_clear(struct blockslab_block *block)
{
	struct page *page = first_page(block);
	unsigned int i;

	for (i = 0; i < block->nr_pages; i++, page++) {
		set_page_private(page, 0);
		INIT_LIST_HEAD(&page->lru);
	}
}

/* ------------------------------------------------------------------------------------------------
 * KASAN: an access to what is nobody's is reported where it happens
 *
 * KMSAN has its own calls for modules: kmsan_poison_memory() makes what a slot held before no
 * value to its owner. This file itself is not checked (Kbuild), as it looks at free slots.
 */

#ifdef CONFIG_KASAN_GENERIC
/* As in mm/kasan/kasan.h, which modules do not see; nor are its functions exported. */
#define SHADOW_REDZONE	0xfc
#define SHADOW_FREE	0xfb

/* Of a slot's bytes, the first @live may be used from now on. This file itself is not watched. */
static void kasan_slot(const void *slot, size_t bytes, size_t live)
{
	u8 *shadow = kasan_mem_to_shadow(slot);
	size_t whole = live / 8;

	memset(shadow, 0, whole);
	if (live % 8)
		shadow[whole++] = live % 8;
	memset(shadow + whole, live ? SHADOW_REDZONE : SHADOW_FREE, bytes / 8 - whole);
}
#else
static void kasan_slot(const void *slot, size_t bytes, size_t live)
{
}
#endif

/* Whether memory holds nothing but one byte's value, even if it is nobody's. */
static bool holds_only(const void *start, u8 value, size_t bytes)
{
	bool only;

	kasan_disable_current();
	only = !memchr_inv(start, value, bytes);
	kasan_enable_current();
	return only;
}

static void kasan_block(const struct blockslab_block *block, bool live)
{
	size_t bytes = block->nr_pages * PAGE_SIZE;

	kasan_slot(block->base, bytes, live ? bytes : 0);
}

/* ------------------------------------------------------------------------------------------------
 * Faults: one report each, and the operation is refused
 */

enum fault {
	NO_FAULT,
	DOUBLE_FREE,
	FOREIGN,
	INSIDE,
	WRONG_CACHE,
	WRONG_SIZE,
	PAST_SLOT,
	BEFORE_SLOT,
	AFTER_FREE,
	DAMAGED,
	DESTROYED,
	NR_FAULTS,
};

static const char * const fault_names[] = {
	[NO_FAULT] = "none",
	[DOUBLE_FREE] = "double free",
	[FOREIGN] = "foreign pointer",
	[INSIDE] = "pointer inside a slot",
	[WRONG_CACHE] = "wrong cache",
	[WRONG_SIZE] = "wrong size",
	[PAST_SLOT] = "write past the slot",
	[BEFORE_SLOT] = "write before the slot, or past the one before it",
	[AFTER_FREE] = "write after free",
	[DAMAGED] = "damaged descriptor",
	[DESTROYED] = "allocation from a destroyed heap",
};

static_assert(ARRAY_SIZE(fault_names) == NR_FAULTS);

/* One a kind, so that a storm of one kind hides no other. */
static struct ratelimit_state fault_limits[] = {
	[0 ... NR_FAULTS - 1] = RATELIMIT_STATE_INIT(fault_limits, 5 * HZ, 50),
};

/* A clock that 32 bits hold for nine years, in steps of 67 ms. */
static u32 note_clock(void)
{
	return local_clock() >> 26;
}

/* Milliseconds since note_clock() was at @when. */
static unsigned int note_age(u32 when)
{
	return div_u64((u64)max_t(s32, note_clock() - when, 0) << 26, NSEC_PER_MSEC);
}

/* In steps of a second, for four years. */
static u32 block_clock(void)
{
	return local_clock() >> 30;
}

/* Milliseconds since a block got its pages. */
static unsigned int block_age(const struct blockslab_block *block)
{
	u64 age = (block_clock() - block->born) & GENMASK(26, 0);

	return div_u64(age << 30, NSEC_PER_MSEC);
}

static void print_stack(const char *what, depot_stack_handle_t stack)
{
#ifdef CONFIG_STACKDEPOT
	if (!stack)
		return;
	pr_err("%s\n", what);
	stack_depot_print(stack);
#endif
}

static void print_note(const struct blockslab_note *note)
{
	if (note->period)
		pr_err("asked for: %u bytes, on CPU %u, %u ms ago\n", note->asked, note->cpu,
		       note_age(note->when));
	else
		pr_err("asked for: %u bytes\n", note->asked);
	print_stack("allocated by:", note->got);
	print_stack("last freed by:", note->gone);
}

static void print_block(struct blockslab_block *block, const void *slot)
{
	struct blockslab_class *class = block->node->class;
	unsigned int number = class->size ? (slot - block->base) / class->size : 0;

	if (class->size)
		pr_err("heap %s, class of %u bytes, slot %u of %u, block at %p on node %d\n",
		       class->heap->name, class->size, number, block->nr_slots, block->base,
		       node_id(block->node));
	else
		pr_err("heap %s, %u whole pages at %p\n", class->heap->name, block->nr_pages,
		       block->base);
	if (block->notes && number < block->nr_slots)
		print_note(&block->notes[number]);
}

/* @block may be NULL: not known. */
static noinline __cold void report(enum fault fault, const void *slot,
				   struct blockslab_block *block, unsigned long caller)
{
	struct blockslab_class *class = block ? block->node->class : NULL;

	trace_blockslab_fault(fault_names[fault], slot, class ? class->heap->name : "",
			      class ? class->size : 0);
	if (!__ratelimit(&fault_limits[fault]))
		return;
	pr_err("fault: %s: slot %p, by %pS\n", fault_names[fault], slot, (void *)caller);
	if (block)
		print_block(block, slot);
	pr_err("the call was refused; nothing was changed\n");
	dump_stack();
}

/* ------------------------------------------------------------------------------------------------
 * Heaps: life and accounting
 */

static struct blockslab_heap *heap_or_shared(struct blockslab_heap *heap)
{
	return heap ?: &blockslab_shared;
}

static size_t held_bytes(struct blockslab_heap *heap)
{
	return atomic_long_read(&heap->held);
}

static void heap_put(struct blockslab_heap *heap)
{
	if (refcount_dec_and_test(&heap->refs))
		queue_work(workqueue, &heap->free_work);
}

/* The heap after @heap, which is let go of; with a reference. Start and end are NULL. */
static struct blockslab_heap *next_heap(struct blockslab_heap *heap)
{
	struct blockslab_heap *next = NULL, *pos;
	unsigned long irq;

	spin_lock_irqsave(&heaps_lock, irq);
	/* From the start only where @heap has left the list meanwhile. */
	pos = heap && !list_empty(&heap->list) ? heap : NULL;
	pos = list_prepare_entry(pos, &heaps, list);
	list_for_each_entry_continue(pos, &heaps, list) {
		if ((!heap || pos->id > heap->id) && refcount_inc_not_zero(&pos->refs)) {
			next = pos;
			break;
		}
	}
	spin_unlock_irqrestore(&heaps_lock, irq);
	if (heap)
		heap_put(heap);
	return next;
}

/* The node after a node, over all classes; NULL at the end. Classes are never removed. */
static struct blockslab_node *node_after(struct blockslab_heap *heap, struct blockslab_node *node)
{
	struct blockslab_class *class;
	struct list_head *next;

	if (node && node_id(node) + 1 < nr_node_ids)
		return node + 1;
	next = rcu_dereference_raw(list_next_rcu(node ? &node->class->list : &heap->classes));
	if (next == &heap->classes)
		return NULL;
	class = list_entry(next, struct blockslab_class, list);
	return &class->nodes[0];
}

/*
 * False, and nothing is charged, where the limit would be passed. The limit is looked at again
 * after the bytes are in: limit_set() lowers it first and then looks at what is held.
 */
static bool heap_charge_bytes(struct blockslab_heap *heap, long bytes)
{
	long limit = READ_ONCE(heap->limit), held = atomic_long_read(&heap->held);

	if (limit) {
		do {
			if (held + bytes > limit)
				goto over;
		} while (!atomic_long_try_cmpxchg(&heap->held, &held, held + bytes));
	} else {
		held = atomic_long_fetch_add(bytes, &heap->held);
	}
	limit = READ_ONCE(heap->limit);
	if (likely(!limit || held + bytes <= limit))
		return true;
	atomic_long_sub(bytes, &heap->held);
over:
	trace_blockslab_limit_hit(heap->name, bytes, held, limit);
	return false;
}

static bool heap_charge(struct blockslab_node *node, size_t bytes)
{
	if (!heap_charge_bytes(node->class->heap, bytes))
		return false;
	atomic_long_add(bytes, &node->held);
	return true;
}

static void heap_uncharge(struct blockslab_node *node, size_t bytes)
{
	atomic_long_sub(bytes, &node->class->heap->held);
	atomic_long_sub(bytes, &node->held);
}

/*
 * The shared heap holds the module only while it has blocks, so that a slot somebody forgot keeps
 * the module loaded, and nothing else does. Under a lock, so that a put never comes before its
 * get.
 */
static void shared_count_block(int change)
{
	unsigned long irq;
	long nr;

	spin_lock_irqsave(&blockslab_shared.lock, irq);
	nr = atomic_long_add_return(change, &blockslab_shared.nr_blocks);
	if (change > 0 && nr == 1)
		__module_get(THIS_MODULE);
	else if (change < 0 && nr == 0)
		module_put(THIS_MODULE);
	spin_unlock_irqrestore(&blockslab_shared.lock, irq);
}

/* Every block is a reference on its heap. */
static void heap_count_block(struct blockslab_heap *heap, int change)
{
	if (change > 0)
		refcount_inc(&heap->refs);
	if (heap == &blockslab_shared)
		shared_count_block(change);
	else
		atomic_long_add(change, &heap->nr_blocks);
	if (change < 0)
		heap_put(heap);
}

static void heap_arm(struct blockslab_heap *heap);
static size_t heap_trim(struct blockslab_heap *heap, bool wait);

/* ------------------------------------------------------------------------------------------------
 * Page provider
 */

static unsigned int block_order(const struct blockslab_block *block)
{
	return order_base_2(block->nr_pages);
}

/* What a block counts for: pages, descriptor and notes. */
static size_t block_bytes(const struct blockslab_block *block)
{
	return block->nr_pages * PAGE_SIZE + block->meta * 8;
}

static size_t descriptor_bytes(unsigned int nr_slots)
{
	size_t bytes = struct_size((struct blockslab_block *)NULL, map, 2 * map_words(nr_slots));

	return map_words(nr_slots) == 1 ? bytes : kmalloc_size_roundup(bytes);
}

/*
 * The order that wastes least, for what the class holds now: every block has its tail and
 * descriptor, and the class as a whole up to a block that is not in use. So a little-used
 * class gets small blocks, and a class of 128 KiB those of which the tail and the descriptor are
 * small. A tail of over an eighth is only for want of something better.
 */
static unsigned int new_block_order(const struct blockslab_node *node)
{
	size_t size = node->class->size, pages = READ_ONCE(node->pages), least = SIZE_MAX;
	size_t most = min_t(size_t, BLOCK_BYTES_MAX, size * BLOCK_SLOTS_MAX);
	unsigned int order, best = get_order(size);

	for (order = best; order <= max_order && PAGE_SIZE << order <= most; order++) {
		size_t bytes = PAGE_SIZE << order;
		size_t each = bytes % size + descriptor_bytes(bytes / size);
		size_t waste = each * DIV_ROUND_UP(max(pages, bytes), bytes) + bytes;

		if (bytes % size > bytes / 8)
			waste += SZ_1G;
		if (waste < least) {
			least = waste;
			best = order;
		}
	}
	return best;
}

static struct page *pages_get(gfp_t gfp, int nid, unsigned int order)
{
	if (should_fail_request(BLOCKSLAB_FAIL_PAGES))
		return NULL;
	return alloc_pages_node(nid, gfp & ~__GFP_COMP, order);
}

/* Of the wanted order if that comes easily, else of the smallest that holds a slot. */
static struct page *block_pages(struct blockslab_node *node, gfp_t gfp, unsigned int *order)
{
	struct blockslab_class *class = node->class;
	unsigned int least = get_order(class->size);
	int nid = node_id(node);
	struct page *page;

	gfp = (gfp & ~(__GFP_ZERO | __GFP_HIGHMEM)) | class->kind;
	*order = new_block_order(node);
	if (*order > least) {
		page = pages_get((gfp | __GFP_NOWARN | __GFP_NORETRY | __GFP_NOMEMALLOC) &
				 ~(__GFP_RECLAIM | __GFP_NOFAIL), nid, *order);
		if (page)
			return page;
		*order = least;
	}
	return pages_get(gfp & ~__GFP_NOFAIL, nid, least);
}

/* Room for @nr_slots and tail bits; not charged yet. */
static struct blockslab_block *descriptor_get(unsigned int nr_slots, gfp_t gfp, int nid)
{
	bool small = map_words(nr_slots) == 1;
	struct blockslab_block *block;

	if (small)
		block = meta_cache_alloc(BLOCKSLAB_FAIL_DESCRIPTOR, block_cache, gfp, nid);
	else
		block = meta_alloc(BLOCKSLAB_FAIL_DESCRIPTOR, descriptor_bytes(nr_slots), gfp, nid);
	if (!block)
		return NULL;
	/* Not @base, which is the first slot's address: a lost one must not hide there. */
	kmemleak_scan_area(&block->node, offsetof(typeof(*block), map) -
			   offsetof(typeof(*block), node), gfp);
	block->small = small;
	block->meta = descriptor_bytes(nr_slots) / 8;
	block->state = BLOCK_UNLISTED;
	return block;
}

static void descriptor_put(struct blockslab_block *block)
{
	if (block->small)
		kmem_cache_free(block_cache, block);
	else
		kfree(block);
}

static bool notes_get(struct blockslab_block *block, gfp_t gfp)
{
	size_t bytes = kmalloc_size_roundup(block->nr_slots * sizeof(*block->notes));

	block->notes = meta_alloc(BLOCKSLAB_FAIL_TRACK, bytes, gfp, NUMA_NO_NODE);
	if (!block->notes)
		return false;
	block->meta += bytes / 8;
	return true;
}

static void count_pages(struct blockslab_block *block, long sign)
{
	mod_node_page_state(page_pgdat(first_page(block)), NR_SLAB_UNRECLAIMABLE_B,
			    sign * (long)(block->nr_pages * PAGE_SIZE));
}

/* How many sizes, from that of its slots down, are a class's and no other's. */
static unsigned int class_sizes(const struct blockslab_class *class)
{
	if (class->index == INDEX_CACHE)
		return class->size + 1;
	return class->size - (class->index ? index_size[class->index - 1] : 0);
}

/* Makes the pages behind a descriptor slots of a class, all free. */
static void block_bind(struct blockslab_block *block, struct blockslab_class *class)
{
	size_t bytes = block->nr_pages * PAGE_SIZE;
	unsigned int bits = bytes / class->size + 1;

	block->node = &class->nodes[page_to_nid(first_page(block))];
	block->size = class->size;
	block->sizes = class_sizes(class);
	block->recip = (u32)div_u64(1ULL << 32, class->size) + 1;
	block->nr_slots = bytes / class->size;
	block->nr_free = block->nr_slots;
	bitmap_fill(block->map, bits);
	bitmap_zero(deferred_map(block), bits);
}

/*
 * Pages of destroyed heaps, if the parameter quarantine_kib says so: nobody gets them for a while,
 * so that who still has a pointer there meets nobody's data. Under memory pressure they go back.
 */
static LIST_HEAD(quarantine);			/* by page->lru, the oldest first */
static DEFINE_SPINLOCK(quarantine_lock);	/* quarantine and quarantined */

static void quarantine_count(struct page *page, unsigned int order, long sign)
{
	quarantined += sign * (1L << order);
	mod_node_page_state(page_pgdat(page), NR_SLAB_UNRECLAIMABLE_B,
			    sign * (long)(PAGE_SIZE << order));
}

/* Gives back all but @most pages; how many. */
static unsigned long quarantine_trim(unsigned long most)
{
	unsigned long pages = 0, irq;
	struct page *page, *next;
	LIST_HEAD(gone);

	spin_lock_irqsave(&quarantine_lock, irq);
	list_for_each_entry_safe(page, next, &quarantine, lru) {
		if (quarantined <= most)
			break;
		quarantine_count(page, page_private(page), -1);
		list_move(&page->lru, &gone);
	}
	spin_unlock_irqrestore(&quarantine_lock, irq);
	list_for_each_entry_safe(page, next, &gone, lru) {
		unsigned int order = page_private(page);

		pages += 1UL << order;
		set_page_private(page, 0);
		INIT_LIST_HEAD(&page->lru);
		__free_pages(page, order);
	}
	return pages;
}

static void quarantine_add(struct page *page, unsigned int order)
{
	unsigned long irq;

	memset(page_address(page), POISON_FREE, PAGE_SIZE << order);
	spin_lock_irqsave(&quarantine_lock, irq);
	set_page_private(page, order);
	list_add_tail(&page->lru, &quarantine);
	quarantine_count(page, order, 1);
	spin_unlock_irqrestore(&quarantine_lock, irq);
	quarantine_trim(READ_ONCE(quarantine_kib) / (PAGE_SIZE / SZ_1K));
}

static void pages_put(struct blockslab_heap *heap, struct page *page, unsigned int order)
{
	if (heap->dying && READ_ONCE(quarantine_kib))
		quarantine_add(page, order);
	else
		__free_pages(page, order);
}

static void block_free_pages(struct blockslab_block *block)
{
	struct blockslab_heap *heap = block->node->class->heap;
	struct page *page = first_page(block);
	unsigned int i;

	if (block->node->class->size) {
		pages_put(heap, page, block_order(block));
		return;
	}
	for (i = 0; i < block->nr_pages; i++)	/* split, see large_get() */
		pages_put(heap, page + i, 0);
}

/* All slots of a new block are free, and marked so: a magazine takes them as they are. */
static void put_canaries(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	void *slot = block->base, *end = slot_address(block, class->size, block->nr_slots);
	unsigned long mark;
	void *next;

	while (slot < end) {
		mark = canary_of(block->node, slot);
		next = min(end, PTR_ALIGN(slot + 1, PAGE_SIZE));
		for (; slot < next; slot += class->size)
			*blockslab_word(slot, class->canary) = mark;
	}
}

static void block_prepare(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_heap *heap = class->heap;
	unsigned int i;

	if (heap->flags & BLOCKSLAB_POISON)
		memset(block->base, POISON_FREE, (size_t)block->nr_slots * class->size);
	else if (heap->zone)
		memset(block->base, SLUB_RED_ACTIVE, (size_t)block->nr_slots * class->size);
	if (heap->ctor)			/* and so no poison: cache_new() */
		for (i = 0; i < block->nr_slots; i++)
			heap->ctor(slot_address(block, class->size, i));
	if (class->key != KEY_SLOW)
		put_canaries(block);
	if (!(heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU))
		kasan_block(block, false);
	page_words_set(block, class->key);
	heap_count_block(heap, 1);
	trace_blockslab_block_get(heap->name, class->size, node_id(block->node),
				  block_order(block));
}

/* A block of the heap's reserve, for a class that gets none from the page allocator. */
static struct blockslab_block *reserve_take(struct blockslab_class *class)
{
	struct blockslab_heap *heap = class->heap;
	struct blockslab_block *block;
	unsigned long irq;

	if (class->noted || class->kind & ~__GFP_ACCOUNT || list_empty(&heap->reserve))
		return NULL;
	spin_lock_irqsave(&heap->lock, irq);
	block = list_first_entry_or_null(&heap->reserve, struct blockslab_block, list);
	if (block) {
		list_del(&block->list);
		blockslab_sub(heap->reserved, block->nr_pages * PAGE_SIZE);
	}
	spin_unlock_irqrestore(&heap->lock, irq);
	if (!block)
		return NULL;
	block_bind(block, class);
	atomic_long_inc(&heap->moving);
	/* Charged to the heap since it was reserved; from now on to its node too. */
	atomic_long_add(block_bytes(block), &block->node->held);
	return block;
}

static void reserve_put_back(struct blockslab_block *block)
{
	struct blockslab_heap *heap = block->node->class->heap;
	unsigned long irq;

	atomic_long_sub(block_bytes(block), &block->node->held);
	spin_lock_irqsave(&heap->lock, irq);
	list_add(&block->list, &heap->reserve);
	blockslab_add(heap->reserved, block->nr_pages * PAGE_SIZE);
	spin_unlock_irqrestore(&heap->lock, irq);
}

static void reserve_drop(struct blockslab_heap *heap)
{
	struct blockslab_block *block, *next;
	unsigned long irq;
	LIST_HEAD(gone);

	spin_lock_irqsave(&heap->lock, irq);
	list_splice_init(&heap->reserve, &gone);
	WRITE_ONCE(heap->reserved, 0);
	list_for_each_entry(block, &gone, list)
		atomic_long_sub(block_bytes(block), &heap->held);
	spin_unlock_irqrestore(&heap->lock, irq);
	list_for_each_entry_safe(block, next, &gone, list) {
		count_pages(block, -1);
		__free_pages(first_page(block), RESERVE_ORDER);
		descriptor_put(block);
	}
}

/* A new block, from the page allocator. It is charged, and on no list yet. */
static struct blockslab_block *block_new(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_class *class = node->class;
	struct blockslab_block *block;
	unsigned int order;
	struct page *page;

	page = block_pages(node, gfp, &order);
	if (!page)
		return NULL;
	block = descriptor_get((PAGE_SIZE << order) / class->size, gfp, page_to_nid(page));
	if (!block)
		goto no_descriptor;
	block->base = page_address(page);
	block->nr_pages = 1U << order;
	block_bind(block, class);
	block->born = block_clock();
	if (class->noted && !notes_get(block, gfp))
		goto no_notes;
	atomic_long_inc(&class->heap->moving);
	if (!heap_charge(block->node, block_bytes(block)))
		goto over_limit;
	count_pages(block, 1);
	return block;

over_limit:
	atomic_long_dec(&class->heap->moving);
	kfree(block->notes);
no_notes:
	descriptor_put(block);
no_descriptor:
	__free_pages(page, order);
	return NULL;
}

/* The last of a block: nobody can reach it any more. */
static void block_end(struct blockslab_block *block)
{
	struct blockslab_heap *heap = block->node->class->heap;

	if (block->reserved && !heap->dying) {
		reserve_put_back(block);
	} else {
		count_pages(block, -1);
		block_free_pages(block);
		heap_uncharge(block->node, block_bytes(block));
		kfree(block->notes);
		descriptor_put(block);
	}
	atomic_long_dec(&heap->moving);
	heap_count_block(heap, -1);
}

static void block_end_rcu(struct rcu_head *rcu)
{
	block_end(container_of(rcu, struct blockslab_block, rcu));
}

/* Whether a descriptor that somebody may have written to still has its pages, and can count. */
static bool block_sound(const struct blockslab_block *block)
{
	struct page *page = page_of(block->base);

	return page && blockslab_block_of(page) == block && block->nr_free <= block->nr_slots;
}

/*
 * Gives a block's pages back; it is on no list any more. One that does not know its pages is kept
 * with all that it belongs to.
 */
static void block_put(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;

	if (unlikely(!block_sound(block))) {
		report(DAMAGED, block, NULL, _RET_IP_);
		atomic_long_dec(&class->heap->moving);
		return;
	}
	trace_blockslab_block_put(class->heap->name, class->size, node_id(block->node),
				  block_order(block));
	page_words_clear(block);
	kasan_block(block, true);
	if (class->heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU)
		call_rcu(&block->rcu, block_end_rcu);
	else
		block_end(block);
}

/* ------------------------------------------------------------------------------------------------
 * Blocks: lists by fullness, slots by bitmap
 */

static unsigned int block_state(const struct blockslab_block *block)
{
	unsigned int used = block->nr_slots - block->nr_free;

	if (!block->nr_free)
		return BLOCK_FULL;
	if (!used)
		return BLOCK_RETAINED;
	return BLOCK_PARTIAL + (block->nr_free - 1) * NR_PARTIAL / block->nr_slots;
}

static long block_hoard(const struct blockslab_block *block)
{
	return block->state == BLOCK_RETAINED ? block_bytes(block) : 0;
}

/* Bytes of a node's empty blocks come, or go. */
static void count_retained(struct blockslab_node *node, long bytes)
{
	if (!bytes)
		return;
	blockslab_add(node->retained, bytes);
	atomic_long_add(bytes, &node->class->heap->hoard);
	atomic_long_add(bytes, &node->class->heap->stock);
}

/* A descriptor was written to. The bitmap is believed; without its pages, nothing is free. */
static noinline __cold void block_mend(struct blockslab_block *block)
{
	unsigned int bits = bitmap_weight(block->map, block->nr_slots);

	report(DAMAGED, block, NULL, _RET_IP_);
	block->nr_free = bits;
	if (block_sound(block))
		return;
	blockslab_sub(block->node->nr_free, bits);
	block->nr_free = 0;
}

/* Puts a block on the list that its number of free slots names. */
static void block_list(struct blockslab_block *block)
{
	struct blockslab_node *node = block->node;
	unsigned int state = block_state(block);
	long hoard = -block_hoard(block);

	lockdep_assert_held(&node->lock);
	if (state == block->state)
		return;
	/* Before all of its pages are given away, it must be certain. */
	if (unlikely(block->nr_free > block->nr_slots ||
		     (state == BLOCK_RETAINED && !bitmap_full(block->map, block->nr_slots)))) {
		block_mend(block);
		state = block_state(block);
	}
	if (block->state != BLOCK_UNLISTED) {
		blockslab_sub(node->nr[block->state], 1);
		list_del(&block->list);
	}
	block->state = state;
	blockslab_add(node->nr[state], 1);
	list_add(&block->list, &node->blocks[state]);
	count_retained(node, hoard + block_hoard(block));
}

static void block_link(struct blockslab_block *block)
{
	struct blockslab_node *node = block->node;

	lockdep_assert_held(&node->lock);
	atomic_long_dec(&node->class->heap->moving);
	list_add_tail(&block->all, &node->all);
	blockslab_add(node->nr_slots, block->nr_slots);
	blockslab_add(node->nr_free, block->nr_free);
	blockslab_add(node->pages, block->nr_pages * PAGE_SIZE);
	block_list(block);
}

/* Takes a block off its node, for block_put(). */
static void block_unlink(struct blockslab_block *block, struct list_head *gone)
{
	struct blockslab_node *node = block->node;

	lockdep_assert_held(&node->lock);
	atomic_long_inc(&node->class->heap->moving);
	count_retained(node, -block_hoard(block));
	blockslab_sub(node->nr[block->state], 1);
	blockslab_sub(node->nr_slots, block->nr_slots);
	blockslab_sub(node->nr_free, block->nr_free);
	blockslab_sub(node->pages, block->nr_pages * PAGE_SIZE);
	block->state = BLOCK_UNLISTED;
	list_del(&block->all);
	list_move(&block->list, gone);
}

static void put_blocks(struct list_head *gone)
{
	struct blockslab_block *block, *next;

	list_for_each_entry_safe(block, next, gone, list) {
		list_del(&block->list);
		block_put(block);
	}
}

/* The fullest block with a free slot, so that sparse ones can drain. */
static struct blockslab_block *best_block(struct blockslab_node *node)
{
	unsigned int state;

	lockdep_assert_held(&node->lock);
	for (state = BLOCK_PARTIAL; state <= BLOCK_RETAINED; state++)
		if (node->nr[state])
			return list_first_entry(&node->blocks[state], struct blockslab_block, list);
	return NULL;
}

/* The bitmap had fewer slots than its count: those behind the end are left out. */
static noinline __cold unsigned int take_fewer(struct blockslab_block *block, void **slots,
					       unsigned int nr, unsigned int got)
{
	void *end = slot_address(block, block->node->class->size, block->nr_slots);
	unsigned int first = nr - got;

	report(DAMAGED, block, NULL, _RET_IP_);
	while (first < nr && slots[first] >= end)
		first++;
	memmove(slots, slots + first, (nr - first) * sizeof(*slots));
	bitmap_set(block->map, block->nr_slots,
		   map_words(block->nr_slots) * BITS_PER_LONG - block->nr_slots);
	block->nr_free = nr - first;
	return nr - first;
}

/* A random order of a word's bits, another one at every boot. */
static u8 bit_order[BITS_PER_LONG] __ro_after_init;

/*
 * Takes slots of a word, most of which are free, from @to down to @slots: neighbours in a fresh
 * block do not go out one after the other. Each time bit_order is begun elsewhere.
 */
static void **take_shuffled(struct blockslab_block *block, unsigned long *word, void *base,
			    void **to, void **slots)
{
	unsigned int tail = block->nr_slots - (word - block->map) * BITS_PER_LONG, bit, i;
	unsigned long size = block->size, bits = *word;
	struct blockslab_node *node = block->node;

	node->seed = node->seed * 1664525 + 1013904223;	/* Numerical Recipes, 7.1 */
	for (i = 0; i < BITS_PER_LONG && to > slots; i++) {
		bit = bit_order[((node->seed >> 16) + i) % BITS_PER_LONG];
		if (bit >= tail || !(bits & BIT(bit)))
			continue;
		bits ^= BIT(bit);
		data_race(*--to = base + size * bit);	/* as in a free */
	}
	WRITE_ONCE(*word, bits);
	return to;
}

/* Takes up to @nr slots out of a block, the last one first, a bitmap word at a time. */
static unsigned int take_slots(struct blockslab_block *block, void **slots, unsigned int nr)
{
	unsigned long *word = block->map, *end = deferred_map(block), size = block->size, bits;
	void *base = block->base, **to;
	unsigned int got;

	lockdep_assert_held(&block->node->lock);
	nr = min_t(unsigned int, nr, block->nr_free);
	for (to = slots + nr; to > slots && word < end; word++, base += size * BITS_PER_LONG) {
		if (READ_ONCE(shuffle) && hweight_long(*word) > BITS_PER_LONG / 2)
			to = take_shuffled(block, word, base, to, slots);
		for (bits = *word; bits && to > slots; bits &= bits - 1)
			data_race(*--to = base + size * __ffs(bits));	/* as in a free */
		WRITE_ONCE(*word, bits);
	}
	got = slots + nr - to;
	if (unlikely(got < nr || slots[0] >= slot_address(block, size, block->nr_slots)))
		got = take_fewer(block, slots, nr, got);
	block->nr_free -= got;
	blockslab_sub(block->node->nr_free, got);
	block_list(block);
	return got;
}

/* Takes up to @nr slots out of a node's blocks. */
static unsigned int take_from_blocks(struct blockslab_node *node, void **slots, unsigned int nr)
{
	struct blockslab_block *block;
	unsigned int got = 0;

	lockdep_assert_held(&node->lock);
	while (got < nr) {
		block = best_block(node);
		if (!block)
			break;
		if (likely(block_sound(block))) {
			got += take_slots(block, slots + got, nr - got);
		} else {
			block_mend(block);
			block_list(block);
		}
	}
	node->least_retained = min(node->least_retained, node->nr[BLOCK_RETAINED]);
	WRITE_ONCE(node->turns, node->turns | 1);
	return got;
}

/* Where slots are not cached, a double free is told for as long as the block stays. */
static unsigned int keep_least(const struct blockslab_node *node)
{
	return max(READ_ONCE(retain), node->class->noted ? 1U : 0U);
}

/*
 * Whether a heap keeps more than it should. What each class keeps by its own working set may be
 * little and yet, over a hundred classes, much of all that the heap holds.
 */
static bool overstocked(struct blockslab_heap *heap)
{
	unsigned long share = atomic_long_read(&heap->held) / 16;

	return atomic_long_read(&heap->stock) > (long)max(share, READ_ONCE(stock_kib) * 1024UL);
}

/* After slots came back to a block; to @gone with it if it is empty and one too many. */
static void block_returned(struct blockslab_block *block, struct list_head *gone)
{
	struct blockslab_node *node = block->node;
	unsigned int keep = keep_least(node);

	block_list(block);
	if (block->state != BLOCK_RETAINED)
		return;
	if (!overstocked(node->class->heap))
		keep = max(keep, node->keep);
	if (READ_ONCE(node->class->heap->dying))
		keep = 0;
	if (block->reserved || node->nr[BLOCK_RETAINED] > keep) {
		node->given_back++;
		block_unlink(block, gone);
	}
}

static bool test_and_set_free(struct blockslab_block *block, unsigned int number)
{
	lockdep_assert_held(&block->node->lock);
	/* who tests a bit without the lock sees it as it was before or is after */
	return data_race(__test_and_set_bit(number, block->map));
}

/* Marks slots free from the first on, as long as they are of the first one's block; how many. */
static unsigned int return_run(struct blockslab_block *block, void **slots, unsigned int nr)
{
	size_t bytes = (size_t)block->nr_pages * PAGE_SIZE;
	unsigned int i, twice = 0;
	long number;

	for (i = 0; i < nr && (size_t)(slots[i] - block->base) < bytes; i++) {
		number = blockslab_number(block, slots[i]);
		if (likely(number >= 0 && !test_and_set_free(block, number)))
			continue;
		/* Freed twice: at the same time on two CPUs, or written to in between. */
		report(DOUBLE_FREE, slots[i], block, _RET_IP_);
		twice++;
	}
	block->nr_free += i - twice;
	blockslab_add(block->node->nr_free, i - twice);
	blockslab_sub(block->node->frees, twice);
	return i;
}

/*
 * What is kept for reuse has a working set (Bonwick & Adams): what was there all through a round
 * was not needed. A round is some turns from taking to returning, so that a client that takes
 * much and then returns it all is seen to need it. @turns is odd after something was taken.
 */
static bool round_ends(unsigned int *turns)
{
	unsigned int next = READ_ONCE(*turns) + 1;

	if (next & 1)
		return false;
	WRITE_ONCE(*turns, next);
	return next % (2 * ROUND) == 0;
}

/* Empty blocks that were not needed go back; what was given back earlier is half forgotten. */
static void retained_look(struct blockslab_node *node, struct list_head *gone)
{
	unsigned int unneeded = node->least_retained;

	lockdep_assert_held(&node->lock);
	if (!round_ends(&node->turns))
		return;
	node->keep -= min(node->keep, unneeded);
	node->given_back /= 2;
	while (unneeded-- && node->nr[BLOCK_RETAINED] > keep_least(node))
		block_unlink(list_last_entry(&node->blocks[BLOCK_RETAINED], struct blockslab_block,
					     list), gone);
	node->least_retained = node->nr[BLOCK_RETAINED];
}

/* Returns slots to their blocks; blocks that are empty and too many go to @gone. */
static void return_slots(struct blockslab_node *node, void **slots, unsigned int nr,
			 struct list_head *gone)
{
	struct blockslab_block *block;
	unsigned int done, run;

	lockdep_assert_held(&node->lock);
	for (done = 0; done < nr; done += run) {
		block = block_of(slots[done]);
		if (unlikely(!block || block->node != node || block->state == BLOCK_UNLISTED)) {
			/* Freed twice, written to in between, and its block given back. */
			report(FOREIGN, slots[done], NULL, _RET_IP_);
			blockslab_sub(node->frees, 1);
			run = 1;
			continue;
		}
		run = return_run(block, slots + done, nr - done);
		block_returned(block, gone);
	}
	retained_look(node, gone);
}

static void flush_slots(struct blockslab_node *node, void **slots, unsigned int nr)
{
	unsigned long irq;
	LIST_HEAD(gone);

	trace_blockslab_flush(node->class->heap->name, node->class->size, node_id(node), nr);
	spin_lock_irqsave(&node->lock, irq);
	return_slots(node, slots, nr, &gone);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
}

/* Blocks given back and wanted again would better have been kept; up to RETAIN_BYTES. */
static void keep_more(struct blockslab_node *node, const struct blockslab_block *block)
{
	unsigned int most = RETAIN_BYTES / (block->nr_pages * PAGE_SIZE);

	lockdep_assert_held(&node->lock);
	if (node->given_back) {
		node->given_back--;
		node->keep = min(node->keep + 1, most);
	}
}

/* Some other node of the class that has slots left. */
static struct blockslab_node *node_with_slots(struct blockslab_node *node)
{
	struct blockslab_class *class = node->class;
	int nid;

	for_each_online_node(nid)
		if (READ_ONCE(class->nodes[nid].nr_free))
			return &class->nodes[nid];
	return NULL;
}

/* What the heap hoards goes back to the blocks; a node that then has slots, or NULL. */
static struct blockslab_node *reclaim_slots(struct blockslab_node *node, gfp_t gfp)
{
	if (irqs_disabled() || node->class->heap->exact)
		return NULL;
	heap_trim(node->class->heap, gfpflags_allow_blocking(gfp));
	if (gfp & __GFP_THISNODE)
		return READ_ONCE(node->nr_free) ? node : NULL;
	return node_with_slots(node);
}

static struct blockslab_node *add_block(struct blockslab_block *block)
{
	struct blockslab_node *node = block->node;
	unsigned long irq;

	block_prepare(block);
	spin_lock_irqsave(&node->lock, irq);
	keep_more(node, block);
	block_link(block);
	spin_unlock_irqrestore(&node->lock, irq);
	heap_arm(node->class->heap);
	return node;
}

/*
 * Sees to it that there are free slots; the node that has them, or NULL. By every means, the cheap
 * ones first: another node's free slots are used before another node's pages, and what the heap
 * hoards before its reserve. May sleep as @gfp says; no lock is held.
 */
static struct blockslab_node *more_slots(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_block *block = NULL;
	struct blockslab_node *other = NULL;

	might_alloc(gfp);
	if (nr_node_ids > 1 && !(gfp & __GFP_THISNODE)) {
		block = block_new(node, (gfp & ~__GFP_RECLAIM) | __GFP_THISNODE | __GFP_NOWARN);
		if (!block)
			other = node_with_slots(node);
	}
	if (!block && !other)
		block = block_new(node, gfp);
	if (!block && !other)
		other = reclaim_slots(node, gfp);
	if (!block && !other)
		block = block_new(node, gfp);
	if (!block && !other)
		block = reserve_take(node->class);
	return block ? add_block(block) : other;
}

/* ------------------------------------------------------------------------------------------------
 * Magazines and depot
 */

/* Slots go past the magazines: their blocks alone know their state. */
static bool node_exact(struct blockslab_node *node)
{
	return node->class->noted || READ_ONCE(node->class->heap->exact);
}

static struct blockslab_cpu *node_line(struct blockslab_node *node, int cpu)
{
	return per_cpu_ptr(node_cpu(node), cpu);
}

/* This CPU's line of a node, claimed and with preemption off; or NULL with preemption as it was. */
static struct blockslab_cpu *claim_line(struct blockslab_node *node)
{
	struct blockslab_cpu *line;

	preempt_disable();
	line = this_cpu_ptr(node_cpu(node));
	if (blockslab_claim(line))
		return line;
	preempt_enable();
	return NULL;
}

static void unclaim_line(struct blockslab_cpu *line)
{
	blockslab_unclaim(line);
	preempt_enable();
}

static struct blockslab_magazine *loaded_magazine(struct blockslab_cpu *line)
{
	void **loaded = smp_load_acquire(&line->loaded);	/* load() */

	return loaded ? container_of((void *)loaded, struct blockslab_magazine, slots) : NULL;
}

/* Takes the loaded magazine off a claimed line; NULL if there is none. */
static struct blockslab_magazine *unload(struct blockslab_cpu *line)
{
	struct blockslab_magazine *magazine = loaded_magazine(line);

	if (magazine)
		WRITE_ONCE(magazine->count, blockslab_count(line));
	blockslab_sub(line->tally, blockslab_count(line));
	WRITE_ONCE(line->capacity, 0);
	WRITE_ONCE(line->loaded, NULL);
	return magazine;
}

static void load(struct blockslab_cpu *line, struct blockslab_magazine *magazine)
{
	blockslab_add(line->tally, magazine->count);
	WRITE_ONCE(line->capacity, magazine->capacity);
	smp_store_release(&line->loaded, magazine->slots);	/* for readers on other CPUs */
}

static void swap_spare(struct blockslab_cpu *line)
{
	struct blockslab_magazine *spare = line->spare;

	WRITE_ONCE(line->spare, unload(line));
	load(line, spare);
}

static size_t magazine_bytes(unsigned int capacity)
{
	return struct_size((struct blockslab_magazine *)NULL, slots, capacity);
}

static long magazine_hoard(struct blockslab_magazine *magazine)
{
	return (long)magazine->capacity * magazine->node->class->size;
}

static long magazine_stock(struct blockslab_magazine *magazine)
{
	return (long)magazine->count * magazine->node->class->size;
}

static struct blockslab_magazine *magazine_get(struct blockslab_node *node, gfp_t gfp)
{
	unsigned int capacity = READ_ONCE(node->capacity);
	struct blockslab_magazine *magazine;

	if (!heap_charge(node, magazine_bytes(capacity)))
		return NULL;
	magazine = meta_alloc(BLOCKSLAB_FAIL_MAGAZINE, magazine_bytes(capacity), gfp,
			      NUMA_NO_NODE);
	if (!magazine) {
		heap_uncharge(node, magazine_bytes(capacity));
		return NULL;
	}
	/* Slots that lie in a magazine are nobody's: a leak must not hide there. */
	kmemleak_scan_area(&magazine->below, sizeof(magazine->below), gfp);
	magazine->node = node;
	magazine->capacity = capacity;
	atomic_long_add(magazine_hoard(magazine), &node->class->heap->hoard);
	return magazine;
}

static void magazine_put(struct blockslab_magazine *magazine)
{
	struct blockslab_node *node = magazine->node;

	atomic_long_sub(magazine_hoard(magazine), &node->class->heap->hoard);
	heap_uncharge(node, magazine_bytes(magazine->capacity));
	kfree_rcu(magazine, rcu);
}

static void magazine_flush(struct blockslab_magazine *magazine)
{
	if (magazine->count)
		flush_slots(magazine->node, magazine->slots, magazine->count);
	WRITE_ONCE(magazine->count, 0);
}

/* Gives back a magazine and the slots in it. */
static void magazine_dispose(struct blockslab_magazine *magazine)
{
	magazine_flush(magazine);
	magazine_put(magazine);
}

/*
 * Slots that were flushed and are wanted again would better have been kept; up to depot_kib, and
 * all of the class's slots, as a class may be used for one batch after the other.
 */
static void depot_grow(struct blockslab_node *node, unsigned int missed)
{
	unsigned int flushed = READ_ONCE(node->flushed);
	unsigned int most = min_t(unsigned long, READ_ONCE(depot_kib) * 1024 / node->class->size,
				  READ_ONCE(node->nr_slots));

	missed = min(missed, flushed);
	WRITE_ONCE(node->flushed, flushed - missed);
	WRITE_ONCE(node->room, min(READ_ONCE(node->room) + missed, most));
}

/* Slots of a class's first magazines. */
static unsigned int capacity_least(unsigned int size)
{
	return size <= 128 ? 4 : size <= 1024 ? 2 : 1;
}

/* To the next size that fills a power of two with its head, else to twice, if @most allows. */
static bool magazines_grow_to(struct blockslab_node *node, unsigned long most)
{
	unsigned long twice = READ_ONCE(node->capacity) * 2, next;

	most = min_t(unsigned long, most, MAGAZINE_SLOTS_MAX);
	next = twice + 4 <= most ? twice + 4 : twice;
	if (next > most)
		return false;
	WRITE_ONCE(node->capacity, next);
	return true;
}

/*
 * Magazines are small at first, and grow with what a class does: to the next size after every 8
 * trades with the depot or the blocks. Slots that only go out (@share) may grow them to a share
 * of the class's slots; slots that come and go may too, and to 4 KiB or 60 slots in any case. A
 * trim brings them back to the least.
 */
static void magazines_grow(struct blockslab_node *node, bool share)
{
	unsigned long size = node->class->size, most;

	if (READ_ONCE(node->trades) % 8)
		return;
	most = min(SZ_32K / size, READ_ONCE(node->nr_slots) / (32 * num_online_cpus()));
	if (!share)
		most = max_t(unsigned long, most, clamp_t(unsigned long, SZ_4K / size, 1, 60));
	magazines_grow_to(node, most);
}

/*
 * The depot is two stacks of magazines without a lock: a lock would have to keep interrupts off,
 * which costs as much as all the rest of a trade. Anybody may push. One at a time may pop, so that
 * what it saw below the top still is there: the bit POPPING gives the right, and who finds it taken
 * goes to the blocks. A drain takes all at once. Magazines that leave live on for a grace period:
 * who only looks walks down under RCU, and where it gets to was in some stack after it began.
 */
#define POPPING	1UL

static struct blockslab_magazine *magazine_at(unsigned long top)
{
	return (struct blockslab_magazine *)(top & ~POPPING);
}

static struct blockslab_magazine *stack_top(const struct blockslab_stack *stack)
{
	return magazine_at(READ_ONCE(stack->top));
}

static bool stack_empty(const struct blockslab_stack *stack)
{
	return !stack_top(stack);
}

static void stack_push(struct blockslab_stack *stack, struct blockslab_magazine *magazine)
{
	struct blockslab_magazine *below;
	unsigned long top;

	rcu_read_lock();
	top = READ_ONCE(stack->top);
	do {
		below = magazine_at(top);
		WRITE_ONCE(magazine->depth, below ? READ_ONCE(below->depth) + 1 : 1);
		WRITE_ONCE(magazine->below, below);
	} while (!try_cmpxchg(&stack->top, &top, (unsigned long)magazine | (top & POPPING)));
	rcu_read_unlock();
}

/* The right to pop; false if there is nothing, or another has it. With preemption off. */
static bool stack_claim(struct blockslab_stack *stack)
{
	unsigned long top = READ_ONCE(stack->top);

	do {
		if (!top || top & POPPING)
			return false;
	} while (!try_cmpxchg(&stack->top, &top, top | POPPING));
	return true;
}

static struct blockslab_magazine *stack_pop(struct blockslab_stack *stack)
{
	struct blockslab_magazine *magazine = NULL, *below;
	unsigned long top;

	preempt_disable();
	if (stack_claim(stack)) {
		top = READ_ONCE(stack->top);
		do {
			magazine = magazine_at(top);
			below = magazine ? READ_ONCE(magazine->below) : NULL;
		} while (!try_cmpxchg(&stack->top, &top, (unsigned long)below));
	}
	preempt_enable();
	return magazine;
}

/* Gives up all of a stack's magazines, with their slots; the bytes of these. */
static size_t stack_drain(struct blockslab_stack *stack)
{
	struct blockslab_magazine *magazine, *below;
	unsigned long top = READ_ONCE(stack->top);
	size_t bytes = 0;

	while (!try_cmpxchg(&stack->top, &top, top & POPPING))
		;
	for (magazine = magazine_at(top); magazine; magazine = below) {
		below = magazine->below;
		bytes += magazine_stock(magazine);
		magazine_dispose(magazine);
	}
	return bytes;
}

static unsigned int stack_depth(const struct blockslab_stack *stack)
{
	struct blockslab_magazine *top;
	unsigned int depth;

	rcu_read_lock();
	top = stack_top(stack);
	depth = top ? READ_ONCE(top->depth) : 0;
	rcu_read_unlock();
	return depth;
}

/*
 * A look down a stack, begun with @magazine NULL and @steps 0, under RCU. All may be moving, so
 * that it may get into another stack, and again into this one: @steps bounds it.
 */
static struct blockslab_magazine *stack_next(const struct blockslab_stack *stack,
					     struct blockslab_magazine *magazine,
					     unsigned int *steps)
{
	if (++*steps > STACK_STEPS_MAX)
		return NULL;
	return magazine ? READ_ONCE(magazine->below) : stack_top(stack);
}

/* For magazines that were not needed the depot has no room any more, and so drains. Near enough. */
static void depot_look(struct blockslab_node *node)
{
	unsigned int room = READ_ONCE(node->room), least = READ_ONCE(node->least_full);

	if (!round_ends(&node->depot_turns))
		return;
	WRITE_ONCE(node->room, room - min(room, least * READ_ONCE(node->capacity)));
	WRITE_ONCE(node->flushed, READ_ONCE(node->flushed) / 2);
	WRITE_ONCE(node->least_full, stack_depth(&node->full));
}

/* A magazine with slots from the depot, or NULL; @empty, if there is one, is left there. */
static struct blockslab_magazine *depot_take_full(struct blockslab_node *node,
						  struct blockslab_magazine *empty)
{
	struct blockslab_magazine *magazine;

	blockslab_add(node->trades, 1);
	magazines_grow(node, false);
	magazine = stack_pop(&node->full);
	if (magazine)
		atomic_long_sub(magazine_stock(magazine), &node->class->heap->stock);
	WRITE_ONCE(node->least_full, min(READ_ONCE(node->least_full), stack_depth(&node->full)));
	WRITE_ONCE(node->depot_turns, READ_ONCE(node->depot_turns) | 1);
	if (empty)
		stack_push(&node->empty, empty);
	return magazine;
}

/* An empty magazine of the present capacity from the depot; smaller ones are given up. */
static struct blockslab_magazine *depot_take_empty(struct blockslab_node *node)
{
	struct blockslab_magazine *magazine;

	for (;;) {
		magazine = stack_pop(&node->empty);
		if (!magazine || magazine->capacity >= READ_ONCE(node->capacity))
			return magazine;
		magazine_put(magazine);
	}
}

/* Every magazine of the depot, flushed and given back. */
static void depot_drain(struct blockslab_node *node)
{
	atomic_long_sub(stack_drain(&node->full), &node->class->heap->stock);
	stack_drain(&node->empty);
	WRITE_ONCE(node->trades, 0);
	WRITE_ONCE(node->room, 0);
	WRITE_ONCE(node->flushed, 0);
	WRITE_ONCE(node->least_full, 0);
	WRITE_ONCE(node->capacity, capacity_least(node->class->size));
}

/* Leaves a magazine with slots in the depot, if there is room. */
static bool depot_leave_full(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	unsigned int full = stack_depth(&node->full);
	struct blockslab_heap *heap = node->class->heap;

	blockslab_add(node->trades, 1);
	magazines_grow(node, false);
	depot_look(node);
	if ((full + 1) * magazine->capacity > READ_ONCE(node->room) ||
	    full >= DEPOT_MAGAZINES_MAX || overstocked(heap) || READ_ONCE(heap->exact)) {
		blockslab_add(node->flushed, magazine->count);
		return false;
	}
	atomic_long_add(magazine_stock(magazine), &heap->stock);
	stack_push(&node->full, magazine);
	/* Either this sees what heap_retire() has set, or the drain after that sees the push. */
	if (unlikely(READ_ONCE(heap->exact)))
		depot_drain(node);
	return true;
}

/* The loaded magazine of this CPU's line, if it is without slots; or NULL. */
static struct blockslab_magazine *take_off_empty(struct blockslab_node *node)
{
	struct blockslab_magazine *magazine = NULL;
	struct blockslab_cpu *line = claim_line(node);

	if (!line)
		return NULL;
	if (!blockslab_count(line))
		magazine = unload(line);
	unclaim_line(line);
	return magazine;
}

/* A magazine without slots and of the present capacity: @magazine, or the depot's, or a new one. */
static struct blockslab_magazine *empty_magazine(struct blockslab_node *node,
						 struct blockslab_magazine *magazine, gfp_t gfp)
{
	if (magazine && magazine->capacity < READ_ONCE(node->capacity)) {
		magazine_put(magazine);
		magazine = NULL;
	}
	if (!magazine)
		magazine = depot_take_empty(node);
	return magazine ?: magazine_get(node, gfp);
}

/* Takes a magazine into this CPU's line: loaded, else as the spare; false if there is no place. */
static bool take_in(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	struct blockslab_cpu *line = claim_line(node);
	bool taken = false;

	if (!line)
		return false;
	/* Looked at under the claim: once a drain has been here, nothing comes in any more. */
	if (!READ_ONCE(node->class->heap->exact)) {
		taken = true;
		if (!line->loaded) {
			blockslab_add(line->moved, magazine->count);
			load(line, magazine);
		} else if (!line->spare) {
			blockslab_add(line->moved, magazine->count);
			smp_store_release(&line->spare, magazine);	/* for readers elsewhere */
		} else {
			taken = false;
		}
	}
	unclaim_line(line);
	return taken;
}

static void install(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	if (take_in(node, magazine))
		return;
	if (!magazine->count || !depot_leave_full(node, magazine))
		magazine_dispose(magazine);
}

/*
 * Fills a magazine from the node's blocks; in part, while few of the class's slots are in use.
 * Returns how many slots there were.
 */
static unsigned int refill(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	struct blockslab_class *class = node->class;
	unsigned long irq, want;

	spin_lock_irqsave(&node->lock, irq);
	want = min_t(unsigned long, magazine->capacity, (node->nr_slots - node->nr_free) / 8 + 1);
	WRITE_ONCE(magazine->count, take_from_blocks(node, magazine->slots, want));
	blockslab_add(node->trades, 1);
	magazines_grow(node, true);
	depot_grow(node, magazine->count);
	spin_unlock_irqrestore(&node->lock, irq);
	trace_blockslab_refill(class->heap->name, class->size, node_id(node), magazine->count);
	return magazine->count;
}

static struct blockslab_node *swap_for_slots(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_magazine *magazine, *full;
	unsigned int filled;

	magazine = take_off_empty(node);
	if (!stack_empty(&node->full)) {
		full = depot_take_full(node, magazine);
		magazine = NULL;
		if (full) {
			install(node, full);
			heap_arm(node->class->heap);
			return node;
		}
	}
	magazine = empty_magazine(node, magazine, gfp);
	if (!magazine)
		return NULL;
	filled = refill(node, magazine);
	install(node, magazine);
	heap_arm(node->class->heap);
	return filled ? node : more_slots(node, gfp);
}

/* Brings slots to this CPU's line of the node, or of the one that had to serve; or NULL. */
static struct blockslab_node *bring_slots(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_heap *heap = node->class->heap;

	if (node_exact(node))
		return NULL;
	atomic_long_inc(&heap->moving);
	node = swap_for_slots(node, gfp);
	atomic_long_dec(&heap->moving);
	return node;
}

/* The loaded magazine of this CPU's line, unless it becomes the spare, if it may. */
static struct blockslab_magazine *take_off_full(struct blockslab_node *node, bool may_be_spare)
{
	struct blockslab_magazine *magazine = NULL;
	struct blockslab_cpu *line = claim_line(node);

	if (!line)
		return NULL;
	if (line->loaded && (line->spare || !may_be_spare)) {
		magazine = unload(line);
		blockslab_sub(line->moved, magazine->count);
	} else if (line->loaded) {
		WRITE_ONCE(line->spare, unload(line));
	}
	unclaim_line(line);
	return magazine;
}

/*
 * More blocks are nearly empty than not: every slot that is cached may keep one of them from
 * going back.
 */
static bool node_sparse(const struct blockslab_node *node)
{
	const unsigned int *nr = node->nr;

	return READ_ONCE(nr[BLOCK_PARTIAL + 2]) + READ_ONCE(nr[BLOCK_PARTIAL + 3]) >
	       READ_ONCE(nr[BLOCK_FULL]) + READ_ONCE(nr[BLOCK_PARTIAL]) +
	       READ_ONCE(nr[BLOCK_PARTIAL + 1]) + 1;
}

/* Large slots are cached in one magazine a CPU, unless bulk calls have made that larger. */
static bool may_have_spare(const struct blockslab_node *node)
{
	return node->class->size <= SZ_2K || READ_ONCE(node->capacity) > SZ_32K / SZ_2K;
}

static struct blockslab_magazine *take_off_spare(struct blockslab_node *node)
{
	struct blockslab_cpu *line = claim_line(node);
	struct blockslab_magazine *magazine;

	if (!line)
		return NULL;
	magazine = line->spare;
	WRITE_ONCE(line->spare, NULL);
	if (magazine)
		blockslab_sub(line->moved, magazine->count);
	unclaim_line(line);
	return magazine;
}

/* This CPU's spare magazine, and one of the depot's. */
static void give_up_cached(struct blockslab_node *node)
{
	struct blockslab_magazine *magazine = take_off_spare(node);

	if (magazine)
		magazine_dispose(magazine);
	magazine = stack_empty(&node->full) ? NULL : depot_take_full(node, NULL);
	if (magazine)
		magazine_dispose(magazine);
}

/* Makes room for a slot in this CPU's line of the node; false if it cannot. */
static bool bring_room(struct blockslab_node *node)
{
	struct blockslab_heap *heap = node->class->heap;
	struct blockslab_magazine *magazine;
	bool sparse;

	if (node_exact(node))
		return false;
	atomic_long_inc(&heap->moving);
	sparse = node_sparse(node);
	magazine = take_off_full(node, !sparse && may_have_spare(node));
	if (magazine && !sparse && depot_leave_full(node, magazine))
		magazine = NULL;
	if (magazine)
		magazine_flush(magazine);
	if (sparse)
		give_up_cached(node);
	magazine = empty_magazine(node, magazine, GFP_NOWAIT);
	if (magazine)
		install(node, magazine);
	atomic_long_dec(&heap->moving);
	heap_arm(heap);
	return magazine;
}

/* ------------------------------------------------------------------------------------------------
 * Draining CPUs
 */

#define TRIM_PERIOD	(HZ / 2)
#define TRIM_QUIET	4U	/* periods without activity before a trim */

/* Trims in progress, of all heaps. */
DEFINE_STATIC_SRCU(trims);

enum drained { THIS_CPU, ALL_CPUS, QUIET_NODES };

struct drain {
	struct blockslab_heap *heap;
	enum drained which;
	struct blockslab_stack magazines;
	atomic_t missed;
};

/* Detaches a claimed line's magazines. */
static void drain_line(struct drain *drain, struct blockslab_cpu *line)
{
	struct blockslab_magazine *magazine = unload(line);

	if (magazine) {
		blockslab_sub(line->moved, magazine->count);
		stack_push(&drain->magazines, magazine);
	}
	magazine = line->spare;
	if (magazine) {
		WRITE_ONCE(line->spare, NULL);
		blockslab_sub(line->moved, magazine->count);
		stack_push(&drain->magazines, magazine);
	}
}

/* For the time that a trim may have magazines in hand: see heap_trim_last(). */
static int trim_begin(struct blockslab_heap *heap) __acquires(&trims)
{
	atomic_long_inc(&heap->moving);
	return srcu_read_lock(&trims);
}

static void trim_end(struct blockslab_heap *heap, int trim) __releases(&trims)
{
	smp_mb__before_atomic();	/* all is flushed where @moving is 0 */
	atomic_long_dec(&heap->moving);
	srcu_read_unlock(&trims, trim);
}

static bool drain_concerns(const struct drain *drain, const struct blockslab_node *node,
			   const struct blockslab_cpu *line)
{
	if (drain->which == QUIET_NODES && READ_ONCE(node->use.periods) < TRIM_QUIET)
		return false;
	return READ_ONCE(line->loaded) || READ_ONCE(line->spare);
}

static bool drain_concerns_cpu(int cpu, void *data)
{
	struct drain *drain = data;
	struct blockslab_node *node;

	for (node = node_after(drain->heap, NULL); node; node = node_after(drain->heap, node))
		if (drain_concerns(drain, node, node_line(node, cpu)))
			return true;
	return false;
}

/* On the CPU itself, in an interrupt: takes no lock. */
static void drain_this_cpu(void *data)
{
	struct drain *drain = data;
	struct blockslab_node *node;
	struct blockslab_cpu *line;

	for (node = node_after(drain->heap, NULL); node; node = node_after(drain->heap, node)) {
		line = this_cpu_ptr(node_cpu(node));
		if (!drain_concerns(drain, node, line))
			continue;
		if (blockslab_claim(line)) {
			drain_line(drain, line);
			blockslab_unclaim(line);
		} else {
			atomic_inc(&drain->missed);
		}
	}
}

/*
 * Empties the magazines of all CPUs, or of this one, or those of quiet nodes, for which no other
 * CPU is disturbed. A line in use is tried again @tries times; false if one was missed.
 */
static bool drain_cpus(struct blockslab_heap *heap, enum drained which, int tries)
{
	struct drain drain = { .heap = heap, .which = which };
	unsigned long irq;

	do {
		atomic_set(&drain.missed, 0);
		switch (which) {
		case ALL_CPUS:
			on_each_cpu(drain_this_cpu, &drain, 1);
			break;
		case QUIET_NODES:
			on_each_cpu_cond(drain_concerns_cpu, drain_this_cpu, &drain, 1);
			break;
		case THIS_CPU:
			local_irq_save(irq);
			drain_this_cpu(&drain);
			local_irq_restore(irq);
		}
		stack_drain(&drain.magazines);
	} while (atomic_read(&drain.missed) && --tries > 0);
	return !atomic_read(&drain.missed);
}

/* The magazines of a CPU that is gone. */
static int drain_dead_cpu(unsigned int cpu)
{
	struct blockslab_node *node;
	struct blockslab_heap *heap;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		struct drain drain = { .heap = heap, .which = ALL_CPUS };
		int trim = trim_begin(heap);

		for (node = node_after(heap, NULL); node; node = node_after(heap, node))
			drain_line(&drain, node_line(node, cpu));
		stack_drain(&drain.magazines);
		trim_end(heap, trim);
	}
	return 0;
}

static int home_this_cpu(unsigned int cpu)
{
	unsigned long *home = per_cpu_ptr(&blockslab_home, cpu);
	unsigned long offset = (unsigned long)home - (__force unsigned long)&blockslab_home;

	*home = offset + cpu_to_mem(cpu) * sizeof(struct blockslab_cpu);
	per_cpu(blockslab_unsealing, cpu) = offset - blockslab_span.secret;
	return 0;
}

static void node_trim(struct blockslab_node *node)
{
	unsigned long irq;
	LIST_HEAD(gone);

	depot_drain(node);
	spin_lock_irqsave(&node->lock, irq);
	node->keep = 0;
	node->given_back = 0;
	node->least_retained = 0;
	while (node->nr[BLOCK_RETAINED])
		block_unlink(list_first_entry(&node->blocks[BLOCK_RETAINED],
					      struct blockslab_block, list), &gone);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
}

/* Gives back cached slots and retained blocks. @wait: other CPUs may be asked, and waited for. */
static size_t heap_trim(struct blockslab_heap *heap, bool wait)
{
	size_t held = held_bytes(heap), left;
	int trim = trim_begin(heap);
	struct blockslab_node *node;

	drain_cpus(heap, wait ? ALL_CPUS : THIS_CPU, wait ? 10 : 1);
	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		if (node->class->size)
			node_trim(node);
	trim_end(heap, trim);
	left = held_bytes(heap);
	return held > left ? held - left : 0;
}

/* Allocations and frees of a node so far, in any order: it stands still while the node is idle. */
static unsigned long node_activity(struct blockslab_node *node)
{
	unsigned long sum = READ_ONCE(node->allocs) + READ_ONCE(node->frees);
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(node_line(node, cpu)->tally) +
		       READ_ONCE(node_line(node, cpu)->moved);
	return sum;
}

/* What passed through its depot and blocks: it stands still while the CPUs' magazines suffice. */
static unsigned long node_traffic(struct blockslab_node *node)
{
	unsigned long sum = READ_ONCE(node->allocs) + READ_ONCE(node->frees) +
			    READ_ONCE(node->turns) + READ_ONCE(node->depot_turns);
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(node_line(node, cpu)->moved);
	return sum;
}

/* Looks once a period; true when it has been quiet just long enough. */
static bool falls_quiet(struct blockslab_quiet *quiet, unsigned long activity)
{
	if (activity != quiet->activity)
		WRITE_ONCE(quiet->periods, 0);
	else
		WRITE_ONCE(quiet->periods, min(quiet->periods + 1, TRIM_QUIET + 1));
	quiet->activity = activity;
	return quiet->periods == TRIM_QUIET;
}

/* Has nothing that could be given back. */
static bool node_bare(struct blockslab_node *node)
{
	return !node->class->size || !atomic_long_read(&node->held);
}

/* What is quiet gives back: classes not used at all, and stocks that no magazine asks for. */
static void trim_quiet_nodes(struct blockslab_heap *heap, bool drain)
{
	bool drained = !drain || drain_cpus(heap, QUIET_NODES, 1);
	struct blockslab_node *node;

	for (node = node_after(heap, NULL); node; node = node_after(heap, node)) {
		if (node_bare(node))
			continue;
		if (falls_quiet(&node->stock, node_traffic(node)))
			node_trim(node);
		if (node->use.periods != TRIM_QUIET)
			continue;
		node_trim(node);
		if (!drained)
			WRITE_ONCE(node->use.periods, TRIM_QUIET - 1);	/* again, then */
	}
}

static void heap_trim_work(struct work_struct *work)
{
	struct blockslab_heap *heap = container_of(work, struct blockslab_heap, trim.work);
	bool busy = false, drain = false;
	struct blockslab_node *node;
	int trim;

	for (node = node_after(heap, NULL); node; node = node_after(heap, node)) {
		cond_resched();
		if (node_bare(node))
			continue;
		drain |= falls_quiet(&node->use, node_activity(node));
		busy |= node->use.periods < TRIM_QUIET;
	}
	if (busy) {
		trim = trim_begin(heap);
		trim_quiet_nodes(heap, drain);
		trim_end(heap, trim);
		queue_delayed_work(workqueue, &heap->trim, TRIM_PERIOD);
		return;
	}
	WRITE_ONCE(heap->armed, false);
	smp_mb();	/* who brings memory in from now on arms it again */
	heap_trim(heap, true);
}

/* Memory has been brought in: have it taken back when it is not used. */
static void heap_arm(struct blockslab_heap *heap)
{
	if (likely(READ_ONCE(heap->armed)) || READ_ONCE(heap->dying))
		return;
	WRITE_ONCE(heap->armed, true);
	queue_delayed_work(workqueue, &heap->trim, TRIM_PERIOD);
}

/* ------------------------------------------------------------------------------------------------
 * Notes: what is remembered of single slots, for POISON, RED_ZONE and tracking
 */

#define STACK_FRAMES	16
#define STACK_OWN	12	/* frames of this file at most */

/* The stack that led to @caller, this file's callers's address. 0 where there is no memory. */
static depot_stack_handle_t stack_now(unsigned long caller, gfp_t gfp)
{
#if defined(CONFIG_STACKDEPOT) && defined(CONFIG_STACKTRACE)
	unsigned long entries[STACK_FRAMES + STACK_OWN];
	unsigned int nr, own = 0;

	if (should_fail_request(BLOCKSLAB_FAIL_TRACK))
		return 0;
	nr = stack_trace_save(entries, ARRAY_SIZE(entries), 1);
	while (own < nr && own < STACK_OWN && entries[own] != caller)
		own++;
	if (own == nr || own == STACK_OWN)
		own = 0;
	return stack_depot_save(entries + own, min_t(unsigned int, nr - own, STACK_FRAMES),
				(gfp & GFP_META) | __GFP_NOWARN);
#else
	return 0;
#endif
}

/* Sees to it that stacks can be kept. May sleep. */
static int stacks_init(void)
{
#ifdef CONFIG_STACKDEPOT
	return stack_depot_init();
#else
	return 0;
#endif
}

static unsigned int nr_notes(const struct blockslab_block *block)
{
	return block->notes ? block->nr_slots : 0;
}

static struct blockslab_note *note_of(struct blockslab_block *block, unsigned int number)
{
	return number < nr_notes(block) ? &block->notes[number] : NULL;
}

/* The note of an address in a block. */
static struct blockslab_note *note_at(struct blockslab_block *block, const void *slot)
{
	return note_of(block, block->node->class->size ? blockslab_number(block, slot) : 0);
}

static void note_alloc(struct blockslab_note *note, size_t size, unsigned long period, gfp_t gfp,
		       unsigned long caller)
{
	WRITE_ONCE(note->asked, size);
	if (!period)
		return;
	note->cpu = raw_smp_processor_id();
	WRITE_ONCE(note->when, note_clock());
	WRITE_ONCE(note->got, stack_now(caller, gfp));
	smp_store_release(&note->period, period);	/* the rest is there for readers */
}

static void note_free(struct blockslab_note *note, unsigned long caller)
{
	if (note->period)
		note->gone = stack_now(caller, GFP_NOWAIT);
	WRITE_ONCE(note->period, 0);
}

/* Bytes of a slot that its owner may use. */
static size_t usable_bytes(struct blockslab_block *block, unsigned int number)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_note *note = note_of(block, number);

	if (note && class->heap->flags & BLOCKSLAB_RED_ZONE)
		return note->asked;
	if (!class->size)
		return block->nr_pages * PAGE_SIZE;
	return class->canary ?: class->size;
}

static size_t slot_bytes(struct blockslab_block *block)
{
	return block->node->class->size ?: block->nr_pages * PAGE_SIZE;
}

/* Free slots of such a heap are filled with POISON_FREE. */
static bool poisoned(const struct blockslab_heap *heap)
{
	return heap->flags & BLOCKSLAB_POISON;
}

static void exact_alloc(struct blockslab_block *block, void *slot, size_t size, gfp_t gfp,
			unsigned long caller)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_note *note = note_at(block, slot);
	size_t bytes = slot_bytes(block);

	if (poisoned(class->heap) && class->size) {
		if (!holds_only(slot, POISON_FREE, bytes))
			report(AFTER_FREE, slot, block, caller);
		memset(slot, POISON_INUSE, bytes);
	}
	if (!note)
		return;
	note_alloc(note, size, READ_ONCE(class->heap->track), gfp, caller);
	if (class->heap->flags & BLOCKSLAB_RED_ZONE)
		memset(slot + size, SLUB_RED_ACTIVE, bytes - size);
}

/* Slots keep their content while they are free: nobody may write to them. */
static bool keeps_content(const struct blockslab_heap *heap)
{
	return heap->ctor || heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU;
}

static bool may_precede(u8 byte)
{
	return byte == SLUB_RED_ACTIVE || byte == POISON_FREE || byte == POISON_INUSE;
}

/*
 * With red zones, the last bytes of a slot are no owner's, be it allocated, free, or on its way
 * from one to the other, which nothing here excludes. Whether all is well before a slot; mends it.
 */
static bool zone_before_whole(struct blockslab_block *block, u8 *slot, unsigned int number)
{
	struct blockslab_heap *heap = block->node->class->heap;
	bool is_free;
	int i;

	if (!heap->zone || !number || keeps_content(heap))
		return true;
	for (i = 1; i <= RED_ZONE_BYTES; i++)
		if (!may_precede(READ_ONCE(slot[-i])))
			break;
	if (likely(i > RED_ZONE_BYTES))
		return true;
	is_free = poisoned(heap) && slot_is_free(block, number - 1);
	memset(slot - RED_ZONE_BYTES, is_free ? POISON_FREE : SLUB_RED_ACTIVE, RED_ZONE_BYTES);
	return false;
}

/* False, and the slot stays with its owner, where it was written past its end or before it. */
static bool exact_free(struct blockslab_block *block, void *slot, unsigned long caller)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_note *note = note_at(block, slot);
	size_t bytes = slot_bytes(block);

	if (note && class->heap->flags & BLOCKSLAB_RED_ZONE &&
	    !holds_only(slot + note->asked, SLUB_RED_ACTIVE, bytes - note->asked)) {
		report(PAST_SLOT, slot, block, caller);
		memset(slot + note->asked, SLUB_RED_ACTIVE, bytes - note->asked);
		return false;
	}
	if (!zone_before_whole(block, slot, class->size ? blockslab_number(block, slot) : 0)) {
		report(BEFORE_SLOT, slot, block, caller);
		return false;
	}
	if (note)
		note_free(note, caller);
	if (poisoned(class->heap))
		memset(slot, POISON_FREE, bytes);
	return true;
}

/* Whether somebody wants to know of every allocation. */
static bool alloc_watched(void)
{
	return RARE_ALWAYS || trace_blockslab_alloc_enabled();
}

static void after_alloc(struct blockslab_heap *heap, void *slot, size_t size, gfp_t gfp,
			unsigned long caller)
{
	struct blockslab_block *block = blockslab_block_of(page_of(slot));
	struct blockslab_class *class = block->node->class;

	if (heap->flags & EXACT_FLAGS)
		exact_alloc(block, slot, size, gfp, caller);
	kasan_slot(slot, slot_bytes(block), size);
	if (class->size && !keeps_content(heap)) {
		size_t bytes = heap->zone ? size : class->size;

		if (want_init_on_alloc(gfp))
			memset(slot, 0, bytes);
		else
			kmsan_poison_memory(slot, bytes, gfp);
	}
	kmemleak_alloc(slot, size, 1, gfp);
	trace_blockslab_alloc(caller, heap->name, slot, size, slot_bytes(block), gfp);
}

static bool before_free(struct blockslab_block *block, void *slot, unsigned long caller)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_heap *heap = class->heap;

	if (block->notes && !exact_free(block, slot, caller))
		return false;
	trace_blockslab_free(caller, heap->name, slot, slot_bytes(block));
	kmemleak_free(slot);
	if (class->size && !keeps_content(heap)) {
		if (!poisoned(heap) && want_init_on_free())
			memset(slot, 0, class->size - heap->zone);
		kmsan_poison_memory(slot, class->size - heap->zone, GFP_NOWAIT);
	}
	if (!(heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU))
		kasan_slot(slot, slot_bytes(block), 0);
	return true;
}

/* The fast paths follow the static keys by what they compare with anyway. */
static void follow_keys(void)
{
	static DEFINE_SPINLOCK(lock);

	spin_lock(&lock);
	WRITE_ONCE(blockslab_fast_size,
		   static_key_enabled(&blockslab_rare) ? 0 : BLOCKSLAB_SLOT_MAX);
	WRITE_ONCE(blockslab_span.reach, static_key_enabled(&rare_free) ? 0 : blockslab_span.size);
	spin_unlock(&lock);
}

int blockslab_trace_on(void)
{
	static_branch_inc(&blockslab_rare);
	static_branch_inc(&rare_free);
	follow_keys();
	return 0;
}

void blockslab_trace_off(void)
{
	static_branch_dec(&blockslab_rare);
	static_branch_dec(&rare_free);
	follow_keys();
}

/* ------------------------------------------------------------------------------------------------
 * Classes
 */

static unsigned int heap_index(const struct blockslab_heap *heap, size_t size)
{
	unsigned int index = blockslab_size_index[size + heap->zone], align = 1;

	if (heap->flags & BLOCKSLAB_HWCACHE_ALIGN)
		align = cache_line_size();
	/* A red zone shall not cost a power of two its alignment. */
	if (heap->zone && is_power_of_2(size))
		align = max_t(unsigned int, align, min_t(size_t, size, PAGE_SIZE));
	while (index_size[index] % align)
		index++;
	return index;
}

static void node_init(struct blockslab_node *node, struct blockslab_class *class)
{
	unsigned int i;

	node->class = class;
	spin_lock_init(&node->lock);
	for (i = 0; i < NR_BLOCK_STATES; i++)
		INIT_LIST_HEAD(&node->blocks[i]);
	INIT_LIST_HEAD(&node->all);
	node->capacity = capacity_least(class->size);
	node->seed = get_random_u32();
}

static size_t class_bytes(void)
{
	return struct_size((struct blockslab_class *)NULL, nodes, nr_node_ids);
}

static size_t class_fixed_bytes(void)
{
	return class_bytes() +
	       num_possible_cpus() * nr_node_ids * sizeof(struct blockslab_cpu);
}

static void class_free(struct blockslab_class *class)
{
	free_percpu(class->cpu);
	kmem_cache_free(class_cache, class);
}

static struct blockslab_class *class_alloc(struct blockslab_heap *heap, unsigned int size,
					   gfp_t gfp)
{
	struct blockslab_class *class;
	int nid, cpu;

	class = meta_cache_alloc(BLOCKSLAB_FAIL_CLASS, class_cache, gfp, NUMA_NO_NODE);
	if (!class)
		return NULL;
	if (!should_fail_request(BLOCKSLAB_FAIL_CLASS))
		class->cpu = __alloc_percpu_gfp(nr_node_ids * sizeof(struct blockslab_cpu),
						SMP_CACHE_BYTES, (gfp & GFP_META) | __GFP_NOWARN);
	if (!class->cpu) {
		kmem_cache_free(class_cache, class);
		return NULL;
	}
	class->heap = heap;
	class->size = size;
	class->noted = heap->flags & EXACT_FLAGS;
	class->key = class->noted || !size ? KEY_SLOW : BLOCKSLAB_KEY_FAST;
	for (nid = 0; nid < nr_node_ids; nid++) {
		node_init(&class->nodes[nid], class);
		for_each_possible_cpu(cpu) {
			node_line(&class->nodes[nid], cpu)->node = &class->nodes[nid];
			node_line(&class->nodes[nid], cpu)->size = size;
		}
	}
	return class;
}

/* The fast path finds a class here, where nothing is to be done at every alloc. */
static void class_publish(struct blockslab_class *class)
{
	struct blockslab_heap *heap = class->heap;
	unsigned int i;

	if (heap->exact || !class->size || heap->flags & (BLOCKSLAB_ZERO | BLOCKSLAB_ACCOUNT))
		return;
	for (i = 0; i < NR_SIZES; i++)
		if (heap_index(heap, index_size[i] - heap->zone) == class->index)
			smp_store_release(&heap->cpu[i], class->cpu);	/* initialized */
}

static unsigned long rare_index(gfp_t kind, unsigned int index)
{
	return (__force unsigned long)kind * NR_INDEXES + index;
}

static struct blockslab_class *class_find(struct blockslab_heap *heap, gfp_t kind,
					  unsigned int index)
{
	if (likely(!kind))
		return smp_load_acquire(&heap->class[index]);	/* class_add() */
	return xa_load(&heap->rare, rare_index(kind, index));
}

/* Callers may have interrupts off, so this does not use xa_insert_irq(), which turns them on. */
static bool rare_add(struct blockslab_class *class)
{
	struct xarray *rare = &class->heap->rare;
	unsigned long irq;
	int error;

	xa_lock_irqsave(rare, irq);
	error = should_fail_request(BLOCKSLAB_FAIL_CLASS) ? -ENOMEM :
		__xa_insert(rare, rare_index(class->kind, class->index), class,
			    GFP_NOWAIT | __GFP_NOWARN);
	xa_unlock_irqrestore(rare, irq);
	return !error;
}

/* Adds a class to its heap; false where somebody else was quicker, or there is no memory. */
static bool class_add(struct blockslab_class *class)
{
	struct blockslab_heap *heap = class->heap;
	unsigned long irq;
	bool added;

	if (class->kind && !rare_add(class))
		return false;
	spin_lock_irqsave(&heap->lock, irq);
	added = class->kind || !heap->class[class->index];
	if (added) {
		list_add_tail_rcu(&class->list, &heap->classes);
		if (!class->kind)
			smp_store_release(&heap->class[class->index], class);	/* initialized */
		blockslab_add(heap->fixed, class_fixed_bytes());
	}
	spin_unlock_irqrestore(&heap->lock, irq);
	if (added && !class->kind)
		class_publish(class);
	return added;
}

static struct blockslab_class *class_get(struct blockslab_heap *heap, gfp_t kind,
					 unsigned int index, gfp_t gfp)
{
	struct blockslab_class *class = class_find(heap, kind, index);

	if (likely(class))
		return class;
	class = class_alloc(heap, index == INDEX_LARGE ? 0 : index_size[index], gfp);
	if (class) {
		class->index = index;
		class->kind = kind;
		if (class_add(class))
			return class;
		class_free(class);
	}
	return class_find(heap, kind, index);
}

/* Where the class has been made meanwhile, that one; NULL where there is no memory for it. */
static struct blockslab_class *tracked_class_new(struct blockslab_class *of, gfp_t gfp)
{
	struct blockslab_class *class = class_alloc(of->heap, of->size, gfp), *tracked;
	struct blockslab_heap *heap = of->heap;
	unsigned long irq;

	if (!class)
		return READ_ONCE(of->tracked);
	class->of = of;
	class->asked = of->asked;
	class->canary = of->canary;
	class->index = of->index;
	class->kind = of->kind;
	class->key = KEY_SLOW;
	class->noted = true;
	spin_lock_irqsave(&heap->lock, irq);
	tracked = of->tracked;
	if (!tracked) {
		smp_store_release(&of->tracked, class);		/* initialized */
		list_add_tail_rcu(&class->list, &heap->classes);
		blockslab_add(heap->fixed, class_fixed_bytes());
	}
	spin_unlock_irqrestore(&heap->lock, irq);
	if (!tracked)
		return class;
	class_free(class);
	return tracked;
}

/*
 * The class that has the tracked slots of a class. They have blocks of their own, which have
 * notes, and a key that leads every free to the slow path: so what is not tracked pays nothing.
 */
static struct blockslab_class *tracked_class(struct blockslab_class *of, gfp_t gfp)
{
	struct blockslab_class *class = smp_load_acquire(&of->tracked);	/* tracked_class_new() */

	return class ?: tracked_class_new(of, gfp);
}

/* The class for a size, or a larger one where there is no memory for a new class. */
static struct blockslab_class *class_for(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	gfp_t kind = gfp & (__GFP_DMA | __GFP_DMA32 | __GFP_ACCOUNT);
	unsigned int index = heap_index(heap, size);
	struct blockslab_class *class = class_get(heap, kind, index, gfp);

	while (!class && ++index < NR_SIZES) {
		class = class_find(heap, kind, index);
		if (class)
			WRITE_ONCE(heap->substituted, true);
	}
	return class;
}

/* ------------------------------------------------------------------------------------------------
 * Allocation
 */

/*
 * Sampling. Every line counts the bytes asked for down from a credit, and an allocation for which
 * the credit does not suffice takes the slow path, where it is tracked. Credits are drawn from an
 * exponential distribution with a mean of heap->track, so that every byte has the same chance, and
 * an allocation of so many bytes one of 1 - exp(-bytes / track): Poisson sampling, as in
 * gperftools' heap profiler. With no tracking the credit is never used up; where all is tracked,
 * there is none.
 */

#define CREDIT		(LONG_MAX / 4)
/* draw_credit() gives up to 23 times as much. */
#define PERIOD_MAX	(BITS_PER_LONG == 64 ? SZ_1G : SZ_64M)

/* -log2(x / 2^32) in 1/2^16, for x from 1 to 2^32 - 1: digit by digit, by squaring. */
static u32 minus_log2(u32 x)
{
	u32 log = (fls(x) - 1) << 16, digit;
	u64 square = (u64)x << (32 - fls(x));	/* 2^31 to 2^32 */

	for (digit = 1 << 15; digit; digit >>= 1) {
		square = square * square >> 31;
		if (square >> 32) {
			log |= digit;
			square >>= 1;
		}
	}
	return (32 << 16) - log;
}

/* With preemption or interrupts off; there, get_random_u32() may sleep on PREEMPT_RT. */
static DEFINE_PER_CPU(struct rnd_state, credit_random);

/* Bytes to the next allocation that is sampled. */
static long draw_credit(unsigned long period)
{
	u32 random = prandom_u32_state(raw_cpu_ptr(&credit_random));
	const u32 ln_2 = 45426;		/* in 1/2^16 */

	return ((u64)minus_log2(random | 1) * ln_2 >> 16) * period >> 16;
}

/* Gives a claimed line a credit; what was asked for, granted - credit, stays. */
static void grant(struct blockslab_cpu *line, long credit)
{
	WRITE_ONCE(line->granted, line->granted + credit - line->credit);
	WRITE_ONCE(line->credit, credit);
}

/* Counts bytes asked for on a claimed line, by an allocation that is not to be tracked. */
static void spend(struct blockslab_cpu *line, size_t bytes)
{
	unsigned long track = READ_ONCE(line->node->class->heap->track);

	blockslab_sub(line->credit, bytes);
	if (unlikely(line->credit < 0))
		grant(line, !track ? CREDIT : track == 1 ? 0 : track);
}

/* Whether an allocation is to be tracked. */
static bool sampled(struct blockslab_node *node, size_t size)
{
	unsigned long track = READ_ONCE(node->class->heap->track);
	struct blockslab_cpu *line;
	bool sample = false;

	if (track <= 1 || node->class->noted)
		return track && !node->class->noted;
	line = claim_line(node);
	if (!line)
		return false;
	if (line->credit < (long)size) {
		sample = line->granted;		/* a new line has had no credit yet */
		grant(line, draw_credit(track));
	}
	unclaim_line(line);
	return sample;
}

/* A slot of this CPU's loaded or spare magazine, or NULL. Takes no lock. */
static void *take_cached(struct blockslab_node *node, size_t size)
{
	struct blockslab_cpu *line = claim_line(node);
	void *slot = NULL;

	if (!line)
		return NULL;
	if (!blockslab_count(line) && line->spare && line->spare->count)
		swap_spare(line);
	if (blockslab_count(line)) {
		slot = line->loaded[blockslab_count(line) - 1];
		blockslab_add(line->tally, BLOCKSLAB_ALLOC - 1);
		spend(line, size);
		*blockslab_word(slot, node->class->canary) = 0;
	}
	unclaim_line(line);
	return slot;
}

/* A slot out of the blocks, past the magazines. */
static void *take_direct(struct blockslab_node *node, size_t size, gfp_t gfp)
{
	struct blockslab_node *wanted = node;
	unsigned long irq;
	void *slot = NULL;

	do {
		spin_lock_irqsave(&node->lock, irq);
		if (take_from_blocks(node, &slot, 1)) {
			blockslab_add(node->allocs, 1);
			node->requested += size;
		}
		spin_unlock_irqrestore(&node->lock, irq);
		if (!slot)
			node = more_slots(node, gfp);
	} while (!slot && node);
	if (!slot) {
		spin_lock_irqsave(&wanted->lock, irq);
		wanted->fails += !wanted->class->of;	/* else it is tried untracked */
		spin_unlock_irqrestore(&wanted->lock, irq);
	} else if (!poisoned(node->class->heap)) {
		*blockslab_word(slot, node->class->canary) = 0;
	}
	return slot;
}

/* A slot with a note, or NULL: then it is left untracked. */
static void *alloc_tracked(struct blockslab_node *node, size_t size, gfp_t gfp,
			   unsigned long caller)
{
	struct blockslab_class *class = tracked_class(node->class, gfp);
	struct blockslab_block *block;
	void *slot;

	if (!class)
		return NULL;
	slot = take_direct(&class->nodes[node_id(node)], size, gfp | __GFP_NOWARN);
	if (!slot)
		return NULL;
	block = blockslab_block_of(page_of(slot));
	note_alloc(note_at(block, slot), size, READ_ONCE(class->heap->track) ?: 1, gfp, caller);
	return slot;
}

static void *alloc_from(struct blockslab_node *node, size_t size, gfp_t gfp, unsigned long caller)
{
	struct blockslab_node *next;
	int tries;
	void *slot;

	/* It has no magazines: every allocation comes here, as long as it has its memory. */
	if (unlikely(READ_ONCE(node->class->heap->dying))) {
		report(DESTROYED, NULL, NULL, caller);
		return NULL;
	}
	if (unlikely(READ_ONCE(node->class->heap->track)) && sampled(node, size)) {
		slot = alloc_tracked(node, size, gfp, caller);
		if (slot)
			return slot;
	}
	for (tries = 0; tries < 3; tries++) {
		slot = take_cached(node, size);
		if (slot)
			return slot;
		next = bring_slots(node, gfp | __GFP_NOWARN);
		if (!next)
			break;
		node = next;
	}
	return take_direct(node, size, gfp);
}

/* Whole pages, cut to the number needed. */
static struct page *large_pages(size_t size, gfp_t gfp, int nid)
{
	unsigned int order = get_order(size), i;
	struct page *page = pages_get(gfp & ~(__GFP_COMP | __GFP_NOFAIL), nid, order);

	if (!page)
		return NULL;
	split_page(page, order);
	for (i = PFN_UP(size); i < 1U << order; i++)
		__free_page(page + i);
	return page;
}

static struct blockslab_block *large_block(struct blockslab_class *class, size_t size, gfp_t gfp,
					   int nid, bool track)
{
	struct blockslab_block *block = descriptor_get(1, gfp, NUMA_NO_NODE);
	struct page *page;

	if (!block)
		return NULL;
	page = large_pages(size + class->heap->zone, gfp, nid);
	if (!page)
		goto no_pages;
	block->base = page_address(page);
	block->nr_pages = PFN_UP(size + class->heap->zone);
	block->node = &class->nodes[page_to_nid(page)];
	block->nr_slots = 1;
	block->born = block_clock();
	if ((class->noted || track) && !notes_get(block, gfp) && class->noted)
		goto no_notes;
	atomic_long_inc(&class->heap->moving);
	if (heap_charge(block->node, block_bytes(block)))
		return block;
	atomic_long_dec(&class->heap->moving);
no_notes:
	kfree(block->notes);
	block_free_pages(block);
no_pages:
	descriptor_put(block);
	return NULL;
}

static void *large_get(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
		       unsigned long caller)
{
	struct blockslab_class *class = class_get(heap, 0, INDEX_LARGE, gfp);
	struct blockslab_block *block;
	struct blockslab_node *node;
	unsigned long irq;
	bool track;

	if (!class)
		return NULL;
	node = &class->nodes[numa_mem_id()];
	track = READ_ONCE(heap->track) && sampled(node, size);
	block = large_block(class, size, gfp, nid, track);
	if (!block && gfpflags_allow_blocking(gfp) && heap_trim(heap, true))
		block = large_block(class, size, gfp, nid, track);
	if (block) {
		node = block->node;
		if (track && block->notes)
			note_alloc(block->notes, size, READ_ONCE(heap->track) ?: 1, gfp, caller);
		count_pages(block, 1);
		page_words_set(block, class->key);
		heap_count_block(heap, 1);
	}
	spin_lock_irqsave(&node->lock, irq);
	if (block) {
		block_link(block);
		blockslab_add(node->allocs, 1);
		node->requested += size;
	} else {
		node->fails++;
	}
	spin_unlock_irqrestore(&node->lock, irq);
	return block ? block->base : NULL;
}

static void large_put(struct blockslab_block *block, unsigned long caller)
{
	struct blockslab_node *node = block->node;
	unsigned long irq;
	LIST_HEAD(gone);

	spin_lock_irqsave(&node->lock, irq);
	if (test_and_set_free(block, 0)) {
		report(DOUBLE_FREE, block->base, block, caller);
	} else {
		blockslab_add(node->frees, 1);
		block_unlink(block, &gone);
	}
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
}

static void *alloc_once(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
			unsigned long caller)
{
	struct blockslab_class *class;

	if (size > BLOCKSLAB_SLOT_MAX - heap->zone)
		return large_get(heap, size, gfp, nid, caller);
	class = class_for(heap, size, gfp);
	if (!class)
		return NULL;
	return alloc_from(&class->nodes[nid == NUMA_NO_NODE ? numa_mem_id() : nid], size, gfp,
			  caller);
}

static bool size_possible(struct blockslab_heap *heap, size_t size, gfp_t gfp, unsigned long caller)
{
	if (size <= (PAGE_SIZE << MAX_PAGE_ORDER) - heap->zone)
		return true;
	if (!(gfp & __GFP_NOWARN))
		pr_warn_ratelimited("heap %s: %pS asked for %zu bytes, more than the page allocator gives\n",
				    heap->name, (void *)caller, size);
	return false;
}

/* Everything that the fast path does not do, and that more_alloc() below does not do either. */
static noinline void *alloc_slow(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
				 unsigned long caller)
{
	void *slot;

	might_alloc(gfp);
	if (!size)
		return ZERO_SIZE_PTR;
	if (!size_possible(heap, size, gfp, caller))
		return NULL;
	if (nid != NUMA_NO_NODE && (nid < 0 || nid >= nr_node_ids || !node_online(nid)))
		nid = NUMA_NO_NODE;
	if (heap->flags & BLOCKSLAB_ZERO)
		gfp |= __GFP_ZERO;
	if (heap->flags & BLOCKSLAB_ACCOUNT)
		gfp |= __GFP_ACCOUNT;
	slot = alloc_once(heap, size, gfp, nid, caller);
	while (!slot && gfp & __GFP_NOFAIL && gfpflags_allow_blocking(gfp)) {
		schedule_timeout_uninterruptible(1);
		slot = alloc_once(heap, size, gfp, nid, caller);
	}
	if (slot)
		after_alloc(heap, slot, size, gfp, caller);
	return slot;
}

/* This CPU's loaded magazine is empty, and perhaps no more than that is out of the ordinary. */
static noinline void *alloc_more(struct blockslab_heap *heap, size_t size, gfp_t gfp,
				 unsigned long caller)
{
	unsigned int index = blockslab_size_index[size];
	struct blockslab_class *class;
	void *slot;

	might_alloc(gfp);
	if (READ_ONCE(heap->cpu[index]) != no_class) {
		class = class_find(heap, 0, heap_index(heap, size));
		/* What was published last may be seen first. */
		slot = class ? alloc_from(&class->nodes[numa_mem_id()], size, gfp, caller) : NULL;
		if (slot || (class && !(gfp & __GFP_NOFAIL)))
			return slot;
	}
	return alloc_slow(heap, size, gfp, NUMA_NO_NODE, caller);
}

/* Whether a request is for the fast path, but for zeroing. */
static bool request_plain(size_t size, gfp_t gfp)
{
	return size <= BLOCKSLAB_SLOT_MAX && !(gfp & BLOCKSLAB_GFP_SLOW & ~__GFP_ZERO);
}

static noinline void *alloc_tell(struct blockslab_heap *heap, void *slot, size_t size, gfp_t gfp,
				 unsigned long caller)
{
	after_alloc(heap, slot, size, gfp, caller);
	return slot;
}

/* The fast path with what is rare, and with zeroing. The calls at its ends need no registers. */
static noinline void *alloc_rare(struct blockslab_heap *heap, size_t size, gfp_t gfp,
				 unsigned long caller)
{
	struct blockslab_cpu __percpu *cpu;
	void *slot;

	if (unlikely(!request_plain(size, gfp)))
		return alloc_slow(heap, size, gfp, NUMA_NO_NODE, caller);
	cpu = READ_ONCE(heap->cpu[blockslab_size_index[size]]);
	if (unlikely(!blockslab_alloc_fast(cpu, size, 0, &slot)))
		return alloc_slow(heap, size, gfp, NUMA_NO_NODE, caller);
	if (alloc_watched())
		return alloc_tell(heap, slot, size, gfp, caller);
	return want_init_on_alloc(gfp) ? memset(slot, 0, raw_cpu_read(cpu->size)) : slot;
}

static __always_inline void *alloc_plain(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	void *slot;

	/* in no order, as in blockslab_beyond() */
	if (unlikely(size > data_race(blockslab_fast_size)))
		return alloc_rare(heap, size, gfp, _RET_IP_);
	if (likely(blockslab_alloc_fast(READ_ONCE(heap->cpu[blockslab_size_index[size]]), size, 0,
					&slot)))
		return slot;
	return alloc_more(heap, size, gfp, _RET_IP_);
}

/**
 * blockslab_alloc() - allocate a slot
 * @heap: to take it from; NULL for the shared heap
 * @size: bytes wanted; 0 gives ZERO_SIZE_PTR
 * @gfp: as for kmalloc()
 *
 * Sizes over BLOCKSLAB_SLOT_MAX get whole pages. A slot is aligned to the largest power of two
 * that divides its class's size, at most to a page; so a size that is a power of two is naturally
 * aligned.
 *
 * Context: as @gfp says: any but NMI; on PREEMPT_RT not with interrupts off.
 * Return: the slot, the caller's until it is freed; or NULL.
 */
void *blockslab_alloc(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	heap = heap_or_shared(heap);
	if (unlikely(gfp & BLOCKSLAB_GFP_SLOW))
		return alloc_rare(heap, size, gfp, _RET_IP_);
	return alloc_plain(heap, size, gfp);
}
EXPORT_SYMBOL_GPL(blockslab_alloc);

/* What the inline blockslab_alloc() of the header calls. */
void *blockslab_alloc_plain(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	return alloc_plain(heap, size, gfp);
}
EXPORT_SYMBOL_GPL(blockslab_alloc_plain);

/**
 * blockslab_zalloc() - allocate a slot filled with zeroes
 * @heap: to take it from; NULL for the shared heap
 * @size: bytes wanted
 * @gfp: as for kmalloc()
 *
 * Context: as blockslab_alloc().
 * Return: the slot, all of whose usable size is zero; or NULL.
 */
void *blockslab_zalloc(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	return alloc_rare(heap_or_shared(heap), size, gfp | __GFP_ZERO, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_zalloc);

/**
 * blockslab_alloc_node() - allocate a slot on a NUMA node
 * @heap: to take it from; NULL for the shared heap
 * @size: bytes wanted
 * @gfp: as for kmalloc_node(); with __GFP_THISNODE no other node will do
 * @node: wanted, or NUMA_NO_NODE
 *
 * Context: as blockslab_alloc().
 * Return: the slot, from another node where that one has no memory; or NULL.
 */
void *blockslab_alloc_node(struct blockslab_heap *heap, size_t size, gfp_t gfp, int node)
{
	return alloc_slow(heap_or_shared(heap), size, gfp, node, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_alloc_node);

/**
 * blockslab_alloc_nolock() - allocate a slot in any context
 * @heap: to take it from; NULL for the shared heap
 * @size: bytes wanted, up to BLOCKSLAB_SLOT_MAX
 *
 * Serves from this CPU's magazines only: no lock is taken and no page asked for. Allocating that
 * size in another context before fills them.
 *
 * Context: any, NMI too.
 * Return: the slot, not zeroed; or NULL, which callers must expect.
 */
void *blockslab_alloc_nolock(struct blockslab_heap *heap, size_t size)
{
	struct blockslab_class *class;
	void *slot;

	heap = heap_or_shared(heap);
	if (!size || size > BLOCKSLAB_SLOT_MAX - heap->zone || heap->exact)
		return NULL;
	class = class_find(heap, heap->flags & BLOCKSLAB_ACCOUNT ? __GFP_ACCOUNT : 0,
			   heap_index(heap, size));
	if (!class)
		return NULL;
	slot = take_cached(&class->nodes[numa_mem_id()], size);
	if (slot)
		kasan_slot(slot, class->size, size);
	if (slot && heap->flags & BLOCKSLAB_ZERO)
		memset(slot, 0, class->size);
	return slot;
}
EXPORT_SYMBOL_GPL(blockslab_alloc_nolock);

static __always_inline void hand_out(void *slot, void **to, unsigned long canary)
{
	*to = slot;
	*blockslab_word(slot, canary) = 0;
}

/* Takes up to @nr slots from a claimed line's loaded magazine. */
static size_t pop(struct blockslab_cpu *line, size_t nr, void **slots, unsigned long canary)
{
	size_t i, got = min_t(size_t, nr, blockslab_count(line));
	void **from = line->loaded + blockslab_count(line) - got;

	for (i = 0; i + 4 <= got; i += 4) {
		hand_out(from[i], &slots[i], canary);
		hand_out(from[i + 1], &slots[i + 1], canary);
		hand_out(from[i + 2], &slots[i + 2], canary);
		hand_out(from[i + 3], &slots[i + 3], canary);
	}
	for (; i < got; i++)
		hand_out(from[i], &slots[i], canary);
	blockslab_add(line->tally, got * (BLOCKSLAB_ALLOC - 1));
	return got;
}

/* Up to @nr slots of this CPU's loaded and spare magazine for its own node. */
static size_t pop_many(struct blockslab_class *class, size_t size, size_t nr, void **slots)
{
	struct blockslab_cpu *line;
	size_t got = 0;

	preempt_disable();
	line = blockslab_home_line(class->cpu);
	if (likely(blockslab_claim(line))) {
		nr = min_t(size_t, nr, 2 * MAGAZINE_SLOTS_MAX);
		if (unlikely(line->credit < (long)(nr * size)))
			nr = line->credit / size;	/* the next one may have to be tracked */
		got = pop(line, nr, slots, class->canary);
		if (got < nr && line->spare && line->spare->count) {
			swap_spare(line);
			got += pop(line, nr - got, slots + got, class->canary);
		}
		spend(line, got * size);
		blockslab_unclaim(line);
	}
	preempt_enable();
	return got;
}

/*
 * A call for so many slots gets what this CPU's magazines lack past them: it would have to trade
 * them each time. Not while they are smaller than they might be: they grow by trades.
 */
static size_t many(const struct blockslab_cpu *line)
{
	unsigned int capacity = READ_ONCE(line->node->capacity);

	return READ_ONCE(line->capacity) < capacity ? SIZE_MAX : capacity / 4 + 1;
}

/* Up to @nr slots, and RUN_MAX, straight out of the node's blocks. */
static size_t take_many(struct blockslab_node *node, size_t size, size_t nr, void **slots)
{
	unsigned int canary = node->class->canary;
	unsigned long irq;
	size_t i, got;

	spin_lock_irqsave(&node->lock, irq);
	got = take_from_blocks(node, slots, min_t(size_t, nr, RUN_MAX));
	blockslab_add(node->allocs, got);
	node->requested += got * size;
	spin_unlock_irqrestore(&node->lock, irq);
	for (i = 0; i < got; i++)
		*blockslab_word(slots[i], canary) = 0;
	return got;
}

/*
 * The rest of @nr slots when this CPU's magazines are empty; fewer only where there are no more.
 * Each turn gets one at least, or is the last.
 */
static size_t bring_many(struct blockslab_node *node, size_t size, gfp_t gfp, size_t got,
			 size_t nr, void **slots, unsigned long caller)
{
	while (got < nr) {
		if (nr >= many(raw_cpu_ptr(node_cpu(node))) &&
		    !READ_ONCE(node->class->heap->track))
			got += take_many(node, size, nr - got, slots + got);
		if (got == nr)
			break;
		/* Brings a magazine, too, if this CPU's line can be claimed. */
		slots[got] = alloc_from(node, size, gfp, caller);
		if (!slots[got])
			break;
		got++;
		got += pop_many(node->class, size, nr - got, slots + got);
	}
	return got;
}

/* Up to @nr slots; fewer only where there are no more. */
static size_t alloc_many(struct blockslab_class *class, size_t size, gfp_t gfp, size_t nr,
			 void **slots, unsigned long caller)
{
	size_t got = pop_many(class, size, nr, slots);
	struct blockslab_node *node;

	if (got == nr)
		return nr;
	/* One magazine shall hold such a call, if it may. */
	node = &class->nodes[numa_mem_id()];
	while (magazines_grow_to(node, min_t(size_t, BULK_BYTES / class->size, 2 * nr)))
		;
	return bring_many(node, size, gfp, got, nr, slots, caller);
}

/* Hooks for slots of one bulk allocation, where there is anything to do. */
static void bulk_hooks(struct blockslab_class *class, size_t size, gfp_t gfp, size_t nr,
		       void **slots, unsigned long caller)
{
	struct blockslab_heap *heap = class->heap;
	unsigned int bytes = class->size;
	size_t i;

	if (heap->exact || alloc_watched()) {
		for (i = 0; i < nr; i++)
			after_alloc(heap, slots[i], size, gfp, caller);
	} else if (want_init_on_alloc(gfp) && !keeps_content(heap)) {
		for (i = 0; i < nr; i++)
			memset(slots[i], 0, bytes);
	}
}

/**
 * blockslab_alloc_bulk() - allocate many slots of one size
 * @heap: to take them from; NULL for the shared heap
 * @size: bytes wanted of each
 * @gfp: as for kmalloc()
 * @nr: how many
 * @slots: where their addresses are put
 *
 * Context: as blockslab_alloc().
 * Return: @nr, or 0 and nothing is allocated.
 */
size_t blockslab_alloc_bulk(struct blockslab_heap *heap, size_t size, gfp_t gfp, size_t nr,
			    void **slots)
{
	struct blockslab_class *class;
	size_t got;

	heap = heap_or_shared(heap);
	might_alloc(gfp);
	if (size && size <= BLOCKSLAB_SLOT_MAX - heap->zone) {
		gfp |= heap->flags & BLOCKSLAB_ZERO ? __GFP_ZERO : 0;
		gfp |= heap->flags & BLOCKSLAB_ACCOUNT ? __GFP_ACCOUNT : 0;
		class = class_for(heap, size, gfp);
		if (!class)
			return 0;
		got = alloc_many(class, size, gfp, nr, slots, _RET_IP_);
		bulk_hooks(class, size, gfp, got, slots, _RET_IP_);
	} else {
		for (got = 0; got < nr; got++) {
			slots[got] = alloc_slow(heap, size, gfp, NUMA_NO_NODE, _RET_IP_);
			if (!slots[got])
				break;
		}
	}
	if (got == nr)
		return nr;
	blockslab_free_bulk(got, slots);
	return 0;
}
EXPORT_SYMBOL_GPL(blockslab_alloc_bulk);

/* ------------------------------------------------------------------------------------------------
 * Free
 */

static bool slots_hold(void **slots, unsigned int count, const void *slot)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		if (READ_ONCE(slots[i]) == slot)
			return true;
	return false;
}

static bool line_holds(struct blockslab_cpu *line, const void *slot)
{
	struct blockslab_magazine *spare = smp_load_acquire(&line->spare);	/* take_in() */
	struct blockslab_magazine *loaded = loaded_magazine(line);
	unsigned int count = READ_ONCE(line->tally) & BLOCKSLAB_COUNT;

	if (loaded && slots_hold(loaded->slots, min_t(u16, count, loaded->capacity), slot))
		return true;
	return spare && slots_hold(spare->slots, READ_ONCE(spare->count), slot);
}

/* Whether a slot lies in a magazine of some CPU. Magazines live on for a grace period: no lock. */
static bool cpus_hold(struct blockslab_node *node, const void *slot)
{
	bool held = false;
	int cpu;

	rcu_read_lock();
	for_each_possible_cpu(cpu) {
		held = line_holds(node_line(node, cpu), slot);
		if (held)
			break;
	}
	rcu_read_unlock();
	return held;
}

static bool depot_holds(struct blockslab_node *node, const void *slot)
{
	struct blockslab_magazine *magazine = NULL;
	unsigned int steps = 0;
	bool held = false;

	rcu_read_lock();
	while (!held) {
		magazine = stack_next(&node->full, magazine, &steps);
		if (!magazine)
			break;
		held = slots_hold(magazine->slots, READ_ONCE(magazine->count), slot);
	}
	rcu_read_unlock();
	return held;
}

static bool size_wrong(struct blockslab_block *block, unsigned int number, size_t size)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_note *note = note_of(block, number);

	if (note)
		return size != note->asked;
	if (!class->size)
		return size <= BLOCKSLAB_SLOT_MAX || PFN_UP(size) != block->nr_pages;
	if (size > (class->canary ?: class->size))
		return true;
	return class->index < NR_SIZES && !READ_ONCE(class->heap->substituted) &&
	       (!size || heap_index(class->heap, size) != class->index);
}

#define ANY_SIZE	SIZE_MAX
#define ANY_INDEX	UINT_MAX

/* What is wrong with freeing a pointer. @cache may be NULL for any. */
static enum fault find_fault(struct blockslab_block *block, const void *slot, size_t size,
			     const struct blockslab_heap *cache)
{
	struct blockslab_node *node;
	long number;

	if (!block)
		return FOREIGN;
	node = block->node;
	number = node->class->size ? blockslab_number(block, slot) : slot == block->base ? 0 : -1;
	if (number < 0 || number >= block->nr_slots)
		return INSIDE;
	if (cache && node->class->heap != cache)
		return WRONG_CACHE;
	if (slot_is_free(block, number) || test_bit(number, deferred_map(block)))
		return DOUBLE_FREE;
	if (node->class->size &&
	    has_canary(node, slot) &&
	    (cpus_hold(node, slot) || depot_holds(node, slot)))
		return DOUBLE_FREE;
	if (size != ANY_SIZE && size_wrong(block, number, size))
		return WRONG_SIZE;
	return NO_FAULT;
}

/* Into this CPU's loaded or spare magazine; false if there is no room. Takes no lock. */
static bool put_cached(struct blockslab_node *node, const void *slot)
{
	struct blockslab_cpu *line = claim_line(node);
	bool put;

	if (!line)
		return false;
	if (blockslab_count(line) >= line->capacity && line->spare &&
	    line->spare->count < line->spare->capacity)
		swap_spare(line);
	put = blockslab_count(line) < line->capacity;
	if (put) {
		WRITE_ONCE(line->loaded[blockslab_count(line)], (void *)slot);
		blockslab_add(line->tally, 1);
		put_canary(node, slot);
	}
	unclaim_line(line);
	return put;
}

/* Straight into its block. */
static void free_direct(struct blockslab_node *node, const void *slot)
{
	unsigned long irq;
	LIST_HEAD(gone);

	if (node->class->key != KEY_SLOW)
		put_canary(node, slot);
	spin_lock_irqsave(&node->lock, irq);
	blockslab_add(node->frees, 1);
	return_slots(node, (void **)&slot, 1, &gone);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
}

/* A checked slot goes where there is room. */
static noinline void free_to(struct blockslab_node *node, const void *slot)
{
	int tries;

	for (tries = 0; tries < 3; tries++) {
		if (put_cached(node, slot))
			return;
		if (!bring_room(node))
			break;
	}
	heap_arm(node->class->heap);
	free_direct(node, slot);
}

/* Everything that the fast path does not do. */
static noinline void free_slow(const void *slot, size_t size, const struct blockslab_heap *cache,
			       unsigned long caller)
{
	struct blockslab_block *block;
	enum fault fault;

	if (ZERO_OR_NULL_PTR(slot))
		return;
	block = block_of(slot);
	fault = find_fault(block, slot, size, cache);
	if (unlikely(fault)) {
		report(fault, slot, block, caller);
		return;
	}
	if (!before_free(block, (void *)slot, caller))
		return;
	if (block->node->class->size)
		free_to(block->node, slot);
	else
		large_put(block, caller);
}

/* The same for any heap's slot. */
static __always_inline enum blockslab_freed free_any(const struct page *page, const void *slot)
{
	unsigned long sealed = blockslab_sealed(page);
	unsigned long mark = blockslab_mark(page, sealed, BLOCKSLAB_KEY_FAST);

	if (!blockslab_has_mark(page, mark))
		return BLOCKSLAB_DOUBTFUL;
	return blockslab_free_fast(page, &sealed, slot, mark, blockslab_word(slot, 0));
}

/* A slot beyond the span, or none at all; or something rare is to be done. */
static noinline void free_beyond(const void *slot, unsigned long caller)
{
	struct page *page = page_of(slot);

	if (!page || static_branch_unlikely(&rare_free) ||
	    free_any(page, slot) != BLOCKSLAB_FREED)
		free_slow(slot, ANY_SIZE, NULL, caller);
}

/**
 * blockslab_free() - free a slot
 * @slot: from any allocating call, of any heap; NULL and ZERO_SIZE_PTR are fine
 *
 * A pointer that is no allocated slot is reported, and nothing else happens.
 *
 * Context: any but NMI; on PREEMPT_RT not with interrupts off.
 */
void blockslab_free(const void *slot)
{
	unsigned long offset = blockslab_offset(slot);
	struct page *page;
	enum blockslab_freed freed;

	if (unlikely(blockslab_beyond(offset)))
		return free_beyond(slot, _RET_IP_);
	page = blockslab_page(offset);
	freed = free_any(page, slot);
	if (unlikely(freed == BLOCKSLAB_NO_ROOM))
		return free_to(blockslab_block_of(page)->node, slot);
	if (unlikely(freed == BLOCKSLAB_DOUBTFUL))
		free_slow(slot, ANY_SIZE, NULL, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free);

/**
 * blockslab_free_sized() - free a slot whose size is known
 * @slot: as for blockslab_free()
 * @size: as it was asked for
 *
 * A size that the slot cannot have been allocated with is reported, and the slot is not freed.
 *
 * Context: as blockslab_free().
 */
void blockslab_free_sized(const void *slot, size_t size)
{
	enum blockslab_freed freed = blockslab_free_sized_fast(slot, size);

	if (freed == BLOCKSLAB_NO_ROOM)
		return free_to(block_of(slot)->node, slot);
	if (freed == BLOCKSLAB_DOUBTFUL)
		free_slow(slot, min(size, ANY_SIZE - 1), NULL, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_sized);

/* The per-CPU state that a slot says it belongs to, sealed; or 0 where the slow path is due. */
static unsigned long slot_sealed(const void *slot, unsigned long key)
{
	unsigned long offset = blockslab_offset(slot);
	struct page *page = blockslab_page(offset);
	unsigned long sealed;

	if (blockslab_beyond(offset))
		return 0;
	sealed = blockslab_sealed(page);
	return blockslab_has_mark(page, blockslab_mark(page, sealed, key)) ? sealed : 0;
}

/* Slots of one class and node that are freed in a row. */
struct run {
	unsigned long sealed;
	unsigned long key;
	unsigned long canary;
	const void *page;		/* that was looked at last */
	unsigned long mark;		/* of that page */
	struct blockslab_block *block;	/* and its block */
	unsigned long before;		/* bytes of the block before that page */
	unsigned long recip;		/* of the block */
};

/* Looks at the page of a slot; false if it is not one of the run. */
static __always_inline bool run_enter(struct run *run, const void *slot)
{
	unsigned long offset = blockslab_offset(slot);
	struct page *page = blockslab_page(offset);
	unsigned long mark = blockslab_mark(page, run->sealed, run->key);

	if (unlikely(blockslab_beyond(offset)) || !blockslab_has_mark(page, mark))
		return false;
	run->page = slot - offset_in_page(slot);
	run->mark = mark;
	run->block = blockslab_block_of(page);
	run->before = run->page - run->block->base;
	run->recip = run->block->recip;
	return true;
}

/* The number in run->block of a slot of which all is well, as a free sees it; else -1. */
static __always_inline long run_check(struct run *run, const void *slot)
{
	unsigned long offset = slot - run->page;
	long number;

	if (offset >= PAGE_SIZE) {
		if (!run_enter(run, slot))
			return -1;
		offset = slot - run->page;
	}
	number = blockslab_number_at(offset + run->before, run->recip);
	if (unlikely(number < 0 || slot_is_free(run->block, number) ||
		     *blockslab_word(slot, run->canary) == run->mark))
		return -1;
	return number;
}

/*
 * Frees up to @nr slots into a claimed line's loaded magazine. Out of line, with a run of its own:
 * all that its loop needs is in registers then.
 */
static noinline size_t push(struct blockslab_cpu *line, struct run *run, size_t nr, void **slots)
{
	void **to = line->loaded + blockslab_count(line), *slot;
	struct run own = *run;
	size_t i;

	nr = min_t(size_t, nr, line->capacity - blockslab_count(line));
	for (i = 0; i < nr; i++) {
		slot = slots[i];
		if (unlikely(run_check(&own, slot) < 0))
			break;
		data_race(to[i] = slot);	/* as in a free */
		*blockslab_word(slot, own.canary) = own.mark;
	}
	blockslab_add(line->tally, i);
	*run = own;
	return i;
}

/* Frees up to @nr slots into this CPU's loaded and spare magazine. */
static __always_inline size_t push_many(struct run *run, size_t nr, void **slots)
{
	struct blockslab_cpu *line;
	size_t put = 0;

	if (!run_enter(run, slots[0]))
		return 0;
	preempt_disable();
	line = blockslab_sealed_line(run->sealed);
	if (likely(blockslab_claim(line))) {
		put = push(line, run, nr, slots);
		if (put < nr && blockslab_count(line) == line->capacity && line->spare &&
		    line->spare->count < line->spare->capacity) {
			swap_spare(line);
			put += push(line, run, nr - put, slots + put);
		}
		blockslab_unclaim(line);
	}
	preempt_enable();
	return put;
}

/* Frees up to @nr slots, and RUN_MAX, straight into their blocks. */
static __always_inline size_t return_many(struct run *run, struct blockslab_node *node, size_t nr,
					  void **slots)
{
	struct blockslab_block *block = NULL;
	unsigned long irq;
	LIST_HEAD(gone);
	long number;
	size_t i;

	nr = min_t(size_t, nr, RUN_MAX);
	if (!run_enter(run, slots[0]))
		return 0;
	heap_arm(node->class->heap);	/* it lives: the first slot is still out */
	spin_lock_irqsave(&node->lock, irq);
	if (!run_enter(run, slots[0]))	/* what it saw before may be gone */
		nr = 0;
	for (i = 0; i < nr; i++) {
		number = run_check(run, slots[i]);
		if (unlikely(number < 0))
			break;
		if (run->block != block) {
			if (block)
				block_returned(block, &gone);
			block = run->block;
		}
		test_and_set_free(block, number);
		*blockslab_word(slots[i], run->canary) = run->mark;
		block->nr_free++;
		blockslab_add(node->nr_free, 1);
	}
	if (block)
		block_returned(block, &gone);
	retained_look(node, &gone);
	blockslab_add(node->frees, i);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
	return i;
}

/*
 * Frees slots from the first on, as long as they are of one class and node, nothing is wrong with
 * them, and there is room. Returns how many.
 */
static __always_inline size_t free_run(unsigned long sealed, size_t nr, void **slots,
				       unsigned long key, unsigned long canary)
{
	struct run run = { .sealed = sealed, .key = key, .canary = canary };
	struct blockslab_cpu *line;
	size_t done, least;

	rcu_read_lock();	/* the class may go with the first slots: heap_free() */
	done = push_many(&run, nr, slots);
	line = blockslab_sealed_line(sealed);
	/* A second magazine comes by the free of a single slot. */
	if (done < nr && (READ_ONCE(line->spare) || !may_have_spare(line->node))) {
		/* There were many, or a slot farther on tells that there are. */
		least = many(line);
		if (done >= least ||
		    (nr - done >= least && slot_sealed(slots[done + least - 1], key) == sealed))
			done += return_many(&run, line->node, nr - done, slots + done);
	}
	rcu_read_unlock();
	return done;
}

/**
 * blockslab_free_bulk() - free many slots
 * @nr: how many
 * @slots: of any heaps and sizes; NULLs among them are fine
 *
 * Context: as blockslab_free().
 */
void blockslab_free_bulk(size_t nr, void **slots)
{
	unsigned long sealed;
	size_t done = 0;

	while (done < nr) {
		sealed = slot_sealed(slots[done], BLOCKSLAB_KEY_FAST);
		if (sealed)
			done += free_run(sealed, nr - done, slots + done, BLOCKSLAB_KEY_FAST, 0);
		/* What ended the run, be it the lack of room. */
		if (done < nr)
			blockslab_free(slots[done++]);
	}
}
EXPORT_SYMBOL_GPL(blockslab_free_bulk);

/**
 * blockslab_usable_size() - bytes that may be used of a slot
 * @slot: an allocated slot; NULL and ZERO_SIZE_PTR have 0 bytes
 *
 * Context: any.
 * Return: the slot's size, at least what was asked for; in heaps with BLOCKSLAB_RED_ZONE just
 * that. 0, and a report, for a pointer that is no slot.
 */
size_t blockslab_usable_size(const void *slot)
{
	struct blockslab_block *block;
	enum fault fault;
	size_t usable;

	if (ZERO_OR_NULL_PTR(slot))
		return 0;
	block = block_of(slot);
	fault = find_fault(block, slot, ANY_SIZE, NULL);
	if (fault) {
		report(fault, slot, block, _RET_IP_);
		return 0;
	}
	usable = usable_bytes(block, block->node->class->size ? blockslab_number(block, slot) : 0);
	kasan_slot(slot, slot_bytes(block), usable);
	return usable;
}
EXPORT_SYMBOL_GPL(blockslab_usable_size);

/**
 * blockslab_size_roundup() - bytes that an allocation of a size would give
 * @size: in bytes
 *
 * Context: any.
 * Return: the slot size of the class that serves it, or whole pages; what the shared heap gives.
 */
size_t blockslab_size_roundup(size_t size)
{
	if (!size)
		return 0;
	if (size <= BLOCKSLAB_SLOT_MAX)
		return index_size[blockslab_size_index[size]];
	return size > SIZE_MAX - PAGE_SIZE ? size : PAGE_ALIGN(size);
}
EXPORT_SYMBOL_GPL(blockslab_size_roundup);

/**
 * blockslab_realloc() - change the size of a slot
 * @heap: for a slot that has to move; NULL for the shared heap
 * @slot: to change; NULL allocates
 * @size: new size in bytes; 0 frees
 * @gfp: as for blockslab_alloc()
 *
 * A slot whose class serves the new size stays where it is. One that moves keeps its content up
 * to the smaller of both sizes; with __GFP_ZERO what is new is zero.
 *
 * Context: as blockslab_alloc().
 * Return: the slot, ZERO_SIZE_PTR for size 0; or NULL, and @slot is as it was.
 */
void *blockslab_realloc(struct blockslab_heap *heap, const void *slot, size_t size, gfp_t gfp)
{
	struct blockslab_block *block;
	size_t usable;
	void *moved;

	if (ZERO_OR_NULL_PTR(slot))
		return alloc_slow(heap_or_shared(heap), size, gfp, NUMA_NO_NODE, _RET_IP_);
	if (!size) {
		free_slow(slot, ANY_SIZE, NULL, _RET_IP_);
		return ZERO_SIZE_PTR;
	}
	usable = blockslab_usable_size(slot);
	if (!usable)
		return NULL;
	block = block_of(slot);
	if (!note_of(block, 0) && !size_wrong(block, 0, size))
		return (void *)slot;
	moved = alloc_slow(heap_or_shared(heap), size, gfp, NUMA_NO_NODE, _RET_IP_);
	if (!moved)
		return NULL;
	memcpy(moved, slot, min(usable, size));
	free_slow(slot, ANY_SIZE, NULL, _RET_IP_);
	return moved;
}
EXPORT_SYMBOL_GPL(blockslab_realloc);

/* ------------------------------------------------------------------------------------------------
 * Deferred frees: from NMI, and after a grace period
 */

/* Blocks that have slots marked in their deferred bitmap. */
static LLIST_HEAD(deferred_blocks);
/* Slots that are to be freed later: marked in their block, or in a batch. */
static atomic_long_t nr_deferred;

/* Queued for the worker; a block with marks has slots out, so it stays until they are freed. */
static bool queue_deferred(struct blockslab_block *block)
{
	if (atomic_fetch_or(BLOCK_QUEUED, &block->flags) & BLOCK_QUEUED)
		return false;
	llist_add(&block->deferred, &deferred_blocks);
	return true;
}

/*
 * Takes the marks off a block and frees those slots, unless somebody has queued the block again or
 * wants one more grace period: a block that is queued must not go with the last of its slots, and
 * the marks taken may be all there are. They are put back for its next turn; true then.
 */
static bool free_deferred(struct blockslab_block *block)
{
	static unsigned long marks[BITS_TO_LONGS(BLOCK_SLOTS_MAX + 1)];	/* one worker */
	unsigned int number, word, bits = block->nr_slots;
	unsigned int size = block->node->class->size;	/* 0 for whole pages, which are number 0 */
	unsigned long *map = deferred_map(block);
	void *base = block->base;
	int flags;

	atomic_andnot(BLOCK_QUEUED, &block->flags);
	smp_mb__after_atomic();		/* marks set from now on queue the block again */
	for (word = 0; word < BITS_TO_LONGS(bits); word++)
		marks[word] = xchg(&map[word], 0);
	/* Who set one of these is through with the block, and has set what flags he will. */
	flags = atomic_cond_read_acquire(&block->flags, VAL < BLOCK_HOLD);
	if (flags & (BLOCK_QUEUED | BLOCK_WANTS_GRACE)) {
		for_each_set_bit(number, marks, bits) {
			if (!test_and_set_bit(number, map))
				continue;
			report(DOUBLE_FREE, slot_address(block, size, number), block, _RET_IP_);
			atomic_long_dec(&nr_deferred);
		}
		queue_deferred(block);
		return true;
	}
	/* The block may be gone with the last of them. */
	for_each_set_bit(number, marks, bits)
		free_slow(base + (size_t)number * size, ANY_SIZE, NULL, _RET_IP_);
	atomic_long_sub(bitmap_weight(marks, bits), &nr_deferred);
	return false;
}

/* With one grace period for all blocks that are there. */
static void free_deferred_work(struct work_struct *work)
{
	struct blockslab_block *block, *next;
	struct llist_node *blocks;
	bool again, grace;

	do {
		blocks = llist_del_all(&deferred_blocks);
		again = false;
		grace = false;
		llist_for_each_entry(block, blocks, deferred)
			grace |= atomic_fetch_andnot(BLOCK_WANTS_GRACE, &block->flags) &
				 BLOCK_WANTS_GRACE;
		if (grace)
			synchronize_rcu();
		llist_for_each_entry_safe(block, next, blocks, deferred)
			again |= free_deferred(block);
	} while (again);
}

static DECLARE_WORK(deferred_work, free_deferred_work);

static void deferred_irq_work(struct irq_work *work)
{
	queue_work(workqueue, &deferred_work);
}

/* In an interrupt on PREEMPT_RT too: a thread would not run on a CPU that goes offline. */
static struct irq_work deferred_irq = IRQ_WORK_INIT_HARD(deferred_irq_work);

/*
 * Marks a checked slot to be freed by the worker. Needs no memory and no lock; any context. Once it
 * is marked, only the hold keeps the block: the worker waits for that before it frees anything.
 */
static void defer_free(struct blockslab_block *block, const void *slot, bool grace,
		       unsigned long caller)
{
	unsigned int number = block->node->class->size ? blockslab_number(block, slot) : 0;
	bool doubled;

	preempt_disable();
	atomic_long_inc(&nr_deferred);	/* before it can be seen: deferred_finish() */
	atomic_add(BLOCK_HOLD, &block->flags);
	if (grace)		/* ordered: what the caller unlinked is unlinked before */
		atomic_fetch_or(BLOCK_WANTS_GRACE, &block->flags);
	doubled = test_and_set_bit(number, deferred_map(block));
	if (doubled)
		report(DOUBLE_FREE, slot, block, caller);
	else if (queue_deferred(block))
		irq_work_queue(&deferred_irq);
	atomic_sub_return_release(BLOCK_HOLD, &block->flags);
	if (doubled)
		atomic_long_dec(&nr_deferred);
	preempt_enable();
}

/**
 * blockslab_free_nolock() - free a slot in any context
 * @slot: as for blockslab_free()
 *
 * Goes into this CPU's magazine, or is left to a worker where that has no room.
 *
 * Context: any, NMI too.
 */
void blockslab_free_nolock(const void *slot)
{
	struct blockslab_block *block;
	enum fault fault;

	if (ZERO_OR_NULL_PTR(slot))
		return;
	block = block_of(slot);
	fault = find_fault(block, slot, ANY_SIZE, NULL);
	if (fault) {
		report(fault, slot, block, _RET_IP_);
		return;
	}
	if (static_branch_unlikely(&rare_free) || block->node->class->key != BLOCKSLAB_KEY_FAST ||
	    !put_cached(block->node, slot))
		defer_free(block, slot, false, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_nolock);

/*
 * Slots that wait for a grace period are gathered in batches, per CPU. Where there is no memory
 * for a batch, the slot is marked in its block instead, which needs none.
 */
struct rcu_batch {
	struct rcu_work work;
	unsigned int nr;
	void *slots[];
};

#define RCU_BATCH_BYTES	512
#define RCU_BATCH_SLOTS	((RCU_BATCH_BYTES - sizeof(struct rcu_batch)) / sizeof(void *))
#define RCU_DELAY	(HZ / 50 + 1)

struct rcu_cpu {
	spinlock_t lock;		/* batch */
	struct rcu_batch *batch;	/* being filled, or NULL (lock) */
};

static DEFINE_PER_CPU(struct rcu_cpu, rcu_cpus);

static void rcu_batch_free(struct work_struct *work)
{
	struct rcu_batch *batch = container_of(to_rcu_work(work), struct rcu_batch, work);
	unsigned int i;

	for (i = 0; i < batch->nr; i++)
		free_slow(batch->slots[i], ANY_SIZE, NULL, _RET_IP_);
	atomic_long_sub(batch->nr, &nr_deferred);
	kfree(batch);
}

static void rcu_batch_send(struct rcu_cpu *rcu)
{
	lockdep_assert_held(&rcu->lock);
	if (rcu->batch)
		queue_rcu_work(workqueue, &rcu->batch->work);
	rcu->batch = NULL;
}

static void rcu_send_all(struct work_struct *work)
{
	unsigned long irq;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct rcu_cpu *rcu = per_cpu_ptr(&rcu_cpus, cpu);

		spin_lock_irqsave(&rcu->lock, irq);
		rcu_batch_send(rcu);
		spin_unlock_irqrestore(&rcu->lock, irq);
	}
}

static DECLARE_DELAYED_WORK(rcu_send_work, rcu_send_all);

/* False where there is no memory for a batch. */
static bool rcu_batch_add(struct rcu_cpu *rcu, void *slot)
{
	lockdep_assert_held(&rcu->lock);
	if (!rcu->batch) {
		rcu->batch = meta_alloc(BLOCKSLAB_FAIL_MAGAZINE, RCU_BATCH_BYTES, GFP_NOWAIT,
					NUMA_NO_NODE);
		if (!rcu->batch)
			return false;
		INIT_RCU_WORK(&rcu->batch->work, rcu_batch_free);
		queue_delayed_work(workqueue, &rcu_send_work, RCU_DELAY);
	}
	atomic_long_inc(&nr_deferred);
	rcu->batch->slots[rcu->batch->nr++] = slot;
	if (rcu->batch->nr == RCU_BATCH_SLOTS)
		rcu_batch_send(rcu);
	return true;
}

/**
 * blockslab_free_rcu() - free a slot after a grace period
 * @slot: as for blockslab_free(); needs no room in it, and RCU readers may go on reading it
 *
 * Context: any but NMI, on PREEMPT_RT too. Does not sleep, and cannot fail for want of memory.
 */
void blockslab_free_rcu(const void *slot)
{
	struct blockslab_block *block;
	struct rcu_cpu *rcu;
	enum fault fault;
	unsigned long irq;
	bool added = false;

	if (ZERO_OR_NULL_PTR(slot))
		return;
	block = block_of(slot);
	fault = find_fault(block, slot, ANY_SIZE, NULL);
	if (fault) {
		report(fault, slot, block, _RET_IP_);
		return;
	}
	/* A spinlock may sleep on PREEMPT_RT. */
	if (!IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible()) {
		rcu = raw_cpu_ptr(&rcu_cpus);
		spin_lock_irqsave(&rcu->lock, irq);
		added = rcu_batch_add(rcu, (void *)slot);
		spin_unlock_irqrestore(&rcu->lock, irq);
	}
	if (!added)
		defer_free(block, slot, true, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_rcu);

/* Waits until the work queued so far is done. */
static void workers_finish(void)
{
	flush_workqueue(workqueue);
}

/* Waits until all that was deferred so far is freed. */
static void deferred_finish(void)
{
	/* Where the tick runs irq_work, one waiter is woken: kernel/irq_work.c */
	static DEFINE_MUTEX(one_waiter);

	if (!atomic_long_read(&nr_deferred))
		return;
	rcu_send_all(NULL);
	rcu_barrier();
	mutex_lock(&one_waiter);
	irq_work_sync(&deferred_irq);
	mutex_unlock(&one_waiter);
	workers_finish();
}

/* ------------------------------------------------------------------------------------------------
 * Counting: sums over nodes and CPUs
 */

struct sums {
	unsigned long full, partial, retained;
	unsigned long slots, cached, free;
	unsigned long allocs, frees, fails, requested;
	unsigned long held;
	unsigned long pages;		/* bytes of pages of all blocks */
	unsigned long retained_bytes;
	unsigned long given;		/* bytes of all slots given out so far */
};

static unsigned long sums_allocated(const struct sums *sums)
{
	return sums->slots - sums->cached - sums->free;
}

/* Exact while the CPU is at rest, near enough while it is not. */
static void add_line(struct sums *sums, struct blockslab_cpu *line)
{
	u64 tally = READ_ONCE(line->tally);
	unsigned long cached = tally & BLOCKSLAB_COUNT, allocs = tally >> 16;
	struct blockslab_magazine *spare;

	rcu_read_lock();
	spare = smp_load_acquire(&line->spare);	/* take_in() */
	if (spare)
		cached += READ_ONCE(spare->count);
	rcu_read_unlock();
	sums->cached += cached;
	sums->allocs += allocs;
	sums->frees += cached + allocs - READ_ONCE(line->moved);
	sums->requested += READ_ONCE(line->granted) - READ_ONCE(line->credit);
}

static void add_depot(struct sums *sums, struct blockslab_node *node)
{
	struct blockslab_magazine *magazine = NULL;
	unsigned int steps = 0;

	rcu_read_lock();
	while ((magazine = stack_next(&node->full, magazine, &steps)))
		sums->cached += READ_ONCE(magazine->count);
	rcu_read_unlock();
}

static void add_blocks(struct sums *sums, struct blockslab_node *node)
{
	unsigned long irq;
	unsigned int i;

	spin_lock_irqsave(&node->lock, irq);
	sums->full += node->nr[BLOCK_FULL];
	for (i = 0; i < NR_PARTIAL; i++)
		sums->partial += node->nr[BLOCK_PARTIAL + i];
	sums->retained += node->nr[BLOCK_RETAINED];
	sums->retained_bytes += node->retained;
	sums->pages += node->pages;
	sums->slots += node->nr_slots;
	sums->free += node->nr_free;
	sums->allocs += node->allocs;
	sums->frees += node->frees;
	sums->fails += node->fails;
	sums->requested += node->requested;
	spin_unlock_irqrestore(&node->lock, irq);
	sums->held += atomic_long_read(&node->held);
}

static void add_node(struct sums *sums, struct blockslab_node *node)
{
	int cpu;

	for_each_possible_cpu(cpu)
		add_line(sums, node_line(node, cpu));
	add_depot(sums, node);
	add_blocks(sums, node);
}

/* Of a class, and of its tracked slots. */
static void class_sums(struct sums *sums, struct blockslab_class *class)
{
	struct blockslab_class *tracked;
	int nid;

	memset(sums, 0, sizeof(*sums));
	tracked = smp_load_acquire(&class->tracked);	/* tracked_class_new() */
	for (nid = 0; nid < nr_node_ids; nid++)
		add_node(sums, &class->nodes[nid]);
	for (nid = 0; tracked && nid < nr_node_ids; nid++)
		add_node(sums, &tracked->nodes[nid]);
	/* Of whole pages what was given is what was asked for, page by page; near enough. */
	sums->given = class->size ? sums->allocs * class->size : sums->requested;
	if (class->asked)
		sums->requested = sums->allocs * class->asked;
}

/* ------------------------------------------------------------------------------------------------
 * Validation: the equations at the top of this file
 */

/* A place in a node's list of blocks that survives letting go of the lock. */
struct cursor {
	struct blockslab_node *node;
	struct blockslab_block place;
};

static void cursor_start(struct cursor *cursor, struct blockslab_node *node)
{
	unsigned long irq;

	cursor->node = node;
	cursor->place.nr_slots = 0;
	spin_lock_irqsave(&node->lock, irq);
	list_add(&cursor->place.all, &node->all);
	spin_unlock_irqrestore(&node->lock, irq);
}

/* Moves on to the next block, which stays valid while the lock is held; NULL at the end. */
static struct blockslab_block *cursor_next(struct cursor *cursor)
{
	struct blockslab_block *block = &cursor->place;

	lockdep_assert_held(&cursor->node->lock);
	list_for_each_entry_continue(block, &cursor->node->all, all) {
		if (!block->nr_slots)
			continue;
		list_move(&cursor->place.all, &block->all);
		return block;
	}
	return NULL;
}

/* @block, if it is still the one that cursor_next() returned last; or NULL. */
static struct blockslab_block *cursor_last(struct cursor *cursor, struct blockslab_block *block)
{
	struct blockslab_block *last = &cursor->place;

	lockdep_assert_held(&cursor->node->lock);
	list_for_each_entry_continue_reverse(last, &cursor->node->all, all)
		if (last->nr_slots)		/* and no other reader's place */
			return last == block ? block : NULL;
	return NULL;
}

static void cursor_end(struct cursor *cursor)
{
	unsigned long irq;

	if (!cursor->node)
		return;
	spin_lock_irqsave(&cursor->node->lock, irq);
	list_del(&cursor->place.all);
	spin_unlock_irqrestore(&cursor->node->lock, irq);
	cursor->node = NULL;
}

static bool invalid(struct blockslab_class *class, const char *what, const void *where,
		    unsigned long is, unsigned long should)
{
	pr_err("validate: heap %s, class of %u bytes: %s at %p: is %lu, should be %lu\n",
	       class->heap->name, class->size, what, where, is, should);
	return true;
}

static int validate_pages(struct blockslab_block *block)
{
	struct blockslab_node *node = block->node;
	unsigned long sealed = seal(node_cpu(node));
	struct page *page = page_of(block->base);
	unsigned int i;
	int faults = 0;

	if (!page)
		return invalid(node->class, "pages of block", block, 0, block->nr_pages);
	for (i = 0; i < block->nr_pages; i++, page++)
		if (blockslab_block_of(page) != block || blockslab_sealed(page) != sealed ||
		    (page_key(page) != node->class->key && page_key(page) != KEY_SLOW))
			faults += invalid(node->class, "words of page", page, i, i);
	return faults;
}

static int validate_poison(struct blockslab_block *block)
{
	unsigned int number, size = block->node->class->size;
	int faults = 0;

	if (!poisoned(block->node->class->heap) || !size)
		return 0;
	for_each_set_bit(number, block->map, block->nr_slots) {
		void *slot = slot_address(block, size, number);

		if (!holds_only(slot, POISON_FREE, size))
			faults += invalid(block->node->class, "free slot written to", slot, 0, 0);
	}
	return faults;
}

static int validate_block(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	unsigned int bits = bitmap_weight(block->map, block->nr_slots);
	int faults = validate_pages(block) + validate_poison(block);

	if (bits != block->nr_free)
		faults += invalid(class, "free slots of block", block->base, bits, block->nr_free);
	if (block->state != block_state(block))
		faults += invalid(class, "list of block", block->base, block->state,
				  block_state(block));
	if (class->size && (block->size != class->size || block->sizes != class_sizes(class) ||
			    block->recip != (u32)div_u64(1ULL << 32, class->size) + 1 ||
			    block->nr_slots > block->nr_pages * PAGE_SIZE / class->size))
		faults += invalid(class, "class of block", block->base, block->size, class->size);
	return faults;
}

/* Checks the node's blocks one by one, and adds up what they hold. */
static int validate_blocks(struct blockslab_node *node, size_t *held, struct sums *sums)
{
	struct blockslab_block *block;
	struct cursor cursor;
	unsigned long irq;
	int faults = 0;

	cursor_start(&cursor, node);
	do {
		spin_lock_irqsave(&node->lock, irq);
		block = cursor_next(&cursor);
		if (block) {
			faults += validate_block(block);
			*held += block_bytes(block);
			sums->slots += block->nr_slots;
			sums->free += block->nr_free;
		}
		spin_unlock_irqrestore(&node->lock, irq);
	} while (block);
	cursor_end(&cursor);
	return faults;
}

static size_t stack_held(const struct blockslab_stack *stack)
{
	struct blockslab_magazine *magazine = NULL;
	unsigned int steps = 0;
	size_t held = 0;

	rcu_read_lock();
	while ((magazine = stack_next(stack, magazine, &steps)))
		held += magazine_bytes(magazine->capacity);
	rcu_read_unlock();
	return held;
}

static size_t magazines_held(struct blockslab_node *node)
{
	struct blockslab_magazine *magazine;
	size_t held = 0;
	int cpu;

	rcu_read_lock();
	for_each_possible_cpu(cpu) {
		struct blockslab_cpu *line = node_line(node, cpu);

		magazine = loaded_magazine(line);
		held += magazine ? magazine_bytes(magazine->capacity) : 0;
		magazine = READ_ONCE(line->spare);
		held += magazine ? magazine_bytes(magazine->capacity) : 0;
	}
	rcu_read_unlock();
	return held + stack_held(&node->full) + stack_held(&node->empty);
}

static int validate_sums(struct blockslab_node *node, const struct sums *sums,
			 const struct sums *counted, size_t held)
{
	struct blockslab_class *class = node->class;
	int faults = 0;

	if (sums->slots != counted->slots)
		faults += invalid(class, "slots", node, sums->slots, counted->slots);
	if (sums->free != counted->free)
		faults += invalid(class, "free slots", node, sums->free, counted->free);
	if (sums->allocs - sums->frees != sums_allocated(sums))
		faults += invalid(class, "allocs - frees", node, sums->allocs - sums->frees,
				  sums_allocated(sums));
	if (sums->held != held)
		faults += invalid(class, "held bytes", node, sums->held, held);
	return faults;
}

static bool node_busy(struct blockslab_node *node)
{
	bool busy = atomic_long_read(&node->class->heap->moving);
	int cpu;

	for_each_possible_cpu(cpu)
		busy |= READ_ONCE(node_line(node, cpu)->busy);
	return busy;
}

/* Sums can only be told while nothing moves: what differs then is a fault. */
static int validate_node(struct blockslab_node *node)
{
	unsigned long activity = node_activity(node), charged = atomic_long_read(&node->held);
	bool busy = node_busy(node);
	struct sums counted = {}, sums = {};
	size_t held = magazines_held(node);
	int faults = validate_blocks(node, &held, &counted);

	add_node(&sums, node);
	if (busy || node_busy(node) || activity != node_activity(node) ||
	    charged != atomic_long_read(&node->held))
		return faults;
	return faults + validate_sums(node, &sums, &counted, held);
}

/**
 * blockslab_validate() - check a heap's invariants
 * @heap: to check; NULL for the shared heap
 *
 * Blocks are checked one at a time, under their lock. Sums are checked if nothing was allocated
 * or freed meanwhile. Each fault is printed.
 *
 * Context: process or softirq; not for use in a hot path.
 * Return: the number of faults found.
 */
int blockslab_validate(struct blockslab_heap *heap)
{
	struct blockslab_class *class;
	int nid, faults = 0;
	size_t limit;

	heap = heap_or_shared(heap);
	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list)
		for (nid = 0; nid < nr_node_ids; nid++)
			faults += validate_node(&class->nodes[nid]);
	rcu_read_unlock();
	limit = READ_ONCE(heap->limit);
	if (limit && held_bytes(heap) > limit) {
		pr_err("validate: heap %s holds %zu bytes, over its limit of %zu\n", heap->name,
		       held_bytes(heap), limit);
		faults++;
	}
	return faults;
}
EXPORT_SYMBOL_GPL(blockslab_validate);

/**
 * blockslab_heap_stats() - what a heap holds
 * @heap: NULL for the shared heap
 * @stats: filled in; exact while the heap is at rest
 *
 * Context: any but NMI.
 */
void blockslab_heap_stats(struct blockslab_heap *heap, struct blockslab_heap_stats *stats)
{
	struct blockslab_class *class;
	struct sums sums;

	heap = heap_or_shared(heap);
	memset(stats, 0, sizeof(*stats));
	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list) {
		if (class->of)
			continue;
		class_sums(&sums, class);
		stats->cached += sums.cached * class->size;
		stats->retained += sums.retained_bytes;
		stats->allocated += class->size ? sums_allocated(&sums) * class->size : sums.pages;
	}
	rcu_read_unlock();
	stats->held = held_bytes(heap);
	stats->fixed = READ_ONCE(heap->fixed);
}
EXPORT_SYMBOL_GPL(blockslab_heap_stats);

/* ------------------------------------------------------------------------------------------------
 * Who holds what: live slots that are tracked, by the stack that allocated them
 */

/**
 * struct caller - live slots that one stack allocated; those that were sampled stand for more
 * @stack: that it is
 * @oldest: age of the oldest of them, in milliseconds
 * @slots: how many, in 1/256
 * @requested: bytes asked for, in 1/256
 * @held: bytes of the slots, in 1/256
 * @cpus: that allocated them
 */
struct caller {
	depot_stack_handle_t stack;
	u32 oldest;
	u64 slots;
	u64 requested;
	u64 held;
	unsigned long cpus[];
};

#define NOTES_AT_ONCE	64	/* read under one hold of the lock */

/**
 * struct callers - all callers of a heap
 * @by_stack: struct caller
 * @sorted: the same, those that hold most first
 * @nr: how many
 * @cursor: where reading has got to: the block before which it stands,
 * @block: the one it is in,
 * @number: the next slot,
 * @nr_notes: and what has been read,
 * @notes: copies of notes,
 * @bytes: and of their slots' size
 */
struct callers {
	struct xarray by_stack;
	struct caller **sorted;
	unsigned int nr;
	struct cursor cursor;
	struct blockslab_block *block;
	unsigned int number;
	unsigned int nr_notes;
	struct blockslab_note notes[NOTES_AT_ONCE];
	size_t bytes;
};

/*
 * 1 / (1 - exp(-size / period)), in 1/256: for how many a slot stands that was sampled. By the
 * series 1/x + 1/2 + x/12 - x^3/720 for x up to 1; what is larger is halved first, and then
 * exp(-x) squared as often.
 */
static u64 note_weight(u32 size, u32 period)
{
	const u64 one = 1ULL << 24;
	unsigned int halved = 0;
	u64 x, weight, rest;

	if (period <= 1 || size / 16 >= period)
		return 256;
	if (period / 256 >= size)
		return div_u64((u64)period << 8, size) + 128;
	x = div_u64((u64)size << 24, period);
	for (; x > one; x >>= 1)
		halved++;
	weight = div64_u64(one * one, x) + one / 2 + div_u64(x, 12) -
		 div_u64((x * x >> 24) * x >> 24, 720);
	for (; halved; halved--) {
		rest = one - div64_u64(one * one, weight);
		weight = div64_u64(one * one, one - (rest * rest >> 24));
	}
	return weight >> 16;
}

static struct caller *caller_new(struct callers *callers, depot_stack_handle_t stack)
{
	struct caller *caller;

	caller = kzalloc(struct_size(caller, cpus, BITS_TO_LONGS(nr_cpu_ids)), GFP_KERNEL);
	if (!caller)
		return NULL;
	if (xa_err(xa_store(&callers->by_stack, stack, caller, GFP_KERNEL))) {
		kfree(caller);
		return NULL;
	}
	caller->stack = stack;
	callers->nr++;
	return caller;
}

static int count_note(struct callers *callers, const struct blockslab_note *note)
{
	struct caller *caller = xa_load(&callers->by_stack, note->got);
	u64 weight = note_weight(note->asked, note->period);

	if (!caller)
		caller = caller_new(callers, note->got);
	if (!caller)
		return -ENOMEM;
	caller->oldest = max(caller->oldest, note_age(note->when));
	caller->slots += weight;
	caller->requested += weight * note->asked;
	caller->held += weight * callers->bytes;
	if (note->cpu < nr_cpu_ids)
		__set_bit(note->cpu, caller->cpus);
	return 0;
}

/* Copies a live slot's note, unless it is not tracked. Those who write it hold no lock. */
static void copy_note(struct callers *callers, struct blockslab_block *block)
{
	const struct blockslab_note *note = &block->notes[callers->number];
	struct blockslab_note *copy = &callers->notes[callers->nr_notes];

	copy->period = smp_load_acquire(&note->period);		/* note_alloc() */
	if (!copy->period || slot_is_free(block, callers->number))
		return;
	copy->asked = READ_ONCE(note->asked);
	copy->got = READ_ONCE(note->got);
	copy->when = READ_ONCE(note->when);
	copy->cpu = READ_ONCE(note->cpu);
	callers->nr_notes++;
}

/* Copies some more notes of the cursor's node; false at its end. */
static bool read_notes(struct callers *callers)
{
	struct blockslab_node *node = callers->cursor.node;
	struct blockslab_block *block;
	unsigned int end;
	unsigned long irq;

	callers->nr_notes = 0;
	spin_lock_irqsave(&node->lock, irq);
	block = cursor_last(&callers->cursor, callers->block);
	if (!block || callers->number >= nr_notes(block)) {
		block = cursor_next(&callers->cursor);
		callers->number = 0;
	}
	callers->block = block;
	if (block) {
		callers->bytes = slot_bytes(block);
		end = min_t(unsigned int, callers->number + NOTES_AT_ONCE, nr_notes(block));
		for (; callers->number < end; callers->number++)
			copy_note(callers, block);
	}
	spin_unlock_irqrestore(&node->lock, irq);
	return block;
}

static int count_node(struct callers *callers, struct blockslab_node *node)
{
	unsigned int i;
	int error = 0;

	cursor_start(&callers->cursor, node);
	callers->block = NULL;
	while (!error && read_notes(callers)) {
		for (i = 0; !error && i < callers->nr_notes; i++)
			error = count_note(callers, &callers->notes[i]);
		cond_resched();
	}
	cursor_end(&callers->cursor);
	return error;
}

static int compare_callers(const void *a, const void *b)
{
	const struct caller *x = *(struct caller * const *)a, *y = *(struct caller * const *)b;

	return x->held > y->held ? -1 : x->held < y->held;
}

static int sort_callers(struct callers *callers)
{
	struct caller *caller;
	unsigned long stack;
	unsigned int i = 0;

	callers->sorted = kvmalloc_array(callers->nr, sizeof(*callers->sorted), GFP_KERNEL);
	if (!callers->sorted && callers->nr)
		return -ENOMEM;
	xa_for_each(&callers->by_stack, stack, caller)
		callers->sorted[i++] = caller;
	sort(callers->sorted, callers->nr, sizeof(*callers->sorted), compare_callers, NULL);
	return 0;
}

static void callers_free(struct callers *callers)
{
	struct caller *caller;
	unsigned long stack;

	if (IS_ERR_OR_NULL(callers))
		return;
	xa_for_each(&callers->by_stack, stack, caller)
		kfree(caller);
	xa_destroy(&callers->by_stack);
	kvfree(callers->sorted);
	kfree(callers);
}

/* The callers of a heap, the caller's to free; or an ERR_PTR. May sleep. */
static struct callers *callers_get(struct blockslab_heap *heap)
{
	struct callers *callers = kzalloc(sizeof(*callers), GFP_KERNEL);
	struct blockslab_node *node;
	int error = 0;

	if (!callers)
		return ERR_PTR(-ENOMEM);
	xa_init(&callers->by_stack);
	for (node = node_after(heap, NULL); node && !error; node = node_after(heap, node))
		if (node->class->noted || !node->class->size)
			error = count_node(callers, node);
	if (!error)
		error = sort_callers(callers);
	if (!error)
		return callers;
	callers_free(callers);
	return ERR_PTR(error);
}

#define LEAKY_CLASSES_SHOWN	8
#define LEAKS_SHOWN	4	/* of each class */
#define LEAKERS_SHOWN	4

/* A class's live slots. */
struct leak {
	struct blockslab_class *class;
	unsigned long slots;
	unsigned long bytes;
};

/* The addresses of some live slots of a node; how many. */
static unsigned int find_live(struct blockslab_node *node, void **slots, unsigned int nr)
{
	struct blockslab_block *block;
	unsigned int number, found = 0;
	struct cursor cursor;
	unsigned long irq;

	cursor_start(&cursor, node);
	spin_lock_irqsave(&node->lock, irq);
	while (found < nr && (block = cursor_next(&cursor))) {
		for_each_clear_bit(number, block->map, block->nr_slots) {
			if (found == nr)
				break;
			slots[found++] = slot_address(block, node->class->size, number);
		}
	}
	spin_unlock_irqrestore(&node->lock, irq);
	cursor_end(&cursor);
	return found;
}

static struct leak leak_of(struct blockslab_class *class)
{
	struct leak leak = { .class = class };
	struct sums sums;

	class_sums(&sums, class);
	leak.slots = sums_allocated(&sums);
	leak.bytes = class->size ? leak.slots * class->size : sums.pages;
	return leak;
}

/* Keeps a leak if it is one of the largest, which stand first. */
static void keep_leak(struct leak *leaks, struct leak leak)
{
	unsigned int i;

	for (i = 0; i < LEAKY_CLASSES_SHOWN; i++)
		if (leak.bytes > leaks[i].bytes)
			swap(leak, leaks[i]);
}

static void report_leak(const struct leak *leak)
{
	/* tracked_class_new() */
	struct blockslab_class *tracked = smp_load_acquire(&leak->class->tracked);
	struct blockslab_class *classes[] = { leak->class, tracked };
	unsigned int found = 0, i;
	void *slots[LEAKS_SHOWN];
	int nid;

	if (leak->class->size)
		pr_warn("%lu slots of %u bytes:\n", leak->slots, leak->class->size);
	else
		pr_warn("%lu allocations of whole pages:\n", leak->slots);
	for (i = 0; i < ARRAY_SIZE(classes) && classes[i]; i++)
		for (nid = 0; nid < nr_node_ids; nid++)
			found += find_live(&classes[i]->nodes[nid], slots + found,
					   LEAKS_SHOWN - found);
	for (i = 0; i < found; i++)
		pr_warn("  slot %p\n", slots[i]);
}

/* The stacks that hold most, where anything is tracked. */
static void report_leakers(struct blockslab_heap *heap)
{
	struct callers *callers = callers_get(heap);
	unsigned int i;

	if (IS_ERR(callers))
		return;
	for (i = 0; i < min_t(unsigned int, callers->nr, LEAKERS_SHOWN); i++) {
		const struct caller *caller = callers->sorted[i];

		pr_warn("%llu slots of %llu bytes in all, the oldest %u ms old\n",
			caller->slots >> 8, caller->requested >> 8, caller->oldest);
		print_stack("were allocated by:", caller->stack);
	}
	if (callers->nr > LEAKERS_SHOWN)
		pr_warn("and %u callers more\n", callers->nr - LEAKERS_SHOWN);
	callers_free(callers);
}

/* Says which slots of a heap, of which none is cached, are live, and who allocated most. */
static void report_leaks(struct blockslab_heap *heap)
{
	struct leak leaks[LEAKY_CLASSES_SHOWN] = {}, leak;
	unsigned long slots = 0, bytes = 0;
	struct blockslab_class *class;
	unsigned int nr = 0, i;

	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list) {
		if (class->of)
			continue;
		leak = leak_of(class);
		slots += leak.slots;
		bytes += leak.bytes;
		nr += leak.slots > 0;
		keep_leak(leaks, leak);
	}
	rcu_read_unlock();
	if (!nr)
		return;
	pr_warn("%lu live slots, %lu bytes in all, in %u classes, the largest first:\n", slots,
		bytes, nr);
	for (i = 0; i < min_t(unsigned int, nr, LEAKY_CLASSES_SHOWN); i++)
		report_leak(&leaks[i]);
	if (nr > LEAKY_CLASSES_SHOWN)
		pr_warn("and %u classes more\n", nr - LEAKY_CLASSES_SHOWN);
	report_leakers(heap);
}

/* ------------------------------------------------------------------------------------------------
 * Heaps
 */

static void heap_free(struct work_struct *work)
{
	struct blockslab_heap *heap = container_of(work, struct blockslab_heap, free_work);
	struct blockslab_class *class, *next;

	cancel_delayed_work_sync(&heap->trim);
	synchronize_rcu_expedited();
	reserve_drop(heap);	/* a block of it may have come back since heap_retire() */
	list_for_each_entry_safe(class, next, &heap->classes, list)
		class_free(class);
	xa_destroy(&heap->rare);
	if (heap == &blockslab_shared)
		return;
	kfree(heap);
	module_put(THIS_MODULE);
}

static void heap_init(struct blockslab_heap *heap, const char *name, unsigned long flags,
		      size_t limit)
{
	unsigned int i;

	strscpy(heap->name, name, sizeof(heap->name));
	for (i = 0; i < NR_INDEXES; i++)
		heap->cpu[i] = no_class;
	xa_init_flags(&heap->rare, XA_FLAGS_LOCK_IRQ);
	INIT_LIST_HEAD(&heap->classes);
	INIT_LIST_HEAD(&heap->reserve);
	spin_lock_init(&heap->lock);
	heap->flags = flags;
	heap->exact = flags & EXACT_FLAGS;
	heap->track = !!(flags & BLOCKSLAB_TRACK);
	heap->zone = flags & BLOCKSLAB_RED_ZONE ? RED_ZONE_BYTES : 0;
	heap->limit = limit;
	heap->fixed = sizeof(*heap);
	refcount_set(&heap->refs, 1);
	/* Not deferrable: on an idle CPU that would wait until something else wakes it. */
	INIT_DELAYED_WORK(&heap->trim, heap_trim_work);
	INIT_WORK(&heap->free_work, heap_free);
}

static bool name_possible(const char *name)
{
	size_t i, length = name ? strnlen(name, BLOCKSLAB_NAME_MAX + 1) : 0;

	if (!length || length > BLOCKSLAB_NAME_MAX || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (i = 0; i < length; i++)
		if (name[i] == '/' || !isascii(name[i]) || !isgraph(name[i]))
			return false;
	return true;
}

/* Enters a heap in the list of heaps; -EEXIST for a name that is taken. */
static int heap_enter(struct blockslab_heap *heap)
{
	struct blockslab_heap *pos;
	unsigned long irq;
	int error = 0;

	spin_lock_irqsave(&heaps_lock, irq);
	list_for_each_entry(pos, &heaps, list)
		if (!strcmp(pos->name, heap->name))
			error = -EEXIST;
	if (!error) {
		heap->id = ++last_id;
		list_add_tail(&heap->list, &heaps);
	}
	spin_unlock_irqrestore(&heaps_lock, irq);
	return error;
}

static void heap_leave(struct blockslab_heap *heap)
{
	unsigned long irq;

	spin_lock_irqsave(&heaps_lock, irq);
	list_del_init(&heap->list);	/* next_heap() */
	spin_unlock_irqrestore(&heaps_lock, irq);
}

static struct blockslab_block *reserve_block(void)
{
	size_t bytes = PAGE_SIZE << RESERVE_ORDER;
	struct blockslab_block *block = descriptor_get(bytes / 8, GFP_KERNEL, NUMA_NO_NODE);
	struct page *page;

	if (!block)
		return NULL;
	page = pages_get(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, NUMA_NO_NODE, RESERVE_ORDER);
	if (!page) {
		descriptor_put(block);
		return NULL;
	}
	block->base = page_address(page);
	block->nr_pages = 1U << RESERVE_ORDER;
	block->reserved = true;
	count_pages(block, 1);
	return block;
}

/* Blocks aside, and the largest class, so that no allocation fails for want of a class. */
static int reserve_fill(struct blockslab_heap *heap, size_t reserve)
{
	struct blockslab_block *block;
	size_t bytes;

	if (PFN_UP(reserve) > totalram_pages() / 2)
		return -ENOMEM;
	if (reserve && !class_get(heap, 0, NR_SIZES - 1, GFP_KERNEL))
		return -ENOMEM;
	for (bytes = 0; bytes < reserve; bytes += PAGE_SIZE << RESERVE_ORDER) {
		block = reserve_block();
		if (!block)
			return -ENOMEM;
		list_add(&block->list, &heap->reserve);
		heap->reserved += block->nr_pages * PAGE_SIZE;
		atomic_long_add(block_bytes(block), &heap->held);
		if (heap->limit && held_bytes(heap) > heap->limit)
			return -EINVAL;
	}
	return 0;
}

static void heap_debugfs(struct blockslab_heap *heap);

static int heap_start(struct blockslab_heap *heap, size_t reserve)
{
	int error = reserve_fill(heap, reserve);

	if (!error)
		error = heap_enter(heap);
	if (!error)
		heap_debugfs(heap);
	return error;
}

static struct blockslab_heap *heap_new(const char *name, unsigned long flags, size_t limit,
				       size_t reserve, void (*ctor)(void *object),
				       unsigned long maker)
{
	struct blockslab_heap *heap;
	int error;

	if (!name_possible(name) || (limit && limit < PAGE_SIZE) || (limit && reserve > limit))
		return ERR_PTR(-EINVAL);
	if (!try_module_get(THIS_MODULE))
		return ERR_PTR(-ENODEV);
	heap = meta_alloc(BLOCKSLAB_FAIL_CLASS, sizeof(*heap), GFP_KERNEL, NUMA_NO_NODE);
	if (!heap) {
		module_put(THIS_MODULE);
		return ERR_PTR(-ENOMEM);
	}
	heap_init(heap, name, flags, limit);
	heap->ctor = ctor;
	heap->maker = maker;
	error = heap->track ? stacks_init() : 0;
	if (!error)
		error = heap_start(heap, reserve);
	if (!error)
		return heap;
	reserve_drop(heap);
	heap_put(heap);
	return ERR_PTR(error);
}

static void panic_if_asked(unsigned long flags, const char *name, const void *result)
{
	if (IS_ERR(result) && flags & BLOCKSLAB_PANIC)
		panic("blockslab: %s could not be created: error %ld\n", name, PTR_ERR(result));
}

/**
 * blockslab_heap_create() - create a heap
 * @name: of 1 to BLOCKSLAB_NAME_MAX printable characters, no slash or space; copied
 * @attrs: flags, limit and reserve; NULL for none of them
 *
 * The heap holds a reference on this module until it is destroyed and its last slot is freed.
 *
 * Context: process; may sleep.
 * Return: the heap, which the caller owns until blockslab_heap_destroy(); or an ERR_PTR: -EINVAL
 * for a name, flag, limit (less than a page) or reserve (over the limit) that cannot be, -EEXIST
 * for a name in use, -ENOMEM.
 */
struct blockslab_heap *blockslab_heap_create(const char *name,
					     const struct blockslab_heap_attrs *attrs)
{
	static const struct blockslab_heap_attrs none;
	struct blockslab_heap *heap;

	attrs = attrs ?: &none;
	if (attrs->flags & ~HEAP_FLAGS)
		heap = ERR_PTR(-EINVAL);
	else
		heap = heap_new(name, attrs->flags, attrs->limit, attrs->reserve, NULL, _RET_IP_);
	panic_if_asked(attrs->flags, name, heap);
	return heap;
}
EXPORT_SYMBOL_GPL(blockslab_heap_create);

/*
 * Takes all out of the magazines of a heap that nobody allocates from. What other trims (the
 * timer's, debugfs's, the shrinker's) took out before looks allocated until they have flushed it.
 */
static void heap_trim_last(struct blockslab_heap *heap)
{
	/* No CPU is on its way out, asked no more and not drained by drain_dead_cpu() yet. */
	cpus_read_lock();
	heap_trim(heap, true);
	cpus_read_unlock();
	if (atomic_long_read(&heap->moving))
		synchronize_srcu_expedited(&trims);
}

/* From now on nothing is cached, and a block goes back when its last slot does. */
static void heap_retire(struct blockslab_heap *heap)
{
	unsigned int i;

	debugfs_remove_recursive(heap->dir);
	deferred_finish();
	WRITE_ONCE(heap->dying, true);
	WRITE_ONCE(heap->exact, true);
	for (i = 0; i < NR_INDEXES; i++)
		WRITE_ONCE(heap->cpu[i], no_class);
	cancel_delayed_work_sync(&heap->trim);
	/* A CPU that dies is drained here, or found in the list of heaps by drain_dead_cpu(). */
	cpus_read_lock();
	drain_cpus(heap, ALL_CPUS, INT_MAX);
	heap_leave(heap);
	cpus_read_unlock();
	heap_trim_last(heap);
	reserve_drop(heap);
	if (heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU)
		rcu_barrier();
	if (!atomic_long_read(&heap->nr_blocks))
		return;
	pr_warn("heap %s was destroyed with live slots; they stay valid until they are freed\n",
		heap->name);
	report_leaks(heap);
}

/**
 * blockslab_heap_destroy() - destroy a heap
 * @heap: to destroy; not used any more after that. NULL and error pointers are ignored
 *
 * Slots that are still allocated are reported and stay valid; they can be freed as before, and
 * their blocks go back as they drain. Slots given to blockslab_free_rcu() before are waited for.
 *
 * Context: process; may sleep; not under cpus_read_lock(), which is taken.
 */
void blockslab_heap_destroy(struct blockslab_heap *heap)
{
	if (IS_ERR_OR_NULL(heap))
		return;
	heap_retire(heap);
	heap_put(heap);
	/* A heap without live slots is gone on return, and with it its hold on this module. */
	workers_finish();
}
EXPORT_SYMBOL_GPL(blockslab_heap_destroy);

static void forget_slots(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	unsigned int number;

	if (!IS_ENABLED(CONFIG_DEBUG_KMEMLEAK))
		return;
	for_each_clear_bit(number, block->map, block->nr_slots)
		kmemleak_free(slot_address(block, class->size, number));
}

/* Every slot of a node is free from now on, and every block goes back. How many were allocated. */
static size_t release_node(struct blockslab_node *node)
{
	struct blockslab_block *block, *next;
	size_t released = 0;
	unsigned long irq;
	LIST_HEAD(gone);

	spin_lock_irqsave(&node->lock, irq);
	list_for_each_entry_safe(block, next, &node->all, all) {
		if (!block->nr_slots)
			continue;
		forget_slots(block);
		released += block->nr_slots - block->nr_free;
		block_unlink(block, &gone);
	}
	blockslab_add(node->frees, released);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
	return released;
}

/**
 * blockslab_heap_release() - free every slot of a heap at once
 * @heap: to release; nobody may allocate from it or free into it meanwhile. The shared heap (NULL)
 * cannot be released
 *
 * The heap goes on, empty, with its reserve.
 *
 * Context: process; may sleep; not under cpus_read_lock(), which is taken.
 * Return: the number of slots released.
 */
size_t blockslab_heap_release(struct blockslab_heap *heap)
{
	struct blockslab_class *class;
	size_t released = 0;
	int nid;

	if (IS_ERR_OR_NULL(heap))
		return 0;
	deferred_finish();
	heap_trim_last(heap);
	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list)
		for (nid = 0; nid < nr_node_ids; nid++)
			released += release_node(&class->nodes[nid]);
	rcu_read_unlock();
	return released;
}
EXPORT_SYMBOL_GPL(blockslab_heap_release);

/**
 * blockslab_shrink() - give back what a heap caches and retains
 * @heap: to shrink; NULL for the shared heap
 *
 * Context: process, interrupts on; waits for other CPUs.
 * Return: bytes given back.
 */
size_t blockslab_shrink(struct blockslab_heap *heap)
{
	return heap_trim(heap_or_shared(heap), true);
}
EXPORT_SYMBOL_GPL(blockslab_shrink);

/* ------------------------------------------------------------------------------------------------
 * Caches: heaps of one class
 */

/**
 * struct blockslab_cache - a heap of one class
 * @cpu: of its class; the empty one where the slow path is due
 * @key: of its pages, if the fast path may free what is in them
 * @magic: sum of @key and @first
 * @first: its per-CPU state, sealed
 * @lines: and the length of that, in bytes
 * @canary: offset of the word that tells a cached slot
 * @size: of its objects, as asked for
 * @zeroed: bytes of a slot that are to be zeroed when zeroes are wanted
 * @class: its only one
 * @heap: it is
 */
struct blockslab_cache {
	struct blockslab_cpu __percpu *cpu;
	unsigned long key;
	unsigned long magic;
	unsigned long first;
	unsigned long lines;
	unsigned long canary;
	unsigned int size;
	unsigned int zeroed;
	struct blockslab_class *class;
	struct blockslab_heap *heap;
};

/* Every slot of a block is aligned if the slot size is a multiple of the alignment. */
static int cache_layout(struct blockslab_class *class, size_t size, size_t align,
			const struct blockslab_heap *heap)
{
	size_t room = size + heap->zone;

	align = max_t(size_t, align, ARCH_KMALLOC_MINALIGN);
	if (heap->flags & BLOCKSLAB_HWCACHE_ALIGN)
		align = max_t(size_t, align, cache_line_size());
	if (keeps_content(heap)) {
		room = ALIGN(room, sizeof(long));
		class->canary = room;
		room += sizeof(long);
		class->key = class->key == BLOCKSLAB_KEY_FAST ? KEY_CACHE : class->key;
	}
	room = ALIGN(max_t(size_t, room, 8), align);
	if (room > BLOCKSLAB_SLOT_MAX)
		return -EINVAL;
	class->size = room;
	return 0;
}

/* Where its fast path may go, but for tracking. */
static struct blockslab_cpu __percpu *cache_lines(const struct blockslab_cache *cache)
{
	if (cache->heap->exact || cache->heap->flags & (BLOCKSLAB_ZERO | BLOCKSLAB_ACCOUNT))
		return no_class;
	return cache->class->cpu;
}

/* The fast path counts slots and not bytes, so it is closed while anything is tracked. */
static void cache_publish(struct blockslab_cache *cache)
{
	WRITE_ONCE(cache->cpu, READ_ONCE(cache->heap->track) ? no_class : cache_lines(cache));
}

static int cache_class(struct blockslab_cache *cache, size_t size, size_t align)
{
	struct blockslab_heap *heap = cache->heap;
	struct blockslab_class *class = class_alloc(heap, size, GFP_KERNEL);
	int error, nid;

	if (!class)
		return -ENOMEM;
	error = cache_layout(class, size, align, heap);
	if (error) {
		class_free(class);
		return error;
	}
	class->index = INDEX_CACHE;
	class->asked = size;
	for (nid = 0; nid < nr_node_ids; nid++)
		class->nodes[nid].capacity = capacity_least(class->size);
	list_add_tail_rcu(&class->list, &heap->classes);
	blockslab_add(heap->fixed, class_fixed_bytes() + sizeof(*cache));
	cache->class = class;
	cache->canary = class->canary;
	cache->size = size;
	cache->zeroed = keeps_content(heap) ? 0 : class->size;
	/* KEY_SLOW is nobody's to look for: so every free takes the slow path. */
	cache->key = class->key == KEY_SLOW ? KEY_CACHE : class->key;
	cache->first = seal(class->cpu);
	cache->lines = nr_node_ids * sizeof(struct blockslab_cpu);
	cache->magic = cache->key + cache->first;
	heap->cache = cache;
	cache_publish(cache);
	return 0;
}

static struct blockslab_cache *cache_new(const char *name, size_t size, size_t align,
					 unsigned long flags, void (*ctor)(void *object),
					 unsigned long maker)
{
	struct blockslab_cache *cache;
	int error = -ENOMEM;

	if (flags & ~CACHE_FLAGS || !size || size > BLOCKSLAB_SLOT_MAX ||
	    (align && !is_power_of_2(align)) || align > PAGE_SIZE ||
	    ((ctor || flags & BLOCKSLAB_TYPESAFE_BY_RCU) && flags & BLOCKSLAB_ZERO))
		return ERR_PTR(-EINVAL);
	/* Poison would destroy what the constructor made, or what an RCU reader still looks at. */
	if (ctor || flags & BLOCKSLAB_TYPESAFE_BY_RCU)
		flags &= ~BLOCKSLAB_POISON;
	cache = meta_alloc(BLOCKSLAB_FAIL_CLASS, sizeof(*cache), GFP_KERNEL, NUMA_NO_NODE);
	if (!cache)
		return ERR_PTR(-ENOMEM);
	cache->heap = heap_new(name, flags, 0, 0, ctor, maker);
	if (IS_ERR(cache->heap))
		error = PTR_ERR(cache->heap);
	else
		error = cache_class(cache, size, align);
	if (!error)
		return cache;
	if (!IS_ERR(cache->heap))
		blockslab_heap_destroy(cache->heap);
	kfree(cache);
	return ERR_PTR(error);
}

/**
 * blockslab_cache_create() - create a cache: slots for objects of one kind
 * @name: as for blockslab_heap_create(), with which caches share their names
 * @size: of an object, 1 to BLOCKSLAB_SLOT_MAX bytes
 * @align: of an object: a power of two up to a page and to BLOCKSLAB_SLOT_MAX, or 0 for the natural
 *	alignment of 8
 * @flags: BLOCKSLAB_*
 * @ctor: called for every slot once, when its block is made; or NULL. It must not sleep
 *
 * With @ctor or BLOCKSLAB_TYPESAFE_BY_RCU a free slot keeps its content. With the latter the
 * memory stays an object of this cache for as long as an RCU reader may look at it.
 *
 * Context: process; may sleep.
 * Return: the cache, the caller's until blockslab_cache_destroy(); or an ERR_PTR: -EINVAL for a
 * name, size, alignment or flags that cannot be, -EEXIST for a name in use, -ENOMEM.
 */
struct blockslab_cache *blockslab_cache_create(const char *name, size_t size, size_t align,
					       unsigned long flags, void (*ctor)(void *object))
{
	struct blockslab_cache *cache = cache_new(name, size, align, flags, ctor, _RET_IP_);

	panic_if_asked(flags, name, cache);
	return cache;
}
EXPORT_SYMBOL_GPL(blockslab_cache_create);

/**
 * blockslab_cache_destroy() - destroy a cache
 * @cache: to destroy; NULL and error pointers are ignored
 *
 * Live objects are reported, as by blockslab_heap_destroy(), and can still be freed, by
 * blockslab_free().
 *
 * Context: as blockslab_heap_destroy().
 */
void blockslab_cache_destroy(struct blockslab_cache *cache)
{
	if (IS_ERR_OR_NULL(cache))
		return;
	blockslab_heap_destroy(cache->heap);
	kfree(cache);
}
EXPORT_SYMBOL_GPL(blockslab_cache_destroy);

static noinline void *cache_alloc_slow(struct blockslab_cache *cache, gfp_t gfp,
				       unsigned long caller)
{
	struct blockslab_heap *heap = cache->heap;
	void *slot;

	if (request_plain(cache->size, gfp) &&
	    blockslab_alloc_fast(cache_lines(cache), cache->size, cache->canary, &slot)) {
		after_alloc(heap, slot, cache->size, gfp, caller);
		return slot;
	}
	might_alloc(gfp);
	if (heap->flags & BLOCKSLAB_ZERO)
		gfp |= __GFP_ZERO;
	if (heap->flags & BLOCKSLAB_ACCOUNT)
		gfp |= __GFP_ACCOUNT;
	do {
		slot = alloc_from(&cache->class->nodes[numa_mem_id()], cache->size, gfp, caller);
	} while (!slot && gfp & __GFP_NOFAIL && gfpflags_allow_blocking(gfp) &&
		 (schedule_timeout_uninterruptible(1), true));
	if (slot)
		after_alloc(heap, slot, cache->size, gfp, caller);
	return slot;
}

/* As alloc_rare(). */
static noinline void *cache_alloc_rare(struct blockslab_cache *cache, gfp_t gfp,
				       unsigned long caller)
{
	void *slot;

	if (unlikely(!request_plain(cache->size, gfp) ||
		     !blockslab_alloc_fast(READ_ONCE(cache->cpu), 0, cache->canary, &slot)))
		return cache_alloc_slow(cache, gfp, caller);
	if (alloc_watched())
		return alloc_tell(cache->heap, slot, cache->size, gfp, caller);
	return cache->zeroed && want_init_on_alloc(gfp) ? memset(slot, 0, cache->zeroed) : slot;
}

static __always_inline void *cache_alloc_plain(struct blockslab_cache *cache, gfp_t gfp)
{
	void *slot;

	if (static_branch_unlikely(&blockslab_rare))
		return cache_alloc_rare(cache, gfp, _RET_IP_);
	if (likely(blockslab_alloc_fast(READ_ONCE(cache->cpu), 0, cache->canary, &slot)))
		return slot;
	return cache_alloc_slow(cache, gfp, _RET_IP_);
}

/**
 * blockslab_cache_alloc() - allocate an object
 * @cache: to take it from
 * @gfp: as for kmem_cache_alloc(); __GFP_ZERO has no effect on objects with a constructor
 *
 * Context: as blockslab_alloc().
 * Return: the object, or NULL.
 */
void *blockslab_cache_alloc(struct blockslab_cache *cache, gfp_t gfp)
{
	if (unlikely(gfp & BLOCKSLAB_GFP_SLOW))
		return cache_alloc_rare(cache, gfp, _RET_IP_);
	return cache_alloc_plain(cache, gfp);
}
EXPORT_SYMBOL_GPL(blockslab_cache_alloc);

/* What the inline blockslab_cache_alloc() of the header calls. */
void *blockslab_cache_alloc_plain(struct blockslab_cache *cache, gfp_t gfp)
{
	return cache_alloc_plain(cache, gfp);
}
EXPORT_SYMBOL_GPL(blockslab_cache_alloc_plain);

/**
 * blockslab_cache_heap() - the heap that a cache is
 * @cache: any
 *
 * For blockslab_track(), blockslab_shrink(), blockslab_validate() and blockslab_heap_stats().
 *
 * Context: any.
 * Return: the heap, for as long as the cache lives.
 */
struct blockslab_heap *blockslab_cache_heap(struct blockslab_cache *cache)
{
	return cache->heap;
}
EXPORT_SYMBOL_GPL(blockslab_cache_heap);

/* Whether per-CPU state, sealed and of whatever node, is the cache's. */
static bool in_cache(const struct blockslab_cache *cache, unsigned long sealed)
{
	return sealed - cache->first < cache->lines;
}

static noinline void cache_free_slow(struct blockslab_cache *cache, const void *slot,
				     unsigned long caller)
{
	free_slow(slot, ANY_SIZE, cache->heap, caller);
}

/**
 * blockslab_cache_free() - free an object
 * @cache: it was allocated from; if it was not, that is reported, and the object is not freed
 * @slot: the object, or NULL
 *
 * Context: as blockslab_free().
 */
void blockslab_cache_free(struct blockslab_cache *cache, void *slot)
{
	unsigned long offset = blockslab_offset(slot), mark;
	struct page *page;
	enum blockslab_freed freed;

	if (unlikely(blockslab_beyond(offset)))
		return cache_free_slow(cache, slot, _RET_IP_);
	/* One compare for the key and for the cache, whose lines of all nodes are in a row. */
	page = blockslab_page(offset);
	mark = (unsigned long)page->lru.prev;
	if (unlikely(mark - (unsigned long)page - cache->magic >= cache->lines))
		return cache_free_slow(cache, slot, _RET_IP_);
	freed = blockslab_free_fast(page, blockslab_sealed_word(page), slot, mark,
				    blockslab_word(slot, cache->canary));
	if (unlikely(freed == BLOCKSLAB_NO_ROOM))
		return free_to(blockslab_block_of(page)->node, slot);
	if (unlikely(freed == BLOCKSLAB_DOUBTFUL))
		cache_free_slow(cache, slot, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_cache_free);

/**
 * blockslab_cache_alloc_bulk() - allocate many objects
 * @cache: to take them from
 * @gfp: as for blockslab_cache_alloc()
 * @nr: how many
 * @slots: where their addresses are put
 *
 * Context: as blockslab_alloc().
 * Return: @nr, or 0 and nothing is allocated.
 */
size_t blockslab_cache_alloc_bulk(struct blockslab_cache *cache, gfp_t gfp, size_t nr, void **slots)
{
	size_t got;

	might_alloc(gfp);
	gfp |= cache->heap->flags & BLOCKSLAB_ZERO ? __GFP_ZERO : 0;
	gfp |= cache->heap->flags & BLOCKSLAB_ACCOUNT ? __GFP_ACCOUNT : 0;
	got = alloc_many(cache->class, cache->size, gfp, nr, slots, _RET_IP_);
	bulk_hooks(cache->class, cache->size, gfp, got, slots, _RET_IP_);
	if (got == nr)
		return nr;
	blockslab_cache_free_bulk(cache, got, slots);
	return 0;
}
EXPORT_SYMBOL_GPL(blockslab_cache_alloc_bulk);

/**
 * blockslab_cache_free_bulk() - free many objects
 * @cache: they were allocated from
 * @nr: how many
 * @slots: the objects
 *
 * Context: as blockslab_free().
 */
void blockslab_cache_free_bulk(struct blockslab_cache *cache, size_t nr, void **slots)
{
	unsigned long sealed;
	size_t done = 0;

	while (done < nr) {
		sealed = slot_sealed(slots[done], cache->key);
		if (sealed && in_cache(cache, sealed))
			done += free_run(sealed, nr - done, slots + done, cache->key,
					 cache->canary);
		if (done < nr)
			blockslab_cache_free(cache, slots[done++]);
	}
}
EXPORT_SYMBOL_GPL(blockslab_cache_free_bulk);

/* ------------------------------------------------------------------------------------------------
 * Tracking switched on and off
 */

struct crediting {
	struct blockslab_heap *heap;
	atomic_t missed;
};

static long first_credit(const struct blockslab_heap *heap)
{
	unsigned long track = READ_ONCE(heap->track);

	if (!track)
		return CREDIT;
	return track == 1 ? 0 : draw_credit(track);
}

/* On the CPU itself, in an interrupt. */
static void credit_this_cpu(void *data)
{
	struct crediting *crediting = data;
	struct blockslab_class *class;
	struct blockslab_cpu *line;
	int nid;

	rcu_read_lock();
	list_for_each_entry_rcu(class, &crediting->heap->classes, list) {
		for (nid = 0; nid < nr_node_ids; nid++) {
			line = this_cpu_ptr(class->cpu) + nid;
			if (blockslab_claim(line)) {
				grant(line, first_credit(crediting->heap));
				blockslab_unclaim(line);
			} else {
				atomic_inc(&crediting->missed);
			}
		}
	}
	rcu_read_unlock();
}

static void credit_absent_cpu(struct blockslab_heap *heap, int cpu)
{
	struct blockslab_class *class;
	int nid;

	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list)
		for (nid = 0; nid < nr_node_ids; nid++)
			grant(node_line(&class->nodes[nid], cpu), first_credit(heap));
	rcu_read_unlock();
}

/**
 * blockslab_track() - have a heap remember who allocated its slots
 * @heap: to track; NULL for the shared heap
 * @period: 1 for every allocation from now on, 0 for none, and else, up to 1 GiB (64 MiB on 32-bit
 *	machines), a sample: one of so many bytes on average, which is cheap enough to be left on
 *
 * What debugfs/blockslab/heap/NAME/track does. Slots that are tracked stay so until they are
 * freed. Heaps with BLOCKSLAB_POISON or BLOCKSLAB_RED_ZONE track all or none, and
 * blockslab_alloc_nolock() is never tracked.
 *
 * Context: process; may sleep.
 * Return: 0, -EINVAL for a period that cannot be, or -ENOMEM.
 */
int blockslab_track(struct blockslab_heap *heap, size_t period)
{
	struct crediting crediting = { .heap = heap_or_shared(heap) };
	int cpu, error = period ? stacks_init() : 0;

	heap = crediting.heap;
	if (period > PERIOD_MAX)
		return -EINVAL;
	if (error)
		return error;
	WRITE_ONCE(heap->track, heap->flags & EXACT_FLAGS ? !!period : period);
	if (heap->cache)
		cache_publish(heap->cache);
	cpus_read_lock();
	for_each_possible_cpu(cpu)
		if (!cpu_online(cpu))
			credit_absent_cpu(heap, cpu);
	do {
		atomic_set(&crediting.missed, 0);
		on_each_cpu(credit_this_cpu, &crediting, 1);
	} while (atomic_read(&crediting.missed));
	cpus_read_unlock();
	return 0;
}
EXPORT_SYMBOL_GPL(blockslab_track);

/* ------------------------------------------------------------------------------------------------
 * Shrinker: under memory pressure the largest hoarders give first
 */

static unsigned long shrink_count(struct shrinker *self, struct shrink_control *control)
{
	struct blockslab_heap *heap;
	long bytes = 0;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap))
		bytes += max(atomic_long_read(&heap->hoard), 0L);
	return (bytes / PAGE_SIZE + READ_ONCE(quarantined)) ?: SHRINK_EMPTY;
}

/* The heap that hoards most, but less than @below; with a reference. */
static struct blockslab_heap *largest_hoarder(long below)
{
	struct blockslab_heap *heap, *largest = NULL;
	long most = 0, hoard;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		hoard = atomic_long_read(&heap->hoard);
		if (hoard <= most || hoard >= below)
			continue;
		if (largest)
			heap_put(largest);
		refcount_inc(&heap->refs);
		largest = heap;
		most = hoard;
	}
	return largest;
}

/* Each heap once at most: what it hoards may be in use, and stay where it is. */
static unsigned long shrink_scan(struct shrinker *self, struct shrink_control *control)
{
	bool wait = gfpflags_allow_blocking(control->gfp_mask);
	unsigned long pages = 0;
	long below = LONG_MAX;
	struct blockslab_heap *heap;

	while (pages < control->nr_to_scan) {
		heap = largest_hoarder(below);
		if (!heap)
			break;
		below = atomic_long_read(&heap->hoard);
		pages += heap_trim(heap, wait) / PAGE_SIZE;
		heap_put(heap);
	}
	if (!pages)
		pages = quarantine_trim(0);
	return pages ?: SHRINK_STOP;
}

/* ------------------------------------------------------------------------------------------------
 * debugfs: /sys/kernel/debug/blockslab
 */

static void heap_line(struct seq_file *m, struct blockslab_heap *heap)
{
	unsigned long slots = 0, blocks = 0, requested = 0, given = 0, waste = 0;
	struct blockslab_class *class;
	struct sums sums;

	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list) {
		if (class->of)
			continue;
		class_sums(&sums, class);
		slots += sums_allocated(&sums);
		blocks += sums.full + sums.partial + sums.retained;
		requested += sums.requested;
		given += sums.given;
	}
	rcu_read_unlock();
	if (given > requested)
		waste = div64_u64((u64)(given - requested) * 1000, given);
	seq_printf(m, "%s %zu %zu %zu %lu %lu %lu %lu.%lu\n", heap->name,
		   READ_ONCE(heap->limit), READ_ONCE(heap->reserved), held_bytes(heap), requested,
		   slots, blocks, waste / 10, waste % 10);
}

static int heaps_show(struct seq_file *m, void *unused)
{
	struct blockslab_heap *heap;

	seq_puts(m, "# blockslab version 1\n");
	seq_puts(m, "# name limit reserve held requested slots blocks waste\n");
	for (heap = next_heap(NULL); heap; heap = next_heap(heap))
		heap_line(m, heap);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(heaps);

static void class_line(struct seq_file *m, struct blockslab_class *class)
{
	unsigned int order = class->size ? new_block_order(&class->nodes[numa_mem_id()]) : 0;
	struct sums sums;

	class_sums(&sums, class);
	seq_printf(m, "%u %lu %u %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu\n", class->size,
		   class->size ? (PAGE_SIZE << order) / class->size : 1UL, order,
		   sums.full, sums.partial, sums.retained,
		   sums_allocated(&sums), sums.cached, sums.free,
		   sums.allocs, sums.frees, sums.fails, sums.requested, sums.held);
}

static int classes_show(struct seq_file *m, void *unused)
{
	struct blockslab_heap *heap = m->private;
	struct blockslab_class *class;

	seq_puts(m, "# blockslab version 1\n");
	seq_puts(m, "# size slots_per_block order full partial retained allocated cached free allocs frees fails requested held\n");
	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list)
		if (!class->of)
			class_line(m, class);
	rcu_read_unlock();
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(classes);

/*
 * The files blocks and sparse are read a block at a time: the lock is held for the copy of one
 * descriptor's bitmap. A block that is there throughout is shown once; one that comes or goes
 * meanwhile may be missed.
 */
#define HOLDERS_READ	128	/* slots of a block that are looked at */
#define HOLDERS_SHOWN	4

/* A stack that allocated some of a block's slots. */
struct holder {
	depot_stack_handle_t stack;
	unsigned int slots;
};

struct blocks_reader {
	struct blockslab_heap *heap;
	bool sparse;			/* only blocks under a quarter full, and who holds them */
	unsigned int age;
	unsigned int nr_notes;
	depot_stack_handle_t notes[HOLDERS_READ];
	unsigned int nr_holders;
	struct holder holders[HOLDERS_READ];
	struct cursor cursor;
	loff_t at;			/* of the block shown, 0 for the head line */
	unsigned long *cached;		/* sorted addresses of the node's cached slots */
	unsigned int nr_cached;
	unsigned int nr_slots, order;
	bool done;
	void *base;
	unsigned long map[BITS_TO_LONGS(BLOCK_SLOTS_MAX + 1)];
};

static int compare_addresses(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

	return x < y ? -1 : x > y;
}

static void note_cached(struct blocks_reader *reader, unsigned int room, void **slots,
			unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr && reader->nr_cached < room; i++)
		reader->cached[reader->nr_cached++] = (unsigned long)READ_ONCE(slots[i]);
}

static void note_line(struct blocks_reader *reader, unsigned int room, struct blockslab_cpu *line)
{
	struct blockslab_magazine *magazine = loaded_magazine(line);

	if (magazine)
		note_cached(reader, room, magazine->slots,
			    min_t(unsigned int, READ_ONCE(line->tally) & BLOCKSLAB_COUNT,
				  magazine->capacity));
	magazine = smp_load_acquire(&line->spare);	/* take_in() */
	if (magazine)
		note_cached(reader, room, magazine->slots, READ_ONCE(magazine->count));
}

/* Which slots of a node are in magazines, for the slot maps. */
static void find_cached(struct blocks_reader *reader, struct blockslab_node *node)
{
	struct blockslab_magazine *magazine = NULL;
	unsigned int room, steps = 0;
	struct sums sums = {};
	int cpu;

	add_node(&sums, node);
	kvfree(reader->cached);
	room = sums.cached + 64;
	reader->nr_cached = 0;
	reader->cached = kvmalloc_array(room, sizeof(*reader->cached), GFP_KERNEL);
	if (reader->cached) {
		rcu_read_lock();
		for_each_possible_cpu(cpu)
			note_line(reader, room, node_line(node, cpu));
		while ((magazine = stack_next(&node->full, magazine, &steps)))
			note_cached(reader, room, magazine->slots, READ_ONCE(magazine->count));
		rcu_read_unlock();
		sort(reader->cached, reader->nr_cached, sizeof(*reader->cached),
		     compare_addresses, NULL);
	}
}

static bool reader_is_cached(struct blocks_reader *reader, unsigned long address)
{
	unsigned int low = 0, high = reader->nr_cached;

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (reader->cached[middle] < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < reader->nr_cached && reader->cached[low] == address;
}

/* The age of a block's oldest tracked slot, else its own; and the stacks of tracked slots. */
static void read_notes_of(struct blocks_reader *reader, struct blockslab_block *block)
{
	unsigned int number, left = HOLDERS_READ;
	u32 oldest = 0, when;

	reader->nr_notes = 0;
	for_each_clear_bit(number, block->map, nr_notes(block)) {
		const struct blockslab_note *note = &block->notes[number];

		if (!left--)
			break;
		if (!smp_load_acquire(&note->period))		/* note_alloc() */
			continue;
		when = READ_ONCE(note->when);
		if (!reader->nr_notes || (s32)(when - oldest) < 0)
			oldest = when;
		reader->notes[reader->nr_notes++] = READ_ONCE(note->got);
	}
	reader->age = reader->nr_notes ? note_age(oldest) : block_age(block);
}

static int compare_holders(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	return x->slots > y->slots ? -1 : x->slots < y->slots;
}

/* Each stack once, those with most slots first. */
static void count_holders(struct blocks_reader *reader)
{
	struct holder *holder;
	unsigned int i;

	reader->nr_holders = 0;
	for (i = 0; i < reader->nr_notes; i++) {
		if (!reader->notes[i])
			continue;
		for (holder = reader->holders; holder < reader->holders + reader->nr_holders;
		     holder++)
			if (holder->stack == reader->notes[i])
				break;
		if (holder == reader->holders + reader->nr_holders)
			reader->holders[reader->nr_holders++] =
				(struct holder){ .stack = reader->notes[i] };
		holder->slots++;
	}
	sort(reader->holders, reader->nr_holders, sizeof(*holder), compare_holders, NULL);
}

/* Copies the next block into the reader; false at the end of its node. */
static bool read_block(struct blocks_reader *reader)
{
	struct blockslab_node *node = reader->cursor.node;
	struct blockslab_block *block;
	unsigned long irq;

	spin_lock_irqsave(&node->lock, irq);
	block = cursor_next(&reader->cursor);
	if (block) {
		reader->base = block->base;
		reader->nr_slots = block->nr_slots;
		reader->order = block_order(block);
		bitmap_copy(reader->map, block->map, block->nr_slots);
		if (reader->sparse)
			read_notes_of(reader, block);
	}
	spin_unlock_irqrestore(&node->lock, irq);
	return block;
}

/* Slots of the block that are allocated. */
static unsigned int reader_used(struct blocks_reader *reader)
{
	unsigned int number, used = 0, size = reader->cursor.node->class->size;

	for_each_clear_bit(number, reader->map, reader->nr_slots)
		used += !reader_is_cached(reader, (unsigned long)reader->base + number * size);
	return used;
}

static bool reader_is_sparse(struct blocks_reader *reader)
{
	unsigned int used = reader_used(reader);

	return used && used * 4 < reader->nr_slots;
}

static bool read_next_block(struct blocks_reader *reader)
{
	struct blockslab_node *node = reader->cursor.node;

	if (reader->done)
		return false;
	do {
		while (!node || !read_block(reader)) {
			cursor_end(&reader->cursor);
			node = node_after(reader->heap, node);
			if (!node) {
				reader->done = true;
				return false;
			}
			find_cached(reader, node);
			cursor_start(&reader->cursor, node);
		}
		cond_resched();
	} while (reader->sparse && !reader_is_sparse(reader));
	count_holders(reader);
	reader->at++;
	return true;
}

static void *blocks_start(struct seq_file *m, loff_t *pos)
{
	struct blocks_reader *reader = m->private;

	if (*pos < reader->at || !*pos) {
		cursor_end(&reader->cursor);
		reader->at = 0;
		reader->done = false;
	}
	if (!*pos)
		return SEQ_START_TOKEN;
	while (reader->at < *pos)
		if (!read_next_block(reader))
			return NULL;
	return reader->done ? NULL : reader;
}

static void *blocks_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct blocks_reader *reader = m->private;

	++*pos;
	return read_next_block(reader) ? reader : NULL;
}

static void blocks_stop(struct seq_file *m, void *v)
{
}

/* Frames, innermost first, parted by semicolons; a module's name follows in brackets. */
static void show_frames(struct seq_file *m, depot_stack_handle_t stack)
{
	unsigned int nr = 0, i;
#ifdef CONFIG_STACKDEPOT
	unsigned long *entries;
	char text[KSYM_SYMBOL_LEN], *space;

	if (stack)
		nr = stack_depot_fetch(stack, &entries);
	for (i = 0; i < nr; i++) {
		sprint_symbol(text, entries[i]);
		space = strchr(text, ' ');
		if (space)
			*space = '\0';
		seq_printf(m, "%s%s%s", i ? ";" : "", text, space ? space + 1 : "");
	}
#endif
	if (!nr)
		seq_putc(m, '-');
}

static int sparse_show(struct seq_file *m, struct blocks_reader *reader)
{
	unsigned int i;

	seq_printf(m, "%u %d %u %u/%u %u ", reader->cursor.node->class->size,
		   node_id(reader->cursor.node), reader->order, reader_used(reader),
		   reader->nr_slots, reader->age);
	if (!reader->nr_holders)
		seq_putc(m, '-');
	for (i = 0; i < min_t(unsigned int, reader->nr_holders, HOLDERS_SHOWN); i++) {
		if (i)
			seq_putc(m, ',');
		show_frames(m, reader->holders[i].stack);
	}
	seq_putc(m, '\n');
	return 0;
}

static int blocks_show(struct seq_file *m, void *v)
{
	struct blocks_reader *reader = m->private;
	unsigned int number, size;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "# blockslab version 1\n# class node order used/slots ");
		seq_puts(m, reader->sparse ? "age_ms holders\n" : "map\n");
		return 0;
	}
	if (reader->sparse)
		return sparse_show(m, reader);
	size = reader->cursor.node->class->size;
	seq_printf(m, "%u %d %u %u/%u ", size, node_id(reader->cursor.node), reader->order,
		   reader_used(reader), reader->nr_slots);
	for (number = 0; number < reader->nr_slots; number++) {
		unsigned long address = (unsigned long)reader->base + number * size;

		seq_putc(m, test_bit(number, reader->map) ? '.' :
			    reader_is_cached(reader, address) ? 'c' : '#');
	}
	seq_putc(m, '\n');
	return 0;
}

static const struct seq_operations blocks_sops = {
	.start = blocks_start,
	.next = blocks_next,
	.stop = blocks_stop,
	.show = blocks_show,
};

static int blocks_open(struct inode *inode, struct file *file)
{
	struct blocks_reader *reader = kvzalloc(sizeof(*reader), GFP_KERNEL);
	int error;

	if (!reader)
		return -ENOMEM;
	reader->heap = inode->i_private;
	reader->sparse = !strcmp(file_dentry(file)->d_name.name, "sparse");
	error = seq_open(file, &blocks_sops);
	if (error) {
		kvfree(reader);
		return error;
	}
	refcount_inc(&reader->heap->refs);
	((struct seq_file *)file->private_data)->private = reader;
	return 0;
}

static int blocks_release(struct inode *inode, struct file *file)
{
	struct blocks_reader *reader = ((struct seq_file *)file->private_data)->private;

	cursor_end(&reader->cursor);
	heap_put(reader->heap);
	kvfree(reader->cached);
	kvfree(reader);
	return seq_release(inode, file);
}

static const struct file_operations blocks_fops = {
	.owner = THIS_MODULE,
	.open = blocks_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = blocks_release,
};

/* The file callers is counted when it is opened. */
static void *callers_start(struct seq_file *m, loff_t *pos)
{
	struct callers *callers = m->private;

	if (!*pos)
		return SEQ_START_TOKEN;
	return *pos <= callers->nr ? callers->sorted[*pos - 1] : NULL;
}

static void *callers_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return callers_start(m, pos);
}

static void callers_stop(struct seq_file *m, void *v)
{
}

static int callers_show(struct seq_file *m, void *v)
{
	const struct caller *caller = v;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "# blockslab version 1\n# slots requested held oldest_ms cpus stack\n");
		return 0;
	}
	seq_printf(m, "%llu %llu %llu %u %*pbl ", (caller->slots + 128) >> 8,
		   (caller->requested + 128) >> 8, (caller->held + 128) >> 8, caller->oldest,
		   nr_cpu_ids, caller->cpus);
	show_frames(m, caller->stack);
	seq_putc(m, '\n');
	return 0;
}

static const struct seq_operations callers_sops = {
	.start = callers_start,
	.next = callers_next,
	.stop = callers_stop,
	.show = callers_show,
};

static int callers_open(struct inode *inode, struct file *file)
{
	struct callers *callers = callers_get(inode->i_private);
	int error;

	if (IS_ERR(callers))
		return PTR_ERR(callers);
	error = seq_open(file, &callers_sops);
	if (error)
		callers_free(callers);
	else
		((struct seq_file *)file->private_data)->private = callers;
	return error;
}

static int callers_release(struct inode *inode, struct file *file)
{
	callers_free(((struct seq_file *)file->private_data)->private);
	return seq_release(inode, file);
}

static const struct file_operations callers_fops = {
	.owner = THIS_MODULE,
	.open = callers_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = callers_release,
};

static int limit_get(void *data, u64 *value)
{
	struct blockslab_heap *heap = data;

	*value = READ_ONCE(heap->limit);
	return 0;
}

/* A limit below what is held even after a trim is refused: the limit is never passed. */
static int limit_set(void *data, u64 value)
{
	struct blockslab_heap *heap = data;
	size_t limit = READ_ONCE(heap->limit);

	if ((value && value < PAGE_SIZE) || value > LONG_MAX)
		return -EINVAL;
	if (value && value < held_bytes(heap))
		heap_trim(heap, true);
	WRITE_ONCE(heap->limit, value);
	smp_mb();	/* heap_charge_bytes() adds, and then looks at the limit */
	if (!value || held_bytes(heap) <= value)
		return 0;
	WRITE_ONCE(heap->limit, limit);
	return -EBUSY;
}
DEFINE_DEBUGFS_ATTRIBUTE(limit_fops, limit_get, limit_set, "%llu\n");

static int shrink_get(void *data, u64 *value)
{
	*value = READ_ONCE(((struct blockslab_heap *)data)->shrunk);
	return 0;
}

static int shrink_set(void *data, u64 value)
{
	struct blockslab_heap *heap = data;

	if (value != 1)
		return -EINVAL;
	WRITE_ONCE(heap->shrunk, heap_trim(heap, true));
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(shrink_fops, shrink_get, shrink_set, "%llu\n");

static int validate_get(void *data, u64 *value)
{
	*value = READ_ONCE(((struct blockslab_heap *)data)->validated);
	return 0;
}

static int validate_set(void *data, u64 value)
{
	struct blockslab_heap *heap = data;

	if (value != 1)
		return -EINVAL;
	WRITE_ONCE(heap->validated, blockslab_validate(heap));
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(validate_fops, validate_get, validate_set, "%llu\n");

static int track_get(void *data, u64 *value)
{
	*value = READ_ONCE(((struct blockslab_heap *)data)->track);
	return 0;
}

static int track_set(void *data, u64 value)
{
	return blockslab_track(data, min_t(u64, value, SIZE_MAX));
}
DEFINE_DEBUGFS_ATTRIBUTE(track_fops, track_get, track_set, "%llu\n");

/* Without debugfs the heap works, unseen. */
static void heap_debugfs(struct blockslab_heap *heap)
{
	heap->dir = debugfs_create_dir(heap->name, debugfs_heaps);
	debugfs_create_file("classes", 0400, heap->dir, heap, &classes_fops);
	debugfs_create_file("blocks", 0400, heap->dir, heap, &blocks_fops);
	debugfs_create_file("sparse", 0400, heap->dir, heap, &blocks_fops);
	debugfs_create_file("callers", 0400, heap->dir, heap, &callers_fops);
	debugfs_create_file_unsafe("track", 0600, heap->dir, heap, &track_fops);
	debugfs_create_file_unsafe("limit", 0600, heap->dir, heap, &limit_fops);
	debugfs_create_file_unsafe("shrink", 0600, heap->dir, heap, &shrink_fops);
	debugfs_create_file_unsafe("validate", 0600, heap->dir, heap, &validate_fops);
}

/* ------------------------------------------------------------------------------------------------
 * Module
 */

/* Finds the longest row of struct pages that stand for lowmem without a hole. */
static void __init span_find(void)
{
	unsigned long pfn, step = IS_ENABLED(CONFIG_SPARSEMEM) ? 512 : 1, size = 0;
	struct page *first = NULL;
	int nid;

	for_each_online_node(nid) {
		/* Struct pages come 512 at least at a time, also for a memory's odd end. */
		for (pfn = ALIGN_DOWN(node_start_pfn(nid), step); pfn < node_end_pfn(nid);
		     pfn += step) {
			if (!pfn_valid(pfn) || !virt_addr_valid(__va(PFN_PHYS(pfn))))
				continue;
			if (!first || pfn_to_page(pfn) != first + (size >> PAGE_SHIFT) ||
			    __va(PFN_PHYS(pfn)) != page_address(first) + size) {
				first = pfn_to_page(pfn);
				size = 0;
			}
			size += step << PAGE_SHIFT;
			if (size <= blockslab_span.size)
				continue;
			blockslab_span.base = (unsigned long)page_address(first);
			blockslab_span.size = size;
			blockslab_span.page = first;
		}
	}
}

/* Struct pages may go with their memory: from then on every address is looked at the slow way. */
static int memory_going(struct notifier_block *self, unsigned long action, void *data)
{
	if (action == MEM_GOING_OFFLINE) {
		WRITE_ONCE(blockslab_span.size, 0);
		follow_keys();
	}
	return NOTIFY_OK;
}

static struct notifier_block memory_notifier = { .notifier_call = memory_going };

#ifdef CONFIG_MODULES
static void report_forgotten(struct module *module)
{
	struct blockslab_heap *heap;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		if (!heap->maker || !within_module(heap->maker, module))
			continue;
		pr_warn("module %s was unloaded and left heap %s behind; its slots stay valid\n",
			module->name, heap->name);
		heap_trim(heap, true);
		report_leaks(heap);
	}
}

/* What the shared heap only cached for a module that is gone shall not keep this one loaded. */
static int module_going(struct notifier_block *self, unsigned long action, void *data)
{
	if (action != MODULE_STATE_GOING)
		return NOTIFY_OK;
	workers_finish();	/* heaps whose last slot it freed are gone with it */
	report_forgotten(data);
	if (atomic_long_read(&blockslab_shared.nr_blocks))
		heap_trim(&blockslab_shared, true);
	return NOTIFY_OK;
}

static struct notifier_block module_notifier = { .notifier_call = module_going };

static void module_watch(bool on)
{
	if (on)
		register_module_notifier(&module_notifier);
	else
		unregister_module_notifier(&module_notifier);
}
#else
static void module_watch(bool on)
{
}
#endif

static void __init sizes_init(void)
{
	unsigned int i, step, index = 0, size = 0;

	for (i = 0; i < NR_SIZES; i++) {
		step = i < BLOCKSLAB_NR_STEPS ? 8 :
		       32 << (i - BLOCKSLAB_NR_STEPS) / BLOCKSLAB_STEPS_PER_DOUBLING;
		size += step;
		index_size[i] = size;
	}
	blockslab_size_index[0] = INDEX_SLOW;
	for (i = 1; i < ARRAY_SIZE(blockslab_size_index); i++) {
		while (index_size[index] < i || index_size[index] % ARCH_KMALLOC_MINALIGN)
			index++;
		blockslab_size_index[i] = index;
	}
	static_assert(NR_INDEXES <= INDEX_CACHE);
	max_order = clamp_t(unsigned int, max_order, RESERVE_ORDER, BLOCK_ORDER_MAX);
}

static void __init bit_order_init(void)
{
	unsigned int i, other;

	for (i = 0; i < BITS_PER_LONG; i++) {
		other = get_random_u32() % (i + 1);
		bit_order[i] = bit_order[other];
		bit_order[other] = i;
	}
}

static void __init cpus_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		home_this_cpu(cpu);
		prandom_seed_state(per_cpu_ptr(&credit_random, cpu), get_random_u64());
		spin_lock_init(&per_cpu_ptr(&rcu_cpus, cpu)->lock);
	}
}

static int __init shrinker_init(void)
{
	shrinker = shrinker_alloc(0, "blockslab");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = shrink_count;
	shrinker->scan_objects = shrink_scan;
	shrinker->seeks = DEFAULT_SEEKS;
	shrinker_register(shrinker);
	return 0;
}

static int cpu_states[2];

/* A CPU that is gone leaves its magazines; one that comes may have another node. */
static int __init hotplug_init(void)
{
	cpu_states[0] = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "blockslab:dead", NULL,
						  drain_dead_cpu);
	if (cpu_states[0] < 0)
		return cpu_states[0];
	cpu_states[1] = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "blockslab:online",
						  home_this_cpu, NULL);
	if (cpu_states[1] < 0)
		cpuhp_remove_state_nocalls(cpu_states[0]);
	return min(cpu_states[1], 0);
}

static void caches_destroy(void)
{
	kmem_cache_destroy(class_cache);
	kmem_cache_destroy(block_cache);
}

static bool __init caches_init(void)
{
	block_cache = kmem_cache_create("blockslab_block", descriptor_bytes(1), 0, 0, NULL);
	class_cache = kmem_cache_create("blockslab_class", class_bytes(), 0, 0, NULL);
	if (block_cache && class_cache)
		return true;
	caches_destroy();
	return false;
}

static void debugfs_init(void)
{
	debugfs_dir = debugfs_create_dir("blockslab", NULL);
	debugfs_create_file("heaps", 0400, debugfs_dir, NULL, &heaps_fops);
	debugfs_heaps = debugfs_create_dir("heap", debugfs_dir);
	fail_debugfs(debugfs_dir);
}

static int __init blockslab_init(void)
{
	int error = -ENOMEM;

	blockslab_span.secret = get_random_long() << 1;
	span_find();
	sizes_init();
	bit_order_init();
	cpus_init();
	no_class = __alloc_percpu(nr_node_ids * sizeof(struct blockslab_cpu), SMP_CACHE_BYTES);
	if (!no_class)
		return -ENOMEM;
	if (!caches_init())
		goto no_caches;
	workqueue = alloc_workqueue("blockslab", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!workqueue)
		goto no_workqueue;
	if (shrinker_init())
		goto no_shrinker;
	error = hotplug_init();
	if (error)
		goto no_hotplug;
	debugfs_init();
	heap_init(&blockslab_shared, "shared", 0, 0);
	heap_enter(&blockslab_shared);
	heap_debugfs(&blockslab_shared);
	module_watch(true);
	register_memory_notifier(&memory_notifier);
	if (RARE_ALWAYS || want_init_on_alloc(0))
		static_branch_inc(&blockslab_rare);
	if (RARE_ALWAYS || want_init_on_free())
		static_branch_inc(&rare_free);
	follow_keys();
	pr_info("version %s: %u size classes to %u bytes, %lu MiB of memory in reach of the fast path\n",
		BLOCKSLAB_VERSION, NR_SIZES, BLOCKSLAB_SLOT_MAX, blockslab_span.size >> 20);
	return 0;

no_hotplug:
	shrinker_free(shrinker);
no_shrinker:
	destroy_workqueue(workqueue);
no_workqueue:
	caches_destroy();
no_caches:
	free_percpu(no_class);
	return error;
}

/* No module uses this one any more, no heap is left, and the shared heap has no live slot. */
static void __exit blockslab_exit(void)
{
	unregister_memory_notifier(&memory_notifier);
	module_watch(false);
	heap_retire(&blockslab_shared);
	heap_put(&blockslab_shared);
	debugfs_remove_recursive(debugfs_dir);
	cpuhp_remove_state_nocalls(cpu_states[1]);
	cpuhp_remove_state_nocalls(cpu_states[0]);
	shrinker_free(shrinker);
	cancel_delayed_work_sync(&rcu_send_work);
	rcu_barrier();
	irq_work_sync(&deferred_irq);
	destroy_workqueue(workqueue);
	rcu_barrier();
	quarantine_trim(0);
	caches_destroy();
	free_percpu(no_class);
}

module_init(blockslab_init);
module_exit(blockslab_exit);
MODULE_DESCRIPTION("Small memory from page-backed blocks, each dedicated to one size class");
MODULE_VERSION(BLOCKSLAB_VERSION);
MODULE_LICENSE("GPL");
