// SPDX-License-Identifier: GPL-2.0
/* Shrinking: what is free goes back to the page allocator, what is not stays. */
#include "blockslab_kunit.h"

#define NR_SLOTS	2000

static const size_t shrink_sizes[] = { 8, 24, 100, 512, 1000, 4096, 8192 };

static void shrink_size_name(const size_t *size, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "size %zu", *size);
}

KUNIT_ARRAY_PARAM(shrink_size, shrink_sizes, shrink_size_name);

static void after_free_and_shrink_no_block_is_held(struct kunit *test)
{
	const size_t *size = test->param_value;
	void **slots = slot_array(test, NR_SLOTS);

	alloc_many(test, fixture.heap, *size, slots, NR_SLOTS);
	free_many(slots, NR_SLOTS);
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "kunit"), 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).cached, 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).retained, 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, 0);
}

static void shrink_tells_what_it_gave_back(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t before, back;

	alloc_many(test, fixture.heap, 200, slots, NR_SLOTS);
	free_many(slots, NR_SLOTS);
	before = stats_of(fixture.heap).held;
	back = blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_GT(test, back, 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, before - back);
	KUNIT_EXPECT_EQ(test, blockslab_shrink(fixture.heap), 0);
}

static void shrink_of_nothing_gives_nothing_back(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, blockslab_shrink(fixture.heap), 0);
}

static void live_slots_stay(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t live = 0, i;

	alloc_many(test, fixture.heap, 64, slots, NR_SLOTS);
	for (i = 0; i < NR_SLOTS; i++) {
		if (i % 100 == 0) {
			memset(slots[i], 0x5a, 64);
			slots[live++] = slots[i];
		} else {
			blockslab_free(slots[i]);
		}
	}
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, live * blockslab_size_roundup(64));
	for (i = 0; i < live; i++)
		KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], 0x5a, 64));
	free_many(slots, live);
}

static void a_shrunk_heap_serves_on(struct kunit *test)
{
	int i;

	for (i = 0; i < 100; i++) {
		void *slot = must_alloc(test, fixture.heap, 100);

		memset(slot, i, 100);
		blockslab_free(slot);
		blockslab_shrink(fixture.heap);
		KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	}
}

/* What only an earlier peak needed goes back while its class is in use: it need not fall idle. */
static void a_peak_is_forgotten_in_use(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	struct blockslab_heap_stats stats;
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < 3; i++) {
		alloc_many(test, fixture.heap, 1024, slots, NR_SLOTS);
		free_many(slots, NR_SLOTS);
	}
	for (i = 0; i < 500; i++) {
		alloc_many(test, fixture.heap, 1024, slots, 150);
		free_many(slots, 150);
	}
	stats = stats_of(fixture.heap);
	KUNIT_EXPECT_LT(test, stats.retained, 100 * 1024);
}

static void in_bulk(struct kunit *test, void **slots, size_t nr)
{
	KUNIT_ASSERT_EQ(test, nr, blockslab_alloc_bulk(fixture.heap, 1024, GFP_KERNEL, nr, slots));
	blockslab_free_bulk(nr, slots);
}

/* Also where bulk calls go past the magazines. */
static void a_peak_in_bulk_is_forgotten_in_use(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t retained;
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < 10; i++)
		in_bulk(test, slots, NR_SLOTS);
	retained = stats_of(fixture.heap).retained;
	for (i = 0; i < 500; i++)
		in_bulk(test, slots, 350);
	KUNIT_EXPECT_LT(test, stats_of(fixture.heap).retained, retained / 2);
}

/* Blocks that were given back for want of room, and were missed time and again. */
static void a_load_that_misses_more_may_keep_more(struct kunit *test)
{
	void **slots = slot_array(test, SZ_1M / PAGE_SIZE);
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < 100; i++) {
		alloc_many(test, fixture.heap, PAGE_SIZE, slots, SZ_1M / PAGE_SIZE);
		free_many(slots, SZ_1M / PAGE_SIZE);
	}
	KUNIT_EXPECT_GT(test, stats_of(fixture.heap).retained, SZ_512K + SZ_128K);
}

/* What every class may keep by itself is bounded for all of them together. */
static void many_classes_keep_little_together(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	struct blockslab_heap_stats stats;
	size_t size, nr;
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < 3; i++) {
		for (size = 1024; size <= BLOCKSLAB_SLOT_MAX; size += 256) {
			nr = min_t(size_t, NR_SLOTS, 32 * PAGE_SIZE / size);
			alloc_many(test, fixture.heap, size, slots, nr);
			free_many(slots, nr);
		}
	}
	stats = stats_of(fixture.heap);
	KUNIT_EXPECT_GT(test, stats.retained, 100 * 1024);
	KUNIT_EXPECT_LT(test, stats.retained, SZ_512K + 22 * PAGE_SIZE);
	KUNIT_EXPECT_LT(test, stats.held, 340 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
}

/* The trim finds that a class is not used, or only out of magazines, while another is. */
static void what_is_quiet_goes_back(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	unsigned long end;
	size_t peak;

	sample_nothing(test, fixture.heap);
	alloc_many(test, fixture.heap, 1024, slots, NR_SLOTS);
	free_many(slots, NR_SLOTS);
	in_bulk(test, slots, NR_SLOTS);
	peak = stats_of(fixture.heap).held;
	KUNIT_ASSERT_GT(test, peak, 100 * 1024);
	for (end = jiffies + 4 * HZ; time_before(jiffies, end); msleep(20))
		blockslab_free(must_alloc(test, fixture.heap, 24));
	KUNIT_EXPECT_LT(test, stats_of(fixture.heap).held, 4 * PAGE_SIZE);
}

static void what_magazines_do_not_ask_for_goes_back(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	struct blockslab_heap_stats stats;
	unsigned long end;

	alloc_many(test, fixture.heap, 1024, slots, NR_SLOTS);
	free_many(slots, NR_SLOTS);
	in_bulk(test, slots, NR_SLOTS);
	KUNIT_ASSERT_GT(test, stats_of(fixture.heap).retained, 100 * 1024);
	for (end = jiffies + 4 * HZ; time_before(jiffies, end); msleep(20))
		blockslab_free(must_alloc(test, fixture.heap, 1024));
	stats = stats_of(fixture.heap);
	KUNIT_EXPECT_GT(test, stats.cached, 0);
	KUNIT_EXPECT_EQ(test, stats.retained, 0);
}

static void the_shared_heap_shrinks_too(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t before;

	blockslab_shrink(NULL);
	before = stats_of(NULL).held;
	alloc_many(test, NULL, 100, slots, NR_SLOTS);
	KUNIT_EXPECT_GT(test, stats_of(NULL).held, before);
	free_many(slots, NR_SLOTS);
	KUNIT_EXPECT_GT(test, blockslab_shrink(NULL), 0);
	KUNIT_EXPECT_LE(test, stats_of(NULL).held, before);
}

static struct kunit_case shrink_cases[] = {
	KUNIT_CASE_PARAM(after_free_and_shrink_no_block_is_held, shrink_size_gen_params),
	KUNIT_CASE(shrink_tells_what_it_gave_back),
	KUNIT_CASE(shrink_of_nothing_gives_nothing_back),
	KUNIT_CASE(live_slots_stay),
	KUNIT_CASE(a_shrunk_heap_serves_on),
	KUNIT_CASE(a_peak_is_forgotten_in_use),
	KUNIT_CASE(a_peak_in_bulk_is_forgotten_in_use),
	KUNIT_CASE(a_load_that_misses_more_may_keep_more),
	KUNIT_CASE(many_classes_keep_little_together),
	KUNIT_CASE(what_is_quiet_goes_back),
	KUNIT_CASE(what_magazines_do_not_ask_for_goes_back),
	KUNIT_CASE(the_shared_heap_shrinks_too),
	{}
};

BLOCKSLAB_KUNIT_SUITE(shrink, shrink_cases);
