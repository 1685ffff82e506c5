// SPDX-License-Identifier: GPL-2.0
/*
 * Counting: sums over nodes and CPUs
 */

struct sums {
	unsigned long full, partial, retained;
	unsigned long slots, cached, free;
	unsigned long allocs, frees, fails, requested;
	unsigned long held;
	unsigned long pages;	/* bytes of pages of all blocks */
	unsigned long retained_bytes;
	unsigned long magazines;	/* bytes of these */
	unsigned long given;	/* bytes of all slots given out so far */
	unsigned long spare;	/* bytes of allocated coarse slots that nobody may use */
	bool unsure;		/* of slots that went from one place to another meanwhile */
};

static unsigned long sums_allocated(const struct sums *sums)
{
	return sums->slots - sums->cached - sums->free;
}

/* Slots of a loaded magazine are counted by its line. Under RCU. */
static void add_magazine(struct sums *sums, const struct blockslab_magazine *magazine, bool loaded)
{
	if (!magazine)
		return;
	sums->magazines += magazine_bytes(magazine->capacity);
	sums->cached += loaded ? 0 : READ_ONCE(magazine->count);
}

/* Exact while the CPU is at rest. */
static void add_line(struct sums *sums, struct blockslab_cpu *line)
{
	u64 tally = READ_ONCE(line->tally);
	unsigned long before = sums->cached, allocs = tally >> 16;

	rcu_read_lock();
	add_magazine(sums, loaded_magazine(line), true);
	add_magazine(sums, smp_load_acquire(&line->spare), false);	/* take_in() */
	rcu_read_unlock();
	sums->cached += tally & BLOCKSLAB_COUNT;
	sums->allocs += allocs;
	sums->frees += sums->cached - before + allocs - READ_ONCE(line->moved);
	sums->requested += READ_ONCE(line->granted) - READ_ONCE(line->credit);
}

static void add_depot(struct sums *sums, const struct blockslab_node *node)
{
	struct blockslab_magazine *magazine;
	int i, steps = SZ_64K;	/* as all may be moving */

	rcu_read_lock();
	for (i = 0; i < SHELF; i++)
		add_magazine(sums, shelf_magazine(READ_ONCE(node->depot.shelf[i])), false);
	for (i = 0; i < 2; i++)
		for (magazine = READ_ONCE(node->store[i]); magazine && steps-- > 0;
		     magazine = READ_ONCE(magazine->below))
			add_magazine(sums, magazine, false);
	rcu_read_unlock();
}

/* Of a coarse class, of which there are few. */
static unsigned long spare_bytes(struct blockslab_node *node)
{
	struct blockslab_block *block;
	unsigned long spare = 0;
	unsigned int number;

	lockdep_assert_held(&node->lock);
	list_for_each_entry(block, &node->all, all)
		for_each_clear_bit(number, block->map, block->nr_slots)
			spare += block->size - usable_bytes(block, number);
	return spare;
}

static void add_blocks(struct sums *sums, struct blockslab_node *node)
{
	unsigned long irq;
	unsigned int i;

	spin_lock_irqsave(&node->lock, irq);
	hand_down(node);
	if (class_coarse(node->class))
		sums->spare += spare_bytes(node);
	sums->full += node->nr[BLOCK_FULL];
	for (i = 0; i < NR_PARTIAL; i++)
		sums->partial += node->nr[BLOCK_PARTIAL + i];
	sums->retained += node->nr[BLOCK_RETAINED];
	sums->retained_bytes += node->retained;
	sums->pages += node->pages - node->aside;
	sums->cached += node->waiting;
	sums->slots += node->nr_slots;
	sums->free += node->nr_free;
	sums->allocs += node->allocs;
	sums->frees += node->frees;
	sums->fails += node->fails;
	sums->requested += node->requested;
	sums->given += node->given;
	spin_unlock_irqrestore(&node->lock, irq);
	sums->held += atomic_long_read(&node->held);
}

static void add_node(struct sums *sums, struct blockslab_node *node)
{
	int cpu;

	for_each_cpu(cpu, line_cpus(node))
		add_line(sums, node_line(node, cpu));
	add_depot(sums, node);
	add_blocks(sums, node);
}

/* Of a class, of its tracked slots, and of the coarse class of its size. */
static void class_sums(struct sums *sums, struct blockslab_class *class)
{
	struct blockslab_node *node;
	unsigned int i;

	memset(sums, 0, sizeof(*sums));
	for (i = 0; (node = class_node(class, i)); i++)
		add_node(sums, node);
	/* What moved meanwhile may have been seen in two places, or in none. */
	sums->unsure = sums->cached > sums->slots - sums->free;
	sums->cached = min(sums->cached, sums->slots - sums->free);
	sums->frees = min(sums->frees, sums->allocs);
	if (class->size)
		sums->given = sums->allocs * class->size;
	if (class->asked)
		sums->requested = sums->allocs * class->asked;
}

/* ------------------------------------------------------------------------------------------------
 * Validation: the equations at the top of blockslab.c
 */

#define FINDINGS	8

/* What is wrong with a block, found under a lock and told after */
struct findings {
	unsigned int nr;	/* how many; those beyond @kept are counted only */
	struct finding {
		const char *what;
		const void *where;
		unsigned long is, should;
	} kept[FINDINGS];	/* the first ones */
};

static void must_be(struct findings *findings, const char *what, const void *where,
		    unsigned long is, unsigned long should)
{
	if (is == should)
		return;
	if (findings->nr < FINDINGS)
		findings->kept[findings->nr] = (struct finding){ what, where, is, should };
	findings->nr++;
}

/* How many there were; they are told now. */
static unsigned int tell_findings(struct findings *findings, struct blockslab_class *class)
{
	unsigned int i, nr = findings->nr;

	for (i = 0; i < min(nr, FINDINGS + 0U); i++) {
		const struct finding *finding = &findings->kept[i];

		pr_err("validate: heap %s, class of %u bytes: %s at %p: is %lu, should be %lu\n",
		       class->heap->name, object_size(class), finding->what, finding->where,
		       finding->is, finding->should);
	}
	findings->nr = 0;
	return nr;
}

static void validate_pages(struct blockslab_block *block, struct findings *findings)
{
	struct blockslab_node *node = block->node;
	unsigned long lines = (__force unsigned long)node_cpu(node);
	unsigned long none = (__force unsigned long)(no_class + node_id(node));
	struct page *page = page_of(block_start(block));
	unsigned int i, right = 0;

	for (i = 0; page && i < block->nr_pages; i++, page++)
		right += blockslab_block_of(page) == block &&
			 ((unsigned long)page->lru.next == lines ||
			  (unsigned long)page->lru.next == none) &&
			 (page_key(page) == node->class->key || key_is_slow(page_key(page)));
	must_be(findings, "pages with the right words in block", block, right, block->nr_pages);
}

/* The first byte behind what was asked for that is not as it should be, or NULL. */
static const void *zone_broken(struct blockslab_block *block, const u8 *slot, u32 asked)
{
	const u8 *byte = slot + asked, *end = slot + slot_bytes(block);
	bool poison = poisoned(block->node->class->heap);

	if (all_are(byte, SLUB_RED_ACTIVE, end - byte))
		return NULL;
	while (byte < end && (READ_ONCE(*byte) == SLUB_RED_ACTIVE ||
			      (poison && (*byte == POISON_FREE || *byte == POISON_INUSE))))
		byte++;
	return byte < end ? byte : NULL;
}

/*
 * Of a heap with POISON or RED_ZONE: whether a free slot was written to, or one past its end; told.
 * Who is about to give a slot out or to take it back poisons it first, and fills its zone before he
 * says from where on that is.
 */
static bool validate_exact(struct blockslab_block *block, unsigned int number)
{
	struct blockslab_class *class = block->node->class;
	u32 asked = smp_load_acquire(&block->notes[number].asked);	/* exact_alloc() */
	const void *slot = slot_address(block, class->size, number), *wrong = NULL;
	bool is_free = poisoned(class->heap) && slot_is_free(block, number);

	if (is_free)
		wrong = first_other(slot, POISON_FREE, class->size);
	else if (class->heap->zone && (class->size || asked))	/* else not given out yet */
		wrong = zone_broken(block, slot, class->asked ?: asked);
	smp_rmb();	/* the same */
	if (!wrong || READ_ONCE(block->notes[number].asked) != asked)
		return false;
	report(is_free ? AFTER_FREE : PAST_SLOT, .slot = slot, .block = block, .damage = wrong,
	       .expected = is_free ? POISON_FREE : SLUB_RED_ACTIVE, .locked = true,
	       .done = is_free ? "the slot is free, and was left as it is" :
				 "the slot was left as it is");
	return true;
}

static void validate_block(struct blockslab_block *block, struct findings *findings)
{
	struct blockslab_class *class = block->node->class;
	unsigned int bits = bitmap_weight(block->map, block->nr_slots);

	validate_pages(block, findings);
	must_be(findings, "free slots of block", block->base, bits, block->nr_free);
	must_be(findings, "list of block", block->base, block->state, block_state(block));
	if (!class->size)
		return;
	must_be(findings, "slot size of block", block->base, block->size, class->size);
	must_be(findings, "reciprocal of block", block->base, block->recip,
		(u32)div_u64(1ULL << 32, class->size) + 1);
	must_be(findings, "sizes of block", block->base, block->sizes,
		block->sizes > block->size ? block->sizes : class_sizes(class));
	must_be(findings, "slots of block", block->base, block->nr_slots,
		min(block->nr_slots + 0U, slots_in(class, block->nr_pages * PAGE_SIZE)));
}

/* Checks the node's blocks one by one, live as they are, and adds up what they hold. */
static unsigned int validate_blocks(struct blockslab_node *node, struct sums *sums)
{
	struct findings findings = {};
	unsigned int faults = 0, number;
	struct blockslab_block *block;
	struct place place;
	unsigned long irq;

	place_start(&place, node);
	do {
		spin_lock_irqsave(&node->lock, irq);
		hand_down(node);
		block = place_next(&place);
		if (block) {
			validate_block(block, &findings);
			for (number = 0; number < nr_notes(block); number++)
				faults += block_watched(block) ? validate_watched(block, number) :
								 validate_exact(block, number);
			sums->held += block_bytes(block);
			sums->slots += block->nr_slots;
			sums->free += block->nr_free;
		}
		spin_unlock_irqrestore(&node->lock, irq);
		faults += tell_findings(&findings, node->class);
	} while (block);
	place_end(&place);
	return faults;
}

static unsigned int validate_sums(struct blockslab_node *node, const struct sums *sums,
				  const struct sums *counted)
{
	struct findings findings = {};

	must_be(&findings, "slots", node, sums->slots, counted->slots);
	must_be(&findings, "free slots", node, sums->free, counted->free);
	must_be(&findings, "allocs - frees", node, sums->allocs - sums->frees,
		sums_allocated(sums));
	must_be(&findings, "held bytes", node, sums->held, counted->held + sums->magazines);
	return tell_findings(&findings, node->class);
}

static bool node_busy(struct blockslab_node *node)
{
	bool busy = atomic_long_read(&node->class->heap->moving) ||
		    atomic_read(&node->in_hand) & IN_HAND;
	int cpu;

	for_each_cpu(cpu, line_cpus(node))
		busy |= READ_ONCE(node_line(node, cpu)->busy);
	return busy;
}

/* Sums can only be told while nothing moves: nodes that do are counted in @untold. */
static unsigned int validate_node(struct blockslab_node *node, unsigned int *untold)
{
	unsigned long activity = node_activity(node, true), charged = atomic_long_read(&node->held);
	bool busy = node_busy(node);
	struct sums counted = {}, sums = {};
	unsigned int faults = validate_blocks(node, &counted);

	add_node(&sums, node);
	if (!busy && !node_busy(node) && activity == node_activity(node, true) &&
	    charged == atomic_long_read(&node->held))
		return faults + validate_sums(node, &sums, &counted);
	++*untold;
	return faults;
}

/* Of whatever heap has its memory. */
static int heap_validate(struct blockslab_heap *heap)
{
	struct blockslab_node *node;
	unsigned int untold = 0;
	size_t limit, held;
	int faults = 0;

	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		faults += validate_node(node, &untold);
	limit = READ_ONCE(heap->limit);
	held = held_bytes(heap);
	/* What is charged as the limit changes is counted for a moment, and refused. */
	if (limit && held > limit && limit == READ_ONCE(heap->limit) &&
	    !atomic_long_read(&heap->moving) && held == held_bytes(heap)) {
		pr_err("validate: heap %s holds %zu bytes, over its limit of %zu\n", heap->name,
		       held, limit);
		faults++;
	}
	if (untold)
		pr_info("validate: heap %s was in use: the sums of %u classes could not be told\n",
			heap->name, untold);
	return faults;
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
	heap = heap_check(heap, _RET_IP_);
	return heap ? heap_validate(heap) : 1;
}
EXPORT_SYMBOL_GPL(blockslab_validate);

/**
 * blockslab_heap_stats() - what a heap holds
 * @heap: NULL for the shared heap
 * @stats: filled in; exact while the heap is at rest
 *
 * Context: any but NMI; on PREEMPT_RT not with interrupts off.
 */
void blockslab_heap_stats(struct blockslab_heap *heap, struct blockslab_heap_stats *stats)
{
	struct blockslab_class *class;
	unsigned long slots;
	struct sums sums;

	memset(stats, 0, sizeof(*stats));
	heap = heap_check(heap, _RET_IP_);
	if (!heap)
		return;
	for (class = class_after(heap, NULL); class; class = class_after(heap, class)) {
		class_sums(&sums, class);
		stats->cached += sums.cached * class->size;
		stats->retained += sums.retained_bytes;
		slots = sums_allocated(&sums) * class->size;
		stats->allocated += class->size ? slots - min(slots, sums.spare) :
				    sums.pages - sums.retained_bytes +
				    sums.retained * descriptor_bytes(1);
	}
	stats->held = held_bytes(heap);
	stats->fixed = atomic_long_read(&heap->fixed);
}
EXPORT_SYMBOL_GPL(blockslab_heap_stats);
