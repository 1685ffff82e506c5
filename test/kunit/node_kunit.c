// SPDX-License-Identifier: GPL-2.0
/* NUMA nodes: memory is of the node asked for, and goes home. */
#include <linux/topology.h>
#include "blockslab_kunit.h"

#define NR_SLOTS	300

static int node_of(const void *slot)
{
	return page_to_nid(virt_to_page(slot));
}

static void memory_is_of_the_node_asked_for(struct kunit *test)
{
	static const size_t sizes[] = { 8, 100, 4096, 8192, 20000 };
	int node, i;

	for_each_node_state(node, N_MEMORY) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			void *slot = blockslab_alloc_node(fixture.heap, sizes[i],
							  GFP_KERNEL | __GFP_THISNODE, node);

			OPTIMIZER_HIDE_VAR(slot);
			KUNIT_ASSERT_NOT_NULL(test, slot);
			KUNIT_EXPECT_EQ(test, node_of(slot), node);
			memset(slot, 0x5a, sizes[i]);
			blockslab_free(slot);
		}
	}
}

static void no_node_is_any_node(struct kunit *test)
{
	void *slot = blockslab_alloc_node(fixture.heap, 100, GFP_KERNEL, NUMA_NO_NODE);

	KUNIT_ASSERT_NOT_NULL(test, slot);
	KUNIT_EXPECT_EQ(test, node_of(slot), numa_mem_id());
	blockslab_free(slot);
}

/* By the fast path; under CONFIG_DEBUG_ATOMIC_SLEEP it is told if that may not sleep. */
static void this_node_is_asked_for_where_it_may_wait(struct kunit *test)
{
	int i;

	for (i = 0; i < 2; i++) {
		void *slot = blockslab_alloc_node(fixture.heap, 100, GFP_KERNEL, numa_mem_id());

		KUNIT_ASSERT_NOT_NULL(test, slot);
		KUNIT_EXPECT_EQ(test, node_of(slot), numa_mem_id());
		blockslab_free(slot);
	}
}

static void a_node_that_is_not_there_is_any_node(struct kunit *test)
{
	const int nodes[] = { -5, INT_MIN, nr_node_ids, INT_MAX };
	int i;

	for (i = 0; i < ARRAY_SIZE(nodes); i++) {
		void *slot = blockslab_alloc_node(fixture.heap, 100, GFP_KERNEL, nodes[i]);

		KUNIT_ASSERT_NOT_NULL(test, slot);
		KUNIT_EXPECT_EQ(test, node_of(slot), numa_mem_id());
		blockslab_free(slot);
	}
}

/* Without pages, what the heap hoards on the node serves; another node's slots do not. */
static void only_the_node_asked_for_serves_where_none_other_may(struct kunit *test)
{
	const gfp_t gfp = GFP_TRY | __GFP_THISNODE;
	void **slots = slot_array(test, NR_SLOTS);
	int node, served;

	for_each_node_state(node, N_MEMORY) {
		for (served = 0; served < NR_SLOTS; served++) {
			slots[served] = blockslab_alloc_node(fixture.heap, 200,
							     GFP_KERNEL | __GFP_THISNODE, node);
			KUNIT_ASSERT_NOT_NULL(test, slots[served]);
		}
		free_many(slots, NR_SLOTS);
		blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
		for (served = 0; served < NR_SLOTS; served++) {
			slots[served] = blockslab_alloc_node(fixture.heap, 200, gfp, node);
			if (!slots[served])
				break;
			KUNIT_EXPECT_EQ(test, node_of(slots[served]), node);
		}
		KUNIT_EXPECT_GT(test, served, 0);
		KUNIT_EXPECT_NULL(test, blockslab_alloc_node(fixture.heap, 3000, gfp, node));
		blockslab_fail(0, 0, 0);
		free_many(slots, served);
	}
}

static void the_nearest_node_is_the_usual_one(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	int i;

	alloc_many(test, fixture.heap, 100, slots, NR_SLOTS);
	for (i = 0; i < NR_SLOTS; i++)
		KUNIT_EXPECT_EQ(test, node_of(slots[i]), numa_mem_id());
	free_many(slots, NR_SLOTS);
}

/* Freed here, a slot of another node must not be what this CPU gives out next. */
static void a_slot_of_another_node_goes_home(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS), **here = slot_array(test, NR_SLOTS);
	int node, i;

	if (num_node_state(N_MEMORY) < 2)
		kunit_skip(test, "this machine has one node");
	for_each_node_state(node, N_MEMORY) {
		if (node == numa_mem_id())
			continue;
		for (i = 0; i < NR_SLOTS; i++) {
			slots[i] = blockslab_alloc_node(fixture.heap, 100,
							GFP_KERNEL | __GFP_THISNODE, node);
			KUNIT_ASSERT_NOT_NULL(test, slots[i]);
		}
		free_many(slots, NR_SLOTS);
		alloc_many(test, fixture.heap, 100, here, NR_SLOTS);
		for (i = 0; i < NR_SLOTS; i++)
			KUNIT_EXPECT_EQ(test, node_of(here[i]), numa_mem_id());
		free_many(here, NR_SLOTS);
	}
}

static void the_blocks_table_names_the_node(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 100);
	struct table blocks = table_open(test, "heap/kunit/blocks");

	KUNIT_ASSERT_TRUE(test, table_next(test, &blocks));
	KUNIT_EXPECT_EQ(test, table_number(test, &blocks, "node"), node_of(slot));
	blockslab_free(slot);
}

static struct kunit_case node_cases[] = {
	KUNIT_CASE(memory_is_of_the_node_asked_for),
	KUNIT_CASE(no_node_is_any_node),
	KUNIT_CASE(this_node_is_asked_for_where_it_may_wait),
	KUNIT_CASE(a_node_that_is_not_there_is_any_node),
	KUNIT_CASE(only_the_node_asked_for_serves_where_none_other_may),
	KUNIT_CASE(the_nearest_node_is_the_usual_one),
	KUNIT_CASE(a_slot_of_another_node_goes_home),
	KUNIT_CASE(the_blocks_table_names_the_node),
	{}
};

BLOCKSLAB_KUNIT_SUITE(node, node_cases);
