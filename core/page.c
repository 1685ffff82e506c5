// SPDX-License-Identifier: GPL-2.0
/*
 * Pointer -> block: the words and the reference count of a block's struct pages
 *
 * page.h says what the words are. The reference count of a block's pages is far below zero: so
 * get_page() and put_page() balance and free nothing, sendpage_ok() says no, a kfree() of a slot
 * warns and loses that slot alone, and memory that is to go offline is refused at once. When the
 * pages go back, the count must be what it was set to; else somebody holds or has dropped a
 * reference, and the block is kept.
 *
 * What it does not do: it asks for no pages and gives none back. Locks: none. Who looks a pointer
 * up holds rcu_read_lock() for as long as he looks at the block, unless the slot is his own.
 */

struct blockslab_span blockslab_span __read_mostly;
EXPORT_SYMBOL_GPL(blockslab_span);
unsigned long blockslab_fast_size __read_mostly = BLOCKSLAB_SLOT_MAX;
EXPORT_SYMBOL_GPL(blockslab_fast_size);

#define PAGE_REFERENCES	(-(1 << 20))	/* of a block's pages */

/* NULL where no struct page stands behind the address. */
static struct page *page_of(const void *slot)
{
	return virt_addr_valid(slot) ? virt_to_page(slot) : NULL;
}

/* What the key word of a page adds to the rest. */
static unsigned long page_key(const struct page *page)
{
	/* in no order, as in blockslab_words() */
	return (unsigned long)data_race(page->lru.prev) - (unsigned long)page->lru.next -
	       blockslab_key_base(page);
}

/* KEY_SLOW, to which two is added for every slot of the page whose free is deferred, or always. */
static bool key_is_slow(unsigned long key)
{
	return key - KEY_SLOW <= 2 * PAGE_SIZE && !((key - KEY_SLOW) & 1);
}

static __always_inline void *slot_address(const struct blockslab_block *block, unsigned int size,
					  unsigned int number)
{
	return block->base + (size_t)number * size;
}

/* The number of the slot that begins at an address in a block; -1 where none does. */
static long slot_number(const struct blockslab_block *block, const void *slot)
{
	return blockslab_number_at((u32)(slot - block->base), block->recip);
}

/* Longs in each of a block's bitmaps: a bit a slot, and one at least for the tail. */
static unsigned int map_words(unsigned int nr_slots)
{
	return BITS_TO_LONGS(nr_slots + 1);
}

static unsigned long *deferred_map(const struct blockslab_block *block)
{
	return (unsigned long *)block->map + map_words(block->nr_slots);
}

static int node_id(const struct blockslab_node *node)
{
	return node - node->class->nodes;
}

/* A node's part of its class's per-CPU state. */
static struct blockslab_cpu __percpu *node_cpu(const struct blockslab_node *node)
{
	return READ_ONCE(node->class->cpu) + node_id(node);
}

static unsigned int block_order(const struct blockslab_block *block)
{
	return order_base_2(block->nr_pages);
}

/* Its first page; blocks are as aligned as they are large. The first slot may begin behind it. */
static void *block_start(const struct blockslab_block *block)
{
	unsigned long bytes = PAGE_SIZE << block_order(block);

	return (void *)((unsigned long)block->base & ~(bytes - 1));
}

static struct page *first_page(const struct blockslab_block *block)
{
	return virt_to_page(block_start(block));
}

/* Bytes of a class's slots that may be their owners'; 0 for whole pages. */
static unsigned int object_size(const struct blockslab_class *class)
{
	return class->of ? class->of->size : class->size;
}

/* Of whole pages that are watched, there are more before and behind: bytes of these. */
static size_t bytes_around(const struct blockslab_block *block)
{
	return block->notes && !block->node->class->size && block->base != block_start(block) ?
	       2 * PAGE_SIZE : 0;
}

/* Bytes from a slot to where the next may begin. */
static size_t slot_stride(const struct blockslab_block *block)
{
	return block->node->class->size ?:
	       block_start(block) + block->nr_pages * PAGE_SIZE - block->base;
}

static __always_inline bool slot_is_free(const struct blockslab_block *block, unsigned int number)
{
	return test_bit(number, block->map);
}

/* Slots of classes without magazines have no canary: their blocks alone know their state. */
static bool has_canary(const struct blockslab_node *node, const void *slot)
{
	return node->class->key != KEY_SLOW &&
	       blockslab_has_canary(blockslab_word(slot, node->class->canary),
				    blockslab_canary(slot));
}

/* Whose slots no CPU caches: another may be out of memory for them. */
static bool block_reserved(const struct blockslab_block *block)
{
	return data_race(!!block->reserved);	/* a bit beside those of the state */
}

/* Slots come from their owners with it; false where somebody else has freed one meanwhile. */
static bool slot_take(const struct blockslab_node *node, const void *slot)
{
	unsigned long canary = blockslab_canary(slot);

	return xchg(blockslab_word(slot, node->class->canary), canary) != canary;
}

static void put_canary(const struct blockslab_node *node, const void *slot)
{
	*blockslab_word(slot, node->class->canary) = blockslab_canary(slot);
}

/* blockslab_words() of an address; not even virt_addr_valid() is asked where a hole is felt. */
static __always_inline unsigned long words_at(const void *slot, struct page **page,
					      unsigned long *lines, struct blockslab_block **block)
{
	unsigned long offset = blockslab_offset(slot);

	*page = offset < READ_ONCE(blockslab_span.size) ? blockslab_page(offset) : page_of(slot);
	return *page ? blockslab_words(*page, lines, block) : 0;
}

/* The block that a pointer points into; NULL for a foreign one. Under RCU: see page.h. */
static struct blockslab_block *block_of(const void *slot)
{
	struct blockslab_block *block;
	unsigned long lines, key;
	struct page *page;

	key = words_at(slot, &page, &lines, &block);
	if (!key)
		return NULL;
	key -= lines;
	if (key != BLOCKSLAB_KEY_FAST && key != KEY_CACHE && !key_is_slow(key))
		return NULL;
	if (!blockslab_is_block(page, block))
		return NULL;
	if (slot < block->base || slot >= block->base + block->nr_pages * PAGE_SIZE)
		return NULL;
	return block;
}

/* Serves a size that is too small for it: right for all of its slots then, until it goes back. */
static void block_stands_in(struct blockslab_block *block)
{
	WRITE_ONCE(block->sizes, block->size + 1);
}

/* The block of a slot that is the caller's own: it stays. */
static struct blockslab_block *own_block(const void *slot)
{
	return blockslab_block_of(virt_to_page(slot));
}

/*
 * A block's pages are the page allocator's in as large pieces as their number allows, the larger
 * ones first, or one by one, where each is charged by itself: the first page of the piece after
 * that which begins with a page. For loops from 0.
 */
static unsigned int piece_next(const struct blockslab_block *block, unsigned int number)
{
	bool single = block->charged && !is_power_of_2(block->nr_pages);

	return number + (single ? 1 : 1U << ilog2(block->nr_pages - number));
}

/*
 * The page allocator gave the first page with a reference, and each that was split. The count is
 * changed by an add: somebody may hold one for a moment, who takes this for the page that it was
 * before, and puts it when he sees that it is not.
 */
static void page_words_set(struct blockslab_block *block, unsigned long key)
{
	unsigned long lines = (__force unsigned long)node_cpu(block->node);
	bool split = !is_power_of_2(block->nr_pages);
	struct page *page = first_page(block);
	unsigned int i;

	for (i = 0; i < block->nr_pages; i++, page++) {
		page_ref_add(page, PAGE_REFERENCES - (!i || split));
		set_page_private(page, (unsigned long)block);
		smp_wmb();	/* who finds the lines finds the block, where loads do not pass */
		WRITE_ONCE(page->lru.next, (struct list_head *)lines);
		/* who finds the key finds the rest */
		smp_store_release(&page->lru.prev,
				  (struct list_head *)(blockslab_key_base(page) + lines + key));
	}
}

/* The key first: who still finds it finds a block that lives for a grace period. */
static void page_words_clear(struct blockslab_block *block)
{
	struct page *page = first_page(block), *end = page + block->nr_pages;

	for (; page < end; page++) {
		INIT_LIST_HEAD(&page->lru);
		smp_wmb();	/* see above */
		set_page_private(page, 0);
	}
}

/*
 * The free of a slot of this page is deferred, or no longer: as long as any is, the page's key
 * leads all frees to the check. One word says both how many there are and where that leads, so that
 * none is missed, whoever else is at it. Any context.
 */
static __always_inline void page_defer(struct page *page, const struct blockslab_class *class,
				       bool on)
{
	unsigned long *word = (unsigned long *)&page->lru.prev, was = READ_ONCE(*word), will;
	unsigned long rest = blockslab_key_base(page) + (unsigned long)page->lru.next;

	if (class->key == KEY_SLOW)
		return;
	do {
		if (on)
			will = was == rest + class->key ? rest + KEY_SLOW + 2 : was + 2;
		else
			will = was == rest + KEY_SLOW + 2 ? rest + class->key : was - 2;
	} while (!try_cmpxchg(word, &was, will));
}

/* Whether nobody else has a reference on a block's pages, or had one and put it twice. */
static bool page_counts_right(const struct blockslab_block *block)
{
	struct page *page = first_page(block), *end = page + block->nr_pages;

	while (page < end && page_ref_count(page) == PAGE_REFERENCES)
		page++;
	return page == end;
}

/*
 * Makes the pages what the page allocator gave: the first of each piece with one reference. False,
 * and they stay as they are, where somebody else has or had one.
 */
static bool page_counts_restore(struct blockslab_block *block)
{
	struct page *page = first_page(block);
	unsigned int i;

	for (i = 0; i < block->nr_pages; i++)
		if (!page_ref_freeze(page + i, PAGE_REFERENCES))
			break;
	if (likely(i == block->nr_pages)) {
		for (i = 0; i < block->nr_pages; i = piece_next(block, i))
			set_page_count(page + i, 1);
		return true;
	}
	while (i--)
		set_page_count(page + i, PAGE_REFERENCES);
	return false;
}

/* ------------------------------------------------------------------------------------------------
 * KASAN: an access to what is nobody's is reported where it happens
 *
 * KMSAN has its own calls for modules: kmsan_poison_memory() makes what a slot held before no
 * value to its owner. This file itself is not checked (Kbuild), as it looks at free slots.
 */

#ifdef CONFIG_KASAN_GENERIC
/* As in mm/kasan/kasan.h, which modules do not see; nor are its functions exported. */
#define SHADOW_REDZONE	0xfc
#define SHADOW_FREE	0xfb

/* Of a slot's bytes, the first @live may be used from now on. This file itself is not watched. */
static void kasan_slot(const void *slot, size_t bytes, size_t live)
{
	u8 *shadow = kasan_mem_to_shadow(slot);
	size_t whole = live / 8;

	memset(shadow, 0, whole);
	if (live % 8)
		shadow[whole++] = live % 8;
	memset(shadow + whole, live ? SHADOW_REDZONE : SHADOW_FREE, bytes / 8 - whole);
}
#else
static void kasan_slot(const void *slot, size_t bytes, size_t live)
{
}
#endif

/* Whether bytes are all @value; of less than a word that is not said. KASAN sees memcmp(). */
static __always_inline bool all_are(const void *start, u8 value, size_t bytes)
{
	const void *last = start + bytes - sizeof(long);
	unsigned long word = value * (~0UL / 0xff);

	if (bytes < sizeof(long))
		return !bytes;
	for (; start < last; start += sizeof(long))
		if (__builtin_memcmp(start, &word, sizeof(long)))
			return false;
	return !__builtin_memcmp(last, &word, sizeof(long));
}

/* The first byte that is not @value, even if the memory is nobody's; NULL where all are. */
static const void *first_other(const void *start, u8 value, size_t bytes)
{
	const void *other;

	if (likely(all_are(start, value, bytes)))
		return NULL;
	kasan_disable_current();
	other = memchr_inv(start, value, bytes);
	kasan_enable_current();
	return other;
}

static void kasan_block(const struct blockslab_block *block, bool live)
{
	size_t bytes = block->nr_pages * PAGE_SIZE;

	kasan_slot(block_start(block), bytes, live ? bytes : 0);
}
