// SPDX-License-Identifier: GPL-2.0
/* Bad input: a clear error, and nothing changed. */
#include "blockslab_kunit.h"

static u64 heaps_listed(struct kunit *test)
{
	struct table heaps = table_open(test, "heaps");
	u64 nr = 0;

	while (table_next(test, &heaps))
		nr++;
	return nr;
}

struct name_case {
	const char *told, *name;
};

static const struct name_case bad_names[] = {
	{ "no name", NULL },
	{ "empty", "" },
	{ "with a slash", "a/b" },
	{ "a slash alone", "/" },
	{ "this directory", "." },
	{ "the directory above", ".." },
	{ "with a space", "a b" },
	{ "with a newline", "a\nb" },
	{ "one byte too long", "0123456789012345678901234567890x" },
};

static void name_case_name(const struct name_case *param, char *name)
{
	strscpy(name, param->told, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(name, bad_names, name_case_name);

static void a_bad_name_is_einval(struct kunit *test)
{
	const struct name_case *param = test->param_value;
	u64 before = heaps_listed(test);

	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create(param->name, NULL)), -EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_cache_create(param->name, 40, 0, 0, NULL)),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, heaps_listed(test), before);
}

static void a_name_in_use_is_eexist(struct kunit *test)
{
	u64 before = heaps_listed(test);

	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create("kunit", NULL)), -EEXIST);
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_cache_create("kunit", 40, 0, 0, NULL)), -EEXIST);
	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create("shared", NULL)), -EEXIST);
	KUNIT_EXPECT_EQ(test, heaps_listed(test), before);
}

struct attrs_case {
	const char *told;
	struct blockslab_heap_attrs attrs;
};

static const struct attrs_case bad_attrs[] = {
	{ "an unknown flag", { .flags = BIT(20) } },
	{ "all flags", { .flags = ~0UL & ~BLOCKSLAB_PANIC } },
	{ "a flag of caches", { .flags = BLOCKSLAB_TYPESAFE_BY_RCU } },
	{ "a limit of one byte", { .limit = 1 } },
	{ "a limit under one block", { .limit = PAGE_SIZE - 1 } },
	{ "a reserve over the limit", { .limit = SZ_64K, .reserve = SZ_128K } },
	{ "a limit without room for what a reserve needs besides",
	  { .limit = SZ_64K, .reserve = SZ_64K } },
};

static void attrs_case_name(const struct attrs_case *param, char *name)
{
	strscpy(name, param->told, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(attrs, bad_attrs, attrs_case_name);

static void bad_attributes_are_einval(struct kunit *test)
{
	const struct attrs_case *param = test->param_value;
	u64 before = heaps_listed(test);

	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_heap_create("bad", &param->attrs)), -EINVAL);
	KUNIT_EXPECT_EQ(test, heaps_listed(test), before);
}

static void an_impossible_reserve_is_enomem(struct kunit *test)
{
	static const size_t reserves[] = { SIZE_MAX, SIZE_MAX - PAGE_SIZE + 1, SIZE_MAX / 2 };
	u64 before = heaps_listed(test);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(reserves); i++) {
		struct blockslab_heap_attrs attrs = { .reserve = reserves[i] };
		long error = PTR_ERR(blockslab_heap_create("greedy", &attrs));

		KUNIT_EXPECT_TRUE_MSG(test, error == -ENOMEM || error == -EINVAL, "it is %ld",
				      error);
	}
	KUNIT_EXPECT_EQ(test, heaps_listed(test), before);
}

static void construct(void *object)
{
}

struct cache_case {
	const char *told;
	size_t size, align;
	unsigned long flags;
	void (*ctor)(void *object);
};

static const struct cache_case bad_caches[] = {
	{ "no size", 0, 0, 0, NULL },
	{ "a constructor and no size", 0, 0, 0, construct },
	{ "an alignment of three", 40, 3, 0, NULL },
	{ "an alignment over a page", 40, 2 * PAGE_SIZE, 0, NULL },
	{ "an alignment of half the memory", 40, SIZE_MAX / 2 + 1, 0, NULL },
	{ "a size beyond all memory", SIZE_MAX, 0, 0, NULL },
	{ "a size that wraps when aligned", SIZE_MAX - 8, 64, 0, NULL },
	{ "an unknown flag", 40, 0, BIT(20), NULL },
	{ "a constructor whose work is zeroed", 40, 0, BLOCKSLAB_ZERO, construct },
	{ "what readers still see is zeroed", 40, 0, BLOCKSLAB_ZERO | BLOCKSLAB_TYPESAFE_BY_RCU },
	{ "room for nothing beside an object", BLOCKSLAB_SLOT_MAX, 0, 0, construct },
};

static void cache_case_name(const struct cache_case *param, char *name)
{
	strscpy(name, param->told, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(cache, bad_caches, cache_case_name);

static void a_bad_cache_is_einval(struct kunit *test)
{
	const struct cache_case *param = test->param_value;
	u64 before = heaps_listed(test);

	KUNIT_EXPECT_EQ(test, PTR_ERR(blockslab_cache_create("bad", param->size, param->align,
							     param->flags, param->ctor)), -EINVAL);
	KUNIT_EXPECT_EQ(test, heaps_listed(test), before);
}

static void destroy_of_what_was_never_made_is_fine(struct kunit *test)
{
	blockslab_heap_destroy(NULL);
	blockslab_cache_destroy(NULL);
}

static struct kunit_case input_cases[] = {
	KUNIT_CASE_PARAM(a_bad_name_is_einval, name_gen_params),
	KUNIT_CASE(a_name_in_use_is_eexist),
	KUNIT_CASE_PARAM(bad_attributes_are_einval, attrs_gen_params),
	KUNIT_CASE(an_impossible_reserve_is_enomem),
	KUNIT_CASE_PARAM(a_bad_cache_is_einval, cache_gen_params),
	KUNIT_CASE(destroy_of_what_was_never_made_is_fine),
	{}
};

BLOCKSLAB_KUNIT_SUITE(input, input_cases);
