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

static int kmemleak_begin(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_DEBUG_KMEMLEAK) || !wait)
		kunit_skip(test, "no kmemleak, or no scan to wait for");
	return case_begin(test);
}

static void kmemleak_end(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_DEBUG_KMEMLEAK) && wait)
		case_end(test);
}

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
static void *make_chain(struct kunit *test)
{
	void *first = NULL;
	int i;

	for (i = 0; i < NR_LOST; i++) {
		void **slot = must_alloc(test, fixture.heap, sizes[i]);

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

/* Not inlined: no pointer shall be left behind in the case's own frame. */
static noinline void lose_slots(struct kunit *test, unsigned long *lost)
{
	int i;

	for (i = 0; i < NR_LOST; i++) {
		char *slot = must_alloc(test, fixture.heap, sizes[i]);

		memset(slot, i, sizes[i]);
		lost[i] = (unsigned long)slot ^ DISGUISE;
	}
}

static void lost_slots_are_reported_and_no_others(struct kunit *test)
{
	void **kept = slot_array(test, 2);
	unsigned long lost[NR_LOST];
	const char *text;
	int i;

	kept[0] = make_chain(test);
	free_chain(make_chain(test));		/* into magazines */
	lose_slots(test, lost);
	msleep(wait * MSEC_PER_SEC);
	text = debugfs_text(test, "../kmemleak");
	for (i = 0; i < NR_LOST; i++)
		KUNIT_EXPECT_TRUE_MSG(test, is_reported(text, lost[i] ^ DISGUISE),
				      "a lost slot of %zu bytes was not reported", sizes[i]);
	KUNIT_EXPECT_EQ_MSG(test, nr_reported(text), NR_LOST, "%s", text);
	for (i = 0; i < NR_LOST; i++)
		blockslab_free((void *)(lost[i] ^ DISGUISE));
	free_chain(kept[0]);
	KUNIT_EXPECT_EQ(test, nr_reported(debugfs_text(test, "../kmemleak")), 0);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(lost_slots_are_reported_and_no_others),
	{}
};

BLOCKSLAB_KUNIT_SUITE_WITH(kmemleak, cases, kmemleak_begin, kmemleak_end);
