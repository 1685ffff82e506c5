// SPDX-License-Identifier: GPL-2.0
/* What blockslab_compat.h needs besides the API: names of any kind, frees of anybody's memory. */
#include <linux/seq_file.h>
#include "blockslab_kunit.h"
#include "../../core/compat.h"

struct fit_case {
	const char *told, *name, *fits;
};

static const struct fit_case names[] = {
	{ "one that can be", "fits", "fits" },
	{ "empty", "", "_" },
	{ "this directory", ".", "._" },
	{ "the directory above", "..", ".._" },
	{ "three dots", "...", "..." },
	{ "two letters", ".a", ".a" },
	{ "slash, space and newline", "a/b c\n", "a_b_c_" },
	{ "no ASCII", "\xc3\xa9t\xc3\xa9", "__t__" },
	{ "the longest", "0123456789012345678901234567890", "0123456789012345678901234567890" },
	{ "too long", "0123456789012345678901234567890xyz", "0123456789012345678901234567890" },
};

static void fit_case_name(const struct fit_case *param, char *name)
{
	strscpy(name, param->told, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(name, names, fit_case_name);

static void expect_in_use(struct kunit *test, const char *name)
{
	KUNIT_EXPECT_EQ_MSG(test, PTR_ERR(blockslab_heap_create(name, NULL)), -EEXIST, "%s", name);
}

static void any_name_becomes_one_that_can_be(struct kunit *test)
{
	const struct fit_case *param = test->param_value;
	struct blockslab_cache *cache;
	struct blockslab_heap *heap;

	heap = blockslab_compat_heap_create(param->name, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, heap);
	expect_in_use(test, param->fits);
	end_heap(test, heap);
	cache = blockslab_compat_cache_create(param->name, 40, 0, 0, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	expect_in_use(test, param->fits);
	blockslab_cache_destroy(cache);
}

static void caches_of_one_name_are_told_apart(struct kunit *test)
{
	static const char * const all[] = {
		"0123456789012345678901234567890", "01234567890123456789012345678.2",
		"01234567890123456789012345678.3",
	};
	struct blockslab_cache *caches[ARRAY_SIZE(all)];
	int i;

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		caches[i] = blockslab_compat_cache_create(all[0], 40, 0, 0, NULL);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, caches[i]);
		expect_in_use(test, all[i]);
	}
	for (i = 0; i < ARRAY_SIZE(all); i++)
		blockslab_cache_destroy(caches[i]);
}

static void the_name_of_one_that_drains_is_free(struct kunit *test)
{
	struct blockslab_heap *heap = blockslab_compat_heap_create("drains", 0);
	void *slot;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, heap);
	slot = must_alloc(test, heap, 24);
	blockslab_heap_destroy(heap);
	heap = blockslab_compat_heap_create("drains", 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, heap);
	expect_in_use(test, "drains");
	blockslab_free(slot);
	end_heap(test, heap);
}

static void a_heap_for_dma_has_lines_to_itself(struct kunit *test)
{
	struct blockslab_heap *heap;
	void *slots[8];
	int i;

	heap = blockslab_compat_heap_create("lines", BLOCKSLAB_HWCACHE_ALIGN);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, heap);
	alloc_many(test, heap, 24, slots, ARRAY_SIZE(slots));
	for (i = 0; i < ARRAY_SIZE(slots); i++)
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)slots[i], cache_line_size()));
	free_many(slots, ARRAY_SIZE(slots));
	end_heap(test, heap);
}

static void a_cache_has_the_size_that_was_asked_for(struct kunit *test)
{
	struct blockslab_cache *cache = blockslab_compat_cache_create("size", 41, 0, 0, NULL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	KUNIT_EXPECT_EQ(test, blockslab_compat_object_size(cache), 41);
	blockslab_cache_destroy(cache);
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_compat_cache_create("size", 0, 0, 0, NULL)),
			-EINVAL);
}

static void memory_of_anybody_is_freed(struct kunit *test)
{
	struct blockslab_heap *checked = make_heap(test, "checked", BLOCKSLAB_POISON, 0, 0);
	void *slot = must_alloc(test, fixture.heap, 24);

	blockslab_compat_kfree(NULL);
	blockslab_compat_kfree(slot);
	blockslab_compat_kfree(slot);
	expect_fault(test, "double free", slot);
	blockslab_compat_kfree(must_alloc(test, checked, 24));
	blockslab_compat_kfree_link(must_alloc(test, fixture.heap, 24));
	blockslab_compat_kfree_link(must_alloc(test, fixture.heap, 3 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	blockslab_compat_kfree(kmalloc(24, GFP_KERNEL));
	blockslab_compat_kfree(kmalloc(3 * PAGE_SIZE, GFP_KERNEL));
	end_heap(test, checked);
}

static void memory_of_anybody_is_freed_by_other_calls(struct kunit *test)
{
	static void (*const frees[])(const void *ptr) = {
		blockslab_compat_kvfree, blockslab_compat_kfree_const,
		blockslab_compat_kfree_sensitive,
	};
	void *slot;
	int i;

	for (i = 0; i < ARRAY_SIZE(frees); i++) {
		frees[i](NULL);
		frees[i](kmalloc(24, GFP_KERNEL));
		frees[i](must_alloc(test, fixture.heap, 3 * PAGE_SIZE));
		slot = must_alloc(test, fixture.heap, 24);
		frees[i](slot);
		frees[i](slot);
		expect_fault(test, "double free", slot);
	}
	blockslab_compat_kvfree(kvmalloc(SZ_1M, GFP_KERNEL));
	blockslab_compat_kfree_const("a constant");
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
}

static void what_is_secret_is_overwritten(struct kunit *test)
{
	struct blockslab_cache *cache;

	cache = blockslab_compat_cache_create("secrets", 104, 0, BLOCKSLAB_TYPESAFE_BY_RCU, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	expect_wiped(test, cache, blockslab_compat_kfree_sensitive);
	blockslab_cache_destroy(cache);
}

/* A file is no more than that to who opens and releases it. */
static void a_file_s_private_memory_is_freed(struct kunit *test)
{
	struct file *file = kunit_kzalloc(test, sizeof(*file), GFP_KERNEL);
	static const struct seq_operations none;

	KUNIT_ASSERT_NOT_NULL(test, file);
	KUNIT_ASSERT_EQ(test, seq_open(file, &none), 0);
	((struct seq_file *)file->private_data)->private = must_alloc(test, fixture.heap, 24);
	KUNIT_EXPECT_EQ(test, blockslab_compat_seq_release_private(NULL, file), 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
}

struct compat_free {
	const char *told;
	void (*free)(const void *ptr);
};

static void free_of_the_kernel(const void *ptr)
{
	if (blockslab_compat_kernels(ptr))
		kfree(ptr);
}

static const struct compat_free compat_frees[] = {
	{ "kfree", blockslab_compat_kfree }, { "kvfree", blockslab_compat_kvfree },
	{ "kfree_const", blockslab_compat_kfree_const },
	{ "kfree_sensitive", blockslab_compat_kfree_sensitive },
	{ "others", free_of_the_kernel },
};

static void compat_free_name(const struct compat_free *param, char *name)
{
	strscpy(name, param->told, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(compat_free, compat_frees, compat_free_name);

/* A slot is freed, its block goes back, and the page is another's when it is freed once more. */
static void what_went_back_is_not_the_kernel_s_to_free(struct kunit *test)
{
	const struct compat_free *param = test->param_value;
	static const size_t sizes[] = { 1000, 20000 };
	struct page *page;
	void *slot;
	int i;

	sample_nothing(test, fixture.heap);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		slot = must_alloc(test, fixture.heap, sizes[i]);
		blockslab_free(slot);
		blockslab_shrink(fixture.heap);
		KUNIT_EXPECT_FALSE(test, blockslab_owns(slot));
		page = alloc_page(GFP_KERNEL | __GFP_ZERO);
		KUNIT_ASSERT_NOT_NULL(test, page);
		param->free(slot);
		expect_fault(test, "foreign pointer", slot);
		param->free(page_address(page) + 8);
		expect_fault(test, "foreign pointer", page_address(page) + 8);
		KUNIT_EXPECT_EQ(test, page_count(page), 1);
		__free_page(page);
	}
	/* What is the kernel's goes to the kernel, whatever its size, and what has no page. */
	param->free(kmalloc(100, GFP_KERNEL));
	param->free(kmalloc(SZ_128K, GFP_KERNEL));
	param->free(NULL);
	KUNIT_EXPECT_TRUE(test, blockslab_compat_kernels("a literal"));
}

static struct kunit_case compat_cases[] = {
	KUNIT_CASE_PARAM(any_name_becomes_one_that_can_be, name_gen_params),
	KUNIT_CASE(caches_of_one_name_are_told_apart),
	KUNIT_CASE(the_name_of_one_that_drains_is_free),
	KUNIT_CASE(a_heap_for_dma_has_lines_to_itself),
	KUNIT_CASE(a_cache_has_the_size_that_was_asked_for),
	KUNIT_CASE(memory_of_anybody_is_freed),
	KUNIT_CASE(memory_of_anybody_is_freed_by_other_calls),
	KUNIT_CASE_PARAM(what_went_back_is_not_the_kernel_s_to_free, compat_free_gen_params),
	KUNIT_CASE(what_is_secret_is_overwritten),
	KUNIT_CASE(a_file_s_private_memory_is_freed),
	{}
};

BLOCKSLAB_KUNIT_SUITE(compat, compat_cases);
