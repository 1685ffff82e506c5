// SPDX-License-Identifier: GPL-2.0
/*
 * Page provider
 */

/* What a block counts for: pages, descriptor and notes. */
static size_t block_bytes(const struct blockslab_block *block)
{
	return block->nr_pages * PAGE_SIZE + block->meta * 8;
}

static size_t descriptor_bytes(unsigned int nr_slots)
{
	size_t bytes = struct_size((struct blockslab_block *)NULL, map, 2 * map_words(nr_slots));

	return map_words(nr_slots) == 1 ? bytes : kmalloc_size_roundup(bytes);
}

static size_t notes_bytes(unsigned int nr_slots)
{
	return kmalloc_size_roundup(nr_slots * sizeof(struct blockslab_note));
}

/* The same for what any block of a class has beside it; of coarse slots, what may be used. */
static size_t side_bytes(const struct blockslab_class *class, unsigned int nr_slots)
{
	if (class_coarse(class))
		return kmalloc_size_roundup(nr_slots * sizeof(u16));
	return class->noted ? notes_bytes(nr_slots) : 0;
}

/* Slots of a block of so many bytes. */
static unsigned int slots_in(const struct blockslab_class *class, size_t bytes)
{
	return (bytes - class->lead) / class->size;
}

/* Of blocks that have one slot at least. */
static unsigned int least_order(const struct blockslab_class *class)
{
	return get_order(class->lead + class->size);
}

/*
 * The order that wastes least, for what the class holds now: every block has its tail and
 * descriptor, the making of one is worth four times as much again once there are some (a load that
 * grows took 125 instructions, not 131, and held .856, not .846), and the class as a whole has up
 * to a block that is not in use. So a class of 128 KiB gets blocks of which the rest is small, and
 * a little-used one small blocks, none of more than it holds: two slots of 4608 bytes had 40 KiB. A
 * tail of over an eighth is only for the first one, or for want of something better. Watched slots'
 * stay small.
 */
static unsigned int new_block_order(const struct blockslab_node *node)
{
	size_t size = node->class->size, pages = READ_ONCE(node->pages), least = SIZE_MAX;
	size_t most = min_t(size_t, BLOCK_BYTES_MAX,
			    size * (node->class->of ? WATCH_BLOCK : BLOCK_SLOTS_MAX));
	const size_t descriptor = sizeof(struct blockslab_block);
	unsigned int least_one = least_order(node->class), order, best = least_one;

	for (order = best; order <= max_order && PAGE_SIZE << order <= most; order++) {
		size_t bytes = PAGE_SIZE << order, tail, waste;
		unsigned int nr = slots_in(node->class, bytes);

		if ((order > least_one && bytes > pages) || bytes >= least)
			break;
		tail = bytes - nr * size;
		waste = tail + nr / 4 + descriptor + min(pages / 256, 4 * descriptor);
		waste = waste * ((max(pages, bytes) + bytes - 1) >> (PAGE_SHIFT + order)) + bytes;
		if ((pages || node->class->of) && tail > bytes / 8)
			waste += SZ_1G;
		if (waste < least) {
			least = waste;
			best = order;
		}
	}
	return best;
}

/* Charges for a block of the best order that there is room for; its cost, or 0 over the limit. */
static size_t charge_block(const struct blockslab_node *node, unsigned int *order)
{
	const struct blockslab_class *class = node->class;
	unsigned int least = least_order(class), nr_slots;
	struct blockslab_heap *heap = class->heap;
	size_t cost;

	*order = new_block_order(node);
	do {
		cost = PAGE_SIZE << *order;
		nr_slots = slots_in(class, cost);
		/* block_bytes() */
		cost += descriptor_bytes(nr_slots) + side_bytes(class, nr_slots);
		if ((*order == least || cost <= heap_room(heap)) && heap_charge_bytes(heap, cost))
			return cost;
	} while ((*order)-- > least);
	return 0;
}

/*
 * All pages come from here. Flags that pages of slots cannot have are left out: what is mapped by
 * need or may be moved is no memory that has one address. As kmalloc() does, this is told. Who may
 * not fail waits in alloc_surely().
 */
static struct page *pages_get(const struct blockslab_heap *heap, gfp_t gfp, int nid,
			      unsigned int order)
{
	static DEFINE_RATELIMIT_STATE(limit, 5 * HZ, 1);
	const gfp_t bad = __GFP_HIGHMEM | __GFP_MOVABLE;

	if (unlikely(gfp & bad) && __ratelimit(&limit)) {
		pr_warn("slots cannot have the GFP flags %#x (%pGg); the call should not ask for them\n",
			gfp & bad, &gfp);
		dump_stack();
	}
	if (should_fail_request(BLOCKSLAB_FAIL_PAGES))
		return NULL;
	gfp &= ~(bad | __GFP_COMP | __GFP_WRITE | __GFP_RECLAIMABLE | __GFP_NOFAIL);
	if (heap->flags & BLOCKSLAB_RECLAIMABLE)
		gfp |= __GFP_RECLAIMABLE;
	return alloc_pages_node(nid, gfp, order);
}

/* Of the wanted order if that comes easily, else of the smallest that holds a slot. */
static struct page *block_pages(struct blockslab_node *node, gfp_t gfp, unsigned int *order)
{
	struct blockslab_class *class = node->class;
	unsigned int least = least_order(class);
	int nid = node_id(node);
	struct page *page;

	gfp = (gfp & ~(__GFP_ZERO | __GFP_DMA | __GFP_DMA32)) | class->kind | class->heap->kind;
	if (*order > least) {
		page = pages_get(class->heap, (gfp & ~GFP_EFFORT) | __GFP_NOWARN |
				 __GFP_NORETRY | __GFP_NOMEMALLOC, nid, *order);
		if (page)
			return page;
		*order = least;
	}
	return pages_get(class->heap, gfp, nid, least);
}

static bool notes_get(struct blockslab_block *block, size_t bytes, gfp_t gfp)
{
	block->notes = meta_alloc(BLOCKSLAB_FAIL_TRACK, bytes, gfp, NUMA_NO_NODE);
	if (block->notes)
		block->meta += bytes / 8;
	return block->notes;
}

static void descriptor_put(struct blockslab_block *block)
{
	kfree(block->notes);
	if (block->small)
		kmem_cache_free(block_cache, block);
	else
		kfree(block);
}

static void descriptor_free_rcu(struct rcu_head *rcu)
{
	descriptor_put(container_of(rcu, struct blockslab_block, rcu));
}

/* Room for @nr_slots and tail bits, and for so many bytes of notes; not charged yet. */
static struct blockslab_block *descriptor_get(unsigned int nr_slots, size_t notes, gfp_t gfp,
					      int nid)
{
	bool small = map_words(nr_slots) == 1;
	struct blockslab_block *block;

	if (small)
		block = meta_cache_alloc(BLOCKSLAB_FAIL_DESCRIPTOR, block_cache, gfp & ~__GFP_ZERO,
					 nid);
	else
		block = meta_alloc(BLOCKSLAB_FAIL_DESCRIPTOR, descriptor_bytes(nr_slots), gfp, nid);
	if (!block)
		return NULL;
	if (small)
		memset(block, 0, sizeof(*block) + 2 * sizeof(long));	/* inline */
	/* Not @base, which is the first slot's address: a lost one must not hide there. */
	kmemleak_scan_area(block, offsetof(typeof(*block), base), gfp);
	block->small = small;
	block->meta = descriptor_bytes(nr_slots) / 8;
	block->state = BLOCK_UNLISTED;
	if (!notes || notes_get(block, notes, gfp))
		return block;
	descriptor_put(block);
	return NULL;
}

/* Blocks are in the kernel's sums of slab memory, from which it tells what is available. */
static void count_pages(const struct blockslab_heap *heap, struct blockslab_block *block, long sign)
{
	mod_node_page_state(page_pgdat(first_page(block)),
			    heap->flags & BLOCKSLAB_RECLAIMABLE ? NR_SLAB_RECLAIMABLE_B :
								  NR_SLAB_UNRECLAIMABLE_B,
			    sign * (long)(block->nr_pages * PAGE_SIZE));
}

/* How many sizes, from that of its slots down, are a class's and no other's. */
static unsigned int class_sizes(const struct blockslab_class *class)
{
	if (class->index == INDEX_CACHE)
		return class->size + 1;
	return class->size - (class->index ? index_size[class->index - 1] : 0);
}

/* Makes the pages behind a descriptor slots of a class, all free. */
static void block_bind(struct blockslab_block *block, struct blockslab_class *class)
{
	unsigned int nr_slots = slots_in(class, block->nr_pages * PAGE_SIZE), word;

	block->node = &class->nodes[page_to_nid(first_page(block))];
	block->size = class->size;
	block->sizes = class_sizes(class);
	block->recip = (u32)div_u64(1ULL << 32, class->size) + 1;
	block->born = block_clock();
	if (block->reserved && block->notes) {	/* so many */
		nr_slots = min(nr_slots, RESERVE_NOTES);
		memset(block->notes, 0, notes_bytes(RESERVE_NOTES));
	}
	block->nr_slots = nr_slots;
	block->nr_free = nr_slots;
	block->queued = 0;
	for (word = 0; word < map_words(nr_slots); word++) {
		WRITE_ONCE(block->map[word], ~0UL);	/* it is one word, most often: no call */
		WRITE_ONCE(deferred_map(block)[word], 0);
	}
}

/* What nobody may write to in a block of watched slots, all of them free. */
static void watch_prepare(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	unsigned int number;

	memset(block_start(block), SLUB_RED_ACTIVE, block->nr_pages * PAGE_SIZE);
	for (number = 0; number < block->nr_slots; number++) {
		block->notes[number].state = WATCH_KEPT;
		if (!keeps_content(class->heap))
			memset(slot_address(block, class->size, number), POISON_FREE,
			       object_size(class));
	}
}

static void canaries_set(const struct blockslab_block *block, const struct blockslab_class *class)
{
	unsigned long canary = blockslab_canary(block->base), size = class->size, i;
	void *word = blockslab_word(block->base, class->canary);

	for (i = block->nr_slots; i; i--, word += size, canary += size)
		*(unsigned long *)word = canary;
}

/* All slots of a new block are free, and marked so: a magazine takes them as they are. */
static void block_prepare(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_heap *heap = class->heap;
	unsigned int i;

	if (class->of)
		watch_prepare(block);
	else if (heap->flags & BLOCKSLAB_POISON)
		memset(block->base, POISON_FREE, (size_t)block->nr_slots * class->size);
	else if (heap->zone)
		memset(block->base, SLUB_RED_ACTIVE, (size_t)block->nr_slots * class->size);
	for (i = 0; heap->ctor && i < block->nr_slots; i++)	/* so no poison: cache_create() */
		heap->ctor(slot_address(block, class->size, i));
	if (class->key != KEY_SLOW)
		canaries_set(block, class);
	if (!(heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU))
		kasan_block(block, false);
	/* As if a free were always deferred: so each is led to where slots of the reserve go. */
	page_words_set(block, block->reserved && class->key != KEY_SLOW ? KEY_SLOW + 2 :
									  class->key);
	heap_count_block(heap, 1);
	trace_blockslab_block_get(heap->name, class->size, node_id(block->node),
				  block_order(block));
}

/* A block of the heap's reserve, for a class that gets none from the page allocator. */
static struct blockslab_block *reserve_take(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_class *class = node->class;
	struct blockslab_heap *heap = class->heap;
	struct blockslab_block *block;
	unsigned long irq;

	/* What cannot be tracked is left untracked; a coarse class would want more. */
	if (class->of || class->kind & ~__GFP_ACCOUNT || list_empty(&heap->reserve))
		return NULL;
	spin_lock_irqsave(&heap->lock, irq);
	list_for_each_entry(block, &heap->reserve, list)
		if (!(gfp & __GFP_THISNODE) || page_to_nid(first_page(block)) == node_id(node))
			break;
	if (list_entry_is_head(block, &heap->reserve, list)) {
		block = NULL;
	} else {
		list_del(&block->list);
		blockslab_sub(heap->reserved, block->nr_pages * PAGE_SIZE);
	}
	spin_unlock_irqrestore(&heap->lock, irq);
	if (!block)
		return NULL;
	block_bind(block, class);
	atomic_long_inc(&heap->moving);
	/* Charged to the heap since it was reserved; from now on to its node too. */
	atomic_long_add(block_bytes(block), &block->node->held);
	return block;
}

/* For a block of the reserve, whatever class it may serve. */
static struct blockslab_block *reserve_descriptor(const struct blockslab_heap *heap, gfp_t gfp)
{
	return descriptor_get((PAGE_SIZE << RESERVE_ORDER) / 8,
			      heap->flags & EXACT_FLAGS ? notes_bytes(RESERVE_NOTES) : 0, gfp,
			      NUMA_NO_NODE);
}

static void reserve_spare(struct blockslab_heap *heap, struct blockslab_block *spare)
{
	unsigned long irq;

	spin_lock_irqsave(&heap->lock, irq);
	list_add(&spare->list, &heap->spares);
	spin_unlock_irqrestore(&heap->lock, irq);
}

static void reserve_spare_rcu(struct rcu_head *rcu)
{
	struct blockslab_block *old = container_of(rcu, struct blockslab_block, rcu);
	struct blockslab_heap *heap = old->node->class->heap;

	reserve_spare(heap, old);
	heap_put(heap);
}

/*
 * Pages of the reserve serve again at once, but under another descriptor. There is a spare one for
 * each, as what comes back may be all that there is of memory; false where that is so, and all of
 * them wait for who may still look.
 */
static bool reserve_renew(struct blockslab_block **block)
{
	struct blockslab_block *old = *block, *spare, *new;
	struct blockslab_heap *heap = old->node->class->heap;
	struct blockslab_note *notes;
	unsigned long irq;

	spin_lock_irqsave(&heap->lock, irq);
	spare = list_first_entry_or_null(&heap->spares, struct blockslab_block, list);
	if (spare)
		list_del(&spare->list);
	spin_unlock_irqrestore(&heap->lock, irq);
	new = spare ?: reserve_descriptor(heap, GFP_ATOMIC | __GFP_NOWARN);
	if (!new)
		return false;
	notes = new->notes;
	*new = *old;
	new->notes = notes;
	if (spare)
		refcount_inc(&heap->refs);
	call_rcu(&old->rcu, spare ? reserve_spare_rcu : descriptor_free_rcu);
	*block = new;
	return true;
}

static void reserve_put_back(struct blockslab_block *block)
{
	struct blockslab_heap *heap = block->node->class->heap;
	unsigned long irq;

	atomic_long_sub(block_bytes(block), &block->node->held);
	spin_lock_irqsave(&heap->lock, irq);
	list_add(&block->list, &heap->reserve);
	blockslab_add(heap->reserved, block->nr_pages * PAGE_SIZE);
	spin_unlock_irqrestore(&heap->lock, irq);
}

static void reserve_drop(struct blockslab_heap *heap)
{
	struct blockslab_block *block, *next;
	unsigned long irq;
	LIST_HEAD(spares);
	LIST_HEAD(gone);

	spin_lock_irqsave(&heap->lock, irq);
	list_splice_init(&heap->spares, &spares);
	list_splice_init(&heap->reserve, &gone);
	WRITE_ONCE(heap->reserved, 0);
	list_for_each_entry(block, &gone, list)
		atomic_long_sub(block_bytes(block), &heap->held);
	spin_unlock_irqrestore(&heap->lock, irq);
	list_for_each_entry_safe(block, next, &gone, list) {
		count_pages(heap, block, -1);
		if (block->node)	/* it was in use */
			pages_put(heap, first_page(block), RESERVE_ORDER);
		else
			__free_pages(first_page(block), RESERVE_ORDER);
		descriptor_put(block);
	}
	list_for_each_entry_safe(block, next, &spares, list)
		descriptor_put(block);
}

static struct blockslab_block *block_make(struct blockslab_node *node, unsigned int order,
					  gfp_t gfp)
{
	struct page *page = block_pages(node, gfp, &order);
	struct blockslab_class *class = node->class;
	struct blockslab_block *block;
	unsigned int nr_slots;

	if (!page)
		return NULL;
	nr_slots = slots_in(class, PAGE_SIZE << order);
	block = descriptor_get(nr_slots, side_bytes(class, nr_slots), gfp, page_to_nid(page));
	if (!block) {
		__free_pages(page, order);
		return NULL;
	}
	block->base = page_address(page) + class->lead;
	block->nr_pages = 1U << order;
	block_bind(block, class);
	count_pages(class->heap, block, 1);
	return block;
}

/* A new block, charged before anything is asked for. It is on no list yet. */
static struct blockslab_block *block_new(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_heap *heap = node->class->heap;
	struct blockslab_block *block = NULL;
	unsigned int order;
	size_t charged;

	atomic_long_inc(&heap->moving);
	charged = charge_block(node, &order);
	if (charged)
		block = block_make(node, order, gfp);
	if (block) {
		atomic_long_sub(charged - block_bytes(block), &heap->held);
		atomic_long_add(block_bytes(block), &block->node->held);
		return block;
	}
	atomic_long_sub(charged, &heap->held);
	atomic_long_dec(&heap->moving);
	return NULL;
}

/* Nobody has a slot of it or a reference on its pages. Who still looks at it is an RCU reader. */
static void block_end(struct blockslab_block *block)
{
	struct blockslab_heap *heap = block->node->class->heap;
	struct page *page = first_page(block);
	unsigned int i, next;

	if (block->reserved && !heap_destroyed(heap)) {
		reserve_put_back(block);
	} else {
		count_pages(heap, block, -1);
		for (i = 0; i < block->nr_pages; i = next) {
			next = piece_next(block, i);
			pages_put(heap, page + i, ilog2(next - i));
		}
		heap_uncharge(block->node, block_bytes(block));
		call_rcu(&block->rcu, descriptor_free_rcu);
	}
	atomic_long_dec(&heap->moving);
	heap_count_block(heap, -1);
}

/* Blocks without slots whose pages others may still read or write: they have a wrong count. */
static LIST_HEAD(referenced_blocks);
static DEFINE_SPINLOCK(referenced_lock);	/* referenced_blocks */
#define REFERENCED_PERIOD	HZ

static void referenced_look(struct work_struct *work);
static DECLARE_DELAYED_WORK(referenced_work, referenced_look);

/* Where that is already @told, it is tried once more. */
static void block_try_end(struct blockslab_block *block, bool told)
{
	unsigned long irq;

	if (likely(page_counts_restore(block))) {
		block_end(block);
		return;
	}
	if (!told)
		report(REFERENCED, .slot = block->base, .block = block);
	spin_lock_irqsave(&referenced_lock, irq);
	list_add(&block->list, &referenced_blocks);
	spin_unlock_irqrestore(&referenced_lock, irq);
	queue_delayed_work(workqueue, &referenced_work, REFERENCED_PERIOD);
}

static void referenced_look(struct work_struct *work)
{
	struct blockslab_block *block, *next;
	LIST_HEAD(blocks);

	spin_lock_irq(&referenced_lock);
	list_splice_init(&referenced_blocks, &blocks);
	spin_unlock_irq(&referenced_lock);
	list_for_each_entry_safe(block, next, &blocks, list) {
		list_del(&block->list);
		block_try_end(block, true);
	}
}

/* At this module's end: of those of heaps that were let go of, the pages are lost; how many. */
static unsigned long referenced_lose(void)
{
	struct blockslab_block *block, *next;
	unsigned long pages = 0;

	list_for_each_entry_safe(block, next, &referenced_blocks, list) {
		pages += block->nr_pages;
		descriptor_put(block);
	}
	return pages;
}

static void block_end_rcu(struct rcu_head *rcu)
{
	block_try_end(container_of(rcu, struct blockslab_block, rcu), false);
}

/* Whether a descriptor that somebody may have written to still has its pages, and can count. */
static bool block_sound(const struct blockslab_block *block)
{
	struct blockslab_block *there;
	struct page *page;

	return words_at(block->base, &page, NULL, &there) && there == block &&
	       block->nr_free <= block->nr_slots;
}

/*
 * Whether a block may go now. One that waits for the worker of deferred frees is put by that. Where
 * a slot was freed at once by one CPU and deferred by another, either this sees the mark, or
 * defer_free() that the block is gone.
 */
static bool block_close(struct blockslab_block *block)
{
	u32 was = READ_ONCE(block->queued), will;
	bool sound = block_sound(block);

	do {
		will = was == BLOCK_QUEUED ? BLOCK_LEFT : BLOCK_GONE;
	} while (!try_cmpxchg(&block->queued, &was, will));
	if (will == BLOCK_LEFT)
		return false;
	if (likely(sound && bitmap_empty(deferred_map(block), block->nr_slots)))
		return true;
	report(sound ? DOUBLE_FREE : DAMAGED, .slot = sound ? block->base : block,
	       .done = sound ? "a slot of its block is yet to be freed; the block is kept" : NULL);
	atomic_long_dec(&block->node->class->heap->moving);
	return false;
}

/*
 * Gives a block's pages back; it is on no list any more. One that does not know its pages, or that
 * has a slot that is free and yet to be freed, is kept with all that it belongs to.
 */
static void block_put(struct blockslab_block *block)
{
	struct blockslab_class *class = block->node->class;
	bool wait = class->heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU;
	bool renew = block->reserved && !heap_destroyed(class->heap);

	if (unlikely(!block_close(block)))
		return;
	trace_blockslab_block_put(class->heap->name, class->size, node_id(block->node),
				  block_order(block));
	page_words_clear(block);
	kasan_block(block, true);
	if (wait || (renew && !reserve_renew(&block)))
		call_rcu(&block->rcu, block_end_rcu);
	else
		block_try_end(block, false);
}
