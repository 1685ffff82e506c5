// SPDX-License-Identifier: GPL-2.0
/*
 * Heaps: life and accounting
 */

static struct blockslab_heap *heap_or_shared(struct blockslab_heap *heap)
{
	return heap ?: &blockslab_shared;
}

/* Which fault the use of a heap is, as far as can be told: the pointer may be to nothing. */
static enum fault heap_fault(const struct blockslab_heap *heap)
{
	enum heap_state state;

	if ((heap != &blockslab_shared && !virt_addr_valid(heap)) ||
	    get_kernel_nofault(state, &heap->state))
		return NO_HEAP;
	switch (state) {
	case HEAP_LIVE:
	case HEAP_DEBUG:
		return NO_FAULT;
	case HEAP_DESTROYED:
	case HEAP_FORGOTTEN:
	case HEAP_GONE:
		return DESTROYED;
	}
	return NO_HEAP;
}

/* The heap that a call is for; NULL, and a report, where it is none, or none any more. */
static noinline struct blockslab_heap *heap_check(struct blockslab_heap *heap, unsigned long caller)
{
	enum fault fault = heap_fault(heap_or_shared(heap));

	if (likely(!fault))
		return heap_or_shared(heap);
	report(fault, .slot = heap, .caller = caller);
	return NULL;
}

/* The same where a heap is used at every call. Any context. */
static bool heap_usable(struct blockslab_heap *heap, unsigned long caller)
{
	return likely(!heap_destroyed(heap)) || heap_check(heap, caller);
}

/* Has a heap changed, by one at a time; where that is not to be once it is destroyed, if @live. */
static int heap_control(struct blockslab_heap *heap, bool live,
			int (*set)(struct blockslab_heap *heap, u64 value), u64 value)
{
	int error;

	if (mutex_lock_killable(&heap->control))
		return -EINTR;
	error = live && heap_destroyed(heap) ? -ENODEV : set(heap, value);
	mutex_unlock(&heap->control);
	return error;
}

static size_t held_bytes(struct blockslab_heap *heap)
{
	return atomic_long_read(&heap->held);
}

static void heap_put(struct blockslab_heap *heap)
{
	if (refcount_dec_and_test(&heap->refs))
		queue_work(workqueue, &heap->free_work);
}

/* The heap after @heap, which is let go of; with a reference. Start and end are NULL. */
static struct blockslab_heap *next_heap(struct blockslab_heap *heap)
{
	struct blockslab_heap *next = NULL, *pos;

	spin_lock(&heaps_lock);
	/* From the start only where @heap has left the list meanwhile. */
	pos = heap && !list_empty(&heap->list) ? heap : NULL;
	pos = list_prepare_entry(pos, &heaps, list);
	list_for_each_entry_continue(pos, &heaps, list) {
		if ((!heap || pos->id > heap->id) && refcount_inc_not_zero(&pos->refs)) {
			next = pos;
			break;
		}
	}
	spin_unlock(&heaps_lock);
	if (heap)
		heap_put(heap);
	return next;
}

static struct blockslab_class *class_in_list(struct blockslab_heap *heap, struct list_head *after)
{
	return list_next_or_null_rcu(&heap->classes, after, struct blockslab_class, list);
}

/* The node after a node, over all classes, those of tracked slots too; NULL at both ends. */
static struct blockslab_node *node_after(struct blockslab_heap *heap, struct blockslab_node *node)
{
	struct blockslab_class *class;

	if (node && node_id(node) + 1 < nr_node_ids)
		return node + 1;
	class = class_in_list(heap, node ? &node->class->list : &heap->classes);
	return class ? &class->nodes[0] : NULL;
}

/* Bytes that a heap may take on now. */
static size_t heap_room(struct blockslab_heap *heap)
{
	size_t limit = READ_ONCE(heap->limit), held = held_bytes(heap);

	return !limit ? SIZE_MAX : held < limit ? limit - held : 0;
}

/*
 * False, and nothing is charged, where the limit would be passed. The limit is looked at again
 * after the bytes are in: limit_set() lowers it first and then looks at what is held.
 */
static bool heap_charge_bytes(struct blockslab_heap *heap, size_t bytes)
{
	size_t limit = READ_ONCE(heap->limit);
	long held = atomic_long_read(&heap->held);

	do {
		if (limit && held + bytes > limit)
			goto over;
	} while (!atomic_long_try_cmpxchg(&heap->held, &held, held + bytes));
	limit = READ_ONCE(heap->limit);
	if (likely(!limit || held + bytes <= limit))
		return true;
	atomic_long_sub(bytes, &heap->held);
over:
	trace_blockslab_limit_hit(heap->name, bytes, held, limit);
	return false;
}

static void heap_uncharge(struct blockslab_node *node, size_t bytes)
{
	atomic_long_sub(bytes, &node->class->heap->held);
	atomic_long_sub(bytes, &node->held);
}

static bool shared_forgotten;	/* by shared_forget(); and has blocks (blockslab_shared.lock) */

/*
 * The shared heap holds the module only while it has blocks, so that a slot somebody forgot keeps
 * it loaded. Under a lock, so that a put never comes before its get.
 */
static void shared_count_block(int change)
{
	unsigned long irq;
	long nr;

	spin_lock_irqsave(&blockslab_shared.lock, irq);
	nr = atomic_long_add_return(change, &blockslab_shared.nr_blocks);
	if (change > 0 && nr == 1)
		__module_get(THIS_MODULE);
	else if (change < 0 && nr == 0 && !shared_forgotten)
		module_put(THIS_MODULE);
	shared_forgotten &= nr > 0;
	spin_unlock_irqrestore(&blockslab_shared.lock, irq);
}

/* Every block is a reference on its heap. */
static void heap_count_block(struct blockslab_heap *heap, int change)
{
	if (change > 0)
		refcount_inc(&heap->refs);
	if (heap == &blockslab_shared)
		shared_count_block(change);
	else
		atomic_long_add(change, &heap->nr_blocks);
	if (change < 0)
		heap_put(heap);
}

/* Memory has been brought in: have it taken back when it is not used. */
static void heap_arm(struct blockslab_heap *heap)
{
	if (unlikely(!delayed_work_pending(&heap->trim)) && !heap_destroyed(heap))
		queue_delayed_work(workqueue, &heap->trim, TRIM_PERIOD);
}
