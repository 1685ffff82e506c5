// SPDX-License-Identifier: GPL-2.0
/*
 * What goes from the module to the rest of the kernel, and back: who allocated it is not who frees
 * it, or frees it by a call that the module only names.
 */
#define dev_fmt(fmt) "moved: " fmt

#include <linux/acpi.h>
#include <linux/bitmap.h>
#include <linux/cred.h>
#include <linux/delayed_call.h>
#include <linux/dma-fence.h>
#include <linux/dma-fence-chain.h>
#include <linux/fs.h>
#include <linux/generic-radix-tree.h>
#include <linux/platform_device.h>
#include <linux/posix_acl.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/textsearch.h>
#include <linux/uaccess.h>
#include "moved.h"

static void by_a_delayed_call(void)
{
	DEFINE_DELAYED_CALL(done);

	set_delayed_call(&done, kfree_link, kmalloc(1025, GFP_KERNEL));
	do_delayed_call(&done);
	clear_delayed_call(&done);
	set_delayed_call(&done, kfree_link, others_thing(1025));
	do_delayed_call(&done);
}

static void by_seq_file(void)
{
	static const struct seq_operations operations;
	struct file *file = kzalloc(sizeof(*file), GFP_KERNEL);
	struct seq_file *seq;

	CHECK(file && !seq_open(file, &operations));
	seq = file->private_data;
	seq->private = kmalloc(100, GFP_KERNEL);
	CHECK(!seq_release_private(NULL, file));
	file->private_data = NULL;
	CHECK(!seq_open_private(file, &operations, 100));
	CHECK(!seq_release_private(NULL, file));
	kfree(file);
}

#ifdef CONFIG_NET
/* What a packet is built on is the network's to free, be it of this module's or of others. */
static void use_packet(struct sk_buff *packet)
{
	CHECK(packet && skb_end_offset(packet) < 4096 - 320);
	CHECK(packet && is_filled(packet->head, 0x5a, 500));
	kfree_skb(packet);
}

static void *filled(void *memory)
{
	return memory ? memset(memory, 0x5a, 1024) : NULL;
}

static void packets(void)
{
#ifdef alloc_hooks	/* 6.10 and later: with a call for this */
	use_packet(slab_build_skb(filled(kmalloc(1024, GFP_KERNEL))));
	use_packet(slab_build_skb(filled(others_thing(1024))));
#else
	struct sk_buff *packet = build_skb(others_thing(1024), 0);
	void *memory = filled(kmalloc(1024, GFP_KERNEL));

	CHECK(packet && !build_skb_around(NULL, memory, 0));	/* and it stays */
	kfree(packet->head);
	use_packet(build_skb_around(packet, memory, 0));
	use_packet(build_skb(filled(kmalloc(1024, GFP_KERNEL)), 0));
	use_packet(build_skb(filled(others_thing(1024)), 0));
	use_packet(napi_build_skb(filled(kmalloc(1024, GFP_KERNEL)), 0));
#endif
}
#endif

/* Inline in a header that is included early: kmem_cache_alloc_lru(). */
static void inodes(void)
{
	struct kmem_cache *cache = kmem_cache_create("moved_inode", sizeof(struct inode), 0,
						     SLAB_RECLAIM_ACCOUNT, NULL);
	struct super_block *sb = kzalloc(sizeof(*sb), GFP_KERNEL);
	struct inode *inode;

	CHECK(cache && sb);
	inode = alloc_inode_sb(sb, cache, GFP_KERNEL);
	CHECK(inode);
	kmem_cache_free(cache, inode);
	kmem_cache_destroy(cache);
	kfree(sb);
}

/* Inline in a header of the kernel's: kfree_rcu(). */
static void acls(void)
{
	posix_acl_release(posix_acl_alloc(3, GFP_KERNEL));
	posix_acl_release(posix_acl_from_mode(0755, GFP_KERNEL));
}

/* Inline, too, or by a macro: kmalloc() of what the core frees, or kfree_rcu()s. */
static void inline_for_the_core(void)
{
#ifdef CONFIG_TEXTSEARCH
	textsearch_destroy(alloc_ts_config(16, GFP_KERNEL));
#endif
	others_end(dma_fence_chain_alloc());
	dma_fence_chain_free(dma_fence_chain_alloc());
#ifdef GENRADIX_NODE_SIZE	/* 6.10 and later, of which 6.12 is what matters */
	others_end(genradix_alloc_node(GFP_KERNEL));
	genradix_free_node(genradix_alloc_node(GFP_KERNEL));
#endif
}

/* kfree() and kfree_rcu() by other names. */
static void by_calls_of_the_core(void)
{
	bitmap_free(kcalloc(BITS_TO_LONGS(100), sizeof(long), GFP_KERNEL));
	bitmap_free(bitmap_zalloc(100, GFP_KERNEL));
	kfree(bitmap_alloc(100, GFP_KERNEL));
#ifdef CONFIG_DMA_SHARED_BUFFER
	dma_fence_free(kzalloc(sizeof(struct dma_fence), GFP_KERNEL));
	dma_fence_free(others_thing(sizeof(struct dma_fence)));
#endif
}

static void of_a_device(void)
{
	struct platform_device *device = platform_device_register_simple("moved", -1, NULL, 0);
	char *text;

	CHECK(!IS_ERR(device));
	if (IS_ERR(device))
		return;
	text = devm_kstrdup(&device->dev, "text", GFP_KERNEL);
	CHECK(text && !strcmp(text, "text"));
	dev_info(&device->dev, "of %s\n", text);
	dev_dbg(&device->dev, "none %d\n", 1);
	devm_kfree(&device->dev, text);
	CHECK(devm_kzalloc(&device->dev, 100, GFP_KERNEL));
	CHECK(devm_kasprintf(&device->dev, GFP_KERNEL, "%d", 7));
	CHECK(!devm_add_action_or_reset(&device->dev, (void (*)(void *))kfree,
					kmalloc(100, GFP_KERNEL)));
	platform_device_unregister(device);
}

/*
 * The arguments of whoever loads this module are memory of a user's. What a copy of a length that
 * the compiler knows touches is not looked at, as in the kernel.
 */
static void of_user_space(void)
{
	char __user *user = (char __user *)current->mm->arg_start;
	struct kmem_cache *cache = kmem_cache_create_usercopy("moved_window", 256, 0, 0, 64, 32,
							       NULL);
	char *text = memdup_user(user, 8), *slot = kmalloc(8, GFP_KERNEL), *object;
	size_t length = 8;

	OPTIMIZER_HIDE_VAR(length);
	CHECK(!IS_ERR(text) && slot && cache);
	CHECK(!copy_from_user(slot, user, length) && !memcmp(slot, text, 8));
	CHECK(!copy_to_user(user, slot, length));
	kfree(text);
	text = strndup_user(user, 100);
	CHECK(!IS_ERR(text));
	kfree(text);
	object = kmem_cache_zalloc(cache, GFP_KERNEL);
	CHECK(object && !copy_from_user(object + 64, user, length) &&
	      !copy_to_user(user, object + 64, length) && !memcmp(object + 64, slot, 8));
	CHECK(!copy_from_user(object, user, 8) && !copy_to_user(user, object, 8) &&
	      !memcmp(object, slot, 8));
	kmem_cache_free(cache, object);
	kmem_cache_destroy(cache);
	kfree(slot);
}

/* Caches that are the kernel's. */
static void caches_of_others(void)
{
	struct kmem_cache *large = kmem_cache_create("moved_large", 20000, 0, 0, NULL);
	char *name = __getname();
	void *object;

	CHECK(name && large);
	__putname(name);
	object = kmem_cache_zalloc(large, GFP_KERNEL);
	CHECK(is_filled(object, 0, 20000));
	kmem_cache_free(large, object);
	kmem_cache_shrink(large);
	kmem_cache_destroy(large);
}

/* Prints by pr_fmt(), which this file does not define. */
static void of_acpi(void)
{
	acpi_handle_debug(NULL, "not shown, %d\n", 1);
	acpi_handle_debug(NULL, "not shown\n");
}

void what_the_core_frees(void)
{
	by_a_delayed_call();
	by_seq_file();
#ifdef CONFIG_NET
	packets();
#endif
	inodes();
	acls();
	inline_for_the_core();
	by_calls_of_the_core();
	of_a_device();
	of_user_space();
	caches_of_others();
	of_acpi();
}
