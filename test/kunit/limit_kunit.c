// SPDX-License-Identifier: GPL-2.0
/* Limits and reserves: never over the one, something left of the other when there are no pages. */
#include "blockslab_kunit.h"

#define LIMIT		SZ_256K
#define RESERVE		SZ_64K
#define NR_SLOTS	(LIMIT / 8)

struct limit_case {
	size_t size;
};

static const struct limit_case limit_table[] = {
	{ 8 }, { 24 }, { 64 }, { 100 }, { 512 }, { 1000 }, { 4096 }, { 8192 }, { 10000 },
};

static void limit_case_name(const struct limit_case *param, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "size %zu", param->size);
}

KUNIT_ARRAY_PARAM(limit, limit_table, limit_case_name);

/* Allocates until refused; the heap never holds more than its limit on the way. */
static size_t fill_up(struct kunit *test, struct blockslab_heap *heap, size_t size, void **slots)
{
	size_t nr, worst = 0;

	for (nr = 0; nr < NR_SLOTS; nr++) {
		slots[nr] = try_alloc(heap, size, GFP_KERNEL | __GFP_NOWARN);
		if (!slots[nr])
			break;
		worst = max(worst, stats_of(heap).held);
	}
	KUNIT_EXPECT_LE(test, worst, LIMIT);
	KUNIT_EXPECT_LT(test, nr, NR_SLOTS);
	return nr;
}

static void a_heap_never_holds_more_than_its_limit(struct kunit *test)
{
	const struct limit_case *param = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr;

	sample_nothing(test, heap);
	nr = fill_up(test, heap, param->size, slots);
	/* and nearly as much as its limit is of use */
	KUNIT_EXPECT_GE(test, nr * due_bytes(param->size), LIMIT * 6 / 10);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	free_many(slots, nr);
	end_heap(test, heap);
}

/* Nor does one that has no coarse classes look for those; KASAN and UBSAN see whether it does. */
static void a_heap_with_red_zones_is_refused_at_its_limit(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "zones", BLOCKSLAB_RED_ZONE, LIMIT, 0);
	void **slots = slot_array(test, NR_SLOTS);

	free_many(slots, fill_up(test, heap, 4200, slots));
	free_many(slots, fill_up(test, heap, 8000, slots));
	end_heap(test, heap);
}

static void one_free_makes_room_for_one_more(struct kunit *test)
{
	const struct limit_case *param = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr = fill_up(test, heap, param->size, slots);
	int i;

	KUNIT_ASSERT_GT(test, nr, FINE_CLASSES ? 10 : 1);
	for (i = 0; i < 10 && i < nr; i++) {
		blockslab_free(slots[i]);
		slots[i] = must_alloc(test, heap, param->size);
	}
	free_many(slots, nr);
	end_heap(test, heap);
}

static void what_one_class_gave_up_serves_another(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	void **slots = slot_array(test, NR_SLOTS);
	size_t first = fill_up(test, heap, 64, slots), second;

	free_many(slots, first);
	second = fill_up(test, heap, 128, slots);
	KUNIT_EXPECT_GE(test, second * 128, first * 64 / 2);
	free_many(slots, second);
	second = fill_up(test, heap, 10000, slots);
	KUNIT_EXPECT_GE(test, second * due_bytes(10000), first * 64 / 2);
	free_many(slots, second);
	end_heap(test, heap);
}

/* Where slots are not cached, a class keeps a block in hand. */
static void an_empty_block_in_hand_makes_room(struct kunit *test)
{
	struct blockslab_heap *heap;
	void *slot;

	heap = make_heap(test, "limited", BLOCKSLAB_POISON, 2 * PAGE_SIZE, 0);
	blockslab_free(must_alloc(test, heap, 64));
	slot = try_alloc(heap, 128, GFP_NOWAIT | __GFP_NOWARN);
	KUNIT_EXPECT_NOT_NULL(test, slot);
	blockslab_free(slot);
	end_heap(test, heap);
}

static void one_heap_s_limit_is_not_another_s(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr = fill_up(test, heap, 64, slots);

	blockslab_free(must_alloc(test, fixture.heap, 64));
	blockslab_free(must_alloc(test, NULL, 64));
	free_many(slots, nr);
	end_heap(test, heap);
}

static void what_is_larger_than_the_limit_is_refused(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);

	KUNIT_EXPECT_NULL(test, try_alloc(heap, LIMIT + 1, GFP_KERNEL | __GFP_NOWARN));
	KUNIT_EXPECT_EQ(test, stats_of(heap).held, 0);
	end_heap(test, heap);
}

/* Where no block of the usual order fits, a smaller one must. */
static void a_small_limit_serves_small_slots(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "small", 0, 3 * PAGE_SIZE, 0);
	void *slot;

	slot = must_alloc(test, heap, 24);
	KUNIT_EXPECT_LE(test, stats_of(heap).held, 3 * PAGE_SIZE);
	blockslab_free(slot);
	slot = must_alloc(test, heap, 1000);
	KUNIT_EXPECT_LE(test, stats_of(heap).held, 3 * PAGE_SIZE);
	blockslab_free(slot);
	end_heap(test, heap);
}

static void refusals_are_counted(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr = fill_up(test, heap, 64, slots);

	KUNIT_EXPECT_NULL(test, try_alloc(heap, 64, GFP_TRY));
	KUNIT_EXPECT_EQ(test, class_cell(test, "limited", 64, "fails"), 2);
	KUNIT_EXPECT_EQ(test, class_cell(test, "limited", 64, "allocs"), nr);
	free_many(slots, nr);
	end_heap(test, heap);
}

static void a_bulk_over_the_limit_gets_nothing(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr, fits = LIMIT / 2 / blockslab_size_roundup(64);

	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(heap, 64, GFP_KERNEL | __GFP_NOWARN,
						   LIMIT / 64 + 1, slots), 0);
	KUNIT_EXPECT_EQ(test, stats_of(heap).allocated, 0);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	nr = blockslab_alloc_bulk(heap, 64, GFP_KERNEL, fits, slots);
	KUNIT_EXPECT_EQ(test, nr, fits);
	blockslab_free_bulk(nr, slots);
	end_heap(test, heap);
}

/* Allocates without pages until refused. */
static size_t live_on_reserve(struct blockslab_heap *heap, size_t size, void **slots)
{
	size_t nr = 0;

	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	while (nr < NR_SLOTS && (slots[nr] = try_alloc(heap, size, GFP_TRY)))
		nr++;
	blockslab_fail(0, 0, 0);
	return nr;
}

static void without_pages_and_reserve_nothing_is_given(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);

	KUNIT_EXPECT_EQ(test, live_on_reserve(fixture.heap, 64, slots), 0);
}

static void the_reserve_serves_when_there_are_no_pages(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "reserve", 0, 0, RESERVE);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr;

	KUNIT_EXPECT_GE(test, stats_of(heap).held, RESERVE);
	nr = live_on_reserve(heap, 64, slots);
	KUNIT_EXPECT_GE(test, nr * blockslab_size_roundup(64), RESERVE / 2);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	free_many(slots, nr);
	end_heap(test, heap);
}

/* Where nobody can be asked for what he keeps, it is there for all sizes, too. */
static void the_reserve_serves_another_size_at_once(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "reserve", BLOCKSLAB_POISON, 0, 1);
	void *slot, *other;
	unsigned long irq;

	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	local_irq_save(irq);
	slot = try_alloc(heap, 100, GFP_ATOMIC);
	blockslab_free(slot);
	other = try_alloc(heap, 3000, GFP_ATOMIC);
	local_irq_restore(irq);
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_NOT_NULL(test, slot);
	KUNIT_EXPECT_NOT_NULL(test, other);
	blockslab_free(other);
	end_heap(test, heap);
}

/* Its pages are of no special kind. */
static void the_reserve_serves_no_dma(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "reserve", 0, 0, RESERVE);

	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	KUNIT_EXPECT_NULL(test, try_alloc(heap, 64, GFP_TRY | __GFP_DMA32));
	blockslab_fail(0, 0, 0);
	end_heap(test, heap);
}

static void a_used_reserve_is_made_up_again(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "reserve", 0, 0, RESERVE);
	void **slots = slot_array(test, NR_SLOTS);
	size_t first, second;

	first = live_on_reserve(heap, 64, slots);
	/* at once: what is free again may be all that there is of memory */
	blockslab_fail(BLOCKSLAB_FAIL_DESCRIPTOR, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	free_many(slots, first);
	blockslab_shrink(heap);
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "reserve", "reserve"), RESERVE);
	second = live_on_reserve(heap, 200, slots);
	KUNIT_EXPECT_GE(test, second * 200, RESERVE / 2);
	free_many(slots, second);
	end_heap(test, heap);
}

/* What one CPU caches, another that may not ask it has not. */
static void none_of_the_reserve_is_cached(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "reserve", 0, 0, RESERVE);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr;

	blockslab_free(must_alloc(test, heap, 64));
	blockslab_shrink(heap);
	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	slots[0] = try_alloc(heap, 64, GFP_TRY);
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_NOT_NULL(test, slots[0]);
	KUNIT_EXPECT_EQ(test, stats_of(heap).cached, 0);
	blockslab_free(slots[0]);
	nr = live_on_reserve(heap, 64, slots);
	blockslab_free_rcu(slots[0]);
	blockslab_free_nolock(slots[1]);
	blockslab_free_bulk(nr - 2, slots + 2);
	KUNIT_EXPECT_TRUE(test, drains(heap));
	KUNIT_EXPECT_EQ(test, stats_of(heap).cached, 0);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "reserve", "reserve"), RESERVE);
	end_heap(test, heap);
}

/* Also while what it was described by waits for a grace period. */
static void a_used_reserve_ends_with_its_heap(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "reserve", 0, 0, RESERVE);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr = live_on_reserve(heap, 64, slots);

	free_many(slots, nr);
	blockslab_shrink(heap);
	end_heap(test, heap);
	KUNIT_EXPECT_EQ(test, heaps_named(test, "reserve"), 0);
}

/* Who still looks at a block as it was must not meet what it has become. */
static void a_used_reserve_serves_under_another_descriptor(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "reserve", 0, 0, RESERVE);
	void **slots = slot_array(test, NR_SLOTS);
	unsigned long was;
	void *first;
	size_t nr;
	int tries;

	nr = live_on_reserve(heap, 8000, slots);
	KUNIT_ASSERT_GT(test, nr, 0);
	first = slots[0];
	was = page_private(virt_to_page(first));
	free_many(slots, nr);
	blockslab_shrink(heap);
	nr = live_on_reserve(heap, 8000, slots);
	KUNIT_EXPECT_TRUE(test, blockslab_owns(first));
	KUNIT_EXPECT_NE(test, page_private(virt_to_page(first)), was);
	/* and where there is none, when nobody looks any more */
	blockslab_fail(BLOCKSLAB_FAIL_DESCRIPTOR, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	free_many(slots, nr);
	blockslab_shrink(heap);
	for (tries = 0; tries < 500; tries++) {
		if (table_cell(test, "heaps", "name", "reserve", "reserve") == RESERVE)
			break;
		msleep(20);
	}
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, live_on_reserve(heap, 8000, slots), nr);
	free_many(slots, nr);
	end_heap(test, heap);
}

static void shrink_leaves_the_reserve_and_no_more(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "reserve", 0, 0, RESERVE);
	void **slots = slot_array(test, NR_SLOTS);

	alloc_many(test, heap, 64, slots, NR_SLOTS);
	free_many(slots, NR_SLOTS);
	blockslab_shrink(heap);
	KUNIT_EXPECT_GE(test, stats_of(heap).held, RESERVE);
	KUNIT_EXPECT_LE(test, stats_of(heap).held, RESERVE + RESERVE / 4);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "reserve", "reserve"), RESERVE);
	end_heap(test, heap);
}

/* What does not fit in a block of the usual order must go into smaller ones. */
static void all_of_a_limit_can_be_used(struct kunit *test)
{
	const struct limit_case *param = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	size_t least = PAGE_SIZE << get_order(blockslab_size_roundup(param->size));
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr = fill_up(test, heap, param->size, slots);

	/* less than a block and its descriptor are left */
	KUNIT_EXPECT_GT(test, stats_of(heap).held + least + 2 * least / 8 + 256, LIMIT);
	free_many(slots, nr);
	end_heap(test, heap);
}

static void a_limit_beyond_all_memory_is_none(struct kunit *test)
{
	static const size_t limits[] = { SIZE_MAX, (size_t)LONG_MAX + 1, LONG_MAX };
	int i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		struct blockslab_heap *heap = make_heap(test, "limited", 0, limits[i], 0);

		blockslab_free(must_alloc(test, heap, 100));
		blockslab_free(must_alloc(test, heap, 100000));
		end_heap(test, heap);
	}
}

/* The limit is asked before the page allocator is. */
static void a_refusal_asks_for_no_pages(struct kunit *test)
{
	const struct limit_case *param = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr = fill_up(test, heap, param->size, slots);
	int i;

	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 0);
	for (i = 0; i < 100; i++)
		KUNIT_EXPECT_NULL(test, try_alloc(heap, param->size, GFP_KERNEL | __GFP_NOWARN));
	KUNIT_EXPECT_NULL(test, try_alloc(heap, 2 * LIMIT, GFP_KERNEL | __GFP_NOWARN));
	KUNIT_EXPECT_EQ(test, blockslab_fail(0, 0, 0), 0);
	free_many(slots, nr);
	end_heap(test, heap);
}

struct waiter {
	struct blockslab_heap *heap;
	size_t size;
	void *slot;
	struct completion done;
};

static int wait_for_room(void *data)
{
	struct waiter *waiter = data;

	waiter->slot = try_alloc(waiter->heap, waiter->size, GFP_KERNEL | __GFP_NOFAIL);
	complete(&waiter->done);
	return 0;
}

/* Of the class of a size, or of whole pages. */
static u64 fails_of(struct kunit *test, size_t size)
{
	char key[16] = "0";

	if (size <= BLOCKSLAB_SLOT_MAX)
		scnprintf(key, sizeof(key), "%zu", blockslab_size_roundup(size));
	return table_cell(test, "heap/limited/classes", "size", key, "fails");
}

static void who_may_not_fail_waits_for_room(struct kunit *test)
{
	const struct limit_case *param = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	struct waiter waiter = { .heap = heap, .size = param->size };
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr = fill_up(test, heap, param->size, slots);
	u64 fails = fails_of(test, param->size);
	struct task_struct *thread;

	init_completion(&waiter.done);
	thread = kthread_create(wait_for_room, &waiter, "blockslab_waiter");
	KUNIT_ASSERT_FALSE(test, IS_ERR(thread));
	get_task_struct(thread);	/* kthread_stop() waits for its end, be it past that */
	wake_up_process(thread);
	KUNIT_EXPECT_EQ(test, wait_for_completion_timeout(&waiter.done, HZ / 5), 0);
	blockslab_free(slots[--nr]);
	KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&waiter.done, 2 * HZ), 0);
	free_many(slots, nr);
	kthread_stop(thread);
	put_task_struct(thread);
	KUNIT_EXPECT_NOT_NULL(test, waiter.slot);
	KUNIT_EXPECT_EQ(test, fails_of(test, param->size), fails);
	blockslab_free(waiter.slot);
	end_heap(test, heap);
}

struct bulk_waiter {
	struct blockslab_heap *heap;
	size_t want, nr;
	struct completion done;
};

static int wait_for_many(void *data)
{
	struct bulk_waiter *waiter = data;
	void **slots = kcalloc(waiter->want, sizeof(*slots), GFP_KERNEL);

	waiter->nr = blockslab_alloc_bulk(waiter->heap, 1024, GFP_KERNEL | __GFP_NOFAIL,
					  waiter->want, slots);
	blockslab_free_bulk(waiter->nr, slots);
	kfree(slots);
	complete_all(&waiter->done);
	return 0;
}

/* Either fits alone. While one waits with half of the limit, the other comes by the other half. */
static void two_that_may_not_fail_do_not_wait_for_one_another(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "limited", 0, LIMIT, 0);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr = fill_up(test, heap, 1024, slots), half = nr / 2;
	struct bulk_waiter waiters[2] = {};
	int i;

	for (i = 0; i < ARRAY_SIZE(waiters); i++) {
		free_many(slots + i * half, i ? nr - half : half);
		waiters[i].heap = heap;
		waiters[i].want = nr * 3 / 4;
		init_completion(&waiters[i].done);
		kthread_run(wait_for_many, &waiters[i], "blockslab_waiter");
		wait_for_completion_timeout(&waiters[i].done, HZ / 5);
	}
	for (i = 0; i < ARRAY_SIZE(waiters); i++) {
		wait_for_completion_timeout(&waiters[i].done, 20 * HZ);
		KUNIT_ASSERT_EQ(test, waiters[i].nr, waiters[i].want);
	}
	end_heap(test, heap);
}

static const unsigned long reserve_flags[] = {
	BLOCKSLAB_ACCOUNT, BLOCKSLAB_POISON, BLOCKSLAB_RED_ZONE, BLOCKSLAB_TRACK,
	BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE | BLOCKSLAB_ACCOUNT,
};

static void the_reserve_serves_every_heap(struct kunit *test)
{
	static const size_t sizes[] = { 1, 64, 500, 8000 };
	void **slots = slot_array(test, NR_SLOTS);
	int i, size;

	for (i = 0; i < ARRAY_SIZE(reserve_flags); i++) {
		struct blockslab_heap *heap = make_heap(test, "reserve", reserve_flags[i], 0,
							RESERVE);

		for (size = 0; size < ARRAY_SIZE(sizes); size++) {
			size_t nr = live_on_reserve(heap, sizes[size], slots);

			KUNIT_EXPECT_GT_MSG(test, nr, 3, "flags %lx, size %zu", reserve_flags[i],
					    sizes[size]);
			KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
			free_many(slots, nr);
			blockslab_shrink(heap);
		}
		end_heap(test, heap);
	}
}

static void the_reserve_of_this_node_serves(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "reserve", 0, 0, RESERVE);
	void *slot;
	int node;

	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	/* It is this node's, and of no use to who wants another's. */
	for_each_online_node(node)
		if (node != numa_mem_id())
			KUNIT_EXPECT_NULL(test, blockslab_alloc_node(heap, 64, GFP_TRY |
								     __GFP_THISNODE, node));
	slot = blockslab_alloc_node(heap, 64, GFP_TRY | __GFP_THISNODE, numa_mem_id());
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_NOT_NULL(test, slot);
	if (slot)
		KUNIT_EXPECT_EQ(test, page_to_nid(virt_to_page(slot)), numa_mem_id());
	blockslab_free(slot);
	end_heap(test, heap);
}

/* One slot in use, replaced as RCU has it: the old ones are most of what is held. */
static void what_waits_for_a_grace_period_makes_room(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "replaced", 0, LIMIT, 0);
	void *slot = must_alloc(test, heap, 1000), *next;
	int i, refused = 0;

	sample_nothing(test, heap);
	for (i = 0; i < 2000; i++) {
		next = try_alloc(heap, 1000, GFP_KERNEL);
		if (!next)
			refused++;
		else
			blockslab_free_rcu(slot);
		slot = next ?: slot;
	}
	KUNIT_EXPECT_EQ(test, refused, 0);
	KUNIT_EXPECT_LE(test, stats_of(heap).held, LIMIT);
	blockslab_free(slot);
	KUNIT_EXPECT_TRUE(test, drains(heap));
	end_heap(test, heap);
}

static struct kunit_case limit_cases[] = {
	KUNIT_CASE(what_waits_for_a_grace_period_makes_room),
	KUNIT_CASE(a_heap_with_red_zones_is_refused_at_its_limit),
	KUNIT_CASE_PARAM(all_of_a_limit_can_be_used, limit_gen_params),
	KUNIT_CASE(a_limit_beyond_all_memory_is_none),
	KUNIT_CASE_PARAM(a_refusal_asks_for_no_pages, limit_gen_params),
	KUNIT_CASE_PARAM(who_may_not_fail_waits_for_room, limit_gen_params),
	KUNIT_CASE(two_that_may_not_fail_do_not_wait_for_one_another),
	KUNIT_CASE(the_reserve_serves_every_heap),
	KUNIT_CASE(the_reserve_of_this_node_serves),
	KUNIT_CASE_PARAM(a_heap_never_holds_more_than_its_limit, limit_gen_params),
	KUNIT_CASE_PARAM(one_free_makes_room_for_one_more, limit_gen_params),
	KUNIT_CASE(what_one_class_gave_up_serves_another),
	KUNIT_CASE(an_empty_block_in_hand_makes_room),
	KUNIT_CASE(one_heap_s_limit_is_not_another_s),
	KUNIT_CASE(what_is_larger_than_the_limit_is_refused),
	KUNIT_CASE(a_small_limit_serves_small_slots),
	KUNIT_CASE(refusals_are_counted),
	KUNIT_CASE(a_bulk_over_the_limit_gets_nothing),
	KUNIT_CASE(without_pages_and_reserve_nothing_is_given),
	KUNIT_CASE(the_reserve_serves_when_there_are_no_pages),
	KUNIT_CASE(the_reserve_serves_another_size_at_once),
	KUNIT_CASE(the_reserve_serves_no_dma),
	KUNIT_CASE(a_used_reserve_is_made_up_again),
	KUNIT_CASE(none_of_the_reserve_is_cached),
	KUNIT_CASE(a_used_reserve_ends_with_its_heap),
	KUNIT_CASE(a_used_reserve_serves_under_another_descriptor),
	KUNIT_CASE(shrink_leaves_the_reserve_and_no_more),
	{}
};

BLOCKSLAB_KUNIT_SUITE(limit, limit_cases);
