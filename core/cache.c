// SPDX-License-Identifier: GPL-2.0
/*
 * Caches: heaps of one class
 */

static int cache_class(struct blockslab_cache *cache, size_t size, size_t align)
{
	struct blockslab_heap *heap = cache->heap;
	/* zeroed by eights up to it */
	unsigned int canary = keeps_content(heap) ? ALIGN(size + heap->zone, 8) : 0;
	size_t room = canary ? canary + sizeof(long) : max_t(size_t, size + heap->zone, 8);
	struct blockslab_class *class;

	align = max_t(size_t, align, ARCH_KMALLOC_MINALIGN);
	if (heap->flags & BLOCKSLAB_HWCACHE_ALIGN)
		align = max_t(size_t, align, cache_line_size());
	/* Every slot of a block is aligned if the slot size is a multiple of the alignment. */
	room = ALIGN(room, align);
	if (room > BLOCKSLAB_SLOT_MAX)
		return -EINVAL;
	class = class_alloc(heap, room, 0, GFP_KERNEL);
	if (!class)
		return -ENOMEM;
	class->canary = canary;
	if (canary && class->key == BLOCKSLAB_KEY_FAST)
		class->key = KEY_CACHE;
	class->cpu = lines_get(class, GFP_KERNEL) ?: no_class;
	if (class->cpu == no_class) {
		class_free(class);
		return -ENOMEM;
	}
	class->index = INDEX_CACHE;
	class->asked = size;
	list_add_tail_rcu(&class->list, &heap->classes);
	atomic_long_add(class_bytes() + lines_bytes() + sizeof(*cache), &heap->fixed);
	cache->class = class;
	cache->pages.canary = class->canary;
	cache->size = size;
	cache->zeroed = class->canary ?: class->size;
	cache->pages.bytes = nr_node_ids * sizeof(struct blockslab_cpu);
	cache->pages.first = (__force unsigned long)class->cpu;
	/* KEY_SLOW is nobody's to look for: so every free takes the slow path. */
	cache->pages.keyed = cache->pages.first +
			     (class->key == KEY_SLOW ? KEY_CACHE : class->key);
	heap->window_size = size;
	mutex_lock(&heap->control);	/* it can be found in debugfs, and tracked */
	cache_publish(cache);
	mutex_unlock(&heap->control);
	return 0;
}

/* Why a cache cannot be made, beside what holds for every heap; or NULL. */
static const char *cache_refusal(size_t size, size_t align, unsigned long flags,
				 void (*ctor)(void *object))
{
	if (!size || size > BLOCKSLAB_SLOT_MAX)
		return "the size is 0, or over BLOCKSLAB_SLOT_MAX";
	if ((align && !is_power_of_2(align)) || align > PAGE_SIZE)
		return "the alignment is no power of two, or over a page";
	if ((ctor || flags & BLOCKSLAB_TYPESAFE_BY_RCU) && flags & BLOCKSLAB_ZERO)
		return "BLOCKSLAB_ZERO would undo what free objects are to keep";
	return NULL;
}

static struct blockslab_cache *cache_new(const char *name, size_t size, size_t align,
					 const struct blockslab_heap_attrs *attrs,
					 void (*ctor)(void *object), unsigned long caller)
{
	struct blockslab_cache *cache;
	struct blockslab_heap *heap;
	int error;

	cache = meta_alloc(BLOCKSLAB_FAIL_CLASS, sizeof(*cache), GFP_KERNEL, NUMA_NO_NODE);
	if (!cache)
		return ERR_PTR(-ENOMEM);
	heap = heap_new(name, attrs, cache, ctor, caller);
	if (IS_ERR(heap)) {
		kfree(cache);
		return ERR_CAST(heap);
	}
	cache->heap = heap;
	error = cache_class(cache, size, align);
	if (!error)
		return cache;
	heap_destroy(heap, caller);
	if (error == -EINVAL)
		return refuse(name, caller, "aligned, it is over BLOCKSLAB_SLOT_MAX", error);
	return ERR_PTR(error);
}

static struct blockslab_cache *cache_create(const char *name, size_t size, size_t align,
					    unsigned long flags, void (*ctor)(void *object),
					    unsigned long caller)
{
	struct blockslab_heap_attrs attrs = { .flags = flags };
	const char *why = heap_refusal(name, &attrs, CACHE_FLAGS) ?:
			  cache_refusal(size, align, flags, ctor);
	struct blockslab_cache *cache;

	/* Poison would destroy what the constructor made, or what an RCU reader still looks at. */
	if (ctor || flags & BLOCKSLAB_TYPESAFE_BY_RCU)
		attrs.flags &= ~BLOCKSLAB_POISON;
	cache = why ? refuse(name, caller, why, -EINVAL) :
		      cache_new(name, size, align, &attrs, ctor, caller);
	panic_if_asked(flags, name, cache);
	return cache;
}

/**
 * blockslab_cache_create() - create a cache: slots for objects of one kind
 * @name: as for blockslab_heap_create(), with which caches share their names
 * @size: of an object: 1 byte at least; with what stands beside it (8 bytes where there is a
 *	constructor or BLOCKSLAB_TYPESAFE_BY_RCU, 8 with BLOCKSLAB_RED_ZONE), and aligned,
 *	BLOCKSLAB_SLOT_MAX at most
 * @align: of an object: a power of two up to a page and to BLOCKSLAB_SLOT_MAX, or 0 for the natural
 *	alignment of 8
 * @flags: BLOCKSLAB_*
 * @ctor: called for every slot once, when its block is made; or NULL. It must not sleep
 *
 * With @ctor or BLOCKSLAB_TYPESAFE_BY_RCU a free slot keeps its content. With the latter the
 * memory stays an object of this cache for as long as an RCU reader may look at it.
 *
 * Context: process; may sleep.
 * Return: the cache, the caller's until blockslab_cache_destroy(); or an ERR_PTR: -EINVAL for a
 * name, size, alignment or flags that cannot be, -EEXIST for a name in use, -ENOMEM.
 */
struct blockslab_cache *blockslab_cache_create(const char *name, size_t size, size_t align,
					       unsigned long flags, void (*ctor)(void *object))
{
	return cache_create(name, size, align, flags, ctor, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_cache_create);

/* The heap of what says that it is a cache; a pointer that is no heap where that is not one. */
static struct blockslab_heap *cache_heap(struct blockslab_cache *cache)
{
	struct blockslab_heap *heap;

	if (!virt_addr_valid(cache) || get_kernel_nofault(heap, &cache->heap) || !heap ||
	    (heap_fault(heap) != NO_HEAP && heap->cache != cache))
		return (struct blockslab_heap *)cache;
	return heap;
}

/**
 * blockslab_cache_destroy() - destroy a cache
 * @cache: to destroy; NULL and error pointers are ignored
 *
 * Live objects are reported, as by blockslab_heap_destroy(), and can still be freed, but by
 * blockslab_free() alone.
 *
 * Context: as blockslab_heap_destroy().
 */
void blockslab_cache_destroy(struct blockslab_cache *cache)
{
	if (!IS_ERR_OR_NULL(cache))
		heap_destroy(cache_heap(cache), _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_cache_destroy);

static struct request cache_request(struct blockslab_cache *cache, size_t nr, gfp_t gfp, int nid,
				    unsigned long caller)
{
	return (struct request){
		.heap = cache->heap, .class = cache->class, .size = cache->size, .nr = nr,
		.gfp = gfp, .nid = nid, .caller = caller,
	};
}

static noinline void *cache_alloc_slow(struct blockslab_cache *cache, gfp_t gfp, int nid,
				       unsigned long caller)
{
	struct request want = cache_request(cache, 1, gfp, nid, caller);
	void *slot;

	return alloc_special(&want, 1, &slot) ? slot : NULL;
}

/* As alloc_rare(). */
static noinline void *cache_alloc_rare(struct blockslab_cache *cache, gfp_t gfp,
				       unsigned long caller)
{
	struct blockslab_cpu __percpu *cpu = READ_ONCE(cache->cpu);
	void *slot;

	gfp &= ~cache->heap->kind;
	if (cache->heap->flags & BLOCKSLAB_ZERO && heap_caches(cache->heap)) {
		cpu = READ_ONCE(cache->class->cpu);
		gfp |= __GFP_ZERO;
	}
	if (unlikely(!request_plain(cache->size, gfp) ||
		     !blockslab_alloc_fast(cpu, BLOCKSLAB_CACHE_CREDIT, cache->pages.canary,
					   &slot)))
		return cache_alloc_slow(cache, gfp, NUMA_NO_NODE, caller);
	if (alloc_watched())
		return after_alloc(cache->heap, slot, cache->size, gfp, caller);
	if (zero_wanted(cache->heap, gfp))
		fill_words(slot, 0, cache->zeroed);
	return slot;
}

static noinline void *cache_alloc_refill(struct blockslab_cache *cache, gfp_t gfp,
					 unsigned long caller)
{
	void *slot;

	if (!static_branch_unlikely(&blockslab_rare) &&
	    alloc_missing(READ_ONCE(cache->cpu), BLOCKSLAB_CACHE_CREDIT, cache->size,
			  cache->pages.canary, gfp, caller, &slot))
		return slot;
	return cache_alloc_rare(cache, gfp, caller);
}

static __always_inline void *cache_alloc_plain(struct blockslab_cache *cache, gfp_t gfp)
{
	void *slot;

	blockslab_might_alloc(gfp);
	if (!static_branch_unlikely(&blockslab_rare) &&
	    likely(blockslab_alloc_fast(READ_ONCE(cache->cpu), BLOCKSLAB_CACHE_CREDIT,
					cache->pages.canary, &slot)))
		return slot;
	if (cache->heap->flags & BLOCKSLAB_ZERO)
		return cache_alloc_rare(cache, gfp, INLINE_RET_IP);
	return cache_alloc_refill(cache, gfp, INLINE_RET_IP);
}

/**
 * blockslab_cache_alloc() - allocate an object
 * @cache: to take it from
 * @gfp: as for kmem_cache_alloc(); __GFP_ZERO has no effect on objects with a constructor
 *
 * Context: as blockslab_alloc().
 * Return: the object, or NULL.
 */
void *blockslab_cache_alloc(struct blockslab_cache *cache, gfp_t gfp)
{
	if (likely(!(gfp & BLOCKSLAB_GFP_SLOW)))
		return cache_alloc_plain(cache, gfp);
	blockslab_might_alloc(gfp);
	return cache_alloc_rare(cache, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_cache_alloc);

/* What the inline blockslab_cache_alloc() of the header calls. */
void *blockslab_cache_alloc_plain(struct blockslab_cache *cache, gfp_t gfp)
{
	return cache_alloc_plain(cache, gfp);
}
EXPORT_SYMBOL_GPL(blockslab_cache_alloc_plain);

/**
 * blockslab_cache_alloc_node() - allocate an object on a NUMA node
 * @cache: to take it from
 * @gfp: as for blockslab_cache_alloc(); with __GFP_THISNODE no other node will do
 * @node: wanted; NUMA_NO_NODE, and one that is offline, has no memory, or cannot be, stand for any
 *
 * Context: as blockslab_alloc().
 * Return: the object, from another node where that one has no memory; or NULL.
 */
void *blockslab_cache_alloc_node(struct blockslab_cache *cache, gfp_t gfp, int node)
{
	bool fast = !(gfp & BLOCKSLAB_GFP_SLOW & ~__GFP_THISNODE) &&
		    !static_branch_unlikely(&blockslab_rare);
	void *slot;

	blockslab_might_alloc(gfp);
	if (likely(fast)) {
		preempt_disable();	/* as in blockslab_alloc_node() */
		fast = (node == NUMA_NO_NODE || node == home_node()) &&
		       likely(blockslab_alloc_fast(READ_ONCE(cache->cpu), BLOCKSLAB_CACHE_CREDIT,
						   cache->pages.canary, &slot));
		preempt_enable();
	}
	return likely(fast) ? slot : cache_alloc_slow(cache, gfp, node, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_cache_alloc_node);

/**
 * blockslab_cache_heap() - the heap that a cache is
 * @cache: any
 *
 * For blockslab_track(), blockslab_shrink(), blockslab_validate() and blockslab_heap_stats(). It
 * gives out the cache's objects alone: an allocation of a size from it is reported and refused.
 *
 * Context: any.
 * Return: the heap, for as long as the cache lives.
 */
struct blockslab_heap *blockslab_cache_heap(struct blockslab_cache *cache)
{
	return cache->heap;
}
EXPORT_SYMBOL_GPL(blockslab_cache_heap);

static noinline void cache_free_slow(struct blockslab_cache *cache, const void *slot,
				     unsigned long caller)
{
	if (!heap_usable(cache->heap, caller))
		return;
	free_missed(slot, ANY_SIZE, cache, caller);
}

/**
 * blockslab_cache_free() - free an object
 * @cache: it was allocated from; if it was not, that is reported, and the object is not freed
 * @slot: the object, or NULL
 *
 * Context: as blockslab_free().
 */
void blockslab_cache_free(struct blockslab_cache *cache, void *slot)
{
	if (unlikely(!blockslab_free_try(slot, ANY_SIZE, false, &cache->pages)))
		cache_free_slow(cache, slot, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_cache_free);

static noinline size_t cache_alloc_rest(struct blockslab_cache *cache, gfp_t gfp, size_t got,
					size_t nr, void **slots, unsigned long caller)
{
	struct request want = cache_request(cache, nr, gfp, NUMA_NO_NODE, caller);

	return alloc_rest(&want, got, slots);
}

/**
 * blockslab_cache_alloc_bulk() - allocate many objects
 * @cache: to take them from
 * @gfp: as for blockslab_cache_alloc()
 * @nr: how many
 * @slots: where their addresses are put
 *
 * Context: as blockslab_alloc().
 * Return: @nr, or 0 and nothing is allocated.
 */
size_t blockslab_cache_alloc_bulk(struct blockslab_cache *cache, gfp_t gfp, size_t nr, void **slots)
{
	size_t got = 0;

	blockslab_might_alloc(gfp);
	if (likely(!static_branch_unlikely(&blockslab_rare) && !(gfp & BLOCKSLAB_GFP_SLOW)))
		got = pop_many(READ_ONCE(cache->cpu), BLOCKSLAB_CACHE_CREDIT,
			       cache->pages.canary, nr, slots);
	return likely(got == nr) ? nr : cache_alloc_rest(cache, gfp, got, nr, slots, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_cache_alloc_bulk);

/**
 * blockslab_cache_free_bulk() - free many objects
 * @cache: they were allocated from
 * @nr: how many
 * @slots: the objects
 *
 * Context: as blockslab_free().
 */
void blockslab_cache_free_bulk(struct blockslab_cache *cache, size_t nr, void **slots)
{
	free_many(nr, slots, cache, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_cache_free_bulk);
