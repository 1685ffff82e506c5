// SPDX-License-Identifier: GPL-2.0
/* Caches: objects of one kind, made once by their constructor. */
#include <linux/rcupdate.h>
#include "blockslab_kunit.h"

#define NR_OBJECTS	1000
#define MAGIC		0x600dcafe

struct object {
	u32 magic;
	u32 uses;
	char rest[40];
};

static atomic_t constructed;

static void construct(void *data)
{
	struct object *object = data;

	memset(object, 0, sizeof(*object));
	object->magic = MAGIC;
	atomic_inc(&constructed);
}

static struct blockslab_cache *make_cache(struct kunit *test, const char *name, unsigned long flags,
					  void (*ctor)(void *))
{
	struct blockslab_cache *cache;

	cache = blockslab_cache_create(name, sizeof(struct object), 0, flags, ctor);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	atomic_set(&constructed, 0);
	return cache;
}

static struct object *must_get(struct kunit *test, struct blockslab_cache *cache)
{
	struct object *object = blockslab_cache_alloc(cache, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(object);
	KUNIT_ASSERT_NOT_NULL(test, object);
	return object;
}

static void objects_of_a_cache_are_distinct(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "kinds", 0, NULL);
	void **objects = slot_array(test, NR_OBJECTS);
	int i;

	for (i = 0; i < NR_OBJECTS; i++) {
		objects[i] = must_get(test, cache);
		KUNIT_EXPECT_GE(test, blockslab_usable_size(objects[i]), sizeof(struct object));
		memset(objects[i], i % 251, sizeof(struct object));
	}
	for (i = 0; i < NR_OBJECTS; i++) {
		KUNIT_EXPECT_TRUE(test, all_bytes_are(objects[i], i % 251, sizeof(struct object)));
		blockslab_cache_free(cache, objects[i]);
	}
	blockslab_cache_destroy(cache);
}

static void every_object_is_constructed(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "constructed", 0, construct);
	void **objects = slot_array(test, NR_OBJECTS);
	int i;

	for (i = 0; i < NR_OBJECTS; i++) {
		objects[i] = must_get(test, cache);
		KUNIT_EXPECT_EQ(test, ((struct object *)objects[i])->magic, MAGIC);
	}
	KUNIT_EXPECT_GE(test, atomic_read(&constructed), NR_OBJECTS);
	for (i = 0; i < NR_OBJECTS; i++)
		blockslab_cache_free(cache, objects[i]);
	blockslab_cache_destroy(cache);
}

static void an_object_is_constructed_once_and_keeps_its_state(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "kept", 0, construct);
	struct object *object;
	int before, i;

	sample_nothing(test, blockslab_cache_heap(cache));
	object = must_get(test, cache);
	before = atomic_read(&constructed);
	for (i = 0; i < 100; i++) {
		struct object *again;

		object->uses++;
		blockslab_cache_free(cache, object);
		again = must_get(test, cache);
		KUNIT_EXPECT_PTR_EQ(test, again, object);
		KUNIT_EXPECT_EQ(test, again->magic, MAGIC);
		KUNIT_EXPECT_EQ(test, again->uses, i + 1);
		object = again;
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&constructed), before);
	blockslab_cache_free(cache, object);
	blockslab_cache_destroy(cache);
}

/* All that lies free keeps what the constructor made, wherever it was in between. */
static void constructed_state_survives_the_way_through_blocks(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "through", 0, construct);
	void **objects = slot_array(test, NR_OBJECTS);
	int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < NR_OBJECTS; i++) {
			struct object *object = must_get(test, cache);

			KUNIT_EXPECT_EQ(test, object->magic, MAGIC);
			KUNIT_EXPECT_TRUE(test, all_bytes_are(object->rest, 0,
							      sizeof(object->rest)));
			objects[i] = object;
		}
		for (i = 0; i < NR_OBJECTS; i++)
			blockslab_cache_free(cache, objects[i]);
	}
	blockslab_cache_destroy(cache);
}

/* Zeroes are given to who asks for them, but for what a constructor made. */
static void objects_are_zeroed_on_request(struct kunit *test)
{
	static const unsigned long flags[] = { 0, BLOCKSLAB_TYPESAFE_BY_RCU, BLOCKSLAB_RED_ZONE };
	void *objects[20];
	int i, round, nr;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct blockslab_cache *cache = make_cache(test, "zeroed", flags[i], NULL);

		for (round = 0; round < 3; round++) {
			nr = blockslab_cache_alloc_bulk(cache, GFP_KERNEL | __GFP_ZERO,
							ARRAY_SIZE(objects) - 1, objects);
			KUNIT_ASSERT_EQ(test, nr, ARRAY_SIZE(objects) - 1);
			objects[nr] = blockslab_cache_alloc(cache, GFP_KERNEL | __GFP_ZERO);
			for (nr = 0; nr < ARRAY_SIZE(objects); nr++) {
				KUNIT_EXPECT_TRUE(test, all_bytes_are(objects[nr], 0,
								      sizeof(struct object)));
				memset(objects[nr], 0x5a, sizeof(struct object));
				blockslab_cache_free(cache, objects[nr]);
			}
		}
		blockslab_cache_destroy(cache);
	}
}

/* To the last byte, whatever their size. */
static void objects_of_every_size_are_zeroed(struct kunit *test)
{
	struct blockslab_cache *cache;
	size_t size;
	void *slot;

	for (size = 57; size <= 64; size++) {
		cache = blockslab_cache_create("sized", size, 0, BLOCKSLAB_TYPESAFE_BY_RCU, NULL);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
		slot = must_get(test, cache);
		memset(slot, 0x5a, size);
		blockslab_cache_free(cache, slot);
		slot = blockslab_cache_zalloc(cache, GFP_KERNEL);
		KUNIT_EXPECT_TRUE_MSG(test, all_bytes_are(slot, 0, size), "of %zu bytes", size);
		blockslab_cache_free(cache, slot);
		blockslab_cache_destroy(cache);
	}
}

static void a_double_free_of_a_constructed_object_is_told(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "double", 0, construct);
	struct object *object = must_get(test, cache);

	blockslab_cache_free(cache, object);
	blockslab_cache_free(cache, object);
	expect_fault(test, "double free", object);
	object = must_get(test, cache);
	KUNIT_EXPECT_EQ(test, object->magic, MAGIC);
	blockslab_cache_free(cache, object);
	blockslab_cache_destroy(cache);
}

static void objects_come_and_go_in_bulk(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "bulk", 0, construct);
	void **objects = slot_array(test, NR_OBJECTS);
	int i, round;

	for (round = 0; round < 3; round++) {
		KUNIT_ASSERT_EQ(test, NR_OBJECTS,
				blockslab_cache_alloc_bulk(cache, GFP_KERNEL, NR_OBJECTS, objects));
		for (i = 0; i < NR_OBJECTS; i++)
			KUNIT_EXPECT_EQ(test, ((struct object *)objects[i])->magic, MAGIC);
		blockslab_cache_free_bulk(cache, NR_OBJECTS, objects);
	}
	blockslab_cache_destroy(cache);
}

static void an_object_without_constructor_is_zeroed_on_request(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "zeroed", 0, NULL);
	int i;

	for (i = 0; i < 3; i++) {
		void *object = blockslab_cache_alloc(cache, GFP_KERNEL | __GFP_ZERO);

		OPTIMIZER_HIDE_VAR(object);
		KUNIT_ASSERT_NOT_NULL(test, object);
		KUNIT_EXPECT_TRUE(test, all_bytes_are(object, 0, sizeof(struct object)));
		memset(object, 0xff, sizeof(struct object));
		blockslab_cache_free(cache, object);
	}
	blockslab_cache_destroy(cache);
}

/* By single calls and in bulk; an object comes again as it was left. */
static void every_object_of_a_zeroing_cache_is_zero(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "zeroing", BLOCKSLAB_ZERO, NULL);
	void **objects = slot_array(test, NR_OBJECTS);
	int i, round;

	for (round = 0; round < 3; round++) {
		objects[0] = must_get(test, cache);
		KUNIT_EXPECT_TRUE(test, all_bytes_are(objects[0], 0, sizeof(struct object)));
		KUNIT_ASSERT_EQ(test, NR_OBJECTS - 1,
				blockslab_cache_alloc_bulk(cache, GFP_KERNEL, NR_OBJECTS - 1,
							   objects + 1));
		for (i = 0; i < NR_OBJECTS; i++) {
			KUNIT_EXPECT_TRUE(test, all_bytes_are(objects[i], 0,
							      sizeof(struct object)));
			memset(objects[i], 0xff, sizeof(struct object));
			blockslab_cache_free(cache, objects[i]);
		}
	}
	blockslab_cache_destroy(cache);
}

/* Zeroes where there is no constructor; its work, and no poison, where there is one. */
static void objects_between_red_zones_are_as_they_should_be(struct kunit *test)
{
	const unsigned long flags = BLOCKSLAB_RED_ZONE | BLOCKSLAB_POISON;
	struct blockslab_cache *plain = make_cache(test, "plain", flags, NULL);
	struct blockslab_cache *made = make_cache(test, "made", flags, construct);
	void **objects = slot_array(test, NR_OBJECTS);
	int i, round;

	for (round = 0; round < 2; round++) {
		KUNIT_ASSERT_EQ(test, NR_OBJECTS,
				blockslab_cache_alloc_bulk(plain, GFP_KERNEL | __GFP_ZERO,
							   NR_OBJECTS, objects));
		for (i = 0; i < NR_OBJECTS; i++)
			KUNIT_EXPECT_TRUE(test, all_bytes_are(objects[i], 0,
							      sizeof(struct object)));
		blockslab_cache_free_bulk(plain, NR_OBJECTS, objects);
		KUNIT_ASSERT_EQ(test, NR_OBJECTS,
				blockslab_cache_alloc_bulk(made, GFP_KERNEL | __GFP_ZERO,
							   NR_OBJECTS, objects));
		for (i = 0; i < NR_OBJECTS; i++)
			KUNIT_EXPECT_EQ(test, ((struct object *)objects[i])->magic, MAGIC);
		blockslab_cache_free_bulk(made, NR_OBJECTS, objects);
	}
	blockslab_cache_destroy(plain);
	blockslab_cache_destroy(made);
}

static void a_write_past_a_constructed_object_is_told(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "zoned", BLOCKSLAB_RED_ZONE, construct);
	struct object *object = must_get(test, cache);
	u8 *end = (u8 *)(object + 1);

	OPTIMIZER_HIDE_VAR(end);
	kasan_disable_current();
	*end ^= 0xff;
	kasan_enable_current();
	blockslab_cache_free(cache, object);
	expect_fault(test, "write past the slot", object);
	KUNIT_EXPECT_EQ(test, object->magic, MAGIC);
	blockslab_cache_free(cache, object);
	blockslab_cache_destroy(cache);
}

static void an_accounted_cache_serves(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "accounted", BLOCKSLAB_ACCOUNT, construct);
	void **objects = slot_array(test, NR_OBJECTS);
	int i;

	for (i = 0; i < NR_OBJECTS; i++) {
		objects[i] = must_get(test, cache);
		KUNIT_EXPECT_EQ(test, ((struct object *)objects[i])->magic, MAGIC);
	}
	KUNIT_EXPECT_EQ(test, blockslab_validate(blockslab_cache_heap(cache)), 0);
	for (i = 0; i < NR_OBJECTS; i++)
		blockslab_cache_free(cache, objects[i]);
	blockslab_cache_destroy(cache);
}

/* What is made next has its per-CPU state right behind that of the cache. */
static void no_slot_of_another_class_passes_for_an_object(struct kunit *test)
{
	struct blockslab_cache *caches[64];
	void *slots[ARRAY_SIZE(caches)];
	char name[16];
	int i;

	for (i = 0; i < ARRAY_SIZE(caches); i++) {
		size_t size = (i + 1) * CLASS_STEP;

		snprintf(name, sizeof(name), "strict-%d", i);
		caches[i] = make_cache(test, name, 0, construct);
		slots[i] = must_alloc(test, fixture.heap, size);
		memset(slots[i], 0x5a, size);
		blockslab_cache_free(caches[i], slots[i]);
		expect_fault(test, "wrong cache", slots[i]);
		KUNIT_EXPECT_TRUE(test, all_bytes_are(slots[i], 0x5a, size));
	}
	free_many(slots, ARRAY_SIZE(slots));
	for (i = 0; i < ARRAY_SIZE(caches); i++)
		blockslab_cache_destroy(caches[i]);
}

static void a_plain_free_takes_objects_too(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "plain", 0, construct);
	struct object *object = must_get(test, cache);

	blockslab_free(object);
	object = must_get(test, cache);
	KUNIT_EXPECT_EQ(test, object->magic, MAGIC);
	blockslab_cache_free(cache, object);
	blockslab_cache_destroy(cache);
}

static void a_sized_free_of_an_object_is_checked(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "sized", 0, construct);
	struct object *object = must_get(test, cache);

	blockslab_free_sized(object, sizeof(*object) + 64);
	expect_fault(test, "wrong size", object);
	blockslab_free_sized(object, sizeof(*object));
	blockslab_cache_destroy(cache);
}

static void a_cache_shows_as_a_heap_of_one_class(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "shown", 0, NULL);
	struct object *object = must_get(test, cache);
	struct table classes = table_open(test, "heap/shown/classes");

	KUNIT_ASSERT_TRUE(test, table_next(test, &classes));
	KUNIT_EXPECT_GE(test, table_number(test, &classes, "size"), sizeof(struct object));
	KUNIT_EXPECT_EQ(test, table_number(test, &classes, "allocated"), 1);
	while (table_next(test, &classes))
		KUNIT_EXPECT_EQ(test, table_number(test, &classes, "size"), 0);
	blockslab_cache_free(cache, object);
	blockslab_cache_destroy(cache);
}

static void live_objects_survive_destroy(struct kunit *test)
{
	struct blockslab_cache *cache = make_cache(test, "left", 0, construct);
	struct object *objects[100];
	int i;

	for (i = 0; i < ARRAY_SIZE(objects); i++)
		objects[i] = must_get(test, cache);
	blockslab_cache_destroy(cache);
	for (i = 0; i < ARRAY_SIZE(objects); i++) {
		KUNIT_EXPECT_EQ(test, objects[i]->magic, MAGIC);
		blockslab_free(objects[i]);
	}
}

/* A reader may come late: what it finds is still an object, of this kind or a new one of it. */
static void typesafe_memory_stays_of_its_type_for_readers(struct kunit *test)
{
	const unsigned long flags = BLOCKSLAB_TYPESAFE_BY_RCU;
	struct blockslab_cache *cache = make_cache(test, "typesafe", flags, construct);
	void **objects = slot_array(test, NR_OBJECTS);
	int i;

	for (i = 0; i < NR_OBJECTS; i++)
		objects[i] = must_get(test, cache);
	rcu_read_lock();
	for (i = 0; i < NR_OBJECTS; i++)
		blockslab_cache_free(cache, objects[i]);
	if (!IS_ENABLED(CONFIG_KASAN))
		for (i = 0; i < NR_OBJECTS; i++)
			if (READ_ONCE(((struct object *)objects[i])->magic) != MAGIC)
				break;
	rcu_read_unlock();
	if (!IS_ENABLED(CONFIG_KASAN))
		KUNIT_EXPECT_EQ(test, i, NR_OBJECTS);
	blockslab_cache_destroy(cache);
	rcu_barrier();
}

static void a_typesafe_cache_gives_its_blocks_back_in_the_end(struct kunit *test)
{
	struct blockslab_cache *cache;
	int round, tries, i;

	for (round = 0; round < 5; round++) {
		struct object *objects[100];

		cache = make_cache(test, "typesafe", BLOCKSLAB_TYPESAFE_BY_RCU, NULL);
		for (i = 0; i < ARRAY_SIZE(objects); i++)
			objects[i] = must_get(test, cache);
		for (i = 0; i < ARRAY_SIZE(objects); i++)
			blockslab_cache_free(cache, objects[i]);
		blockslab_cache_destroy(cache);
	}
	/* each of its blocks keeps it listed until a grace period has passed */
	for (tries = 0; tries < 500 && heaps_named(test, "typesafe"); tries++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, heaps_named(test, "typesafe"), 0);
}

static void count_construction(void *object)
{
	atomic_inc(object);
}

/* Its constructor is for its objects alone. */
static void a_cache_s_heap_gives_nothing_else(struct kunit *test)
{
	static const char what[] = "allocation of a size from a cache's heap";
	struct blockslab_cache *cache;
	struct blockslab_heap *heap;
	void *slots[2], *slot;

	cache = blockslab_cache_create("alone", 100, 0, 0, count_construction);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	heap = blockslab_cache_heap(cache);
	KUNIT_EXPECT_NULL(test, try_alloc(heap, 1, GFP_KERNEL));
	expect_fault(test, what, heap);
	KUNIT_EXPECT_NULL(test, blockslab_zalloc(heap, 100, GFP_KERNEL));
	expect_fault(test, what, heap);
	KUNIT_EXPECT_NULL(test, try_alloc(heap, 100000, GFP_KERNEL));
	expect_fault(test, what, heap);
	KUNIT_EXPECT_EQ(test, blockslab_alloc_bulk(heap, 100, GFP_KERNEL, 2, slots), 0);
	expect_fault(test, what, heap);
	KUNIT_EXPECT_NULL(test, blockslab_alloc_nolock(heap, 100));
	expect_fault(test, what, heap);
	slot = must_alloc(test, fixture.heap, 10);
	KUNIT_EXPECT_NULL(test, blockslab_realloc(heap, slot, 1000, GFP_KERNEL));
	expect_fault(test, what, heap);
	blockslab_free(slot);
	slot = blockslab_cache_alloc(cache, GFP_KERNEL);
	KUNIT_EXPECT_NOT_NULL(test, slot);
	blockslab_cache_free(cache, slot);
	blockslab_cache_destroy(cache);
}

static struct kunit_case cache_cases[] = {
	KUNIT_CASE(a_cache_s_heap_gives_nothing_else),
	KUNIT_CASE(objects_of_a_cache_are_distinct),
	KUNIT_CASE(every_object_is_constructed),
	KUNIT_CASE(an_object_is_constructed_once_and_keeps_its_state),
	KUNIT_CASE(constructed_state_survives_the_way_through_blocks),
	KUNIT_CASE(objects_are_zeroed_on_request),
	KUNIT_CASE(objects_of_every_size_are_zeroed),
	KUNIT_CASE(a_double_free_of_a_constructed_object_is_told),
	KUNIT_CASE(objects_come_and_go_in_bulk),
	KUNIT_CASE(an_object_without_constructor_is_zeroed_on_request),
	KUNIT_CASE(every_object_of_a_zeroing_cache_is_zero),
	KUNIT_CASE(objects_between_red_zones_are_as_they_should_be),
	KUNIT_CASE(a_write_past_a_constructed_object_is_told),
	KUNIT_CASE(an_accounted_cache_serves),
	KUNIT_CASE(no_slot_of_another_class_passes_for_an_object),
	KUNIT_CASE(a_plain_free_takes_objects_too),
	KUNIT_CASE(a_sized_free_of_an_object_is_checked),
	KUNIT_CASE(a_cache_shows_as_a_heap_of_one_class),
	KUNIT_CASE(live_objects_survive_destroy),
	KUNIT_CASE(typesafe_memory_stays_of_its_type_for_readers),
	KUNIT_CASE(a_typesafe_cache_gives_its_blocks_back_in_the_end),
	{}
};

BLOCKSLAB_KUNIT_SUITE(cache, cache_cases);
