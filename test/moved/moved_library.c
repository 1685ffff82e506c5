// SPDX-License-Identifier: GPL-2.0
/* A module that others call, with neither init nor exit function. */
#include <linux/module.h>
#include "moved.h"

/* Its user frees it. */
struct label *library_label(const char *text)
{
	return label_new(text);
}
EXPORT_SYMBOL_GPL(library_label);

MODULE_DESCRIPTION("Test of blockslab_compat.h: a module without init function");
MODULE_LICENSE("GPL");
