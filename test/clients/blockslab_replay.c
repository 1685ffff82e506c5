// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_replay: replays a recorded trace of allocations through blockslab, or through SLUB.
 *
 * A trace is text, one event a line, in time order; lines that begin with # are comments:
 *
 *	k CPU ID SIZE	kmalloc of SIZE bytes
 *	c CPU ID SIZE	kmem_cache_alloc of an object of SIZE bytes
 *	- CPU ID	the free; an ID is used for one allocation only
 *
 * Two files in /sys/kernel/debug/blockslab_replay serve it. A trace is written to `trace`; opening
 * that forgets the one before, and a line that is no event is refused by its number. `control`
 * takes a command a write:
 *
 *	start k|all|exact blockslab|slub	k: the k events only; all and exact: k and c events
 *	run N|peak|end				to event N, or to where most bytes are asked for
 *	free					frees what is live
 *	stop					frees what is live, and the heap or the caches
 *
 * and is read for how far things are. In between, the heap "replay" can be looked at in
 * blockslab's own debugfs, and the caches "replay-SIZE" in /proc/slabinfo: of kmalloc's sizes, or
 * with `exact` one for each object size. What is over 8192 bytes, SLUB's side gets from the page
 * allocator; blockslab does so itself.
 *
 * An event of CPU n runs on the nth CPU that is online, modulo their number. There is one order of
 * events, and it is kept: each waits for the one before, so that a replay holds the same memory
 * each time. Slots are signed at both ends, and the signature is looked at before a slot is freed.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpu.h>
#include <linux/ctype.h>
#include <linux/debugfs.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "blockslab.h"

#define SIZE_STEP	8
/* Events in a row on one CPU: few enough for its worker not to be called a hog. */
#define BATCH		1024

/* An event of a trace; @slot is what the allocation of an unfinished replay got. */
struct event {
	union {
		void *slot;		/* k and c */
		size_t allocation;	/* -: index of the event that allocated */
	};
	u32 size;
	u16 cpu;
	char kind;
};

/* Over everything below. */
static DEFINE_MUTEX(lock);

static struct {
	struct event *events;
	size_t nr;
	size_t room;
	struct xarray ids;		/* to index of the allocation, or ID_FREED */
	char line[256];			/* what came of a line so far */
	size_t length;
	unsigned long line_nr;
	bool bad;
} trace = { .ids = XARRAY_INIT(trace.ids, 0) };

#define ID_FREED ((void *)&trace)

struct mode {
	const char *name;
	bool with_caches;		/* c events too */
	bool exact;			/* SLUB has a cache for each object size */
};

static const struct mode modes[] = {
	{ "k" },
	{ "all", .with_caches = true },
	{ "exact", .with_caches = true, .exact = true },
};

struct allocator {
	const char *name;
	int (*create)(const struct mode *mode);
	void *(*alloc)(size_t size);
	void (*free)(void *slot, size_t size);
	size_t (*held)(void);
	void (*destroy)(void);
};

/* The replay under way, if @allocator is set. */
static struct {
	const struct mode *mode;
	const struct allocator *allocator;
	size_t at;			/* the next event */
	size_t peak;			/* the event after which most bytes are asked for */
	size_t asked;
	u64 ns;				/* in events; hand-overs between CPUs left out */
	unsigned long damaged;		/* slots whose signature was gone */
} replay;

/* --- the trace --- */

static void forget_trace(void)
{
	kvfree(trace.events);
	trace.events = NULL;
	trace.nr = 0;
	trace.room = 0;
	trace.length = 0;
	trace.line_nr = 0;
	trace.bad = false;
	xa_destroy(&trace.ids);
}

static bool make_room(void)
{
	size_t room = max_t(size_t, 2 * trace.room, 4096);
	struct event *events;

	if (trace.nr < trace.room)
		return true;
	events = kvmalloc_array(room, sizeof(*events), GFP_KERNEL | __GFP_NOWARN);
	if (!events)
		return false;
	if (trace.nr)
		memcpy(events, trace.events, trace.nr * sizeof(*events));
	kvfree(trace.events);
	trace.events = events;
	trace.room = room;
	return true;
}

static bool parse_number(char **line, u64 max, u64 *value)
{
	const char *word = strsep(line, " ");

	return word && isdigit(*word) && !kstrtou64(word, 10, value) && *value <= max;
}

static bool parse_event(char *line, struct event *event, u64 *id)
{
	const char *kind = strsep(&line, " ");
	u64 cpu, size = 0;

	if (strlen(kind) != 1 || !strchr("kc-", *kind))
		return false;
	if (!parse_number(&line, U16_MAX, &cpu) || !parse_number(&line, ULONG_MAX, id))
		return false;
	if (*kind != '-' && !parse_number(&line, KMALLOC_MAX_SIZE, &size))
		return false;
	*event = (struct event){ .size = size, .cpu = cpu, .kind = *kind };
	return !line;
}

/* Returns what is wrong with the event, NULL if nothing is. */
static const char *add_event(struct event *event, u64 id)
{
	const void *known = xa_load(&trace.ids, id);
	void *entry = xa_mk_value(trace.nr);

	if (event->kind == '-') {
		if (!xa_is_value(known))
			return "frees what is not live";
		event->allocation = xa_to_value(known);
		entry = ID_FREED;
	} else if (known) {
		return "uses an ID again";
	}
	if (!make_room() || xa_err(xa_store(&trace.ids, id, entry, GFP_KERNEL)))
		return "finds no memory";
	trace.events[trace.nr++] = *event;
	return NULL;
}

static int end_line(void)
{
	const char *wrong = "is none of 'k CPU ID SIZE', 'c CPU ID SIZE', '- CPU ID'";
	struct event event;
	u64 id;

	trace.line[trace.length] = '\0';
	trace.length = 0;
	trace.line_nr++;
	if (trace.line[0] == '#')
		return 0;
	if (parse_event(trace.line, &event, &id))
		wrong = add_event(&event, id);
	if (!wrong)
		return 0;
	pr_err("line %lu of the trace %s\n", trace.line_nr, wrong);
	forget_trace();
	trace.bad = true;
	return -EINVAL;
}

static int add_text(const char *text, size_t length)
{
	const char *end = text + length;
	int err = 0;

	for (; text < end && !err; text++) {
		if (*text == '\n')
			err = end_line();
		else if (trace.length < sizeof(trace.line) - 1)
			trace.line[trace.length++] = *text;
		else if (trace.line[0] != '#')
			err = end_line();
	}
	return err;
}

static int trace_open(struct inode *inode, struct file *file)
{
	int err = 0;

	mutex_lock(&lock);
	if (replay.allocator)
		err = -EBUSY;
	else
		forget_trace();
	mutex_unlock(&lock);
	return err;
}

static ssize_t trace_write(struct file *file, const char __user *from, size_t length, loff_t *pos)
{
	char *text;
	int err;

	length = min_t(size_t, length, SZ_64K);
	text = memdup_user(from, length);
	if (IS_ERR(text))
		return PTR_ERR(text);
	mutex_lock(&lock);
	if (replay.allocator)
		err = -EBUSY;
	else
		err = trace.bad ? -EINVAL : add_text(text, length);
	mutex_unlock(&lock);
	kfree(text);
	return err ?: length;
}

static int trace_release(struct inode *inode, struct file *file)
{
	mutex_lock(&lock);
	if (trace.length && !replay.allocator)
		end_line();
	mutex_unlock(&lock);
	return 0;
}

static const struct file_operations trace_fops = {
	.owner = THIS_MODULE,
	.open = trace_open,
	.write = trace_write,
	.release = trace_release,
};

/* --- blockslab --- */

static struct blockslab_heap *heap;

static int heap_create(const struct mode *mode)
{
	heap = blockslab_heap_create("replay", NULL);
	return PTR_ERR_OR_ZERO(heap);
}

static void *heap_alloc(size_t size)
{
	return blockslab_alloc(heap, size, GFP_KERNEL);
}

static void heap_free(void *slot, size_t size)
{
	blockslab_free(slot);
}

static size_t heap_held(void)
{
	struct blockslab_heap_stats stats;

	blockslab_heap_stats(heap, &stats);
	return stats.held + stats.fixed;
}

static void heap_destroy(void)
{
	blockslab_heap_destroy(heap);
}

/* --- SLUB --- */

/* What serves each size, by steps of 8 bytes; the first serves nothing. */
static struct kmem_cache *caches[BLOCKSLAB_SLOT_MAX / SIZE_STEP + 1];
static size_t slub_pages_held;

static struct kmem_cache *create_cache(unsigned int size)
{
	slab_flags_t flags = 0;
	char name[24];

#ifdef SLAB_NO_MERGE
	flags = SLAB_NO_MERGE;
#endif
	scnprintf(name, sizeof(name), "replay-%u", size);
	/* A region for user copies keeps caches apart where SLAB_NO_MERGE is not to be had. */
	return kmem_cache_create_usercopy(name, size, 0, flags, 0, size, NULL);
}

static int create_kmalloc_caches(void)
{
	static const unsigned int sizes[] = {
		8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192
	};
	unsigned int i, step = 1;

	static_assert(ARRAY_SIZE(caches) == 8192 / SIZE_STEP + 1);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct kmem_cache *cache = create_cache(sizes[i]);

		if (!cache)
			return -ENOMEM;
		while (step <= sizes[i] / SIZE_STEP)
			caches[step++] = cache;
	}
	return 0;
}

static int create_exact_caches(void)
{
	const struct event *event;

	for (event = trace.events; event < trace.events + trace.nr; event++) {
		unsigned int step = DIV_ROUND_UP(event->size, SIZE_STEP);

		if (!step || step >= ARRAY_SIZE(caches) || caches[step])
			continue;
		caches[step] = create_cache(step * SIZE_STEP);
		if (!caches[step])
			return -ENOMEM;
	}
	return 0;
}

static void slub_destroy(void)
{
	unsigned int step;

	for (step = 1; step < ARRAY_SIZE(caches); step++)
		if (step + 1 == ARRAY_SIZE(caches) || caches[step] != caches[step + 1])
			kmem_cache_destroy(caches[step]);
	memset(caches, 0, sizeof(caches));
}

static int slub_create(const struct mode *mode)
{
	int err = mode->exact ? create_exact_caches() : create_kmalloc_caches();

	if (err)
		slub_destroy();
	return err;
}

static void *slub_alloc(size_t size)
{
	void *pages;

	if (!size)
		return ZERO_SIZE_PTR;
	if (size <= BLOCKSLAB_SLOT_MAX)
		return kmem_cache_alloc(caches[DIV_ROUND_UP(size, SIZE_STEP)], GFP_KERNEL);
	pages = alloc_pages_exact(size, GFP_KERNEL);
	if (pages)
		slub_pages_held += PAGE_ALIGN(size);
	return pages;
}

static void slub_free(void *slot, size_t size)
{
	if (!size)
		return;
	if (size <= BLOCKSLAB_SLOT_MAX) {
		kmem_cache_free(caches[DIV_ROUND_UP(size, SIZE_STEP)], slot);
	} else {
		free_pages_exact(slot, size);
		slub_pages_held -= PAGE_ALIGN(size);
	}
}

/* Without the slabs: only /proc/slabinfo knows of them. */
static size_t slub_held(void)
{
	return slub_pages_held;
}

static const struct allocator allocators[] = {
	{ "blockslab", heap_create, heap_alloc, heap_free, heap_held, heap_destroy },
	{ "slub", slub_create, slub_alloc, slub_free, slub_held, slub_destroy },
};

/* --- events --- */

static bool wanted(const struct event *event)
{
	if (event->kind == '-')
		event = &trace.events[event->allocation];
	return event->kind == 'k' || replay.mode->with_caches;
}

static u32 signature(const struct event *event)
{
	return event - trace.events;
}

static void sign(const struct event *event)
{
	u32 sign = signature(event);

	if (event->size < 2 * sizeof(sign))
		return;
	memcpy(event->slot, &sign, sizeof(sign));
	memcpy(event->slot + event->size - sizeof(sign), &sign, sizeof(sign));
}

static void check_signature(const struct event *event)
{
	u32 sign = signature(event);

	if (event->size < 2 * sizeof(sign))
		return;
	if (!memcmp(event->slot, &sign, sizeof(sign)) &&
	    !memcmp(event->slot + event->size - sizeof(sign), &sign, sizeof(sign)))
		return;
	if (!replay.damaged++)
		pr_err("the slot of event %u, %u bytes, was written by someone else\n",
		       sign + 1, event->size);
}

static int replay_alloc(struct event *event)
{
	event->slot = replay.allocator->alloc(event->size);
	if (!event->slot)
		return -ENOMEM;
	replay.asked += event->size;
	sign(event);
	return 0;
}

static void replay_free(struct event *event)
{
	check_signature(event);
	replay.allocator->free(event->slot, event->size);
	replay.asked -= event->size;
	event->slot = NULL;
}

static int replay_event(struct event *event)
{
	if (event->kind != '-')
		return replay_alloc(event);
	replay_free(&trace.events[event->allocation]);
	return 0;
}

/* Replays the wanted events that are next and of one CPU, up to @until; runs there. */
static long replay_batch(void *until)
{
	size_t end = min(*(size_t *)until, replay.at + BATCH);
	u16 cpu = trace.events[replay.at].cpu;
	u64 start = ktime_get_ns();
	int err = 0;

	for (; replay.at < end; replay.at++) {
		struct event *event = &trace.events[replay.at];

		if (!wanted(event))
			continue;
		if (event->cpu != cpu)
			break;
		err = replay_event(event);
		if (err)
			break;
	}
	replay.ns += ktime_get_ns() - start;
	return err;
}

static unsigned int online_cpu(unsigned int number)
{
	unsigned int cpu;

	number %= num_online_cpus();
	for_each_online_cpu(cpu)
		if (!number--)
			break;
	return cpu;
}

static int replay_until(size_t until)
{
	long err = 0;

	while (replay.at < until && !err) {
		unsigned int cpu = trace.events[replay.at].cpu;

		cpus_read_lock();
		err = work_on_cpu(online_cpu(cpu), replay_batch, &until);
		cpus_read_unlock();
		if (fatal_signal_pending(current))
			err = -EINTR;
	}
	return err;
}

/* How many events there are to where most bytes are asked for. */
static size_t find_peak(void)
{
	size_t i, asked = 0, most = 0, peak = 0;

	for (i = 0; i < trace.nr; i++) {
		const struct event *event = &trace.events[i];

		if (!wanted(event))
			continue;
		if (event->kind == '-')
			asked -= trace.events[event->allocation].size;
		else
			asked += event->size;
		if (asked > most) {
			most = asked;
			peak = i + 1;
		}
	}
	return peak;
}

/* --- commands --- */

static int command_free(char *arguments)
{
	size_t i;

	if (arguments || !replay.allocator)
		return -EINVAL;
	for (i = 0; i < replay.at; i++)
		if (trace.events[i].kind != '-' && trace.events[i].slot)
			replay_free(&trace.events[i]);
	replay.at = trace.nr;
	return 0;
}

static int command_stop(char *arguments)
{
	int err = command_free(arguments);

	if (err)
		return err;
	replay.allocator->destroy();
	replay.allocator = NULL;
	return 0;
}

static int start(const struct mode *mode, const struct allocator *allocator)
{
	int err;

	if (!trace.nr)
		return -ENODATA;
	if (replay.allocator)
		return -EBUSY;
	err = allocator->create(mode);
	if (err)
		return err;
	memset(&replay, 0, sizeof(replay));
	replay.mode = mode;
	replay.allocator = allocator;
	replay.peak = find_peak();
	return 0;
}

static int command_start(char *arguments)
{
	const char *mode = strsep(&arguments, " ");
	unsigned int i, j;

	if (!mode || !arguments)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(modes); i++)
		for (j = 0; j < ARRAY_SIZE(allocators); j++)
			if (!strcmp(mode, modes[i].name) &&
			    !strcmp(arguments, allocators[j].name))
				return start(&modes[i], &allocators[j]);
	return -EINVAL;
}

static int command_run(char *arguments)
{
	u64 until;

	if (!arguments || !replay.allocator)
		return -EINVAL;
	if (!strcmp(arguments, "end"))
		until = trace.nr;
	else if (!strcmp(arguments, "peak"))
		until = replay.peak;
	else if (!parse_number(&arguments, trace.nr, &until) || arguments)
		return -EINVAL;
	return replay_until(until);
}

static const struct {
	const char *name;
	int (*run)(char *arguments);
} commands[] = {
	{ "start", command_start },
	{ "run", command_run },
	{ "free", command_free },
	{ "stop", command_stop },
};

static int run_command(char *line)
{
	const char *name = strsep(&line, " ");
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].run(line);
	return -EINVAL;
}

static ssize_t control_write(struct file *file, const char __user *from, size_t length,
			     loff_t *pos)
{
	char line[64];
	int err;

	if (length >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, length))
		return -EFAULT;
	line[length] = '\0';
	if (length && line[length - 1] == '\n')
		line[length - 1] = '\0';
	err = mutex_lock_killable(&lock);
	if (err)
		return err;
	err = run_command(line);
	mutex_unlock(&lock);
	return err ?: length;
}

static int control_show(struct seq_file *seq, void *unused)
{
	seq_puts(seq, "# blockslab_replay version 1\n");
	seq_puts(seq, "# mode allocator event events peak asked held ns damaged\n");
	mutex_lock(&lock);
	if (replay.allocator)
		seq_printf(seq, "%s %s %zu %zu %zu %zu %zu %llu %lu\n", replay.mode->name,
			   replay.allocator->name, replay.at, trace.nr, replay.peak,
			   replay.asked, replay.allocator->held(), replay.ns, replay.damaged);
	mutex_unlock(&lock);
	return 0;
}

static int control_open(struct inode *inode, struct file *file)
{
	return single_open(file, control_show, NULL);
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.open = control_open,
	.read = seq_read,
	.write = control_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/* --- the module --- */

static struct dentry *directory;

static int __init blockslab_replay_init(void)
{
	directory = debugfs_create_dir(KBUILD_MODNAME, NULL);
	if (IS_ERR(directory))
		return PTR_ERR(directory);
	debugfs_create_file("trace", 0200, directory, NULL, &trace_fops);
	debugfs_create_file("control", 0600, directory, NULL, &control_fops);
	return 0;
}
module_init(blockslab_replay_init);

static void __exit blockslab_replay_exit(void)
{
	debugfs_remove(directory);
	command_stop(NULL);
	forget_trace();
}
module_exit(blockslab_replay_exit);

MODULE_DESCRIPTION("Replays recorded allocations through blockslab or SLUB");
MODULE_LICENSE("GPL");
