// SPDX-License-Identifier: GPL-2.0
/* Watching: what is written beside tracked slots, or to them after their free. */
#include <linux/kasan.h>
#include <linux/xarray.h>
#include "blockslab_kunit.h"
#include "../versions.h"

#define NR_SLOTS	200
#define DAMAGE		0x41
#define WATCHED_MOST	(PAGE_SIZE / SZ_4K * SZ_1M)	/* that a heap may hold for freed slots */

static const size_t sizes[] = { 1, 8, 24, 60, 64, 100, 512, 1000, 4096, 5000, 8192, 20000, 65536 };

static void size_description(const size_t *size, char *text)
{
	scnprintf(text, KUNIT_PARAM_DESC_SIZE, "%zu bytes", *size);
}

KUNIT_ARRAY_PARAM(size, sizes, size_description);

static struct blockslab_heap *watched_heap(struct kunit *test)
{
	return make_heap(test, "watched", BLOCKSLAB_TRACK, 0, 0);
}

/* The compiler shall know nothing of it. */
static noinline void damage(char *slot, ssize_t offset, size_t bytes)
{
	OPTIMIZER_HIDE_VAR(slot);
	kasan_disable_current();	/* which would tell, and not write */
	memset(slot + offset, DAMAGE, bytes);
	kasan_enable_current();
}

static bool given_again(struct kunit *test, struct blockslab_heap *heap, size_t size, void *slot)
{
	void **slots = slot_array(test, NR_SLOTS);
	bool again = false;
	size_t i;

	for (i = 0; i < NR_SLOTS; i++) {
		slots[i] = must_alloc(test, heap, size);
		again |= slots[i] == slot;
	}
	free_many(slots, NR_SLOTS);
	kunit_kfree(test, slots);
	return again;
}

/* What was found stays out of reach while the heap goes on, and does not outlive it. */
static void end_watched(struct kunit *test, struct blockslab_heap *heap, size_t size, void *slot)
{
	if (size <= BLOCKSLAB_SLOT_MAX)
		KUNIT_EXPECT_FALSE(test, given_again(test, heap, size, slot));
	blockslab_shrink(heap);
	KUNIT_EXPECT_GT(test, stats_of(heap).held, 0);
	KUNIT_EXPECT_EQ(test, stats_of(heap).allocated, 0);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "watched", "slots"), 0);
	end_heap(test, heap);
	KUNIT_EXPECT_EQ(test, atomic_read(&fixture.faults), 0);
}

/* @where of the slot a byte is written to: before it is freed, or after. */
static void a_write_is_told(struct kunit *test, ssize_t where, bool freed, const char *fault)
{
	size_t size = *(const size_t *)test->param_value;
	struct blockslab_heap *heap = watched_heap(test);
	char *slot = must_alloc(test, heap, size);

	if (freed)
		blockslab_free(slot);
	damage(slot, where, 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&fixture.faults), 0);
	if (freed)
		blockslab_shrink(heap);
	else
		blockslab_free(slot);
	expect_fault(test, fault, slot);
	end_watched(test, heap, size, slot);
}

static void a_write_past_the_slot_is_told_at_its_free(struct kunit *test)
{
	a_write_is_told(test, *(const size_t *)test->param_value, false, "write past the slot");
}

static void a_write_before_the_slot_is_told_at_its_free(struct kunit *test)
{
	a_write_is_told(test, -8, false, "write before the slot, or past the one before it");
}

static void a_write_after_free_is_told_when_the_slot_is_let_go(struct kunit *test)
{
	a_write_is_told(test, *(const size_t *)test->param_value - 1, true, "write after free");
}

static void validate_finds_all_of_them(struct kunit *test)
{
	size_t size = *(const size_t *)test->param_value;
	struct blockslab_heap *heap = watched_heap(test);
	char *past = must_alloc(test, heap, size), *before = must_alloc(test, heap, size);
	char *gone = must_alloc(test, heap, size);

	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	damage(past, size, 1);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 1);
	expect_fault(test, "write past the slot", past);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 1);
	blockslab_free(past);
	damage(before, -1, 1);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 1);
	expect_fault(test, "write before the slot, or past the one before it", before);
	blockslab_free(before);
	blockslab_free(gone);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	damage(gone, 0, 1);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 1);
	expect_fault(test, "write after free", gone);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	end_watched(test, heap, size, gone);
}

/* Two slots that lie one behind the other. */
static void neighbours(struct kunit *test, struct blockslab_heap *heap, size_t size, char **first,
		       char **second)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t i, j, least = SIZE_MAX;

	*first = NULL;
	alloc_many(test, heap, size, slots, NR_SLOTS);
	for (i = 0; i < NR_SLOTS; i++) {
		for (j = 0; j < NR_SLOTS; j++) {
			if (slots[j] <= slots[i] || (size_t)(slots[j] - slots[i]) >= least)
				continue;
			least = slots[j] - slots[i];
			*first = slots[i];
			*second = slots[j];
		}
	}
	KUNIT_ASSERT_NOT_NULL(test, *first);
	for (i = 0; i < NR_SLOTS; i++)
		if (slots[i] != *first && slots[i] != *second)
			blockslab_free(slots[i]);
}

/* Whichever is freed first, who wrote is named, and once. */
static void who_reached_the_next_slot_is_named(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	char *first, *second;

	neighbours(test, heap, 100, &first, &second);
	damage(first, 100, second - first - 100);
	blockslab_free(second);
	expect_fault(test, "write past the slot", first);
	blockslab_free(first);
	end_watched(test, heap, 100, first);
}

static void a_free_slot_that_reached_the_next_is_named(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	char *first, *second;

	neighbours(test, heap, 100, &first, &second);
	blockslab_free(first);
	damage(first, 50, second - first - 50);
	blockslab_free(second);
	expect_fault(test, "write after free", first);
	blockslab_shrink(heap);
	end_watched(test, heap, 100, first);
}

/* Once told, it is not told again when what it reached is freed. */
static void validate_names_who_reached_the_next_slot(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	char *first, *second;

	neighbours(test, heap, 100, &first, &second);
	damage(first, 100, second - first - 100);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 1);
	expect_fault(test, "write past the slot", first);
	blockslab_free(second);
	KUNIT_EXPECT_EQ(test, atomic_read(&fixture.faults), 0);
	blockslab_free(first);
	end_watched(test, heap, 100, first);
}

/* Let go of before it was written to, it lies in its block, which the second one keeps. */
static void a_write_to_what_was_let_go_is_told_when_it_is_taken(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	char *first, *second;

	neighbours(test, heap, 100, &first, &second);
	KUNIT_ASSERT_PTR_EQ(test, blockslab_block_of(virt_to_page(first)),
			    blockslab_block_of(virt_to_page(second)));
	blockslab_free(first);
	blockslab_shrink(heap);
	damage(first, 50, 1);
	KUNIT_EXPECT_FALSE(test, given_again(test, heap, 100, first));
	expect_fault(test, "write after free", first);
	blockslab_free(second);
	end_watched(test, heap, 100, first);
}

static void a_slot_may_be_used_to_its_usable_size(struct kunit *test)
{
	size_t size = *(const size_t *)test->param_value, usable;
	struct blockslab_heap *heap = watched_heap(test);
	char *slot = must_alloc(test, heap, size), *moved;

	usable = blockslab_usable_size(slot);
	KUNIT_EXPECT_EQ(test, usable, size);
	KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)slot, min(size & -size, PAGE_SIZE)));
	memset(slot, 7, usable);
	moved = blockslab_realloc(heap, slot, size + 7, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, moved);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(moved, 7, size));
	memset(moved, 8, blockslab_usable_size(moved));
	slot = blockslab_realloc(heap, moved, size / 2 + 1, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	memset(slot, 9, blockslab_usable_size(slot));
	blockslab_free_sized(slot, size / 2 + 1);
	slot = must_alloc(test, heap, size);
	memset(slot, 1, size);
	blockslab_free_sensitive(slot);
	blockslab_shrink(heap);
	KUNIT_EXPECT_EQ(test, stats_of(heap).held, 0);
	end_heap(test, heap);
}

/* Where there is no memory for a smaller slot, the old one stays, and is watched to its new end. */
static void what_shrinks_in_place_is_watched_to_its_new_end(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	const unsigned int all = BLOCKSLAB_FAIL_CLASS | BLOCKSLAB_FAIL_PAGES |
				 BLOCKSLAB_FAIL_DESCRIPTOR;
	char *slot = must_alloc(test, heap, 20000), *same;

	memset(slot, 7, 20000);
	blockslab_fail(all, 0, 100);
	same = blockslab_realloc(heap, slot, 10, GFP_KERNEL);
	blockslab_fail(0, 0, 0);
	KUNIT_ASSERT_PTR_EQ(test, same, slot);
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(slot), 10);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	damage(slot, 10, 1);
	blockslab_free(slot);
	expect_fault(test, "write past the slot", slot);
	end_heap(test, heap);
}

static void zeroes_are_zeroes(struct kunit *test)
{
	const unsigned long flags = BLOCKSLAB_TRACK | BLOCKSLAB_ZERO;
	struct blockslab_heap *heap = make_heap(test, "watched", flags, 0, 0);
	size_t size = *(const size_t *)test->param_value;
	void *slots[3];
	int round, i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 2; i++) {
			slots[i] = must_alloc(test, heap, size);
			KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], 0, size));
			memset(slots[i], 7, size);
		}
		free_many(slots, 2);
		blockslab_shrink(heap);
	}
	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(heap, size, GFP_KERNEL, 3, slots), 3);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], 0, size));
	blockslab_free_bulk(3, slots);
	end_heap(test, heap);
}

static void whatever_way_a_slot_takes_all_is_well(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	void **slots = slot_array(test, NR_SLOTS);
	char *slot;
	size_t i;

	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(heap, 40, GFP_KERNEL, NR_SLOTS, slots),
			NR_SLOTS);
	for (i = 0; i < NR_SLOTS; i++)
		memset(slots[i], i, 40);
	blockslab_free_bulk(NR_SLOTS, slots);
	alloc_many(test, heap, 40, slots, NR_SLOTS);
	for (i = 0; i < NR_SLOTS; i++) {
		memset(slots[i], i, 40);
		if (i % 2)
			blockslab_free_rcu(slots[i]);
		else
			blockslab_free_nolock(slots[i]);
	}
	KUNIT_EXPECT_TRUE(test, drains(heap));
	slot = try_alloc(heap, 333, GFP_KERNEL | __GFP_NOFAIL);
	memset(slot, 1, 333);
	slot = blockslab_zalloc(heap, 222, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0, 222));
	KUNIT_EXPECT_EQ(test, blockslab_heap_release(heap), 2);
	slot = must_alloc(test, heap, 40);
	blockslab_free(slot);
	end_heap(test, heap);
}

static void what_was_written_to_is_told_of_a_heap_that_ends(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	char *live = must_alloc(test, heap, 100), *gone = must_alloc(test, heap, 100);

	blockslab_free(gone);
	damage(gone, 99, 1);
	blockslab_heap_destroy(heap);
	expect_fault(test, "write after free", gone);
	damage(live, 100, 1);
	blockslab_free(live);
	expect_fault(test, "write past the slot", live);
}

#define NR_WRITTEN	80	/* more than one hold of a lock lets go of */

static void many_that_were_written_to_go_with_their_heap(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	void **slots = slot_array(test, NR_WRITTEN);
	struct table table;
	int i;

	alloc_many(test, heap, 100, slots, NR_WRITTEN);
	for (i = 0; i < NR_WRITTEN; i++) {
		blockslab_free(slots[i]);
		damage(slots[i], 99, 1);
	}
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), NR_WRITTEN);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), NR_WRITTEN);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	blockslab_heap_destroy(heap);
	table = table_open(test, "heaps");
	while (table_next(test, &table))
		KUNIT_EXPECT_STRNEQ(test, table_text(test, &table, "name"), "watched");
}

static void damage_and_free(struct kunit *test, char *slot, size_t size)
{
	damage(slot, size, 1);
	blockslab_free(slot);
	expect_fault(test, "write past the slot", slot);
}

/* Beside it in its block, and in its class, there are others that stay. */
static void what_was_written_to_goes_with_its_heap_alone(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "watched", 0, 0, 0);
	char *first, *second, *large, *untracked;
	struct blockslab_block *block;

	sample_nothing(test, heap);
	untracked = must_alloc(test, heap, 20000);
	KUNIT_ASSERT_EQ(test, blockslab_track(heap, 1), 0);
	large = must_alloc(test, heap, 20000);
	neighbours(test, heap, 100, &first, &second);
	block = blockslab_block_of(virt_to_page(second));
	KUNIT_ASSERT_PTR_EQ(test, blockslab_block_of(virt_to_page(first)), block);
	damage_and_free(test, large, 20000);
	damage_and_free(test, first, 100);
	blockslab_shrink(heap);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "watched"), 3);
	KUNIT_EXPECT_EQ(test, block->nr_free, block->nr_slots - 2);
	blockslab_heap_destroy(heap);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "watched"), 2);
	KUNIT_EXPECT_EQ(test, block->nr_free, block->nr_slots - 1);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "watched", "slots"), 2);
	blockslab_free(second);
	blockslab_free(untracked);
	KUNIT_EXPECT_EQ(test, atomic_read(&fixture.faults), 0);
}

static void what_is_too_large_to_be_kept_goes_back_at_once(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	char *small = must_alloc(test, heap, 20000), *large;
	bool watched;

	blockslab_free(small);
	KUNIT_EXPECT_GT(test, stats_of(heap).held, 20000);
	blockslab_shrink(heap);
	KUNIT_EXPECT_EQ(test, stats_of(heap).held, 0);
	large = must_alloc(test, heap, WATCHED_MOST);
	watched = blockslab_block_of(virt_to_page(large))->nr_pages > PFN_UP(WATCHED_MOST);
	blockslab_free(large);
	if (watched)
		KUNIT_EXPECT_EQ(test, stats_of(heap).held, 0);
	blockslab_shrink(heap);
	end_heap(test, heap);
	if (!watched)
		kunit_skip(test, "there were no pages around it");
}

static void a_second_free_is_told_while_the_slot_is_kept(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	void *slot = must_alloc(test, heap, 100), *other;

	blockslab_free(slot);
	other = must_alloc(test, heap, 100);
	KUNIT_EXPECT_PTR_NE(test, other, slot);
	blockslab_free(slot);
	expect_fault(test, "double free", slot);
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(slot), 0);
	expect_fault(test, "double free", slot);
	blockslab_free_rcu(slot);
	expect_fault(test, "double free", slot);
	blockslab_free(other);
	blockslab_shrink(heap);
	KUNIT_EXPECT_EQ(test, stats_of(heap).held, 0);
	end_heap(test, heap);
}

/* Of all sizes, each of which may hold a block. */
static void what_is_kept_is_bounded(struct kunit *test)
{
	struct blockslab_heap *heap = watched_heap(test);
	void *slot;
	size_t i;

	for (i = 0; i < 4000; i++) {
		slot = must_alloc(test, heap, 1 + i * 13 % 9000);
		blockslab_free(slot);
		KUNIT_ASSERT_LE(test, stats_of(heap).held, WATCHED_MOST);
	}
	KUNIT_EXPECT_GT(test, stats_of(heap).cached, 0);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	blockslab_shrink(heap);
	KUNIT_EXPECT_EQ(test, stats_of(heap).held, 0);
	KUNIT_EXPECT_EQ(test, stats_of(heap).cached, 0);
	end_heap(test, heap);
}

struct mix {
	const char *told;
	size_t sizes[4];	/* the last ones may be 0 */
};

static const struct mix mixes[] = {
	{ "8 bytes", { 8 } },
	{ "24 and 64 bytes", { 24, 64 } },
	{ "1000 and 1024 bytes", { 1000, 1024 } },
	{ "8, 2048 and 4096 bytes", { 8, 2048, 4096 } },
	{ "16 and 8192 bytes", { 16, 8192 } },
	{ "8, 400 and 20000 bytes", { 8, 400, 20000 } },
	{ "56, 9000, 40000 and 100000 bytes", { 56, 9000, 40000, 100000 } },
};

static void mix_description(const struct mix *mix, char *text)
{
	strscpy(text, mix->told, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(mix, mixes, mix_description);

/* What a heap holds in all when one slot of every block is freed after all others. */
static size_t held_at_worst(struct kunit *test, const struct mix *mix, unsigned long flags)
{
	struct blockslab_heap *heap = make_heap(test, "mixed", flags, 0, 0);
	size_t nr_sizes = 1, nr, i, bytes, held;
	unsigned long block;
	struct xarray last;
	void **slots, *slot;

	xa_init(&last);
	while (nr_sizes < ARRAY_SIZE(mix->sizes) && mix->sizes[nr_sizes])
		nr_sizes++;
	nr = nr_sizes == 1 ? 9000 : 2000 * nr_sizes;
	slots = slot_array(test, nr);
	for (i = 0, bytes = 0; i < nr && bytes < SZ_32M; i++, bytes += mix->sizes[i % nr_sizes]) {
		slots[i] = must_alloc(test, heap, mix->sizes[i % nr_sizes]);
		block = (unsigned long)blockslab_block_of(virt_to_page(slots[i]));
		if (!xa_load(&last, block / sizeof(long)) &&
		    !xa_err(xa_store(&last, block / sizeof(long), slots[i], GFP_KERNEL)))
			slots[i] = NULL;
	}
	free_many(slots, nr);
	xa_for_each(&last, block, slot)
		blockslab_free(slot);
	xa_destroy(&last);
	kunit_kfree(test, slots);
	blockslab_grow(heap, 3);
	held = stats_of(heap).fixed + (flags ? stats_of(heap).held : 0);
	KUNIT_EXPECT_TRUE(test, !flags || held > SZ_512K);
	blockslab_shrink(heap);
	KUNIT_EXPECT_EQ(test, stats_of(heap).held, 0);
	end_heap(test, heap);
	return held;
}

/* Each slot that is kept may keep all of its block, however much the others have. */
static void what_is_kept_is_bounded_at_its_worst(struct kunit *test)
{
	size_t unwatched = held_at_worst(test, test->param_value, 0);

	KUNIT_EXPECT_LE(test, held_at_worst(test, test->param_value, BLOCKSLAB_TRACK) - unwatched,
			WATCHED_MOST);
}

static void what_is_kept_goes_before_a_limit_refuses(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "watched", BLOCKSLAB_TRACK, SZ_64K, 0);
	void *slot;
	int i;

	for (i = 0; i < 500; i++) {
		slot = must_alloc(test, heap, 3000);
		blockslab_free(slot);
	}
	slot = must_alloc(test, heap, 40000);
	blockslab_free(slot);
	end_heap(test, heap);
}

/* Where all that a heap at its limit has left is what was tracked once. */
static void a_tracked_slot_serves_where_there_is_no_other(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "watched", BLOCKSLAB_TRACK, SZ_64K, 0);
	void **slots = slot_array(test, NR_SLOTS);
	size_t nr = 0;

	while (nr < NR_SLOTS && (slots[nr] = try_alloc(heap, 1000, GFP_KERNEL)))
		nr++;
	KUNIT_ASSERT_LT(test, nr, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, class_cell(test, "watched", 1000, "fails"), 1);
	KUNIT_ASSERT_EQ(test, blockslab_track(heap, 0), 0);
	blockslab_free(slots[0]);
	slots[0] = must_alloc(test, heap, 1000);
	KUNIT_EXPECT_EQ(test, class_cell(test, "watched", 1000, "fails"), 1);
	free_many(slots, nr);
	end_heap(test, heap);
}

static void watched_ctor(void *object)
{
	memset(object, 0x55, 60);
}

static struct blockslab_cache *watched_cache(struct kunit *test, unsigned long flags,
					     void (*ctor)(void *))
{
	struct blockslab_cache *cache;

	cache = blockslab_cache_create("watched", 60, 0, flags | BLOCKSLAB_TRACK, ctor);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	return cache;
}

static void what_a_constructor_made_stays(struct kunit *test)
{
	struct blockslab_cache *cache = watched_cache(test, 0, watched_ctor);
	char *object;
	int i;

	for (i = 0; i < 2 * NR_SLOTS; i++) {
		object = blockslab_cache_alloc(cache, i % 2 ? GFP_KERNEL : GFP_KERNEL | __GFP_ZERO);
		KUNIT_ASSERT_NOT_NULL(test, object);
		KUNIT_EXPECT_TRUE(test, all_bytes_are(object, 0x55, 60));
		blockslab_cache_free(cache, object);
	}
	damage(object, 60, 1);
	blockslab_shrink(blockslab_cache_heap(cache));
	expect_fault(test, "write after free", object);
	object = blockslab_cache_alloc(cache, GFP_KERNEL);
	damage(object, 60, 1);
	blockslab_cache_free(cache, object);
	expect_fault(test, "write past the slot", object);
	blockslab_cache_destroy(cache);
}

/* An RCU reader may write to an object that was freed meanwhile: take its lock, say. */
static void typesafe_objects_may_be_written_to_after_free(struct kunit *test)
{
	struct blockslab_cache *cache = watched_cache(test, BLOCKSLAB_TYPESAFE_BY_RCU, NULL);
	char *object = blockslab_cache_alloc(cache, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, object);
	memset(object, 7, 60);
	rcu_read_lock();
	blockslab_cache_free(cache, object);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(object, 7, 60));
	object[17] = 8;
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, blockslab_validate(blockslab_cache_heap(cache)), 0);
	blockslab_shrink(blockslab_cache_heap(cache));
	object = blockslab_cache_zalloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, object);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(object, 0, 60));
	damage(object, -1, 1);
	blockslab_cache_free(cache, object);
	expect_fault(test, "write before the slot, or past the one before it", object);
	blockslab_cache_destroy(cache);
}

/* Of what is sampled everything is found, and nothing of the rest is touched. */
static void sampled_slots_are_watched(struct kunit *test)
{
	void **slots = slot_array(test, 4 * NR_SLOTS);
	size_t i, watched = 0;

	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 1000), 0);
	for (i = 0; i < 4 * NR_SLOTS; i++)
		slots[i] = must_alloc(test, fixture.heap, 100);
	for (i = 0; i < 4 * NR_SLOTS; i++) {
		if (blockslab_usable_size(slots[i]) == 100) {
			damage(slots[i], 100, 1);
			watched++;
		} else {
			memset(slots[i], 7, blockslab_usable_size(slots[i]));
		}
	}
	free_many(slots, 4 * NR_SLOTS);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), watched);
	KUNIT_EXPECT_GT(test, watched, 20);
	KUNIT_EXPECT_LT(test, watched, 200);
	KUNIT_EXPECT_EQ(test, blockslab_track(fixture.heap, 0), 0);
}

/* Any context. */
static void use_in_interrupt(void *data)
{
	void **slot = data;

	blockslab_free(*slot);
	*slot = blockslab_alloc(fixture.heap, 100, GFP_TRY);
	if (*slot)
		damage(*slot, 100, 1);
	blockslab_free(*slot);
}

static void slots_are_watched_in_interrupts(struct kunit *test)
{
	void *slot;

	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 1), 0);
	slot = must_alloc(test, fixture.heap, 100);
	call_in_hardirq(use_in_interrupt, &slot);
	KUNIT_ASSERT_NOT_NULL(test, slot);
	expect_fault(test, "write past the slot", slot);
	KUNIT_EXPECT_EQ(test, blockslab_track(fixture.heap, 0), 0);
}

/* Frees a small slot time and again, for which one of another class that was kept goes back. */
struct churn {
	struct hrtimer timer;
	struct blockslab_heap *heap;
	atomic_t turns;
};

static enum hrtimer_restart churn(struct hrtimer *timer)
{
	struct churn *churn = container_of(timer, struct churn, timer);

	blockslab_free(blockslab_alloc(churn->heap, 8, GFP_TRY));
	atomic_inc(&churn->turns);
	hrtimer_forward_now(timer, ns_to_ktime(50 * NSEC_PER_USEC));
	return HRTIMER_RESTART;
}

/* What is in a class's blocks changes then, though nobody allocates of it or frees into it. */
static void validate_is_right_while_slots_are_let_go(struct kunit *test)
{
	struct churn other = { .heap = watched_heap(test) };
	void **slots = slot_array(test, NR_SLOTS);
	int round, end, faults = 0;

	hrtimer_setup(&other.timer, churn, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
	hrtimer_start(&other.timer, ns_to_ktime(50 * NSEC_PER_USEC), HRTIMER_MODE_REL_PINNED);
	for (round = 0; round < 20; round++) {
		alloc_many(test, other.heap, 1000, slots, NR_SLOTS);
		free_many(slots, NR_SLOTS);
		for (end = atomic_read(&other.turns) + 10; atomic_read(&other.turns) - end < 0;)
			faults += blockslab_validate(other.heap);
		cond_resched();
	}
	hrtimer_cancel(&other.timer);
	KUNIT_EXPECT_EQ(test, faults, 0);
	end_heap(test, other.heap);
}

static struct kunit_case watch_cases[] = {
	KUNIT_CASE_PARAM(a_write_past_the_slot_is_told_at_its_free, size_gen_params),
	KUNIT_CASE_PARAM(a_write_before_the_slot_is_told_at_its_free, size_gen_params),
	KUNIT_CASE_PARAM(a_write_after_free_is_told_when_the_slot_is_let_go, size_gen_params),
	KUNIT_CASE_PARAM(validate_finds_all_of_them, size_gen_params),
	KUNIT_CASE(who_reached_the_next_slot_is_named),
	KUNIT_CASE(a_free_slot_that_reached_the_next_is_named),
	KUNIT_CASE(validate_names_who_reached_the_next_slot),
	KUNIT_CASE(a_write_to_what_was_let_go_is_told_when_it_is_taken),
	KUNIT_CASE_PARAM(a_slot_may_be_used_to_its_usable_size, size_gen_params),
	KUNIT_CASE(what_shrinks_in_place_is_watched_to_its_new_end),
	KUNIT_CASE_PARAM(zeroes_are_zeroes, size_gen_params),
	KUNIT_CASE(whatever_way_a_slot_takes_all_is_well),
	KUNIT_CASE(what_was_written_to_is_told_of_a_heap_that_ends),
	KUNIT_CASE(many_that_were_written_to_go_with_their_heap),
	KUNIT_CASE(what_was_written_to_goes_with_its_heap_alone),
	KUNIT_CASE(what_is_too_large_to_be_kept_goes_back_at_once),
	KUNIT_CASE(a_second_free_is_told_while_the_slot_is_kept),
	KUNIT_CASE(what_is_kept_is_bounded),
	KUNIT_CASE_PARAM(what_is_kept_is_bounded_at_its_worst, mix_gen_params),
	KUNIT_CASE(what_is_kept_goes_before_a_limit_refuses),
	KUNIT_CASE(a_tracked_slot_serves_where_there_is_no_other),
	KUNIT_CASE(what_a_constructor_made_stays),
	KUNIT_CASE(typesafe_objects_may_be_written_to_after_free),
	KUNIT_CASE(sampled_slots_are_watched),
	KUNIT_CASE(slots_are_watched_in_interrupts),
	KUNIT_CASE(validate_is_right_while_slots_are_let_go),
	{}
};

BLOCKSLAB_KUNIT_SUITE(watch, watch_cases);
