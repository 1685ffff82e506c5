// SPDX-License-Identifier: GPL-2.0
/*
 * Quarantine: pages of destroyed heaps, if the parameter quarantine_kib says so
 *
 * Nobody gets them for a while, so that who still has a pointer there meets nobody's data. Under
 * memory pressure they go back. Lock: quarantine_lock.
 */

static LIST_HEAD(quarantine);			/* by page->lru, the oldest first */
static DEFINE_SPINLOCK(quarantine_lock);	/* quarantine and quarantined */

static void quarantine_count(struct page *page, unsigned int order, long sign)
{
	quarantined += sign * (1L << order);
	mod_node_page_state(page_pgdat(page), NR_SLAB_UNRECLAIMABLE_B,
			    sign * (long)(PAGE_SIZE << order));
}

/* Takes out the oldest, if there are more than @most pages; NULL if not. */
static struct page *quarantine_oldest(unsigned long most)
{
	struct page *page = NULL;
	unsigned long irq;

	spin_lock_irqsave(&quarantine_lock, irq);
	/* insmod may be told a number of which there are none */
	if (quarantined > most && !list_empty(&quarantine)) {
		page = list_first_entry(&quarantine, struct page, lru);
		quarantine_count(page, page_private(page), -1);
		list_del_init(&page->lru);
	}
	spin_unlock_irqrestore(&quarantine_lock, irq);
	return page;
}

/* Gives back all but @most pages; how many. */
static unsigned long quarantine_trim(unsigned long most)
{
	unsigned long pages = 0;
	struct page *page;

	while ((page = quarantine_oldest(most))) {
		unsigned int order = page_private(page);

		pages += 1UL << order;
		set_page_private(page, 0);
		__free_pages(page, order);
	}
	return pages;
}

static unsigned int quarantine_kib;

static int quarantine_set(const char *text, const struct kernel_param *param)
{
	int error = param_set_uint(text, param);

	quarantine_trim(READ_ONCE(quarantine_kib) / (PAGE_SIZE / SZ_1K));
	return error;
}

static const struct kernel_param_ops quarantine_ops = {
	.set = quarantine_set,
	.get = param_get_uint,
};

module_param_cb(quarantine_kib, &quarantine_ops, &quarantine_kib, 0644);
MODULE_PARM_DESC(quarantine_kib, "KiB of pages of destroyed heaps that are kept from reuse, the latest ones (default 0)");

static void quarantine_add(struct page *page, unsigned int order)
{
	unsigned long irq;

	memset(page_address(page), POISON_FREE, PAGE_SIZE << order);
	spin_lock_irqsave(&quarantine_lock, irq);
	set_page_private(page, order);
	list_add_tail(&page->lru, &quarantine);
	quarantine_count(page, order, 1);
	spin_unlock_irqrestore(&quarantine_lock, irq);
	quarantine_trim(READ_ONCE(quarantine_kib) / (PAGE_SIZE / SZ_1K));
}

static void pages_put(struct blockslab_heap *heap, struct page *page, unsigned int order)
{
	if (heap_destroyed(heap) && READ_ONCE(quarantine_kib))
		quarantine_add(page, order);
	else
		__free_pages(page, order);
}
