// SPDX-License-Identifier: GPL-2.0
/*
 * Whose memory a pointer points into, and copies to and from user space that end with their slot
 *
 * What the kernel's hardened copies know of its own slabs, they cannot know of slots: a length
 * that somebody outside chose would give out what lies behind. The check looks at a slot that its
 * caller has, so nothing can happen to that meanwhile. It does not see copies by other calls
 * (copy_to_iter(), simple_read_from_buffer()). No locks; RCU keeps the descriptors.
 */

/**
 * blockslab_owns() - whether a pointer points into blockslab's memory
 * @ptr: any value
 *
 * True for every address from the first slot of a block to its end, be it of a slot that is
 * allocated or free, its start or its middle. Only of a slot that the caller has does the answer
 * stay true.
 *
 * Context: any, NMI too.
 * Return: whether it does. Nothing is reported.
 */
bool blockslab_owns(const void *ptr)
{
	bool owns;

	rcu_read_lock();
	owns = block_of(ptr);
	rcu_read_unlock();
	return owns;
}
EXPORT_SYMBOL_GPL(blockslab_owns);

/*
 * Whether so many bytes in a block are one allocated slot's: of those that are usable, or of a
 * cache's window. Slots on their way out after a grace period may still be read.
 */
static bool bytes_in_slot(struct blockslab_block *block, const void *from, size_t bytes)
{
	struct blockslab_heap *heap = block->node->class->heap;
	size_t size = slot_stride(block), offset = from - block->base, room;
	unsigned int number = offset / size;
	const void *slot = block->base + number * size;

	if (number >= block->nr_slots || has_canary(block->node, slot) ||
	    slot_is_free(block, number) || slot_waits(block, number))
		return false;
	room = heap->cache ? heap->window_size : usable_bytes(block, number);
	offset -= number * size + heap->window_start;	/* before that it is huge */
	return offset <= room && bytes <= room - offset;
}

/* Whether memory that begins outside of all blocks ends in one: a page of one ends with slots. */
static bool bytes_reach_slots(const void *from, size_t bytes)
{
	size_t offset;

	for (offset = PAGE_SIZE - 1 - offset_in_page(from); offset < bytes; offset += PAGE_SIZE)
		if (block_of(from + offset))
			return true;
	return block_of(from + bytes - 1);
}

/* Whether a copy may be. Other memory, and more than any copy has, is the kernel's to judge. */
static bool copy_possible(const void *from, size_t bytes, unsigned long caller)
{
	struct blockslab_block *block;
	bool possible;

	if (!bytes || bytes > INT_MAX)
		return true;
	rcu_read_lock();
	block = block_of(from);
	possible = block ? bytes_in_slot(block, from, bytes) : !bytes_reach_slots(from, bytes);
	if (!possible)
		report(PAST_COPY, .slot = from, .block = block, .caller = caller);
	rcu_read_unlock();
	return possible;
}

/**
 * blockslab_copy_to_user() - copy to user space what lies in one slot
 * @to: where in user space
 * @from: in a slot, or in memory that is not blockslab's at all
 * @n: bytes
 *
 * As copy_to_user(), but that bytes of blockslab's memory are copied only where all of them are
 * usable ones of a single slot that is allocated; and where that is a cache's, lie in its window:
 * see blockslab_cache_usercopy(). Else that is reported, and nothing is copied.
 *
 * Context: as copy_to_user(): process; may sleep unless page faults are disabled.
 * Return: bytes that were not copied: 0 when all is well, @n where the copy was refused.
 */
unsigned long blockslab_copy_to_user(void __user *to, const void *from, unsigned long n)
{
	return copy_possible(from, n, _RET_IP_) ? copy_to_user(to, from, n) : n;
}
EXPORT_SYMBOL_GPL(blockslab_copy_to_user);

/**
 * blockslab_copy_from_user() - copy from user space into one slot
 * @to: in a slot, or in memory that is not blockslab's at all
 * @from: where in user space
 * @n: bytes
 *
 * As copy_from_user(), with the check of blockslab_copy_to_user().
 *
 * Context: as copy_from_user(): process; may sleep unless page faults are disabled.
 * Return: bytes that were not copied. Where the copy was refused that is @n, and @to is as it was.
 */
unsigned long blockslab_copy_from_user(void *to, const void __user *from, unsigned long n)
{
	return copy_possible(to, n, _RET_IP_) ? copy_from_user(to, from, n) : n;
}
EXPORT_SYMBOL_GPL(blockslab_copy_from_user);

/**
 * blockslab_cache_usercopy() - say which part of a cache's objects user space may see
 * @cache: of which nothing is allocated yet
 * @offset: of that part, in bytes
 * @size: of it, 0 for none
 *
 * Until this is called, that is all of an object. A part that ends behind it is none, and told.
 *
 * Context: any.
 */
void blockslab_cache_usercopy(struct blockslab_cache *cache, size_t offset, size_t size)
{
	if (size > cache->size || offset > cache->size - size) {
		pr_warn("cache %s: %zu bytes from %zu on are not in its objects of %u: user space may see none\n",
			cache->heap->name, size, offset, cache->size);
		size = 0;
	}
	cache->heap->window_start = size ? offset : 0;
	cache->heap->window_size = size;
}
EXPORT_SYMBOL_GPL(blockslab_cache_usercopy);
