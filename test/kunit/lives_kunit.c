// SPDX-License-Identifier: GPL-2.0
/* The lives of heaps and caches: ended once, used after their end, listed while slots are out. */
#include "blockslab_kunit.h"

#define USED	"use of a destroyed heap"

static const size_t sizes[] = { 1, 24, 1000, BLOCKSLAB_SLOT_MAX, 20000, 1 << 20 };

static void a_heap_is_destroyed_once(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "once", 0, 0, 0);

	blockslab_heap_destroy(heap);
	blockslab_heap_destroy(heap);
	expect_fault(test, USED, heap);
	heap = make_heap(test, "once", 0, 0, 0);
	end_heap(test, heap);
	blockslab_heap_destroy(heap);
	expect_fault(test, USED, heap);
}

static void a_heap_with_live_slots_is_destroyed_once(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "once", 0, 0, 0);
	void *slot = must_alloc(test, heap, 100);

	blockslab_heap_destroy(heap);
	blockslab_heap_destroy(heap);
	expect_fault(test, USED, heap);
	blockslab_free(slot);
	blockslab_heap_destroy(heap);
	expect_fault(test, USED, heap);
}

/* Every call that gives memory. */
static void expect_nothing_given(struct kunit *test, struct blockslab_heap *heap, size_t size)
{
	void *slots[2], *slot;

	KUNIT_EXPECT_NULL(test, try_alloc(heap, size, GFP_KERNEL));
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_NULL(test, try_alloc(heap, size, GFP_KERNEL | __GFP_ZERO));
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_NULL(test, blockslab_zalloc(heap, size, GFP_KERNEL));
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_NULL(test, blockslab_alloc_node(heap, size, GFP_KERNEL, 0));
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_NULL(test, blockslab_alloc_nolock(heap, size));
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(heap, size, GFP_KERNEL, 2, slots), 0);
	expect_fault(test, USED, heap);
	slot = must_alloc(test, NULL, 8);
	KUNIT_EXPECT_NULL(test, blockslab_realloc(heap, slot, size, GFP_KERNEL));
	expect_fault(test, USED, heap);
	blockslab_free(slot);
}

/* And every other. */
static void expect_no_use(struct kunit *test, struct blockslab_heap *heap)
{
	KUNIT_EXPECT_EQ(test, stats_of(heap).held, 0);
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_EQ(test, blockslab_shrink(heap), 0);
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_NE(test, blockslab_validate(heap), 0);
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_EQ(test, blockslab_track(heap, 1), -EINVAL);
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_EQ(test, blockslab_heap_release(heap), 0);
	expect_fault(test, USED, heap);
}

static void a_destroyed_heap_gives_nothing(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "spent", 0, 0, 0);
	void *slot = must_alloc(test, heap, 100), *slots[2];
	int i;

	blockslab_heap_destroy(heap);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		expect_nothing_given(test, heap, sizes[i]);
	KUNIT_EXPECT_NULL(test, try_alloc(heap, 0, GFP_KERNEL));
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(heap, 0, GFP_KERNEL, 2, slots), 0);
	expect_fault(test, USED, heap);
	expect_no_use(test, heap);
	blockslab_free(slot);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		expect_nothing_given(test, heap, sizes[i]);
	expect_no_use(test, heap);
}

static void a_destroyed_cache_gives_nothing(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_cache_create("spent", 100, 0, 0, NULL);
	struct blockslab_heap *heap;
	void *slot, *slots[2];

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	heap = blockslab_cache_heap(cache);
	slot = blockslab_cache_alloc(cache, GFP_KERNEL);
	blockslab_cache_destroy(cache);
	blockslab_cache_destroy(cache);
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_NULL(test, blockslab_cache_alloc(cache, GFP_KERNEL));
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_NULL(test, blockslab_cache_alloc(cache, GFP_KERNEL | __GFP_ZERO));
	expect_fault(test, USED, heap);
	KUNIT_EXPECT_EQ(test, blockslab_cache_alloc_bulk(cache, GFP_KERNEL, 2, slots), 0);
	expect_fault(test, USED, heap);
	blockslab_cache_free(cache, slot);
	expect_fault(test, USED, heap);
	blockslab_cache_free_bulk(cache, 1, &slot);
	expect_fault(test, USED, heap);
	blockslab_free(slot);
	KUNIT_EXPECT_NULL(test, blockslab_cache_alloc(cache, GFP_KERNEL));
	expect_fault(test, USED, heap);
	blockslab_cache_destroy(cache);
	expect_fault(test, USED, heap);
}

static void what_is_no_heap_is_told(struct kunit *test)
{
	void *none = kunit_kzalloc(test, SZ_8K, GFP_KERNEL);
	struct blockslab_heap_stats stats;

	KUNIT_ASSERT_NOT_NULL(test, none);
	blockslab_heap_stats(none, &stats);
	expect_fault(test, "pointer that is no heap", none);
	blockslab_heap_destroy(none);
	expect_fault(test, "pointer that is no heap", none);
	blockslab_cache_destroy(none);
	expect_fault(test, "pointer that is no heap", none);
	blockslab_heap_destroy((void *)8);
	expect_fault(test, "pointer that is no heap", (void *)8);
	blockslab_cache_destroy((void *)8);
	expect_fault(test, "pointer that is no heap", (void *)8);
	blockslab_heap_destroy(&blockslab_shared);
	expect_fault(test, "pointer that is no heap", &blockslab_shared);
	blockslab_free(must_alloc(test, NULL, 24));
	KUNIT_EXPECT_EQ(test, blockslab_shrink(ERR_PTR(-ENOMEM)), 0);
	expect_fault(test, "pointer that is no heap", ERR_PTR(-ENOMEM));
}

/* The state that `heaps` has of a name; NULL if it is not listed. */
static const char *listed_state(struct kunit *test, const char *name)
{
	struct table table = table_open(test, "heaps");

	while (table_next(test, &table))
		if (!strcmp(table_text(test, &table, "name"), name))
			return table_text(test, &table, "state");
	return NULL;
}

static void a_destroyed_heap_is_listed_until_it_drains(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "drains", 0, 0, 0);
	void *slot = must_alloc(test, heap, 100);

	KUNIT_EXPECT_STREQ(test, listed_state(test, "drains"), "live");
	blockslab_heap_destroy(heap);
	KUNIT_EXPECT_STREQ(test, listed_state(test, "drains"), "destroyed");
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "drains", "slots"), 1);
	KUNIT_EXPECT_EQ(test, class_cell(test, "drains", 100, "allocated"), 1);
	blockslab_free(slot);
	/* Ends with the work that frees the other. */
	end_heap(test, make_heap(test, "drains", 0, 0, 0));
	KUNIT_EXPECT_EQ(test, heaps_named(test, "drains"), 0);
}

static void a_destroyed_heap_leaves_its_name(struct kunit *test)
{
	struct blockslab_heap *heaps[3];
	void *slots[3];
	int i, nr = 0;
	struct table table;

	for (i = 0; i < ARRAY_SIZE(heaps); i++) {
		heaps[i] = make_heap(test, "again", 0, 0, 0);
		slots[i] = must_alloc(test, heaps[i], 100 + 100 * i);
		KUNIT_EXPECT_STREQ(test, listed_state(test, "again"), "live");
		KUNIT_EXPECT_EQ(test, class_cell(test, "again", 100 + 100 * i, "allocated"), 1);
		blockslab_heap_destroy(heaps[i]);
	}
	table = table_open(test, "heaps");
	while (table_next(test, &table)) {
		const char *name = table_text(test, &table, "name");
		char path[80];

		if (strncmp(name, "again", 5))
			continue;
		nr++;
		KUNIT_EXPECT_STREQ(test, table_text(test, &table, "state"), "destroyed");
		/* What it was given for its own is in use until it is gone. */
		if (strcmp(name, "again"))
			KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create(name, NULL)), -EEXIST);
		scnprintf(path, sizeof(path), "heap/%s/classes", name);
		table_open(test, path);
	}
	KUNIT_EXPECT_EQ(test, nr, 3);
	free_many(slots, ARRAY_SIZE(slots));
}

/* Has another heap take the name of one with a slot out: the id that one of them is called by. */
static u64 ending_of_the_next(struct kunit *test, struct blockslab_heap **heap, void **slot)
{
	struct table table;
	u64 id = 0;

	*slot = must_alloc(test, *heap, 100);
	blockslab_heap_destroy(*heap);
	*heap = make_heap(test, "anew", 0, 0, 0);
	table = table_open(test, "heaps");
	while (table_next(test, &table))
		if (sscanf(table_text(test, &table, "name"), "anew.%llu", &id) == 1)
			break;
	return id;
}

static void a_new_name_is_nobody_else_s(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "anew", 0, 0, 0), *other[2];
	void *slots[3];
	char name[32];
	u64 id;
	int i;

	id = ending_of_the_next(test, &heap, &slots[0]);
	KUNIT_ASSERT_NE(test, id, 0);
	/* One that lives has what the next would be called, and one that does not what is left. */
	for (i = 0; i < 2; i++) {
		scnprintf(name, sizeof(name), "anew.%llu", id + 1 + i);
		other[i] = make_heap(test, name, 0, 0, 0);
	}
	slots[2] = must_alloc(test, other[1], 100);
	blockslab_heap_destroy(other[1]);
	ending_of_the_next(test, &heap, &slots[1]);
	for (i = 0; i < 4; i++) {
		scnprintf(name, sizeof(name), "anew.%llu", id + i);
		KUNIT_EXPECT_EQ_MSG(test, heaps_named(test, name), 1, "%s", name);
		scnprintf(name, sizeof(name), "heap/anew.%llu/classes", id + i);
		table_open(test, name);
	}
	free_many(slots, ARRAY_SIZE(slots));
	end_heap(test, other[0]);
	end_heap(test, heap);
}

/* Reads some of a file, has many blocks come, and reads the rest: how many lines. */
static int lines_while_blocks_come(struct kunit *test, const char *name, void **slots, int nr)
{
	char *text = kunit_kzalloc(test, SZ_4K, GFP_KERNEL);
	struct file *file = debugfs_open(name, O_RDONLY);
	size_t at = 0, part, i;
	int lines = 0, done = 0;

	KUNIT_ASSERT_NOT_NULL(test, text);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	while ((part = debugfs_read_at(file, at, text, 512)) && lines < nr) {
		at += part;
		for (i = 0; i < part; i++)
			lines += text[i] == '\n';
		for (i = 0; i < 64 && done < nr; i++)
			slots[done++] = must_alloc(test, fixture.heap, 2048);
	}
	filp_close(file, NULL);
	return lines;
}

static void a_reader_sees_the_blocks_that_were_there(struct kunit *test)
{
	void **slots = slot_array(test, 4000), *first[20];
	int lines;

	alloc_many(test, fixture.heap, 2048, first, ARRAY_SIZE(first));
	lines = lines_while_blocks_come(test, "heap/kunit/blocks", slots, 4000);
	KUNIT_EXPECT_LE(test, lines, 2 + 20);
	KUNIT_EXPECT_GT(test, lines, 2);
	free_many(slots, 4000);
	free_many(first, ARRAY_SIZE(first));
}

static void what_is_refused_is_an_error(struct kunit *test)
{
	struct blockslab_heap_attrs attrs = { .limit = SZ_64K, .reserve = SZ_128K };

	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create("a b", NULL)), -EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create(NULL, NULL)), -EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create("big", &attrs)), -EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create("kunit", NULL)), -EEXIST);
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_cache_create("odd", 8, 3, 0, NULL)), -EINVAL);
	KUNIT_EXPECT_NULL(test, listed_state(test, "big"));
}

/* More than half of the memory is no reserve that can be; why is told, once. */
static void a_reserve_that_cannot_be_is_told(struct kunit *test)
{
	struct blockslab_heap_attrs attrs = { .reserve = (totalram_pages() / 2 + 1) * PAGE_SIZE };

	mark_log();
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create("big", &attrs)), -EINVAL);
	KUNIT_EXPECT_EQ(test, log_count("heap \"big\" was refused", NULL), 1);
}

static struct kunit_case lives_cases[] = {
	KUNIT_CASE(a_heap_is_destroyed_once),
	KUNIT_CASE(a_heap_with_live_slots_is_destroyed_once),
	KUNIT_CASE(a_destroyed_heap_gives_nothing),
	KUNIT_CASE(a_destroyed_cache_gives_nothing),
	KUNIT_CASE(what_is_no_heap_is_told),
	KUNIT_CASE(a_destroyed_heap_is_listed_until_it_drains),
	KUNIT_CASE(a_destroyed_heap_leaves_its_name),
	KUNIT_CASE(a_new_name_is_nobody_else_s),
	KUNIT_CASE(a_reader_sees_the_blocks_that_were_there),
	KUNIT_CASE(what_is_refused_is_an_error),
	KUNIT_CASE(a_reserve_that_cannot_be_is_told),
	{}
};

BLOCKSLAB_KUNIT_SUITE(lives, lives_cases);
