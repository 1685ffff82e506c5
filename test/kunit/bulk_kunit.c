// SPDX-License-Identifier: GPL-2.0
/* Many slots in one call: all of them or none. */
#include <linux/vmalloc.h>
#include "blockslab_kunit.h"

struct bulk_case {
	size_t size, nr;
};

static const struct bulk_case bulk_table[] = {
	{ 8, 1 }, { 8, 2 }, { 8, 63 }, { 8, 64 }, { 8, 65 }, { 24, 500 }, { 24, 5000 },
	{ 512, 1000 }, { 3000, 100 }, { 8192, 50 }, { 8193, 10 }, { 50000, 5 },
};

static void bulk_case_name(const struct bulk_case *param, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "%zu slots of %zu", param->nr, param->size);
}

KUNIT_ARRAY_PARAM(bulk, bulk_table, bulk_case_name);

/* Each is filled with what no other has; an overlap would show. */
static void every_slot_of_a_bulk_is_its_own(struct kunit *test)
{
	const struct bulk_case *param = test->param_value;
	void **slots = slot_array(test, param->nr);
	size_t i;

	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(fixture.heap, param->size, GFP_KERNEL, param->nr,
						   slots), param->nr);
	for (i = 0; i < param->nr; i++) {
		KUNIT_ASSERT_NOT_NULL(test, slots[i]);
		memset(slots[i], i % 251, blockslab_usable_size(slots[i]));
	}
	for (i = 0; i < param->nr; i++)
		KUNIT_ASSERT_TRUE(test, all_bytes_are(slots[i], i % 251, param->size));
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated,
			param->nr * blockslab_size_roundup(param->size));
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	blockslab_free_bulk(param->nr, slots);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
}

static void bulk_and_single_calls_mix(struct kunit *test)
{
	void **slots = slot_array(test, 300);
	size_t i;

	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(fixture.heap, 40, GFP_KERNEL, 200, slots), 200);
	alloc_many(test, fixture.heap, 40, slots + 200, 100);
	for (i = 0; i < 100; i++)
		blockslab_free(slots[i]);
	blockslab_free_bulk(200, slots + 100);
}

static void a_bulk_of_nothing_is_nothing(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(fixture.heap, 40, GFP_KERNEL, 0, NULL), 0);
	blockslab_free_bulk(0, NULL);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).held, 0);
}

static void a_bulk_of_no_bytes_is_zero_size_pointers(struct kunit *test)
{
	void *slots[3] = {};
	int i;

	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(fixture.heap, 0, GFP_KERNEL, 3, slots), 3);
	for (i = 0; i < ARRAY_SIZE(slots); i++)
		KUNIT_EXPECT_PTR_EQ(test, slots[i], ZERO_SIZE_PTR);
	blockslab_free_bulk(3, slots);
}

static void a_bulk_without_a_class_gets_nothing(struct kunit *test)
{
	void *slots[3];

	blockslab_fail(BLOCKSLAB_FAIL_CLASS, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(fixture.heap, 40, GFP_TRY, 3, slots), 0);
	blockslab_fail(0, 0, 0);
}

static void one_bulk_frees_slots_of_all_kinds(struct kunit *test)
{
	struct blockslab_heap *other = make_heap(test, "other", 0, 0, 0);
	void *slots[90];
	int i;

	for (i = 0; i < ARRAY_SIZE(slots); i += 3) {
		slots[i] = must_alloc(test, fixture.heap, 1 + i * 10);
		slots[i + 1] = must_alloc(test, other, 9000);
		slots[i + 2] = i % 2 ? NULL : ZERO_SIZE_PTR;
	}
	blockslab_free_bulk(ARRAY_SIZE(slots), slots);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	KUNIT_EXPECT_EQ(test, stats_of(other).allocated, 0);
	end_heap(test, other);
}

static void a_bulk_is_zeroed_on_request(struct kunit *test)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_ZERO;
	void *slots[100];
	int i, round;

	for (round = 0; round < 2; round++) {
		KUNIT_ASSERT_EQ(test, ARRAY_SIZE(slots),
				blockslab_alloc_bulk(fixture.heap, 72, gfp, ARRAY_SIZE(slots),
						     slots));
		for (i = 0; i < ARRAY_SIZE(slots); i++) {
			KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], 0, 72));
			memset(slots[i], 0xff, 72);
		}
		blockslab_free_bulk(ARRAY_SIZE(slots), slots);
	}
}

static void a_bulk_that_fails_midway_leaves_nothing_behind(struct kunit *test)
{
	void **slots = slot_array(test, 5000);

	blockslab_fail(BLOCKSLAB_FAIL_PAGES, 10, 100);
	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(fixture.heap, 200, GFP_TRY, 5000, slots), 0);
	blockslab_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
}

static void a_double_free_within_a_bulk_is_told_once(struct kunit *test)
{
	void *slots[20];

	KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(fixture.heap, 40, GFP_KERNEL, 19, slots), 19);
	slots[19] = slots[7];
	blockslab_free_bulk(20, slots);
	expect_fault(test, "double free", slots[7]);
}

/* Frees 40 slots of a cache, or of the heap for NULL; one of them is none, the others are freed. */
static void free_with(struct kunit *test, struct blockslab_cache *cache, int which, void *no_slot)
{
	void *slots[40], *slot;

	if (cache)
		KUNIT_ASSERT_EQ(test, blockslab_cache_alloc_bulk(cache, GFP_KERNEL, 40, slots), 40);
	else
		KUNIT_ASSERT_EQ(test, blockslab_alloc_bulk(fixture.heap, 40, GFP_KERNEL, 40, slots),
				40);
	slot = slots[which];
	slots[which] = no_slot ?: slot + 8;
	if (cache)
		blockslab_cache_free_bulk(cache, 40, slots);
	else
		blockslab_free_bulk(40, slots);
	expect_fault(test, no_slot ? "foreign pointer" : "pointer inside a slot", slots[which]);
	if (cache)
		blockslab_cache_free(cache, slot);
	else
		blockslab_free(slot);
}

static void what_is_no_slot_within_a_bulk_is_told(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("bulk", 40, 0, 0, NULL);
	void *no_slot = vmalloc(PAGE_SIZE);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, no_slot);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	for (i = 0; i < 40; i++) {
		free_with(test, NULL, i, i % 2 ? no_slot : NULL);
		free_with(test, cache, i, i % 2 ? no_slot : NULL);
	}
	vfree(no_slot);
	blockslab_cache_destroy(cache);
}

/* First used where there is no per-CPU memory: their pages name the same lines. */
static void one_bulk_frees_slots_of_classes_without_lines(struct kunit *test)
{
	void *slots[2];
	int i;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		blockslab_fail(BLOCKSLAB_FAIL_CLASS, 1, 0);
		slots[i] = must_alloc(test, fixture.heap, 3000 + 1000 * i);
		blockslab_fail(0, 0, 0);
	}
	blockslab_free_bulk(ARRAY_SIZE(slots), slots);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
}

struct handed {
	void *slots[8];			/* to be freed by one that has allocated none */
	void *again[4];			/* what that one gets */
};

static int take_singly(void *data, unsigned int cpu)
{
	struct handed *handed = data;
	int i, failed = 0;

	for (i = 0; i < ARRAY_SIZE(handed->slots); i++) {
		handed->slots[i] = try_alloc(fixture.heap, 24, GFP_KERNEL);
		failed += !handed->slots[i];
	}
	return failed;
}

static int free_and_take(void *data, unsigned int cpu)
{
	struct handed *handed = data;
	int i;

	for (i = 0; i < ARRAY_SIZE(handed->slots); i++)
		blockslab_free(handed->slots[i]);
	return blockslab_alloc_bulk(fixture.heap, 24, GFP_KERNEL, ARRAY_SIZE(handed->again),
				    handed->again) != ARRAY_SIZE(handed->again);
}

/* Its magazine has slots, if no credit yet. All on one node: what is of another is not for it. */
static void a_bulk_takes_what_its_cpu_has_only_freed(struct kunit *test)
{
	struct handed *handed = kunit_kzalloc(test, sizeof(*handed), GFP_KERNEL);
	unsigned int cpu = cpumask_first(cpu_online_mask), other;
	int i, j, same = 0;

	KUNIT_ASSERT_NOT_NULL(test, handed);
	other = cpumask_any_but(cpumask_of_node(cpu_to_node(cpu)), cpu);
	if (other >= nr_cpu_ids || !cpu_online(other))
		kunit_skip(test, "this node has one CPU");
	sample_nothing(test, fixture.heap);
	KUNIT_ASSERT_EQ(test, on_cpus(test, cpumask_of(cpu), take_singly, handed), 0);
	KUNIT_ASSERT_EQ(test, on_cpus(test, cpumask_of(other), free_and_take, handed), 0);
	for (i = 0; i < ARRAY_SIZE(handed->again); i++)
		for (j = 0; j < ARRAY_SIZE(handed->slots); j++)
			same += handed->again[i] == handed->slots[j];
	KUNIT_EXPECT_EQ(test, same, ARRAY_SIZE(handed->again));
	blockslab_free_bulk(ARRAY_SIZE(handed->again), handed->again);
}

static struct kunit_case bulk_cases[] = {
	KUNIT_CASE_PARAM(every_slot_of_a_bulk_is_its_own, bulk_gen_params),
	KUNIT_CASE(bulk_and_single_calls_mix),
	KUNIT_CASE(a_bulk_of_nothing_is_nothing),
	KUNIT_CASE(a_bulk_of_no_bytes_is_zero_size_pointers),
	KUNIT_CASE(a_bulk_without_a_class_gets_nothing),
	KUNIT_CASE(one_bulk_frees_slots_of_all_kinds),
	KUNIT_CASE(one_bulk_frees_slots_of_classes_without_lines),
	KUNIT_CASE(a_bulk_takes_what_its_cpu_has_only_freed),
	KUNIT_CASE(a_bulk_is_zeroed_on_request),
	KUNIT_CASE(a_bulk_that_fails_midway_leaves_nothing_behind),
	KUNIT_CASE(a_double_free_within_a_bulk_is_told_once),
	KUNIT_CASE(what_is_no_slot_within_a_bulk_is_told),
	{}
};

BLOCKSLAB_KUNIT_SUITE(bulk, bulk_cases);
