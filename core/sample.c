// SPDX-License-Identifier: GPL-2.0
/*
 * Sampling: which allocations are tracked
 *
 * Every line counts the bytes asked for down from a credit, and an allocation for which the credit
 * does not suffice takes the slow path, where it is tracked. Credits are drawn from an exponential
 * distribution with a mean of heap->track, so that every byte has the same chance, and an
 * allocation of so many bytes one of 1 - exp(-bytes / track): Poisson sampling, as in gperftools'
 * heap profiler. Caches count BLOCKSLAB_CACHE_CREDIT for an object, and their period follows. With
 * no tracking the credit is never used up; where all is tracked, there is none.
 *
 * Once the period changes, every line's credit is stale, and marked so: whoever claims the line on
 * the slow path, or loads a magazine, gives it a new one. A CPU whose magazines would suffice for
 * long is interrupted for that, and left alone if it happens to be at work on the line time and
 * again, as it then comes by the mark soon. So nobody waits until all are quiet.
 *
 * What it does not do: it keeps nothing of an allocation; notes do. Who switches it is at the end
 * of grow.c. Lock: heap->control for the period; a line is its CPU's own.
 */

#define CREDIT		(LONG_MAX / 4)

/* -log2(x / 2^32) in 1/2^16, for x from 1 to 2^32 - 1: digit by digit, by squaring. */
static u32 minus_log2(u32 x)
{
	u32 log = (fls(x) - 1) << 16, digit;
	u64 square = (u64)x << (32 - fls(x));	/* 2^31 to 2^32 */

	for (digit = 1 << 15; digit; digit >>= 1) {
		square = square * square >> 31;
		if (square >> 32) {
			log |= digit;
			square >>= 1;
		}
	}
	return (32 << 16) - log;
}

/* With preemption or interrupts off; there, get_random_u32() may sleep on PREEMPT_RT. */
static DEFINE_PER_CPU(struct rnd_state, credit_random);

/* Bytes to the next allocation that is sampled; never 0: a line that was given none is new. */
static long draw_credit(unsigned long period)
{
	u32 random = prandom_u32_state(raw_cpu_ptr(&credit_random));
	const u32 ln_2 = 45426;		/* in 1/2^16 */

	return (((u64)minus_log2(random | 1) * ln_2 >> 16) * period >> 16) ?: 1;
}

/* What a slot counts for: of a cache always the same, which its fast path need not look up. */
static size_t credit_size(const struct blockslab_class *class, size_t size)
{
	return class->asked ? BLOCKSLAB_CACHE_CREDIT : size;
}

/* The period in what credit_size() counts. */
static unsigned long class_period(const struct blockslab_class *class)
{
	u64 track = READ_ONCE(class->heap->track);

	if (track <= 1 || !class->asked)
		return track;
	track = div_u64(track * BLOCKSLAB_CACHE_CREDIT, class->asked);
	return clamp_t(u64, track, 2, LONG_MAX / 32);
}

/* Of a line: its first one for a period, that is @drawn, or more where it does not suffice. */
static long line_credit(const struct blockslab_cpu *line, bool drawn)
{
	unsigned long track = class_period(line->node->class);

	if (!track)
		return CREDIT;
	return track == 1 ? 0 : drawn ? draw_credit(track) : track;
}

/* Gives a claimed line a credit; what was asked for, granted - credit, stays. */
static void grant(struct blockslab_cpu *line, long credit)
{
	WRITE_ONCE(line->granted, line->granted + credit - line->credit);
	WRITE_ONCE(line->credit, credit);
}

/* Gives a claimed line a new credit, if the period has changed. */
static void credit_follow(struct blockslab_cpu *line)
{
	if (likely(!READ_ONCE(line->stale)))
		return;
	WRITE_ONCE(line->stale, 0);
	smp_mb();	/* the period that made it stale is there, or will do so again */
	grant(line, line_credit(line, true));
}

/* Counts what credit_size() says on a claimed line, by an allocation that is not to be tracked. */
static void spend(struct blockslab_cpu *line, size_t bytes)
{
	blockslab_sub(line->credit, bytes);
	if (unlikely(line->credit < 0))
		grant(line, line_credit(line, false));
	credit_follow(line);
}

/* Whether an allocation is to be tracked. */
static bool sampled(struct blockslab_node *node, size_t size)
{
	unsigned long track = class_period(node->class);
	struct blockslab_cpu *line;
	bool sample = false;

	if (track <= 1 || node->class->noted)
		return track && !node->class->noted;
	if (READ_ONCE(node->class->cpu) == no_class)
		return false;
	line = claim_line(node);
	if (!line)
		return false;
	credit_follow(line);
	if (line->credit < (long)credit_size(node->class, size)) {
		sample = line->granted;		/* a new line has had none; that of pages is odd */
		grant(line, draw_credit(track) | (node->class->size ? 0 : 1));
	} else if (!node->class->size) {	/* nobody else counts these */
		WRITE_ONCE(line->credit, line->credit - size);
		WRITE_ONCE(line->granted, line->granted - size);
	}
	unclaim_line(line);
	return sample;
}
