// SPDX-License-Identifier: GPL-2.0
/* With KASAN (tools/test --sanitize kasan): accesses to what is nobody's are reported. */
#include "blockslab_kunit.h"

#include <trace/events/error_report.h>

static atomic_t reports;

static void count_report(void *data, enum error_detector detector, unsigned long id)
{
	atomic_inc(&reports);
}

static int kasan_begin(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_KASAN_GENERIC))
		kunit_skip(test, "no KASAN");
	return register_trace_error_report_end(count_report, NULL) ?: case_begin(test);
}

static void kasan_end(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_KASAN_GENERIC))
		return;
	case_end(test);
	unregister_trace_error_report_end(count_report, NULL);
	tracepoint_synchronize_unregister();
}

/* All accesses that must be reported are made here: tools/test knows this name. */
static noinline void kasan_touch(char *byte)
{
	WRITE_ONCE(*byte, READ_ONCE(*byte));
}

static bool is_reported(char *byte)
{
	atomic_set(&reports, 0);
	kasan_touch(byte);
	return atomic_read(&reports);
}

static void the_whole_request_may_be_touched(struct kunit *test)
{
	size_t sizes[] = { 1, 7, 8, 13, 24, 100, 511, 4096, 8192, 10000 };
	char *slot;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		slot = must_alloc(test, fixture.heap, sizes[i]);
		KUNIT_EXPECT_FALSE(test, is_reported(slot));
		KUNIT_EXPECT_FALSE(test, is_reported(slot + sizes[i] - 1));
		blockslab_free(slot);
	}
}

static void one_byte_more_is_reported(struct kunit *test)
{
	size_t sizes[] = { 1, 13, 100, 4095, 10000 };
	char *slot;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		slot = must_alloc(test, fixture.heap, sizes[i]);
		KUNIT_EXPECT_TRUE(test, is_reported(slot + sizes[i]));
		blockslab_free(slot);
	}
}

static void use_after_free_is_reported(struct kunit *test)
{
	char *slot = must_alloc(test, fixture.heap, 64);

	blockslab_free(slot);
	KUNIT_EXPECT_TRUE(test, is_reported(slot));
	KUNIT_EXPECT_TRUE(test, is_reported(slot + 63));
}

static void a_slot_that_was_never_given_out_is_reported(struct kunit *test)
{
	char *slot = must_alloc(test, fixture.heap, 1024);

	/* its neighbour in the same page */
	KUNIT_EXPECT_TRUE(test, is_reported((char *)((unsigned long)slot ^ 1024)));
	blockslab_free(slot);
}

static void what_usable_size_tells_may_be_touched(struct kunit *test)
{
	char *slot = must_alloc(test, fixture.heap, 13);

	KUNIT_EXPECT_EQ(test, blockslab_usable_size(slot), blockslab_size_roundup(13));
	KUNIT_EXPECT_FALSE(test, is_reported(slot + 15));
	blockslab_free(slot);
}

static void objects_of_caches_are_watched(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("watched", 60, 0, 0, NULL);
	char *object;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	object = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, object);
	KUNIT_EXPECT_FALSE(test, is_reported(object + 59));
	KUNIT_EXPECT_TRUE(test, is_reported(object + 60));
	blockslab_cache_free(cache, object);
	KUNIT_EXPECT_TRUE(test, is_reported(object));
	blockslab_cache_destroy(cache);
}

static void a_typesafe_object_may_be_read_after_its_free(struct kunit *test)
{
	struct blockslab_cache *cache;
	char *object;

	cache = blockslab_cache_create("typesafe", 60, 0, BLOCKSLAB_TYPESAFE_BY_RCU, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	object = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, object);
	rcu_read_lock();
	blockslab_cache_free(cache, object);
	KUNIT_EXPECT_FALSE(test, is_reported(object));
	rcu_read_unlock();
	blockslab_cache_destroy(cache);
}

static void pages_that_went_back_are_clean(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 4000);
	char *page;
	int i;

	blockslab_free(slot);
	blockslab_shrink(fixture.heap);
	for (i = 0; i < 64; i++) {
		page = (char *)__get_free_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, page);
		KUNIT_EXPECT_FALSE(test, is_reported(page + i * 60));
		free_page((unsigned long)page);
	}
}

/* Poison and red zones lie where nobody may read, but blockslab itself. */
static void its_own_checks_are_not_reported(struct kunit *test)
{
	atomic_set(&reports, 0);
	use_checked_heap(test);
	KUNIT_EXPECT_EQ(test, atomic_read(&reports), 0);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(the_whole_request_may_be_touched),
	KUNIT_CASE(one_byte_more_is_reported),
	KUNIT_CASE(use_after_free_is_reported),
	KUNIT_CASE(a_slot_that_was_never_given_out_is_reported),
	KUNIT_CASE(what_usable_size_tells_may_be_touched),
	KUNIT_CASE(objects_of_caches_are_watched),
	KUNIT_CASE(a_typesafe_object_may_be_read_after_its_free),
	KUNIT_CASE(pages_that_went_back_are_clean),
	KUNIT_CASE(its_own_checks_are_not_reported),
	{}
};

BLOCKSLAB_KUNIT_SUITE_WITH(kasan, cases, kasan_begin, kasan_end);
