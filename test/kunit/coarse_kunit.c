// SPDX-License-Identifier: GPL-2.0
/* A module with many sizes and few slots of each: they share blocks, and nobody can tell. */
#include "blockslab_kunit.h"

#define NR_SIZES	56	/* 16, 32, ... 896 */
#define SHARED		(NR_SIZES - 1)	/* of the last, the heap has made no class yet */

static size_t nth(int i)
{
	return 16 * (i + 1);
}

/* One of each, filled with its number. */
static void **one_of_each(struct kunit *test)
{
	void **slots = slot_array(test, NR_SIZES);
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < NR_SIZES; i++) {
		slots[i] = must_alloc(test, fixture.heap, nth(i));
		memset(slots[i], i, nth(i));
	}
	return slots;
}

static void many_sizes_hold_little(struct kunit *test)
{
	struct blockslab_heap_stats stats;
	void **slots = one_of_each(test);

	stats = stats_of(fixture.heap);
	if (FINE_CLASSES)
		KUNIT_EXPECT_LT(test, stats.held + stats.fixed, SZ_64K + SZ_32K);
	free_many(slots, NR_SIZES);
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, 0);
}

static void each_slot_is_as_large_as_its_class_s(struct kunit *test)
{
	void **slots = one_of_each(test);
	int i;

	for (i = 0; i < NR_SIZES; i++) {
		size_t usable = blockslab_usable_size(slots[i]);

		KUNIT_EXPECT_EQ(test, usable, blockslab_size_roundup(nth(i)));
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)slots[i], nth(i) & -nth(i)));
		memset(slots[i], i, usable);
	}
	for (i = 0; i < NR_SIZES; i++)
		KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], i, nth(i)));
	free_many(slots, NR_SIZES);
}

static void a_size_that_is_not_its_class_s_is_refused(struct kunit *test)
{
	void **slots = one_of_each(test);
	int i;

	for (i = 0; i < NR_SIZES; i++) {
		size_t size = blockslab_size_roundup(nth(i));

		blockslab_free_sized(slots[i], size + 1);
		expect_fault(test, "wrong size", slots[i]);
		if (i) {
			blockslab_free_sized(slots[i], size / 2);
			expect_fault(test, "wrong size", slots[i]);
		}
		blockslab_free_sized(slots[i], size - 1);
	}
}

static void frees_are_checked(struct kunit *test)
{
	void **slots = one_of_each(test), *slot = slots[SHARED];

	blockslab_free(slot + 8);
	expect_fault(test, "pointer inside a slot", slot + 8);
	blockslab_free(slot);
	blockslab_free(slot);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), 1);
	slot = slots[SHARED - 1];
	blockslab_free_rcu(slot);
	blockslab_free(slot);
	expect_fault(test, "double free", slot);
	free_many(slots, SHARED - 1);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
}

/* How much was asked for is not known. Of many reports of a kind some are left out. */
static void a_report_says_no_more_than_is_known(struct kunit *test)
{
	void **slots = one_of_each(test), *slot = slots[SHARED - 1];
	char text[64];
	int tries = 0;

	snprintf(text, sizeof(text), "asked for: at most %zu bytes", blockslab_usable_size(slot));
	do {
		msleep(tries * 100);
		blockslab_free(slot + 8);
	} while (!log_count(text, NULL) && ++tries < 15);
	KUNIT_EXPECT_LT(test, tries, 15);
	KUNIT_EXPECT_GT(test, atomic_xchg(&fixture.faults, 0), 0);
	free_many(slots, NR_SIZES);
}

static void what_is_asked_for_often_is_cached(struct kunit *test)
{
	void **slots = one_of_each(test), *more[20];

	free_many(slots, NR_SIZES);
	KUNIT_EXPECT_NULL(test, blockslab_alloc_nolock(fixture.heap, nth(SHARED - 1)));
	alloc_many(test, fixture.heap, nth(SHARED), more, ARRAY_SIZE(more));
	free_many(more, ARRAY_SIZE(more));
	slots[0] = blockslab_alloc_nolock(fixture.heap, nth(SHARED));
	KUNIT_EXPECT_NOT_NULL(test, slots[0]);
	/* once it has failed, one will do */
	slots[1] = must_alloc(test, fixture.heap, nth(SHARED - 1));
	slots[2] = blockslab_alloc_nolock(fixture.heap, nth(SHARED - 1));
	KUNIT_EXPECT_NOT_NULL(test, slots[2]);
	free_many(slots, 3);
}

/* Few at a time, which would not fill a page, share for longer. */
static void what_comes_and_goes_is_cached_in_the_end(struct kunit *test)
{
	void **slots = one_of_each(test);
	u64 cached = stats_of(fixture.heap).cached;
	int i;

	for (i = 0; i < 15; i++)
		blockslab_free(must_alloc(test, fixture.heap, nth(SHARED)));
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).cached, cached);
	for (; i < 70; i++)
		blockslab_free(must_alloc(test, fixture.heap, nth(SHARED)));
	KUNIT_EXPECT_GT(test, stats_of(fixture.heap).cached, cached);
	free_many(slots, NR_SIZES);
}

/* Six sizes of a heap have classes; then come those that share coarse ones. */
static void *first_six(struct kunit *test, struct blockslab_heap *heap)
{
	size_t size;

	sample_nothing(test, heap);
	for (size = 16; size <= 6 * 16; size += 16)
		blockslab_free(must_alloc(test, heap, size));
	return must_alloc(test, heap, 600);
}

/* Whether a slot, taken for that, is one that sizes share. */
static bool comes_from_a_coarse_block(struct kunit *test, size_t size)
{
	void *slot = must_alloc(test, fixture.heap, size);
	bool coarse = is_power_of_2(blockslab_block_of(virt_to_page(slot))->size);

	blockslab_free_sized(slot, size);
	return coarse;
}

static void wait_until_it_rests(struct kunit *test, size_t size)
{
	int tries = 0;

	while (!comes_from_a_coarse_block(test, size) && ++tries < 50)
		msleep(200);
	KUNIT_EXPECT_LT(test, tries, 50);
}

/* A class that is hardly used, and has little, gives its place up, until it is used again. */
static void what_was_asked_for_often_shares_again(struct kunit *test)
{
	void **slots = one_of_each(test), *own;
	int i;

	for (i = 0; i < 70; i++)
		blockslab_free(must_alloc(test, fixture.heap, nth(SHARED)));
	KUNIT_EXPECT_FALSE(test, comes_from_a_coarse_block(test, nth(SHARED)));
	own = must_alloc(test, fixture.heap, nth(SHARED));
	wait_until_it_rests(test, nth(SHARED));
	blockslab_free_sized(own, nth(SHARED));
	for (i = 0; i < 150; i++)
		blockslab_free(must_alloc(test, fixture.heap, nth(SHARED)));
	KUNIT_EXPECT_FALSE(test, comes_from_a_coarse_block(test, nth(SHARED)));
	free_many(slots, NR_SIZES);
}

/* One by one they go past the magazines, but not where a client frees all that it has. */
static void many_that_come_back_to_it_are_cached(struct kunit *test)
{
	void *coarse = first_six(test, fixture.heap), **own = slot_array(test, 250);
	int i;

	alloc_many(test, fixture.heap, 112, own, 250);
	wait_until_it_rests(test, 112);
	for (i = 0; i < 60; i++)
		blockslab_free(own[i]);
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 112, "cached"), 0);
	for (; i < 250; i++)
		blockslab_free(own[i]);
	KUNIT_EXPECT_GT(test, class_cell(test, "kunit", 112, "cached"), 0);
	blockslab_free(coarse);
}

static void what_stands_beside_coarse_slots_is_little(struct kunit *test)
{
	void *coarse = first_six(test, fixture.heap), *slots[20];
	u64 held;

	blockslab_shrink(fixture.heap);
	held = stats_of(fixture.heap).held;
	alloc_many(test, fixture.heap, 56, slots, ARRAY_SIZE(slots));
	KUNIT_EXPECT_LE(test, stats_of(fixture.heap).held - held, PAGE_SIZE + PAGE_SIZE / 8);
	free_many(slots, ARRAY_SIZE(slots));
	blockslab_free(coarse);
}

static void a_large_size_that_is_rare_keeps_nothing(struct kunit *test)
{
	void **slots = one_of_each(test), *slot;
	u64 held = stats_of(fixture.heap).held;
	size_t size;

	for (size = 1100; size < 4000; size += 1900) {
		slot = must_alloc(test, fixture.heap, size);
		KUNIT_EXPECT_EQ(test, blockslab_usable_size(slot), blockslab_size_roundup(size));
		blockslab_free_sized(slot, size);
	}
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, held);
	free_many(slots, NR_SIZES);
}

static void a_bulk_call_has_its_class_at_once(struct kunit *test)
{
	void **slots = one_of_each(test), *more[64];

	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(fixture.heap, 1000, GFP_KERNEL,
						   ARRAY_SIZE(more), more), ARRAY_SIZE(more));
	blockslab_free_bulk(ARRAY_SIZE(more), more);
	KUNIT_EXPECT_GT(test, stats_of(fixture.heap).cached, 0);
	free_many(slots, NR_SIZES);
}

static void what_is_zeroed_is_zero(struct kunit *test)
{
	void **slots = one_of_each(test), *slot;
	int i;

	for (i = 0; i < NR_SIZES; i++) {
		blockslab_free(slots[i]);
		slot = blockslab_zalloc(fixture.heap, nth(i), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, slot);
		KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0, blockslab_usable_size(slot)));
		slots[i] = slot;
	}
	free_many(slots, NR_SIZES);
}

static void a_slot_grows_and_shrinks(struct kunit *test)
{
	void **slots = one_of_each(test);
	char *slot = slots[20], *same;		/* of 336 bytes, in one of 512 */

	same = blockslab_realloc(fixture.heap, slot, 330, GFP_KERNEL);
	KUNIT_EXPECT_PTR_EQ(test, same, slot);
	slot = blockslab_realloc(fixture.heap, same, 500, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_GE(test, blockslab_usable_size(slot), 500);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 20, 330));
	slot = blockslab_realloc(fixture.heap, slot, 60, GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 20, 60));
	KUNIT_EXPECT_LT(test, blockslab_usable_size(slot), 330);
	slots[20] = slot;
	free_many(slots, NR_SIZES);
}

/* The next class of all that there is memory for, if it is as aligned. */
static void a_power_of_two_is_aligned_without_memory_for_its_class(struct kunit *test)
{
	void *slot, *other = must_alloc(test, fixture.heap, 72);

	blockslab_fail(BLOCKSLAB_FAIL_CLASS, ULONG_MAX, 100);
	slot = try_alloc(fixture.heap, 64, GFP_TRY);
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)slot, 64));
	blockslab_free(slot);
	blockslab_free(other);
}

/* A slot that came and went does so on, after so many times, too. */
static void expect_comes_and_goes(struct kunit *test, struct blockslab_heap *heap)
{
	void *slot;
	int i;

	for (i = 0; i < 40; i++) {
		slot = try_alloc(heap, 700, GFP_TRY);
		KUNIT_ASSERT_NOT_NULL_MSG(test, slot, "the time %d", i);
		KUNIT_EXPECT_EQ(test, blockslab_usable_size(slot), blockslab_size_roundup(700));
		memset(slot, i, blockslab_usable_size(slot));
		blockslab_free_sized(slot, 700);
	}
}

static void at_a_limit_a_class_of_ones_own_is_no_loss(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "limited", 0, 16 * PAGE_SIZE, 0);
	void *coarse = first_six(test, heap), *pages[16];
	int nr = 0;

	while (nr < ARRAY_SIZE(pages) && (pages[nr] = try_alloc(heap, SZ_4K, GFP_TRY)))
		nr++;
	KUNIT_EXPECT_LT(test, nr, ARRAY_SIZE(pages));
	expect_comes_and_goes(test, heap);
	free_many(pages, nr);
	blockslab_free(coarse);
	end_heap(test, heap);
}

static void without_memory_for_it_neither(struct kunit *test)
{
	void *coarse = first_six(test, fixture.heap);

	blockslab_fail(BLOCKSLAB_FAIL_CLASS, ULONG_MAX, 100);
	expect_comes_and_goes(test, fixture.heap);
	blockslab_fail(0, 0, 0);
	blockslab_free(coarse);
}

/* Coarse blocks want more than others. */
static void without_memory_for_notes_a_size_has_its_class(struct kunit *test)
{
	void *coarse = first_six(test, fixture.heap), *slots[8];

	blockslab_fail(BLOCKSLAB_FAIL_TRACK, ULONG_MAX, 100);
	alloc_many(test, fixture.heap, 300, slots, ARRAY_SIZE(slots));
	blockslab_fail(0, 0, 0);
	free_many(slots, ARRAY_SIZE(slots));
	blockslab_free(coarse);
}

/* But no pages for the coarse one either; the size has no class yet. */
static void without_pages_a_larger_class_serves(struct kunit *test)
{
	void *coarse = first_six(test, fixture.heap), *larger[20], **slots = slot_array(test, 100);
	size_t nr = ARRAY_SIZE(larger), i;

	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(fixture.heap, 768, GFP_KERNEL, nr, larger), nr);
	for (i = 0; i < nr; i += 2)
		blockslab_free(larger[i]);
	blockslab_fail(BLOCKSLAB_FAIL_PAGES | BLOCKSLAB_FAIL_CLASS, ULONG_MAX, 100);
	for (nr = 0; nr < 100 && (slots[nr] = try_alloc(fixture.heap, 700, GFP_TRY)); nr++)
		memset(slots[nr], nr, 700);
	blockslab_fail(0, 0, 0);
	/* Those of the coarse block, but for one, and these. */
	KUNIT_EXPECT_GE(test, nr, PAGE_SIZE / SZ_1K - 1 + ARRAY_SIZE(larger) / 2);
	KUNIT_EXPECT_LT(test, nr, 100);
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", SZ_1K, "fails") +
			      class_cell(test, "kunit", 768, "fails"), 1);
	for (i = 0; i < nr; i++)
		blockslab_free_sized(slots[i], 700);
	for (i = 1; i < ARRAY_SIZE(larger); i += 2)
		blockslab_free(larger[i]);
	blockslab_free(coarse);
}

static struct kunit_case coarse_cases[] = {
	KUNIT_CASE(many_sizes_hold_little),
	KUNIT_CASE(each_slot_is_as_large_as_its_class_s),
	KUNIT_CASE(a_size_that_is_not_its_class_s_is_refused),
	KUNIT_CASE(frees_are_checked),
	KUNIT_CASE(a_report_says_no_more_than_is_known),
	KUNIT_CASE(what_is_asked_for_often_is_cached),
	KUNIT_CASE(what_comes_and_goes_is_cached_in_the_end),
	KUNIT_CASE(what_was_asked_for_often_shares_again),
	KUNIT_CASE(many_that_come_back_to_it_are_cached),
	KUNIT_CASE(what_stands_beside_coarse_slots_is_little),
	KUNIT_CASE(a_large_size_that_is_rare_keeps_nothing),
	KUNIT_CASE(a_bulk_call_has_its_class_at_once),
	KUNIT_CASE(what_is_zeroed_is_zero),
	KUNIT_CASE(a_slot_grows_and_shrinks),
	KUNIT_CASE(a_power_of_two_is_aligned_without_memory_for_its_class),
	KUNIT_CASE(at_a_limit_a_class_of_ones_own_is_no_loss),
	KUNIT_CASE(without_memory_for_it_neither),
	KUNIT_CASE(without_memory_for_notes_a_size_has_its_class),
	KUNIT_CASE(without_pages_a_larger_class_serves),
	{}
};

BLOCKSLAB_KUNIT_SUITE(coarse, coarse_cases);
