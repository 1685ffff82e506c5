// SPDX-License-Identifier: GPL-2.0
/*
 * Shrinker: under memory pressure the largest hoarders give first
 */

static unsigned long shrink_count(struct shrinker *self, struct shrink_control *control)
{
	struct blockslab_heap *heap;
	long bytes = 0;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap))
		bytes += max(atomic_long_read(&heap->hoard), 0L);
	return (bytes / PAGE_SIZE + READ_ONCE(quarantined)) ?: SHRINK_EMPTY;
}

/* The heap that hoards most, but less than @below; with a reference. */
static struct blockslab_heap *largest_hoarder(long below)
{
	struct blockslab_heap *heap, *largest = NULL;
	long most = 0, hoard;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		hoard = atomic_long_read(&heap->hoard);
		if (hoard <= most || hoard >= below)
			continue;
		if (largest)
			heap_put(largest);
		refcount_inc(&heap->refs);
		largest = heap;
		most = hoard;
	}
	return largest;
}

/* Each heap once at most: what it hoards may be in use, and stay where it is. */
static unsigned long shrink_scan(struct shrinker *self, struct shrink_control *control)
{
	bool wait = gfpflags_allow_blocking(control->gfp_mask);
	unsigned long pages = 0;
	long below = LONG_MAX;
	struct blockslab_heap *heap;

	while (pages < control->nr_to_scan) {
		heap = largest_hoarder(below);
		if (!heap)
			break;
		below = atomic_long_read(&heap->hoard);
		pages += heap_trim(heap, wait) / PAGE_SIZE;
		heap_put(heap);
	}
	if (!pages)
		pages = quarantine_trim(0);
	return pages ?: SHRINK_STOP;
}
