// SPDX-License-Identifier: GPL-2.0
/*
 * What is kept while a heap is in use, and what goes back: all rules, each with its figure
 *
 * Empty blocks, and magazines with slots in depots, follow one rule: as many are kept as were
 * missed after they had been given back, less those that nobody needed. struct blockslab_retention
 * counts for both. Figures: bytes held on average, as a share of SLUB's (tools/replay), and
 * instructions of an operation (tools/bench).
 *
 * What it does not do: it gives nothing back itself, see block.c, depot.c and trim.c. Locks: the
 * retention of blocks is under node->lock; that of depots is near enough without.
 */

/*
 * A node tells its heap what it keeps when that is more than it told last, or has come down by
 * half: what goes up and down at every trade shall not reach the heap every time.
 */
static void heap_tell_kept(struct blockslab_heap *heap, struct blockslab_retention *retention,
			   long bytes)
{
	long before = READ_ONCE(retention->told);

	if (bytes <= before && bytes * 2 > before)
		return;
	if (bytes != before)
		atomic_long_add(bytes - xchg(&retention->told, bytes), &heap->kept);
}

/*
 * What is kept for reuse has a working set (Bonwick & Adams): what was there all through a round
 * was not needed. A round is some turns from taking to returning, so that a client that takes
 * much and then returns it all is seen to need it. @turns is odd after something was taken. A
 * storm of forks holds .87 with it and .89 without, and a day of 10 million operations on 40,000
 * slots ends 2 % above its second tenth, not 5. Rounds of 16 returns forgot what a batch needs.
 * Whole pages, of which a miss costs 2,400 instructions, are forgotten in longer rounds: of SLUB's
 * instructions on 7.3, a load of shells took .58, not .60, and its heap of 900 KB held 40 more.
 */
static bool round_ends(struct blockslab_retention *retention, unsigned int round)
{
	unsigned int next = READ_ONCE(retention->turns) + 1;

	if (next & 1)
		return false;
	WRITE_ONCE(retention->turns, next);
	return next % (2 * round) == 0;
}

/* Something was taken; so many are left. */
static void retention_taken(struct blockslab_retention *retention, unsigned int left)
{
	if (left < READ_ONCE(retention->least))
		WRITE_ONCE(retention->least, left);
	if (!(READ_ONCE(retention->turns) & 1))
		WRITE_ONCE(retention->turns, READ_ONCE(retention->turns) | 1);
}

/*
 * What was given back and is wanted again would better have been kept; up to @most. With 64 KiB
 * kept in a depot from the start, small traces that free most of what they had held a fifth more.
 */
static void retention_missed(struct blockslab_retention *retention, unsigned int missed,
			     unsigned int most)
{
	unsigned int given_back = READ_ONCE(retention->given_back);
	unsigned int keep = min(READ_ONCE(retention->keep), most);

	missed = min(missed, given_back);
	if (!missed)
		return;
	WRITE_ONCE(retention->given_back, given_back - missed);
	WRITE_ONCE(retention->keep, keep + min(missed, most - keep));
}

/*
 * Something was returned, and there are @nr now. At the end of a round: how many of them were not
 * needed, each of which counts for @each in what is kept; what was given back is half forgotten.
 */
static unsigned int retention_look(struct blockslab_retention *retention, unsigned int nr,
				   unsigned int each, unsigned int round)
{
	unsigned int keep = READ_ONCE(retention->keep), unneeded = READ_ONCE(retention->least);

	if (!round_ends(retention, round))
		return 0;
	WRITE_ONCE(retention->keep, keep - min(keep, unneeded * each));
	WRITE_ONCE(retention->given_back, READ_ONCE(retention->given_back) / 2);
	WRITE_ONCE(retention->least, nr);
	return unneeded;
}

static void retention_reset(struct blockslab_retention *retention)
{
	WRITE_ONCE(retention->keep, 0);
	WRITE_ONCE(retention->given_back, 0);
	WRITE_ONCE(retention->least, 0);
}

/*
 * Empty blocks that are kept in any case: one where a double free could not be told else (of
 * watched slots the latest are kept, and no more), none of a heap that ended, all of one let go of.
 */
static unsigned int keep_least(const struct blockslab_node *node)
{
	const struct blockslab_heap *heap = node->class->heap;

	if (unlikely(heap_destroyed(heap)))
		return heap_forgotten(heap) ? UINT_MAX : 0;
	return !!(heap->flags & EXACT_FLAGS);
}

/* A sixteenth of what a heap holds, or what any heap may have. */
static long heap_share(struct blockslab_heap *heap)
{
	return max(atomic_long_read(&heap->held) / 16UL, kib_bytes(READ_ONCE(keep_kib)));
}

/*
 * Whether a heap keeps more than it should. What each class keeps by its own working set may be
 * little and yet, over a hundred classes, much of all that the heap holds: a load that opens and
 * closes sockets by the hundred held .93 of SLUB's without this, .86 with it.
 */
static bool overstocked(struct blockslab_heap *heap)
{
	long most = heap_share(heap) + READ_ONCE(heap->allowance);

	return atomic_long_read(&heap->kept) > most;
}

/*
 * A block is made. If one was given back before for want of room, the heap may keep more: as much
 * as a load has missed 32 times within some periods of the trim, each of which halves it. Without
 * this, 256 slots of 4 KiB made and freed in turns took 1.5 of SLUB's instructions, not .87; of
 * 8 KiB 2.1, not .95.
 */
static void heap_missed(struct blockslab_node *node, unsigned int words)
{
	unsigned int refused = min(node->refused, node->retention.given_back);

	words = min(words, refused);
	node->refused = refused - words;
	if (words)
		blockslab_add(node->class->heap->allowance, words / 4);
}

/*
 * Slots of a class's first magazines. Of the smallest, two of four were swapped all the time by
 * batches of eight: 156 instructions a pair, not 77. From 544 to 1024 bytes magazines of one went
 * to the lock every other time where lifetimes are random, those that grow from two hardly ever:
 * .003 more for forks.
 */
static unsigned int capacity_least(unsigned int size)
{
	return size <= 64 ? 12 : size <= 128 ? 4 : size <= 1024 ? 2 : 1;
}

/*
 * To the next size that fills a power of two with its head, if @most allows; the last step of large
 * slots' is to as many as they may ever have, or @most if that is more.
 */
static bool magazines_grow_to(struct blockslab_node *node, unsigned long most)
{
	unsigned long capacity = READ_ONCE(node->capacity), next = capacity * 2;
	unsigned long last = max(most, SZ_32K / (unsigned long)node->class->size);

	next = min3(next < 8 ? next : next + 4, last, (unsigned long)MAGAZINE_SLOTS_MAX);
	if (next > most || next < capacity + capacity / 4 + 1)
		return false;
	WRITE_ONCE(node->capacity, next);
	return true;
}

/*
 * Whether the heap's magazines may have more room: half a share, and once asked for often up to an
 * eighth of what is held. Without that bound 300 slots of up to 8 KiB, replaced at random four
 * million times, held 4.2 MB, not 3.4.
 */
static bool heap_has_room(struct blockslab_node *node)
{
	struct blockslab_heap *heap = node->class->heap;
	long most = heap_share(heap) / 2 +
		    min_t(long, READ_ONCE(heap->more_room), atomic_long_read(&heap->held) / 8);

	if (atomic_long_read(&heap->roomy) < most)
		return true;
	blockslab_add(heap->more_room, READ_ONCE(node->capacity) * node->class->size / 32);
	return false;
}

/*
 * Magazines are small at first, and grow with what a class does: to the next size after 4 trades of
 * a CPU with the depot or the blocks. Slots that only go out (@share) may grow them to a share of
 * the class's slots; those that come and go may, too, and to 4 KiB in any case; and on to 32 KiB
 * while looks come within 4 ms and all of the heap's have room for no more than their share. Slower
 * trades cost little; to keep their slots for the next wave, .929 instead of .897. A trim brings
 * magazines back to the least.
 */
static noinline void magazines_look(struct blockslab_node *node, struct blockslab_cpu *line,
				    bool share)
{
	unsigned long size = node->class->size, most, bytes;
	u32 now = jiffies;
	bool quick;

	most = min(SZ_32K / size, READ_ONCE(node->nr_slots) / (32 * num_online_cpus()));
	if (!share) {
		quick = now - READ_ONCE(node->looked) <= HZ / 250 &&
			READ_ONCE(node->capacity) < min(SZ_32K / size, MAGAZINE_SLOTS_MAX + 0UL);
		bytes = quick && heap_has_room(node) ? SZ_32K : SZ_4K;
		WRITE_ONCE(node->looked, now);
		most = max_t(unsigned long, most,
			     clamp_t(unsigned long, bytes / size, 1, MAGAZINE_SLOTS_MAX));
	}
	if (magazines_grow_to(node, most) || !share)
		WRITE_ONCE(line->looked, READ_ONCE(line->trades));
}

/* Not at every fourth: of a batch's they may all be of one kind. */
static __always_inline void magazines_grow(struct blockslab_node *node, bool share)
{
	struct blockslab_cpu *line = raw_cpu_ptr(node_cpu(node));

	if ((u8)(READ_ONCE(line->trades) - READ_ONCE(line->looked)) < 4)
		return;
	/* As few slots are no share that would do for more. */
	if (share && READ_ONCE(node->nr_slots) / 40 < num_online_cpus() * READ_ONCE(node->capacity))
		return;
	magazines_look(node, line, share);
}
