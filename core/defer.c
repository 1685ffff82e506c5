// SPDX-License-Identifier: GPL-2.0
/*
 * Deferred frees: after a grace period, and from NMI
 *
 * A slot whose free is deferred is marked in its block's second bitmap, by one atomic bit, in any
 * context and without memory. From then on a second free of it is told at once: the key of its page
 * leads every free there to the check. A worker takes the blocks that have marks, notes which,
 * waits for a grace period, and frees those slots; what is marked since waits for its next turn. So
 * every mark waits for a grace period, those from NMI too, and whoever set one is through with the
 * block when its slot is freed, as he was an RCU reader. A block whose last slot is freed while it
 * is queued again goes by the worker: see enum block_queued.
 *
 * What it does not do: it keeps no batches, per CPU or else. Locks: none; the worker is one, and
 * deferred_much() has others wait for it.
 */

/* One of the times that a block of so many pages was queued is over. */
static void deferred_done(struct blockslab_heap *heap, unsigned int nr_pages)
{
	smp_mb__before_atomic();	/* deferred_finish() */
	atomic_sub(nr_pages, &heap->deferring);
}

/* What is noted of a block: the marks that a grace period makes ripe. */
struct ripe {
	struct blockslab_block *block;
	unsigned long marks[];
};

#define RIPE_WORDS	4096	/* of notes for one grace period: some 2000 blocks */

static unsigned long ripe_words[RIPE_WORDS];		/* the worker's */
static_assert(BITS_TO_LONGS(BLOCK_SLOTS_MAX + 1) < RIPE_WORDS);

/* Words that the note of a block takes. */
static unsigned int ripe_size(const struct blockslab_block *block)
{
	return 1 + map_words(block->nr_slots);
}

/*
 * Notes the marks of a block that was queued, which stays as long as it has any; how many, as 0
 * where it may be gone. Who marks from now on queues it again; none can where its only slot is
 * marked.
 */
static unsigned int ripe_note(struct ripe *ripe, struct blockslab_block *block)
{
	struct blockslab_heap *heap = block->node->class->heap;
	const unsigned long *marks = deferred_map(block);
	unsigned int nr_pages = block->nr_pages, nr = 0, word;

	ripe->block = block;
	if (xchg(&block->queued, 0) == BLOCK_LEFT) {
		block_put(block);
		deferred_done(heap, nr_pages);
		return 0;
	}
	for (word = 0; word < map_words(block->nr_slots); word++) {
		ripe->marks[word] = READ_ONCE(marks[word]);
		nr += hweight_long(ripe->marks[word]);
	}
	if (!nr)
		deferred_done(heap, nr_pages);
	return nr;
}

/*
 * Notes as many blocks as there is room for, and takes them off @rest; how many words that took.
 * Those of one slot, which hold most, need no note, and go to @alone, however many they are.
 */
static unsigned int ripe_gather(struct llist_node **rest, struct llist_node **alone)
{
	unsigned int used = 0, size, nr;
	struct blockslab_block *block;
	u64 pages = 0, marked = 0;

	rcu_read_lock();	/* one without marks may go at once */
	while (*rest) {
		block = llist_entry(*rest, struct blockslab_block, deferred);
		size = ripe_size(block);
		if (used + size > RIPE_WORDS)
			break;
		*rest = block->deferred.next;	/* before it may be queued again */
		nr = ripe_note((struct ripe *)&ripe_words[used], block);
		if (!nr)
			continue;
		pages += block->nr_pages;
		marked += block->nr_pages * 256 * nr / block->nr_slots;
		if (block->nr_slots > 1) {
			used += size;
		} else {
			block->deferred.next = *alone;
			*alone = &block->deferred;
		}
	}
	rcu_read_unlock();
	if (pages)
		WRITE_ONCE(deferred_part, div64_u64(marked, pages));
	return used;
}

/*
 * Frees a marked slot. If it is to be cached, it has its canary before its mark goes: so nobody
 * finds it his own in between. The mark goes last, as without any the block may go.
 */
static void ripe_free_slot(struct blockslab_block *block, unsigned int number)
{
	struct blockslab_node *node = block->node;
	void *slot = slot_address(block, node->class->size, number);
	bool cached = node->class->key != KEY_SLOW;
	bool taken = cached && slot_take(node, slot);

	if (taken)
		before_free(block, slot, 0);
	page_defer(virt_to_page(slot), node->class, false);
	smp_mb__before_atomic();	/* who finds no mark finds the canary */
	clear_bit(number, deferred_map(block));
	if (taken)
		free_to(block, slot);
	else if (cached)	/* freed meanwhile by who saw no mark yet */
		report(DOUBLE_FREE, .slot = slot, .block = block);
	else
		free_found(block, slot, 0);
}

/* Frees ripe slots. The block may go with the last of them, its descriptor does later. */
static void ripe_free(struct blockslab_block *block, const unsigned long *marks)
{
	unsigned int nr_pages = block->nr_pages, number;
	struct blockslab_heap *heap;

	rcu_read_lock();
	heap = block->node->class->heap;
	for_each_set_bit(number, marks, block->nr_slots)
		ripe_free_slot(block, number);
	deferred_done(heap, nr_pages);
	rcu_read_unlock();
	cond_resched();
}

/* A turn: what is queued from now on has its own, so that who waits for one does so for a while. */
static void deferred_work_fn(struct work_struct *work)
{
	struct llist_node *rest = llist_del_all(&deferred_blocks), *alone = NULL;
	static const unsigned long only_slot = BIT(0);
	struct blockslab_block *block, *next;
	unsigned int used, at;

	while ((used = ripe_gather(&rest, &alone)) || alone) {
		synchronize_rcu();
		llist_for_each_entry_safe(block, next, alone, deferred)
			ripe_free(block, &only_slot);
		alone = NULL;
		for (at = 0; at < used;) {
			struct ripe *ripe = (struct ripe *)&ripe_words[at];

			at += ripe_size(ripe->block);
			ripe_free(ripe->block, ripe->marks);
		}
	}
	WRITE_ONCE(deferred_turns, deferred_turns + 1);
}

/* Has the worker look at a block that has a mark; false where that has gone. Any context. */
static noinline bool defer_block(struct blockslab_block *block, u32 queued)
{
	if (!queued)
		queued = cmpxchg(&block->queued, 0, BLOCK_QUEUED);
	if (!queued) {
		atomic_add(block->nr_pages, &block->node->class->heap->deferring);
		if (llist_add(&block->deferred, &deferred_blocks))
			works_ask_by_irq();
	}
	return queued != BLOCK_GONE;
}

/* Marks a checked slot; false where it was marked before. Any context, under RCU. */
static __always_inline bool defer_mark(struct blockslab_block *block, struct page *page,
				       unsigned int number)
{
	u32 queued;

	if (test_and_set_bit(number, deferred_map(block)))
		return false;
	queued = READ_ONCE(block->queued);
	if (unlikely(queued != BLOCK_QUEUED) && !defer_block(block, queued))
		return false;
	page_defer(page, block->node->class, true);
	return true;
}

/* The same, and notes who did. */
static bool defer_free(struct blockslab_block *block, const void *slot, unsigned long caller)
{
	unsigned int number = slot_number(block, slot);
	struct blockslab_note *note = note_of(block, number);

	if (!defer_mark(block, virt_to_page(slot), number))
		return false;
	/* Stacks are kept under locks: the interrupted may have one, and on RT they sleep. */
	if (note && !in_nmi() && !irqs_disabled() &&
	    (!IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible()))
		note_freed_by(note, caller);
	return true;
}

/* Checks and defers, unless it may be freed at once and there is room for it. */
static noinline void free_deferred(const void *slot, bool now, unsigned long caller)
{
	struct blockslab_block *block;

	if (ZERO_OR_NULL_PTR(slot))
		return;
	rcu_read_lock();
	block = checked_block(slot, ANY_SIZE, NULL, caller);
	now = now && block && !static_branch_unlikely(&rare_free) &&
	      block->node->class->key == BLOCKSLAB_KEY_FAST && !block_reserved(block) &&
	      put_cached(block->node, slot);
	if (block && !now && !defer_free(block, slot, caller))
		report(DOUBLE_FREE, .slot = slot, .block = block, .caller = caller);
	rcu_read_unlock();
}

/**
 * blockslab_free_nolock() - free a slot in any context
 * @slot: as for blockslab_free()
 *
 * Goes into this CPU's magazine, or is left to a worker where that has no room, or the slot is of
 * a reserve.
 *
 * Context: any, NMI too.
 */
void blockslab_free_nolock(const void *slot)
{
	if (unlikely(!blockslab_free_try(slot, ANY_SIZE, true, NULL)))
		free_deferred(slot, true, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_nolock);

/**
 * blockslab_free_rcu() - free a slot after a grace period
 * @slot: as for blockslab_free(); needs no room in it, and RCU readers may go on reading it
 *
 * Whoever frees it once more in the meantime is told at once. Where very much waits, whoever may
 * sleep waits for it before the heap gets more pages.
 *
 * Context: any, NMI and PREEMPT_RT with interrupts off too. Does not sleep, and cannot fail for
 * want of memory.
 */
void blockslab_free_rcu(const void *slot)
{
	struct blockslab_block *block;
	long number;
	bool done;

	preempt_disable();
	block = plain_block(slot, true, &number);
	done = block && defer_mark(block, blockslab_page(blockslab_offset(slot)), number);
	preempt_enable();
	if (unlikely(!done))
		free_deferred(slot, false, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_rcu);
