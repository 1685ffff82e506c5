// SPDX-License-Identifier: GPL-2.0
/*
 * With kmemleak (tools/test --sanitize kmemleak): slots that nothing points to are reported, and
 * nothing else. Somebody has to scan meanwhile: under UML, where tools/test lets time fly, the
 * kernel's own thread; else who loads this, by debugfs/kmemleak.
 */
#include "blockslab_kunit.h"

static unsigned int wait;
module_param(wait, uint, 0444);
MODULE_PARM_DESC(wait, "Seconds in which there will be two scans (default 0: nothing is tested)");

#define NR_LOST		7	/* tools/test knows this number */
#define DISGUISE	0x5a5a5a5aUL

static const size_t sizes[NR_LOST] = { 8, 24, 100, 512, 3000, 8192, 20000 };

/* The slots kept are known by the first, which stands here. */
static struct {
	struct blockslab_heap *heap;
	void *kept;
	unsigned long lost[NR_LOST];	/* disguised */
} leaks;

static bool is_reported(const char *text, unsigned long slot)
{
	char line[64];

	scnprintf(line, sizeof(line), "unreferenced object 0x%08lx ", slot);
	return strstr(text, line);
}

static unsigned int nr_reported(const char *text)
{
	unsigned int nr = 0;

	while ((text = strstr(text, "unreferenced object"))) {
		text++;
		nr++;
	}
	return nr;
}

/* Slots of all kinds, each known to the one before it only. */
static void *make_chain(void)
{
	void *first = NULL;
	int i;

	for (i = 0; i < NR_LOST; i++) {
		void **slot = try_alloc(leaks.heap, sizes[i], GFP_KERNEL | __GFP_NOFAIL);

		memset(slot, 0, sizes[i]);
		*slot = first;
		first = slot;
	}
	return first;
}

static void free_chain(void *slot)
{
	while (slot) {
		void *next = *(void **)slot;

		blockslab_free(slot);
		slot = next;
	}
}

/* In a thread of its own: no pointer is left behind on a stack. */
static int lose_slots(void *data, unsigned int cpu)
{
	int i;

	for (i = 0; i < NR_LOST; i++) {
		char *slot = try_alloc(leaks.heap, sizes[i], GFP_KERNEL | __GFP_NOFAIL);

		memset(slot, i, sizes[i]);
		leaks.lost[i] = (unsigned long)slot ^ DISGUISE;
	}
	return 0;
}

static bool there_are_scans(void)
{
	return IS_ENABLED(CONFIG_DEBUG_KMEMLEAK) && wait;
}

/* Not in the case, which KUnit ends after 300 seconds. */
static int leaks_begin(struct kunit_suite *suite)
{
	int error = suite_begin(suite);

	if (error || !there_are_scans())
		return error;
	leaks.heap = blockslab_heap_create("leaks", NULL);
	if (IS_ERR(leaks.heap)) {
		suite_end(suite);
		return PTR_ERR(leaks.heap);
	}
	leaks.kept = make_chain();
	free_chain(make_chain());		/* into magazines */
	if (!on_cpus(NULL, cpumask_of(raw_smp_processor_id()), lose_slots, NULL))
		msleep(wait * MSEC_PER_SEC);
	return 0;
}

static void lost_slots_are_reported_and_no_others(struct kunit *test)
{
	const char *text;
	int i;

	if (!there_are_scans())
		kunit_skip(test, "no kmemleak, or no scan to wait for");
	text = debugfs_text(test, "../kmemleak");
	for (i = 0; i < NR_LOST; i++)
		KUNIT_EXPECT_TRUE_MSG(test, is_reported(text, leaks.lost[i] ^ DISGUISE),
				      "a lost slot of %zu bytes was not reported", sizes[i]);
	KUNIT_EXPECT_EQ_MSG(test, nr_reported(text), NR_LOST, "%s", text);
	for (i = 0; i < NR_LOST; i++)
		blockslab_free((void *)(leaks.lost[i] ^ DISGUISE));
	free_chain(leaks.kept);
	KUNIT_EXPECT_EQ(test, nr_reported(debugfs_text(test, "../kmemleak")), 0);
	end_heap(test, leaks.heap);
}

static struct kunit_case leaks_cases[] = {
	KUNIT_CASE(lost_slots_are_reported_and_no_others),
	{}
};

static struct kunit_suite leaks_suite = {
	.name = "blockslab_kmemleak",
	.suite_init = leaks_begin,
	.suite_exit = suite_end,
	.init = case_begin,
	.exit = case_end,
	.test_cases = leaks_cases,
};

kunit_test_suite(leaks_suite);
MODULE_DESCRIPTION("KUnit suite blockslab_kmemleak");
MODULE_LICENSE("GPL");
