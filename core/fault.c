// SPDX-License-Identifier: GPL-2.0
/*
 * Faults: one report each, and the operation is refused
 *
 * Where a fault is found, what is known of it is copied into a record; the record is printed where
 * that disturbs nobody: at once, or, found under a lock, with interrupts off or in an NMI, a moment
 * later by a worker. So nothing is printed under a lock, and a block may be gone when its fault is
 * told. Reports of one kind are limited in their rate; how many were left out is told with the
 * next.
 *
 * What it does not do: it mends and refuses nothing; who found the fault has done that, and says
 * what in the report's last line. Locks: none; the records are taken by atomic bits.
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
	REFERENCED,
	PAST_COPY,
	DESTROYED,
	NO_HEAP,
	CACHE_HEAP,
	NR_FAULTS,
};

#define REFUSED	"the call was refused; nothing was changed"
#define NO_REUSE "the slot is never given out again"

/* What each is called, and what was done where the report says nothing else. */
static const struct {
	const char *name;
	const char *done;
} faults[] = {
	[DOUBLE_FREE] = { "double free", REFUSED },
	[FOREIGN] = { "foreign pointer", REFUSED },
	[INSIDE] = { "pointer inside a slot", REFUSED },
	[WRONG_CACHE] = { "wrong cache", REFUSED },
	[WRONG_SIZE] = { "wrong size", REFUSED },
	[PAST_SLOT] = { "write past the slot",
			"the zone was mended; the slot was not freed" },
	[BEFORE_SLOT] = { "write before the slot, or past the one before it",
			  "the zone was mended; the slot was not freed" },
	[AFTER_FREE] = { "write after free", "the slot was filled anew and handed out" },
	[DAMAGED] = { "damaged descriptor", "the block and its slots are left alone" },
	[REFERENCED] = { "page still referenced, or freed by others",
			 "the block is kept from reuse until its pages are let go of" },
	[PAST_COPY] = { "copy to or from user space past a slot", "no byte was copied" },
	[DESTROYED] = { "use of a destroyed heap", REFUSED },
	[NO_HEAP] = { "pointer that is no heap", REFUSED },
	[CACHE_HEAP] = { "allocation of a size from a cache's heap", REFUSED },
};

static_assert(ARRAY_SIZE(faults) == NR_FAULTS);

#define REPORTS_PENDING	8
#define REPORT_FRAMES	16
#define REPORT_BYTES	16

/* What is to be told of a fault. What is not named is not known, or the usual. */
struct fault_facts {
	const void *slot;			/* the pointer in question */
	const struct blockslab_block *block;	/* it is in; not looked at later */
	unsigned long caller;			/* the client's call */
	const char *done;			/* what was done about it */
	const void *damage;			/* the first wrong byte, */
	u8 expected;				/* and its right value */
	bool locked;				/* found under a lock */
};

/* The same until it is told. */
struct fault_report {
	struct llist_node node;			/* in fault_reports */
	enum fault fault;
	struct fault_facts facts;
	char place[192];			/* heap, class and block in words; or empty */
	bool noted;				/* there is a note, */
	bool coarse;				/* and its slot is one that sizes share */
	struct blockslab_note note;		/* what was remembered of the slot */
	u8 nr_found;				/* bytes in @found, 0 where none is wrong */
	u8 found[REPORT_BYTES];			/* from facts.damage on */
	unsigned int nr_frames;			/* in @frames */
	unsigned long frames[REPORT_FRAMES];	/* the stack where it was found */
};

static struct fault_report report_records[REPORTS_PENDING];
static unsigned long report_taken;			/* a bit a record, atomic */
static_assert(REPORTS_PENDING <= BITS_PER_LONG);
static LLIST_HEAD(fault_reports);			/* not told yet */
static atomic_t reports_untold[NR_FAULTS];		/* for want of a record, or by their rate */

/* One a kind, so that a storm of one kind hides no other. */
static struct ratelimit_state fault_limits[] = {
	[0 ... NR_FAULTS - 1] = RATELIMIT_STATE_INIT_FLAGS(fault_limits, 5 * HZ, 10,
							   RATELIMIT_MSG_ON_RELEASE),
};

/* A clock that 32 bits hold for nine years, in steps of 67 ms. */
static u32 note_clock(void)
{
	return local_clock() >> 26;
}

/* Milliseconds since note_clock() was at @when. */
static u64 note_age(u32 when)
{
	return div_u64((u64)max_t(s32, note_clock() - when, 0) << 26, NSEC_PER_MSEC);
}

/* In steps of a second; ages of up to a year. */
static u32 block_clock(void)
{
	return local_clock() >> 30;
}

/* Milliseconds since a block got its pages; 0 where this CPU's clock is behind. */
static u64 block_age(const struct blockslab_block *block)
{
	s32 age = sign_extend32(block_clock() - block->born, 25);

	return div_u64((u64)max(age, 0) << 30, NSEC_PER_MSEC);
}

/* How many frames a kept stack has, innermost first. */
static unsigned int stack_entries(depot_stack_handle_t stack, unsigned long **entries)
{
	return IS_ENABLED(CONFIG_STACKDEPOT) && stack ? stack_depot_fetch(stack, entries) : 0;
}

static void print_stack(const char *what, depot_stack_handle_t stack)
{
	char text[KSYM_SYMBOL_LEN];
	unsigned long *entries = NULL;
	unsigned int nr = stack_entries(stack, &entries), i;

	if (nr)
		pr_err("%s\n", what);
	for (i = 0; i < nr; i++)
		pr_err("  %s\n", frame_name(entries[i], text));
}

static void print_note(const struct blockslab_note *note, bool coarse)
{
	if (note->when)
		pr_err("asked for: %u bytes, on CPU %u, %llu ms ago\n", note->asked, note->cpu,
		       note_age(note->when));
	else
		pr_err("asked for: %s%u bytes\n", coarse ? "at most " : "", note->asked);
	print_stack("allocated by:", note->got);
	if (note->gone_when)
		pr_err("last freed: on CPU %u, %llu ms ago\n", note->gone_cpu,
		       note_age(note->gone_when));
	print_stack("last freed by:", note->gone);
}

/* What a pointer is that is no slot, as far as can be told. */
static const char *foreign_kind(const void *pointer)
{
	/* On other machines the kernel's addresses are those of user space, too. */
	if ((unsigned long)pointer < (IS_ENABLED(CONFIG_ARCH_HAS_NON_OVERLAPPING_ADDRESS_SPACE) ?
				      TASK_SIZE : PAGE_SIZE))
		return "an address of user space, or none at all";
	if (is_vmalloc_addr(pointer))
		return "vmalloc memory: use vfree(), or it is a stack";
	if (!virt_addr_valid(pointer))
		return "no memory of the page allocator: a module's data, or nothing";
	if (PageSlab(virt_to_head_page(pointer)))
		return "a slab object: use kfree() or kmem_cache_free()";
	if (PageReserved(virt_to_page(pointer)))
		return "the kernel's own data, or reserved memory";
	return "a page of others, or of a block that was given back";
}

static void print_report(const struct fault_report *report)
{
	int untold = atomic_xchg(&reports_untold[report->fault], 0);

	if (report->facts.caller)
		pr_err("fault: %s: %s %p, by %pS\n", faults[report->fault].name,
		       report->fault < DESTROYED ? "slot" : "heap", report->facts.slot,
		       (void *)report->facts.caller);
	else
		pr_err("fault: %s: slot %p\n", faults[report->fault].name, report->facts.slot);
	if (report->fault == FOREIGN)
		pr_err("it is %s\n", foreign_kind(report->facts.slot));
	if (*report->place)
		pr_err("%s\n", report->place);
	if (report->noted)
		print_note(&report->note, report->coarse);
	if (report->nr_found)
		pr_err("from byte %td of the slot on: %*ph, where 0x%02x was expected\n",
		       report->facts.damage - report->facts.slot, report->nr_found, report->found,
		       report->facts.expected);
	if (untold)
		pr_err("and %d more of this kind since the last one told\n", untold);
	pr_err("found on this way:\n");
	stack_trace_print(report->frames, report->nr_frames, 1);
	pr_err("%s\n", report->facts.done ?: faults[report->fault].done);
}

static void print_reports(struct work_struct *work)
{
	struct llist_node *told = llist_reverse_order(llist_del_all(&fault_reports));
	struct fault_report *report, *next;

	llist_for_each_entry_safe(report, next, told, node) {
		print_report(report);
		clear_bit_unlock(report - report_records, &report_taken);
	}
}

static DECLARE_WORK(report_work, print_reports);

/* Blocks that have marks, or had some when they were queued; each once. For defer.c's worker. */
static LLIST_HEAD(deferred_blocks);
static struct work_struct deferred_work;

/* Has the workers do what there is to do. */
static void works_ask(struct irq_work *unused)
{
	if (!llist_empty(&fault_reports))
		queue_work(workqueue, &report_work);
	if (!llist_empty(&deferred_blocks))
		queue_work(workqueue, &deferred_work);
}

/* In an interrupt on PREEMPT_RT too: a thread would not run on a CPU that goes offline. */
static struct irq_work works_irq = IRQ_WORK_INIT_HARD(works_ask);

/*
 * The same where no lock may be taken, after something was added for them. A CPU that goes, or
 * comes, and is not online would not run it, nor anything that it is asked for later: cpu_gone()
 * and cpu_comes() ask for what such a one left.
 */
static void works_ask_by_irq(void)
{
	if (likely(cpu_online(raw_smp_processor_id())))
		irq_work_queue(&works_irq);
}

/* A record that nobody else has, or NULL. Any context. */
static struct fault_report *report_get(enum fault fault)
{
	unsigned int i;

	if (__ratelimit(&fault_limits[fault]))
		for (i = 0; i < REPORTS_PENDING; i++)
			if (!test_and_set_bit_lock(i, &report_taken))
				return &report_records[i];
	atomic_inc(&reports_untold[fault]);
	return NULL;
}

/* The block must not go meanwhile. */
static void report_place(struct fault_report *report, const struct blockslab_block *block)
{
	const struct blockslab_class *class = block->node->class;
	unsigned int number = 0;

	if (class->size) {
		number = (report->facts.slot - block->base) / class->size;
		scnprintf(report->place, sizeof(report->place),
			  "heap %s, class of %u bytes, slot %u of %u, block at %p on node %d",
			  class->heap->name, object_size(class), number, block->nr_slots,
			  block->base, node_id(block->node));
	} else {
		scnprintf(report->place, sizeof(report->place), "heap %s, %u whole pages at %p",
			  class->heap->name, block->nr_pages, block->base);
	}
	report->coarse = class_coarse(class);
	report->noted = block->notes && number < block->nr_slots;
	if (report->noted && report->coarse)
		report->note = (struct blockslab_note){ .asked = block->usable[number] };
	else if (report->noted)
		report->note = block->notes[number];
}

static noinline __cold void report_facts(enum fault fault, const struct fault_facts *facts)
{
	const struct blockslab_class *class = facts->block ? facts->block->node->class : NULL;
	const struct blockslab_heap *heap = class ? class->heap :
		fault == DESTROYED || fault == CACHE_HEAP ? facts->slot : NULL;
	struct fault_report *report;

	trace_blockslab_fault(faults[fault].name, facts->slot, heap ? heap->name : "",
			      class ? object_size(class) : 0);
	report = report_get(fault);
	if (!report)
		return;
	memset(report, 0, sizeof(*report));
	report->fault = fault;
	report->facts = *facts;
	if (facts->block)
		report_place(report, facts->block);
	else if (heap)
		scnprintf(report->place, sizeof(report->place), "heap %s", heap->name);
	if (facts->damage) {
		report->nr_found = min_t(size_t, REPORT_BYTES,
					 PAGE_SIZE - offset_in_page(facts->damage));
		memcpy(report->found, facts->damage, report->nr_found);
	}
	report->nr_frames = stack_trace_save(report->frames, REPORT_FRAMES, 1);
	llist_add(&report->node, &fault_reports);
	if (facts->locked || irqs_disabled() || in_nmi())
		works_ask_by_irq();
	else
		print_reports(NULL);
}

/* report(FAULT, .slot = slot, ...): any context; a block that is named must not go meanwhile. */
#define report(fault, ...)	report_facts(fault, &(struct fault_facts){ __VA_ARGS__ })
