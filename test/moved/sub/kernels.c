// SPDX-License-Identifier: GPL-2.0
/* Memory of the kernel's own: this file is not moved (see Kbuild). */
#include <linux/slab.h>
#include "../moved.h"

void *others_thing(size_t size)
{
	return kmalloc(size, GFP_KERNEL);
}
