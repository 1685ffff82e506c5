// SPDX-License-Identifier: GPL-2.0
/* Sizes and classes: what is given for each size, from 0 to more than there is. */
#include "blockslab_kunit.h"

static void every_size_gets_a_slot_that_holds_it(struct kunit *test)
{
	size_t size;

	sample_nothing(test, fixture.heap);
	for (size = 1; size <= BLOCKSLAB_SLOT_MAX; size++) {
		void *slot = must_alloc(test, fixture.heap, size);
		size_t usable = blockslab_usable_size(slot);

		KUNIT_ASSERT_GE(test, usable, size);
		KUNIT_ASSERT_EQ(test, usable, blockslab_size_roundup(size));
		memset(slot, 0x5a, usable);
		blockslab_free(slot);
	}
}

static void classes_go_by_small_steps_to_512(struct kunit *test)
{
	size_t size;

	for (size = 1; size <= 512; size++)
		KUNIT_ASSERT_EQ(test, blockslab_size_roundup(size), ALIGN(size, CLASS_STEP));
}

static void no_class_step_is_over_an_eighth(struct kunit *test)
{
	size_t size = 512;

	while (size < BLOCKSLAB_SLOT_MAX) {
		size_t next = blockslab_size_roundup(size + 1);

		KUNIT_ASSERT_GT(test, next, size);
		KUNIT_EXPECT_LE(test, next - size, max(size / 8, CLASS_STEP));
		size = next;
	}
	KUNIT_EXPECT_EQ(test, size, BLOCKSLAB_SLOT_MAX);
}

static void size_of_a_class_rounds_to_itself(struct kunit *test)
{
	size_t size, before = 0;

	for (size = 1; size <= 4 * BLOCKSLAB_SLOT_MAX; size++) {
		size_t rounded = blockslab_size_roundup(size);

		KUNIT_ASSERT_GE(test, rounded, size);
		KUNIT_ASSERT_GE(test, rounded, before);
		KUNIT_ASSERT_EQ(test, blockslab_size_roundup(rounded), rounded);
		before = rounded;
	}
}

static void sizes_that_cannot_be_round_to_themselves(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, blockslab_size_roundup(0), 0);
	KUNIT_EXPECT_EQ(test, blockslab_size_roundup(SIZE_MAX), SIZE_MAX);
}

static void constant_and_run_time_sizes_agree(struct kunit *test)
{
	void *constant = blockslab_alloc(fixture.heap, 24, GFP_KERNEL);
	void *variable = must_alloc(test, fixture.heap, 24);

	KUNIT_ASSERT_NOT_NULL(test, constant);
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(constant), blockslab_size_roundup(24));
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(variable), blockslab_size_roundup(24));
	blockslab_free(constant);
	blockslab_free(variable);
}

static void size_zero_gives_the_zero_size_pointer(struct kunit *test)
{
	void *slot = try_alloc(fixture.heap, 0, GFP_KERNEL);

	KUNIT_EXPECT_PTR_EQ(test, slot, ZERO_SIZE_PTR);
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(slot), 0);
	blockslab_free(slot);
	blockslab_free_sized(slot, 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
}

static void nothing_is_in_null(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(NULL), 0);
	blockslab_free(NULL);
	blockslab_free_sized(NULL, 100);
	blockslab_free_rcu(NULL);
	blockslab_free_nolock(NULL);
}

struct size_case {
	const char *name;
	size_t size;
};

static void size_case_name(const struct size_case *param, char *name)
{
	strscpy(name, param->name, KUNIT_PARAM_DESC_SIZE);
}

static const struct size_case large_sizes[] = {
	{ "one over the largest class", BLOCKSLAB_SLOT_MAX + 1 },
	{ "three pages", 3 * PAGE_SIZE },
	{ "four pages", 4 * PAGE_SIZE },
	{ "four pages and a byte", 4 * PAGE_SIZE + 1 },
	{ "64 KiB", SZ_64K },
	{ "1 MiB", SZ_1M },
};

KUNIT_ARRAY_PARAM(large_size, large_sizes, size_case_name);

static void large_sizes_get_whole_pages(struct kunit *test)
{
	const struct size_case *param = test->param_value;
	char *pages = must_alloc(test, fixture.heap, param->size);
	size_t usable = blockslab_usable_size(pages);

	KUNIT_EXPECT_TRUE(test, PAGE_ALIGNED(pages));
	KUNIT_EXPECT_GE(test, usable, param->size);
	KUNIT_EXPECT_EQ(test, usable, blockslab_size_roundup(param->size));
	KUNIT_EXPECT_GE(test, stats_of(fixture.heap).held, usable);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, usable);
	memset(pages, 0x5a, usable);
	blockslab_free_sized(pages, param->size);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
}

static const struct size_case impossible_sizes[] = {
	{ "SIZE_MAX", SIZE_MAX },
	{ "a page under SIZE_MAX", SIZE_MAX - PAGE_SIZE },
	{ "SSIZE_MAX", SIZE_MAX >> 1 },
	{ "more than the page allocator gives", (size_t)1 << 30 },
};

KUNIT_ARRAY_PARAM(impossible_size, impossible_sizes, size_case_name);

static void impossible_sizes_are_refused(struct kunit *test)
{
	const struct size_case *param = test->param_value;
	size_t held = stats_of(fixture.heap).held;
	size_t size = param->size;
	void *slots[2];

	KUNIT_EXPECT_NULL(test, try_alloc(fixture.heap, size, GFP_KERNEL | __GFP_NOWARN));
	KUNIT_EXPECT_NULL(test, try_alloc(fixture.heap, size, GFP_KERNEL));	/* says so */
	KUNIT_EXPECT_NULL(test, blockslab_alloc_nolock(fixture.heap, size));
	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(fixture.heap, size, GFP_KERNEL | __GFP_NOWARN, 2,
						   slots), 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, held);
}

/* A module with many sizes and few slots of each pays no more than it must. */
static void a_single_slot_holds_the_smallest_block(struct kunit *test)
{
	size_t size;

	for (size = 256; size <= BLOCKSLAB_SLOT_MAX; size += 256) {
		void *slot = must_alloc(test, fixture.heap, size);

		KUNIT_EXPECT_LT(test, stats_of(fixture.heap).held,
				(PAGE_SIZE << get_order(size)) + PAGE_SIZE / 2);
		blockslab_free(slot);
		blockslab_shrink(fixture.heap);
		KUNIT_ASSERT_EQ(test, stats_of(fixture.heap).held, 0);
	}
}

/* Once there are some slots; the first blocks of a class are the smallest. */
static void block_tails_are_under_five_percent_on_average(struct kunit *test)
{
	u64 bytes = 0, tails = 0;
	struct table classes;
	void *slots[40];	/* of so many a size has a class, and larger blocks */
	size_t size;

	for (size = 8; size <= BLOCKSLAB_SLOT_MAX; size = blockslab_size_roundup(size + 1))
		alloc_many(test, fixture.heap, size, slots, ARRAY_SIZE(slots));
	classes = table_open(test, "heap/kunit/classes");
	while (table_next(test, &classes)) {
		u64 slot = table_number(test, &classes, "size");
		u64 block = PAGE_SIZE << table_number(test, &classes, "order");
		u64 slots = table_number(test, &classes, "slots_per_block");

		if (!slot)
			continue;
		KUNIT_EXPECT_GE(test, block, slots * slot);
		KUNIT_EXPECT_GE(test, slots, 1);
		/* as shares, so that every class counts alike */
		tails += div64_u64((block - slots * slot) * 100000, block);
		bytes += 100000;
	}
	KUNIT_ASSERT_GT(test, bytes, 0);
	KUNIT_EXPECT_LT(test, tails * 100, bytes * 5);
	blockslab_heap_release(fixture.heap);
}

/* What FORTIFY knows of a slot is what the slot has. */
static void usable_bytes_may_be_written_under_fortify(struct kunit *test)
{
	char *slot = blockslab_alloc(NULL, 17, GFP_KERNEL);
	char *zeroed = blockslab_zalloc(NULL, 17, GFP_KERNEL);
	char *here = blockslab_alloc_node(NULL, 17, GFP_KERNEL, NUMA_NO_NODE);

	KUNIT_ASSERT_TRUE(test, slot && zeroed && here);
	if (IS_ENABLED(CONFIG_FORTIFY_SOURCE)) {
		KUNIT_EXPECT_EQ(test, __builtin_object_size(slot, 0), blockslab_size_roundup(17));
		KUNIT_EXPECT_EQ(test, __builtin_object_size(zeroed, 0), blockslab_size_roundup(17));
		KUNIT_EXPECT_GE(test, __builtin_object_size(here, 0), 17);
	}
	memset(slot, 1, blockslab_usable_size(slot));
	memset(zeroed, 1, blockslab_usable_size(zeroed));
	memset(here, 1, blockslab_usable_size(here));
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(slot), blockslab_size_roundup(17));
	here = blockslab_realloc(NULL, here, 33, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, here);
	memset(here, 1, blockslab_usable_size(here));
	KUNIT_EXPECT_GE(test, blockslab_usable_size(here), 33);
	blockslab_free(slot);
	blockslab_free(zeroed);
	blockslab_free(here);
}

/* For user space's pages, that have no address or may be moved. */
static void pages_of_slots_are_no_user_space_s(struct kunit *test)
{
	static const size_t sizes[] = { 24, 4096, 8192, 20000 };
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *slot = try_alloc(fixture.heap, sizes[i], GFP_HIGHUSER_MOVABLE);

		KUNIT_ASSERT_NOT_NULL(test, slot);
		KUNIT_EXPECT_LT(test, page_zonenum(virt_to_page(slot)), ZONE_MOVABLE);
		blockslab_free(slot);
	}
}

#define SUMMED	SZ_4M

static void slots_are_in_the_kernel_s_sums(struct kunit *test)
{
	static const unsigned long flags[] = { 0, BLOCKSLAB_RECLAIMABLE };
	unsigned long before[2], i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct blockslab_heap *heap = make_heap(test, "summed", flags[i], 0, 0);
		void **slots = slot_array(test, SUMMED / 4096);

		before[0] = global_node_page_state_pages(NR_SLAB_UNRECLAIMABLE_B);
		before[1] = global_node_page_state_pages(NR_SLAB_RECLAIMABLE_B);
		alloc_many(test, heap, 4096, slots, SUMMED / 4096);
		/* Per-CPU changes are not in yet. */
		KUNIT_EXPECT_GE(test, global_node_page_state_pages(i ? NR_SLAB_RECLAIMABLE_B :
								   NR_SLAB_UNRECLAIMABLE_B),
				before[i] + SUMMED / PAGE_SIZE * 7 / 8);
		KUNIT_EXPECT_LT(test, global_node_page_state_pages(i ? NR_SLAB_UNRECLAIMABLE_B :
								   NR_SLAB_RECLAIMABLE_B),
				before[!i] + SUMMED / PAGE_SIZE / 8);
		free_many(slots, SUMMED / 4096);
		end_heap(test, heap);
	}
}

static struct kunit_case sizes_cases[] = {
	KUNIT_CASE(usable_bytes_may_be_written_under_fortify),
	KUNIT_CASE(pages_of_slots_are_no_user_space_s),
	KUNIT_CASE(slots_are_in_the_kernel_s_sums),
	KUNIT_CASE(every_size_gets_a_slot_that_holds_it),
	KUNIT_CASE(classes_go_by_small_steps_to_512),
	KUNIT_CASE(no_class_step_is_over_an_eighth),
	KUNIT_CASE(size_of_a_class_rounds_to_itself),
	KUNIT_CASE(sizes_that_cannot_be_round_to_themselves),
	KUNIT_CASE(constant_and_run_time_sizes_agree),
	KUNIT_CASE(size_zero_gives_the_zero_size_pointer),
	KUNIT_CASE(nothing_is_in_null),
	KUNIT_CASE_PARAM(large_sizes_get_whole_pages, large_size_gen_params),
	KUNIT_CASE_PARAM(impossible_sizes_are_refused, impossible_size_gen_params),
	KUNIT_CASE(a_single_slot_holds_the_smallest_block),
	KUNIT_CASE(block_tails_are_under_five_percent_on_average),
	{}
};

BLOCKSLAB_KUNIT_SUITE(sizes, sizes_cases);
