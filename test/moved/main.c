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

static int failures;

#define CHECK(condition) do {							\
	if (!(condition)) {							\
		pr_err("line %d: %s\n", __LINE__, #condition);			\
		failures++;							\
	}									\
} while (0)

struct thing {
	u64 key;
	struct rcu_head rcu;
	char text[72];
};

/* Objects, not only calls. */
static const struct {
	void (*free)(const void *memory);
} operations = { .free = kfree };

static bool is_filled(const void *memory, int byte, size_t size)
{
	return memory && !memchr_inv(memory, byte, size);
}

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
}

static void strings(void)
{
	char *copy = kstrdup("a string", GFP_KERNEL), *part = kstrndup("a string", 3, GFP_KERNEL);
	char *text = kasprintf(GFP_KERNEL, "%d %s", 7, "x");
	char *memory = kmemdup("abc", 4, GFP_KERNEL);
	const char *constant = kstrdup_const("never copied", GFP_KERNEL);

	CHECK(copy && !strcmp(copy, "a string"));
	CHECK(part && !strcmp(part, "a s"));
	CHECK(memory && !strcmp(memory, "abc"));
	CHECK(text && !strcmp(text, "7 x"));
	kfree(copy);
	kfree(part);
	kfree(memory);
	kfree(text);
	kfree_const(constant);
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
	use_cache(kmem_cache_create("no arguments", sizeof(struct thing), NULL, 0), false);
#endif
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
	kmem_cache_destroy(cache);
}

static int __init moved_init(void)
{
	plain_calls();
	by_vmalloc();
	strings();
	memory_of_others();
	after_a_grace_period();
	caches();
	twins();
	pools();
	CHECK(in_other_file() == 0);
	pr_info("%d failures\n", failures);
	pr_debug("not shown\n");
	return failures ? -EINVAL : 0;
}

static void __exit moved_exit(void)
{
	other_file_ends();
}

module_init(moved_init);
module_exit(moved_exit);
MODULE_DESCRIPTION("Test of blockslab_compat.h");
MODULE_LICENSE("GPL");
