// SPDX-License-Identifier: GPL-2.0
/*
 * The end of heaps: destroyed, released, forgotten, shrunk
 *
 * A heap that is destroyed while slots are allocated drains: every block holds a reference on it,
 * and with the last one it is freed, by a worker. Its memory stays as a grave for a while, so that
 * who uses it after its end meets a state and not another's data. Locks: heap->control for the
 * state, heaps_lock for the list.
 */

#define GRAVES	65U

static struct blockslab_heap *graves[GRAVES];	/* heaps that are gone, the latest ones */

static void heap_end_memory(struct blockslab_heap *heap)
{
	kfree(heap->cache);
	kfree(heap);
}

static void heap_free_classes(struct blockslab_heap *heap)
{
	struct blockslab_class *class, *next;

	list_for_each_entry_safe(class, next, &heap->classes, list)
		class_free(class);
	growth_free(heap->growth);
	kfree(heap->watch);
}

/* Its own memory stays for a while. */
static void heap_free_rcu(struct rcu_head *rcu)
{
	struct blockslab_heap *heap = container_of(rcu, struct blockslab_heap, rcu), *oldest;
	static atomic_t next;

	heap_free_classes(heap);
	if (heap == &blockslab_shared)
		return;
	oldest = xchg(&graves[atomic_fetch_inc(&next) % GRAVES], heap);
	if (oldest)
		heap_end_memory(oldest);
}

/* Whoever may still look at it does so under RCU; blockslab_exit() waits for what is left. */
static void heap_free(struct blockslab_heap *heap)
{
	bool holds = heap != &blockslab_shared && !heap_forgotten(heap) && !heap->leaving;

	cancel_delayed_work_sync(&heap->trim);
	debugfs_remove_recursive(heap->dir);
	WRITE_ONCE(heap->state, HEAP_GONE);
	spin_lock(&heaps_lock);
	list_del_init(&heap->list);	/* next_heap() */
	spin_unlock(&heaps_lock);
	reserve_drop(heap);	/* a block of it may have come back since heap_empty() */
	call_rcu(&heap->rcu, heap_free_rcu);
	if (holds)
		module_put(THIS_MODULE);
}

static void heap_free_work(struct work_struct *work)
{
	heap_free(container_of(work, struct blockslab_heap, free_work));
}

/* Nobody allocates from it. What other trims took out looks allocated until they are through. */
static void heap_trim_last(struct blockslab_heap *heap)
{
	/*
	 * No CPU is on its way out, asked no more and not drained by drain_dead_cpu() yet: that
	 * comes by every heap in the list.
	 */
	cpus_read_lock();
	heap_trim_cpus(heap, HEAP_ENDS);
	cpus_read_unlock();
	if (atomic_long_read(&heap->moving))
		synchronize_srcu_expedited(&trims);
	watch_end(heap);	/* what they found to be bad */
}

/* Ends a heap's life, once: false where somebody has done so before. */
static bool heap_end(struct blockslab_heap *heap)
{
	bool ended;

	mutex_lock(&heap->control);
	ended = !heap_destroyed(heap);
	if (ended)
		WRITE_ONCE(heap->state, HEAP_DESTROYED);
	if (ended && heap->cache) {	/* every call takes the slow path, where it is told */
		cache_publish(heap->cache);
		WRITE_ONCE(heap->cache->pages.bytes, 0);
	}
	mutex_unlock(&heap->control);
	return ended;
}

/* Pages of live slots of a heap that has ended. */
static unsigned long heap_pages(struct blockslab_heap *heap)
{
	struct blockslab_node *node;
	unsigned long bytes = 0;

	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		bytes += READ_ONCE(node->pages);
	return bytes / PAGE_SIZE;
}

/* What keeps a heap that has ended, and this module loaded. */
static void heap_tell_kept_by(struct blockslab_heap *heap)
{
	if (heap == &blockslab_shared)	/* as this module goes: heaps_exit() */
		return;
	if (heap_pages(heap))
		pr_warn("heap %s was destroyed with live slots; they stay valid until they are freed\n",
			heap->name);
	else
		pr_warn("heap %s was destroyed without live slots; %ld of its blocks are on their way, or kept, as reported, since others refer to their pages or they were damaged\n",
			heap->name, atomic_long_read(&heap->nr_blocks));
	pr_warn("until then it is listed in debugfs, and keeps this module loaded\n");
	report_leaks(heap);
	WRITE_ONCE(heap->stays, true);
}

/* After its end nothing is cached, and a block goes back when its last slot does. */
static void heap_close(struct blockslab_heap *heap)
{
	unsigned long irq;
	int i;

	deferred_finish(heap);
	spin_lock_irqsave(&heap->lock, irq);	/* class_rest() */
	for (i = 0; i < NR_INDEXES; i++)
		WRITE_ONCE(heap->cpu[i], no_class);
	spin_unlock_irqrestore(&heap->lock, irq);
	cancel_delayed_work_sync(&heap->trim);
}

static void heap_empty(struct blockslab_heap *heap)
{
	heap_trim_last(heap);
	reserve_drop(heap);
}

static void heap_finish(struct blockslab_heap *heap)
{
	heap_empty(heap);
	/* Some blocks wait for a grace period, or what reserve_renew() left does. */
	if (atomic_long_read(&heap->nr_blocks) || refcount_read(&heap->refs) > 1)
		rcu_barrier();
	if (atomic_long_read(&heap->nr_blocks))
		heap_tell_kept_by(heap);
}

/* ------------------------------------------------------------------------------------------------
 * Heaps without live slots that other CPUs have cached some of. They are gone from view when
 * blockslab_heap_destroy() returns, and hold this module no more. Their memory follows: so a CPU is
 * interrupted once for all that end at about the same time.
 */

#define ENDING_PERIOD	(HZ / 10)
#define ENDING_RUN	64	/* heaps */

static LLIST_HEAD(ending_heaps);

/* Where somebody used it while it was destroyed, it is to be seen again. */
static void heap_stays(struct blockslab_heap *heap)
{
	if (!try_module_get(THIS_MODULE))
		return;			/* heaps_exit() */
	mutex_lock(&heap_names);
	WRITE_ONCE(heap->leaving, false);
	WRITE_ONCE(heaps_unseen, true);
	mutex_unlock(&heap_names);
	heap_tell_kept_by(heap);
}

static void heaps_end_run(struct llist_node *ending)
{
	struct blockslab_heap *heap, *next;
	long blocks = 0;

	drain_cpus(llist_entry(ending, struct blockslab_heap, ending), HEAPS_END);
	llist_for_each_entry(heap, ending, ending) {
		heap_empty(heap);
		blocks += atomic_long_read(&heap->nr_blocks);
	}
	if (blocks)
		rcu_barrier();
	llist_for_each_entry_safe(heap, next, ending, ending) {
		if (atomic_long_read(&heap->nr_blocks))
			heap_stays(heap);
		if (refcount_dec_and_test(&heap->refs))
			heap_free(heap);
	}
}

/* So many at a time: the interrupt takes longer, the more there are. */
static void heaps_end(struct work_struct *work)
{
	struct llist_node *ending = llist_del_all(&ending_heaps), *last, *next;
	unsigned int run;

	for (; ending; ending = next) {
		for (last = ending, run = ENDING_RUN; last->next && --run; last = last->next)
			;
		next = last->next;
		last->next = NULL;
		heaps_end_run(ending);
	}
}

static DECLARE_DELAYED_WORK(ending_work, heaps_end);

static bool heap_has_slots(struct blockslab_heap *heap)
{
	struct blockslab_class *class;
	struct sums sums;

	for (class = class_after(heap, NULL); class; class = class_after(heap, class)) {
		class_sums(&sums, class);
		if (sums_allocated(&sums) || sums.unsure)
			return true;
	}
	return false;
}

static bool others_cache(struct blockslab_heap *heap)
{
	struct drain drain = { .heap = heap, .which = HEAP_ENDS };
	int cpu, here = raw_smp_processor_id();

	for_each_online_cpu(cpu)
		if (cpu != here && drain_concerns_cpu(&drain, cpu))
			return true;
	return false;
}

static void heap_unshow(struct blockslab_heap *heap)
{
	lockdep_assert_held(&heap_names);
	debugfs_remove_recursive(heap->dir);
	heap->dir = NULL;
}

static bool heap_leave(struct blockslab_heap *heap)
{
	if (!others_cache(heap) || heap_has_slots(heap))
		return false;
	mutex_lock(&heap_names);
	WRITE_ONCE(heap->leaving, true);
	heap_unshow(heap);
	mutex_unlock(&heap_names);
	if (llist_add(&heap->ending, &ending_heaps))
		queue_delayed_work(workqueue, &ending_work, ENDING_PERIOD);
	module_put(THIS_MODULE);
	return true;
}

/* The end of a heap that was one when its caller called. */
static void heap_destroy(struct blockslab_heap *heap, unsigned long caller)
{
	heap = heap_check(heap, caller);
	if (!heap)
		return;
	if (heap == &blockslab_shared || !heap_end(heap)) {
		report(heap == &blockslab_shared ? NO_HEAP : DESTROYED, .slot = heap,
		       .caller = caller);
		return;
	}
	heap_close(heap);
	if (heap_leave(heap))
		return;
	heap_finish(heap);
	/* One without live slots is gone on return, and with it its hold on this module. */
	if (refcount_dec_and_test(&heap->refs))
		heap_free(heap);
}

/**
 * blockslab_heap_destroy() - destroy a heap
 * @heap: to destroy; not used any more after that. NULL and error pointers are ignored
 *
 * Slots that are still allocated are reported and stay valid; they can be freed as before, and
 * their blocks go back as they drain. Until the last of them is back, the heap is listed in debugfs
 * as destroyed; its name is free for another at once. Slots given to blockslab_free_rcu() before
 * are waited for. Of a heap without live slots nothing is seen any more; what other CPUs have
 * cached of it goes back a tenth of a second later, or as a module is unloaded. To destroy it a
 * second time, or to use it, is reported and refused.
 *
 * Context: process; may sleep; not under cpus_read_lock(), which is taken.
 */
void blockslab_heap_destroy(struct blockslab_heap *heap)
{
	if (!IS_ERR_OR_NULL(heap))
		heap_destroy(heap, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_heap_destroy);

static void lose_slots(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	unsigned int number;

	if (!IS_ENABLED(CONFIG_DEBUG_KMEMLEAK))
		return;
	for_each_clear_bit(number, block->map, block->nr_slots)
		kmemleak_free(slot_address(block, class->size, number));
}

/* The shared heap goes on; but what it has does not keep this module loaded any more. */
static int shared_forget(void)
{
	unsigned long pages, irq;
	bool let_go, was;

	heap_trim(&blockslab_shared, true);
	pages = heap_pages(&blockslab_shared);
	spin_lock_irqsave(&blockslab_shared.lock, irq);
	let_go = !shared_forgotten && atomic_long_read(&blockslab_shared.nr_blocks);
	was = shared_forgotten;
	shared_forgotten |= let_go;
	spin_unlock_irqrestore(&blockslab_shared.lock, irq);
	if (!let_go)
		return was ? 0 : -EBUSY;
	pr_warn("heap shared was let go of: the %lu pages of its live slots are lost once this module is unloaded\n",
		pages);
	module_put(THIS_MODULE);
	return 0;
}

/*
 * Lets go of a heap that will never drain: this module can be unloaded then. The pages of its live
 * slots are lost from now on: a slot that is freed late is free, and that is all. For heaps that
 * were destroyed and stay, and those that a module left behind. An error, or 0.
 */
static int heap_forget(struct blockslab_heap *heap, u64 value)
{
	bool left = !heap->module && strcmp(heap->maker, "-");
	int error = -EBUSY;

	if (heap == &blockslab_shared)
		return shared_forget();
	if (left && heap_end(heap)) {
		heap_close(heap);
		heap_finish(heap);
		error = atomic_long_read(&heap->nr_blocks) ? -EBUSY : 0;
		heap_put(heap);
	}
	mutex_lock(&heap->control);
	if (heap->state == HEAP_DESTROYED && READ_ONCE(heap->stays)) {
		WRITE_ONCE(heap->state, HEAP_FORGOTTEN);
		pr_warn("heap %s of %s was let go of: the %lu pages of its live slots are lost\n",
			heap->name, heap->maker, heap_pages(heap));
		module_put(THIS_MODULE);
	}
	error = heap_forgotten(heap) ? 0 : error;
	mutex_unlock(&heap->control);
	if (!error)		/* somebody may have armed it as the heap ended */
		cancel_delayed_work_sync(&heap->trim);
	return error;
}

/* At the end of this module: takes from pages what it wrote there, and leaves them to nobody. */
static unsigned long lose_heap(struct blockslab_heap *heap)
{
	unsigned long pages = heap_pages(heap);
	struct blockslab_block *block, *next;
	struct blockslab_node *node;

	for (node = node_after(heap, NULL); node; node = node_after(heap, node)) {
		list_for_each_entry_safe(block, next, &node->all, all) {
			lose_slots(block);
			page_words_clear(block);
			descriptor_put(block);
		}
	}
	reserve_drop(heap);
	heap_free_classes(heap);
	if (heap != &blockslab_shared)
		heap_end_memory(heap);
	return pages;
}

/* All that is left are heaps that root let go of, and blocks that others refer to; and graves. */
static void heaps_exit(void)
{
	unsigned long pages = referenced_lose();
	struct blockslab_heap *heap, *next;
	unsigned int i;

	list_for_each_entry_safe(heap, next, &heaps, list)
		pages += lose_heap(heap);
	if (pages)
		pr_warn("%lu pages of heaps that were let go of are lost\n", pages);
	for (i = 0; i < GRAVES; i++)
		if (graves[i])
			heap_end_memory(graves[i]);
}

/* Up to BLOCKS_RUN of a node's blocks, with every slot in them; true if there are more. */
static bool release_blocks(struct blockslab_node *node, size_t *released)
{
	struct blockslab_block *block, *next;
	unsigned int run = BLOCKS_RUN;
	unsigned long live = 0;
	LIST_HEAD(gone);

	spin_lock_irq(&node->lock);
	list_for_each_entry_safe(block, next, &node->all, all) {
		if (!run--)
			break;
		lose_slots(block);
		live += block->nr_slots - block->nr_free;
		block_unlink(block, &gone);
	}
	blockslab_add(node->frees, live);
	spin_unlock_irq(&node->lock);
	put_blocks(&gone);
	*released += live;
	return run == UINT_MAX;
}

/**
 * blockslab_heap_release() - free every slot of a heap at once
 * @heap: to release; nobody may allocate from it or free into it meanwhile. The shared heap (NULL)
 * cannot be released
 *
 * The heap goes on, empty, with its reserve.
 *
 * Context: process; may sleep; not under cpus_read_lock(), which is taken.
 * Return: the number of slots released.
 */
size_t blockslab_heap_release(struct blockslab_heap *heap)
{
	struct blockslab_node *node;
	size_t released = 0;

	if (IS_ERR_OR_NULL(heap) || !heap_check(heap, _RET_IP_))
		return 0;
	deferred_finish(heap);
	heap_trim_last(heap);
	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		while (release_blocks(node, &released))
			cond_resched();
	if (!heap->cache)	/* has no such */
		memset(heap->shared, 0, sizeof(heap->shared));
	return released;
}
EXPORT_SYMBOL_GPL(blockslab_heap_release);

/**
 * blockslab_shrink() - give back what a heap caches and retains
 * @heap: to shrink; NULL for the shared heap
 *
 * Context: process, interrupts on; waits for other CPUs.
 * Return: bytes given back.
 */
size_t blockslab_shrink(struct blockslab_heap *heap)
{
	heap = heap_check(heap, _RET_IP_);
	return heap ? heap_trim(heap, true) : 0;
}
EXPORT_SYMBOL_GPL(blockslab_shrink);
