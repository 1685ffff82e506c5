// SPDX-License-Identifier: GPL-2.0
/*
 * What blockslab_compat.h needs besides the API: names, and frees of anybody's memory
 *
 * Modules that were written for kmem_cache_create() name their caches as they like, two of them
 * alike among others. No API: a module that was written for blockslab picks a name that can be.
 * Lock: compat_names, around the choice of a name until it is taken.
 */

static DEFINE_MUTEX(compat_names);

/* What cannot be in a name becomes '_'; what is too long, or taken, ends in a number. */
static void name_fit(char *fit, const char *name, unsigned int number)
{
	char suffix[12] = "";
	size_t i, length;

	if (number > 1)
		snprintf(suffix, sizeof(suffix), ".%u", number);
	length = min(strlen(name), BLOCKSLAB_NAME_MAX - strlen(suffix));
	for (i = 0; i < length; i++)
		fit[i] = name[i] != '/' && isascii(name[i]) && isgraph(name[i]) ? name[i] : '_';
	if (!length || (length <= 2 && !strncmp(name, "..", length)))
		fit[i++] = '_';
	strcpy(fit + i, suffix);
}

/* A free name like @name. */
static void name_find(char *fit, const char *name)
{
	unsigned int number = 1;

	lockdep_assert_held(&compat_names);
	do {
		name_fit(fit, name, number);
	} while (name_taken(fit, false) && number++ < 10000);
}

/* The heap that all of a module's kmalloc() family is served from. */
struct blockslab_heap *blockslab_compat_heap_create(const char *name, unsigned long flags)
{
	struct blockslab_heap_attrs attrs = { .flags = flags };
	char fit[BLOCKSLAB_NAME_MAX + 1];
	struct blockslab_heap *heap;

	mutex_lock(&compat_names);
	name_find(fit, name);
	heap = heap_new(fit, &attrs, NULL, NULL, _RET_IP_);
	mutex_unlock(&compat_names);
	return heap;
}
EXPORT_SYMBOL_GPL(blockslab_compat_heap_create);

/* A cache by a name of any kind. */
struct blockslab_cache *blockslab_compat_cache_create(const char *name, size_t size, size_t align,
						      unsigned long flags, void (*ctor)(void *))
{
	char fit[BLOCKSLAB_NAME_MAX + 1];
	struct blockslab_cache *cache;

	mutex_lock(&compat_names);
	name_find(fit, name);
	cache = cache_create(fit, size, align, flags, ctor, _RET_IP_);
	mutex_unlock(&compat_names);
	return cache;
}
EXPORT_SYMBOL_GPL(blockslab_compat_cache_create);

/* Of an object, as asked for. */
unsigned int blockslab_compat_object_size(struct blockslab_cache *cache)
{
	return cache->size;
}
EXPORT_SYMBOL_GPL(blockslab_compat_object_size);

/*
 * Whether the kernel's kfree() may have what is not blockslab's: a slab's, or whole pages that
 * kmalloc() gave, or what has no page of its own. Of any other page it would put a reference that
 * is somebody else's: so of a slot that is freed twice, when its block went back meanwhile.
 */
static bool kernels_own(const void *ptr, unsigned long caller)
{
	struct page *page = ZERO_OR_NULL_PTR(ptr) ? NULL : page_of(ptr);
	struct folio *folio;

	if (!page || PageReserved(page))
		return true;
	folio = page_folio(page);
	if (folio_test_slab(folio) || (folio_test_large(folio) && folio_address(folio) == ptr))
		return true;
	report(FOREIGN, .slot = ptr, .caller = caller);
	return false;
}

bool blockslab_compat_kernels(const void *ptr)
{
	return kernels_own(ptr, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_compat_kernels);

/*
 * Frees of anybody's memory: what is not blockslab's is the kernel's. Not inline: pointers to them
 * are the same in all files, and may be called after the module's end.
 */
static __always_inline bool compat_free(const void *ptr, unsigned long caller)
{
	if (likely(blockslab_free_try(ptr, ANY_SIZE, true, NULL)))
		return true;
	if (!blockslab_owns(ptr))
		return !kernels_own(ptr, caller);
	free_checked(ptr, ANY_SIZE, NULL, caller);
	return true;
}

void blockslab_compat_kfree(const void *ptr)
{
	if (!compat_free(ptr, _RET_IP_))
		kfree(ptr);
}
EXPORT_SYMBOL_GPL(blockslab_compat_kfree);

void blockslab_compat_kvfree(const void *ptr)
{
	if (!compat_free(ptr, _RET_IP_))
		kvfree(ptr);
}
EXPORT_SYMBOL_GPL(blockslab_compat_kvfree);

void blockslab_compat_kfree_const(const void *ptr)
{
	if (!compat_free(ptr, _RET_IP_))
		kfree_const(ptr);
}
EXPORT_SYMBOL_GPL(blockslab_compat_kfree_const);

void blockslab_compat_kfree_sensitive(const void *ptr)
{
	size_t bytes;

	if (!blockslab_owns(ptr)) {
		if (kernels_own(ptr, _RET_IP_))
			kfree_sensitive(ptr);
		return;
	}
	bytes = usable_size(ptr, _RET_IP_);
	if (!bytes)	/* reported as no slot */
		return;
	memzero_explicit((void *)ptr, bytes);
	compat_free(ptr, _RET_IP_);
}
EXPORT_SYMBOL_GPL(blockslab_compat_kfree_sensitive);

/* What the core's functions of these names do. */
void blockslab_compat_kfree_link(void *link)
{
	blockslab_compat_kfree(link);
}
EXPORT_SYMBOL_GPL(blockslab_compat_kfree_link);

int blockslab_compat_seq_release_private(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;

	blockslab_compat_kfree(seq->private);
	seq->private = NULL;
	return seq_release(inode, file);
}
EXPORT_SYMBOL_GPL(blockslab_compat_seq_release_private);
