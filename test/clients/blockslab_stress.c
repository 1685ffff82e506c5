// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_stress: the whole API at random, on all CPUs, in their interrupts, and in what NMIs
 * there are, for some seconds.
 *
 * Every slot is signed by who allocates it and checked by who frees it. Slots change hands through
 * shared places, by xchg(), so that most are freed on another CPU than they came from. At the end
 * all must have come back, the invariants must hold, and no fault may have been reported.
 *
 * With provoke=1, threads also commit faults: slots freed twice in all ways, looks at slots that
 * are no more, references to pages that outlive slots, heaps destroyed twice. Each second free must
 * be refused before it returns, and no other fault may be reported than those.
 *
 * Loading runs it: insmod succeeds if all was well, fails with EIO if not, and the log tells more.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>

#ifdef CONFIG_X86_LOCAL_APIC
#include <asm/nmi.h>
#endif

#include "blockslab.h"
#include "core/inject.h"
#include "core/trace.h"
#include "../versions.h"

#define NR_PLACES	1024
#define NR_OBJECTS	256
#define BULK_MAX	40
#define OWN_MAX		200
#define OBJECT_SIZE	88
#define OBJECT_MAGIC	0x0b1ec7
#define FAIL_ALL	(BLOCKSLAB_FAIL_PAGES | BLOCKSLAB_FAIL_DESCRIPTOR | \
			 BLOCKSLAB_FAIL_MAGAZINE | BLOCKSLAB_FAIL_CLASS | BLOCKSLAB_FAIL_TRACK)

static unsigned int seconds = 10;
module_param(seconds, uint, 0444);
MODULE_PARM_DESC(seconds, "How long (default 10)");

static unsigned int seed;
module_param(seed, uint, 0444);
MODULE_PARM_DESC(seed, "Seed of the random sequences (default: 0, a new one)");

static unsigned int fail;
module_param(fail, uint, 0444);
MODULE_PARM_DESC(fail, "Of 100 requests for memory of blockslab's own, so many fail (default 0)");

static unsigned long track;
module_param(track, ulong, 0444);
MODULE_PARM_DESC(track, "Sample all heaps at this period throughout (default 0: at changing ones)");

static bool provoke;
module_param(provoke, bool, 0444);
MODULE_PARM_DESC(provoke, "Commit faults that must be refused (default N)");

/* At the start of every slot; all bytes behind it up to @size are @fill. */
struct item {
	u32 size;
	u8 cpu;
	u8 fill;
	u16 sum;
};

struct object {
	u32 magic;
	u32 uses;
};

enum count {
	COUNT_ALLOCATED,
	COUNT_REFUSED,
	COUNT_FREED,
	COUNT_REMOTE,
	NR_COUNTS,
};

enum wrong {
	FREED_TWICE,
	STALE,
	REFERENCED,
	ENDED,
	NR_WRONGS,
};

/* One for each CPU: its thread and the timer that interrupts it. */
struct worker {
	unsigned int cpu;
	struct task_struct *thread;
	struct hrtimer timer;
	/* what runs in thread and interrupt keeps apart */
	struct context {
		struct rnd_state random;
		bool atomic;
		unsigned long operations;
		unsigned long counts[NR_COUNTS];
	} task, irq, nmi;
	unsigned int heaps_made;
	void *own[OWN_MAX];
	struct blockslab_heap *heap;	/* for slots freed twice */
	/* what is done wrong just now, and whether that was told; any CPU may tell */
	const void *wrong;
	bool told;
	unsigned long faults[NR_WRONGS], nr_told;
};

static struct blockslab_heap *heaps[4];		/* the first is the shared one */
static const char * const names[] = { "shared", "stress-plain", "stress-debug", "stress-limited" };
static struct blockslab_cache *cache;
static void *places[NR_PLACES], *objects[NR_OBJECTS], *stale[NR_OBJECTS];
static struct page *pages[NR_OBJECTS];
static struct worker *workers;			/* nr_cpu_ids of them */
static atomic_t bad;

#define failed(format, ...)						\
do {									\
	atomic_inc(&bad);						\
	pr_err("FAILED: " format "\n", ##__VA_ARGS__);			\
} while (0)

/* --- what is random --------------------------------------------------------------------------- */

static u32 below(struct context *context, u32 bound)
{
	return prandom_u32_state(&context->random) % bound;
}

/* Small mostly, as most are; whole pages now and then. */
static size_t some_size(struct context *context)
{
	switch (below(context, 16)) {
	case 0:
		return sizeof(struct item) + below(context, 30000);
	case 1:
	case 2:
	case 3:
		return sizeof(struct item) + below(context, 8000);
	default:
		return sizeof(struct item) + below(context, 250);
	}
}

static struct blockslab_heap *some_heap(struct context *context)
{
	return heaps[below(context, ARRAY_SIZE(heaps))];
}

static gfp_t gfp_of(struct context *context)
{
	return (context->atomic ? GFP_ATOMIC : GFP_KERNEL) | __GFP_NOWARN;
}

/* --- slots, signed and checked ---------------------------------------------------------------- */

static u16 sum_of(const struct item *item)
{
	u64 fields = (u64)item->size << 40 | item->cpu << 8 | item->fill;

	return hash_64((unsigned long)item ^ fields, 16);
}

static void sign(struct context *context, struct item *item, size_t size)
{
	OPTIMIZER_HIDE_VAR(item);
	item->size = size;
	item->cpu = raw_smp_processor_id();
	item->fill = prandom_u32_state(&context->random);
	item->sum = sum_of(item);
	memset(item + 1, item->fill, size - sizeof(*item));
	context->counts[COUNT_ALLOCATED]++;
}

static void check(struct item *item)
{
	size_t usable = blockslab_usable_size(item);
	const u8 *other;

	if (item->sum != sum_of(item)) {
		failed("the signature of slot %p of %zu bytes was overwritten: %*ph", item, usable,
		       (int)sizeof(*item), item);
		return;
	}
	other = memchr_inv(item + 1, item->fill, item->size - sizeof(*item));
	if (other)
		failed("slot %p, of CPU %u and %u bytes of 0x%02x, has 0x%02x at byte %td",
		       item, item->cpu, item->size, item->fill, *other, other - (u8 *)item);
	else if (usable < item->size)
		failed("slot %p of %zu bytes is smaller than the %u that were asked for", item,
		       usable, item->size);
}

static void give_back(struct context *context, struct item *item)
{
	void *slot = item;

	if (!item)
		return;
	check(item);
	context->counts[COUNT_FREED]++;
	context->counts[COUNT_REMOTE] += item->cpu != (u8)raw_smp_processor_id();
	switch (below(context, 8)) {
	case 0:
		blockslab_free_sized(item, item->size);
		break;
	case 1:
		blockslab_free_rcu(item);
		break;
	case 2:
		blockslab_free_nolock(item);
		break;
	case 3:
		blockslab_free_bulk(1, &slot);
		break;
	default:
		blockslab_free(item);
	}
}

static void leave(struct context *context, struct item *item)
{
	give_back(context, xchg(&places[below(context, NR_PLACES)], item));
}

static void leave_new(struct context *context, void *slot, size_t size)
{
	if (!slot) {
		context->counts[COUNT_REFUSED]++;
		return;
	}
	sign(context, slot, size);
	leave(context, slot);
}

/* --- operations: of thread and interrupt ------------------------------------------------------ */

static void op_alloc(struct context *context)
{
	size_t size = some_size(context);

	leave_new(context, blockslab_alloc(some_heap(context), size, gfp_of(context)), size);
}

static void op_zalloc(struct context *context)
{
	size_t size = some_size(context);
	void *slot = blockslab_zalloc(some_heap(context), size, gfp_of(context));

	if (slot && memchr_inv(slot, 0, size))
		failed("slot %p of %zu bytes is not zero", slot, size);
	leave_new(context, slot, size);
}

static void op_node(struct context *context)
{
	int node = below(context, 2) ? first_online_node : next_online_node(first_online_node);
	size_t size = some_size(context);

	if (node >= MAX_NUMNODES)
		node = NUMA_NO_NODE;
	leave_new(context, blockslab_alloc_node(some_heap(context), size, gfp_of(context), node),
		  size);
}

static void op_nolock(struct context *context)
{
	size_t size = some_size(context);

	leave_new(context, blockslab_alloc_nolock(some_heap(context), size), size);
}

static void op_bulk(struct context *context)
{
	size_t size = some_size(context), nr = 1 + below(context, BULK_MAX), i;
	void *slots[BULK_MAX];

	if (blockslab_alloc_bulk(some_heap(context), size, gfp_of(context), nr, slots) != nr) {
		context->counts[COUNT_REFUSED] += nr;
		return;
	}
	for (i = 0; i < nr; i++)
		leave_new(context, slots[i], size);
}

static void op_bulk_free(struct context *context)
{
	size_t nr = 1 + below(context, BULK_MAX), i;
	void *slots[BULK_MAX];

	for (i = 0; i < nr; i++) {
		slots[i] = xchg(&places[below(context, NR_PLACES)], NULL);
		if (!slots[i])
			continue;
		check(slots[i]);
		context->counts[COUNT_FREED]++;
	}
	blockslab_free_bulk(nr, slots);
}

static void op_free(struct context *context)
{
	leave(context, NULL);
}

static void op_realloc(struct context *context)
{
	struct item *item = xchg(&places[below(context, NR_PLACES)], NULL), *resized;
	size_t size = some_size(context), kept;
	u8 fill;

	if (!item)
		return;
	check(item);
	kept = min_t(size_t, item->size, size) - sizeof(*item);
	fill = item->fill;
	resized = blockslab_realloc(some_heap(context), item, size, gfp_of(context));
	if (!resized) {
		context->counts[COUNT_REFUSED]++;
		leave(context, item);
		return;
	}
	if (memchr_inv(resized + 1, fill, kept))
		failed("contents were lost when slot %p was resized to %zu bytes, at %p", item,
		       size, resized);
	context->counts[COUNT_FREED]++;
	leave_new(context, resized, size);
}

static void construct(void *data)
{
	struct object *object = data;

	object->magic = OBJECT_MAGIC;
	object->uses = 0;
}

static void op_object(struct context *context)
{
	struct object *object = blockslab_cache_alloc(cache, gfp_of(context));

	if (!object)
		context->counts[COUNT_REFUSED]++;
	else if (object->magic != OBJECT_MAGIC)
		failed("object %p is not as its constructor left it: 0x%x", object, object->magic);
	else
		object->uses++;
	object = xchg(&objects[below(context, NR_OBJECTS)], object);
	if (object)
		blockslab_cache_free(cache, object);
}

/* --- operations: of threads only -------------------------------------------------------------- */

/* Another's heap, too, amid its frees. */
static void op_shrink(struct worker *worker)
{
	struct blockslab_heap *heap = workers[below(&worker->task, nr_cpu_ids)].heap;

	blockslab_shrink(some_heap(&worker->task));
	if (heap)
		blockslab_shrink(heap);
}

static void op_validate(struct worker *worker)
{
	unsigned int i = below(&worker->task, ARRAY_SIZE(heaps));
	int faults = blockslab_validate(heaps[i]);

	if (faults)
		failed("%d invariants of %s, in use, do not hold", faults, names[i]);
}

static void op_track(struct worker *worker)
{
	static const size_t periods[] = { 0, 0, 1, 4096, SZ_512K };
	size_t period = track ?: periods[below(&worker->task, ARRAY_SIZE(periods))];
	unsigned int i = below(&worker->task, ARRAY_SIZE(heaps));
	int error = blockslab_track(heaps[i], period);

	if (error)
		failed("tracking of %s could not be switched to %zu: %d", names[i], period, error);
}

/* --- faults, by intent ------------------------------------------------------------------------ */

static void begin_wrong(struct worker *worker, const void *what, enum wrong wrong)
{
	WRITE_ONCE(worker->told, false);
	WRITE_ONCE(worker->wrong, what);
	worker->faults[wrong]++;
}

static void end_wrong(struct worker *worker, bool must)
{
	WRITE_ONCE(worker->wrong, NULL);
	if (READ_ONCE(worker->told))
		worker->nr_told++;
	else if (must)
		failed("a fault was not told");
}

static void free_somehow(struct context *context, void *slot, size_t size)
{
	switch (below(context, 5)) {
	case 0:
		blockslab_free_sized(slot, size);
		break;
	case 1:
		blockslab_free_rcu(slot);
		break;
	case 2:
		blockslab_free_nolock(slot);
		break;
	case 3:
		blockslab_free_bulk(1, &slot);
		break;
	default:
		blockslab_free(slot);
	}
}

/*
 * A slot freed twice, while others shrink and trim. Nobody else allocates from the heap, and
 * another live slot keeps the block, so that it has no new owner between its two frees.
 */
static void op_twice(struct worker *worker)
{
	static const size_t sizes[] = { 8, 24, 40, 88, 200, 500, 1000 };
	size_t size = sizes[below(&worker->task, ARRAY_SIZE(sizes))];
	void *slots[8], *slot;
	int i, other;

	if (!worker->heap || blockslab_alloc_bulk(worker->heap, size, GFP_KERNEL | __GFP_NOWARN,
						  ARRAY_SIZE(slots), slots) != ARRAY_SIZE(slots))
		return;
	i = below(&worker->task, ARRAY_SIZE(slots));
	other = (i + 1 + below(&worker->task, ARRAY_SIZE(slots) - 1)) % ARRAY_SIZE(slots);
	if (virt_to_page(slots[i]) == virt_to_page(slots[other])) {
		slot = slots[i];
		slots[i] = NULL;
		OPTIMIZER_HIDE_VAR(slot);
		free_somehow(&worker->task, slot, size);
		if (below(&worker->task, 2))
			cond_resched();
		begin_wrong(worker, slot, FREED_TWICE);
		free_somehow(&worker->task, slot, size);
		end_wrong(worker, true);
	}
	blockslab_free_bulk(ARRAY_SIZE(slots), slots);
}

/* A look at where a slot was. Its block may be gone, on its way, or another's by now. */
static void op_stale(struct worker *worker)
{
	static const size_t sizes[] = { 64, 1000, 4096, 16384, 30000 };
	size_t size = sizes[below(&worker->task, ARRAY_SIZE(sizes))];
	void *slot = blockslab_alloc(some_heap(&worker->task), size, GFP_KERNEL | __GFP_NOWARN);

	if (slot) {
		xchg(&stale[below(&worker->task, NR_OBJECTS)], slot);
		blockslab_free(slot);
	}
	slot = READ_ONCE(stale[below(&worker->task, NR_OBJECTS)]);
	if (!slot)
		return;
	begin_wrong(worker, slot, STALE);
	blockslab_owns(slot);
	blockslab_usable_size(slot);
	end_wrong(worker, false);
}

/* References come and go, and may outlive the slot, whose page must stay so long. */
static void op_reference(struct worker *worker)
{
	size_t size = some_size(&worker->task);
	void *slot = blockslab_alloc(some_heap(&worker->task), size, GFP_KERNEL | __GFP_NOWARN);
	struct page *page;

	if (!slot)
		return;
	page = virt_to_page(slot);
	get_page(page);
	worker->faults[REFERENCED]++;
	leave_new(&worker->task, slot, size);
	page = xchg(&pages[below(&worker->task, NR_OBJECTS)], page);
	if (page)
		put_page(page);
}

static void op_wrong(struct worker *worker)
{
	switch (below(&worker->task, 4)) {
	case 0:
		op_stale(worker);
		break;
	case 1:
		op_reference(worker);
		break;
	default:
		op_twice(worker);
	}
}

/* By whoever tells a fault, maybe under a lock. */
static void fault_probe(void *data, const char *what, const void *slot, const char *heap,
			size_t size)
{
	unsigned int cpu;
	bool meant = provoke && !strncmp(what, "page still referenced", 21);

	for_each_possible_cpu(cpu)
		if (slot && READ_ONCE(workers[cpu].wrong) == slot) {
			WRITE_ONCE(workers[cpu].told, true);
			meant = true;
		}
	if (!meant)
		failed("%s, of slot %p of %zu bytes of heap %s", what, slot, size, heap);
}

/* --- a heap's whole life ---------------------------------------------------------------------- */

static unsigned int fill_own(struct worker *worker, struct blockslab_heap *heap)
{
	unsigned int nr = below(&worker->task, OWN_MAX), i, live = 0;

	for (i = 0; i < nr; i++) {
		size_t size = some_size(&worker->task);
		void *slot = blockslab_alloc(heap, size, GFP_KERNEL | __GFP_NOWARN);

		if (!slot)
			continue;
		sign(&worker->task, slot, size);
		worker->own[live++] = slot;
	}
	return live;
}

static void free_own(struct worker *worker, unsigned int from, unsigned int to)
{
	while (to > from)
		give_back(&worker->task, worker->own[--to]);
}

/* A heap's whole life: used, and then emptied, released or left with a few live slots. */
static void op_heap(struct worker *worker)
{
	static const unsigned long flags[] = {
		0, BLOCKSLAB_ZERO, BLOCKSLAB_POISON, BLOCKSLAB_RED_ZONE,
	};
	struct blockslab_heap_attrs attrs = {
		.flags = flags[below(&worker->task, ARRAY_SIZE(flags))],
		.limit = below(&worker->task, 2) ? 0 : SZ_256K,
	};
	unsigned int end = below(&worker->task, 3), nr, live;
	struct blockslab_heap *heap;
	char name[32];

	snprintf(name, sizeof(name), "stress-%u-%u", worker->cpu, worker->heaps_made++);
	heap = blockslab_heap_create(name, &attrs);
	if (IS_ERR(heap)) {
		if (!fail)
			failed("heap %s could not be made: %ld", name, PTR_ERR(heap));
		return;
	}
	nr = fill_own(worker, heap);
	live = end == 0 ? 0 : end == 1 ? nr : min(nr, 3u);
	free_own(worker, live, nr);
	if (blockslab_validate(heap))
		failed("the invariants of heap %s do not hold", name);
	if (end == 1)
		blockslab_heap_release(heap);
	blockslab_heap_destroy(heap);
	if (provoke && !below(&worker->task, 4)) {
		begin_wrong(worker, heap, ENDED);
		blockslab_heap_destroy(heap);
		end_wrong(worker, true);
	}
	if (end == 2)
		free_own(worker, 0, live);
}

/* --- threads and interrupts ------------------------------------------------------------------- */

static void step(struct context *context)
{
	static void (* const operations[])(struct context *context) = {
		op_alloc, op_alloc, op_alloc, op_alloc, op_zalloc, op_node, op_nolock,
		op_free, op_free, op_free, op_realloc, op_object, op_object, op_bulk, op_bulk_free,
	};

	operations[below(context, ARRAY_SIZE(operations))](context);
	context->operations++;
}

static enum hrtimer_restart interrupt(struct hrtimer *timer)
{
	struct worker *worker = container_of(timer, struct worker, timer);
	u64 before = ktime_get_ns();

	step(&worker->irq);
	/* on a slow machine there shall be time for other things too */
	hrtimer_forward_now(timer, ns_to_ktime((100 + below(&worker->irq, 900)) * NSEC_PER_USEC +
					       8 * (ktime_get_ns() - before)));
	return HRTIMER_RESTART;
}

static int work(void *data)
{
	struct worker *worker = data;

	hrtimer_start(&worker->timer, ns_to_ktime(100 * NSEC_PER_USEC), HRTIMER_MODE_REL_PINNED);
	while (!kthread_should_stop()) {
		step(&worker->task);
		if (!below(&worker->task, 2000))
			op_heap(worker);
		if (!below(&worker->task, 2000))
			op_shrink(worker);
		if (!below(&worker->task, 5000))
			op_validate(worker);
		if (!below(&worker->task, 5000))
			op_track(worker);
		if (provoke && !below(&worker->task, 30))
			op_wrong(worker);
		cond_resched();
	}
	hrtimer_cancel(&worker->timer);
	return 0;
}

#ifdef CONFIG_X86_LOCAL_APIC
/* Whatever NMI comes, for a backtrace say, is used: none is this handler's own. */
static int interrupt_nmi(unsigned int type, struct pt_regs *regs)
{
	struct context *context = &workers[raw_smp_processor_id()].nmi;
	size_t size = sizeof(struct item) + below(context, 500);
	struct item *item;

	item = blockslab_alloc_nolock(some_heap(context), size);
	if (item)
		sign(context, item, size);
	else
		context->counts[COUNT_REFUSED]++;
	item = xchg(&places[below(context, NR_PLACES)], item);
	if (item) {
		check(item);
		blockslab_free_nolock(item);
		context->counts[COUNT_FREED]++;
	}
	context->operations++;
	return NMI_DONE;
}

static int nmi_start(void)
{
	return register_nmi_handler(NMI_LOCAL, interrupt_nmi, 0, "blockslab_stress");
}

static void nmi_stop(void)
{
	unregister_nmi_handler(NMI_LOCAL, "blockslab_stress");
}
#else
static int nmi_start(void)
{
	return 0;
}

static void nmi_stop(void)
{
}
#endif

/* Kept to its CPU, but not for ever: that may go offline meanwhile. */
static void start(struct worker *worker, unsigned int cpu)
{
	worker->cpu = cpu;
	worker->irq.atomic = true;
	prandom_seed_state(&worker->task.random, seed + 2 * cpu);
	prandom_seed_state(&worker->irq.random, seed + 2 * cpu + 1);
	prandom_seed_state(&worker->nmi.random, seed + 2 * cpu + 2);
	hrtimer_setup(&worker->timer, interrupt, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
	worker->thread = kthread_create(work, worker, "stress/%u", cpu);
	if (IS_ERR(worker->thread)) {
		failed("no thread could be made");
		return;
	}
	set_cpus_allowed_ptr(worker->thread, cpumask_of(cpu));
	wake_up_process(worker->thread);
}

static void add_counts(struct context *sum, const struct context *context)
{
	int i;

	sum->operations += context->operations;
	for (i = 0; i < NR_COUNTS; i++)
		sum->counts[i] += context->counts[i];
}

/* Not in the way of a suspend, after which it goes on; the sleep may end early then. */
static void rest(void)
{
	unsigned long end = jiffies + seconds * HZ;

	while (time_before(jiffies, end)) {
		set_current_state(TASK_IDLE | TASK_FREEZABLE);
		schedule_timeout(end - jiffies);
	}
}

static void run(void)
{
	struct context task = {}, irq = {}, nmi = {};
	unsigned long faults[NR_WRONGS] = {}, told = 0;
	unsigned int cpu, i;

	for_each_online_cpu(cpu)
		start(&workers[cpu], cpu);
	if (nmi_start())
		failed("no NMI handler could be set up");
	blockslab_fail(fail ? FAIL_ALL : 0, ULONG_MAX, fail);
	rest();
	blockslab_fail(0, 0, 0);
	nmi_stop();
	for_each_possible_cpu(cpu) {
		if (IS_ERR_OR_NULL(workers[cpu].thread))
			continue;
		kthread_stop(workers[cpu].thread);
		add_counts(&task, &workers[cpu].task);
		add_counts(&irq, &workers[cpu].irq);
		add_counts(&nmi, &workers[cpu].nmi);
		for (i = 0; i < NR_WRONGS; i++)
			faults[i] += workers[cpu].faults[i];
		told += workers[cpu].nr_told;
	}
	pr_info("seed %u: %lu operations, %lu more in interrupts, %lu in NMIs\n", seed,
		task.operations, irq.operations, nmi.operations);
	add_counts(&task, &irq);
	add_counts(&task, &nmi);
	pr_info("%lu slots allocated, %lu refused, %lu freed, %lu of them on another CPU\n",
		task.counts[COUNT_ALLOCATED], task.counts[COUNT_REFUSED], task.counts[COUNT_FREED],
		task.counts[COUNT_REMOTE]);
	if (provoke)
		pr_info("%lu slots freed twice, %lu looked at too late, %lu pages held, %lu heaps destroyed twice: %lu told\n",
			faults[FREED_TWICE], faults[STALE], faults[REFERENCED], faults[ENDED],
			told);
	if (!task.counts[COUNT_ALLOCATED])
		failed("nothing was allocated");
}

/* --- before and after ------------------------------------------------------------------------- */

static int make_heaps(void)
{
	static const struct blockslab_heap_attrs attrs[] = {
		{ .reserve = SZ_64K },
		{ .flags = BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE },
		{ .limit = SZ_2M },
	};
	struct blockslab_heap *heap;
	unsigned int cpu;
	char name[32];
	int i;

	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		heaps[i + 1] = blockslab_heap_create(names[i + 1], &attrs[i]);
		if (IS_ERR(heaps[i + 1]))
			return PTR_ERR(heaps[i + 1]);
	}
	for_each_online_cpu(cpu) {
		snprintf(name, sizeof(name), "stress-twice-%u", cpu);
		heap = provoke ? blockslab_heap_create(name, NULL) : NULL;
		if (IS_ERR(heap))
			return PTR_ERR(heap);
		workers[cpu].heap = heap;
	}
	for (i = 0; track && i < ARRAY_SIZE(heaps); i++)
		if (blockslab_track(heaps[i], track))
			return -EINVAL;
	cache = blockslab_cache_create("stress-cache", OBJECT_SIZE, 0, BLOCKSLAB_TYPESAFE_BY_RCU,
				       construct);
	return PTR_ERR_OR_ZERO(cache);
}

static void empty_places(struct context *context)
{
	int i;

	for (i = 0; i < NR_PLACES; i++)
		give_back(context, places[i]);
	for (i = 0; i < NR_OBJECTS; i++)
		if (objects[i])
			blockslab_cache_free(cache, objects[i]);
	for (i = 0; i < NR_OBJECTS; i++)
		if (pages[i])
			put_page(pages[i]);
}

static size_t allocated(struct blockslab_heap *heap)
{
	struct blockslab_heap_stats stats;

	blockslab_heap_stats(heap, &stats);
	return stats.allocated;
}

static void end_heap(struct blockslab_heap *heap, const char *name)
{
	int tries;

	/* those freed by RCU take their time */
	for (tries = 0; tries < 500 && allocated(heap); tries++)
		msleep(20);
	if (allocated(heap))
		failed("%zu bytes of %s are still allocated though all were freed", allocated(heap),
		       name);
	if (blockslab_validate(heap))
		failed("the invariants of %s do not hold at the end", name);
	blockslab_heap_destroy(heap);
}

static void end_heaps(void)
{
	unsigned int cpu;
	int i;

	if (!IS_ERR_OR_NULL(cache))
		blockslab_cache_destroy(cache);
	for (i = 1; i < ARRAY_SIZE(heaps); i++)
		if (!IS_ERR_OR_NULL(heaps[i]))
			end_heap(heaps[i], names[i]);
	for_each_possible_cpu(cpu)
		if (workers[cpu].heap)
			end_heap(workers[cpu].heap, "stress-twice");
	if (blockslab_validate(NULL))
		failed("the invariants of the shared heap do not hold at the end");
}

static int __init stress_init(void)
{
	struct context last = {};
	int error = -ENOMEM;

	workers = vzalloc(array_size(nr_cpu_ids, sizeof(*workers)));
	if (!workers)
		return error;
	seed = seed ?: get_random_u32();
	prandom_seed_state(&last.random, seed);
	error = register_trace_blockslab_fault(fault_probe, NULL);
	if (!error) {
		error = make_heaps();
		if (!error)
			run();
		empty_places(&last);
		end_heaps();
		unregister_trace_blockslab_fault(fault_probe, NULL);
		tracepoint_synchronize_unregister();
	}
	vfree(workers);
	return error ?: atomic_read(&bad) ? -EIO : 0;
}

static void __exit stress_exit(void)
{
}

module_init(stress_init);
module_exit(stress_exit);
MODULE_DESCRIPTION("Stress of blockslab: the whole API at random on all CPUs");
MODULE_LICENSE("GPL");
