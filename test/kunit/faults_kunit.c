// SPDX-License-Identifier: GPL-2.0
/* Faults of the client: each gets exactly one report, is refused, and harms nothing. */
#include <linux/kasan.h>
#include <linux/vmalloc.h>
#include "blockslab_kunit.h"

#define NR_SLOTS	3000

static const size_t fault_sizes[] = { 1, 8, 24, 100, 512, 1000, 4096, 8192 };

static void fault_size_name(const size_t *size, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "size %zu", *size);
}

KUNIT_ARRAY_PARAM(fault_size, fault_sizes, fault_size_name);

static const size_t small_sizes[] = { 1, 8, 24, 100, 512, 1000 };
KUNIT_ARRAY_PARAM(small_size, small_sizes, fault_size_name);

/* A slot that a refused free was about must still be its owner's. */
static void expect_still_allocated(struct kunit *test, void *slot, size_t size)
{
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, blockslab_usable_size(slot));
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, size));
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
}

/* --- double free ------------------------------------------------------------------------------ */

static void a_double_free_is_told_at_once(struct kunit *test)
{
	const size_t *size = test->param_value;
	void *slot = must_alloc(test, fixture.heap, *size), *again, *next;

	blockslab_free(slot);
	blockslab_free(slot);
	expect_fault(test, "double free", slot);
	KUNIT_EXPECT_EQ(test, fixture.size, blockslab_size_roundup(*size));
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	/* one free, one slot: not given to two owners */
	again = must_alloc(test, fixture.heap, *size);
	next = must_alloc(test, fixture.heap, *size);
	KUNIT_EXPECT_PTR_NE(test, again, next);
	blockslab_free(again);
	blockslab_free(next);
}

/* Every second slot stays, so that the blocks do. */
static void a_double_free_is_told_after_a_hundred_other_frees(struct kunit *test)
{
	const size_t *size = test->param_value;
	static void *slots[202];	/* too many for a stack that is watched */
	int i;

	alloc_many(test, fixture.heap, *size, slots, ARRAY_SIZE(slots));
	for (i = 0; i < ARRAY_SIZE(slots); i += 2)
		blockslab_free(slots[i]);
	blockslab_free(slots[0]);
	expect_fault(test, "double free", slots[0]);
	blockslab_free(slots[100]);
	expect_fault(test, "double free", slots[100]);
	for (i = 1; i < ARRAY_SIZE(slots); i += 2)
		blockslab_free(slots[i]);
}

/* In its block, where no magazine knows of it; another slot keeps the block. */
static void a_double_free_is_told_after_a_shrink(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 40);
	void *keeps = must_alloc(test, fixture.heap, 40);

	blockslab_free(slot);
	blockslab_shrink(fixture.heap);
	blockslab_free(slot);
	expect_fault(test, "double free", slot);
	blockslab_free(keeps);
}

static void a_double_free_by_every_kind_of_free_is_told(struct kunit *test)
{
	void *slot = must_alloc(test, fixture.heap, 40);

	blockslab_free_sized(slot, 40);
	blockslab_free_sized(slot, 40);
	expect_fault(test, "double free", slot);
	blockslab_free_nolock(slot);
	expect_fault(test, "double free", slot);
	blockslab_free_bulk(1, &slot);
	expect_fault(test, "double free", slot);
}

static void a_double_free_is_told_though_the_slot_was_written(struct kunit *test)
{
	u8 *slot = must_alloc(test, fixture.heap, 40);

	blockslab_free(slot);
	OPTIMIZER_HIDE_VAR(slot);
	kasan_disable_current();
	memset(slot + sizeof(long), 0xff, 40 - sizeof(long));
	kasan_enable_current();
	blockslab_free(slot);
	expect_fault(test, "double free", slot);
}

static void every_double_free_is_told(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	int i;

	alloc_many(test, fixture.heap, 64, slots, NR_SLOTS);
	free_many(slots, NR_SLOTS - 1);		/* the last keeps a block, the others may go */
	for (i = 0; i < 20; i++) {
		blockslab_free(slots[i]);
		expect_fault(test, "double free", slots[i]);
	}
	blockslab_free(slots[NR_SLOTS - 1]);
}

/* This CPU's magazines, the depot's, the blocks: each has some of the slots by then. */
static void a_double_free_is_told_wherever_its_slot_lies(struct kunit *test)
{
	void **slots = slot_array(test, 2 * NR_SLOTS), **kept = slots + NR_SLOTS;
	int i, round;

	/* half stay: so do the blocks */
	alloc_many(test, fixture.heap, 64, slots, 2 * NR_SLOTS);
	for (round = 0; round < 3; round++) {
		free_many(slots, NR_SLOTS);
		alloc_many(test, fixture.heap, 64, slots, NR_SLOTS);
	}
	free_many(slots, NR_SLOTS);
	for (i = 0; i < NR_SLOTS; i++) {
		blockslab_free(slots[i]);
		expect_fault(test, "double free", slots[i]);
	}
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	free_many(kept, NR_SLOTS);
}

/* What marks a free slot goes with its address: what other slots are full of marks none. */
static void what_marks_a_free_slot_marks_no_other(struct kunit *test)
{
	unsigned long *slot = must_alloc(test, fixture.heap, 40);
	unsigned long *other = must_alloc(test, fixture.heap, 40);

	blockslab_free(slot);
	OPTIMIZER_HIDE_VAR(slot);
	kasan_disable_current();
	memcpy(other, slot, 40);
	kasan_enable_current();
	blockslab_free(other);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	blockslab_free(other);
	expect_fault(test, "double free", other);
}

/* --- pointers that are no slots --------------------------------------------------------------- */

static char global[64];

static void expect_foreign(struct kunit *test, void *pointer)
{
	blockslab_free(pointer);
	expect_fault(test, "foreign pointer", pointer);
	blockslab_free_sized(pointer, 8);
	expect_fault(test, "foreign pointer", pointer);
	KUNIT_EXPECT_EQ(test, blockslab_usable_size(pointer), 0);
	atomic_set(&fixture.faults, 0);
}

static void memory_of_kmalloc_is_refused(struct kunit *test)
{
	char *small = kmalloc(100, GFP_KERNEL), *large = kmalloc(SZ_64K, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, small);
	KUNIT_ASSERT_NOT_NULL(test, large);
	memset(small, 0x5a, 100);
	expect_foreign(test, small);
	expect_foreign(test, large);
	expect_foreign(test, large + PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(small, 0x5a, 100));
	kfree(small);
	kfree(large);
}

static void plain_pages_are_refused(struct kunit *test)
{
	void *page = (void *)__get_free_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	expect_foreign(test, page);
	free_page((unsigned long)page);
}

static void memory_of_vmalloc_is_refused(struct kunit *test)
{
	void *memory = vmalloc(PAGE_SIZE);

	KUNIT_ASSERT_NOT_NULL(test, memory);
	expect_foreign(test, memory);
	vfree(memory);
}

static void variables_are_refused(struct kunit *test)
{
	char local[16] __aligned(16) = "";

	expect_foreign(test, global);
	expect_foreign(test, local);
	expect_foreign(test, (void *)variables_are_refused);
	expect_foreign(test, page_address(ZERO_PAGE(0)));
}

/* Where memory has a hole, the page that one would look at may not be there. */
static void a_hole_in_memory_is_refused(struct kunit *test)
{
	unsigned long pfn = PHYS_PFN(__pa(PAGE_OFFSET)), end = PHYS_PFN(__pa(high_memory - 1));

	while (pfn < end && pfn_valid(pfn))
		pfn += PHYS_PFN(SZ_1M);
	if (pfn >= end) {
		kunit_skip(test, "no hole below the end of memory");
		return;
	}
	expect_foreign(test, __va(PFN_PHYS(pfn)));
	KUNIT_EXPECT_FALSE(test, blockslab_owns(__va(PFN_PHYS(pfn))));
}

static void addresses_of_nothing_are_refused(struct kunit *test)
{
	expect_foreign(test, (void *)0x18);
	expect_foreign(test, (void *)0x12345678);
	expect_foreign(test, (void *)-8L);
	expect_foreign(test, (void *)(ULONG_MAX / 2));
}

static void inside_of_a_slot_is_refused(struct kunit *test)
{
	static const size_t offsets[] = { 1, 8, 16, 99, 103 };
	char *slot = must_alloc(test, fixture.heap, 104);
	int i;

	memset(slot, 0x5a, 104);
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		blockslab_free(slot + offsets[i]);
		expect_fault(test, "pointer inside a slot", slot + offsets[i]);
		expect_still_allocated(test, slot, 104);
	}
	blockslab_free_sized(slot + 8, 96);
	expect_fault(test, "pointer inside a slot", slot + 8);
	expect_still_allocated(test, slot, 104);
	blockslab_free(slot);
}

static void inside_of_whole_pages_is_refused(struct kunit *test)
{
	char *pages = must_alloc(test, fixture.heap, 3 * PAGE_SIZE);

	memset(pages, 0x5a, 3 * PAGE_SIZE);
	blockslab_free(pages + 8);
	expect_fault(test, "pointer inside a slot", pages + 8);
	blockslab_free(pages + PAGE_SIZE);
	expect_fault(test, "pointer inside a slot", pages + PAGE_SIZE);
	expect_still_allocated(test, pages, 3 * PAGE_SIZE);
	blockslab_free(pages);
}

static void expect_tail_refused(struct kunit *test, struct blockslab_heap *heap)
{
	void *slot = must_alloc(test, heap, blockslab_size_roundup(600)), *tail;
	struct blockslab_block *block = blockslab_block_of(virt_to_page(slot));

	tail = block->base + block->nr_slots * block->size;
	KUNIT_ASSERT_NE(test, offset_in_page(tail), 0);
	blockslab_free(tail);
	expect_fault(test, "pointer inside a slot", tail);
	blockslab_free(slot);
}

/* Of a checked heap, where every slot has a note, what lies behind the last one has none. */
static void the_tail_of_a_block_is_refused(struct kunit *test)
{
	struct blockslab_heap *checked = make_heap(test, "checked", BLOCKSLAB_POISON, 0, 0);

	expect_tail_refused(test, fixture.heap);
	expect_tail_refused(test, checked);
	end_heap(test, checked);
}

/* --- what a report says ----------------------------------------------------------------------- */

/* Of many reports of a kind some are left out, for five seconds at most. */
static void expect_kind_told(struct kunit *test, void *pointer, const char *kind)
{
	char slot[64];
	int tries = 0;

	snprintf(slot, sizeof(slot), "foreign pointer: slot %p,", pointer);
	do {
		msleep(tries * 100);
		blockslab_free(pointer);
	} while (!log_count(slot, kind) && ++tries < 15);
	KUNIT_EXPECT_LT_MSG(test, tries, 15, "nobody says: %s", kind);
	KUNIT_EXPECT_GT(test, atomic_xchg(&fixture.faults, 0), 0);
}

static void a_report_says_what_a_foreign_pointer_is(struct kunit *test)
{
	void *page, *slab, *mapped;

	if (!IS_ENABLED(CONFIG_ARCH_HAS_NON_OVERLAPPING_ADDRESS_SPACE))
		kunit_skip(test, "an address may be one of user space and of the kernel");
	page = (void *)__get_free_page(GFP_KERNEL);
	slab = kmalloc(100, GFP_KERNEL);
	mapped = vmalloc(PAGE_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_NOT_NULL(test, slab);
	KUNIT_ASSERT_NOT_NULL(test, mapped);
	expect_kind_told(test, (void *)0x18, "it is an address of user space");
	expect_kind_told(test, mapped, "it is vmalloc memory");
	expect_kind_told(test, slab, "it is a slab object");
	expect_kind_told(test, page_address(ZERO_PAGE(0)), "it is the kernel's own data");
	expect_kind_told(test, page, "it is a page of others");
	if (IS_ENABLED(CONFIG_64BIT))	/* else it may be high memory's */
		expect_kind_told(test, (void *)-8L, "it is no memory of the page allocator");
	free_page((unsigned long)page);
	kfree(slab);
	vfree(mapped);
}

#define NR_RECORDS	8	/* reports that wait to be told at the same time */

/* Of a slot that is free: one free more that is told, and then many that cannot be told at once. */
static void free_while_none_is_told(void *slot)
{
	unsigned long irq;
	int i;

	blockslab_free_nolock(slot);
	local_irq_save(irq);
	for (i = 0; i < NR_RECORDS + 1; i++)
		blockslab_free_nolock(slot);
	local_irq_restore(irq);
}

/* Ten of a kind are told in five seconds: all of a try where there was none for so long. */
static void a_report_without_a_record_is_counted(struct kunit *test)
{
	static const char more[] = "and 1 more of this kind since the last one told";
	void *keeps = must_alloc(test, fixture.heap, 100);	/* its block */
	void *slot = must_alloc(test, fixture.heap, 100);
	unsigned int tries = 0, i;
	char text[64];

	snprintf(text, sizeof(text), "double free: slot %p,", slot);
	blockslab_free(slot);
	do {
		msleep(tries * 100);
		mark_log();
		free_while_none_is_told(slot);
		for (i = 0; i < 10 && log_count(text, NULL) < NR_RECORDS + 1; i++)
			msleep(20);
		KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), NR_RECORDS + 2);
		KUNIT_EXPECT_LE(test, log_count(text, NULL), NR_RECORDS + 1);
	} while (log_count(text, NULL) < NR_RECORDS + 1 && ++tries < 15);
	KUNIT_EXPECT_EQ(test, log_count(text, NULL), NR_RECORDS + 1);
	KUNIT_EXPECT_EQ(test, log_count(more, NULL), 1);
	blockslab_free(keeps);
}

/* --- the wrong call --------------------------------------------------------------------------- */

static void the_wrong_cache_is_refused(struct kunit *test)
{
	struct blockslab_cache *right = blockslab_cache_create("right", 40, 0, 0, NULL);
	struct blockslab_cache *wrong = blockslab_cache_create("wrong", 40, 0, 0, NULL);
	void *object, *slot = must_alloc(test, fixture.heap, 40);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, right);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, wrong);
	object = blockslab_cache_alloc(right, GFP_KERNEL);
	OPTIMIZER_HIDE_VAR(object);
	KUNIT_ASSERT_NOT_NULL(test, object);
	memset(object, 0x5a, 40);
	memset(slot, 0x5a, 40);
	blockslab_cache_free(wrong, object);
	expect_fault(test, "wrong cache", object);
	blockslab_cache_free(wrong, slot);
	expect_fault(test, "wrong cache", slot);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(object, 0x5a, 40));
	expect_still_allocated(test, slot, 40);
	blockslab_cache_free_bulk(wrong, 1, &object);
	expect_fault(test, "wrong cache", object);
	blockslab_cache_free(right, object);
	blockslab_free(slot);
	blockslab_cache_destroy(right);
	blockslab_cache_destroy(wrong);
}

struct wrong_size_case {
	size_t size, told;
};

static const struct wrong_size_case wrong_sizes[] = {
	{ 24, 25 }, { 24, 16 }, { 24, 4096 }, { 24, SZ_64K }, { 8192, 8193 }, { 8193, 8192 },
	{ 512, 0 }, { 100, SIZE_MAX }, { 40000, 100000 }, { 100000, 1 },
};

static void wrong_size_name(const struct wrong_size_case *param, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "%zu freed as %zu", param->size, param->told);
}

KUNIT_ARRAY_PARAM(wrong_size, wrong_sizes, wrong_size_name);

static void a_free_with_the_wrong_size_is_refused(struct kunit *test)
{
	const struct wrong_size_case *param = test->param_value;
	void *slot;

	if (param->told && param->told < SIZE_MAX &&
	    blockslab_size_roundup(param->told) == blockslab_size_roundup(param->size))
		kunit_skip(test, "on this machine it is the same class");
	slot = must_alloc(test, fixture.heap, param->size);
	memset(slot, 0x5a, param->size);
	blockslab_free_sized(slot, param->told);
	expect_fault(test, "wrong size", slot);
	expect_still_allocated(test, slot, param->size);
	blockslab_free_sized(slot, param->size);
}

/* --- writes where none belong ----------------------------------------------------------------- */

static const size_t zone_sizes[] = { 1, 7, 8, 20, 24, 100, 511, 512, 1000, 4096, 8191 };
KUNIT_ARRAY_PARAM(zone_size, zone_sizes, fault_size_name);

static void a_write_one_byte_past_the_slot_is_told(struct kunit *test)
{
	const size_t *size = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "zone", BLOCKSLAB_RED_ZONE, 0, 0);
	u8 *slot = must_alloc(test, heap, *size), was;

	memset(slot, 0x5a, *size);
	kasan_disable_current();
	was = slot[*size];
	slot[*size] = was + 1;
	kasan_enable_current();
	blockslab_free(slot);
	expect_fault(test, "write past the slot", slot);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	KUNIT_EXPECT_TRUE(test, all_bytes_are(slot, 0x5a, *size));
	/* refused: with the byte mended it can be freed */
	kasan_disable_current();
	slot[*size] = was;
	kasan_enable_current();
	blockslab_free(slot);
	end_heap(test, heap);
}

static const size_t before_sizes[] = { 1, 20, 24, 100, 512, 1000 };
KUNIT_ARRAY_PARAM(before_size, before_sizes, fault_size_name);

/* All but a block's first slot have one before them, whose end is nobody's. */
static void a_write_before_the_slot_is_told(struct kunit *test)
{
	const unsigned long flags[] = { BLOCKSLAB_RED_ZONE, BLOCKSLAB_RED_ZONE | BLOCKSLAB_POISON };
	const size_t *size = test->param_value;
	struct blockslab_heap *heap;
	void *slots[8];
	int i, j;
	u8 *slot;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		heap = make_heap(test, "zone", flags[i], 0, 0);
		alloc_many(test, heap, *size, slots, ARRAY_SIZE(slots));
		for (j = 0; !offset_in_page(slots[j]); j++)
			;
		slot = slots[j];
		kasan_disable_current();
		slot[-1] ^= 0x10;
		kasan_enable_current();
		blockslab_free(slot);
		expect_fault(test, "write before the slot, or past the one before it", slot);
		KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
		/* refused, and mended */
		free_many(slots, ARRAY_SIZE(slots));
		end_heap(test, heap);
	}
}

static void writes_within_the_size_are_fine(struct kunit *test)
{
	const unsigned long flags = BLOCKSLAB_RED_ZONE | BLOCKSLAB_POISON;
	struct blockslab_heap *heap = make_heap(test, "zone", flags, 0, 0);
	size_t size;

	for (size = 1; size < 1000; size++) {
		void *slot = must_alloc(test, heap, size);

		memset(slot, 0xff, size);
		blockslab_free_sized(slot, size);
	}
	end_heap(test, heap);
}

/* Allocates until the slot comes round again, or the report. */
static void reuse_until_told(struct kunit *test, struct blockslab_heap *heap, size_t size)
{
	void **slots = slot_array(test, 300);
	size_t nr;

	for (nr = 0; nr < 300 && !atomic_read(&fixture.faults); nr++) {
		slots[nr] = try_alloc(heap, size, GFP_KERNEL);
		if (!slots[nr])
			break;
	}
	free_many(slots, nr);
}

struct after_free_case {
	size_t size, offset;
};

static const struct after_free_case after_free_table[] = {
	{ 24, 8 }, { 24, 23 }, { 64, 8 }, { 64, 40 }, { 512, 511 }, { 4096, 2000 }, { 8192, 8191 },
};

static void after_free_name(const struct after_free_case *param, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "byte %zu of %zu", param->offset, param->size);
}

KUNIT_ARRAY_PARAM(after_free, after_free_table, after_free_name);

static void a_write_after_free_is_told(struct kunit *test)
{
	const struct after_free_case *param = test->param_value;
	struct blockslab_heap *heap = make_heap(test, "poison", BLOCKSLAB_POISON, 0, 0);
	u8 *slot;

	slot = must_alloc(test, heap, param->size);
	blockslab_free(slot);
	OPTIMIZER_HIDE_VAR(slot);
	kasan_disable_current();
	slot[param->offset] ^= 0x10;
	kasan_enable_current();
	reuse_until_told(test, heap, param->size);
	expect_fault(test, "write after free", slot);
	end_heap(test, heap);
}

static void poison_covers_what_was_in_the_slot(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "poison", BLOCKSLAB_POISON, 0, 0);
	u8 *slot, *left;

	slot = must_alloc(test, heap, 200);
	memset(slot, 0x5a, 200);
	blockslab_free(slot);
	OPTIMIZER_HIDE_VAR(slot);
	kasan_disable_current();
	left = memchr(slot, 0x5a, 200);
	kasan_enable_current();
	KUNIT_EXPECT_NULL(test, left);
	end_heap(test, heap);
}

/* --- more than one ---------------------------------------------------------------------------- */

static void faults_of_a_debug_heap_are_told_alike(struct kunit *test)
{
	const unsigned long flags = BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE;
	struct blockslab_heap *heap = make_heap(test, "debug", flags, 0, 0);
	char *slot = must_alloc(test, heap, 100);

	blockslab_free(slot + 8);
	expect_fault(test, "pointer inside a slot", slot + 8);
	blockslab_free_sized(slot, 1000);
	expect_fault(test, "wrong size", slot);
	blockslab_free(slot);
	blockslab_free(slot);
	expect_fault(test, "double free", slot);
	end_heap(test, heap);
}

static void the_heap_serves_on_after_many_faults(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	char *slot = must_alloc(test, fixture.heap, 64);
	int i;

	for (i = 0; i < 50; i++)
		blockslab_free(slot + 1 + i);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), 50);
	alloc_many(test, fixture.heap, 64, slots, NR_SLOTS);
	for (i = 0; i < NR_SLOTS; i++)
		KUNIT_ASSERT_PTR_NE(test, slots[i], (void *)slot);
	free_many(slots, NR_SLOTS);
	blockslab_free(slot);
}

static struct kunit_case faults_cases[] = {
	KUNIT_CASE_PARAM(a_double_free_is_told_at_once, fault_size_gen_params),
	KUNIT_CASE_PARAM(a_double_free_is_told_after_a_hundred_other_frees, small_size_gen_params),
	KUNIT_CASE(a_double_free_is_told_after_a_shrink),
	KUNIT_CASE(a_double_free_by_every_kind_of_free_is_told),
	KUNIT_CASE(a_double_free_is_told_though_the_slot_was_written),
	KUNIT_CASE(every_double_free_is_told),
	KUNIT_CASE(a_double_free_is_told_wherever_its_slot_lies),
	KUNIT_CASE(what_marks_a_free_slot_marks_no_other),
	KUNIT_CASE(memory_of_kmalloc_is_refused),
	KUNIT_CASE(plain_pages_are_refused),
	KUNIT_CASE(memory_of_vmalloc_is_refused),
	KUNIT_CASE(variables_are_refused),
	KUNIT_CASE(a_hole_in_memory_is_refused),
	KUNIT_CASE(addresses_of_nothing_are_refused),
	KUNIT_CASE(inside_of_a_slot_is_refused),
	KUNIT_CASE(inside_of_whole_pages_is_refused),
	KUNIT_CASE(the_tail_of_a_block_is_refused),
	KUNIT_CASE(a_report_says_what_a_foreign_pointer_is),
	KUNIT_CASE(a_report_without_a_record_is_counted),
	KUNIT_CASE(the_wrong_cache_is_refused),
	KUNIT_CASE_PARAM(a_free_with_the_wrong_size_is_refused, wrong_size_gen_params),
	KUNIT_CASE_PARAM(a_write_one_byte_past_the_slot_is_told, zone_size_gen_params),
	KUNIT_CASE_PARAM(a_write_before_the_slot_is_told, before_size_gen_params),
	KUNIT_CASE(writes_within_the_size_are_fine),
	KUNIT_CASE_PARAM(a_write_after_free_is_told, after_free_gen_params),
	KUNIT_CASE(poison_covers_what_was_in_the_slot),
	KUNIT_CASE(faults_of_a_debug_heap_are_told_alike),
	KUNIT_CASE(the_heap_serves_on_after_many_faults),
	{}
};

BLOCKSLAB_KUNIT_SUITE(faults, faults_cases);
