// SPDX-License-Identifier: GPL-2.0
/* Resizing: the contents stay, the slot only where the class does. */
#include "blockslab_kunit.h"

static void *resize(struct blockslab_heap *heap, const void *slot, size_t size, gfp_t gfp)
{
	void *resized = blockslab_realloc(heap, slot, size, gfp);

	OPTIMIZER_HIDE_VAR(resized);
	return resized;
}

struct realloc_case {
	size_t from, to;
};

static const struct realloc_case realloc_table[] = {
	{ 1, 2 }, { 8, 9 }, { 24, 17 }, { 100, 1000 }, { 1000, 100 }, { 512, 513 }, { 8192, 8193 },
	{ 8193, 8192 }, { 20, 100000 }, { 100000, 20 }, { 20000, 200000 }, { 200000, 20000 },
};

static void realloc_case_name(const struct realloc_case *param, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "from %zu to %zu", param->from, param->to);
}

KUNIT_ARRAY_PARAM(realloc, realloc_table, realloc_case_name);

static void contents_move_along(struct kunit *test)
{
	const struct realloc_case *param = test->param_value;
	size_t kept = min(param->from, param->to), i;
	u8 *slot = must_alloc(test, fixture.heap, param->from);

	for (i = 0; i < param->from; i++)
		slot[i] = i % 251;
	slot = resize(fixture.heap, slot, param->to, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_GE(test, blockslab_usable_size(slot), param->to);
	for (i = 0; i < kept; i++)
		if (slot[i] != i % 251)
			break;
	KUNIT_EXPECT_EQ(test, i, kept);
	blockslab_free(slot);
}

static void what_is_refused_leaves_the_slot_as_it_was(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);
	size_t huge = SIZE_MAX / 2;

	memset(slot, 0x5a, 100);
	OPTIMIZER_HIDE_VAR(huge);
	KUNIT_EXPECT_NULL(test, resize(fixture.heap, slot, huge, GFP_KERNEL | __GFP_NOWARN));
	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	KUNIT_EXPECT_NULL(test, resize(fixture.heap, slot, 5000, GFP_TRY));
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, 100));
	blockslab_free(slot);
}

static void a_size_of_the_same_class_keeps_the_slot(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 17);

	KUNIT_EXPECT_PTR_EQ(test, resize(fixture.heap, slot, 24, GFP_KERNEL), slot);
	KUNIT_EXPECT_PTR_EQ(test, resize(fixture.heap, slot, 18, GFP_KERNEL), slot);
	blockslab_free(slot);
}

static void realloc_of_null_allocates(struct kunit *test)
{
	void *slot = resize(fixture.heap, NULL, 100, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_GE(test, stats_of(fixture.heap).allocated, 100);
	blockslab_free(slot);
	slot = resize(fixture.heap, ZERO_SIZE_PTR, 100, GFP_KERNEL);
	KUNIT_ASSERT_FALSE(test, ZERO_OR_NULL_PTR(slot));
	blockslab_free(slot);
}

static void realloc_to_nothing_frees(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);

	KUNIT_EXPECT_PTR_EQ(test, resize(fixture.heap, slot, 0, GFP_KERNEL), ZERO_SIZE_PTR);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
}

static void growth_is_zeroed_on_request(struct kunit *test)
{
	char *slot = resize(fixture.heap, NULL, 20, GFP_KERNEL | __GFP_ZERO);

	KUNIT_ASSERT_NOT_NULL(test, slot);
	memset(slot, 0x5a, 20);
	slot = resize(fixture.heap, slot, 200, GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, 20));
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot + 20, 0, 180));
	blockslab_free(slot);
}

/* RED_ZONE knows the size asked for: it must follow. */
static void a_red_zone_moves_with_the_size(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "zone", BLOCKSLAB_RED_ZONE, 0, 0);
	size_t size;
	char *slot = must_alloc(test, heap, 1);

	for (size = 2; size < 300; size++) {
		slot = resize(heap, slot, size, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, slot);
		memset(slot, size & 0xff, size);
	}
	for (; size > 0; size--) {
		slot = resize(heap, slot, size, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, slot);
	}
	blockslab_free(slot);
	end_heap(test, heap);
}

static void a_freed_slot_cannot_be_resized(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);

	blockslab_free(slot);
	KUNIT_EXPECT_NULL(test, resize(fixture.heap, slot, 1000, GFP_KERNEL));
	expect_fault(test, "double free", slot);
}

static struct kunit_case realloc_cases[] = {
	KUNIT_CASE_PARAM(contents_move_along, realloc_gen_params),
	KUNIT_CASE(what_is_refused_leaves_the_slot_as_it_was),
	KUNIT_CASE(a_size_of_the_same_class_keeps_the_slot),
	KUNIT_CASE(realloc_of_null_allocates),
	KUNIT_CASE(realloc_to_nothing_frees),
	KUNIT_CASE(growth_is_zeroed_on_request),
	KUNIT_CASE(a_red_zone_moves_with_the_size),
	KUNIT_CASE(a_freed_slot_cannot_be_resized),
	{}
};

BLOCKSLAB_KUNIT_SUITE(realloc, realloc_cases);
