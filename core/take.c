// SPDX-License-Identifier: GPL-2.0
/*
 * Taking slots: out of this CPU's magazines, out of the blocks, and what is done when both are
 * empty. What is taken is as its last owner left it: alloc.c says what is wanted and finishes it.
 */

static __always_inline void hand_out(void *slot, void **to, unsigned long canary)
{
	*to = slot;
	*blockslab_word(slot, canary) = 0;
}

/* The fast path once more, where the loaded magazine had no slots and another has. */
static bool take_again(struct blockslab_cpu __percpu *lines, size_t size, unsigned long canary,
		       void **slot)
{
	struct blockslab_cpu *line;
	bool again = false;

	preempt_disable();
	line = blockslab_home_line(lines);
	if (likely(blockslab_claim(line))) {
		again = has_slots(line) && line->credit >= (long)size && !READ_ONCE(line->stale);
		if (again) {
			hand_out(line->loaded[blockslab_count(line) - 1], slot, canary);
			blockslab_add(line->tally, BLOCKSLAB_ALLOC - 1);
			blockslab_sub(line->credit, size);
		}
		blockslab_unclaim(line);
	}
	preempt_enable();
	return again;
}

/* Whether a request has failed that got nothing: it is not made again, nor another one instead. */
static bool fails(gfp_t gfp)
{
	return (gfp & GFP_TRIAL) != GFP_TRIAL &&
	       !(gfp & __GFP_NOFAIL && gfpflags_allow_blocking(gfp));
}

static void count_fail(struct blockslab_node *node, gfp_t gfp)
{
	unsigned long irq;

	spin_lock_irqsave(&node->lock, irq);
	node->fails += fails(gfp);
	spin_unlock_irqrestore(&node->lock, irq);
}

/*
 * Of coarse slots as much may be used as of those of a class of that size; or all, where that is
 * more, as resize_by_move() did not get the room that it wanted.
 */
static void note_usable(const struct blockslab_class *class, size_t size, void **slots, size_t nr)
{
	u16 usable = index_size[heap_index(class->heap, size)];
	struct blockslab_block *block;

	count_shared(class->heap, size, nr);
	while (nr--) {
		block = own_block(slots[nr]);
		WRITE_ONCE(block->usable[slot_number(block, slots[nr])], min(usable, block->size));
	}
}

/* Up to @nr slots, and RUN_MAX, straight out of the node's blocks. */
static size_t take_many(struct blockslab_node *node, size_t size, size_t nr, void **slots)
{
	const struct blockslab_class *class = node->class;
	unsigned long irq;
	size_t i, got;

	spin_lock_irqsave(&node->lock, irq);
	got = take_from_blocks(node, slots, min_t(size_t, nr, RUN_MAX), false);
	blockslab_add(node->allocs, got);
	node->requested += got * size;
	if (class_coarse(class))
		note_usable(class, size, slots, got);
	spin_unlock_irqrestore(&node->lock, irq);
	if (unlikely(lines_due(class, READ_ONCE(node->allocs))))
		lines_ask();
	for (i = 0; i < got && class->key != KEY_SLOW; i++)
		*blockslab_word(slots[i], class->canary) = 0;
	return got;
}

/* A slot out of the block in hand; or NULL, and all else is tried. */
static void *take_in_hand(struct blockslab_node *node, size_t size)
{
	struct blockslab_block *block;
	void *slot = NULL;
	unsigned long irq;

	spin_lock_irqsave(&node->lock, irq);
	block = best_block(node);
	if (likely(block && block == node->hand && block_sound(block)))
		slot = take_one(block);
	if (likely(slot)) {
		blockslab_add(node->allocs, 1);
		node->requested += size;
	}
	spin_unlock_irqrestore(&node->lock, irq);
	return slot;
}

/* A slot out of the blocks, past the magazines, or NULL. */
static void *take_direct(struct blockslab_node *node, size_t size)
{
	void *slot;

	return READ_ONCE(node->nr_free) && take_many(node, size, 1, &slot) ? slot : NULL;
}

/* This node if it has free slots in its blocks, or some other that may serve, or NULL. */
static struct blockslab_node *node_with_slots(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_class *class = node->class;
	int nid;

	if (READ_ONCE(node->nr_free))
		return node;
	if (gfp & __GFP_THISNODE)
		return NULL;
	for_each_online_node(nid)
		if (READ_ONCE(class->nodes[nid].nr_free))
			return &class->nodes[nid];
	return NULL;
}

/* Whether a trim finds anything without other CPUs. */
static bool heap_keeps(struct blockslab_heap *heap)
{
	struct blockslab_node *node;
	bool keeps = atomic_long_read(&heap->kept) > 0 || watch_has(heap);

	rcu_read_lock();	/* a magazine may go meanwhile */
	for (node = node_after(heap, NULL); node && !keeps; node = node_after(heap, node)) {
		struct blockslab_cpu *line = raw_cpu_ptr(node_cpu(node));
		/* take_in() */
		struct blockslab_magazine *spare = smp_load_acquire(&line->spare);

		keeps = READ_ONCE(line->tally) & BLOCKSLAB_COUNT || READ_ONCE(node->hand) ||
			 (spare && READ_ONCE(spare->count));
	}
	rcu_read_unlock();
	return keeps;
}

/*
 * The worker of deferred frees is one, and they who defer may be many: without this, four CPUs that
 * did nothing else had it fall behind until memory was out. Who may sleep waits for it before more
 * pages are asked for, once a share of memory, most of what the heap holds, is its to free.
 */
static bool deferred_much(struct blockslab_heap *heap, gfp_t gfp)
{
	unsigned long pages = atomic_read(&heap->deferring);

	if (likely(pages <= totalram_pages() / DEFERRED_SHARE) || !gfpflags_allow_blocking(gfp))
		return false;
	/* of these blocks as much as of those that the worker noted last */
	pages = pages * READ_ONCE(deferred_part) / 256;
	return pages > totalram_pages() / DEFERRED_SHARE &&
	       pages > held_bytes(heap) / PAGE_SIZE / 2;
}

/* For a request that would be refused what is cached goes back; false if there was nothing. */
static bool heap_reclaim(struct blockslab_heap *heap, gfp_t gfp)
{
	bool wait, waited = false;

	if (irqs_disabled())
		return false;
	wait = gfpflags_allow_blocking(gfp);
	/* Not for who would rather do without: a grace period is long. */
	if (wait && fails(gfp) && !(gfp & __GFP_NORETRY))
		waited = deferred_await(heap);
	wait = wait && heap_may_ask(heap);
	if (!wait && !waited && !heap_keeps(heap))
		return false;
	heap_trim(heap, wait);
	return true;
}

static struct blockslab_node *add_block(struct blockslab_block *block)
{
	struct blockslab_node *node = block->node;
	unsigned long irq;

	block_prepare(block);
	spin_lock_irqsave(&node->lock, irq);
	block_link(block);
	spin_unlock_irqrestore(&node->lock, irq);
	heap_arm(node->class->heap);
	return node;
}

/* Whether the node has a new block, out of its own pages. If it lacks them: asked once a jiffy. */
static bool own_pages(struct blockslab_node *node, gfp_t gfp)
{
	u32 now = (u32)jiffies | 1;
	struct blockslab_block *block;

	if (READ_ONCE(node->lacking) == now || deferred_much(node->class->heap, gfp))
		return false;		/* more_slots() waits */
	block = block_new(node, (gfp & ~GFP_EFFORT) | __GFP_THISNODE | __GFP_NOWARN);
	if (block)
		add_block(block);
	else
		WRITE_ONCE(node->lacking, now);
	return block;
}

/* A slot of another node than this one that is cached, by this CPU or in a depot, or NULL. */
static void *take_elsewhere(struct blockslab_node *node, size_t size, gfp_t gfp)
{
	void *slot;
	int nid;

	for_each_online_node(nid) {
		struct blockslab_node *other = &node->class->nodes[nid];

		if (other == node)
			continue;
		slot = take_cached(other, size);
		if (!slot && READ_ONCE(other->stored[true]))
			slot = bring_slots(other, size, gfp | __GFP_NOWARN);
		if (slot)
			return slot;
	}
	return NULL;
}

/*
 * Sees to it that there are free slots; the node that has them, or NULL. By every means, the cheap
 * ones first: another node's free slots are used before another node's pages, and what the heap
 * caches before its reserve; that before the page allocator tries as hard as it can, which may be
 * for ever. May sleep as @gfp says; no lock is held.
 */
static struct blockslab_node *more_slots(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_heap *heap = node->class->heap;
	gfp_t first = heap->reserves ? gfp | __GFP_NORETRY | __GFP_NOWARN : gfp;
	struct blockslab_node *other = node_with_slots(node, gfp);
	struct blockslab_block *block = NULL;

	if (!other && deferred_much(heap, gfp) && deferred_await(heap))
		other = node_with_slots(node, gfp);
	if (!other)
		block = block_new(node, first);
	if (!block && !other && heap_reclaim(heap, gfp)) {
		other = node_with_slots(node, gfp);
		if (!other)
			block = block_new(node, first);
	}
	if (!block && !other)
		block = reserve_take(node, gfp);
	if (!block && !other && heap->reserves && gfpflags_allow_blocking(gfp))
		block = block_new(node, gfp);
	return block ? add_block(block) : other;
}

/* A slot, from the nearest place that has one; or NULL. The CPU's own may be @empty. */
static void *take_slot(struct blockslab_node *node, size_t size, gfp_t gfp, bool empty)
{
	void *slot = empty ? NULL : take_cached(node, size);
	bool elsewhere = nr_node_ids > 1 && !(gfp & __GFP_THISNODE);

	while (!slot && node) {
		slot = bring_slots(node, size, gfp | __GFP_NOWARN) ?: take_direct(node, size);
		if (slot || (elsewhere && own_pages(node, gfp)))
			continue;
		if (elsewhere)
			slot = take_elsewhere(node, size, gfp);
		if (!slot)
			node = more_slots(node, gfp);
	}
	return slot;
}

/* A slot with a note, or NULL: then it is left untracked. */
static void *alloc_tracked(struct blockslab_node *node, size_t size, gfp_t gfp,
			   unsigned long caller)
{
	struct blockslab_class *class;
	void *slot;

	gfp |= __GFP_NORETRY | __GFP_NOWARN;	/* it would do without */
	class = tracked_class(node->class, gfp);
	if (!class)
		return NULL;
	slot = take_slot(&class->nodes[node_id(node)], size, gfp, true);
	if (!slot || !watch_take(own_block(slot), slot, caller))
		return NULL;
	watch_alloc(own_block(slot), slot, class->asked ?: size, gfp, caller);
	return slot;
}

/*
 * There is no slot but for tracked ones, or coarse ones, if at all: of a heap at its limit these
 * may be all that it has for a size.
 */
static noinline void *take_last(struct blockslab_node *node, size_t size, gfp_t gfp,
				unsigned long caller)
{
	struct blockslab_class *class = node->class, *tracked = READ_ONCE(class->tracked);
	struct blockslab_class *coarse = coarse_find(class->heap, class->kind, class->index);
	struct blockslab_node *from = NULL;
	void *slot = NULL;

	if (tracked && node_with_slots(&tracked->nodes[node_id(node)], gfp))
		slot = alloc_tracked(node, size, gfp, caller);
	if (!slot && coarse)
		from = node_with_slots(&coarse->nodes[node_id(node)], gfp);
	if (from)
		slot = take_direct(from, size);
	if (!slot && !class_coarse(class))	/* the size's own is tried yet */
		count_fail(node, gfp);
	return slot;
}

/* The same, tracked if it is its turn. */
static void *alloc_from(struct blockslab_node *node, size_t size, gfp_t gfp, bool empty,
			unsigned long caller)
{
	void *slot;

	if (unlikely(READ_ONCE(node->class->heap->track)) && sampled(node, size)) {
		slot = alloc_tracked(node, size, gfp, caller);
		if (slot)
			return slot;
	}
	return take_slot(node, size, gfp, empty) ?: take_last(node, size, gfp, caller);
}

/*
 * The fast path of these lines gave nothing, and perhaps no more than that is out of the ordinary.
 * False where the special way is to be gone.
 */
static bool alloc_missing(struct blockslab_cpu __percpu *lines, size_t credit, size_t size,
			  unsigned long canary, gfp_t gfp, unsigned long caller, void **slot)
{
	struct blockslab_cpu *line;

	if (lines == no_class)
		return false;
	if (take_again(lines, credit, canary, slot))
		return true;
	line = raw_cpu_ptr(lines + home_node());
	if (unlikely(READ_ONCE(line->node->class->rests)))
		return false;
	might_alloc(gfp);
	*slot = alloc_from(line->node, size, gfp, !(READ_ONCE(line->tally) & BLOCKSLAB_COUNT),
			   caller);
	return *slot || !(gfp & __GFP_NOFAIL) || !gfpflags_allow_blocking(gfp);
}

/* What a caller wants that takes the special way */
struct request {
	struct blockslab_heap *heap;	/* to take it from */
	struct blockslab_class *class;	/* a cache's; NULL: what serves the size */
	size_t size;			/* bytes of each slot */
	size_t nr;			/* slots of the whole call, those had already among them */
	gfp_t gfp;			/* flags */
	int nid;			/* node, or NUMA_NO_NODE */
	unsigned long caller;		/* for reports and traces */
};

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

/*
 * Up to @nr slots of this CPU's magazines for its own node, each counted as @credit; none of those
 * lines that stand for no class.
 */
static size_t pop_many(struct blockslab_cpu __percpu *lines, size_t credit, unsigned long canary,
		       size_t nr, void **slots)
{
	struct blockslab_cpu *line;
	size_t got = 0;

	preempt_disable();
	line = blockslab_home_line(lines);
	if (likely(blockslab_claim(line))) {
		credit_follow(line);
		if (unlikely(line->credit < (long)(nr * credit))) {
			/* 32 bits of credit come to an end without tracking, too */
			if (line->node && !READ_ONCE(line->node->class->heap->track))
				grant(line, CREDIT);
			/* the next one may have to be tracked */
			nr = min_t(size_t, nr, max_t(long, line->credit, 0) / credit);
		}
		while (got < nr && has_slots(line))
			got += pop(line, nr - got, slots + got, canary);
		blockslab_sub(line->credit, got * credit);
		blockslab_unclaim(line);
	}
	preempt_enable();
	return got;
}

static size_t pop_class(struct blockslab_class *class, size_t size, size_t nr, void **slots)
{
	return pop_many(READ_ONCE(class->cpu), credit_size(class, size), class->canary, nr, slots);
}

/*
 * A call for so many slots gets what this CPU's magazines lack past them: it would have to trade
 * them each time. Not while they are smaller than they might be: they grow by trades.
 */
static size_t many(const struct blockslab_cpu *line)
{
	unsigned int capacity;

	if (unlikely(!line->node) || READ_ONCE(line->node->class->rests))	/* or of no class */
		return 1;
	capacity = READ_ONCE(line->node->capacity);
	return READ_ONCE(line->capacity) < capacity ? SIZE_MAX : capacity / 4 + 1;
}

/* Up to @nr slots; fewer only where there are no more. */
static size_t alloc_many(const struct request *want, struct blockslab_class *class, size_t nr,
			 void **slots)
{
	struct blockslab_node *node = &class->nodes[home_node()];
	size_t got = pop_class(class, want->size, nr, slots);

	/* One magazine shall hold such a call, if it may. */
	while (got < nr &&
	       magazines_grow_to(node, min_t(size_t, BULK_BYTES / class->size, 2 * want->nr)))
		;
	/* This CPU's magazines are empty. Each turn gets one at least, or is the last. */
	while (got < nr) {
		if (want->nr >= many(raw_cpu_ptr(node_cpu(node))) &&
		    !READ_ONCE(class->heap->track))
			got += take_many(node, want->size, nr - got, slots + got);
		if (got == nr)
			break;
		/* Brings a magazine, too, if this CPU's line can be claimed. */
		slots[got] = alloc_from(node, want->size, want->gfp, false, want->caller);
		if (!slots[got])
			break;
		got++;
		got += pop_class(class, want->size, nr - got, slots + got);
	}
	return got;
}
