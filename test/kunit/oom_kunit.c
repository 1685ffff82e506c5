// SPDX-License-Identifier: GPL-2.0
/* Last words: what is told of heaps at a panic. Nobody dies: blockslab alone is called. */
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include "blockslab_kunit.h"

#define NR_HEAPS	12	/* more than are told */
#define NR_TOLD		10

static struct notifier_block *told_at_panic(void)
{
	struct notifier_block *block;
	char name[64];

	for (block = rcu_dereference_raw(panic_notifier_list.head); block;
	     block = rcu_dereference_raw(block->next)) {
		scnprintf(name, sizeof(name), "%ps", block->notifier_call);
		if (!strcmp(name, "panic_is") || strstarts(name, "panic_is "))
			break;
	}
	return block;
}

/* The last that the log has of that. */
struct last_words {
	unsigned int times, heaps, told;
	unsigned long sum, last;
	bool largest;		/* of ours is there */
	bool ordered;
};

static void look_for_last_words(void *data, const char *line)
{
	const char *start = strstr(line, "blockslab: "), *held;
	struct last_words *words = data;
	unsigned long kib;

	if (!start)
		return;
	start += strlen("blockslab: ");
	if (strstr(start, " KiB; the largest:")) {
		words->times++;
		words->told = 0;
		words->last = ULONG_MAX;
		words->largest = false;
		words->ordered = sscanf(start, "%u heaps hold %lu KiB", &words->heaps,
					&words->sum) == 2;
	} else if (words->times && strstarts(start, "  ")) {
		held = strstr(start, ": ");
		words->told++;
		words->ordered &= held && sscanf(held, ": %lu KiB", &kib) == 1 &&
				  kib <= words->last && kib <= words->sum;
		words->last = kib;
		words->largest |= strstarts(start, "  oom-11: ") && strstr(start, "whole pages");
	}
}

static void the_largest_heaps_are_told_at_a_panic(struct kunit *test)
{
	struct notifier_block *told = told_at_panic();
	struct blockslab_heap *heaps[NR_HEAPS];
	struct last_words words = {};
	void *slots[NR_HEAPS];
	char name[16];
	int i;

	if (!IS_ENABLED(CONFIG_KALLSYMS))
		kunit_skip(test, "what is called at a panic has no names");
	KUNIT_ASSERT_NOT_NULL(test, told);
	for (i = 0; i < NR_HEAPS; i++) {
		snprintf(name, sizeof(name), "oom-%d", i);
		heaps[i] = make_heap(test, name, 0, 0, 0);
		slots[i] = must_alloc(test, heaps[i], SZ_512K + i * SZ_64K);
	}
	mark_log();
	/* the second time no lock is in its way */
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, told->notifier_call(told, 0, "not really"), NOTIFY_OK);
	look_at_log(look_for_last_words, &words);
	KUNIT_EXPECT_EQ(test, words.times, 2);
	KUNIT_EXPECT_GE(test, words.heaps, NR_HEAPS + 2);	/* and the case's, and the shared */
	KUNIT_EXPECT_GE(test, words.sum, NR_HEAPS * 512);
	KUNIT_EXPECT_EQ(test, words.told, NR_TOLD);
	KUNIT_EXPECT_TRUE(test, words.ordered);
	KUNIT_EXPECT_TRUE(test, words.largest);
	for (i = 0; i < NR_HEAPS; i++) {
		blockslab_free(slots[i]);
		end_heap(test, heaps[i]);
	}
}

static struct kunit_case oom_cases[] = {
	KUNIT_CASE(the_largest_heaps_are_told_at_a_panic),
	{}
};

BLOCKSLAB_KUNIT_SUITE(oom, oom_cases);
