// SPDX-License-Identifier: GPL-2.0
/* Heaps: made, counted, emptied, destroyed. */
#include "blockslab_kunit.h"

#define NR_SLOTS	1000

static void null_is_the_shared_heap(struct kunit *test)
{
	size_t before = stats_of(NULL).allocated;
	void *slot = must_alloc(test, NULL, 100);

	KUNIT_EXPECT_EQ(test, stats_of(NULL).allocated, before + blockslab_usable_size(slot));
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	blockslab_free(slot);
	KUNIT_EXPECT_EQ(test, stats_of(NULL).allocated, before);
}

static void a_free_finds_its_heap(struct kunit *test)
{
	struct blockslab_heap *other = make_heap(test, "other", 0, 0, 0);
	void *ours = must_alloc(test, fixture.heap, 100), *theirs = must_alloc(test, other, 100);

	blockslab_free(ours);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	KUNIT_EXPECT_GE(test, stats_of(other).allocated, 100);
	blockslab_free(theirs);
	KUNIT_EXPECT_EQ(test, stats_of(other).allocated, 0);
	end_heap(test, other);
}

static void heaps_give_no_slot_of_another(struct kunit *test)
{
	struct blockslab_heap *other = make_heap(test, "other", 0, 0, 0);
	void *slot = must_alloc(test, fixture.heap, 100), *theirs;

	blockslab_free(slot);
	theirs = must_alloc(test, other, 100);
	KUNIT_EXPECT_PTR_NE(test, theirs, slot);
	blockslab_free(theirs);
	end_heap(test, other);
}

static void stats_add_up(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	struct blockslab_heap_stats stats;
	size_t i, sum = 0;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < NR_SLOTS; i++) {
		slots[i] = must_alloc(test, fixture.heap, 1 + i * 10);
		sum += blockslab_usable_size(slots[i]);
	}
	stats = stats_of(fixture.heap);
	KUNIT_EXPECT_EQ(test, stats.allocated, sum);
	KUNIT_EXPECT_GE(test, stats.held, stats.allocated + stats.cached + stats.retained);
	KUNIT_EXPECT_GT(test, stats.fixed, 0);
	free_many(slots, NR_SLOTS);
	stats = stats_of(fixture.heap);
	KUNIT_EXPECT_EQ(test, stats.allocated, 0);
	KUNIT_EXPECT_GT(test, stats.cached, 0);
	KUNIT_EXPECT_GE(test, stats.held, stats.cached + stats.retained);
}

static void many_heaps_live_side_by_side(struct kunit *test)
{
	struct blockslab_heap *heaps[100];
	void **slots = slot_array(test, ARRAY_SIZE(heaps));
	char name[16];
	int i;

	for (i = 0; i < ARRAY_SIZE(heaps); i++) {
		snprintf(name, sizeof(name), "many-%d", i);
		heaps[i] = make_heap(test, name, 0, 0, 0);
		slots[i] = must_alloc(test, heaps[i], 100);
		memset(slots[i], i, 100);
	}
	for (i = 0; i < ARRAY_SIZE(heaps); i++) {
		KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], i, 100));
		blockslab_free(slots[i]);
		end_heap(test, heaps[i]);
	}
}

static void a_name_is_free_again_after_destroy(struct kunit *test)
{
	int i;

	for (i = 0; i < 50; i++) {
		struct blockslab_heap *heap = make_heap(test, "again", 0, 0, 0);

		blockslab_free(must_alloc(test, heap, 100));
		blockslab_heap_destroy(heap);
	}
}

static void the_longest_name_is_fine(struct kunit *test)
{
	char name[BLOCKSLAB_NAME_MAX + 1];

	memset(name, 'n', BLOCKSLAB_NAME_MAX);
	name[BLOCKSLAB_NAME_MAX] = '\0';
	end_heap(test, make_heap(test, name, 0, 0, 0));
}

static void destroy_of_nothing_is_fine(struct kunit *test)
{
	blockslab_heap_destroy(NULL);
	KUNIT_EXPECT_EQ(test, blockslab_heap_release(NULL), 0);
	KUNIT_EXPECT_EQ(test, blockslab_heap_release(ERR_PTR(-ENOMEM)), 0);
	blockslab_free(must_alloc(test, NULL, 10));
}

/* The owner is told of them, keeps them, and what they lie in goes with the last. */
static void live_slots_survive_destroy(struct kunit *test)
{
	static const size_t sizes[] = { 8, 100, 512, 3000, 8192, 20000 };
	struct blockslab_heap *heap = make_heap(test, "left", 0, 0, 0);
	void *slots[20 * ARRAY_SIZE(sizes)];
	int i;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		slots[i] = must_alloc(test, heap, sizes[i % ARRAY_SIZE(sizes)]);
		memset(slots[i], i, blockslab_usable_size(slots[i]));
	}
	blockslab_heap_destroy(heap);
	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		size_t size = sizes[i % ARRAY_SIZE(sizes)];

		KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], i, size));
		KUNIT_EXPECT_GE(test, blockslab_usable_size(slots[i]), size);
		blockslab_free(slots[i]);
	}
}

static void a_double_free_after_destroy_is_told(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "left", 0, 0, 0);
	void *slot = must_alloc(test, heap, 100), *other = must_alloc(test, heap, 100);

	blockslab_heap_destroy(heap);
	blockslab_free(slot);
	blockslab_free(slot);
	expect_fault(test, "double free", slot);
	blockslab_free(other);
}

static void a_heap_with_cached_slots_goes_at_destroy(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "cached", 0, 0, 0);
	void **slots = slot_array(test, NR_SLOTS);

	alloc_many(test, heap, 56, slots, NR_SLOTS);
	free_many(slots, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, heaps_named(test, "cached"), 1);
	blockslab_heap_destroy(heap);
	KUNIT_EXPECT_EQ(test, heaps_named(test, "cached"), 0);	/* at once */
}

static void release_gives_everything_back_at_once(struct kunit *test)
{
	size_t i;

	for (i = 0; i < NR_SLOTS; i++)
		must_alloc(test, fixture.heap, 1 + i * 20);
	KUNIT_EXPECT_EQ(test, blockslab_heap_release(fixture.heap), NR_SLOTS);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).cached, 0);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "kunit"), 0);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
}

static void release_counts_allocated_slots_only(struct kunit *test)
{
	void *slots[100];

	alloc_many(test, fixture.heap, 40, slots, ARRAY_SIZE(slots));
	free_many(slots, 60);
	KUNIT_EXPECT_EQ(test, blockslab_heap_release(fixture.heap), 40);
	KUNIT_EXPECT_EQ(test, blockslab_heap_release(fixture.heap), 0);
}

static void a_released_heap_serves_again(struct kunit *test)
{
	void *slot;
	int i;

	for (i = 0; i < 10; i++) {
		slot = must_alloc(test, fixture.heap, 100);
		memset(slot, i, 100);
		must_alloc(test, fixture.heap, 10000);
		KUNIT_EXPECT_EQ(test, blockslab_heap_release(fixture.heap), 2);
	}
	slot = must_alloc(test, fixture.heap, 100);
	blockslab_free(slot);
}

static void release_leaves_other_heaps_alone(struct kunit *test)
{
	struct blockslab_heap *other = make_heap(test, "other", 0, 0, 0);
	void *theirs = must_alloc(test, other, 100);

	must_alloc(test, fixture.heap, 100);
	memset(theirs, 0x5a, 100);
	KUNIT_EXPECT_EQ(test, blockslab_heap_release(fixture.heap), 1);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(theirs, 0x5a, 100));
	blockslab_free(theirs);
	end_heap(test, other);
}

/* What a memory cgroup is charged for has blocks of its own, by the heap's flag or the call's. */
static void an_accounted_heap_accounts_for_every_slot(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "accounted", BLOCKSLAB_ACCOUNT, 0, 0);
	void *slot, *other, *bulk[20];

	sample_nothing(test, fixture.heap);
	sample_nothing(test, heap);
	slot = must_alloc(test, heap, 100);
	blockslab_free(slot);
	other = try_alloc(heap, 100, GFP_KERNEL | __GFP_ACCOUNT);
	KUNIT_EXPECT_PTR_EQ(test, other, slot);
	blockslab_free(other);
	other = blockslab_alloc_nolock(heap, 100);
	KUNIT_EXPECT_PTR_EQ(test, other, slot);
	blockslab_free_nolock(other);
	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(heap, 100, GFP_KERNEL, 20, bulk), 20);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "accounted", "blocks"), 1);
	blockslab_free_bulk(20, bulk);
	blockslab_free(must_alloc(test, heap, 100000));
	KUNIT_EXPECT_TRUE(test, drains(heap));
	end_heap(test, heap);

	slot = must_alloc(test, fixture.heap, 100);
	blockslab_free(slot);
	other = try_alloc(fixture.heap, 100, GFP_KERNEL | __GFP_ACCOUNT);
	KUNIT_EXPECT_PTR_NE(test, other, slot);
	blockslab_free(other);
}

static void a_zeroing_heap_zeroes_by_every_call(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "zeroing", BLOCKSLAB_ZERO, 0, 0);
	void *slots[3];
	int i, round;

	for (round = 0; round < 3; round++) {
		slots[0] = must_alloc(test, heap, 200);
		slots[1] = must_alloc(test, heap, 20000);
		KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(heap, 200, GFP_KERNEL, 1, slots + 2), 1);
		for (i = 0; i < ARRAY_SIZE(slots); i++) {
			KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], 0, 200));
			memset(slots[i], 0xff, 200);
			blockslab_free(slots[i]);
		}
		slots[0] = blockslab_alloc_nolock(heap, 200);
		KUNIT_ASSERT_NOT_NULL(test, slots[0]);
		KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[0], 0, 200));
		memset(slots[0], 0xff, 200);
		blockslab_free(slots[0]);
	}
	KUNIT_EXPECT_PTR_EQ(test, blockslab_alloc_nolock(heap, 0), ZERO_SIZE_PTR);
	end_heap(test, heap);
}

static struct kunit_case heap_cases[] = {
	KUNIT_CASE(null_is_the_shared_heap),
	KUNIT_CASE(a_free_finds_its_heap),
	KUNIT_CASE(heaps_give_no_slot_of_another),
	KUNIT_CASE(stats_add_up),
	KUNIT_CASE(many_heaps_live_side_by_side),
	KUNIT_CASE(a_name_is_free_again_after_destroy),
	KUNIT_CASE(the_longest_name_is_fine),
	KUNIT_CASE(destroy_of_nothing_is_fine),
	KUNIT_CASE(live_slots_survive_destroy),
	KUNIT_CASE(a_double_free_after_destroy_is_told),
	KUNIT_CASE(a_heap_with_cached_slots_goes_at_destroy),
	KUNIT_CASE(release_gives_everything_back_at_once),
	KUNIT_CASE(release_counts_allocated_slots_only),
	KUNIT_CASE(a_released_heap_serves_again),
	KUNIT_CASE(release_leaves_other_heaps_alone),
	KUNIT_CASE(an_accounted_heap_accounts_for_every_slot),
	KUNIT_CASE(a_zeroing_heap_zeroes_by_every_call),
	{}
};

BLOCKSLAB_KUNIT_SUITE(heap, heap_cases);
