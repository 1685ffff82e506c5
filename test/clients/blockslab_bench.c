// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_bench: what blockslab's operations cost, beside SLUB's; tools/bench runs it.
 *
 * Each workload is a file in /sys/kernel/debug/blockslab_bench. Reading it runs the workload, first
 * with SLUB and then with blockslab, each warmed up, and gives one line:
 * `slub X blockslab Y faults N`. X and Y are what an operation took, in TSC ticks, or ns on UML.
 * Under QEMU's -icount shift=0 a tick is an instruction, and the same run gives the same figures.
 * N is what blockslab_validate() found. The file `workloads` names all that can be run on the CPUs
 * now online. What is written to the file `memory` makes heaps or caches: see memory_write().
 *
 * One source makes both sides' loops: a workload is an inline function of the side, which is a
 * constant. Sizes are loaded each time, so that the compiler cannot know them, except in the _const
 * workloads. Nothing is subtracted: the loop (some five instructions) and the timer's interrupts
 * (less than one in 200 under -icount) are in both figures. Slots are not touched by the loops.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kernel_read_file.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/timex.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "blockslab.h"

/* Before 6.5, this one's only other effect is on kmemleak; later, it turns SLUB's sheaves off. */
#ifndef SLAB_NO_MERGE
#define SLAB_NO_MERGE SLAB_NOLEAKTRACE
#endif

enum side { SLUB, BLOCKSLAB, NR_SIDES };

static const size_t sizes[] = {
	8, 24, 72, 200, 520, 1500, 2048, 4096, 8192,		/* those that slots have */
	8193, SZ_16K, SZ_64K, SZ_256K, 256, 1024,
};

#define ALL_SIZES	GENMASK(8, 0)
#define PAIR_SIZES	GENMASK(12, 0)
#define PACKET_SIZES	(BIT(13) | BIT(5))		/* 256 and 1500 */
#define BATCH_SIZES	(ALL_SIZES | BIT(14))		/* 1024 too */
/* Eight times such a size is still no large allocation for either side. */
#define SMP_SIZES	(BIT(1) | BIT(3))
#define SHARED_SIZES	(SMP_SIZES | BIT(14) | BIT(6) | BIT(7))	/* 1024, 2048, 4096 too */

#define NR_SLOTS	4096	/* the largest batch */
#define NR_LIVE		1024	/* slots that the random workload keeps */
#define NR_FIRST	32	/* classes that are made to take a first slot of each */
#define NR_QUEUE	256	/* slots on their way from one CPU to the other */
#define NR_WORKER_SLOTS	64	/* slots that a CPU of the smp workloads takes and gives back */
#define MAX_WORKERS	4
#define MAX_SAMPLED	100000UL	/* operations that the worst one is sought among */

static unsigned long iterations = 20000;
module_param(iterations, ulong, 0600);
MODULE_PARM_DESC(iterations, "operations of a workload that are measured");

static unsigned int rounds = 1;
module_param(rounds, uint, 0600);
MODULE_PARM_DESC(rounds, "times that each side is measured; the smallest figure counts");

static unsigned int profiled = BLOCKSLAB;
module_param(profiled, uint, 0600);
MODULE_PARM_DESC(profiled, "the side that tools/bench --profile looks at: 0 SLUB, 1 blockslab");

static char *trace;
module_param(trace, charp, 0400);
MODULE_PARM_DESC(trace, "file with the trace that the replay workload plays");

/* A cache of each side for objects of one size. */
struct caches {
	size_t size;
	struct kmem_cache *slub;
	struct blockslab_cache *blockslab;
};

/* A workload with one size: what a file stands for, and its run under way. */
struct bench {
	const struct workload *workload;
	size_t size;
	struct caches *caches;
	unsigned long ops;	/* to be done */
	u64 done;		/* so many of them took .time */
	u64 time;
};

struct workload {
	const char *name;
	int (*run)(enum side side, struct bench *bench);
	unsigned long sizes;	/* mask of sizes[]; 0: the size has no meaning */
	unsigned int nr;	/* slots of a batch, a rank in 1000, or bytes */
	unsigned int cpus;	/* that it takes */
	bool variant;		/* what that is, the workload says */
};

/* Workloads run one at a time; guards all that follows, but for what init makes. */
static DEFINE_MUTEX(bench_mutex);
static void *slots[NR_SLOTS];
static struct caches caches[128];
static struct dentry *directory;
static bool marking;		/* what is timed now is to be profiled */

static inline u64 now(void)
{
	return IS_ENABLED(CONFIG_UML) ? ktime_get_ns() : get_cycles();
}

/* Between the two marks tools/dev/profile.c counts: nothing else has these instructions. */
static inline u64 begin(void)
{
#ifdef CONFIG_X86
	if (marking)
		asm volatile("xchg %%bx, %%bx" ::: "memory");
#endif
	return now();
}

static inline void count(struct bench *bench, u64 start, u64 ops)
{
	bench->time += now() - start;
#ifdef CONFIG_X86
	if (marking)
		asm volatile("xchg %%cx, %%cx" ::: "memory");
#endif
	bench->done += ops;
}

/* Defines the workload NAME from NAME_with(), an inline function of a constant side. */
#define EITHER_SIDE(name)								\
static int name(enum side side, struct bench *bench)					\
{											\
	return side == SLUB ? name##_with(SLUB, bench) : name##_with(BLOCKSLAB, bench);	\
}

/* --- one operation of either side ------------------------------------------------------------- */

static __always_inline void *take(const enum side side, size_t size)
{
	return side == SLUB ? kmalloc(size, GFP_KERNEL) : blockslab_alloc(NULL, size, GFP_KERNEL);
}

static __always_inline void give(const enum side side, void *slot)
{
	if (side == SLUB)
		kfree(slot);
	else
		blockslab_free(slot);
}

static __always_inline void give_sized(const enum side side, void *slot, size_t size)
{
	if (side == SLUB)
		kfree(slot);
	else
		blockslab_free_sized(slot, size);
}

static __always_inline void *take_object(const enum side side, const struct caches *from)
{
	return side == SLUB ? kmem_cache_alloc(READ_ONCE(from->slub), GFP_KERNEL) :
			      blockslab_cache_alloc(READ_ONCE(from->blockslab), GFP_KERNEL);
}

static __always_inline void give_object(const enum side side, const struct caches *from, void *slot)
{
	if (side == SLUB)
		kmem_cache_free(READ_ONCE(from->slub), slot);
	else
		blockslab_cache_free(READ_ONCE(from->blockslab), slot);
}

static __always_inline void *take_either(const enum side side, const struct caches *from,
					 size_t size)
{
	return from ? take_object(side, from) : take(side, size);
}

static __always_inline void give_either(const enum side side, const struct caches *from, void *slot)
{
	if (from)
		give_object(side, from, slot);
	else
		give(side, slot);
}

/* --- caches ----------------------------------------------------------------------------------- */

static void destroy_caches(void)
{
	struct caches *entry;

	for (entry = caches; entry < caches + ARRAY_SIZE(caches) && entry->size; entry++) {
		kmem_cache_destroy(entry->slub);
		blockslab_cache_destroy(entry->blockslab);
		entry->size = 0;
	}
}

/* Not merged with another cache, whose slabs are there already. */
static struct kmem_cache *create_slub_cache(const char *name, size_t size)
{
	return kmem_cache_create(name, size, 0, SLAB_NO_MERGE, NULL);
}

static int create_caches(struct caches *entry, size_t size)
{
	char name[BLOCKSLAB_NAME_MAX + 1];

	snprintf(name, sizeof(name), "bench-%zu", size);
	entry->slub = create_slub_cache(name, size);
	if (!entry->slub)
		return -ENOMEM;
	entry->blockslab = blockslab_cache_create(name, size, 0, 0, NULL);
	if (IS_ERR(entry->blockslab)) {
		kmem_cache_destroy(entry->slub);
		return PTR_ERR(entry->blockslab);
	}
	entry->size = size;
	return 0;
}

/* The caches for @size, made when first asked for. */
static struct caches *caches_of(size_t size)
{
	struct caches *entry;
	int err;

	for (entry = caches; entry < caches + ARRAY_SIZE(caches); entry++) {
		if (entry->size == size)
			return entry;
		if (!entry->size) {
			err = create_caches(entry, size);
			return err ? ERR_PTR(err) : entry;
		}
	}
	return ERR_PTR(-E2BIG);
}

/* --- pair, pair_const, sized, sized_const, cache: one slot is taken and given back ------------ */

/* @constant: the size; or 0, then it is one that the compiler does not know. */
static __always_inline int pairs(const enum side side, const size_t constant, const bool sized,
				 struct bench *bench)
{
	u64 start = begin();
	unsigned long i, ops = bench->ops;

	for (i = 0; i < ops; i++) {
		size_t size = constant ?: READ_ONCE(bench->size);
		void *slot = take(side, size);

		if (!slot)
			return -ENOMEM;
		if (sized)
			give_sized(side, slot, size);
		else
			give(side, slot);
	}
	count(bench, start, ops);
	return 0;
}

static __always_inline int constant_pairs(const enum side side, const bool sized,
					  struct bench *bench)
{
	switch (bench->size) {
	case 8:
		return pairs(side, 8, sized, bench);
	case 24:
		return pairs(side, 24, sized, bench);
	case 72:
		return pairs(side, 72, sized, bench);
	case 200:
		return pairs(side, 200, sized, bench);
	case 520:
		return pairs(side, 520, sized, bench);
	case 1500:
		return pairs(side, 1500, sized, bench);
	case 2048:
		return pairs(side, 2048, sized, bench);
	case 4096:
		return pairs(side, 4096, sized, bench);
	case 8192:
		return pairs(side, 8192, sized, bench);
	}
	return -EINVAL;
}

static __always_inline int pair_with(const enum side side, struct bench *bench)
{
	return bench->workload->variant ? pairs(side, 0, true, bench) :
					  pairs(side, 0, false, bench);
}

EITHER_SIDE(pair)

/* Pairs with a heap that tracks one of .nr bytes; enough of them to meet some that are sampled. */
static int pair_tracked(enum side side, struct bench *bench)
{
	unsigned int period = bench->workload->nr, i, times = max(period / SZ_8K, 1U);
	int err = side == BLOCKSLAB ? blockslab_track(NULL, period) : 0;

	for (i = 0; i < times && !err; i++)
		err = pair(side, bench);
	return side == BLOCKSLAB ? blockslab_track(NULL, 0) ?: err : err;
}

static __always_inline int pair_const_with(const enum side side, struct bench *bench)
{
	return bench->workload->variant ? constant_pairs(side, true, bench) :
					  constant_pairs(side, false, bench);
}

EITHER_SIDE(pair_const)

static __always_inline int cache_with(const enum side side, struct bench *bench)
{
	const struct caches *from = bench->caches;
	u64 start = begin();
	unsigned long i, ops = bench->ops;

	for (i = 0; i < ops; i++) {
		void *slot = take_object(side, from);

		if (!slot)
			return -ENOMEM;
		give_object(side, from, slot);
	}
	count(bench, start, ops);
	return 0;
}

EITHER_SIDE(cache)

/* The same with a cache that is sampled. */
static int cache_sampled(enum side side, struct bench *bench)
{
	struct blockslab_heap *heap = blockslab_cache_heap(bench->caches->blockslab);
	int err = side == BLOCKSLAB ? blockslab_track(heap, bench->workload->nr) : 0;

	err = err ?: cache(side, bench);
	return side == BLOCKSLAB ? blockslab_track(heap, 0) ?: err : err;
}

/* --- node, zalloc, zero, account, poison, nolock: pairs by other ways ------------------------- */

/* What is made for such a way, and ends with it. */
static struct {
	struct blockslab_heap *heap;
	struct blockslab_cache *cache;
	struct kmem_cache *slub;
} special;

static __always_inline void *node_slub(size_t size)
{
	return kmalloc_node(size, GFP_KERNEL, numa_mem_id());
}

static __always_inline void *node_blockslab(size_t size)
{
	return blockslab_alloc_node(NULL, size, GFP_KERNEL, numa_mem_id());
}

static __always_inline void *zeroed_slub(size_t size)
{
	return kzalloc(size, GFP_KERNEL);
}

static __always_inline void *zeroed_blockslab(size_t size)
{
	return blockslab_zalloc(NULL, size, GFP_KERNEL);
}

static __always_inline void *plain_slub(size_t size)
{
	return kmalloc(size, GFP_KERNEL);
}

static __always_inline void *nolock_blockslab(size_t size)
{
	return blockslab_alloc_nolock(NULL, size);
}

static __always_inline void *heap_blockslab(size_t size)
{
	return blockslab_alloc(special.heap, size, GFP_KERNEL);
}

static __always_inline void *cache_blockslab(size_t size)
{
	return blockslab_cache_alloc(special.cache, GFP_KERNEL);
}

static __always_inline void cache_blockslab_free(const void *slot)
{
	blockslab_cache_free(special.cache, (void *)slot);
}

static __always_inline void *cache_slub(size_t size)
{
	return kmem_cache_alloc(special.slub, GFP_KERNEL);
}

static __always_inline void *zeroed_cache_slub(size_t size)
{
	return kmem_cache_zalloc(special.slub, GFP_KERNEL);
}

static __always_inline void cache_slub_free(const void *slot)
{
	kmem_cache_free(special.slub, (void *)slot);
}

/* @take and @give are constants, and become part of the loop. */
static __always_inline int pairs_by(void *(*take)(size_t size), void (*give)(const void *slot),
				    struct bench *bench)
{
	u64 start = begin();
	unsigned long i, ops = bench->ops;

	for (i = 0; i < ops; i++) {
		void *slot = take(READ_ONCE(bench->size));

		if (!slot)
			return -ENOMEM;
		give(slot);
	}
	count(bench, start, ops);
	return 0;
}

/* Defines NAME_pairs(). */
#define WAY(name, slub_take, slub_give, take, give)					\
static int name##_pairs(enum side side, struct bench *bench)				\
{											\
	return side == SLUB ? pairs_by(slub_take, slub_give, bench) :			\
			      pairs_by(take, give, bench);				\
}

WAY(node, node_slub, kfree, node_blockslab, blockslab_free)
WAY(zalloc, zeroed_slub, kfree, zeroed_blockslab, blockslab_free)
WAY(nolock, plain_slub, kfree, nolock_blockslab, blockslab_free_nolock)
WAY(zero_heap, zeroed_slub, kfree, heap_blockslab, blockslab_free)
WAY(zero_cache, zeroed_cache_slub, cache_slub_free, cache_blockslab, cache_blockslab_free)
WAY(heap, cache_slub, cache_slub_free, heap_blockslab, blockslab_free)
WAY(cache, cache_slub, cache_slub_free, cache_blockslab, cache_blockslab_free)

enum way { NODE, ZALLOC, NOLOCK, ZERO_HEAP, ZERO_CACHE, ACCOUNT_HEAP, ACCOUNT_CACHE, POISON };

/* Flags of what is made for a way; 0: nothing is. */
static const struct {
	int (*pairs)(enum side side, struct bench *bench);
	unsigned long heap;
	unsigned long cache;
	slab_flags_t slub;
} ways[] = {
	[NODE] = { node_pairs },
	[ZALLOC] = { zalloc_pairs },
	[NOLOCK] = { nolock_pairs },
	[ZERO_HEAP] = { zero_heap_pairs, .heap = BLOCKSLAB_ZERO },
	[ZERO_CACHE] = { zero_cache_pairs, .cache = BLOCKSLAB_ZERO, .slub = SLAB_NO_MERGE },
	[ACCOUNT_HEAP] = { heap_pairs, .heap = BLOCKSLAB_ACCOUNT,
			   .slub = SLAB_NO_MERGE | SLAB_ACCOUNT },
	[ACCOUNT_CACHE] = { cache_pairs, .cache = BLOCKSLAB_ACCOUNT,
			    .slub = SLAB_NO_MERGE | SLAB_ACCOUNT },
	[POISON] = { heap_pairs, .heap = BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE,
		     .slub = SLAB_NO_MERGE | SLAB_POISON | SLAB_RED_ZONE },
};

static void special_end(void)
{
	if (!IS_ERR(special.heap))
		blockslab_heap_destroy(special.heap);
	if (!IS_ERR(special.cache))
		blockslab_cache_destroy(special.cache);
	kmem_cache_destroy(special.slub);
	memset(&special, 0, sizeof(special));
}

static int special_run(enum side side, struct bench *bench)
{
	const typeof(ways[0]) *way = &ways[bench->workload->nr];
	struct blockslab_heap_attrs attrs = { .flags = way->heap };
	int err = -ENOMEM;

	if (way->heap)
		special.heap = blockslab_heap_create("bench-special", &attrs);
	if (way->cache)
		special.cache = blockslab_cache_create("bench-special", bench->size, 0, way->cache,
						       NULL);
	if (way->slub)
		special.slub = kmem_cache_create("bench-special", bench->size, 0, way->slub, NULL);
	/* Without waiting only what is cached can be had. */
	blockslab_free(blockslab_alloc(NULL, bench->size, GFP_KERNEL));
	if (!IS_ERR(special.heap) && !IS_ERR(special.cache) && (special.slub || !way->slub))
		err = way->pairs(side, bench);
	special_end();
	return err;
}

/* --- rcu, usable, grow: single calls ---------------------------------------------------------- */

/* The calls of free_rcu alone, a thousand slots at a time; SLUB's have an rcu_head in them. */
static __always_inline int rcu_with(const enum side side, struct bench *bench)
{
	unsigned long ops = bench->ops, done, i;
	struct {
		struct rcu_head rcu;
	} *object;
	u64 start;

	for (done = 0; done < ops; done += 1000) {
		for (i = 0; i < 1000; i++) {
			slots[i] = take(side, sizeof(*object) + bench->size);
			if (!slots[i])
				return -ENOMEM;
		}
		start = begin();
		for (i = 0; i < 1000; i++) {
			object = slots[i];
			if (side == SLUB)
				kfree_rcu(object, rcu);
			else
				blockslab_free_rcu(object);
		}
		count(bench, start, 1000);
		for (i = 0; i < 3; i++) {	/* what is done later is no part of the call */
			rcu_barrier();
			schedule_timeout_uninterruptible(1);
		}
	}
	return 0;
}

EITHER_SIDE(rcu)

/* What a slot's size is asked for. */
static __always_inline int usable_with(const enum side side, struct bench *bench)
{
	void *slot = take(side, bench->size);
	unsigned long i, ops = bench->ops, sum = 0;
	u64 start = begin();

	if (!slot)
		return -ENOMEM;
	for (i = 0; i < ops; i++) {
		OPTIMIZER_HIDE_VAR(slot);
		sum += side == SLUB ? ksize(slot) : blockslab_usable_size(slot);
	}
	count(bench, start, ops);
	give(side, slot);
	return sum ? 0 : -EINVAL;
}

EITHER_SIDE(usable)

/* One slot is made larger by 16 bytes up to 1024, again and again; an operation is a step. */
static __always_inline int grow_with(const enum side side, struct bench *bench)
{
	unsigned long ops = bench->ops, done;
	void *slot = NULL;
	size_t size;
	u64 start = begin();

	for (done = 0; done < ops; done++) {
		size = done % 64 * 16 + 16;
		OPTIMIZER_HIDE_VAR(size);
		if (size == 16) {
			give(side, slot);
			slot = NULL;
		}
		slot = side == SLUB ? krealloc(slot, size, GFP_KERNEL) :
				      blockslab_realloc(NULL, slot, size, GFP_KERNEL);
	}
	count(bench, start, done);
	give(side, slot);
	return 0;
}

EITHER_SIDE(grow)

/* --- batch*, fork, bulk*, remote, smp*, packet: many are taken, then given back --------------- */

static __always_inline void give_all(const enum side side, void **from, long nr, long step)
{
	for (; nr > 0; nr--, from += step)
		give(side, *from);
}

static __always_inline int take_all(const enum side side, const size_t *size, void **to, long nr)
{
	long i;

	for (i = 0; i < nr; i++) {
		to[i] = take(side, READ_ONCE(*size));
		if (!to[i]) {
			give_all(side, to, i, 1);
			return -ENOMEM;
		}
	}
	return 0;
}

/* variant: in reverse order. */
static __always_inline int batch_with(const enum side side, struct bench *bench)
{
	unsigned long nr = bench->workload->nr, ops = bench->ops, done;
	long step = bench->workload->variant ? -1 : 1;
	void **first = step < 0 ? slots + nr - 1 : slots;
	u64 start = begin();

	for (done = 0; done < ops; done += nr) {
		if (take_all(side, &bench->size, slots, nr))
			return -ENOMEM;
		give_all(side, first, nr, step);
	}
	count(bench, start, done);
	return 0;
}

EITHER_SIDE(batch)

/*
 * As processes that fork and end: up to .nr slots and down again, sixteen steps up for twelve down,
 * then the other way round. @from: the slots are objects of these caches; or NULL.
 */
static __always_inline int forks_from(const enum side side, const struct caches *from,
				      struct bench *bench)
{
	long nr = bench->workload->nr, live = 0, up = 1, step, steps;
	unsigned long ops = bench->ops, done = 0;
	u64 start = begin();

	while (done < ops) {
		if (live < 16)
			up = 1;
		else if (live > nr - 32)
			up = 0;
		steps = up ? 16 : 12;
		for (step = 0; step < steps; step++, done++) {
			slots[live] = take_either(side, from, READ_ONCE(bench->size));
			if (!slots[live])
				return -ENOMEM;
			live++;
		}
		steps = up ? 12 : 16;
		for (step = 0; step < steps && live; step++)
			give_either(side, from, slots[--live]);
	}
	count(bench, start, done);
	while (live)
		give_either(side, from, slots[--live]);
	return 0;
}

/* variant: of a cache. */
static __always_inline int forks_with(const enum side side, struct bench *bench)
{
	return bench->workload->variant ? forks_from(side, bench->caches, bench) :
					  forks_from(side, NULL, bench);
}

EITHER_SIDE(forks)

static __always_inline bool take_bulk(const enum side side, const struct caches *from, size_t nr)
{
	return side == SLUB ? kmem_cache_alloc_bulk(from->slub, GFP_KERNEL, nr, slots) :
			      blockslab_cache_alloc_bulk(from->blockslab, GFP_KERNEL, nr, slots);
}

static __always_inline void give_bulk(const enum side side, const struct caches *from, size_t nr)
{
	if (side == SLUB)
		kmem_cache_free_bulk(from->slub, nr, slots);
	else
		blockslab_cache_free_bulk(from->blockslab, nr, slots);
}

static __always_inline int bulk_with(const enum side side, struct bench *bench)
{
	unsigned long nr = bench->workload->nr, ops = bench->ops, done;
	u64 start = begin();

	for (done = 0; done < ops; done += nr) {
		if (!take_bulk(side, bench->caches, nr))
			return -ENOMEM;
		give_bulk(side, bench->caches, nr);
	}
	count(bench, start, done);
	return 0;
}

EITHER_SIDE(bulk)

static int run_on(unsigned int cpu)
{
	return cpu < nr_cpu_ids ? set_cpus_allowed_ptr(current, cpumask_of(cpu)) : -ENODEV;
}

/* Taken on one CPU, given back on the other; the move between them is not in the time. */
static __always_inline int remote_with(const enum side side, struct bench *bench)
{
	unsigned int here = cpumask_first(cpu_online_mask);
	unsigned int there = cpumask_next(here, cpu_online_mask);
	unsigned long nr = bench->workload->nr, ops = bench->ops, done;
	u64 start;

	for (done = 0; done < ops; done += nr) {
		if (run_on(here))
			return -EINVAL;
		start = begin();
		if (take_all(side, &bench->size, slots, nr))
			return -ENOMEM;
		count(bench, start, 0);
		if (run_on(there))
			return -EINVAL;
		start = begin();
		give_all(side, slots, nr, 1);
		count(bench, start, nr);
	}
	return 0;
}

EITHER_SIDE(remote)

/* A thread on a CPU of its own, that works as others do at the same time. */
struct worker {
	int (*work)(const struct worker *worker, unsigned long ops);
	struct task_struct *task;
	struct completion done;
	atomic_t *waiting;	/* workers that are not warm yet */
	size_t size;
	bool use;		/* what is allocated is written to by one, and read by the other */
	unsigned long ops;
	enum side side;
	u64 start;
	u64 end;
	int err;
};

static __always_inline int worker_with(const enum side side, const struct worker *worker,
				       unsigned long ops)
{
	void *own[NR_WORKER_SLOTS];
	unsigned long done;

	for (done = 0; done < ops; done += NR_WORKER_SLOTS) {
		if (take_all(side, &worker->size, own, NR_WORKER_SLOTS))
			return -ENOMEM;
		give_all(side, own, NR_WORKER_SLOTS, 1);
	}
	return 0;
}

static int worker_ops(const struct worker *worker, unsigned long ops)
{
	return worker->side == SLUB ? worker_with(SLUB, worker, ops) :
				      worker_with(BLOCKSLAB, worker, ops);
}

static struct {
	void *slots[NR_QUEUE];
	unsigned long put ____cacheline_aligned_in_smp;	/* the taker's; slots put in so far */
	unsigned long got ____cacheline_aligned_in_smp;	/* the giver's; taken out */
} queue;

/*
 * smp_load_acquire() and smp_store_release() as a kernel of these processors has them. User Mode
 * Linux has a fence in each: it would wait, at every operation, for whatever line is on its way
 * from the other CPU, which is not what is measured.
 */
static __always_inline unsigned long queue_acquire(const unsigned long *from)
{
	unsigned long value;

	if (!IS_ENABLED(CONFIG_UML_X86))
		return smp_load_acquire(from);	/* pairs with queue_release() */
	value = READ_ONCE(*from);
	barrier();
	return value;
}

static __always_inline void queue_release(unsigned long *to, unsigned long value)
{
	if (!IS_ENABLED(CONFIG_UML_X86)) {
		smp_store_release(to, value);	/* pairs with queue_acquire() */
		return;
	}
	barrier();
	WRITE_ONCE(*to, value);
}

static __always_inline int put_with(const enum side side, size_t size, bool use, unsigned long ops)
{
	unsigned long put, end = queue.put + ops;
	int err = 0;

	for (put = queue.put; put != end; put++) {
		void *slot = take(side, size);

		if (!slot)
			err = -ENOMEM;
		else if (use)
			*(unsigned long *)slot = put;
		/* the other has read the place */
		while (put - queue_acquire(&queue.got) == NR_QUEUE)
			cpu_relax();
		queue.slots[put % NR_QUEUE] = slot;
		queue_release(&queue.put, put + 1);	/* the slot first */
	}
	return err;
}

static __always_inline int get_with(const enum side side, bool use, unsigned long ops)
{
	unsigned long got, end = queue.got + ops;
	int err = 0;

	for (got = queue.got; got != end; got++) {
		while (got == queue_acquire(&queue.put))
			cpu_relax();
		if (use && *(unsigned long *)queue.slots[got % NR_QUEUE] != got)
			err = -EIO;
		give(side, queue.slots[got % NR_QUEUE]);
		queue_release(&queue.got, got + 1);	/* read, before the place is used again */
	}
	return err;
}

static int queue_put(const struct worker *worker, unsigned long ops)
{
	return worker->side == SLUB ? put_with(SLUB, worker->size, worker->use, ops) :
				      put_with(BLOCKSLAB, worker->size, worker->use, ops);
}

static int queue_get(const struct worker *worker, unsigned long ops)
{
	return worker->side == SLUB ? get_with(SLUB, worker->use, ops) :
				      get_with(BLOCKSLAB, worker->use, ops);
}

static int worker_main(void *data)
{
	struct worker *worker = data;

	worker->err = worker->work(worker, worker->ops / 8);
	atomic_dec(worker->waiting);
	while (atomic_read(worker->waiting))
		cpu_relax();
	worker->start = now();
	worker->err = worker->err ?: worker->work(worker, worker->ops);
	worker->end = now();
	complete(&worker->done);
	return 0;
}

static int create_workers(struct worker *workers, unsigned int nr)
{
	unsigned int i, cpu = cpumask_first(cpu_online_mask);

	for (i = 0; i < nr; i++, cpu = cpumask_next(cpu, cpu_online_mask)) {
		init_completion(&workers[i].done);
		if (cpu >= nr_cpu_ids)
			return -ENODEV;
		workers[i].task = kthread_create_on_cpu(worker_main, &workers[i], cpu, "bench/%u");
		if (IS_ERR(workers[i].task))
			return PTR_ERR(workers[i].task);
	}
	return 0;
}

/* The time is from the first worker's start to the last one's end. */
static int await_workers(struct bench *bench, struct worker *workers, unsigned int nr)
{
	u64 start = U64_MAX, end = 0;
	unsigned int i;
	int err = 0;

	for (i = 0; i < nr; i++)
		wake_up_process(workers[i].task);
	for (i = 0; i < nr; i++) {
		wait_for_completion(&workers[i].done);
		start = min(start, workers[i].start);
		end = max(end, workers[i].end);
		err = err ?: workers[i].err;
	}
	bench->time = end - start;
	return err;
}

/* All have .work and .size. */
static int run_workers(enum side side, struct bench *bench, struct worker *workers)
{
	unsigned int i, nr = bench->workload->cpus;
	atomic_t waiting = ATOMIC_INIT(nr);
	int err;

	for (i = 0; i < nr; i++) {
		workers[i].waiting = &waiting;
		workers[i].side = side;
		workers[i].ops = bench->ops;
	}
	err = create_workers(workers, nr);
	if (!err)
		return await_workers(bench, workers, nr);
	for (i = 0; i < nr && !IS_ERR_OR_NULL(workers[i].task); i++)
		kthread_stop(workers[i].task);
	return err;
}

/* So many CPUs at once, each with slots of its own; variant: each in a class of its own, too. */
static int smp(enum side side, struct bench *bench)
{
	unsigned int i, nr = bench->workload->cpus;
	struct worker workers[MAX_WORKERS] = {};

	for (i = 0; i < nr; i++) {
		workers[i].work = worker_ops;
		workers[i].size = bench->workload->variant ? bench->size << i : bench->size;
	}
	bench->done = nr * roundup(bench->ops, NR_WORKER_SLOTS);
	return run_workers(side, bench, workers);
}

/* One CPU takes slots, which the other gives back as they come out of a queue; variant: used. */
static int packet(enum side side, struct bench *bench)
{
	bool use = bench->workload->variant;
	struct worker workers[] = {
		{ .work = queue_put, .size = bench->size, .use = use },
		{ .work = queue_get, .use = use },
	};

	bench->done = bench->ops;
	return run_workers(side, bench, workers);
}

/* --- random, worst: sizes and lifetimes at random --------------------------------------------- */

struct step {
	unsigned int slot;
	unsigned int size;
};

/* Each time the same sequence. 8 to 1023 bytes, each power of two as likely as the others. */
static __always_inline struct step next_step(u64 *state)
{
	unsigned int random, base;

	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	random = *state >> 32;
	base = 8 << (random % 7);
	return (struct step){
		.slot = random >> 22,
		.size = base + (random >> 3 & (base - 1)),
	};
}

static_assert(NR_LIVE == 1 << (32 - 22));

static __always_inline void fill_slots(const enum side side, u64 *state)
{
	unsigned int i;

	for (i = 0; i < NR_LIVE; i++)
		slots[i] = take(side, next_step(state).size);
}

/* A slot chosen at random is given back, and one of a random size is taken. */
static __always_inline int mixed_with(const enum side side, struct bench *bench)
{
	unsigned long i, ops = bench->ops;
	u64 state = 1, start;
	int err = 0;

	fill_slots(side, &state);
	start = begin();
	for (i = 0; i < ops; i++) {
		struct step step = next_step(&state);

		give(side, slots[step.slot]);
		slots[step.slot] = take(side, step.size);
		if (!slots[step.slot])
			err = -ENOMEM;
	}
	count(bench, start, ops);
	give_all(side, slots, NR_LIVE, 1);
	return err;
}

EITHER_SIDE(mixed)

/* Durations of single operations; those that a timer tick fell into are left out. */
struct samples {
	u32 *time;
	unsigned long nr;
};

static __always_inline void sample(struct samples *samples, u64 start, unsigned long tick)
{
	u64 time = now() - start;

	if (!time_after(jiffies, tick))
		samples->time[samples->nr++] = min_t(u64, time, U32_MAX);
}

static __always_inline int sample_mixed(const enum side side, unsigned long ops,
					struct samples *samples)
{
	unsigned long i, tick;
	u64 state = 1, start;
	int err = 0;

	fill_slots(side, &state);
	for (i = 0; i < ops; i++) {
		struct step step = next_step(&state);

		tick = jiffies;
		start = now();
		give(side, slots[step.slot]);
		sample(samples, start, tick);

		tick = jiffies;
		start = now();
		slots[step.slot] = take(side, step.size);
		sample(samples, start, tick);
		if (!slots[step.slot])
			err = -ENOMEM;
	}
	give_all(side, slots, NR_LIVE, 1);
	return err;
}

static int compare_samples(const void *a, const void *b)
{
	return *(const u32 *)a < *(const u32 *)b ? -1 : *(const u32 *)a > *(const u32 *)b;
}

/* The time that nr in 1000 of the operations did not exceed. */
static int worst(enum side side, struct bench *bench)
{
	unsigned long ops = min(bench->ops, MAX_SAMPLED);
	struct samples samples = { .time = vmalloc(array3_size(ops, 2, sizeof(u32))) };
	int err;

	if (!samples.time)
		return -ENOMEM;
	err = side == SLUB ? sample_mixed(SLUB, ops, &samples) :
			     sample_mixed(BLOCKSLAB, ops, &samples);
	sort(samples.time, samples.nr, sizeof(u32), compare_samples, NULL);
	if (samples.nr) {
		bench->time = samples.time[(samples.nr - 1) * bench->workload->nr / 1000];
		bench->done = 1;
	}
	vfree(samples.time);
	return err;
}

/* --- first, destroy: the first slot of a class, and the end of a heap ------------------------- */

static int first_slub(struct bench *bench, const bool end)
{
	struct kmem_cache *fresh = create_slub_cache("bench-first", bench->size);
	void *slot;
	u64 start;

	if (!fresh)
		return -ENOMEM;
	start = begin();
	slot = kmem_cache_alloc(fresh, GFP_KERNEL);
	if (!end)
		count(bench, start, 1);
	if (slot)
		kmem_cache_free(fresh, slot);
	if (end)
		start = begin();
	kmem_cache_destroy(fresh);
	if (end)
		count(bench, start, 1);
	return slot ? 0 : -ENOMEM;
}

static int first_blockslab(struct bench *bench, const bool end)
{
	struct blockslab_heap *fresh = blockslab_heap_create("bench-first", NULL);
	void *slot;
	u64 start;

	if (IS_ERR(fresh))
		return PTR_ERR(fresh);
	start = begin();
	slot = blockslab_alloc(fresh, bench->size, GFP_KERNEL);
	if (!end)
		count(bench, start, 1);
	blockslab_free(slot);
	if (end)
		start = begin();
	blockslab_heap_destroy(fresh);
	if (end)
		count(bench, start, 1);
	return slot ? 0 : -ENOMEM;
}

/*
 * A heap of blockslab's makes a class when it is first asked for. kmalloc() has all of its classes
 * from the start: a new cache stands for one. variant: the time is that of their end.
 */
static int first(enum side side, struct bench *bench)
{
	bool end = bench->workload->variant;
	int i, err = 0;

	for (i = 0; i < NR_FIRST && !err; i++)
		err = side == SLUB ? first_slub(bench, end) : first_blockslab(bench, end);
	return err;
}

/* --- memory: what heaps and caches hold that are hardly used ---------------------------------- */

#define NR_HOLDERS	2048
static struct {
	struct blockslab_heap *heap;
	struct kmem_cache *slub;
	void *slot;		/* of .slub, or without one kmalloc()'s */
} holders[NR_HOLDERS];
static unsigned int nr_holders;

static void end_holders(void)
{
	unsigned int i;

	for (i = 0; i < nr_holders; i++) {
		if (holders[i].slub && holders[i].slot)
			kmem_cache_free(holders[i].slub, holders[i].slot);
		else
			kfree(holders[i].slot);
		kmem_cache_destroy(holders[i].slub);
		if (holders[i].heap)
			blockslab_heap_release(holders[i].heap);
		blockslab_heap_destroy(holders[i].heap);
	}
}

/* A heap with a slot of each of so many classes. */
static int hold_blockslab(unsigned int classes)
{
	struct blockslab_heap *heap;
	unsigned int class;
	char name[24];

	snprintf(name, sizeof(name), "bench-holder-%u", nr_holders);
	heap = blockslab_heap_create(name, NULL);
	if (IS_ERR(heap))
		return PTR_ERR(heap);
	holders[nr_holders++].heap = heap;
	for (class = 1; class <= classes; class++)
		if (!blockslab_alloc(heap, class * 16, GFP_KERNEL))
			return -ENOMEM;
	return 0;
}

/* A cache, with an object if @used. */
static int hold_cache(size_t size, bool used)
{
	struct kmem_cache *slub;
	char name[24];

	snprintf(name, sizeof(name), "bench-holder-%u", nr_holders);
	slub = create_slub_cache(name, size);
	if (!slub)
		return -ENOMEM;
	holders[nr_holders].slot = used ? kmem_cache_alloc(slub, GFP_KERNEL) : NULL;
	holders[nr_holders++].slub = slub;
	return !used || holders[nr_holders - 1].slot ? 0 : -ENOMEM;
}

/* An object of each of so many caches; or, if there are to be none, a cache without any. */
static int hold_slub(unsigned int classes)
{
	unsigned int class;
	int err = classes ? 0 : hold_cache(16, false);

	for (class = 1; class <= classes && !err; class++)
		err = hold_cache(class * 16, true);
	return err;
}

#define NR_CHURNED	512U
#define CHURN_ROUNDS	400	/* of 50 replacements, and 20 ms of sleep */

/* Slots of all sizes to 2 KiB, replaced at random for some seconds; what is there then stays. */
static int churn(struct blockslab_heap *heap)
{
	unsigned int i, at, first = nr_holders, round;
	struct step step;
	u64 state = 1;
	void **slot;

	for (i = 0, round = 0; round < CHURN_ROUNDS; i++) {
		step = next_step(&state);
		at = first + (i < NR_CHURNED ? i : step.slot % NR_CHURNED);
		slot = &holders[at].slot;
		if (heap)
			blockslab_free(*slot);
		else
			kfree(*slot);
		step.size = 1 + (state >> 40) % SZ_2K;
		*slot = heap ? blockslab_alloc(heap, step.size, GFP_KERNEL) :
			       kmalloc(step.size, GFP_KERNEL);
		nr_holders = max(nr_holders, at + 1);
		if (!*slot)
			break;
		if (i >= NR_CHURNED && i % 50 == 0) {
			msleep(20);
			round++;
		}
	}
	/* A heap's go with it. */
	for (i = first; heap && i < nr_holders; i++)
		holders[i].slot = NULL;
	return round < CHURN_ROUNDS ? -ENOMEM : 0;
}

static int hold_churned(bool slub)
{
	struct blockslab_heap *heap = NULL;

	if (!slub) {
		heap = blockslab_heap_create("bench-churned", NULL);
		if (IS_ERR(heap))
			return PTR_ERR(heap);
		holders[nr_holders++].heap = heap;
	}
	return churn(heap);
}

/*
 * `blockslab NR CLASSES`: so many heaps, of so many classes; `slub NR CLASSES`: caches instead.
 * With NR 0: slots of many sizes that are slowly replaced.
 */
static ssize_t memory_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	unsigned int nr, classes;
	char text[64] = {}, side[16];
	int err = 0;

	if (size >= sizeof(text) || copy_from_user(text, from, size) ||
	    sscanf(text, "%15s %u %u", side, &nr, &classes) != 3)
		return -EINVAL;
	mutex_lock(&bench_mutex);
	if ((nr ? nr * max(classes, 1U) : NR_CHURNED + 1) > NR_HOLDERS - nr_holders)
		err = -ENOSPC;
	else if (!nr)
		err = hold_churned(!strcmp(side, "slub"));
	for (; nr && !err; nr--)
		err = strcmp(side, "slub") ? hold_blockslab(classes) : hold_slub(classes);
	mutex_unlock(&bench_mutex);
	return err ?: size;
}

static const struct file_operations memory_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = memory_write,
};

/* --- replay: a recorded trace, on one CPU ----------------------------------------------------- */

struct event {
	u32 id;			/* of the slot */
	u32 size;		/* 0: the slot is given back */
	struct caches *caches;	/* that the slot is from; NULL: kmalloc() */
};

static struct event *events;	/* the trace's, then frees of what it leaves allocated */
static unsigned long nr_events, nr_timed, nr_taken;
static void **replay_slots;	/* by id */

/* What the loop of a replay would look at is looked at here: it is to cost next to nothing. */
static void add_event(u32 id, u32 size, struct caches *from)
{
	/* In a trace that began in the middle. */
	if (!size && !replay_slots[id])
		return;
	events[nr_events++] = (struct event){ .id = id, .size = size, .caches = from };
	nr_taken += !!size;
	replay_slots[id] = size ? events : NULL;	/* till it is played: is it there */
}

/* @caches: by id, below @nr_ids. */
static int parse_event(const char *line, struct caches **caches, unsigned long nr_ids)
{
	unsigned int cpu, id, size = 0;
	char kind;
	int fields = sscanf(line, "%c %u %u %u", &kind, &cpu, &id, &size);

	if (!strchr("kc-", kind) || fields != (kind == '-' ? 3 : 4) || id >= nr_ids)
		return -EINVAL;
	if (kind != '-' && (!size || replay_slots[id]))
		return size ? -EINVAL : 0;	/* nothing is behind ZERO_SIZE_PTR */
	/* An object too large for a cache of blockslab's is from kmalloc() on both sides. */
	if (kind != '-')
		caches[id] = kind == 'c' && size <= BLOCKSLAB_SLOT_MAX ? caches_of(size) : NULL;
	if (IS_ERR(caches[id]))
		return PTR_ERR(caches[id]);
	add_event(id, size, caches[id]);
	return 0;
}

static unsigned long count_lines(const char *text)
{
	unsigned long lines = 1;

	while ((text = strchr(text, '\n'))) {
		lines++;
		text++;
	}
	return lines;
}

static int parse_trace(char *text)
{
	unsigned long lines = count_lines(text), number = 0, id;
	struct caches **caches = vzalloc(array_size(lines, sizeof(*caches)));
	char *line;
	int err = 0;

	events = vzalloc(array3_size(lines, 2, sizeof(*events)));
	replay_slots = vzalloc(array_size(lines, sizeof(*replay_slots)));
	if (!caches || !events || !replay_slots)
		err = -ENOMEM;
	while (!err && (line = strsep(&text, "\n"))) {
		number++;
		if (*line && *line != '#')
			err = parse_event(line, caches, lines);
	}
	if (!err && !nr_taken)
		err = -EINVAL;
	if (err)
		pr_err("blockslab_bench: %s: line %lu cannot be used, or nothing is allocated\n",
		       trace, number);
	nr_timed = nr_events;
	for (id = 0; !err && id < lines; id++)
		add_event(id, 0, caches[id]);
	vfree(caches);
	return err;
}

static int read_trace(void)
{
	void *text = NULL;
	size_t size;
	int err;

	if (!trace)
		return 0;
	/* a kind of file that security modules know */
	err = kernel_read_file_from_path(trace, 0, &text, INT_MAX, &size, READING_POLICY);
	if (err < 0)
		return err;
	((char *)text)[size - 1] = '\0';	/* was the last line's end */
	err = parse_trace(text);
	vfree(text);
	return err;
}

static void forget_trace(void)
{
	vfree(events);
	vfree(replay_slots);
}

/* The whole trace; an operation is an allocation and its free, if there is one in the trace. */
static __always_inline int replay_with(const enum side side, struct bench *bench)
{
	const struct event *event = events, *end = events + nr_timed;
	void **at = replay_slots;	/* calls would have what is global loaded again */
	u64 start = begin();

	for (; event < end; event++) {
		if (event->size)
			at[event->id] = take_either(side, event->caches, event->size);
		else
			give_either(side, event->caches, at[event->id]);
	}
	count(bench, start, nr_taken);
	for (end = events + nr_events; event < end; event++)
		give_either(side, event->caches, at[event->id]);
	return 0;
}

EITHER_SIDE(replay)

/* --- the workloads, and their files ----------------------------------------------------------- */

static const struct workload workloads[] = {
	{ "pair", pair, PAIR_SIZES },
	{ "pair_const", pair_const, ALL_SIZES },
	{ "pair_fleet", pair_tracked, SMP_SIZES, SZ_8M },
	{ "pair_sampled", pair_tracked, SMP_SIZES, SZ_512K },
	{ "pair_tracked", pair_tracked, SMP_SIZES, 1 },
	{ "sized", pair, ALL_SIZES, .variant = true },
	{ "sized_const", pair_const, ALL_SIZES, .variant = true },
	{ "cache", cache, ALL_SIZES },
	{ "batch2", batch, ALL_SIZES, 2 },
	{ "batch8", batch, ALL_SIZES, 8 },
	{ "batch16", batch, ALL_SIZES, 16 },
	{ "batch64", batch, ALL_SIZES, 64 },
	{ "batch256", batch, BATCH_SIZES, 256 },
	{ "batch256_rev", batch, ALL_SIZES, 256, .variant = true },
	{ "batch4096", batch, ALL_SIZES, 4096 },
	{ "batch4096_rev", batch, ALL_SIZES, 4096, .variant = true },
	{ "fork", forks, ALL_SIZES, 512 },
	{ "fork_cache", forks, SMP_SIZES, 512, .variant = true },
	{ "bulk16", bulk, ALL_SIZES, 16 },
	{ "bulk64", bulk, ALL_SIZES, 64 },
	{ "bulk250", bulk, ALL_SIZES, 250 },
	{ "node", special_run, SMP_SIZES, NODE },
	{ "zalloc", special_run, SMP_SIZES, ZALLOC },
	{ "zero_heap", special_run, SMP_SIZES, ZERO_HEAP },
	{ "zero_cache", special_run, SMP_SIZES, ZERO_CACHE },
	{ "account_heap", special_run, SMP_SIZES, ACCOUNT_HEAP },
	{ "account_cache", special_run, SMP_SIZES, ACCOUNT_CACHE },
	{ "poison", special_run, SMP_SIZES, POISON },
	{ "nolock", special_run, SMP_SIZES, NOLOCK },
	{ "rcu", rcu, SMP_SIZES },
	{ "usable", usable, SMP_SIZES },
	{ "grow", grow },
	{ "cache_sampled", cache_sampled, SMP_SIZES, SZ_512K },
	{ "random", mixed },
	{ "replay", replay },
	{ "remote", remote, ALL_SIZES, 256, .cpus = 2 },
	{ "packet", packet, PACKET_SIZES, .cpus = 2 },
	{ "packet_used", packet, PACKET_SIZES, .cpus = 2, .variant = true },
	{ "smp1_same", smp, SHARED_SIZES, .cpus = 1 },
	{ "smp2_same", smp, SHARED_SIZES, .cpus = 2 },
	{ "smp4_same", smp, SHARED_SIZES, .cpus = 4 },
	{ "smp1_own", smp, SMP_SIZES, .cpus = 1, .variant = true },
	{ "smp2_own", smp, SMP_SIZES, .cpus = 2, .variant = true },
	{ "smp4_own", smp, SMP_SIZES, .cpus = 4, .variant = true },
	{ "first", first, ALL_SIZES },
	{ "destroy", first, SMP_SIZES, .variant = true },
	{ "worst_p999", worst, 0, 999 },
	{ "worst_max", worst, 0, 1000 },
};

static struct bench benches[ARRAY_SIZE(workloads) * ARRAY_SIZE(sizes)];
static unsigned int nr_benches;

static int run(enum side side, struct bench *bench, unsigned long ops)
{
	bench->ops = ops;
	bench->done = 0;
	bench->time = 0;
	return bench->workload->run(side, bench);
}

/* Lowers @figure, in tenths, to what an operation takes now. */
static int measure(enum side side, struct bench *bench, u64 *figure)
{
	int err = run_on(cpumask_first(cpu_online_mask));

	err = err ?: run(side, bench, iterations / 8);
	marking = side == profiled;
	err = err ?: run(side, bench, iterations);
	marking = false;
	if (!err && bench->done)
		*figure = min(*figure, div64_u64(bench->time * 10, bench->done));
	return err;
}

static int bench_show(struct seq_file *file, void *unused)
{
	u64 figure[NR_SIDES] = { U64_MAX, U64_MAX };
	struct bench *bench = file->private;
	unsigned int round;
	int err = 0;

	mutex_lock(&bench_mutex);
	if (bench->workload->cpus > num_online_cpus())
		err = -ENODEV;
	/* What other rows have just used is kept for them, and leaves less room for this one's. */
	blockslab_shrink(NULL);
	for (round = 0; round < rounds && !err; round++) {
		err = measure(SLUB, bench, &figure[SLUB]);
		err = err ?: measure(BLOCKSLAB, bench, &figure[BLOCKSLAB]);
	}
	mutex_unlock(&bench_mutex);
	if (err)
		return err;
	seq_printf(file, "slub %llu.%llu blockslab %llu.%llu faults %d\n",
		   figure[SLUB] / 10, figure[SLUB] % 10,
		   figure[BLOCKSLAB] / 10, figure[BLOCKSLAB] % 10, blockslab_validate(NULL));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(bench);

static int workloads_show(struct seq_file *file, void *unused)
{
	const struct bench *bench;

	for (bench = benches; bench < benches + nr_benches; bench++) {
		if (bench->workload->cpus > num_online_cpus())
			continue;
		seq_puts(file, bench->workload->name);
		if (bench->size)
			seq_printf(file, "/%zu", bench->size);
		seq_putc(file, '\n');
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(workloads);

static int add_file(const struct workload *workload, size_t size, struct dentry *parent,
		    const char *name)
{
	struct bench *bench = &benches[nr_benches++];

	bench->workload = workload;
	bench->size = size;
	bench->caches = size && size <= BLOCKSLAB_SLOT_MAX ? caches_of(size) : NULL;
	debugfs_create_file(name, 0400, parent, bench, &bench_fops);
	return PTR_ERR_OR_ZERO(bench->caches);
}

static int add_files(const struct workload *workload)
{
	struct dentry *parent;
	char name[8];
	int i, err = 0;

	if (workload->run == replay && !trace)
		return 0;
	if (!workload->sizes)
		return add_file(workload, 0, directory, workload->name);
	parent = debugfs_create_dir(workload->name, directory);
	for_each_set_bit(i, &workload->sizes, ARRAY_SIZE(sizes)) {
		snprintf(name, sizeof(name), "%zu", sizes[i]);
		err = err ?: add_file(workload, sizes[i], parent, name);
	}
	return err;
}

static void blockslab_bench_exit(void)
{
	debugfs_remove_recursive(directory);
	end_holders();
	forget_trace();
	destroy_caches();
}

static int __init blockslab_bench_init(void)
{
	int i, err;

	directory = debugfs_create_dir("blockslab_bench", NULL);
	debugfs_create_file("workloads", 0400, directory, NULL, &workloads_fops);
	debugfs_create_file("memory", 0200, directory, NULL, &memory_fops);
	err = read_trace();
	for (i = 0; i < ARRAY_SIZE(workloads) && !err; i++)
		err = add_files(&workloads[i]);
	if (err)
		blockslab_bench_exit();
	return err;
}

module_init(blockslab_bench_init);
module_exit(blockslab_bench_exit);
MODULE_DESCRIPTION("What blockslab's operations cost, beside SLUB's");
MODULE_LICENSE("GPL");
