// SPDX-License-Identifier: GPL-2.0
/*
 * Damage: what something else wrote over blockslab's own memory is found by validate(); what an
 * allocation meets of it is told and mended, and the class goes on.
 */
#include "blockslab_kunit.h"

#define NR_SLOTS	200
#define SLOT_SIZE	384	/* no power of two anywhere */
#define ZONED_SIZE	18

/* Slots of which every second is free, in its block. */
static void **half_of_them(struct kunit *test, struct blockslab_heap *heap)
{
	void **slots = slot_array(test, NR_SLOTS);
	int i;

	alloc_many(test, heap, SLOT_SIZE, slots, NR_SLOTS);
	for (i = 1; i < NR_SLOTS; i += 2) {
		blockslab_free(slots[i]);
		slots[i] = NULL;
	}
	blockslab_shrink(heap);
	return slots;
}

static struct blockslab_block *block_of_slot(const void *slot)
{
	return blockslab_block_of(virt_to_page(slot));
}

/* --- what validate() finds -------------------------------------------------------------------- */

static void *kept_base;

static void break_count(struct blockslab_block *block)
{
	block->nr_free ^= 1;
}

static void break_map(struct blockslab_block *block)
{
	block->map[0] ^= 1;
}

static void break_list(struct blockslab_block *block)
{
	block->state ^= 1;
}

static void break_size(struct blockslab_block *block)
{
	block->size ^= 8;
}

static void break_sizes(struct blockslab_block *block)
{
	block->sizes ^= 1;
}

static void break_reciprocal(struct blockslab_block *block)
{
	block->recip ^= 1;
}

/* To what is nobody's page, and back. */
static void break_base(struct blockslab_block *block)
{
	swap(block->base, kept_base);
}

static void break_class_of_page(struct blockslab_block *block)
{
	struct page *page = virt_to_page(block->base);

	page->lru.next = (void *)((unsigned long)page->lru.next ^ 2);
}

static void break_key_of_page(struct blockslab_block *block)
{
	struct page *page = virt_to_page(block->base);

	page->lru.prev = (void *)((unsigned long)page->lru.prev ^ 2);
}

static void break_block_of_page(struct blockslab_block *block)
{
	virt_to_page(block->base)->private ^= 2;
}

/* Inflicted twice, it is mended. */
static const struct damage {
	const char *to;
	void (*inflict)(struct blockslab_block *block);
} damages[] = {
	{ "the count of free slots", break_count },
	{ "the bitmap", break_map },
	{ "the list", break_list },
	{ "the slot size", break_size },
	{ "the sizes of the class", break_sizes },
	{ "the reciprocal", break_reciprocal },
	{ "the address", break_base },
	{ "the class in a page", break_class_of_page },
	{ "the key in a page", break_key_of_page },
	{ "the block in a page", break_block_of_page },
};

static void damage_name(const struct damage *damage, char *name)
{
	strscpy(name, damage->to, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(damage, damages, damage_name);

static void validate_finds_damage(struct kunit *test)
{
	void **slots = half_of_them(test, fixture.heap);
	struct blockslab_block *block = block_of_slot(slots[0]);
	const struct damage *damage = test->param_value;

	KUNIT_ASSERT_EQ(test, blockslab_validate(fixture.heap), 0);
	damage->inflict(block);
	KUNIT_EXPECT_GT(test, blockslab_validate(fixture.heap), 0);
	damage->inflict(block);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	free_many(slots, NR_SLOTS);
}

static void validate_finds_a_write_to_a_free_slot(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "poison", BLOCKSLAB_POISON, 0, 0);
	void *keeps = must_alloc(test, heap, SLOT_SIZE);
	u8 *slot = must_alloc(test, heap, SLOT_SIZE), was;

	blockslab_free(slot);
	blockslab_shrink(heap);
	KUNIT_ASSERT_EQ(test, blockslab_validate(heap), 0);
	OPTIMIZER_HIDE_VAR(slot);
	kasan_disable_current();
	was = slot[SLOT_SIZE / 2];
	slot[SLOT_SIZE / 2] = was + 1;
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 1);
	expect_fault(test, "write after free", slot);
	slot[SLOT_SIZE / 2] = was;
	kasan_enable_current();
	blockslab_free(keeps);
	end_heap(test, heap);
}

/* Of an allocated slot, and of a free one that is not poisoned; once more each time. */
static void expect_zone_validated(struct kunit *test, struct blockslab_heap *heap, u8 *slot)
{
	u8 *zone = slot + ZONED_SIZE;

	OPTIMIZER_HIDE_VAR(zone);
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
	kasan_disable_current();
	*zone ^= 1;
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 1);
	expect_fault(test, "write past the slot", slot);
	*zone ^= 1;
	kasan_enable_current();
	KUNIT_EXPECT_EQ(test, blockslab_validate(heap), 0);
}

static void validate_finds_a_write_past_a_slot(struct kunit *test)
{
	const unsigned long flags[] = {
		BLOCKSLAB_RED_ZONE, BLOCKSLAB_RED_ZONE | BLOCKSLAB_POISON,
		BLOCKSLAB_RED_ZONE | BLOCKSLAB_POISON | BLOCKSLAB_TRACK,
	};
	void *slot, *keeps;
	int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct blockslab_heap *heap = make_heap(test, "zones", flags[i], 0, 0);

		keeps = must_alloc(test, heap, ZONED_SIZE);
		slot = must_alloc(test, heap, ZONED_SIZE);
		expect_zone_validated(test, heap, slot);
		blockslab_free(slot);
		if (!(flags[i] & BLOCKSLAB_POISON))
			expect_zone_validated(test, heap, slot);
		blockslab_free(keeps);
		end_heap(test, heap);
	}
}

/* --- what an allocation meets ----------------------------------------------------------------- */

/* Takes all that the class has, and more. */
static void expect_served(struct kunit *test)
{
	void **slots = slot_array(test, 2 * NR_SLOTS);
	int i;

	alloc_many(test, fixture.heap, SLOT_SIZE, slots, 2 * NR_SLOTS);
	for (i = 0; i < 2 * NR_SLOTS; i++)
		memset(slots[i], 0x11, SLOT_SIZE);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	free_many(slots, 2 * NR_SLOTS);
}

static void fill_live(void **slots)
{
	int i;

	for (i = 0; i < NR_SLOTS; i += 2)
		memset(slots[i], 0x77, SLOT_SIZE);
}

static void expect_unharmed(struct kunit *test, void **slots)
{
	int i;

	for (i = 0; i < NR_SLOTS; i += 2)
		KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], 0x77, SLOT_SIZE));
	free_many(slots, NR_SLOTS);
}

static void count_over_all_slots(struct blockslab_block *block)
{
	block->nr_free = 0x7fff;
}

static void count_over_free_slots(struct blockslab_block *block)
{
	block->nr_free += 2;
}

static void bit_behind_the_last_slot(struct blockslab_block *block)
{
	__set_bit(block->nr_slots, block->map);
	block->nr_free++;
}

static const struct damage met[] = {
	{ "a count over all slots", count_over_all_slots },
	{ "a count over the free slots", count_over_free_slots },
	{ "a bit behind the last slot", bit_behind_the_last_slot },
};

KUNIT_ARRAY_PARAM(met, met, damage_name);

/* No slot is given out that is in use, or behind the last one. */
static void an_allocation_mends_damage(struct kunit *test)
{
	void **slots = half_of_them(test, fixture.heap);
	struct blockslab_block *block = block_of_slot(slots[0]);
	const struct damage *damage = test->param_value;

	KUNIT_ASSERT_LT(test, block->nr_free + 1, block->nr_slots);
	KUNIT_ASSERT_NE(test, block->nr_slots % BITS_PER_LONG, 0);
	fill_live(slots);
	damage->inflict(block);
	expect_served(test);
	expect_fault(test, "damaged descriptor", block);
	expect_unharmed(test, slots);
}

/* Waits for the report, which a worker prints. */
static bool log_has(const char *text)
{
	int tries;

	for (tries = 0; tries < 500 && !log_count(text, NULL); tries++)
		msleep(20);
	return log_count(text, NULL);
}

/*
 * A block that has lost its pages is not used any more, and that is what is told. Its free slots
 * are none to its heap then: so once it has them back, they are freed here.
 */
static void a_block_without_pages_is_left_alone(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "damaged", 0, 0, 0);
	void **slots, **more = slot_array(test, NR_SLOTS);
	struct blockslab_block *block;
	unsigned int number;

	sample_nothing(test, heap);
	slots = half_of_them(test, heap);
	block = block_of_slot(slots[0]);
	msleep(5 * MSEC_PER_SEC);	/* of many reports within that time some are left out */
	mark_log();
	break_base(block);
	alloc_many(test, heap, SLOT_SIZE, more, NR_SLOTS);
	break_base(block);
	expect_fault(test, "damaged descriptor", block);
	KUNIT_EXPECT_TRUE(test, log_has("the block and its slots are left alone"));
	for_each_set_bit(number, block->map, block->nr_slots) {
		void *slot = block->base + number * block->size;

		__clear_bit(number, block->map);
		kasan_disable_current();
		memset(slot, 0, SLOT_SIZE);
		kasan_enable_current();
		blockslab_free(slot);
	}
	free_many(more, NR_SLOTS);
	free_many(slots, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, stats_of(heap).allocated, 0);
	blockslab_heap_destroy(heap);
}

/* What marks it free was written over, so that only its block can tell, when it comes there. */
static void a_double_free_after_a_write_is_told_by_its_block(struct kunit *test)
{
	void *keeps = must_alloc(test, fixture.heap, SLOT_SIZE);
	u8 *slot = must_alloc(test, fixture.heap, SLOT_SIZE);

	sample_nothing(test, fixture.heap);
	blockslab_free(slot);
	OPTIMIZER_HIDE_VAR(slot);
	kasan_disable_current();
	memset(slot, 0xff, SLOT_SIZE);
	kasan_enable_current();
	blockslab_free(slot);
	blockslab_shrink(fixture.heap);
	expect_fault(test, "double free", slot);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, SLOT_SIZE);
	blockslab_free(keeps);
}

/*
 * The same, where the block is on its way out when the slot comes back to it a second time. All
 * three frees go into one magazine: those of this class have room for four at least.
 */
static void a_double_free_into_a_block_that_goes_is_told(struct kunit *test)
{
	size_t i, nr = PAGE_SIZE / 96 + 100;
	void **slots = slot_array(test, nr), *other = NULL;
	u8 *slot;

	sample_nothing(test, fixture.heap);
	alloc_many(test, fixture.heap, 96, slots, nr);
	slot = slots[0];
	for (i = 1; i < nr; i++) {
		if (!other && block_of_slot(slots[i]) != block_of_slot(slot))
			other = slots[i];
		else
			blockslab_free(slots[i]);
	}
	KUNIT_ASSERT_NOT_NULL(test, other);
	blockslab_shrink(fixture.heap);
	blockslab_free(slot);
	blockslab_free(other);
	OPTIMIZER_HIDE_VAR(slot);
	kasan_disable_current();
	memset(slot, 0xff, 96);
	kasan_enable_current();
	blockslab_free(slot);
	KUNIT_ASSERT_EQ(test, blocks_of(test, "kunit"), 2);	/* nothing was flushed yet */
	blockslab_shrink(fixture.heap);
	expect_fault(test, "foreign pointer", slot);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "kunit"), 0);
}

static struct kunit_case damage_cases[] = {
	KUNIT_CASE_PARAM(validate_finds_damage, damage_gen_params),
	KUNIT_CASE(validate_finds_a_write_to_a_free_slot),
	KUNIT_CASE(validate_finds_a_write_past_a_slot),
	KUNIT_CASE_PARAM(an_allocation_mends_damage, met_gen_params),
	KUNIT_CASE(a_block_without_pages_is_left_alone),
	KUNIT_CASE(a_double_free_after_a_write_is_told_by_its_block),
	KUNIT_CASE(a_double_free_into_a_block_that_goes_is_told),
	{}
};

BLOCKSLAB_KUNIT_SUITE(damage, damage_cases);
