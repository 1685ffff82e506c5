// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_ask: asks one question a load, `insmod blockslab_ask.ko ask=NAME`
 *
 * For guests: what a slot is to the rest of the kernel. insmod fails if the answer is not right;
 * the log tells more.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "blockslab.h"

#define NR_SLOTS	64
#define NR_PAGES	400

static char *ask = "";
module_param(ask, charp, 0444);
MODULE_PARM_DESC(ask, "The question");

static struct blockslab_heap *heap;
static u8 *slots[NR_SLOTS];
static struct task_struct *task;

static int refuse(const char *what, size_t size)
{
	pr_err("not right: %s, %zu bytes\n", what, size);
	return -EBADMSG;
}

static int make_heap(unsigned long flags)
{
	struct blockslab_heap_attrs attrs = { .flags = flags };

	heap = blockslab_heap_create(ask, &attrs);
	return PTR_ERR_OR_ZERO(heap);
}

/* Each full of its own number. */
static int fill(size_t nr, size_t size)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		slots[i] = blockslab_alloc(heap, size, GFP_KERNEL);
		if (!slots[i])
			return -ENOMEM;
		memset(slots[i], i | 0x80, size);
	}
	return 0;
}

static bool whole(size_t nr, size_t size)
{
	size_t i;

	for (i = 0; i < nr; i++)
		if (slots[i] && memchr_inv(slots[i], i | 0x80, size))
			return false;
	return true;
}

static void empty(size_t nr)
{
	while (nr--) {
		blockslab_free(slots[nr]);
		slots[nr] = NULL;
	}
}

/* Whether the page allocator gives out the page of @slot. Zeroed, so that a victim shows it. */
static bool given_out(const void *slot)
{
	static void *pages[NR_PAGES];
	bool found = false;
	int i;

	for (i = 0; i < NR_PAGES; i++) {
		pages[i] = (void *)get_zeroed_page(GFP_KERNEL);
		found |= pages[i] && PFN_DOWN(__pa(pages[i])) == PFN_DOWN(__pa(slot));
	}
	for (i = 0; i < NR_PAGES; i++)
		free_page((unsigned long)pages[i]);
	return found;
}

/* --- realloc(): what is new is zero, in place and moved --------------------------------------- */

static int grows_zeroed(struct blockslab_heap *in, gfp_t gfp, size_t large, size_t small,
			size_t again)
{
	u8 *slot = blockslab_alloc(in, large, gfp), *resized;
	bool right;

	if (!slot)
		return -ENOMEM;
	memset(slot, 0xaa, large);
	resized = blockslab_realloc(in, slot, small, gfp);
	resized = resized ? blockslab_realloc(in, resized, again, gfp) : NULL;
	if (!resized)
		return -ENOMEM;
	right = !memchr_inv(resized, 0xaa, small) && !memchr_inv(resized + small, 0, again - small);
	blockslab_free(resized);
	return right ? 0 : refuse("what a realloc() added is not zero", again);
}

static int ask_rezero(void)
{
	static const size_t sizes[][3] = {
		{ 24, 17, 24 }, { 24, 17, 64 }, { 24, 1, 20 }, { 500, 490, 499 },
		{ 8192, 8000, 8190 }, { 20000, 17000, 20000 }, { 20000, 100, 30000 },
	};
	int err = make_heap(BLOCKSLAB_ZERO), i;

	for (i = 0; i < ARRAY_SIZE(sizes) && !err; i++)
		err = grows_zeroed(NULL, GFP_KERNEL | __GFP_ZERO, sizes[i][0], sizes[i][1],
				   sizes[i][2]) ?:
		      grows_zeroed(heap, GFP_KERNEL, sizes[i][0], sizes[i][1], sizes[i][2]);
	return err;
}

/* --- zone Movable is for what can be moved ---------------------------------------------------- */

static int ask_zone(void)
{
	static const gfp_t kinds[] = {
		GFP_KERNEL, GFP_HIGHUSER_MOVABLE, GFP_KERNEL | __GFP_MOVABLE, GFP_HIGHUSER,
	};
	static const size_t sizes[] = { 64, 3000, 8192, 16384, 100000 };
	int i, j, err = make_heap(0);

	for (i = 0; i < ARRAY_SIZE(kinds) * ARRAY_SIZE(sizes) && !err; i++) {
		j = i / ARRAY_SIZE(kinds);
		slots[i] = blockslab_alloc(heap, sizes[j], kinds[i % ARRAY_SIZE(kinds)]);
		if (!slots[i])
			err = -ENOMEM;
		else if (page_zonenum(virt_to_page(slots[i])) > ZONE_NORMAL)
			err = refuse("no memory of the kernel's own", sizes[j]);
	}
	empty(i);
	return err;
}

/* --- a page that somebody else refers to ------------------------------------------------------ */

static const size_t page_sizes[] = { 64, 1000, 3000, 8192, 16384 };

static int ask_sendpage(void)
{
	int i, err = make_heap(0);

	for (i = 0; i < ARRAY_SIZE(page_sizes) && !err; i++) {
		slots[0] = blockslab_alloc(heap, page_sizes[i], GFP_KERNEL);
		if (!slots[0])
			return -ENOMEM;
		if (sendpage_ok(virt_to_page(slots[0])))
			err = refuse("it may be sent without a copy", page_sizes[i]);
		empty(1);
	}
	return err;
}

/* References that come and go while the slot lives. */
static int pages_balance(size_t size)
{
	int err = fill(NR_SLOTS, size), i, j;

	for (i = 0; i < NR_SLOTS && !err; i++)
		for (j = 0; j < 3; j++)
			get_page(virt_to_page(slots[i]));
	for (i = 0; i < NR_SLOTS && !err; i++)
		for (j = 0; j < 3; j++)
			put_page(virt_to_page(slots[i]));
	for (i = 0; i < NR_SLOTS && !err; i++)
		if (given_out(slots[i]))
			err = refuse("a page was given out under a slot", size);
	if (!err && (!whole(NR_SLOTS, size) || blockslab_validate(heap)))
		err = refuse("slots were damaged", size);
	empty(NR_SLOTS);
	return err;
}

static int ask_pages(void)
{
	int i, err = make_heap(0);

	for (i = 0; i < ARRAY_SIZE(page_sizes) && !err; i++)
		err = pages_balance(page_sizes[i]);
	return err;
}

/* One that outlives the slot and its block: who holds it keeps the page. */
static int page_is_kept(size_t size)
{
	void *slot = blockslab_alloc(heap, size, GFP_KERNEL);
	struct page *page;
	int err = 0;

	if (!slot)
		return -ENOMEM;
	page = virt_to_page(slot);
	get_page(page);
	blockslab_free(slot);
	blockslab_shrink(heap);
	if (given_out(slot))
		err = refuse("a page was given out that somebody holds", size);
	put_page(page);
	return err ?: blockslab_validate(heap) ? refuse("the invariants do not hold", size) : 0;
}

static int ask_held(void)
{
	int i, err = make_heap(0);

	for (i = 0; i < ARRAY_SIZE(page_sizes) && !err; i++)
		err = page_is_kept(page_sizes[i]);
	return err;
}

#ifdef CONFIG_KRETPROBES
/* One that comes while pages are cut to size, on one that is more than is needed. */
static struct page *last_cut;

static int split_page_enters(struct kretprobe_instance *call, struct pt_regs *regs)
{
	struct page *page = (struct page *)regs_get_kernel_argument(regs, 0);

	last_cut = page + BIT(regs_get_kernel_argument(regs, 1)) - 1;
	return 0;
}

static int split_page_returns(struct kretprobe_instance *call, struct pt_regs *regs)
{
	get_page(last_cut);
	return 0;
}

static struct kretprobe split_page_probe = {
	.kp.symbol_name = "split_page",
	.entry_handler = split_page_enters,
	.handler = split_page_returns,
};

static int ask_cut(void)
{
	int err = make_heap(0) ?: register_kretprobe(&split_page_probe);
	struct page *pair, *single;

	if (err)
		return err;
	slots[0] = blockslab_alloc(heap, 5 * PAGE_SIZE, GFP_KERNEL);
	unregister_kretprobe(&split_page_probe);
	if (!slots[0] || !last_cut)
		return refuse("no pages were cut", 5 * PAGE_SIZE);
	put_page(last_cut);
	/* what was freed last comes first */
	pair = alloc_pages(GFP_KERNEL, 1);
	single = alloc_page(GFP_KERNEL);
	if (pair && single && single - pair >= 0 && single - pair < 2)
		err = refuse("a page was given out twice", 5 * PAGE_SIZE);
	else if (pair && single)
		__free_page(single);
	if (pair)
		__free_pages(pair, 1);
	return err;
}
#endif

/* --- kfree() of a slot harms nothing but that ------------------------------------------------- */

static int kfree_harms_nothing(size_t size)
{
	int err = fill(NR_SLOTS, size);
	void *victim = slots[5];

	if (err)
		return err;
	OPTIMIZER_HIDE_VAR(victim);
	kfree(victim);
	slots[5] = NULL;
	if (given_out(victim))
		err = refuse("kfree() of a slot gave out its page", size);
	else if (!whole(NR_SLOTS, size))
		err = refuse("kfree() of a slot harmed another", size);
	empty(NR_SLOTS);
	return err;
}

static int ask_kfree(void)
{
	int i, err = make_heap(0);

	for (i = 0; i < ARRAY_SIZE(page_sizes) && !err; i++)
		err = kfree_harms_nothing(page_sizes[i]);
	return err;
}

/* --- all that blockslab_usable_size() says may be used ---------------------------------------- */

/* Inline, so that the compiler knows the size that was asked for. */
#define USE_ALL(call) ({						\
	u8 *slot = call;						\
									\
	if (slot)							\
		memset(slot, 1, blockslab_usable_size(slot));		\
	blockslab_free(slot);						\
	slot ? 0 : -ENOMEM;						\
})

static int ask_usable(void)
{
	return USE_ALL(blockslab_alloc(NULL, 17, GFP_KERNEL)) ?:
	       USE_ALL(blockslab_zalloc(NULL, 17, GFP_KERNEL)) ?:
	       USE_ALL(blockslab_alloc_node(NULL, 17, GFP_KERNEL, NUMA_NO_NODE)) ?:
	       USE_ALL(blockslab_alloc_nolock(NULL, 17)) ?:
	       USE_ALL(blockslab_realloc(NULL, NULL, 17, GFP_KERNEL)) ?:
	       USE_ALL(blockslab_alloc(NULL, 9000, GFP_KERNEL));
}

/* --- who may wait does so where one must not: told though nothing is waited for ------------- */

static struct blockslab_cache *cache;

static void *wait_alloc(size_t size)
{
	return blockslab_alloc(heap, size, GFP_KERNEL);
}

static void *wait_alloc_constant(size_t size)
{
	return blockslab_alloc(heap, 64, GFP_KERNEL);
}

static void *wait_zalloc(size_t size)
{
	return blockslab_zalloc(heap, size, GFP_KERNEL);
}

static void *wait_alloc_node(size_t size)
{
	return blockslab_alloc_node(heap, size, GFP_KERNEL, NUMA_NO_NODE);
}

static void *wait_alloc_bulk(size_t size)
{
	void *slot;

	return blockslab_alloc_bulk(heap, size, GFP_KERNEL, 1, &slot) ? slot : NULL;
}

static void *wait_realloc(size_t size)
{
	return blockslab_realloc(heap, NULL, size, GFP_KERNEL);
}

static void *wait_cache_alloc(size_t size)
{
	return blockslab_cache_alloc(cache, GFP_KERNEL);
}

static void *(* const waiting[])(size_t size) = {
	wait_alloc, wait_alloc_constant, wait_zalloc, wait_alloc_node, wait_alloc_bulk,
	wait_realloc, wait_cache_alloc,
};

/* The kernel tells no more than one in a second. */
static int ask_wait(void)
{
	static DEFINE_SPINLOCK(lock);
	int i, err = make_heap(0);

	cache = blockslab_cache_create("wait-cache", 64, 0, 0, NULL);
	if (err || IS_ERR(cache))
		return err ?: PTR_ERR(cache);
	for (i = 0; i < ARRAY_SIZE(waiting); i++) {
		blockslab_free(waiting[i](64));	/* there is a slot in hand now */
		ssleep(2);
		spin_lock(&lock);
		blockslab_free(waiting[i](64));
		spin_unlock(&lock);
	}
	blockslab_cache_destroy(cache);
	pr_info("%zu calls that may wait were made under a lock\n", ARRAY_SIZE(waiting));
	return 0;
}

/* --- one busy CPU, the others have nothing of this heap --------------------------------------- */

static int hog(void *unused)
{
	while (!kthread_should_stop()) {
		if (!fill(NR_SLOTS, 64))
			empty(NR_SLOTS);
		msleep_interruptible(2500);
	}
	return 0;
}

static int ask_hog(void)
{
	int err = make_heap(0);

	if (err)
		return err;
	task = kthread_create(hog, NULL, "hog");
	if (IS_ERR(task))
		return PTR_ERR(task);
	kthread_bind(task, 0);
	wake_up_process(task);
	return 0;
}

/* --- first uses in atomic context do not fail while there is memory --------------------------- */

#define NR_HEAPS	8

static struct blockslab_heap *heaps[NR_HEAPS];

static int heaps_made(void)
{
	char name[16];
	int i;

	for (i = 0; i < NR_HEAPS; i++) {
		snprintf(name, sizeof(name), "ask-%d", i);
		heaps[i] = blockslab_heap_create(name, NULL);
		if (IS_ERR(heaps[i]))
			return PTR_ERR(heaps[i]);
	}
	return 0;
}

/* Every class of every heap: 1024 of them. */
static unsigned int first_uses_fail(void)
{
	unsigned int failed = 0, i;
	size_t size = 0;
	void *slot;

	while (size < BLOCKSLAB_SLOT_MAX) {
		size = blockslab_size_roundup(size + 1);
		for (i = 0; i < NR_HEAPS; i++) {
			slot = blockslab_alloc(heaps[i], size, GFP_ATOMIC);
			failed += !slot;
			blockslab_free(slot);
		}
	}
	return failed;
}

static int ask_atomic(void)
{
	int err = heaps_made();
	unsigned int failed;

	if (!err) {
		local_irq_disable();
		failed = first_uses_fail();
		local_irq_enable();
		err = failed ? refuse("first uses that failed", failed) : 0;
	}
	return err;
}

/* Each keeps as much as any other; what comes of that is seen from outside. */
static int ask_equals(void)
{
	int i, err = heaps_made();

	for (i = 0; i < NR_HEAPS && !err; i++)
		blockslab_free(blockslab_alloc(heaps[i], SZ_4K, GFP_KERNEL));
	return err;
}

/* --- the node asked for, and no other --------------------------------------------------------- */

static int ask_thisnode(void)
{
	int err = make_heap(0), nid, i;

	for_each_node_state(nid, N_MEMORY) {
		for (i = 0; i < ARRAY_SIZE(page_sizes) && !err; i++) {
			slots[0] = blockslab_alloc_node(heap, page_sizes[i],
							GFP_KERNEL | __GFP_THISNODE, nid);
			if (!slots[0])
				return -ENOMEM;
			if (page_to_nid(virt_to_page(slots[0])) != nid)
				err = refuse("it is of another node", page_sizes[i]);
			empty(1);
		}
	}
	return err;
}

/* --- what is asked for in any context is zeroed as all else ----------------------------------- */

static int ask_nolock(void)
{
	int err = make_heap(0), i;

	err = err ?: fill(NR_SLOTS, 64);
	if (err)
		return err;
	empty(NR_SLOTS);
	for (i = 0; i < 4 && !err; i++) {
		slots[i] = blockslab_alloc_nolock(heap, 64);
		if (!slots[i])
			err = refuse("nothing is given, though slots are cached", 64);
		else if (want_init_on_alloc(0) && memchr_inv(slots[i], 0, 64))
			err = refuse("it is not zeroed", 64);
	}
	return err;
}

/* --- what the kernel's sums say of 32 MiB ----------------------------------------------------- */

#define SUM	SZ_32M

static void *held[SUM / SZ_8K];

static int hold(unsigned long flags)
{
	int err = make_heap(flags), i;

	for (i = 0; i < ARRAY_SIZE(held) && !err; i++) {
		held[i] = blockslab_alloc(heap, SZ_8K, GFP_KERNEL);
		err = held[i] ? 0 : -ENOMEM;
	}
	return err;
}

static int ask_unreclaimable(void)
{
	return hold(0);
}

static int ask_reclaimable(void)
{
	return hold(BLOCKSLAB_RECLAIMABLE);
}

/* --- who may not fail waits, and is named ----------------------------------------------------- */

static int wait_for_room(void *unused)
{
	held[0] = blockslab_alloc(heap, SZ_2M, GFP_KERNEL | __GFP_NOFAIL);
	while (!kthread_should_stop())
		msleep_interruptible(1000);
	return 0;
}

static int limited_heap(size_t limit)
{
	struct blockslab_heap_attrs attrs = { .limit = limit };

	heap = blockslab_heap_create(ask, &attrs);
	return PTR_ERR_OR_ZERO(heap);
}

static int ask_nofail(void)
{
	int err = limited_heap(SZ_1M);

	if (err)
		return err;
	task = kthread_run(wait_for_room, NULL, "nofail");
	return PTR_ERR_OR_ZERO(task);
}

/* --- where nanoseconds are instructions: a refusal at the limit ------------------------------- */

#define REFUSALS	1000

static int ask_refusal(void)
{
	int err = limited_heap(SZ_1M), i;
	unsigned int refused = 0;
	u64 start, ns;

	for (i = 0; i < ARRAY_SIZE(held) && !err; i++)
		held[i] = blockslab_alloc(heap, 1000, GFP_KERNEL | __GFP_NOWARN);
	if (err || held[i - 1])
		return err ?: refuse("nothing is refused", SZ_1M);
	start = ktime_get_ns();
	for (i = 0; i < REFUSALS; i++)
		refused += !blockslab_alloc(heap, 1000, GFP_KERNEL | __GFP_NOWARN);
	ns = (ktime_get_ns() - start) / REFUSALS;
	pr_info("%llu instructions a refusal\n", ns);
	if (refused < REFUSALS)
		return refuse("a slot was given over the limit", 1000);
	return ns > 5000 ? refuse("a refusal takes so many instructions", ns) : 0;
}

/* --- where nanoseconds are instructions: a pair ----------------------------------------------- */

static u64 pairs(void)
{
	u64 start = ktime_get_ns();
	int i, j;

	for (i = 0; i < 1000; i++) {
		for (j = 0; j < 8; j++)
			slots[j] = blockslab_alloc(heap, 64, GFP_ATOMIC);
		for (j = 0; j < 8; j++)
			blockslab_free(slots[j]);
	}
	return (ktime_get_ns() - start) / 8000;
}

static int ask_pair(void)
{
	int err = make_heap(0);
	u64 ns;

	if (err)
		return err;
	local_irq_disable();
	pairs();
	ns = pairs();
	local_irq_enable();
	memset(slots, 0, sizeof(slots));
	pr_info("%llu instructions a pair\n", ns);
	/* as many wherever memory has holes */
	return ns > 160 ? refuse("a pair takes so many instructions", ns) : 0;
}

static const struct {
	const char *name;
	int (*ask)(void);
} questions[] = {
	{ "rezero", ask_rezero },
	{ "zone", ask_zone },
	{ "sendpage", ask_sendpage },
	{ "pages", ask_pages },
	{ "held", ask_held },
#ifdef CONFIG_KRETPROBES
	{ "cut", ask_cut },
#endif
	{ "kfree", ask_kfree },
	{ "usable", ask_usable },
	{ "wait", ask_wait },
	{ "hog", ask_hog },
	{ "atomic", ask_atomic },
	{ "equals", ask_equals },
	{ "thisnode", ask_thisnode },
	{ "nolock", ask_nolock },
	{ "unreclaimable", ask_unreclaimable },
	{ "reclaimable", ask_reclaimable },
	{ "nofail", ask_nofail },
	{ "refusal", ask_refusal },
	{ "pair", ask_pair },
};

static void leave(void)
{
	int i;

	for (i = 0; i < NR_HEAPS; i++)
		if (!IS_ERR_OR_NULL(heaps[i]))
			blockslab_heap_destroy(heaps[i]);
	if (!IS_ERR_OR_NULL(task))
		kthread_stop(task);
	empty(ARRAY_SIZE(slots));
	blockslab_free_bulk(ARRAY_SIZE(held), held);
	if (!IS_ERR_OR_NULL(heap))
		blockslab_heap_destroy(heap);
}

static int __init blockslab_ask_init(void)
{
	int i, err = -EINVAL;

	for (i = 0; i < ARRAY_SIZE(questions); i++)
		if (!strcmp(questions[i].name, ask))
			err = questions[i].ask();
	if (err)
		leave();
	return err;
}
module_init(blockslab_ask_init);

static void __exit blockslab_ask_exit(void)
{
	leave();
}
module_exit(blockslab_ask_exit);

MODULE_DESCRIPTION("Questions to blockslab, one a load; for guests only");
MODULE_LICENSE("GPL");
