// SPDX-License-Identifier: GPL-2.0
/*
 * Growth: what each stack held a minute, ten minutes and an hour ago
 *
 * Once a minute the callers of each heap that is or was tracked are counted, and what the largest
 * ones hold is written down: the latest eleven counts, and every tenth one for an hour. So a leak
 * shows in one look at the file callers. The timer wakes no idle CPU, and runs only while a heap is
 * tracked or a stack followed; what it is late by is made up for. Tracking is switched on and off
 * here, as that starts it. What it does not do: it keeps nothing of stacks that have held nothing
 * for an hour. Lock: growth_lock for all of it; heap->control for the period.
 */

#define GROWTH_PERIOD	(60 * HZ)
#define GROWTH_STACKS	256U
#define MINUTES		11
#define TENS		7
#define TURNS_MAX	(10 * (TENS + 1))

/* What a stack held, the latest first. */
struct growing {
	struct held_once minutes[MINUTES];
	struct held_once tens[TENS];
};

/* Of a heap. */
struct growth {
	struct xarray by_stack;		/* struct growing; ends in softirqs, too */
	unsigned int nr;		/* how many */
	unsigned int turns;		/* counts so far, up to TURNS_MAX */
	unsigned long last;		/* jiffies of the last one */
};

static DEFINE_MUTEX(growth_lock);

static void growth_add(struct blockslab_heap *heap, depot_stack_handle_t stack)
{
	struct growth *growth = heap->growth;
	struct growing *growing;

	if (growth->nr == GROWTH_STACKS || xa_load(&growth->by_stack, stack))
		return;
	growing = meta_alloc(BLOCKSLAB_FAIL_TRACK, sizeof(*growing), GFP_KERNEL, NUMA_NO_NODE);
	if (!growing || xa_err(xa_store_irq(&growth->by_stack, stack, growing, GFP_KERNEL))) {
		kfree(growing);
		return;
	}
	growth->nr++;
	atomic_long_add(sizeof(*growing), &heap->fixed);
}

static void held_push(struct held_once *latest, unsigned int nr, struct held_once now)
{
	memmove(latest + 1, latest, (nr - 1) * sizeof(now));
	*latest = now;
}

/* Writes down what all callers hold now. */
static void growth_turn(struct blockslab_heap *heap, struct callers *callers)
{
	struct growth *growth = heap->growth;
	struct growing *growing;
	struct held_once now;
	struct caller *caller;
	unsigned long stack;

	xa_for_each(&growth->by_stack, stack, growing) {
		caller = xa_load(&callers->by_stack, stack);
		now = (struct held_once){};
		if (caller)
			now = (struct held_once){ caller->slots, caller->held };
		held_push(growing->minutes, MINUTES, now);
		if (growth->turns % 10 == 0)
			held_push(growing->tens, TENS, now);
		if (memchr_inv(growing, 0, sizeof(*growing)))
			continue;
		xa_erase_irq(&growth->by_stack, stack);
		kfree(growing);
		growth->nr--;
		atomic_long_sub(sizeof(*growing), &heap->fixed);
	}
	if (++growth->turns == TURNS_MAX)	/* as much is known, and a tenth comes next */
		growth->turns -= 10;
}

static void heap_grow(struct blockslab_heap *heap, unsigned int turns)
{
	struct callers *callers = callers_get(heap);
	unsigned int i;

	heap->growth->last = jiffies;
	if (IS_ERR(callers))
		return;
	for (i = 0; i < callers->nr; i++)
		growth_add(heap, callers->sorted[i]->stack);
	while (turns--)
		growth_turn(heap, callers);
	callers_free(callers);
}

static struct growth *growth_of(struct blockslab_heap *heap)
{
	lockdep_assert_held(&growth_lock);
	if (heap->growth || !READ_ONCE(heap->track))
		return heap->growth;
	heap->growth = meta_alloc(BLOCKSLAB_FAIL_TRACK, sizeof(*heap->growth), GFP_KERNEL,
				  NUMA_NO_NODE);
	if (heap->growth) {
		atomic_long_add(sizeof(*heap->growth), &heap->fixed);
		xa_init_flags(&heap->growth->by_stack, XA_FLAGS_LOCK_IRQ);
		heap->growth->last = jiffies - GROWTH_PERIOD;
	}
	return heap->growth;
}

static void growth_work_fn(struct work_struct *work);
static DECLARE_DEFERRABLE_WORK(growth_work, growth_work_fn);

static void growth_work_fn(struct work_struct *work)
{
	struct blockslab_heap *heap;
	struct growth *growth;
	unsigned int turns;
	bool again = false;

	for (heap = next_heap(NULL); heap; heap = next_heap(heap)) {
		mutex_lock(&growth_lock);
		growth = growth_of(heap);
		turns = growth ? (jiffies - growth->last + HZ) / GROWTH_PERIOD : 0;
		if (turns)
			heap_grow(heap, min(turns, TURNS_MAX + 0U));
		again |= READ_ONCE(heap->track) || (growth && growth->nr);
		mutex_unlock(&growth_lock);
	}
	if (again)
		queue_delayed_work(workqueue, &growth_work, GROWTH_PERIOD);
}

/**
 * blockslab_grow() - have so many minutes pass for what a heap's callers held, for tests
 * @heap: that is tracked
 * @minutes: how many
 *
 * Context: process; may sleep.
 */
void blockslab_grow(struct blockslab_heap *heap, unsigned int minutes)
{
	mutex_lock(&growth_lock);
	if (growth_of(heap))
		heap_grow(heap, minutes);
	mutex_unlock(&growth_lock);
}
EXPORT_SYMBOL_FOR_TESTS(blockslab_grow);

/* What the callers held before, where that is known. */
static void callers_before(struct blockslab_heap *heap, struct callers *callers)
{
	struct growing *growing;
	struct growth *growth;
	unsigned int i;

	mutex_lock(&growth_lock);
	growth = heap->growth;
	callers->turns = growth ? growth->turns : 0;
	for (i = 0; growth && i < callers->nr; i++) {
		growing = xa_load(&growth->by_stack, callers->sorted[i]->stack);
		if (!growing)
			continue;
		callers->sorted[i]->before[0] = growing->minutes[1];
		callers->sorted[i]->before[1] = growing->minutes[MINUTES - 1];
		callers->sorted[i]->before[2] = growing->tens[TENS - 1];
	}
	mutex_unlock(&growth_lock);
}

/* With its heap. */
static void growth_free(struct growth *growth)
{
	struct growing *growing;
	unsigned long stack;

	if (!growth)
		return;
	xa_for_each(&growth->by_stack, stack, growing)
		kfree(growing);
	xa_destroy(&growth->by_stack);
	kfree(growth);
}

/* Under heap->control. */
static int heap_track(struct blockslab_heap *heap, u64 period)
{
	int error = period ? stack_depot_init() : 0;

	if (error)
		return error;
	if (period)
		watch_init(heap);
	WRITE_ONCE(heap->track, heap->flags & EXACT_FLAGS ? !!period : period);
	if (period)
		queue_delayed_work(workqueue, &growth_work, GROWTH_PERIOD);
	if (!list_empty(&heap->classes))
		lines_ask();	/* lines_due() */
	credits_renew(heap);
	return 0;
}

/**
 * blockslab_track() - have a heap remember who allocated its slots
 * @heap: to track; NULL for the shared heap
 * @period: 1 for every allocation from now on, 0 for none, and else, up to 1 GiB (64 MiB on 32-bit
 *	machines), a sample: one of so many bytes on average, which is cheap enough to be left on
 *
 * What debugfs/blockslab/heap/NAME/track does, and the module parameter track for new heaps. Slots
 * that are tracked are watched, too: who writes beside them, or to them after their free, is told
 * at their free, or some time after it. Slots that are tracked stay so until they are
 * freed. Heaps with BLOCKSLAB_POISON or BLOCKSLAB_RED_ZONE track all or none, and
 * blockslab_alloc_nolock() is never tracked: while all are, it finds no slots.
 *
 * Context: process; may sleep.
 * Return: 0, -EINVAL for a period that cannot be or a heap that was destroyed, -EINTR for a caller
 * that was killed, or -ENOMEM.
 */
int blockslab_track(struct blockslab_heap *heap, size_t period)
{
	heap = heap_check(heap, _RET_IP_);
	if (!heap || period > PERIOD_MAX)
		return -EINVAL;
	return heap_control(heap, true, heap_track, period);
}
EXPORT_SYMBOL_GPL(blockslab_track);
