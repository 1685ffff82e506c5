// SPDX-License-Identifier: GPL-2.0
/*
 * Faults: one report each, and the operation is refused
 */

enum fault {
	NO_FAULT,
	DOUBLE_FREE,
	FOREIGN,
	INSIDE,
	WRONG_CACHE,
	WRONG_SIZE,
	PAST_SLOT,
	BEFORE_SLOT,
	AFTER_FREE,
	DAMAGED,
	DESTROYED,
	NR_FAULTS,
};

static const char * const fault_names[] = {
	[NO_FAULT] = "none",
	[DOUBLE_FREE] = "double free",
	[FOREIGN] = "foreign pointer",
	[INSIDE] = "pointer inside a slot",
	[WRONG_CACHE] = "wrong cache",
	[WRONG_SIZE] = "wrong size",
	[PAST_SLOT] = "write past the slot",
	[BEFORE_SLOT] = "write before the slot, or past the one before it",
	[AFTER_FREE] = "write after free",
	[DAMAGED] = "damaged descriptor",
	[DESTROYED] = "allocation from a destroyed heap",
};

static_assert(ARRAY_SIZE(fault_names) == NR_FAULTS);

/* One a kind, so that a storm of one kind hides no other. */
static struct ratelimit_state fault_limits[] = {
	[0 ... NR_FAULTS - 1] = RATELIMIT_STATE_INIT(fault_limits, 5 * HZ, 50),
};

/* A clock that 32 bits hold for nine years, in steps of 67 ms. */
static u32 note_clock(void)
{
	return local_clock() >> 26;
}

/* Milliseconds since note_clock() was at @when. */
static unsigned int note_age(u32 when)
{
	return div_u64((u64)max_t(s32, note_clock() - when, 0) << 26, NSEC_PER_MSEC);
}

/* In steps of a second, for four years. */
static u32 block_clock(void)
{
	return local_clock() >> 30;
}

/* Milliseconds since a block got its pages. */
static unsigned int block_age(const struct blockslab_block *block)
{
	u64 age = (block_clock() - block->born) & GENMASK(26, 0);

	return div_u64(age << 30, NSEC_PER_MSEC);
}

static void print_stack(const char *what, depot_stack_handle_t stack)
{
#ifdef CONFIG_STACKDEPOT
	if (!stack)
		return;
	pr_err("%s\n", what);
	stack_depot_print(stack);
#endif
}

static void print_note(const struct blockslab_note *note)
{
	if (note->period)
		pr_err("asked for: %u bytes, on CPU %u, %u ms ago\n", note->asked, note->cpu,
		       note_age(note->when));
	else
		pr_err("asked for: %u bytes\n", note->asked);
	print_stack("allocated by:", note->got);
	print_stack("last freed by:", note->gone);
}

static void print_block(struct blockslab_block *block, const void *slot)
{
	struct blockslab_class *class = block->node->class;
	unsigned int number = class->size ? (slot - block->base) / class->size : 0;

	if (class->size)
		pr_err("heap %s, class of %u bytes, slot %u of %u, block at %p on node %d\n",
		       class->heap->name, class->size, number, block->nr_slots, block->base,
		       node_id(block->node));
	else
		pr_err("heap %s, %u whole pages at %p\n", class->heap->name, block->nr_pages,
		       block->base);
	if (block->notes && number < block->nr_slots)
		print_note(&block->notes[number]);
}

/* @block may be NULL: not known. */
static noinline __cold void report(enum fault fault, const void *slot,
				   struct blockslab_block *block, unsigned long caller)
{
	struct blockslab_class *class = block ? block->node->class : NULL;

	trace_blockslab_fault(fault_names[fault], slot, class ? class->heap->name : "",
			      class ? class->size : 0);
	if (!__ratelimit(&fault_limits[fault]))
		return;
	pr_err("fault: %s: slot %p, by %pS\n", fault_names[fault], slot, (void *)caller);
	if (block)
		print_block(block, slot);
	pr_err("the call was refused; nothing was changed\n");
	dump_stack();
}
