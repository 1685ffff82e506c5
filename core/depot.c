// SPDX-License-Identifier: GPL-2.0
/*
 * Depot: where CPUs trade magazines
 *
 * A class has on each node a shelf: places on one cache line, each with a magazine that has slots,
 * or one that has none. By a single compare-and-exchange a CPU that lacks slots trades its empty
 * magazine for one with slots, and one that lacks room the other way round, its line claimed and
 * interrupts on. Nothing hangs on what is exchanged: whoever comes in between, an NMI even, only
 * takes the place. What is counted beside is near enough. What has no place is in the store, under
 * node->lock. Magazines that leave live on for a grace period, for those who only look.
 *
 * A heap's end closes the places before it looks at lines: a trade that was quicker claimed its
 * line before its exchange: drain_concerns() sees that, or what came of it. take_in() has a fence.
 */

static struct blockslab_magazine *shelf_magazine(unsigned long place)
{
	return (struct blockslab_magazine *)(place & ~SHELF_BITS);
}

/*
 * Puts @give in a place that has a magazine with slots, or @without: then with room for so many at
 * @least, or, for 0, even none. *@got is what was there; false if there is no such place.
 */
static __always_inline bool shelf_trade(struct blockslab_node *node, bool without,
					unsigned int least, unsigned long give,
					struct blockslab_magazine **got)
{
	struct blockslab_magazine *there;
	unsigned long *place, was;
	bool done = false;
	unsigned int i;

	preempt_disable();	/* what is looked at does not go */
	for (i = 0; i < SHELF && !done; i++) {
		place = &node->depot.shelf[i];
		was = READ_ONCE(*place);
		there = shelf_magazine(was);
		if ((was & SHELF_BITS) != (without ? 0 : SHELF_SLOTS) ||
		    (least && (!there || there->capacity < least)))
			continue;
		done = try_cmpxchg(place, &was, give);
		if (done)
			*got = there;
	}
	preempt_enable();
	return done;
}

/* Magazines with slots that are there: all of their addresses are multiples of eight. */
static unsigned int depot_full(const struct blockslab_node *node)
{
	const unsigned long *shelf = node->depot.shelf;

	return (READ_ONCE(shelf[0]) + READ_ONCE(shelf[1]) + READ_ONCE(shelf[2]) +
		READ_ONCE(shelf[3]) + READ_ONCE(shelf[4])) % 8 + READ_ONCE(node->stored[true]);
}

/*
 * Leaves @give, if it is there, in the store, for a magazine with or without @slots, if there is
 * one. False where the heap has ended: either this sees that, or depot_drain() sees @give.
 */
static bool store_trade(struct blockslab_node *node, bool slots, struct blockslab_magazine *give,
			struct blockslab_magazine **got)
{
	unsigned long irq;
	bool open;

	spin_lock_irqsave(&node->lock, irq);
	open = heap_caches(node->class->heap);
	*got = open ? node->store[slots] : NULL;
	if (*got) {
		WRITE_ONCE(node->store[slots], (*got)->below);
		blockslab_sub(node->stored[slots], 1);
	}
	if (open && give) {
		WRITE_ONCE(give->below, node->store[!slots]);
		smp_store_release(&node->store[!slots], give);	/* add_depot() */
		blockslab_add(node->stored[!slots], 1);
	}
	spin_unlock_irqrestore(&node->lock, irq);
	return open;
}

/* After a magazine with slots was @left, or taken. */
static void depot_changed(struct blockslab_node *node, bool left)
{
	unsigned int full = depot_full(node);

	magazines_grow(node, false);
	if (!left)
		retention_taken(&node->depot.retention, full);
	heap_tell_kept(node->class->heap, &node->depot.retention,
		       (long)full * READ_ONCE(node->capacity) * node->class->size);
}

/* Whether a magazine with slots may be left. */
static bool depot_admits(struct blockslab_node *node, const struct blockslab_magazine *magazine)
{
	struct blockslab_retention *retention = &node->depot.retention;
	unsigned int full = depot_full(node);

	/* For magazines that were not needed it has no room any more, and so drains. */
	retention_look(retention, full, READ_ONCE(node->capacity), ROUND);
	return (full + 1) * magazine->capacity <= READ_ONCE(retention->keep) &&
	       !overstocked(node->class->heap);
}

/* Every magazine of the depot, flushed and given back; that of an ended heap is closed. */
static void depot_drain(struct blockslab_node *node)
{
	unsigned long was, will = heap_caches(node->class->heap) ? 0 : SHELF_CLOSED, irq;
	struct blockslab_magazine *stored;
	unsigned int i;

	for (i = 0; i < SHELF; i++) {
		was = READ_ONCE(node->depot.shelf[i]);
		while (!(was & SHELF_CLOSED) &&
		       !try_cmpxchg(&node->depot.shelf[i], &was, will))
			;
		magazine_dispose(shelf_magazine(was));
	}
	for (i = 0; i < 2; i++) {
		spin_lock_irqsave(&node->lock, irq);
		stored = node->store[i];
		WRITE_ONCE(node->store[i], NULL);
		WRITE_ONCE(node->stored[i], 0);
		spin_unlock_irqrestore(&node->lock, irq);
		magazines_dispose(&stored);
	}
	heap_tell_kept(node->class->heap, &node->depot.retention, 0);
	retention_reset(&node->depot.retention);
	WRITE_ONCE(node->capacity, capacity_least(node->class->size));
}

/*
 * Leaves a magazine, if it has slots and there is room; for *@empty, or NULL. If not, @nr slots
 * count as given back.
 */
static bool depot_leave(struct blockslab_node *node, struct blockslab_magazine *magazine,
			unsigned int nr, struct blockslab_magazine **empty)
{
	bool left = magazine->count && depot_admits(node, magazine) &&
		    (shelf_trade(node, true, 0, (unsigned long)magazine | SHELF_SLOTS, empty) ||
		     store_trade(node, false, magazine, empty));

	if (!left)
		blockslab_add(node->depot.retention.given_back,
			      min_t(unsigned int, magazine->count, nr));
	depot_changed(node, true);
	return left;
}

/* A magazine that was brought is loaded. */
static void load_first(struct blockslab_cpu *line, struct blockslab_magazine *magazine)
{
	magazine->filled = magazine->count;
	magazine->allocs = READ_ONCE(line->tally) / BLOCKSLAB_ALLOC;
	load(line, magazine);
}

/*
 * How many slots go at once between blocks and a claimed line, whose @last magazine has none, or
 * (@put) no room: few, as who asks for one waits for it. But in a wave of allocations, none of
 * which has been freed, or of frees, with hardly any allocation in between, twice as many each
 * time: of a load that drops inodes and buffers by the thousand 138 instructions, not 153.
 */
static unsigned int at_once(const struct blockslab_cpu *line,
			    const struct blockslab_magazine *last, bool put)
{
	u8 allocs = READ_ONCE(line->tally) / BLOCKSLAB_ALLOC - last->allocs;

	if (!put)
		return max(REFILL_MAX, allocs == last->filled ? 2 * last->filled : 0);
	if (allocs >= FLUSH_MAX / 4)
		return FLUSH_MAX;
	return max(FLUSH_MAX, min(2 * (last->capacity - last->filled), last->capacity / 2));
}

/* What was traded for the loaded magazine of a claimed line comes in its place. */
static void trade_in(struct blockslab_cpu *line, struct blockslab_magazine *magazine)
{
	blockslab_add(line->moved, magazine->count - (long)blockslab_count(line));
	blockslab_sub(line->tally, blockslab_count(line));
	blockslab_add(line->trades, 1);
	load_first(line, magazine);
	credit_follow(line);
	smp_wmb();	/* drain_concerns() */
}

/* The magazine of a claimed line that has no slots, for one of the shelf that has some. */
static noinline bool trade_for_slots(struct blockslab_cpu *line)
{
	struct blockslab_magazine *empty = loaded_magazine(line), *full;
	struct blockslab_node *node = line->node;

	if (unlikely(!node) || !depot_full(node))	/* of no class */
		return false;
	if (empty)
		WRITE_ONCE(empty->count, 0);
	if (!shelf_trade(node, false, 0, (unsigned long)empty, &full))
		return false;
	trade_in(line, full);
	depot_changed(node, false);
	return true;
}

/* Large slots are cached in one magazine a CPU, until that has grown. */
static bool may_have_spare(const struct blockslab_node *node)
{
	return node->class->size <= SZ_2K ||
	       READ_ONCE(node->capacity) > capacity_least(node->class->size);
}

/* The same of one that has no room, for one that is empty. */
static noinline bool trade_for_room(struct blockslab_cpu *line)
{
	struct blockslab_magazine *full = loaded_magazine(line), *empty;
	struct blockslab_node *node = line->node;

	if (!full || (!line->spare && may_have_spare(node)) ||
	    !READ_ONCE(node->depot.retention.keep) || !depot_admits(node, full))
		return false;
	WRITE_ONCE(full->count, blockslab_count(line));
	if (!shelf_trade(node, true, READ_ONCE(node->capacity),
			 (unsigned long)full | SHELF_SLOTS, &empty))
		return false;
	trade_in(line, empty);
	depot_changed(node, true);
	return true;
}

/* Sees to it that a claimed line has slots loaded: its own, the spare's, or the shelf's. */
static __always_inline bool has_slots(struct blockslab_cpu *line)
{
	if (!blockslab_count(line) && line->spare && line->spare->count)
		swap_spare(line);
	return blockslab_count(line) || trade_for_slots(line);
}

/* The same for room for one more. */
static __always_inline bool has_room(struct blockslab_cpu *line)
{
	if (blockslab_count(line) >= line->capacity && line->spare &&
	    line->spare->count < line->spare->capacity)
		swap_spare(line);
	return blockslab_count(line) < line->capacity || trade_for_room(line);
}

/* A slot of this CPU's magazines, or of the depot's shelf, or NULL. Takes no lock. */
static void *take_cached(struct blockslab_node *node, size_t size)
{
	struct blockslab_cpu *line = claim_line(node);
	void *slot = NULL;

	if (!line)
		return NULL;
	if (has_slots(line)) {
		slot = line->loaded[blockslab_count(line) - 1];
		blockslab_add(line->tally, BLOCKSLAB_ALLOC - 1);
		spend(line, credit_size(node->class, size));
		*blockslab_word(slot, node->class->canary) = 0;
	}
	unclaim_line(line);
	return slot;
}

/*
 * A magazine of this CPU's line, the spare before the loaded one: one without slots; or any, where
 * slots are to be @put, unless another may be had beside it. Else NULL. *@nr: see at_once().
 */
static struct blockslab_magazine *take_off(struct blockslab_node *node, bool put,
					   unsigned int *nr)
{
	struct blockslab_cpu *line = claim_line(node);
	struct blockslab_magazine *magazine, *last;

	*nr = put ? FLUSH_MAX : REFILL_MAX;
	if (!line)
		return NULL;
	magazine = line->spare;
	last = put && magazine ? magazine : loaded_magazine(line);
	if (last)
		*nr = at_once(line, last, put);
	if (magazine && (put || !magazine->count))
		WRITE_ONCE(line->spare, NULL);
	else if (!magazine && (put ? !may_have_spare(node) : !blockslab_count(line)))
		magazine = unload(line);
	else
		magazine = NULL;
	blockslab_sub(line->moved, magazine ? magazine->count : 0);
	blockslab_add(line->trades, 1);
	unclaim_line(line);
	return magazine;
}

/*
 * A magazine of the present capacity with room: @magazine, or the depot's, or a new one. Smaller
 * ones are given up.
 */
static struct blockslab_magazine *empty_magazine(struct blockslab_node *node,
						 struct blockslab_magazine *magazine, gfp_t gfp)
{
	unsigned int least = READ_ONCE(node->capacity);

	do {
		if (magazine && magazine->capacity >= least)
			return magazine;
		magazine_dispose(magazine);
		magazine = NULL;
		if (!shelf_trade(node, true, 1, 0, &magazine) && READ_ONCE(node->stored[false]))
			store_trade(node, false, NULL, &magazine);
	} while (magazine);
	return magazine_get(node, gfp);
}

/* Loads a magazine into this CPU's line; the one before is the spare. False where there is one. */
static bool take_in(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	struct blockslab_cpu *line = claim_line(node);
	bool taken;

	if (!line)
		return false;
	/* Either this sees what heap_close() has set, or the drain after that sees the claim. */
	smp_mb();
	taken = heap_caches(node->class->heap) && !line->spare;
	if (taken) {
		blockslab_add(line->moved, magazine->count);
		/* Never without either: drain_concerns() looks for @loaded first. */
		smp_store_release(&line->spare, loaded_magazine(line));	/* for readers elsewhere */
		smp_wmb();	/* drain_concerns() */
		unload(line);
		load_first(line, magazine);
		credit_follow(line);
		smp_wmb();	/* the same */
	}
	unclaim_line(line);
	return taken;
}

static void install(struct blockslab_node *node, struct blockslab_magazine *magazine)
{
	struct blockslab_magazine *empty = NULL;

	if (take_in(node, magazine))
		return;
	if (depot_leave(node, magazine, FLUSH_MAX, &empty))
		magazine = empty;
	magazine_dispose(magazine);
}

/*
 * Fills a magazine with up to @nr slots, fewer while few of the class's are in use. Returns one of
 * them, for a request of @size bytes; NULL where there is none, or spend() is to count it, or to
 * renew a line.
 */
static void *refill(struct blockslab_node *node, struct blockslab_magazine *magazine,
		    unsigned int nr, size_t size)
{
	struct blockslab_class *class = node->class;
	unsigned long irq, want, most;
	unsigned int got;
	void *slot = NULL;

	/* Flushed, and wanted again: up to an eighth of keep_kib is kept. */
	most = kib_bytes(READ_ONCE(keep_kib)) / 8 / class->size;
	spin_lock_irqsave(&node->lock, irq);
	want = min3((unsigned long)magazine->capacity, (node->nr_slots - node->nr_free) / 4 + 1,
		    (unsigned long)nr);
	got = take_from_blocks(node, magazine->slots, want, true);
	if (got && !READ_ONCE(class->heap->track) && raw_cpu_read(node_cpu(node)->granted)) {
		slot = magazine->slots[got - 1];
		blockslab_add(node->allocs, 1);
		node->requested += size;
	}
	magazines_grow(node, true);
	retention_missed(&node->depot.retention, got, min(most, node->nr_slots));
	spin_unlock_irqrestore(&node->lock, irq);
	trace_blockslab_refill(class->heap->name, class->size, node_id(node), got);
	WRITE_ONCE(magazine->count, got - !!slot);
	if (slot)
		*blockslab_word(slot, class->canary) = 0;
	return slot;
}

static void *find_slots(struct blockslab_node *node, size_t size, gfp_t gfp)
{
	unsigned int nr;
	struct blockslab_magazine *magazine = take_off(node, false, &nr), *full;
	void *slot;

	if (READ_ONCE(node->stored[true]) && store_trade(node, true, magazine, &full)) {
		magazine = NULL;
		if (full) {
			depot_changed(node, false);
			install(node, full);
			return take_cached(node, size);
		}
	}
	magazine = empty_magazine(node, magazine, gfp);
	if (!magazine)
		return NULL;
	slot = refill(node, magazine, nr, size);
	install(node, magazine);
	return slot ?: take_cached(node, size);
}

/*
 * Brings slots to this CPU's line of the node, which has_slots() found without, and one more, for a
 * request of @size bytes. NULL where there are none, or no magazine.
 */
static void *bring_slots(struct blockslab_node *node, size_t size, gfp_t gfp)
{
	void *slot;

	if (node_exact(node) || READ_ONCE(node->class->rests) ||
	    (!READ_ONCE(node->nr_free) && !READ_ONCE(node->stored[true])))
		return NULL;
	atomic_add(IN_HAND + 2, &node->in_hand);
	slot = find_slots(node, size, gfp);
	atomic_dec(&node->in_hand);
	smp_mb__after_atomic();	/* heap_trim_work() */
	heap_arm(node->class->heap);
	return slot;
}

/* A class that rests has room for what comes in numbers, as where a client frees all it has. */
static bool returns_many(struct blockslab_node *node)
{
	u8 returns = READ_ONCE(node->returns);

	if (returns < 2 * REST_ALLOCS)
		WRITE_ONCE(node->returns, returns + 1);
	return returns == 2 * REST_ALLOCS;
}

/* Makes room for a slot in this CPU's line of the node; false if it cannot. */
static bool bring_room(struct blockslab_node *node)
{
	struct blockslab_magazine *magazine, *empty = NULL;
	unsigned int nr;

	if (node_exact(node) || (READ_ONCE(node->class->rests) && !returns_many(node)))
		return false;
	atomic_add(IN_HAND + 2, &node->in_hand);
	magazine = take_off(node, true, &nr);
	if (magazine && depot_leave(node, magazine, nr, &empty))
		magazine = empty;
	else if (magazine)
		magazine_flush(magazine, nr);
	/* kswapd is not woken for this: kfree() does not either. */
	magazine = empty_magazine(node, magazine, __GFP_NOWARN);
	if (magazine)
		install(node, magazine);
	atomic_dec(&node->in_hand);
	smp_mb__after_atomic();	/* heap_trim_work() */
	heap_arm(node->class->heap);
	return magazine;
}
