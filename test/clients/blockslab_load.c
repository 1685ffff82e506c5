// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_load: loads that show whether memory goes back when it should, and is there when it
 * must be.
 *
 * A scenario is run by writing its name, and a number where it takes one, to the parameter `run`;
 * the write fails with EIO if something was not as it must be. What was measured is then in the
 * parameter `figures`.
 *
 *	idle		32 MiB from all CPUs, freed on others: all but 2 % goes back in 3 seconds
 *	hoard MIB	makes the heap keep that much, for the two seconds until it is trimmed
 *	hoards		makes the heap and two more keep some; all are idle
 *	release		the end of these three, and of their heaps
 *	fragment	no two free pages in a row in the machine: slots come from single pages
 *	day N		N allocations and frees at random, live set constant: held does not creep up
 *	limit		all CPUs at a heap's limit: never over it by a byte
 *	reserve		no page to be had: all of the reserve is, on all CPUs at once, every time
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "blockslab.h"
#include "core/inject.h"

#define KIB(bytes)	((bytes) >> 10)

static char figures[200];
module_param_string(figures, figures, sizeof(figures), 0444);
MODULE_PARM_DESC(figures, "What the last scenario measured");

static struct blockslab_heap *heap, *others[2];

/* --- what scenarios share --------------------------------------------------------------------- */

static size_t held(void)
{
	struct blockslab_heap_stats stats;

	blockslab_heap_stats(heap, &stats);
	return stats.held;
}

static int heap_make(size_t limit, size_t reserve)
{
	struct blockslab_heap_attrs attrs = { .limit = limit, .reserve = reserve };

	if (heap)
		return -EBUSY;
	heap = blockslab_heap_create("load", &attrs);
	if (!IS_ERR(heap))
		return 0;
	heap = NULL;
	return -ENOMEM;
}

/* The heap's faults are the scenario's. */
static int heap_end(int error)
{
	if (blockslab_validate(heap) && !error)
		error = -EIO;
	blockslab_heap_destroy(heap);
	heap = NULL;
	return error;
}

/* Small mostly, as most are. */
static size_t some_size(struct rnd_state *random)
{
	u32 number = prandom_u32_state(random);

	switch (number % 8) {
	case 0:
		return 1 + (number >> 8) % 4096;
	case 1:
	case 2:
		return 1 + (number >> 8) % 1024;
	default:
		return 1 + (number >> 8) % 256;
	}
}

/* A CPU's share of a scenario, on that CPU, at the same time as the others' theirs. */
struct share {
	struct work_struct work;
	unsigned int nr;
	struct rnd_state random;
	size_t bytes;
	size_t size;
	void **slots;
	unsigned long room;
	unsigned long nr_slots;
	unsigned long refused;
	size_t most;
};

static struct share *shares;

static int shares_make(size_t room)
{
	unsigned int nr;

	shares = kcalloc(num_possible_cpus(), sizeof(*shares), GFP_KERNEL);
	if (!shares)
		return -ENOMEM;
	for (nr = 0; nr < num_possible_cpus(); nr++) {
		shares[nr].nr = nr;
		shares[nr].room = room;
		prandom_seed_state(&shares[nr].random, 1 + nr);
		shares[nr].slots = vzalloc(array_size(room, sizeof(void *)));
		if (!shares[nr].slots)
			return -ENOMEM;
	}
	return 0;
}

static void shares_end(void)
{
	unsigned int nr;

	for (nr = 0; shares && nr < num_possible_cpus(); nr++)
		vfree(shares[nr].slots);
	kfree(shares);
	shares = NULL;
}

static void on_all_cpus(work_func_t function)
{
	unsigned int cpu, nr = 0;

	cpus_read_lock();
	for_each_online_cpu(cpu) {
		INIT_WORK(&shares[nr].work, function);
		queue_work_on(cpu, system_long_wq, &shares[nr++].work);
	}
	cpus_read_unlock();
	while (nr)
		flush_work(&shares[--nr].work);
}

static void share_free(struct share *share)
{
	while (share->nr_slots)
		blockslab_free(share->slots[--share->nr_slots]);
	share->bytes = 0;
}

static void free_own(struct work_struct *work)
{
	share_free(container_of(work, struct share, work));
}

static void free_next(struct work_struct *work)
{
	share_free(&shares[(container_of(work, struct share, work)->nr + 1) % num_online_cpus()]);
}

/* --- idle ------------------------------------------------------------------------------------- */

#define IDLE_BYTES	SZ_32M
#define IDLE_MS		3000
#define IDLE_SLACK_MS	2000	/* for a guest whose CPUs are themselves made to wait */

static void idle_alloc(struct work_struct *work)
{
	struct share *share = container_of(work, struct share, work);

	while (share->bytes < IDLE_BYTES / num_online_cpus() && share->nr_slots < share->room) {
		size_t size = some_size(&share->random);
		void *slot = blockslab_alloc(heap, size, GFP_KERNEL);

		if (!slot)
			break;
		share->slots[share->nr_slots++] = slot;
		share->bytes += size;
	}
}

/* One sleep, so that no CPU that has nothing to do is woken for it. */
static int idle_wait(size_t peak)
{
	ktime_t start = ktime_get();
	size_t first, left;
	s64 ms;

	first = held();
	msleep(IDLE_MS - 100);
	do {
		msleep(20);
		left = held();
		ms = ktime_ms_delta(ktime_get(), start);
	} while (left * 50 >= peak && ms < IDLE_MS + IDLE_SLACK_MS);
	snprintf(figures, sizeof(figures),
		 "held at the peak %zu KiB, after the last free %zu KiB, %lld ms later %zu KiB",
		 KIB(peak), KIB(first), ms, KIB(left));
	return left * 50 < peak ? 0 : -EIO;
}

static int run_idle(unsigned long unused)
{
	int error = heap_make(0, 0);
	size_t peak;

	if (error)
		return error;
	error = shares_make(SZ_256K);
	if (!error) {
		on_all_cpus(idle_alloc);
		peak = held();
		on_all_cpus(free_next);
		error = peak < IDLE_BYTES ? -ENOMEM : idle_wait(peak);
	}
	shares_end();
	return error;
}

/* --- hoard ------------------------------------------------------------------------------------ */

static void take_and_return(struct blockslab_heap *heap, size_t size, size_t nr, void **slots)
{
	size_t got;

	for (got = 0; got < nr; got++) {
		slots[got] = blockslab_alloc(heap, size, GFP_KERNEL | __GFP_NOWARN);
		if (!slots[got])
			break;
	}
	blockslab_free_bulk(got, slots);
}

/* Has some slots of up to a megabyte kept: what is freed and missed again and again is. */
static void hoard_slots(struct blockslab_heap *heap, size_t size, size_t nr, void **slots)
{
	int times;

	for (times = 0; times < 3; times++)
		take_and_return(heap, size, nr, slots);
}

/* The smallest size of a size's class. */
static size_t class_start(size_t size)
{
	while (size > 1 && blockslab_size_roundup(size - 1) == blockslab_size_roundup(size))
		size--;
	return size;
}

/* A megabyte of every class, round after round, so that none is quiet for long. */
static int run_hoard(unsigned long mib)
{
	void **slots = vmalloc(array_size(SZ_1M / 8, sizeof(void *)));
	size_t size, bytes = 0;
	int error, round;

	error = slots ? heap_make(0, 0) : -ENOMEM;
	for (round = 0; round < 10 && !error && bytes < mib << 20; round++) {
		for (size = BLOCKSLAB_SLOT_MAX; size > 64 && bytes < mib << 20;
		     size = class_start(size) - 1) {
			take_and_return(heap, size, SZ_1M / size, slots);
			bytes = held();
		}
	}
	snprintf(figures, sizeof(figures), "held with nothing allocated %zu KiB", KIB(bytes));
	if (!error && bytes < mib << 20)
		error = -EIO;
	vfree(slots);
	return error;
}

/* In no order of size, so that it takes looking to find the largest. */
static int run_hoards(unsigned long unused)
{
	void **slots = vmalloc(array_size(SZ_1M / 1024, sizeof(void *)));
	int error, i;

	error = slots ? heap_make(0, 0) : -ENOMEM;
	if (error)
		goto out;
	for (i = 0; i < ARRAY_SIZE(others); i++) {
		others[i] = blockslab_heap_create(i ? "middle" : "largest", NULL);
		if (IS_ERR(others[i])) {
			others[i] = NULL;
			error = -ENOMEM;
			goto out;
		}
	}
	hoard_slots(heap, 1024, 100, slots);
	hoard_slots(others[0], 1024, 1000, slots);
	hoard_slots(others[1], 1024, 300, slots);
out:
	vfree(slots);
	return error;
}

static int run_release(unsigned long unused)
{
	int i;

	if (!heap)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(others); i++) {
		if (others[i])
			blockslab_heap_destroy(others[i]);
		others[i] = NULL;
	}
	snprintf(figures, sizeof(figures), "held at the end %zu KiB", KIB(held()));
	return heap_end(0);
}

/* --- fragment --------------------------------------------------------------------------------- */

#define FRAGMENT_GFP	(__GFP_NOWARN | __GFP_NORETRY | __GFP_MEMALLOC)
#define FRAGMENT_BYTES	SZ_4M

/* Takes every page of two and more in a row, and gives back every fourth; the rest is in @kept. */
static void break_pages(struct list_head *kept)
{
	struct page *page;
	int order, i;

	for (order = 10; order >= 1; order--) {
		while ((page = alloc_pages(FRAGMENT_GFP, order))) {
			split_page(page, order);
			for (i = 0; i < 1 << order; i++)
				if (i % 4 || order == 1)
					list_add(&page[i].lru, kept);
			for (i = 0; order > 1 && i < 1 << order; i += 4)
				__free_page(page + i);
			cond_resched();
		}
	}
}

static void give_back(struct list_head *kept)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, kept, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
}

static int run_fragment(unsigned long unused)
{
	static const size_t sizes[] = { 24, 200, 700, 1100, 1500, 3000, 4096 };
	size_t bytes = 0, size, peak;
	struct page *page;
	LIST_HEAD(kept);
	struct share *share;
	int error = heap_make(0, 0);

	if (error)
		return error;
	error = shares_make(SZ_256K);
	if (error)
		goto out;
	share = shares;
	break_pages(&kept);
	while (bytes < FRAGMENT_BYTES && share->nr_slots < share->room) {
		size = sizes[share->nr_slots % ARRAY_SIZE(sizes)];
		share->slots[share->nr_slots] = blockslab_alloc(heap, size, GFP_KERNEL);
		if (!share->slots[share->nr_slots])
			break;
		share->nr_slots++;
		bytes += size;
	}
	page = alloc_pages(GFP_NOWAIT | __GFP_NOWARN, 2);
	if (page)
		__free_pages(page, 2);
	give_back(&kept);
	peak = held();
	snprintf(figures, sizeof(figures),
		 "allocated %zu KiB of %u, held %zu KiB; four pages in a row were %s",
		 KIB(bytes), KIB(FRAGMENT_BYTES), KIB(peak), page ? "to be had" : "not to be had");
	error = bytes < FRAGMENT_BYTES || page ? -EIO : 0;
	share_free(share);
out:
	shares_end();
	return heap_end(error);
}

/* --- day -------------------------------------------------------------------------------------- */

#define DAY_BATCH	1000
#define DAY_SLOTS	40000

struct day {
	struct rnd_state random;
	void **slots;
	unsigned int filled;
	bool refused;
};

static void day_replace(struct day *day, void **slot)
{
	blockslab_free(*slot);
	*slot = blockslab_alloc(heap, some_size(&day->random), GFP_KERNEL);
	day->refused |= !*slot;
}

static long day_fill(void *data)
{
	struct day *day = data;
	int i;

	for (i = 0; i < DAY_BATCH; i++)
		day_replace(day, &day->slots[day->filled++]);
	return 0;
}

/*
 * Nine in ten operations replace one of a twentieth of the slots, so that most live short and
 * some long.
 */
static long day_batch(void *data)
{
	struct day *day = data;
	int i;

	for (i = 0; i < DAY_BATCH / 2; i++) {
		u32 number = prandom_u32_state(&day->random);

		day_replace(day, &day->slots[number / 16 % (DAY_SLOTS / (number % 10 ? 20 : 1))]);
	}
	return 0;
}

static unsigned int nth_online_cpu(unsigned int nr)
{
	unsigned int cpu;

	nr %= num_online_cpus();
	for_each_online_cpu(cpu)
		if (!nr--)
			break;
	return cpu;
}

static int day_run(struct day *day, unsigned long batches)
{
	unsigned long batch, samples[10] = { };
	size_t sums[10] = { }, second, last;
	unsigned int i;

	for (i = 0; i < DAY_SLOTS / DAY_BATCH; i++)
		work_on_cpu(nth_online_cpu(i), day_fill, day);
	for (batch = 0; batch < batches; batch++) {
		work_on_cpu(nth_online_cpu(batch), day_batch, day);
		i = batch * 10 / batches;
		sums[i] += held();
		samples[i]++;
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	second = sums[1] / samples[1];
	last = sums[9] / samples[9];
	snprintf(figures, sizeof(figures),
		 "%lu operations, held in the second tenth %zu KiB, in the last %zu KiB: %zu.%03zu",
		 batches * DAY_BATCH, KIB(second), KIB(last), last / second,
		 last * 1000 / second % 1000);
	return last * 100 > second * 105 || day->refused ? -EIO : 0;
}

static int run_day(unsigned long operations)
{
	struct day day = { };
	unsigned int i;
	int error;

	operations = max(operations, 10000UL);
	day.slots = vzalloc(array_size(DAY_SLOTS, sizeof(void *)));
	prandom_seed_state(&day.random, 1);
	error = day.slots ? heap_make(0, 0) : -ENOMEM;
	if (error)
		goto out;
	error = day_run(&day, operations / DAY_BATCH);
	for (i = 0; i < DAY_SLOTS; i++)
		blockslab_free(day.slots[i]);
	error = heap_end(error);
out:
	vfree(day.slots);
	return error;
}

/* --- limit ------------------------------------------------------------------------------------ */

#define LIMIT		(SZ_1M + 4711)
#define LIMIT_ROUNDS	40

/* Up to where it is refused, over and over; in between, some 128 slots are freed. */
static void limit_share(struct work_struct *work)
{
	struct share *share = container_of(work, struct share, work);
	unsigned int round;

	for (round = 0; round < LIMIT_ROUNDS; round++) {
		while (share->nr_slots < share->room) {
			void *slot = blockslab_alloc(heap, some_size(&share->random) * 2,
						     GFP_KERNEL | __GFP_NOWARN);

			if (!slot)
				break;
			share->slots[share->nr_slots++] = slot;
			if (share->nr_slots % 8 == 0)
				share->most = max(share->most, held());
		}
		share->refused += share->nr_slots < share->room;
		share->most = max(share->most, held());
		while (share->nr_slots && prandom_u32_state(&share->random) % 128)
			blockslab_free(share->slots[--share->nr_slots]);
		cond_resched();
	}
	share_free(share);
}

static int run_limit(unsigned long unused)
{
	unsigned long refused = 0;
	unsigned int nr;
	size_t most = 0;
	int error = heap_make(LIMIT, 0);

	if (error)
		return error;
	error = shares_make(SZ_8K);
	if (!error) {
		on_all_cpus(limit_share);
		for (nr = 0; nr < num_online_cpus(); nr++) {
			most = max(most, shares[nr].most);
			refused += shares[nr].refused;
		}
		snprintf(figures, sizeof(figures),
			 "limit %u, held at most %zu; %lu requests refused", LIMIT, most, refused);
		/* and it is the limit that stopped them */
		error = most > LIMIT || most < LIMIT / 10 * 9 || !refused ? -EIO : 0;
	}
	shares_end();
	return heap_end(error);
}

/* --- reserve ---------------------------------------------------------------------------------- */

#define RESERVE		SZ_512K
#define RESERVE_ROUNDS	10

static void reserve_share(struct work_struct *work)
{
	struct share *share = container_of(work, struct share, work);
	void *slot;

	while (share->nr_slots < share->room) {
		slot = blockslab_alloc(heap, share->size, GFP_NOWAIT | __GFP_NOWARN);
		if (!slot)
			break;
		share->slots[share->nr_slots++] = slot;
	}
}

/* The bytes that the CPUs got, at once and then one after the other what others had cached. */
static size_t reserve_round(size_t size)
{
	size_t bytes = 0;
	unsigned int nr;

	for (nr = 0; nr < num_online_cpus(); nr++)
		shares[nr].size = size;
	blockslab_fail(BLOCKSLAB_FAIL_PAGES, BLOCKSLAB_FAIL_ONCE_NEVER, 100);
	on_all_cpus(reserve_share);
	for (nr = 0; nr < num_online_cpus(); nr++) {
		reserve_share(&shares[nr].work);
		bytes += shares[nr].nr_slots * size;
	}
	blockslab_fail(0, 0, 0);
	on_all_cpus(nr % 2 ? free_own : free_next);
	blockslab_shrink(heap);
	return bytes;
}

static int run_reserve(unsigned long unused)
{
	static const size_t sizes[] = { 8192, 64, 4096, 24, 1024, 200 };
	size_t bytes, least = SIZE_MAX;
	unsigned int round;
	int error = heap_make(0, RESERVE);

	if (error)
		return error;
	error = shares_make(RESERVE / 16);
	for (round = 0; !error && round < RESERVE_ROUNDS; round++) {
		size_t size = sizes[round % ARRAY_SIZE(sizes)];

		bytes = reserve_round(size);
		least = min(least, bytes);
		/* no slot is lost but those that do not fit into its blocks */
		if (bytes < RESERVE / SZ_8K * (SZ_8K / size) * size)
			error = -EIO;
	}
	snprintf(figures, sizeof(figures),
		 "reserve %u, had without the page allocator at least %zu", RESERVE, least);
	shares_end();
	return heap_end(error);
}

/* --- which ------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	int (*run)(unsigned long number);
} scenarios[] = {
	{ "idle", run_idle },
	{ "hoard", run_hoard },
	{ "hoards", run_hoards },
	{ "release", run_release },
	{ "fragment", run_fragment },
	{ "day", run_day },
	{ "limit", run_limit },
	{ "reserve", run_reserve },
};

static int run_set(const char *text, const struct kernel_param *param)
{
	unsigned long number = 0;
	unsigned int i;
	char name[16];

	if (sscanf(text, "%15s %lu", name, &number) < 1)
		return -EINVAL;
	figures[0] = '\0';
	for (i = 0; i < ARRAY_SIZE(scenarios); i++)
		if (!strcmp(scenarios[i].name, name))
			return scenarios[i].run(number);
	return -EINVAL;
}

static const struct kernel_param_ops run_ops = { .set = run_set };
module_param_cb(run, &run_ops, NULL, 0200);
MODULE_PARM_DESC(run, "Scenario to run, with a number where it takes one");

static int __init blockslab_load_init(void)
{
	return 0;
}

static void __exit blockslab_load_exit(void)
{
	if (heap)
		run_release(0);
}

module_init(blockslab_load_init);
module_exit(blockslab_load_exit);
MODULE_DESCRIPTION("Loads that show whether blockslab gives memory back");
MODULE_LICENSE("GPL");
