// SPDX-License-Identifier: GPL-2.0
/*
 * Pointer -> block
 */

struct blockslab_span blockslab_span __read_mostly;
EXPORT_SYMBOL_GPL(blockslab_span);
unsigned long blockslab_fast_size __read_mostly = BLOCKSLAB_SLOT_MAX;
EXPORT_SYMBOL_GPL(blockslab_fast_size);

/* NULL where no struct page stands behind the address. */
static struct page *page_of(const void *slot)
{
	unsigned long offset = blockslab_offset(slot);

	if (likely(offset < READ_ONCE(blockslab_span.size)))
		return blockslab_page(offset);
	return virt_addr_valid(slot) ? virt_to_page(slot) : NULL;
}

/* In pages, the address of per-CPU state has the secret added: it is sealed. */
static unsigned long seal(const struct blockslab_cpu __percpu *cpu)
{
	return (__force unsigned long)cpu + blockslab_span.secret;
}

/* What remains of a page's key when the page and the per-CPU state it names are taken away. */
static __always_inline unsigned long page_key(const struct page *page)
{
	return (unsigned long)page->lru.prev - (unsigned long)page - blockslab_sealed(page);
}

static __always_inline void *slot_address(const struct blockslab_block *block, unsigned int size,
					  unsigned int number)
{
	return block->base + (size_t)number * size;
}

/* Longs in each of a block's bitmaps: a bit a slot, and one at least for the tail. */
static unsigned int map_words(unsigned int nr_slots)
{
	return BITS_TO_LONGS(nr_slots + 1);
}

static unsigned long *deferred_map(struct blockslab_block *block)
{
	return block->map + map_words(block->nr_slots);
}

static int node_id(const struct blockslab_node *node)
{
	return node - node->class->nodes;
}

/* A node's part of its class's per-CPU state. */
static struct blockslab_cpu __percpu *node_cpu(const struct blockslab_node *node)
{
	return node->class->cpu + node_id(node);
}

static struct page *first_page(const struct blockslab_block *block)
{
	return virt_to_page(block->base);
}

static bool slot_is_free(const struct blockslab_block *block, unsigned int number)
{
	return test_bit(number, block->map);
}

/*
 * What a free slot holds in one word: the key of its page as it is in the page, so that the fast
 * path has it at hand. Being odd and made of two addresses and a secret of this boot, it is a
 * value that no data holds by accident.
 */
static unsigned long canary_of(const struct blockslab_node *node, const void *slot)
{
	return blockslab_mark(page_of(slot), seal(node_cpu(node)), node->class->key);
}

static bool has_canary(const struct blockslab_node *node, const void *slot)
{
	return *blockslab_word(slot, node->class->canary) == canary_of(node, slot);
}

static void put_canary(const struct blockslab_node *node, const void *slot)
{
	*blockslab_word(slot, node->class->canary) = canary_of(node, slot);
}

/* The block a pointer points into, exactly checked; NULL for a foreign pointer. */
static struct blockslab_block *block_of(const void *slot)
{
	struct page *page = page_of(slot);
	struct blockslab_block *block;
	unsigned long key;

	if (!page)
		return NULL;
	key = page_key(page);
	if (key != BLOCKSLAB_KEY_FAST && key != KEY_CACHE && key != KEY_SLOW)
		return NULL;
	block = blockslab_block_of(page);
	if (slot < block->base || slot >= block->base + block->nr_pages * PAGE_SIZE)
		return NULL;
	return block;
}

static void page_words_set(struct blockslab_block *block, unsigned long key)
{
	struct blockslab_node *node = block->node;
	struct page *page = first_page(block);
	unsigned long sealed = seal(node_cpu(node));
	unsigned int i;

	for (i = 0; i < block->nr_pages; i++, page++) {
		set_page_private(page, (unsigned long)block);
		WRITE_ONCE(page->lru.next, (struct list_head *)sealed);
		WRITE_ONCE(page->lru.prev, (struct list_head *)blockslab_mark(page, sealed, key));
	}
}

static void page_words_clear(struct blockslab_block *block)
{
	struct page *page = first_page(block);
	unsigned int i;

	for (i = 0; i < block->nr_pages; i++, page++) {
		set_page_private(page, 0);
		INIT_LIST_HEAD(&page->lru);
	}
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

/* The first byte that is not @value, even if the memory is nobody's; NULL where all are. */
static const void *first_other(const void *start, u8 value, size_t bytes)
{
	const void *other;

	kasan_disable_current();
	other = memchr_inv(start, value, bytes);
	kasan_enable_current();
	return other;
}

static bool holds_only(const void *start, u8 value, size_t bytes)
{
	return !first_other(start, value, bytes);
}

static void kasan_block(const struct blockslab_block *block, bool live)
{
	size_t bytes = block->nr_pages * PAGE_SIZE;

	kasan_slot(block->base, bytes, live ? bytes : 0);
}
