/* SPDX-License-Identifier: GPL-2.0 */
/*
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

static_assert(MAX_PAGE_ORDER < 16);	/* nr_pages */
static_assert(PAGE_SIZE <= 8 * BLOCK_SLOTS_MAX);	/* the smallest slots, in one page */
static_assert(BLOCK_UNLISTED < 8);	/* state */

/* For how many periods of the trim something stood still, and what it stood at. */
struct blockslab_quiet {
	unsigned long activity;
	unsigned int periods;
};

/**
 * struct blockslab_retention - how many are kept of what was returned and may be taken again
 * @keep: so many; grows with how many were given back and missed later
 * @given_back: and not missed yet
 * @least: fewest there during this round
 * @turns: from taking to returning, see round_ends()
 * @told: bytes that are kept, as the heap was told last
 */
struct blockslab_retention {
	unsigned int keep;
	unsigned int given_back;
	unsigned int least;
	unsigned int turns;
	long told;
};

/**
 * struct blockslab_depot - magazines with slots, and what is kept in mind of them
 * @full: the magazines
 * @retention: of these, counted in slots, but for @least
 *
 * All of it is near enough: no lock guards it.
 */
struct blockslab_depot {
	struct blockslab_stack full;
	struct blockslab_retention retention;
} ____cacheline_aligned_in_smp;

/**
 * struct blockslab_node - a class on one NUMA node
 * @class: of which it is a part
 * @lock: guards the blocks and all that follows up to @turns
 * @blocks: by state
 * @all: every block, the oldest first
 * @places: of those who walk over @all: struct place
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
 * @retention: of empty blocks
 * @use: how long nothing was allocated or freed
 * @stock: how long nothing passed through the depot and the blocks; the trim alone sees to both
 * @held: bytes of blocks, descriptors and magazines
 * @magazine_slots: that all its magazines have room for
 * @capacity: of the next new magazine; grows while the depot is busy
 * @full: the depot's magazines with slots; with all that is written when CPUs trade them. No lock
 *	guards it: it is near enough
 * @empty: the depot's magazines without
 */
struct blockslab_node {
	struct blockslab_class *class;
	unsigned int capacity;
	spinlock_t lock;	/* blocks, and what is said of them */
	struct list_head blocks[NR_BLOCK_STATES];
	struct list_head all;
	struct list_head places;
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
	struct blockslab_retention retention;
	struct blockslab_quiet use;
	struct blockslab_quiet stock;
	atomic_long_t held;
	atomic_long_t magazine_slots;

	struct blockslab_depot depot;
	struct blockslab_stack empty ____cacheline_aligned_in_smp;
};

/**
 * struct place - where somebody has got to in node->all who lets go of the lock in between
 * @list: in node->places
 * @node: whose blocks these are; NULL before the start and after the end
 * @next: the block that comes next
 * @last: the last one that is to come: those that are newer are not seen, so that it ends
 * @block: the one that place_next() returned last, NULL once that is gone
 *
 * node->lock guards all of them.
 */
struct place {
	struct list_head list;
	struct blockslab_node *node;
	struct list_head *next;
	struct list_head *last;
	struct blockslab_block *block;
};

/**
 * struct blockslab_class - a size class of a heap
 * @cpu: per CPU, one line a node; no_class where lines were not to be had, until lines_work
 * @heap: it belongs to
 * @size: of its slots, in bytes; 0 for whole pages
 * @asked: of a cache's objects, as asked for; else 0
 * @canary: offset of the word that tells a cached slot
 * @index: among the sizes
 * @kind: GFP bits that all its pages are asked with, besides those of the request
 * @key: of its pages
 * @noted: its blocks have notes, and its slots are never cached
 * @stands_in: a smaller class that could not be made, or a slot that could not shrink, is served
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
	bool stands_in;
	struct blockslab_class *tracked;
	struct blockslab_class *of;
	struct list_head list;
	struct blockslab_node nodes[];
};

/*
 * What a heap is. The values are none that other memory is likely to have in their place.
 *
 *	HEAP_LIVE	heap_init() makes it so
 *	HEAP_DEBUG	the same, with EXACT_FLAGS: every slot's state is in its block, none cached
 *	HEAP_DESTROYED	heap_end(), from one of these, once: nothing is given out or cached any
 *			more, and blocks go back as they drain; so it stays in the list of heaps
 *	HEAP_FORGOTTEN	heap_forget(), from that: it does not keep this module loaded any more
 *	HEAP_GONE	heap_free(), from one of these two, after the last slot: only its memory is
 *			left, for a while, so that who uses it all the same is told
 */
enum heap_state {
	HEAP_LIVE = 0x6c697665,
	HEAP_DEBUG = 0x64656267,
	HEAP_DESTROYED = 0x64656164,
	HEAP_FORGOTTEN = 0x6c6f7374,
	HEAP_GONE = 0x676f6e65,
};

#define HEAP_ENDING	21	/* bytes of a dot and a number */

/**
 * struct blockslab_heap - an isolated set of classes
 * @cpu: by size index: the class's per-CPU state, or the empty one that leads to the slow path
 * @class: by size index: the class, NULL until it is first used
 * @rare: classes of rare GFP kinds, by kind and index
 * @classes: all of them
 * @flags: BLOCKSLAB_*
 * @state: what it is
 * @zone: bytes added to every request for the red zone
 * @ctor: of a cache's slots
 * @cache: it is the heap of, or NULL
 * @window_start: where in a cache's objects copies to and from user space may begin
 * @window_size: and how many bytes are theirs
 * @track: one of so many bytes is tracked; 1 for all, 0 for none
 * @module: that made it; NULL for the kernel's own code, and once it is gone
 * @maker: its name
 * @control: guards @limit, @track, @validated, @shrunk, and what becomes of it
 * @lock: guards @fixed, @reserve, @reserved, and that a class is made once
 * @fixed: bytes of structures that do not count against the limit
 * @reserve: blocks kept for when pages are not to be had
 * @reserved: bytes of their pages
 * @limit: most bytes it may hold
 * @held: bytes it holds
 * @nr_blocks: blocks and large allocations
 * @moving: blocks that are charged, but on no list at the moment, and trims under way
 * @kept: about how many bytes of empty blocks and of slots in depots there are; see overstocked()
 * @reclaimed: jiffies when a refused allocation trimmed it last
 * @allowance: bytes that it may keep beyond what any may, see heap_missed()
 * @trim: gives back what is not used
 * @armed: @trim is pending
 * @refs: one for the owner, one for each block, one for each reader
 * @free_work: ends it after the last reference
 * @rcu: frees it when nobody looks at it any more
 * @id: ever rising; the order in heaps
 * @list: in heaps, or in graves (heaps_lock)
 * @dir: in debugfs (heap_names)
 * @renamed: its name is another's now, and an ending was added to it (heap_names)
 * @validated: last result of the debugfs file validate
 * @shrunk: last result of the debugfs file shrink
 * @name: of the heap, with room for an ending
 */
struct blockslab_heap {
	struct blockslab_cpu __percpu *cpu[NR_INDEXES];	/* first: struct blockslab_heap_cpus */
	struct blockslab_class *class[NR_INDEXES];
	struct xarray rare;
	struct list_head classes;
	unsigned long flags;
	enum heap_state state;
	unsigned int zone;
	void (*ctor)(void *object);
	struct blockslab_cache *cache;
	u16 window_start;
	u16 window_size;
	unsigned long track;
	struct module *module;
	char maker[MODULE_NAME_LEN];
	struct mutex control;	/* see above */

	spinlock_t lock;	/* fixed, reserve, and that a class is made once */
	size_t fixed;
	struct list_head reserve;
	size_t reserved;
	size_t limit;
	atomic_long_t held;
	atomic_long_t nr_blocks;
	atomic_long_t moving;
	atomic_long_t kept;
	unsigned long allowance;

	unsigned long reclaimed;
	struct delayed_work trim;
	bool armed;

	refcount_t refs;
	struct work_struct free_work;
	struct rcu_head rcu;
	u64 id;
	struct list_head list;
	struct dentry *dir;
	bool renamed;
	int validated;
	size_t shrunk;
	char name[BLOCKSLAB_NAME_MAX + 1 + HEAP_ENDING];
};

static_assert(offsetof(struct blockslab_heap, cpu) == 0);

/* Slots may lie in its magazines; else their blocks alone know their state. */
static bool heap_caches(const struct blockslab_heap *heap)
{
	return READ_ONCE(heap->state) == HEAP_LIVE;
}

static bool heap_destroyed(const struct blockslab_heap *heap)
{
	enum heap_state state = READ_ONCE(heap->state);

	return state != HEAP_LIVE && state != HEAP_DEBUG;
}

/**
 * struct blockslab_cache - a heap of one class
 * @cpu: of its class; the empty one where the slow path is due
 * @key: of its pages, if the fast path may free what is in them
 * @keyed: sum of @key and @first
 * @first: its lines: what its pages name is these, or another node's behind them
 * @bytes: of all of them
 * @canary: offset of the word that tells a cached slot
 * @size: of its objects, as asked for
 * @zeroed: bytes of a slot that are to be zeroed when zeroes are wanted
 * @class: its only one
 * @heap: it is
 */
struct blockslab_cache {
	struct blockslab_cpu __percpu *cpu;
	unsigned long key;
	unsigned long keyed;
	unsigned long first;
	unsigned long bytes;
	unsigned long canary;
	unsigned int size;
	unsigned int zeroed;
	struct blockslab_class *class;
	struct blockslab_heap *heap;
};

/* Index of the class that serves a size. */
u8 blockslab_size_index[BLOCKSLAB_SLOT_MAX + 1] __ro_after_init;
EXPORT_SYMBOL_GPL(blockslab_size_index);
static u16 index_size[NR_SIZES] __ro_after_init;

/* This CPU's per-CPU offset, plus the offset of its own node's line in a class's per-CPU state. */
DEFINE_PER_CPU(unsigned long, blockslab_home);
EXPORT_PER_CPU_SYMBOL_GPL(blockslab_home);
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
static LIST_HEAD(graves);		/* heaps that are gone, the latest ones */
static unsigned int nr_graves;
static DEFINE_SPINLOCK(heaps_lock);	/* heaps, graves, and each heap's way from there to here */
static DEFINE_MUTEX(heap_names);	/* names, and debugfs, which follows them */
static u64 last_id;			/* heaps_lock */
static struct workqueue_struct *workqueue;
/* Of sizes that kmalloc() would round up by a third: most descriptors, and all classes. */
static struct kmem_cache *block_cache, *class_cache;
static struct shrinker *shrinker;
static struct dentry *debugfs_dir, *debugfs_heaps;
