// SPDX-License-Identifier: GPL-2.0
/*
 * Heaps
 */

static void heap_free_rcu(struct rcu_head *rcu)
{
	struct blockslab_heap *heap = container_of(rcu, struct blockslab_heap, rcu);
	struct blockslab_class *class, *next;

	list_for_each_entry_safe(class, next, &heap->classes, list)
		class_free(class);
	xa_destroy(&heap->rare);
	if (heap != &blockslab_shared)
		kfree(heap);
}

/* Whoever may still look at it does so under RCU; blockslab_exit() waits for what is left. */
static void heap_free(struct blockslab_heap *heap)
{
	cancel_delayed_work_sync(&heap->trim);
	reserve_drop(heap);	/* a block of it may have come back since heap_retire() */
	if (heap != &blockslab_shared)
		module_put(THIS_MODULE);
	call_rcu(&heap->rcu, heap_free_rcu);
}

static void heap_free_work(struct work_struct *work)
{
	heap_free(container_of(work, struct blockslab_heap, free_work));
}

static void heap_init(struct blockslab_heap *heap, const char *name, unsigned long flags,
		      size_t limit)
{
	unsigned int i;

	strscpy(heap->name, name, sizeof(heap->name));
	for (i = 0; i < NR_INDEXES; i++)
		heap->cpu[i] = no_class;
	xa_init_flags(&heap->rare, XA_FLAGS_LOCK_IRQ);
	INIT_LIST_HEAD(&heap->classes);
	INIT_LIST_HEAD(&heap->reserve);
	spin_lock_init(&heap->lock);
	heap->flags = flags;
	heap->state = flags & EXACT_FLAGS ? HEAP_DEBUG : HEAP_LIVE;
	heap->track = !!(flags & BLOCKSLAB_TRACK);
	heap->zone = flags & BLOCKSLAB_RED_ZONE ? RED_ZONE_BYTES : 0;
	heap->limit = limit;
	heap->fixed = sizeof(*heap);
	refcount_set(&heap->refs, 1);
	/* Not deferrable: on an idle CPU that would wait until something else wakes it. */
	INIT_DELAYED_WORK(&heap->trim, heap_trim_work);
	INIT_WORK(&heap->free_work, heap_free_work);
}

static bool name_possible(const char *name)
{
	size_t i, length = name ? strnlen(name, BLOCKSLAB_NAME_MAX + 1) : 0;

	if (!length || length > BLOCKSLAB_NAME_MAX || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (i = 0; i < length; i++)
		if (name[i] == '/' || !isascii(name[i]) || !isgraph(name[i]))
			return false;
	return true;
}

/* Enters a heap in the list of heaps; -EEXIST for a name that is taken. */
static int heap_enter(struct blockslab_heap *heap)
{
	struct blockslab_heap *pos;
	unsigned long irq;
	int error = 0;

	spin_lock_irqsave(&heaps_lock, irq);
	list_for_each_entry(pos, &heaps, list)
		if (!strcmp(pos->name, heap->name))
			error = -EEXIST;
	if (!error) {
		heap->id = ++last_id;
		list_add_tail(&heap->list, &heaps);
	}
	spin_unlock_irqrestore(&heaps_lock, irq);
	return error;
}

static void heap_leave(struct blockslab_heap *heap)
{
	unsigned long irq;

	spin_lock_irqsave(&heaps_lock, irq);
	list_del_init(&heap->list);	/* next_heap() */
	spin_unlock_irqrestore(&heaps_lock, irq);
}

static struct blockslab_block *reserve_block(void)
{
	size_t bytes = PAGE_SIZE << RESERVE_ORDER;
	struct blockslab_block *block = descriptor_get(bytes / 8, GFP_KERNEL, NUMA_NO_NODE);
	struct page *page;

	if (!block)
		return NULL;
	page = pages_get(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, NUMA_NO_NODE, RESERVE_ORDER);
	if (!page) {
		descriptor_put(block);
		return NULL;
	}
	block->base = page_address(page);
	block->nr_pages = 1U << RESERVE_ORDER;
	block->reserved = true;
	count_pages(block, 1);
	return block;
}

/* Blocks aside, and the largest class, so that no allocation fails for want of a class. */
static int reserve_fill(struct blockslab_heap *heap, size_t reserve)
{
	struct blockslab_block *block;
	size_t bytes;

	if (PFN_UP(reserve) > totalram_pages() / 2)
		return -ENOMEM;
	if (reserve && !class_get(heap, 0, NR_SIZES - 1, GFP_KERNEL))
		return -ENOMEM;
	for (bytes = 0; bytes < reserve; bytes += PAGE_SIZE << RESERVE_ORDER) {
		block = reserve_block();
		if (!block)
			return -ENOMEM;
		list_add(&block->list, &heap->reserve);
		heap->reserved += block->nr_pages * PAGE_SIZE;
		atomic_long_add(block_bytes(block), &heap->held);
		if (heap->limit && held_bytes(heap) > heap->limit)
			return -EINVAL;
	}
	return 0;
}

static void heap_debugfs(struct blockslab_heap *heap);

static int heap_start(struct blockslab_heap *heap, size_t reserve)
{
	int error = reserve_fill(heap, reserve);

	if (!error)
		error = heap_enter(heap);
	if (!error)
		heap_debugfs(heap);
	return error;
}

static struct blockslab_heap *heap_new(const char *name, unsigned long flags, size_t limit,
				       size_t reserve, void (*ctor)(void *object),
				       unsigned long maker)
{
	struct blockslab_heap *heap;
	int error;

	if (!name_possible(name) || (limit && limit < PAGE_SIZE) || (limit && reserve > limit))
		return ERR_PTR(-EINVAL);
	if (!try_module_get(THIS_MODULE))
		return ERR_PTR(-ENODEV);
	heap = meta_alloc(BLOCKSLAB_FAIL_CLASS, sizeof(*heap), GFP_KERNEL, NUMA_NO_NODE);
	if (!heap) {
		module_put(THIS_MODULE);
		return ERR_PTR(-ENOMEM);
	}
	heap_init(heap, name, flags, limit);
	heap->ctor = ctor;
	heap->maker = maker;
	error = heap->track ? stacks_init() : 0;
	if (!error)
		error = heap_start(heap, reserve);
	if (!error)
		return heap;
	reserve_drop(heap);
	heap_put(heap);
	return ERR_PTR(error);
}

static void panic_if_asked(unsigned long flags, const char *name, const void *result)
{
	if (IS_ERR(result) && flags & BLOCKSLAB_PANIC)
		panic("blockslab: %s could not be created: error %ld\n", name, PTR_ERR(result));
}

/**
 * blockslab_heap_create() - create a heap
 * @name: of 1 to BLOCKSLAB_NAME_MAX printable characters, no slash or space; copied
 * @attrs: flags, limit and reserve; NULL for none of them
 *
 * The heap holds a reference on this module until it is destroyed and its last slot is freed.
 *
 * Context: process; may sleep.
 * Return: the heap, which the caller owns until blockslab_heap_destroy(); or an ERR_PTR: -EINVAL
 * for a name, flag, limit (less than a page) or reserve (over the limit) that cannot be, -EEXIST
 * for a name in use, -ENOMEM.
 */
struct blockslab_heap *blockslab_heap_create(const char *name,
					     const struct blockslab_heap_attrs *attrs)
{
	static const struct blockslab_heap_attrs none;
	struct blockslab_heap *heap;

	attrs = attrs ?: &none;
	if (attrs->flags & ~HEAP_FLAGS)
		heap = ERR_PTR(-EINVAL);
	else
		heap = heap_new(name, attrs->flags, attrs->limit, attrs->reserve, NULL, _RET_IP_);
	panic_if_asked(attrs->flags, name, heap);
	return heap;
}
EXPORT_SYMBOL_GPL(blockslab_heap_create);

/*
 * Takes all out of the magazines of a heap that nobody allocates from. What other trims (the
 * timer's, debugfs's, the shrinker's) took out before looks allocated until they have flushed it.
 */
static void heap_trim_last(struct blockslab_heap *heap)
{
	/* No CPU is on its way out, asked no more and not drained by drain_dead_cpu() yet. */
	cpus_read_lock();
	heap_trim_cpus(heap, HEAP_ENDS);
	cpus_read_unlock();
	if (atomic_long_read(&heap->moving))
		synchronize_srcu_expedited(&trims);
}

/* From now on nothing is cached, and a block goes back when its last slot does. */
static void heap_retire(struct blockslab_heap *heap)
{
	unsigned int i;

	debugfs_remove_recursive(heap->dir);
	deferred_finish();
	WRITE_ONCE(heap->state, HEAP_DESTROYED);
	for (i = 0; i < NR_INDEXES; i++)
		WRITE_ONCE(heap->cpu[i], no_class);
	cancel_delayed_work_sync(&heap->trim);
	/* A CPU that dies is drained here, or found in the list of heaps by drain_dead_cpu(). */
	cpus_read_lock();
	drain_cpus(heap, HEAP_ENDS);
	heap_leave(heap);
	cpus_read_unlock();
	heap_trim_last(heap);
	reserve_drop(heap);
	if (heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU)
		rcu_barrier();
	if (!atomic_long_read(&heap->nr_blocks))
		return;
	pr_warn("heap %s was destroyed with live slots; they stay valid until they are freed\n",
		heap->name);
	report_leaks(heap);
}

/**
 * blockslab_heap_destroy() - destroy a heap
 * @heap: to destroy; not used any more after that. NULL and error pointers are ignored
 *
 * Slots that are still allocated are reported and stay valid; they can be freed as before, and
 * their blocks go back as they drain. Slots given to blockslab_free_rcu() before are waited for.
 *
 * Context: process; may sleep; not under cpus_read_lock(), which is taken.
 */
void blockslab_heap_destroy(struct blockslab_heap *heap)
{
	if (IS_ERR_OR_NULL(heap))
		return;
	heap_retire(heap);
	/* One without live slots is gone on return, and with it its hold on this module. */
	if (refcount_dec_and_test(&heap->refs))
		heap_free(heap);
}
EXPORT_SYMBOL_GPL(blockslab_heap_destroy);

static void forget_slots(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	unsigned int number;

	if (!IS_ENABLED(CONFIG_DEBUG_KMEMLEAK))
		return;
	for_each_clear_bit(number, block->map, block->nr_slots)
		kmemleak_free(slot_address(block, class->size, number));
}

/* Up to BLOCKS_RUN of a node's blocks, with every slot in them; true if there are more. */
static bool release_blocks(struct blockslab_node *node, size_t *released)
{
	struct blockslab_block *block, *next;
	unsigned int run = BLOCKS_RUN;
	unsigned long irq, live = 0;
	LIST_HEAD(gone);

	spin_lock_irqsave(&node->lock, irq);
	list_for_each_entry_safe(block, next, &node->all, all) {
		if (!block->nr_slots)
			continue;
		if (!run--)
			break;
		forget_slots(block);
		live += block->nr_slots - block->nr_free;
		block_unlink(block, &gone);
	}
	blockslab_add(node->frees, live);
	spin_unlock_irqrestore(&node->lock, irq);
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

	if (IS_ERR_OR_NULL(heap))
		return 0;
	deferred_finish();
	heap_trim_last(heap);
	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		while (release_blocks(node, &released))
			cond_resched();
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
	return heap_trim(heap_or_shared(heap), true);
}
EXPORT_SYMBOL_GPL(blockslab_shrink);
