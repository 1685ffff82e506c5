// SPDX-License-Identifier: GPL-2.0
/*
 * A client that leaves things behind. What it is told (do=), it does as it is loaded, mostly in
 * its __init function, whose memory is others' afterwards:
 *
 *	left	makes a tracked heap, and leaves it with a slot
 *	drain	destroys a heap with a slot, which it frees as it goes
 *	callers	allocates from a tracked heap, which it empties as it goes
 *	rcu	allocates from the shared heap, and frees that after a grace period as it goes
 *	written	allocates from the shared heap, and writes past one slot as it goes, and to another
 *		after its free
 *	large	has whole pages, and a heap that has a reserve and no more, until it goes
 *	lost	allocates from the shared heap, and leaves that
 *	refer	destroys a heap without slots, and leaves a reference on a page that one was in
 */
#include <linux/mm.h>
#include <linux/module.h>
#include "blockslab.h"

static char *does = "left";
module_param_named(do, does, charp, 0);

static struct blockslab_heap *heap, *aside;
static void *slot, *other;

static bool told(const char *what)
{
	return !strcmp(does, what);
}

/* Not gone before the module is. */
static noinline void *lives_get(void)
{
	void *got = blockslab_alloc(heap, 100, GFP_KERNEL);

	barrier();	/* no call at its end */
	return got;
}

static int __init lives_init(void)
{
	struct blockslab_heap_attrs tracked = { .flags = BLOCKSLAB_TRACK };
	struct blockslab_heap_attrs reserved = { .reserve = SZ_64K };

	if (told("written"))
		other = lives_get();
	if (!told("rcu") && !told("written") && !told("lost")) {
		heap = blockslab_heap_create("lives", told("callers") || told("left") ?
					     &tracked : NULL);
		if (IS_ERR(heap))
			return PTR_ERR(heap);
	}
	if (told("large")) {
		aside = blockslab_heap_create("aside", &reserved);
		slot = blockslab_alloc(heap, SZ_128K, GFP_KERNEL);
		return PTR_ERR_OR_ZERO(aside);
	}
	slot = lives_get();
	if (told("refer")) {
		get_page(virt_to_page(slot));
		blockslab_free(slot);
	}
	if (told("drain") || told("refer"))
		blockslab_heap_destroy(heap);
	return 0;
}

/* The compiler shall know nothing of it. */
static noinline void write_to(u8 *byte)
{
	OPTIMIZER_HIDE_VAR(byte);
	WRITE_ONCE(*byte, *byte ^ 1);
}

static void __exit lives_exit(void)
{
	if (told("written")) {
		blockslab_free(other);
		write_to(other);
		write_to(slot + 100);
	}
	if (told("rcu"))
		blockslab_free_rcu(slot);
	else if (!told("left") && !told("refer"))
		blockslab_free(slot);
	if (told("callers") || told("large"))
		blockslab_heap_destroy(heap);
	blockslab_heap_destroy(aside);
}

module_init(lives_init);
module_exit(lives_exit);
MODULE_DESCRIPTION("A client of blockslab that leaves things behind");
MODULE_LICENSE("GPL");
