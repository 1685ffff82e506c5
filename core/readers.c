// SPDX-License-Identifier: GPL-2.0
/*
 * Readers: the files blocks, sparse and callers, which show what a heap has slot by slot
 *
 * They stop nothing: what they show is of the moment when it was looked at. Blocks are read one at
 * a time, under node->lock for the copy of one bitmap. A block that is there throughout is shown
 * once; one that goes meanwhile may be missed, and one that comes is not shown, so that reading
 * ends whatever the load.
 */

#define VERSION_LINE	"# blockslab version 2\n"
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
	u64 age;
	unsigned int nr_holders;
	struct holder holders[HOLDERS_READ];
	struct place place;
	loff_t at;			/* of the block shown, 0 for the head line */
	unsigned int nr_slots, nr_used, order;
	bool done;
	unsigned long map[BITS_TO_LONGS(BLOCK_SLOTS_MAX + 1)];
	char text[BLOCK_SLOTS_MAX];	/* the same as it is shown */
};

/* One more slot that a stack allocated; who has most stands first. */
static void add_holder(struct blocks_reader *reader, depot_stack_handle_t stack)
{
	struct holder *holder = reader->holders, *end = holder + reader->nr_holders;

	while (holder < end && holder->stack != stack)
		holder++;
	if (holder == end) {
		*holder = (struct holder){ .stack = stack };
		reader->nr_holders++;
	}
	holder->slots++;
	for (; holder > reader->holders && holder[-1].slots < holder->slots; holder--)
		swap(holder[-1], holder[0]);
}

/* The age of a block's oldest tracked slot, else its own; and the stacks of tracked slots. */
static void read_holders(struct blocks_reader *reader, const struct blockslab_block *block)
{
	unsigned int number, left = HOLDERS_READ;
	depot_stack_handle_t stack;
	u32 oldest = 0, when;

	reader->nr_holders = 0;
	for_each_clear_bit(number, reader->map, nr_notes(block)) {
		const struct blockslab_note *note = &block->notes[number];

		if (!left--)
			break;
		if (!smp_load_acquire(&note->period))		/* note_alloc() */
			continue;
		when = READ_ONCE(note->when);
		if (!oldest || (s32)(when - oldest) < 0)
			oldest = when;
		stack = READ_ONCE(note->got);
		if (stack)
			add_holder(reader, stack);
	}
	reader->age = oldest ? note_age(oldest) : block_age(block);
}

/* Which slots are free in the block, which on a CPU, in a depot or kept, and which in use. */
static void read_cached(struct blocks_reader *reader, struct blockslab_block *block)
{
	const struct blockslab_class *class = block->node->class;
	unsigned int number;
	unsigned long word;
	bool cached;
	void *slot;

	reader->nr_used = 0;
	memset(reader->text, '.', block->nr_slots);
	kasan_disable_current();	/* free slots are looked at, too */
	for_each_clear_bit(number, reader->map, block->nr_slots) {
		slot = slot_address(block, class->size, number);
		cached = slot_waits(block, number) ||
			 (class->key != KEY_SLOW &&
			  !get_kernel_nofault(word, blockslab_word(slot, class->canary)) &&
			  word == blockslab_canary(slot));
		reader->text[number] = cached ? 'c' : '#';
		reader->nr_used += !cached;
	}
	kasan_enable_current();
}

/* Copies the next block into the reader; false at the end of its node. */
static bool read_block(struct blocks_reader *reader)
{
	struct blockslab_node *node = reader->place.node;
	struct blockslab_block *block;

	rcu_read_lock();	/* its descriptor stays, be it that its pages go */
	spin_lock_irq(&node->lock);
	block = place_next(&reader->place);
	if (block)
		bitmap_copy(reader->map, block->map, block->nr_slots);
	spin_unlock_irq(&node->lock);
	if (block) {
		reader->nr_slots = block->nr_slots;
		reader->order = block_order(block);
		read_cached(reader, block);
		read_holders(reader, block);
	}
	rcu_read_unlock();
	return block;
}

static bool read_next_block(struct blocks_reader *reader)
{
	struct blockslab_node *node = reader->place.node;

	if (reader->done)
		return false;
	do {
		while (!node || !read_block(reader)) {
			place_end(&reader->place);
			node = node_after(reader->heap, node);
			if (!node) {
				reader->done = true;
				return false;
			}
			place_start(&reader->place, node);
		}
		cond_resched();
	} while (reader->sparse &&
		 (!reader->nr_used || reader->nr_used * 4 >= reader->nr_slots));
	reader->at++;
	return true;
}

static void *blocks_start(struct seq_file *m, loff_t *pos)
{
	struct blocks_reader *reader = m->private;

	if (*pos < reader->at || !*pos) {
		place_end(&reader->place);
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
	unsigned long *entries = NULL;
	unsigned int nr = stack_entries(stack, &entries), i;
	char text[KSYM_SYMBOL_LEN];
	const char *name, *space;

	for (i = 0; i < nr; i++) {
		name = frame_name(entries[i], text);
		space = strchrnul(name, ' ');
		seq_printf(m, "%s%.*s%s", i ? ";" : "", (int)(space - name), name,
			   *space ? space + 1 : "");
	}
	if (!nr)
		seq_putc(m, '-');
}

static void show_holders(struct seq_file *m, struct blocks_reader *reader)
{
	unsigned int i;

	seq_printf(m, "%llu ", reader->age);
	if (!reader->nr_holders)
		seq_putc(m, '-');
	for (i = 0; i < min_t(unsigned int, reader->nr_holders, HOLDERS_SHOWN); i++) {
		if (i)
			seq_putc(m, ',');
		show_frames(m, reader->holders[i].stack);
	}
}

static int blocks_show(struct seq_file *m, void *v)
{
	struct blocks_reader *reader = m->private;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, VERSION_LINE "# class node order used/slots ");
		seq_puts(m, reader->sparse ? "age_ms holders\n" : "map\n");
		return 0;
	}
	seq_printf(m, "%u %d %u %u/%u ", object_size(reader->place.node->class),
		   node_id(reader->place.node), reader->order, reader->nr_used,
		   reader->nr_slots);
	if (reader->sparse)
		show_holders(m, reader);
	else
		seq_write(m, reader->text, reader->nr_slots);
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
	struct blockslab_heap *heap = inode->i_private;
	struct blocks_reader *reader;

	if (!refcount_inc_not_zero(&heap->refs))
		return -ENODEV;
	reader = __seq_open_private(file, &blocks_sops, sizeof(*reader));
	if (!reader) {
		heap_put(heap);
		return -ENOMEM;
	}
	reader->heap = heap;
	reader->sparse = !strcmp(file_dentry(file)->d_name.name, "sparse");
	return 0;
}

static int blocks_release(struct inode *inode, struct file *file)
{
	struct blocks_reader *reader = ((struct seq_file *)file->private_data)->private;

	place_end(&reader->place);
	heap_put(reader->heap);
	return seq_release_private(inode, file);
}

static const struct file_operations blocks_fops = {
	.owner = THIS_MODULE,
	.open = blocks_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = blocks_release,
};

static void caller_show(struct seq_file *m, const struct callers *callers,
			const struct caller *caller)
{
	static const unsigned int turns[] = { 2, MINUTES, 10 * (TENS - 1) + 1 };
	unsigned int i;

	seq_printf(m, "%llu %llu %llu %llu %*pbl ", (caller->slots + 128) >> 8,
		   (caller->requested + 128) >> 8, (caller->held + 128) >> 8, caller->oldest,
		   nr_cpu_ids, caller->cpus);
	show_frames(m, caller->stack);
	for (i = 0; i < ARRAY_SIZE(turns); i++)
		if (callers->turns >= turns[i])
			seq_printf(m, " %llu %llu", (caller->before[i].slots + 128) >> 8,
				   (caller->before[i].bytes + 128) >> 8);
		else
			seq_puts(m, " - -");
	seq_putc(m, '\n');
}

/* The file callers is counted when it is opened. */
static int callers_show(struct seq_file *m, void *unused)
{
	const struct callers *callers = m->private;
	unsigned int i;

	seq_puts(m, VERSION_LINE "# slots requested held oldest_ms cpus stack");
	seq_puts(m, " slots_1m held_1m slots_10m held_10m slots_1h held_1h\n");
	for (i = 0; i < callers->nr; i++)
		caller_show(m, callers, callers->sorted[i]);
	return 0;
}

static int callers_open(struct inode *inode, struct file *file)
{
	struct callers *callers = callers_get(inode->i_private);
	int error;

	if (IS_ERR(callers))
		return PTR_ERR(callers);
	callers_before(inode->i_private, callers);
	error = single_open(file, callers_show, callers);
	if (error)
		callers_free(callers);
	return error;
}

static int callers_release(struct inode *inode, struct file *file)
{
	callers_free(((struct seq_file *)file->private_data)->private);
	return single_release(inode, file);
}

static const struct file_operations callers_fops = {
	.owner = THIS_MODULE,
	.open = callers_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = callers_release,
};
