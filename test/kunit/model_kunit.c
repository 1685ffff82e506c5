// SPDX-License-Identifier: GPL-2.0
/*
 * Random calls against a model: an array that knows what every slot's owner would know - heap,
 * size, and what was written - and against which every step is checked. A run that fails is made
 * again by its seed.
 */
#include <linux/prandom.h>
#include <linux/random.h>
#include "blockslab_kunit.h"

#define NR_ENTRIES	600
#define NR_STEPS	20000
#define CHECK_STEPS	500

static unsigned int seed;
module_param(seed, uint, 0444);
MODULE_PARM_DESC(seed, "Seed of the random sequences (default: 0, a new one each time)");

struct entry {
	u8 *slot;
	size_t size;
	u8 fill;
};

struct model {
	struct kunit *test;
	struct blockslab_heap *heap;
	struct rnd_state random;
	size_t limit;
	bool exact;		/* usable size is that of the class */
	bool zero;
	size_t allocated;	/* usable bytes of all entries */
	unsigned int step;
	struct entry entries[NR_ENTRIES];
};

static u32 below(struct model *model, u32 bound)
{
	return prandom_u32_state(&model->random) % bound;
}

/* Small sizes mostly, as clients have; every class and whole pages now and then. */
static size_t some_size(struct model *model)
{
	switch (below(model, 10)) {
	case 0:
		return 1 + below(model, 40000);
	case 1:
	case 2:
		return 1 + below(model, BLOCKSLAB_SLOT_MAX);
	default:
		return 1 + below(model, 200);
	}
}

static bool holds(struct model *model, const struct entry *entry)
{
	return all_bytes_are(entry->slot, entry->fill, entry->size);
}

static void filled(struct model *model, struct entry *entry, u8 *slot, size_t size)
{
	size_t usable = blockslab_usable_size(slot);

	KUNIT_EXPECT_GE_MSG(model->test, usable, size, "step %u", model->step);
	entry->slot = slot;
	entry->size = size;
	entry->fill = prandom_u32_state(&model->random);
	model->allocated += usable;
	if (usable < blockslab_size_roundup(size))	/* it is tracked: see sample_nothing() */
		model->exact = false;
	memset(slot, entry->fill, size);
}

static void emptied(struct model *model, struct entry *entry)
{
	KUNIT_EXPECT_TRUE_MSG(model->test, holds(model, entry), "step %u: %zu bytes changed",
			      model->step, entry->size);
	model->allocated -= blockslab_usable_size(entry->slot);
}

static void step_alloc(struct model *model, struct entry *entry)
{
	size_t size = some_size(model);
	bool zero = below(model, 4) == 0;
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN | (zero ? __GFP_ZERO : 0);
	u8 *slot = try_alloc(model->heap, size, gfp);

	if (!slot) {
		KUNIT_EXPECT_TRUE_MSG(model->test, model->limit, "step %u", model->step);
		return;
	}
	if (zero || model->zero)
		KUNIT_EXPECT_TRUE_MSG(model->test, all_bytes_are(slot, 0, size),
				      "step %u", model->step);
	filled(model, entry, slot, size);
}

static void step_free(struct model *model, struct entry *entry)
{
	emptied(model, entry);
	if (below(model, 2))
		blockslab_free(entry->slot);
	else
		blockslab_free_sized(entry->slot, entry->size);
	entry->slot = NULL;
}

static void step_realloc(struct model *model, struct entry *entry)
{
	size_t size = some_size(model), kept = min(size, entry->size);
	u8 fill = entry->fill, *slot;

	emptied(model, entry);
	slot = blockslab_realloc(model->heap, entry->slot, size, GFP_KERNEL | __GFP_NOWARN);
	OPTIMIZER_HIDE_VAR(slot);
	if (!slot) {
		model->allocated += blockslab_usable_size(entry->slot);
		KUNIT_EXPECT_TRUE_MSG(model->test, holds(model, entry), "step %u", model->step);
		return;
	}
	KUNIT_EXPECT_TRUE_MSG(model->test, all_bytes_are(slot, fill, kept), "step %u", model->step);
	filled(model, entry, slot, size);
}

/* From here on, as many entries as are empty, up to a bound. */
static void step_bulk(struct model *model, unsigned int first)
{
	size_t size = some_size(model), nr = 0, wanted = 1 + below(model, 60), i;
	void *slots[60];

	for (i = first; i < NR_ENTRIES && nr < wanted && !model->entries[i].slot; i++)
		nr++;
	if (blockslab_alloc_bulk(model->heap, size, GFP_KERNEL | __GFP_NOWARN, nr, slots) != nr)
		return;
	for (i = 0; i < nr; i++)
		filled(model, &model->entries[first + i], slots[i], size);
}

static void step_bulk_free(struct model *model, unsigned int first)
{
	void *slots[60];
	size_t nr = 0;
	struct entry *entry = &model->entries[first];
	const struct entry *end = &model->entries[NR_ENTRIES];

	for (; entry < end && nr < ARRAY_SIZE(slots) && entry->slot; entry++) {
		emptied(model, entry);
		slots[nr++] = entry->slot;
		entry->slot = NULL;
	}
	blockslab_free_bulk(nr, slots);
}

static void step(struct model *model)
{
	unsigned int index = below(model, NR_ENTRIES);
	struct entry *entry = &model->entries[index];

	switch (below(model, 20)) {
	case 0:
		step_bulk(model, index);
		break;
	case 1:
		step_bulk_free(model, index);
		break;
	case 2:
		if (below(model, 20) == 0)
			blockslab_shrink(model->heap);
		break;
	case 3:
	case 4:
		if (entry->slot)
			step_realloc(model, entry);
		break;
	default:
		if (entry->slot)
			step_free(model, entry);
		else
			step_alloc(model, entry);
	}
}

static void check(struct model *model)
{
	struct blockslab_heap_stats stats = stats_of(model->heap);

	KUNIT_EXPECT_EQ_MSG(model->test, blockslab_validate(model->heap), 0,
			    "step %u", model->step);
	KUNIT_EXPECT_GE_MSG(model->test, stats.held, stats.allocated + stats.cached,
			    "step %u", model->step);
	if (model->exact)
		KUNIT_EXPECT_EQ_MSG(model->test, stats.allocated, model->allocated,
				    "step %u", model->step);
	if (model->limit)
		KUNIT_EXPECT_LE_MSG(model->test, stats.held, model->limit, "step %u", model->step);
}

struct model_case {
	const char *told;
	unsigned long flags;
	size_t limit;
};

static const struct model_case model_table[] = {
	{ "a plain heap", 0, 0 },
	{ "a limited heap", 0, SZ_1M },
	{ "a zeroing heap", BLOCKSLAB_ZERO, 0 },
	{ "a heap with poison", BLOCKSLAB_POISON, 0 },
	{ "a heap with red zones", BLOCKSLAB_RED_ZONE, 0 },
	{ "a heap with all checks and a limit", BLOCKSLAB_POISON | BLOCKSLAB_RED_ZONE, SZ_2M },
	{ "a heap of cache lines", BLOCKSLAB_HWCACHE_ALIGN, 0 },
};

static void model_case_name(const struct model_case *param, char *name)
{
	strscpy(name, param->told, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(model, model_table, model_case_name);

static void random_calls_do_as_the_model_says(struct kunit *test)
{
	const struct model_case *param = test->param_value;
	struct model *model = kunit_kzalloc(test, sizeof(*model), GFP_KERNEL);
	u32 used = seed ?: get_random_u32();
	struct entry *entry;

	KUNIT_ASSERT_NOT_NULL(test, model);
	kunit_info(test, "seed=%u\n", used);
	model->test = test;
	model->heap = make_heap(test, "model", param->flags, param->limit, 0);
	model->limit = param->limit;
	model->zero = param->flags & BLOCKSLAB_ZERO;
	model->exact = !(param->flags & BLOCKSLAB_RED_ZONE);
	prandom_seed_state(&model->random, used);
	for (model->step = 1; model->step <= NR_STEPS; model->step++) {
		step(model);
		if (model->step % CHECK_STEPS == 0)
			check(model);
	}
	for (entry = model->entries; entry < &model->entries[NR_ENTRIES]; entry++)
		if (entry->slot)
			step_free(model, entry);
	check(model);
	end_heap(test, model->heap);
}

static struct kunit_case model_cases[] = {
	KUNIT_CASE_PARAM(random_calls_do_as_the_model_says, model_gen_params),
	{}
};

BLOCKSLAB_KUNIT_SUITE(model, model_cases);
