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
 * CPU has a loaded and a spare one per class, in its *line*. The *depot* keeps the magazines that
 * CPUs trade. A *retained* block is an empty one kept for reuse. A *cache* is a heap of one class.
 *
 * The house. This file includes the parts of core/ in reading order: a part uses only what stands
 * above it. Each says on top what it is for and what its locks are. HACKING.md has the map.
 *
 * Design:
 *
 * - Pointer -> block (page.h, page.c). Every page of a block says in three words of its struct page
 *   whose it is. One compare on a line that is read anyway tells a foreign pointer, and the class's
 *   lines are known without a dependent load. Blocks are not compound pages: the words stand on
 *   every page, so no head page has to be found. Their reference count is far below zero, so that
 *   whoever takes a slot's page for another kind of memory harms nobody.
 * - Blocks (block.c). The descriptor holds a bitmap of the free slots, so a double free is a bit
 *   test and what a writer after free destroys is only its own content. A slot's number is its
 *   offset times the reciprocal of the slot size; the low half of the product tells whether it is
 *   the start of a slot (Lemire, Kaser & Kurz, "Faster remainder by direct computation", 2019).
 * - Magazines (Bonwick & Adams, "Magazines and Vmem", 2001; magazine.c). The common alloc and free
 *   touch the CPU's loaded magazine only. It is guarded by preemption off and a plain flag, with
 *   interrupts left on: an interrupt that finds the flag set takes the slow path. A free slot has
 *   its canary in one word, a secret of this boot with its own address added, from the making of
 *   its block on; it is cleared on the way out. A slot that has it is free, wherever it lies.
 * - Depot (depot.c). Per class and node a shelf on one cache line, where a full magazine is traded
 *   for an empty one by one atomic operation: it leaves interrupts on, too, and waits for no CPU.
 * - Bulk calls move all that this CPU's magazines hold or take under one claim; the rest, if it is
 *   enough to be cheaper than a trade, goes past them, many slots per hold of the lock.
 * - Nodes. A class keeps blocks and depot per NUMA node, and every CPU has one line per node, so
 *   that a slot freed anywhere is cached with its own node's slots and goes home with them in
 *   batches. The line of the CPU's own node is found by adding one per-CPU offset, at no cost.
 *   Where there are many CPUs, a class has lines once it has seen use: see lines_due().
 * - Many sizes (class.c). A heap's first few sizes have classes at once; others share coarse ones
 *   until they are used in earnest, see size_earned(), and again when no more: classes_rest().
 * - Deferred frees (defer.c) are marks in the block from the call on; the page's key counts them.
 * - Giving back (retain.c, trim.c). Twice a second, as long as a heap has anything to give back and
 *   is in use, its classes are looked at: after two seconds without a change, what lies in a depot
 *   and in empty blocks goes back, and from a class that is not used at all the CPUs' magazines,
 *   too. For that a CPU is interrupted only if it holds some, and an isolated one never.
 * - Tracking (sample.c, note.c, track.c, watch.c). Every line counts bytes down from a credit; when
 *   it is used up, the allocation takes the slow path, and there may be sampled. Tracked slots have
 *   blocks of their own, with notes, and zones around them, and are kept for a while after their
 *   free: who writes where nobody may is told. What is not tracked pays nothing.
 *
 * The life of a slot:
 *	free, in its block -> cached -> allocated -> cached -> free
 *	       bit set         bit clear, canary   no canary   canary   bit set, canary
 *
 * In heaps with POISON or RED_ZONE, where it is tracked, and in a coarse class, it is never cached
 * and has no canary: the bit says what it is, and of a tracked one enum watch_state. Between
 * blockslab_free_rcu() and the end of the grace period it is allocated, with its mark set.
 *
 * The life of a block: block_new() charges the heap, asks for pages and binds them to a class;
 * block_prepare() makes slots of them and writes the pages' words; block_link() puts it on the list
 * that its number of free slots names, among which block_list() moves it. Empty, it is retained or
 * block_unlink() takes it off; block_put() clears the words, page_counts_restore() finds the pages
 * unused by others, and block_end() gives them back. A heap's life stands at enum heap_state.
 *
 * What leads off the fast path; none of it is a test of its own:
 *	what					is felt by
 *	no slot, or no room			the count in the line
 *	an interrupt came while it was changed	the line's flag
 *	the class rests, or is not there; the	the line of no_class, which has no slot and no room
 *	heap zeroes, charges, or is destroyed
 *	sampling				the line's credit
 *	tracing, init_on_alloc, kmemleak	blockslab_fast_size: no size is small enough
 *	tracing, init_on_free, kmemleak		blockslab_span.reach: no address is near enough
 *	a tracked, checked or coarse slot,	the page's key
 *	whole pages, a deferred free, or a
 *	slot of the reserve
 *	a double free				the bit in the block, or the canary
 *	a foreign pointer			the page's key
 *	a pointer into a slot			the reciprocal
 *
 * The path of one allocation that finds this CPU's magazine empty, and of one free that finds it
 * full:
 *
 *	blockslab_alloc		alloc.c		or inline in fast.h: the loaded magazine is empty
 *	alloc_refill		alloc.c		nothing else is out of the ordinary
 *	has_slots		depot.c		the spare, or the shelf's for the empty one; else
 *	alloc_from		take.c		unless it is to be tracked,
 *	bring_slots		depot.c		with the empty one in hand
 *	refill			depot.c		some slots of the fullest blocks into it
 *
 *	blockslab_free		free.c		or inline in fast.h: the loaded magazine is full
 *	free_missed		free.c		else to free_checked(), which tells what is wrong
 *	free_again		free.c		claims the line for that:
 *	has_room		depot.c		the spare, or the shelf's for the full one; else
 *	put_elsewhere		free.c		with the canary,
 *	bring_room		depot.c		with the full one in hand
 *	magazine_flush		magazine.c	some of its slots out of it
 *	flush_slots		block.c		and into their blocks
 *
 * Equations, checked by blockslab_validate():
 * - allocated + cached + free == slots of all blocks
 * - allocs - frees == allocated
 * - held == block bytes + descriptors + magazines, and never above the limit
 * - a block is on the list that its number of free slots names, but for 0, with that many bits set
 *
 * What a pair of blockslab_alloc() and blockslab_free() spends, in instructions on Debian's 6.1
 * (tools/bench --listing shows them; 62 in all, where kmalloc() and kfree() spend 262):
 * - entry and return 3, of the free: allocation is inline where its GFP flags are constant, and
 *   they are looked at by the compiler; the rest of the request 2
 * - size -> class -> line 3, address -> page and its key 11, page -> block and slot 10: these are
 *   the dependent loads, two and three of them
 * - canary 1 + 5, preemption and this CPU's line 3 + 4, claim 4 + 4
 * - magazine 6 + 5, the last dependent load of each; statistics 3 + 1, on the same line
 * A free with the size looks at 5 more, and is inline: 170 bytes at every place that calls it.
 *
 * What decided the sizes (tools/replay on a trace of 120 network namespaces made and half of them
 * deleted): 16 steps a doubling above 512, and orders that grow with use, hold 0.85 of what
 * kmalloc's classes hold at the peak, and 1.09 bytes a byte asked for; 0.02 of that are descriptors
 * and magazines. What is kept for reuse, and its figures, stand in retain.c.
 *
 * What it does not do: it does not move slots, does not merge classes or heaps, does not serve
 * more than the page allocator's largest order, and finds no double free of an untracked slot that
 * has a new owner, nor, on the fast path, one of two CPUs that both looked before either wrote the
 * canary.
 *
 * Lock order, from the outside in: heap->control (what control files write, and a heap's end),
 * heap_names (names and debugfs), node->lock (blocks), and innermost, never one in another,
 * heap->lock (reserve, making and rest of classes, shared[]), heaps_lock (the list of heaps),
 * clients_lock, referenced_lock, quarantine_lock and watch->lock. Lines, shelves, deferred frees
 * and reports have none. No page and no descriptor is asked for under a spinlock, and none is taken
 * with preemption disabled, so all may sleep on PREEMPT_RT. Nothing is printed under one.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/ctype.h>
#include <linux/debugfs.h>
#include <linux/fault-inject.h>
#include <linux/fs.h>
#include <linux/irq_work.h>
#include <linux/jump_label.h>
#include <linux/kallsyms.h>
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
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/panic_notifier.h>
#include <linux/percpu.h>
#include <linux/poison.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/debug.h>
#include <linux/sched/isolation.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/smp.h>
#include <linux/sort.h>
#include <linux/srcu.h>
#include <linux/stackdepot.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

/* tools/test --coverage: a branch counts once, not in every copy, and none that GCC takes. */
#ifdef BLOCKSLAB_COUNTED
#undef __always_inline
#define __always_inline	inline
#define __builtin_constant_p(value)	false
#define BLOCKSLAB_CONSTANT(value)	true
#define INLINE_RET_IP	((unsigned long)__builtin_return_address(1))
#else
#define INLINE_RET_IP	_RET_IP_	/* of what it is inline in */
#endif

#define BLOCKSLAB_BUILD
#include "blockslab.h"
#include "core/compat.h"
#include "core/inject.h"
#define CREATE_TRACE_POINTS
#include "core/trace.h"

EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_alloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_free);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_block_get);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_block_put);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_refill);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_flush);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_limit_hit);
EXPORT_TRACEPOINT_SYMBOL_GPL(blockslab_fault);

#include "core/versions.h"
#include "core/params.h"
#include "core/types.h"
#include "core/inject.c"
#include "core/page.c"
#include "core/client.c"
#include "core/fault.c"
#include "core/account.c"
#include "core/quarantine.c"
#include "core/provider.c"
#include "core/retain.c"
#include "core/block.c"
#include "core/magazine.c"
#include "core/sample.c"
#include "core/depot.c"
#include "core/note.c"
#include "core/watch.c"
#include "core/trim.c"
#include "core/class.c"
#include "core/take.c"
#include "core/large.c"
#include "core/alloc.c"
#include "core/free.c"
#include "core/realloc.c"
#include "core/defer.c"
#include "core/check.c"
#include "core/track.c"
#include "core/grow.c"
#include "core/heap.c"
#include "core/readers.c"
#include "core/debugfs.c"
#include "core/create.c"
#include "core/cache.c"
#include "core/copy.c"
#include "core/compat.c"
#include "core/shrinker.c"
#include "core/oom.c"

/* ------------------------------------------------------------------------------------------------
 * Module
 */

/*
 * Where struct pages stand in one row, all of lowmem is in the fast path's reach, holes too: see
 * blockslab_page_word(). Memory that is added makes it larger; it never becomes smaller.
 */
static void span_grow(void)
{
	if (IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP) || IS_ENABLED(CONFIG_FLATMEM))
		WRITE_ONCE(blockslab_span.size, (unsigned long)high_memory - blockslab_span.base);
}

static void cpus_home(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		home_cpu(cpu);
}

static int memory_changes(struct notifier_block *self, unsigned long action, void *data)
{
	if (action == MEM_ONLINE || action == MEM_OFFLINE) {
		span_grow();
		follow_keys();
		cpus_home();
	}
	return NOTIFY_OK;
}

static struct notifier_block memory_notifier = { .notifier_call = memory_changes };

#ifdef CONFIG_MODULES
/* Of what a module left behind its slots stay valid, and it is named by what it was called. */
static void report_left(struct module *module)
{
	struct blockslab_heap *heap;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		heap_keep_names(heap, module);
		if (heap->module != module)
			continue;
		heap->module = NULL;
		if (heap_destroyed(heap))	/* reported then */
			continue;
		pr_warn("module %s was unloaded and left heap %s behind; its slots stay valid\n",
			heap->maker, heap->name);
		heap_trim(heap, true);
		report_leaks(heap);
	}
}

/* What the shared heap only kept for a module that is gone shall not keep this one loaded. */
static void module_gone(struct module *module)
{
	deferred_finish(NULL);
	rcu_barrier();			/* blocks that wait for a grace period hold their heap */
	flush_delayed_work(&ending_work);
	flush_workqueue(workqueue);	/* heaps whose last slot it freed are gone with it */
	report_left(module);
	if (atomic_long_read(&blockslab_shared.nr_blocks))
		heap_trim_cpus(&blockslab_shared, HEAP_ENDS);
}

static int module_follow(struct notifier_block *self, unsigned long state, void *data)
{
	if (state == MODULE_STATE_GOING && data != THIS_MODULE)
		module_gone(data);
	client_follow(data, state);
	return NOTIFY_OK;
}

static struct notifier_block module_notifier = { .notifier_call = module_follow };
#else
static struct notifier_block module_notifier;
#endif

static void __init sizes_init(void)
{
	unsigned int i, size = 0;

	for (i = 0; i < NR_SIZES; i++) {
		size += i < BLOCKSLAB_NR_STEPS ? 8 :
			32 << (i - BLOCKSLAB_NR_STEPS) / BLOCKSLAB_STEPS_PER_DOUBLING;
		index_size[i] = size;
	}
	blockslab_size_index[0] = INDEX_SLOW;
	for (i = 1; i < ARRAY_SIZE(blockslab_size_index); i++)
		blockslab_size_index[i] = blockslab_index(i);
	static_assert(NR_INDEXES <= INDEX_CACHE);
	max_order = clamp_t(unsigned int, max_order, RESERVE_ORDER, BLOCK_ORDER_MAX);
}

static void __init cpus_init(void)
{
	int cpu;

	cpus_home();
	for_each_possible_cpu(cpu)
		prandom_seed_state(per_cpu_ptr(&credit_random, cpu), get_random_u64());
}

static int cpu_states[2];

/* It leaves its magazines, and could not ask: see works_ask_by_irq(). */
static int cpu_gone(unsigned int cpu)
{
	drain_dead_cpu(cpu);
	works_ask(NULL);
	return 0;
}

/* It may have another node. */
static int cpu_comes(unsigned int cpu)
{
	home_cpu(cpu);
	works_ask(NULL);
	return 0;
}

static int __init hotplug_init(void)
{
	cpu_states[0] = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "blockslab:dead", NULL,
						  cpu_gone);
	if (cpu_states[0] < 0)
		return cpu_states[0];
	cpu_states[1] = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "blockslab:online",
						  cpu_comes, NULL);
	if (cpu_states[1] < 0)
		cpuhp_remove_state_nocalls(cpu_states[0]);
	return min(cpu_states[1], 0);
}

/* What is there of it. */
static void memory_put(void)
{
	kmem_cache_destroy(class_cache);
	kmem_cache_destroy(block_cache);
	free_percpu(no_class);
}

static int __init blockslab_init(void)
{
	int error = -ENOMEM;

	quarantined = 0;	/* whoever would have set it */
	blockslab_span.canary = get_random_long();
	blockslab_span.base = PAGE_OFFSET;
	blockslab_span.page = virt_to_page((void *)PAGE_OFFSET);
	span_grow();
	sizes_init();
	cpus_init();
	no_class = __alloc_percpu(nr_node_ids * sizeof(struct blockslab_cpu), SMP_CACHE_BYTES);
	block_cache = kmem_cache_create("blockslab_block", descriptor_bytes(1), 0, 0, NULL);
	class_cache = kmem_cache_create("blockslab_class", class_bytes(), 0, 0, NULL);
	if (!no_class || !block_cache || !class_cache)
		goto no_memory;
	INIT_WORK(&deferred_work, deferred_work_fn);
	workqueue = alloc_workqueue("blockslab", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!workqueue)
		goto no_memory;
	if (shrinker_init())
		goto no_shrinker;
	error = hotplug_init();
	if (error)
		goto no_hotplug;
	debugfs_init();
	heap_init(&blockslab_shared, "shared", &no_attrs);
	strscpy(blockslab_shared.maker, KBUILD_MODNAME, sizeof(blockslab_shared.maker));
	heap_track_first(&blockslab_shared);
	heap_start(&blockslab_shared, 0);
	register_module_notifier(&module_notifier);
	register_memory_notifier(&memory_notifier);
	register_oom_notifier(&oom_notifier);
	atomic_notifier_chain_register(&panic_notifier_list, &panic_notifier);
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
no_memory:
	memory_put();
	return error;
}

/* No module uses this one any more, no heap is left, and the shared heap has no live slot. */
static void __exit blockslab_exit(void)
{
	flush_delayed_work(&ending_work);
	atomic_notifier_chain_unregister(&panic_notifier_list, &panic_notifier);
	unregister_oom_notifier(&oom_notifier);
	cancel_delayed_work_sync(&growth_work);
	unregister_memory_notifier(&memory_notifier);
	unregister_module_notifier(&module_notifier);
	shrinker_free(shrinker);
	heap_end(&blockslab_shared);
	heap_close(&blockslab_shared);
	heap_finish(&blockslab_shared);
	cancel_delayed_work_sync(&lines_work);
	cpuhp_remove_state_nocalls(cpu_states[1]);
	cpuhp_remove_state_nocalls(cpu_states[0]);
	heap_put(&blockslab_shared);	/* nobody else has references on heaps now */
	flush_workqueue(workqueue);
	rcu_barrier();
	cancel_delayed_work_sync(&referenced_work);
	irq_work_sync(&works_irq);
	destroy_workqueue(workqueue);	/* after what they queued: all that was found is told */
	debugfs_exit();			/* heaps that are freed remove their directories */
	rcu_barrier();
	quarantine_trim(0);
	heaps_exit();
	rcu_barrier();
	clients_exit();
	memory_put();
}

core_initcall(blockslab_init);	/* built in, others' allocations may come early */
module_exit(blockslab_exit);
MODULE_DESCRIPTION("Small memory from page-backed blocks, each dedicated to one size class");
MODULE_VERSION(BLOCKSLAB_VERSION);
MODULE_LICENSE("GPL");
