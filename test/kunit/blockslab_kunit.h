/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KUnit suites share: a heap for every case, the fault reports that blockslab made, work
 * in interrupts and on other CPUs, and the text of debugfs.
 *
 * The end of every case checks that what was allocated has come back, that no fault was reported
 * but those the case expected, and that the invariants hold. Only what modules can call is used,
 * so that a suite works built in and as a module.
 */
#ifndef _BLOCKSLAB_KUNIT_H
#define _BLOCKSLAB_KUNIT_H

#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/kmsg_dump.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/uio.h>
#include "../../blockslab.h"
#include "../../core/inject.h"
#include "../../core/trace.h"

/* Not to be had, not waited for, not complained about. */
#define GFP_TRY		(GFP_NOWAIT | __GFP_NOWARN)

/* What the sizes of small classes go by: 8 bytes, or what DMA wants between two slots. */
#define CLASS_STEP	max_t(size_t, 8, ARCH_KMALLOC_MINALIGN)

/* Small classes go by 8 bytes, and a page is small: a slot costs hardly more than was asked. */
#define FINE_CLASSES	(CLASS_STEP == 8 && PAGE_SIZE == SZ_4K)

static inline size_t due_bytes(size_t size)
{
	return FINE_CLASSES ? size : blockslab_size_roundup(size);
}

/* --- the heap of a case, and the faults reported ---------------------------------------------- */

/* What stands between the cases of a suite; they run one after another. */
static struct {
	struct blockslab_heap *heap;	/* the running case's own */
	atomic_t faults;		/* reports since the last look */
	const char *what;		/* of the last report, as are slot and size */
	const void *slot;
	size_t size;
	char mark[32];			/* a line of the log before all that is looked for */
} fixture;

static void fault_probe(void *data, const char *what, const void *slot, const char *heap,
			size_t size)
{
	fixture.what = what;
	fixture.slot = slot;
	fixture.size = size;
	atomic_inc(&fixture.faults);
}

static int suite_begin(struct kunit_suite *suite)
{
	return register_trace_blockslab_fault(fault_probe, NULL);
}

static void suite_end(struct kunit_suite *suite)
{
	unregister_trace_blockslab_fault(fault_probe, NULL);
	tracepoint_synchronize_unregister();
}

static inline struct blockslab_heap_stats stats_of(struct blockslab_heap *heap)
{
	struct blockslab_heap_stats stats;

	blockslab_heap_stats(heap, &stats);
	return stats;
}

/*
 * The case's thread stays on one CPU, so that it meets its own magazines again. The heap has the
 * flags that most clients use: none.
 */
static int case_begin(struct kunit *test)
{
	set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
	atomic_set(&fixture.faults, 0);
	fixture.mark[0] = '\0';
	fixture.heap = blockslab_heap_create("kunit", NULL);
	return PTR_ERR_OR_ZERO(fixture.heap);
}

static void case_end(struct kunit *test)
{
	blockslab_fail(0, 0, 0);
	if (IS_ERR_OR_NULL(fixture.heap))
		return;
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	KUNIT_EXPECT_EQ(test, blockslab_validate(NULL), 0);
	KUNIT_EXPECT_EQ_MSG(test, stats_of(fixture.heap).allocated, 0, "slots were left behind");
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&fixture.faults), 0, "unexpected fault: %s",
			    fixture.what);
	blockslab_heap_release(fixture.heap);
	blockslab_heap_destroy(fixture.heap);
	fixture.heap = NULL;
}

#define BLOCKSLAB_KUNIT_SUITE_WITH(subject, cases, begin, end)			\
static struct kunit_suite subject##_suite = {					\
	.name = "blockslab_" #subject,						\
	.suite_init = suite_begin,						\
	.suite_exit = suite_end,						\
	.init = begin,								\
	.exit = end,								\
	.test_cases = cases,							\
};										\
kunit_test_suite(subject##_suite);						\
MODULE_DESCRIPTION("KUnit suite blockslab_" #subject);				\
MODULE_LICENSE("GPL")

#define BLOCKSLAB_KUNIT_SUITE(subject, cases)					\
	BLOCKSLAB_KUNIT_SUITE_WITH(subject, cases, case_begin, case_end)

/* Exactly one report since the last look, of this kind and about this slot. */
static inline void expect_fault(struct kunit *test, const char *what, const void *slot)
{
	int faults = atomic_xchg(&fixture.faults, 0);

	KUNIT_EXPECT_EQ_MSG(test, faults, 1, "reports of: %s", what);
	if (!faults)
		return;
	KUNIT_EXPECT_STREQ(test, fixture.what, what);
	KUNIT_EXPECT_PTR_EQ(test, fixture.slot, slot);
}

static inline struct blockslab_heap *make_heap(struct kunit *test, const char *name,
					       unsigned long flags, size_t limit, size_t reserve)
{
	struct blockslab_heap_attrs attrs = { .flags = flags, .limit = limit, .reserve = reserve };
	struct blockslab_heap *heap = blockslab_heap_create(name, &attrs);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, heap);
	return heap;
}

/* The end of a heap that must be sound and empty. */
static inline void end_heap(struct kunit *test, struct blockslab_heap *heap)
{
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	KUNIT_EXPECT_EQ_MSG(test, stats_of(heap).allocated, 0, "slots were left behind");
	blockslab_heap_destroy(heap);
}

/*
 * Where all new heaps are sampled, by the module's parameter: not this one, as tracked slots are
 * kept from reuse, are as large as was asked for, and lie in blocks of their own.
 */
static inline void sample_nothing(struct kunit *test, struct blockslab_heap *heap)
{
	KUNIT_ASSERT_EQ(test, blockslab_track(heap, 0), 0);
}

/* --- allocating, with nothing that the compiler could know about the result ------------------- */

static __always_inline void *try_alloc(struct blockslab_heap *heap, size_t size, gfp_t gfp)
{
	void *slot = blockslab_alloc(heap, size, gfp);

	OPTIMIZER_HIDE_VAR(slot);
	return slot;
}

static inline void *must_alloc(struct kunit *test, struct blockslab_heap *heap, size_t size)
{
	void *slot = try_alloc(heap, size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, slot);
	return slot;
}

/* Gone at the end of the case. */
static inline void **slot_array(struct kunit *test, size_t nr)
{
	void **slots = kunit_kcalloc(test, nr, sizeof(*slots), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, slots);
	return slots;
}

/* Fills an array with slots of one size. */
static inline void alloc_many(struct kunit *test, struct blockslab_heap *heap, size_t size,
			      void **slots, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		slots[i] = must_alloc(test, heap, size);
}

static inline void free_many(void **slots, size_t nr)
{
	while (nr--)
		blockslab_free(slots[nr]);
}

static inline bool all_bytes_are(const void *start, int byte, size_t size)
{
	return size == 0 || !memchr_inv(start, byte, size);
}

/* @wipe frees an object of a BLOCKSLAB_TYPESAFE_BY_RCU cache, of 104 bytes, and overwrites it. */
static inline void expect_wiped(struct kunit *test, struct blockslab_cache *cache,
				void (*wipe)(const void *object))
{
	u8 *secret = blockslab_cache_zalloc(cache, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, secret);
	memset(secret, 0x5a, 104);
	rcu_read_lock();	/* so that it may be looked at */
	wipe(secret);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(secret, 0, 104));
	rcu_read_unlock();
}

/* All that blockslab itself looks at in slots that are free: poison, red zones, canaries. */
static inline void use_checked_heap(struct kunit *test)
{
	const unsigned long flags = BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE;
	struct blockslab_heap *heap = make_heap(test, "checked", flags, 0, 0);

	blockslab_free(must_alloc(test, heap, 100));
	blockslab_free(must_alloc(test, heap, 100));
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	end_heap(test, heap);
}

/* For what comes back later, by RCU or by another CPU: waits up to ten seconds. */
static inline bool drains(struct blockslab_heap *heap)
{
	int tries;

	for (tries = 0; tries < 500 && stats_of(heap).allocated; tries++)
		msleep(20);
	return !stats_of(heap).allocated;
}

/* --- the kernel's log ------------------------------------------------------------------------- */

/* From here on it is looked at, if what follows is no more than it holds. */
static inline void mark_log(void)
{
	snprintf(fixture.mark, sizeof(fixture.mark), "kunit: %lld", ktime_get_ns());
	pr_info("%s\n", fixture.mark);
}

/* Calls a function with every line since the mark, or that there is, the oldest first. */
static inline void look_at_log(void (*look)(void *data, const char *line), void *data)
{
	bool since = !fixture.mark[0];
	struct kmsg_dump_iter iter;
	static char line[256];
	size_t length;

	kmsg_dump_rewind(&iter);
	while (kmsg_dump_get_line(&iter, false, line, sizeof(line) - 1, &length)) {
		line[length] = '\0';
		if (since)
			look(data, line);
		since |= !!strstr(line, fixture.mark);
	}
}

struct log_search {
	const char *text, *next;
	bool before;		/* the line before has the text */
	unsigned int found;
};

static inline void log_look(void *data, const char *line)
{
	struct log_search *search = data;
	bool has = strstr(line, search->text);

	if (!search->next)
		search->found += has;
	else if (search->before && strstr(line, search->next))
		search->found++;
	search->before = has;
}

/* How many of these lines have a text, and right behind them, unless NULL, one with the @next. */
static inline unsigned int log_count(const char *text, const char *next)
{
	struct log_search search = { .text = text, .next = next };

	look_at_log(log_look, &search);
	return search.found;
}

/* --- interrupts ------------------------------------------------------------------------------- */

struct context_call {
	void (*function)(void *data);
	void *data;
	struct irq_work irq_work;
	struct tasklet_struct tasklet;
	struct completion done;
};

static inline void context_irq_work(struct irq_work *work)
{
	struct context_call *call = container_of(work, struct context_call, irq_work);

	call->function(call->data);
}

static inline void call_in_hardirq(void (*function)(void *data), void *data)
{
	struct context_call call = { .function = function, .data = data };

	init_irq_work(&call.irq_work, context_irq_work);
	irq_work_queue(&call.irq_work);
	irq_work_sync(&call.irq_work);
}

static inline void context_tasklet(struct tasklet_struct *tasklet)
{
	struct context_call *call = container_of(tasklet, struct context_call, tasklet);

	call->function(call->data);
	complete(&call->done);
}

static inline void call_in_softirq(void (*function)(void *data), void *data)
{
	struct context_call call = { .function = function, .data = data };

	init_completion(&call.done);
	tasklet_setup(&call.tasklet, context_tasklet);
	tasklet_schedule(&call.tasklet);
	wait_for_completion(&call.done);
	tasklet_kill(&call.tasklet);
}

/* --- other CPUs ------------------------------------------------------------------------------- */

struct cpu_job {
	int (*function)(void *data, unsigned int cpu);
	void *data;
	unsigned int cpu;
	int result;
	struct completion *start;
	struct completion done;
	struct task_struct *thread;
};

static inline int cpu_job_thread(void *data)
{
	struct cpu_job *job = data;

	wait_for_completion(job->start);
	job->result = job->function(job->data, job->cpu);
	kthread_complete_and_exit(&job->done, 0);
}

/* Runs a function on each CPU of a mask at the same time, and counts the results that are not 0. */
static inline int on_cpus(struct kunit *test, const struct cpumask *cpus,
			  int (*function)(void *data, unsigned int cpu), void *data)
{
	struct cpu_job *jobs = kcalloc(nr_cpu_ids, sizeof(*jobs), GFP_KERNEL);
	DECLARE_COMPLETION_ONSTACK(start);
	unsigned int cpu;
	int bad = 0;

	if (!jobs)
		return nr_cpu_ids;
	for_each_cpu(cpu, cpus) {
		struct cpu_job *job = &jobs[cpu];

		*job = (struct cpu_job){
			.function = function, .data = data, .cpu = cpu, .start = &start,
		};
		init_completion(&job->done);
		job->thread = kthread_create_on_cpu(cpu_job_thread, job, cpu, "blockslab_kunit/%u");
		if (!IS_ERR(job->thread))
			wake_up_process(job->thread);
	}
	complete_all(&start);
	for_each_cpu(cpu, cpus) {
		if (IS_ERR(jobs[cpu].thread)) {
			bad++;
			continue;
		}
		wait_for_completion(&jobs[cpu].done);
		bad += jobs[cpu].result != 0;
	}
	kfree(jobs);
	return bad;
}

/* A CPU that is not this one, or nr_cpu_ids. */
static inline unsigned int other_cpu(void)
{
	return cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
}

/* --- debugfs ---------------------------------------------------------------------------------- */

#define DEBUGFS_TEXT_MAX	SZ_512K
#define TABLE_COLUMNS_MAX	20

/* By a mount of our own: built in, KUnit runs before user space has made one. */
static inline struct file *debugfs_open(const char *path, int flags)
{
	struct vfsmount *mount = kern_mount(get_fs_type("debugfs"));
	struct file *file;
	struct path root;
	char name[80];

	if (IS_ERR(mount))
		return ERR_CAST(mount);
	scnprintf(name, sizeof(name), "blockslab/%s", path);
	root.mnt = mount;
	root.dentry = mount->mnt_root;
	file = file_open_root(&root, name, flags, 0);
	kern_unmount(mount);		/* an open file keeps it */
	return file;
}

/*
 * Some of a debugfs file, which must be a seq_file: debugfs gives read() with user memory only, of
 * which there is none here. How many bytes; 0 at the end.
 */
static inline size_t debugfs_read_at(struct file *file, loff_t position, char *text, size_t length)
{
	struct kvec vec = { .iov_base = text, .iov_len = length };
	struct iov_iter iter;
	struct kiocb kiocb;
	ssize_t result;

	init_sync_kiocb(&kiocb, file);
	kiocb.ki_pos = position;
	iov_iter_kvec(&iter, READ, &vec, 1, length);
	result = seq_read_iter(&kiocb, &iter);
	return max_t(ssize_t, result, 0);
}

/* All of it. */
static inline char *debugfs_text(struct kunit *test, const char *path)
{
	char *text = kunit_kzalloc(test, DEBUGFS_TEXT_MAX, GFP_KERNEL);
	struct file *file = debugfs_open(path, O_RDONLY);
	size_t length = 0, part;
	struct seq_file *seq;

	KUNIT_ASSERT_NOT_NULL(test, text);
	KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(file), "cannot open %s", path);
	seq = file->private_data;
	KUNIT_ASSERT_TRUE_MSG(test, seq && seq->file == file, "%s is no seq_file", path);
	while ((part = debugfs_read_at(file, length, text + length,
				       DEBUGFS_TEXT_MAX - 1 - length)))
		length += part;
	filp_close(file, NULL);
	return text;
}

/* A table of debugfs: `# blockslab version 2`, `# COLUMN...`, and records. */
struct table {
	char *rest;
	char *columns[TABLE_COLUMNS_MAX];
	char *fields[TABLE_COLUMNS_MAX];	/* of the current record */
	int nr_columns;
};

static inline int split_fields(char *line, char **fields)
{
	char *field;
	int nr = 0;

	while (nr < TABLE_COLUMNS_MAX && (field = strsep(&line, " \t")))
		if (*field)
			fields[nr++] = field;
	return nr;
}

static inline struct table table_open(struct kunit *test, const char *path)
{
	struct table table = { .rest = debugfs_text(test, path) };
	char *names;

	KUNIT_ASSERT_STREQ(test, strsep(&table.rest, "\n"), "# blockslab version 2");
	names = strsep(&table.rest, "\n");
	KUNIT_ASSERT_NOT_NULL(test, names);
	KUNIT_ASSERT_EQ(test, strncmp(names, "# ", 2), 0);
	table.nr_columns = split_fields(names + 2, table.columns);
	return table;
}

/* The next record, which must have as many fields as there are columns. */
static inline bool table_next(struct kunit *test, struct table *table)
{
	char *line = strsep(&table->rest, "\n");

	if (!line || !*line)
		return false;
	KUNIT_ASSERT_EQ(test, split_fields(line, table->fields), table->nr_columns);
	return true;
}

static inline const char *table_text(struct kunit *test, struct table *table, const char *column)
{
	int i;

	for (i = 0; i < table->nr_columns; i++)
		if (!strcmp(table->columns[i], column))
			return table->fields[i];
	KUNIT_ASSERT_TRUE_MSG(test, false, "no column %s", column);
	return NULL;
}

static inline u64 table_number(struct kunit *test, struct table *table, const char *column)
{
	const char *text = table_text(test, table, column);
	u64 number = 0;

	KUNIT_EXPECT_EQ_MSG(test, kstrtou64(text, 10, &number), 0, "%s is %s", column, text);
	return number;
}

/* One number of the `heaps` table, or of a heap's `classes`. */
static inline u64 table_cell(struct kunit *test, const char *path, const char *key_column,
			     const char *key, const char *column)
{
	struct table table = table_open(test, path);

	while (table_next(test, &table))
		if (!strcmp(table_text(test, &table, key_column), key))
			return table_number(test, &table, column);
	KUNIT_ASSERT_TRUE_MSG(test, false, "no %s %s in %s", key_column, key, path);
	return 0;
}

/* One number of a heap's `classes`, of the class that serves a size. */
static inline u64 class_cell(struct kunit *test, const char *heap, size_t size, const char *column)
{
	char path[64], key[16];

	scnprintf(path, sizeof(path), "heap/%s/classes", heap);
	scnprintf(key, sizeof(key), "%zu", blockslab_size_roundup(size));
	return table_cell(test, path, "size", key, column);
}

/* Heaps that are listed by a name, and those that were destroyed and have left it to another. */
static inline int heaps_named(struct kunit *test, const char *name)
{
	struct table table = table_open(test, "heaps");
	size_t length = strlen(name);
	const char *text;
	int nr = 0;

	while (table_next(test, &table)) {
		text = table_text(test, &table, "name");
		nr += !strncmp(text, name, length) && (!text[length] || text[length] == '.');
	}
	return nr;
}

/* Blocks that a heap holds, from the `heaps` table. */
static inline u64 blocks_of(struct kunit *test, const char *heap)
{
	return table_cell(test, "heaps", "name", heap, "blocks");
}

#endif /* _BLOCKSLAB_KUNIT_H */
