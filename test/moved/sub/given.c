// SPDX-License-Identifier: GPL-2.0
/* The Makefile gives pr_fmt(). */
#include <linux/net.h>
#include <linux/printk.h>
#include "../moved.h"

static_assert(sizeof(pr_fmt("")) == sizeof("given: "));

void with_given_prefix(void)
{
	pr_info("moved, this file has its prefix from the Makefile\n");
	pr_debug("none %d\n", 1);
	net_dbg_ratelimited("none %d\n", 1);
	pr_debug_ratelimited("none %d\n", 1);
}
