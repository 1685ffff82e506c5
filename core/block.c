// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks: lists by fullness, slots by bitmap
 */

static unsigned int block_state(const struct blockslab_block *block)
{
	unsigned int used = block->nr_slots - block->nr_free;

	if (!block->nr_free)
		return BLOCK_FULL;
	if (!used)
		return BLOCK_RETAINED;
	return BLOCK_PARTIAL + (block->nr_free - 1) * NR_PARTIAL / block->nr_slots;
}

static long retained_bytes(const struct blockslab_block *block)
{
	return block->state == BLOCK_RETAINED ? block_bytes(block) : 0;
}

/* As retention counts, in eight bytes: a block, and a node's empty ones. */
static unsigned int block_words(const struct blockslab_block *block)
{
	return block_bytes(block) / 8;
}

static unsigned int retained_words(const struct blockslab_node *node)
{
	return READ_ONCE(node->retained) / 8;
}

/* Bytes of a node's empty blocks come, or go. */
static void count_retained(struct blockslab_node *node, long bytes)
{
	if (!bytes)
		return;
	blockslab_add(node->retained, bytes);
	heap_tell_kept(node->class->heap, &node->retention, node->retained);
}

/* A descriptor was written to. The bitmap is believed; without its pages, nothing is free. */
static noinline __cold void block_mend(struct blockslab_block *block)
{
	unsigned int bits = bitmap_weight(block->map, block->nr_slots);
	bool sound;

	block->nr_free = bits;
	sound = block_sound(block);
	report(DAMAGED, .slot = block, .locked = true,
	       .done = sound ? "its count of free slots was taken from its bitmap" : NULL);
	if (sound)
		return;
	blockslab_sub(block->node->nr_free, bits);
	block->nr_free = 0;
}

/* Full ones are counted, and in no list: nobody looks for them. */
static __always_inline void block_delist(struct blockslab_block *block)
{
	blockslab_sub(block->node->nr[block->state], 1);
	if (block->state != BLOCK_FULL)
		__hlist_del(&block->listed);
}

/* Puts a block on the list of a @state, which its number of free slots names. */
static noinline void block_relist(struct blockslab_block *block, unsigned int state)
{
	struct blockslab_node *node = block->node;
	long retained = -retained_bytes(block);

	lockdep_assert_held(&node->lock);
	/* Before all of its pages are given away, it must be certain. */
	if (unlikely(block->nr_free > block->nr_slots ||
		     (state == BLOCK_RETAINED && !bitmap_full(block->map, block->nr_slots)))) {
		block_mend(block);
		state = block_state(block);
	}
	block_delist(block);
	block->state = state;
	blockslab_add(node->nr[state], 1);
	if (state != BLOCK_FULL)
		hlist_add_head(&block->listed, &node->blocks[state]);
	count_retained(node, retained + retained_bytes(block));
}

/* Most often it is there already. */
static __always_inline void block_list(struct blockslab_block *block)
{
	unsigned int state = block_state(block);

	if (state != block->state)
		block_relist(block, state);
}

/* The one that came to a list last. There is one. */
static struct blockslab_block *first_block(const struct blockslab_node *node, unsigned int state)
{
	return hlist_entry(node->blocks[state].first, struct blockslab_block, listed);
}

/* To be done before lists are looked at. */
static void hand_down(struct blockslab_node *node)
{
	struct blockslab_block *block = node->hand;

	lockdep_assert_held(&node->lock);
	node->hand = NULL;
	if (block)
		block_list(block);
}

static void block_link(struct blockslab_block *block)
{
	struct blockslab_node *node = block->node;

	lockdep_assert_held(&node->lock);
	heap_missed(node, block_words(block));
	retention_missed(&node->retention, block_words(block), UINT_MAX);
	atomic_long_dec(&node->class->heap->moving);
	list_add_tail(&block->all, &node->all);
	blockslab_add(node->nr_slots, block->nr_slots);
	blockslab_add(node->nr_free, block->nr_free);
	blockslab_add(node->pages, block->nr_pages * PAGE_SIZE);
	node->aside += bytes_around(block);
	block->state = BLOCK_FULL;
	blockslab_add(node->nr[BLOCK_FULL], 1);
	block_list(block);
}

static void place_start(struct place *place, struct blockslab_node *node)
{
	unsigned long irq;

	spin_lock_irqsave(&node->lock, irq);
	place->node = node;
	place->next = node->all.prev;
	place->block = NULL;
	list_add(&place->list, &node->places);
	spin_unlock_irqrestore(&node->lock, irq);
}

/* The next block, which stays valid while the lock is held; NULL at the end. */
static struct blockslab_block *place_next(struct place *place)
{
	lockdep_assert_held(&place->node->lock);
	place->block = NULL;
	if (place->next != &place->node->all) {
		place->block = list_entry(place->next, struct blockslab_block, all);
		place->next = place->next->prev;
	}
	return place->block;
}

static void place_end(struct place *place)
{
	struct blockslab_node *node = place->node;
	unsigned long irq;

	if (!node)
		return;
	spin_lock_irqsave(&node->lock, irq);
	list_del(&place->list);
	spin_unlock_irqrestore(&node->lock, irq);
	place->node = NULL;
}

/* A block is about to leave node->all: nobody is to come to it any more. */
static void places_leave(struct blockslab_block *block)
{
	struct place *place;

	list_for_each_entry(place, &block->node->places, list) {
		if (place->block == block)
			place->block = NULL;
		if (place->next == &block->all)
			place->next = block->all.prev;
	}
}

/* Takes a block off its node, for block_put(). */
static void block_unlink(struct blockslab_block *block, struct list_head *gone)
{
	struct blockslab_node *node = block->node;

	lockdep_assert_held(&node->lock);
	atomic_long_inc(&node->class->heap->moving);
	count_retained(node, -retained_bytes(block));
	blockslab_sub(node->nr_slots, block->nr_slots);
	blockslab_sub(node->nr_free, block->nr_free);
	blockslab_sub(node->pages, block->nr_pages * PAGE_SIZE);
	node->aside -= bytes_around(block);
	if (node->hand == block)
		node->hand = NULL;
	places_leave(block);
	list_del(&block->all);
	block_delist(block);
	block->state = BLOCK_UNLISTED;
	list_add(&block->list, gone);
}

static void put_blocks(struct list_head *gone)
{
	struct blockslab_block *block, *next;

	list_for_each_entry_safe(block, next, gone, list) {
		list_del(&block->list);
		block_put(block);
	}
}

static noinline struct blockslab_block *fullest_block(struct blockslab_node *node)
{
	struct blockslab_block *block;
	unsigned int state;

	hand_down(node);
	for (state = BLOCK_PARTIAL; state <= BLOCK_RETAINED; state++) {
		if (!node->nr[state])
			continue;
		block = first_block(node, state);
		if (READ_ONCE(node->class->heap->state) == HEAP_DEBUG) {
			node->hand = block;
			retention_taken(&node->retention, retained_words(node));
		}
		return block;
	}
	return NULL;
}

/*
 * The fullest block with a free slot, so that sparse ones can drain. Where slots are not cached it
 * stays in hand until it is full: one slot that comes and goes would have it listed anew each time.
 */
static __always_inline struct blockslab_block *best_block(struct blockslab_node *node)
{
	lockdep_assert_held(&node->lock);
	return node->hand && node->hand->nr_free ? node->hand : fullest_block(node);
}

/* After slots went out of it; what has some out is never among the empty ones. */
static void block_taken(struct blockslab_block *block)
{
	if (block != block->node->hand || block->state == BLOCK_RETAINED)
		block_list(block);
}

/* The bitmap had fewer slots than its count, for @nr slots, the last @got of which are there. */
static noinline __cold void take_fewer(struct blockslab_block *block, void **slots,
				       unsigned int nr, unsigned int got)
{
	report(DAMAGED, .slot = block, .locked = true,
	       .done = "free slots that are none were left out");
	memmove(slots, slots + nr - got, got * sizeof(*slots));
	block->nr_free = got;
}

/* The next one of a word's bits from a random one of its first @nr on. */
static __always_inline unsigned int random_bit(u32 *seed, unsigned long bits, unsigned int nr)
{
	*seed = *seed * 1664525 + 1013904223;	/* Numerical Recipes, 7.1 */
	return __ffs(bits & ~0UL << ((*seed >> 16) * nr >> 16) ?: bits);
}

/*
 * Takes up to @nr slots out of a block, the last one first, a bitmap word at a time. Neighbours in
 * a fresh block do not go out one after the other.
 */
static unsigned int take_slots(struct blockslab_block *block, void **slots, unsigned int nr)
{
	unsigned long *word = block->map, size = block->size, bits, tail;
	unsigned int got, rest = block->nr_slots, here, free, bit;
	void *base = block->base, **to;
	u32 seed = block->node->seed;

	lockdep_assert_held(&block->node->lock);
	nr = min_t(unsigned int, nr, block->nr_free);
	for (to = slots + nr; to > slots && rest; rest -= here, base += size * here, word++) {
		here = min_t(unsigned int, rest, BITS_PER_LONG);
		tail = here < BITS_PER_LONG ? *word & ~0UL << here : 0;
		bits = *word ^ tail;
		free = hweight_long(bits);
		got = min_t(unsigned int, free, to - slots);
		if (READ_ONCE(shuffle) && free > here / 2)
			for (; got; got--, bits ^= BIT(bit)) {
				bit = random_bit(&seed, bits, here);
				data_race(*--to = base + size * bit);	/* as in a free */
			}
		for (; got; got--, bits &= bits - 1)
			data_race(*--to = base + size * __ffs(bits));	/* the same */
		WRITE_ONCE(*word, bits | tail);
	}
	block->node->seed = seed;
	got = slots + nr - to;
	if (unlikely(got < nr))
		take_fewer(block, slots, nr, got);
	block->nr_free -= got;
	blockslab_sub(block->node->nr_free, got);
	block_taken(block);
	return got;
}

/* Takes a slot out of a sound block, or NULL. */
static void *take_one(struct blockslab_block *block)
{
	unsigned int bit, rest = block->nr_slots;
	struct blockslab_node *node = block->node;
	unsigned long *word = block->map, bits;

	lockdep_assert_held(&node->lock);
	for (; rest > BITS_PER_LONG && !*word; rest -= BITS_PER_LONG)
		word++;
	bits = rest < BITS_PER_LONG ? *word & ~(~0UL << rest) : *word;
	if (unlikely(!bits))
		return NULL;
	bit = READ_ONCE(shuffle) ?
	      random_bit(&node->seed, bits, min_t(unsigned int, rest, BITS_PER_LONG)) : __ffs(bits);
	WRITE_ONCE(*word, *word ^ BIT(bit));
	block->nr_free--;
	blockslab_sub(node->nr_free, 1);
	block_taken(block);
	return slot_address(block, block->size, block->nr_slots - rest + bit);
}

/*
 * Takes up to @nr slots out of a node's blocks. Not @ahead of need out of the reserve, which is for
 * all CPUs: one, where there is no other.
 */
static unsigned int take_from_blocks(struct blockslab_node *node, void **slots, unsigned int nr,
				     bool ahead)
{
	struct blockslab_block *block;
	unsigned int got = 0;

	lockdep_assert_held(&node->lock);
	while (got < nr) {
		block = best_block(node);
		if (!block) {
			WRITE_ONCE(node->nr_free, 0);	/* after damage, too: see more_slots() */
			break;
		}
		if (unlikely(ahead && block->reserved)) {
			if (got)
				break;
			nr = 1;
		}
		if (likely(block_sound(block))) {
			got += take_slots(block, slots + got, nr - got);
		} else {
			block_mend(block);
			hand_down(node);
			block_list(block);
		}
	}
	retention_taken(&node->retention, retained_words(node));
	return got;
}

/* An empty block goes, which may be missed. */
static void block_give_back(struct blockslab_block *block, struct list_head *gone)
{
	block->node->retention.given_back += block_words(block);
	block_unlink(block, gone);
}

/* The empty block that came first. */
static struct blockslab_block *oldest_retained(const struct blockslab_node *node)
{
	struct blockslab_block *block = first_block(node, BLOCK_RETAINED);

	while (block->listed.next)
		block = hlist_entry(block->listed.next, struct blockslab_block, listed);
	return block;
}

/*
 * A block has become empty; to @gone with what is too many: with it, or, of whole pages, which are
 * of many sizes, with those that came first, where any may be kept.
 */
static noinline void block_emptied(struct blockslab_block *block, struct list_head *gone)
{
	struct blockslab_node *node = block->node;
	struct blockslab_heap *heap = node->class->heap;
	bool ended = heap_destroyed(heap);
	bool exact = node->class->noted && !class_coarse(node->class);
	unsigned int keep = ended || exact ? 0 : node->retention.keep;

	if (keep && overstocked(heap)) {
		node->refused += block_words(block);
		keep = 0;
	}
	if (block->reserved && !ended) {
		block_give_back(block, gone);
		return;
	}
	while (node->nr[BLOCK_RETAINED] > keep_least(node) && retained_words(node) > keep) {
		block_give_back(keep && !node->class->size ? oldest_retained(node) : block, gone);
		if (block->state == BLOCK_UNLISTED)
			break;
	}
}

/* After slots came back to a block; to @gone with it if it is empty and one too many. */
static __always_inline void block_returned(struct blockslab_block *block, struct list_head *gone)
{
	block_list(block);
	if (block->state == BLOCK_RETAINED)
		block_emptied(block, gone);
}

static __always_inline bool test_and_set_free(struct blockslab_block *block, unsigned int number)
{
	lockdep_assert_held(&block->node->lock);
	/* who tests a bit without the lock sees it as it was before or is after */
	return data_race(__test_and_set_bit(number, block->map));
}

/* Marks slots free from the first on, as long as they are of the first one's block; how many. */
static unsigned int return_run(struct blockslab_block *block, void **slots, unsigned int nr)
{
	size_t bytes = (size_t)block->nr_pages * PAGE_SIZE, offset;
	unsigned int i, twice = 0;
	void *base = block->base;
	u32 recip = block->recip;
	long number;

	for (i = 0; i < nr && (offset = slots[i] - base) < bytes; i++) {
		number = blockslab_number_at(offset, recip);
		if (likely(number >= 0 && !test_and_set_free(block, number)))
			continue;
		/* Freed twice: at the same time on two CPUs, or written to in between. */
		report(DOUBLE_FREE, .slot = slots[i], .block = block, .locked = true,
		       .done = "the slot is free once");
		twice++;
	}
	block->nr_free += i - twice;
	blockslab_add(block->node->nr_free, i - twice);
	blockslab_sub(block->node->frees, twice);
	return i;
}

/* Empty blocks that were not needed go back. */
static void retained_look(struct blockslab_node *node, struct list_head *gone)
{
	unsigned int unneeded = retention_look(&node->retention, retained_words(node), 1,
					       node->class->size ? ROUND : ROUND_LARGE);
	struct blockslab_block *block;

	lockdep_assert_held(&node->lock);
	while (unneeded && node->nr[BLOCK_RETAINED] > keep_least(node)) {
		block = first_block(node, BLOCK_RETAINED);
		if (block_words(block) > unneeded)
			break;
		unneeded -= block_words(block);
		block_unlink(block, gone);
	}
	node->retention.least = min(node->retention.least, retained_words(node));
}

/* Returns slots to their blocks; blocks that are empty and too many go to @gone. */
static void return_slots(struct blockslab_node *node, void **slots, unsigned int nr,
			 struct list_head *gone)
{
	struct blockslab_block *block;
	unsigned int done, run;

	lockdep_assert_held(&node->lock);
	for (done = 0; done < nr; done += run) {
		block = block_of(slots[done]);
		if (unlikely(!block || block->node != node || block->state == BLOCK_UNLISTED)) {
			/* Freed twice, written to in between, and its block given back. */
			report(FOREIGN, .slot = slots[done], .locked = true,
			       .done = "it was dropped");
			blockslab_sub(node->frees, 1);
			run = 1;
			continue;
		}
		run = return_run(block, slots + done, nr - done);
		block_returned(block, gone);
	}
	retained_look(node, gone);
}

/* Slots that have their canaries go into their blocks, @freed ones of them by their owners now. */
static void flush_slots(struct blockslab_node *node, void **slots, unsigned int nr,
			unsigned int freed)
{
	unsigned long irq;
	LIST_HEAD(gone);

	spin_lock_irqsave(&node->lock, irq);
	blockslab_add(node->frees, freed);
	return_slots(node, slots, nr, &gone);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
}
