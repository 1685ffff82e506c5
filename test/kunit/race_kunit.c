// SPDX-License-Identifier: GPL-2.0
/* Second frees and stale pointers, while other CPUs trim and blocks go back. Skipped on one CPU. */
#include "blockslab_kunit.h"

#define NR_SLOTS	64
#define NR_ROUNDS	300
#define NR_RETURNS	60	/* the same, where blocks go back all along */

struct race {
	size_t size;
	unsigned int frees_on;		/* this CPU frees, the other meets it */
	int freed;			/* slots that were freed so far, */
	int used;			/* and those of them that the other CPU has used */
	bool stop;
	long calls;			/* that must have been told */
	int twice;			/* slots that had two owners, or none and yet a size */
	void *slots[NR_SLOTS];
};

static const size_t race_sizes[] = { 24, 64, 1024, 4096, 16384 };

static void race_size_name(const size_t *size, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "size %zu", *size);
}

KUNIT_ARRAY_PARAM(race_size, race_sizes, race_size_name);

/* Runs a function on two CPUs, of which this is one. */
static void run_race(struct kunit *test, int (*function)(void *data, unsigned int cpu))
{
	struct race *race = kunit_kzalloc(test, sizeof(*race), GFP_KERNEL);
	struct cpumask cpus;

	KUNIT_ASSERT_NOT_NULL(test, race);
	if (num_online_cpus() < 2)
		kunit_skip(test, "this machine has one CPU");
	race->size = *(const size_t *)test->param_value;
	race->frees_on = raw_smp_processor_id();
	cpumask_clear(&cpus);
	cpumask_set_cpu(race->frees_on, &cpus);
	cpumask_set_cpu(other_cpu(), &cpus);
	KUNIT_EXPECT_EQ(test, on_cpus(test, &cpus, function, race), 0);
	KUNIT_EXPECT_EQ(test, atomic_xchg(&fixture.faults, 0), race->calls);
	KUNIT_EXPECT_EQ(test, race->twice, 0);
}

static int take_slots(struct race *race)
{
	int i;

	for (i = 0; i < NR_SLOTS; i++) {
		race->slots[i] = try_alloc(fixture.heap, race->size, GFP_KERNEL);
		if (!race->slots[i])
			return -ENOMEM;
		/* each owner signs, and finds what he signed */
		*(int *)race->slots[i] = i;
	}
	for (i = 0; i < NR_SLOTS; i++)
		race->twice += *(int *)race->slots[i] != i;
	return 0;
}

/* Rounds of taking slots and of what is done with them, while the other CPU trims. */
static int beside_a_trim(struct race *race, unsigned int cpu, int (*use)(struct race *race))
{
	int round, error = 0;

	while (cpu != race->frees_on && !READ_ONCE(race->stop)) {
		blockslab_shrink(fixture.heap);
		cond_resched();
	}
	if (cpu != race->frees_on)
		return 0;
	for (round = 0; round < NR_ROUNDS && !error; round++) {
		error = take_slots(race) ?: use(race);
		cond_resched();
	}
	WRITE_ONCE(race->stop, true);
	return error;
}

static int each_twice(struct race *race)
{
	int i;

	for (i = 0; i < NR_SLOTS; i++) {
		blockslab_free(race->slots[i]);
		blockslab_free(race->slots[i]);
		race->calls++;
	}
	return 0;
}

static int free_each_twice(void *data, unsigned int cpu)
{
	return beside_a_trim(data, cpu, each_twice);
}

/* Slots that a trim carries are in no magazine, and in no block. */
static void a_second_free_is_told_while_another_cpu_trims(struct kunit *test)
{
	run_race(test, free_each_twice);
}

static void spoil(u8 *slot)
{
	OPTIMIZER_HIDE_VAR(slot);
	kasan_disable_current();
	slot[2]++;
	kasan_enable_current();
}

static int half_and_release(struct race *race)
{
	int i;

	for (i = 0; i < NR_SLOTS; i += 2)
		blockslab_free(race->slots[i]);
	/*
	 * To tell of it takes the other CPU a while, with the slot in hand; if that has not looked
	 * yet. The slot's block stays, as others of it are in use; of larger ones a block may have
	 * one slot.
	 */
	if (race->size <= 64)
		spoil(race->slots[0]);
	if (blockslab_heap_release(fixture.heap) != NR_SLOTS / 2)
		return -EUCLEAN;
	race->calls = atomic_read(&fixture.faults);
	return 0;
}

static int free_half_and_release(void *data, unsigned int cpu)
{
	return beside_a_trim(data, cpu, half_and_release);
}

/* A slot that was watched, and that a trim has in hand, is neither kept nor in its block. */
static void a_release_waits_for_a_trim_of_watched_slots(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, blockslab_track(fixture.heap, 1), 0);
	run_race(test, free_half_and_release);
	KUNIT_EXPECT_EQ(test, stats_of(fixture.heap).allocated, 0);
	KUNIT_EXPECT_EQ(test, blockslab_validate(fixture.heap), 0);
}

/* What one CPU has just freed, another frees, and asks for its size, before the next round. */
static void use_the_freed(struct race *race)
{
	int nr;

	for (nr = 0; nr < NR_RETURNS * NR_SLOTS; nr++) {
		void *slot;

		while (smp_load_acquire(&race->freed) <= nr)	/* it is free by now */
			if (READ_ONCE(race->stop))
				return;
		slot = race->slots[nr % NR_SLOTS];
		blockslab_free(slot);
		race->twice += blockslab_usable_size(slot) != 0;
		race->calls += 2;
		smp_store_release(&race->used, nr + 1);		/* free_and_give_back() */
	}
}

static int free_and_give_back(struct race *race)
{
	int round, i;

	for (round = 0; round < NR_RETURNS; round++) {
		if (take_slots(race))
			return -ENOMEM;
		for (i = 0; i < NR_SLOTS; i++) {
			blockslab_free(race->slots[i]);
			/* the free is done before */
			smp_store_release(&race->freed, race->freed + 1);
			if (i % 8 == 7)
				blockslab_shrink(fixture.heap);
		}
		while (smp_load_acquire(&race->used) < race->freed)	/* use_the_freed() */
			cond_resched();
	}
	return 0;
}

static int use_what_is_gone(void *data, unsigned int cpu)
{
	struct race *race = data;
	int error = 0;

	if (cpu == race->frees_on)
		error = free_and_give_back(race);
	else
		use_the_freed(race);
	WRITE_ONCE(race->stop, true);
	return error;
}

/* The block goes back meanwhile: its descriptor is looked at by who comes too late. */
static void a_stale_pointer_is_told_while_its_block_goes(struct kunit *test)
{
	run_race(test, use_what_is_gone);
}

#define NR_MEETINGS	30

/* One frees a slot at once and one later, at the same time; each waits for the other before. */
struct meeting {
	struct blockslab_heap *heap;
	size_t size;
	unsigned int frees_on;
	atomic_t here;
	void *slot;
};

static bool meet(struct meeting *meeting, int people)
{
	int tries;

	atomic_inc(&meeting->here);
	for (tries = 0; tries < 100000000 && atomic_read(&meeting->here) < people; tries++)
		cond_resched();
	return atomic_read(&meeting->here) >= people;
}

static int free_now_and_later(void *data, unsigned int cpu)
{
	struct meeting *meeting = data;
	int i;

	for (i = 0; i < NR_MEETINGS; i++) {
		if (cpu == meeting->frees_on)
			meeting->slot = try_alloc(meeting->heap, meeting->size, GFP_KERNEL);
		if (!meet(meeting, 4 * i + 2))
			return -ETIME;
		if (cpu == meeting->frees_on)
			blockslab_free(meeting->slot);
		else
			blockslab_free_rcu(meeting->slot);
		if (!meet(meeting, 4 * i + 4))
			return -ETIME;
		if (cpu != meeting->frees_on)
			continue;
		/* what was deferred before has been freed, or told, with this */
		blockslab_free_rcu(try_alloc(fixture.heap, 40, GFP_KERNEL));
		if (!drains(fixture.heap))
			return -ETIME;
	}
	return 0;
}

/*
 * One of them is told, at once or when its turn comes. The block of a slot that was free and yet
 * to be freed may be kept, and with it its heap.
 */
static void a_free_at_once_meets_one_that_is_deferred(struct kunit *test)
{
	struct meeting meeting = { .size = *(const size_t *)test->param_value };
	struct cpumask cpus;
	int told;

	if (num_online_cpus() < 2)
		kunit_skip(test, "this machine has one CPU");
#ifdef MODULE
	kunit_skip(test, "blockslab, kept by such a block, could not be unloaded");
#endif
	meeting.heap = make_heap(test, "meeting", meeting.size == 64 ? BLOCKSLAB_POISON : 0, 0, 0);
	meeting.frees_on = raw_smp_processor_id();
	cpumask_clear(&cpus);
	cpumask_set_cpu(meeting.frees_on, &cpus);
	cpumask_set_cpu(other_cpu(), &cpus);
	KUNIT_EXPECT_EQ(test, on_cpus(test, &cpus, free_now_and_later, &meeting), 0);
	blockslab_heap_destroy(meeting.heap);
	told = atomic_xchg(&fixture.faults, 0);
	KUNIT_EXPECT_GE(test, told, NR_MEETINGS);
}

/* The last of those that wait the other CPU frees again and again until it is free, and then. */
static int free_what_waits(void *data, unsigned int cpu)
{
	struct race *race = data;
	int i, nr;

	while (!READ_ONCE(race->stop)) {
		nr = smp_load_acquire(&race->freed);		/* defer_and_wait() */
		for (i = 0; i < 16 && nr; i++) {
			blockslab_free(race->slots[nr - 1]);
			race->calls++;
		}
		smp_store_release(&race->used, race->used + 1);		/* the same */
		cond_resched();
	}
	return 0;
}

static int defer_and_wait(struct race *race)
{
	int round, i;

	for (round = 0; round < NR_RETURNS; round++) {
		if (take_slots(race))
			return -ENOMEM;
		for (i = 0; i < NR_SLOTS; i++) {
			blockslab_free_rcu(race->slots[i]);
			smp_store_release(&race->freed, i + 1);	/* the other's from now on */
		}
		if (!drains(fixture.heap))
			return -ETIME;
		WRITE_ONCE(race->freed, 0);
		/* who had begun is through when the second round from now has ended */
		for (i = READ_ONCE(race->used) + 2; smp_load_acquire(&race->used) < i; )
			cond_resched();
	}
	return 0;
}

static int free_while_it_waits(void *data, unsigned int cpu)
{
	struct race *race = data;
	int error;

	if (cpu != race->frees_on)
		return free_what_waits(data, cpu);
	error = defer_and_wait(race);
	WRITE_ONCE(race->stop, true);
	return error;
}

static void what_is_deferred_is_nobody_s_until_it_is_free(struct kunit *test)
{
	run_race(test, free_while_it_waits);
}

static struct kunit_case race_cases[] = {
	KUNIT_CASE_PARAM(what_is_deferred_is_nobody_s_until_it_is_free, race_size_gen_params),
	KUNIT_CASE_PARAM(a_free_at_once_meets_one_that_is_deferred, race_size_gen_params),
	KUNIT_CASE_PARAM(a_second_free_is_told_while_another_cpu_trims, race_size_gen_params),
	KUNIT_CASE_PARAM(a_release_waits_for_a_trim_of_watched_slots, race_size_gen_params),
	KUNIT_CASE_PARAM(a_stale_pointer_is_told_while_its_block_goes, race_size_gen_params),
	{}
};

BLOCKSLAB_KUNIT_SUITE(race, race_cases);
