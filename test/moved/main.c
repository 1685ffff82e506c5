// SPDX-License-Identifier: GPL-2.0
/*
 * Calls the kernel's allocator in every way that modules do, and checks what comes of it: loaded
 * as it is, or moved to blockslab by tools/port, it has to find the same.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include "moved.h"

int moved_failures;

struct thing {
	u64 key;
	struct rcu_head rcu;
	char text[72];
};

/* Objects, not only calls. */
static const struct {
	void (*free)(const void *memory);
} operations = { .free = kfree };

static void plain_calls(void)
{
	u8 *memory = kzalloc(100, GFP_KERNEL), *more;

	CHECK(is_filled(memory, 0, 100));
	memset(memory, 0x5a, 100);
	more = krealloc(memory, 3000, GFP_KERNEL);
	CHECK(is_filled(more, 0x5a, 100));
	CHECK(ksize(more) >= 3000);
	operations.free(more);
	memory = kcalloc(7, 9, GFP_KERNEL);
	CHECK(is_filled(memory, 0, 63));
	memory = krealloc_array(memory, 70, 9, GFP_KERNEL);
	CHECK(is_filled(memory, 0, 63));
	kfree_sensitive(memory);
	memory = kmalloc_array_node(3, 5, GFP_KERNEL, NUMA_NO_NODE);
	CHECK(memory);
	kfree(memory);
	CHECK(!kmalloc_array(SIZE_MAX / 2, 3, GFP_KERNEL));
	CHECK(kmalloc(0, GFP_KERNEL) == ZERO_SIZE_PTR);
	kfree(NULL);
	kfree(ZERO_SIZE_PTR);
	memory = kzalloc(100000, GFP_KERNEL);
	CHECK(is_filled(memory, 0, 100000));
	kfree(memory);
	memory = kcalloc_node(3, 40, GFP_KERNEL, 0);
	CHECK(is_filled(memory, 0, 120));
	memset(memory, 0x77, ksize(memory));
	kfree(memory);
	CHECK(!kmalloc(SIZE_MAX / 2, GFP_KERNEL | __GFP_NOWARN));
}

/* The ends of what krealloc() and the array calls are for. */
static void ends_of_sizes(void)
{
	u8 *memory = krealloc(NULL, 24, GFP_KERNEL | __GFP_ZERO);
	size_t many = SIZE_MAX / 8;

	OPTIMIZER_HIDE_VAR(many);	/* not for the compiler to judge */
	CHECK(is_filled(memory, 0, 24));
	CHECK(!krealloc_array(memory, many, 9, GFP_KERNEL));	/* and it stays */
	CHECK(krealloc(memory, 0, GFP_KERNEL) == ZERO_SIZE_PTR);
	memory = krealloc(ZERO_SIZE_PTR, 10, GFP_KERNEL);
	CHECK(memory && memory != ZERO_SIZE_PTR);
	kfree(memory);
	CHECK(!ksize(NULL));
	CHECK(!kcalloc(many, 9, GFP_KERNEL) && !kvcalloc(many, 9, GFP_KERNEL));
	CHECK(!kmalloc_array_node(many, 9, GFP_KERNEL, 0));
	CHECK(!kvmalloc_array(many, 9, GFP_KERNEL) && !kcalloc_node(many, 9, GFP_KERNEL, 0));
	CHECK(kcalloc(0, 9, GFP_KERNEL) == ZERO_SIZE_PTR);
	CHECK(kmemdup("", 0, GFP_KERNEL) == ZERO_SIZE_PTR);
}

/* By their addresses. */
static void by_pointers(void)
{
	static void (*const frees[])(const void *memory) = { kfree, kvfree, kfree_sensitive,
							     kfree_const };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(frees); i++) {
		frees[i](kmalloc(40 + i, GFP_KERNEL));
		frees[i](others_thing(40 + i));
		frees[i](NULL);
		CHECK(frees[i] == frees_of_other_file[i]);
	}
	label_end(label_new("a label"));
	label_end(library_label("of another module"));
}

static void by_vmalloc(void)
{
	size_t sizes[] = { 10, 5000, 20000, 3000000 }, i;
	u8 *memory;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		memory = kvzalloc(sizes[i], GFP_KERNEL);
		CHECK(is_filled(memory, 0, sizes[i]));
		kvfree(memory);
	}
	memory = kvcalloc(10, 10, GFP_KERNEL);
	CHECK(is_filled(memory, 0, 100));
#ifdef alloc_hooks	/* 6.10 and later, of which 6.12 is what matters */
	memory = kvrealloc(memory, 500000, GFP_KERNEL);
#else
	memory = kvrealloc(memory, 100, 500000, GFP_KERNEL);
#endif
	CHECK(is_filled(memory, 0, 100));
	kvfree(memory);
#ifndef alloc_hooks
	/* In place, and to another: what was never asked for is anything till then. */
	for (i = 100; i <= 6000; i += 5900) {
		memory = kvmalloc(100, GFP_KERNEL);
		memset(memory, 0x5a, 100);
		memory = kvrealloc(memory, 20, i, GFP_KERNEL | __GFP_ZERO);
		CHECK(is_filled(memory, 0x5a, 20) && is_filled(memory + 20, 0, i - 20));
		kvfree(memory);
	}
#endif
}

static void strings(void)
{
	char *copy = kstrdup("a string", GFP_KERNEL), *part = kstrndup("a string", 3, GFP_KERNEL);
	char *text = kasprintf(GFP_KERNEL, "%d %s", 7, "x");
	char *memory = kmemdup("abc", 4, GFP_KERNEL);
	const char *constant = kstrdup_const("never copied", GFP_KERNEL);
	char buffer[16];

	CHECK(copy && !strcmp(copy, "a string"));
	CHECK(part && !strcmp(part, "a s"));
	CHECK(memory && !strcmp(memory, "abc"));
	CHECK(text && !strcmp(text, "7 x"));
	kfree(copy);
	kfree(part);
	kfree(memory);
	kfree(text);
	kfree_const(constant);
	constant = kstrdup_const(strcpy(buffer, "copied"), GFP_KERNEL);
	CHECK(constant && constant != buffer && !strcmp(constant, "copied"));
	kfree_const(constant);
	CHECK(!kstrdup(NULL, GFP_KERNEL) && !kstrndup(NULL, 3, GFP_KERNEL));
	copy = kmemdup_nul("abcdef", 3, GFP_KERNEL);
	CHECK(copy && !strcmp(copy, "abc"));
	kfree(copy);
}

/* Of a string that may be none: where -Wformat-overflow sees a NULL, these do not build. */
static noinline void strings_of(const char *any)
{
	char *copy, *part, *memory;

	copy = kstrdup(any, GFP_KERNEL);
	pr_info("%s\n", copy);
	part = kstrndup(any, 3, GFP_KERNEL);
	pr_info("%s\n", part);
	memory = kmemdup_nul(any, 3, GFP_KERNEL);
	pr_info("%s\n", memory);
	CHECK(any ? copy && part && memory : !copy && !part && !memory);
	kfree(memory);
	kfree(part);
	kfree(copy);
}

/* What the kernel allocated, by calls that are not moved. */
static void memory_of_others(void)
{
	char *text = others_thing(100);
	struct thing *thing = others_thing(sizeof(*thing));

	CHECK(text);
	kfree(text);
	CHECK(thing);
	kvfree(krealloc(thing, 2 * sizeof(*thing), GFP_KERNEL));
	thing = others_thing(sizeof(*thing));
	kfree_rcu(thing, rcu);
}

static void after_a_grace_period(void)
{
	struct thing *thing = kmalloc(sizeof(*thing), GFP_KERNEL);

	kfree_rcu(thing, rcu);
	thing = NULL;
	kfree_rcu(thing, rcu);
	thing = kmalloc(sizeof(*thing), GFP_KERNEL);
	kvfree_rcu(thing, rcu);
	kfree_rcu_mightsleep(kmalloc(50, GFP_KERNEL));
#ifndef alloc_hooks	/* before 6.10: of one argument */
	thing = kmalloc(sizeof(*thing), GFP_KERNEL);
	kfree_rcu(thing);
	thing = others_thing(sizeof(*thing));
	kfree_rcu(thing);
#endif
	kvfree_rcu_mightsleep(kvmalloc(100000, GFP_KERNEL));
}

/* Their names are those that a macro might give to what it needs. */
static void names_of_variables(void)
{
	struct thing *__ptr = kmalloc(sizeof(*__ptr), GFP_KERNEL);
	size_t __bytes = 3;
	u8 *memory = kcalloc_node(__bytes, 100, GFP_KERNEL, 0);

	kfree_rcu(__ptr, rcu);
	__ptr = others_thing(sizeof(*__ptr));
	kfree_rcu(__ptr, rcu);
	CHECK(is_filled(memory, 0, 300));
	memory = krealloc_array(memory, __bytes, 900, GFP_KERNEL);
	CHECK(is_filled(memory, 0, 300) && ksize(memory) >= 2700);
	kfree(memory);
}

static void construct(void *object)
{
	memset(object, 0x33, sizeof(struct thing));
}

static void use_cache(struct kmem_cache *cache, bool constructed)
{
	struct thing *thing, *bulk[10];

	CHECK(cache);
	if (!cache)
		return;
	CHECK(kmem_cache_size(cache) == sizeof(struct thing));
	thing = kmem_cache_alloc(cache, GFP_KERNEL);
	CHECK(thing && (!constructed || is_filled(thing, 0x33, sizeof(*thing))));
	kmem_cache_free(cache, thing);
	if (!constructed) {
		thing = kmem_cache_zalloc(cache, GFP_KERNEL_ACCOUNT);
		CHECK(is_filled(thing, 0, sizeof(*thing)));
		kmem_cache_free(cache, thing);
	}
	CHECK(kmem_cache_alloc_bulk(cache, GFP_KERNEL, ARRAY_SIZE(bulk), (void **)bulk));
	kmem_cache_free_bulk(cache, ARRAY_SIZE(bulk), (void **)bulk);
	thing = kmem_cache_alloc_node(cache, GFP_KERNEL, 0);
	CHECK(thing);
	kmem_cache_free(cache, thing);
	kmem_cache_shrink(cache);
	kmem_cache_destroy(cache);
}

static void caches(void)
{
#ifdef alloc_hooks	/* 6.10 and later, of which 6.12 is what matters */
	struct kmem_cache_args all = { .useroffset = 8, .usersize = 16, .ctor = construct };
#endif

	use_cache(kmem_cache_create("moved things", sizeof(struct thing), 0,
				    SLAB_ACCOUNT | SLAB_RECLAIM_ACCOUNT, NULL), false);
	use_cache(KMEM_CACHE(thing, SLAB_HWCACHE_ALIGN | SLAB_PANIC), false);
	use_cache(kmem_cache_create("a name that is longer than any other that comes to mind",
				    sizeof(struct thing), 64, SLAB_TYPESAFE_BY_RCU, construct),
		  true);
	use_cache(KMEM_CACHE_USERCOPY(thing, 0, text), false);
#ifdef alloc_hooks	/* 6.10 and later, of which 6.12 is what matters */
	use_cache(kmem_cache_create("by arguments", sizeof(struct thing),
				    &(struct kmem_cache_args){ .align = 32 }, 0), false);
	use_cache(kmem_cache_create("by all arguments", sizeof(struct thing), &all,
				    SLAB_RECLAIM_ACCOUNT), true);
	use_cache(kmem_cache_create("no arguments", sizeof(struct thing), NULL, 0), false);
#endif
}

/* Of 24 bytes, two share a line. */
static void at_cache_lines(void)
{
	struct kmem_cache *cache = kmem_cache_create("moved_lines", 24, 0, SLAB_HWCACHE_ALIGN,
						     NULL);
	void *objects[8];
	size_t i;

	CHECK(cache && kmem_cache_alloc_bulk(cache, GFP_KERNEL, ARRAY_SIZE(objects), objects));
	for (i = 0; i < ARRAY_SIZE(objects); i++)
		CHECK(IS_ALIGNED((unsigned long)objects[i], 32));
	kmem_cache_free_bulk(cache, ARRAY_SIZE(objects), objects);
	kmem_cache_destroy(cache);
}

/* None of these can be a heap's as it is. */
static void odd_names(void)
{
	static const char * const names[] = {
		"a/b", "..", ".", " ", "%s%n", "tab\there", "\303\244",
		"of more than thirty-one bytes, first", "of more than thirty-one bytes, second",
	};
	struct kmem_cache *caches[ARRAY_SIZE(names)];
	char name[48];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		strcpy(name, names[i]);		/* the caller's own */
		caches[i] = kmem_cache_create(name, 24 + i, 0, 0, NULL);
		CHECK(caches[i]);
	}
	memset(name, 'x', sizeof(name));
	for (i = 0; i < ARRAY_SIZE(names); i++)
		kmem_cache_destroy(caches[i]);
	/* Without a name there is no cache; nor one to merge with, where the kernel would oops. */
	CHECK(!kmem_cache_create(NULL, 24, 0, 0, construct));
}

static void twins(void)
{
	struct kmem_cache *one = kmem_cache_create("twin", 100, 0, 0, NULL);
	struct kmem_cache *other = kmem_cache_create("twin", 100, 0, 0, NULL);
	void *bulk[2];

	CHECK(one && other);
	bulk[0] = kmem_cache_alloc(one, GFP_KERNEL);
	bulk[1] = kmalloc(10, GFP_KERNEL);
	kfree_bulk(2, bulk);
	kmem_cache_destroy(other);
	kmem_cache_destroy(one);
	kmem_cache_destroy(NULL);
}

static void pools(void)
{
	struct kmem_cache *cache = kmem_cache_create("pooled", 100, 0, 0, NULL);
	mempool_t *slabs = mempool_create_slab_pool(4, cache), *sizes;
	mempool_t pool = {};
	void *element;

	sizes = mempool_create_kmalloc_pool(4, 200);
	CHECK(slabs && sizes);
	element = mempool_alloc(slabs, GFP_KERNEL);
	CHECK(element);
	mempool_free(element, slabs);
	element = mempool_alloc(sizes, GFP_KERNEL);
	CHECK(element);
	mempool_free(element, sizes);
	mempool_destroy(slabs);
	mempool_destroy(sizes);
	CHECK(!mempool_init_slab_pool(&pool, 3, cache));
	mempool_free(mempool_alloc(&pool, GFP_KERNEL), &pool);
	mempool_exit(&pool);
	CHECK(!mempool_init_kmalloc_pool(&pool, 3, 100));
	mempool_exit(&pool);
	CHECK(!mempool_init(&pool, 3, mempool_alloc_slab, mempool_free_slab, cache));
	mempool_exit(&pool);
	kmem_cache_destroy(cache);
}

int __init moved_init(void)
{
	plain_calls();
	ends_of_sizes();
	by_pointers();
	by_vmalloc();
	strings();
	strings_of("a string");
	strings_of(NULL);
	memory_of_others();
	after_a_grace_period();
	names_of_variables();
	caches();
	at_cache_lines();
	odd_names();
	twins();
	pools();
	what_the_core_frees();
	newer_calls();
	CHECK(in_other_file() == 0);
	with_given_prefix();
	pr_info("%d failures\n", moved_failures);
	pr_debug("not shown\n");
	return moved_failures ? -EINVAL : 0;
}

void __exit moved_exit(void)
{
	other_file_ends();
}

MODULE_DESCRIPTION("Test of blockslab_compat.h");
MODULE_LICENSE("GPL");
