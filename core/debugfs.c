// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs: /sys/kernel/debug/blockslab
 */

static void heap_line(struct seq_file *m, struct blockslab_heap *heap)
{
	unsigned long slots = 0, blocks = 0, requested = 0, given = 0, waste = 0;
	struct blockslab_class *class;
	struct sums sums;

	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list) {
		if (class->of)
			continue;
		class_sums(&sums, class);
		slots += sums_allocated(&sums);
		blocks += sums.full + sums.partial + sums.retained;
		requested += sums.requested;
		given += sums.given;
	}
	rcu_read_unlock();
	if (given > requested)
		waste = div64_u64((u64)(given - requested) * 1000, given);
	seq_printf(m, "%s %zu %zu %zu %lu %lu %lu %lu.%lu\n", heap->name,
		   READ_ONCE(heap->limit), READ_ONCE(heap->reserved), held_bytes(heap), requested,
		   slots, blocks, waste / 10, waste % 10);
}

static int heaps_show(struct seq_file *m, void *unused)
{
	struct blockslab_heap *heap;

	seq_puts(m, "# blockslab version 1\n");
	seq_puts(m, "# name limit reserve held requested slots blocks waste\n");
	for (heap = next_heap(NULL); heap; heap = next_heap(heap))
		heap_line(m, heap);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(heaps);

static void class_line(struct seq_file *m, struct blockslab_class *class)
{
	unsigned int order = class->size ? new_block_order(&class->nodes[numa_mem_id()]) : 0;
	struct sums sums;

	class_sums(&sums, class);
	seq_printf(m, "%u %lu %u %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu\n", class->size,
		   class->size ? (PAGE_SIZE << order) / class->size : 1UL, order,
		   sums.full, sums.partial, sums.retained,
		   sums_allocated(&sums), sums.cached, sums.free,
		   sums.allocs, sums.frees, sums.fails, sums.requested, sums.held);
}

static int classes_show(struct seq_file *m, void *unused)
{
	struct blockslab_heap *heap = m->private;
	struct blockslab_class *class;

	seq_puts(m, "# blockslab version 1\n");
	seq_puts(m, "# size slots_per_block order full partial retained allocated cached free allocs frees fails requested held\n");
	rcu_read_lock();
	list_for_each_entry_rcu(class, &heap->classes, list)
		if (!class->of)
			class_line(m, class);
	rcu_read_unlock();
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(classes);

/*
 * The files blocks and sparse are read a block at a time: the lock is held for the copy of one
 * descriptor's bitmap. A block that is there throughout is shown once; one that comes or goes
 * meanwhile may be missed.
 */
#define HOLDERS_READ	128	/* slots of a block that are looked at */
#define HOLDERS_SHOWN	4

/* A stack that allocated some of a block's slots. */
struct holder {
	depot_stack_handle_t stack;
	unsigned int slots;
};

struct blocks_reader {
	struct blockslab_heap *heap;
	bool sparse;			/* only blocks under a quarter full, and who holds them */
	unsigned int age;
	unsigned int nr_notes;
	depot_stack_handle_t notes[HOLDERS_READ];
	unsigned int nr_holders;
	struct holder holders[HOLDERS_READ];
	struct cursor cursor;
	loff_t at;			/* of the block shown, 0 for the head line */
	unsigned long *cached;		/* sorted addresses of the node's cached slots */
	unsigned int nr_cached;
	unsigned int nr_slots, order;
	bool done;
	void *base;
	unsigned long map[BITS_TO_LONGS(BLOCK_SLOTS_MAX + 1)];
};

static int compare_addresses(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

	return x < y ? -1 : x > y;
}

static void note_cached(struct blocks_reader *reader, unsigned int room, void **slots,
			unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr && reader->nr_cached < room; i++)
		reader->cached[reader->nr_cached++] = (unsigned long)READ_ONCE(slots[i]);
}

static void note_line(struct blocks_reader *reader, unsigned int room, struct blockslab_cpu *line)
{
	struct blockslab_magazine *magazine = loaded_magazine(line);

	if (magazine)
		note_cached(reader, room, magazine->slots,
			    min_t(unsigned int, READ_ONCE(line->tally) & BLOCKSLAB_COUNT,
				  magazine->capacity));
	magazine = smp_load_acquire(&line->spare);	/* take_in() */
	if (magazine)
		note_cached(reader, room, magazine->slots, READ_ONCE(magazine->count));
}

/* Which slots of a node are in magazines, for the slot maps. */
static void find_cached(struct blocks_reader *reader, struct blockslab_node *node)
{
	struct blockslab_magazine *magazine = NULL;
	unsigned int room, steps = 0;
	struct sums sums = {};
	int cpu;

	add_node(&sums, node);
	kvfree(reader->cached);
	room = sums.cached + 64;
	reader->nr_cached = 0;
	reader->cached = kvmalloc_array(room, sizeof(*reader->cached), GFP_KERNEL);
	if (reader->cached) {
		rcu_read_lock();
		for_each_possible_cpu(cpu)
			note_line(reader, room, node_line(node, cpu));
		while ((magazine = stack_next(&node->full, magazine, &steps)))
			note_cached(reader, room, magazine->slots, READ_ONCE(magazine->count));
		rcu_read_unlock();
		sort(reader->cached, reader->nr_cached, sizeof(*reader->cached),
		     compare_addresses, NULL);
	}
}

static bool reader_is_cached(struct blocks_reader *reader, unsigned long address)
{
	unsigned int low = 0, high = reader->nr_cached;

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (reader->cached[middle] < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < reader->nr_cached && reader->cached[low] == address;
}

/* The age of a block's oldest tracked slot, else its own; and the stacks of tracked slots. */
static void read_notes_of(struct blocks_reader *reader, struct blockslab_block *block)
{
	unsigned int number, left = HOLDERS_READ;
	u32 oldest = 0, when;

	reader->nr_notes = 0;
	for_each_clear_bit(number, block->map, nr_notes(block)) {
		const struct blockslab_note *note = &block->notes[number];

		if (!left--)
			break;
		if (!smp_load_acquire(&note->period))		/* note_alloc() */
			continue;
		when = READ_ONCE(note->when);
		if (!reader->nr_notes || (s32)(when - oldest) < 0)
			oldest = when;
		reader->notes[reader->nr_notes++] = READ_ONCE(note->got);
	}
	reader->age = reader->nr_notes ? note_age(oldest) : block_age(block);
}

static int compare_holders(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	return x->slots > y->slots ? -1 : x->slots < y->slots;
}

/* Each stack once, those with most slots first. */
static void count_holders(struct blocks_reader *reader)
{
	struct holder *holder;
	unsigned int i;

	reader->nr_holders = 0;
	for (i = 0; i < reader->nr_notes; i++) {
		if (!reader->notes[i])
			continue;
		for (holder = reader->holders; holder < reader->holders + reader->nr_holders;
		     holder++)
			if (holder->stack == reader->notes[i])
				break;
		if (holder == reader->holders + reader->nr_holders)
			reader->holders[reader->nr_holders++] =
				(struct holder){ .stack = reader->notes[i] };
		holder->slots++;
	}
	sort(reader->holders, reader->nr_holders, sizeof(*holder), compare_holders, NULL);
}

/* Copies the next block into the reader; false at the end of its node. */
static bool read_block(struct blocks_reader *reader)
{
	struct blockslab_node *node = reader->cursor.node;
	struct blockslab_block *block;
	unsigned long irq;

	spin_lock_irqsave(&node->lock, irq);
	block = cursor_next(&reader->cursor);
	if (block) {
		reader->base = block->base;
		reader->nr_slots = block->nr_slots;
		reader->order = block_order(block);
		bitmap_copy(reader->map, block->map, block->nr_slots);
		if (reader->sparse)
			read_notes_of(reader, block);
	}
	spin_unlock_irqrestore(&node->lock, irq);
	return block;
}

/* Slots of the block that are allocated. */
static unsigned int reader_used(struct blocks_reader *reader)
{
	unsigned int number, used = 0, size = reader->cursor.node->class->size;

	for_each_clear_bit(number, reader->map, reader->nr_slots)
		used += !reader_is_cached(reader, (unsigned long)reader->base + number * size);
	return used;
}

static bool reader_is_sparse(struct blocks_reader *reader)
{
	unsigned int used = reader_used(reader);

	return used && used * 4 < reader->nr_slots;
}

static bool read_next_block(struct blocks_reader *reader)
{
	struct blockslab_node *node = reader->cursor.node;

	if (reader->done)
		return false;
	do {
		while (!node || !read_block(reader)) {
			cursor_end(&reader->cursor);
			node = node_after(reader->heap, node);
			if (!node) {
				reader->done = true;
				return false;
			}
			find_cached(reader, node);
			cursor_start(&reader->cursor, node);
		}
		cond_resched();
	} while (reader->sparse && !reader_is_sparse(reader));
	count_holders(reader);
	reader->at++;
	return true;
}

static void *blocks_start(struct seq_file *m, loff_t *pos)
{
	struct blocks_reader *reader = m->private;

	if (*pos < reader->at || !*pos) {
		cursor_end(&reader->cursor);
		reader->at = 0;
		reader->done = false;
	}
	if (!*pos)
		return SEQ_START_TOKEN;
	while (reader->at < *pos)
		if (!read_next_block(reader))
			return NULL;
	return reader->done ? NULL : reader;
}

static void *blocks_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct blocks_reader *reader = m->private;

	++*pos;
	return read_next_block(reader) ? reader : NULL;
}

static void blocks_stop(struct seq_file *m, void *v)
{
}

/* Frames, innermost first, parted by semicolons; a module's name follows in brackets. */
static void show_frames(struct seq_file *m, depot_stack_handle_t stack)
{
	unsigned int nr = 0, i;
#ifdef CONFIG_STACKDEPOT
	unsigned long *entries;
	char text[KSYM_SYMBOL_LEN], *space;

	if (stack)
		nr = stack_depot_fetch(stack, &entries);
	for (i = 0; i < nr; i++) {
		sprint_symbol(text, entries[i]);
		space = strchr(text, ' ');
		if (space)
			*space = '\0';
		seq_printf(m, "%s%s%s", i ? ";" : "", text, space ? space + 1 : "");
	}
#endif
	if (!nr)
		seq_putc(m, '-');
}

static int sparse_show(struct seq_file *m, struct blocks_reader *reader)
{
	unsigned int i;

	seq_printf(m, "%u %d %u %u/%u %u ", reader->cursor.node->class->size,
		   node_id(reader->cursor.node), reader->order, reader_used(reader),
		   reader->nr_slots, reader->age);
	if (!reader->nr_holders)
		seq_putc(m, '-');
	for (i = 0; i < min_t(unsigned int, reader->nr_holders, HOLDERS_SHOWN); i++) {
		if (i)
			seq_putc(m, ',');
		show_frames(m, reader->holders[i].stack);
	}
	seq_putc(m, '\n');
	return 0;
}

static int blocks_show(struct seq_file *m, void *v)
{
	struct blocks_reader *reader = m->private;
	unsigned int number, size;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "# blockslab version 1\n# class node order used/slots ");
		seq_puts(m, reader->sparse ? "age_ms holders\n" : "map\n");
		return 0;
	}
	if (reader->sparse)
		return sparse_show(m, reader);
	size = reader->cursor.node->class->size;
	seq_printf(m, "%u %d %u %u/%u ", size, node_id(reader->cursor.node), reader->order,
		   reader_used(reader), reader->nr_slots);
	for (number = 0; number < reader->nr_slots; number++) {
		unsigned long address = (unsigned long)reader->base + number * size;

		seq_putc(m, test_bit(number, reader->map) ? '.' :
			    reader_is_cached(reader, address) ? 'c' : '#');
	}
	seq_putc(m, '\n');
	return 0;
}

static const struct seq_operations blocks_sops = {
	.start = blocks_start,
	.next = blocks_next,
	.stop = blocks_stop,
	.show = blocks_show,
};

static int blocks_open(struct inode *inode, struct file *file)
{
	struct blocks_reader *reader = kvzalloc(sizeof(*reader), GFP_KERNEL);
	int error;

	if (!reader)
		return -ENOMEM;
	reader->heap = inode->i_private;
	reader->sparse = !strcmp(file_dentry(file)->d_name.name, "sparse");
	error = seq_open(file, &blocks_sops);
	if (error) {
		kvfree(reader);
		return error;
	}
	refcount_inc(&reader->heap->refs);
	((struct seq_file *)file->private_data)->private = reader;
	return 0;
}

static int blocks_release(struct inode *inode, struct file *file)
{
	struct blocks_reader *reader = ((struct seq_file *)file->private_data)->private;

	cursor_end(&reader->cursor);
	heap_put(reader->heap);
	kvfree(reader->cached);
	kvfree(reader);
	return seq_release(inode, file);
}

static const struct file_operations blocks_fops = {
	.owner = THIS_MODULE,
	.open = blocks_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = blocks_release,
};

/* The file callers is counted when it is opened. */
static void *callers_start(struct seq_file *m, loff_t *pos)
{
	struct callers *callers = m->private;

	if (!*pos)
		return SEQ_START_TOKEN;
	return *pos <= callers->nr ? callers->sorted[*pos - 1] : NULL;
}

static void *callers_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return callers_start(m, pos);
}

static void callers_stop(struct seq_file *m, void *v)
{
}

static int callers_show(struct seq_file *m, void *v)
{
	const struct caller *caller = v;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "# blockslab version 1\n# slots requested held oldest_ms cpus stack\n");
		return 0;
	}
	seq_printf(m, "%llu %llu %llu %u %*pbl ", (caller->slots + 128) >> 8,
		   (caller->requested + 128) >> 8, (caller->held + 128) >> 8, caller->oldest,
		   nr_cpu_ids, caller->cpus);
	show_frames(m, caller->stack);
	seq_putc(m, '\n');
	return 0;
}

static const struct seq_operations callers_sops = {
	.start = callers_start,
	.next = callers_next,
	.stop = callers_stop,
	.show = callers_show,
};

static int callers_open(struct inode *inode, struct file *file)
{
	struct callers *callers = callers_get(inode->i_private);
	int error;

	if (IS_ERR(callers))
		return PTR_ERR(callers);
	error = seq_open(file, &callers_sops);
	if (error)
		callers_free(callers);
	else
		((struct seq_file *)file->private_data)->private = callers;
	return error;
}

static int callers_release(struct inode *inode, struct file *file)
{
	callers_free(((struct seq_file *)file->private_data)->private);
	return seq_release(inode, file);
}

static const struct file_operations callers_fops = {
	.owner = THIS_MODULE,
	.open = callers_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = callers_release,
};

static int limit_get(void *data, u64 *value)
{
	struct blockslab_heap *heap = data;

	*value = READ_ONCE(heap->limit);
	return 0;
}

/* A limit below what is held even after a trim is refused: the limit is never passed. */
static int limit_set(void *data, u64 value)
{
	struct blockslab_heap *heap = data;
	size_t limit = READ_ONCE(heap->limit);

	if ((value && value < PAGE_SIZE) || value > LONG_MAX)
		return -EINVAL;
	if (value && value < held_bytes(heap))
		heap_trim(heap, true);
	WRITE_ONCE(heap->limit, value);
	smp_mb();	/* heap_charge_bytes() adds, and then looks at the limit */
	if (!value || held_bytes(heap) <= value)
		return 0;
	WRITE_ONCE(heap->limit, limit);
	return -EBUSY;
}
DEFINE_DEBUGFS_ATTRIBUTE(limit_fops, limit_get, limit_set, "%llu\n");

static int shrink_get(void *data, u64 *value)
{
	*value = READ_ONCE(((struct blockslab_heap *)data)->shrunk);
	return 0;
}

static int shrink_set(void *data, u64 value)
{
	struct blockslab_heap *heap = data;

	if (value != 1)
		return -EINVAL;
	WRITE_ONCE(heap->shrunk, heap_trim(heap, true));
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(shrink_fops, shrink_get, shrink_set, "%llu\n");

static int validate_get(void *data, u64 *value)
{
	*value = READ_ONCE(((struct blockslab_heap *)data)->validated);
	return 0;
}

static int validate_set(void *data, u64 value)
{
	struct blockslab_heap *heap = data;

	if (value != 1)
		return -EINVAL;
	WRITE_ONCE(heap->validated, blockslab_validate(heap));
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(validate_fops, validate_get, validate_set, "%llu\n");

static int track_get(void *data, u64 *value)
{
	*value = READ_ONCE(((struct blockslab_heap *)data)->track);
	return 0;
}

static int track_set(void *data, u64 value)
{
	return blockslab_track(data, min_t(u64, value, SIZE_MAX));
}
DEFINE_DEBUGFS_ATTRIBUTE(track_fops, track_get, track_set, "%llu\n");

/* Without debugfs the heap works, unseen. */
static void heap_debugfs(struct blockslab_heap *heap)
{
	heap->dir = debugfs_create_dir(heap->name, debugfs_heaps);
	debugfs_create_file("classes", 0400, heap->dir, heap, &classes_fops);
	debugfs_create_file("blocks", 0400, heap->dir, heap, &blocks_fops);
	debugfs_create_file("sparse", 0400, heap->dir, heap, &blocks_fops);
	debugfs_create_file("callers", 0400, heap->dir, heap, &callers_fops);
	debugfs_create_file_unsafe("track", 0600, heap->dir, heap, &track_fops);
	debugfs_create_file_unsafe("limit", 0600, heap->dir, heap, &limit_fops);
	debugfs_create_file_unsafe("shrink", 0600, heap->dir, heap, &shrink_fops);
	debugfs_create_file_unsafe("validate", 0600, heap->dir, heap, &validate_fops);
}
