// SPDX-License-Identifier: GPL-2.0
/*
 * Shrinker: under memory pressure the heaps that have most unused give first
 */

/* About how many bytes a trim could give back. */
static unsigned long heap_unused(struct blockslab_heap *heap)
{
	struct blockslab_node *node;
	unsigned long bytes = 0;

	for (node = node_after(heap, NULL); node; node = node_after(heap, node))
		bytes += READ_ONCE(node->retained) + READ_ONCE(node->aside) +
			 READ_ONCE(node->waiting) * node->class->size +
			 atomic_long_read(&node->magazine_slots) * node->class->size;
	return bytes;
}

static unsigned long shrink_count(struct shrinker *self, struct shrink_control *control)
{
	struct blockslab_heap *heap;
	unsigned long bytes = 0;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap))
		bytes += heap_unused(heap);
	return (bytes / PAGE_SIZE + READ_ONCE(quarantined)) ?: SHRINK_EMPTY;
}

#define TIE	1024U		/* so many, or fewer, are told apart that have as much unused */

/* The heap that has most unused, but less than @below, which that becomes; with a reference. */
static struct blockslab_heap *least_used(u64 *below)
{
	struct blockslab_heap *heap, *largest = NULL;
	u64 most = TIE - 1, unused;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		unused = (u64)heap_unused(heap) * TIE + hash_ptr(heap, ilog2(TIE));
		if (unused <= most || unused >= *below)
			continue;
		if (largest)
			heap_put(largest);
		refcount_inc(&heap->refs);
		largest = heap;
		most = unused;
	}
	*below = most;
	return largest;
}

/* Each heap once at most: what it keeps may be in use, and stay where it is. */
static unsigned long shrink_scan(struct shrinker *self, struct shrink_control *control)
{
	bool wait = gfpflags_allow_blocking(control->gfp_mask);
	unsigned long pages = 0;
	u64 below = U64_MAX;
	struct blockslab_heap *heap;

	while (pages < control->nr_to_scan) {
		heap = least_used(&below);
		if (!heap)
			break;
		pages += heap_trim(heap, wait && heap_may_ask(heap)) / PAGE_SIZE;
		heap_put(heap);
	}
	if (!pages)
		pages = quarantine_trim(0);
	return pages ?: SHRINK_STOP;
}
