// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs: /sys/kernel/debug/blockslab
 *
 * Files that are only read have mode 0400 and none of the operations that a locked down kernel
 * refuses. A heap's directory comes when somebody looks for one, as its files cost more memory, and
 * more time, than all else that an empty heap has. It lives as long as the heap, be it that it was
 * destroyed and has slots. Locks: heap->control, taken by what acts; heap_names for directories.
 */

static void heap_line(struct seq_file *m, struct blockslab_heap *heap)
{
	unsigned long slots = 0, blocks = 0, requested = 0, given = 0, waste = 0;
	struct blockslab_class *class;
	const char *state = "live";
	struct sums sums;

	for (class = class_after(heap, NULL); class; class = class_after(heap, class)) {
		class_sums(&sums, class);
		slots += sums_allocated(&sums);
		blocks += sums.full + sums.partial + sums.retained;
		requested += sums.requested;
		given += sums.given;
	}
	if (given > requested)
		waste = div64_u64((u64)(given - requested) * 1000, given);
	if (heap_destroyed(heap))
		state = heap_forgotten(heap) ? "forgotten" : "destroyed";
	seq_printf(m, "%s %zu %zu %zu %lu %lu %lu %lu.%lu %s %s\n", heap->name,
		   READ_ONCE(heap->limit), READ_ONCE(heap->reserved), held_bytes(heap), requested,
		   slots, blocks, waste / 10, waste % 10, state, heap->maker);
}

static int heaps_show(struct seq_file *m, void *unused)
{
	struct blockslab_heap *heap;

	seq_puts(m, VERSION_LINE "# name limit reserve held requested slots blocks waste state module\n");
	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		if (!READ_ONCE(heap->leaving))
			heap_line(m, heap);
		cond_resched();
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(heaps);

static void class_line(struct seq_file *m, struct blockslab_class *class)
{
	struct blockslab_node *node = &class->nodes[home_node()];
	unsigned int order = class->size ? new_block_order(node) : 0;
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

	seq_puts(m, VERSION_LINE "# size slots_per_block order full partial retained allocated cached free allocs frees fails requested held\n");
	for (class = class_after(heap, NULL); class; class = class_after(heap, class))
		class_line(m, class);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(classes);

/* A limit below what is held even after a trim is refused: the limit is never passed. */
static int limit_set(struct blockslab_heap *heap, u64 value)
{
	size_t limit = READ_ONCE(heap->limit);

	if (value && value < PAGE_SIZE)
		return -EINVAL;
	if (value && value < held_bytes(heap))
		heap_trim(heap, true);
	if (value && value < held_bytes(heap))
		return -EBUSY;
	WRITE_ONCE(heap->limit, value);
	smp_mb();	/* heap_charge_bytes() adds, and then looks at the limit */
	if (!value || held_bytes(heap) <= value)
		return 0;
	WRITE_ONCE(heap->limit, limit);
	return -EBUSY;
}

static int shrink_set(struct blockslab_heap *heap, u64 value)
{
	WRITE_ONCE(heap->shrunk, heap_trim(heap, true));
	return 0;
}

static int validate_set(struct blockslab_heap *heap, u64 value)
{
	WRITE_ONCE(heap->validated, heap_validate(heap));
	return 0;
}

/* A file that is written to act, and read for the current value or last result */
struct control {
	const char *name;
	size_t at;		/* what is read of the heap; 0: whether it is forgotten */
	int (*set)(struct blockslab_heap *heap, u64 value);
	u64 least, most;	/* value that it takes */
	bool locked;		/* under heap->control */
	bool live;		/* not once it is destroyed */
};

#define AT(member)	offsetof(struct blockslab_heap, member)

static const struct control controls[] = {
	{ "limit", AT(limit), limit_set, 0, LONG_MAX, .locked = true, .live = true },
	{ "track", AT(track), heap_track, 0, PERIOD_MAX, .locked = true, .live = true },
	{ "shrink", AT(shrunk), shrink_set, 1, 1, .locked = true, .live = true },
	{ "validate", AT(validated), validate_set, 1, 1, .locked = true },
	{ "forget", 0, heap_forget, 1, 1 },
};

static const struct control *control_of(struct file *file)
{
	const struct control *control = controls;

	while (strcmp(file_dentry(file)->d_name.name, control->name))
		control++;
	return control;
}

static ssize_t control_read(struct file *file, char __user *to, size_t nr, loff_t *pos)
{
	struct blockslab_heap *heap = file_inode(file)->i_private;
	size_t at = control_of(file)->at;
	char text[24];

	sprintf(text, "%lu\n", at ? READ_ONCE(*(unsigned long *)((void *)heap + at)) :
				    heap == &blockslab_shared ? READ_ONCE(shared_forgotten) :
								heap_forgotten(heap));
	return simple_read_from_buffer(to, nr, pos, text, strlen(text));
}

static ssize_t control_write(struct file *file, const char __user *from, size_t nr, loff_t *pos)
{
	struct blockslab_heap *heap = file_inode(file)->i_private;
	const struct control *control = control_of(file);
	unsigned long value;
	char text[24] = "";
	int error;

	if (nr >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, nr))
		return -EFAULT;
	if (number_parse(strim(text), control->least, control->most, &value))
		return -EINVAL;
	/* It must not go under the file. */
	if (!refcount_inc_not_zero(&heap->refs))
		return -ENODEV;
	error = control->locked ? heap_control(heap, control->live, control->set, value) :
				  control->set(heap, value);
	heap_put(heap);
	return error ?: nr;
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = control_read,
	.write = control_write,
	.llseek = default_llseek,
};

static bool heap_file(struct blockslab_heap *heap, const char *name, umode_t mode,
		      const struct file_operations *fops)
{
	return !IS_ERR(debugfs_create_file(name, mode, heap->dir, heap, fops));
}

/* Without debugfs the heap works, unseen. False where there was no memory for all of it. */
static bool heap_show(struct blockslab_heap *heap)
{
	unsigned int i;
	bool shown;

	heap->dir = debugfs_create_dir(heap->name, debugfs_heaps);
	shown = heap_file(heap, "classes", 0400, &classes_fops) &&
		heap_file(heap, "blocks", 0400, &blocks_fops) &&
		heap_file(heap, "sparse", 0400, &blocks_fops) &&
		heap_file(heap, "callers", 0400, &callers_fops);
	for (i = 0; shown && i < ARRAY_SIZE(controls); i++)
		shown = heap_file(heap, controls[i].name, 0600, &control_fops);
	if (!shown)
		heap_unshow(heap);
	return shown;
}

static struct task_struct *heaps_shower;	/* who makes them now */

static void heaps_show_new(struct work_struct *unused)
{
	struct blockslab_heap *heap;
	bool unseen = false;

	mutex_lock(&heap_names);
	WRITE_ONCE(heaps_shower, current);
	for (heap = next_heap(NULL); heap; heap = next_heap(heap))
		if (!heap->dir && !heap->leaving)
			unseen |= !heap_show(heap);
	WRITE_ONCE(heaps_shower, NULL);
	WRITE_ONCE(heaps_unseen, unseen);
	mutex_unlock(&heap_names);
}

/* Not by who looks: what he may have of memory is not for what all see, and he may be killed. */
static DECLARE_WORK(heaps_work, heaps_show_new);

/*
 * Before anything is looked up in the directory heap, or read of it, it is asked whether that may
 * be, with no lock held; but for who makes something there, or is asked for writing.
 */
static int heaps_permission(struct mnt_idmap *idmap, struct inode *inode, int mask)
{
	if (READ_ONCE(heaps_unseen) && !(mask & MAY_WRITE) && READ_ONCE(heaps_shower) != current) {
		if (mask & MAY_NOT_BLOCK)
			return -ECHILD;
		if (try_module_get(THIS_MODULE)) {
			queue_work(workqueue, &heaps_work);
			flush_work(&heaps_work);
			module_put(THIS_MODULE);
		}
	}
	return generic_permission(idmap, inode, mask);
}

/* As debugfs's, but for that question. */
static const struct inode_operations heaps_dir_ops = {
	.lookup = simple_lookup,
	.permission = heaps_permission,
};

static const struct inode_operations *usual_dir_ops;

static void debugfs_init(void)
{
	struct inode *inode;

	debugfs_dir = debugfs_create_dir("blockslab", NULL);
	debugfs_create_file("heaps", 0400, debugfs_dir, NULL, &heaps_fops);
	debugfs_heaps = debugfs_create_dir("heap", debugfs_dir);
	fail_debugfs(debugfs_dir);
	if (IS_ERR_OR_NULL(debugfs_heaps))
		return;
	inode = d_inode(debugfs_heaps);
	usual_dir_ops = inode->i_op;
	spin_lock(&inode->i_lock);
	WRITE_ONCE(inode->i_op, &heaps_dir_ops);
	inode->i_opflags &= ~IOP_FASTPERM;	/* somebody was quick, and found no such question */
	spin_unlock(&inode->i_lock);
}

/* Nobody sleeps in heaps_permission(), which holds the module then; some may be at its edges. */
static void debugfs_exit(void)
{
	if (!IS_ERR_OR_NULL(debugfs_heaps)) {
		WRITE_ONCE(d_inode(debugfs_heaps)->i_op, usual_dir_ops);
		synchronize_rcu_tasks();
	}
	debugfs_remove_recursive(debugfs_dir);
}
