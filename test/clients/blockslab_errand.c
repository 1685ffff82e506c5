// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_errand: uses heaps on the CPUs it is told to, and nowhere else, for test/boot.sh. The
 * parameter `run` is written to:
 *
 *	cpu N		on CPU N, 64 slots of 64 bytes of the heap errand are taken and freed
 *	heaps N		so many heaps are made, used a little and destroyed, on this CPU
 *	classes N	one slot each of so many classes of the heap errand is taken and freed;
 *			-E2BIG where the heap's own structures grow by over 8 KiB a class for that
 *	everywhere N	so many heaps are made, used on every CPU, and then destroyed
 *	nolock N	on CPU N, slots are taken and freed, and one is had without a lock
 *	dying N		CPU N gives a slot to blockslab_free_rcu() as it goes offline, interrupts
 *			off, and comes back; -EBUSY where what is given so is not freed afterwards
 *	surely N	all that a heap may hold is cached on CPU N, and wanted on this one by a
 *			request that may not fail
 *	elsewhere N	a heap at its limit has free slots only of another node, cached on CPU N,
 *			which wants them with interrupts off; -ENOMEM where it does not get them
 *	keep N		so many heaps are made, and stay until the module goes
 */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>
#include "blockslab.h"

#define NR_SLOTS	64
#define NR_HEAPS	300

static struct blockslab_heap *errand;

static long use(void *heap)
{
	void *slots[NR_SLOTS];
	int i, failed = 0;

	for (i = 0; i < NR_SLOTS; i++) {
		slots[i] = blockslab_alloc(heap, 64, GFP_KERNEL);
		failed += !slots[i];
	}
	for (i = 0; i < NR_SLOTS; i++)
		blockslab_free(slots[i]);
	return failed ? -ENOMEM : 0;
}

static long use_nolock(void *heap)
{
	long err = use(heap);
	void *slot = blockslab_alloc_nolock(heap, 64);

	blockslab_free(slot);
	return err ?: slot ? 0 : -ENOMEM;
}

static int classes(unsigned int nr)
{
	struct blockslab_heap_stats before, after;
	unsigned int i;

	blockslab_heap_stats(errand, &before);
	for (i = 0; i < nr; i++)
		blockslab_free(blockslab_alloc(errand, 104 + 8 * i, GFP_KERNEL));
	blockslab_heap_stats(errand, &after);
	return after.fixed - before.fixed > nr * SZ_8K ? -E2BIG : 0;
}

static int heaps(unsigned int nr)
{
	struct blockslab_heap *heap;
	char name[24];
	int err = 0;

	while (nr-- && !err) {
		snprintf(name, sizeof(name), "errand-%u", nr);
		heap = blockslab_heap_create(name, NULL);
		err = IS_ERR(heap) ? PTR_ERR(heap) : use(heap);
		blockslab_heap_destroy(heap);
	}
	return err;
}

static struct blockslab_heap *many[NR_HEAPS];

static long use_many(void *nr)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < *(unsigned int *)nr && !err; i++)
		err = use(many[i]);
	return err;
}

static unsigned int kept;

static int keep(unsigned int nr)
{
	char name[24];

	for (; kept < nr; kept++) {
		snprintf(name, sizeof(name), "errand-%u", kept);
		many[kept] = blockslab_heap_create(name, NULL);
		if (IS_ERR(many[kept]))
			return PTR_ERR(many[kept]);
	}
	return 0;
}

static void keep_none(void)
{
	while (kept)
		blockslab_heap_destroy(many[--kept]);
}

static int everywhere(unsigned int nr)
{
	int cpu, err = keep(nr);

	for_each_online_cpu(cpu)
		err = err ?: work_on_cpu(cpu, use_many, &nr);
	keep_none();
	return err;
}

static void *last;

static int dies(unsigned int cpu)
{
	blockslab_free_rcu(xchg(&last, NULL));
	return 0;
}

static size_t allocated(struct blockslab_heap *heap)
{
	struct blockslab_heap_stats stats;

	blockslab_heap_stats(heap, &stats);
	return stats.allocated;
}

static int dying(unsigned int cpu)
{
	int err, tries = 0;

	last = blockslab_alloc(errand, 96, GFP_KERNEL);
	err = cpuhp_setup_state_nocalls(CPUHP_AP_DUMMY_TIMER_STARTING, "errand", NULL, dies);
	if (err)
		return err;
	err = remove_cpu(cpu);
	if (!err)
		err = add_cpu(cpu);
	cpuhp_remove_state_nocalls(CPUHP_AP_DUMMY_TIMER_STARTING);
	blockslab_free(xchg(&last, NULL));	/* where it did not go */
	blockslab_free_rcu(blockslab_alloc(errand, 1000, GFP_KERNEL));
	while (!err && allocated(errand) && tries++ < 100)
		msleep(100);
	return err ?: allocated(errand) ? -EBUSY : 0;
}

#define NR_WANTED	16
#define WANTED_BYTES	1000

/* As many as there are may be had; those that this CPU then has again stay in its magazines. */
static long take_all(void *heap)
{
	void *slots[NR_WANTED];
	int nr = 0, left;

	while (nr < NR_WANTED &&
	       (slots[nr] = blockslab_alloc(heap, WANTED_BYTES, GFP_NOWAIT | __GFP_NOWARN)))
		nr++;
	for (left = nr; left; left--)
		blockslab_free(slots[left - 1]);
	return nr ? 0 : -ENOMEM;
}

static int surely(unsigned int cpu)
{
	struct blockslab_heap_attrs attrs = { .limit = 2 * PAGE_SIZE };
	struct blockslab_heap *heap = blockslab_heap_create("surely", &attrs);
	void *slot;
	int err;

	if (IS_ERR(heap))
		return PTR_ERR(heap);
	err = work_on_cpu(cpu, take_all, heap);
	slot = blockslab_alloc(heap, 4000, GFP_KERNEL | __GFP_NOFAIL);
	blockslab_free(slot);
	blockslab_heap_destroy(heap);
	return err;
}

#define NR_FOREIGN	2048
#define NR_WANTED_BACK	8

/* The slots of a heap that another node's memory filled to its limit. */
static long take_elsewhere(void *heap)
{
	void **slots = kvcalloc(NR_FOREIGN, sizeof(*slots), GFP_KERNEL);
	int other = first_online_node, nr = 0, missing = 0, first, i;

	if (other == numa_mem_id())
		other = next_online_node(other);
	if (!slots || other >= MAX_NUMNODES) {
		kvfree(slots);
		return slots ? -ENXIO : -ENOMEM;
	}
	while (nr < NR_FOREIGN &&
	       (slots[nr] = blockslab_alloc_node(heap, 64, GFP_NOWAIT | __GFP_NOWARN, other)))
		nr++;
	first = max(nr - NR_WANTED_BACK, 0);
	for (i = first; i < nr; i++)
		blockslab_free(slots[i]);
	local_irq_disable();
	for (i = first; i < nr; i++) {
		slots[i] = blockslab_alloc(heap, 64, GFP_ATOMIC | __GFP_NOWARN);
		missing += !slots[i];
	}
	local_irq_enable();
	blockslab_free_bulk(nr, slots);
	kvfree(slots);
	return missing || !nr ? -ENOMEM : 0;
}

static int elsewhere(unsigned int cpu)
{
	struct blockslab_heap_attrs attrs = { .limit = SZ_64K };
	struct blockslab_heap *heap = blockslab_heap_create("elsewhere", &attrs);
	int err;

	if (IS_ERR(heap))
		return PTR_ERR(heap);
	err = work_on_cpu(cpu, take_elsewhere, heap);
	blockslab_heap_destroy(heap);
	return err;
}

/* Whether that is asked for on a CPU, which is there. */
static bool asks_cpu(const char *text, const char *format, unsigned int *cpu)
{
	return sscanf(text, format, cpu) == 1 && *cpu < nr_cpu_ids && cpu_online(*cpu);
}

static int run_set(const char *text, const struct kernel_param *param)
{
	unsigned int nr;

	if (sscanf(text, "heaps %u", &nr) == 1)
		return heaps(nr);
	if (sscanf(text, "classes %u", &nr) == 1 && nr <= 32)
		return classes(nr);
	if (sscanf(text, "everywhere %u", &nr) == 1 && nr <= NR_HEAPS)
		return everywhere(nr);
	if (asks_cpu(text, "cpu %u", &nr))
		return work_on_cpu(nr, use, errand);
	if (asks_cpu(text, "nolock %u", &nr))
		return work_on_cpu(nr, use_nolock, errand);
	if (asks_cpu(text, "dying %u", &nr))
		return dying(nr);
	if (asks_cpu(text, "surely %u", &nr))
		return surely(nr);
	if (asks_cpu(text, "elsewhere %u", &nr))
		return elsewhere(nr);
	if (sscanf(text, "keep %u", &nr) == 1 && nr <= NR_HEAPS)
		return keep(nr);
	return -EINVAL;
}

static const struct kernel_param_ops run_ops = { .set = run_set };

module_param_cb(run, &run_ops, NULL, 0200);

static int __init errand_init(void)
{
	errand = blockslab_heap_create("errand", NULL);
	return PTR_ERR_OR_ZERO(errand);
}

static void __exit errand_exit(void)
{
	keep_none();
	blockslab_heap_destroy(errand);
}

module_init(errand_init);
module_exit(errand_exit);
MODULE_DESCRIPTION("Uses blockslab's heaps on chosen CPUs");
MODULE_LICENSE("GPL");
