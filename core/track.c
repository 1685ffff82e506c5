// SPDX-License-Identifier: GPL-2.0
/*
 * Who holds what: live slots that are tracked, by the stack that allocated them
 */

/* What a stack held, in 1/256 */
struct held_once {
	u64 slots;
	u64 bytes;
};

/* Live slots that one stack allocated; those that were sampled stand for more */
struct caller {
	depot_stack_handle_t stack;	/* that it is */
	u64 oldest;			/* age of the oldest of them, in milliseconds */
	u64 slots;			/* how many, in 1/256 */
	u64 requested;			/* bytes asked for, in 1/256 */
	u64 held;			/* bytes of the slots, in 1/256 */
	struct held_once before[3];	/* a minute, ten, and an hour ago */
	depot_stack_handle_t kept; /* the same stack with names, if a module of it goes; or 0 */
	unsigned long cpus[];		/* that allocated them */
};

#define NOTES_AT_ONCE	64	/* read under one hold of the lock */

/* All callers of a heap */
struct callers {
	struct xarray by_stack;				/* struct caller */
	struct caller **sorted;				/* the same, those that hold most first */
	unsigned int nr;				/* how many */
	struct place place;				/* where reading is: the block, */
	unsigned int number;				/* the next slot, */
	unsigned int nr_notes;				/* and what has been read, */
	struct blockslab_note notes[NOTES_AT_ONCE];	/* copies of notes, */
	size_t bytes;					/* and of their slots' size */
	unsigned int turns;				/* counts before this one: see grow.c */
};

/*
 * 1 / (1 - exp(-size / period)), in 1/256: for how many a slot stands that was sampled. By the
 * series 1/x + 1/2 + x/12 - x^3/720 for x up to 1; what is larger is halved first, and then
 * exp(-x) squared as often.
 */
static u64 note_weight(u32 size, u32 period)
{
	const u64 one = 1ULL << 24;
	unsigned int halved = 0;
	u64 x, weight, rest;

	if (period <= 1 || size / 16 >= period)
		return 256;
	if (period / 256 >= size)
		return div_u64((u64)period << 8, size) + 128;
	x = div_u64((u64)size << 24, period);
	for (; x > one; x >>= 1)
		halved++;
	weight = div64_u64(one * one, x) + one / 2 + div_u64(x, 12) -
		 div_u64((x * x >> 24) * x >> 24, 720);
	for (; halved; halved--) {
		rest = one - div64_u64(one * one, weight);
		weight = div64_u64(one * one, one - (rest * rest >> 24));
	}
	return weight >> 16;
}

static struct caller *caller_new(struct callers *callers, depot_stack_handle_t stack)
{
	struct caller *caller;

	caller = kzalloc(struct_size(caller, cpus, BITS_TO_LONGS(nr_cpu_ids)), GFP_KERNEL);
	if (!caller || xa_err(xa_store_irq(&callers->by_stack, stack, caller, GFP_KERNEL))) {
		kfree(caller);
		return NULL;
	}
	caller->stack = stack;
	callers->nr++;
	return caller;
}

static int count_note(struct callers *callers, const struct blockslab_note *note)
{
	struct caller *caller = xa_load(&callers->by_stack, note->got) ?:
				caller_new(callers, note->got);
	u64 weight = note_weight(note->asked, note->period);

	if (!caller)
		return -ENOMEM;
	caller->oldest = max(caller->oldest, note_age(note->when));
	caller->slots += weight;
	caller->requested += weight * note->asked;
	caller->held += weight * callers->bytes;
	if (note->cpu < nr_cpu_ids)
		__set_bit(note->cpu, caller->cpus);
	return 0;
}

/* Copies a live slot's note, unless it is not tracked. Those who write it hold no lock. */
static void copy_note(struct callers *callers, struct blockslab_block *block)
{
	const struct blockslab_note *note = &block->notes[callers->number];

	/* note_alloc() */
	if (!smp_load_acquire(&note->period) || slot_is_free(block, callers->number))
		return;
	callers->notes[callers->nr_notes++] = data_race(*note);	/* it may change */
}

/* The block that has the next notes, from @number up to @end; NULL at the end of the node. */
static struct blockslab_block *next_notes(struct place *place, unsigned int *number,
					  unsigned int *end)
{
	struct blockslab_block *block = place->block;

	lockdep_assert_held(&place->node->lock);
	if (!block || *number >= nr_notes(block)) {
		block = place_next(place);
		*number = 0;
	}
	*end = block ? min_t(unsigned int, *number + NOTES_AT_ONCE, nr_notes(block)) : 0;
	return block;
}

/* Copies some more notes of the node it is in; false at its end. */
static bool read_notes(struct callers *callers)
{
	struct blockslab_node *node = callers->place.node;
	struct blockslab_block *block;
	unsigned int end;

	callers->nr_notes = 0;
	spin_lock_irq(&node->lock);
	block = next_notes(&callers->place, &callers->number, &end);
	if (block) {
		callers->bytes = slot_bytes(block);
		for (; callers->number < end; callers->number++)
			copy_note(callers, block);
	}
	spin_unlock_irq(&node->lock);
	return block;
}

static int count_node(struct callers *callers, struct blockslab_node *node)
{
	unsigned int i;
	int error = 0;

	place_start(&callers->place, node);
	while (!error && read_notes(callers)) {
		for (i = 0; !error && i < callers->nr_notes; i++)
			error = count_note(callers, &callers->notes[i]);
		cond_resched();
	}
	place_end(&callers->place);
	return error;
}

static int compare_callers(const void *a, const void *b)
{
	const struct caller *x = *(struct caller * const *)a, *y = *(struct caller * const *)b;

	return x->held > y->held ? -1 : x->held < y->held;
}

static int sort_callers(struct callers *callers)
{
	struct caller *caller;
	unsigned long stack;
	unsigned int i = 0;

	callers->sorted = kvmalloc_array(callers->nr, sizeof(*callers->sorted), GFP_KERNEL);
	if (!callers->sorted && callers->nr)
		return -ENOMEM;
	xa_for_each(&callers->by_stack, stack, caller)
		callers->sorted[i++] = caller;
	sort(callers->sorted, callers->nr, sizeof(*callers->sorted), compare_callers, NULL);
	return 0;
}

static void callers_free(struct callers *callers)
{
	struct caller *caller;
	unsigned long stack;

	xa_for_each(&callers->by_stack, stack, caller)
		kfree(caller);
	xa_destroy(&callers->by_stack);
	kvfree(callers->sorted);
	kfree(callers);
}

/* The callers of a heap, the caller's to free; or an ERR_PTR. May sleep. */
static struct callers *callers_get(struct blockslab_heap *heap)
{
	struct callers *callers = kzalloc(sizeof(*callers), GFP_KERNEL);
	struct blockslab_node *node;
	int error = 0;

	if (!callers)
		return ERR_PTR(-ENOMEM);
	xa_init_flags(&callers->by_stack, XA_FLAGS_LOCK_IRQ);
	for (node = node_after(heap, NULL); node && !error; node = node_after(heap, node))
		if (node->class->noted || !node->class->size)
			error = count_node(callers, node);
	if (!error)
		error = sort_callers(callers);
	if (!error)
		return callers;
	callers_free(callers);
	return ERR_PTR(error);
}

#ifdef CONFIG_MODULES
/* A stack with the names of what a module that goes has of it; 0 where that is nothing. */
static depot_stack_handle_t stack_kept(depot_stack_handle_t stack, const struct module *going)
{
	unsigned long *entries = NULL, kept[STACK_FRAMES];
	unsigned int nr = min_t(unsigned int, stack_entries(stack, &entries), STACK_FRAMES);

	memcpy(kept, entries, nr * sizeof(*kept));
	return frames_keep(kept, nr, going) ? stack_keep(kept, nr, GFP_KERNEL) : 0;
}

/* Where a name cannot be kept, or of who freed a slot before, no more is told than that. */
static void forget_name(depot_stack_handle_t *stack, const struct module *going)
{
	depot_stack_handle_t was = READ_ONCE(*stack);
	unsigned long *entries = NULL;
	unsigned int nr = stack_entries(was, &entries);

	while (nr--)
		if (within_module(entries[nr], going))
			cmpxchg(stack, was, 0);		/* note_alloc() holds no lock */
}

static void node_keep_names(struct blockslab_node *node, struct callers *callers,
			    const struct module *going)
{
	unsigned int number = 0, end;
	struct blockslab_block *block;
	depot_stack_handle_t got;
	struct caller *caller;
	struct place place;

	place_start(&place, node);
	do {
		spin_lock_irq(&node->lock);
		block = next_notes(&place, &number, &end);
		for (; number < end; number++) {
			got = READ_ONCE(block->notes[number].got);
			caller = callers ? xa_load(&callers->by_stack, got) : NULL;
			if (caller && caller->kept)
				cmpxchg(&block->notes[number].got, got, caller->kept);
			else
				forget_name(&block->notes[number].got, going);
			forget_name(&block->notes[number].gone, going);
		}
		spin_unlock_irq(&node->lock);
		cond_resched();
	} while (block);
	place_end(&place);
}

/*
 * Slots that a module allocated outlive it: whoever gets its addresses is not to be named for it.
 */
static void heap_keep_names(struct blockslab_heap *heap, const struct module *going)
{
	struct callers *callers = callers_get(heap);
	struct blockslab_node *node;
	struct caller *caller;
	unsigned long stack;

	if (IS_ERR(callers))
		callers = NULL;		/* no name can be kept */
	heap_unwatch(heap);	/* what is found is told with its names */
	if (callers)
		xa_for_each(&callers->by_stack, stack, caller)
			caller->kept = stack_kept(stack, going);
	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		node_keep_names(node, callers, going);
	if (callers)
		callers_free(callers);
}
#endif

#define LEAKY_CLASSES_SHOWN	8
#define LEAKS_SHOWN	4	/* of each class */
#define LEAKERS_SHOWN	4

/* A class's live slots. */
struct leak {
	struct blockslab_class *class;
	unsigned long slots;
	unsigned long bytes;
};

/* The addresses of some live slots of a node; how many. */
static unsigned int find_live(struct blockslab_node *node, void **slots, unsigned int nr)
{
	struct blockslab_block *block;
	unsigned int number, found = 0;

	spin_lock_irq(&node->lock);
	list_for_each_entry(block, &node->all, all) {
		for_each_clear_bit(number, block->map, block->nr_slots)
			if (found < nr && !slot_waits(block, number))
				slots[found++] = slot_address(block, node->class->size, number);
		if (found == nr)
			break;
	}
	spin_unlock_irq(&node->lock);
	return found;
}

static void report_leak(const struct leak *leak)
{
	struct blockslab_node *node;
	unsigned int found = 0, i;
	void *slots[LEAKS_SHOWN];

	if (leak->class->size)
		pr_warn("%lu slots of %u bytes:\n", leak->slots, leak->class->size);
	else
		pr_warn("%lu allocations of whole pages:\n", leak->slots);
	for (i = 0; (node = class_node(leak->class, i)); i++)
		found += find_live(node, slots + found, LEAKS_SHOWN - found);
	for (i = 0; i < found; i++)
		pr_warn("  slot %p\n", slots[i]);
}

/* The stacks that hold most, where anything is tracked. */
static void report_leakers(struct blockslab_heap *heap)
{
	struct callers *callers = callers_get(heap);
	unsigned int i;

	if (IS_ERR(callers))
		return;
	for (i = 0; i < min_t(unsigned int, callers->nr, LEAKERS_SHOWN); i++) {
		const struct caller *caller = callers->sorted[i];

		pr_warn("%llu slots of %llu bytes in all, the oldest %llu ms old\n",
			caller->slots >> 8, caller->requested >> 8, caller->oldest);
		print_stack("were allocated by:", caller->stack);
	}
	if (callers->nr > LEAKERS_SHOWN)
		pr_warn("and %u callers more\n", callers->nr - LEAKERS_SHOWN);
	if (!callers->nr)
		pr_warn("who allocates them is told after a 1 written to debugfs/blockslab/heap/%s/track, or with BLOCKSLAB_TRACK\n",
			heap->name);
	callers_free(callers);
}

/* Says which slots of a heap, of which none is cached, are live, and who allocated most. */
static void report_leaks(struct blockslab_heap *heap)
{
	struct leak leaks[LEAKY_CLASSES_SHOWN] = {}, leak;
	unsigned long slots = 0, bytes = 0;
	struct blockslab_class *class;
	unsigned int nr = 0, i;
	struct sums sums;

	for (class = class_after(heap, NULL); class; class = class_after(heap, class)) {
		class_sums(&sums, class);
		leak.class = class;
		leak.slots = sums_allocated(&sums);
		leak.bytes = class->size ? leak.slots * class->size : sums.pages;
		slots += leak.slots;
		bytes += leak.bytes;
		nr += leak.slots > 0;
		for (i = 0; i < LEAKY_CLASSES_SHOWN; i++)	/* the largest stand first */
			if (leak.bytes > leaks[i].bytes)
				swap(leak, leaks[i]);
	}
	if (!nr)
		return;
	pr_warn("%lu live slots, %lu bytes in all, in %u classes, the largest first:\n", slots,
		bytes, nr);
	for (i = 0; i < min_t(unsigned int, nr, LEAKY_CLASSES_SHOWN); i++)
		report_leak(&leaks[i]);
	if (nr > LEAKY_CLASSES_SHOWN)
		pr_warn("and %u classes more\n", nr - LEAKY_CLASSES_SHOWN);
	report_leakers(heap);
}
