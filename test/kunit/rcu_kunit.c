// SPDX-License-Identifier: GPL-2.0
/* Frees that wait for the readers. */
#include <linux/completion.h>
#include <linux/rcupdate.h>
#include "blockslab_kunit.h"
#include "../versions.h"

#define NR_SLOTS	5000

static void a_slot_comes_back_after_a_grace_period(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);

	blockslab_free_rcu(slot);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

static void a_reader_s_slot_is_not_given_to_another(struct kunit *test)
{
	void **others = slot_array(test, NR_SLOTS);
	void *slot = must_alloc(test, fixture.heap, 24);
	bool given = false, intact;
	int nr;

	memset(slot, 0x5a, 24);
	rcu_read_lock();
	blockslab_free_rcu(slot);
	for (nr = 0; nr < NR_SLOTS; nr++) {
		others[nr] = try_alloc(fixture.heap, 24, GFP_TRY);
		if (!others[nr])
			break;
		given |= others[nr] == slot;
		memset(others[nr], 0xff, 24);
	}
	intact = all_bytes_are(slot, 0x5a, 24);
	rcu_read_unlock();
	KUNIT_EXPECT_FALSE(test, given);
	KUNIT_EXPECT_TRUE(test, intact);
	free_many(others, nr);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

static const size_t rcu_sizes[] = { 1, 8, 24, 512, 8192, 8193, 100000 };

static void rcu_size_name(const size_t *size, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "size %zu", *size);
}

KUNIT_ARRAY_PARAM(rcu_size, rcu_sizes, rcu_size_name);

/* No room is needed in the slot: the smallest will do. */
static void slots_of_every_size_can_wait(struct kunit *test)
{
	const size_t *size = test->param_value;
	int i;

	for (i = 0; i < 20; i++)
		blockslab_free_rcu(must_alloc(test, fixture.heap, *size));
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

static void thousands_can_wait(struct kunit *test)
{
	int i;

	for (i = 0; i < NR_SLOTS; i++)
		blockslab_free_rcu(must_alloc(test, fixture.heap, 1 + i % 200));
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
}

#define NR_BLOCKS	2200	/* more than there is room for in the notes of one grace period */

static void slots_of_thousands_of_blocks_can_wait(struct kunit *test)
{
	void **slots = slot_array(test, 2 * NR_BLOCKS);
	int i;

	if (PAGE_SIZE > SZ_4K)
		kunit_skip(test, "needs whole pages that are small");
	alloc_many(test, fixture.heap, BLOCKSLAB_SLOT_MAX + 1, slots, NR_BLOCKS);
	for (i = 0; i < NR_BLOCKS; i++)
		blockslab_free_rcu(slots[i]);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
	/* two to a block */
	alloc_many(test, fixture.heap, 2048, slots, 2 * NR_BLOCKS);
	for (i = 0; i < 2 * NR_BLOCKS; i++)
		blockslab_free_rcu(slots[i]);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
}

static const size_t flood_sizes[] = { 4096, 20000 };

KUNIT_ARRAY_PARAM(flood_size, flood_sizes, rcu_size_name);

/* Whoever may sleep does not outrun the worker: what waits would be all of memory. */
static void a_flood_waits_for_the_worker(struct kunit *test)
{
	const size_t *size = test->param_value;
	size_t memory = totalram_pages() * PAGE_SIZE, most = 0, bytes;

	for (bytes = 0; bytes < memory / 4; bytes += *size) {
		blockslab_free_rcu(must_alloc(test, fixture.heap, *size));
		most = max(most, stats_of(fixture.heap).held);
	}
	KUNIT_EXPECT_LE(test, most, memory / 16);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

/* Whoever was interrupted may hold a lock under which stacks are kept. */
static void no_stack_is_kept_while_interrupts_are_off(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "tracked", BLOCKSLAB_TRACK, 0, 0);
	void *slots[4];
	unsigned long flags, stacks;

	alloc_many(test, heap, 100, slots, ARRAY_SIZE(slots));
	blockslab_fail(BLOCKSLAB_FAIL_TRACK, ULONG_MAX, 0);
	local_irq_save(flags);
	blockslab_free_rcu(slots[0]);
	blockslab_free_nolock(slots[1]);
	local_irq_restore(flags);
	KUNIT_EXPECT_EQ(test, blockslab_fail(BLOCKSLAB_FAIL_TRACK, ULONG_MAX, 0), 0);
	blockslab_free_rcu(slots[2]);
	blockslab_free_nolock(slots[3]);
	stacks = blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, stacks, IS_ENABLED(CONFIG_PREEMPT_RT) ? stacks : 2);
	KUNIT_EXPECT_TRUE(test, drains(heap));
	end_heap(test, heap);
}

static void destroy_loses_none_that_wait(struct kunit *test)
{
	int round, i;

	for (round = 0; round < 3; round++) {
		struct blockslab_heap *heap = make_heap(test, "waiting", 0, 0, 0);

		for (i = 0; i < 100; i++)
			blockslab_free_rcu(must_alloc(test, heap, 100));
		blockslab_heap_destroy(heap);
		KUNIT_EXPECT_EQ(test, heaps_named(test, "waiting"), 0);
	}
}

static void release_takes_those_that_wait(struct kunit *test)
{
	int i;

	for (i = 0; i < 100; i++)
		blockslab_free_rcu(must_alloc(test, fixture.heap, 100));
	blockslab_heap_release(fixture.heap);
	rcu_barrier();
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
}

static void it_works_in_atomic_context(struct kunit *test)
{
	void *slots[150];
	unsigned long flags;
	int i;

	alloc_many(test, fixture.heap, 48, slots, ARRAY_SIZE(slots));
	local_irq_save(flags);
	for (i = 0; i < ARRAY_SIZE(slots); i++)
		blockslab_free_rcu(slots[i]);
	local_irq_restore(flags);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

static void it_works_without_memory(struct kunit *test)
{
	void *slots[150];
	int i;

	alloc_many(test, fixture.heap, 48, slots, ARRAY_SIZE(slots));
	blockslab_fail(BLOCKSLAB_FAIL_MAGAZINE | BLOCKSLAB_FAIL_PAGES,
		       BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	for (i = 0; i < ARRAY_SIZE(slots); i++)
		blockslab_free_rcu(slots[i]);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
	blockslab_fail(0, 0, 0);
}

struct deferrer {
	bool gave_up;
	struct completion begun;
};

static int defer_again_and_again(void *data)
{
	unsigned long end = jiffies + 10 * HZ;
	struct deferrer *deferrer = data;

	do {
		blockslab_free_rcu(try_alloc(fixture.heap, 40, GFP_KERNEL));
		complete(&deferrer->begun);
		usleep_range(50, 100);
		deferrer->gave_up = time_after(jiffies, end);
	} while (!deferrer->gave_up && !kthread_should_stop());
	return 0;
}

/* What others go on to defer is not waited for. */
static void a_heap_ends_while_others_defer(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "ending", 0, 0, 0);
	struct deferrer deferrer = {};
	struct task_struct *thread;

	init_completion(&deferrer.begun);
	thread = kthread_create(defer_again_and_again, &deferrer, "blockslab_defers");
	KUNIT_ASSERT_FALSE(test, IS_ERR(thread));
	get_task_struct(thread);	/* kthread_stop() waits for its end, be it past that */
	wake_up_process(thread);
	wait_for_completion(&deferrer.begun);
	blockslab_free_rcu(must_alloc(test, heap, 100));
	blockslab_heap_destroy(heap);
	KUNIT_EXPECT_FALSE(test, deferrer.gave_up);
	kthread_stop(thread);
	put_task_struct(thread);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

static void objects_of_caches_can_wait(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("waiting", 40, 0, 0, NULL);
	int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	for (i = 0; i < 100; i++) {
		void *object = blockslab_cache_alloc(cache, GFP_KERNEL);

		KUNIT_EXPECT_NOT_NULL(test, object);
		blockslab_free_rcu(object);
	}
	blockslab_cache_destroy(cache);
	KUNIT_EXPECT_EQ(test, heaps_named(test, "waiting"), 0);
}

static void a_slot_already_free_is_refused(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);

	blockslab_free(slot);
	blockslab_free_rcu(slot);
	rcu_barrier();
	if (!atomic_read(&fixture.faults))
		msleep(500);
	expect_fault(test, "double free", slot);
}

typedef void (*free_function)(const void *slot);

static void free_sized_as_wanted(const void *slot)
{
	blockslab_free_sized(slot, 40);
}

static void free_in_bulk(const void *slot)
{
	void *slots[] = { (void *)slot };

	blockslab_free_bulk(1, slots);
}

static void realloc_to_nothing(const void *slot)
{
	WARN_ON(blockslab_realloc(fixture.heap, slot, 0, GFP_KERNEL) != ZERO_SIZE_PTR);
}

static const free_function every_free[] = {
	blockslab_free, free_sized_as_wanted, free_in_bulk, realloc_to_nothing,
	blockslab_free_nolock, blockslab_free_rcu,
};

/* Others of the same page are freed as ever. */
static void a_second_free_is_told_before_the_grace_period(struct kunit *test)
{
	void *slot, *other;
	int i;

	for (i = 0; i < ARRAY_SIZE(every_free); i++) {
		slot = must_alloc(test, fixture.heap, 40);
		other = must_alloc(test, fixture.heap, 40);
		rcu_read_lock();
		blockslab_free_rcu(slot);
		every_free[i](slot);
		expect_fault(test, "double free", slot);
		KUNIT_EXPECT_EQ(test, blockslab_usable_size(slot), 0);
		expect_fault(test, "double free", slot);
		blockslab_free(other);
		rcu_read_unlock();
		KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
		KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	}
}

/* Whole pages and coarse slots as well, none of which the fast path serves. */
static void what_waits_is_nobody_s(struct kunit *test)
{
	static const size_t sizes[] = { 8, 24, 40, 72, 200, 520, 3000, 20000 };
	void *slots[ARRAY_SIZE(sizes)];
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		slots[i] = must_alloc(test, fixture.heap, sizes[i]);
	rcu_read_lock();
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		KUNIT_EXPECT_GE(test, blockslab_usable_size(slots[i]), sizes[i]);
		blockslab_free_rcu(slots[i]);
		KUNIT_EXPECT_EQ(test, blockslab_usable_size(slots[i]), 0);
		expect_fault(test, "double free", slots[i]);
		KUNIT_EXPECT_NULL(test, blockslab_realloc(fixture.heap, slots[i], sizes[i],
							  GFP_TRY));
		expect_fault(test, "double free", slots[i]);
		blockslab_free_rcu(slots[i]);
		expect_fault(test, "double free", slots[i]);
	}
	rcu_read_unlock();
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

static void a_second_free_of_an_object_is_told(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("second", 40, 0, 0, NULL);
	void *object;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	object = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, object);
	rcu_read_lock();
	blockslab_free_rcu(object);
	blockslab_cache_free(cache, object);
	expect_fault(test, "double free", object);
	blockslab_cache_free_bulk(cache, 1, &object);
	expect_fault(test, "double free", object);
	rcu_read_unlock();
	blockslab_cache_destroy(cache);
}

/* When nothing waits any more, all is as it was: the fast path finds the page's slots. */
static void a_page_is_as_it_was_when_none_waits(struct kunit *test)
{
	void *slots[3];
	int i, round;

	alloc_many(test, fixture.heap, 40, slots, ARRAY_SIZE(slots));
	for (round = 0; round < 5; round++) {
		unsigned long key = (unsigned long)virt_to_page(slots[0])->lru.prev;

		for (i = 1; i < ARRAY_SIZE(slots); i++)
			blockslab_free_rcu(slots[i]);
		KUNIT_EXPECT_NE(test, (unsigned long)virt_to_page(slots[1])->lru.prev, key);
		for (i = 0; i < 500 && (unsigned long)virt_to_page(slots[0])->lru.prev != key; i++)
			msleep(20);
		KUNIT_EXPECT_EQ(test, (unsigned long)virt_to_page(slots[0])->lru.prev, key);
		alloc_many(test, fixture.heap, 40, slots + 1, ARRAY_SIZE(slots) - 1);
	}
	free_many(slots, ARRAY_SIZE(slots));
}

/* Slots of one page, the last of which is freed first, while the others follow one by one. */
static size_t slots_of_page(void **slots, size_t nr)
{
	unsigned long page = (unsigned long)slots[nr / 2] & PAGE_MASK;
	size_t i, found = 0;

	for (i = 0; i < nr; i++) {
		if (((unsigned long)slots[i] & PAGE_MASK) != page)
			continue;
		swap(slots[found], slots[i]);
		found++;
	}
	for (i = 1; i < found; i++)
		if (slots[i] > slots[0])
			swap(slots[0], slots[i]);
	return found;
}

static void none_waits_for_those_that_follow(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t i, nr, done = 0;
	long *last;

	if (IS_ENABLED(CONFIG_KASAN))
		kunit_skip(test, "a free slot is looked at");
	alloc_many(test, fixture.heap, 8, slots, NR_SLOTS);
	nr = slots_of_page(slots, NR_SLOTS);
	last = slots[0];
	WRITE_ONCE(*last, 0);
	for (i = 0; i < nr; i++) {
		blockslab_free_rcu(slots[i]);
		usleep_range(400, 600);	/* many in a turn of the worker, some turns in all */
		cond_resched();
		done += READ_ONCE(*last) != 0;	/* its canary, when it is free */
	}
	KUNIT_EXPECT_GT(test, done, 0);
	free_many(slots + nr, NR_SLOTS - nr);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

/* A slot that is freed, and that a timer frees as well, amid that or before or after. */
struct intrusion {
	const char *told;
	free_function now, amid;
	unsigned long flags;
	size_t size;
};

static const struct intrusion intrusions[] = {
	{ "at once, and deferred", blockslab_free, blockslab_free_rcu, 0, 64 },
	{ "deferred twice", blockslab_free_rcu, blockslab_free_rcu, 0, 64 },
	{ "deferred twice, checked", blockslab_free_rcu, blockslab_free_rcu, BLOCKSLAB_POISON, 64 },
	{ "deferred, and gone with its block", blockslab_free_rcu, blockslab_free,
	  BLOCKSLAB_POISON, 20000 },
	{ "at once twice, watched", blockslab_free, blockslab_free, BLOCKSLAB_TRACK, 100 },
};

static void intrusion_name(const struct intrusion *param, char *name)
{
	strscpy(name, param->told, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(intrusion, intrusions, intrusion_name);

struct intruder {
	struct hrtimer timer;
	free_function frees;
	void *slot;		/* that it may free, or NULL */
	int freed;		/* how many it did */
};

static enum hrtimer_restart intrude(struct hrtimer *timer)
{
	struct intruder *intruder = container_of(timer, struct intruder, timer);
	void *slot = xchg(&intruder->slot, NULL);

	if (slot) {
		intruder->frees(slot);
		WRITE_ONCE(intruder->freed, intruder->freed + 1);
	}
	hrtimer_forward_now(timer, ns_to_ktime(30 * NSEC_PER_USEC));
	return HRTIMER_RESTART;
}

/* What was deferred before has been freed, or told, with this. */
static void let_all_wait(struct kunit *test)
{
	blockslab_free_rcu(must_alloc(test, fixture.heap, 40));
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

#define NR_INTRUSIONS	40
#define NR_AT_ONCE	2000	/* where nothing is to be waited for */

/* One of the two is told, at once or when its turn comes, and the slot is free once. */
static void a_free_amid_another_is_told(struct kunit *test)
{
	const struct intrusion *param = test->param_value;
	struct intruder intruder = { .frees = param->amid };
	bool waits = param->now == blockslab_free_rcu || param->amid == blockslab_free_rcu;
	int round, freed, nr = waits ? NR_INTRUSIONS : NR_AT_ONCE;
	unsigned long end = jiffies + 5 * HZ;
	struct blockslab_heap *heap;
	void *slot;

	if (!IS_ENABLED(CONFIG_HIGH_RES_TIMERS))
		kunit_skip(test, "timers come with the tick, hardly ever in time");
	heap = make_heap(test, "intruded", param->flags, 0, 0);
	if (!param->flags)
		sample_nothing(test, heap);
	hrtimer_setup(&intruder.timer, intrude, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
	hrtimer_start(&intruder.timer, ns_to_ktime(30 * NSEC_PER_USEC), HRTIMER_MODE_REL_PINNED);
	for (round = 1; READ_ONCE(intruder.freed) < nr && time_before(jiffies, end); round++) {
		freed = READ_ONCE(intruder.freed);
		slot = must_alloc(test, heap, param->size);
		WRITE_ONCE(intruder.slot, slot);
		param->now(slot);
		xchg(&intruder.slot, NULL);
		if (waits && (READ_ONCE(intruder.freed) != freed || !(round % 256)))
			let_all_wait(test);
		cond_resched();
	}
	hrtimer_cancel(&intruder.timer);
	let_all_wait(test);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), intruder.freed);
	blockslab_shrink(heap);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "intruded"), 0);
	end_heap(test, heap);
	if (!intruder.freed)
		kunit_skip(test, "no timer came in time");
}

static struct kunit_case rcu_cases[] = {
	KUNIT_CASE(none_waits_for_those_that_follow),
	KUNIT_CASE(a_slot_comes_back_after_a_grace_period),
	KUNIT_CASE(a_reader_s_slot_is_not_given_to_another),
	KUNIT_CASE_PARAM(slots_of_every_size_can_wait, rcu_size_gen_params),
	KUNIT_CASE(thousands_can_wait),
	KUNIT_CASE(slots_of_thousands_of_blocks_can_wait),
	KUNIT_CASE_PARAM(a_flood_waits_for_the_worker, flood_size_gen_params),
	KUNIT_CASE(no_stack_is_kept_while_interrupts_are_off),
	KUNIT_CASE(destroy_loses_none_that_wait),
	KUNIT_CASE(release_takes_those_that_wait),
	KUNIT_CASE(it_works_in_atomic_context),
	KUNIT_CASE(it_works_without_memory),
	KUNIT_CASE(a_heap_ends_while_others_defer),
	KUNIT_CASE(objects_of_caches_can_wait),
	KUNIT_CASE(a_slot_already_free_is_refused),
	KUNIT_CASE(a_second_free_is_told_before_the_grace_period),
	KUNIT_CASE(what_waits_is_nobody_s),
	KUNIT_CASE(a_second_free_of_an_object_is_told),
	KUNIT_CASE(a_page_is_as_it_was_when_none_waits),
	KUNIT_CASE_PARAM(a_free_amid_another_is_told, intrusion_gen_params),
	{}
};

BLOCKSLAB_KUNIT_SUITE(rcu, rcu_cases);
