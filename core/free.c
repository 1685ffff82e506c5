// SPDX-License-Identifier: GPL-2.0
/*
 * Free: fast, checked, and many at once
 *
 * The fast path (fast.h) takes what is certain, and free_again() what lacks room alone; all else
 * passes one check, slot_fault(), and then goes where there is room: this CPU's magazines, or its
 * block. A slot that has its canary is free, wherever it lies: no magazine is searched. Many at
 * once go by runs of one class and node, into a magazine under one claim or by one flush.
 *
 * What it does not do: it cannot tell a free by a former owner of a slot that has a new one, nor
 * one of a slot whose canary was written over since. Locks: none held here; node->lock is taken
 * below. Blocks are looked at under rcu_read_lock().
 */

/* Whether a size is one of those that a slot of this block is for. */
static bool slot_serves(struct blockslab_block *block, unsigned int number, size_t size)
{
	struct blockslab_class *class = block->node->class;
	unsigned int index;

	if (!class->size)
		return size > BLOCKSLAB_SLOT_MAX && PFN_UP(size) == block->nr_pages;
	if (size > (class->canary ?: class->size))
		return false;
	if (class->index >= NR_SIZES || !size)
		return class->index >= NR_SIZES;
	index = heap_index(class->heap, size);
	return class_coarse(class) ? index_size[index] == usable_bytes(block, number) :
			       index == class->index;
}

static bool size_wrong(struct blockslab_block *block, unsigned int number, size_t size)
{
	struct blockslab_note *note = note_of(block, number);

	if (note)
		return size != note->asked;
	if (READ_ONCE(block->sizes) > block->size)
		return size > usable_bytes(block, number);
	return !slot_serves(block, number, size);
}

#define ANY_SIZE	SIZE_MAX

/*
 * What is wrong with a pointer as a slot that its caller has. The one check of every call that
 * takes one. @block is block_of() it; @cache may be NULL for any. Under RCU.
 */
static enum fault slot_fault(struct blockslab_block *block, const void *slot, size_t size,
			     const struct blockslab_heap *cache)
{
	struct blockslab_node *node;
	long number;

	if (!block)
		return FOREIGN;
	node = block->node;
	number = slot_number(block, slot);
	if (number < 0 || number >= block->nr_slots)
		return INSIDE;
	if (cache && node->class->heap != cache)
		return WRONG_CACHE;
	/* In the order in which it gets them: so one is seen, whatever happens meanwhile. */
	if (test_bit(number, deferred_map(block)))
		return DOUBLE_FREE;
	smp_rmb();	/* ripe_free_slot() */
	if (has_canary(node, slot) || slot_is_free(block, number) || slot_waits(block, number))
		return DOUBLE_FREE;
	if (size != ANY_SIZE && size_wrong(block, number, size))
		return WRONG_SIZE;
	return NO_FAULT;
}

/* The block of a slot that its caller has; NULL, and a report, of what is none. Under RCU. */
static struct blockslab_block *checked_block(const void *slot, size_t size,
					     const struct blockslab_heap *cache,
					     unsigned long caller)
{
	struct blockslab_block *block = block_of(slot);
	enum fault fault = slot_fault(block, slot, size, cache);

	if (likely(!fault))
		return block;
	report(fault, .slot = slot, .block = block, .caller = caller);
	return NULL;
}

/* Into this CPU's magazines; false if there is no room, nor on the shelf. Takes no lock. */
static bool put_cached(struct blockslab_node *node, const void *slot)
{
	struct blockslab_cpu *line = claim_line(node);
	bool put;

	if (!line)
		return false;
	put = has_room(line);
	if (put) {
		WRITE_ONCE(line->loaded[blockslab_count(line)], (void *)slot);
		blockslab_add(line->tally, 1);
		put_canary(node, slot);		/* it has it, but for free_deferred()'s */
	}
	unclaim_line(line);
	return put;
}

/* A slot that has its canary, and no room in the magazines, is made some, or goes to its block. */
static void put_elsewhere(const struct blockslab_block *block, const void *slot)
{
	struct blockslab_node *node = block->node;
	void *one = (void *)slot;

	if (!block_reserved(block) && bring_room(node) && put_cached(node, slot))
		return;
	heap_arm(node->class->heap);
	flush_slots(node, &one, 1, 1);
}

/* A slot that has its canary goes where there is room; of the reserve, where all CPUs find it. */
static noinline void free_to(const struct blockslab_block *block, const void *slot)
{
	if (block_reserved(block) || !put_cached(block->node, slot))
		put_elsewhere(block, slot);
}

/* A checked slot that is not cached, or whole pages, into its block. */
static void put_direct(struct blockslab_block *block, const void *slot, unsigned long caller)
{
	unsigned int number = slot_number(block, slot);
	struct blockslab_node *node = block->node;
	struct blockslab_heap *heap = node->class->heap;
	struct blockslab_block *goes = NULL;
	unsigned long irq;
	LIST_HEAD(gone);

	spin_lock_irqsave(&node->lock, irq);
	if (test_and_set_free(block, number)) {
		report(DOUBLE_FREE, .slot = slot, .block = block, .caller = caller,
		       .done = "the slot is free once", .locked = true);
	} else {
		if (class_coarse(node->class))
			count_shared(heap, usable_bytes(block, number), -1);
		blockslab_add(node->frees, 1);
		block->nr_free++;
		blockslab_add(node->nr_free, 1);
		/* What is of the reserve serves other classes as soon as it is empty. */
		if (block != node->hand || block->reserved) {
			block_returned(block, &gone);
			if (!node->class->size && block->state == BLOCK_RETAINED)
				goes = large_goes(block);
			if (goes)
				block_unlink(goes, &gone);
			retained_look(node, &gone);
		}
	}
	heap_arm(heap);		/* a trim that came before this has found nothing */
	spin_unlock_irqrestore(&node->lock, irq);
	if (unlikely(!list_empty(&gone)))
		put_blocks(&gone);
}

/*
 * What was found to be a slot of its caller's. Who frees it, too, finds its canary before anything
 * is written there: the page of the other one's slot may have gone meanwhile.
 */
static void free_found(struct blockslab_block *block, const void *slot, unsigned long caller)
{
	struct blockslab_node *node = block->node;
	bool taken;

	if (block_watched(block)) {
		watch_free(block, (void *)slot, caller);
		return;
	}
	if (node->class->key == KEY_SLOW) {
		if (block->notes && !exact_free(block, (void *)slot, caller))
			return;
		before_free(block, (void *)slot, caller);
		put_direct(block, slot, caller);
		return;
	}
	preempt_disable();	/* the look is no longer ago than need be */
	taken = block_of(slot) == block && slot_take(node, slot);
	preempt_enable();
	if (taken) {
		before_free(block, (void *)slot, caller);
		free_to(block, slot);
	} else {
		report(DOUBLE_FREE, .slot = slot, .block = block, .caller = caller);
	}
}

/* Everything that the fast path does not do. @cache is NULL for any heap's. */
static noinline void free_checked(const void *slot, size_t size,
				  const struct blockslab_heap *cache, unsigned long caller)
{
	struct blockslab_block *block;

	rcu_read_lock();
	block = checked_block(slot, size, cache, caller);
	if (block)
		free_found(block, slot, caller);
	rcu_read_unlock();
}

/* What slots of one class and node have in common, which are freed in a row. */
struct run {
	struct blockslab_cpu *line;	/* of the class and node, this CPU's */
	unsigned long mark;		/* their pages' key word */
	unsigned long word;		/* offset of a slot's canary */
};

/* The page of a run's slots that was looked at last */
struct seen {
	const void *page;		/* its first byte; NULL for none yet, and all below */
	struct blockslab_block *block;	/* it is of */
	unsigned long before;		/* bytes of the block before it */
	unsigned long recip;		/* of the block */
};

/* The run that a slot begins, of any heap or of a cache; false where it begins none. */
static __always_inline bool run_begin(struct run *run, const void *slot,
				      const struct blockslab_cache *cache)
{
	unsigned long offset = blockslab_offset(slot), lines;
	struct page *page = blockslab_page(offset);
	struct blockslab_block *block;

	if (unlikely(blockslab_beyond(offset)) ||
	    unlikely(!blockslab_page_serves(page, !cache, &cache->pages, &block, &lines)))
		return false;
	run->line = raw_cpu_ptr((struct blockslab_cpu __percpu *)lines);
	run->mark = lines + (cache ? cache->pages.keyed - cache->pages.first : BLOCKSLAB_KEY_FAST);
	run->word = cache ? cache->pages.canary : 0;
	/* all classes without lines have the same, of none */
	return likely(run->line->node);
}

/* Looks at the page of a slot; false if it is not of the run. With preemption off, or under RCU. */
static __always_inline bool run_enter(unsigned long mark, const void *slot, struct seen *seen)
{
	unsigned long offset = blockslab_offset(slot);
	struct page *page = blockslab_page(offset);

	if (unlikely(blockslab_beyond(offset)) ||
	    unlikely(blockslab_words(page, NULL, &seen->block) != mark) ||
	    unlikely(!blockslab_is_block(page, seen->block)))
		return false;
	seen->page = slot - offset_in_page(slot);
	seen->before = seen->page - seen->block->base;
	seen->recip = seen->block->recip;
	OPTIMIZER_HIDE_VAR(seen->recip);	/* that it has 32 bits, of which GCC makes a copy */
	return true;
}

/*
 * Gives a slot of the run its canary, at *@word of it, if all is well with it, as a free sees it.
 */
static __always_inline bool run_free(unsigned long mark, unsigned long *word, const void *slot,
				     unsigned long canary, struct seen *seen)
{
	unsigned long offset = slot - seen->page;
	long number;

	if (offset >= PAGE_SIZE) {
		if (!run_enter(mark, slot, seen))
			return false;
		offset = slot - seen->page;
	}
	number = blockslab_number_at(offset + seen->before, seen->recip);
	if (unlikely(number < 0 || blockslab_has_canary(blockslab_word(slot, *word), canary) ||
		     slot_is_free(seen->block, number)))
		return false;
	OPTIMIZER_HIDE_VAR(*word);	/* as in blockslab_free_fast() */
	*blockslab_word(slot, *word) = canary;
	return true;
}

/* Into a claimed line's loaded magazine. Out of line, for registers. */
static noinline size_t push(struct blockslab_cpu *line, unsigned long mark, unsigned long word,
			    size_t nr, void **slots)
{
	void **to = line->loaded + blockslab_count(line), *slot;
	unsigned long secret = blockslab_canary(NULL);
	struct seen seen = {};
	size_t i;

	nr = min_t(size_t, nr, line->capacity - blockslab_count(line));
	for (i = 0; i < nr; i++) {
		slot = slots[i];
		if (unlikely(!run_free(mark, &word, slot, secret + (unsigned long)slot, &seen)))
			break;
		data_race(to[i] = slot);	/* as in a free */
	}
	blockslab_add(line->tally, i);
	return i;
}

/*
 * Frees slots from the first on into this CPU's magazines, as long as they are of one class and
 * node, nothing is wrong with them, and there is room. Returns how many.
 */
static __always_inline size_t push_run(size_t nr, void **slots, const struct blockslab_cache *cache)
{
	struct run run;
	size_t put = 0;

	preempt_disable();
	if (likely(run_begin(&run, slots[0], cache)) && likely(blockslab_claim(run.line))) {
		while (put < nr && has_room(run.line)) {
			put += push(run.line, run.mark, run.word, nr - put, slots + put);
			if (blockslab_count(run.line) < run.line->capacity)
				break;
		}
		blockslab_unclaim(run.line);
	}
	preempt_enable();
	return put;
}

/*
 * Frees the rest of slots, @put of which went to the magazines, straight into their blocks: up to
 * RUN_MAX, as long as they are of one class and node, and nothing is wrong. Only where there were
 * many, or the next slot and one farther on tell that there are. Returns how many. Under RCU: the
 * class may go with the first of them.
 */
static noinline size_t return_rest(size_t put, size_t nr, void **slots,
				   const struct blockslab_cache *cache)
{
	struct blockslab_node *node;
	struct seen seen;
	size_t least, i;
	struct run run;

	if (!run_begin(&run, slots[0], cache))
		return 0;
	node = run.line->node;
	least = max_t(size_t, many(run.line), 2);
	if (put && !run_enter(run.mark, slots[-1], &seen))
		put = 0;		/* those were of another run */
	/* A second magazine comes by the free of a single slot. */
	if ((!READ_ONCE(run.line->spare) && may_have_spare(node) &&
	     !READ_ONCE(node->class->rests)) ||
	    (put < least && (nr < least || !run_enter(run.mark, slots[1], &seen) ||
			     !run_enter(run.mark, slots[least - 1], &seen))))
		return 0;
	seen = (struct seen){};
	nr = min_t(size_t, nr, RUN_MAX);
	preempt_disable();	/* the look at one is no longer ago than need be */
	for (i = 0; i < nr; i++)
		if (!run_free(run.mark, &run.word, slots[i], blockslab_canary(slots[i]), &seen))
			break;
	preempt_enable();
	if (!i)
		return 0;
	heap_arm(node->class->heap);
	flush_slots(node, slots, i, i);
	return i;
}

/* Whether a slot of a block is allocated, as the fast path sees it; and its @number. */
static __always_inline bool slot_plain(const struct blockslab_block *block, const void *slot,
				       unsigned long canary, long *number)
{
	*number = blockslab_number_at((u32)(slot - block->base), block->recip);
	return likely(*number >= 0) &&
	       likely(!blockslab_has_canary(blockslab_word(slot, canary),
					    blockslab_canary(slot))) &&
	       likely(!test_bit(*number, block->map));
}

/*
 * The fast path once more, of a slot whose page has the key, if this CPU's loaded magazine, which
 * had no room, has some now. Else the slot goes where there is. With preemption off; ends with it
 * on.
 */
static bool free_again(const struct blockslab_block *block, unsigned long lines, const void *slot,
		       size_t size, const struct blockslab_cache *cache)
{
	struct blockslab_cpu *line = raw_cpu_ptr((struct blockslab_cpu __percpu *)lines);
	unsigned long word = cache ? cache->pages.canary : 0;
	struct blockslab_node *node = line->node;
	bool room, taken = false;
	long number;

	if (node && (size == ANY_SIZE || block->size - size < block->sizes) &&
	    blockslab_claim(line)) {
		room = has_room(line);
		blockslab_unclaim(line);
		if (room)
			return blockslab_free_fast(block, lines, slot, word);
		taken = slot_plain(block, slot, word, &number) && slot_take(node, slot);
	}
	rcu_read_lock();	/* its class may go with the slot */
	preempt_enable();
	if (taken)
		put_elsewhere(block, slot);
	rcu_read_unlock();
	return taken;
}

/* The fast path did not take a slot; most often for want of room. */
static noinline void free_missed(const void *slot, size_t size,
				 const struct blockslab_cache *cache, unsigned long caller)
{
	unsigned long offset = blockslab_offset(slot), lines;
	struct page *page = blockslab_page(offset);
	struct blockslab_block *block;
	bool serves;

	if (ZERO_OR_NULL_PTR(slot))
		return;
	preempt_disable();
	serves = !blockslab_beyond(offset) &&
		 blockslab_page_serves(page, !cache, &cache->pages, &block, &lines) &&
		 blockslab_is_block(page, block);
	if (!serves)
		preempt_enable();
	if (!serves || !free_again(block, lines, slot, size, cache))
		free_checked(slot, size, cache ? cache->heap : NULL, caller);
}

/**
 * blockslab_free() - free a slot
 * @slot: from any allocating call, of any heap; NULL and ZERO_SIZE_PTR are fine
 *
 * A pointer that is no allocated slot is reported, and nothing else happens.
 *
 * Context: any but NMI; on PREEMPT_RT not with interrupts off. Timers may be started, so a tracer
 * of these, or of the scheduler, calls blockslab_free_nolock().
 */
void blockslab_free(const void *slot)
{
	if (unlikely(!blockslab_free_try(slot, ANY_SIZE, true, NULL)))
		free_missed(slot, ANY_SIZE, NULL, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free);

/**
 * blockslab_free_sized() - free a slot whose size is known
 * @slot: as for blockslab_free()
 * @size: as it was asked for
 *
 * A size that the slot cannot have been allocated with is reported, and the slot is not freed.
 *
 * Context: as blockslab_free().
 */
void blockslab_free_sized(const void *slot, size_t size)
{
	size = min(size, ANY_SIZE - 1);
	if (unlikely(!blockslab_free_try(slot, size, true, NULL)))
		free_missed(slot, size, NULL, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_sized);

/* What the magazines did not take of many: all but the first @done. */
static noinline void free_rest(size_t done, size_t nr, void **slots,
			       const struct blockslab_cache *cache, unsigned long caller)
{
	size_t put = done;

	if (cache && !heap_usable(cache->heap, caller))
		return;
	while (done < nr) {
		rcu_read_lock();
		done += return_rest(put, nr - done, slots + done, cache);
		rcu_read_unlock();
		/* What ended the run, be it the lack of room. */
		if (done < nr && (cache || !blockslab_free_try(slots[done], ANY_SIZE, true, NULL)))
			free_missed(slots[done], ANY_SIZE, cache, caller);
		put = ++done < nr ? push_run(nr - done, slots + done, cache) : 0;
		done += put;
	}
}

static __always_inline void free_many(size_t nr, void **slots, const struct blockslab_cache *cache,
				      unsigned long caller)
{
	size_t put = nr ? push_run(nr, slots, cache) : 0;

	if (unlikely(put < nr))
		free_rest(put, nr, slots, cache, caller);
}

/**
 * blockslab_free_bulk() - free many slots
 * @nr: how many
 * @slots: of any heaps and sizes; NULLs among them are fine
 *
 * Context: as blockslab_free().
 */
void blockslab_free_bulk(size_t nr, void **slots)
{
	free_many(nr, slots, NULL, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_bulk);

/*
 * The block of an allocated slot with which nothing is out of the ordinary, as the fast path sees
 * it, and the slot's @number; else NULL. With @other one, too, that is of a cache, coarse, whole
 * pages, or on a page where frees are deferred, be it its own. With preemption off.
 */
static __always_inline struct blockslab_block *
plain_block(const void *slot, bool other, long *number)
{
	unsigned long offset = blockslab_offset(slot), lines, key;
	struct page *page = blockslab_page(offset);
	struct blockslab_block *block;

	if (unlikely(blockslab_beyond(offset)))
		return NULL;
	key = blockslab_words(page, &lines, &block) - lines;
	if (likely(key == BLOCKSLAB_KEY_FAST))
		return slot_plain(block, slot, 0, number) ? block : NULL;
	if (!other || (key != KEY_CACHE && !key_is_slow(key)) || !blockslab_is_block(page, block) ||
	    (block->notes && !class_coarse(block->node->class)))
		return NULL;
	return slot_plain(block, slot, block->node->class->canary, number) ? block : NULL;
}

/* The same of any that is not about to be freed. With preemption off. */
static __always_inline struct blockslab_block *other_block(const void *slot)
{
	struct blockslab_block *block;
	long number;

	block = plain_block(slot, true, &number);
	return block && !test_bit(number, deferred_map(block)) ? block : NULL;
}

static noinline size_t usable_checked(const void *slot, unsigned long caller)
{
	struct blockslab_block *block;
	size_t usable = 0;

	rcu_read_lock();
	block = checked_block(slot, ANY_SIZE, NULL, caller);
	if (block) {
		usable = usable_bytes(block, slot_number(block, slot));
		kasan_slot(slot, slot_bytes(block), usable);
	}
	rcu_read_unlock();
	return usable;
}

static noinline size_t usable_other(const void *slot, unsigned long caller)
{
	struct blockslab_block *block;
	size_t usable = 0;

	preempt_disable();
	block = other_block(slot);
	if (likely(block))
		usable = block->size ? usable_bytes(block, slot_number(block, slot)) :
				       block->nr_pages * PAGE_SIZE;
	preempt_enable();
	return likely(usable) ? usable : usable_checked(slot, caller);
}

static size_t usable_size(const void *slot, unsigned long caller)
{
	struct blockslab_block *block;
	size_t usable;
	long number;

	preempt_disable();
	block = plain_block(slot, false, &number);
	usable = likely(block) ? block->size : 0;
	preempt_enable();
	return likely(usable) ? usable : usable_other(slot, caller);
}

/**
 * blockslab_usable_size() - bytes that may be used of a slot
 * @slot: an allocated slot; NULL and ZERO_SIZE_PTR have 0 bytes
 *
 * Context: any.
 * Return: the slot's size, at least what was asked for; just that in heaps with
 * BLOCKSLAB_RED_ZONE, and where the slot is tracked, as what lies behind it is watched then. All of
 * it may be written to, also under FORTIFY: where the compiler knows the allocation and would not
 * let so much be written, it is what it would. 0, and a report, for a pointer that is no slot.
 */
size_t blockslab_usable_size(const void *slot)
{
	return ZERO_OR_NULL_PTR(slot) ? 0 : usable_size(slot, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_usable_size);

/**
 * blockslab_size_roundup() - bytes that an allocation of a size would give
 * @size: in bytes
 *
 * Context: any.
 * Return: the slot size of the class that serves it, or whole pages; what the shared heap gives.
 */
size_t blockslab_size_roundup(size_t size)
{
	return size > SIZE_MAX - PAGE_SIZE ? size : blockslab_room(size);
}
EXPORT_SYMBOL_GPL(blockslab_size_roundup);
