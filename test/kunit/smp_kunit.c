// SPDX-License-Identifier: GPL-2.0
/* More than one CPU: slots that wander between them, and calls that meet. Skipped on one CPU. */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/prandom.h>
#include "blockslab_kunit.h"

#define NR_ROUNDS	3000
#define NR_PLACES	64

static void skip_on_one_cpu(struct kunit *test)
{
	if (num_online_cpus() < 2)
		kunit_skip(test, "this machine has one CPU");
}

/* Slots in flight from one CPU to another, and the size of all of them. */
struct exchange {
	struct blockslab_heap *heap;
	size_t size;
	size_t limit;		/* of the heap, 0 for none */
	bool stop;
	unsigned int producer;
	atomic_t refused;	/* at the limit */
	atomic_t bad;
	void *places[NR_PLACES];
};

static struct exchange *make_exchange(struct kunit *test, struct blockslab_heap *heap, size_t size)
{
	struct exchange *exchange = kunit_kzalloc(test, sizeof(*exchange), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, exchange);
	exchange->heap = heap;
	exchange->size = size;
	return exchange;
}

/* Every slot is filled with a byte, and its owner at the time finds it whole. */
static void *filled_slot(struct exchange *exchange, u8 fill)
{
	u8 *slot = try_alloc(exchange->heap, exchange->size, GFP_KERNEL);

	if (slot)
		memset(slot, fill, exchange->size);
	else
		atomic_inc(exchange->limit ? &exchange->refused : &exchange->bad);
	if (exchange->limit && stats_of(exchange->heap).held > exchange->limit)
		atomic_inc(&exchange->bad);
	return slot;
}

static void free_filled(struct exchange *exchange, u8 *slot)
{
	if (slot && !all_bytes_are(slot, slot[0], exchange->size))
		atomic_inc(&exchange->bad);
	blockslab_free(slot);
}

static int produce_or_consume(void *data, unsigned int cpu)
{
	struct exchange *exchange = data;
	u32 i;

	for (i = 0; i < NR_ROUNDS; i++) {
		void **place = &exchange->places[i % NR_PLACES];
		void *slot = cpu == exchange->producer ? filled_slot(exchange, i) : NULL;

		free_filled(exchange, xchg(place, slot));
		cond_resched();
	}
	return 0;
}

static int trade(void *data, unsigned int cpu)
{
	struct exchange *exchange = data;
	struct rnd_state random;
	u32 i;

	prandom_seed_state(&random, cpu + 1);
	for (i = 0; i < NR_ROUNDS; i++) {
		void **place = &exchange->places[prandom_u32_state(&random) % NR_PLACES];

		free_filled(exchange, xchg(place, filled_slot(exchange, i + cpu)));
		cond_resched();
	}
	return 0;
}

static void end_exchange(struct kunit *test, struct exchange *exchange)
{
	int i;

	for (i = 0; i < NR_PLACES; i++)
		free_filled(exchange, exchange->places[i]);
	KUNIT_EXPECT_EQ(test, atomic_read(&exchange->bad), 0);
	KUNIT_EXPECT_EQ(test, stats_of(exchange->heap).allocated, 0);
}

static const size_t smp_sizes[] = { 8, 24, 200, 1024, 8192, 10000 };

static void smp_size_name(const size_t *size, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "size %zu", *size);
}

KUNIT_ARRAY_PARAM(smp_size, smp_sizes, smp_size_name);

static void one_cpu_allocates_and_another_frees(struct kunit *test)
{
	struct exchange *exchange;
	struct cpumask cpus;

	skip_on_one_cpu(test);
	exchange = make_exchange(test, fixture.heap, *(const size_t *)test->param_value);
	exchange->producer = raw_smp_processor_id();
	cpumask_clear(&cpus);
	cpumask_set_cpu(exchange->producer, &cpus);
	cpumask_set_cpu(other_cpu(), &cpus);
	KUNIT_EXPECT_EQ(test, on_cpus(test, &cpus, produce_or_consume, exchange), 0);
	end_exchange(test, exchange);
}

static void all_cpus_share_one_class(struct kunit *test)
{
	struct exchange *exchange;

	skip_on_one_cpu(test);
	exchange = make_exchange(test, fixture.heap, *(const size_t *)test->param_value);
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, trade, exchange), 0);
	end_exchange(test, exchange);
}

static void all_cpus_share_a_limited_heap(struct kunit *test)
{
	struct exchange *exchange;
	struct blockslab_heap *heap;

	skip_on_one_cpu(test);
	/* slots in all places would be as much, and their blocks have descriptors */
	heap = make_heap(test, "limited", 0, NR_PLACES * 1024, 0);
	exchange = make_exchange(test, heap, 1024);
	exchange->limit = NR_PLACES * 1024;
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, trade, exchange), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&exchange->refused), 0);
	end_exchange(test, exchange);
	end_heap(test, heap);
}

/* A job on all CPUs, in which this one, the producer, does something else than the others. */
static void one_meets_the_others(struct kunit *test, size_t size,
				 int (*job)(void *data, unsigned int cpu))
{
	struct exchange *exchange;

	skip_on_one_cpu(test);
	exchange = make_exchange(test, fixture.heap, size);
	exchange->producer = raw_smp_processor_id();
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, job, exchange), 0);
	end_exchange(test, exchange);
}

/* This CPU looks and takes away while all others work. */
static int trade_while_looked_at(void *data, unsigned int cpu)
{
	struct exchange *exchange = data;

	if (cpu != exchange->producer) {
		trade(data, cpu);
		WRITE_ONCE(exchange->stop, true);
		return 0;
	}
	while (!READ_ONCE(exchange->stop)) {
		blockslab_shrink(exchange->heap);
		if (blockslab_validate(exchange->heap))
			atomic_inc(&exchange->bad);
		cond_resched();
	}
	return 0;
}

static void shrink_and_validate_meet_users_at_work(struct kunit *test)
{
	one_meets_the_others(test, 72, trade_while_looked_at);
}

/* Where one of them is freed, its bytes are neither what they were nor what they will be. */
static void validate_meets_users_of_tracked_slots(struct kunit *test)
{
	skip_on_one_cpu(test);
	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 1), 0);
	one_meets_the_others(test, 72, trade_while_looked_at);
	KUNIT_EXPECT_EQ(test, blockslab_track(fixture.heap, 0), 0);
}

/* This CPU switches tracking while all others are hardly ever off their lines. */
static int bulk_while_tracked(void *data, unsigned int cpu)
{
	struct exchange *exchange = data;
	void *slots[48];
	int i;

	if (cpu == exchange->producer) {
		for (i = 0; i < 40; i++)
			if (blockslab_track(exchange->heap, i % 2 ? 0 : SZ_1M))
				atomic_inc(&exchange->bad);
		WRITE_ONCE(exchange->stop, true);
	}
	while (!READ_ONCE(exchange->stop)) {
		if (blockslab_alloc_bulk(exchange->heap, 24, GFP_KERNEL, 48, slots))
			blockslab_free_bulk(48, slots);
		cond_resched();
	}
	return 0;
}

static void tracking_is_switched_under_load(struct kunit *test)
{
	one_meets_the_others(test, 24, bulk_while_tracked);
}

/* All other CPUs take out what is cached, while this one releases all there is. */
static int release_while_shrunk(void *data, unsigned int cpu)
{
	struct exchange *exchange = data;
	void *slots[32];
	size_t i, round;

	if (cpu != exchange->producer) {
		while (!READ_ONCE(exchange->stop)) {
			blockslab_shrink(exchange->heap);
			cond_resched();
		}
		return 0;
	}
	for (round = 0; round < NR_ROUNDS / 10; round++) {
		for (i = 0; i < ARRAY_SIZE(slots); i++)
			slots[i] = filled_slot(exchange, i);
		for (i = 2; i < ARRAY_SIZE(slots); i++)
			free_filled(exchange, slots[i]);
		if (blockslab_heap_release(exchange->heap) != 2)
			atomic_inc(&exchange->bad);
	}
	WRITE_ONCE(exchange->stop, true);
	return 0;
}

static void release_meets_shrink(struct kunit *test)
{
	one_meets_the_others(test, 200, release_while_shrunk);
}

/* A CPU that has its interrupts off answers nobody; it waits for some seconds at most. */
struct deaf {
	struct blockslab_heap *heap;
	unsigned int busy;
	atomic_t cpus;
	bool done;
	atomic_t waited_for;
};

static void stay_deaf(struct deaf *deaf)
{
	unsigned long irq;
	int i;

	local_irq_save(irq);
	atomic_inc(&deaf->cpus);
	for (i = 0; i < 3000 && !READ_ONCE(deaf->done); i++)
		mdelay(1);	/* clocks may stand still */
	if (!READ_ONCE(deaf->done))
		atomic_inc(&deaf->waited_for);
	local_irq_restore(irq);
}

static int shrink_among_the_deaf(void *data, unsigned int cpu)
{
	struct deaf *deaf = data;

	if (cpu != deaf->busy) {
		stay_deaf(deaf);
		return 0;
	}
	blockslab_free(try_alloc(deaf->heap, 64, GFP_KERNEL));
	while (atomic_read(&deaf->cpus) < num_online_cpus() - 1)
		cond_resched();
	blockslab_shrink(deaf->heap);
	WRITE_ONCE(deaf->done, true);
	return 0;
}

static void cpus_that_hold_nothing_are_left_alone(struct kunit *test)
{
	struct deaf deaf = { .heap = fixture.heap, .busy = raw_smp_processor_id() };

	skip_on_one_cpu(test);
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, shrink_among_the_deaf, &deaf), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&deaf.waited_for), 0);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).cached, 0);
}

/*
 * A CPU goes offline, and while it is dead, but blockslab has not been told yet, all that its
 * magazines hold is released. A state that is set up later is torn down earlier: kernel/cpu.c.
 */
static struct departure {
	struct blockslab_heap *heap;
	struct completion dead, released;
	size_t slots;
} departure;

static int wait_while_dead(unsigned int cpu)
{
	complete(&departure.dead);
	/* in vain, if the release waits for this CPU to be gone altogether */
	wait_for_completion_timeout(&departure.released, HZ / 2);
	return 0;
}

static void release_when_dead(struct work_struct *work)
{
	wait_for_completion(&departure.dead);
	departure.slots = blockslab_heap_release(departure.heap);
	complete(&departure.released);
}

static DECLARE_WORK(release_work, release_when_dead);

static int free_all_but_one(void *data, unsigned int cpu)
{
	void *slots[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(slots); i++)
		slots[i] = try_alloc(departure.heap, 200, GFP_KERNEL);
	free_many(slots, ARRAY_SIZE(slots) - 1);
	return slots[ARRAY_SIZE(slots) - 1] ? 0 : -ENOMEM;
}

static void release_meets_a_cpu_that_goes(struct kunit *test)
{
	unsigned int cpu;
	int state, error;

	skip_on_one_cpu(test);
	cpu = cpumask_last(cpu_online_mask);	/* the first may have to stay */
	if (!IS_ENABLED(CONFIG_HOTPLUG_CPU) || cpu == raw_smp_processor_id())
		kunit_skip(test, "this CPU stays");
	departure.heap = make_heap(test, "departure", 0, 0, 0);
	init_completion(&departure.dead);
	init_completion(&departure.released);
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpumask_of(cpu), free_all_but_one, NULL), 0);
	state = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "blockslab:test", NULL,
					  wait_while_dead);
	KUNIT_ASSERT_GT(test, state, 0);
	queue_work(system_long_wq, &release_work);
	error = remove_cpu(cpu);
	complete(&departure.dead);	/* should the CPU have stayed */
	flush_work(&release_work);
	cpuhp_remove_state_nocalls(state);
	KUNIT_EXPECT_EQ(test, departure.slots, 1);
	end_heap(test, departure.heap);
	if (error)
		kunit_skip(test, "no CPU goes offline here");
	KUNIT_EXPECT_EQ(test, add_cpu(cpu), 0);
}

static int fill_and_free(void *heap, unsigned int cpu)
{
	void *slots[100];
	int i, failed = 0;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		slots[i] = try_alloc(heap, 64, GFP_KERNEL);
		failed += !slots[i];
	}
	free_many(slots, ARRAY_SIZE(slots));
	return failed;
}

static void shrink_reaches_what_other_cpus_keep(struct kunit *test)
{
	skip_on_one_cpu(test);
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, fill_and_free, fixture.heap), 0);
	KUNIT_EXPECT_GT(test, stats_of(fixture.heap).cached, 0);
	blockslab_shrink(fixture.heap);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).cached, 0);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "kunit"), 0);
}

/* A slot is not this CPU's alone to have: freed here, freed there is one too often. */
static int free_it(void *data, unsigned int cpu)
{
	blockslab_free(data);
	return 0;
}

static void a_double_free_on_another_cpu_is_told(struct kunit *test)
{
	void *slot;

	skip_on_one_cpu(test);
	slot = must_alloc(test, fixture.heap, 64);
	blockslab_free(slot);
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpumask_of(other_cpu()), free_it, slot), 0);
	expect_fault(test, "double free", slot);
}

/* As many as the heap gives without asking other CPUs, which it does once in a while only. */
static size_t take_what_is_here(struct blockslab_heap *heap, void **slots, size_t nr)
{
	size_t got = 0;

	while (got < nr && (slots[got] = try_alloc(heap, 512, GFP_TRY)))
		got++;
	return got;
}

/* All that the limit allows goes to the other CPU, which is asked for it. */
static void a_slot_freed_elsewhere_can_be_had_here(struct kunit *test)
{
	const size_t most = SZ_64K / 512;
	struct blockslab_heap *heap;
	void **slots;
	size_t nr, left, i;

	skip_on_one_cpu(test);
	heap = make_heap(test, "limited", 0, SZ_64K, 0);
	sample_nothing(test, heap);
	slots = slot_array(test, most);
	nr = take_what_is_here(heap, slots, most);
	for (i = 0; i < nr; i++)
		on_cpus(test, cpumask_of(other_cpu()), free_it, slots[i]);
	left = take_what_is_here(heap, slots, nr);
	if (left < nr) {
		slots[left] = try_alloc(heap, 512, GFP_KERNEL | __GFP_NOWARN);
		KUNIT_EXPECT_NOT_NULL(test, slots[left]);
		left += !!slots[left];
	}
	KUNIT_EXPECT_GT(test, nr, 0);
	KUNIT_EXPECT_LT(test, nr, most);
	free_many(slots, left);
	end_heap(test, heap);
}

/* Heaps of one CPU each, made and destroyed at the same time, frees still being deferred. */
static int make_and_destroy(void *data, unsigned int cpu)
{
	struct blockslab_heap_attrs attrs = { .flags = BLOCKSLAB_POISON };
	char name[16];
	int i;

	snprintf(name, sizeof(name), "cpu-%u", cpu);
	for (i = 0; i < 20; i++) {
		struct blockslab_heap *heap = blockslab_heap_create(name, i % 2 ? &attrs : NULL);

		if (IS_ERR(heap))
			return PTR_ERR(heap);
		blockslab_free(try_alloc(heap, 100, GFP_KERNEL));
		blockslab_free_nolock(try_alloc(heap, 100, GFP_KERNEL));
		if (blockslab_validate(heap))
			return -EIO;
		blockslab_heap_destroy(heap);
	}
	return 0;
}

static void heaps_come_and_go_on_all_cpus(struct kunit *test)
{
	skip_on_one_cpu(test);
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, make_and_destroy, NULL), 0);
}

/* The last slots of a destroyed heap, freed on all CPUs at once. */
struct orphans {
	void (*free)(const void *slot);
	void **slots;
	size_t nr;
	atomic_t next;
};

static int free_orphans(void *data, unsigned int cpu)
{
	struct orphans *orphans = data;
	size_t i;

	while ((i = atomic_inc_return(&orphans->next) - 1) < orphans->nr)
		orphans->free(orphans->slots[i]);
	return 0;
}

static void a_destroyed_heap_drains_on_all_cpus(struct kunit *test)
{
	struct orphans orphans = { .free = blockslab_free, .nr = 3000 };
	int round;

	skip_on_one_cpu(test);
	orphans.slots = slot_array(test, orphans.nr);
	for (round = 0; round < 10; round++) {
		struct blockslab_heap *heap = make_heap(test, "orphans", 0, 0, 0);

		alloc_many(test, heap, 64, orphans.slots, orphans.nr);
		blockslab_heap_destroy(heap);
		atomic_set(&orphans.next, 0);
		KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, free_orphans, &orphans), 0);
	}
}

#define BURST	48
#define TAKEN	2048	/* bytes: magazines are small */

/* Slots that interrupts take amid the frees of a CPU, and bring back with the next. */
struct meddling {
	unsigned int target;
	unsigned int turns;
	bool stop;
	void *slots[4];
};

static void take_or_bring_back(void *data)
{
	struct meddling *meddling = data;
	unsigned int i, turn = meddling->turns++;

	for (i = 0; i < ARRAY_SIZE(meddling->slots); i++) {
		blockslab_free_nolock(meddling->slots[i]);
		meddling->slots[i] = turn % 2 || i > turn / 2 % ARRAY_SIZE(meddling->slots) ? NULL :
				     blockslab_alloc_nolock(fixture.heap, TAKEN);
	}
}

static int free_amid_interrupts(void *data, unsigned int cpu)
{
	unsigned long end = jiffies + HZ;
	struct meddling *meddling = data;
	unsigned int round, i, nr;
	void *slots[BURST];

	while (cpu != meddling->target && !READ_ONCE(meddling->stop))
		smp_call_function_single(meddling->target, take_or_bring_back, meddling, true);
	for (round = 0; cpu == meddling->target && time_before(jiffies, end); round++) {
		nr = 1 + round * 7 % BURST;
		for (i = 0; i < nr; i++)
			slots[i] = blockslab_alloc_nolock(fixture.heap, TAKEN) ?:
				   try_alloc(fixture.heap, TAKEN, GFP_KERNEL);
		free_many(slots, nr);
		if (round % 64 == 63)
			blockslab_shrink(fixture.heap);
		cond_resched();
	}
	WRITE_ONCE(meddling->stop, true);
	return 0;
}

/* A magazine that was full, and is not any more when it is left for others. */
static void an_interrupt_may_empty_what_a_free_is_to_leave(struct kunit *test)
{
	struct meddling meddling = { .target = raw_smp_processor_id() };
	struct cpumask cpus;
	int i;

	skip_on_one_cpu(test);
	cpumask_clear(&cpus);
	cpumask_set_cpu(meddling.target, &cpus);
	cpumask_set_cpu(other_cpu(), &cpus);
	KUNIT_EXPECT_EQ(test, on_cpus(test, &cpus, free_amid_interrupts, &meddling), 0);
	for (i = 0; i < ARRAY_SIZE(meddling.slots); i++)
		blockslab_free(meddling.slots[i]);
	KUNIT_EXPECT_TRUE(test, drains(fixture.heap));
	KUNIT_EXPECT_GT(test, meddling.turns, 0);
}

/* Slots of the same blocks are marked while the worker gives these blocks back. */
static void deferred_frees_meet_their_worker(struct kunit *test)
{
	struct orphans orphans = { .free = blockslab_free_nolock, .nr = 2000 };
	struct blockslab_heap *heap;
	int round;

	skip_on_one_cpu(test);
	heap = make_heap(test, "deferred", BLOCKSLAB_RED_ZONE, 0, 0);
	orphans.slots = slot_array(test, orphans.nr);
	for (round = 0; round < 100; round++) {
		alloc_many(test, heap, 8, orphans.slots, orphans.nr);
		atomic_set(&orphans.next, 0);
		KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, free_orphans, &orphans), 0);
		KUNIT_ASSERT_TRUE(test, drains(heap));
	}
	end_heap(test, heap);
}

/* The last slots of a heap, freed on all CPUs but one, which meanwhile does something else. */
struct meeting {
	struct orphans orphans;
	struct blockslab_heap *heap;
	unsigned int other;
};

static bool half_are_freed(struct meeting *meeting)
{
	return atomic_read(&meeting->orphans.next) >= meeting->orphans.nr / 2;
}

static int free_or_destroy(void *data, unsigned int cpu)
{
	struct meeting *meeting = data;

	if (cpu != meeting->other)
		return free_orphans(&meeting->orphans, cpu);
	while (!half_are_freed(meeting))
		cpu_relax();
	blockslab_heap_destroy(meeting->heap);
	return 0;
}

static bool is_listed(struct kunit *test, const char *name)
{
	struct table table = table_open(test, "heaps");
	bool listed = false;

	while (table_next(test, &table))
		listed |= !strcmp(table_text(test, &table, "name"), name);
	kunit_kfree(test, table.rest);
	return listed;
}

/* What is freed is kept for a while: by a heap that ends at that moment, too, it must not be. */
static void a_watched_heap_ends_while_others_free(struct kunit *test)
{
	struct meeting meeting = { .orphans = { .free = blockslab_free, .nr = 3000 } };
	int round, tries;

	skip_on_one_cpu(test);
	meeting.orphans.slots = slot_array(test, meeting.orphans.nr);
	meeting.other = raw_smp_processor_id();
	for (round = 0; round < 20; round++) {
		meeting.heap = make_heap(test, "watched", BLOCKSLAB_TRACK, 0, 0);
		alloc_many(test, meeting.heap, 64, meeting.orphans.slots, meeting.orphans.nr);
		atomic_set(&meeting.orphans.next, 0);
		KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, free_or_destroy, &meeting), 0);
		for (tries = 0; tries < 100 && is_listed(test, "watched"); tries++)
			msleep(20);
		KUNIT_ASSERT_LT_MSG(test, tries, 100, "a slot of it was kept");
	}
}

static void hold_up(void *unused)
{
	mdelay(2);
}

static int free_or_hold_up(void *data, unsigned int cpu)
{
	struct meeting *meeting = data;
	unsigned int held_up;

	if (cpu != meeting->other)
		return free_orphans(&meeting->orphans, cpu);
	while (atomic_read(&meeting->orphans.next) < meeting->orphans.nr) {
		for_each_online_cpu(held_up)
			if (held_up != cpu)
				smp_call_function_single(held_up, hold_up, NULL, true);
		cond_resched();
	}
	return 0;
}

/*
 * Who has marked a slot, and is held up before he has its block queued, comes when the worker has
 * noted the mark: the block is queued then though it has no marks soon, and the worker puts it.
 */
static void the_worker_meets_a_free_that_was_held_up(struct kunit *test)
{
	struct meeting meeting = { .orphans = { .free = blockslab_free_nolock, .nr = 2000 } };
	int round;

	skip_on_one_cpu(test);
	meeting.heap = make_heap(test, "held-up", BLOCKSLAB_RED_ZONE, 0, 0);
	meeting.orphans.slots = slot_array(test, meeting.orphans.nr);
	meeting.other = raw_smp_processor_id();
	for (round = 0; round < 100; round++) {
		alloc_many(test, meeting.heap, 8, meeting.orphans.slots, meeting.orphans.nr);
		atomic_set(&meeting.orphans.next, 0);
		KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, free_or_hold_up, &meeting), 0);
		KUNIT_ASSERT_TRUE(test, drains(meeting.heap));
	}
	blockslab_shrink(meeting.heap);
	KUNIT_EXPECT_EQ(test, blocks_of(test, "held-up"), 0);
	end_heap(test, meeting.heap);
}

/* It could be gone from view at once, but for the slot. */
static void a_live_slot_keeps_a_heap_that_others_cache_of(struct kunit *test)
{
	struct blockslab_heap *heap = make_heap(test, "cached", 0, 0, 0);
	void *slot = must_alloc(test, heap, 64);

	KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, fill_and_free, heap), 0);
	blockslab_heap_destroy(heap);
	KUNIT_EXPECT_EQ(test, table_cell(test, "heaps", "name", "cached", "slots"), 1);
	blockslab_free(slot);
}

#define NR_WANDERING	20	/* no more than a CPU caches */

/* One CPU takes and returns slots, and gives all back, which another reads the figures of. */
static int read_or_wander(void *data, unsigned int cpu)
{
	struct meeting *meeting = data;
	void *slots[NR_WANDERING];
	int i, round, bad = 0;

	for (round = 0; round < 5000; round++) {
		if (cpu != meeting->other) {
			bad += stats_of(meeting->heap).allocated > SZ_1M;
			continue;
		}
		for (i = 0; i < NR_WANDERING; i++)
			slots[i] = blockslab_alloc(meeting->heap, 64, GFP_KERNEL);
		for (i = 0; i < NR_WANDERING; i++)
			blockslab_free(slots[i]);
		blockslab_shrink(meeting->heap);
		cond_resched();
	}
	return bad;
}

/* A slot that goes from a line to its block while they are summed up may be seen in both. */
static void no_figure_is_below_nothing(struct kunit *test)
{
	struct meeting meeting = {};

	skip_on_one_cpu(test);
	meeting.heap = fixture.heap;
	meeting.other = raw_smp_processor_id();
	KUNIT_EXPECT_EQ(test, on_cpus(test, cpu_online_mask, read_or_wander, &meeting), 0);
}

static struct kunit_case smp_cases[] = {
	KUNIT_CASE(no_figure_is_below_nothing),
	KUNIT_CASE_PARAM(one_cpu_allocates_and_another_frees, smp_size_gen_params),
	KUNIT_CASE_PARAM(all_cpus_share_one_class, smp_size_gen_params),
	KUNIT_CASE(all_cpus_share_a_limited_heap),
	KUNIT_CASE(shrink_and_validate_meet_users_at_work),
	KUNIT_CASE(validate_meets_users_of_tracked_slots),
	KUNIT_CASE(tracking_is_switched_under_load),
	KUNIT_CASE(release_meets_shrink),
	KUNIT_CASE(cpus_that_hold_nothing_are_left_alone),
	KUNIT_CASE(release_meets_a_cpu_that_goes),
	KUNIT_CASE(shrink_reaches_what_other_cpus_keep),
	KUNIT_CASE(a_double_free_on_another_cpu_is_told),
	KUNIT_CASE(a_slot_freed_elsewhere_can_be_had_here),
	KUNIT_CASE(heaps_come_and_go_on_all_cpus),
	KUNIT_CASE(a_destroyed_heap_drains_on_all_cpus),
	KUNIT_CASE(a_live_slot_keeps_a_heap_that_others_cache_of),
	KUNIT_CASE(a_watched_heap_ends_while_others_free),
	KUNIT_CASE(deferred_frees_meet_their_worker),
	KUNIT_CASE(the_worker_meets_a_free_that_was_held_up),
	KUNIT_CASE(an_interrupt_may_empty_what_a_free_is_to_leave),
	{}
};

BLOCKSLAB_KUNIT_SUITE(smp, smp_cases);
