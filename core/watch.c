// SPDX-License-Identifier: GPL-2.0
/*
 * Watching: tracked slots are looked after for what nobody may write to
 *
 * They have classes and blocks of their own (class.c, sample.c). A slot lies between zones that
 * hold a pattern, and so does what lies between the bytes asked for and its end; whole pages get a
 * page before them and one behind. All that is looked at when the slot is freed. Then it is filled,
 * and kept out of its block: the latest of each heap, the oldest out first. On its way out, when it
 * is taken again and by blockslab_validate() it is looked at once more. A slot that somebody wrote
 * to or beside is never given out again. What a constructor made, or an RCU reader may still look
 * at, is not filled: there only what lies around it is watched.
 *
 * Who wrote across the end of a slot and all of the zone behind it has reached the zone before the
 * next one; the first slot is named then, whichever is freed first.
 *
 * What it does not do: it finds no read after free, and no write that leaves the bytes as they
 * were. Locks: watch->lock for the slots that are kept, node->lock for their number; a slot's state
 * is changed by cmpxchg, and by who made it WATCH_BUSY. Nothing is told under either.
 */

/* Freed slots of a heap that are kept from reuse */
struct watch {
	spinlock_t lock;	/* all that follows */
	unsigned int first;	/* the oldest */
	unsigned int nr;	/* how many */
	size_t bytes;		/* of the blocks of all of them, each as if it were the only one */
	void *slots[WATCH_SLOTS];	/* the ring */
};

static bool watch_has(const struct blockslab_heap *heap)
{
	struct watch *watch = READ_ONCE(heap->watch);

	return watch && READ_ONCE(watch->nr);
}

/* Bytes of a slot that are filled when it is freed. */
static size_t filled(struct blockslab_block *block)
{
	return keeps_content(block->node->class->heap) ? 0 : slot_bytes(block);
}

/* The first byte behind so many of a slot's that is not as it was left, or NULL. */
static const void *wrong_behind(struct blockslab_block *block, const void *slot, size_t from)
{
	size_t end = slot_stride(block) - (block->node->class->size ? WATCH_ZONE : 0);

	return first_other(slot + from, SLUB_RED_ACTIVE, end - from);
}

static const void *wrong_before(const void *slot)
{
	return first_other(slot - WATCH_ZONE, SLUB_RED_ACTIVE, WATCH_ZONE);
}

/* The first wrong byte of a slot that is nobody's, or NULL. What keeps its content is a cache's. */
static const void *wrong_free(struct blockslab_block *block, const void *slot)
{
	size_t fill = filled(block);

	return first_other(slot, POISON_FREE, fill) ?:
	       wrong_behind(block, slot, fill ?: block->node->class->asked);
}

static void watch_tell(enum fault fault, struct blockslab_block *block, const void *slot,
		       const void *wrong, unsigned long caller, bool locked)
{
	size_t fill = fault == AFTER_FREE ? filled(block) : 0;

	report(fault, .slot = slot, .block = block, .caller = caller, .done = NO_REUSE,
	       .damage = wrong, .locked = locked,
	       .expected = wrong < slot + fill ? POISON_FREE : SLUB_RED_ACTIVE);
}

/* A free slot was written to, or an allocated one beside it, if anything is @wrong; told once. */
static void tell_once(enum fault fault, struct blockslab_block *block, const void *slot,
		      const void *wrong, unsigned long caller, bool locked)
{
	u32 was = fault == AFTER_FREE ? WATCH_KEPT : WATCH_LIVE;
	u32 told = fault == AFTER_FREE ? WATCH_BAD : WATCH_TOLD;

	if (unlikely(wrong) && cmpxchg(&note_at(block, slot)->state, was, told) == was)
		watch_tell(fault, block, slot, wrong, caller, locked);
}

/* Whether the zone before a slot was reached from the one before, whose own zone is gone then. */
static bool reached_from_before(const u8 *slot, unsigned int number)
{
	return number && slot[-WATCH_ZONE - 1] != SLUB_RED_ACTIVE;
}

/* What was written to the zone before a slot is laid to the slot before that; all is well then. */
static void tell_reached(struct blockslab_block *block, void *slot, unsigned int number,
			 unsigned long caller)
{
	void *other = slot - slot_stride(block);
	struct blockslab_note *note = note_of(block, number - 1);
	const void *wrong = wrong_behind(block, other, READ_ONCE(note->asked));
	bool kept = READ_ONCE(note->state) == WATCH_KEPT;

	tell_once(kept ? AFTER_FREE : PAST_SLOT, block, other, wrong, kept ? 0 : caller, false);
	memset(slot - WATCH_ZONE, SLUB_RED_ACTIVE, WATCH_ZONE);
}

/* Whether all is well around a slot that is freed; else that is told. */
static bool zones_whole(struct blockslab_block *block, void *slot, unsigned long caller)
{
	unsigned int number = slot_number(block, slot);
	const void *wrong = wrong_behind(block, slot, note_of(block, number)->asked);

	if (wrong) {
		watch_tell(PAST_SLOT, block, slot, wrong, caller, false);
		return false;
	}
	wrong = wrong_before(slot);
	if (wrong && reached_from_before(slot, number)) {
		tell_reached(block, slot, number, caller);
		return true;
	}
	if (wrong)
		watch_tell(BEFORE_SLOT, block, slot, wrong, caller, false);
	return !wrong;
}

/* A slot has left its owner, and waits; true if for ever. A heap that has ended has none such. */
static bool watch_count(struct blockslab_block *block, struct blockslab_note *note,
			enum watch_state state)
{
	struct blockslab_node *node = block->node;
	unsigned long irq;

	spin_lock_irqsave(&node->lock, irq);
	blockslab_add(node->frees, 1);
	blockslab_add(node->waiting, 1);
	smp_mb();	/* watch_end() */
	if (state == WATCH_LOST && heap_destroyed(node->class->heap))
		state = WATCH_BUSY;
	WRITE_ONCE(note->state, state);
	if (!node->class->size)
		node->aside += slot_bytes(block);
	spin_unlock_irqrestore(&node->lock, irq);
	return state == WATCH_LOST;
}

/* A slot that waits goes back into its block, and the block to @gone if it is one too many. */
static void watch_return(struct blockslab_block *block, void *slot, struct list_head *gone)
{
	struct blockslab_node *node = block->node;

	lockdep_assert_held(&node->lock);
	blockslab_sub(node->waiting, 1);
	if (node->class->size) {
		return_slots(node, &slot, 1, gone);
	} else {
		node->aside -= slot_bytes(block);
		test_and_set_free(block, 0);
		block_unlink(block, gone);
	}
}

/* Into its block; but a bad one stays: see watch_forgive(). */
static void watch_put(struct blockslab_block *block, void *slot)
{
	struct blockslab_node *node = block->node;
	unsigned long irq;
	LIST_HEAD(gone);

	spin_lock_irqsave(&node->lock, irq);
	if (heap_destroyed(node->class->heap) ||
	    cmpxchg(&note_at(block, slot)->state, WATCH_BAD, WATCH_LOST) != WATCH_BAD)
		watch_return(block, slot, &gone);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
}

/* A slot that was kept long enough. One that was written to meanwhile stays. */
static void watch_let_go(void *slot)
{
	struct blockslab_block *block = own_block(slot);

	tell_once(AFTER_FREE, block, slot, wrong_free(block, slot), 0, false);
	watch_put(block, slot);
}

static void *watch_pop(struct watch *watch)
{
	void *slot = watch->slots[watch->first];

	lockdep_assert_held(&watch->lock);
	watch->first = (watch->first + 1) % WATCH_SLOTS;
	WRITE_ONCE(watch->nr, watch->nr - 1);
	watch->bytes -= block_bytes(own_block(slot));
	return slot;
}

/* Lets go of the oldest slots, no more than there can be, until they are of so many bytes. */
static void watch_trim(struct watch *watch, size_t most)
{
	unsigned int run = WATCH_SLOTS;
	unsigned long irq;
	void *slot;

	do {
		spin_lock_irqsave(&watch->lock, irq);
		slot = watch->bytes > most ? watch_pop(watch) : NULL;
		spin_unlock_irqrestore(&watch->lock, irq);
		if (slot)
			watch_let_go(slot);
	} while (slot && --run);
}

/* Has a heap keep a slot, in place of its oldest if there are many. */
static void watch_push(struct watch *watch, void *slot)
{
	void *oldest = NULL;
	unsigned long irq;

	spin_lock_irqsave(&watch->lock, irq);
	if (watch->nr == WATCH_SLOTS)
		oldest = watch_pop(watch);
	watch->slots[(watch->first + watch->nr) % WATCH_SLOTS] = slot;
	WRITE_ONCE(watch->nr, watch->nr + 1);
	watch->bytes += block_bytes(own_block(slot));
	spin_unlock_irqrestore(&watch->lock, irq);
	if (oldest)
		watch_let_go(oldest);
}

/* Lets go of all that a heap keeps. */
static void watch_empty(struct blockslab_heap *heap)
{
	if (watch_has(heap))
		watch_trim(READ_ONCE(heap->watch), 0);
}

#define WATCH_RUN	32

/* Whether a block has no slot in use but those that are never given out again. */
static bool only_bad(struct blockslab_block *block)
{
	unsigned int number, bad = 0;

	for_each_clear_bit(number, block->map, block->nr_slots)
		bad += READ_ONCE(block->notes[number].state) == WATCH_LOST;
	return bad && bad + block->nr_free == block->nr_slots;
}

/* Lets bad slots go, @all or those alone in their block; true if there may be more. */
static bool watch_forgive(struct blockslab_node *node, bool all)
{
	struct blockslab_block *block;
	struct blockslab_note *note;
	unsigned int number, nr = 0;
	void *slots[WATCH_RUN];
	unsigned long irq;
	LIST_HEAD(gone);

	spin_lock_irqsave(&node->lock, irq);
	list_for_each_entry(block, &node->all, all) {
		if (!nr_notes(block) || !(all || only_bad(block)))
			continue;
		for_each_clear_bit(number, block->map, block->nr_slots) {
			note = note_of(block, number);
			if (nr == WATCH_RUN || READ_ONCE(note->state) != WATCH_LOST)
				continue;
			WRITE_ONCE(note->state, WATCH_BAD);	/* does not wait any more */
			slots[nr++] = slot_address(block, node->class->size, number);
		}
	}
	for (number = 0; number < nr; number++)
		watch_return(own_block(slots[number]), slots[number], &gone);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
	return nr == WATCH_RUN;
}

/* The heap ends, or gives back all that it can: nothing is kept. */
static void watch_end(struct blockslab_heap *heap)
{
	struct blockslab_node *node;

	watch_empty(heap);
	smp_mb();	/* watch_count() */
	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		while (READ_ONCE(node->waiting) && watch_forgive(node, heap != &blockslab_shared))
			cond_resched();
}

/* Makes a slot that was taken its taker's; false where it must not be given out. */
static bool watch_take(struct blockslab_block *block, void *slot, unsigned long caller)
{
	struct blockslab_note *note = note_at(block, slot);

	tell_once(AFTER_FREE, block, slot, wrong_free(block, slot), 0, false);
	if (likely(cmpxchg(&note->state, WATCH_KEPT, WATCH_BUSY) == WATCH_KEPT))
		return true;
	if (!watch_count(block, note, WATCH_LOST))
		watch_put(block, slot);
	return false;
}

/* A tracked slot, or whole pages, are an owner's from now on. */
static void watch_alloc(struct blockslab_block *block, void *slot, size_t size, gfp_t gfp,
			unsigned long caller)
{
	struct blockslab_note *note = note_at(block, slot);
	struct blockslab_class *class = block->node->class;

	if (class->size && zero_wanted(class->heap, gfp))
		memset(slot, 0, size);
	if (block_watched(block))
		memset(slot + size, SLUB_RED_ACTIVE, slot_bytes(block) - size);
	if (bytes_around(block)) {
		memset(slot - WATCH_ZONE, SLUB_RED_ACTIVE, WATCH_ZONE);
		memset(slot + slot_bytes(block), SLUB_RED_ACTIVE, PAGE_SIZE);
	}
	note_alloc(note, size, READ_ONCE(class->heap->track) ?: 1, gfp, caller);
	smp_store_release(&note->state, WATCH_LIVE);	/* all is as it should be around it */
}

/* What is freed is kept for a while, as one of those whose blocks have up to @most bytes. */
static void watch_keep(struct watch *watch, struct blockslab_block *block, void *slot, size_t most)
{
	struct blockslab_heap *heap = block->node->class->heap;

	if (!watch || block_bytes(block) > most || heap_destroyed(heap)) {
		watch_put(block, slot);
		return;
	}
	watch_push(watch, slot);
	watch_trim(watch, most);
	smp_mb();	/* heap_end() sets its state, and then empties it */
	if (heap_destroyed(heap))
		watch_empty(heap);
}

/* A checked slot, of which one free of many at the same time is the one. */
static void watch_free(struct blockslab_block *block, void *slot, unsigned long caller)
{
	struct blockslab_note *note = note_at(block, slot);
	struct blockslab_heap *heap = block->node->class->heap;
	size_t most = kib_bytes(READ_ONCE(watch_kib));
	/* Large ones are not filled, and go back at once. */
	bool kept = block->node->class->size || block_bytes(block) <= most;
	u32 was = READ_ONCE(note->state);
	bool whole;

	do {
		if (was > WATCH_TOLD) {
			report(DOUBLE_FREE, slot, block, caller);
			return;
		}
	} while (!try_cmpxchg(&note->state, &was, WATCH_BUSY));
	note_freed_by(note, caller);
	whole = was == WATCH_LIVE && zones_whole(block, slot, caller);
	WRITE_ONCE(note->period, 0);
	tell_free(block, slot, caller);
	if (kept)
		memset(slot, POISON_FREE, filled(block));
	heap_arm(heap);
	if (!watch_count(block, note, !whole ? WATCH_LOST : kept ? WATCH_KEPT : WATCH_BUSY))
		watch_keep(READ_ONCE(heap->watch), block, slot, most);
}

/* Looks at a slot under its node's lock, live as it is; 1 where something is wrong, and told. */
static unsigned int validate_watched(struct blockslab_block *block, unsigned int number)
{
	void *slot = slot_address(block, block->node->class->size, number);
	struct blockslab_note *note = note_of(block, number);
	u32 state = smp_load_acquire(&note->state);	/* watch_alloc() */
	enum fault fault = PAST_SLOT;
	const void *wrong;

	lockdep_assert_held(&block->node->lock);
	if (state == WATCH_BUSY || state >= WATCH_BAD)
		return 0;
	if (state == WATCH_KEPT) {
		fault = AFTER_FREE;
		wrong = wrong_free(block, slot);
	} else {
		wrong = wrong_behind(block, slot, READ_ONCE(note->asked));
	}
	if (!wrong && fault == PAST_SLOT && !reached_from_before(slot, number)) {
		fault = BEFORE_SLOT;
		wrong = wrong_before(slot);
	}
	smp_rmb();	/* who changes bytes changes the state first */
	if (!wrong || READ_ONCE(note->state) != state)
		return 0;
	tell_once(fault, block, slot, wrong, 0, true);
	return 1;
}

/* Under heap->control, or before it is known. Without memory it keeps none. */
static void watch_init(struct blockslab_heap *heap)
{
	struct watch *watch;

	if (heap->watch || heap->flags & EXACT_FLAGS)
		return;
	watch = meta_alloc(BLOCKSLAB_FAIL_TRACK, sizeof(*watch), GFP_KERNEL, NUMA_NO_NODE);
	if (!watch)
		return;
	spin_lock_init(&watch->lock);
	smp_store_release(&heap->watch, watch);		/* initialized */
	atomic_long_add(sizeof(*watch), &heap->fixed);
}
