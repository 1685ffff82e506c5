// SPDX-License-Identifier: GPL-2.0
/* What the rest of the kernel sees of a slot's pages, and does with them. */
#include <linux/net.h>
#include "blockslab_kunit.h"

static const size_t page_sizes[] = { 8, 64, 1000, 3000, 8192, 16384, 100000 };

static void page_size_name(const size_t *size, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "size %zu", *size);
}

KUNIT_ARRAY_PARAM(page_size, page_sizes, page_size_name);

static struct page *last_page(const void *slot, size_t size)
{
	return virt_to_page(slot + size - 1);
}

static void references_come_and_go(struct kunit *test)
{
	const size_t size = *(const size_t *)test->param_value;
	void *slot = must_alloc(test, fixture.heap, size);
	int i;

	memset(slot, 0x5a, size);
	for (i = 0; i < 3; i++) {
		get_page(virt_to_page(slot));
		get_page(last_page(slot, size));
		put_page(last_page(slot, size));
		put_page(virt_to_page(slot));
	}
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, size));
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	blockslab_free(slot);
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, 0);
}

static void no_page_may_be_sent_by_reference(struct kunit *test)
{
	const size_t size = *(const size_t *)test->param_value;
	void *slot = must_alloc(test, fixture.heap, size);

	KUNIT_EXPECT_FALSE(test, sendpage_ok(virt_to_page(slot)));
	KUNIT_EXPECT_FALSE(test, sendpage_ok(last_page(slot, size)));
	blockslab_free(slot);
}

/* Then nothing is held any more, soon. */
static void let_go(struct kunit *test, struct page *page)
{
	int i;

	put_page(page);
	for (i = 0; i < 500 && stats_of(fixture.heap).held; i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, 0);
}

/* Its memory may be read through the reference: it goes back once that is let go of. */
static void a_page_that_is_referenced_does_not_go_back(struct kunit *test)
{
	const size_t size = *(const size_t *)test->param_value;
	void *slot = must_alloc(test, fixture.heap, size);
	struct page *page = virt_to_page(slot);

	get_page(page);
	blockslab_free(slot);
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), 1);
	KUNIT_EXPECT_STREQ(test, fixture.what, "page still referenced, or freed by others");
	KUNIT_EXPECT_GE(test, stats_of(fixture.heap).held, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	let_go(test, page);
}

/* It is looked at once a second. */
static void a_page_referenced_for_long_is_told_once(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 64);
	struct page *page = virt_to_page(slot);

	get_page(page);
	blockslab_free(slot);
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), 1);
	msleep(2500);
	KUNIT_EXPECT_EQ(test, atomic_read(&fixture.faults), 0);
	KUNIT_EXPECT_GE(test, stats_of(fixture.heap).held, PAGE_SIZE);
	let_go(test, page);
}

static struct page *held_page;

/* Called before the page is a slot's. */
static void hold_page(void *object)
{
	if (held_page)
		return;
	held_page = virt_to_page(object);
	get_page(held_page);
}

/* Lookups without a lock take one on whatever the page has become, and put it at once. */
static void a_reference_from_before_the_block_is_put(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("held", 64, 0, 0, hold_page);
	void *object;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	held_page = NULL;
	object = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, object);
	put_page(held_page);
	blockslab_cache_free(cache, object);
	blockslab_shrink(blockslab_cache_heap(cache));
	KUNIT_EXPECT_EQ(test, stats_of(blockslab_cache_heap(cache)).held, 0);
	blockslab_cache_destroy(cache);
}

#define WHOLE	(5 * PAGE_SIZE)

/* Has the heap keep the pages of one such slot; which. */
static void *keep_whole_pages(struct kunit *test)
{
	void *slot = NULL;
	int i;

	sample_nothing(test, fixture.heap);
	if (IS_ENABLED(CONFIG_KASAN) || IS_ENABLED(CONFIG_DEBUG_KMEMLEAK) ||
	    IS_ENABLED(CONFIG_KMSAN) || want_init_on_free())
		kunit_skip(test, "what is free is the page allocator's to watch");
	for (i = 0; i < 3; i++) {
		slot = must_alloc(test, fixture.heap, WHOLE);
		memset(slot, 0x5a, WHOLE);
		blockslab_free(slot);
	}
	KUNIT_EXPECT_GE(test, stats_of(fixture.heap).retained, WHOLE);
	return slot;
}

/* As any empty block; and what is in them is for nobody. */
static void whole_pages_are_kept_once_they_were_missed(struct kunit *test)
{
	void *slot = keep_whole_pages(test);

	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	blockslab_free(slot);
	expect_fault(test, "double free", slot);
	slot = blockslab_zalloc(fixture.heap, WHOLE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0, WHOLE));
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, WHOLE);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	blockslab_free(slot);
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, 0);
}

/* Those of one size do not keep others' out: what was kept longest goes. */
static void whole_pages_of_many_sizes_are_kept_in_turn(struct kunit *test)
{
	void *slot = keep_whole_pages(test);
	size_t size;
	int i;

	for (size = 3 * PAGE_SIZE; size <= 18 * PAGE_SIZE; size += PAGE_SIZE)
		for (i = 0; i < 4; i++) {
			slot = must_alloc(test, fixture.heap, size);
			blockslab_free(slot);
		}
	for (i = 0; i < 10; i++)
		blockslab_free(must_alloc(test, fixture.heap, WHOLE));
	blockslab_fail(BLOCKSLAB_FAIL_PAGES, ULONG_MAX, 0);
	for (i = 0; i < 10; i++)
		blockslab_free(must_alloc(test, fixture.heap, WHOLE));
	KUNIT_EXPECT_EQ(test, blockslab_fail(0, 0, 0), 0);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
}

/* Who refers to them may read what comes there: so that is nobody's. */
static void whole_pages_that_are_referenced_are_not_kept(struct kunit *test)
{
	void *kept = keep_whole_pages(test), *slot = must_alloc(test, fixture.heap, WHOLE);
	struct page *page = last_page(slot, WHOLE);
	int i;

	KUNIT_EXPECT_PTR_EQ(test, slot, kept);
	get_page(page);
	blockslab_free(slot);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), 1);
	KUNIT_EXPECT_STREQ(test, fixture.what, "page still referenced, or freed by others");
	slot = must_alloc(test, fixture.heap, WHOLE);
	KUNIT_EXPECT_PTR_NE(test, slot, kept);
	blockslab_free(slot);
	put_page(page);
	blockslab_shrink(fixture.heap);
	for (i = 0; i < 500 && stats_of(fixture.heap).held; i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, 0);
}

static struct kunit_case pages_cases[] = {
	KUNIT_CASE(whole_pages_are_kept_once_they_were_missed),
	KUNIT_CASE(whole_pages_of_many_sizes_are_kept_in_turn),
	KUNIT_CASE(whole_pages_that_are_referenced_are_not_kept),
	KUNIT_CASE_PARAM(references_come_and_go, page_size_gen_params),
	KUNIT_CASE_PARAM(no_page_may_be_sent_by_reference, page_size_gen_params),
	KUNIT_CASE_PARAM(a_page_that_is_referenced_does_not_go_back, page_size_gen_params),
	KUNIT_CASE(a_page_referenced_for_long_is_told_once),
	KUNIT_CASE(a_reference_from_before_the_block_is_put),
	{}
};

BLOCKSLAB_KUNIT_SUITE(pages, pages_cases);
