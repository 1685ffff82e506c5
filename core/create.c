// SPDX-License-Identifier: GPL-2.0
/*
 * Creation of heaps: names, refusals, the reserve
 *
 * A name is a live heap's alone. A heap that was destroyed with live slots keeps its own, in
 * debugfs too, until another wants it; then its id is added to it, or the next number that is free.
 *
 * What it does not do: it makes no classes; they come with the first allocations. Lock: heap_names.
 */

static const struct blockslab_heap_attrs no_attrs;

static void heap_init(struct blockslab_heap *heap, const char *name,
		      const struct blockslab_heap_attrs *attrs)
{
	unsigned long flags = attrs->flags;
	unsigned int i;

	strscpy(heap->name, name, sizeof(heap->name));
	for (i = 0; i < NR_INDEXES; i++)
		heap->cpu[i] = no_class;
	INIT_LIST_HEAD(&heap->classes);
	INIT_LIST_HEAD(&heap->reserve);
	INIT_LIST_HEAD(&heap->spares);
	INIT_LIST_HEAD(&heap->list);
	spin_lock_init(&heap->lock);
	mutex_init(&heap->control);
	heap->flags = flags;
	heap->kind = flags & BLOCKSLAB_ACCOUNT ? __GFP_ACCOUNT : 0;
	heap->state = flags & EXACT_FLAGS ? HEAP_DEBUG : HEAP_LIVE;
	heap->zone = flags & BLOCKSLAB_RED_ZONE ? RED_ZONE_BYTES : 0;
	heap->limit = attrs->limit;
	atomic_long_set(&heap->fixed, sizeof(*heap));
	heap->reclaimed = jiffies - TRIM_PERIOD;
	refcount_set(&heap->refs, 1);
	/* Not deferrable: on an idle CPU that would wait until something else wakes it. */
	INIT_DELAYED_WORK(&heap->trim, heap_look);
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

/* Whether a heap has the name for itself, or, if @any, has it at all. */
static bool name_taken(const char *name, bool any)
{
	struct blockslab_heap *heap;
	bool taken = false;

	spin_lock(&heaps_lock);
	list_for_each_entry(heap, &heaps, list)
		if (!strcmp(heap->name, name))
			taken |= any || !heap_destroyed(heap) || heap->renamed;
	spin_unlock(&heaps_lock);
	return taken;
}

/* Leaves its name to another. Who reads it meanwhile sees it with the ending or without. */
static void heap_rename(struct blockslab_heap *heap)
{
	size_t length = strlen(heap->name);
	char name[sizeof(heap->name)];
	u64 number = heap->id;

	lockdep_assert_held(&heap_names);
	do {
		scnprintf(name, sizeof(name), "%s.%llu", heap->name, number++);
	} while (name_taken(name, true));
	strscpy(heap->name + length + 1, name + length + 1, HEAP_ENDING - 1);
	smp_store_release(&heap->name[length], '.');	/* after all that follows it */
	heap->renamed = true;
	heap_unshow(heap);
	WRITE_ONCE(heaps_unseen, true);
}

/* Enters a heap in the list of heaps; -EEXIST for a name that is taken. */
static int heap_enter(struct blockslab_heap *heap)
{
	struct blockslab_heap *other;

	lockdep_assert_held(&heap_names);
	while (name_taken(heap->name, true)) {
		if (name_taken(heap->name, false))
			return -EEXIST;
		for (other = next_heap(NULL); other; other = next_heap(other))
			if (!strcmp(other->name, heap->name))
				heap_rename(other);
		if (name_taken(heap->name, true))	/* by one that is about to leave debugfs */
			schedule_timeout_uninterruptible(1);
	}
	spin_lock(&heaps_lock);
	heap->id = ++last_id;
	list_add_tail(&heap->list, &heaps);
	spin_unlock(&heaps_lock);
	return 0;
}

static struct blockslab_block *reserve_block(struct blockslab_heap *heap)
{
	struct blockslab_block *block = reserve_descriptor(heap, GFP_KERNEL);
	struct page *page;

	if (!block)
		return NULL;
	page = pages_get(heap, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, NUMA_NO_NODE,
			 RESERVE_ORDER);
	if (!page) {
		descriptor_put(block);
		return NULL;
	}
	block->base = page_address(page);
	block->nr_pages = 1U << RESERVE_ORDER;
	block->reserved = true;
	count_pages(heap, block, 1);
	return block;
}

/* Blocks aside, and the largest class, so that no allocation fails for want of a class. */
static int reserve_fill(struct blockslab_heap *heap, size_t reserve)
{
	struct blockslab_block *block, *spare;
	size_t bytes;

	heap->reserves = reserve;
	if (reserve && !class_get(heap, 0, NR_SIZES - 1, GFP_KERNEL))
		return -ENOMEM;
	for (bytes = 0; bytes < reserve; bytes += PAGE_SIZE << RESERVE_ORDER) {
		block = reserve_block(heap);
		if (!block)
			return -ENOMEM;
		list_add(&block->list, &heap->reserve);
		heap->reserved += block->nr_pages * PAGE_SIZE;
		atomic_long_add(block_bytes(block), &heap->held);
		spare = reserve_descriptor(heap, GFP_KERNEL);
		if (!spare)
			return -ENOMEM;
		reserve_spare(heap, spare);
		atomic_long_add(spare->meta * 8, &heap->fixed);
		if (heap->limit && held_bytes(heap) > heap->limit)
			return -EINVAL;
	}
	return 0;
}

static int heap_start(struct blockslab_heap *heap, size_t reserve)
{
	int error = reserve_fill(heap, reserve);

	if (error)
		return error;
	mutex_lock(&heap_names);
	error = heap_enter(heap);
	WRITE_ONCE(heaps_unseen, true);
	mutex_unlock(&heap_names);
	return error;
}

/* Why a heap cannot be made, or NULL. */
static const char *heap_refusal(const char *name, const struct blockslab_heap_attrs *attrs,
				unsigned long possible)
{
	if (!name_possible(name))
		return "the name is not 1 to 31 printable characters without space and slash";
	if (attrs->flags & ~possible)
		return "it does not know one of the flags, or not there";
	if (attrs->limit && attrs->limit < PAGE_SIZE)
		return "the limit is less than a page";
	if (attrs->limit && attrs->reserve > attrs->limit)
		return "the reserve is over the limit";
	if (attrs->reserve / PAGE_SIZE > totalram_pages() / 2)
		return "the reserve is over half of the memory";
	return NULL;
}

/* Says why a heap or cache is refused, and to whom. */
static void *refuse(const char *name, unsigned long caller, const char *why, int error)
{
	struct client *client;

	rcu_read_lock();
	client = client_of(caller);
	pr_warn("heap \"%*pE\" was refused to %s (%pS): %s\n",
		name ? (int)strnlen(name, BLOCKSLAB_NAME_MAX) : 0, name ?: "",
		client ? module_name(client->module) : "the kernel", (void *)caller, why);
	rcu_read_unlock();
	return ERR_PTR(error);
}

/* What it tracks from the start: what its flags say, else what the module's parameter does. */
static int heap_track_first(struct blockslab_heap *heap)
{
	unsigned long period = READ_ONCE(new_heap_track);
	int error;

	if (heap->flags & BLOCKSLAB_TRACK)
		return heap_track(heap, 1);
	if (heap->flags & EXACT_FLAGS && period > 1)
		return 0;
	error = heap_track(heap, period);
	if (error)
		pr_warn("heap %s is not tracked: error %d\n", heap->name, error);
	return 0;
}

static void heap_made_by(struct blockslab_heap *heap, unsigned long caller)
{
	struct client *client;

	rcu_read_lock();
	client = client_of(caller);
	heap->module = client ? client->module : NULL;
	strscpy(heap->maker, client ? module_name(client->module) : "-", sizeof(heap->maker));
	rcu_read_unlock();
}

static struct blockslab_heap *heap_new(const char *name, const struct blockslab_heap_attrs *attrs,
				       struct blockslab_cache *cache, void (*ctor)(void *object),
				       unsigned long caller)
{
	struct blockslab_heap *heap;
	size_t bytes = cache ? offsetof(typeof(*heap), class) : sizeof(*heap);
	int error;

	if (!try_module_get(THIS_MODULE))
		return ERR_PTR(-ENODEV);
	heap = meta_alloc(BLOCKSLAB_FAIL_CLASS, bytes, GFP_KERNEL, NUMA_NO_NODE);
	if (!heap) {
		module_put(THIS_MODULE);
		return ERR_PTR(-ENOMEM);
	}
	heap_init(heap, name, attrs);
	atomic_long_set(&heap->fixed, kmalloc_size_roundup(bytes));
	heap->cache = cache;	/* which goes with it, if all goes well */
	heap->ctor = ctor;
	heap_made_by(heap, caller);
	error = heap_track_first(heap);
	if (!error)
		error = heap_start(heap, attrs->reserve);
	if (!error)
		return heap;
	heap->state = HEAP_DESTROYED;
	heap->cache = NULL;
	reserve_drop(heap);
	heap_put(heap);
	if (error == -EEXIST)
		return refuse(name, caller, "there is one of that name", error);
	if (error == -EINVAL)
		return refuse(name, caller, "what the reserve needs is over the limit", error);
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
 * for a name, flag, limit (less than a page) or reserve (over the limit or half of memory) that
 * cannot be, -EEXIST for a name in use, -ENOMEM.
 */
struct blockslab_heap *blockslab_heap_create(const char *name,
					     const struct blockslab_heap_attrs *attrs)
{
	struct blockslab_heap *heap;
	const char *why;

	attrs = attrs ?: &no_attrs;
	why = heap_refusal(name, attrs, HEAP_FLAGS);
	heap = why ? refuse(name, _RET_IP_, why, -EINVAL) :
		     heap_new(name, attrs, NULL, NULL, _RET_IP_);
	panic_if_asked(attrs->flags, name, heap);
	return heap;
}
EXPORT_SYMBOL_GPL(blockslab_heap_create);
