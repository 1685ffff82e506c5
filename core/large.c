// SPDX-License-Identifier: GPL-2.0
/*
 * Whole pages, for what is larger than a slot: blocks of one, of which some are kept for the next
 * request of as many pages. Locks: node->lock, taken here.
 */

/* As many whole pages as a descriptor has, charged first. */
static bool large_fill(struct blockslab_block *block, struct blockslab_class *class, gfp_t gfp,
		       int nid)
{
	unsigned int order = block_order(block), nr = block->nr_pages;
	struct page *page;

	if (!heap_charge_bytes(class->heap, block_bytes(block)))
		return false;
	page = pages_get(class->heap, gfp, nid, order);
	if (!page) {
		atomic_long_sub(block_bytes(block), &class->heap->held);
		return false;
	}
	block->charged = !!(gfp & __GFP_ACCOUNT);
	if (!is_power_of_2(nr))		/* the rest goes back page by page: page_words_set() */
		split_page(page, order);
	for (; nr < 1U << order; nr++)
		__free_page(page + nr);
	block->base = page_address(page);
	block->node = &class->nodes[page_to_nid(page)];
	block->born = block_clock();
	atomic_long_add(block_bytes(block), &block->node->held);
	return true;
}

static struct blockslab_block *large_block(struct blockslab_class *class, size_t size, gfp_t gfp,
					   int nid, bool track)
{
	struct blockslab_block *block = descriptor_get(1, side_bytes(class, 1), gfp, NUMA_NO_NODE);

	if (!block)
		return NULL;
	block->nr_slots = 1;
	block->recip = 1;		/* no other address is one of a slot */
	atomic_long_inc(&class->heap->moving);
	/* What is to be watched has room around it, if that comes easily. */
	if (track && !class->noted && notes_get(block, notes_bytes(1), gfp)) {
		block->nr_pages = 2 + PFN_UP(size);
		if (large_fill(block, class, (gfp & ~__GFP_DIRECT_RECLAIM) | __GFP_NOWARN, nid)) {
			block->base += PAGE_SIZE;
			return block;
		}
	}
	block->nr_pages = PFN_UP(size + class->heap->zone);
	if (large_fill(block, class, gfp, nid))
		return block;
	atomic_long_dec(&class->heap->moving);
	descriptor_put(block);
	return NULL;
}

/*
 * Whole pages that were kept, of the wanted number, or NULL. What is to be charged, or to come from
 * a zone, is asked for anew.
 */
static struct blockslab_block *large_kept(struct blockslab_node *node, size_t size, gfp_t gfp)
{
	struct blockslab_block *block, *kept = NULL;
	unsigned long irq;

	if (!READ_ONCE(node->nr[BLOCK_RETAINED]) || node->class->noted ||
	    gfp & (__GFP_ACCOUNT | __GFP_DMA | __GFP_DMA32))
		return NULL;
	spin_lock_irqsave(&node->lock, irq);
	hlist_for_each_entry(block, &node->blocks[BLOCK_RETAINED], listed) {
		if (block->nr_pages != PFN_UP(size))
			continue;
		__clear_bit(0, block->map);
		block->nr_free = 0;
		blockslab_sub(node->nr_free, 1);
		block_list(block);
		retention_taken(&node->retention, retained_words(node));
		blockslab_add(node->allocs, 1);
		node->requested += size;
		node->given += slot_bytes(block);
		kept = block;
		break;
	}
	spin_unlock_irqrestore(&node->lock, irq);
	return kept;
}

static void *large_get(struct blockslab_heap *heap, size_t size, gfp_t gfp, int nid,
		       unsigned long caller)
{
	struct blockslab_class *class = class_get(heap, 0, INDEX_LARGE, gfp);
	struct blockslab_block *block;
	struct blockslab_node *node;
	unsigned long irq;
	bool track;

	if (!class)
		return NULL;
	node = &class->nodes[nid == NUMA_NO_NODE ? home_node() : nid];
	track = READ_ONCE(heap->track) && sampled(node, size);
	block = track ? NULL : large_kept(node, size, gfp);
	if (!block && deferred_much(heap, gfp) && deferred_await(heap) && !track)
		block = large_kept(node, size, gfp);
	if (block) {
		if (want_init_on_alloc(gfp))
			fill_words(block->base, 0, block->nr_pages * PAGE_SIZE);
		return block->base;
	}
	block = large_block(class, size, gfp, nid, track);
	if (!block && heap_reclaim(heap, gfp))
		block = large_block(class, size, gfp, nid, track);
	if (block) {
		node = block->node;
		if (track && block->notes)
			watch_alloc(block, block->base, size, gfp, caller);
		count_pages(heap, block, 1);
		page_words_set(block, class->key);
		heap_count_block(heap, 1);
		trace_blockslab_block_get(heap->name, 0, node_id(node), block_order(block));
	}
	spin_lock_irqsave(&node->lock, irq);
	if (block) {
		block_link(block);
		blockslab_add(node->allocs, 1);
		node->requested += size;
		node->given += slot_bytes(block);
	} else {
		node->fails += fails(gfp);
	}
	spin_unlock_irqrestore(&node->lock, irq);
	return block ? block->base : NULL;
}

/*
 * Whole pages have become free: which go back, these or those that were kept longest; or NULL.
 * init_on_free is the page allocator's, and KASAN.
 */
static struct blockslab_block *large_goes(struct blockslab_block *block)
{
	struct blockslab_node *node = block->node;

	if (heap_forgotten(node->class->heap))
		return NULL;
	if (RARE_ALWAYS || want_init_on_free() || block->notes || block->charged ||
	    !page_counts_right(block))
		return block;
	return node->nr[BLOCK_RETAINED] > LARGE_KEPT_MAX ? oldest_retained(node) : NULL;
}
