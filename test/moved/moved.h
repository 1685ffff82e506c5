/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MOVED_H
#define _MOVED_H

#include <linux/types.h>

int in_other_file(void);
void other_file_ends(void);
void *others_thing(size_t size);

#endif
