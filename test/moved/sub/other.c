// SPDX-License-Identifier: GPL-2.0
/* No pr_fmt() here; what it allocates lives until the module's exit. */
#include <linux/net.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include "../moved.h"

static struct kmem_cache *cache;
static void *object, *memory;

int in_other_file(void)
{
	pr_info("moved, other file: no prefix\n");
	pr_warn_once("moved, other file: once\n");
	net_dbg_ratelimited("none %d\n", 1);
	cache = kmem_cache_create("moved_other", 40, 0, 0, NULL);
	object = cache ? kmem_cache_alloc(cache, GFP_KERNEL) : NULL;
	memory = kmalloc(200, GFP_KERNEL);
	return object && memory ? 0 : -ENOMEM;
}

void other_file_ends(void)
{
	kfree(memory);
	kmem_cache_free(cache, object);
	kmem_cache_destroy(cache);
}
