/* SPDX-License-Identifier: GPL-2.0 */
/*
 * blockslab: small memory from page-backed blocks, each dedicated to one size class.
 *
 * Every call that takes a heap takes NULL for the module's shared heap. A slot is what an
 * allocation returns; it belongs to the caller until it is freed. Sizes are in bytes.
 *
 * Contexts: allocation and free work in process, softirq and hardirq context, as kmalloc() and
 * kfree() do (on PREEMPT_RT not in hardirq context, again as with kmalloc(), but for
 * blockslab_free_rcu()); what sleeps is said at each function. In NMI context only the _nolock
 * calls may be used.
 *
 * The full description of each function stands at its definition in core/.
 */
#ifndef _LINUX_BLOCKSLAB_H
#define _LINUX_BLOCKSLAB_H

#include <linux/align.h>
#include <linux/bitops.h>
#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/jump_label.h>
#include <linux/llist.h>
#include <linux/mm_types.h>
#include <linux/overflow.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/types.h>

#define BLOCKSLAB_VERSION	"1.0"

/* The longest heap or cache name, without its terminating zero. */
#define BLOCKSLAB_NAME_MAX	31
/* The largest size served from slots; larger sizes get whole pages through the same calls. */
#define BLOCKSLAB_SLOT_MAX	8192

/* Flags of heaps and caches. */
#define BLOCKSLAB_TYPESAFE_BY_RCU	BIT(0)	/* caches: blocks go back after a grace period */
#define BLOCKSLAB_HWCACHE_ALIGN		BIT(1)	/* slots start at cache lines */
#define BLOCKSLAB_ZERO			BIT(2)	/* every allocation is zeroed */
#define BLOCKSLAB_POISON		BIT(3)	/* free slots are filled, and checked at reuse */
#define BLOCKSLAB_RED_ZONE		BIT(4)	/* bytes around what was asked for are checked */
#define BLOCKSLAB_TRACK			BIT(5)	/* callers of allocation and last free are kept */
#define BLOCKSLAB_ACCOUNT		BIT(6)	/* charged to the task's memory cgroup */
#define BLOCKSLAB_PANIC			BIT(7)	/* creation panics when it fails */
#define BLOCKSLAB_RECLAIMABLE		BIT(8)	/* a shrinker frees it: counted as available */

struct blockslab_heap;
struct blockslab_cache;

/**
 * struct blockslab_heap_attrs - what a new heap is to be
 * @flags: BLOCKSLAB_ZERO, _POISON, _RED_ZONE, _TRACK, _ACCOUNT, _HWCACHE_ALIGN, _PANIC,
 *	_RECLAIMABLE
 * @limit: most bytes the heap may hold, 0 for no limit. With __GFP_NOFAIL a call waits for room,
 *	for ever, if it wants more than the limit; the log says so after a second
 * @reserve: bytes of blocks kept aside for when the page allocator fails, 0 for none; they serve
 *	slots, not whole pages, and count, with what blocks need beside, for the limit. A size that
 *	was not asked for before memory ran out may be served by 8 KiB each: use it once at first
 */
struct blockslab_heap_attrs {
	unsigned long flags;
	size_t limit;
	size_t reserve;
};

/**
 * struct blockslab_heap_stats - what a heap holds, in bytes
 * @held: blocks, their descriptors and magazines; what counts against the limit
 * @fixed: the heap's own structures: itself, its classes and their per-CPU state
 * @allocated: bytes of slots now allocated
 * @cached: bytes of slots free in magazines
 * @retained: bytes of empty blocks kept for reuse
 */
struct blockslab_heap_stats {
	size_t held;
	size_t fixed;
	size_t allocated;
	size_t cached;
	size_t retained;
};

struct blockslab_heap *__must_check
blockslab_heap_create(const char *name, const struct blockslab_heap_attrs *attrs);
void blockslab_heap_destroy(struct blockslab_heap *heap);
size_t blockslab_heap_release(struct blockslab_heap *heap);
void blockslab_heap_stats(struct blockslab_heap *heap, struct blockslab_heap_stats *stats);

void blockslab_free(const void *slot);
void blockslab_free_sized(const void *slot, size_t size);
void blockslab_free_rcu(const void *slot);
void blockslab_free_bulk(size_t nr, void **slots);
void blockslab_free_nolock(const void *slot);

void *blockslab_alloc(struct blockslab_heap *heap, size_t size, gfp_t gfp)
	__alloc_size(2) __malloc;
void *blockslab_zalloc(struct blockslab_heap *heap, size_t size, gfp_t gfp)
	__alloc_size(2) __malloc;
void *blockslab_alloc_node(struct blockslab_heap *heap, size_t size, gfp_t gfp, int node)
	__alloc_size(2) __malloc;
void *blockslab_alloc_nolock(struct blockslab_heap *heap, size_t size)
	__alloc_size(2) __malloc;
void *__must_check
blockslab_realloc(struct blockslab_heap *heap, const void *slot, size_t size, gfp_t gfp)
	__alloc_size(3);
size_t __must_check
blockslab_alloc_bulk(struct blockslab_heap *heap, size_t size, gfp_t gfp, size_t nr, void **slots);

bool blockslab_owns(const void *ptr);
size_t blockslab_usable_size(const void *slot);
size_t blockslab_size_roundup(size_t size);
size_t blockslab_shrink(struct blockslab_heap *heap);
int blockslab_validate(struct blockslab_heap *heap);
int blockslab_track(struct blockslab_heap *heap, size_t period);

unsigned long __must_check
blockslab_copy_to_user(void __user *to, const void *from, unsigned long n);
unsigned long __must_check
blockslab_copy_from_user(void *to, const void __user *from, unsigned long n);

struct blockslab_cache *__must_check
blockslab_cache_create(const char *name, size_t size, size_t align, unsigned long flags,
		       void (*ctor)(void *object));
void blockslab_cache_destroy(struct blockslab_cache *cache);
struct blockslab_heap *blockslab_cache_heap(struct blockslab_cache *cache);
void *blockslab_cache_alloc(struct blockslab_cache *cache, gfp_t gfp) __malloc;
void *blockslab_cache_alloc_node(struct blockslab_cache *cache, gfp_t gfp, int node) __malloc;
void blockslab_cache_usercopy(struct blockslab_cache *cache, size_t offset, size_t size);
void blockslab_cache_free(struct blockslab_cache *cache, void *slot);
size_t __must_check
blockslab_cache_alloc_bulk(struct blockslab_cache *cache, gfp_t gfp, size_t nr, void **slots);
void blockslab_cache_free_bulk(struct blockslab_cache *cache, size_t nr, void **slots);

/* The fast paths of what stands above; no API. */
#include "core/fast.h"

/**
 * blockslab_alloc_array() - allocate an array
 * @heap: to take it from; NULL for the shared heap
 * @n: how many elements
 * @size: of each, in bytes
 * @gfp: as for kmalloc()
 *
 * Context: as blockslab_alloc().
 * Return: the array; or NULL, also where @n * @size is more than a size_t holds.
 */
static __always_inline __alloc_size(2, 3) __malloc void *
blockslab_alloc_array(struct blockslab_heap *heap, size_t n, size_t size, gfp_t gfp)
{
	size_t bytes;

	return check_mul_overflow(n, size, &bytes) ? NULL : blockslab_alloc(heap, bytes, gfp);
}

/**
 * blockslab_zalloc_array() - allocate an array filled with zeroes
 * @heap: to take it from; NULL for the shared heap
 * @n: how many elements
 * @size: of each, in bytes
 * @gfp: as for kmalloc()
 *
 * Context: as blockslab_alloc().
 * Return: as blockslab_alloc_array().
 */
static __always_inline __alloc_size(2, 3) __malloc void *
blockslab_zalloc_array(struct blockslab_heap *heap, size_t n, size_t size, gfp_t gfp)
{
	size_t bytes;

	return check_mul_overflow(n, size, &bytes) ? NULL : blockslab_zalloc(heap, bytes, gfp);
}

/**
 * blockslab_memdup() - allocate a copy of memory
 * @heap: to take it from; NULL for the shared heap
 * @src: to copy
 * @len: bytes
 * @gfp: as for kmalloc()
 *
 * Context: as blockslab_alloc().
 * Return: the copy, to be freed by blockslab_free(); or NULL.
 */
static inline __alloc_size(3) __malloc void *
blockslab_memdup(struct blockslab_heap *heap, const void *src, size_t len, gfp_t gfp)
{
	void *copy = blockslab_alloc(heap, len, gfp);

	return copy ? memcpy(copy, src, len) : NULL;
}

/**
 * blockslab_strdup() - allocate a copy of a string
 * @heap: to take it from; NULL for the shared heap
 * @s: to copy; NULL gives NULL
 * @gfp: as for kmalloc()
 *
 * Context: as blockslab_alloc().
 * Return: the copy, to be freed by blockslab_free(); or NULL.
 */
static inline __malloc char *
blockslab_strdup(struct blockslab_heap *heap, const char *s, gfp_t gfp)
{
	return s ? blockslab_memdup(heap, s, strlen(s) + 1, gfp) : NULL;
}

/**
 * blockslab_free_sensitive() - overwrite a slot with zeroes, and free it
 * @slot: as for blockslab_free()
 *
 * Context: as blockslab_free().
 */
static inline void blockslab_free_sensitive(const void *slot)
{
	size_t bytes = ZERO_OR_NULL_PTR(slot) ? 0 : blockslab_usable_size(slot);

	if (!bytes)	/* none, or reported as no slot */
		return;
	OPTIMIZER_HIDE_VAR(slot);	/* else FORTIFY sees only what was asked for */
	memzero_explicit((void *)slot, bytes);
	blockslab_free(slot);
}

/**
 * blockslab_cache_zalloc() - allocate an object filled with zeroes
 * @cache: to take it from
 * @gfp: as for blockslab_cache_alloc()
 *
 * Context: as blockslab_alloc().
 * Return: the object, or NULL.
 */
static __always_inline __malloc void *
blockslab_cache_zalloc(struct blockslab_cache *cache, gfp_t gfp)
{
	return blockslab_cache_alloc(cache, gfp | __GFP_ZERO);
}

/**
 * blockslab_alloc_obj() - allocate an object of a type
 * @heap: to take it from; NULL for the shared heap
 * @var_or_type: the type, or a variable of that type: `p = blockslab_alloc_obj(heap, *p, gfp)`
 * @gfp: as for kmalloc()
 *
 * Return: a pointer to that type, or NULL.
 */
#define blockslab_alloc_obj(heap, var_or_type, gfp) \
	((typeof(var_or_type) *)blockslab_alloc(heap, sizeof(typeof(var_or_type)), gfp))

/* The same, filled with zeroes. */
#define blockslab_zalloc_obj(heap, var_or_type, gfp) \
	((typeof(var_or_type) *)blockslab_zalloc(heap, sizeof(typeof(var_or_type)), gfp))

/**
 * blockslab_alloc_objs() - allocate an array of objects of a type
 * @heap: to take it from; NULL for the shared heap
 * @var_or_type: of an object, as for blockslab_alloc_obj()
 * @count: how many
 * @gfp: as for kmalloc()
 *
 * Return: a pointer to the first, or NULL, also on overflow.
 */
#define blockslab_alloc_objs(heap, var_or_type, count, gfp) \
	((typeof(var_or_type) *)blockslab_alloc_array(heap, count, \
						      sizeof(typeof(var_or_type)), gfp))

/* The same, filled with zeroes. */
#define blockslab_zalloc_objs(heap, var_or_type, count, gfp) \
	((typeof(var_or_type) *)blockslab_zalloc_array(heap, count, \
						       sizeof(typeof(var_or_type)), gfp))

/* struct_size() and its kin end at SIZE_MAX. No API. */
#define __blockslab_alloc_flex(alloc, heap, type, member, count, gfp) ({ \
	const size_t blockslab_count__ = count;	/* of a constant, the product would wrap */ \
	const size_t blockslab_bytes__ = \
		struct_size((type *)NULL, member, blockslab_count__); \
	\
	blockslab_bytes__ == SIZE_MAX ? NULL : (type *)alloc(heap, blockslab_bytes__, gfp); \
})

/**
 * blockslab_alloc_flex() - allocate an object that ends in a flexible array
 * @heap: to take it from; NULL for the shared heap
 * @var_or_type: of the object, as for blockslab_alloc_obj()
 * @member: the array
 * @count: how many elements it is to have
 * @gfp: as for kmalloc()
 *
 * Return: a pointer to that type, or NULL, also on overflow.
 */
#define blockslab_alloc_flex(heap, var_or_type, member, count, gfp) \
	__blockslab_alloc_flex(blockslab_alloc, heap, typeof(var_or_type), member, count, gfp)

/* The same, filled with zeroes. */
#define blockslab_zalloc_flex(heap, var_or_type, member, count, gfp) \
	__blockslab_alloc_flex(blockslab_zalloc, heap, typeof(var_or_type), member, count, gfp)

/*
 * void *p __free(blockslab) = blockslab_alloc(...): freed when p goes out of scope, where the
 * kernel has cleanup guards (<linux/slab.h> brings them).
 */
#ifdef DEFINE_FREE
DEFINE_FREE(blockslab, void *, if (!IS_ERR_OR_NULL(_T)) blockslab_free(_T))
#endif

#endif /* _LINUX_BLOCKSLAB_H */
