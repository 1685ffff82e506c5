/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What blockslab_compat.h calls besides the API. No API itself.
 */
#ifndef _BLOCKSLAB_COMPAT_CALLS_H
#define _BLOCKSLAB_COMPAT_CALLS_H

#include <linux/types.h>

struct blockslab_heap;
struct blockslab_cache;

struct blockslab_heap *blockslab_compat_heap_create(const char *name);
struct blockslab_cache *blockslab_compat_cache_create(const char *name, size_t size, size_t align,
						      unsigned long flags, void (*ctor)(void *));
unsigned int blockslab_compat_object_size(struct blockslab_cache *cache);

#endif /* _BLOCKSLAB_COMPAT_CALLS_H */
