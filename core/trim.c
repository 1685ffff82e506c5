// SPDX-License-Identifier: GPL-2.0
/*
 * Trims: CPUs' magazines, depots and empty blocks are given back
 *
 * By the heap's own timer, when it is quiet; by shrinker, limit and client, when they ask; and
 * where the heap ends. A CPU is interrupted only if it holds something, and an isolated one only
 * where the heap ends or is released, a period of tracking changes, a module goes while the shared
 * heap has blocks, or a request may not fail. What it does not do: what is kept while a heap is
 * in use is decided in retain.c. Locks: node->lock, for BLOCKS_RUN blocks at a time; none in the
 * interrupt.
 */

/* Trims in progress, of all heaps. */
DEFINE_STATIC_SRCU(trims);

enum drained {
	THIS_CPU,	/* only */
	QUIET_NODES,	/* of all CPUs, but for isolated ones */
	ALL_NODES,	/* the same */
	STALE_LINES,	/* of every CPU: see credits_renew() */
	EVERY_CPU,	/* for who can wait for nothing else */
	HEAPS_END,	/* of every CPU and all ending_heaps from this one on */
	HEAP_ENDS,	/* of every CPU, as often as it takes; or some times, if it lives on */
};

struct drain {
	struct blockslab_heap *heap;
	enum drained which;
	bool missed;	/* a line that was in use */
	struct blockslab_magazine *magazines;	/* in hand */
};

/* Detaches a claimed line's magazines. */
static void drain_line(struct drain *drain, struct blockslab_cpu *line)
{
	struct blockslab_magazine *magazines[] = { unload(line), line->spare };
	unsigned int i;

	WRITE_ONCE(line->spare, NULL);
	for (i = 0; i < ARRAY_SIZE(magazines); i++) {
		if (!magazines[i])
			continue;
		blockslab_sub(line->moved, magazines[i]->count);
		WRITE_ONCE(magazines[i]->below, drain->magazines);
		drain->magazines = magazines[i];
	}
}

/* For the time that a trim may have magazines in hand: see heap_trim_last(). */
static int trim_begin(struct blockslab_heap *heap) __acquires(&trims)
{
	atomic_long_inc(&heap->moving);
	return srcu_read_lock(&trims);
}

static void trim_end(struct blockslab_heap *heap, int trim) __releases(&trims)
{
	smp_mb__before_atomic();	/* all is flushed where @moving is 0 */
	atomic_long_dec(&heap->moving);
	srcu_read_unlock(&trims, trim);
}

/* It has magazines that it is to have no more. */
static bool node_caches_at_rest(const struct blockslab_node *node)
{
	return READ_ONCE(node->class->rests) && atomic_long_read(&node->magazine_slots);
}

static bool drain_concerns(const struct drain *drain, const struct blockslab_node *node,
			   struct blockslab_cpu *line)
{
	if (READ_ONCE(node->class->cpu) == no_class)
		return false;
	if (drain->which == QUIET_NODES && READ_ONCE(node->use.periods) < TRIM_QUIET &&
	    !node_caches_at_rest(node))
		return false;
	if (drain->which == STALE_LINES && !READ_ONCE(line->stale))
		return false;
	/* What is on its way into the line is there before it is not busy any more. */
	if (drain->which == HEAP_ENDS && READ_ONCE(line->busy))
		return true;
	smp_rmb();	/* trade_in(), take_in() */
	return loaded_magazine(line) || READ_ONCE(line->spare);
}

/* The node after a node, over the heaps that are drained; NULL at both ends. */
static struct blockslab_node *drain_after(const struct drain *drain, struct blockslab_node *node)
{
	struct blockslab_heap *heap = node ? node->class->heap : drain->heap;

	node = node_after(heap, node);
	while (!node && drain->which == HEAPS_END && heap->ending.next) {
		heap = llist_entry(heap->ending.next, struct blockslab_heap, ending);
		node = node_after(heap, NULL);
	}
	return node;
}

static bool drain_concerns_cpu(const struct drain *drain, int cpu)
{
	struct blockslab_node *node;

	for (node = drain_after(drain, NULL); node; node = drain_after(drain, node))
		if (drain_concerns(drain, node, node_line(node, cpu)))
			return true;
	return false;
}

/* On the CPU itself, with interrupts off: takes no lock. */
static void drain_this_cpu(void *data)
{
	struct drain *drain = data;
	struct blockslab_node *node;
	struct blockslab_cpu *line;

	for (node = drain_after(drain, NULL); node; node = drain_after(drain, node)) {
		line = this_cpu_ptr(node_cpu(node));
		if (!drain_concerns(drain, node, line))
			continue;
		if (blockslab_claim(line)) {
			drain_line(drain, line);
			blockslab_unclaim(line);
		} else {
			drain->missed = true;
		}
	}
}

/*
 * Interrupts a CPU for nothing else than what it holds. Those that are to be left alone by the rest
 * of the kernel are by trims, too.
 */
static void drain_cpu(struct drain *drain, int cpu)
{
	int tries = 0;

	if (drain->which < STALE_LINES && cpu != raw_smp_processor_id() &&
	    !(housekeeping_test_cpu(cpu, HK_TYPE_DOMAIN) &&
	      housekeeping_test_cpu(cpu, HK_TYPE_TICK)))
		return;
	do {
		if (!drain_concerns_cpu(drain, cpu))
			break;
		smp_call_function_single(cpu, drain_this_cpu, drain, 1);
		magazines_dispose(&drain->magazines);
	} while (drain->which == HEAP_ENDS && (!heap_caches(drain->heap) || ++tries < 10));
}

/*
 * Empties the magazines of CPUs, one after the other; false if a line was in use. Where the heap
 * ends, nothing comes into a line once it was empty (see take_in()), so each CPU is through with
 * this at some time, and is not looked at again.
 */
static bool drain_cpus(struct blockslab_heap *heap, enum drained which)
{
	struct drain drain = { .heap = heap, .which = which };
	unsigned long irq;
	int cpu;

	if (which == THIS_CPU) {
		local_irq_save(irq);
		drain_this_cpu(&drain);
		local_irq_restore(irq);
		magazines_dispose(&drain.magazines);
	} else {
		smp_mb();	/* take_in() */
		for_each_online_cpu(cpu)
			drain_cpu(&drain, cpu);
	}
	return !drain.missed;
}

/* The magazines of a CPU that is gone. */
static void drain_dead_cpu(unsigned int cpu)
{
	struct blockslab_node *node;
	struct blockslab_heap *heap;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		struct drain drain = { .heap = heap, .which = HEAP_ENDS };
		int trim = trim_begin(heap);

		for (node = node_after(heap, NULL); node; node = node_after(heap, node))
			drain_line(&drain, node_line(node, cpu));
		magazines_dispose(&drain.magazines);
		trim_end(heap, trim);
	}
}

/* For its allocations a CPU has the lines of the nearest node with memory that slots may be in. */
static void home_cpu(unsigned int cpu)
{
	unsigned long *home = per_cpu_ptr(&blockslab_home, cpu);
	unsigned long offset = (unsigned long)home - (__force unsigned long)&blockslab_home;
	int own = cpu_to_mem(cpu), near = own, nid;

	if (!node_state(own, N_NORMAL_MEMORY))
		for_each_node_state(nid, N_NORMAL_MEMORY)
			if (near == own || node_distance(own, nid) < node_distance(own, near))
				near = nid;
	WRITE_ONCE(per_cpu(home_nid, cpu), near);
	WRITE_ONCE(*home, offset + near * sizeof(struct blockslab_cpu));
}

/* The depot, and empty blocks, BLOCKS_RUN at a time: they are not missed. */
static void node_trim(struct blockslab_node *node)
{
	unsigned int runs, run;
	unsigned long irq;
	LIST_HEAD(gone);

	if (heap_forgotten(node->class->heap))
		return;
	depot_drain(node);
	runs = READ_ONCE(node->nr[BLOCK_RETAINED]) / BLOCKS_RUN + 1;	/* others may bring more */
	do {
		spin_lock_irqsave(&node->lock, irq);
		retention_reset(&node->retention);
		hand_down(node);
		for (run = BLOCKS_RUN; node->nr[BLOCK_RETAINED] && run; run--)
			block_unlink(first_block(node, BLOCK_RETAINED), &gone);
		spin_unlock_irqrestore(&node->lock, irq);
		put_blocks(&gone);
	} while (--runs && READ_ONCE(node->nr[BLOCK_RETAINED]));
}

/* False if a CPU's line was in use. */
static bool heap_trim_cpus(struct blockslab_heap *heap, enum drained which)
{
	int trim = trim_begin(heap);
	struct blockslab_node *node;
	bool drained;

	if (which == HEAP_ENDS)
		watch_end(heap);
	/* Before the lines are looked at: those that are empty already get nothing from there. */
	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		if (!heap_forgotten(heap))
			depot_drain(node);
	drained = drain_cpus(heap, which);
	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		node_trim(node);
	trim_end(heap, trim);
	return drained;
}

/* Lets go of all that a heap watches; what is in hand meanwhile is a trim's. */
static void heap_unwatch(struct blockslab_heap *heap)
{
	int trim = trim_begin(heap);

	watch_empty(heap);
	trim_end(heap, trim);
}

static unsigned long deferred_turns;	/* of deferred_work that are over */
static unsigned int deferred_part = 256;	/* marked of the blocks that it had last, 1/256 */

/* Whether of a heap (NULL: of any) something waits that was deferred so many turns ago. */
static bool deferred_waits(struct blockslab_heap *heap, unsigned long turns)
{
	return READ_ONCE(deferred_turns) - turns < 2 && (!heap || atomic_read(&heap->deferring));
}

/*
 * Waits until all that was deferred so far of a heap, or for NULL of all, is freed: in the turn
 * after the present one, at the latest. A work that another CPU is about to put in its queue cannot
 * be waited for yet.
 */
static void deferred_finish(struct blockslab_heap *heap)
{
	unsigned long turns = READ_ONCE(deferred_turns);

	while (deferred_waits(heap, turns) &&
	       (!llist_empty(&deferred_blocks) || work_busy(&deferred_work))) {
		queue_work(workqueue, &deferred_work);
		if (!flush_work(&deferred_work))
			schedule_timeout_uninterruptible(1);
	}
	smp_rmb();	/* deferred_done() */
}

/*
 * The same for an allocation; false where there is nothing to wait for. It may hold what our other
 * works wait for, so none is flushed, and it does not wait for long.
 */
static bool deferred_await(struct blockslab_heap *heap)
{
	unsigned long turns = READ_ONCE(deferred_turns), end = jiffies + HZ / 2;
	bool any = atomic_read(&heap->deferring) && !(current->flags & PF_MEMALLOC);

	while (any && deferred_waits(heap, turns) && time_before(jiffies, end))
		schedule_timeout_uninterruptible(1);
	smp_rmb();	/* deferred_done() */
	return any;
}

/* Gives back all that is kept. @wait: other CPUs may be asked, and waited for. */
static size_t heap_trim(struct blockslab_heap *heap, bool wait)
{
	size_t held = held_bytes(heap), left;

	heap_unwatch(heap);
	heap_trim_cpus(heap, wait ? ALL_NODES : THIS_CPU);
	left = held_bytes(heap);
	return held > left ? held - left : 0;
}

/* Whether others' need may ask other CPUs: once a period, not at every refusal at a limit. */
static bool heap_may_ask(struct blockslab_heap *heap)
{
	if (jiffies - READ_ONCE(heap->reclaimed) < TRIM_PERIOD)	/* right after months, too */
		return false;
	WRITE_ONCE(heap->reclaimed, jiffies);
	return true;
}

/*
 * What passed through a node's depot and blocks: it stands still while the CPUs' magazines suffice;
 * with @all that these gave and took, too: while it is idle. Then an allocation is most of it, and
 * counts BLOCKSLAB_ALLOC. A watched slot counts once when it is freed, and once more when its block
 * has it back.
 */
static unsigned long node_activity(struct blockslab_node *node, bool all)
{
	unsigned long sum = READ_ONCE(node->allocs) * BLOCKSLAB_ALLOC +
			    2 * READ_ONCE(node->frees) - READ_ONCE(node->waiting) +
			    (all ? 0 : atomic_read(&node->in_hand));
	struct blockslab_cpu *line;
	int cpu;

	for_each_cpu(cpu, line_cpus(node)) {
		line = node_line(node, cpu);
		sum += READ_ONCE(line->trades);
		sum += all ? READ_ONCE(line->tally) - READ_ONCE(line->moved) : 0;
	}
	return sum;
}

/* Looks once a period; true when it has been quiet just long enough. */
static bool falls_quiet(struct blockslab_quiet *quiet, unsigned long activity)
{
	if (activity != quiet->activity)
		WRITE_ONCE(quiet->periods, 0);
	else
		WRITE_ONCE(quiet->periods, min(quiet->periods + 1, TRIM_QUIET + 1));
	quiet->activity = activity;
	return quiet->periods == TRIM_QUIET;
}

/* Has nothing that could be given back. */
static bool node_bare(struct blockslab_node *node)
{
	return !atomic_long_read(&node->held);
}

/* Allocations since the last look, before that is looked at anew. */
static unsigned long node_allocs(struct blockslab_node *node)
{
	unsigned long change = node_activity(node, true) - node->use.activity;

	/* It may go back by a few: a full magazine became the spare, or trades began anew. */
	return node_bare(node) || -change < BLOCKSLAB_ALLOC ? 0 : change / BLOCKSLAB_ALLOC;
}

/*
 * What is quiet gives back: classes not used at all, and stocks that no magazine asks for; and what
 * rests, of which no CPU gets any more.
 */
static void trim_quiet_nodes(struct blockslab_heap *heap, bool drain)
{
	bool drained = !drain || drain_cpus(heap, QUIET_NODES), unused;
	struct blockslab_node *node;

	for (node = node_after(heap, NULL); node; node = node_after(heap, node)) {
		if (node_bare(node))
			continue;
		unused = node->use.periods == TRIM_QUIET;
		WRITE_ONCE(node->returns, 0);
		if (falls_quiet(&node->stock, node_activity(node, false)) || unused ||
		    READ_ONCE(node->class->rests))
			node_trim(node);
		if (unused && !drained)
			WRITE_ONCE(node->use.periods, TRIM_QUIET - 1);	/* again, then */
	}
}

/* What was asked for a while ago counts for less: size_earned(). U8_MAX is a mark. */
static void heap_forget_asks(struct blockslab_heap *heap)
{
	unsigned int i;
	u8 asked;

	for (i = 0; i < NR_SIZES && !heap->cache; i++) {
		asked = READ_ONCE(heap->asked[i]);
		if (asked && asked < U8_MAX)
			WRITE_ONCE(heap->asked[i], asked / 2);
	}
}

/* From its start on, which is a full barrier, who brings memory in arms it again. */
static void heap_trim_work(struct work_struct *work)
{
	struct blockslab_heap *heap = container_of(work, struct blockslab_heap, trim.work);
	bool busy = false, drain = false;
	struct blockslab_node *node;
	int trim;

	for (node = node_after(heap, NULL); node; node = node_after(heap, node)) {
		cond_resched();
		if (node_bare(node))
			continue;
		drain |= falls_quiet(&node->use, node_activity(node, true)) ||
			 node_caches_at_rest(node);
		busy |= node->use.periods < TRIM_QUIET;
	}
	heap_forget_asks(heap);
	WRITE_ONCE(heap->allowance, READ_ONCE(heap->allowance) / 2);
	WRITE_ONCE(heap->more_room, READ_ONCE(heap->more_room) / 2);
	if (busy) {
		trim = trim_begin(heap);
		trim_quiet_nodes(heap, drain);
		trim_end(heap, trim);
	} else if (heap_trim_cpus(heap, ALL_NODES)) {
		return;
	}
	heap_arm(heap);
}

#define CREDIT_TRIES	64	/* of interrupting a CPU that is at work on its line */

/*
 * The period has changed. A line whose magazines are taken from it comes by the mark when it gets
 * the next one. Bounded in time; over at once where somebody is killed.
 */
static void credits_renew(struct blockslab_heap *heap)
{
	int cpu, tries = CREDIT_TRIES, trim = trim_begin(heap);
	struct blockslab_node *node;

	smp_mb();	/* credit_follow() */
	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		for_each_cpu(cpu, line_cpus(node))
			WRITE_ONCE(node_line(node, cpu)->stale, 1);
	while (!drain_cpus(heap, STALE_LINES) && --tries && !fatal_signal_pending(current))
		cond_resched();
	trim_end(heap, trim);
}
