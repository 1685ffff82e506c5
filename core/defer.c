// SPDX-License-Identifier: GPL-2.0
/*
 * Deferred frees: from NMI, and after a grace period
 */

/* Blocks that have slots marked in their deferred bitmap. */
static LLIST_HEAD(deferred_blocks);
/* Slots that are to be freed later: marked in their block, or in a batch. */
static atomic_long_t nr_deferred;

/* Queued for the worker; a block with marks has slots out, so it stays until they are freed. */
static bool queue_deferred(struct blockslab_block *block)
{
	if (atomic_fetch_or(BLOCK_QUEUED, &block->flags) & BLOCK_QUEUED)
		return false;
	llist_add(&block->deferred, &deferred_blocks);
	return true;
}

/*
 * Takes the marks off a block and frees those slots, unless somebody has queued the block again or
 * wants one more grace period: a block that is queued must not go with the last of its slots, and
 * the marks taken may be all there are. They are put back for its next turn; true then.
 */
static bool free_deferred(struct blockslab_block *block)
{
	static unsigned long marks[BITS_TO_LONGS(BLOCK_SLOTS_MAX + 1)];	/* one worker */
	unsigned int number, word, bits = block->nr_slots;
	unsigned int size = block->node->class->size;	/* 0 for whole pages, which are number 0 */
	unsigned long *map = deferred_map(block);
	void *base = block->base;
	int flags;

	atomic_andnot(BLOCK_QUEUED, &block->flags);
	smp_mb__after_atomic();		/* marks set from now on queue the block again */
	for (word = 0; word < BITS_TO_LONGS(bits); word++)
		marks[word] = xchg(&map[word], 0);
	/* Who set one of these is through with the block, and has set what flags he will. */
	flags = atomic_cond_read_acquire(&block->flags, VAL < BLOCK_HOLD);
	if (flags & (BLOCK_QUEUED | BLOCK_WANTS_GRACE)) {
		for_each_set_bit(number, marks, bits) {
			if (!test_and_set_bit(number, map))
				continue;
			report(DOUBLE_FREE, slot_address(block, size, number), block, 0);
			atomic_long_dec(&nr_deferred);
		}
		queue_deferred(block);
		return true;
	}
	/* The block may be gone with the last of them. */
	for_each_set_bit(number, marks, bits)
		free_slow(base + (size_t)number * size, ANY_SIZE, NULL, _RET_IP_);
	atomic_long_sub(bitmap_weight(marks, bits), &nr_deferred);
	return false;
}

/* With one grace period for all blocks that are there. */
static void free_deferred_work(struct work_struct *work)
{
	struct blockslab_block *block, *next;
	struct llist_node *blocks;
	bool again, grace;

	do {
		blocks = llist_del_all(&deferred_blocks);
		again = false;
		grace = false;
		llist_for_each_entry(block, blocks, deferred)
			grace |= atomic_fetch_andnot(BLOCK_WANTS_GRACE, &block->flags) &
				 BLOCK_WANTS_GRACE;
		if (grace)
			synchronize_rcu();
		llist_for_each_entry_safe(block, next, blocks, deferred)
			again |= free_deferred(block);
	} while (again);
}

static DECLARE_WORK(deferred_work, free_deferred_work);

static void deferred_irq_work(struct irq_work *work)
{
	queue_work(workqueue, &deferred_work);
}

/* In an interrupt on PREEMPT_RT too: a thread would not run on a CPU that goes offline. */
static struct irq_work deferred_irq = IRQ_WORK_INIT_HARD(deferred_irq_work);

/*
 * Marks a checked slot to be freed by the worker. Needs no memory and no lock; any context. Once it
 * is marked, only the hold keeps the block: the worker waits for that before it frees anything.
 */
static void defer_free(struct blockslab_block *block, const void *slot, bool grace,
		       unsigned long caller)
{
	unsigned int number = block->node->class->size ? blockslab_number(block, slot) : 0;
	bool doubled;

	preempt_disable();
	atomic_long_inc(&nr_deferred);	/* before it can be seen: deferred_finish() */
	atomic_add(BLOCK_HOLD, &block->flags);
	if (grace)		/* ordered: what the caller unlinked is unlinked before */
		atomic_fetch_or(BLOCK_WANTS_GRACE, &block->flags);
	doubled = test_and_set_bit(number, deferred_map(block));
	if (doubled)
		report(DOUBLE_FREE, slot, block, caller);
	else if (queue_deferred(block))
		irq_work_queue(&deferred_irq);
	atomic_sub_return_release(BLOCK_HOLD, &block->flags);
	if (doubled)
		atomic_long_dec(&nr_deferred);
	preempt_enable();
}

/**
 * blockslab_free_nolock() - free a slot in any context
 * @slot: as for blockslab_free()
 *
 * Goes into this CPU's magazine, or is left to a worker where that has no room.
 *
 * Context: any, NMI too.
 */
void blockslab_free_nolock(const void *slot)
{
	struct blockslab_block *block;
	enum fault fault;

	if (ZERO_OR_NULL_PTR(slot))
		return;
	block = block_of(slot);
	fault = find_fault(block, slot, ANY_SIZE, NULL);
	if (fault) {
		report(fault, slot, block, _RET_IP_);
		return;
	}
	if (static_branch_unlikely(&rare_free) || block->node->class->key != BLOCKSLAB_KEY_FAST ||
	    !put_cached(block->node, slot))
		defer_free(block, slot, false, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_nolock);

/*
 * Slots that wait for a grace period are gathered in batches, per CPU. Where there is no memory
 * for a batch, the slot is marked in its block instead, which needs none.
 */
struct rcu_batch {
	struct rcu_work work;
	unsigned int nr;
	void *slots[];
};

#define RCU_BATCH_BYTES	512
#define RCU_BATCH_SLOTS	((RCU_BATCH_BYTES - sizeof(struct rcu_batch)) / sizeof(void *))
#define RCU_DELAY	(HZ / 50 + 1)

struct rcu_cpu {
	spinlock_t lock;		/* batch */
	struct rcu_batch *batch;	/* being filled, or NULL (lock) */
};

static DEFINE_PER_CPU(struct rcu_cpu, rcu_cpus);

static void rcu_batch_free(struct work_struct *work)
{
	struct rcu_batch *batch = container_of(to_rcu_work(work), struct rcu_batch, work);
	unsigned int i;

	for (i = 0; i < batch->nr; i++)
		free_slow(batch->slots[i], ANY_SIZE, NULL, _RET_IP_);
	atomic_long_sub(batch->nr, &nr_deferred);
	kfree(batch);
}

static void rcu_batch_send(struct rcu_cpu *rcu)
{
	lockdep_assert_held(&rcu->lock);
	if (rcu->batch)
		queue_rcu_work(workqueue, &rcu->batch->work);
	rcu->batch = NULL;
}

static void rcu_send_all(struct work_struct *work)
{
	unsigned long irq;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct rcu_cpu *rcu = per_cpu_ptr(&rcu_cpus, cpu);

		spin_lock_irqsave(&rcu->lock, irq);
		rcu_batch_send(rcu);
		spin_unlock_irqrestore(&rcu->lock, irq);
	}
}

static DECLARE_DELAYED_WORK(rcu_send_work, rcu_send_all);

/* False where there is no memory for a batch. */
static bool rcu_batch_add(struct rcu_cpu *rcu, void *slot)
{
	lockdep_assert_held(&rcu->lock);
	if (!rcu->batch) {
		rcu->batch = meta_alloc(BLOCKSLAB_FAIL_MAGAZINE, RCU_BATCH_BYTES, GFP_NOWAIT,
					NUMA_NO_NODE);
		if (!rcu->batch)
			return false;
		INIT_RCU_WORK(&rcu->batch->work, rcu_batch_free);
		queue_delayed_work(workqueue, &rcu_send_work, RCU_DELAY);
	}
	atomic_long_inc(&nr_deferred);
	rcu->batch->slots[rcu->batch->nr++] = slot;
	if (rcu->batch->nr == RCU_BATCH_SLOTS)
		rcu_batch_send(rcu);
	return true;
}

/**
 * blockslab_free_rcu() - free a slot after a grace period
 * @slot: as for blockslab_free(); needs no room in it, and RCU readers may go on reading it
 *
 * Context: any but NMI, on PREEMPT_RT too. Does not sleep, and cannot fail for want of memory.
 */
void blockslab_free_rcu(const void *slot)
{
	struct blockslab_block *block;
	struct rcu_cpu *rcu;
	enum fault fault;
	unsigned long irq;
	bool added = false;

	if (ZERO_OR_NULL_PTR(slot))
		return;
	block = block_of(slot);
	fault = find_fault(block, slot, ANY_SIZE, NULL);
	if (fault) {
		report(fault, slot, block, _RET_IP_);
		return;
	}
	/* A spinlock may sleep on PREEMPT_RT. */
	if (!IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible()) {
		rcu = raw_cpu_ptr(&rcu_cpus);
		spin_lock_irqsave(&rcu->lock, irq);
		added = rcu_batch_add(rcu, (void *)slot);
		spin_unlock_irqrestore(&rcu->lock, irq);
	}
	if (!added)
		defer_free(block, slot, true, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_free_rcu);

/* Waits until the work queued so far is done. */
static void workers_finish(void)
{
	flush_workqueue(workqueue);
}

/* Waits until all that was deferred so far is freed. */
static void deferred_finish(void)
{
	/* Where the tick runs irq_work, one waiter is woken: kernel/irq_work.c */
	static DEFINE_MUTEX(one_waiter);

	if (!atomic_long_read(&nr_deferred))
		return;
	rcu_send_all(NULL);
	rcu_barrier();
	mutex_lock(&one_waiter);
	irq_work_sync(&deferred_irq);
	mutex_unlock(&one_waiter);
	workers_finish();
}
