// SPDX-License-Identifier: GPL-2.0
/* With KMSAN (tools/test --sanitize kmsan): values that nobody has written are reported. */
#include "blockslab_kunit.h"

#include <linux/mm.h>
#include <linux/tracepoint.h>

/* KMSAN tells nobody but the console what it has found. */
static atomic_t reports;

static void count_report(void *data, const char *text, size_t length)
{
	if (strnstr(text, "BUG: KMSAN", length))
		atomic_inc(&reports);
}

static void hook_console(struct tracepoint *point, void *data)
{
	if (strcmp(point->name, "console"))
		return;
	if (data)
		tracepoint_probe_register(point, count_report, NULL);
	else
		tracepoint_probe_unregister(point, count_report, NULL);
}

static int kmsan_begin(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_KMSAN))
		kunit_skip(test, "no KMSAN");
	for_each_kernel_tracepoint(hook_console, &reports);
	return case_begin(test);
}

static void kmsan_end(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_KMSAN))
		return;
	case_end(test);
	for_each_kernel_tracepoint(hook_console, NULL);
	tracepoint_synchronize_unregister();
}

/*
 * All uses that must be reported are made here: tools/test knows this name. KMSAN leaves functions
 * that are called kmsan_* out of its stacks.
 */
static noinline bool use_unwritten(const char *byte)
{
	if (READ_ONCE(*byte))
		return true;
	barrier();
	return false;
}

static bool is_reported(const char *byte)
{
	atomic_set(&reports, 0);
	use_unwritten(byte);
	return atomic_read(&reports);
}

static void skip_if_zeroed(struct kunit *test)
{
	if (want_init_on_alloc(GFP_KERNEL))
		kunit_skip(test, "this kernel zeroes what is allocated");
}

static void a_slot_nobody_wrote_to_is_reported(struct kunit *test)
{
	size_t sizes[] = { 1, 13, 100, 4095, 8192, 10000 };
	char *slot;
	size_t i;

	skip_if_zeroed(test);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		slot = must_alloc(test, fixture.heap, sizes[i]);
		KUNIT_EXPECT_TRUE(test, is_reported(slot));
		KUNIT_EXPECT_TRUE(test, is_reported(slot + sizes[i] - 1));
		memset(slot, 1, sizes[i]);
		KUNIT_EXPECT_FALSE(test, is_reported(slot));
		KUNIT_EXPECT_FALSE(test, is_reported(slot + sizes[i] - 1));
		blockslab_free(slot);
	}
}

static void what_the_last_owner_wrote_is_no_value(struct kunit *test)
{
	char *slot = must_alloc(test, fixture.heap, 64), *again;

	skip_if_zeroed(test);
	memset(slot, 1, 64);
	blockslab_free(slot);
	again = must_alloc(test, fixture.heap, 64);
	KUNIT_EXPECT_TRUE(test, is_reported(again + 32));
	blockslab_free(again);
}

static void a_read_after_a_free_is_reported(struct kunit *test)
{
	char *slot = must_alloc(test, fixture.heap, 64);

	memset(slot, 1, 64);
	blockslab_free(slot);
	KUNIT_EXPECT_TRUE(test, is_reported(slot + 32));
}

static void a_zeroed_slot_has_values(struct kunit *test)
{
	const size_t sizes[] = { 1, 64, 8192, 10000 };
	char *slot;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		slot = blockslab_zalloc(fixture.heap, sizes[i], GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, slot);
		KUNIT_EXPECT_FALSE(test, is_reported(slot));
		KUNIT_EXPECT_FALSE(test, is_reported(slot + sizes[i] - 1));
		blockslab_free(slot);
	}
}

static void a_resized_slot_keeps_its_values(struct kunit *test)
{
	char *slot = must_alloc(test, fixture.heap, 40);

	memset(slot, 1, 40);
	slot = blockslab_realloc(fixture.heap, slot, 400, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_FALSE(test, is_reported(slot + 39));
	if (!want_init_on_alloc(GFP_KERNEL))
		KUNIT_EXPECT_TRUE(test, is_reported(slot + 399));
	blockslab_free(slot);
}

static void slots_of_a_bulk_call_are_told_one_by_one(struct kunit *test)
{
	void *slots[8];

	skip_if_zeroed(test);
	KUNIT_ASSERT_EQ(test, 8, blockslab_alloc_bulk(fixture.heap, 48, GFP_KERNEL, 8, slots));
	KUNIT_EXPECT_TRUE(test, is_reported(slots[0]));
	KUNIT_EXPECT_TRUE(test, is_reported(slots[7]));
	blockslab_free_bulk(8, slots);
}

static void construct(void *object)
{
	memset(object, 7, 60);
}

static void an_object_keeps_what_its_constructor_wrote(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("made", 60, 0, 0, construct);
	char *object;
	int round;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	for (round = 0; round < 2; round++) {
		object = blockslab_cache_alloc(cache, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, object);
		KUNIT_EXPECT_FALSE(test, is_reported(object + 59));
		blockslab_cache_free(cache, object);
	}
	blockslab_cache_destroy(cache);
}

/* Poison, red zones and the mark of a free slot are blockslab's own business. */
static void its_own_checks_are_not_reported(struct kunit *test)
{
	atomic_set(&reports, 0);
	use_checked_heap(test);
	KUNIT_EXPECT_EQ(test, atomic_read(&reports), 0);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(a_slot_nobody_wrote_to_is_reported),
	KUNIT_CASE(what_the_last_owner_wrote_is_no_value),
	KUNIT_CASE(a_read_after_a_free_is_reported),
	KUNIT_CASE(a_zeroed_slot_has_values),
	KUNIT_CASE(a_resized_slot_keeps_its_values),
	KUNIT_CASE(slots_of_a_bulk_call_are_told_one_by_one),
	KUNIT_CASE(an_object_keeps_what_its_constructor_wrote),
	KUNIT_CASE(its_own_checks_are_not_reported),
	{}
};

BLOCKSLAB_KUNIT_SUITE_WITH(kmsan, cases, kmsan_begin, kmsan_end);
