// SPDX-License-Identifier: GPL-2.0
/* Alignment: of classes, of heaps and caches that ask for one, and that no two slots overlap. */
#include <linux/sort.h>
#include "blockslab_kunit.h"

#define NR_SLOTS	200

static size_t power_of_two_in(size_t size)
{
	return min_t(size_t, size & -size, PAGE_SIZE);
}

/* Slots that stay allocated, so that places all over a block are looked at. */
static void expect_aligned(struct kunit *test, struct blockslab_heap *heap, size_t size,
			   size_t align)
{
	void **slots = slot_array(test, NR_SLOTS);
	int i, aligned = 0;

	alloc_many(test, heap, size, slots, NR_SLOTS);
	for (i = 0; i < NR_SLOTS; i++)
		aligned += IS_ALIGNED((unsigned long)slots[i], align);
	KUNIT_EXPECT_EQ_MSG(test, aligned, NR_SLOTS, "size %zu, alignment %zu", size, align);
	free_many(slots, NR_SLOTS);
}

static void a_slot_is_aligned_as_its_class_divides(struct kunit *test)
{
	size_t size;

	for (size = 8; size <= BLOCKSLAB_SLOT_MAX; size = blockslab_size_roundup(size + 1))
		expect_aligned(test, fixture.heap, size, power_of_two_in(size));
}

static void a_power_of_two_is_naturally_aligned(struct kunit *test)
{
	size_t size;

	for (size = 8; size <= SZ_64K; size *= 2)
		expect_aligned(test, fixture.heap, size, min_t(size_t, size, PAGE_SIZE));
}

static void the_smallest_slots_are_aligned_as_kmalloc_s(struct kunit *test)
{
	size_t size;

	for (size = 1; size <= 64; size++)
		expect_aligned(test, fixture.heap, size, __alignof__(unsigned long long));
}

static void hwcache_align_starts_slots_at_cache_lines(struct kunit *test)
{
	static const size_t sizes[] = { 1, 24, 65, 200, 1000, 3000, 8192 };
	struct blockslab_heap *heap = make_heap(test, "lines", BLOCKSLAB_HWCACHE_ALIGN, 0, 0);
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		expect_aligned(test, heap, sizes[i], cache_line_size());
	end_heap(test, heap);
}

static void a_cache_starts_its_objects_at_cache_lines_if_asked(struct kunit *test)
{
	const unsigned long flags = BLOCKSLAB_HWCACHE_ALIGN;
	struct blockslab_cache *cache = blockslab_cache_create("lines", 40, 0, flags, NULL);
	void *objects[20];
	int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	for (i = 0; i < ARRAY_SIZE(objects); i++) {
		objects[i] = blockslab_cache_alloc(cache, GFP_KERNEL);
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)objects[i], cache_line_size()));
	}
	for (i = 0; i < ARRAY_SIZE(objects); i++)
		blockslab_cache_free(cache, objects[i]);
	blockslab_cache_destroy(cache);
}

static void a_cache_has_the_alignment_it_asks_for(struct kunit *test)
{
	size_t align;

	for (align = 1; align <= min_t(size_t, PAGE_SIZE, BLOCKSLAB_SLOT_MAX); align *= 2) {
		struct blockslab_cache *cache;
		void *objects[20];
		int i;

		cache = blockslab_cache_create("aligned", 40, align, 0, NULL);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
		for (i = 0; i < ARRAY_SIZE(objects); i++) {
			objects[i] = blockslab_cache_alloc(cache, GFP_KERNEL);
			KUNIT_ASSERT_NOT_NULL(test, objects[i]);
			KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)objects[i], align));
			KUNIT_EXPECT_GE(test, blockslab_usable_size(objects[i]), 40);
		}
		for (i = 0; i < ARRAY_SIZE(objects); i++)
			blockslab_cache_free(cache, objects[i]);
		blockslab_cache_destroy(cache);
	}
}

static void flags_do_not_cost_alignment(struct kunit *test)
{
	const unsigned long flags = BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE;
	struct blockslab_heap *heap = make_heap(test, "flags", flags, 0, 0);
	size_t size;

	for (size = 8; size <= PAGE_SIZE; size *= 2)
		expect_aligned(test, heap, size, size);
	end_heap(test, heap);
}

static int by_address(const void *a, const void *b)
{
	const unsigned long *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

static void no_two_slots_overlap(struct kunit *test)
{
	static const size_t sizes[] = { 8, 24, 104, 512, 520, 1200, 5000, 8192 };
	size_t nr = NR_SLOTS * ARRAY_SIZE(sizes), i;
	void **slots = slot_array(test, nr);

	for (i = 0; i < nr; i++)
		slots[i] = must_alloc(test, fixture.heap, sizes[i % ARRAY_SIZE(sizes)]);
	sort(slots, nr, sizeof(*slots), by_address, NULL);
	for (i = 1; i < nr; i++)
		KUNIT_ASSERT_GE(test, (unsigned long)slots[i],
				(unsigned long)slots[i - 1] + blockslab_usable_size(slots[i - 1]));
	free_many(slots, nr);
}

static struct kunit_case alignment_cases[] = {
	KUNIT_CASE(a_slot_is_aligned_as_its_class_divides),
	KUNIT_CASE(a_power_of_two_is_naturally_aligned),
	KUNIT_CASE(the_smallest_slots_are_aligned_as_kmalloc_s),
	KUNIT_CASE(hwcache_align_starts_slots_at_cache_lines),
	KUNIT_CASE(a_cache_starts_its_objects_at_cache_lines_if_asked),
	KUNIT_CASE(a_cache_has_the_alignment_it_asks_for),
	KUNIT_CASE(flags_do_not_cost_alignment),
	KUNIT_CASE(no_two_slots_overlap),
	{}
};

BLOCKSLAB_KUNIT_SUITE(alignment, alignment_cases);
