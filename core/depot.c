// SPDX-License-Identifier: GPL-2.0
/*
 * Depot: where CPUs trade magazines
 *
 * Two stacks a class and node, full and empty ones, without a lock: a lock would have to keep
 * interrupts off, which costs as much as all the rest of a trade. Anybody may push. One at a time
 * may pop, so that what it saw below the top still is there: the bit POPPING gives the right, and
 * who finds it taken goes to the blocks. A drain takes all at once. Magazines that leave live on
 * for a grace period: who only looks walks down under RCU, and where it gets to was in some stack
 * after it began. How many full ones are kept is decided in retain.c. node->lock is taken below.
 */

#define POPPING	1UL

static struct blockslab_magazine *magazine_at(unsigned long top)
{
	return (struct blockslab_magazine *)(top & ~POPPING);
}

static struct blockslab_magazine *stack_top(const struct blockslab_stack *stack)
{
	return magazine_at(READ_ONCE(stack->top));
}

static bool stack_empty(const struct blockslab_stack *stack)
{
	return !stack_top(stack);
}

static void stack_push(struct blockslab_stack *stack, struct blockslab_magazine *magazine)
{
	struct blockslab_magazine *below;
	unsigned long top;

	rcu_read_lock();
	top = READ_ONCE(stack->top);
	do {
		below = magazine_at(top);
		WRITE_ONCE(magazine->depth, below ? READ_ONCE(below->depth) + 1 : 1);
		WRITE_ONCE(magazine->below, below);
	} while (!try_cmpxchg(&stack->top, &top, (unsigned long)magazine | (top & POPPING)));
	rcu_read_unlock();
}

/* The right to pop; false if there is nothing, or another has it. With preemption off. */
static bool stack_claim(struct blockslab_stack *stack)
{
	unsigned long top = READ_ONCE(stack->top);

	do {
		if (!top || top & POPPING)
			return false;
	} while (!try_cmpxchg(&stack->top, &top, top | POPPING));
	return true;
}

static struct blockslab_magazine *stack_pop(struct blockslab_stack *stack)
{
	struct blockslab_magazine *magazine = NULL, *below;
	unsigned long top;

	preempt_disable();
	if (stack_claim(stack)) {
		top = READ_ONCE(stack->top);
		do {
			magazine = magazine_at(top);
			below = magazine ? READ_ONCE(magazine->below) : NULL;
		} while (!try_cmpxchg(&stack->top, &top, (unsigned long)below));
	}
	preempt_enable();
	return magazine;
}

/* Gives up all of a stack's magazines, with their slots. */
static void stack_drain(struct blockslab_stack *stack)
{
	struct blockslab_magazine *magazine, *below;
	unsigned long top = READ_ONCE(stack->top);

	while (!try_cmpxchg(&stack->top, &top, top & POPPING))
		;
	for (magazine = magazine_at(top); magazine; magazine = below) {
		below = magazine->below;
		magazine_dispose(magazine);
	}
}

static unsigned int stack_depth(const struct blockslab_stack *stack)
{
	struct blockslab_magazine *top;
	unsigned int depth;

	rcu_read_lock();
	top = stack_top(stack);
	depth = top ? READ_ONCE(top->depth) : 0;
	rcu_read_unlock();
	return depth;
}

/* After its depth has changed. */
static void depot_tell(struct blockslab_node *node, unsigned int full)
{
	heap_tell_kept(node->class->heap, &node->depot.retention,
		       (long)full * READ_ONCE(node->capacity) * node->class->size);
}

/* A magazine with slots from the depot, or NULL; @empty, if there is one, is left there. */
static struct blockslab_magazine *depot_take_full(struct blockslab_node *node,
						  struct blockslab_magazine *empty)
{
	struct blockslab_depot *depot = &node->depot;
	struct blockslab_magazine *magazine;
	unsigned int full;

	magazine = stack_pop(&depot->full);
	if (magazine) {
		magazines_grow(node, false, false);
		full = stack_depth(&depot->full);
		retention_taken(&depot->retention, full);
		depot_tell(node, full);
	}
	if (empty)
		stack_push(&node->empty, empty);
	return magazine;
}

/* An empty magazine of the present capacity from the depot; smaller ones are given up. */
static struct blockslab_magazine *depot_take_empty(struct blockslab_node *node)
{
	struct blockslab_magazine *magazine;

	for (;;) {
		magazine = stack_pop(&node->empty);
		if (!magazine || magazine->capacity >= READ_ONCE(node->capacity))
			return magazine;
		magazine_put(magazine);
	}
}

/* Every magazine of the depot, flushed and given back. */
static void depot_drain(struct blockslab_node *node)
{
	struct blockslab_depot *depot = &node->depot;

	stack_drain(&depot->full);
	stack_drain(&node->empty);
	depot_tell(node, 0);
	retention_reset(&depot->retention);
	WRITE_ONCE(node->capacity, capacity_least(node->class->size));
}

/* Leaves a magazine with slots in the depot, if there is room. */
static bool depot_leave_full(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	struct blockslab_depot *depot = &node->depot;
	struct blockslab_heap *heap = node->class->heap;
	unsigned int full = stack_depth(&depot->full);

	magazines_grow(node, false, true);
	/* For magazines that were not needed it has no room any more, and so drains. */
	retention_look(&depot->retention, full, READ_ONCE(node->capacity));
	if ((full + 1) * magazine->capacity > READ_ONCE(depot->retention.keep) ||
	    full >= DEPOT_MAGAZINES_MAX || overstocked(heap) || !heap_caches(heap)) {
		blockslab_add(depot->retention.given_back,
			      min_t(unsigned int, magazine->count, FLUSH_MAX));
		return false;
	}
	stack_push(&depot->full, magazine);
	depot_tell(node, full + 1);
	/* Either this sees what heap_close() has set, or the drain after that sees the push. */
	if (unlikely(!heap_caches(heap)))
		depot_drain(node);
	return true;
}

/* Flushed, and wanted again: up to an eighth of keep_kib, and all of the class's, is kept. */
static void depot_missed(struct blockslab_node *node, unsigned int missed)
{
	unsigned long most = min_t(unsigned long, READ_ONCE(keep_kib) * 128UL / node->class->size,
				   READ_ONCE(node->nr_slots));

	retention_missed(&node->depot.retention, missed, most);
}

/* In between a CPU has slots in hand that lie nowhere. Another may end what one began: trades(). */
static void trade_begin(struct blockslab_node *node)
{
	this_cpu_inc(node_cpu(node)->begun);
}

static void trade_end(struct blockslab_node *node)
{
	this_cpu_inc(node_cpu(node)->ended);
}

/* The loaded magazine of this CPU's line, if it is without slots; or NULL. */
static struct blockslab_magazine *take_off_empty(struct blockslab_node *node)
{
	struct blockslab_magazine *magazine = NULL;
	struct blockslab_cpu *line = claim_line(node);

	if (!line)
		return NULL;
	if (!blockslab_count(line))
		magazine = unload(line);
	unclaim_line(line);
	return magazine;
}

/* A magazine of the present capacity with room: @magazine, or the depot's, or a new one. */
static struct blockslab_magazine *empty_magazine(struct blockslab_node *node,
						 struct blockslab_magazine *magazine, gfp_t gfp)
{
	if (magazine && magazine->capacity < READ_ONCE(node->capacity)) {
		magazine_dispose(magazine);
		magazine = NULL;
	}
	if (!magazine)
		magazine = depot_take_empty(node);
	return magazine ?: magazine_get(node, gfp);
}

/* Takes a magazine into this CPU's line: loaded, else as the spare; false if there is no place. */
static bool take_in(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	struct blockslab_cpu *line = claim_line(node);
	bool taken = false;

	if (!line)
		return false;
	if (!line->loaded) {
		load(line, magazine);
		taken = true;
	} else if (!line->spare) {
		smp_store_release(&line->spare, magazine);	/* for readers elsewhere */
		taken = true;
	}
	/* Either this sees what heap_close() has set, or the drain after that sees it loaded. */
	smp_mb();
	if (taken && unlikely(!heap_caches(node->class->heap))) {
		if (line->spare == magazine)
			WRITE_ONCE(line->spare, NULL);
		else
			unload(line);
		taken = false;
	}
	if (taken)
		blockslab_add(line->moved, magazine->count);
	unclaim_line(line);
	return taken;
}

static void install(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	if (take_in(node, magazine))
		return;
	if (!magazine->count || !depot_leave_full(node, magazine))
		magazine_dispose(magazine);
}

/* Fills a magazine, in part while few of the class's slots are in use; how many there were. */
static unsigned int refill(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	struct blockslab_class *class = node->class;
	unsigned long irq, want;

	spin_lock_irqsave(&node->lock, irq);
	want = min3((unsigned long)magazine->capacity, (node->nr_slots - node->nr_free) / 8 + 1,
		    (unsigned long)REFILL_MAX);
	WRITE_ONCE(magazine->count, take_from_blocks(node, magazine->slots, want));
	magazines_grow(node, true, false);
	depot_missed(node, magazine->count);
	spin_unlock_irqrestore(&node->lock, irq);
	trace_blockslab_refill(class->heap->name, class->size, node_id(node), magazine->count);
	return magazine->count;
}

static bool swap_for_slots(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_magazine *magazine = take_off_empty(node), *full;
	bool filled;

	if (!stack_empty(&node->depot.full)) {
		full = depot_take_full(node, magazine);
		magazine = NULL;
		if (full) {
			install(node, full);
			return true;
		}
	}
	magazine = empty_magazine(node, magazine, gfp);
	if (!magazine)
		return false;
	filled = refill(node, magazine);
	install(node, magazine);
	return filled;
}

/* Brings slots to this CPU's line of the node; false where there are none, or no magazine. */
static bool bring_slots(struct blockslab_node *node, gfp_t gfp)
{
	bool brought;

	if (node_exact(node) || (!READ_ONCE(node->nr_free) && stack_empty(&node->depot.full)))
		return false;
	trade_begin(node);
	brought = swap_for_slots(node, gfp);
	trade_end(node);
	heap_arm(node->class->heap);
	return brought;
}

/* The loaded magazine of this CPU's line, unless it becomes the spare, if it may. */
static struct blockslab_magazine *take_off_full(struct blockslab_node *node, bool may_be_spare)
{
	struct blockslab_magazine *magazine = NULL;
	struct blockslab_cpu *line = claim_line(node);

	if (!line)
		return NULL;
	if (line->loaded && (line->spare || !may_be_spare)) {
		magazine = unload(line);
		blockslab_sub(line->moved, magazine->count);
	} else if (line->loaded) {
		/* Never without either: drain_concerns() looks for @loaded first. */
		WRITE_ONCE(line->spare, loaded_magazine(line));
		smp_wmb();	/* drain_concerns() */
		unload(line);
	}
	unclaim_line(line);
	return magazine;
}

/* Large slots are cached in one magazine a CPU, until that has grown. */
static bool may_have_spare(const struct blockslab_node *node)
{
	return node->class->size <= SZ_2K ||
	       READ_ONCE(node->capacity) > capacity_least(node->class->size);
}

/* Makes room for a slot in this CPU's line of the node; false if it cannot. */
static bool bring_room(struct blockslab_node *node)
{
	struct blockslab_magazine *magazine;

	if (node_exact(node))
		return false;
	trade_begin(node);
	magazine = take_off_full(node, may_have_spare(node));
	if (magazine && depot_leave_full(node, magazine))
		magazine = NULL;
	if (magazine)
		magazine_flush(magazine, FLUSH_MAX);
	magazine = empty_magazine(node, magazine, GFP_NOWAIT);
	if (magazine)
		install(node, magazine);
	trade_end(node);
	heap_arm(node->class->heap);
	return magazine;
}
