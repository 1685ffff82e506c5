// SPDX-License-Identifier: GPL-2.0
/*
 * Every combination of flags, for heaps and for caches, by every call that allocates and every one
 * that frees: what each flag promises holds whatever the others are.
 */
#include "blockslab_kunit.h"

#define NR_SLOTS	40
#define SIZE		100
#define MADE		0x3c		/* what the constructor fills objects with */

static const unsigned long flag_bits[] = {
	BLOCKSLAB_HWCACHE_ALIGN, BLOCKSLAB_ZERO, BLOCKSLAB_POISON, BLOCKSLAB_RED_ZONE,
	BLOCKSLAB_TRACK, BLOCKSLAB_ACCOUNT, BLOCKSLAB_TYPESAFE_BY_RCU,
};

/* The flags that the bits of a number choose. */
static unsigned long flags_of(unsigned int chosen)
{
	unsigned long flags = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flag_bits); i++)
		flags |= chosen & BIT(i) ? flag_bits[i] : 0;
	return flags;
}

/* What is looked at: a heap, or a cache and the heap that it is. */
struct subject {
	struct kunit *test;
	struct blockslab_heap *heap;
	struct blockslab_cache *cache;
	unsigned long flags;
	bool made;
	void *slots[NR_SLOTS];
};

static void expect(struct subject *subject, bool holds, const char *condition)
{
	KUNIT_EXPECT_TRUE_MSG(subject->test, holds, "flags %#lx%s%s: %s", subject->flags,
			      subject->cache ? ", a cache" : "",
			      subject->made ? " with a constructor" : "", condition);
}

#define EXPECT(subject, condition)	expect(subject, condition, #condition)

static void construct(void *object)
{
	memset(object, MADE, SIZE);
}

/* --- the calls -------------------------------------------------------------------------------- */

static void *alloc_plain(struct subject *subject)
{
	if (subject->cache)
		return blockslab_cache_alloc(subject->cache, GFP_KERNEL);
	return blockslab_alloc(subject->heap, SIZE, GFP_KERNEL);
}

static void *alloc_zeroed(struct subject *subject)
{
	if (subject->cache)
		return blockslab_cache_alloc(subject->cache, GFP_KERNEL | __GFP_ZERO);
	return blockslab_zalloc(subject->heap, SIZE, GFP_KERNEL);
}

static void *alloc_bulk(struct subject *subject)
{
	size_t got;
	void *slot;

	if (subject->cache)
		got = blockslab_cache_alloc_bulk(subject->cache, GFP_KERNEL, 1, &slot);
	else
		got = blockslab_alloc_bulk(subject->heap, SIZE, GFP_KERNEL, 1, &slot);
	return got ? slot : NULL;
}

static void *(* const allocs[])(struct subject *subject) = {
	alloc_plain, alloc_zeroed, alloc_bulk,
};

static void free_own(struct subject *subject, void *slot)
{
	if (subject->cache)
		blockslab_cache_free(subject->cache, slot);
	else
		blockslab_free_sized(slot, SIZE);
}

static void free_plain(struct subject *subject, void *slot)
{
	blockslab_free(slot);
}

static void free_bulk(struct subject *subject, void *slot)
{
	if (subject->cache)
		blockslab_cache_free_bulk(subject->cache, 1, &slot);
	else
		blockslab_free_bulk(1, &slot);
}

static void free_any_bulk(struct subject *subject, void *slot)
{
	blockslab_free_bulk(1, &slot);
}

static void free_nolock(struct subject *subject, void *slot)
{
	blockslab_free_nolock(slot);
}

static void free_rcu(struct subject *subject, void *slot)
{
	blockslab_free_rcu(slot);
}

static void (* const frees[])(struct subject *subject, void *slot) = {
	free_own, free_plain, free_bulk, free_any_bulk, free_nolock, free_rcu,
};

/* --- the promises ----------------------------------------------------------------------------- */

static void *must_get(struct subject *subject, void *(*alloc)(struct subject *subject))
{
	void *slot = alloc(subject);

	OPTIMIZER_HIDE_VAR(slot);
	KUNIT_ASSERT_NOT_NULL(subject->test, slot);
	return slot;
}

static void expect_content(struct subject *subject, void *slot, bool zeroed)
{
	if (subject->made)
		EXPECT(subject, all_bytes_are(slot, MADE, SIZE));
	else if (zeroed || subject->flags & BLOCKSLAB_ZERO)
		EXPECT(subject, all_bytes_are(slot, 0, SIZE));
}

/* Typesafe objects without a constructor keep what their last owner wrote. */
static bool zeroes(const struct subject *subject)
{
	return !subject->made && !(subject->flags & BLOCKSLAB_TYPESAFE_BY_RCU);
}

static void every_call_serves(struct subject *subject)
{
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(allocs); i++) {
		for (j = 0; j < ARRAY_SIZE(frees); j++) {
			void *slot = must_get(subject, allocs[i]);

			expect_content(subject, slot,
				       allocs[i] == alloc_zeroed && zeroes(subject));
			EXPECT(subject, blockslab_usable_size(slot) >= SIZE);
			if (subject->flags & BLOCKSLAB_HWCACHE_ALIGN)
				EXPECT(subject, IS_ALIGNED((unsigned long)slot, cache_line_size()));
			if (!subject->made)
				memset(slot, 0xff, SIZE);
			frees[j](subject, slot);
		}
	}
	EXPECT(subject, drains(subject->heap));
	EXPECT(subject, !atomic_read(&fixture.faults));
}

/* Exactly one report, which leaves things as they were. */
static void expect_told(struct subject *subject, const char *what)
{
	EXPECT(subject, atomic_xchg(&fixture.faults, 0) == 1 && !strcmp(fixture.what, what));
}

static void a_double_free_is_told_by_every_call(struct subject *subject)
{
	void *keeps = must_get(subject, alloc_plain);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(frees); i++) {
		void *slot = must_get(subject, alloc_plain);

		free_own(subject, slot);
		frees[i](subject, slot);
		expect_told(subject, "double free");
	}
	free_own(subject, keeps);
}

static void overflows_are_told_by_every_call(struct subject *subject)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {	/* those that free at once */
		u8 *slot = must_get(subject, alloc_plain);

		kasan_disable_current();
		slot[SIZE] ^= 0x10;
		kasan_enable_current();
		frees[i](subject, slot);
		expect_told(subject, "write past the slot");
		frees[i](subject, slot);		/* it was mended */
		EXPECT(subject, !atomic_xchg(&fixture.faults, 0));
	}
}

static void what_is_live_is_tracked(struct subject *subject, bool tracked)
{
	struct table table = table_open(subject->test, "heap/flags/callers");
	u64 slots = 0;

	while (table_next(subject->test, &table))
		slots += table_number(subject->test, &table, "slots");
	EXPECT(subject, slots == (tracked ? NR_SLOTS : 0));
}

static void many_live_at_once(struct subject *subject)
{
	unsigned int i;

	for (i = 0; i < NR_SLOTS; i++) {
		subject->slots[i] = must_get(subject, allocs[i % ARRAY_SIZE(allocs)]);
		if (!subject->made)
			memset(subject->slots[i], i, SIZE);
	}
	what_is_live_is_tracked(subject, subject->flags & BLOCKSLAB_TRACK);
	EXPECT(subject, !blockslab_validate(subject->heap));
	for (i = 0; i < NR_SLOTS; i++)
		EXPECT(subject, all_bytes_are(subject->slots[i], subject->made ? MADE : i, SIZE));
	if (subject->cache)
		blockslab_cache_free_bulk(subject->cache, NR_SLOTS, subject->slots);
	else
		blockslab_free_bulk(NR_SLOTS, subject->slots);
	EXPECT(subject, !atomic_read(&fixture.faults));
}

static void look_at(struct subject *subject)
{
	every_call_serves(subject);
	a_double_free_is_told_by_every_call(subject);
	if (subject->flags & BLOCKSLAB_RED_ZONE)
		overflows_are_told_by_every_call(subject);
	many_live_at_once(subject);
	EXPECT(subject, !blockslab_validate(subject->heap));
	EXPECT(subject, !stats_of(subject->heap).allocated);
}

/* --- the cases -------------------------------------------------------------------------------- */

static void flags_of_heaps_go_together(struct kunit *test)
{
	struct subject subject = { .test = test };
	unsigned int chosen;

	for (chosen = 0; chosen < BIT(ARRAY_SIZE(flag_bits)); chosen++) {
		subject.flags = flags_of(chosen);
		if (subject.flags & BLOCKSLAB_TYPESAFE_BY_RCU)
			continue;
		subject.heap = make_heap(test, "flags", subject.flags, 0, 0);
		if (!(subject.flags & BLOCKSLAB_TRACK))
			sample_nothing(test, subject.heap);
		look_at(&subject);
		blockslab_heap_destroy(subject.heap);
	}
}

static bool cache_possible(unsigned long flags, bool made)
{
	return !(flags & BLOCKSLAB_ZERO) || !(made || flags & BLOCKSLAB_TYPESAFE_BY_RCU);
}

static void look_at_caches(struct kunit *test, bool made)
{
	struct subject subject = { .test = test, .made = made };
	unsigned int chosen;

	for (chosen = 0; chosen < BIT(ARRAY_SIZE(flag_bits)); chosen++) {
		subject.flags = flags_of(chosen);
		if (!cache_possible(subject.flags, made))
			continue;
		subject.cache = blockslab_cache_create("flags", SIZE, 0, subject.flags,
						       made ? construct : NULL);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, subject.cache);
		subject.heap = blockslab_cache_heap(subject.cache);
		if (!(subject.flags & BLOCKSLAB_TRACK))
			sample_nothing(test, subject.heap);
		look_at(&subject);
		blockslab_cache_destroy(subject.cache);
	}
}

static void flags_of_caches_go_together(struct kunit *test)
{
	look_at_caches(test, false);
}

static void flags_of_caches_with_constructors_go_together(struct kunit *test)
{
	look_at_caches(test, true);
}

static struct kunit_case flags_cases[] = {
	KUNIT_CASE(flags_of_heaps_go_together),
	KUNIT_CASE(flags_of_caches_go_together),
	KUNIT_CASE(flags_of_caches_with_constructors_go_together),
	{}
};

BLOCKSLAB_KUNIT_SUITE(flags, flags_cases);
