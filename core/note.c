// SPDX-License-Identifier: GPL-2.0
/*
 * Notes: what is remembered of single slots, for POISON, RED_ZONE and tracking, and of coarse ones
 */

#define STACK_FRAMES	16
#define STACK_OWN	16	/* frames of this file at most */

static depot_stack_handle_t stack_keep(unsigned long *entries, unsigned int nr, gfp_t gfp)
{
	return IS_ENABLED(CONFIG_STACKDEPOT) ? stack_depot_save(entries, nr, gfp) : 0;
}

/* The stack that led to @caller, this file's callers's address. 0 where there is no memory. */
static depot_stack_handle_t stack_now(unsigned long caller, gfp_t gfp)
{
	unsigned long entries[STACK_FRAMES + STACK_OWN];
	unsigned int nr, own = 0;

	if (should_fail_request(BLOCKSLAB_FAIL_TRACK))
		return 0;
	nr = stack_trace_save(entries, ARRAY_SIZE(entries), 1);
	while (own < nr && own < STACK_OWN && entries[own] != caller)
		own++;
	if (own == nr || own == STACK_OWN)
		own = 0;
	nr = min_t(unsigned int, nr - own, STACK_FRAMES);
	frames_keep(entries + own, nr, NULL);
	return stack_keep(entries + own, nr, (gfp & GFP_META) | __GFP_NOWARN);
}

static unsigned int nr_notes(const struct blockslab_block *block)
{
	return block->notes && !class_coarse(block->node->class) ? block->nr_slots : 0;
}

static struct blockslab_note *note_of(struct blockslab_block *block, unsigned int number)
{
	return number < nr_notes(block) ? &block->notes[number] : NULL;
}

/* The note of an address in a block. */
static __always_inline struct blockslab_note *note_at(struct blockslab_block *block,
						      const void *slot)
{
	return note_of(block, slot_number(block, slot));
}

static void note_alloc(struct blockslab_note *note, size_t size, unsigned long period, gfp_t gfp,
		       unsigned long caller)
{
	WRITE_ONCE(note->asked, size);
	if (!period)
		return;
	WRITE_ONCE(note->cpu, raw_smp_processor_id());
	WRITE_ONCE(note->when, note_clock());
	WRITE_ONCE(note->got, stack_now(caller, gfp));
	smp_store_release(&note->period, period);	/* the rest is there for readers */
}

/* @caller is 0 where the free was deferred: whose it was has been noted then. */
static void note_freed_by(struct blockslab_note *note, unsigned long caller)
{
	if (!note->period || !caller)
		return;
	note->gone = stack_now(caller, GFP_NOWAIT);
	note->gone_when = note_clock();
	note->gone_cpu = raw_smp_processor_id();
}

/* Its slots are watched. Never with POISON or RED_ZONE; whole pages only with some before them. */
static bool block_watched(const struct blockslab_block *block)
{
	return block->notes && (block->node->class->of || bytes_around(block));
}

/* A watched slot that nobody has, be it kept out of its block. */
static bool slot_waits(struct blockslab_block *block, unsigned int number)
{
	struct blockslab_note *note = note_of(block, number);

	return note && READ_ONCE(note->state) > WATCH_TOLD;
}

/* Bytes of a slot that its owner may use. */
static size_t usable_bytes(struct blockslab_block *block, unsigned int number)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_note *note = note_of(block, number);

	if (class_coarse(class))
		return READ_ONCE(block->usable[number]);
	if (note && (class->heap->flags & BLOCKSLAB_RED_ZONE || block_watched(block)))
		return READ_ONCE(note->asked);
	if (!class->size)
		return block->nr_pages * PAGE_SIZE;
	return class->canary ?: class->size;
}

static __always_inline size_t slot_bytes(struct blockslab_block *block)
{
	return object_size(block->node->class) ?:
	       block->nr_pages * PAGE_SIZE - bytes_around(block);
}

/* Free slots of such a heap are filled with POISON_FREE. */
static bool poisoned(const struct blockslab_heap *heap)
{
	return heap->flags & BLOCKSLAB_POISON;
}

/* Bytes of a slot that nobody may write to are not what they were, unless they are by now. */
static noinline __cold bool tell_bytes(enum fault fault, struct blockslab_block *block,
				       const void *slot, const void *from, u8 value, size_t bytes,
				       unsigned long caller)
{
	const void *other = first_other(from, value, bytes);

	if (other)
		report(fault, .slot = slot, .block = block, .caller = caller, .damage = other,
		       .expected = value);
	return other;
}

/* By words: rep stosb of memset() takes an instruction a byte where it is counted, or emulated. */
static __always_inline void fill_words(void *slot, u8 value, size_t bytes)
{
	memset64(slot, value * (~0ULL / 0xff), bytes / 8);
}

/* Eight bytes at least, up to the end of a slot. */
static void fill_zone(void *zone, size_t bytes)
{
	void *aligned = PTR_ALIGN(zone, 8);

	memset(zone, SLUB_RED_ACTIVE, 8);
	fill_words(aligned, SLUB_RED_ACTIVE, zone + bytes - aligned);
}

static void exact_alloc(struct blockslab_block *block, void *slot, size_t size, gfp_t gfp,
			unsigned long caller)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_note *note = note_at(block, slot);
	size_t bytes = slot_bytes(block);

	if (poisoned(class->heap) && class->size) {
		if (!all_are(slot, POISON_FREE, bytes))
			tell_bytes(AFTER_FREE, block, slot, slot, POISON_FREE, bytes, caller);
		fill_words(slot, POISON_INUSE, bytes);
	}
	if (!note)
		return;
	if (class->heap->flags & BLOCKSLAB_RED_ZONE)
		fill_zone(slot + size, bytes - size);
	smp_wmb();	/* validate_exact() */
	note_alloc(note, size, READ_ONCE(class->heap->track), gfp, caller);
	smp_wmb();	/* the same, before its owner writes to it */
}

/*
 * With red zones, the last bytes of a slot are no owner's, be it allocated, free, or on its way
 * from one to the other, which nothing here excludes. Whether all is well before a slot; where it
 * is not, that is reported and mended.
 */
static bool zone_before_whole(struct blockslab_block *block, u8 *slot, unsigned int number,
			      unsigned long caller)
{
	struct blockslab_heap *heap = block->node->class->heap;
	bool is_free;
	u8 byte;
	int i;

	if (!heap->zone || !number || keeps_content(heap) ||
	    all_are(slot - RED_ZONE_BYTES, SLUB_RED_ACTIVE, RED_ZONE_BYTES) ||
	    all_are(slot - RED_ZONE_BYTES, POISON_FREE, RED_ZONE_BYTES))
		return true;
	for (i = 1; i <= RED_ZONE_BYTES; i++) {
		byte = READ_ONCE(slot[-i]);
		if (byte != SLUB_RED_ACTIVE && byte != POISON_FREE && byte != POISON_INUSE)
			break;
	}
	if (likely(i > RED_ZONE_BYTES))
		return true;
	report(BEFORE_SLOT, .slot = slot, .block = block, .caller = caller, .damage = slot - i,
	       .expected = SLUB_RED_ACTIVE);
	is_free = poisoned(heap) && slot_is_free(block, number - 1);
	memset(slot - RED_ZONE_BYTES, is_free ? POISON_FREE : SLUB_RED_ACTIVE, RED_ZONE_BYTES);
	return false;
}

/* False, and the slot stays with its owner, where it was written past its end or before it. */
static bool exact_free(struct blockslab_block *block, void *slot, unsigned long caller)
{
	struct blockslab_class *class = block->node->class;
	struct blockslab_note *note = note_at(block, slot);
	size_t bytes = slot_bytes(block);

	if (note && class->heap->flags & BLOCKSLAB_RED_ZONE &&
	    !all_are(slot + note->asked, SLUB_RED_ACTIVE, bytes - note->asked) &&
	    tell_bytes(PAST_SLOT, block, slot, slot + note->asked, SLUB_RED_ACTIVE,
		       bytes - note->asked, caller)) {
		memset(slot + note->asked, SLUB_RED_ACTIVE, bytes - note->asked);
		return false;
	}
	if (!zone_before_whole(block, slot, slot_number(block, slot), caller))
		return false;
	if (note) {
		note_freed_by(note, caller);
		WRITE_ONCE(note->period, 0);
	}
	if (poisoned(class->heap))
		fill_words(slot, POISON_FREE, bytes);
	return true;
}

/* Whether somebody wants to know of every allocation. */
static bool alloc_watched(void)
{
	return RARE_ALWAYS || trace_blockslab_alloc_enabled();
}

/* What a constructor made stays in any case, what an RCU reader looks at unless told otherwise. */
static bool zero_wanted(const struct blockslab_heap *heap, gfp_t gfp)
{
	if (likely(!want_init_on_alloc(gfp)))	/* nor __GFP_ZERO */
		return false;
	return !heap->ctor && (gfp & __GFP_ZERO || !keeps_content(heap));
}

/* What a slot of a class holds from now on. Any context. */
static __always_inline void fill_slot(const struct blockslab_class *class, void *slot, size_t size,
				      gfp_t gfp)
{
	size_t bytes = class->heap->zone || class->of ? size : class->canary ?: class->size;

	kasan_slot(slot, object_size(class), size);
	if (zero_wanted(class->heap, gfp))
		memset(slot, 0, bytes);
	else if (!keeps_content(class->heap))
		kmsan_poison_memory(slot, bytes, gfp);
}

/* All that may be to be done with a slot that was taken. */
static noinline void *after_alloc(struct blockslab_heap *heap, void *slot, size_t size, gfp_t gfp,
				  unsigned long caller)
{
	struct blockslab_block *block = own_block(slot);
	struct blockslab_class *class = block->node->class;

	if (heap->flags & EXACT_FLAGS)
		exact_alloc(block, slot, size, gfp, caller);
	if (class->size)
		fill_slot(class, slot, size, gfp);
	else
		kasan_slot(slot, slot_bytes(block), size);
	kmemleak_alloc(slot, size, 1, gfp);
	trace_blockslab_alloc(caller, heap->name, slot, size, slot_bytes(block), gfp);
	return slot;
}

static __always_inline void tell_free(struct blockslab_block *block, void *slot,
				      unsigned long caller)
{
	struct blockslab_heap *heap = block->node->class->heap;

	trace_blockslab_free(caller, heap->name, slot, slot_bytes(block));
	kmemleak_free(slot);
	if (!(heap->flags & BLOCKSLAB_TYPESAFE_BY_RCU))
		kasan_slot(slot, slot_bytes(block), 0);
}

/* What is to be done with a slot that is freed. One that can be cached has its canary by now. */
static void before_free(struct blockslab_block *block, void *slot, unsigned long caller)
{
	struct blockslab_class *class = block->node->class;
	size_t kept = class->key == KEY_SLOW ? 0 : sizeof(long);
	struct blockslab_heap *heap = class->heap;

	tell_free(block, slot, caller);
	if (class->size && !keeps_content(heap)) {
		if (!poisoned(heap) && want_init_on_free())
			memset(slot + kept, 0, heap->zone ?	/* which stays */
			       usable_bytes(block, slot_number(block, slot)) : class->size - kept);
		kmsan_poison_memory(slot + kept, class->size - kept - heap->zone, GFP_NOWAIT);
	}
}

/* The fast paths follow the static keys by what they compare with anyway. */
static void follow_keys(void)
{
	static DEFINE_SPINLOCK(lock);

	spin_lock(&lock);
	WRITE_ONCE(blockslab_fast_size,
		   static_key_enabled(&blockslab_rare) ? 0 : BLOCKSLAB_SLOT_MAX);
	WRITE_ONCE(blockslab_span.reach, static_key_enabled(&rare_free) ? 0 : blockslab_span.size);
	spin_unlock(&lock);
}

int blockslab_trace_on(void)
{
	static_branch_inc(&blockslab_rare);
	static_branch_inc(&rare_free);
	follow_keys();
	return 0;
}

void blockslab_trace_off(void)
{
	static_branch_dec(&blockslab_rare);
	static_branch_dec(&rare_free);
	follow_keys();
}
