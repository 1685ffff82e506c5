// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_sample: a module with a heap of its own, to copy from.
 *
 * It keeps a list of notes, each as large as its text, in a heap that may hold 1 MiB. Loaded, it
 * makes 1000 notes and drops every second one: see /sys/kernel/debug/blockslab/heap/sample/classes.
 */
#include <linux/list.h>
#include <linux/module.h>
#include <linux/sizes.h>

#include "blockslab.h"

#define TEXT_MAX 64

struct note {
	struct list_head list;
	char text[];
};

static struct blockslab_heap *heap;
static LIST_HEAD(notes);

static int add_note(const char *text)
{
	size_t length = strlen(text) + 1;
	struct note *note = blockslab_alloc_flex(heap, *note, text, length, GFP_KERNEL);

	if (!note)
		return -ENOMEM;
	strscpy(note->text, text, length);
	list_add_tail(&note->list, &notes);
	return 0;
}

static void drop_note(struct note *note)
{
	list_del(&note->list);
	blockslab_free(note);
}

static int write_note(char *text, unsigned int number)
{
	int length = snprintf(text, TEXT_MAX, "note %u %.*s", number, number % 40,
			      "which is longer than some of the others");

	return length < TEXT_MAX ? add_note(text) : -E2BIG;
}

#ifdef DEFINE_FREE
/* Where the kernel has cleanup guards: text is freed on every way out. */
static int add_numbered_note(unsigned int number)
{
	char *text __free(blockslab) = blockslab_alloc_objs(heap, char, TEXT_MAX, GFP_KERNEL);

	return text ? write_note(text, number) : -ENOMEM;
}
#else
static int add_numbered_note(unsigned int number)
{
	char *text = blockslab_alloc_objs(heap, char, TEXT_MAX, GFP_KERNEL);
	int err = text ? write_note(text, number) : -ENOMEM;

	blockslab_free(text);
	return err;
}
#endif

static int fill(void)
{
	struct note *note, *next;
	unsigned int number;
	int err = 0;

	for (number = 0; number < 1000 && !err; number++)
		err = add_numbered_note(number);
	if (err)
		return err;
	list_for_each_entry_safe(note, next, &notes, list)
		if (number++ % 2)
			drop_note(note);
	return 0;
}

static int __init blockslab_sample_init(void)
{
	const struct blockslab_heap_attrs attrs = { .limit = SZ_1M };
	struct blockslab_heap_stats stats;
	int err;

	heap = blockslab_heap_create("sample", &attrs);
	if (IS_ERR(heap))
		return PTR_ERR(heap);
	err = fill();
	if (err) {
		/* Everything in the heap goes with it: there is no list to walk. */
		blockslab_heap_release(heap);
		blockslab_heap_destroy(heap);
		return err;
	}
	blockslab_heap_stats(heap, &stats);
	pr_info("sample: 500 notes in %zu bytes, %zu held\n", stats.allocated, stats.held);
	return 0;
}
module_init(blockslab_sample_init);

static void __exit blockslab_sample_exit(void)
{
	struct note *note, *next;

	list_for_each_entry_safe(note, next, &notes, list)
		drop_note(note);
	/* Had a note been forgotten, this would report it. */
	blockslab_heap_destroy(heap);
}
module_exit(blockslab_sample_exit);

MODULE_DESCRIPTION("A heap of one's own, in short");
MODULE_LICENSE("GPL");
