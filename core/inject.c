// SPDX-License-Identifier: GPL-2.0
/*
 * Requests that tests make fail
 */

static struct {
	unsigned int what;
	unsigned int percent;
	atomic_long_t after;
	atomic_long_t calls;
} failing = { .after = ATOMIC_LONG_INIT(-1) };

#ifdef CONFIG_FAULT_INJECTION_DEBUG_FS
/* The same by the kernel's own means: fault attributes, in debugfs/blockslab/fail_*. */
static const char * const fail_names[] = {
	"fail_pages", "fail_descriptor", "fail_magazine", "fail_class", "fail_track",
};

static struct fault_attr fail_attrs[ARRAY_SIZE(fail_names)] = {
	[0 ... ARRAY_SIZE(fail_names) - 1] = FAULT_ATTR_INITIALIZER,
};

static_assert(BIT(ARRAY_SIZE(fail_names) - 1) == BLOCKSLAB_FAIL_TRACK);

static bool should_fail_by_attr(unsigned int what)
{
	return should_fail(&fail_attrs[ilog2(what)], 1);
}

static void fail_debugfs(struct dentry *dir)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fail_names); i++)
		fault_create_debugfs_attr(fail_names[i], dir, &fail_attrs[i]);
}
#else
static bool should_fail_by_attr(unsigned int what)
{
	return false;
}

static void fail_debugfs(struct dentry *dir)
{
}
#endif

static bool should_fail_request(unsigned int what)
{
	unsigned int percent;

	if (should_fail_by_attr(what))
		return true;
	if (likely(!(READ_ONCE(failing.what) & what)))
		return false;
	atomic_long_inc(&failing.calls);
	if (atomic_long_dec_return(&failing.after) == -1)
		return true;
	percent = READ_ONCE(failing.percent);
	return percent && get_random_u32() % 100 < percent;
}

/**
 * blockslab_fail() - make requests fail, for tests
 * @what: which requests: BLOCKSLAB_FAIL_*
 * @after: how many of them succeed before one fails; ULONG_MAX for none that fails by count
 * @percent: how many in 100 of all fail at random
 *
 * Context: any; one caller at a time.
 * Return: the number of such requests since the last call.
 */
unsigned long blockslab_fail(unsigned int what, unsigned long after, unsigned int percent)
{
	WRITE_ONCE(failing.what, 0);
	WRITE_ONCE(failing.percent, percent);
	atomic_long_set(&failing.after, after > LONG_MAX - 1 ? LONG_MAX : after);
	WRITE_ONCE(failing.what, what);
	return atomic_long_xchg(&failing.calls, 0);
}
EXPORT_SYMBOL_FOR_TESTS(blockslab_fail);

static void *meta_alloc(unsigned int what, size_t size, gfp_t gfp, int nid)
{
	if (should_fail_request(what))
		return NULL;
	return kzalloc_node(size, (gfp & GFP_META) | __GFP_NOWARN, nid);
}

static void *meta_cache_alloc(unsigned int what, struct kmem_cache *cache, gfp_t gfp, int nid)
{
	if (should_fail_request(what))
		return NULL;
	return kmem_cache_alloc_node(cache, (gfp & (GFP_META | __GFP_ZERO)) | __GFP_NOWARN, nid);
}
