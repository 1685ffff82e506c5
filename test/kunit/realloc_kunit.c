// SPDX-License-Identifier: GPL-2.0
/* Resizing: the contents stay, the slot only where the class does. */
#include "blockslab_kunit.h"

#define NR_SLOTS	SZ_4K

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

struct shrink_case {
	size_t from, to;
	unsigned long flags;
};

static const struct shrink_case shrink_table[] = {
	{ 24, 17, 0 }, { 24, 1, 0 }, { 100, 99, 0 }, { 1000, 990, 0 }, { 8192, 7700, 0 },
	{ 20000, 17000, 0 }, { 100000, 20, 0 }, { 512, 505, BLOCKSLAB_ZERO },
	{ 24, 17, BLOCKSLAB_ZERO }, { 20000, 17000, BLOCKSLAB_ZERO }, { 24, 17, BLOCKSLAB_POISON },
	{ 1000, 10, BLOCKSLAB_POISON }, { 20000, 17000, BLOCKSLAB_POISON },
	{ 24, 17, BLOCKSLAB_RED_ZONE }, { 20000, 17000, BLOCKSLAB_RED_ZONE },
	{ 64, 40, BLOCKSLAB_HWCACHE_ALIGN },
	{ 24, 17, BLOCKSLAB_TRACK }, { 20000, 17000, BLOCKSLAB_TRACK },
};

static void shrink_case_name(const struct shrink_case *param, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "%zu, %zu and back, flags %lx", param->from,
		 param->to, param->flags);
}

KUNIT_ARRAY_PARAM(shrink, shrink_table, shrink_case_name);

/* What was cut off is not seen again by who asks for zeroes. */
static void what_was_cut_off_comes_back_as_zeroes(struct kunit *test)
{
	const struct shrink_case *param = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "resized", param->flags, 0, 0);
	gfp_t gfp = GFP_KERNEL | (param->flags & BLOCKSLAB_ZERO ? 0 : __GFP_ZERO);
	char *slot = try_alloc(heap, param->from, gfp);

	KUNIT_ASSERT_NOT_NULL(test, slot);
	memset(slot, 0x5a, param->from);
	slot = resize(heap, slot, param->to, gfp);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, param->to));
	slot = resize(heap, slot, param->from, gfp);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, param->to));
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot + param->to, 0, param->from - param->to));
	blockslab_free_sized(slot, param->from);
	end_heap(test, heap);
}

/* Nor is what an owner wrote behind what it had asked for lost. */
static void usable_bytes_are_the_owner_s(struct kunit *test)
{
	char *slot = try_alloc(fixture.heap, 17, GFP_KERNEL | __GFP_ZERO);
	size_t usable;

	KUNIT_ASSERT_NOT_NULL(test, slot);
	usable = blockslab_usable_size(slot);
	memset(slot, 0x5a, usable);
	slot = resize(fixture.heap, slot, usable, GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, usable));
	blockslab_free(slot);
}

/* With nothing to be had, the slot stays, and all that is told of it is right. */
static void to_shrink_never_fails(struct kunit *test)
{
	const struct shrink_case *param = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "resized", param->flags, 0, 0);
	char *slot = must_alloc(test, heap, param->from);
	size_t to = param->to;

	memset(slot, 0x5a, param->from);
	blockslab_fail(~0, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	slot = resize(heap, slot, to, GFP_KERNEL);
	blockslab_fail(0, 0, 0);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_GE(test, blockslab_usable_size(slot), to);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, to));
	memset(slot, 0xa5, blockslab_usable_size(slot));
	blockslab_free_sized(slot, to);
	end_heap(test, heap);
}

static void a_freed_slot_cannot_be_resized(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);

	blockslab_free(slot);
	KUNIT_EXPECT_NULL(test, resize(fixture.heap, slot, 1000, GFP_KERNEL));
	expect_fault(test, "double free", slot);
}

static void what_grows_step_by_step_moves_once_a_doubling(struct kunit *test)
{
	void *slot = NULL, *next;
	unsigned int moves = 0;
	size_t size;

	for (size = 16; size <= 1024; size += 16) {
		next = resize(fixture.heap, slot, size, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, next);
		moves += next != slot;
		slot = next;
		memset(slot, 0xa5, size);
		KUNIT_EXPECT_GE(test, blockslab_usable_size(slot), size);
	}
	KUNIT_EXPECT_LE(test, moves, 12);
	slot = resize(fixture.heap, slot, 1040, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	blockslab_free_sized(slot, blockslab_usable_size(slot) + 1);
	expect_fault(test, "wrong size", slot);
	blockslab_free_sized(slot, 1040);
}

/* Not the room that kmalloc() would give it. */
static void what_was_asked_for_counts(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);

	slot = resize(fixture.heap, slot, 600, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_GE(test, blockslab_usable_size(slot), 600);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "kunit", "requested"), 700);
	blockslab_free(slot);
}

static u64 fails(struct kunit *test)
{
	return class_cell(test, "kunit", 100, "fails") + class_cell(test, "kunit", 1000, "fails");
}

/* There are slots of the size, but none as large as kmalloc() would give; and none to shrink to. */
static void what_is_tried_only_is_no_failure(struct kunit *test)
{
	static const size_t sizes[] = { 100, 1000 };
	void **slots = slot_array(test, NR_SLOTS), *grows, *shrinks, *other;
	size_t nr = 0, i;
	u64 before;

	sample_nothing(test, fixture.heap);
	grows = must_alloc(test, fixture.heap, 100);
	shrinks = must_alloc(test, fixture.heap, 8000);
	other = must_alloc(test, fixture.heap, 600);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		slots[nr++] = must_alloc(test, fixture.heap, sizes[i]);
	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		while (nr < NR_SLOTS && (slots[nr] = try_alloc(fixture.heap, sizes[i], GFP_TRY)))
			nr++;
	before = fails(test);
	KUNIT_EXPECT_EQ(test, before, 2);
	shrinks = resize(fixture.heap, shrinks, 100, GFP_KERNEL);
	grows = resize(fixture.heap, grows, 600, GFP_KERNEL);
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(grows), blockslab_size_roundup(600));
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(shrinks), blockslab_size_roundup(8000));
	KUNIT_EXPECT_EQ(test, fails(test), before);
	free_many(slots, nr);
	blockslab_free(other);
	blockslab_free(shrinks);
	blockslab_free(grows);
}

/* As with krealloc(): else what goes up and down would move each time. */
static void what_shrinks_a_little_stays(struct kunit *test)
{
	static const size_t sizes[] = { 200, 3000, 8000, 20000 };
	void *slot, *same;
	size_t usable;
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		slot = must_alloc(test, fixture.heap, sizes[i]);
		usable = blockslab_usable_size(slot);
		same = resize(fixture.heap, slot, sizes[i] / 4, GFP_KERNEL);
		KUNIT_EXPECT_PTR_EQ(test, same, slot);
		KUNIT_EXPECT_EQ(test, blockslab_usable_size(same), usable);
		same = resize(fixture.heap, same, sizes[i], GFP_KERNEL);
		KUNIT_EXPECT_PTR_EQ(test, same, slot);
		same = resize(fixture.heap, same, sizes[i] / 4, GFP_KERNEL);
		blockslab_free_sized(same, sizes[i] / 4);
	}
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
}

static struct kunit_case realloc_cases[] = {
	KUNIT_CASE(what_shrinks_a_little_stays),
	KUNIT_CASE(what_was_asked_for_counts),
	KUNIT_CASE(what_is_tried_only_is_no_failure),
	KUNIT_CASE(what_grows_step_by_step_moves_once_a_doubling),
	KUNIT_CASE_PARAM(what_was_cut_off_comes_back_as_zeroes, shrink_gen_params),
	KUNIT_CASE(usable_bytes_are_the_owner_s),
	KUNIT_CASE_PARAM(to_shrink_never_fails, shrink_gen_params),
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
