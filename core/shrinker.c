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

#define LARGE_HEAPS	32

/* The heaps of which something is largest, the largest first; and of all. */
struct large_heaps {
	struct blockslab_heap *heap[LARGE_HEAPS];
	size_t bytes[LARGE_HEAPS];
	size_t sum;
	unsigned int nr;
};

/* Returns the one that has no place any more, or none. */
static struct blockslab_heap *keep_large(struct large_heaps *large, struct blockslab_heap *heap,
					 size_t bytes)
{
	unsigned int i;

	large->nr++;
	large->sum += bytes;
	for (i = 0; i < LARGE_HEAPS; i++) {
		if (bytes <= large->bytes[i])
			continue;
		swap(bytes, large->bytes[i]);
		swap(heap, large->heap[i]);
	}
	return heap;
}

/* What the largest keep may be in use, and stay where it is; then all others are asked, too. */
static unsigned long shrink_scan(struct shrinker *self, struct shrink_control *control)
{
	bool wait = gfpflags_allow_blocking(control->gfp_mask);
	struct blockslab_heap *heap, *small;
	struct large_heaps large = {};
	unsigned long pages = 0;
	unsigned int i;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		refcount_inc(&heap->refs);
		small = keep_large(&large, heap, heap_unused(heap));
		if (small)
			heap_put(small);
	}
	for (i = 0; i < LARGE_HEAPS && (heap = large.heap[i]); i++) {
		if (pages < control->nr_to_scan)
			pages += heap_trim(heap, wait && heap_may_ask(heap)) / PAGE_SIZE;
		heap_put(heap);
	}
	for (heap = large.nr > LARGE_HEAPS ? next_heap(NULL) : NULL; heap; heap = next_heap(heap))
		if (pages < control->nr_to_scan)
			pages += heap_trim(heap, false) / PAGE_SIZE;
	if (!pages)
		pages = quarantine_trim(0);
	return pages ?: SHRINK_STOP;
}

static int __init shrinker_init(void)
{
	shrinker = shrinker_alloc(0, "blockslab");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = shrink_count;
	shrinker->scan_objects = shrink_scan;
	shrinker->seeks = DEFAULT_SEEKS;
	shrinker_register(shrinker);
	return 0;
}
