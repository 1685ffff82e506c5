/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What older kernels lack that suites and clients use, named after the newer kernel's function
 */
#ifndef _BLOCKSLAB_TEST_VERSIONS_H
#define _BLOCKSLAB_TEST_VERSIONS_H

#include <linux/delay.h>
#include <linux/hrtimer.h>

#ifndef USLEEP_RANGE_UPPER_BOUND	/* before 6.13, with which hrtimer_setup() came too */
static void hrtimer_setup(struct hrtimer *timer, enum hrtimer_restart (*function)(struct hrtimer *),
			  clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}
#endif

#endif
