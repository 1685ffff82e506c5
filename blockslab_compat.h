/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Moves a module that was written for kmalloc() and kmem_cache_create() to blockslab, unchanged.
 * One line at the end of its Makefile (and blockslab's Module.symvers in KBUILD_EXTRA_SYMBOLS):
 *
 *	subdir-ccflags-y += -I/path/to/blockslab -include blockslab_compat.h
 *
 * From then on the calls below, made by the module's own code and by inline functions of headers
 * that it includes, are served from a heap that has the module's name. All files of the module
 * share it; it is made before the module's init function runs and destroyed, with a report of what
 * leaks, after its exit function. Caches keep their names as far as those can be a heap's. Memory
 * that others allocated (memdup_user(), a netlink attribute's copy) is told by blockslab_owns() and
 * goes back by the kernel's own call, silently. Function pointers (.free = kfree) come along.
 *
 * What does not work, and is to be found by `tools/port`, or by a report at run time:
 *
 * - A slot that others free: the kernel's kfree() of what this module allocated. Examples:
 *   skb->head, an URB's buffer with URB_FREE_BUFFER, a device's platform_data, what a class's
 *   devnode() returns, a port for serio_register_port(), a fence whose ops have no release(), what
 *   goes to __netpoll_free(), ff->private, a framebuffer for drm_gem_fb_destroy(), the arrays of
 *   a vlan_group, a regmap_bus with free_on_exit; and, with no call to be seen, what inline
 *   functions of headers allocate: gameport_allocate_port(),
 *   rdma_zalloc_drv_obj(), vmcore_alloc_add_range(), in 6.1 tcf_exts_init() and
 *   alloc_apertures(). As often as the core it is another module of the same subsystem, which was
 *   not moved: 9pnet frees what 9p reads directories into; move both. Such a slot is lost, each
 *   time, and the kernel warns once a boot; 6.1 takes a page off SUnreclaim for each. Its
 *   kfree_sensitive(), as in
 *   user_destroy(), warns each time, and the slot keeps its content; 7.3 wipes a page from there
 *   on, other slots with it. (Where the module names who frees, it works: kfree_link() for a
 *   symlink's target, seq_release_private(), dma_fence_free(). So do dma_fence_chain_alloc(),
 *   alloc_ts_config(), genradix_alloc_node(), and build_skb(), which is given a copy.) Build the
 *   file that allocates it without this header's calls: CFLAGS_file.o := -DBLOCKSLAB_COMPAT_OFF;
 *   its kfree() then is for the kernel's memory alone, and a cache that another file made is none
 *   for its kmem_cache_alloc().
 * - A cache that others use, be it exported, or handed to a call or a struct of the core's
 *   (lc_create(), dst_ops.kmem_cachep): its pointer is none of the kernel's.
 * - References of a slot's page that outlive the slot (get_page() on virt_to_page(slot)).
 * - SLAB_ACCOUNT and, for objects of caches, __GFP_ACCOUNT are dropped: blockslab charges pages to
 *   memory cgroups, not objects, and list_lru_add() of an inode or dentry whose page is charged to
 *   a cgroup looks for a list which only SLUB would have made, and oopses.
 * - Copies to and from user space are checked against slots and usercopy windows where they are
 *   copy_to_user() and copy_from_user() of a length that is no constant, as the kernel does it, and
 *   not in copy_to_iter() and the like. Without CONFIG_HARDENED_USERCOPY windows are not looked at,
 *   slots are; hardened_usercopy=off, which modules cannot see, makes no difference.
 * - debugobjects and lockdep are not told of frees: an active timer or a held lock in a slot that
 *   is freed is not reported.
 * - A parameter whose .set allocates what its .free = kfree is to free: the kernel does that after
 *   the heap's end, so a value written at run time is reported as a leak, and then freed. (One that
 *   is given at load comes from the shared heap: the module's own is made later.)
 * - Sheaves (kmem_cache_prefill_sheaf()) do not build. Caches with objects over BLOCKSLAB_SLOT_MAX,
 *   of DMA memory, or aligned to more than a page stay the kernel's, and so does kvmalloc() of
 *   more than BLOCKSLAB_SLOT_MAX bytes.
 * - Where a slot of more than a page is sampled, it is aligned to a page, and not to its size, as
 *   kmalloc()'s and other slots of a power of two are. Slots of other sizes are aligned to what
 *   kmalloc() promises and their own size gives, 100 bytes to 8: SLUB's happen to be to 128, and
 *   never to lie across two pages.
 * - What a file defines before its first #include, for headers that this one has brought by then:
 *   DEBUG, DEFAULT_SYMBOL_NAMESPACE, REALLY_SLOW_IO, fortify_panic(). Define it in the Makefile.
 *   (pr_fmt() works.)
 * - A file without pr_fmt() that names it all the same, or calls pm_pr_dbg(), does not build, and
 *   one that includes <linux/suspend.h> has "PM: " before its lines, until the Makefile has
 *   ccflags-y += -D'pr_fmt(fmt)=fmt'.
 * - init_module() and cleanup_module() may be defined by these names, but a declaration before, or
 *   a call (of cleanup_module() where init fails), does not build.
 * - A module without init function has no heap of its own: it uses blockslab's shared one.
 *
 * What blockslab exports is for modules whose MODULE_LICENSE goes with the GPL; no others build.
 *
 * Types and prototypes of what the module exports are the same, and so are its MODVERSIONS, which
 * genksyms makes of the code without this header.
 */
#ifndef _BLOCKSLAB_COMPAT_H
#define _BLOCKSLAB_COMPAT_H

/* genksyms, too, is to see the module as it was: what it exports keeps its MODVERSIONS. */
#if defined(MODULE) && !defined(BLOCKSLAB_BUILD) && !defined(__ASSEMBLY__) && \
	!defined(__ASSEMBLER__) && !defined(__GENKSYMS__)

/* Given by the Makefile, for all files: it stays. */
#ifdef pr_fmt
#define BLOCKSLAB_COMPAT_FMT_GIVEN
#endif

#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/log2.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/stdarg.h>
#include <linux/string.h>
#include <linux/thread_info.h>
#include <linux/uaccess.h>
#include "blockslab.h"

/* In core/compat.c; no API. */
#include "core/compat.h"

/* One a module: of the weak definitions of its files, the linker keeps one. */
extern struct blockslab_heap *blockslab_compat_heap;
__weak __attribute__((visibility("hidden"))) struct blockslab_heap *blockslab_compat_heap;

/* --- the heap's life -------------------------------------------------------------------------- */

/*
 * Where DMA may not be coherent, kmalloc()'s promise that a buffer shares no cache line is kept.
 * But not by the shared heap, which a module without an init function has, and all before that
 * runs.
 */
#ifdef ARCH_DMA_MINALIGN
#define BLOCKSLAB_COMPAT_HEAP_FLAGS						\
	(ARCH_KMALLOC_MINALIGN / ARCH_DMA_MINALIGN ? 0 : BLOCKSLAB_HWCACHE_ALIGN)
#else
#define BLOCKSLAB_COMPAT_HEAP_FLAGS	0
#endif

static inline int blockslab_compat_begin(const char *name)
{
	struct blockslab_heap *heap;

	heap = blockslab_compat_heap_create(name, BLOCKSLAB_COMPAT_HEAP_FLAGS);
	if (IS_ERR(heap))
		return PTR_ERR(heap);
	blockslab_compat_heap = heap;
	return 0;
}

static inline void blockslab_compat_end(void)
{
	struct blockslab_heap *heap = blockslab_compat_heap;

	blockslab_compat_heap = NULL;
	blockslab_heap_destroy(heap);
}

#undef module_init
#define module_init(initfn)							\
	static inline initcall_t __maybe_unused __inittest(void)		\
	{ return initfn; }							\
	int __init (init_module)(void)						\
	{									\
		int error = blockslab_compat_begin(THIS_MODULE->name);		\
										\
		if (error)							\
			return error;						\
		error = initfn();						\
		if (error < 0)							\
			blockslab_compat_end();					\
		return error;							\
	}									\
	___ADDRESSABLE(init_module, __initdata);

#undef module_exit
#define module_exit(exitfn)							\
	static inline exitcall_t __maybe_unused __exittest(void)		\
	{ return exitfn; }							\
	void __exit (cleanup_module)(void)					\
	{									\
		exitfn();							\
		blockslab_compat_end();						\
	}									\
	___ADDRESSABLE(cleanup_module, __exitdata);

/* Modules that define these two themselves: the definition becomes that of another name. */
#define init_module(...)							\
	blockslab_compat_own_init(__VA_ARGS__);					\
	module_init(blockslab_compat_own_init)					\
	int blockslab_compat_own_init(__VA_ARGS__)
#define cleanup_module(...)							\
	blockslab_compat_own_exit(__VA_ARGS__);					\
	module_exit(blockslab_compat_own_exit)					\
	void blockslab_compat_own_exit(__VA_ARGS__)

/* A file that is left out may be the one whose init function the heap is made before. */
#ifndef BLOCKSLAB_COMPAT_OFF

/* --- what headers allocate and the core frees: the kernel's own ------------------------------- */

/* Inline there; brought before kmalloc() is another. */
#include <linux/dma-fence-chain.h>
#include <linux/generic-radix-tree.h>
#include <linux/textsearch.h>
#if IS_ENABLED(CONFIG_KUNIT)
#include <kunit/resource.h>
#endif

/* In newer kernels a macro. */
#ifdef dma_fence_chain_alloc
static inline struct dma_fence_chain *blockslab_compat_dma_fence_chain_alloc(void)
{
	return dma_fence_chain_alloc();
}
#endif

/* --- kmalloc() and its kin -------------------------------------------------------------------- */

/* Functions where their address may be wanted, and where more is done than to name the heap. */
static __always_inline __alloc_size(1) void *blockslab_compat_kmalloc(size_t size, gfp_t gfp)
{
	return blockslab_alloc(blockslab_compat_heap, size, gfp);
}

static __always_inline __alloc_size(1) void *blockslab_compat_kzalloc(size_t size, gfp_t gfp)
{
	return blockslab_zalloc(blockslab_compat_heap, size, gfp);
}

static __always_inline __alloc_size(1) void *
blockslab_compat_kmalloc_node(size_t size, gfp_t gfp, int node)
{
	if (__builtin_constant_p(node) && node == NUMA_NO_NODE)
		return blockslab_alloc(blockslab_compat_heap, size, gfp);
	return blockslab_alloc_node(blockslab_compat_heap, size, gfp, node);
}

/* Came by 7.3, as kfree_rcu_nolock() did. */
#ifdef kfree_rcu_nolock
static __always_inline void blockslab_compat_kvfree_atomic(const void *ptr)
{
	if (likely(blockslab_owns(ptr)))
		blockslab_free(ptr);
	else if (blockslab_compat_kernels(ptr))
		kvfree_atomic(ptr);
}
#endif

static __always_inline void blockslab_compat_kvfree_sensitive(const void *ptr, size_t size)
{
	if (blockslab_owns(ptr))
		blockslab_free_sensitive(ptr);
	else if (blockslab_compat_kernels(ptr))
		kvfree_sensitive(ptr, size);
}

static __always_inline size_t blockslab_compat_ksize(const void *ptr)
{
	return blockslab_owns(ptr) ? blockslab_usable_size(ptr) : ksize(ptr);
}

/* What the kernel allocated stays the kernel's. */
static __always_inline __realloc_size(2) void * __must_check
blockslab_compat_krealloc(const void *ptr, size_t size, gfp_t gfp)
{
	if (ZERO_OR_NULL_PTR(ptr) || blockslab_owns(ptr))
		return blockslab_realloc(blockslab_compat_heap, ptr, size, gfp);
	return blockslab_compat_kernels(ptr) ? krealloc(ptr, size, gfp) : NULL;
}

/* Beyond a page the kernel would fall back to vmalloc() before it tries hard. */
static __always_inline gfp_t blockslab_compat_try(size_t size, gfp_t gfp)
{
	return size > PAGE_SIZE ? (gfp & ~__GFP_NOFAIL) | __GFP_NOWARN | __GFP_NORETRY : gfp;
}

static __always_inline __alloc_size(1) void *
blockslab_compat_kvmalloc_node(size_t size, gfp_t gfp, int node)
{
	void *slot;

	if (size <= BLOCKSLAB_SLOT_MAX) {
		slot = blockslab_compat_kmalloc_node(size, blockslab_compat_try(size, gfp), node);
		if (slot || size <= PAGE_SIZE)
			return slot;
	}
	return kvmalloc_node(size, gfp, node);
}

/* A slot's content, if it is one, moves to other memory of so many bytes, if there is any. */
static inline void *blockslab_compat_move(const void *ptr, void *moved, size_t size)
{
	size_t old = blockslab_owns(ptr) ? blockslab_usable_size(ptr) : 0;

	if (moved && old) {
		OPTIMIZER_HIDE_VAR(ptr);	/* all of the slot, not what was asked for */
		memcpy(moved, ptr, min(old, size));
		blockslab_free(ptr);
	} else if (blockslab_owns(ptr)) {	/* no slot of anybody's, as was reported */
		kvfree(moved);
		return NULL;
	}
	return moved;
}

/* A slot that grows past BLOCKSLAB_SLOT_MAX, or has no room, moves to the kernel's memory. */
static inline void *blockslab_compat_kvresize(const void *ptr, size_t size, gfp_t gfp)
{
	void *slot;

	if (size <= BLOCKSLAB_SLOT_MAX) {
		slot = blockslab_realloc(blockslab_compat_heap, ptr, size,
					 blockslab_compat_try(size, gfp));
		if (slot || size <= PAGE_SIZE)
			return slot;
	}
	return blockslab_compat_move(ptr, kvmalloc(size, gfp), size);
}

/* 6.12 took the old size out of the arguments, and made kmem_cache_create() a macro. */
#ifdef kmem_cache_create
static __always_inline __realloc_size(2) void *
blockslab_compat_kvrealloc(const void *ptr, size_t size, gfp_t gfp)
{
	if (ZERO_OR_NULL_PTR(ptr) || blockslab_owns(ptr))
		return blockslab_compat_kvresize(ptr, size, gfp);
	return blockslab_compat_kernels(ptr) ? kvrealloc(ptr, size, gfp) : NULL;
}
#else
static __always_inline __realloc_size(3) void *
blockslab_compat_kvrealloc(const void *ptr, size_t old, size_t size, gfp_t gfp)
{
	void *grown;

	if (old >= size)
		return (void *)ptr;
	if (!ZERO_OR_NULL_PTR(ptr) && !blockslab_owns(ptr))
		return blockslab_compat_kernels(ptr) ? kvrealloc(ptr, old, size, gfp) : NULL;
	grown = blockslab_compat_kvresize(ptr, size, gfp);
	if (grown && gfp & __GFP_ZERO)		/* behind what was asked for, it is anything */
		memset(grown + old, 0, size - old);
	return grown;
}
#endif

/* Newer kernels have a few more: with an alignment, and for any context. */
#ifdef krealloc_node
/*
 * A size whose slot has the alignment: that of a class is a multiple of all powers of two that the
 * sizes it serves are multiples of, up to a page. Beyond, it is the kernel's.
 */
static __always_inline size_t blockslab_compat_aligned(size_t size, size_t align)
{
	if (!size || align <= ARCH_KMALLOC_MINALIGN)
		return size;
	if (align > PAGE_SIZE)
		return max3(size, align, (size_t)BLOCKSLAB_SLOT_MAX + 1);
	return size <= BLOCKSLAB_SLOT_MAX ? ALIGN(size, align) : size;
}

static inline __alloc_size(1) void *
blockslab_compat_kvmalloc_node_align(size_t size, size_t align, gfp_t gfp, int node)
{
	size_t room = blockslab_compat_aligned(size, align);

	if (room > BLOCKSLAB_SLOT_MAX)
		return kvmalloc_node_align(size, align, gfp, node);
	return blockslab_compat_kvmalloc_node(room, gfp, node);
}

/* What has the alignment may stay where it is. */
static inline __realloc_size(2) void * __must_check
blockslab_compat_krealloc_node_align(const void *ptr, size_t size, size_t align, gfp_t gfp,
				     int node)
{
	size_t room = blockslab_compat_aligned(size, align);

	if (!ZERO_OR_NULL_PTR(ptr) && !blockslab_owns(ptr))
		return blockslab_compat_kernels(ptr) ?
		       krealloc_node_align(ptr, size, align, gfp, node) : NULL;
	if (align > PAGE_SIZE)		/* what is watched begins at any page */
		return blockslab_compat_move(ptr, krealloc_node_align(NULL, size, align, gfp, node),
					     size);
	if (ZERO_OR_NULL_PTR(ptr) || IS_ALIGNED((unsigned long)ptr, align))
		return blockslab_realloc(blockslab_compat_heap, ptr, room, gfp);
	return blockslab_compat_move(ptr, blockslab_compat_kmalloc_node(room, gfp, node), size);
}

static inline __realloc_size(2) void * __must_check
blockslab_compat_kvrealloc_node_align(const void *ptr, size_t size, size_t align, gfp_t gfp,
				      int node)
{
	size_t room = blockslab_compat_aligned(size, align);
	void *slot;

	if (!ZERO_OR_NULL_PTR(ptr) && !blockslab_owns(ptr))
		return blockslab_compat_kernels(ptr) ?
		       kvrealloc_node_align(ptr, size, align, gfp, node) : NULL;
	if (room <= BLOCKSLAB_SLOT_MAX) {
		slot = blockslab_compat_krealloc_node_align(ptr, size, align,
							    blockslab_compat_try(room, gfp), node);
		if (slot || room <= PAGE_SIZE)
			return slot;
	}
	return blockslab_compat_move(ptr, kvmalloc_node_align(size, align, gfp, node), size);
}

static __always_inline __alloc_size(1) void *
blockslab_compat_kmalloc_nolock(size_t size, gfp_t gfp, int node)
{
	void *slot = blockslab_alloc_nolock(blockslab_compat_heap, size);

	return slot && gfp & __GFP_ZERO ? memset(slot, 0, size) : slot;
}

static __always_inline void blockslab_compat_kfree_nolock(const void *ptr)
{
	if (blockslab_owns(ptr))
		blockslab_free_nolock(ptr);
	else if (blockslab_compat_kernels(ptr))
		kfree_nolock(ptr);
}
#endif

/* --- copies of memory and strings ------------------------------------------------------------- */

static __always_inline __realloc_size(2) void *
blockslab_compat_kvmemdup(const void *src, size_t len, gfp_t gfp)
{
	void *copy = blockslab_compat_kvmalloc_node(len, gfp, NUMA_NO_NODE);

	return copy ? memcpy(copy, src, len) : NULL;
}

/* GCC sees no NULL of it, as of the kernel's: where it does, -Wformat-overflow tells "%s". */
static __always_inline char *
blockslab_compat_kmemdup_nul(const char *s, size_t len, gfp_t gfp)
{
	char *copy = s ? blockslab_alloc(blockslab_compat_heap, len + 1, gfp) : NULL;

	if (copy) {
		memcpy(copy, s, len);
		copy[len] = '\0';
	}
	OPTIMIZER_HIDE_VAR(copy);
	return copy;
}

static __always_inline char *blockslab_compat_kstrdup(const char *s, gfp_t gfp)
{
	OPTIMIZER_HIDE_VAR(s);	/* FORTIFY would stop at the end of what it is of, as of name[1] */
	return blockslab_compat_kmemdup_nul(s, s ? strlen(s) : 0, gfp);
}

static __always_inline char *blockslab_compat_kstrndup(const char *s, size_t max, gfp_t gfp)
{
	OPTIMIZER_HIDE_VAR(s);	/* the same */
	return blockslab_compat_kmemdup_nul(s, s ? strnlen(s, max) : 0, gfp);
}

static __printf(2, 0) __maybe_unused char *
blockslab_compat_kvasprintf(gfp_t gfp, const char *fmt, va_list args)
{
	va_list again;
	char *text;
	int length;

	va_copy(again, args);
	length = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	text = blockslab_alloc(blockslab_compat_heap, length + 1, gfp);
	if (text)
		vsnprintf(text, length + 1, fmt, args);
	return text;
}

static __printf(2, 3) __maybe_unused char *
blockslab_compat_kasprintf(gfp_t gfp, const char *fmt, ...)
{
	va_list args;
	char *text;

	va_start(args, fmt);
	text = blockslab_compat_kvasprintf(gfp, fmt, args);
	va_end(args);
	return text;
}

/* --- copies to and from user space ------------------------------------------------------------ */

/* What the kernel allows goes on: it looks at no object where the length is a constant. */
static __always_inline unsigned long __must_check
blockslab_compat_copy_to_user(void __user *to, const void *from, unsigned long n)
{
	if (__builtin_constant_p(n))
		return copy_to_user(to, from, n);
	return check_copy_size(from, n, true) ? blockslab_copy_to_user(to, from, n) : n;
}

static __always_inline unsigned long __must_check
blockslab_compat_copy_from_user(void *to, const void __user *from, unsigned long n)
{
	if (__builtin_constant_p(n))
		return copy_from_user(to, from, n);
	return check_copy_size(to, n, false) ? blockslab_copy_from_user(to, from, n) : n;
}

/* --- caches ----------------------------------------------------------------------------------- */

/*
 * A cache of blockslab's goes by the kernel's type, which nobody looks into, with bit 0 set: so
 * one of the kernel's own (names_cachep, behind __getname()) is told from it.
 */
#define BLOCKSLAB_COMPAT_TAG	1UL

static __always_inline bool blockslab_compat_is_ours(const struct kmem_cache *cache)
{
	return likely((unsigned long)cache & BLOCKSLAB_COMPAT_TAG);
}

static __always_inline struct blockslab_cache *blockslab_compat_cache(struct kmem_cache *cache)
{
	return (struct blockslab_cache *)((unsigned long)cache & ~BLOCKSLAB_COMPAT_TAG);
}

static inline unsigned long blockslab_compat_flags(slab_flags_t flags)
{
	return (flags & SLAB_RECLAIM_ACCOUNT ? BLOCKSLAB_RECLAIMABLE : 0) |
	       (flags & SLAB_HWCACHE_ALIGN ? BLOCKSLAB_HWCACHE_ALIGN : 0) |
	       (flags & SLAB_TYPESAFE_BY_RCU ? BLOCKSLAB_TYPESAFE_BY_RCU : 0) |
	       (flags & SLAB_POISON ? BLOCKSLAB_POISON : 0) |
	       (flags & SLAB_RED_ZONE ? BLOCKSLAB_RED_ZONE : 0) |
	       (flags & SLAB_STORE_USER ? BLOCKSLAB_TRACK : 0) |
	       (flags & SLAB_PANIC ? BLOCKSLAB_PANIC : 0);
}

static __always_inline struct kmem_cache *
blockslab_compat_create_usercopy(const char *name, unsigned int size, unsigned int align,
				 slab_flags_t flags, unsigned int useroffset,
				 unsigned int usersize, void (*ctor)(void *))
{
	struct blockslab_cache *cache;

	if (!name)
		return NULL;
	/* Of small objects, two or more are to share a line, as in the kernel's caches. */
	if (flags & SLAB_HWCACHE_ALIGN && size && size <= SMP_CACHE_BYTES / 2) {
		align = max_t(unsigned int, align, roundup_pow_of_two(size));
		flags &= ~SLAB_HWCACHE_ALIGN;
	}
	/* With a canary, if they keep their content, and a red zone. */
	if (ALIGN((size_t)size + 16, max_t(size_t, align, SMP_CACHE_BYTES)) > BLOCKSLAB_SLOT_MAX ||
	    (align & (align - 1)) || align > PAGE_SIZE ||
	    flags & (SLAB_CACHE_DMA | SLAB_CACHE_DMA32))
		return kmem_cache_create_usercopy(name, size, align, flags, useroffset, usersize,
						  ctor);
	cache = blockslab_compat_cache_create(name, size, align, blockslab_compat_flags(flags),
					      ctor);
	if (IS_ERR(cache))
		return NULL;
	if (IS_ENABLED(CONFIG_HARDENED_USERCOPY))	/* else nobody minds windows */
		blockslab_cache_usercopy(cache, useroffset, usersize);
	return (struct kmem_cache *)((unsigned long)cache | BLOCKSLAB_COMPAT_TAG);
}

static __always_inline struct kmem_cache *
blockslab_compat_create(const char *name, unsigned int size, unsigned int align,
			slab_flags_t flags, void (*ctor)(void *))
{
	return blockslab_compat_create_usercopy(name, size, align, flags, 0, 0, ctor);
}

#ifdef kmem_cache_create	/* 6.12, as what follows */
static __always_inline struct kmem_cache *
blockslab_compat_create_args(const char *name, unsigned int size, struct kmem_cache_args *args,
			     slab_flags_t flags)
{
	const struct kmem_cache_args none = {};
	const struct kmem_cache_args *given = args ?: &none;

	return blockslab_compat_create_usercopy(name, size, given->align, flags,
						given->useroffset, given->usersize, given->ctor);
}

/* Uncharged, as said above. */
static inline bool blockslab_compat_charge(void *object, gfp_t gfp)
{
	return blockslab_owns(object) || kmem_cache_charge(object, gfp);
}
#endif

static inline void blockslab_compat_destroy(struct kmem_cache *cache)
{
	if (blockslab_compat_is_ours(cache))
		blockslab_cache_destroy(blockslab_compat_cache(cache));
	else
		kmem_cache_destroy(cache);
}

static inline int blockslab_compat_shrink(struct kmem_cache *cache)
{
	if (!blockslab_compat_is_ours(cache))
		return kmem_cache_shrink(cache);
	blockslab_shrink(blockslab_cache_heap(blockslab_compat_cache(cache)));
	return 0;
}

static __always_inline __malloc void *
blockslab_compat_cache_alloc(struct kmem_cache *cache, gfp_t gfp)
{
	if (blockslab_compat_is_ours(cache))
		return blockslab_cache_alloc(blockslab_compat_cache(cache), gfp & ~__GFP_ACCOUNT);
	return kmem_cache_alloc(cache, gfp);
}

static __always_inline __malloc void *
blockslab_compat_cache_zalloc(struct kmem_cache *cache, gfp_t gfp)
{
	return blockslab_compat_cache_alloc(cache, gfp | __GFP_ZERO);
}

static __always_inline __malloc void *
blockslab_compat_cache_alloc_node(struct kmem_cache *cache, gfp_t gfp, int node)
{
	if (blockslab_compat_is_ours(cache))
		return blockslab_cache_alloc_node(blockslab_compat_cache(cache),
						  gfp & ~__GFP_ACCOUNT, node);
	return kmem_cache_alloc_node(cache, gfp, node);
}

static __always_inline __malloc void *
blockslab_compat_cache_alloc_lru(struct kmem_cache *cache, struct list_lru *lru, gfp_t gfp)
{
	if (blockslab_compat_is_ours(cache))
		return blockslab_cache_alloc(blockslab_compat_cache(cache), gfp & ~__GFP_ACCOUNT);
	return kmem_cache_alloc_lru(cache, lru, gfp);
}

static __always_inline void blockslab_compat_cache_free(struct kmem_cache *cache, void *object)
{
	if (blockslab_compat_is_ours(cache))
		blockslab_cache_free(blockslab_compat_cache(cache), object);
	else
		kmem_cache_free(cache, object);
}

/* The number of objects, or 0. */
static __always_inline int
blockslab_compat_cache_alloc_bulk(struct kmem_cache *cache, gfp_t gfp, size_t nr, void **objects)
{
	if (!blockslab_compat_is_ours(cache))
		return kmem_cache_alloc_bulk(cache, gfp, nr, objects);
	return blockslab_cache_alloc_bulk(blockslab_compat_cache(cache), gfp & ~__GFP_ACCOUNT, nr,
					  objects);
}

/* Without a cache, as kfree_bulk() does it: any memory. */
static __always_inline void
blockslab_compat_cache_free_bulk(struct kmem_cache *cache, size_t nr, void **objects)
{
	size_t i;

	if (!cache)
		for (i = 0; i < nr; i++)
			blockslab_compat_kfree(objects[i]);
	else if (blockslab_compat_is_ours(cache))
		blockslab_cache_free_bulk(blockslab_compat_cache(cache), nr, objects);
	else
		kmem_cache_free_bulk(cache, nr, objects);
}

static __always_inline void blockslab_compat_kfree_bulk(size_t nr, void **objects)
{
	blockslab_compat_cache_free_bulk(NULL, nr, objects);
}

static inline unsigned int blockslab_compat_cache_size(struct kmem_cache *cache)
{
	if (blockslab_compat_is_ours(cache))
		return blockslab_compat_object_size(blockslab_compat_cache(cache));
	return kmem_cache_size(cache);
}

/* --- memory pools ----------------------------------------------------------------------------- */

static __maybe_unused void *blockslab_compat_pool_alloc_slab(gfp_t gfp, void *cache)
{
	return blockslab_compat_cache_alloc(cache, gfp);
}

static __maybe_unused void blockslab_compat_pool_free_slab(void *object, void *cache)
{
	blockslab_compat_cache_free(cache, object);
}

static __maybe_unused void *blockslab_compat_pool_kmalloc(gfp_t gfp, void *size)
{
	return blockslab_compat_kmalloc((size_t)size, gfp);
}

static __maybe_unused void blockslab_compat_pool_kfree(void *slot, void *size)
{
	blockslab_compat_kfree(slot);
}

/* --- kfree() and kfree_rcu() by other names --------------------------------------------------- */

static __maybe_unused void blockslab_compat_bitmap_free(const unsigned long *bitmap)
{
	blockslab_compat_kfree(bitmap);
}

/* Where a fence's .release ends. */
static __maybe_unused void blockslab_compat_dma_fence_free(struct dma_fence *fence)
{
	if (blockslab_owns(fence))
		blockslab_free_rcu(fence);
	else
		dma_fence_free(fence);
}

/* --- packets ---------------------------------------------------------------------------------- */

/* <linux/skbuff.h> is for those that have packets. */
struct sk_buff *build_skb(void *data, unsigned int frag_size);
struct sk_buff *build_skb_around(struct sk_buff *skb, void *data, unsigned int frag_size);
struct sk_buff *napi_build_skb(void *data, unsigned int frag_size);

/* Newer kernels have a call of its own for what kmalloc() gave. */
#ifdef kmem_cache_create
struct sk_buff *slab_build_skb(void *data);
#define blockslab_compat_kernels_build(data)	slab_build_skb(data)
#else
#define blockslab_compat_kernels_build(data)	build_skb(data, 0)
#endif

/*
 * The network looks at the ksize() of what a packet is built on, and frees it by kfree(): so it
 * gets a copy, and the slot is freed after a grace period: until then its caller may read what it
 * built on, but not change the packet there. Without memory for a copy the slot stays, and there is
 * no packet. What has a frag_size ends by put_page(), which is right for the pages of slots, too,
 * where get_page() was called for it.
 */
static inline struct sk_buff *blockslab_compat_build(struct sk_buff *around, void *slot)
{
	size_t size = blockslab_usable_size(slot);
	struct sk_buff *skb;
	void *head;

	OPTIMIZER_HIDE_VAR(slot);	/* all of it, not what was asked for */
	head = size ? kmemdup(slot, size, GFP_ATOMIC | __GFP_NOWARN) : NULL;
	if (!head)
		return NULL;
	skb = around ? build_skb_around(around, head, 0) : blockslab_compat_kernels_build(head);
	if (skb)
		blockslab_free_rcu(slot);
	else
		kfree(head);
	return skb;
}

static inline struct sk_buff *blockslab_compat_build_skb(void *data, unsigned int frag_size)
{
	if (!frag_size && blockslab_owns(data))
		return blockslab_compat_build(NULL, data);
	return build_skb(data, frag_size);
}

static inline struct sk_buff *
blockslab_compat_build_skb_around(struct sk_buff *skb, void *data, unsigned int frag_size)
{
	if (skb && !frag_size && blockslab_owns(data))
		return blockslab_compat_build(skb, data);
	return build_skb_around(skb, data, frag_size);
}

static inline struct sk_buff *blockslab_compat_napi_build_skb(void *data, unsigned int frag_size)
{
	if (!frag_size && blockslab_owns(data))
		return blockslab_compat_build(NULL, data);
	return napi_build_skb(data, frag_size);
}

#ifdef kmem_cache_create
static inline struct sk_buff *blockslab_compat_slab_build_skb(void *data)
{
	return blockslab_owns(data) ? blockslab_compat_build(NULL, data) : slab_build_skb(data);
}
#endif

/* --- the names: from here on, what they meant is out of reach --------------------------------- */

/* An array whose size is too much for a size_t is refused without a word. */
#define blockslab_compat_array(n, size, call) ({				\
	size_t blockslab_bytes__;						\
										\
	check_mul_overflow((size_t)(n), (size_t)(size), &blockslab_bytes__) ?	\
		NULL : call;							\
})

#undef kmalloc
#define kmalloc			blockslab_compat_kmalloc
#undef kzalloc
#define kzalloc			blockslab_compat_kzalloc
#undef kmalloc_node
#define kmalloc_node		blockslab_compat_kmalloc_node
#undef kzalloc_node
#define kzalloc_node(size, gfp, node)	kmalloc_node(size, (gfp) | __GFP_ZERO, node)
#undef kmalloc_array
#define kmalloc_array(n, size, gfp)	blockslab_alloc_array(blockslab_compat_heap, n, size, gfp)
#undef kcalloc
#define kcalloc(n, size, gfp)	blockslab_zalloc_array(blockslab_compat_heap, n, size, gfp)
#undef kmalloc_array_node
#define kmalloc_array_node(n, size, gfp, node) \
	blockslab_compat_array(n, size, kmalloc_node(blockslab_bytes__, gfp, node))
#undef kcalloc_node
#define kcalloc_node(n, size, gfp, node) \
	blockslab_compat_array(n, size, kzalloc_node(blockslab_bytes__, gfp, node))
#undef __kmalloc
#define __kmalloc		kmalloc
#undef __kmalloc_node
#define __kmalloc_node		kmalloc_node
#undef kmalloc_track_caller
#define kmalloc_track_caller	kmalloc
#undef kmalloc_node_track_caller
#define kmalloc_node_track_caller	kmalloc_node
#undef krealloc
#define krealloc		blockslab_compat_krealloc
#undef krealloc_array
#define krealloc_array(ptr, n, size, gfp) \
	blockslab_compat_array(n, size, krealloc(ptr, blockslab_bytes__, gfp))
#define kfree			blockslab_compat_kfree
#define kfree_const		blockslab_compat_kfree_const
#define kfree_sensitive		blockslab_compat_kfree_sensitive
#define ksize			blockslab_compat_ksize
#define kmalloc_size_roundup	blockslab_size_roundup
/* What the core calls for a module, and what would kfree() what that allocated. */
#define bitmap_free		blockslab_compat_bitmap_free
#define dma_fence_free		blockslab_compat_dma_fence_free
#define kfree_link		blockslab_compat_kfree_link
#define seq_release_private	blockslab_compat_seq_release_private
#define build_skb		blockslab_compat_build_skb
#define build_skb_around	blockslab_compat_build_skb_around
#define napi_build_skb		blockslab_compat_napi_build_skb

#undef kvmalloc_node
#define kvmalloc_node		blockslab_compat_kvmalloc_node
#undef kvmalloc
#define kvmalloc(size, gfp)	kvmalloc_node(size, gfp, NUMA_NO_NODE)
#undef kvzalloc
#define kvzalloc(size, gfp)	kvmalloc(size, (gfp) | __GFP_ZERO)
#undef kvzalloc_node
#define kvzalloc_node(size, gfp, node)	kvmalloc_node(size, (gfp) | __GFP_ZERO, node)
#undef kvmalloc_array
#define kvmalloc_array(n, size, gfp) \
	blockslab_compat_array(n, size, kvmalloc(blockslab_bytes__, gfp))
#undef kvcalloc
#define kvcalloc(n, size, gfp) \
	blockslab_compat_array(n, size, kvzalloc(blockslab_bytes__, gfp))
#ifdef kvcalloc_node
#undef kvcalloc_node
#define kvcalloc_node(n, size, gfp, node) \
	blockslab_compat_array(n, size, kvzalloc_node(blockslab_bytes__, gfp, node))
#endif
#undef kvrealloc
#define kvrealloc		blockslab_compat_kvrealloc
#define kvfree			blockslab_compat_kvfree
#define kvfree_sensitive	blockslab_compat_kvfree_sensitive

#undef kmemdup
#define kmemdup(src, len, gfp)	blockslab_memdup(blockslab_compat_heap, src, len, gfp)
#define kmemdup_nul		blockslab_compat_kmemdup_nul
#define kstrdup			blockslab_compat_kstrdup
#define kstrndup		blockslab_compat_kstrndup
#define kasprintf		blockslab_compat_kasprintf
#define kvasprintf		blockslab_compat_kvasprintf

#undef copy_to_user
#define copy_to_user		blockslab_compat_copy_to_user
#undef copy_from_user
#define copy_from_user		blockslab_compat_copy_from_user

/* 6.12, and what came by then: of an older kernel a module may have such of its own. */
#ifdef kmem_cache_create
#define kmemdup_array(src, n, size, gfp) \
	blockslab_compat_array(n, size, kmemdup(src, blockslab_bytes__, gfp))
#define kvmemdup		blockslab_compat_kvmemdup
#define slab_build_skb		blockslab_compat_slab_build_skb
#define kmem_cache_charge	blockslab_compat_charge
#undef kmem_cache_create
#define kmem_cache_create(name, size, args, ...)				\
	_Generic((args),							\
		 struct kmem_cache_args *: blockslab_compat_create_args,	\
		 void *: blockslab_compat_create_args,	/* NULL */		\
		 default: blockslab_compat_create)(name, size, args, __VA_ARGS__)
#define __kmem_cache_create_args	blockslab_compat_create_args
#else
#define kmem_cache_create		blockslab_compat_create
#endif
#define kmem_cache_create_usercopy	blockslab_compat_create_usercopy
#define kmem_cache_destroy		blockslab_compat_destroy
#define kmem_cache_shrink		blockslab_compat_shrink
#define kmem_cache_size			blockslab_compat_cache_size
#undef kmem_cache_alloc
#define kmem_cache_alloc		blockslab_compat_cache_alloc
#undef kmem_cache_zalloc
#define kmem_cache_zalloc		blockslab_compat_cache_zalloc
#undef kmem_cache_alloc_node
#define kmem_cache_alloc_node		blockslab_compat_cache_alloc_node
#undef kmem_cache_alloc_lru
#define kmem_cache_alloc_lru		blockslab_compat_cache_alloc_lru
/* Inline in a header that is included above. */
#undef alloc_inode_sb
#define alloc_inode_sb(sb, cache, gfp)	kmem_cache_alloc_lru(cache, &(sb)->s_inode_lru, gfp)
#undef kmem_cache_alloc_bulk
#define kmem_cache_alloc_bulk		blockslab_compat_cache_alloc_bulk
#define kmem_cache_free			blockslab_compat_cache_free
#define kmem_cache_free_bulk		blockslab_compat_cache_free_bulk
#define kfree_bulk			blockslab_compat_kfree_bulk
#define kmem_cache_prefill_sheaf	blockslab_has_no_sheaves

#define mempool_alloc_slab		blockslab_compat_pool_alloc_slab
#define mempool_free_slab		blockslab_compat_pool_free_slab
#define mempool_kmalloc			blockslab_compat_pool_kmalloc
#define mempool_kfree			blockslab_compat_pool_kfree
#undef mempool_init_slab_pool
#define mempool_init_slab_pool(pool, nr, cache)					\
	mempool_init(pool, nr, mempool_alloc_slab, mempool_free_slab, (void *)(cache))
#undef mempool_create_slab_pool
#define mempool_create_slab_pool(nr, cache)					\
	mempool_create(nr, mempool_alloc_slab, mempool_free_slab, (void *)(cache))
#undef mempool_init_kmalloc_pool
#define mempool_init_kmalloc_pool(pool, nr, size)				\
	mempool_init(pool, nr, mempool_kmalloc, mempool_kfree, (void *)(size_t)(size))
#undef mempool_create_kmalloc_pool
#define mempool_create_kmalloc_pool(nr, size)					\
	mempool_create(nr, mempool_kmalloc, mempool_kfree, (void *)(size_t)(size))

/* A slot needs no room for the head; whoever has one, and other memory, gives it. */
#define blockslab_compat_rcu(ptr, kernels, ...) do {				\
	typeof(ptr) blockslab_ptr__ = (ptr);					\
										\
	if (blockslab_owns(blockslab_ptr__))					\
		blockslab_free_rcu(blockslab_ptr__);				\
	else if (blockslab_compat_kernels(blockslab_ptr__))			\
		kernels(blockslab_ptr__, ##__VA_ARGS__);			\
} while (0)
#define blockslab_compat_rcu_1(ptr)		blockslab_compat_rcu(ptr, kvfree_rcu_arg_1)
#define blockslab_compat_rcu_2(ptr, head)	blockslab_compat_rcu(ptr, kvfree_rcu_arg_2, head)
#define blockslab_compat_rcu_pick(one, two, name, ...)	name
#undef kvfree_rcu
#define kvfree_rcu(...)								\
	blockslab_compat_rcu_pick(__VA_ARGS__, blockslab_compat_rcu_2,		\
				  blockslab_compat_rcu_1)(__VA_ARGS__)
#undef kfree_rcu
#define kfree_rcu(...)			kvfree_rcu(__VA_ARGS__)
#ifdef kfree_rcu_mightsleep
#undef kvfree_rcu_mightsleep
#define kvfree_rcu_mightsleep(ptr)	blockslab_compat_rcu_1(ptr)
#undef kfree_rcu_mightsleep
#define kfree_rcu_mightsleep(ptr)	blockslab_compat_rcu_1(ptr)
#endif

#ifdef dma_fence_chain_alloc
#undef dma_fence_chain_alloc
#define dma_fence_chain_alloc	blockslab_compat_dma_fence_chain_alloc
#endif

/* What a module's own alloc_hooks() are around, where the memory has to be of one heap or cache. */
#ifdef alloc_hooks	/* 6.10 */
#undef krealloc_noprof
#define krealloc_noprof			krealloc
#undef krealloc_array_noprof
#define krealloc_array_noprof		krealloc_array
#undef kvrealloc_noprof
#define kvrealloc_noprof		kvrealloc
#define krealloc_node_align_noprof	krealloc_node_align
#define kvrealloc_node_align_noprof	kvrealloc_node_align
#define kmem_cache_alloc_noprof		kmem_cache_alloc
#define kmem_cache_alloc_node_noprof	kmem_cache_alloc_node
#define kmem_cache_alloc_lru_noprof	kmem_cache_alloc_lru
#define kmem_cache_alloc_bulk_noprof	kmem_cache_alloc_bulk
#endif
#ifdef krealloc_node
#undef krealloc_node
#define krealloc_node(ptr, size, gfp, node)	krealloc(ptr, size, gfp)
#undef krealloc_node_align
#define krealloc_node_align	blockslab_compat_krealloc_node_align
#undef kvmalloc_node_align
#define kvmalloc_node_align	blockslab_compat_kvmalloc_node_align
#undef kvrealloc_node
#define kvrealloc_node(ptr, size, gfp, node)	kvrealloc(ptr, size, gfp)
#undef kvrealloc_node_align
#define kvrealloc_node_align	blockslab_compat_kvrealloc_node_align
#undef kmalloc_nolock
#define kmalloc_nolock		blockslab_compat_kmalloc_nolock
#define kfree_nolock		blockslab_compat_kfree_nolock
#endif
#ifdef kfree_rcu_nolock
#define kvfree_atomic		blockslab_compat_kvfree_atomic
#undef kfree_rcu_nolock
#define kfree_rcu_nolock(ptr, head) \
	blockslab_compat_rcu(ptr, blockslab_compat_kernels_rcu_nolock, head)
#define blockslab_compat_kernels_rcu_nolock(ptr, head) do {			\
	if (ptr)								\
		kfree_call_rcu_nolock(&(ptr)->head, (void *)(ptr));		\
} while (0)
/* The end of a cache of ours waits by itself. */
#define kvfree_rcu_barrier_on_cache(cache) do {					\
	if (!blockslab_compat_is_ours(cache))					\
		kvfree_rcu_barrier_on_cache(cache);				\
} while (0)
#endif

/* void *p __free(kfree) = ...: the guards, by the names that __free() makes. */
#ifdef DEFINE_FREE
DEFINE_FREE(blockslab_compat_kfree, void *, if (!IS_ERR_OR_NULL(_T)) kfree(_T))
#define __free_kfree			__free_blockslab_compat_kfree
/* What an older kernel has not, a module may bring: its own calls what is moved, by itself. */
#ifdef alloc_hooks	/* 6.10 */
DEFINE_FREE(blockslab_compat_kvfree, void *, if (!IS_ERR_OR_NULL(_T)) kvfree(_T))
#define __free_kvfree			__free_blockslab_compat_kvfree
#endif
#ifdef krealloc_node
DEFINE_FREE(blockslab_compat_kfree_sensitive, void *, if (!IS_ERR_OR_NULL(_T)) kfree_sensitive(_T))
#define __free_kfree_sensitive		__free_blockslab_compat_kfree_sensitive
#endif
#ifdef kfree_rcu_nolock
DEFINE_FREE(blockslab_compat_kvfree_atomic, void *, if (!IS_ERR_OR_NULL(_T)) kvfree_atomic(_T))
#define __free_kvfree_atomic		__free_blockslab_compat_kvfree_atomic
#endif
#endif

#endif /* BLOCKSLAB_COMPAT_OFF */

/* --- pr_fmt() --------------------------------------------------------------------------------- */

/*
 * <linux/printk.h>, included above, made pr_fmt() what it is where nobody defines it; a file that
 * does so would be told that it redefines it. So it is undefined again, and the calls that use it
 * do with or without: what it expands to is pasted to u8, which before a string changes nothing,
 * and before the name of a macro that is none makes the name of one that is.
 */
#ifndef BLOCKSLAB_COMPAT_FMT_GIVEN
#undef pr_fmt
#define u8pr_fmt(...)			__VA_ARGS__
#define blockslab_compat_u8_(...)	u8 ## __VA_ARGS__
#ifndef __CHECKER__
#define blockslab_compat_u8(...)	blockslab_compat_u8_(__VA_ARGS__)
#else	/* sparse has no such strings */
#define blockslab_compat_u8(...)	""
#endif
#define blockslab_compat_fmt(fmt)	blockslab_compat_u8(pr_fmt(fmt))

#define blockslab_compat_pr(print, level, fmt, ...)				\
	print(level blockslab_compat_fmt(fmt), ##__VA_ARGS__)
#ifdef DEBUG
#define blockslab_compat_pr_debug(print, ...)					\
	blockslab_compat_pr(print, KERN_DEBUG, __VA_ARGS__)
#else
#define blockslab_compat_pr_debug(print, ...)					\
	blockslab_compat_pr(no_printk, KERN_DEBUG, __VA_ARGS__)
#endif

#undef pr_emerg
#define pr_emerg(...) blockslab_compat_pr(printk, KERN_EMERG, __VA_ARGS__)
#undef pr_alert
#define pr_alert(...) blockslab_compat_pr(printk, KERN_ALERT, __VA_ARGS__)
#undef pr_crit
#define pr_crit(...) blockslab_compat_pr(printk, KERN_CRIT, __VA_ARGS__)
#undef pr_err
#define pr_err(...) blockslab_compat_pr(printk, KERN_ERR, __VA_ARGS__)
#undef pr_warn
#define pr_warn(...) blockslab_compat_pr(printk, KERN_WARNING, __VA_ARGS__)
#undef pr_notice
#define pr_notice(...) blockslab_compat_pr(printk, KERN_NOTICE, __VA_ARGS__)
#undef pr_info
#define pr_info(...) blockslab_compat_pr(printk, KERN_INFO, __VA_ARGS__)
#undef pr_devel
#define pr_devel(...) blockslab_compat_pr_debug(printk, __VA_ARGS__)
#undef pr_emerg_once
#define pr_emerg_once(...) blockslab_compat_pr(printk_once, KERN_EMERG, __VA_ARGS__)
#undef pr_alert_once
#define pr_alert_once(...) blockslab_compat_pr(printk_once, KERN_ALERT, __VA_ARGS__)
#undef pr_crit_once
#define pr_crit_once(...) blockslab_compat_pr(printk_once, KERN_CRIT, __VA_ARGS__)
#undef pr_err_once
#define pr_err_once(...) blockslab_compat_pr(printk_once, KERN_ERR, __VA_ARGS__)
#undef pr_warn_once
#define pr_warn_once(...) blockslab_compat_pr(printk_once, KERN_WARNING, __VA_ARGS__)
#undef pr_notice_once
#define pr_notice_once(...) blockslab_compat_pr(printk_once, KERN_NOTICE, __VA_ARGS__)
#undef pr_info_once
#define pr_info_once(...) blockslab_compat_pr(printk_once, KERN_INFO, __VA_ARGS__)
#undef pr_devel_once
#define pr_devel_once(...) blockslab_compat_pr_debug(printk_once, __VA_ARGS__)
#undef pr_emerg_ratelimited
#define pr_emerg_ratelimited(...) blockslab_compat_pr(printk_ratelimited, KERN_EMERG, __VA_ARGS__)
#undef pr_alert_ratelimited
#define pr_alert_ratelimited(...) blockslab_compat_pr(printk_ratelimited, KERN_ALERT, __VA_ARGS__)
#undef pr_crit_ratelimited
#define pr_crit_ratelimited(...) blockslab_compat_pr(printk_ratelimited, KERN_CRIT, __VA_ARGS__)
#undef pr_err_ratelimited
#define pr_err_ratelimited(...) blockslab_compat_pr(printk_ratelimited, KERN_ERR, __VA_ARGS__)
#undef pr_warn_ratelimited
#define pr_warn_ratelimited(...) blockslab_compat_pr(printk_ratelimited, KERN_WARNING, __VA_ARGS__)
#undef pr_notice_ratelimited
#define pr_notice_ratelimited(...) blockslab_compat_pr(printk_ratelimited, KERN_NOTICE, __VA_ARGS__)
#undef pr_info_ratelimited
#define pr_info_ratelimited(...) blockslab_compat_pr(printk_ratelimited, KERN_INFO, __VA_ARGS__)
#undef pr_devel_ratelimited
#define pr_devel_ratelimited(...) blockslab_compat_pr_debug(printk_ratelimited, __VA_ARGS__)

#undef pr_debug_once
#define pr_debug_once(...) blockslab_compat_pr_debug(printk_once, __VA_ARGS__)
#if defined(CONFIG_DYNAMIC_DEBUG) ||						\
	(defined(CONFIG_DYNAMIC_DEBUG_CORE) && defined(DYNAMIC_DEBUG_MODULE))
/* Where formats of pr_debug() and the *_ratelimited() ones arrive, which are left as they are. */
#undef DEFINE_DYNAMIC_DEBUG_METADATA
#define DEFINE_DYNAMIC_DEBUG_METADATA(name, fmt)				\
	DEFINE_DYNAMIC_DEBUG_METADATA_CLS(name, _DPRINTK_CLASS_DFLT,		\
					  blockslab_compat_u8(fmt))
#define __dynamic_pr_debug(descriptor, fmt, ...) ({				\
	(__dynamic_pr_debug)(descriptor, blockslab_compat_u8(fmt), ##__VA_ARGS__);	\
})
/* That of acpi_handle_debug(); its prototype comes by here, too. */
#ifndef __CHECKER__
#define u8const				const
#define __acpi_handle_debug(descriptor, handle, fmt, ...)			\
	__acpi_handle_debug(descriptor, handle, blockslab_compat_u8(fmt), ##__VA_ARGS__)
#endif
#else
#include <linux/net.h>
#undef pr_debug
#define pr_debug(...) blockslab_compat_pr_debug(printk, __VA_ARGS__)
#undef pr_debug_ratelimited
#define pr_debug_ratelimited(...)						\
	blockslab_compat_pr_debug(printk_ratelimited, __VA_ARGS__)
#undef net_dbg_ratelimited
#define net_dbg_ratelimited(...) net_ratelimited_function(pr_debug, __VA_ARGS__)
#endif
#endif /* BLOCKSLAB_COMPAT_FMT_GIVEN */

#endif /* MODULE */
#endif /* _BLOCKSLAB_COMPAT_H */
