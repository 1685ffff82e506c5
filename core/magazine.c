// SPDX-License-Identifier: GPL-2.0
/*
 * Magazines: arrays of cached slots, and the lines of the CPUs that have them loaded
 *
 * What it does not do: it brings and takes no slots for a call; that is depot.c's. Locks: none; a
 * line is claimed by its own CPU.
 */

/* Slots go past the magazines: their blocks alone know their state. */
static bool node_exact(struct blockslab_node *node)
{
	return node->class->noted || READ_ONCE(node->class->cpu) == no_class ||
	       !heap_caches(node->class->heap);
}

static struct blockslab_cpu *node_line(struct blockslab_node *node, int cpu)
{
	return per_cpu_ptr(node_cpu(node), cpu);
}

/* Those that have a line of a node's class. */
static const struct cpumask *line_cpus(const struct blockslab_node *node)
{
	return READ_ONCE(node->class->cpu) == no_class ? cpu_none_mask : cpu_possible_mask;
}

/* This CPU's line of a node, claimed and with preemption off; or NULL with preemption as it was. */
static __always_inline struct blockslab_cpu *claim_line(struct blockslab_node *node)
{
	struct blockslab_cpu *line;

	preempt_disable();
	line = this_cpu_ptr(node_cpu(node));
	if (blockslab_claim(line))
		return line;
	preempt_enable();
	return NULL;
}

static void unclaim_line(struct blockslab_cpu *line)
{
	blockslab_unclaim(line);
	preempt_enable();
}

static struct blockslab_magazine *loaded_magazine(struct blockslab_cpu *line)
{
	void **loaded = smp_load_acquire(&line->loaded);	/* load() */

	return loaded ? container_of((void *)loaded, struct blockslab_magazine, slots) : NULL;
}

/* Takes the loaded magazine off a claimed line; NULL if there is none. */
static struct blockslab_magazine *unload(struct blockslab_cpu *line)
{
	struct blockslab_magazine *magazine = loaded_magazine(line);

	if (magazine)
		WRITE_ONCE(magazine->count, blockslab_count(line));
	blockslab_sub(line->tally, blockslab_count(line));
	WRITE_ONCE(line->capacity, 0);
	WRITE_ONCE(line->loaded, NULL);
	return magazine;
}

static void load(struct blockslab_cpu *line, struct blockslab_magazine *magazine)
{
	blockslab_add(line->tally, magazine->count);
	WRITE_ONCE(line->capacity, magazine->capacity);
	smp_store_release(&line->loaded, magazine->slots);	/* for readers on other CPUs */
}

static void swap_spare(struct blockslab_cpu *line)
{
	struct blockslab_magazine *spare = line->spare;

	WRITE_ONCE(line->spare, unload(line));
	load(line, spare);
}

static size_t magazine_bytes(unsigned int capacity)
{
	return struct_size((struct blockslab_magazine *)NULL, slots, capacity);
}

/* So many slots more have room in the magazines of a node. */
static void count_room(struct blockslab_node *node, long slots)
{
	atomic_long_add(slots, &node->magazine_slots);
	atomic_long_add(slots * (long)node->class->size, &node->class->heap->roomy);
}

static struct blockslab_magazine *magazine_get(struct blockslab_node *node, gfp_t gfp)
{
	struct blockslab_heap *heap = node->class->heap;
	unsigned int capacity = READ_ONCE(node->capacity);
	size_t bytes = magazine_bytes(capacity);
	struct blockslab_magazine *magazine;

	if (!heap_charge_bytes(heap, bytes))
		return NULL;
	/* Without one it works, too: not of what is for emergencies. */
	gfp = (gfp & ~(GFP_EFFORT & ~__GFP_RECLAIM)) | __GFP_NORETRY | __GFP_NOMEMALLOC;
	magazine = meta_alloc(BLOCKSLAB_FAIL_MAGAZINE, bytes, gfp, NUMA_NO_NODE);
	if (!magazine) {
		atomic_long_sub(bytes, &heap->held);
		return NULL;
	}
	atomic_long_add(bytes, &node->held);
	/* Slots that lie in a magazine are nobody's: a leak must not hide there. */
	kmemleak_scan_area(&magazine->below, sizeof(magazine->below), gfp);
	magazine->node = node;
	magazine->capacity = capacity;
	count_room(node, capacity);
	return magazine;
}

/* Returns up to @nr of its slots to their blocks. */
static void magazine_flush(struct blockslab_magazine *magazine, unsigned int nr)
{
	struct blockslab_node *node = magazine->node;

	nr = min_t(unsigned int, nr, magazine->count);
	if (!nr)
		return;
	WRITE_ONCE(magazine->count, magazine->count - nr);
	trace_blockslab_flush(node->class->heap->name, node->class->size, node_id(node), nr);
	flush_slots(node, magazine->slots + magazine->count, nr, 0);
}

/* Gives back a magazine, if there is one, and the slots in it. */
static void magazine_dispose(struct blockslab_magazine *magazine)
{
	struct blockslab_node *node;

	if (!magazine)
		return;
	magazine_flush(magazine, magazine->count);
	node = magazine->node;
	count_room(node, -(long)magazine->capacity);
	heap_uncharge(node, magazine_bytes(magazine->capacity));
	kfree_rcu(magazine, rcu);
}

/* The same with all of a list. */
static void magazines_dispose(struct blockslab_magazine **list)
{
	struct blockslab_magazine *magazine;

	while ((magazine = *list)) {
		*list = magazine->below;
		magazine_dispose(magazine);
	}
}
