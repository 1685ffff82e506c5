// SPDX-License-Identifier: GPL-2.0
/* Blocks: of one class each for as long as they live, full, partial or empty as their slots say. */
#include "blockslab_kunit.h"

#define NR_SLOTS	3000
#define NR_EACH		100	/* of two heaps */

static void an_unused_heap_holds_no_block(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, blocks_of(test, "kunit"), 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, 0);
}

/* Whether any slot lies in a page where one of the others is. */
static bool share_a_page(void **slots, size_t nr, void **others, size_t nr_others)
{
	size_t i, j;

	for (i = 0; i < nr; i++)
		for (j = 0; j < nr_others; j++)
			if (((unsigned long)slots[i] ^ (unsigned long)others[j]) < PAGE_SIZE)
				return true;
	return false;
}

static void a_block_in_use_keeps_its_class(struct kunit *test)
{
	static const size_t sizes[] = { 8, 56, 72, 128, 512, 600, 2048 };
	void **slots = slot_array(test, NR_SLOTS), *others[50];
	size_t kept = 0, i;

	/* blocks with one slot in use here and there, all others free */
	alloc_many(test, fixture.heap, 64, slots, NR_SLOTS);
	for (i = 0; i < NR_SLOTS; i++) {
		if (i % 60 == 0)
			slots[kept++] = slots[i];
		else
			blockslab_free(slots[i]);
	}
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (blockslab_size_roundup(sizes[i]) == blockslab_size_roundup(64))
			continue;
		alloc_many(test, fixture.heap, sizes[i], others, ARRAY_SIZE(others));
		KUNIT_EXPECT_FALSE(test, share_a_page(slots, kept, others, ARRAY_SIZE(others)));
		free_many(others, ARRAY_SIZE(others));
	}
	free_many(slots, kept);
}

static void slots_of_a_page_are_whole_slots_apart(struct kunit *test)
{
	static const size_t sizes[] = { 8, 24, 40, 104, 504, 576 };
	void **slots = slot_array(test, NR_SLOTS);
	size_t size, i, j;

	sample_nothing(test, fixture.heap);
	for (j = 0; j < ARRAY_SIZE(sizes); j++) {
		size = blockslab_size_roundup(sizes[j]);
		alloc_many(test, fixture.heap, size, slots, 500);
		for (i = 1; i < 500; i++) {
			unsigned long here = (unsigned long)slots[i];
			unsigned long before = (unsigned long)slots[i - 1];
			unsigned long apart = max(here, before) - min(here, before);

			if ((here ^ before) < PAGE_SIZE)
				KUNIT_ASSERT_EQ(test, apart % size, 0);
		}
		free_many(slots, 500);
	}
}

/* A write past a slot of a fresh block shall not be sure to meet the one given out next. */
static void a_fresh_block_s_slots_come_in_no_order(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t i, next_to_last = 0, size = blockslab_size_roundup(64);

	if (!IS_ENABLED(CONFIG_SLAB_FREELIST_RANDOM))
		kunit_skip(test, "the parameter shuffle is off");
	alloc_many(test, fixture.heap, 64, slots, NR_SLOTS);
	for (i = 1; i < NR_SLOTS; i++)
		next_to_last += abs(slots[i] - slots[i - 1]) == size;
	KUNIT_EXPECT_LT(test, next_to_last, NR_SLOTS / 2);
	free_many(slots, NR_SLOTS);
}

static void heaps_share_no_block(struct kunit *test)
{
	struct blockslab_heap *other = make_heap(test, "other", 0, 0, 0);
	void **ours = slot_array(test, 2 * NR_EACH), **theirs = ours + NR_EACH;
	size_t i;

	for (i = 0; i < NR_EACH; i++) {
		ours[i] = must_alloc(test, fixture.heap, 32);
		theirs[i] = must_alloc(test, other, 32);
	}
	KUNIT_EXPECT_FALSE(test, share_a_page(ours, NR_EACH, theirs, NR_EACH));
	free_many(ours, NR_EACH);
	free_many(theirs, NR_EACH);
	end_heap(test, other);
}

struct fill_case {
	size_t size, nr, step;
};

static const struct fill_case fill_table[] = {
	{ 8, 5000, 1 }, { 8, 5000, 7 }, { 24, 3000, 2 }, { 64, 64, 1 }, { 64, 65, 1 },
	{ 500, 1000, 3 }, { 1024, 333, 5 }, { 3000, 200, 2 }, { 8192, 100, 9 }, { 8192, 1, 1 },
};

static void fill_case_name(const struct fill_case *param, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "%zu slots of %zu, freed in steps of %zu", param->nr,
		 param->size, param->step);
}

KUNIT_ARRAY_PARAM(fill, fill_table, fill_case_name);

/* From empty to full and back, in an order that leaves blocks partial for long. */
static void invariants_hold_while_blocks_fill_and_drain(struct kunit *test)
{
	const struct fill_case *param = test->param_value;
	void **slots = slot_array(test, param->nr);
	size_t first, i;

	alloc_many(test, fixture.heap, param->size, slots, param->nr);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated,
			param->nr * blockslab_size_roundup(param->size));
	for (first = 0; first < param->step; first++) {
		for (i = first; i < param->nr; i += param->step)
			blockslab_free(slots[i]);
		KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	}
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "kunit"), 0);
}

static void blocks_are_packed_with_slots(struct kunit *test)
{
	static const size_t sizes[] = { 8, 16, 24, 32, 48, 96, 200, 512, 1000, 2048, 4096, 8192 };
	void **slots = slot_array(test, NR_SLOTS);
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t asked = due_bytes(sizes[i]) * NR_SLOTS, held;

		alloc_many(test, fixture.heap, sizes[i], slots, NR_SLOTS);
		held = stats_of(fixture.heap).held;
		KUNIT_EXPECT_GE(test, held, asked);
		/* a fifth for tails, descriptors, magazines, and blocks not yet full */
		KUNIT_EXPECT_LE_MSG(test, held, asked + asked / 5 + SZ_64K, "size %zu", sizes[i]);
		free_many(slots, NR_SLOTS);
		blockslab_shrink(fixture.heap);
	}
}

static void some_empty_blocks_are_kept_and_not_all(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t peak, after;

	alloc_many(test, fixture.heap, 1024, slots, NR_SLOTS);
	peak = stats_of(fixture.heap).held;
	free_many(slots, NR_SLOTS);
	after = stats_of(fixture.heap).held;
	KUNIT_EXPECT_GT(test, after, 0);
	KUNIT_EXPECT_LT(test, after, peak / 2);
}

static struct kunit_case blocks_cases[] = {
	KUNIT_CASE(an_unused_heap_holds_no_block),
	KUNIT_CASE(a_block_in_use_keeps_its_class),
	KUNIT_CASE(slots_of_a_page_are_whole_slots_apart),
	KUNIT_CASE(a_fresh_block_s_slots_come_in_no_order),
	KUNIT_CASE(heaps_share_no_block),
	KUNIT_CASE_PARAM(invariants_hold_while_blocks_fill_and_drain, fill_gen_params),
	KUNIT_CASE(blocks_are_packed_with_slots),
	KUNIT_CASE(some_empty_blocks_are_kept_and_not_all),
	{}
};

BLOCKSLAB_KUNIT_SUITE(blocks, blocks_cases);
