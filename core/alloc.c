// SPDX-License-Identifier: GPL-2.0
/*
 * Allocation, of which there are three ways: fast, out of this CPU's loaded magazine; refill, where
 * that is empty and nothing else is out of the ordinary; and special, for all the rest, single or
 * bulk, of heaps and caches.
 */

static bool size_possible(struct blockslab_heap *heap, size_t size, gfp_t gfp, unsigned long caller)
{
	if (size <= (PAGE_SIZE << MAX_PAGE_ORDER) - heap->zone)
		return true;
	if (!(gfp & __GFP_NOWARN))
		pr_warn_ratelimited("heap %s: %pS asked for %zu bytes, more than the page allocator gives\n",
				    heap->name, (void *)caller, size);
	return false;
}

/* Ends allocations: what was taken becomes what was asked for. Whole pages, of no class, are. */
static void finish(const struct request *want, const struct blockslab_class *class, size_t nr,
		   void **slots)
{
	struct blockslab_heap *heap = want->heap;
	size_t i;

	if (heap->flags & EXACT_FLAGS || alloc_watched()) {
		for (i = 0; i < nr; i++)
			after_alloc(heap, slots[i], want->size, want->gfp, want->caller);
	} else if (class && zero_wanted(heap, want->gfp)) {
		for (i = 0; i < nr; i++)	/* watch_alloc() has done it, or: */
			if (!READ_ONCE(class->tracked) || !block_watched(own_block(slots[i])))
				fill_words(slots[i], 0, class->canary ?: class->size);
	}
}

/* Slots of a larger class than that of their size stand in for such; coarse ones are exact. */
static void tell_stand_ins(const struct request *want, const struct blockslab_class *class,
			   size_t nr, void **slots)
{
	if (likely(want->heap->cache || class->index == heap_index(want->heap, want->size)) ||
	    class_coarse(class))
		return;
	while (nr--)
		block_stands_in(own_block(slots[nr]));
}

/* Up to @nr slots, finished; fewer only where there are no more. */
static size_t alloc_some(const struct request *want, size_t nr, void **slots)
{
	struct blockslab_class *class = want->class;
	int nid = want->nid == NUMA_NO_NODE ? home_node() : want->nid;
	size_t got = 0;

	if (!class && want->size > BLOCKSLAB_SLOT_MAX - want->heap->zone) {
		while (got < nr && (slots[got] = large_get(want->heap, want->size, want->gfp,
							   want->nid, want->caller)))
			got++;
	} else {
		if (!class)
			class = class_for(want->heap, want->size, nr, want->gfp);
		if (!class)
			return 0;
		if (want->nr > 1) {
			got = alloc_many(want, class, nr, slots);
		} else {
			slots[0] = alloc_from(&class->nodes[nid], want->size, want->gfp,
					      false, want->caller);
			got = !!slots[0];
		}
		tell_stand_ins(want, class, got, slots);
	}
	finish(want, class, got, slots);
	if (unlikely(got < nr) && class && class_coarse(class)) {
		unsigned int index = heap_index(want->heap, want->size);
		struct request own = *want;

		/* A block of its own has nothing beside it, for which there may be no room. */
		own.class = class_get(want->heap, 0, index, want->gfp) ?:
			    class_larger(want->heap, 0, index);
		if (own.class)
			got += alloc_some(&own, nr - got, slots + got);
		else
			count_fail(&class->nodes[nid], want->gfp);
	}
	return got;
}

/*
 * For who may not fail: waits a little longer each time, as a refusal costs next to nothing, and
 * whatever makes room is not told. A limit holds for him too; if he waits for it, he is named. What
 * he has of many goes back if others wait, too, and there is no more for long: two that each have
 * a part of a limit would wait for ever. After a second, and each one more, CPUs that a trim would
 * leave alone are asked, too: what an isolated one caches may be all that there is.
 */
static size_t alloc_surely(struct request *want, size_t got, size_t nr, void **slots)
{
	size_t before = want->nr - nr, had = SIZE_MAX;
	unsigned long tell = jiffies + HZ;
	struct blockslab_heap *heap = want->heap;
	unsigned int pause = 1, vain = 0;
	bool told = false;

	want->gfp |= __GFP_HIGH;	/* all else was in vain: part of the kernel's reserves */
	refcount_inc(&heap->refs);	/* it may end meanwhile */
	atomic_inc(&heap->waiting);
	slots -= before;
	for (got += before; got < want->nr && !heap_destroyed(heap);) {
		vain = got == had ? vain + 1 : 0;
		if (vain >= 8 && got && READ_ONCE(heap->limit) && atomic_read(&heap->waiting) > 1) {
			blockslab_free_bulk(got, slots);
			heap_trim(heap, false);		/* to where the others find them */
			got = 0;
		}
		had = got;
		schedule_timeout_uninterruptible(1 + get_random_u32() % pause);
		pause = min_t(unsigned int, 2 * pause, HZ / 10 + 1);
		if (heap_destroyed(heap))
			break;
		got += alloc_some(want, want->nr - got, slots + got);
		if (got == want->nr || !READ_ONCE(heap->limit) || time_before(jiffies, tell))
			continue;
		tell = jiffies + HZ;
		heap_trim_cpus(heap, EVERY_CPU);
		if (told)
			continue;
		told = true;
		pr_warn_ratelimited("heap %s: %pS may not fail, and waits until there is room for %zu bytes: %zu of the limit of %zu are held\n",
				    heap->name, (void *)want->caller, want->size, held_bytes(heap),
				    READ_ONCE(heap->limit));
	}
	atomic_dec(&heap->waiting);
	heap_put(heap);
	return got - before;	/* which may be less than 0, if the heap has ended */
}

/* Whether a heap gives out slots by their size; that it does not is told. */
static bool heap_has_sizes(struct blockslab_heap *heap, unsigned long caller)
{
	if (!heap_usable(heap, caller))
		return false;
	if (unlikely(heap->cache))
		report(CACHE_HEAP, .slot = heap, .caller = caller);
	return !heap->cache;
}

/* The special way: @nr slots, or fewer where there are no more. */
static noinline size_t alloc_special(struct request *want, size_t nr, void **slots)
{
	size_t got;

	might_alloc(want->gfp);
	if (want->class ? !heap_usable(want->heap, want->caller) :
			  !heap_has_sizes(want->heap, want->caller))
		return 0;
	if (!want->size) {
		memset_p(slots, ZERO_SIZE_PTR, nr);
		return nr;
	}
	if (!nr || !size_possible(want->heap, want->size, want->gfp, want->caller))
		return 0;
	if (want->nid < 0 || want->nid >= nr_node_ids || !node_online(want->nid) ||
	    !(node_state(want->nid, N_NORMAL_MEMORY) || want->gfp & __GFP_THISNODE))
		want->nid = NUMA_NO_NODE;
	if (want->heap->flags & BLOCKSLAB_ZERO)
		want->gfp |= __GFP_ZERO;
	want->gfp |= want->heap->kind;
	/*
	 * What is charged to a memory cgroup is forced on it: a task that its OOM killer has chosen
	 * would wait for its own end.
	 */
	if (want->gfp & __GFP_NOFAIL && want->gfp & __GFP_ACCOUNT &&
	    gfpflags_allow_blocking(want->gfp))
		want->gfp |= __GFP_HIGH;
	got = alloc_some(want, nr, slots);
	if (unlikely(got < nr) && want->gfp & __GFP_NOFAIL && gfpflags_allow_blocking(want->gfp))
		got = alloc_surely(want, got, nr, slots);
	return got;
}

/* The rest of many, after @got of them: all, or none. */
static size_t alloc_rest(struct request *want, size_t got, void **slots)
{
	got += alloc_special(want, want->nr - got, slots + got);
	if (likely(got == want->nr))
		return got;
	blockslab_free_bulk(got, slots);	/* a cache's, too, if it has ended meanwhile */
	return 0;
}

static noinline void *alloc_slow(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
				 unsigned long caller)
{
	struct request want = {
		.heap = heap, .size = size, .nr = 1, .gfp = gfp, .nid = nid, .caller = caller,
	};
	void *slot;

	if (!size)
		return heap_has_sizes(heap, caller) ? ZERO_SIZE_PTR : NULL;
	return alloc_special(&want, 1, &slot) ? slot : NULL;
}

/* Whether a request is for the fast path, but for zeroing. */
static bool request_plain(size_t size, gfp_t gfp)
{
	return size <= BLOCKSLAB_SLOT_MAX && !(gfp & BLOCKSLAB_GFP_SLOW & ~__GFP_ZERO);
}

/* Of a heap that zeroes all; its fast path is not published. */
static struct blockslab_cpu __percpu *zeroing_lines(struct blockslab_heap *heap, size_t size)
{
	struct blockslab_class *class = NULL;

	if (size && heap_caches(heap))
		class = class_find(heap, 0, heap_index(heap, size));
	return class && !READ_ONCE(class->rests) ? READ_ONCE(class->cpu) : no_class;
}

/*
 * The fast path with what is rare, and with zeroing, or the slow way. On a node it is for as long
 * as that is the CPU's own.
 */
static __always_inline void *rare_fast(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
				       bool zeroes, unsigned long caller)
{
	struct blockslab_cpu __percpu *cpu;
	void *slot;
	bool took;

	/* The fast path's slots are of the CPU's own node. */
	if (unlikely(!request_plain(size, gfp & ~__GFP_THISNODE)))
		return alloc_slow(heap, size, gfp, nid, caller);
	blockslab_might_alloc(gfp);
	cpu = zeroes ? zeroing_lines(heap, size) :
		       READ_ONCE(heap->cpu[blockslab_size_index[size]]);
	if (nid != NUMA_NO_NODE)
		preempt_disable();
	took = (nid == NUMA_NO_NODE || nid == home_node()) &&
	       likely(blockslab_alloc_fast(cpu, size, 0, &slot));
	if (nid != NUMA_NO_NODE)
		preempt_enable();
	if (unlikely(!took))
		return alloc_slow(heap, size, gfp, nid, caller);
	if (alloc_watched())	/* may sleep */
		return after_alloc(heap, slot, size, gfp, caller);
	if (want_init_on_alloc(gfp))
		fill_words(slot, 0, raw_cpu_read(cpu->size));
	return slot;
}

static noinline void *alloc_zeroing(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
				    unsigned long caller)
{
	return rare_fast(heap, size, (gfp & ~heap->kind) | __GFP_ZERO, nid, true, caller);
}

/* Of a heap whose slots are not cached: out of the block in hand, or the slow way. */
static noinline void *alloc_exact(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
				  unsigned long caller)
{
	struct blockslab_class *class = NULL;
	void *slot;

	gfp &= ~heap->kind;
	if (heap->flags & BLOCKSLAB_ZERO)
		gfp |= __GFP_ZERO;
	blockslab_might_alloc(gfp);
	if (size && size <= BLOCKSLAB_SLOT_MAX - heap->zone && request_plain(size, gfp) &&
	    nid == NUMA_NO_NODE && !heap_destroyed(heap))
		class = class_find(heap, 0, heap_index(heap, size));
	slot = class ? take_in_hand(&class->nodes[home_node()], size) : NULL;
	return slot ? after_alloc(heap, slot, size, gfp, caller) :
		      alloc_slow(heap, size, gfp, nid, caller);
}

static __always_inline void *rare_on(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
				     unsigned long caller)
{
	if (unlikely(heap->flags & EXACT_FLAGS))
		return alloc_exact(heap, size, gfp, nid, caller);
	if (unlikely(heap->flags & BLOCKSLAB_ZERO))
		return alloc_zeroing(heap, size, gfp, nid, caller);
	return rare_fast(heap, size, gfp & ~heap->kind, nid, false, caller);
}

static noinline void *alloc_rare(struct blockslab_heap *heap, size_t size, gfp_t gfp,
				 unsigned long caller)
{
	return rare_on(heap, size, gfp, NUMA_NO_NODE, caller);
}

static noinline void *alloc_rare_node(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
				      unsigned long caller)
{
	return rare_on(heap, size, gfp, nid, caller);
}

static noinline void *alloc_refill(struct blockslab_heap *heap, size_t size, gfp_t gfp,
				   unsigned long caller)
{
	void *slot;

	if (alloc_missing(READ_ONCE(heap->cpu[blockslab_size_index[size]]), size, size, 0, gfp,
			  caller, &slot))
		return slot;
	return alloc_slow(heap, size, gfp, NUMA_NO_NODE, caller);
}

/* The inline fast path gave nothing. */
static __always_inline void *alloc_missed(struct blockslab_heap *heap, size_t size, gfp_t gfp,
					  unsigned long caller)
{
	if (unlikely(heap->flags & EXACT_FLAGS))
		return alloc_exact(heap, size, gfp, NUMA_NO_NODE, caller);
	/* in no order, as in blockslab_beyond() */
	if (unlikely(size > data_race(blockslab_fast_size) || heap->flags & BLOCKSLAB_ZERO))
		return alloc_rare(heap, size, gfp, caller);
	return alloc_refill(heap, size, gfp, caller);
}

/* The fast path, where nothing rare is to be done: @size bytes, in a slot of @room. */
static __always_inline bool alloc_try(struct blockslab_heap *heap, size_t size, size_t room,
				      void **slot)
{
	/* in no order, as in blockslab_beyond() */
	return likely(room <= data_race(blockslab_fast_size)) &&
	       likely(blockslab_alloc_fast(READ_ONCE(heap->cpu[blockslab_size_index[room]]), size,
					   0, slot));
}

static __always_inline void *alloc_any(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	void *slot;

	heap = heap_or_shared(heap);
	if (unlikely(gfp & BLOCKSLAB_GFP_SLOW))
		return alloc_rare(heap, size, gfp, INLINE_RET_IP);
	blockslab_might_alloc(gfp);
	return alloc_try(heap, size, size, &slot) ? slot :
	       alloc_missed(heap, size, gfp, INLINE_RET_IP);
}

/**
 * blockslab_alloc() - allocate a slot
 * @heap: to take it from; NULL for the shared heap
 * @size: bytes wanted; 0 gives ZERO_SIZE_PTR
 * @gfp: as for kmalloc()
 *
 * Sizes over BLOCKSLAB_SLOT_MAX get whole pages. A slot is aligned to the largest power of two
 * that divides its class's size, at most to a page; so a size that is a power of two is naturally
 * aligned.
 *
 * Context: as @gfp says: any but NMI; on PREEMPT_RT not with interrupts off.
 * Return: the slot, the caller's until it is freed; or NULL.
 */
void *blockslab_alloc(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	return alloc_any(heap, size, gfp);
}
EXPORT_SYMBOL_GPL(blockslab_alloc);

/* What the inline blockslab_alloc() of the header calls. */
void *blockslab_alloc_plain(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	return alloc_missed(heap, size, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_alloc_plain);

/* Two instructions, and no place for a tracer. */
notrace void *blockslab_known(void *slot, size_t room)
{
	return slot;
}
EXPORT_SYMBOL_GPL(blockslab_known);

/* What the header calls where the GFP flags lead out of the fast path, or are not known. */
void *blockslab_alloc_room(struct blockslab_heap *heap, size_t size, gfp_t gfp, size_t room)
{
	return alloc_any(heap, size, gfp);
}
EXPORT_SYMBOL_GPL(blockslab_alloc_room);

/**
 * blockslab_zalloc() - allocate a slot filled with zeroes
 * @heap: to take it from; NULL for the shared heap
 * @size: bytes wanted
 * @gfp: as for kmalloc()
 *
 * Context: as blockslab_alloc().
 * Return: the slot, all of whose usable size is zero; or NULL.
 */
void *blockslab_zalloc(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	return alloc_rare(heap_or_shared(heap), size, gfp | __GFP_ZERO, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_zalloc);

/**
 * blockslab_alloc_node() - allocate a slot on a NUMA node
 * @heap: to take it from; NULL for the shared heap
 * @size: bytes wanted
 * @gfp: as for kmalloc_node(); with __GFP_THISNODE no other node will do
 * @node: wanted; NUMA_NO_NODE, and one that is offline, has no memory, or cannot be, stand for any
 *
 * Context: as blockslab_alloc().
 * Return: the slot, from another node where that one has no memory; or NULL.
 */
void *blockslab_alloc_node(struct blockslab_heap *heap, size_t size, gfp_t gfp, int node)
{
	bool fast = !(gfp & BLOCKSLAB_GFP_SLOW & ~__GFP_THISNODE);
	void *slot;

	heap = heap_or_shared(heap);
	blockslab_might_alloc(gfp);
	if (likely(fast)) {
		preempt_disable();	/* the CPU's own node stays the one that was asked for */
		fast = (node == NUMA_NO_NODE || node == home_node()) &&
		       alloc_try(heap, size, size, &slot);
		preempt_enable();
	}
	return likely(fast) ? slot : alloc_rare_node(heap, size, gfp, node, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_alloc_node);

/* A size's class is to have lines, and not to begin to rest, from now on; its index. */
static unsigned int mark_size(struct blockslab_heap *heap, size_t size)
{
	unsigned int index = heap_index(heap, size);

	if (READ_ONCE(heap->asked[index]) < U8_MAX)
		WRITE_ONCE(heap->asked[index], U8_MAX);
	return index;
}

/**
 * blockslab_alloc_nolock() - allocate a slot in any context
 * @heap: to take it from; NULL for the shared heap
 * @size: bytes wanted, up to BLOCKSLAB_SLOT_MAX; 0 gives ZERO_SIZE_PTR
 *
 * Serves from this CPU's magazines only: no lock is taken and no page asked for. Allocating that
 * size in another context fills them; where a heap has many sizes, or the machine many CPUs, only
 * after this has failed once. A heap with BLOCKSLAB_POISON or BLOCKSLAB_RED_ZONE has none, and one
 * that tracks every allocation fills none.
 *
 * Context: any, NMI too.
 * Return: the slot, zeroed as by blockslab_alloc(); or NULL, which callers must expect.
 */
void *blockslab_alloc_nolock(struct blockslab_heap *heap, size_t size)
{
	struct blockslab_class *class;
	void *slot;

	heap = heap_or_shared(heap);
	if (alloc_try(heap, size, size, &slot)) {
		mark_size(heap, size);
		return slot;
	}
	if (!heap_has_sizes(heap, _RET_IP_))
		return NULL;
	if (!size)
		return ZERO_SIZE_PTR;
	if (!heap_caches(heap) || size > BLOCKSLAB_SLOT_MAX - heap->zone)
		return NULL;
	class = class_find(heap, 0, mark_size(heap, size));
	slot = class && READ_ONCE(class->cpu) != no_class ?
	       take_cached(&class->nodes[home_node()], size) : NULL;
	if (!slot)
		return NULL;
	fill_slot(class, slot, size, heap->flags & BLOCKSLAB_ZERO ? __GFP_ZERO : 0);
	trace_blockslab_alloc(_RET_IP_, heap->name, slot, size, class->size, 0);
	return slot;
}
EXPORT_SYMBOL_GPL(blockslab_alloc_nolock);

/**
 * blockslab_alloc_bulk() - allocate many slots of one size
 * @heap: to take them from; NULL for the shared heap
 * @size: bytes wanted of each
 * @gfp: as for kmalloc()
 * @nr: how many
 * @slots: where their addresses are put
 *
 * Context: as blockslab_alloc().
 * Return: @nr, or 0 and nothing is allocated.
 */
size_t blockslab_alloc_bulk(struct blockslab_heap *heap, size_t size, gfp_t gfp, size_t nr,
			    void **slots)
{
	struct request want;
	size_t got = 0;

	heap = heap_or_shared(heap);
	blockslab_might_alloc(gfp);
	/* in no order, as in blockslab_beyond() */
	if (likely(size <= data_race(blockslab_fast_size) && !(gfp & BLOCKSLAB_GFP_SLOW)))
		got = pop_many(READ_ONCE(heap->cpu[blockslab_size_index[size]]), size, 0, nr,
			       slots);
	if (likely(got == nr))
		return nr;
	want = (struct request){
		.heap = heap, .size = size, .nr = nr, .gfp = gfp, .nid = NUMA_NO_NODE,
		.caller = _RET_IP_,
	};
	return alloc_rest(&want, got, slots);
}
EXPORT_SYMBOL_GPL(blockslab_alloc_bulk);
