// SPDX-License-Identifier: GPL-2.0
/*
 * Last words: which heaps hold most, in the log when the kernel is out of memory and at a panic
 *
 * As the kernel does for its own slabs. Nothing here allocates, sleeps or frees: what can be given
 * back the shrinker was asked for before.
 *
 * Lock: heaps_lock while the largest heaps are picked; RCU keeps them while they are told. At a
 * panic the lock is only tried, as who held it may have been stopped.
 */

#define HEAPS_TOLD	10
#define OOM_SILENCE	(10 * HZ)	/* between two times: memory runs out in bursts */

/* A class's bytes, those of its tracked slots included. */
static size_t class_held(struct blockslab_class *class)
{
	struct blockslab_node *node;
	unsigned int i;
	size_t held = 0;

	for (i = 0; (node = class_node(class, i)); i++)
		held += atomic_long_read(&node->held);
	return held;
}

static void tell_heap(struct blockslab_heap *heap, size_t held)
{
	struct blockslab_class *class, *largest = NULL;
	size_t most = 0;

	for (class = class_after(heap, NULL); class; class = class_after(heap, class)) {
		if (class_held(class) <= most)
			continue;
		most = class_held(class);
		largest = class;
	}
	if (!largest)
		pr_warn("  %s: %zu KiB; made by %s\n", heap->name, held >> 10, heap->maker);
	else if (!largest->size)
		pr_warn("  %s: %zu KiB, whole pages are %zu KiB of it; made by %s\n",
			heap->name, held >> 10, most >> 10, heap->maker);
	else
		pr_warn("  %s: %zu KiB, slots of %u bytes are %zu KiB of it; made by %s\n",
			heap->name, held >> 10, largest->size, most >> 10, heap->maker);
}

/* Locked by the caller, and unlocked here: nothing is printed under a lock. */
static void tell_large(void)
	__releases(&heaps_lock)
{
	struct large_heaps large = {};
	struct blockslab_heap *heap;
	unsigned int i;

	list_for_each_entry(heap, &heaps, list)
		keep_large(&large, heap, held_bytes(heap));
	spin_unlock(&heaps_lock);
	pr_warn("%u heaps hold %zu KiB; the largest:\n", large.nr, large.sum >> 10);
	for (i = 0; i < HEAPS_TOLD && large.heap[i]; i++)
		tell_heap(large.heap[i], large.bytes[i]);
}

/* The kernel calls one at a time, and before it chooses whom to kill. */
static int out_of_memory_is(struct notifier_block *self, unsigned long unused, void *freed)
{
	static unsigned long last;

	if (last && jiffies - last < OOM_SILENCE)	/* right after months, too */
		return NOTIFY_OK;
	last = jiffies;
	rcu_read_lock();
	spin_lock(&heaps_lock);
	tell_large();
	rcu_read_unlock();
	return NOTIFY_OK;
}

/* On PREEMPT_RT the lock would sleep. */
static int panic_is(struct notifier_block *self, unsigned long unused, void *message)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT) && spin_trylock(&heaps_lock))
		tell_large();
	return NOTIFY_OK;
}

static struct notifier_block oom_notifier = { .notifier_call = out_of_memory_is };
static struct notifier_block panic_notifier = { .notifier_call = panic_is };
