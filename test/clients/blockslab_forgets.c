// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_forgets: leaves a heap and a slot behind when it is unloaded
 *
 * With late=0 the heap is made by code that is gone once this is loaded, as nearly all are; with
 * late=1 by code that stays.
 */
#include <linux/module.h>

#include "blockslab.h"

static bool late;
module_param(late, bool, 0444);
MODULE_PARM_DESC(late, "The heap is made by code that stays");

static noinline int stays(void)
{
	struct blockslab_heap *heap = blockslab_heap_create("forgotten-late", NULL);

	if (IS_ERR(heap))
		return PTR_ERR(heap);
	return blockslab_alloc(heap, 100, GFP_KERNEL) ? 0 : -ENOMEM;
}

static int __init blockslab_forgets_init(void)
{
	struct blockslab_heap *heap;

	if (late)
		return stays();
	heap = blockslab_heap_create("forgotten", NULL);
	if (IS_ERR(heap))
		return PTR_ERR(heap);
	return blockslab_alloc(heap, 100, GFP_KERNEL) ? 0 : -ENOMEM;
}
module_init(blockslab_forgets_init);

static void __exit blockslab_forgets_exit(void)
{
}
module_exit(blockslab_forgets_exit);

MODULE_DESCRIPTION("A module that forgets its heap; for guests only");
MODULE_LICENSE("GPL");
