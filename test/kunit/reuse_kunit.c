// SPDX-License-Identifier: GPL-2.0
/* Reuse: which slot is given next, and what is found in it. */
#include "blockslab_kunit.h"

#define NR_SLOTS	2000

static void a_freed_slot_is_the_next_one_given(struct kunit *test)
{
	static const size_t sizes[] = { 8, 24, 512, 520, 2000, 8192 };
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *other = must_alloc(test, fixture.heap, sizes[i]);
		void *slot = must_alloc(test, fixture.heap, sizes[i]);
		void *again;

		blockslab_free(slot);
		again = must_alloc(test, fixture.heap, sizes[i]);
		KUNIT_EXPECT_PTR_EQ(test, again, slot);
		blockslab_free(again);
		blockslab_free(other);
	}
}

static void slots_are_given_last_freed_first(struct kunit *test)
{
	void *slots[8];
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < ARRAY_SIZE(slots); i++)
		slots[i] = must_alloc(test, fixture.heap, 100);
	for (i = 0; i < ARRAY_SIZE(slots); i++)
		blockslab_free(slots[i]);
	for (i = ARRAY_SIZE(slots) - 1; i >= 0; i--)
		KUNIT_EXPECT_PTR_EQ(test, must_alloc(test, fixture.heap, 100), slots[i]);
	free_many(slots, ARRAY_SIZE(slots));
}

static void sizes_17_to_24_share_one_class(struct kunit *test)
{
	void *first = must_alloc(test, fixture.heap, 17);
	size_t size;

	blockslab_free(first);
	for (size = 17; size <= 24; size++) {
		void *slot = must_alloc(test, fixture.heap, size);

		KUNIT_EXPECT_PTR_EQ(test, slot, first);
		blockslab_free(slot);
	}
}

static void neighbouring_classes_share_nothing(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 3 * CLASS_STEP), *smaller, *larger;

	blockslab_free(slot);
	smaller = must_alloc(test, fixture.heap, 2 * CLASS_STEP);
	larger = must_alloc(test, fixture.heap, 3 * CLASS_STEP + 1);
	KUNIT_EXPECT_PTR_NE(test, smaller, slot);
	KUNIT_EXPECT_PTR_NE(test, larger, slot);
	blockslab_free(smaller);
	blockslab_free(larger);
}

static void a_sized_free_makes_the_slot_reusable_too(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 70), *again;

	sample_nothing(test, fixture.heap);
	blockslab_free_sized(slot, 70);
	again = must_alloc(test, fixture.heap, 72);
	KUNIT_EXPECT_PTR_EQ(test, again, slot);
	blockslab_free_sized(again, 72);
}

static void churn_takes_no_more_memory_than_its_peak(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t held;
	int round;

	sample_nothing(test, fixture.heap);
	alloc_many(test, fixture.heap, 48, slots, NR_SLOTS);
	held = stats_of(fixture.heap).held;
	for (round = 0; round < 20; round++) {
		free_many(slots, NR_SLOTS);
		alloc_many(test, fixture.heap, 48, slots, NR_SLOTS);
	}
	/* magazines may have been added on the way, blocks not */
	KUNIT_EXPECT_LE(test, stats_of(fixture.heap).held, held + held / 4);
	free_many(slots, NR_SLOTS);
}

static void what_is_written_stays_until_the_free(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	int i;

	for (i = 0; i < NR_SLOTS; i++) {
		size_t size = 1 + i % 600;

		slots[i] = must_alloc(test, fixture.heap, size);
		memset(slots[i], i & 0xff, blockslab_usable_size(slots[i]));
	}
	for (i = 0; i < NR_SLOTS; i += 2)
		blockslab_free(slots[i]);
	for (i = 1; i < NR_SLOTS; i += 2) {
		KUNIT_ASSERT_TRUE(test, all_bytes_are(slots[i], i & 0xff, 1 + i % 600));
		blockslab_free(slots[i]);
	}
}

struct zero_case {
	const char *name;
	unsigned long flags;
	gfp_t gfp;
	bool zalloc;
};

static const struct zero_case zero_table[] = {
	{ "zalloc", 0, GFP_KERNEL, true },
	{ "__GFP_ZERO", 0, GFP_KERNEL | __GFP_ZERO, false },
	{ "BLOCKSLAB_ZERO", BLOCKSLAB_ZERO, GFP_KERNEL, false },
	{ "BLOCKSLAB_ZERO and BLOCKSLAB_POISON", BLOCKSLAB_ZERO | BLOCKSLAB_POISON, GFP_KERNEL,
	  false },
	{ "zalloc and BLOCKSLAB_RED_ZONE", BLOCKSLAB_RED_ZONE, GFP_KERNEL, true },
};

static void zero_case_name(const struct zero_case *param, char *name)
{
	strscpy(name, param->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(zero, zero_table, zero_case_name);

static void *zeroed(struct blockslab_heap *heap, const struct zero_case *param, size_t size)
{
	return param->zalloc ? blockslab_zalloc(heap, size, param->gfp) :
			       try_alloc(heap, size, param->gfp);
}

/* Each size twice: from fresh pages, and where someone has written before. */
static void zeroed_slots_are_zero_when_reused(struct kunit *test)
{
	static const size_t sizes[] = { 1, 8, 20, 24, 100, 512, 513, 4096, 8192, 8193, 40000 };
	const struct zero_case *param = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "zero", param->flags, 0, 0);
	int i;

	for (i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		size_t size = sizes[i / 2];
		void *slot = zeroed(heap, param, size);

		OPTIMIZER_HIDE_VAR(slot);
		KUNIT_ASSERT_NOT_NULL(test, slot);
		KUNIT_EXPECT_TRUE_MSG(test, all_bytes_are(slot, 0, size), "size %zu", size);
		memset(slot, 0xff, size);
		blockslab_free(slot);
	}
	end_heap(test, heap);
}

static void init_on_alloc_is_obeyed(struct kunit *test)
{
	void *slot;

	if (!want_init_on_alloc(GFP_KERNEL))
		kunit_skip(test, "the kernel runs without init_on_alloc");
	slot = must_alloc(test, fixture.heap, 100);
	memset(slot, 0xff, 100);
	blockslab_free(slot);
	slot = must_alloc(test, fixture.heap, 100);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0, 100));
	blockslab_free(slot);
}

/* But for what blockslab keeps at the slot's start. */
static void init_on_free_is_obeyed(struct kunit *test)
{
	char *slot;

	if (!want_init_on_free() || IS_ENABLED(CONFIG_KASAN))
		kunit_skip(test, "no init_on_free, or freed memory cannot be read");
	slot = must_alloc(test, fixture.heap, 100);
	memset(slot, 0xff, 100);
	blockslab_free(slot);
	OPTIMIZER_HIDE_VAR(slot);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot + sizeof(long), 0, 100 - sizeof(long)));
}

static struct kunit_case reuse_cases[] = {
	KUNIT_CASE(a_freed_slot_is_the_next_one_given),
	KUNIT_CASE(slots_are_given_last_freed_first),
	KUNIT_CASE(sizes_17_to_24_share_one_class),
	KUNIT_CASE(neighbouring_classes_share_nothing),
	KUNIT_CASE(a_sized_free_makes_the_slot_reusable_too),
	KUNIT_CASE(churn_takes_no_more_memory_than_its_peak),
	KUNIT_CASE(what_is_written_stays_until_the_free),
	KUNIT_CASE_PARAM(zeroed_slots_are_zero_when_reused, zero_gen_params),
	KUNIT_CASE(init_on_alloc_is_obeyed),
	KUNIT_CASE(init_on_free_is_obeyed),
	{}
};

BLOCKSLAB_KUNIT_SUITE(reuse, reuse_cases);
