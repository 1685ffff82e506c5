// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_holds: for how long do the readers of debugfs hold blockslab's locks?
 * tools/dev/read-cost asks it.
 *
 * This is blockslab itself, with a clock at each of its locks, and heaps that are hard to read. It
 * is loaded in place of blockslab.ko. Parameters:
 *
 *	make	written: `blocks N`, `slots N`, `depot N`, `classes`, `retained N` or `heaps N`
 *		makes what make_*() below says; `end` destroys it
 *	holds	read: a line a function, `NAME MOST`: what its longest hold of a lock took since
 *		`holds` was last written to, in TSC ticks: instructions under QEMU's -icount shift=0
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt	/* as blockslab.c has it */

#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/timex.h>
#include <linux/vmalloc.h>

/* Nobody is to link to this one. */
#undef EXPORT_SYMBOL_GPL
#define EXPORT_SYMBOL_GPL(symbol)

static void hold_begins(void);
static void hold_ends(const char *function);

static inline void timed_lock(spinlock_t *lock, unsigned long *irq) __acquires(lock)
{
	spin_lock_irqsave(lock, *irq);
	hold_begins();
}

#undef spin_lock_irqsave
#define spin_lock_irqsave(lock, irq)	timed_lock(lock, &(irq))
#define spin_unlock_irqrestore(lock, irq)		\
do {							\
	hold_ends(__func__);				\
	(spin_unlock_irqrestore)(lock, irq);		\
} while (0)

#include "../../blockslab.c"

/* --- the clock -------------------------------------------------------------------------------- */

#define NR_FUNCTIONS	64
#define NESTED_MAX	4

static struct {
	const char *name;
	u64 most;
} functions[NR_FUNCTIONS];

/* Interrupts are off while a lock is held. */
static DEFINE_PER_CPU(struct { u64 since[NESTED_MAX]; unsigned int nr; }, holds);
static u64 clock_ticks;		/* what the clock itself takes */

static void hold_begins(void)
{
	this_cpu_ptr(&holds)->since[this_cpu_ptr(&holds)->nr++ % NESTED_MAX] = get_cycles();
}

static void hold_ends(const char *name)
{
	u64 now = get_cycles(), ticks;
	unsigned int i;

	ticks = now - this_cpu_ptr(&holds)->since[--this_cpu_ptr(&holds)->nr % NESTED_MAX];
	ticks -= min(ticks, READ_ONCE(clock_ticks));
	for (i = 0; i < NR_FUNCTIONS; i++) {
		if (functions[i].name && functions[i].name != name)
			continue;
		functions[i].name = name;
		functions[i].most = max(functions[i].most, ticks);
		return;
	}
}

/* What a hold without anything in it takes. */
static void clock_set(void)
{
	static DEFINE_SPINLOCK(lock);
	unsigned long irq;

	WRITE_ONCE(clock_ticks, 0);
	memset(functions, 0, sizeof(functions));
	spin_lock_irqsave(&lock, irq);
	spin_unlock_irqrestore(&lock, irq);
	WRITE_ONCE(clock_ticks, functions[0].most);
	memset(functions, 0, sizeof(functions));
}

static int holds_set(const char *value, const struct kernel_param *param)
{
	clock_set();
	return 0;
}

static int holds_get(char *text, const struct kernel_param *param)
{
	int length = 0;
	unsigned int i;

	for (i = 0; i < NR_FUNCTIONS && functions[i].name; i++)
		length += scnprintf(text + length, PAGE_SIZE - length, "%s %llu\n",
				    functions[i].name, functions[i].most);
	return length;
}

static const struct kernel_param_ops holds_ops = { .set = holds_set, .get = holds_get };
module_param_cb(holds, &holds_ops, NULL, 0600);

/* --- heaps that are hard to read -------------------------------------------------------------- */

#define NR_HEAPS	10000

static struct blockslab_heap *made[NR_HEAPS];
static unsigned long nr_made;

static int make_heap(const char *name, unsigned long flags)
{
	const struct blockslab_heap_attrs attrs = { .flags = flags };

	if (nr_made == NR_HEAPS)
		return -ENOSPC;
	made[nr_made] = blockslab_heap_create(name, &attrs);
	return PTR_ERR_OR_ZERO(made[nr_made]) ?: (nr_made++, 0);
}

/* Takes @nr slots, and gives back all but every @keep-th one; 0: all of them. */
static int take_and_free(size_t size, unsigned long nr, unsigned long keep)
{
	void **slots = vmalloc(array_size(nr, sizeof(*slots)));
	unsigned long i;
	int error = 0;

	for (i = 0; slots && i < nr; i++) {
		slots[i] = blockslab_alloc(made[0], size, GFP_KERNEL);
		if (!slots[i])
			error = -ENOMEM;
		cond_resched();
	}
	for (i = 0; slots && i < nr; i++) {
		if (!keep || i % keep)
			blockslab_free(slots[i]);
		cond_resched();
	}
	vfree(slots);
	return slots ? error : -ENOMEM;
}

/* So many blocks, a slot of each in use. Of two pages with max_order=1. */
static int make_blocks(unsigned long nr)
{
	return make_heap("blocks", 0) ?: take_and_free(1024, nr * 8, 8);
}

/* So many tracked slots of 8 bytes, of which a sixth is in use: 8192 a block with max_order=4. */
static int make_slots(unsigned long nr)
{
	return make_heap("slots", BLOCKSLAB_TRACK) ?: take_and_free(8, nr, 6);
}

/* So many cached slots, as far as keep_kib lets them be kept. */
static int make_depot(unsigned long nr)
{
	int error = make_heap("depot", 0), rounds;

	/* Half of the slots stay in use: a depot takes so much and no more. */
	error = error ?: take_and_free(8, nr * 2, 2);
	for (rounds = 0; !error && rounds < 4; rounds++)
		error = take_and_free(8, nr, 0);
	return error;
}

/* A slot of each size. */
static int make_classes(unsigned long unused)
{
	int error = make_heap("classes", BLOCKSLAB_TRACK);
	size_t size;

	for (size = 8; !error && size <= BLOCKSLAB_SLOT_MAX; size += 8)
		if (blockslab_size_roundup(size) == size)
			error = take_and_free(size, 1, 1);
	return error;
}

/* So many empty blocks, as far as keep_kib lets them be kept: what is missed once is kept then. */
static int make_retained(unsigned long nr)
{
	int error = make_heap("retained", 0);

	error = error ?: take_and_free(1024, nr * 8, 0);
	return error ?: take_and_free(1024, nr * 8, 0);
}

static int make_heaps(unsigned long nr)
{
	char name[16];
	int error = 0;

	while (!error && nr_made < nr) {
		scnprintf(name, sizeof(name), "heap%lu", nr_made);
		error = make_heap(name, 0);
	}
	return error;
}

static int make_end(unsigned long unused)
{
	while (nr_made) {
		blockslab_heap_release(made[--nr_made]);
		blockslab_heap_destroy(made[nr_made]);
	}
	return 0;
}

static const struct {
	const char *name;
	int (*make)(unsigned long nr);
} makers[] = {
	{ "blocks", make_blocks }, { "slots", make_slots }, { "depot", make_depot },
	{ "classes", make_classes }, { "retained", make_retained }, { "heaps", make_heaps },
	{ "end", make_end },
};

static int make_set(const char *value, const struct kernel_param *param)
{
	unsigned long nr = 0;
	char name[16];
	int i;

	if (sscanf(value, "%15s %lu", name, &nr) < 1)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(makers); i++)
		if (!strcmp(name, makers[i].name))
			return makers[i].make(nr);
	return -EINVAL;
}

static const struct kernel_param_ops make_ops = { .set = make_set };
module_param_cb(make, &make_ops, NULL, 0200);
