/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What blockslab_compat.h calls besides the API. No API itself.
 */
#ifndef _BLOCKSLAB_COMPAT_CALLS_H
#define _BLOCKSLAB_COMPAT_CALLS_H

#include <linux/types.h>

struct blockslab_heap;
struct blockslab_cache;
struct file;
struct inode;

struct blockslab_heap *blockslab_compat_heap_create(const char *name, unsigned long flags);
struct blockslab_cache *blockslab_compat_cache_create(const char *name, size_t size, size_t align,
						      unsigned long flags, void (*ctor)(void *));
unsigned int blockslab_compat_object_size(struct blockslab_cache *cache);
bool blockslab_compat_kernels(const void *ptr);
void blockslab_compat_kfree(const void *ptr);
void blockslab_compat_kvfree(const void *ptr);
void blockslab_compat_kfree_const(const void *ptr);
void blockslab_compat_kfree_sensitive(const void *ptr);
void blockslab_compat_kfree_link(void *link);
int blockslab_compat_seq_release_private(struct inode *inode, struct file *file);

#endif /* _BLOCKSLAB_COMPAT_CALLS_H */
