// SPDX-License-Identifier: GPL-2.0
/*
 * Classes
 */

static unsigned int heap_index(const struct blockslab_heap *heap, size_t size)
{
	unsigned int index = blockslab_size_index[size + heap->zone], align = 1;

	if (heap->flags & BLOCKSLAB_HWCACHE_ALIGN)
		align = cache_line_size();
	/* A red zone shall not cost a power of two its alignment. */
	if (heap->zone && is_power_of_2(size))
		align = max_t(unsigned int, align, min_t(size_t, size, PAGE_SIZE));
	while (index_size[index] % align)
		index++;
	return index;
}

static void node_init(struct blockslab_node *node, struct blockslab_class *class)
{
	node->class = class;
	spin_lock_init(&node->lock);
	INIT_LIST_HEAD(&node->all);
	INIT_LIST_HEAD(&node->places);
	node->capacity = capacity_least(class->size);
	node->seed = get_random_u32();
}

static size_t class_bytes(void)
{
	return struct_size((struct blockslab_class *)NULL, nodes, nr_node_ids);
}

/* Of all CPUs' lines of a class. */
static size_t lines_bytes(void)
{
	return num_possible_cpus() * nr_node_ids * sizeof(struct blockslab_cpu);
}

static void class_free(struct blockslab_class *class)
{
	if (class->cpu != no_class)
		free_percpu(class->cpu);
	kmem_cache_free(class_cache, class);
}

static struct blockslab_cpu __percpu *lines_get(struct blockslab_class *class, gfp_t gfp)
{
	struct blockslab_cpu __percpu *lines = NULL;
	struct blockslab_cpu *line;
	int nid, cpu;

	if (!should_fail_request(BLOCKSLAB_FAIL_CLASS))
		lines = __alloc_percpu_gfp(nr_node_ids * sizeof(*line), SMP_CACHE_BYTES,
					   (gfp & GFP_META) | __GFP_NOWARN);
	for (nid = 0; lines && nid < nr_node_ids; nid++) {
		for_each_possible_cpu(cpu) {
			line = per_cpu_ptr(lines + nid, cpu);
			line->node = &class->nodes[nid];
			line->size = class->size;
		}
	}
	return lines;
}

/*
 * Whether a class that has no lines yet shall have some. Where there are many CPUs and nodes, they
 * cost more than all else that a class has: it gets them after as many allocations as that are
 * lines, or where it has to be sampled, or to serve blockslab_alloc_nolock(). Without them, as in
 * atomic context, it works on its blocks alone.
 */
static bool lines_due(const struct blockslab_class *class, unsigned long allocs)
{
	if (class->noted || READ_ONCE(class->cpu) != no_class)
		return false;
	/* blockslab_alloc_nolock() marks it so */
	if (class->index < NR_SIZES && READ_ONCE(class->heap->asked[class->index]) == U8_MAX)
		return true;
	return lines_bytes() <= LINES_AT_ONCE || READ_ONCE(class->heap->track) > 1 ||
	       (class->size && allocs >= lines_bytes() / sizeof(struct blockslab_cpu));
}

/* Without lines. */
static struct blockslab_class *class_alloc(struct blockslab_heap *heap, unsigned int size,
					   gfp_t kind, gfp_t gfp)
{
	struct blockslab_class *class;
	int nid;

	class = meta_cache_alloc(BLOCKSLAB_FAIL_CLASS, class_cache, gfp | __GFP_ZERO,
				 NUMA_NO_NODE);
	if (!class)
		return NULL;
	class->heap = heap;
	class->size = size;
	class->kind = kind;
	class->noted = heap->flags & EXACT_FLAGS || class_coarse(class);
	class->key = class->noted || !size ? KEY_SLOW : BLOCKSLAB_KEY_FAST;
	for (nid = 0; nid < nr_node_ids; nid++)
		node_init(&class->nodes[nid], class);
	class->cpu = no_class;
	return class;
}

/* The fast path finds a class here, where nothing is to be done at every alloc. */
static void class_publish(struct blockslab_class *class)
{
	struct blockslab_cpu __percpu *cpu = READ_ONCE(class->cpu);
	struct blockslab_heap *heap = class->heap;
	int i;

	if (!heap_caches(heap) || !class->size || heap->flags & BLOCKSLAB_ZERO ||
	    READ_ONCE(class->rests) || cpu == no_class)
		return;
	for (i = class->index; i >= 0 && heap_index(heap, index_size[i]) == class->index; i--)
		smp_store_release(&heap->cpu[i], cpu);	/* initialized */
}

/* Where its fast path may go. */
static void cache_publish(struct blockslab_cache *cache)
{
	bool open = heap_caches(cache->heap) && cache->class &&
		    !(cache->heap->flags & BLOCKSLAB_ZERO);

	WRITE_ONCE(cache->cpu, open ? cache->class->cpu : no_class);
}

static unsigned int coarse_index(const struct blockslab_heap *heap, unsigned int index)
{
	return heap_index(heap, max_t(size_t, roundup_pow_of_two(index_size[index]), COARSE_LEAST));
}

static struct blockslab_class *class_find(struct blockslab_heap *heap, gfp_t kind,
					  unsigned int index)
{
	struct blockslab_class *class = NULL;

	if (likely(!heap->cache))	/* which has none by size */
		class = smp_load_acquire(&heap->class[index]);	/* class_add() */
	while (class && class->kind != kind)
		class = class->next;
	return class;
}

/*
 * The class after a class, without those of tracked slots, and coarse ones whose size has a class
 * of its own, too; NULL at both ends. None is removed. class_node() has their nodes.
 */
static struct blockslab_class *class_after(struct blockslab_heap *heap,
					   struct blockslab_class *class)
{
	do {
		class = class_in_list(heap, class ? &class->list : &heap->classes);
	} while (class && (class->of || (class_coarse(class) &&
					 class_find(heap, 0, class->index))));
	return class;
}

/*
 * The coarse class for the size of a class: a power of two, as kmalloc() has them. Its slots are
 * not cached, and blocks tell what may be used of each: so that, and which sizes its free may name,
 * are as of that class. NULL until it is used.
 */
static struct blockslab_class *coarse_find(struct blockslab_heap *heap, gfp_t kind,
					   unsigned int index)
{
	if (kind || index >= NR_SIZES || heap->flags & EXACT_FLAGS)
		return NULL;
	return class_find(heap, KIND_COARSE, coarse_index(heap, index));
}

/* Adds a class to its heap; false where somebody else was quicker. */
static bool class_add(struct blockslab_class *class)
{
	struct blockslab_class *of = class->of, **place;
	struct blockslab_heap *heap = class->heap;
	bool own = !class->kind && !of, added;
	unsigned long irq;

	place = of ? &of->tracked : &heap->class[class->index];
	spin_lock_irqsave(&heap->lock, irq);
	added = !(of ? of->tracked : class_find(heap, class->kind, class->index));
	if (added) {
		list_add_tail_rcu(&class->list, &heap->classes);
		class->next = *place;
		smp_store_release(place, class);	/* initialized */
		blockslab_add(heap->own_classes, own && class->index < NR_SIZES);
		atomic_long_add(class_bytes(), &heap->fixed);
		if (class->cpu != no_class)
			atomic_long_add(lines_bytes(), &heap->fixed);
		/* Or by who gives it lines; under the lock, as heap_close() takes it back. */
		if (own)
			class_publish(class);
	}
	spin_unlock_irqrestore(&heap->lock, irq);
	return added;
}

static void class_give_lines(struct blockslab_class *class)
{
	struct blockslab_cpu __percpu *lines;
	unsigned long irq;

	lines = lines_get(class, GFP_KERNEL);
	if (!lines)
		return;
	atomic_long_add(lines_bytes(), &class->heap->fixed);
	spin_lock_irqsave(&class->heap->lock, irq);	/* class_rest() */
	smp_store_release(&class->cpu, lines);	/* initialized */
	if (!class->kind)
		class_publish(class);
	spin_unlock_irqrestore(&class->heap->lock, irq);
}

/* Lines for classes that are to have some. A heap does not end meanwhile: heap_end(). */
static void lines_give(struct work_struct *work)
{
	struct blockslab_heap *heap;
	struct blockslab_node *node;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		mutex_lock(&heap->control);
		for (node = node_after(heap, NULL); node && heap_caches(heap);
		     node = node_after(heap, node))
			if (lines_due(node->class, READ_ONCE(node->allocs)))
				class_give_lines(node->class);
		mutex_unlock(&heap->control);
	}
}

static DECLARE_DELAYED_WORK(lines_work, lines_give);

/* Not at once: it may be asked for at each allocation, for as long as there is no memory. */
static void lines_ask(void)
{
	queue_delayed_work(workqueue, &lines_work, HZ / 20);
}

/*
 * Per-CPU memory has a mutex, under which others wait for file systems: who must not wait for
 * these, or is what they wait for, does without at first.
 */
static gfp_t lines_gfp(gfp_t gfp)
{
	bool waits = (current_gfp_context(gfp) & GFP_KERNEL) == GFP_KERNEL &&
		     !(current->flags & PF_MEMALLOC);

	return waits ? gfp : gfp & ~__GFP_DIRECT_RECLAIM;
}

static struct blockslab_class *class_get(struct blockslab_heap *heap, gfp_t kind,
					 unsigned int index, gfp_t gfp)
{
	struct blockslab_class *class = class_find(heap, kind, index);

	if (likely(class))
		return class;
	if (heap->reserves)	/* another class has that, see more_slots() */
		gfp |= __GFP_NORETRY | __GFP_NOWARN;
	class = class_alloc(heap, index == INDEX_LARGE ? 0 : index_size[index], kind, gfp);
	if (class) {
		class->index = index;
		if (lines_due(class, 0))
			class->cpu = lines_get(class, lines_gfp(gfp)) ?: no_class;
		if (class_add(class)) {
			if (lines_due(class, 0))
				lines_ask();
			return class;
		}
		class_free(class);
	}
	return class_find(heap, kind, index);
}

/*
 * What a slot in use counts for, as requests do. The largest take two pages at least, of a coarse
 * class or their own, where each that is rare would have a magazine with one in it: of the 4.2 MiB
 * of a btrfs, 40 KiB.
 */
static unsigned int coarse_asks(size_t size)
{
	return size <= SZ_4K ? max_t(size_t, size / COARSE_LEAST, 1) : SZ_1K / COARSE_LEAST;
}

/* So many coarse slots more of a size are in use. */
static void count_shared(struct blockslab_heap *heap, size_t size, long nr)
{
	unsigned int index = heap_index(heap, size);
	unsigned long irq;
	long shared;

	spin_lock_irqsave(&heap->lock, irq);
	shared = heap->shared[index] + nr * (long)coarse_asks(index_size[index]);
	WRITE_ONCE(heap->shared[index], clamp(shared, 0L, (long)U16_MAX));
	spin_unlock_irqrestore(&heap->lock, irq);
}

/* Sizes of a heap may share coarse classes. */
static bool heap_shares(struct blockslab_heap *heap)
{
	return heap != &blockslab_shared && heap_caches(heap) && !READ_ONCE(heap->track) &&
	       !heap->reserves;
}

/*
 * Whether a size of a heap that has no class yet is to get one for @nr requests more. A module with
 * many sizes has few slots of most, and a class has a block at least, lines and magazines. So all
 * but a heap's first sizes share coarse classes until their slots would fill a page, or they are
 * asked for in earnest: 61 slots of 56 sizes held 230 KB, and a trace of kmallocs .755 of SLUB's,
 * not .736, where 16 requests were enough for any. Requests are half forgotten at each look of the
 * trim: what is asked for now and then has no need of a class. What has to be exact is from the
 * start: a reserve, tracking, debug heaps; and the shared heap has all sizes in the end. A class
 * that @rests has to be earned anew, by requests enough for it not to rest again.
 */
static bool size_earned(struct blockslab_heap *heap, unsigned int index, size_t nr, bool rests)
{
	size_t shared = READ_ONCE(heap->shared[index]) + nr * coarse_asks(index_size[index]);
	size_t asked = READ_ONCE(heap->asked[index]) + nr;

	if (READ_ONCE(heap->own_classes) < OWN_CLASSES || !heap_shares(heap) ||
	    (rests ? asked > 2 * REST_ALLOCS : asked + shared > COARSE_ASKS))
		return true;
	WRITE_ONCE(heap->asked[index], asked);
	return false;
}

/* From now on its slots are not cached, and its size may share; or it is as before. */
static void class_rest(struct blockslab_class *class, bool rests)
{
	struct blockslab_heap *heap = class->heap;
	unsigned long irq;
	int i;

	spin_lock_irqsave(&heap->lock, irq);
	WRITE_ONCE(class->rests, rests);
	class_publish(class);
	for (i = 0; rests && i < NR_SIZES; i++)
		if (READ_ONCE(heap->cpu[i]) == READ_ONCE(class->cpu))
			WRITE_ONCE(heap->cpu[i], no_class);
	spin_unlock_irqrestore(&heap->lock, irq);
}

/*
 * Of more than the first few, classes rest that are hardly used: each has slots that are cached on
 * every CPU, and half a block that is free. So does none of the shared heap, and none that
 * blockslab_alloc_nolock() has marked. 400 slots of up to 2 KiB, replaced at random 2,500 times a
 * second, held 1.9 times what SLUB's did, and hold as much.
 */
static void classes_rest(struct blockslab_heap *heap)
{
	struct blockslab_class *class = NULL;
	unsigned long allocs;
	int nid;

	if (READ_ONCE(heap->own_classes) <= OWN_CLASSES || heap->cache || !heap_shares(heap))
		return;
	while ((class = class_in_list(heap, class ? &class->list : &heap->classes))) {
		if (class->kind || class->of || class->index >= NR_SIZES ||
		    READ_ONCE(class->rests) || READ_ONCE(heap->asked[class->index]) == U8_MAX)
			continue;
		for (nid = 0, allocs = 0; nid < nr_node_ids; nid++)
			allocs += node_allocs(&class->nodes[nid]);
		cond_resched();
		class->slow = allocs < REST_ALLOCS ? class->slow + 1 : 0;
		if (class->slow < TRIM_QUIET)
			continue;
		class->slow = 0;
		class_rest(class, true);
	}
}

static void heap_look(struct work_struct *work)
{
	classes_rest(container_of(work, struct blockslab_heap, trim.work));
	heap_trim_work(work);
}

/*
 * The class that has the tracked slots of a class; NULL where there is no memory for it. They have
 * blocks of their own, which have notes, and a key that leads every free to the slow path: so what
 * is not tracked pays nothing.
 */
static struct blockslab_class *tracked_class(struct blockslab_class *of, gfp_t gfp)
{
	struct blockslab_class *class = smp_load_acquire(&of->tracked);		/* class_add() */
	unsigned int align;

	if (likely(class))
		return class;
	class = class_alloc(of->heap, of->size, of->kind, gfp);
	if (!class)
		return READ_ONCE(of->tracked);
	class->of = of;
	/* Slots as aligned as those of the class, with zones around them. */
	align = min_t(unsigned int, of->size & -of->size, PAGE_SIZE);
	class->lead = ALIGN(WATCH_ZONE, align);
	class->size = ALIGN(of->size + 2 * WATCH_ZONE, align);
	class->asked = of->asked;
	class->canary = of->canary;
	class->index = of->index;
	class->key = KEY_SLOW;
	class->noted = true;
	if (class_add(class))
		return class;
	class_free(class);
	return READ_ONCE(of->tracked);
}

/*
 * The nodes of a class, then of its tracked slots, then of the coarse class of the same size, one
 * by one; NULL at the end.
 */
static struct blockslab_node *class_node(struct blockslab_class *class, unsigned int i)
{
	struct blockslab_class *tracked = smp_load_acquire(&class->tracked);	/* class_add() */
	struct blockslab_class *coarse = class->kind ? NULL :
					 class_find(class->heap, KIND_COARSE, class->index);
	struct blockslab_class *parts[] = { class, tracked ?: coarse, tracked ? coarse : NULL };

	if (i >= ARRAY_SIZE(parts) * nr_node_ids || !parts[i / nr_node_ids])
		return NULL;
	return &parts[i / nr_node_ids]->nodes[i % nr_node_ids];
}

/* One that there is for larger slots than those of @index, as aligned as they are; or NULL. */
static struct blockslab_class *class_larger(struct blockslab_heap *heap, gfp_t kind,
					    unsigned int index)
{
	unsigned int align = index_size[index] & -index_size[index];
	struct blockslab_class *class = NULL;

	while (!class && ++index < NR_SIZES)
		if (!(index_size[index] % align))
			class = class_find(heap, kind, index);
	return class;
}

/*
 * What a class that rests is for all the same: more than is little, what this CPU has cached, and
 * its free slots, where a coarse block might not be had. Else it drains.
 */
static bool class_serves(struct blockslab_class *class, struct blockslab_class *coarse, gfp_t gfp)
{
	const struct blockslab_heap *heap = class->heap;
	struct blockslab_node *node = &class->nodes[home_node()];
	unsigned long shared = READ_ONCE(heap->shared[class->index]);

	return READ_ONCE(node->pages) > REST_BYTES ||
	       shared * class->size > REST_BYTES * coarse_asks(class->size) ||
	       READ_ONCE(raw_cpu_ptr(node_cpu(node))->tally) & BLOCKSLAB_COUNT ||
	       (READ_ONCE(node->nr_free) &&
		(READ_ONCE(heap->limit) || !gfpflags_allow_blocking(gfp)) &&
		!(coarse && READ_ONCE(coarse->nodes[home_node()].nr_free)));
}

/* For @nr slots of a size: its class, a coarse one, or a larger one without memory for its own. */
static struct blockslab_class *class_for(struct blockslab_heap *heap, size_t size, size_t nr,
					 gfp_t gfp)
{
	gfp_t kind = gfp & (__GFP_DMA | __GFP_DMA32 | __GFP_ACCOUNT) & ~heap->kind;
	unsigned int index = heap_index(heap, size);
	struct blockslab_class *class = class_find(heap, kind, index), *coarse = NULL;

	if (likely(class && !READ_ONCE(class->rests)))
		return class;
	if (!kind && !size_earned(heap, index, nr, class)) {
		coarse = coarse_find(heap, kind, index);
		if (class && class_serves(class, coarse, gfp))
			return class;
		coarse = class_get(heap, KIND_COARSE, coarse_index(heap, index), gfp);
	}
	if (coarse)
		return coarse;
	if (class)
		class_rest(class, false);
	return class ?: class_get(heap, kind, index, gfp) ?: coarse_find(heap, kind, index) ?:
	       class_larger(heap, kind, index);
}
