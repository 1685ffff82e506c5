// SPDX-License-Identifier: GPL-2.0
/* Tracepoints: every event tells of one thing that happened, and says the truth about it. */
#include "blockslab_kunit.h"

#define NR_SLOTS	1000

static struct {
	unsigned int allocs, frees, gets, puts, refills, flushes, refusals;
	size_t requested, given;
	const void *slot;
	const void *again;		/* to be freed by whoever looks on as it is freed */
} events;

static bool ours(const char *heap)
{
	return !strcmp(heap, "kunit") || !strcmp(heap, "limited");
}

static void on_alloc(void *data, unsigned long call_site, const char *heap, const void *slot,
		     size_t size, size_t slot_size, gfp_t gfp)
{
	if (!ours(heap))
		return;
	events.allocs++;
	events.requested += size;
	events.given += slot_size;
	events.slot = slot;
}

static void on_free(void *data, unsigned long call_site, const char *heap, const void *slot,
		    size_t slot_size)
{
	const void *again = events.again;

	events.frees += ours(heap);
	events.again = NULL;
	blockslab_free(again);
}

static void on_block_get(void *data, const char *heap, size_t slot_size, int node,
			 unsigned int order)
{
	events.gets += ours(heap);
}

static void on_block_put(void *data, const char *heap, size_t slot_size, int node,
			 unsigned int order)
{
	events.puts += ours(heap);
}

static void on_refill(void *data, const char *heap, size_t slot_size, int node, unsigned int nr)
{
	events.refills += ours(heap);
}

static void on_flush(void *data, const char *heap, size_t slot_size, int node, unsigned int nr)
{
	events.flushes += ours(heap);
}

static void on_limit_hit(void *data, const char *heap, size_t bytes, size_t held, size_t limit)
{
	events.refusals += ours(heap) && held + bytes > limit;
}

static int trace_on(void)
{
	memset(&events, 0, sizeof(events));
	return register_trace_blockslab_alloc(on_alloc, NULL) ?:
	       register_trace_blockslab_free(on_free, NULL) ?:
	       register_trace_blockslab_block_get(on_block_get, NULL) ?:
	       register_trace_blockslab_block_put(on_block_put, NULL) ?:
	       register_trace_blockslab_refill(on_refill, NULL) ?:
	       register_trace_blockslab_flush(on_flush, NULL) ?:
	       register_trace_blockslab_limit_hit(on_limit_hit, NULL);
}

static void trace_off(void)
{
	unregister_trace_blockslab_alloc(on_alloc, NULL);
	unregister_trace_blockslab_free(on_free, NULL);
	unregister_trace_blockslab_block_get(on_block_get, NULL);
	unregister_trace_blockslab_block_put(on_block_put, NULL);
	unregister_trace_blockslab_refill(on_refill, NULL);
	unregister_trace_blockslab_flush(on_flush, NULL);
	unregister_trace_blockslab_limit_hit(on_limit_hit, NULL);
	tracepoint_synchronize_unregister();
}

static int traced_case_begin(struct kunit *test)
{
	return case_begin(test) ?: trace_on();
}

static void traced_case_end(struct kunit *test)
{
	trace_off();
	case_end(test);
}

static void every_allocation_and_free_is_traced(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS), *bulk[10];

	alloc_many(test, fixture.heap, 50, slots, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, events.allocs, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, events.requested, 50 * NR_SLOTS);
	KUNIT_EXPECT_EQ(test, events.given, blockslab_size_roundup(50) * NR_SLOTS);
	KUNIT_EXPECT_PTR_EQ(test, events.slot, (const void *)slots[NR_SLOTS - 1]);
	free_many(slots, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, events.frees, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(fixture.heap, 50, GFP_KERNEL, 10, bulk), 10);
	KUNIT_EXPECT_EQ(test, events.allocs, NR_SLOTS + 10);
	blockslab_free_bulk(10, bulk);
	KUNIT_EXPECT_EQ(test, events.frees, NR_SLOTS + 10);
	blockslab_free(must_alloc(test, fixture.heap, 20000));
	KUNIT_EXPECT_EQ(test, events.allocs, NR_SLOTS + 11);
	KUNIT_EXPECT_EQ(test, events.frees, NR_SLOTS + 11);
	slots[0] = blockslab_alloc_nolock(fixture.heap, 50);
	KUNIT_EXPECT_NOT_NULL(test, slots[0]);
	KUNIT_EXPECT_EQ(test, events.allocs, NR_SLOTS + 12);
	blockslab_free(slots[0]);
}

static void nothing_is_traced_when_off(struct kunit *test)
{
	trace_off();
	blockslab_free(must_alloc(test, fixture.heap, 50));
	KUNIT_EXPECT_EQ(test, events.allocs, 0);
	KUNIT_EXPECT_EQ(test, events.frees, 0);
	KUNIT_EXPECT_EQ(test, trace_on(), 0);	/* as the end of the case expects */
}

/* As by another CPU, in the middle of a free that takes its time. */
static void a_slot_that_is_being_freed_is_not_freed_again(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 50);

	events.again = slot;
	blockslab_free(slot);
	expect_fault(test, "double free", slot);
	KUNIT_EXPECT_EQ(test, events.frees, 1);
}

/* Not the room that it is given. */
static void growth_is_traced_as_asked(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);

	slot = blockslab_realloc(fixture.heap, slot, 600, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_EQ(test, events.allocs, 2);
	KUNIT_EXPECT_EQ(test, events.requested, 700);
	blockslab_free(slot);
}

static void every_block_comes_and_goes_once(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);

	alloc_many(test, fixture.heap, 50, slots, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, events.gets, blocks_of(test, "kunit"));
	KUNIT_EXPECT_GT(test, events.refills, 0);
	slots[NR_SLOTS - 1] = blockslab_realloc(NULL, slots[NR_SLOTS - 1], 20000, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, events.gets, blocks_of(test, "kunit"));
	free_many(slots, NR_SLOTS);
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, events.puts, events.gets);
	KUNIT_EXPECT_GT(test, events.flushes, 0);
}

static void a_limit_that_is_hit_is_traced(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "limited", 0, SZ_64K, 0);

	KUNIT_EXPECT_NULL(test, try_alloc(heap, SZ_128K, GFP_TRY));
	KUNIT_EXPECT_GT(test, events.refusals, 0);
	end_heap(test, heap);
}

/* --- how seldom a load comes to the blocks, and so to their lock ------------------------------ */

static const size_t batch_sizes[] = { 24, 72, 200, 400, 520, 1000 };

static void batch_size_name(const size_t *size, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "size %zu", *size);
}

KUNIT_ARRAY_PARAM(batch_size, batch_sizes, batch_size_name);

static void batches(struct kunit *test, size_t size, unsigned int nr)
{
	void *slots[64];

	while (nr--) {
		alloc_many(test, fixture.heap, size, slots, ARRAY_SIZE(slots));
		free_many(slots, ARRAY_SIZE(slots));
	}
}

static void batches_are_kept_whole(struct kunit *test)
{
	const size_t *size = test->param_value;

	batches(test, *size, 200);
	events.refills = 0;
	events.flushes = 0;
	batches(test, *size, 100);
	KUNIT_EXPECT_LT(test, events.refills + events.flushes, 10);
}

/* One of forty slots at a time is given back, or taken again. */
static void toggle_at_random(struct kunit *test, size_t size, void **slots, u32 *random,
			     unsigned int nr)
{
	while (nr--) {
		void **slot = &slots[(*random >> 16) % 40];

		*random = *random * 1664525 + 1013904223;	/* Numerical Recipes, 7.1 */
		if (*slot)
			blockslab_free(*slot);
		*slot = *slot ? NULL : must_alloc(test, fixture.heap, size);
	}
}

static void lifetimes_at_random_seldom_come_to_the_blocks(struct kunit *test)
{
	const size_t *size = test->param_value;
	void *slots[40] = {};
	u32 random = 1;

	toggle_at_random(test, *size, slots, &random, 4000);
	events.refills = 0;
	events.flushes = 0;
	toggle_at_random(test, *size, slots, &random, 4000);
	KUNIT_EXPECT_LT(test, events.refills + events.flushes, 40);
	free_many(slots, ARRAY_SIZE(slots));
}

static struct kunit_case trace_cases[] = {
	KUNIT_CASE(every_allocation_and_free_is_traced),
	KUNIT_CASE(nothing_is_traced_when_off),
	KUNIT_CASE(a_slot_that_is_being_freed_is_not_freed_again),
	KUNIT_CASE(growth_is_traced_as_asked),
	KUNIT_CASE(every_block_comes_and_goes_once),
	KUNIT_CASE(a_limit_that_is_hit_is_traced),
	KUNIT_CASE_PARAM(batches_are_kept_whole, batch_size_gen_params),
	KUNIT_CASE_PARAM(lifetimes_at_random_seldom_come_to_the_blocks, batch_size_gen_params),
	{}
};

BLOCKSLAB_KUNIT_SUITE_WITH(trace, trace_cases, traced_case_begin, traced_case_end);
