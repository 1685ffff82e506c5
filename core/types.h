/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Data
 */

struct blockslab_node;
struct blockslab_class;

/* An array of cached slots, all of one class and node */
struct blockslab_magazine {
	struct blockslab_magazine *below;	/* in its list: the store's, or that of a drain */
	union {
		struct blockslab_node *node;	/* whose slots these are */
		struct rcu_head rcu;		/* of its end: others may still look */
	};
	u8 count;				/* slots in it, while it is not loaded */
	u8 capacity;				/* room in @slots */
	u8 filled;				/* slots that were in it as it was loaded, */
	u8 allocs;				/* and of the line until then, modulo 256 */
	void *slots[];				/* the last in is the first out */
};

static_assert(MAGAZINE_SLOTS_MAX <= U8_MAX);
static_assert(offsetof(struct blockslab_magazine, slots) == 4 * sizeof(void *));

static_assert(sizeof(struct blockslab_cpu) == SMP_CACHE_BYTES || SMP_CACHE_BYTES < 64);

/* What is remembered of a slot beside its block */
struct blockslab_note {
	u32 asked;	/* bytes asked for */
	u32 period;	/* of tracking, when this slot was tracked; 0 if it is not */
	depot_stack_handle_t got;	/* stack of its allocation, 0 for none */
	depot_stack_handle_t gone;	/* stack of its last free, 0 for none */
	u32 when;	/* time of its allocation, by note_clock(); 0 if it never was tracked */
	u32 gone_when;			/* of its last free */
	u16 cpu;			/* that allocated it */
	u16 gone_cpu;			/* that freed it last */
	u32 state;			/* if it is watched: enum watch_state */
};

/* What a watched slot is. */
enum watch_state {
	WATCH_LIVE,	/* its owner has it */
	WATCH_TOLD,	/* the same, and that somebody wrote beside it has been told */
	WATCH_BUSY,	/* on its way: who set this from another state may change it */
	WATCH_KEPT,	/* freed, or never used; in its block, or kept out of it for a while */
	WATCH_BAD,	/* freed, and written to: never given out again */
	WATCH_LOST,	/* the same, or freed and written beside, and not kept any more */
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

/* What block->queued says of a block with marks. Changed by atomic operations alone. */
enum block_queued {
	BLOCK_QUEUED = 1,	/* defer_free(): it is in deferred_blocks, and stays as it is */
	BLOCK_LEFT,		/* block_close(), from that: it is empty, the worker is to put it */
	BLOCK_GONE,		/* block_close(), from 0: it may not be queued any more */
};

/* For how many periods of the trim something stood still, and what it stood at. */
struct blockslab_quiet {
	unsigned long activity;
	unsigned int periods;
};

/* How many are kept of what was returned and may be taken again */
struct blockslab_retention {
	unsigned int keep;		/* so many; grows by those given back and missed later */
	unsigned int given_back;	/* and not missed yet */
	unsigned int least;		/* fewest there during this round */
	unsigned int turns;		/* from taking to returning, see round_ends() */
	long told;			/* bytes that are kept, as the heap was told last */
};

#define SHELF		5	/* places for magazines that CPUs trade: each 0, or one of these */
#define SHELF_SLOTS	1UL	/* with slots, added to its address */
#define SHELF_CLOSED	2UL	/* never changed again */
#define SHELF_BITS	(SHELF_SLOTS | SHELF_CLOSED)

/* What every trade uses of a node: one cache line. No lock guards it */
struct blockslab_depot {
	unsigned long shelf[SHELF];		/* changed by compare-and-exchange alone */
	struct blockslab_retention retention;	/* of slots, but for @least; near enough */
} ____cacheline_aligned_in_smp;

#define IN_HAND		0xffff

/* A class on one NUMA node */
struct blockslab_node {
	struct blockslab_class *class;		/* of which it is a part */
	unsigned int capacity;			/* of the next magazine; grows with trades */
	u32 looked;				/* jiffies, then: see magazines_look() */
	u32 lacking;				/* jiffies when it had no pages: own_pages() */
	u8 returns;				/* to it as it rests, since it was looked at */
	spinlock_t lock;			/* guards what follows up to @retention */
	struct hlist_head blocks[NR_BLOCK_STATES];	/* by state */
	struct blockslab_block *hand;	/* stays on its list whatever its slots; or NULL */
	struct list_head all;			/* every block, the oldest first */
	struct list_head places;		/* struct place: walks over @all */
	unsigned int nr[NR_BLOCK_STATES];	/* blocks by state */
	unsigned long nr_slots;			/* slots of all blocks */
	unsigned long nr_free;			/* free slots of all blocks */
	unsigned long pages;			/* bytes of all blocks */
	u32 seed;				/* of the order in which slots are taken */
	unsigned long retained;			/* bytes of the empty ones */
	unsigned long waiting;	/* watched slots that were freed, and are kept */
	unsigned long aside;	/* of whole pages: their bytes, and pages around */
	unsigned long allocs;			/* that went past the magazines */
	unsigned long frees;			/* the same */
	unsigned long requested;		/* bytes asked for by these @allocs */
	unsigned long given;	/* of whole pages: bytes of what @requested got */
	unsigned long fails;			/* allocations that failed */
	struct blockslab_magazine *store[2];	/* without slots, and with; by @below */
	unsigned int stored[2];			/* so many */
	struct blockslab_retention retention;	/* of empty blocks, in eight bytes */
	unsigned int refused;	/* of these, for want of room in the heap: heap_missed() */
	struct blockslab_quiet use;		/* without an allocation or a free */
	struct blockslab_quiet stock;		/* with nothing through depot and blocks */
	atomic_long_t held;			/* bytes: blocks, descriptors, magazines */
	/* Those who have slots in hand that lie nowhere, and above IN_HAND how many did so far. */
	atomic_t in_hand;
	atomic_long_t magazine_slots;		/* that all its magazines have room for */

	struct blockslab_depot depot;
};

/*
 * Where somebody has got to in node->all who lets go of its lock in between, which guards these.
 * The newest blocks come first: what comes meanwhile is not seen, so that it ends.
 */
struct place {
	struct list_head list;		/* in node->places */
	struct blockslab_node *node;	/* whose; NULL before the start and after the end */
	struct list_head *next;		/* the block that comes next */
	struct blockslab_block *block;	/* that place_next() returned last, NULL once gone */
};

/* A size class of a heap */
struct blockslab_class {
	struct blockslab_cpu __percpu *cpu;	/* a line a node; or no_class, until lines_work */
	struct blockslab_heap *heap;	/* it belongs to */
	unsigned int size;	/* of its slots, with what is around watched ones; 0: whole pages */
	unsigned int lead;		/* bytes before the first slot of its blocks */
	unsigned int asked;		/* of a cache's objects, as asked for; else 0 */
	unsigned int canary;		/* offset of the word that tells a cached slot */
	unsigned int index;		/* among the sizes */
	gfp_t kind;	/* GFP bits of all its pages, besides a request's; or KIND_COARSE */
	unsigned long key;		/* of its pages */
	bool noted;			/* blocks have notes or @usable, slots are not cached */
	bool rests;			/* it is hardly used (heap->lock): class_rest() */
	u8 slow;			/* periods of the trim for which it was so */
	struct blockslab_class *tracked;	/* has its tracked slots; or NULL */
	struct blockslab_class *of;	/* the class whose tracked slots it has, or NULL */
	struct blockslab_class *next;	/* of its size, of another kind; or NULL */
	struct list_head list;		/* in heap->classes, RCU, never removed */
	struct blockslab_node nodes[];	/* nr_node_ids of them */
};

/* Its slots are for all sizes up to theirs that have no class of their own. */
static bool class_coarse(const struct blockslab_class *class)
{
	return class->kind == KIND_COARSE;
}

/*
 * What a heap is. The values are none that other memory is likely to have in their place.
 *
 *	HEAP_LIVE	heap_init() makes it so
 *	HEAP_DEBUG	the same, with EXACT_FLAGS: every slot's state is in its block, none cached
 *	HEAP_DESTROYED	heap_end(), from one of these, once: nothing is given out or cached any
 *			more, and blocks go back as they drain; so it stays in the list of heaps
 *	HEAP_FORGOTTEN	heap_forget(), from that: its pages are lost, and it does not keep this
 *			module loaded any more
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

/* An isolated set of classes */
struct blockslab_heap {
	struct blockslab_cpu __percpu *cpu[NR_INDEXES];	/* by size; first: blockslab_heap_cpus */
	u8 own_classes;			/* sizes that have one */
	struct list_head classes;	/* all of them */
	unsigned long flags;		/* BLOCKSLAB_* */
	gfp_t kind;			/* GFP bits of the pages of all its blocks */
	enum heap_state state;		/* what it is */
	unsigned int zone;		/* bytes of the red zone of a slot */
	void (*ctor)(void *object);	/* of a cache's slots */
	struct blockslab_cache *cache;	/* it is the heap of, or NULL */
	u16 window_start;		/* of what user space may see of an object */
	u16 window_size;		/* in bytes */
	unsigned long track;		/* one of so many bytes; 0: none */
	struct watch *watch;		/* freed slots that are kept; set once, or NULL */
	struct growth *growth;		/* of its callers, or NULL (growth_lock) */
	struct module *module;		/* that made it; NULL: the kernel, or gone */
	char maker[MODULE_NAME_LEN];	/* its name */
	struct mutex control;		/* limit, track, validated, shrunk, state */

	spinlock_t lock;		/* reserve, spares, shared; making, and rest, of a class */
	atomic_long_t fixed;		/* bytes that do not count for the limit */
	struct list_head reserve;	/* blocks for when there are no pages */
	size_t reserved;		/* bytes of their pages */
	bool reserves;			/* it was made with a reserve */
	struct list_head spares;	/* descriptors for those that come back */
	size_t limit;			/* most bytes it may hold */
	atomic_long_t held;		/* bytes it holds */
	atomic_long_t nr_blocks;	/* blocks and large allocations */
	atomic_long_t moving;		/* blocks charged and on no list, and trims */
	atomic_long_t kept;		/* bytes, about: see overstocked() */
	atomic_long_t roomy;		/* bytes of slots that its magazines have room for */
	unsigned long allowance;	/* beyond what any may keep: heap_missed() */
	unsigned long more_room;	/* beyond what any's magazines may have: heap_has_room() */

	atomic_t waiting;		/* in alloc_surely() */
	atomic_t deferring;		/* pages of blocks in deferred_blocks, or in hand */
	unsigned long reclaimed;	/* jiffies when CPUs were asked for others */
	struct delayed_work trim;	/* gives back what is not used */

	refcount_t refs;		/* of owner, blocks and readers */
	struct work_struct free_work;	/* after the last reference */
	struct rcu_head rcu;		/* when nobody looks at it any more */
	u64 id;				/* ever rising; the order in heaps */
	struct list_head list;		/* in heaps (heaps_lock) */
	struct dentry *dir;	/* in debugfs, once somebody looked; or NULL (heap_names) */
	bool renamed;			/* an ending was added (heap_names) */
	bool stays;			/* after its end, as was found: heap_tell_kept_by() */
	bool leaving;	/* heap_leave(): in debugfs no more (heap_names) */
	struct llist_node ending;	/* in ending_heaps, then */
	unsigned long validated;	/* result of the debugfs file */
	unsigned long shrunk;		/* the same */
	char name[BLOCKSLAB_NAME_MAX + 1 + HEAP_ENDING];	/* with room for an ending */

	/* By size; what follows a cache has not: heap_new(), class_find(). */
	struct blockslab_class *class[NR_INDEXES];	/* the latest, then @next; or NULL */
	u8 asked[NR_SIZES];	/* for a size whose class rests, or is not there: size_earned() */
	u16 shared[NR_SIZES];	/* its coarse slots in use, by coarse_asks() (heap->lock) */
};

static_assert(offsetof(struct blockslab_heap, cpu) == 0);

/* Slots may lie in its magazines; else their blocks alone know their state. */
static bool heap_caches(const struct blockslab_heap *heap)
{
	return READ_ONCE(heap->state) == HEAP_LIVE;
}

/* Slots keep their content while they are free: nobody may write to them. */
static bool keeps_content(const struct blockslab_heap *heap)
{
	return heap->ctor || heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU;
}

static bool heap_destroyed(const struct blockslab_heap *heap)
{
	enum heap_state state = READ_ONCE(heap->state);

	return state != HEAP_LIVE && state != HEAP_DEBUG;
}

static bool heap_forgotten(const struct blockslab_heap *heap)
{
	return READ_ONCE(heap->state) == HEAP_FORGOTTEN;
}

/* A heap of one class */
struct blockslab_cache {
	struct blockslab_cpu __percpu *cpu;	/* or no_class, for the slow path */
	struct blockslab_pages pages;		/* for its fast path */
	unsigned int size;			/* of its objects, as asked for */
	unsigned int zeroed;			/* bytes of a slot for __GFP_ZERO */
	struct blockslab_class *class;		/* its only one */
	struct blockslab_heap *heap;		/* it is */
};

/* Index of the class that serves a size. */
u8 blockslab_size_index[BLOCKSLAB_SLOT_MAX + 1] __ro_after_init;
EXPORT_SYMBOL_GPL(blockslab_size_index);
static u16 index_size[NR_SIZES] __ro_after_init;

/* This CPU's per-CPU offset, plus the offset of its own node's line in a class's per-CPU state. */
DEFINE_PER_CPU(unsigned long, blockslab_home);
EXPORT_PER_CPU_SYMBOL_GPL(blockslab_home);
static DEFINE_PER_CPU(int, home_nid);	/* that node */

static int home_node(void)
{
	return raw_cpu_read(home_nid);
}

/* Lines without slots and room, a node each, for classes that are not there or go the slow way. */
static struct blockslab_cpu __percpu *no_class __ro_after_init;

/* On while something is to be done at every alloc or free: tracing, init_on_*, kmemleak. */
DEFINE_STATIC_KEY_FALSE(blockslab_rare);
EXPORT_SYMBOL_GPL(blockslab_rare);
static DEFINE_STATIC_KEY_FALSE(rare_free);
#define RARE_ALWAYS	(IS_ENABLED(CONFIG_DEBUG_KMEMLEAK) || IS_ENABLED(CONFIG_KASAN) || \
			 IS_ENABLED(CONFIG_KMSAN))

struct blockslab_heap blockslab_shared;
EXPORT_SYMBOL_GPL(blockslab_shared);
static LIST_HEAD(heaps);
static DEFINE_SPINLOCK(heaps_lock);	/* heaps; of processes, and a panic */
static DEFINE_MUTEX(heap_names);	/* names, and debugfs, which follows them */
static u64 last_id;			/* heaps_lock */
static struct workqueue_struct *workqueue;
/* Of sizes that kmalloc() would round up by a third: most descriptors, and all classes. */
static struct kmem_cache *block_cache, *class_cache;
static struct shrinker *shrinker;
static struct dentry *debugfs_dir, *debugfs_heaps;
static bool heaps_unseen;		/* some may have no directory yet (heap_names) */
