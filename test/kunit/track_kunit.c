// SPDX-License-Identifier: GPL-2.0
/* Tracking: who allocated what is live, exactly or as a sample. */
#include "blockslab_kunit.h"

#include <linux/delay.h>

#define NR_SLOTS	300
#define NR_MANY		SZ_32K
#define PERIOD_MAX	(BITS_PER_LONG == 64 ? SZ_1G : SZ_64M)

struct totals {
	u64 lines;
	u64 slots;
	u64 requested;
	u64 held;
};

static struct totals callers_of(struct kunit *test, const char *heap)
{
	struct totals totals = {};
	struct table table;
	char path[64];

	scnprintf(path, sizeof(path), "heap/%s/callers", heap);
	table = table_open(test, path);
	while (table_next(test, &table)) {
		totals.lines++;
		totals.slots += table_number(test, &table, "slots");
		totals.requested += table_number(test, &table, "requested");
		totals.held += table_number(test, &table, "held");
	}
	return totals;
}

static struct blockslab_heap *tracked_heap(struct kunit *test)
{
	return make_heap(test, "tracked", BLOCKSLAB_TRACK, 0, 0);
}

static noinline __noclone void *alloc_here(struct blockslab_heap *heap, size_t size)
{
	return try_alloc(heap, size, GFP_KERNEL);
}

/* Other flags, or the compiler makes one function of both. */
static noinline __noclone void *alloc_there(struct blockslab_heap *heap, size_t size)
{
	return try_alloc(heap, size, GFP_KERNEL | __GFP_NOWARN);
}

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

static void every_live_slot_is_accounted_for(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void **slots = slot_array(test, NR_SLOTS);
	struct totals totals;
	u64 asked = 0;
	size_t i;

	for (i = 0; i < NR_SLOTS; i++) {
		slots[i] = must_alloc(test, heap, 1 + i * 40);
		asked += 1 + i * 40;
	}
	totals = callers_of(test, "tracked");
	KUNIT_EXPECT_EQ(test, totals.slots, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, totals.slots, table_cell(test, "heaps", "name", "tracked", "slots"));
	KUNIT_EXPECT_EQ(test, totals.requested, asked);
	KUNIT_EXPECT_EQ(test, totals.held, stats_of(heap).allocated);
	free_many(slots, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, callers_of(test, "tracked").lines, 0);
	end_heap(test, heap);
}

/* A column of all lines whose stack starts with a function: a loop may call it from two places. */
static u64 caller_sum(struct kunit *test, const char *heap, const char *function,
		      const char *column)
{
	struct table table;
	char path[64];
	u64 sum = 0;

	scnprintf(path, sizeof(path), "heap/%s/callers", heap);
	table = table_open(test, path);
	while (table_next(test, &table))
		if (starts_with(table_text(test, &table, "stack"), function))
			sum += table_number(test, &table, column);
	return sum;
}

static void callers_are_told_apart(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void **slots = slot_array(test, 40);
	size_t i;

	for (i = 0; i < 10; i++)
		slots[i] = alloc_there(heap, 100);
	for (; i < 40; i++)
		slots[i] = alloc_here(heap, 100);
	KUNIT_EXPECT_EQ(test, callers_of(test, "tracked").slots, 40);
	if (IS_ENABLED(CONFIG_STACKTRACE)) {
		KUNIT_EXPECT_EQ(test, caller_sum(test, "tracked", "alloc_here+0x", "slots"), 30);
		KUNIT_EXPECT_EQ(test, caller_sum(test, "tracked", "alloc_here+0x", "requested"),
				3000);
		KUNIT_EXPECT_EQ(test, caller_sum(test, "tracked", "alloc_here+0x", "held"),
				30 * blockslab_size_roundup(100));
		KUNIT_EXPECT_EQ(test, caller_sum(test, "tracked", "alloc_there+0x", "slots"), 10);
	}
	free_many(slots, 40);
	end_heap(test, heap);
}

static void callers_are_sorted(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	u64 held, before = U64_MAX;
	struct table table;
	void *slots[3];

	slots[0] = alloc_there(heap, 64);
	slots[1] = alloc_here(heap, 4096);
	slots[2] = alloc_there(heap, 1024);
	table = table_open(test, "heap/tracked/callers");
	while (table_next(test, &table)) {
		held = table_number(test, &table, "held");
		KUNIT_EXPECT_LE(test, held, before);
		before = held;
	}
	KUNIT_EXPECT_NE(test, before, U64_MAX);
	free_many(slots, ARRAY_SIZE(slots));
	end_heap(test, heap);
}

/* How many slots the only caller had then; -1 where that is not known. */
static int slots_before(struct kunit *test, const char *column)
{
	struct table table = table_open(test, "heap/tracked/callers");
	const char *text;
	int slots = -1;

	KUNIT_ASSERT_TRUE(test, table_next(test, &table));
	text = table_text(test, &table, column);
	if (strcmp(text, "-"))
		KUNIT_EXPECT_EQ(test, kstrtoint(text, 10, &slots), 0);
	KUNIT_EXPECT_FALSE(test, table_next(test, &table));
	return slots;
}

static void growth_is_told(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void **slots = slot_array(test, 100);
	size_t fixed = 0;
	int i;

	for (i = 0; i < 100; i++) {
		slots[i] = alloc_here(heap, 100);
		if (i == 1)
			fixed = stats_of(heap).fixed;
		if (i < 80)
			blockslab_grow(heap, 1);
		if (i == 0)
			KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1m"), -1);
		if (i == 9)
			KUNIT_EXPECT_EQ(test, slots_before(test, "slots_10m"), -1);
		if (i == 10)
			KUNIT_EXPECT_EQ(test, slots_before(test, "slots_10m"), 1);
		if (i == 59)
			KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1h"), -1);
		if (i == 60)
			KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1h"), 1);
	}
	KUNIT_EXPECT_EQ(test, slots_before(test, "slots"), 100);
	KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1m"), 79);
	KUNIT_EXPECT_EQ(test, slots_before(test, "slots_10m"), 70);
	KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1h"), 11);
	KUNIT_EXPECT_EQ(test, slots_before(test, "held_1h"), 11 * blockslab_size_roundup(100));
	free_many(slots, 99);
	blockslab_grow(heap, 61);
	KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1h"), 1);
	blockslab_free(slots[99]);
	KUNIT_EXPECT_EQ(test, stats_of(heap).fixed, fixed);
	blockslab_grow(heap, 71);		/* which forgets it */
	KUNIT_EXPECT_LT(test, stats_of(heap).fixed, fixed);
	slots[0] = alloc_here(heap, 100);
	KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1h"), 0);
	blockslab_free(slots[0]);
	end_heap(test, heap);
}

static void without_memory_growth_is_not_told(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void *slot = alloc_here(heap, 100);

	blockslab_fail(BLOCKSLAB_FAIL_TRACK, 0, 100);
	blockslab_grow(heap, 3);
	KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1m"), -1);
	blockslab_fail(BLOCKSLAB_FAIL_TRACK, 1, 0);	/* of the heap, but not of the stack */
	blockslab_grow(heap, 3);
	KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1m"), 0);
	blockslab_fail(0, 0, 0);
	blockslab_grow(heap, 3);
	KUNIT_EXPECT_EQ(test, slots_before(test, "slots_1m"), 1);
	blockslab_free(slot);
	end_heap(test, heap);
}

/* Allocates by a way of its own for each number: so many bits, a call each. */
static noinline void *alloc_by_way(struct blockslab_heap *heap, unsigned int way, unsigned int bits)
{
	void *slot;

	if (!bits)
		return try_alloc(heap, 64, GFP_KERNEL);
	if (way & BIT(bits - 1)) {
		slot = alloc_by_way(heap, way, bits - 1);
		asm volatile("# one way" : "+r" (slot));
	} else {
		slot = alloc_by_way(heap, way, bits - 1);
		asm volatile("# or the other" : "+r" (slot));
	}
	return slot;
}

#define WAYS	300	/* more than are followed */

static void growth_of_so_many_is_told(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void **slots = slot_array(test, WAYS);
	unsigned int i, lines = 0, followed = 0;
	struct table table;

	for (i = 0; i < WAYS; i++) {
		slots[i] = alloc_by_way(heap, i, 9);
		KUNIT_ASSERT_NOT_NULL(test, slots[i]);
	}
	blockslab_grow(heap, 3);
	table = table_open(test, "heap/tracked/callers");
	while (table_next(test, &table)) {
		KUNIT_EXPECT_EQ(test, table_number(test, &table, "slots"), 1);
		followed += table_number(test, &table, "slots_1m");
		lines++;
	}
	KUNIT_EXPECT_EQ(test, lines, WAYS);
	KUNIT_EXPECT_EQ(test, followed, 256);
	free_many(slots, WAYS);
	end_heap(test, heap);
}

static void cpus_are_told(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	struct table table;
	char cpu[8];
	void *slot;

	migrate_disable();
	scnprintf(cpu, sizeof(cpu), "%u", raw_smp_processor_id());
	slot = alloc_here(heap, 100);
	migrate_enable();
	table = table_open(test, "heap/tracked/callers");
	KUNIT_ASSERT_TRUE(test, table_next(test, &table));
	KUNIT_EXPECT_STREQ(test, table_text(test, &table, "cpus"), cpu);
	blockslab_free(slot);
	end_heap(test, heap);
}

static void ages_are_told(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void *slot = alloc_here(heap, 100);
	struct table table;

	msleep(400);
	table = table_open(test, "heap/tracked/callers");
	KUNIT_ASSERT_TRUE(test, table_next(test, &table));
	KUNIT_EXPECT_GE(test, table_number(test, &table, "oldest_ms"), 300);
	KUNIT_EXPECT_LE(test, table_number(test, &table, "oldest_ms"), 600000);
	blockslab_free(slot);
	end_heap(test, heap);
}

#define SIXTY_DAYS_MS	5184000000ULL	/* more than 32 bits hold */

/* The only line's age. */
static u64 age_in(struct kunit *test, const char *path, const char *column)
{
	struct table table = table_open(test, path);

	KUNIT_ASSERT_TRUE(test, table_next(test, &table));
	return table_number(test, &table, column);
}

/* A block's, and by its note, of which it is the fifth of eight words, a slot's. */
static void ages_of_months_are_told(struct kunit *test)
{
	const u64 age = SIXTY_DAYS_MS * NSEC_PER_MSEC;
	struct blockslab_heap *heap = tracked_heap(test);
	void *slot = alloc_here(heap, 100);
	struct blockslab_block *block = blockslab_block_of(virt_to_page(slot));
	u32 *note = (u32 *)block->notes + 8 * blockslab_number_at(slot - block->base, block->recip);

	note[4] -= (age >> 26) + 1;
	KUNIT_EXPECT_GE(test, age_in(test, "heap/tracked/callers", "oldest_ms"), SIXTY_DAYS_MS);
	KUNIT_EXPECT_GE(test, age_in(test, "heap/tracked/sparse", "age_ms"), SIXTY_DAYS_MS);
	note[1] = 0;	/* it never was tracked */
	block->born -= (age >> 30) + 1;
	KUNIT_EXPECT_GE(test, age_in(test, "heap/tracked/sparse", "age_ms"), SIXTY_DAYS_MS);
	blockslab_free(slot);
	end_heap(test, heap);
}

static void tracking_starts_and_stops_at_run_time(struct kunit *test)
{
	void **slots = slot_array(test, 40);

	sample_nothing(test, fixture.heap);
	alloc_many(test, fixture.heap, 56, slots, 10);
	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 1), 0);
	alloc_many(test, fixture.heap, 56, slots + 10, 20);
	KUNIT_EXPECT_EQ(test, callers_of(test, "kunit").slots, 20);
	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 0), 0);
	alloc_many(test, fixture.heap, 56, slots + 30, 10);
	KUNIT_EXPECT_EQ(test, callers_of(test, "kunit").slots, 20);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "kunit", "slots"), 40);
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 56, "allocated"), 40);
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 56, "requested"), 40 * 56);
	free_many(slots, 40);
	KUNIT_EXPECT_EQ(test, callers_of(test, "kunit").slots, 0);
}

/* Slots that are freed after it fill the magazines again. */
static void tracking_starts_in_the_middle_of_a_load(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("steady", 56, 0, 0, NULL);
	void **slots = slot_array(test, 200);
	int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	sample_nothing(test, fixture.heap);
	sample_nothing(test, blockslab_cache_heap(cache));
	alloc_many(test, fixture.heap, 56, slots, 100);
	for (i = 100; i < 200; i++)
		slots[i] = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 1), 0);
	KUNIT_ASSERT_EQ(test, blockslab_track(blockslab_cache_heap(cache), 1), 0);
	free_many(slots, 200);
	alloc_many(test, fixture.heap, 56, slots, 100);
	for (i = 100; i < 200; i++)
		slots[i] = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, callers_of(test, "kunit").slots, 100);
	KUNIT_EXPECT_EQ(test, callers_of(test, "steady").slots, 100);
	free_many(slots, 200);
	blockslab_cache_destroy(cache);
}

static void a_sample_stands_for_the_whole(struct kunit *test)
{
	static const size_t sizes[] = { 24, 200, 3000 };
	const size_t nr = 20000;
	void **slots = slot_array(test, nr);
	struct totals totals;
	u64 asked = 0, live;
	size_t i;

	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 8192), 0);
	for (i = 0; i < nr; i++) {
		size_t size = sizes[i % 32 == 0 ? 2 : i % 8 == 0];

		slots[i] = must_alloc(test, fixture.heap, size);
		asked += size;
	}
	totals = callers_of(test, "kunit");
	live = stats_of(fixture.heap).allocated;
	/* Some 370 samples: a deviation of 25 % is one of five sigmas. */
	KUNIT_EXPECT_GT(test, totals.requested, asked * 3 / 4);
	KUNIT_EXPECT_LT(test, totals.requested, asked * 5 / 4);
	KUNIT_EXPECT_GT(test, totals.held, live * 3 / 4);
	KUNIT_EXPECT_LT(test, totals.held, live * 5 / 4);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "kunit", "slots"), nr);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "kunit", "requested"), asked);
	KUNIT_EXPECT_EQ(test, blockslab_track(fixture.heap, 0), 0);
	free_many(slots, nr);
	KUNIT_EXPECT_EQ(test, callers_of(test, "kunit").lines, 0);
}

/* However the slots of a size come: one by one out of small magazines, or as whole pages. */
static void every_size_is_sampled_as_often(struct kunit *test)
{
	static const size_t sizes[] = { 64, 1024, 2048, 8192, 16384 };
	struct blockslab_heap *heap;
	struct totals totals;
	size_t i, j, nr;
	void **slots;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		heap = make_heap(test, "sampled", 0, 0, 0);
		KUNIT_ASSERT_EQ(test, blockslab_track(heap, sizes[i] * 4), 0);
		nr = sizes[i] > SZ_2K ? 800 : 2000;
		slots = slot_array(test, nr);
		for (j = 0; j < nr; j++)
			slots[j] = must_alloc(test, heap, sizes[i]);
		/* 180 samples at least, with a deviation of 7 % at most. */
		totals = callers_of(test, "sampled");
		KUNIT_EXPECT_GT_MSG(test, totals.requested, nr * sizes[i] * 3 / 5, "%zu", sizes[i]);
		KUNIT_EXPECT_LT_MSG(test, totals.requested, nr * sizes[i] * 7 / 5, "%zu", sizes[i]);
		KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "sampled", "requested"),
				nr * sizes[i]);
		free_many(slots, nr);
		end_heap(test, heap);
	}
}

static void the_longest_period_samples_next_to_nothing(struct kunit *test)
{
	int rounds, sampled = 0;
	void *slot;

	for (rounds = 0; rounds < 100; rounds++) {
		KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, PERIOD_MAX), 0);
		slot = must_alloc(test, fixture.heap, 24);
		sampled += callers_of(test, "kunit").lines;
		blockslab_free(slot);
	}
	KUNIT_EXPECT_LT(test, sampled, 3);
	KUNIT_EXPECT_EQ(test, blockslab_track(fixture.heap, 0), 0);
}

static void the_slots_of_caches_are_sampled(struct kunit *test)
{
	const size_t nr = 20000;
	struct blockslab_cache *cache = blockslab_cache_create("cached", 60, 0, 0, NULL);
	void **slots = slot_array(test, nr);
	struct totals totals;
	size_t i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	KUNIT_ASSERT_EQ(test, blockslab_track(blockslab_cache_heap(cache), 4096), 0);
	for (i = 0; i < nr / 2; i++)
		slots[i] = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, blockslab_cache_alloc_bulk(cache, GFP_KERNEL, nr / 2, slots + nr / 2),
			nr / 2);
	totals = callers_of(test, "cached");
	KUNIT_EXPECT_GT(test, totals.requested, nr * 60 * 2 / 3);
	KUNIT_EXPECT_LT(test, totals.requested, nr * 60 * 4 / 3);
	for (i = 0; i < nr; i++)
		blockslab_cache_free(cache, slots[i]);
	KUNIT_EXPECT_EQ(test, callers_of(test, "cached").lines, 0);
	KUNIT_EXPECT_EQ(test, blockslab_validate(blockslab_cache_heap(cache)), 0);
	blockslab_cache_destroy(cache);
}

static void tracked_ctor(void *object)
{
	*(u64 *)object = 4711;
}

static void caches_with_constructors_are_tracked(struct kunit *test)
{
	struct blockslab_cache *cache;
	u64 *object;

	cache = blockslab_cache_create("made", 60, 0, BLOCKSLAB_TRACK, tracked_ctor);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	object = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, object);
	KUNIT_EXPECT_EQ(test, *object, 4711);
	KUNIT_EXPECT_EQ(test, callers_of(test, "made").slots, 1);
	blockslab_cache_free(cache, object);
	blockslab_cache_free(cache, object);
	expect_fault(test, "double free", object);
	blockslab_cache_destroy(cache);
}

static void bulk_allocations_are_tracked(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void **slots = slot_array(test, 100);

	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(heap, 40, GFP_KERNEL, 100, slots), 100);
	KUNIT_EXPECT_EQ(test, callers_of(test, "tracked").slots, 100);
	blockslab_free_bulk(100, slots);
	KUNIT_EXPECT_EQ(test, callers_of(test, "tracked").slots, 0);
	end_heap(test, heap);
}

static void bulk(struct kunit *test, size_t nr, void **slots)
{
	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(fixture.heap, 56, GFP_KERNEL, nr, slots), nr);
}

/* From the switch on, whatever magazines and depot have from before. */
static void bulk_calls_follow_the_period(struct kunit *test)
{
	void **slots = slot_array(test, 600);
	u64 cached;
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < 10; i++) {
		alloc_many(test, fixture.heap, 56, slots, 600);
		free_many(slots, 600);
	}
	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 1), 0);
	bulk(test, 300, slots);
	KUNIT_EXPECT_EQ(test, callers_of(test, "kunit").slots, 300);
	blockslab_free_bulk(300, slots);
	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 0), 0);
	for (i = 0; i < 4; i++) {
		bulk(test, 60, slots);
		blockslab_free_bulk(60, slots);
	}
	cached = class_cell(test, "kunit", 56, "cached");
	bulk(test, 60, slots);
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 56, "cached") + 60, cached);
	blockslab_free_bulk(60, slots);
}

static void a_period_that_cannot_be_is_refused(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, blockslab_track(fixture.heap, PERIOD_MAX + 1UL), -EINVAL);
	KUNIT_EXPECT_EQ(test, blockslab_track(fixture.heap, PERIOD_MAX), 0);
	KUNIT_EXPECT_EQ(test, blockslab_track(fixture.heap, 0), 0);
}

static void tracked_slots_are_like_any_other(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	char *slot = must_alloc(test, heap, 100), *moved;

	KUNIT_EXPECT_EQ(test, blockslab_usable_size(slot), 100);
	blockslab_free_sized(slot, 50);
	expect_fault(test, "wrong size", slot);
	blockslab_free(slot + 8);
	expect_fault(test, "pointer inside a slot", slot + 8);
	memset(slot, 7, 100);
	moved = blockslab_realloc(heap, slot, 200, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, moved);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(moved, 7, 100));
	blockslab_free_sized(moved, 200);
	blockslab_free(moved);
	expect_fault(test, "double free", moved);
	blockslab_free_rcu(must_alloc(test, heap, 100));
	blockslab_free_nolock(must_alloc(test, heap, 100));
	KUNIT_EXPECT_TRUE(test, drains(heap));
	KUNIT_EXPECT_EQ(test, callers_of(test, "tracked").slots, 0);
	end_heap(test, heap);
}

static void without_memory_for_notes_slots_go_untracked(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void *slot;

	blockslab_fail(BLOCKSLAB_FAIL_TRACK, 0, 100);
	slot = must_alloc(test, heap, 100);
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, callers_of(test, "tracked").slots, 0);
	KUNIT_EXPECT_EQ(test, class_cell(test, "tracked", 100, "fails"), 0);
	blockslab_free(slot);
	end_heap(test, heap);
}

static void without_memory_for_stacks_callers_are_unknown(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void *first = must_alloc(test, heap, 100), *second;
	struct table table;
	int unknown = 0;

	blockslab_fail(BLOCKSLAB_FAIL_TRACK, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	second = must_alloc(test, heap, 100);
	blockslab_free(first);
	blockslab_fail(0, 0, 0);
	table = table_open(test, "heap/tracked/callers");
	while (table_next(test, &table))
		unknown += !strcmp(table_text(test, &table, "stack"), "-");
	KUNIT_EXPECT_EQ(test, unknown, 1);
	table = table_open(test, "heap/tracked/sparse");
	KUNIT_ASSERT_TRUE(test, table_next(test, &table));
	KUNIT_EXPECT_STREQ(test, table_text(test, &table, "holders"), "-");
	blockslab_free(second);
	end_heap(test, heap);
}

/*
 * Of so many bytes one at least was to be tracked, but for the first on a CPU's new line. Of 500
 * credits that are drawn one is less than a byte.
 */
static void what_is_much_larger_than_the_period_stands_for_itself(struct kunit *test)
{
	struct totals totals;
	void *slots[20];
	int round;

	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 500), 0);
	for (round = 0; round < 50; round++) {
		alloc_many(test, fixture.heap, 10000, slots, ARRAY_SIZE(slots));
		totals = callers_of(test, "kunit");
		KUNIT_EXPECT_GE(test, totals.slots,
				ARRAY_SIZE(slots) - (round ? 0 : num_online_cpus()));
		KUNIT_EXPECT_EQ(test, totals.requested, totals.slots * 10000);
		free_many(slots, ARRAY_SIZE(slots));
	}
	KUNIT_EXPECT_EQ(test, blockslab_track(fixture.heap, 0), 0);
}

static void sparse_names_blocks_and_holders(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void **slots = slot_array(test, NR_SLOTS);
	u64 used = 0, room = 0;
	struct table table;
	size_t i;
	int found;

	slots[0] = alloc_here(heap, 64);
	for (i = 1; i < NR_SLOTS; i++)
		slots[i] = alloc_there(heap, 64);
	free_many(slots + 1, NR_SLOTS - 1);
	table = table_open(test, "heap/tracked/sparse");
	KUNIT_ASSERT_TRUE(test, table_next(test, &table));
	KUNIT_EXPECT_EQ(test, table_number(test, &table, "class"), blockslab_size_roundup(64));
	found = sscanf(table_text(test, &table, "used/slots"), "%llu/%llu", &used, &room);
	KUNIT_EXPECT_EQ(test, found, 2);
	KUNIT_EXPECT_EQ(test, used, 1);
	KUNIT_EXPECT_GE(test, room, PAGE_SIZE / blockslab_size_roundup(64) / 4);
	if (IS_ENABLED(CONFIG_STACKTRACE))
		KUNIT_EXPECT_TRUE(test, starts_with(table_text(test, &table, "holders"),
						    "alloc_here+0x"));
	KUNIT_EXPECT_FALSE(test, table_next(test, &table));
	blockslab_free(slots[0]);
	end_heap(test, heap);
}

static const char *holders(struct kunit *test, const char *path)
{
	struct table table = table_open(test, path);

	KUNIT_ASSERT_TRUE(test, table_next(test, &table));
	return table_text(test, &table, "holders");
}

/* One call for all: where a compiler unrolls the loop, each call would be a holder of its own. */
static noinline __noclone void hold_many(void *(*alloc)(struct blockslab_heap *, size_t),
					 struct blockslab_heap *heap, void **slots, size_t nr)
{
	while (nr--) {
		slots[nr] = alloc(heap, 64);
		OPTIMIZER_HIDE_VAR(nr);
	}
}

static void sparse_names_who_holds_most_first(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	const char *text, *second;
	void *slots[6];

	hold_many(alloc_here, heap, slots, 2);
	hold_many(alloc_there, heap, slots + 2, 4);
	text = holders(test, "heap/tracked/sparse");
	if (IS_ENABLED(CONFIG_STACKTRACE)) {
		KUNIT_EXPECT_TRUE(test, starts_with(text, "alloc_there+0x"));
		second = strstr(text, ",alloc_here+0x");
		KUNIT_EXPECT_NOT_NULL(test, second);
	}
	free_many(slots, ARRAY_SIZE(slots));
	end_heap(test, heap);
}

/* Of a slot that was tracked once, its note still says by whom. */
static void sparse_names_no_holder_of_the_past(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "noted", BLOCKSLAB_POISON, 0, 0);
	struct table table;
	void *slot;

	KUNIT_ASSERT_EQ(test, blockslab_track(heap, 1), 0);
	blockslab_free(alloc_here(heap, 64));
	KUNIT_ASSERT_EQ(test, blockslab_track(heap, 0), 0);
	slot = alloc_there(heap, 64);
	KUNIT_EXPECT_STREQ(test, holders(test, "heap/noted/sparse"), "-");
	table = table_open(test, "heap/noted/sparse");
	KUNIT_ASSERT_TRUE(test, table_next(test, &table));
	KUNIT_EXPECT_LE(test, table_number(test, &table, "age_ms"), 3000);
	blockslab_free(slot);
	end_heap(test, heap);
}

static void sparse_lists_untracked_blocks_too(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 64);
	struct table table = table_open(test, "heap/kunit/sparse");

	KUNIT_ASSERT_TRUE(test, table_next(test, &table));
	KUNIT_EXPECT_STREQ(test, table_text(test, &table, "holders"), "-");
	KUNIT_EXPECT_FALSE(test, table_next(test, &table));
	blockslab_free(slot);
	table = table_open(test, "heap/kunit/sparse");
	KUNIT_EXPECT_FALSE(test, table_next(test, &table));
}

/* More than are looked at hold a block, and it still is told who holds most of it. */
static void sparse_names_the_holder_of_many(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void **slots = slot_array(test, NR_MANY);
	struct table table;
	int i, lines = 0;

	for (i = 0; i < NR_MANY; i++)
		slots[i] = alloc_here(heap, 8);
	for (i = 0; i < NR_MANY; i++)
		if (i % 5)
			blockslab_free(slots[i]);
	table = table_open(test, "heap/tracked/sparse");
	while (table_next(test, &table)) {
		lines++;
		if (IS_ENABLED(CONFIG_STACKTRACE))
			KUNIT_EXPECT_TRUE(test, starts_with(table_text(test, &table, "holders"),
							    "alloc_here+0x"));
	}
	KUNIT_EXPECT_GT(test, lines, 0);
	for (i = 0; i < NR_MANY; i += 5)
		blockslab_free(slots[i]);
	end_heap(test, heap);
}

/* By a stack of its own for each depth. */
static noinline void *alloc_deep(struct blockslab_heap *heap, unsigned int depth)
{
	void *slot = depth ? alloc_deep(heap, depth - 1) : try_alloc(heap, 100, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(slot);
	return slot;
}

static void a_heap_that_many_leak_from_reports_the_first_few(struct kunit *test)
{
	struct blockslab_heap *heap = tracked_heap(test);
	void *slots[8];
	int i;

	for (i = 0; i < ARRAY_SIZE(slots); i++)
		slots[i] = alloc_deep(heap, i);
	if (IS_ENABLED(CONFIG_STACKTRACE))
		KUNIT_EXPECT_GE(test, callers_of(test, "tracked").lines, ARRAY_SIZE(slots));
	blockslab_heap_destroy(heap);
	free_many(slots, ARRAY_SIZE(slots));
}

static void notes_count_as_held(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "tracked", BLOCKSLAB_TRACK, SZ_128K, 0);
	void **slots = slot_array(test, SZ_128K / 8);
	size_t i;

	for (i = 0; i < SZ_128K / 8; i++) {
		slots[i] = try_alloc(heap, 8, GFP_KERNEL | __GFP_NOWARN);
		if (!slots[i])
			break;
	}
	KUNIT_EXPECT_GT(test, i, SZ_32K / (blockslab_size_roundup(8) + 24));
	KUNIT_EXPECT_LE(test, stats_of(heap).held, SZ_128K);
	free_many(slots, i);
	end_heap(test, heap);
}

static int track_and_allocate(void *data, unsigned int cpu)
{
	struct blockslab_heap *heap = data;
	unsigned int i;

	for (i = 0; i < 3000; i++) {
		void *slot = try_alloc(heap, 8 + i % 500, GFP_KERNEL);

		if (cpu == 0 && i % 100 == 0)
			blockslab_track(heap, i % 300 / 100 * 2048);
		if (!slot)
			return -ENOMEM;
		blockslab_free(slot);
	}
	return 0;
}

static void tracking_changes_under_load(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, track_and_allocate, fixture.heap), 0);
	blockslab_track(fixture.heap, 0);
	KUNIT_EXPECT_EQ(test, callers_of(test, "kunit").lines, 0);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(every_live_slot_is_accounted_for),
	KUNIT_CASE(callers_are_told_apart),
	KUNIT_CASE(callers_are_sorted),
	KUNIT_CASE(growth_is_told),
	KUNIT_CASE(growth_of_so_many_is_told),
	KUNIT_CASE(without_memory_growth_is_not_told),
	KUNIT_CASE(cpus_are_told),
	KUNIT_CASE(ages_are_told),
	KUNIT_CASE(ages_of_months_are_told),
	KUNIT_CASE(tracking_starts_and_stops_at_run_time),
	KUNIT_CASE(tracking_starts_in_the_middle_of_a_load),
	KUNIT_CASE(a_sample_stands_for_the_whole),
	KUNIT_CASE(every_size_is_sampled_as_often),
	KUNIT_CASE(the_longest_period_samples_next_to_nothing),
	KUNIT_CASE(the_slots_of_caches_are_sampled),
	KUNIT_CASE(caches_with_constructors_are_tracked),
	KUNIT_CASE(bulk_allocations_are_tracked),
	KUNIT_CASE(bulk_calls_follow_the_period),
	KUNIT_CASE(a_period_that_cannot_be_is_refused),
	KUNIT_CASE(tracked_slots_are_like_any_other),
	KUNIT_CASE(without_memory_for_notes_slots_go_untracked),
	KUNIT_CASE(without_memory_for_stacks_callers_are_unknown),
	KUNIT_CASE(what_is_much_larger_than_the_period_stands_for_itself),
	KUNIT_CASE(sparse_names_blocks_and_holders),
	KUNIT_CASE(sparse_names_who_holds_most_first),
	KUNIT_CASE(sparse_names_no_holder_of_the_past),
	KUNIT_CASE(sparse_lists_untracked_blocks_too),
	KUNIT_CASE(sparse_names_the_holder_of_many),
	KUNIT_CASE(a_heap_that_many_leak_from_reports_the_first_few),
	KUNIT_CASE(notes_count_as_held),
	KUNIT_CASE(tracking_changes_under_load),
	{}
};

BLOCKSLAB_KUNIT_SUITE(track, cases);
