// SPDX-License-Identifier: GPL-2.0
/*
 * Allocation
 */

/* A slot of this CPU's loaded or spare magazine, or NULL. Takes no lock. */
static void *take_cached(struct blockslab_node *node, size_t size)
{
	struct blockslab_cpu *line = claim_line(node);
	void *slot = NULL;

	if (!line)
		return NULL;
	if (!blockslab_count(line) && line->spare && line->spare->count)
		swap_spare(line);
	if (blockslab_count(line)) {
		slot = line->loaded[blockslab_count(line) - 1];
		blockslab_add(line->tally, BLOCKSLAB_ALLOC - 1);
		spend(line, size);
		*blockslab_word(slot, node->class->canary) = 0;
	}
	unclaim_line(line);
	return slot;
}

/* A slot out of the blocks, past the magazines. */
static void *take_direct(struct blockslab_node *node, size_t size, gfp_t gfp)
{
	struct blockslab_node *wanted = node;
	unsigned long irq;
	void *slot = NULL;

	do {
		spin_lock_irqsave(&node->lock, irq);
		if (take_from_blocks(node, &slot, 1)) {
			blockslab_add(node->allocs, 1);
			node->requested += size;
		}
		spin_unlock_irqrestore(&node->lock, irq);
		if (!slot)
			node = more_slots(node, gfp);
	} while (!slot && node);
	if (!slot) {
		spin_lock_irqsave(&wanted->lock, irq);
		wanted->fails += !wanted->class->of;	/* else it is tried untracked */
		spin_unlock_irqrestore(&wanted->lock, irq);
	} else if (!poisoned(node->class->heap)) {
		*blockslab_word(slot, node->class->canary) = 0;
	}
	return slot;
}

/* A slot with a note, or NULL: then it is left untracked. */
static void *alloc_tracked(struct blockslab_node *node, size_t size, gfp_t gfp,
			   unsigned long caller)
{
	struct blockslab_class *class = tracked_class(node->class, gfp);
	struct blockslab_block *block;
	void *slot;

	if (!class)
		return NULL;
	slot = take_direct(&class->nodes[node_id(node)], size, gfp | __GFP_NOWARN);
	if (!slot)
		return NULL;
	block = own_block(slot);
	note_alloc(note_at(block, slot), size, READ_ONCE(class->heap->track) ?: 1, gfp, caller);
	return slot;
}

static void *alloc_from(struct blockslab_node *node, size_t size, gfp_t gfp, unsigned long caller)
{
	struct blockslab_node *next;
	int tries;
	void *slot;

	if (unlikely(READ_ONCE(node->class->heap->track)) && sampled(node, size)) {
		slot = alloc_tracked(node, size, gfp, caller);
		if (slot)
			return slot;
	}
	for (tries = 0; tries < 3; tries++) {
		slot = take_cached(node, size);
		if (slot)
			return slot;
		next = bring_slots(node, gfp | __GFP_NOWARN);
		if (!next)
			break;
		node = next;
	}
	return take_direct(node, size, gfp);
}

/* Whole pages, cut to the number needed. */
static struct page *large_pages(size_t size, gfp_t gfp, int nid)
{
	unsigned int order = get_order(size), i;
	struct page *page = pages_get(gfp & ~(__GFP_COMP | __GFP_NOFAIL), nid, order);

	if (!page)
		return NULL;
	split_page(page, order);
	for (i = PFN_UP(size); i < 1U << order; i++)
		__free_page(page + i);
	return page;
}

static struct blockslab_block *large_block(struct blockslab_class *class, size_t size, gfp_t gfp,
					   int nid, bool track)
{
	struct blockslab_block *block = descriptor_get(1, gfp, NUMA_NO_NODE);
	struct page *page;

	if (!block)
		return NULL;
	page = large_pages(size + class->heap->zone, gfp, nid);
	if (!page)
		goto no_pages;
	block->base = page_address(page);
	block->nr_pages = PFN_UP(size + class->heap->zone);
	block->node = &class->nodes[page_to_nid(page)];
	block->nr_slots = 1;
	block->born = block_clock();
	if ((class->noted || track) && !notes_get(block, gfp) && class->noted)
		goto no_notes;
	atomic_long_inc(&class->heap->moving);
	if (heap_charge(block->node, block_bytes(block)))
		return block;
	atomic_long_dec(&class->heap->moving);
no_notes:
	kfree(block->notes);
	block_free_pages(block);
no_pages:
	descriptor_put(block);
	return NULL;
}

static void *large_get(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
		       unsigned long caller)
{
	struct blockslab_class *class = class_get(heap, 0, INDEX_LARGE, gfp);
	struct blockslab_block *block;
	struct blockslab_node *node;
	unsigned long irq;
	bool track;

	if (!class)
		return NULL;
	node = &class->nodes[numa_mem_id()];
	track = READ_ONCE(heap->track) && sampled(node, size);
	block = large_block(class, size, gfp, nid, track);
	if (!block && gfpflags_allow_blocking(gfp) && heap_trim(heap, true))
		block = large_block(class, size, gfp, nid, track);
	if (block) {
		node = block->node;
		if (track && block->notes)
			note_alloc(block->notes, size, READ_ONCE(heap->track) ?: 1, gfp, caller);
		count_pages(block, 1);
		page_words_set(block, class->key);
		heap_count_block(heap, 1);
	}
	spin_lock_irqsave(&node->lock, irq);
	if (block) {
		block_link(block);
		blockslab_add(node->allocs, 1);
		node->requested += size;
	} else {
		node->fails++;
	}
	spin_unlock_irqrestore(&node->lock, irq);
	return block ? block->base : NULL;
}

static void large_put(struct blockslab_block *block, unsigned long caller)
{
	struct blockslab_node *node = block->node;
	unsigned long irq;
	LIST_HEAD(gone);

	spin_lock_irqsave(&node->lock, irq);
	if (test_and_set_free(block, 0)) {
		report_facts(DOUBLE_FREE, (struct fault_facts){
			.slot = block->base, .block = block, .caller = caller, .locked = true,
		});
	} else {
		blockslab_add(node->frees, 1);
		block_unlink(block, &gone);
	}
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
}

static void *alloc_once(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
			unsigned long caller)
{
	struct blockslab_class *class;

	if (size > BLOCKSLAB_SLOT_MAX - heap->zone)
		return large_get(heap, size, gfp, nid, caller);
	class = class_for(heap, size, gfp);
	if (!class)
		return NULL;
	return alloc_from(&class->nodes[nid == NUMA_NO_NODE ? numa_mem_id() : nid], size, gfp,
			  caller);
}

static bool size_possible(struct blockslab_heap *heap, size_t size, gfp_t gfp, unsigned long caller)
{
	if (size <= (PAGE_SIZE << MAX_PAGE_ORDER) - heap->zone)
		return true;
	if (!(gfp & __GFP_NOWARN))
		pr_warn_ratelimited("heap %s: %pS asked for %zu bytes, more than the page allocator gives\n",
				    heap->name, (void *)caller, size);
	return false;
}

static int node_usable(int nid)
{
	return nid >= 0 && nid < nr_node_ids && node_online(nid) ? nid : NUMA_NO_NODE;
}

/* Everything that the fast path does not do, and that more_alloc() below does not do either. */
static noinline void *alloc_slow(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
				 unsigned long caller)
{
	void *slot;

	might_alloc(gfp);
	if (!heap_usable(heap, caller))
		return NULL;
	if (!size)
		return ZERO_SIZE_PTR;
	if (!size_possible(heap, size, gfp, caller))
		return NULL;
	nid = node_usable(nid);
	if (heap->flags & BLOCKSLAB_ZERO)
		gfp |= __GFP_ZERO;
	if (heap->flags & BLOCKSLAB_ACCOUNT)
		gfp |= __GFP_ACCOUNT;
	slot = alloc_once(heap, size, gfp, nid, caller);
	while (!slot && gfp & __GFP_NOFAIL && gfpflags_allow_blocking(gfp)) {
		schedule_timeout_uninterruptible(1);
		slot = alloc_once(heap, size, gfp, nid, caller);
	}
	if (slot)
		after_alloc(heap, slot, size, gfp, caller);
	return slot;
}

/* This CPU's loaded magazine is empty, and perhaps no more than that is out of the ordinary. */
static noinline void *alloc_more(struct blockslab_heap *heap, size_t size, gfp_t gfp,
				 unsigned long caller)
{
	unsigned int index = blockslab_size_index[size];
	struct blockslab_class *class;
	void *slot;

	might_alloc(gfp);
	if (READ_ONCE(heap->cpu[index]) != no_class) {
		class = class_find(heap, 0, heap_index(heap, size));
		/* What was published last may be seen first. */
		slot = class ? alloc_from(&class->nodes[numa_mem_id()], size, gfp, caller) : NULL;
		if (slot || (class && !(gfp & __GFP_NOFAIL)))
			return slot;
	}
	return alloc_slow(heap, size, gfp, NUMA_NO_NODE, caller);
}

/* Whether a request is for the fast path, but for zeroing. */
static bool request_plain(size_t size, gfp_t gfp)
{
	return size <= BLOCKSLAB_SLOT_MAX && !(gfp & BLOCKSLAB_GFP_SLOW & ~__GFP_ZERO);
}

static noinline void *alloc_tell(struct blockslab_heap *heap, void *slot, size_t size, gfp_t gfp,
				 unsigned long caller)
{
	after_alloc(heap, slot, size, gfp, caller);
	return slot;
}

/* The fast path with what is rare, and with zeroing. The calls at its ends need no registers. */
static noinline void *alloc_rare(struct blockslab_heap *heap, size_t size, gfp_t gfp,
				 unsigned long caller)
{
	struct blockslab_cpu __percpu *cpu;
	void *slot;

	if (unlikely(!request_plain(size, gfp)))
		return alloc_slow(heap, size, gfp, NUMA_NO_NODE, caller);
	cpu = READ_ONCE(heap->cpu[blockslab_size_index[size]]);
	if (unlikely(!blockslab_alloc_fast(cpu, size, 0, &slot)))
		return alloc_slow(heap, size, gfp, NUMA_NO_NODE, caller);
	if (alloc_watched())
		return alloc_tell(heap, slot, size, gfp, caller);
	return want_init_on_alloc(gfp) ? memset(slot, 0, raw_cpu_read(cpu->size)) : slot;
}

static __always_inline void *alloc_plain(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	void *slot;

	/* in no order, as in blockslab_beyond() */
	if (unlikely(size > data_race(blockslab_fast_size)))
		return alloc_rare(heap, size, gfp, _RET_IP_);
	if (likely(blockslab_alloc_fast(READ_ONCE(heap->cpu[blockslab_size_index[size]]), size, 0,
					&slot)))
		return slot;
	return alloc_more(heap, size, gfp, _RET_IP_);
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
	heap = heap_or_shared(heap);
	if (unlikely(gfp & BLOCKSLAB_GFP_SLOW))
		return alloc_rare(heap, size, gfp, _RET_IP_);
	return alloc_plain(heap, size, gfp);
}
EXPORT_SYMBOL_GPL(blockslab_alloc);

/* What the inline blockslab_alloc() of the header calls. */
void *blockslab_alloc_plain(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	return alloc_plain(heap, size, gfp);
}
EXPORT_SYMBOL_GPL(blockslab_alloc_plain);

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
 * @node: wanted, or NUMA_NO_NODE
 *
 * Context: as blockslab_alloc().
 * Return: the slot, from another node where that one has no memory; or NULL.
 */
void *blockslab_alloc_node(struct blockslab_heap *heap, size_t size, gfp_t gfp, int node)
{
	return alloc_slow(heap_or_shared(heap), size, gfp, node, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_alloc_node);

/**
 * blockslab_alloc_nolock() - allocate a slot in any context
 * @heap: to take it from; NULL for the shared heap
 * @size: bytes wanted, up to BLOCKSLAB_SLOT_MAX
 *
 * Serves from this CPU's magazines only: no lock is taken and no page asked for. Allocating that
 * size in another context before fills them.
 *
 * Context: any, NMI too.
 * Return: the slot, not zeroed; or NULL, which callers must expect.
 */
void *blockslab_alloc_nolock(struct blockslab_heap *heap, size_t size)
{
	struct blockslab_class *class;
	void *slot;

	heap = heap_or_shared(heap);
	if (!heap_usable(heap, _RET_IP_) || !heap_caches(heap) || !size ||
	    size > BLOCKSLAB_SLOT_MAX - heap->zone)
		return NULL;
	class = class_find(heap, heap->flags & BLOCKSLAB_ACCOUNT ? __GFP_ACCOUNT : 0,
			   heap_index(heap, size));
	if (!class)
		return NULL;
	slot = take_cached(&class->nodes[numa_mem_id()], size);
	if (slot)
		kasan_slot(slot, class->size, size);
	if (slot && heap->flags & BLOCKSLAB_ZERO)
		memset(slot, 0, class->size);
	return slot;
}
EXPORT_SYMBOL_GPL(blockslab_alloc_nolock);

static __always_inline void hand_out(void *slot, void **to, unsigned long canary)
{
	*to = slot;
	*blockslab_word(slot, canary) = 0;
}

/* Takes up to @nr slots from a claimed line's loaded magazine. */
static size_t pop(struct blockslab_cpu *line, size_t nr, void **slots, unsigned long canary)
{
	size_t i, got = min_t(size_t, nr, blockslab_count(line));
	void **from = line->loaded + blockslab_count(line) - got;

	for (i = 0; i + 4 <= got; i += 4) {
		hand_out(from[i], &slots[i], canary);
		hand_out(from[i + 1], &slots[i + 1], canary);
		hand_out(from[i + 2], &slots[i + 2], canary);
		hand_out(from[i + 3], &slots[i + 3], canary);
	}
	for (; i < got; i++)
		hand_out(from[i], &slots[i], canary);
	blockslab_add(line->tally, got * (BLOCKSLAB_ALLOC - 1));
	return got;
}

/* Up to @nr slots of this CPU's loaded and spare magazine for its own node. */
static size_t pop_many(struct blockslab_class *class, size_t size, size_t nr, void **slots)
{
	struct blockslab_cpu *line;
	size_t got = 0;

	preempt_disable();
	line = blockslab_home_line(class->cpu);
	if (likely(blockslab_claim(line))) {
		nr = min_t(size_t, nr, 2 * MAGAZINE_SLOTS_MAX);
		if (unlikely(line->credit < (long)(nr * size)))
			nr = line->credit / size;	/* the next one may have to be tracked */
		got = pop(line, nr, slots, class->canary);
		if (got < nr && line->spare && line->spare->count) {
			swap_spare(line);
			got += pop(line, nr - got, slots + got, class->canary);
		}
		spend(line, got * size);
		blockslab_unclaim(line);
	}
	preempt_enable();
	return got;
}

/*
 * A call for so many slots gets what this CPU's magazines lack past them: it would have to trade
 * them each time. Not while they are smaller than they might be: they grow by trades.
 */
static size_t many(const struct blockslab_cpu *line)
{
	unsigned int capacity = READ_ONCE(line->node->capacity);

	return READ_ONCE(line->capacity) < capacity ? SIZE_MAX : capacity / 4 + 1;
}

/* Up to @nr slots, and RUN_MAX, straight out of the node's blocks. */
static size_t take_many(struct blockslab_node *node, size_t size, size_t nr, void **slots)
{
	unsigned int canary = node->class->canary;
	unsigned long irq;
	size_t i, got;

	spin_lock_irqsave(&node->lock, irq);
	got = take_from_blocks(node, slots, min_t(size_t, nr, RUN_MAX));
	blockslab_add(node->allocs, got);
	node->requested += got * size;
	spin_unlock_irqrestore(&node->lock, irq);
	for (i = 0; i < got; i++)
		*blockslab_word(slots[i], canary) = 0;
	return got;
}

/*
 * The rest of @nr slots when this CPU's magazines are empty; fewer only where there are no more.
 * Each turn gets one at least, or is the last.
 */
static size_t bring_many(struct blockslab_node *node, size_t size, gfp_t gfp, size_t got,
			 size_t nr, void **slots, unsigned long caller)
{
	while (got < nr) {
		if (nr >= many(raw_cpu_ptr(node_cpu(node))) &&
		    !READ_ONCE(node->class->heap->track))
			got += take_many(node, size, nr - got, slots + got);
		if (got == nr)
			break;
		/* Brings a magazine, too, if this CPU's line can be claimed. */
		slots[got] = alloc_from(node, size, gfp, caller);
		if (!slots[got])
			break;
		got++;
		got += pop_many(node->class, size, nr - got, slots + got);
	}
	return got;
}

/* Up to @nr slots; fewer only where there are no more. */
static size_t alloc_many(struct blockslab_class *class, size_t size, gfp_t gfp, size_t nr,
			 void **slots, unsigned long caller)
{
	size_t got = pop_many(class, size, nr, slots);
	struct blockslab_node *node;

	if (got == nr)
		return nr;
	/* One magazine shall hold such a call, if it may. */
	node = &class->nodes[numa_mem_id()];
	while (magazines_grow_to(node, min_t(size_t, BULK_BYTES / class->size, 2 * nr)))
		;
	return bring_many(node, size, gfp, got, nr, slots, caller);
}

/* Hooks for slots of one bulk allocation, where there is anything to do. */
static void bulk_hooks(struct blockslab_class *class, size_t size, gfp_t gfp, size_t nr,
		       void **slots, unsigned long caller)
{
	struct blockslab_heap *heap = class->heap;
	unsigned int bytes = class->size;
	size_t i;

	if (!heap_caches(heap) || alloc_watched()) {
		for (i = 0; i < nr; i++)
			after_alloc(heap, slots[i], size, gfp, caller);
	} else if (want_init_on_alloc(gfp) && !keeps_content(heap)) {
		for (i = 0; i < nr; i++)
			memset(slots[i], 0, bytes);
	}
}

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
	struct blockslab_class *class;
	size_t got;

	heap = heap_or_shared(heap);
	might_alloc(gfp);
	if (!heap_usable(heap, _RET_IP_))
		return 0;
	if (size && size <= BLOCKSLAB_SLOT_MAX - heap->zone) {
		gfp |= heap->flags & BLOCKSLAB_ZERO ? __GFP_ZERO : 0;
		gfp |= heap->flags & BLOCKSLAB_ACCOUNT ? __GFP_ACCOUNT : 0;
		class = class_for(heap, size, gfp);
		if (!class)
			return 0;
		got = alloc_many(class, size, gfp, nr, slots, _RET_IP_);
		bulk_hooks(class, size, gfp, got, slots, _RET_IP_);
	} else {
		for (got = 0; got < nr; got++) {
			slots[got] = alloc_slow(heap, size, gfp, NUMA_NO_NODE, _RET_IP_);
			if (!slots[got])
				break;
		}
	}
	if (got == nr)
		return nr;
	blockslab_free_bulk(got, slots);
	return 0;
}
EXPORT_SYMBOL_GPL(blockslab_alloc_bulk);
