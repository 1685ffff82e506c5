// SPDX-License-Identifier: GPL-2.0
/*
 * Changing a slot's size, after krealloc(): a slot stays where its class serves the new size, else
 * its content moves. One that grows gets what kmalloc() would give it, and stays there as long as
 * it would there: so what grows step by step moves once a doubling, and holds no more. Bytes behind
 * what is asked for are nobody's, and when a slot of a caller that always asks for zeroes grows
 * again, they must be zeroes: so they become so when it shrinks. Takes no lock.
 */

/*
 * What shrinks moves only if so much of it is given up: krealloc() never moves it, and one that
 * goes up and down between two sizes took 18 to 160 times as long.
 */
#define SHRINK_LEAST	8

/* The slot stays, with @usable bytes; @block cannot go, as the slot is allocated. */
static void resize_in_place(struct blockslab_block *block, void *slot, size_t size, size_t usable,
			    gfp_t gfp)
{
	struct blockslab_heap *heap = block->node->class->heap;
	struct blockslab_note *note = note_at(block, slot);

	if (heap->flags & BLOCKSLAB_ZERO)
		gfp |= __GFP_ZERO;
	kasan_slot(slot, slot_bytes(block), usable);
	if (heap->zone || block_watched(block))
		memset(slot + size, SLUB_RED_ACTIVE, slot_bytes(block) - size);
	else if (zero_wanted(heap, gfp))
		memset(slot + size, 0, usable - size);
	smp_wmb();	/* validate_exact() */
	if (note)
		WRITE_ONCE(note->asked, size);
	kasan_slot(slot, slot_bytes(block), size);
	kmemleak_free(slot);	/* what was added is to be scanned */
	kmemleak_alloc(slot, size, 1, gfp);
}

/* A new slot, of @room bytes, with the content of an old one, which is freed; or NULL. */
static void *resize_by_move(struct blockslab_heap *heap, const void *slot, size_t size, size_t room,
			    size_t usable, gfp_t gfp, unsigned long caller)
{
	struct request want = {
		.heap = heap, .size = size, .nr = 1, .gfp = gfp, .nid = NUMA_NO_NODE,
		.caller = caller,
	};
	struct blockslab_block *block;
	void *moved;

	if (gfp & BLOCKSLAB_GFP_SLOW || !alloc_try(heap, size, room, &moved)) {
		if (room != size)
			want.class = class_for(heap, room, 1, gfp | heap->kind);
		if ((room != size && !want.class) || !alloc_special(&want, 1, &moved))
			return NULL;
	}
	memcpy(moved, slot, min(usable, size));
	if (!blockslab_free_try(slot, ANY_SIZE, true, NULL))
		free_checked(slot, ANY_SIZE, NULL, caller);
	if (room != size) {
		block = own_block(moved);
		block_stands_in(block);
		if (class_coarse(block->node->class)) {
			count_shared(heap, size, -1);
			note_usable(block->node->class, room, &moved, 1);
		}
	}
	return moved;
}

/* What kmalloc() would give, where that is not whole pages. */
static size_t kmalloc_room(const struct blockslab_heap *heap, size_t size)
{
	return size <= BLOCKSLAB_SLOT_MAX && !heap->zone && !heap->cache ?
	       min_t(size_t, kmalloc_size_roundup(size), BLOCKSLAB_SLOT_MAX) : size;
}

/* A slot that grows. */
static void *grow(struct blockslab_heap *heap, const void *slot, size_t size, size_t usable,
		  gfp_t gfp, unsigned long caller)
{
	size_t room = kmalloc_room(heap, size);
	void *moved = NULL;

	if (room != size)
		moved = resize_by_move(heap, slot, size, room, usable,
				       (gfp | GFP_TRIAL) & ~__GFP_NOFAIL, caller);
	return moved ?: resize_by_move(heap, slot, size, size, usable, gfp, caller);
}

/* Whether a slot stays with nothing to be done: its class, or kmalloc()'s, serves the size. */
static bool stays(const void *slot, size_t size, gfp_t gfp)
{
	struct blockslab_block *block;
	bool serves = false;
	size_t usable;
	long number;

	if (want_init_on_alloc(gfp))
		return false;
	preempt_disable();
	block = plain_block(slot, false, &number);
	if (likely(block)) {
		usable = block->size;
		serves = usable - size < block->sizes;
	} else {
		block = other_block(slot);
		number = block ? slot_number(block, slot) : 0;
		usable = block ? usable_bytes(block, number) : 0;
		serves = block && slot_serves(block, number, size);
	}
	if (block && block->sizes > block->size)
		serves = size <= usable && size > usable / SHRINK_LEAST;
	serves = serves && !(block->node->class->heap->flags & BLOCKSLAB_ZERO);
	preempt_enable();
	return serves;
}

/**
 * blockslab_realloc() - change the size of a slot
 * @heap: for a slot that has to move; NULL for the shared heap
 * @slot: to change; NULL allocates
 * @size: new size in bytes; 0 frees
 * @gfp: as for blockslab_alloc()
 *
 * A slot whose class serves the new size stays where it is, and so does one that shrinks to over an
 * eighth of its usable size, which it keeps. One that moves keeps its content up to the smaller of
 * both sizes. What is new is zero if zeroes were asked for in every call from the allocation on, by
 * __GFP_ZERO or by the heap. To shrink never fails: where there is no memory for a smaller slot,
 * the old one stays.
 *
 * Context: as blockslab_alloc().
 * Return: the slot, ZERO_SIZE_PTR for size 0; or NULL, and @slot is as it was.
 */
void *blockslab_realloc(struct blockslab_heap *heap, const void *slot, size_t size, gfp_t gfp)
{
	struct blockslab_block *block;
	size_t usable;
	void *moved;
	bool noted;

	blockslab_might_alloc(gfp);
	heap = heap_or_shared(heap);
	if (!heap_usable(heap, _RET_IP_))
		return NULL;
	if (ZERO_OR_NULL_PTR(slot))
		return alloc_slow(heap, size, gfp, NUMA_NO_NODE, _RET_IP_);
	if (!size) {
		free_checked(slot, ANY_SIZE, NULL, _RET_IP_);
		return ZERO_SIZE_PTR;
	}
	if (likely(stays(slot, size, gfp)))
		return (void *)slot;
	usable = usable_size(slot, _RET_IP_);
	if (!usable)
		return NULL;
	block = own_block(slot);
	if (size > usable)
		return grow(heap, slot, size, usable, gfp, _RET_IP_);
	noted = note_at(block, slot);
	if (noted || !slot_serves(block, slot_number(block, slot), size)) {
		moved = NULL;
		if (noted || (size <= usable / SHRINK_LEAST && kmalloc_room(heap, size) != usable))
			moved = resize_by_move(heap, slot, size, size, usable,
					       (gfp | GFP_TRIAL) & ~__GFP_NOFAIL, _RET_IP_);
		if (moved)
			return moved;
		block_stands_in(block);
	}
	resize_in_place(block, (void *)slot, size, usable, gfp);
	return (void *)slot;
}
EXPORT_SYMBOL_GPL(blockslab_realloc);
