// SPDX-License-Identifier: GPL-2.0
/* No pr_fmt() here; what it allocates lives until the module's exit. */
#include <linux/dev_printk.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/net.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include "../moved.h"

void (*const frees_of_other_file[])(const void *memory) = { kfree, kvfree, kfree_sensitive,
							    kfree_const };

static struct kmem_cache *cache;
static void *object, *memory;
static u8 *grown[2];

/* As the module's user asks for it. */
static int grow(const char *text, const struct kernel_param *param)
{
#ifdef alloc_hooks	/* 6.10 and later, of which 6.12 is what matters */
	u8 *more = kvrealloc(grown[0], 6000, GFP_KERNEL);
#else
	u8 *more = kvrealloc(grown[0], 100, 6000, GFP_KERNEL);
#endif

	if (!more)
		return -ENOMEM;
	grown[0] = more;
#ifdef krealloc_node
	more = kvrealloc_node_align(grown[1], 6000, 64, GFP_KERNEL, NUMA_NO_NODE);
	if (!more)
		return -ENOMEM;
	grown[1] = more;
#endif
	return is_filled(grown[0], 0, 100) && is_filled(grown[1], 0, 100) ? 0 : -EINVAL;
}

static const struct kernel_param_ops growing = { .set = grow };

module_param_cb(grow, &growing, NULL, 0200);

int in_other_file(void)
{
	pr_info("moved, other file: no prefix\n");
	pr_warn_once("moved, other file: once\n");
	net_dbg_ratelimited("none %d\n", 1);
	pr_debug_ratelimited("none %d\n", 1);
	dev_dbg_ratelimited(NULL, "none %d\n", 1);
	cache = kmem_cache_create("moved_other", 40, 0, 0, NULL);
	object = cache ? kmem_cache_alloc(cache, GFP_KERNEL) : NULL;
	memory = kmalloc(200, GFP_KERNEL);
	grown[0] = kvzalloc(100, GFP_KERNEL);
	grown[1] = kvzalloc(100, GFP_KERNEL);
	return object && memory && grown[0] && grown[1] ? 0 : -ENOMEM;
}

void other_file_ends(void)
{
	kvfree(grown[0]);
	kvfree(grown[1]);
	kfree(memory);
	kmem_cache_free(cache, object);
	kmem_cache_destroy(cache);
}
