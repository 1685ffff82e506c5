// SPDX-License-Identifier: GPL-2.0
/* Memory of the kernel's own: this file is not moved (see Kbuild). The heap comes all the same. */
#define pr_fmt(fmt) KBUILD_MODNAME ", the kernel's: " fmt

#include <linux/module.h>
#include <linux/slab.h>
#include "../moved.h"

void *others_thing(size_t size)
{
	return kmalloc(size, GFP_KERNEL);
}

void others_end(const void *thing)
{
	kfree(thing);
}

static int __init begin(void)
{
	int error = moved_init();

	pr_info("%d\n", error);
	return error;
}

static void __exit end(void)
{
	moved_exit();
}

module_init(begin);
module_exit(end);
