// SPDX-License-Identifier: GPL-2.0
/* Contexts: interrupts, no preemption, no sleep. */
#include "blockslab_kunit.h"

#include <linux/sched/mm.h>

#define NR_SLOTS	200

/* Work on a heap that never sleeps; what fails is counted, and slots that others wrote to. */
struct errand {
	struct blockslab_heap *heap;
	void *(*alloc)(struct blockslab_heap *heap, size_t size);
	void (*free)(const void *slot);
	int failed, changed;
	void *slots[NR_SLOTS];
};

static void *alloc_atomic(struct blockslab_heap *heap, size_t size)
{
	return try_alloc(heap, size, GFP_ATOMIC);
}

static void run_errand(void *data)
{
	struct errand *errand = data;
	int i;

	for (i = 0; i < NR_SLOTS; i++) {
		size_t size = 1 + i * 20;

		errand->slots[i] = errand->alloc(errand->heap, size);
		if (errand->slots[i])
			memset(errand->slots[i], i, size);
		else
			errand->failed++;
	}
	for (i = 0; i < NR_SLOTS; i++) {
		if (errand->slots[i] && !all_bytes_are(errand->slots[i], i, 1 + i * 20))
			errand->changed++;
		errand->free(errand->slots[i]);
	}
}

static struct errand *atomic_errand(struct kunit *test)
{
	struct errand *errand = kunit_kzalloc(test, sizeof(*errand), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, errand);
	errand->heap = fixture.heap;
	errand->alloc = alloc_atomic;
	errand->free = blockslab_free;
	return errand;
}

static void expect_served(struct kunit *test, const struct errand *errand)
{
	KUNIT_EXPECT_EQ(test, errand->failed, 0);
	KUNIT_EXPECT_EQ(test, errand->changed, 0);
}

/* Not on PREEMPT_RT, where kmalloc() does not serve there either. */
static void skip_on_rt(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "no allocation in this context on PREEMPT_RT");
}

static void a_hard_interrupt_is_served(struct kunit *test)
{
	struct errand *errand = atomic_errand(test);
	int i;

	for (i = 0; i < 10; i++)
		call_in_hardirq(run_errand, errand);
	expect_served(test, errand);
}

static void a_soft_interrupt_is_served(struct kunit *test)
{
	struct errand *errand = atomic_errand(test);
	int i;

	for (i = 0; i < 10; i++)
		call_in_softirq(run_errand, errand);
	expect_served(test, errand);
}

static void code_without_interrupts_is_served(struct kunit *test)
{
	struct errand *errand = atomic_errand(test);
	unsigned long flags;

	skip_on_rt(test);
	local_irq_save(flags);
	run_errand(errand);
	local_irq_restore(flags);
	expect_served(test, errand);
}

static void code_without_preemption_is_served(struct kunit *test)
{
	struct errand *errand = atomic_errand(test);

	skip_on_rt(test);
	preempt_disable();
	run_errand(errand);
	preempt_enable();
	expect_served(test, errand);
}

static void a_reader_of_rcu_is_served(struct kunit *test)
{
	struct errand *errand = atomic_errand(test);

	rcu_read_lock();
	run_errand(errand);
	rcu_read_unlock();
	expect_served(test, errand);
}

/* Under the locks that its caller holds, a spinlock too. */
static void a_holder_of_a_spinlock_is_served(struct kunit *test)
{
	static DEFINE_SPINLOCK(lock);
	struct errand *errand = atomic_errand(test);

	spin_lock(&lock);
	run_errand(errand);
	spin_unlock(&lock);
	expect_served(test, errand);
}

/*
 * What a shrinker of some client may do. Lockdep learns from it which locks are taken in reclaim,
 * and would report those that are held while memory is asked for.
 */
static void reclaim_is_served(struct kunit *test)
{
	struct errand *errand = atomic_errand(test);

	fs_reclaim_acquire(GFP_KERNEL);
	run_errand(errand);
	blockslab_shrink(fixture.heap);
	blockslab_shrink(NULL);
	fs_reclaim_release(GFP_KERNEL);
	expect_served(test, errand);
}

/* They may fail, so that only what they gave is looked at; some of it they must have given. */
static void the_nolock_calls_work_in_every_context(struct kunit *test)
{
	struct errand *errand = atomic_errand(test);
	unsigned long flags;

	run_errand(errand);	/* so that there are cached slots to take */
	errand->alloc = blockslab_alloc_nolock;
	errand->free = blockslab_free_nolock;
	errand->failed = 0;
	run_errand(errand);
	KUNIT_EXPECT_LT(test, errand->failed, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, errand->changed, 0);
	call_in_softirq(run_errand, errand);
	KUNIT_EXPECT_EQ(test, errand->changed, 0);
	call_in_hardirq(run_errand, errand);
	KUNIT_EXPECT_EQ(test, errand->changed, 0);
	local_irq_save(flags);
	run_errand(errand);
	local_irq_restore(flags);
	KUNIT_EXPECT_EQ(test, errand->changed, 0);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

static void free_slot(void *slot)
{
	blockslab_free(slot);
}

static void free_slot_nolock(void *slot)
{
	blockslab_free_nolock(slot);
}

static void slots_cross_contexts(struct kunit *test)
{
	int i;

	for (i = 0; i < 50; i++) {
		call_in_hardirq(free_slot, must_alloc(test, fixture.heap, 1 + i));
		call_in_hardirq(free_slot_nolock, must_alloc(test, fixture.heap, 1 + i));
		call_in_softirq(free_slot, must_alloc(test, fixture.heap, 1 + i));
		blockslab_free_nolock(must_alloc(test, fixture.heap, 1 + i));
		blockslab_free(blockslab_alloc_nolock(fixture.heap, 1 + i));
	}
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

/* Interrupts that allocate while the interrupted does. */
static struct {
	struct irq_work work;
	struct errand *errand;
	unsigned int runs;
} meddler;

static void meddle(struct irq_work *work)
{
	run_errand(meddler.errand);
	meddler.runs++;
}

static void an_interrupt_may_meddle_at_any_time(struct kunit *test)
{
	unsigned long end = jiffies + HZ / 2;
	unsigned int failed = 0, turns = 0;

	meddler.errand = atomic_errand(test);
	meddler.runs = 0;
	init_irq_work(&meddler.work, meddle);
	while (time_before(jiffies, end)) {
		size_t size = 1 + turns++ * 20 % 4000;
		void *slot = try_alloc(fixture.heap, size, GFP_KERNEL);

		irq_work_queue(&meddler.work);
		if (slot)
			memset(slot, turns & 0xff, size);
		failed += !slot || !all_bytes_are(slot, turns & 0xff, size);
		blockslab_free(slot);
	}
	irq_work_sync(&meddler.work);
	KUNIT_EXPECT_EQ(test, failed, 0);
	expect_served(test, meddler.errand);
	KUNIT_EXPECT_GT(test, meddler.runs, 0);
}

static void a_fault_in_an_interrupt_is_told(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);

	blockslab_free(slot);
	call_in_hardirq(free_slot, slot);
	expect_fault(test, "double free", slot);
}

/*
 * Lockdep tells if not: who holds what file systems wait for in reclaim asks for no per-CPU memory,
 * for which others wait for file systems.
 */
static void who_must_not_wait_for_file_systems_does_not(struct kunit *test)
{
	static DEFINE_MUTEX(of_a_file_system);
	void __percpu *some[4];
	void *slot;
	int i;

	if (!IS_ENABLED(CONFIG_LOCKDEP))
		kunit_skip(test, "nobody watches locks");
	fs_reclaim_acquire(GFP_KERNEL);
	mutex_lock(&of_a_file_system);
	mutex_unlock(&of_a_file_system);
	fs_reclaim_release(GFP_KERNEL);
	for (i = 0; i < ARRAY_SIZE(some); i++)
		some[i] = __alloc_percpu(SZ_16K, 8);
	mutex_lock(&of_a_file_system);
	slot = try_alloc(fixture.heap, 200, GFP_NOFS);
	mutex_unlock(&of_a_file_system);
	KUNIT_EXPECT_NOT_NULL(test, slot);
	blockslab_free(slot);
	for (i = 0; i < ARRAY_SIZE(some); i++)
		free_percpu(some[i]);
}

static struct kunit_case context_cases[] = {
	KUNIT_CASE(who_must_not_wait_for_file_systems_does_not),
	KUNIT_CASE(a_hard_interrupt_is_served),
	KUNIT_CASE(a_soft_interrupt_is_served),
	KUNIT_CASE(code_without_interrupts_is_served),
	KUNIT_CASE(code_without_preemption_is_served),
	KUNIT_CASE(a_reader_of_rcu_is_served),
	KUNIT_CASE(a_holder_of_a_spinlock_is_served),
	KUNIT_CASE(reclaim_is_served),
	KUNIT_CASE(the_nolock_calls_work_in_every_context),
	KUNIT_CASE(slots_cross_contexts),
	KUNIT_CASE(an_interrupt_may_meddle_at_any_time),
	KUNIT_CASE(a_fault_in_an_interrupt_is_told),
	{}
};

BLOCKSLAB_KUNIT_SUITE(context, context_cases);
