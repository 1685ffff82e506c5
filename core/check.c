// SPDX-License-Identifier: GPL-2.0
/*
 * Counting: sums over nodes and CPUs
 */

struct sums {
	unsigned long full, partial, retained;
	unsigned long slots, cached, free;
	unsigned long allocs, frees, fails, requested;
	unsigned long held;
	unsigned long pages;		/* bytes of pages of all blocks */
	unsigned long retained_bytes;
	unsigned long given;		/* bytes of all slots given out so far */
};

static unsigned long sums_allocated(const struct sums *sums)
{
	return sums->slots - sums->cached - sums->free;
}

/* Exact while the CPU is at rest, near enough while it is not. */
static void add_line(struct sums *sums, struct blockslab_cpu *line)
{
	u64 tally = READ_ONCE(line->tally);
	unsigned long cached = tally & BLOCKSLAB_COUNT, allocs = tally >> 16;
	struct blockslab_magazine *spare;

	rcu_read_lock();
	spare = smp_load_acquire(&line->spare);	/* take_in() */
	if (spare)
		cached += READ_ONCE(spare->count);
	rcu_read_unlock();
	sums->cached += cached;
	sums->allocs += allocs;
	sums->frees += cached + allocs - READ_ONCE(line->moved);
	sums->requested += READ_ONCE(line->granted) - READ_ONCE(line->credit);
}

static void add_depot(struct sums *sums, struct blockslab_node *node)
{
	struct blockslab_magazine *magazine = NULL;
	unsigned int steps = 0;

	rcu_read_lock();
	while ((magazine = stack_next(&node->full, magazine, &steps)))
		sums->cached += READ_ONCE(magazine->count);
	rcu_read_unlock();
}

static void add_blocks(struct sums *sums, struct blockslab_node *node)
{
	unsigned long irq;
	unsigned int i;

	spin_lock_irqsave(&node->lock, irq);
	sums->full += node->nr[BLOCK_FULL];
	for (i = 0; i < NR_PARTIAL; i++)
		sums->partial += node->nr[BLOCK_PARTIAL + i];
	sums->retained += node->nr[BLOCK_RETAINED];
	sums->retained_bytes += node->retained;
	sums->pages += node->pages;
	sums->slots += node->nr_slots;
	sums->free += node->nr_free;
	sums->allocs += node->allocs;
	sums->frees += node->frees;
	sums->fails += node->fails;
	sums->requested += node->requested;
	spin_unlock_irqrestore(&node->lock, irq);
	sums->held += atomic_long_read(&node->held);
}

static void add_node(struct sums *sums, struct blockslab_node *node)
{
	int cpu;

	for_each_possible_cpu(cpu)
		add_line(sums, node_line(node, cpu));
	add_depot(sums, node);
	add_blocks(sums, node);
}

/* Of a class, and of its tracked slots. */
static void class_sums(struct sums *sums, struct blockslab_class *class)
{
	struct blockslab_class *tracked;
	int nid;

	memset(sums, 0, sizeof(*sums));
	tracked = smp_load_acquire(&class->tracked);	/* tracked_class_new() */
	for (nid = 0; nid < nr_node_ids; nid++)
		add_node(sums, &class->nodes[nid]);
	for (nid = 0; tracked && nid < nr_node_ids; nid++)
		add_node(sums, &tracked->nodes[nid]);
	/* Of whole pages what was given is what was asked for, page by page; near enough. */
	sums->given = class->size ? sums->allocs * class->size : sums->requested;
	if (class->asked)
		sums->requested = sums->allocs * class->asked;
}

/* ------------------------------------------------------------------------------------------------
 * Validation: the equations at the top of this file
 */

/* A place in a node's list of blocks that survives letting go of the lock. */
struct cursor {
	struct blockslab_node *node;
	struct blockslab_block place;
};

static void cursor_start(struct cursor *cursor, struct blockslab_node *node)
{
	unsigned long irq;

	cursor->node = node;
	cursor->place.nr_slots = 0;
	spin_lock_irqsave(&node->lock, irq);
	list_add(&cursor->place.all, &node->all);
	spin_unlock_irqrestore(&node->lock, irq);
}

/* Moves on to the next block, which stays valid while the lock is held; NULL at the end. */
static struct blockslab_block *cursor_next(struct cursor *cursor)
{
	struct blockslab_block *block = &cursor->place;

	lockdep_assert_held(&cursor->node->lock);
	list_for_each_entry_continue(block, &cursor->node->all, all) {
		if (!block->nr_slots)
			continue;
		list_move(&cursor->place.all, &block->all);
		return block;
	}
	return NULL;
}

/* @block, if it is still the one that cursor_next() returned last; or NULL. */
static struct blockslab_block *cursor_last(struct cursor *cursor, struct blockslab_block *block)
{
	struct blockslab_block *last = &cursor->place;

	lockdep_assert_held(&cursor->node->lock);
	list_for_each_entry_continue_reverse(last, &cursor->node->all, all)
		if (last->nr_slots)		/* and no other reader's place */
			return last == block ? block : NULL;
	return NULL;
}

static void cursor_end(struct cursor *cursor)
{
	unsigned long irq;

	if (!cursor->node)
		return;
	spin_lock_irqsave(&cursor->node->lock, irq);
	list_del(&cursor->place.all);
	spin_unlock_irqrestore(&cursor->node->lock, irq);
	cursor->node = NULL;
}

static bool invalid(struct blockslab_class *class, const char *what, const void *where,
		    unsigned long is, unsigned long should)
{
	pr_err("validate: heap %s, class of %u bytes: %s at %p: is %lu, should be %lu\n",
	       class->heap->name, class->size, what, where, is, should);
	return true;
}

static int validate_pages(struct blockslab_block *block)
{
	struct blockslab_node *node = block->node;
	unsigned long lines = (__force unsigned long)node_cpu(node);
	struct page *page = page_of(block->base);
	unsigned int i;
	int faults = 0;

	if (!page)
		return invalid(node->class, "pages of block", block, 0, block->nr_pages);
	for (i = 0; i < block->nr_pages; i++, page++)
		if (blockslab_block_of(page) != block || (unsigned long)page->lru.next != lines ||
		    (page_key(page) != node->class->key && !key_is_slow(page_key(page))))
			faults += invalid(node->class, "words of page", page, i, i);
	return faults;
}

static int validate_poison(struct blockslab_block *block)
{
	unsigned int number, size = block->node->class->size;
	int faults = 0;

	if (!poisoned(block->node->class->heap) || !size)
		return 0;
	for_each_set_bit(number, block->map, block->nr_slots) {
		void *slot = slot_address(block, size, number);

		if (!holds_only(slot, POISON_FREE, size))
			faults += invalid(block->node->class, "free slot written to", slot, 0, 0);
	}
	return faults;
}

static int validate_block(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	unsigned int bits = bitmap_weight(block->map, block->nr_slots);
	int faults = validate_pages(block) + validate_poison(block);

	if (bits != block->nr_free)
		faults += invalid(class, "free slots of block", block->base, bits, block->nr_free);
	if (block->state != block_state(block))
		faults += invalid(class, "list of block", block->base, block->state,
				  block_state(block));
	if (class->size && (block->size != class->size || block->sizes != class_sizes(class) ||
			    block->recip != (u32)div_u64(1ULL << 32, class->size) + 1 ||
			    block->nr_slots > block->nr_pages * PAGE_SIZE / class->size))
		faults += invalid(class, "class of block", block->base, block->size, class->size);
	return faults;
}

/* Checks the node's blocks one by one, and adds up what they hold. */
static int validate_blocks(struct blockslab_node *node, size_t *held, struct sums *sums)
{
	struct blockslab_block *block;
	struct cursor cursor;
	unsigned long irq;
	int faults = 0;

	cursor_start(&cursor, node);
	do {
		spin_lock_irqsave(&node->lock, irq);
		block = cursor_next(&cursor);
		if (block) {
			faults += validate_block(block);
			*held += block_bytes(block);
			sums->slots += block->nr_slots;
			sums->free += block->nr_free;
		}
		spin_unlock_irqrestore(&node->lock, irq);
	} while (block);
	cursor_end(&cursor);
	return faults;
}

static size_t stack_held(const struct blockslab_stack *stack)
{
	struct blockslab_magazine *magazine = NULL;
	unsigned int steps = 0;
	size_t held = 0;

	rcu_read_lock();
	while ((magazine = stack_next(stack, magazine, &steps)))
		held += magazine_bytes(magazine->capacity);
	rcu_read_unlock();
	return held;
}

static size_t magazines_held(struct blockslab_node *node)
{
	struct blockslab_magazine *magazine;
	size_t held = 0;
	int cpu;

	rcu_read_lock();
	for_each_possible_cpu(cpu) {
		struct blockslab_cpu *line = node_line(node, cpu);

		magazine = loaded_magazine(line);
		held += magazine ? magazine_bytes(magazine->capacity) : 0;
		magazine = READ_ONCE(line->spare);
		held += magazine ? magazine_bytes(magazine->capacity) : 0;
	}
	rcu_read_unlock();
	return held + stack_held(&node->full) + stack_held(&node->empty);
}

static int validate_sums(struct blockslab_node *node, const struct sums *sums,
			 const struct sums *counted, size_t held)
{
	struct blockslab_class *class = node->class;
	int faults = 0;

	if (sums->slots != counted->slots)
		faults += invalid(class, "slots", node, sums->slots, counted->slots);
	if (sums->free != counted->free)
		faults += invalid(class, "free slots", node, sums->free, counted->free);
	if (sums->allocs - sums->frees != sums_allocated(sums))
		faults += invalid(class, "allocs - frees", node, sums->allocs - sums->frees,
				  sums_allocated(sums));
	if (sums->held != held)
		faults += invalid(class, "held bytes", node, sums->held, held);
	return faults;
}

static bool node_busy(struct blockslab_node *node)
{
	bool busy = atomic_long_read(&node->class->heap->moving);
	int cpu;

	for_each_possible_cpu(cpu)
		busy |= READ_ONCE(node_line(node, cpu)->busy);
	return busy;
}

/* Sums can only be told while nothing moves: what differs then is a fault. */
static int validate_node(struct blockslab_node *node)
{
	unsigned long activity = node_activity(node), charged = atomic_long_read(&node->held);
	bool busy = node_busy(node);
	struct sums counted = {}, sums = {};
	size_t held = magazines_held(node);
	int faults = validate_blocks(node, &held, &counted);

	add_node(&sums, node);
	if (busy || node_busy(node) || activity != node_activity(node) ||
	    charged != atomic_long_read(&node->held))
		return faults;
	return faults + validate_sums(node, &sums, &counted, held);
}

/**
 * blockslab_validate() - check a heap's invariants
 * @heap: to check; NULL for the shared heap
 *
 * Blocks are checked one at a time, under their lock. Sums are checked if nothing was allocated
 * or freed meanwhile. Each fault is printed.
 *
 * Context: process or softirq; not for use in a hot path.
 * Return: the number of faults found.
 */
int blockslab_validate(struct blockslab_heap *heap)
{
	struct blockslab_class *class;
	int nid, faults = 0;
	size_t limit;

	heap = heap_or_shared(heap);
	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list)
		for (nid = 0; nid < nr_node_ids; nid++)
			faults += validate_node(&class->nodes[nid]);
	rcu_read_unlock();
	limit = READ_ONCE(heap->limit);
	if (limit && held_bytes(heap) > limit) {
		pr_err("validate: heap %s holds %zu bytes, over its limit of %zu\n", heap->name,
		       held_bytes(heap), limit);
		faults++;
	}
	return faults;
}
EXPORT_SYMBOL_GPL(blockslab_validate);

/**
 * blockslab_heap_stats() - what a heap holds
 * @heap: NULL for the shared heap
 * @stats: filled in; exact while the heap is at rest
 *
 * Context: any but NMI.
 */
void blockslab_heap_stats(struct blockslab_heap *heap, struct blockslab_heap_stats *stats)
{
	struct blockslab_class *class;
	struct sums sums;

	heap = heap_or_shared(heap);
	memset(stats, 0, sizeof(*stats));
	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list) {
		if (class->of)
			continue;
		class_sums(&sums, class);
		stats->cached += sums.cached * class->size;
		stats->retained += sums.retained_bytes;
		stats->allocated += class->size ? sums_allocated(&sums) * class->size : sums.pages;
	}
	rcu_read_unlock();
	stats->held = held_bytes(heap);
	stats->fixed = READ_ONCE(heap->fixed);
}
EXPORT_SYMBOL_GPL(blockslab_heap_stats);
