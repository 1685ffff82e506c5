// SPDX-License-Identifier: GPL-2.0
/*
 * Free
 */

static bool slots_hold(void **slots, unsigned int count, const void *slot)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		if (READ_ONCE(slots[i]) == slot)
			return true;
	return false;
}

static bool line_holds(struct blockslab_cpu *line, const void *slot)
{
	struct blockslab_magazine *spare = smp_load_acquire(&line->spare);	/* take_in() */
	struct blockslab_magazine *loaded = loaded_magazine(line);
	unsigned int count = READ_ONCE(line->tally) & BLOCKSLAB_COUNT;

	if (loaded && slots_hold(loaded->slots, min_t(u16, count, loaded->capacity), slot))
		return true;
	return spare && slots_hold(spare->slots, READ_ONCE(spare->count), slot);
}

/* Whether a slot lies in a magazine of some CPU. Magazines live on for a grace period: no lock. */
static bool cpus_hold(struct blockslab_node *node, const void *slot)
{
	bool held = false;
	int cpu;

	rcu_read_lock();
	for_each_possible_cpu(cpu) {
		held = line_holds(node_line(node, cpu), slot);
		if (held)
			break;
	}
	rcu_read_unlock();
	return held;
}

static bool depot_holds(struct blockslab_node *node, const void *slot)
{
	struct blockslab_magazine *magazine = NULL;
	unsigned int steps = 0;
	bool held = false;

	rcu_read_lock();
	while (!held) {
		magazine = stack_next(&node->full, magazine, &steps);
		if (!magazine)
			break;
		held = slots_hold(magazine->slots, READ_ONCE(magazine->count), slot);
	}
	rcu_read_unlock();
	return held;
}

static bool size_wrong(struct blockslab_block *block, unsigned int number, size_t size)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_note *note = note_of(block, number);

	if (note)
		return size != note->asked;
	if (!class->size)
		return size <= BLOCKSLAB_SLOT_MAX || PFN_UP(size) != block->nr_pages;
	if (size > (class->canary ?: class->size))
		return true;
	return class->index < NR_SIZES && !READ_ONCE(class->heap->substituted) &&
	       (!size || heap_index(class->heap, size) != class->index);
}

#define ANY_SIZE	SIZE_MAX
#define ANY_INDEX	UINT_MAX

/* What is wrong with freeing a pointer. @cache may be NULL for any. */
static enum fault find_fault(struct blockslab_block *block, const void *slot, size_t size,
			     const struct blockslab_heap *cache)
{
	struct blockslab_node *node;
	long number;

	if (!block)
		return FOREIGN;
	node = block->node;
	number = node->class->size ? blockslab_number(block, slot) : slot == block->base ? 0 : -1;
	if (number < 0 || number >= block->nr_slots)
		return INSIDE;
	if (cache && node->class->heap != cache)
		return WRONG_CACHE;
	if (slot_is_free(block, number) || test_bit(number, deferred_map(block)))
		return DOUBLE_FREE;
	if (node->class->size &&
	    has_canary(node, slot) &&
	    (cpus_hold(node, slot) || depot_holds(node, slot)))
		return DOUBLE_FREE;
	if (size != ANY_SIZE && size_wrong(block, number, size))
		return WRONG_SIZE;
	return NO_FAULT;
}

/* Into this CPU's loaded or spare magazine; false if there is no room. Takes no lock. */
static bool put_cached(struct blockslab_node *node, const void *slot)
{
	struct blockslab_cpu *line = claim_line(node);
	bool put;

	if (!line)
		return false;
	if (blockslab_count(line) >= line->capacity && line->spare &&
	    line->spare->count < line->spare->capacity)
		swap_spare(line);
	put = blockslab_count(line) < line->capacity;
	if (put) {
		WRITE_ONCE(line->loaded[blockslab_count(line)], (void *)slot);
		blockslab_add(line->tally, 1);
		put_canary(node, slot);
	}
	unclaim_line(line);
	return put;
}

/* Straight into its block. */
static void free_direct(struct blockslab_node *node, const void *slot)
{
	unsigned long irq;
	LIST_HEAD(gone);

	if (node->class->key != KEY_SLOW)
		put_canary(node, slot);
	spin_lock_irqsave(&node->lock, irq);
	blockslab_add(node->frees, 1);
	return_slots(node, (void **)&slot, 1, &gone);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
}

/* A checked slot goes where there is room. */
static noinline void free_to(struct blockslab_node *node, const void *slot)
{
	int tries;

	for (tries = 0; tries < 3; tries++) {
		if (put_cached(node, slot))
			return;
		if (!bring_room(node))
			break;
	}
	heap_arm(node->class->heap);
	free_direct(node, slot);
}

/* Everything that the fast path does not do. */
static noinline void free_slow(const void *slot, size_t size, const struct blockslab_heap *cache,
			       unsigned long caller)
{
	struct blockslab_block *block;
	enum fault fault;

	if (ZERO_OR_NULL_PTR(slot))
		return;
	block = block_of(slot);
	fault = find_fault(block, slot, size, cache);
	if (unlikely(fault)) {
		report(fault, slot, block, caller);
		return;
	}
	if (!before_free(block, (void *)slot, caller))
		return;
	if (block->node->class->size)
		free_to(block->node, slot);
	else
		large_put(block, caller);
}

/* The same for any heap's slot. */
static __always_inline enum blockslab_freed free_any(const struct page *page, const void *slot)
{
	unsigned long sealed = blockslab_sealed(page);
	unsigned long mark = blockslab_mark(page, sealed, BLOCKSLAB_KEY_FAST);

	if (!blockslab_has_mark(page, mark))
		return BLOCKSLAB_DOUBTFUL;
	return blockslab_free_fast(page, &sealed, slot, mark, blockslab_word(slot, 0));
}

/* A slot beyond the span, or none at all; or something rare is to be done. */
static noinline void free_beyond(const void *slot, unsigned long caller)
{
	struct page *page = page_of(slot);

	if (!page || static_branch_unlikely(&rare_free) ||
	    free_any(page, slot) != BLOCKSLAB_FREED)
		free_slow(slot, ANY_SIZE, NULL, caller);
}

/**
 * blockslab_free() - free a slot
 * @slot: from any allocating call, of any heap; NULL and ZERO_SIZE_PTR are fine
 *
 * A pointer that is no allocated slot is reported, and nothing else happens.
 *
 * Context: any but NMI; on PREEMPT_RT not with interrupts off.
 */
void blockslab_free(const void *slot)
{
	unsigned long offset = blockslab_offset(slot);
	struct page *page;
	enum blockslab_freed freed;

	if (unlikely(blockslab_beyond(offset)))
		return free_beyond(slot, _RET_IP_);
	page = blockslab_page(offset);
	freed = free_any(page, slot);
	if (unlikely(freed == BLOCKSLAB_NO_ROOM))
		return free_to(blockslab_block_of(page)->node, slot);
	if (unlikely(freed == BLOCKSLAB_DOUBTFUL))
		free_slow(slot, ANY_SIZE, NULL, _RET_IP_);
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
	enum blockslab_freed freed = blockslab_free_sized_fast(slot, size);

	if (freed == BLOCKSLAB_NO_ROOM)
		return free_to(block_of(slot)->node, slot);
	if (freed == BLOCKSLAB_DOUBTFUL)
		free_slow(slot, min(size, ANY_SIZE - 1), NULL, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_sized);

/* The per-CPU state that a slot says it belongs to, sealed; or 0 where the slow path is due. */
static unsigned long slot_sealed(const void *slot, unsigned long key)
{
	unsigned long offset = blockslab_offset(slot);
	struct page *page = blockslab_page(offset);
	unsigned long sealed;

	if (blockslab_beyond(offset))
		return 0;
	sealed = blockslab_sealed(page);
	return blockslab_has_mark(page, blockslab_mark(page, sealed, key)) ? sealed : 0;
}

/* Slots of one class and node that are freed in a row. */
struct run {
	unsigned long sealed;
	unsigned long key;
	unsigned long canary;
	const void *page;		/* that was looked at last */
	unsigned long mark;		/* of that page */
	struct blockslab_block *block;	/* and its block */
	unsigned long before;		/* bytes of the block before that page */
	unsigned long recip;		/* of the block */
};

/* Looks at the page of a slot; false if it is not one of the run. */
static __always_inline bool run_enter(struct run *run, const void *slot)
{
	unsigned long offset = blockslab_offset(slot);
	struct page *page = blockslab_page(offset);
	unsigned long mark = blockslab_mark(page, run->sealed, run->key);

	if (unlikely(blockslab_beyond(offset)) || !blockslab_has_mark(page, mark))
		return false;
	run->page = slot - offset_in_page(slot);
	run->mark = mark;
	run->block = blockslab_block_of(page);
	run->before = run->page - run->block->base;
	run->recip = run->block->recip;
	return true;
}

/* The number in run->block of a slot of which all is well, as a free sees it; else -1. */
static __always_inline long run_check(struct run *run, const void *slot)
{
	unsigned long offset = slot - run->page;
	long number;

	if (offset >= PAGE_SIZE) {
		if (!run_enter(run, slot))
			return -1;
		offset = slot - run->page;
	}
	number = blockslab_number_at(offset + run->before, run->recip);
	if (unlikely(number < 0 || slot_is_free(run->block, number) ||
		     *blockslab_word(slot, run->canary) == run->mark))
		return -1;
	return number;
}

/*
 * Frees up to @nr slots into a claimed line's loaded magazine. Out of line, with a run of its own:
 * all that its loop needs is in registers then.
 */
static noinline size_t push(struct blockslab_cpu *line, struct run *run, size_t nr, void **slots)
{
	void **to = line->loaded + blockslab_count(line), *slot;
	struct run own = *run;
	size_t i;

	nr = min_t(size_t, nr, line->capacity - blockslab_count(line));
	for (i = 0; i < nr; i++) {
		slot = slots[i];
		if (unlikely(run_check(&own, slot) < 0))
			break;
		data_race(to[i] = slot);	/* as in a free */
		*blockslab_word(slot, own.canary) = own.mark;
	}
	blockslab_add(line->tally, i);
	*run = own;
	return i;
}

/* Frees up to @nr slots into this CPU's loaded and spare magazine. */
static __always_inline size_t push_many(struct run *run, size_t nr, void **slots)
{
	struct blockslab_cpu *line;
	size_t put = 0;

	if (!run_enter(run, slots[0]))
		return 0;
	preempt_disable();
	line = blockslab_sealed_line(run->sealed);
	if (likely(blockslab_claim(line))) {
		put = push(line, run, nr, slots);
		if (put < nr && blockslab_count(line) == line->capacity && line->spare &&
		    line->spare->count < line->spare->capacity) {
			swap_spare(line);
			put += push(line, run, nr - put, slots + put);
		}
		blockslab_unclaim(line);
	}
	preempt_enable();
	return put;
}

/* Frees up to @nr slots, and RUN_MAX, straight into their blocks. */
static __always_inline size_t return_many(struct run *run, struct blockslab_node *node, size_t nr,
					  void **slots)
{
	struct blockslab_block *block = NULL;
	unsigned long irq;
	LIST_HEAD(gone);
	long number;
	size_t i;

	nr = min_t(size_t, nr, RUN_MAX);
	if (!run_enter(run, slots[0]))
		return 0;
	heap_arm(node->class->heap);	/* it lives: the first slot is still out */
	spin_lock_irqsave(&node->lock, irq);
	if (!run_enter(run, slots[0]))	/* what it saw before may be gone */
		nr = 0;
	for (i = 0; i < nr; i++) {
		number = run_check(run, slots[i]);
		if (unlikely(number < 0))
			break;
		if (run->block != block) {
			if (block)
				block_returned(block, &gone);
			block = run->block;
		}
		test_and_set_free(block, number);
		*blockslab_word(slots[i], run->canary) = run->mark;
		block->nr_free++;
		blockslab_add(node->nr_free, 1);
	}
	if (block)
		block_returned(block, &gone);
	retained_look(node, &gone);
	blockslab_add(node->frees, i);
	spin_unlock_irqrestore(&node->lock, irq);
	put_blocks(&gone);
	return i;
}

/*
 * Frees slots from the first on, as long as they are of one class and node, nothing is wrong with
 * them, and there is room. Returns how many.
 */
static __always_inline size_t free_run(unsigned long sealed, size_t nr, void **slots,
				       unsigned long key, unsigned long canary)
{
	struct run run = { .sealed = sealed, .key = key, .canary = canary };
	struct blockslab_cpu *line;
	size_t done, least;

	rcu_read_lock();	/* the class may go with the first slots: heap_free() */
	done = push_many(&run, nr, slots);
	line = blockslab_sealed_line(sealed);
	/* A second magazine comes by the free of a single slot. */
	if (done < nr && (READ_ONCE(line->spare) || !may_have_spare(line->node))) {
		/* There were many, or a slot farther on tells that there are. */
		least = many(line);
		if (done >= least ||
		    (nr - done >= least && slot_sealed(slots[done + least - 1], key) == sealed))
			done += return_many(&run, line->node, nr - done, slots + done);
	}
	rcu_read_unlock();
	return done;
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
	unsigned long sealed;
	size_t done = 0;

	while (done < nr) {
		sealed = slot_sealed(slots[done], BLOCKSLAB_KEY_FAST);
		if (sealed)
			done += free_run(sealed, nr - done, slots + done, BLOCKSLAB_KEY_FAST, 0);
		/* What ended the run, be it the lack of room. */
		if (done < nr)
			blockslab_free(slots[done++]);
	}
}
EXPORT_SYMBOL_GPL(blockslab_free_bulk);

/**
 * blockslab_usable_size() - bytes that may be used of a slot
 * @slot: an allocated slot; NULL and ZERO_SIZE_PTR have 0 bytes
 *
 * Context: any.
 * Return: the slot's size, at least what was asked for; in heaps with BLOCKSLAB_RED_ZONE just
 * that. 0, and a report, for a pointer that is no slot.
 */
size_t blockslab_usable_size(const void *slot)
{
	struct blockslab_block *block;
	enum fault fault;
	size_t usable;

	if (ZERO_OR_NULL_PTR(slot))
		return 0;
	block = block_of(slot);
	fault = find_fault(block, slot, ANY_SIZE, NULL);
	if (fault) {
		report(fault, slot, block, _RET_IP_);
		return 0;
	}
	usable = usable_bytes(block, block->node->class->size ? blockslab_number(block, slot) : 0);
	kasan_slot(slot, slot_bytes(block), usable);
	return usable;
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
	if (!size)
		return 0;
	if (size <= BLOCKSLAB_SLOT_MAX)
		return index_size[blockslab_size_index[size]];
	return size > SIZE_MAX - PAGE_SIZE ? size : PAGE_ALIGN(size);
}
EXPORT_SYMBOL_GPL(blockslab_size_roundup);

/**
 * blockslab_realloc() - change the size of a slot
 * @heap: for a slot that has to move; NULL for the shared heap
 * @slot: to change; NULL allocates
 * @size: new size in bytes; 0 frees
 * @gfp: as for blockslab_alloc()
 *
 * A slot whose class serves the new size stays where it is. One that moves keeps its content up
 * to the smaller of both sizes; with __GFP_ZERO what is new is zero.
 *
 * Context: as blockslab_alloc().
 * Return: the slot, ZERO_SIZE_PTR for size 0; or NULL, and @slot is as it was.
 */
void *blockslab_realloc(struct blockslab_heap *heap, const void *slot, size_t size, gfp_t gfp)
{
	struct blockslab_block *block;
	size_t usable;
	void *moved;

	if (ZERO_OR_NULL_PTR(slot))
		return alloc_slow(heap_or_shared(heap), size, gfp, NUMA_NO_NODE, _RET_IP_);
	if (!size) {
		free_slow(slot, ANY_SIZE, NULL, _RET_IP_);
		return ZERO_SIZE_PTR;
	}
	usable = blockslab_usable_size(slot);
	if (!usable)
		return NULL;
	block = block_of(slot);
	if (!note_of(block, 0) && !size_wrong(block, 0, size))
		return (void *)slot;
	moved = alloc_slow(heap_or_shared(heap), size, gfp, NUMA_NO_NODE, _RET_IP_);
	if (!moved)
		return NULL;
	memcpy(moved, slot, min(usable, size));
	free_slow(slot, ANY_SIZE, NULL, _RET_IP_);
	return moved;
}
EXPORT_SYMBOL_GPL(blockslab_realloc);
