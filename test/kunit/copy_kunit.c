// SPDX-License-Identifier: GPL-2.0
/*
 * Whose memory it is, copies that end with their slot, and allocations by type. There is no user
 * space here: a copy that may be fails without a report, and one that may not is reported.
 */
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include "blockslab_kunit.h"

static const size_t copy_sizes[] = { 1, 8, 64, 100, 1000, 8192, 20000 };

static void copy_size_name(const size_t *size, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "size %zu", *size);
}

KUNIT_ARRAY_PARAM(copy_size, copy_sizes, copy_size_name);

/* --- blockslab_owns() ------------------------------------------------------------------------- */

static void every_byte_of_a_slot_is_owned(struct kunit *test)
{
	const size_t *size = test->param_value;
	u8 *slot = must_alloc(test, fixture.heap, *size);

	KUNIT_EXPECT_TRUE(test, blockslab_owns(slot));
	KUNIT_EXPECT_TRUE(test, blockslab_owns(slot + *size / 2));
	KUNIT_EXPECT_TRUE(test, blockslab_owns(slot + *size - 1));
	blockslab_free(slot);
}

static void nothing_else_is_owned(struct kunit *test)
{
	static int global;
	void *others[] = { kmalloc(100, GFP_KERNEL), vmalloc(100), test, &global, &others, NULL,
			   ZERO_SIZE_PTR, ERR_PTR(-ENOMEM), nothing_else_is_owned,
			   (void *)ULONG_MAX, (void *)PAGE_SIZE, (void *)LONG_MAX };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(others); i++)
		KUNIT_EXPECT_FALSE_MSG(test, blockslab_owns(others[i]), "pointer %zu", i);
	kfree(others[0]);
	vfree(others[1]);
}

static void ask_whose(void *data)
{
	void **pointers = data;

	pointers[1] = blockslab_owns(pointers[0]) ? pointers[0] : NULL;
}

static void an_interrupt_may_ask_whose_it_is(struct kunit *test)
{
	void *pointers[2] = { must_alloc(test, fixture.heap, 100) };

	call_in_hardirq(ask_whose, pointers);
	KUNIT_EXPECT_PTR_EQ(test, pointers[0], pointers[1]);
	blockslab_free(pointers[0]);
}

/* --- copies to and from user space ------------------------------------------------------------ */

/* Whether a copy either way is left to the kernel, without a report; else each has one. */
static bool copy_may(struct kunit *test, void *at, size_t bytes)
{
	void __user *nowhere = (void __user *)-SZ_4M;	/* the kernel's: the copy itself fails */
	int refused;

	OPTIMIZER_HIDE_VAR(at);
	KUNIT_EXPECT_EQ(test, blockslab_copy_to_user(nowhere, at, bytes), bytes);
	refused = atomic_read(&fixture.faults);
	if (refused)
		expect_fault(test, "copy to or from user space past a slot", at);
	KUNIT_EXPECT_EQ(test, blockslab_copy_from_user(at, nowhere, bytes), bytes);
	if (refused)
		expect_fault(test, "copy to or from user space past a slot", at);
	return !refused;
}

static void a_copy_ends_with_its_slot(struct kunit *test)
{
	const size_t *size = test->param_value;
	u8 *slot = must_alloc(test, fixture.heap, *size);
	size_t usable = blockslab_usable_size(slot);

	KUNIT_EXPECT_TRUE(test, copy_may(test, slot, *size));
	KUNIT_EXPECT_TRUE(test, copy_may(test, slot, usable));
	KUNIT_EXPECT_TRUE(test, copy_may(test, slot + usable - 1, 1));
	KUNIT_EXPECT_FALSE(test, copy_may(test, slot, usable + 1));
	KUNIT_EXPECT_FALSE(test, copy_may(test, slot + usable - 1, 2));
	KUNIT_EXPECT_FALSE(test, copy_may(test, slot, 3 * usable));
	KUNIT_EXPECT_FALSE(test, copy_may(test, slot, SZ_1M));
	blockslab_free(slot);
}

static void a_refused_copy_leaves_the_slot_as_it_was(struct kunit *test)
{
	u8 *slot = must_alloc(test, fixture.heap, 64);

	memset(slot, 0x5a, 64);
	KUNIT_EXPECT_FALSE(test, copy_may(test, slot, 192));
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, 64));
	blockslab_free(slot);
}

static void a_free_slot_is_not_copied(struct kunit *test)
{
	const size_t *size = test->param_value;
	u8 *slot = must_alloc(test, fixture.heap, *size);
	u8 *other = must_alloc(test, fixture.heap, *size);

	if (*size > BLOCKSLAB_SLOT_MAX) {	/* its pages are nobody's then */
		blockslab_free(slot);
	} else {
		blockslab_free(slot);
		KUNIT_EXPECT_FALSE(test, copy_may(test, slot, 1));
		blockslab_shrink(fixture.heap);
	}
	KUNIT_EXPECT_TRUE(test, copy_may(test, other, *size));
	blockslab_free(other);
}

/* Not in a magazine, but marked free in its block; or kept there for a while. */
static void a_slot_back_in_its_block_is_not_copied(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "kept", BLOCKSLAB_TRACK, 0, 0);
	u8 *slot = must_alloc(test, fixture.heap, 64), *kept = must_alloc(test, heap, 64);
	u8 *other = must_alloc(test, fixture.heap, 64);

	blockslab_free(slot);
	blockslab_shrink(fixture.heap);
	if (blockslab_owns(slot))
		KUNIT_EXPECT_FALSE(test, copy_may(test, slot, 1));
	KUNIT_EXPECT_TRUE(test, copy_may(test, kept, 64));
	blockslab_free(kept);
	KUNIT_EXPECT_FALSE(test, copy_may(test, kept, 1));
	blockslab_free(other);
	end_heap(test, heap);
}

static void the_tail_of_a_block_is_not_copied(struct kunit *test)
{
	size_t size = blockslab_size_roundup(600);
	u8 *slot = must_alloc(test, fixture.heap, 600);
	struct blockslab_block *block = blockslab_block_of(virt_to_page(slot));

	KUNIT_EXPECT_FALSE(test, copy_may(test, block->base + block->nr_slots * size, 1));
	blockslab_free(slot);
}

#define PAIRS	64

/* A page of others that lies before a block: allocations of three pages leave one of four. */
static void a_copy_that_reaches_a_slot_is_refused(struct kunit *test)
{
	void **slots = slot_array(test, PAIRS), *pages[PAIRS], *before = NULL;
	int i;

	for (i = 0; i < PAIRS; i++) {
		slots[i] = must_alloc(test, fixture.heap, 3 * PAGE_SIZE);
		pages[i] = (void *)__get_free_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, pages[i]);
	}
	for (i = 0; i < PAIRS; i++)
		if (blockslab_owns(pages[i] + PAGE_SIZE))
			before = pages[i];
	if (before) {
		KUNIT_EXPECT_TRUE(test, copy_may(test, before, PAGE_SIZE));
		KUNIT_EXPECT_FALSE(test, copy_may(test, before, PAGE_SIZE + 1));
	}
	for (i = 0; i < PAIRS; i++)
		free_page((unsigned long)pages[i]);
	free_many(slots, PAIRS);
	if (!before)
		kunit_skip(test, "no page of others lies before a block");
}

/* Slots that are watched begin behind the start of their block's first page. */
static void a_copy_that_reaches_the_first_slot_is_refused(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "watched", BLOCKSLAB_TRACK, 0, 0);
	u8 *slot = must_alloc(test, heap, 24);
	struct blockslab_block *block = blockslab_block_of(virt_to_page(slot));
	u8 *lead = block->base - 8;

	KUNIT_ASSERT_PTR_EQ(test, virt_to_page(lead), virt_to_page(slot));
	KUNIT_EXPECT_FALSE(test, copy_may(test, lead, 9));
	KUNIT_EXPECT_FALSE(test, copy_may(test, lead, 16));
	KUNIT_EXPECT_FALSE(test, copy_may(test, lead, PAGE_SIZE));
	KUNIT_EXPECT_FALSE(test, copy_may(test, lead, 16 * PAGE_SIZE));
	blockslab_free(slot);
	end_heap(test, heap);
}

static void red_zones_are_not_copied(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "zoned", BLOCKSLAB_RED_ZONE, 0, 0);
	u8 *slot = must_alloc(test, heap, 100);

	KUNIT_EXPECT_TRUE(test, copy_may(test, slot, 100));
	KUNIT_EXPECT_FALSE(test, copy_may(test, slot, 101));
	blockslab_free(slot);
	end_heap(test, heap);
}

static void no_bytes_may_always_be_copied(struct kunit *test)
{
	u8 *slot = must_alloc(test, fixture.heap, 64);

	KUNIT_EXPECT_TRUE(test, copy_may(test, slot + blockslab_usable_size(slot), 0));
	blockslab_free(slot);
	KUNIT_EXPECT_TRUE(test, copy_may(test, slot, 0));
}

static void other_memory_is_the_kernels_to_judge(struct kunit *test)
{
	void *memory = kmalloc(100, GFP_KERNEL), *far = vmalloc(3 * PAGE_SIZE);

	KUNIT_ASSERT_NOT_NULL(test, memory);
	KUNIT_ASSERT_NOT_NULL(test, far);
	KUNIT_EXPECT_TRUE(test, copy_may(test, memory, 100));
	KUNIT_EXPECT_TRUE(test, copy_may(test, far, 3 * PAGE_SIZE));
	kfree(memory);
	vfree(far);
}

/* Of a cache, user space sees what it was told. */
static void a_copy_stays_in_its_caches_window(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("windowed", 200, 0, 0, NULL);
	u8 *object;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	object = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, object);
	KUNIT_EXPECT_TRUE(test, copy_may(test, object, 200));
	KUNIT_EXPECT_FALSE(test, copy_may(test, object, 201));
	blockslab_cache_usercopy(cache, 16, 32);
	KUNIT_EXPECT_TRUE(test, copy_may(test, object + 16, 32));
	KUNIT_EXPECT_TRUE(test, copy_may(test, object + 40, 8));
	KUNIT_EXPECT_FALSE(test, copy_may(test, object + 15, 1));
	KUNIT_EXPECT_FALSE(test, copy_may(test, object + 16, 33));
	KUNIT_EXPECT_FALSE(test, copy_may(test, object + 47, 2));
	blockslab_cache_usercopy(cache, 199, 1);
	KUNIT_EXPECT_TRUE(test, copy_may(test, object + 199, 1));
	blockslab_cache_usercopy(cache, 0, 0);
	KUNIT_EXPECT_FALSE(test, copy_may(test, object, 1));
	blockslab_cache_free(cache, object);
	blockslab_cache_destroy(cache);
}

/* Fails closed, as the kernel's does. */
static void a_window_that_no_object_has_is_none(struct kunit *test)
{
	static const size_t windows[][2] = {
		{ 0, 201 }, { 16, 185 }, { 200, 1 }, { 201, 0 }, { 8, SIZE_MAX }, { SIZE_MAX, 8 },
		{ SZ_64K, 8 }, { 8, SZ_64K + 8 },
	};
	struct blockslab_cache *cache = blockslab_cache_create("unwindowed", 200, 0, 0, NULL);
	u8 *object;
	int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	object = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, object);
	for (i = 0; i < ARRAY_SIZE(windows); i++) {
		blockslab_cache_usercopy(cache, 0, 200);
		blockslab_cache_usercopy(cache, windows[i][0], windows[i][1]);
		KUNIT_EXPECT_FALSE_MSG(test, copy_may(test, object, 1), "window %d", i);
		KUNIT_EXPECT_FALSE_MSG(test, copy_may(test, object + 16, 1), "window %d", i);
	}
	blockslab_cache_free(cache, object);
	blockslab_cache_destroy(cache);
}

/* --- by type, and with the overflow seen to --------------------------------------------------- */

struct item {
	u64 key;
	u32 count;
	u32 values[];
};

static void an_object_has_its_types_size(struct kunit *test)
{
	struct item *by_variable = blockslab_alloc_obj(fixture.heap, *by_variable, GFP_KERNEL);
	struct item *by_type = blockslab_zalloc_obj(fixture.heap, struct item, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, by_variable);
	KUNIT_ASSERT_NOT_NULL(test, by_type);
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(by_variable), due_bytes(sizeof(struct item)));
	KUNIT_EXPECT_TRUE(test, all_bytes_are(by_type, 0, sizeof(struct item)));
	blockslab_free_sized(by_variable, sizeof(*by_variable));
	blockslab_free_sized(by_type, sizeof(*by_type));
}

static void arrays_have_room_for_all(struct kunit *test)
{
	u64 *objects = blockslab_alloc_objs(fixture.heap, *objects, 25, GFP_KERNEL);
	u64 *zeroes = blockslab_zalloc_objs(fixture.heap, u64, 25, GFP_KERNEL);
	size_t __bytes = 9;	/* no macro is to have this name */
	struct item *item = blockslab_zalloc_flex(fixture.heap, *item, values, __bytes, GFP_KERNEL);
	struct item *none = blockslab_alloc_flex(fixture.heap, struct item, values, 0, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, objects);
	KUNIT_ASSERT_NOT_NULL(test, zeroes);
	KUNIT_ASSERT_NOT_NULL(test, item);
	KUNIT_ASSERT_NOT_NULL(test, none);
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(objects), due_bytes(200));
	KUNIT_EXPECT_TRUE(test, all_bytes_are(zeroes, 0, 200));
	KUNIT_EXPECT_TRUE(test, all_bytes_are(item->values, 0, 36));
	KUNIT_EXPECT_GE(test, blockslab_usable_size(item), sizeof(*item) + 36);
	KUNIT_EXPECT_GE(test, blockslab_usable_size(none), sizeof(*none));
	blockslab_free(objects);
	blockslab_free(zeroes);
	blockslab_free(item);
	blockslab_free(none);
}

static void what_overflows_gives_nothing(struct kunit *test)
{
	size_t many = SIZE_MAX / 4;

	OPTIMIZER_HIDE_VAR(many);
	KUNIT_EXPECT_NULL(test, blockslab_alloc_objs(fixture.heap, u64, many, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, blockslab_zalloc_objs(fixture.heap, u64, many, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, blockslab_alloc_array(fixture.heap, many, 5, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, blockslab_zalloc_array(fixture.heap, 5, many, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, blockslab_alloc_flex(fixture.heap, struct item, values, SIZE_MAX,
						     GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, blockslab_alloc_flex(fixture.heap, struct item, values, many + 1,
						     GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, blockslab_zalloc_flex(fixture.heap, struct item, values, many + 1,
						      GFP_KERNEL));
}

static void copies_are_alike(struct kunit *test)
{
	static const char text[] = "seventeen letters";
	char *copy = blockslab_memdup(fixture.heap, text, 9, GFP_KERNEL);
	char *string = blockslab_strdup(fixture.heap, text, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, copy);
	KUNIT_ASSERT_NOT_NULL(test, string);
	KUNIT_EXPECT_EQ(test, memcmp(copy, text, 9), 0);
	KUNIT_EXPECT_STREQ(test, string, text);
	KUNIT_EXPECT_NULL(test, blockslab_strdup(fixture.heap, NULL, GFP_KERNEL));
	blockslab_free(copy);
	blockslab_free(string);
}

static void a_sensitive_slot_is_wiped(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("secrets", 104, 0,
							       BLOCKSLAB_TYPESAFE_BY_RCU, NULL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	expect_wiped(test, cache, blockslab_free_sensitive);
	blockslab_free_sensitive(NULL);
	blockslab_free_sensitive(ZERO_SIZE_PTR);
	blockslab_cache_destroy(cache);
	/* fortified, too */
	blockslab_free_sensitive(blockslab_alloc(fixture.heap, 97, GFP_KERNEL));
	blockslab_free_sensitive(test);
	expect_fault(test, "foreign pointer", test);
}

static void a_cache_serves_nodes_and_zeroes(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("nodes", 104, 0, 0, NULL);
	int nodes[] = { NUMA_NO_NODE, numa_mem_id(), 9999, -5 };
	void *object;
	size_t i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	for (i = 0; i < ARRAY_SIZE(nodes); i++) {
		object = blockslab_cache_alloc_node(cache, GFP_KERNEL | __GFP_ZERO, nodes[i]);
		KUNIT_ASSERT_NOT_NULL(test, object);
		KUNIT_EXPECT_TRUE(test, all_bytes_are(object, 0, 104));
		memset(object, 0x5a, 104);
		blockslab_cache_free(cache, object);
		object = blockslab_cache_zalloc(cache, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, object);
		KUNIT_EXPECT_TRUE(test, all_bytes_are(object, 0, 104));
		memset(object, 0x5a, 104);
		blockslab_cache_free(cache, object);
	}
	blockslab_cache_destroy(cache);
}

static struct kunit_case copy_cases[] = {
	KUNIT_CASE_PARAM(every_byte_of_a_slot_is_owned, copy_size_gen_params),
	KUNIT_CASE(nothing_else_is_owned),
	KUNIT_CASE(an_interrupt_may_ask_whose_it_is),
	KUNIT_CASE_PARAM(a_copy_ends_with_its_slot, copy_size_gen_params),
	KUNIT_CASE(a_refused_copy_leaves_the_slot_as_it_was),
	KUNIT_CASE_PARAM(a_free_slot_is_not_copied, copy_size_gen_params),
	KUNIT_CASE(a_slot_back_in_its_block_is_not_copied),
	KUNIT_CASE(the_tail_of_a_block_is_not_copied),
	KUNIT_CASE(a_copy_that_reaches_a_slot_is_refused),
	KUNIT_CASE(a_copy_that_reaches_the_first_slot_is_refused),
	KUNIT_CASE(red_zones_are_not_copied),
	KUNIT_CASE(no_bytes_may_always_be_copied),
	KUNIT_CASE(other_memory_is_the_kernels_to_judge),
	KUNIT_CASE(a_copy_stays_in_its_caches_window),
	KUNIT_CASE(a_window_that_no_object_has_is_none),
	KUNIT_CASE(an_object_has_its_types_size),
	KUNIT_CASE(arrays_have_room_for_all),
	KUNIT_CASE(what_overflows_gives_nothing),
	KUNIT_CASE(copies_are_alike),
	KUNIT_CASE(a_sensitive_slot_is_wiped),
	KUNIT_CASE(a_cache_serves_nodes_and_zeroes),
	{}
};

BLOCKSLAB_KUNIT_SUITE(copy, copy_cases);
