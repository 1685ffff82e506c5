// SPDX-License-Identifier: GPL-2.0
/* The text of debugfs: that it says what is, and that its sums agree. */
#include <linux/dcache.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include "blockslab_kunit.h"

#define NR_SLOTS	2000

/* All kinds of slots, some of them freed again. */
static void **use_the_heap(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t i;

	for (i = 0; i < NR_SLOTS; i++)
		slots[i] = must_alloc(test, fixture.heap, 1 + i % 1000 * 11);
	for (i = 0; i < NR_SLOTS; i += 3) {
		blockslab_free(slots[i]);
		slots[i] = NULL;
	}
	return slots;
}

static void heaps_lists_every_heap_once(struct kunit *test)
{
	static const char * const names[] = { "one", "two", "three" };
	struct blockslab_heap *heaps[ARRAY_SIZE(names)];
	int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		heaps[i] = make_heap(test, names[i], 0, SZ_1M * (i + 1), 0);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		struct table table = table_open(test, "heaps");
		int seen = 0;

		while (table_next(test, &table))
			seen += !strcmp(table_text(test, &table, "name"), names[i]);
		KUNIT_EXPECT_EQ(test, seen, 1);
		KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", names[i], "limit"),
				SZ_1M * (i + 1));
	}
	for (i = 0; i < ARRAY_SIZE(names); i++)
		end_heap(test, heaps[i]);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "shared", "limit"), 0);
}

static void a_destroyed_heap_is_listed_no_more(struct kunit *test)
{
	struct table table;

	end_heap(test, make_heap(test, "gone", 0, 0, 0));
	table = table_open(test, "heaps");
	while (table_next(test, &table))
		KUNIT_EXPECT_STRNEQ(test, table_text(test, &table, "name"), "gone");
	KUNIT_EXPECT_TRUE(test, IS_ERR(debugfs_open("heap/gone/classes", O_RDONLY)));
}

static void heaps_tells_what_the_heap_holds(struct kunit *test)
{
	void **slots = use_the_heap(test);
	struct blockslab_heap_stats stats = stats_of(fixture.heap);

	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "kunit", "held"), stats.held);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "kunit", "slots"),
			NR_SLOTS - (NR_SLOTS + 2) / 3);
	free_many(slots, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "kunit", "slots"), 0);
}

/* The invariants of a class, as its line has them. */
static void expect_class_adds_up(struct kunit *test, struct table *table)
{
	u64 size = table_number(test, table, "size");
	u64 slots = table_number(test, table, "allocated") + table_number(test, table, "cached") +
		    table_number(test, table, "free");

	KUNIT_EXPECT_EQ(test, table_number(test, table, "allocated"),
			table_number(test, table, "allocs") - table_number(test, table, "frees"));
	KUNIT_EXPECT_GE(test, table_number(test, table, "held"), slots * size);
	KUNIT_EXPECT_LE(test, table_number(test, table, "requested"),
			size ? table_number(test, table, "allocs") * size : U64_MAX);
}

static void the_sums_of_every_class_agree(struct kunit *test)
{
	void **slots = use_the_heap(test);
	struct table table = table_open(test, "heap/kunit/classes");
	unsigned long *seen = kunit_kcalloc(test, BITS_TO_LONGS(BLOCKSLAB_SLOT_MAX + 1),
					    sizeof(long), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, seen);
	while (table_next(test, &table)) {
		u64 size = table_number(test, &table, "size");

		expect_class_adds_up(test, &table);
		KUNIT_EXPECT_FALSE_MSG(test, __test_and_set_bit(size, seen),
				       "class of %llu bytes once more", size);
	}
	KUNIT_EXPECT_GT(test, bitmap_weight(seen, BLOCKSLAB_SLOT_MAX + 1), 8);
	KUNIT_EXPECT_TRUE(test, test_bit(0, seen));	/* whole pages */
	free_many(slots, NR_SLOTS);
}

static void classes_add_up_to_the_heap(struct kunit *test)
{
	void **slots = use_the_heap(test);
	struct table table = table_open(test, "heap/kunit/classes");
	u64 held = 0, allocated = 0, requested = 0, blocks = 0;

	while (table_next(test, &table)) {
		held += table_number(test, &table, "held");
		allocated += table_number(test, &table, "allocated");
		requested += table_number(test, &table, "requested");
		blocks += table_number(test, &table, "full") +
			  table_number(test, &table, "partial") +
			  table_number(test, &table, "retained");
	}
	KUNIT_EXPECT_EQ(test, held, stats_of(fixture.heap).held);
	KUNIT_EXPECT_EQ(test, allocated, table_cell(test, "heaps", "name", "kunit", "slots"));
	KUNIT_EXPECT_EQ(test, requested, table_cell(test, "heaps", "name", "kunit", "requested"));
	KUNIT_EXPECT_EQ(test, blocks, blocks_of(test, "kunit"));
	free_many(slots, NR_SLOTS);
}

static u64 count_of(const char *map, char what)
{
	u64 nr = 0;

	for (; *map; map++)
		nr += *map == what;
	return nr;
}

/* used/slots, and a map that says the same slot by slot. */
static void expect_map_agrees(struct kunit *test, struct table *table, u64 *allocated)
{
	const char *map = table_text(test, table, "map");
	u64 used = 0, slots = 0;
	int found;

	found = sscanf(table_text(test, table, "used/slots"), "%llu/%llu", &used, &slots);
	KUNIT_EXPECT_EQ(test, found, 2);
	KUNIT_EXPECT_EQ(test, strlen(map), slots);
	KUNIT_EXPECT_EQ(test, count_of(map, '#') + count_of(map, 'c') + count_of(map, '.'), slots);
	KUNIT_EXPECT_EQ(test, count_of(map, '#'), used);
	KUNIT_EXPECT_LE(test, slots * table_number(test, table, "class"),
			PAGE_SIZE << table_number(test, table, "order"));
	*allocated += used;
}

static void slot_maps_show_every_slot(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	struct table table;
	u64 allocated = 0, lines = 0;
	size_t i;

	for (i = 0; i < NR_SLOTS; i++)
		slots[i] = must_alloc(test, fixture.heap, 1 + i * 4);
	table = table_open(test, "heap/kunit/blocks");
	while (table_next(test, &table)) {
		expect_map_agrees(test, &table, &allocated);
		lines++;
	}
	KUNIT_EXPECT_EQ(test, allocated, NR_SLOTS);
	KUNIT_EXPECT_EQ(test, lines, blocks_of(test, "kunit"));
	free_many(slots, NR_SLOTS);
}

/* A bit at a time, then by the same open file from the start again, and from the middle. */
static void slot_maps_can_be_read_again(struct kunit *test)
{
	void **slots = use_the_heap(test);
	char *first = kunit_kzalloc(test, SZ_128K, GFP_KERNEL);
	char *again = kunit_kzalloc(test, SZ_128K, GFP_KERNEL);
	struct file *file = debugfs_open("heap/kunit/blocks", O_RDONLY);
	size_t length = 0, part;

	KUNIT_ASSERT_TRUE(test, first && again && !IS_ERR(file));
	while ((part = debugfs_read_at(file, length, first + length, 100)))
		length += part;
	KUNIT_EXPECT_GT(test, length, 1000);
	KUNIT_EXPECT_EQ(test, debugfs_read_at(file, 0, again, 1000), 1000);
	KUNIT_EXPECT_EQ(test, memcmp(first, again, 1000), 0);
	KUNIT_EXPECT_EQ(test, debugfs_read_at(file, 500, again, 200), 200);
	KUNIT_EXPECT_EQ(test, memcmp(first + 500, again, 200), 0);
	KUNIT_EXPECT_EQ(test, debugfs_read_at(file, length + 1000, again, 200), 0);
	filp_close(file, NULL);
	free_many(slots, NR_SLOTS);
}

/* Who reads leaves a mark among the blocks, which is none for anybody else. */
static void readers_do_not_see_one_another(struct kunit *test)
{
	char *text = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	struct file *file = debugfs_open("heap/kunit/blocks", O_RDONLY);
	void **slots = slot_array(test, NR_SLOTS);
	struct table table;
	u64 lines = 0;

	KUNIT_ASSERT_TRUE(test, text && !IS_ERR(file));
	alloc_many(test, fixture.heap, 1000, slots, NR_SLOTS);
	KUNIT_EXPECT_GT(test, debugfs_read_at(file, 0, text, 200), 0);
	table = table_open(test, "heap/kunit/blocks");
	while (table_next(test, &table))
		lines++;
	KUNIT_EXPECT_EQ(test, lines, blocks_of(test, "kunit"));
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
	KUNIT_EXPECT_EQ(test, blockslab_heap_release(fixture.heap), NR_SLOTS);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "kunit"), 0);
	filp_close(file, NULL);
}

static void a_slot_map_tells_cached_from_allocated(struct kunit *test)
{
	void *live = must_alloc(test, fixture.heap, 64);
	void *freed = must_alloc(test, fixture.heap, 64);
	u64 allocated = 0, cached = 0;
	struct table table;

	blockslab_free(freed);
	table = table_open(test, "heap/kunit/blocks");
	while (table_next(test, &table)) {
		expect_map_agrees(test, &table, &allocated);
		cached += count_of(table_text(test, &table, "map"), 'c');
	}
	KUNIT_EXPECT_EQ(test, allocated, 1);
	KUNIT_EXPECT_EQ(test, cached, class_cell(test, "kunit", 64, "cached"));
	KUNIT_EXPECT_GE(test, cached, 1);
	blockslab_free(live);
}

static void counters_count_every_call(struct kunit *test)
{
	void *slots[100];

	alloc_many(test, fixture.heap, 60, slots, ARRAY_SIZE(slots));
	free_many(slots, 40);
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 64, "allocs"), 100);
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 64, "frees"), 40);
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 64, "requested"), 6000);
	KUNIT_EXPECT_EQ(test, class_cell(test, "kunit", 64, "allocated"), 60);
	free_many(slots + 40, 60);
}

static void expect_waste(struct kunit *test, const char *waste)
{
	struct table table = table_open(test, "heaps");

	while (table_next(test, &table))
		if (!strcmp(table_text(test, &table, "name"), "kunit"))
			KUNIT_EXPECT_STREQ(test, table_text(test, &table, "waste"), waste);
}

static void waste_is_what_nobody_asked_for(struct kunit *test)
{
	unsigned int step = CLASS_STEP, per_mille = (step - 1) * 1000 / (9 * step);
	void *slots[100];
	char waste[8];

	alloc_many(test, fixture.heap, 6 * step, slots, ARRAY_SIZE(slots));
	expect_waste(test, "0.0");
	free_many(slots, ARRAY_SIZE(slots));
	/* 7 bytes of 24, a hundred times: 700 of the 7200 given out so far, 9.7 per cent */
	alloc_many(test, fixture.heap, 2 * step + 1, slots, ARRAY_SIZE(slots));
	scnprintf(waste, sizeof(waste), "%u.%u", per_mille / 10, per_mille % 10);
	expect_waste(test, waste);
	free_many(slots, ARRAY_SIZE(slots));
}

static void of_whole_pages_too(struct kunit *test)
{
	char waste[8];
	void *slot;

	slot = must_alloc(test, fixture.heap, 2 * PAGE_SIZE + 1);
	scnprintf(waste, sizeof(waste), "33.%lu", (PAGE_SIZE - 1) * 1000 / (3 * PAGE_SIZE) % 10);
	expect_waste(test, waste);
	blockslab_free(slot);
}

/*
 * The files that are written to act: calls with user memory, which KUnit has on 6.12 and later, as
 * a flag of that release tells. On all kernels, test/boot.sh reads and writes them.
 */
#ifdef FOP_UNSIGNED_OFFSET
#include <linux/mman.h>
#include <linux/uaccess.h>

static void __user *user_memory(struct kunit *test)
{
	unsigned long address = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
					      MAP_ANONYMOUS | MAP_PRIVATE, 0);

	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(address));
	return (void __user *)address;
}

static ssize_t write_and_close(struct kunit *test, struct file *file, const char *text)
{
	char __user *user = user_memory(test);
	loff_t position = 0;
	ssize_t result;

	KUNIT_ASSERT_EQ(test, copy_to_user(user, text, strlen(text)), 0);
	result = file->f_op->write(file, user, strlen(text), &position);
	filp_close(file, NULL);
	return result;
}

static ssize_t debugfs_write(struct kunit *test, const char *path, const char *text)
{
	struct file *file = debugfs_open(path, O_WRONLY);

	KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(file), "cannot open %s", path);
	return write_and_close(test, file, text);
}

static u64 debugfs_value(struct kunit *test, const char *path)
{
	char __user *user = user_memory(test);
	struct file *file = debugfs_open(path, O_RDONLY);
	loff_t position = 0;
	char text[32] = "";
	ssize_t length;
	u64 value = 0;

	KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(file), "cannot open %s", path);
	length = file->f_op->read(file, user, sizeof(text) - 1, &position);
	filp_close(file, NULL);
	KUNIT_ASSERT_GT(test, length, 0);
	KUNIT_ASSERT_EQ(test, copy_from_user(text, user, length), 0);
	KUNIT_EXPECT_EQ_MSG(test, kstrtou64(text, 10, &value), 0, "%s is %s", path, text);
	return value;
}

/* Whether a heap has a directory, without a look for one. */
static bool has_directory(struct kunit *test, const char *name)
{
	struct dentry *root = debugfs_lookup("blockslab", NULL);
	struct dentry *heaps = root ? debugfs_lookup("heap", root) : NULL, *found;
	struct qstr wanted = { .name = name, .len = strlen(name) };

	KUNIT_ASSERT_NOT_NULL(test, heaps);
	wanted.hash = full_name_hash(heaps, name, wanted.len);
	found = d_lookup(heaps, &wanted);
	dput(found);
	dput(heaps);
	dput(root);
	return found;
}

static void a_heap_has_a_directory_once_somebody_looks(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "unseen", 0, 0, 0), *other;

	KUNIT_EXPECT_FALSE(test, has_directory(test, "unseen"));
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/unseen/limit"), 0);
	KUNIT_EXPECT_TRUE(test, has_directory(test, "unseen"));
	other = make_heap(test, "later", 0, 0, 0);
	KUNIT_EXPECT_FALSE(test, has_directory(test, "later"));
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/later/limit"), 0);
	end_heap(test, other);
	end_heap(test, heap);
	KUNIT_EXPECT_FALSE(test, has_directory(test, "unseen"));
}

static void control_files_tell_their_value(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "control", 0, SZ_1M, 0);

	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/control/limit"), SZ_1M);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/control/shrink"), 0);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/control/validate"), 0);
	end_heap(test, heap);
}

static void sizes_are_written_as_people_do(struct kunit *test)
{
	static const char * const rubbish[] = {
		"", "K", "64Q", "-1", "1 2", "0x", "64KK", "018", "1K0",
		/* 0 or 1M in 64 bits, which these are past */
		"18446744073709551616", "18446744073710600192", "0x10000000000100000",
		"18014398509481984K", "16384P", "16E",
	};
	int i;

	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "1M\n"), 3);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/limit"), SZ_1M);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "0x20000"), 7);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/limit"), SZ_128K);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", " 0X200k  "), 9);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/limit"), SZ_512K);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "0x1000E"), 7);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/limit"), 0x1000e);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "00000400000"), 11);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/limit"), SZ_128K);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "1g"), 2);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/limit"), SZ_1G);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "0x20000"), 7);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/track", "512K"), 4);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/track"), SZ_512K);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/track", "0"), 1);
	for (i = 0; i < ARRAY_SIZE(rubbish); i++)
		KUNIT_EXPECT_EQ_MSG(test, debugfs_write(test, "heap/kunit/limit", rubbish[i]),
				    -EINVAL, "%s", rubbish[i]);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/limit"), SZ_128K);
}

static int destroy_heap(void *heap)
{
	blockslab_heap_destroy(heap);
	return 0;
}

/* Before it is known whether it stays. It has a slot that is waited for, and will have none. */
static void a_heap_that_is_being_destroyed_is_not_let_go_of(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "going", 0, 0, 0);
	struct task_struct *thread;
	struct file *file;
	ssize_t told;

	blockslab_free_rcu(must_alloc(test, heap, 100));
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/going/forget", "1"), -EBUSY);
	thread = kthread_create(destroy_heap, heap, "blockslab_ends");
	KUNIT_ASSERT_FALSE(test, IS_ERR(thread));
	get_task_struct(thread);
	wake_up_process(thread);
	do {
		file = debugfs_open("heap/going/forget", O_WRONLY);
		told = IS_ERR(file) ? PTR_ERR(file) : write_and_close(test, file, "1");
		usleep_range(10, 50);
	} while (told == -EBUSY);
	KUNIT_EXPECT_LT(test, told, 0);
	kthread_stop(thread);
	put_task_struct(thread);
	KUNIT_EXPECT_EQ(test, heaps_named(test, "going"), 0);
}

static void a_live_heap_is_not_let_go_of(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "lost", 0, 0, 0);
	void *slot = must_alloc(test, heap, 100);

	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/lost/forget", "1"), -EBUSY);
	blockslab_heap_destroy(heap);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/lost/limit", "1M"), -ENODEV);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/lost/forget", "1"), 1);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/lost/forget"), 1);
	blockslab_free(slot);		/* late: its pages are lost all the same */
	KUNIT_EXPECT_EQ(test, class_cell(test, "lost", 104, "allocated"), 0);
	KUNIT_EXPECT_EQ(test, class_cell(test, "lost", 104, "retained"), 1);
	KUNIT_EXPECT_GE(test, table_cell(test, "heaps", "name", "lost", "held"), PAGE_SIZE);
}

static void a_limit_written_is_obeyed(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	int nr = 0;

	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "100000\n"), 7);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "kunit", "limit"), 100000);
	do {
		slots[nr] = try_alloc(fixture.heap, 500, GFP_KERNEL | __GFP_NOWARN);
	} while (slots[nr] && ++nr < NR_SLOTS);
	KUNIT_EXPECT_LT(test, nr, 200);
	KUNIT_EXPECT_LE(test, stats_of(fixture.heap).held, 100000);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "0"), 1);
	slots[nr++] = must_alloc(test, fixture.heap, 500);
	free_many(slots, nr);
}

/* The limit is never passed, so it cannot be set to less than what is in use. */
static void a_limit_below_what_is_held_is_refused(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);

	alloc_many(test, fixture.heap, 4096, slots, 100);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "100000"), -EBUSY);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/limit"), 0);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "1000000"), 7);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "100000"), -EBUSY);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "9223372036854775808"),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/limit"), 1000000);
	/* what is only cached gives way */
	free_many(slots, 100);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "70000"), 5);
	KUNIT_EXPECT_LE(test, stats_of(fixture.heap).held, 70000);
}

static void a_shrink_written_is_done(struct kunit *test)
{
	void **slots = slot_array(test, NR_SLOTS);
	size_t held;

	alloc_many(test, fixture.heap, 100, slots, NR_SLOTS);
	free_many(slots, NR_SLOTS);
	held = stats_of(fixture.heap).held;
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/shrink", "1"), 1);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "kunit"), 0);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/shrink"),
			held - stats_of(fixture.heap).held);
}

static void a_validation_written_is_done(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/validate", "1\n"), 2);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/validate"), 0);
}

static void rubbish_written_is_einval(struct kunit *test)
{
	static const char * const files[] = { "limit", "shrink", "validate" };
	static const char * const rubbish[] = {
		"rubbish", "-1", "1 2", "0x", "1                               ",
	};
	char path[40];
	int i, j;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		scnprintf(path, sizeof(path), "heap/kunit/%s", files[i]);
		for (j = 0; j < ARRAY_SIZE(rubbish); j++)
			KUNIT_EXPECT_EQ_MSG(test, debugfs_write(test, path, rubbish[j]), -EINVAL,
					    "\"%s\" to %s", rubbish[j], files[i]);
	}
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/limit", "1"), -EINVAL);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/shrink", "2"), -EINVAL);
	KUNIT_EXPECT_EQ(test, debugfs_write(test, "heap/kunit/shrink", "0"), -EINVAL);
	KUNIT_EXPECT_EQ(test, debugfs_value(test, "heap/kunit/forget"), 0);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "kunit", "limit"), 0);
}
#endif

static struct kunit_case debugfs_cases[] = {
	KUNIT_CASE(heaps_lists_every_heap_once),
	KUNIT_CASE(a_destroyed_heap_is_listed_no_more),
	KUNIT_CASE(heaps_tells_what_the_heap_holds),
	KUNIT_CASE(the_sums_of_every_class_agree),
	KUNIT_CASE(classes_add_up_to_the_heap),
	KUNIT_CASE(slot_maps_show_every_slot),
	KUNIT_CASE(slot_maps_can_be_read_again),
	KUNIT_CASE(readers_do_not_see_one_another),
	KUNIT_CASE(a_slot_map_tells_cached_from_allocated),
	KUNIT_CASE(counters_count_every_call),
	KUNIT_CASE(waste_is_what_nobody_asked_for),
	KUNIT_CASE(of_whole_pages_too),
#ifdef FOP_UNSIGNED_OFFSET
	KUNIT_CASE(control_files_tell_their_value),
	KUNIT_CASE(a_limit_written_is_obeyed),
	KUNIT_CASE(sizes_are_written_as_people_do),
	KUNIT_CASE(a_heap_has_a_directory_once_somebody_looks),
	KUNIT_CASE(a_heap_that_is_being_destroyed_is_not_let_go_of),
	KUNIT_CASE(a_live_heap_is_not_let_go_of),
	KUNIT_CASE(a_limit_below_what_is_held_is_refused),
	KUNIT_CASE(a_shrink_written_is_done),
	KUNIT_CASE(a_validation_written_is_done),
	KUNIT_CASE(rubbish_written_is_einval),
#endif
	{}
};

BLOCKSLAB_KUNIT_SUITE(debugfs, debugfs_cases);
