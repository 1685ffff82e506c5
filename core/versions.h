/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel versions: shims, named after the newer kernel's function
 */

#ifndef MAX_PAGE_ORDER
#define MAX_PAGE_ORDER		(MAX_ORDER - 1)
#endif

#ifndef F_SEAL_EXEC
#define mnt_idmap		user_namespace
#endif

#ifndef CONFIG_STACKTRACE
#define stack_trace_save(store, size, skipnr)		0
#define stack_trace_print(trace, nr_entries, spaces)	do { } while (0)
#endif

#ifndef SHRINKER_ALLOCATED
static struct shrinker *shrinker_alloc(unsigned int flags, const char *fmt, ...)
{
	return kzalloc(sizeof(struct shrinker), GFP_KERNEL);
}

static void shrinker_register(struct shrinker *shrinker)
{
	if (register_shrinker(shrinker, "blockslab"))
		pr_warn("no shrinker: memory is given back when idle, not under pressure\n");
}

static void shrinker_free(struct shrinker *shrinker)
{
	unregister_shrinker(shrinker);
	kfree(shrinker);
}
#endif

#ifdef CONFIG_UML_X86
#undef smp_load_acquire
#undef smp_store_release
#undef smp_wmb
/* What costs nothing on x86 is a fence in its User Mode Linux: see blockslab_rmb(). */
#define smp_load_acquire(from)	({ __auto_type __v = READ_ONCE(*(from)); barrier(); __v; })
/* the same */
#define smp_store_release(to, value)	do { barrier(); WRITE_ONCE(*(to), value); } while (0)
/* the same */
#define smp_wmb()	barrier()
#endif

/* What only tests need. Since 6.13 the namespace is a string: so it must be one from there on. */
#ifdef EXPORT_SYMBOL_FOR_MODULES
#define EXPORT_SYMBOL_FOR_TESTS(symbol)	EXPORT_SYMBOL_NS_GPL(symbol, "BLOCKSLAB_TEST")
#else
#define EXPORT_SYMBOL_FOR_TESTS(symbol)	EXPORT_SYMBOL_NS_GPL(symbol, BLOCKSLAB_TEST)
#endif
