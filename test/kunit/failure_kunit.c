// SPDX-License-Identifier: GPL-2.0
/*
 * Allocation failure on every path: what blockslab itself asks for is made to fail at each request
 * in turn. Whatever the call then says, it has done all of its work or none.
 */
#include "blockslab_kunit.h"

#define NR_SLOTS	64

struct failure_case {
	const char *told;
	unsigned int what;
	unsigned long flags;
};

#define ALL_FLAGS	(BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE | BLOCKSLAB_TRACK)
#define ALL_KINDS	(BLOCKSLAB_FAIL_PAGES | BLOCKSLAB_FAIL_DESCRIPTOR | \
			 BLOCKSLAB_FAIL_MAGAZINE | BLOCKSLAB_FAIL_CLASS | BLOCKSLAB_FAIL_TRACK)

static const struct failure_case failure_table[] = {
	{ "pages", BLOCKSLAB_FAIL_PAGES, 0 },
	{ "descriptors", BLOCKSLAB_FAIL_DESCRIPTOR, 0 },
	{ "magazines", BLOCKSLAB_FAIL_MAGAZINE, 0 },
	{ "heaps and classes", BLOCKSLAB_FAIL_CLASS, 0 },
	{ "pages of a debug heap", BLOCKSLAB_FAIL_PAGES, ALL_FLAGS },
	{ "what a debug heap keeps beside its blocks", BLOCKSLAB_FAIL_TRACK, ALL_FLAGS },
	{ "what tracking keeps", BLOCKSLAB_FAIL_TRACK, BLOCKSLAB_TRACK },
	{ "anything", ALL_KINDS, 0 },
	{ "anything while tracking", ALL_KINDS, BLOCKSLAB_TRACK },
	{ "anything of a debug heap", ALL_KINDS, ALL_FLAGS },
};

static void failure_case_name(const struct failure_case *param, char *name)
{
	strscpy(name, param->told, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(failure, failure_table, failure_case_name);

/* A little of everything; each slot is filled, so that a slot of two owners shows. */
static void use_slots(struct kunit *test, struct blockslab_heap *heap)
{
	static const size_t sizes[] = { 1, 24, 100, 512, 3000, 8192, 20000 };
	void *slots[NR_SLOTS], *bulk[NR_SLOTS];
	size_t i, nr;

	for (i = 0; i < NR_SLOTS; i++) {
		size_t size = sizes[i % ARRAY_SIZE(sizes)];

		slots[i] = try_alloc(heap, size, GFP_TRY | (i < 7 ? __GFP_ACCOUNT : 0));
		if (slots[i])
			memset(slots[i], i, size);
	}
	nr = blockslab_alloc_bulk(heap, 200, GFP_TRY, NR_SLOTS, bulk);
	KUNIT_EXPECT_TRUE(test, nr == 0 || nr == NR_SLOTS);
	blockslab_free_bulk(nr, bulk);
	for (i = 0; i < NR_SLOTS; i++) {
		size_t size = sizes[i % ARRAY_SIZE(sizes)];
		void *resized;

		if (!slots[i])
			continue;
		resized = blockslab_realloc(heap, slots[i], size * 2, GFP_TRY);
		if (resized)
			slots[i] = resized;
		KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], i, size));
		blockslab_free(slots[i]);
	}
}

static void use_heap(struct kunit *test, unsigned long flags)
{
	struct blockslab_heap_attrs attrs = { .flags = flags, .reserve = SZ_16K };
	struct blockslab_heap *heap = blockslab_heap_create("failing", &attrs);

	if (IS_ERR(heap)) {
		KUNIT_EXPECT_EQ(test, PTR_ERR(heap), -ENOMEM);
		return;
	}
	use_slots(test, heap);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	blockslab_shrink(heap);
	KUNIT_EXPECT_EQ(test, stats_of(heap).cached, 0);
	end_heap(test, heap);
}

static void use_cache(struct kunit *test, unsigned long flags)
{
	struct blockslab_cache *cache = blockslab_cache_create("failing", 72, 64, flags, NULL);
	void *objects[NR_SLOTS], *bulk[NR_SLOTS];
	size_t i, nr;

	if (IS_ERR(cache)) {
		KUNIT_EXPECT_EQ(test, PTR_ERR(cache), -ENOMEM);
		return;
	}
	for (i = 0; i < NR_SLOTS; i++)
		objects[i] = blockslab_cache_alloc(cache, GFP_TRY);
	nr = blockslab_cache_alloc_bulk(cache, GFP_TRY, NR_SLOTS, bulk);
	KUNIT_EXPECT_TRUE(test, nr == 0 || nr == NR_SLOTS);
	blockslab_cache_free_bulk(cache, nr, bulk);
	for (i = 0; i < NR_SLOTS; i++)
		blockslab_cache_free(cache, objects[i]);
	KUNIT_EXPECT_EQ(test, blockslab_validate(blockslab_cache_heap(cache)), 0);
	KUNIT_EXPECT_EQ(test, stats_of(blockslab_cache_heap(cache)).allocated, 0);
	blockslab_cache_destroy(cache);
}

static void use_everything(struct kunit *test, const struct failure_case *param)
{
	use_heap(test, param->flags);
	use_cache(test, param->flags & ~BLOCKSLAB_TRACK);
}

static void every_single_failure_is_survived(struct kunit *test)
{
	const struct failure_case *param = test->param_value;
	unsigned long after, requests = 1;

	for (after = 0; after < requests && after < 3000; after++) {
		blockslab_fail(param->what, after, 0);
		use_everything(test, param);
		requests = blockslab_fail(0, 0, 0);
	}
	KUNIT_EXPECT_GT_MSG(test, after, 1, "nothing asked for");
	kunit_info(test, "%lu requests failed, one at a time\n", after);
}

static void failures_at_random_are_survived(struct kunit *test)
{
	const struct failure_case *param = test->param_value;
	static const unsigned int percents[] = { 1, 10, 50, 100 };
	int i, round;

	for (i = 0; i < ARRAY_SIZE(percents); i++) {
		for (round = 0; round < 10; round++) {
			blockslab_fail(param->what, BLOCKSLAB_FAIL_ONCE_NEVER, percents[i]);
			use_everything(test, param);
			blockslab_fail(0, 0, 0);
		}
	}
}

static void frees_by_rcu_survive_failures(struct kunit *test)
{
	unsigned long after;
	int i;

	for (after = 0; after < 10; after++) {
		void *slots[NR_SLOTS];

		alloc_many(test, fixture.heap, 100, slots, NR_SLOTS);
		blockslab_fail(ALL_KINDS, after, 20);
		for (i = 0; i < NR_SLOTS; i++)
			blockslab_free_rcu(slots[i]);
		KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
		blockslab_fail(0, 0, 0);
	}
}

static void without_failures_all_is_served_again(struct kunit *test)
{
	void *slot;

	blockslab_fail(ALL_KINDS, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	KUNIT_EXPECT_NULL(test, try_alloc(fixture.heap, 100, GFP_TRY));
	KUNIT_EXPECT_NULL(test, try_alloc(fixture.heap, 100000, GFP_TRY));
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create("failing", NULL)), -ENOMEM);
	blockslab_fail(0, 0, 0);
	slot = must_alloc(test, fixture.heap, 100);
	blockslab_free(slot);
	slot = must_alloc(test, fixture.heap, 100000);
	blockslab_free(slot);
	end_heap(test, make_heap(test, "failing", 0, 0, 0));
}

static void what_may_not_fail_does_not(struct kunit *test)
{
	static const size_t sizes[] = { 8, 100, 8192, 20000 };
	int i, kind;

	for (kind = 0; kind < 3; kind++) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			void *slot;

			blockslab_shrink(fixture.heap);
			blockslab_fail(BIT(kind), 0, 90);
			slot = try_alloc(fixture.heap, sizes[i], GFP_KERNEL | __GFP_NOFAIL);
			blockslab_fail(0, 0, 0);
			KUNIT_EXPECT_NOT_NULL(test, slot);
			blockslab_free(slot);
		}
	}
}

static void a_bulk_that_may_not_fail_does_not(struct kunit *test)
{
	static const size_t sizes[] = { 8, 100, 8192, 20000 };
	void *slots[NR_SLOTS];
	int i, kind;

	for (kind = 0; kind < 3; kind++) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			size_t nr;

			blockslab_shrink(fixture.heap);
			blockslab_fail(BIT(kind), 0, 60);
			nr = blockslab_alloc_bulk(fixture.heap, sizes[i], GFP_KERNEL | __GFP_NOFAIL,
						  NR_SLOTS, slots);
			blockslab_fail(0, 0, 0);
			KUNIT_EXPECT_EQ(test, nr, NR_SLOTS);
			blockslab_free_bulk(nr, slots);
		}
	}
}

static void objects_that_may_not_fail_do_not(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("urgent", 72, 0, 0, NULL);
	int kind;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	for (kind = 0; kind < 3; kind++) {
		void *object;

		blockslab_shrink(blockslab_cache_heap(cache));
		blockslab_fail(BIT(kind), 0, 90);
		object = blockslab_cache_alloc(cache, GFP_KERNEL | __GFP_NOFAIL);
		blockslab_fail(0, 0, 0);
		KUNIT_EXPECT_NOT_NULL(test, object);
		blockslab_cache_free(cache, object);
	}
	blockslab_cache_destroy(cache);
}

static void what_may_neither_fail_nor_wait_fails(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("urgent", 72, 0, 0, NULL);
	const gfp_t gfp = GFP_TRY | __GFP_NOFAIL;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	blockslab_free(must_alloc(test, fixture.heap, 100));
	blockslab_shrink(fixture.heap);
	blockslab_fail(ALL_KINDS, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	KUNIT_EXPECT_NULL(test, try_alloc(fixture.heap, 100, gfp));
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 100, "fails"), 1);
	KUNIT_EXPECT_NULL(test, try_alloc(fixture.heap, 100, GFP_TRY | __GFP_COMP));
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 100, "fails"), 2);
	KUNIT_EXPECT_NULL(test, try_alloc(fixture.heap, 20000, gfp));
	KUNIT_EXPECT_NULL(test, blockslab_cache_alloc(cache, gfp));
	blockslab_fail(0, 0, 0);
	blockslab_cache_destroy(cache);
}

/* The slots that are there serve on; only new blocks are not to be had. */
static void cached_slots_serve_while_pages_fail(struct kunit *test)
{
	void *slots[20];
	int i;

	alloc_many(test, fixture.heap, 100, slots, ARRAY_SIZE(slots));
	free_many(slots, ARRAY_SIZE(slots));
	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		slots[i] = try_alloc(fixture.heap, 100, GFP_TRY);
		KUNIT_EXPECT_NOT_NULL(test, slots[i]);
	}
	blockslab_fail(0, 0, 0);
	free_many(slots, ARRAY_SIZE(slots));
}

/* As in an interrupt, where there is hardly any per-CPU memory. */
static void a_class_does_without_lines_until_there_are_some(struct kunit *test)
{
	void *slots[NR_SLOTS];
	int tries;

	blockslab_fail(BLOCKSLAB_FAIL_CLASS, 1, 0);
	slots[0] = try_alloc(fixture.heap, 100, GFP_TRY);
	blockslab_fail(0, 0, 0);
	KUNIT_ASSERT_NOT_NULL(test, slots[0]);
	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(fixture.heap, 100, GFP_TRY, NR_SLOTS - 1,
						   slots + 1), NR_SLOTS - 1);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	blockslab_free_bulk(NR_SLOTS / 2, slots);
	free_many(slots + NR_SLOTS / 2, NR_SLOTS / 2);
	for (tries = 0; tries < 500 && !stats_of(fixture.heap).cached; tries++) {
		alloc_many(test, fixture.heap, 100, slots, NR_SLOTS);
		msleep(20);
		KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
		free_many(slots, NR_SLOTS);
	}
	KUNIT_EXPECT_NE(test, stats_of(fixture.heap).cached, 0);
}

/* Nothing is written to slots that are filled while they are free. */
static void a_checked_class_without_lines_serves_many(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "checked", BLOCKSLAB_POISON, 0, 0);
	void *slots[NR_SLOTS];
	int round;

	blockslab_fail(BLOCKSLAB_FAIL_CLASS, 1, 0);
	slots[0] = try_alloc(heap, 100, GFP_TRY);
	blockslab_fail(0, 0, 0);
	KUNIT_ASSERT_NOT_NULL(test, slots[0]);
	blockslab_free(slots[0]);
	for (round = 0; round < 3; round++) {
		KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(heap, 100, GFP_KERNEL, NR_SLOTS, slots),
				NR_SLOTS);
		blockslab_free_bulk(NR_SLOTS, slots);
	}
	end_heap(test, heap);
}

/* For it alone, and what shares its block, a size that is too small is right. */
static void a_larger_slot_stands_in_for_its_size(struct kunit *test)
{
	void *large = must_alloc(test, fixture.heap, 2000), *small, *other;

	blockslab_fail(BLOCKSLAB_FAIL_CLASS, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	small = try_alloc(fixture.heap, 1500, GFP_TRY);
	blockslab_fail(0, 0, 0);
	KUNIT_ASSERT_NOT_NULL(test, small);
	KUNIT_EXPECT_GE(test, blockslab_usable_size(small), 2000);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	blockslab_free_sized(small, 1500);
	blockslab_free_sized(large, 2000);
	blockslab_shrink(fixture.heap);
	other = must_alloc(test, fixture.heap, 2000);
	blockslab_free_sized(other, 1500);
	expect_fault(test, "wrong size", other);
	blockslab_free_sized(other, 2000);
}

static void frees_work_without_magazines(struct kunit *test)
{
	void **slots = slot_array(test, 2000);

	blockslab_fail(BLOCKSLAB_FAIL_MAGAZINE, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	alloc_many(test, fixture.heap, 100, slots, 2000);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	free_many(slots, 2000);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	blockslab_free(slots[0]);
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), 1);
}

static struct kunit_case failure_cases[] = {
	KUNIT_CASE_PARAM(every_single_failure_is_survived, failure_gen_params),
	KUNIT_CASE_PARAM(failures_at_random_are_survived, failure_gen_params),
	KUNIT_CASE(frees_by_rcu_survive_failures),
	KUNIT_CASE(without_failures_all_is_served_again),
	KUNIT_CASE(what_may_not_fail_does_not),
	KUNIT_CASE(a_bulk_that_may_not_fail_does_not),
	KUNIT_CASE(objects_that_may_not_fail_do_not),
	KUNIT_CASE(what_may_neither_fail_nor_wait_fails),
	KUNIT_CASE(cached_slots_serve_while_pages_fail),
	KUNIT_CASE(a_class_does_without_lines_until_there_are_some),
	KUNIT_CASE(a_checked_class_without_lines_serves_many),
	KUNIT_CASE(a_larger_slot_stands_in_for_its_size),
	KUNIT_CASE(frees_work_without_magazines),
	{}
};

BLOCKSLAB_KUNIT_SUITE(failure, failure_cases);
