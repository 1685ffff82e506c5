// SPDX-License-Identifier: GPL-2.0
/* What only newer kernels have. <linux/slab.h> comes late, and pr_fmt() is defined anew. */
#include <linux/kernel.h>

#undef pr_fmt
#define pr_fmt(fmt) "moved, newer: " fmt

#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include "../moved.h"

/* What a module brings of its own for kernels that have it not. */
#ifndef alloc_hooks	/* before 6.10 */
static void *kvmemdup(const void *src, size_t len, gfp_t gfp)
{
	void *copy = kvmalloc(len, gfp);

	return copy ? memcpy(copy, src, len) : NULL;
}

#define kmemdup_array(src, n, size, gfp) kmemdup(src, array_size(n, size), gfp)

static void *kvcalloc_node(size_t n, size_t size, gfp_t gfp, int node)
{
	return kvmalloc_node(array_size(n, size), gfp | __GFP_ZERO, node);
}

#ifdef DEFINE_FREE
DEFINE_FREE(kvfree, void *, kvfree(_T))
#endif
#endif /* alloc_hooks */

#if defined(DEFINE_FREE) && !defined(krealloc_node)
DEFINE_FREE(kfree_sensitive, void *, kfree_sensitive(_T))
#endif

static void copies(void)
{
	static const u8 text[] = "a text that is copied";
	u8 *copy = kvmemdup(text, sizeof(text), GFP_KERNEL);
	u8 *array = kmemdup_array(text, sizeof(text) / 2, 2, GFP_KERNEL);
	u8 *zeroes = kvcalloc_node(50, 2, GFP_KERNEL, NUMA_NO_NODE);

	CHECK(copy && !memcmp(copy, text, sizeof(text)));
	CHECK(array && !memcmp(array, text, sizeof(text) / 2 * 2));
	CHECK(zeroes && is_filled(zeroes, 0, 100));
	kvfree(zeroes);
	kvfree(copy);
	kfree(array);
}

#ifdef DEFINE_FREE
static size_t freed_by_scope(const char *text)
{
	char *copy __free(kfree) = kstrdup(text, GFP_KERNEL);
	void *large __free(kvfree) = kvmalloc(100000, GFP_KERNEL);
	void *small __free(kvfree) = kvmalloc(100, GFP_KERNEL);
	void *secret __free(kfree_sensitive) = kzalloc(64, GFP_KERNEL);
	char *kernels __free(kfree) = others_thing(30);
	char *given __free(kfree) = kstrdup(text, GFP_KERNEL);
	void *none __free(kfree) = NULL;

	CHECK(copy && large && small && secret && kernels && given && !none);
	kfree(no_free_ptr(given));
	return copy ? strlen(copy) : 0;
}
#endif

#ifdef kmalloc_obj
struct flexible {
	u32 nr;
	u32 numbers[] __counted_by(nr);
};

static void typed(void)
{
	struct flexible *flexible = kzalloc_flex(*flexible, numbers, 9);
	u64 *number = kmalloc_obj(*number), *numbers = kzalloc_objs(u64, 10, GFP_KERNEL);

	CHECK(flexible && is_filled(flexible->numbers, 0, 9 * sizeof(u32)));
	CHECK(number && is_filled(numbers, 0, 10 * sizeof(u64)));
	kfree(flexible);
	kfree(number);
	kfree(numbers);
	CHECK(!kmalloc_objs(u64, SIZE_MAX / 4));
	number = kvmalloc_obj(*number);
	flexible = kvzalloc_flex(*flexible, numbers, 100000);
	CHECK(number && flexible && is_filled(flexible->numbers, 0, 100000 * sizeof(u32)));
	kvfree(number);
	kvfree(flexible);
}
#endif

#ifdef krealloc_node
static void on_nodes(void)
{
	u8 *memory = krealloc_node(NULL, 30, GFP_KERNEL, 0);
	size_t many = 0;

	OPTIMIZER_HIDE_VAR(many);
	CHECK(memory);
	memset(memory, 0x11, 30);
	memory = krealloc_node_align(memory, 90, 128, GFP_KERNEL, NUMA_NO_NODE);
	CHECK(is_filled(memory, 0x11, 30) && IS_ALIGNED((unsigned long)memory, 128));
	memory = kvrealloc_node_align(memory, 5000, 512, GFP_KERNEL, NUMA_NO_NODE);
	CHECK(is_filled(memory, 0x11, 30) && IS_ALIGNED((unsigned long)memory, 512));
	kvfree(kvrealloc_node(memory, 50000, GFP_KERNEL, 0));
	memory = kvmalloc_node_align(300, 1024, GFP_KERNEL, NUMA_NO_NODE);
	CHECK(memory && IS_ALIGNED((unsigned long)memory, 1024));
	kvfree(memory);
	CHECK(!krealloc_node_align(NULL, SIZE_MAX - many, 64, GFP_KERNEL | __GFP_NOWARN,
				   NUMA_NO_NODE));
	memory = kvmalloc_node_align(5 * SZ_1M, 16, GFP_KERNEL, NUMA_NO_NODE);
	CHECK(memory);
	kvfree(memory);
	memory = kvmalloc_node_align(2 * PAGE_SIZE, 2 * PAGE_SIZE, GFP_KERNEL, NUMA_NO_NODE);
	CHECK(memory && IS_ALIGNED((unsigned long)memory, 2 * PAGE_SIZE));
	kvfree(memory);
	memory = krealloc_node_align(NULL, 2 * PAGE_SIZE, 2 * PAGE_SIZE, GFP_KERNEL, NUMA_NO_NODE);
	CHECK(memory && IS_ALIGNED((unsigned long)memory, 2 * PAGE_SIZE));
	kfree(memory);
}

/* A slot that is large enough stays where it is only if it has the alignment. */
static void aligned_anew(void)
{
	static u8 *grown[100];	/* so many that their size has slots of its own */
	size_t i;

	for (i = 0; i < ARRAY_SIZE(grown); i++) {
		grown[i] = krealloc(kmalloc(20, GFP_KERNEL), 190, GFP_KERNEL);
		memset(grown[i], 0x22, 190);
	}
	for (i = 0; i < ARRAY_SIZE(grown); i++) {
		grown[i] = i % 2 ?
			   krealloc_node_align(grown[i], 128, 128, GFP_KERNEL, NUMA_NO_NODE) :
			   kvrealloc_node_align(grown[i], 128, 128, GFP_KERNEL, NUMA_NO_NODE);
		CHECK(is_filled(grown[i], 0x22, 128) && IS_ALIGNED((unsigned long)grown[i], 128));
		kfree(grown[i]);
	}
}
#endif

#ifdef kfree_rcu_nolock
static void where_nobody_sleeps(void)
{
	void *large __free(kvfree_atomic) = kvmalloc(100000, GFP_KERNEL);
	void *small __free(kvfree_atomic) = kvmalloc(100, GFP_KERNEL);

	CHECK(large && small);
	kvfree_atomic(kvmalloc(100, GFP_KERNEL));
	kvfree_atomic(kvmalloc(100000, GFP_KERNEL));
	kvfree_atomic(others_thing(100));
	kvfree_atomic(NULL);
}
#endif

#ifdef kmalloc_nolock
struct deferred {
	u64 key;
	struct kvfree_rcu_head rcu;
};

static void in_any_context(void)
{
	struct deferred *deferred;
	void *slot;

	kfree(kmalloc(100, GFP_KERNEL));
	slot = kmalloc_nolock(100, __GFP_ZERO, NUMA_NO_NODE);
	CHECK(!slot || is_filled(slot, 0, 100));
	kfree_nolock(slot);
	kfree_nolock(kmalloc(100, GFP_KERNEL));
	kfree_nolock(NULL);
	kfree(kmalloc_nolock(50, 0, NUMA_NO_NODE));
	deferred = kmalloc(sizeof(*deferred), GFP_KERNEL);
	kfree_rcu_nolock(deferred, rcu);
	deferred = others_thing(sizeof(*deferred));
	kfree_rcu_nolock(deferred, rcu);
}
#endif

#ifdef alloc_hooks	/* 6.10 and later, of which 6.12 is what matters */
static void charged(void)
{
	void *objects[] = { kmalloc(40, GFP_KERNEL), others_thing(40), NULL };
	size_t i = 0;

	CHECK(kmem_cache_charge(objects[i++], GFP_KERNEL));
	CHECK(kmem_cache_charge(objects[i++], GFP_KERNEL));
	CHECK(i == 2);
	kfree(objects[0]);
	kfree(objects[1]);
}

static void *object_noprof(struct kmem_cache *cache, gfp_t gfp)
{
	return kmem_cache_alloc_noprof(cache, gfp);
}

static void *grown_noprof(void *memory, size_t size)
{
	return krealloc_noprof(memory, size, GFP_KERNEL);
}

/* Wrappers of a module's own, as those of the kernel. */
static void under_hooks(void)
{
	struct kmem_cache *cache = kmem_cache_create("moved_hooks", 100, 0, 0, NULL);
	void *object = alloc_hooks(object_noprof(cache, GFP_KERNEL)), *bulk[3];
	u8 *memory = alloc_hooks(grown_noprof(kzalloc(100, GFP_KERNEL), 3000));

	CHECK(object && is_filled(memory, 0, 100));
	kmem_cache_free(cache, object);
	object = kmem_cache_alloc_node_noprof(cache, GFP_KERNEL, 0);
	CHECK(object);
	kmem_cache_free(cache, object);
	object = kmem_cache_alloc_lru_noprof(cache, NULL, GFP_KERNEL);
	CHECK(object);
	kmem_cache_free(cache, object);
	CHECK(kmem_cache_alloc_bulk_noprof(cache, GFP_KERNEL, ARRAY_SIZE(bulk), bulk));
	kmem_cache_free_bulk(cache, ARRAY_SIZE(bulk), bulk);
	kmem_cache_destroy(cache);
	memory = krealloc_array_noprof(memory, 50, 100, GFP_KERNEL);
	CHECK(is_filled(memory, 0, 100));
#ifdef krealloc_node
	memory = krealloc_node_align_noprof(memory, 5500, 1, GFP_KERNEL, 0);
	CHECK(is_filled(memory, 0, 100));
	memory = kvrealloc_node_align_noprof(memory, 50000, 1, GFP_KERNEL, 0);
#else
	memory = kvrealloc_noprof(memory, 50000, GFP_KERNEL);
#endif
	CHECK(is_filled(memory, 0, 100));
	kvfree(memory);
}
#endif

void newer_calls(void)
{
	copies();
#ifdef alloc_hooks
	charged();
	under_hooks();
#endif
#ifdef DEFINE_FREE
	CHECK(freed_by_scope("scope") == 5);
#endif
#ifdef kmalloc_obj
	typed();
#endif
#ifdef krealloc_node
	on_nodes();
	aligned_anew();
#endif
#ifdef kfree_rcu_nolock
	where_nobody_sleeps();
#endif
#ifdef kmalloc_nolock
	in_any_context();
#endif
	pr_notice_once("of %s\n", "its own prefix");
	pr_err_ratelimited("none %d\n", 1);
	pr_debug("none\n");
	pr_debug_ratelimited("none %d\n", 2);
	pr_devel("none\n");
}
