// SPDX-License-Identifier: GPL-2.0
/*
 * Tracking switched on and off
 */

struct crediting {
	struct blockslab_heap *heap;
	atomic_t missed;
};

static long first_credit(const struct blockslab_heap *heap)
{
	unsigned long track = READ_ONCE(heap->track);

	if (!track)
		return CREDIT;
	return track == 1 ? 0 : draw_credit(track);
}

/* On the CPU itself, in an interrupt. */
static void credit_this_cpu(void *data)
{
	struct crediting *crediting = data;
	struct blockslab_class *class;
	struct blockslab_cpu *line;
	int nid;

	rcu_read_lock();
	list_for_each_entry_rcu(class, &crediting->heap->classes, list) {
		for (nid = 0; nid < nr_node_ids; nid++) {
			line = this_cpu_ptr(class->cpu) + nid;
			if (blockslab_claim(line)) {
				grant(line, first_credit(crediting->heap));
				blockslab_unclaim(line);
			} else {
				atomic_inc(&crediting->missed);
			}
		}
	}
	rcu_read_unlock();
}

static void credit_absent_cpu(struct blockslab_heap *heap, int cpu)
{
	struct blockslab_class *class;
	int nid;

	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list)
		for (nid = 0; nid < nr_node_ids; nid++)
			grant(node_line(&class->nodes[nid], cpu), first_credit(heap));
	rcu_read_unlock();
}

/**
 * blockslab_track() - have a heap remember who allocated its slots
 * @heap: to track; NULL for the shared heap
 * @period: 1 for every allocation from now on, 0 for none, and else, up to 1 GiB (64 MiB on 32-bit
 *	machines), a sample: one of so many bytes on average, which is cheap enough to be left on
 *
 * What debugfs/blockslab/heap/NAME/track does. Slots that are tracked stay so until they are
 * freed. Heaps with BLOCKSLAB_POISON or BLOCKSLAB_RED_ZONE track all or none, and
 * blockslab_alloc_nolock() is never tracked.
 *
 * Context: process; may sleep.
 * Return: 0, -EINVAL for a period that cannot be, or -ENOMEM.
 */
int blockslab_track(struct blockslab_heap *heap, size_t period)
{
	struct crediting crediting = { .heap = heap_or_shared(heap) };
	int cpu, error = period ? stacks_init() : 0;

	heap = crediting.heap;
	if (period > PERIOD_MAX)
		return -EINVAL;
	if (error)
		return error;
	WRITE_ONCE(heap->track, heap->flags & EXACT_FLAGS ? !!period : period);
	if (heap->cache)
		cache_publish(heap->cache);
	cpus_read_lock();
	for_each_possible_cpu(cpu)
		if (!cpu_online(cpu))
			credit_absent_cpu(heap, cpu);
	do {
		atomic_set(&crediting.missed, 0);
		on_each_cpu(credit_this_cpu, &crediting, 1);
	} while (atomic_read(&crediting.missed));
	cpus_read_unlock();
	return 0;
}
EXPORT_SYMBOL_GPL(blockslab_track);
