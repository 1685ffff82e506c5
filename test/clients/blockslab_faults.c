// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_faults: commits one fault, with blockslab or with SLUB, and says what came of it
 *
 * For tools/faults, and for guests only: it is made to bring a kernel down. debugfs has
 *
 *   blockslab_faults/rows  the faults: a name, and its flags, a line
 *   blockslab_faults/run   write `ROW blockslab|slub default|debug`, `ROW blockslab sampled`, or
 *                          `leave`: allocates slots that will not be freed, for what comes when
 *                          a client is unloaded so
 *
 * A run fills a heap, or a kmem_cache, of its own with slots of one size, each full of a pattern
 * of its own, and picks a victim with a slot on either side. Then the row goes through phases,
 * each announced in the kernel's log, so that it shows when a report came: `fault` (the faulty
 * call or access itself), `next` (the next free of that slot), `reuse` (allocations until free
 * slots come round again), `free` (of all slots), `validate`, `destroy`; in `destroyed` and `oops`
 * the row does what is reported by intent. In between, it says on a line of its own what was
 * harmed:
 *
 *   written  the faulty write itself reached another slot
 *   lost     a slot, page or object was taken from its lawful owner
 *   content  a slot that had nothing to do with it was changed later
 *   twice    two live slots overlap
 *   outside  memory was handed out that is not the allocator's
 *
 * `sampled` commits the fault of a row that has the flag so often that some of the slots it is
 * committed with are sampled, and says how many were, and of how many that was found.
 *
 * `debug` is POISON, RED_ZONE and TRACK; for SLUB it says nothing: slub_debug= of the kernel's
 * command line does. One run at a time; there is no lock, as a run may never come back.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/net.h>
#include <linux/poison.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "blockslab.h"
#include "core/trace.h"

#define SIZE		96
#define NR_FIRST	256	/* slots before the fault */
#define NR_REUSE	512	/* slots allocated after it */
#define NR_MAX		24000
#define DAMAGE		0x41

#define DEBUG_FLAGS	(BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE | BLOCKSLAB_TRACK)

enum side { BLOCKSLAB, SLUB };

/**
 * struct arena - where a fault is committed
 * @side: whose
 * @flags: of heaps and caches of blockslab
 * @name: of heap and kmem_cache; no run has that of another
 * @heap: of blockslab
 * @slub: of SLUB
 * @nr: slots in @slots
 * @slots: that are allocated, and full of pattern()
 * @sorted: room to sort them
 * @stride: from a slot to the next
 * @gone: a slot of @slots that was freed in its owner's place, by the row's doing
 */
struct arena {
	enum side side;
	unsigned long flags;
	char name[BLOCKSLAB_NAME_MAX + 1];
	struct blockslab_heap *heap;
	struct kmem_cache *slub;
	size_t nr;
	u8 **slots;
	u8 **sorted;
	size_t stride;
	u8 *gone;
};

static atomic_t reports;

static void count_report(void *data, const char *what, const void *slot, const char *heap,
			 size_t size)
{
	atomic_inc(&reports);
}

/* What is found under a lock is told a moment later: in which phase it was, is said here. */
static void end_phase(void)
{
	if (atomic_xchg(&reports, 0))
		pr_notice("found\n");
}

static void enter(const char *name)
{
	end_phase();
	pr_notice("phase %s\n", name);
}

static void harmed(const char *what)
{
	pr_notice("harm %s\n", what);
}

/* --- either side ------------------------------------------------------------------------------ */

static void *take(struct arena *arena)
{
	return arena->side == SLUB ? kmem_cache_alloc(arena->slub, GFP_KERNEL) :
				     blockslab_alloc(arena->heap, SIZE, GFP_KERNEL);
}

/* The compiler shall not reason about what is freed and then used. */
static noinline void give(struct arena *arena, void *slot)
{
	OPTIMIZER_HIDE_VAR(slot);
	if (arena->side == SLUB)
		kmem_cache_free(arena->slub, slot);
	else
		blockslab_free(slot);
}

/* The call that takes any pointer. */
static noinline void give_any(struct arena *arena, const void *pointer)
{
	OPTIMIZER_HIDE_VAR(pointer);
	if (arena->side == SLUB)
		kfree(pointer);
	else
		blockslab_free(pointer);
}

static noinline void damage(void *where, size_t size)
{
	OPTIMIZER_HIDE_VAR(where);
	memset(where, DAMAGE, size);
}

/* Never merged with another: it has a region for user copies. */
static struct kmem_cache *slub_create(const char *name)
{
	return kmem_cache_create_usercopy(name, SIZE, 0, 0, 0, SIZE, NULL);
}

static void shrink(struct arena *arena)
{
	if (arena->side == SLUB)
		kmem_cache_shrink(arena->slub);
	else
		blockslab_shrink(arena->heap);
}

/* SLUB's own check is to be had from user space only, and in caches with debugging only. */
static void slub_validate(struct arena *arena)
{
	char path[64];
	struct file *file;
	loff_t pos = 0;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/validate", arena->name);
	file = filp_open(path, O_WRONLY, 0);
	if (IS_ERR(file))
		return;
	kernel_write(file, "1", 1, &pos);
	filp_close(file, NULL);
}

static void validate(struct arena *arena)
{
	enter("validate");
	if (arena->side == SLUB)
		slub_validate(arena);
	else
		blockslab_validate(arena->heap);
}

/* --- slots and their content ------------------------------------------------------------------ */

static u8 pattern(const void *slot)
{
	return (unsigned long)slot / 8 * 37 / 16 | 0x80;
}

static int add(struct arena *arena, size_t nr)
{
	for (; nr; nr--) {
		u8 *slot = arena->nr < NR_MAX ? take(arena) : NULL;

		if (!slot)
			return -ENOMEM;
		arena->slots[arena->nr++] = slot;
	}
	return 0;
}

static void fill(struct arena *arena, size_t from)
{
	for (; from < arena->nr; from++)
		memset(arena->slots[from], pattern(arena->slots[from]), SIZE);
}

/* Takes a slot out of the list: it is freed, or not in order, by the row's doing. */
static u8 *drop(struct arena *arena, size_t number)
{
	u8 *slot = arena->slots[number];

	arena->slots[number] = arena->slots[--arena->nr];
	return slot;
}

static void drop_slot(struct arena *arena, const u8 *slot)
{
	size_t i;

	for (i = 0; i < arena->nr; i++)
		if (arena->slots[i] == slot) {
			drop(arena, i);
			return;
		}
}

static int by_address(const void *one, const void *other)
{
	const u8 *first = *(const u8 * const *)one, *second = *(const u8 * const *)other;

	return first < second ? -1 : first > second;
}

static void sort_slots(struct arena *arena)
{
	memcpy(arena->sorted, arena->slots, arena->nr * sizeof(*arena->sorted));
	sort(arena->sorted, arena->nr, sizeof(*arena->sorted), by_address, NULL);
}

/* A slot amid others, and how far they are apart; NULL if there is none. */
static u8 *pick_victim(struct arena *arena)
{
	u8 **at, *victim = NULL;
	size_t i;

	sort_slots(arena);
	arena->stride = SIZE_MAX;
	for (i = 1; i < arena->nr; i++)
		arena->stride = min_t(size_t, arena->stride,
				      arena->sorted[i] - arena->sorted[i - 1]);
	for (i = arena->nr / 3; i < arena->nr - 1 && !victim; i++) {
		at = &arena->sorted[i];
		if (at[0] - at[-1] == arena->stride && at[1] - at[0] == arena->stride &&
		    offset_in_page(at[0]) > SIZE && offset_in_page(at[0]) < PAGE_SIZE - 4 * SIZE)
			victim = at[0];
	}
	return victim;
}

static bool all_bytes_are(const u8 *bytes, u8 value, size_t size)
{
	return !memchr_inv(bytes, value, size);
}

static bool all_content(struct arena *arena)
{
	size_t i;

	for (i = 0; i < arena->nr; i++) {
		u8 *slot = arena->slots[i];

		if (slot != arena->gone && !all_bytes_are(slot, pattern(slot), SIZE))
			return false;
	}
	return true;
}

static void check_content(struct arena *arena)
{
	if (!all_content(arena))
		harmed("content");
}

/* Of slots that overlap one stays in the list, so that the run commits no other fault. */
static void check_overlap(struct arena *arena)
{
	bool lost = false, twice = false;
	size_t i, kept = 0;

	sort_slots(arena);
	for (i = 0; i < arena->nr; i++) {
		u8 *slot = arena->sorted[i];

		if (!kept || slot >= arena->slots[kept - 1] + SIZE)
			arena->slots[kept++] = slot;
		else if (slot == arena->gone)
			lost = true;
		else
			twice = true;
	}
	arena->nr = kept;
	if (lost)
		harmed("lost");
	if (twice)
		harmed("twice");
}

/* Whether an allocation of @alloc() comes to be where @owned lies, whose owner still has it. */
static void check_owner(void *(*alloc)(void *context), void (*free)(void *context, void *slot),
			void *context, const void *owned)
{
	static void *got[NR_FIRST];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(got); i++)
		got[i] = alloc(context);
	for (i = 0; i < ARRAY_SIZE(got); i++)
		if (got[i] == owned) {
			harmed("lost");
			got[i] = NULL;	/* once is enough */
		}
	for (i = 0; i < ARRAY_SIZE(got); i++)
		if (got[i])
			free(context, got[i]);
}

/* --- rows: frees ------------------------------------------------------------------------------ */

/* Frees @victim, and then @nr others, the next first, each between two that stay. */
static int free_with(struct arena *arena, u8 *victim, size_t nr)
{
	size_t i, at = 0, all, kept = 0;
	int err = add(arena, nr > NR_FIRST / 4 ? 2 * nr : 0);

	if (err)
		return err;
	fill(arena, 0);
	sort_slots(arena);
	all = arena->nr;
	while (arena->sorted[at] != victim)
		at++;
	for (i = 0; i < all; i++) {
		u8 *slot = arena->sorted[(at + i) % all];

		if (i % 2 == 0 && i / 2 <= nr)
			give(arena, slot);
		else
			arena->slots[kept++] = slot;
	}
	arena->nr = kept;
	return 0;
}

static int twice_after(struct arena *arena, u8 *victim, size_t nr)
{
	int err = free_with(arena, victim, nr);

	if (err)
		return err;
	enter("fault");
	give(arena, victim);
	return 0;
}

static int double_free(struct arena *arena, u8 *victim)
{
	return twice_after(arena, victim, 0);
}

static int double_free_1(struct arena *arena, u8 *victim)
{
	return twice_after(arena, victim, 1);
}

static int double_free_100(struct arena *arena, u8 *victim)
{
	return twice_after(arena, victim, 100);
}

static int double_free_10000(struct arena *arena, u8 *victim)
{
	return twice_after(arena, victim, 10000);
}

static int double_free_other_cpu(struct arena *arena, u8 *victim)
{
	int err = free_with(arena, victim, 1);

	if (!err)
		err = set_cpus_allowed_ptr(current, cpumask_of(1));
	if (err)
		return err;
	enter("fault");
	give(arena, victim);
	return set_cpus_allowed_ptr(current, cpumask_of(0));
}

/* The second free is that of a stale pointer, to a slot with a new owner. */
static int double_free_reused(struct arena *arena, u8 *victim)
{
	size_t from = arena->nr - 1;
	int err;

	drop_slot(arena, victim);
	give(arena, victim);
	do {
		err = add(arena, 1);
		if (err)
			return err;
	} while (arena->slots[arena->nr - 1] != victim);
	fill(arena, from);
	arena->gone = victim;
	enter("fault");
	give(arena, victim);
	return 0;
}

static int double_free_written(struct arena *arena, u8 *victim)
{
	drop_slot(arena, victim);
	give(arena, victim);
	enter("fault");
	damage(victim, SIZE);
	give(arena, victim);
	return 0;
}

static int double_free_written_1(struct arena *arena, u8 *victim)
{
	int err = free_with(arena, victim, 1);

	if (err)
		return err;
	enter("fault");
	damage(victim, SIZE);
	give(arena, victim);
	return 0;
}

/*
 * Freed on two CPUs, and so in the magazines of both. The first goes its way: out, back, and to
 * its block, which is given back with it. The second comes when nobody has the block any more.
 */
static int double_free_written_2_cpus(struct arena *arena, u8 *victim)
{
	int err;

	drop_slot(arena, victim);
	give(arena, victim);
	enter("fault");
	damage(victim, SIZE);
	err = set_cpus_allowed_ptr(current, cpumask_of(1));
	if (err)
		return err;
	give(arena, victim);
	err = set_cpus_allowed_ptr(current, cpumask_of(0));
	if (err)
		return err;
	enter("next");
	err = add(arena, 10000);
	if (err)
		return err;
	fill(arena, 0);
	check_overlap(arena);
	while (arena->nr)
		give(arena, arena->slots[--arena->nr]);
	enter("free");
	shrink(arena);
	return 0;
}

/* All slots are free, and the pages given back. */
static int double_free_given_back(struct arena *arena, u8 *victim)
{
	while (arena->nr)
		give(arena, arena->slots[--arena->nr]);
	shrink(arena);
	enter("fault");
	give(arena, victim);
	return 0;
}

static int free_stack(struct arena *arena, u8 *victim)
{
	u8 local[SIZE] __aligned(16);

	memset(local, pattern(local), SIZE);
	enter("fault");
	give_any(arena, local);
	if (!all_bytes_are(local, pattern(local), SIZE))
		harmed("lost");
	return 0;
}

static u8 global[SIZE] __aligned(16);

static int free_global(struct arena *arena, u8 *victim)
{
	enter("fault");
	give_any(arena, global);
	return 0;
}

static int free_vmalloc(struct arena *arena, u8 *victim)
{
	void *memory = vmalloc(PAGE_SIZE);

	if (!memory)
		return -ENOMEM;
	enter("fault");
	give_any(arena, memory);
	vfree(memory);
	return 0;
}

static void *alloc_kmalloc(void *context)
{
	return kmalloc(SIZE, GFP_KERNEL);
}

static void free_to_kmalloc(void *context, void *slot)
{
	kfree(slot);
}

/* Where kfree() is right: not to be freed to a cache. */
static int free_kmalloc(struct arena *arena, u8 *victim)
{
	void *memory = kmalloc(SIZE, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	enter("fault");
	give(arena, memory);
	check_owner(alloc_kmalloc, free_to_kmalloc, NULL, memory);
	return 0;
}

static int free_page_address(struct arena *arena, u8 *victim)
{
	void *memory = (void *)__get_free_page(GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	enter("fault");
	give_any(arena, memory);
	if (!page_count(virt_to_page(memory)))
		harmed("lost");
	else
		free_page((unsigned long)memory);
	return 0;
}

static int free_user(struct arena *arena, u8 *victim)
{
	enter("fault");
	give_any(arena, (void *)(current->mm->start_stack & ~15UL));
	return 0;
}

static int free_past_memory(struct arena *arena, u8 *victim)
{
	enter("fault");
	give_any(arena, __va(1ULL << 40));
	return 0;
}

static int free_inside(struct arena *arena, u8 *victim)
{
	enter("fault");
	give(arena, victim + 8);
	return 0;
}

static void *alloc_arena(void *context)
{
	return take(context);
}

static void free_to_arena(void *context, void *slot)
{
	give(context, slot);
}

/* A slot of the arena's, freed to another cache. */
static int free_other_cache(struct arena *arena, u8 *victim)
{
	struct blockslab_cache *ours = NULL;
	struct kmem_cache *slubs = NULL;
	bool made;

	if (arena->side == SLUB)
		slubs = slub_create("faults-other");
	else
		ours = blockslab_cache_create("faults-other", SIZE, 0, arena->flags, NULL);
	made = slubs || !IS_ERR_OR_NULL(ours);
	if (!made)
		return -ENOMEM;
	enter("fault");
	if (slubs)
		kmem_cache_free(slubs, victim);
	else
		blockslab_cache_free(ours, victim);
	check_owner(alloc_arena, free_to_arena, arena, victim);
	arena->gone = victim;
	kmem_cache_destroy(slubs);
	blockslab_cache_destroy(ours);
	return 0;
}

/* Freed by RCU, and again before the grace period is over. */
static int free_rcu_free(struct arena *arena, u8 *victim)
{
	drop_slot(arena, victim);
	blockslab_free_rcu(victim);
	enter("fault");
	give(arena, victim);
	return 0;
}

static int free_rcu_twice(struct arena *arena, u8 *victim)
{
	drop_slot(arena, victim);
	blockslab_free_rcu(victim);
	enter("fault");
	blockslab_free_rcu(victim);
	return 0;
}

static int trim(void *arena)
{
	while (!kthread_should_stop()) {
		shrink(arena);
		cond_resched();
	}
	return 0;
}

/* Again and again, while another CPU takes free slots away. SLUB tells each at length. */
static int double_free_trimmed(struct arena *arena, u8 *victim)
{
	struct task_struct *task = kthread_create(trim, arena, "faults-trim");
	int rounds = arena->side == SLUB ? 10 : 20000, err = 0;
	u8 *slot;

	if (IS_ERR(task))
		return PTR_ERR(task);
	kthread_bind(task, 1);
	wake_up_process(task);
	enter("fault");
	while (rounds-- && !err) {
		slot = take(arena);
		err = slot ? 0 : -ENOMEM;
		give(arena, slot);
		give(arena, slot);
	}
	kthread_stop(task);
	return err;
}

static int wrong_size(struct arena *arena, u8 *victim)
{
	enter("fault");
	blockslab_free_sized(victim, 2 * SIZE);
	return 0;
}

/* --- rows: slots among the rest of the kernel ------------------------------------------------- */

/* Whether the page allocator gives out the page of @slot. */
static void check_page(const void *slot)
{
	static void *pages[NR_FIRST];
	bool lost = false;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		pages[i] = (void *)get_zeroed_page(GFP_KERNEL);
		lost |= pages[i] && PFN_DOWN(__pa(pages[i])) == PFN_DOWN(__pa(slot));
	}
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		free_page((unsigned long)pages[i]);
	if (lost)
		harmed("lost");
}

/* Right for SLUB; the commonest slip of who moves from it to blockslab. */
static int kfree_slot(struct arena *arena, u8 *victim)
{
	drop_slot(arena, victim);
	enter("fault");
	OPTIMIZER_HIDE_VAR(victim);
	kfree(victim);
	check_page(victim);
	return 0;
}

/* As network and block drivers do with what they are given. */
static int page_reference(struct arena *arena, u8 *victim)
{
	enter("fault");
	get_page(virt_to_page(victim));
	put_page(virt_to_page(victim));
	check_page(victim);
	return 0;
}

/* Sent without a copy if its page says so: the peer gets what is there later. */
static int page_sent(struct arena *arena, u8 *victim)
{
	enter("fault");
	if (sendpage_ok(virt_to_page(victim)))
		harmed("content");
	return 0;
}

/* Somebody refers to a page when all of its slots are free. */
static int page_held(struct arena *arena, u8 *victim)
{
	struct page *page = virt_to_page(victim);

	get_page(page);
	enter("fault");
	while (arena->nr)
		give(arena, arena->slots[--arena->nr]);
	shrink(arena);
	check_page(victim);
	put_page(page);
	return 0;
}

static unsigned long user_page(void)
{
	return vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, 0);
}

static int copy_to_user_past(struct arena *arena, u8 *victim)
{
	void __user *user = (void __user *)user_page();
	size_t size = 2 * SIZE, left;

	OPTIMIZER_HIDE_VAR(size);
	if (IS_ERR_VALUE((unsigned long)user))
		return -ENOMEM;
	enter("fault");
	left = arena->side == SLUB ? copy_to_user(user, victim, size) :
				     blockslab_copy_to_user(user, victim, size);
	if (left != size)
		harmed("lost");
	return 0;
}

static int copy_from_user_past(struct arena *arena, u8 *victim)
{
	void __user *user = (void __user *)user_page();
	size_t size = 2 * SIZE, left;

	OPTIMIZER_HIDE_VAR(size);
	if (IS_ERR_VALUE((unsigned long)user))
		return -ENOMEM;
	enter("fault");
	left = arena->side == SLUB ? copy_from_user(victim, user, size) :
				     blockslab_copy_from_user(victim, user, size);
	if (left != size)
		harmed("content");
	return 0;
}

/* --- rows: writes ----------------------------------------------------------------------------- */

/* Writes beside the victim, and frees it. Slots that were reached are made whole again. */
static int write_beside(struct arena *arena, u8 *victim, ssize_t offset, size_t bytes)
{
	enter("fault");
	damage(victim + offset, bytes);
	if (!all_content(arena))
		harmed("written");
	fill(arena, 0);
	enter("next");
	drop_slot(arena, victim);
	give(arena, victim);
	return 0;
}

static int overflow(struct arena *arena, u8 *victim, size_t bytes)
{
	return write_beside(arena, victim, SIZE, bytes);
}

static int overflow_1(struct arena *arena, u8 *victim)
{
	return overflow(arena, victim, 1);
}

static int overflow_8(struct arena *arena, u8 *victim)
{
	return overflow(arena, victim, 8);
}

static int overflow_64(struct arena *arena, u8 *victim)
{
	return overflow(arena, victim, 64);
}

static int overflow_slot(struct arena *arena, u8 *victim)
{
	return overflow(arena, victim, arena->stride);
}

static int underflow(struct arena *arena, u8 *victim)
{
	return write_beside(arena, victim, -8, 8);
}

static int write_after(struct arena *arena, u8 *victim, size_t others)
{
	int err = free_with(arena, victim, others);

	if (err)
		return err;
	enter("fault");
	damage(victim + 16, 8);
	return 0;
}

static int write_after_free(struct arena *arena, u8 *victim)
{
	return write_after(arena, victim, 0);
}

static int write_after_free_later(struct arena *arena, u8 *victim)
{
	return write_after(arena, victim, 100);
}

/* What the reader gets is said as harm is; it is none. */
static int read_after_free(struct arena *arena, u8 *victim)
{
	drop_slot(arena, victim);
	give(arena, victim);
	enter("fault");
	OPTIMIZER_HIDE_VAR(victim);
	pr_notice("read %s\n", all_bytes_are(victim + 16, POISON_FREE, 16) ? "poison" : "old");
	return 0;
}

/* Memory of this module, which no allocator is to hand out. */
static u8 target[8 * PAGE_SIZE] __aligned(PAGE_SIZE);

static bool in_target(const u8 *slot)
{
	return slot >= target && slot < target + sizeof(target);
}

/* Allocates until free slots come round again, and looks at what was got. */
static int reuse(struct arena *arena)
{
	size_t i, from = arena->nr;
	bool outside = false;
	int err;

	enter("reuse");
	err = add(arena, NR_REUSE);
	for (i = arena->nr; i-- > from;)
		if (in_target(arena->slots[i])) {
			outside = true;
			drop(arena, i);
		}
	if (outside)
		harmed("outside");
	fill(arena, from);
	check_overlap(arena);
	check_content(arena);
	return err;
}

/* The classic exploit: the next slot that a freelist names is to be of the writer's choice. */
static int freelist_overwritten(struct arena *arena, u8 *victim)
{
	unsigned long *words = (unsigned long *)victim;
	int err = free_with(arena, victim, 0);
	size_t i;

	if (err)
		return err;
	enter("fault");
	OPTIMIZER_HIDE_VAR(words);
	for (i = 0; i < SIZE / sizeof(*words); i++)
		words[i] = (unsigned long)target;
	return 0;
}

/* --- rows: the allocator's own words ---------------------------------------------------------- */

/* The victim's block gets free slots, and is one that no CPU allocates from. */
static int make_partial(struct arena *arena, u8 *victim)
{
	int err = free_with(arena, victim, 100);

	if (err)
		return err;
	shrink(arena);
	return 0;
}

static unsigned long *page_words(const void *slot)
{
	return (unsigned long *)virt_to_head_page(slot);
}

/* SLUB's freelist: the word in struct page that points to a slot there. */
static unsigned long *slub_freelist(const u8 *slot)
{
	unsigned long *words = page_words(slot), base = (unsigned long)slot & PAGE_MASK;
	size_t i;

	for (i = 1; i < sizeof(struct page) / sizeof(*words); i++)
		if (words[i] - base < PAGE_SIZE)
			return &words[i];
	return NULL;
}

/* blockslab's descriptor, of which core/fast.h says what is where. */
static struct blockslab_block *descriptor(const u8 *slot)
{
	struct blockslab_block *block = (void *)page_private(virt_to_page(slot));

	return block && slot - (u8 *)block->base < 16 * PAGE_SIZE ? block : NULL;
}

/* Where the free slots are. */
static int descriptor_address(struct arena *arena, u8 *victim)
{
	int err = make_partial(arena, victim);
	struct blockslab_block *block;
	unsigned long *freelist;

	if (err)
		return err;
	freelist = arena->side == SLUB ? slub_freelist(victim) : NULL;
	block = arena->side == SLUB ? NULL : descriptor(victim);
	if (!freelist && !block)
		return -ENXIO;
	enter("fault");
	if (block)
		block->base = target;
	else
		*freelist = (unsigned long)target;
	return 0;
}

/* How many are free; or in use, which SLUB has right behind the freelist. */
static int write_count(struct arena *arena, const u8 *victim, bool all_but_one)
{
	unsigned long *freelist = arena->side == SLUB ? slub_freelist(victim) : NULL;
	struct blockslab_block *block = arena->side == SLUB ? NULL : descriptor(victim);

	if (!freelist && !block)
		return -ENXIO;
	enter("fault");
	if (block)
		block->nr_free = all_but_one ? block->nr_slots - 1 : 0x7fff;
	else
		((u16 *)freelist)[4] = all_but_one ? 1 : 0x7fff;
	return 0;
}

static int descriptor_count(struct arena *arena, u8 *victim)
{
	int err = make_partial(arena, victim);

	return err ?: write_count(arena, victim, false);
}

/* One more free, and there is nothing in the block, the count says. Its pages must not go. */
static int descriptor_all_free(struct arena *arena, u8 *victim)
{
	int err = make_partial(arena, victim);

	err = err ?: write_count(arena, victim, true);
	if (err)
		return err;
	enter("next");
	give(arena, drop(arena, 0));
	shrink(arena);
	if (!page_count(virt_to_page(victim)))
		harmed("lost");
	return 0;
}

/* Whose the page is. */
static int descriptor_owner(struct arena *arena, u8 *victim)
{
	unsigned long *words = page_words(victim);
	size_t i;

	for (i = 1; arena->side == SLUB && i < sizeof(struct page) / sizeof(*words); i++)
		if (words[i] == (unsigned long)arena->slub)
			break;
	if (i == sizeof(struct page) / sizeof(*words))
		return -ENXIO;
	if (arena->side == BLOCKSLAB)
		words = (unsigned long *)&virt_to_page(victim)->lru;
	else
		words += i;
	enter("fault");
	*words = (unsigned long)target;
	enter("next");
	drop_slot(arena, victim);
	give(arena, victim);
	return 0;
}

/* --- rows: destroyed heaps -------------------------------------------------------------------- */

static int make_heap(struct arena *arena);

static void destroy(struct arena *arena)
{
	if (arena->side == SLUB)
		kmem_cache_destroy(arena->slub);
	else
		blockslab_heap_destroy(arena->heap);
}

/* A slot outlives its heap: it is written to, and freed, as before. */
static int destroy_live(struct arena *arena, u8 *victim)
{
	drop_slot(arena, victim);
	while (arena->nr)
		give(arena, arena->slots[--arena->nr]);
	enter("fault");
	destroy(arena);
	enter("next");
	memset(victim, pattern(victim), SIZE);
	if (!all_bytes_are(victim, pattern(victim), SIZE))
		harmed("content");
	give(arena, victim);
	return make_heap(arena);
}

/*
 * Allocates from what is destroyed, and still has a slot out: were it not so, its memory might
 * have a new owner by now, and what happens then is chance.
 */
static int destroy_alloc(struct arena *arena, u8 *victim)
{
	void *slot;

	drop_slot(arena, victim);
	while (arena->nr)
		give(arena, arena->slots[--arena->nr]);
	enter("destroyed");
	destroy(arena);
	enter("fault");
	slot = take(arena);
	enter("over");
	if (slot)
		give(arena, slot);
	give(arena, victim);
	return make_heap(arena);
}

/* Without a live slot: nothing of it is left but its address. */
static int destroy_twice(struct arena *arena, u8 *victim)
{
	while (arena->nr)
		give(arena, arena->slots[--arena->nr]);
	destroy(arena);
	enter("fault");
	destroy(arena);
	enter("over");
	return make_heap(arena);
}

static int use_after_destroy(struct arena *arena, u8 *victim)
{
	void *slot, *large = NULL;

	while (arena->nr)
		give(arena, arena->slots[--arena->nr]);
	destroy(arena);
	enter("fault");
	slot = take(arena);
	if (arena->side == BLOCKSLAB)
		large = blockslab_alloc(arena->heap, 20000, GFP_KERNEL);
	if (slot || large)
		harmed("outside");
	enter("over");
	return make_heap(arena);
}

/* --- rows: clients that end badly ------------------------------------------------------------- */

struct client {
	struct arena *arena;
	struct mutex mutex;	/* of the client's own, as is lock: they guard nothing */
	spinlock_t lock;	/* held at the oops */
	size_t nr;
	u8 *slots[64];
};

/* Runs a thread that does not come back by itself; false if it does not end at all. */
static bool thread_ends(int (*run)(void *client), struct client *client, bool kill)
{
	struct task_struct *task = kthread_create(run, client, "faults-client");
	int tries;

	if (IS_ERR(task))
		return false;
	get_task_struct(task);
	wake_up_process(task);
	msleep(200);
	if (kill)
		send_sig(SIGKILL, task, 1);
	for (tries = 0; tries < 600 && !READ_ONCE(task->exit_state); tries++)
		msleep(100);
	kill = READ_ONCE(task->exit_state);
	put_task_struct(task);
	return kill;
}

/* The rest of its slots are freed by somebody else. */
static int client_ends(struct arena *arena, int (*run)(void *client), bool kill)
{
	struct client *client = kzalloc(sizeof(*client), GFP_KERNEL);

	if (!client)
		return -ENOMEM;
	client->arena = arena;
	mutex_init(&client->mutex);
	spin_lock_init(&client->lock);
	enter("oops");
	if (!thread_ends(run, client, kill))
		return -ETIMEDOUT;
	enter("next");
	while (client->nr)
		give(arena, client->slots[--client->nr]);
	validate(arena);
	return 0;
}

static int oops(void *context)
{
	struct client *client = context;
	int *nowhere = NULL;

	while (client->nr < ARRAY_SIZE(client->slots)) {
		u8 *slot = take(client->arena);

		if (!slot)
			return 0;
		client->slots[client->nr++] = slot;
	}
	mutex_lock(&client->mutex);
	spin_lock(&client->lock);
	OPTIMIZER_HIDE_VAR(nowhere);
	WRITE_ONCE(*nowhere, 1);
	spin_unlock(&client->lock);	/* not reached */
	mutex_unlock(&client->mutex);
	return 0;
}

static int client_oopses(struct arena *arena, u8 *victim)
{
	return client_ends(arena, oops, false);
}

static int free_by_rcu(void *context)
{
	struct client *client = context;

	allow_signal(SIGKILL);
	while (!signal_pending(current)) {
		void *slot = take(client->arena);

		if (slot)
			blockslab_free_rcu(slot);
		cond_resched();
	}
	return 0;
}

/* Killed with slots on their way through a grace period. */
static int client_killed_in_free_rcu(struct arena *arena, u8 *victim)
{
	return client_ends(arena, free_by_rcu, true);
}

/* --- runs ------------------------------------------------------------------------------------- */

struct row {
	const char *name;
	int (*run)(struct arena *arena, u8 *victim);
	const char *flags;
};

/*
 * found: blockslab finds it at the fault, in any mode, and nothing is harmed.
 * excepted: by default a slot may be given out twice.
 * ours: SLUB has no such call.
 * sampled: where the slot is sampled, it is found.
 */
static const struct row rows[] = {
	{ "double-free", double_free, "found" },
	{ "double-free-after-1", double_free_1, "found" },
	{ "double-free-after-100", double_free_100, "found" },
	{ "double-free-after-10000", double_free_10000, "found" },
	{ "double-free-other-cpu", double_free_other_cpu, "found" },
	{ "double-free-given-back", double_free_given_back, "found" },
	{ "double-free-reused", double_free_reused, "sampled" },
	{ "double-free-written", double_free_written, "excepted" },
	{ "double-free-written-1", double_free_written_1, "excepted" },
	{ "double-free-written-2-cpus", double_free_written_2_cpus, "excepted" },
	{ "free-stack", free_stack, "found" },
	{ "free-global", free_global, "found" },
	{ "free-vmalloc", free_vmalloc, "found" },
	{ "free-kmalloc", free_kmalloc, "found" },
	{ "free-page", free_page_address, "found" },
	{ "free-user", free_user, "found" },
	{ "free-past-memory", free_past_memory, "found" },
	{ "free-inside", free_inside, "found" },
	{ "free-other-cache", free_other_cache, "found" },
	{ "free-rcu-free", free_rcu_free, "found ours" },
	{ "free-rcu-twice", free_rcu_twice, "found ours" },
	{ "wrong-size", wrong_size, "found ours" },
	{ "kfree-slot", kfree_slot, "" },
	{ "page-reference", page_reference, "" },
	{ "page-sent", page_sent, "" },
	{ "page-held", page_held, "" },
	{ "copy-to-user-past", copy_to_user_past, "found" },
	{ "copy-from-user-past", copy_from_user_past, "found" },
	{ "overflow-1", overflow_1, "" },
	{ "overflow-8", overflow_8, "sampled" },
	{ "overflow-64", overflow_64, "" },
	{ "overflow-slot", overflow_slot, "" },
	{ "underflow-8", underflow, "sampled" },
	{ "write-after-free", write_after_free, "sampled" },
	{ "write-after-free-later", write_after_free_later, "" },
	{ "read-after-free", read_after_free, "" },
	{ "destroy-live", destroy_live, "" },
	{ "destroy-alloc", destroy_alloc, "" },
	{ "destroy-twice", destroy_twice, "found" },
	{ "use-after-destroy", use_after_destroy, "found" },
	{ "freelist-overwritten", freelist_overwritten, "" },
	{ "descriptor-address", descriptor_address, "" },
	{ "descriptor-count", descriptor_count, "" },
	{ "descriptor-all-free", descriptor_all_free, "" },
	{ "descriptor-owner", descriptor_owner, "" },
	{ "double-free-trimmed", double_free_trimmed, "found" },
	{ "client-oopses", client_oopses, "" },
	{ "client-killed-in-free-rcu", client_killed_in_free_rcu, "ours" },
};

static int make_heap(struct arena *arena)
{
	static unsigned int number;
	struct blockslab_heap_attrs attrs = { .flags = arena->flags };

	snprintf(arena->name, sizeof(arena->name), "faults-%u", number++);
	if (arena->side == SLUB)
		arena->slub = slub_create(arena->name);
	else
		arena->heap = blockslab_heap_create(arena->name, &attrs);
	return arena->slub || !IS_ERR_OR_NULL(arena->heap) ? 0 : -ENOMEM;
}

static int commit(const struct row *row, struct arena *arena)
{
	u8 *victim;
	int err;

	err = set_cpus_allowed_ptr(current, cpumask_of(0));
	if (!err)
		err = make_heap(arena);
	if (!err)
		err = add(arena, NR_FIRST);
	if (err)
		return err;
	fill(arena, 0);
	victim = pick_victim(arena);
	if (!victim)
		return -ENXIO;
	err = row->run(arena, victim);
	if (err)
		return err;
	check_content(arena);
	err = reuse(arena);
	if (err)
		return err;
	enter("free");
	while (arena->nr)
		give(arena, arena->slots[--arena->nr]);
	shrink(arena);
	validate(arena);
	enter("destroy");
	if (arena->side == BLOCKSLAB)
		blockslab_heap_release(arena->heap);	/* what was refused is still allocated */
	destroy(arena);
	return 0;
}

/* Nothing is freed where the run does not come back; the guest will not last long then. */
static int run(const struct row *row, struct arena *arena)
{
	int err = register_trace_blockslab_fault(count_report, NULL);

	if (err)
		return err;
	err = -ENOMEM;
	arena->slots = vcalloc(NR_MAX, sizeof(*arena->slots));
	arena->sorted = vcalloc(NR_MAX, sizeof(*arena->sorted));
	if (arena->slots && arena->sorted)
		err = commit(row, arena);
	end_phase();
	unregister_trace_blockslab_fault(count_report, NULL);
	tracepoint_synchronize_unregister();
	vfree(arena->slots);
	vfree(arena->sorted);
	return err;
}

/* --- sampled: so many faults that some are found ---------------------------------------------- */

#define ROUNDS		20000
#define PERIOD		4096
#define ODD_SIZE	(SIZE - 3)	/* what a sampled slot's usable size is, and no other's */

static bool is_watched(const u8 *slot)
{
	return blockslab_usable_size(slot) == ODD_SIZE;
}

static void past_sampled(struct arena *arena, u8 *slot)
{
	damage(slot + ODD_SIZE, 8);
	give(arena, slot);
}

static void before_sampled(struct arena *arena, u8 *slot)
{
	damage(slot - 8, 8);
	give(arena, slot);
}

static void after_sampled(struct arena *arena, u8 *slot)
{
	give(arena, slot);
	damage(slot, 8);
}

/*
 * Where the second free is taken, it is the new owner's slot that was freed. One that was not
 * sampled, and has no new owner, would be told in any case.
 */
static void twice_sampled(struct arena *arena, u8 *slot)
{
	bool watched = is_watched(slot);
	void *owner;

	give(arena, slot);
	owner = blockslab_alloc(arena->heap, ODD_SIZE, GFP_KERNEL);
	if (watched || owner == slot)
		give(arena, slot);
	if (owner != slot)
		give(arena, owner);
}

static const struct {
	const char *row;
	void (*commit)(struct arena *arena, u8 *slot);
} samples[] = {
	{ "overflow-8", past_sampled },
	{ "underflow-8", before_sampled },
	{ "write-after-free", after_sampled },
	{ "double-free-reused", twice_sampled },
};

/* A slot that is not sampled must have slots around it: what is written to is this heap's. */
static bool amid_page(const u8 *slot)
{
	return offset_in_page(slot) > SIZE && offset_in_page(slot) < PAGE_SIZE - 4 * SIZE;
}

static int commit_sampled(struct arena *arena, void (*commit)(struct arena *arena, u8 *slot))
{
	unsigned int round, rounds = 0, sampled = 0;
	bool watched;
	u8 *slot;

	for (round = 0; round < ROUNDS; round++) {
		slot = blockslab_alloc(arena->heap, ODD_SIZE, GFP_KERNEL);
		if (!slot)
			return -ENOMEM;
		watched = is_watched(slot);
		rounds++;
		sampled += watched;
		if (watched || amid_page(slot))
			commit(arena, slot);
		else
			give(arena, slot);
	}
	shrink(arena);
	pr_notice("sampled %u of %u bytes one of %u: %u found %d\n", rounds, ODD_SIZE, PERIOD,
		  sampled, atomic_read(&reports));
	return 0;
}

static int run_sampled(const char *row, struct arena *arena)
{
	size_t i = 0;
	int err;

	while (i < ARRAY_SIZE(samples) && strcmp(samples[i].row, row))
		i++;
	if (i == ARRAY_SIZE(samples))
		return -EINVAL;
	err = make_heap(arena) ?: blockslab_track(arena->heap, PERIOD);
	if (!err)
		err = register_trace_blockslab_fault(count_report, NULL);
	if (err)
		return err;
	enter("fault");
	err = commit_sampled(arena, samples[i].commit);
	unregister_trace_blockslab_fault(count_report, NULL);
	tracepoint_synchronize_unregister();
	blockslab_heap_destroy(arena->heap);
	return err;
}

/* Slots of a heap that nobody will free: this module can be unloaded after that. */
static int leave(void)
{
	struct blockslab_heap *heap = blockslab_heap_create("left", NULL);
	int i;

	if (IS_ERR(heap))
		return PTR_ERR(heap);
	for (i = 0; i < NR_FIRST; i++)
		if (!blockslab_alloc(heap, 1 + i * 8, GFP_KERNEL))
			return -ENOMEM;
	return 0;
}

static ssize_t run_write(struct file *file, const char __user *user, size_t size, loff_t *pos)
{
	char text[80] = "", name[32], side[16], mode[16];
	struct arena arena = {};
	size_t i;
	int err;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, size))
		return -EFAULT;
	if (!strcmp(strim(text), "leave"))
		return leave() ?: size;
	if (sscanf(text, "%31s %15s %15s", name, side, mode) != 3)
		return -EINVAL;
	arena.side = strcmp(side, "slub") ? BLOCKSLAB : SLUB;
	arena.flags = strcmp(mode, "debug") ? 0 : DEBUG_FLAGS;
	for (i = 0; i < ARRAY_SIZE(rows) && strcmp(rows[i].name, name); i++)
		;
	if (i == ARRAY_SIZE(rows))
		return -EINVAL;
	pr_notice("run %s %s %s\n", name, side, mode);
	if (strcmp(mode, "sampled"))
		err = run(&rows[i], &arena);
	else
		err = run_sampled(name, &arena);
	if (err) {
		pr_notice("not run: error %d\n", err);
		return err;
	}
	pr_notice("done\n");
	return size;
}

static const struct file_operations run_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = run_write,
};

static int rows_show(struct seq_file *seq, void *unused)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		seq_printf(seq, "%s %s\n", rows[i].name, rows[i].flags);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(rows);

static struct dentry *directory;

static int __init blockslab_faults_init(void)
{
	directory = debugfs_create_dir("blockslab_faults", NULL);
	debugfs_create_file("rows", 0400, directory, NULL, &rows_fops);
	debugfs_create_file("run", 0200, directory, NULL, &run_fops);
	return 0;
}
module_init(blockslab_faults_init);

static void __exit blockslab_faults_exit(void)
{
	debugfs_remove_recursive(directory);
}
module_exit(blockslab_faults_exit);

MODULE_DESCRIPTION("Faults to be found, with blockslab and with SLUB; for guests only");
MODULE_LICENSE("GPL");
