// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_paths: a client that allocates by fifty call paths, on all CPUs, and may leak.
 *
 * Slots come and go at random in places that all CPUs share, so that half of them are freed on
 * another CPU. Parameters:
 *
 *	run	written: so many allocations and frees, which the CPUs take as they come to them
 *	figures	what they took: nanoseconds by the clock, and nanoseconds of all CPUs' time
 *	leak	path 42 loses one slot in so many; 0 for none
 *	places	for slots of each path
 */
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "blockslab.h"

#define NR_PATHS	50
#define LEAKY_PATH	42

static unsigned int leak;
module_param(leak, uint, 0600);
MODULE_PARM_DESC(leak, "path 42 loses one slot in so many; 0 for none");

static unsigned int places = 8;
module_param(places, uint, 0400);
MODULE_PARM_DESC(places, "Slots that each path may have");

static char figures[80];
module_param_string(figures, figures, sizeof(figures), 0400);
MODULE_PARM_DESC(figures, "What the last run took, in nanoseconds: by the clock, and of the CPUs");

static struct blockslab_heap *heap;
static void **slots;		/* places of all paths */

/* Path 42 is by4() to take2(), and so on. No two are the same code, and no call is a jump. */
static __always_inline void *take(unsigned int number)
{
	void *slot = blockslab_alloc(heap, 40 + 4 * number, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(slot);
	return slot;
}

static __always_inline void *by(const unsigned int number, void *(*take)(void))
{
	void *slot = take();

	asm volatile("" : "+r" (slot) : "i" (number));
	return slot;
}

static noinline void *take0(void) { return take(0); }
static noinline void *take1(void) { return take(1); }
static noinline void *take2(void) { return take(2); }
static noinline void *take3(void) { return take(3); }
static noinline void *take4(void) { return take(4); }
static noinline void *take5(void) { return take(5); }
static noinline void *take6(void) { return take(6); }
static noinline void *take7(void) { return take(7); }
static noinline void *take8(void) { return take(8); }
static noinline void *take9(void) { return take(9); }
static noinline void *by0(void *(*take)(void)) { return by(0, take); }
static noinline void *by1(void *(*take)(void)) { return by(1, take); }
static noinline void *by2(void *(*take)(void)) { return by(2, take); }
static noinline void *by3(void *(*take)(void)) { return by(3, take); }
static noinline void *by4(void *(*take)(void)) { return by(4, take); }

static void *(* const takes[])(void) = {
	take0, take1, take2, take3, take4, take5, take6, take7, take8, take9,
};

static void *(* const bys[])(void *(*take)(void)) = { by0, by1, by2, by3, by4 };

struct share {
	struct work_struct work;
	struct completion done;	/* a flush would change the stack */
	struct rnd_state random;
	atomic_long_t *left;	/* operations, of all CPUs */
	unsigned long taken;	/* by the leaky path */
	u64 time;
};

#define OPERATIONS_AT_ONCE	64

/* Empties a place, or fills it. */
static void operate(struct share *share)
{
	unsigned int place = prandom_u32_state(&share->random) % (NR_PATHS * places);
	unsigned int path = place % NR_PATHS;
	void *slot = xchg(&slots[place], NULL);

	if (slot) {
		blockslab_free(slot);
		return;
	}
	slot = bys[path / 10](takes[path % 10]);
	if (leak && path == LEAKY_PATH && ++share->taken % leak == 0)
		return;
	blockslab_free(xchg(&slots[place], slot));
}

static void share_run(struct work_struct *work)
{
	struct share *share = container_of(work, struct share, work);
	u64 start = READ_ONCE(current->se.sum_exec_runtime);
	unsigned int i;

	while (atomic_long_sub_return(OPERATIONS_AT_ONCE, share->left) >= 0) {
		for (i = 0; i < OPERATIONS_AT_ONCE; i++)
			operate(share);
		cond_resched();
	}
	share->time = READ_ONCE(current->se.sum_exec_runtime) - start;
	complete(&share->done);
}

static int run_set(const char *text, const struct kernel_param *param)
{
	struct share *shares = kcalloc(nr_cpu_ids, sizeof(*shares), GFP_KERNEL);
	ktime_t start = ktime_get();
	unsigned long operations;
	atomic_long_t left;
	u64 time = 0;
	int cpu;

	if (!shares || kstrtoul(text, 0, &operations)) {
		kfree(shares);
		return -EINVAL;
	}
	atomic_long_set(&left, operations);
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		INIT_WORK(&shares[cpu].work, share_run);
		init_completion(&shares[cpu].done);
		prandom_seed_state(&shares[cpu].random, 1 + cpu + start);
		shares[cpu].left = &left;
		queue_work_on(cpu, system_long_wq, &shares[cpu].work);
	}
	for_each_online_cpu(cpu) {
		wait_for_completion(&shares[cpu].done);
		time += shares[cpu].time;
	}
	cpus_read_unlock();
	snprintf(figures, sizeof(figures), "%llu %llu", ktime_to_ns(ktime_sub(ktime_get(), start)),
		 time);
	kfree(shares);
	return 0;
}

static const struct kernel_param_ops run_ops = { .set = run_set };
module_param_cb(run, &run_ops, NULL, 0200);
MODULE_PARM_DESC(run, "Written: so many allocations and frees");

static int __init blockslab_paths_init(void)
{
	slots = places ? vzalloc(array3_size(NR_PATHS, places, sizeof(*slots))) : NULL;
	if (!slots)
		return -ENOMEM;
	heap = blockslab_heap_create("paths", NULL);
	if (IS_ERR(heap))
		vfree(slots);
	return PTR_ERR_OR_ZERO(heap);
}
module_init(blockslab_paths_init);

/* What was lost is reported. */
static void __exit blockslab_paths_exit(void)
{
	unsigned int place;

	for (place = 0; place < NR_PATHS * places; place++)
		blockslab_free(slots[place]);
	blockslab_heap_destroy(heap);
	vfree(slots);
}
module_exit(blockslab_paths_exit);

MODULE_DESCRIPTION("Fifty call paths, one of which may leak");
MODULE_LICENSE("GPL");
