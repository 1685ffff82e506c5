#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests which lines of a module tools/port says are to be looked at, and what it refuses. It is built for the stock
6.1 kernel; no guest.

    python3 test/tools/port_test.py [-v] [PortTest.test_NAME]...
"""

import glob
import os
import shutil
import subprocess
import tempfile
import unittest

TOOL = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools", "port")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "blockslab")
MODULE = '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_DESCRIPTION("Of two lines");\n'

HAND_OVERS = """\
urb->transfer_flags |= URB_FREE_BUFFER;
dev->platform_data = kzalloc(8, GFP_KERNEL);
port = gameport_allocate_port();
error = tcf_exts_init(&filter->exts, net, 0, 0);
info->apertures = alloc_apertures(1);
pd = rdma_zalloc_drv_obj(device, ib_pd);
class->devnode = name_of_node;
	.devnode = name_of_node,
fc->source = kstrdup(source, GFP_KERNEL);
ctx->fc->source = kasprintf(GFP_KERNEL, "%s", source);
pdev->driver_override = kasprintf(GFP_KERNEL, "%s", name);
sb->s_subtype = kstrdup("sub", GFP_KERNEL);
seq->buf = kmalloc(4096, GFP_KERNEL);
pdev->resource = kmemdup(resource, sizeof(*resource), GFP_KERNEL);
x->aalg = kmalloc(sizeof(*x->aalg), GFP_KERNEL);
serio_register_port(serio);
error = input_ff_create_memless(dev, effects, play);
	dev->ff->private = data;
__netpoll_free(np);
nf_reinject(entry, verdict);
usb_init_urb(urb);
error = drm_event_reserve_init(dev, file, &event->base, &event->event);
snd_hda_gen_free(codec);
	.destroy = drm_gem_fb_destroy,
fc->release = fuse_free_conn;
dma_fence_init(fence, &ops, &lock, context, 1);
array = dma_fence_array_create(2, fences, context, 1, false);
fid->rdir = kzalloc(sizeof(*rdir) + size, GFP_KERNEL);
record->buf = kmalloc(size, GFP_KERNEL);
us->extra = kzalloc(sizeof(*info), GFP_KERNEL);
em->data = (unsigned long)kmemdup(data, len, GFP_KERNEL);
pub = kzalloc(sizeof(struct public_key), GFP_KERNEL);
ctx.pub = kzalloc_obj(struct public_key);
pub = kmalloc(sizeof(*pub), GFP_KERNEL);
EXPORT_SYMBOL(jbd2_inode_cache);
xfrm_state_walk_init(walk, proto, filter);
error = add_mtd_blktrans_dev(dev);
dev_coredumpsg(dev, table, size, GFP_KERNEL);
	.atomic_destroy_state = drm_atomic_helper_connector_destroy_state,
	.dt_free_map = pinconf_generic_dt_free_map,
	.gem_create_object = create_object,
	.parse_fn = parse,
	.destroy = user_destroy,
	.free_preparse = user_free_preparse,
inst->free = shash_free_singlespawn_instance;
debugfs_create_str("name", 0644, dir, &name);
resync = lc_create("resync", cache, 1, 61, sizeof(*extent), 0);
group->vlan_devices_arrays[pidx][vidx] = array;
ret_bus->free_on_exit = true;
ops.kmem_cachep = kmem_cache_create("dst", 256, 0, 0, NULL);
info->bind_bucket_cachep = cache;
"""
NONE = """\
skb = build_skb(data, 0);
chain = dma_fence_chain_alloc();
conf = alloc_ts_config(16, GFP_KERNEL);
dma_fence_free(fence);
if (fc->source == NULL)
data = dev->ff->private;
array = group->vlan_devices_arrays[pidx][vidx];
if (bus && bus->free_on_exit)
entry->buf = kmalloc(100, GFP_KERNEL);
name = class->devnode(dev, &mode);
inode_cachep = kmem_cache_create("inode", 256, 0, 0, NULL);
if (ops.kmem_cachep == cache)
"""


class PortTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.dir = os.path.join(scratch.name, "of_port_test")
        os.mkdir(self.dir)
        self.addCleanup(lambda: [shutil.rmtree(made) for made in glob.glob(f"{CACHE}/port/*-of_port_test-*")])

    def write(self, **files):
        for name, text in files.items():
            with open(os.path.join(self.dir, name.replace("_", ".")), "w", encoding="utf-8") as file:
                file.write(text)

    def listed(self, code):
        """The lines that tools/port names of a header, which nothing includes, beside a module."""
        self.write(module_c=MODULE, Kbuild="obj-m := module.o\n", header_h=code)
        said = subprocess.run([TOOL, self.dir], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        self.assertRegex(said.pop(), r"/module\.ko$")
        return {line.split(":", 2)[2] for line in said if line.startswith("hand-over? header.h:")}

    def test_what_the_core_would_free_or_use_is_listed_and_no_more(self):
        self.assertEqual(self.listed(HAND_OVERS + NONE), set(HAND_OVERS.splitlines()))

    def test_who_uses_it_and_is_not_moved_is_named(self):
        self.write(failover_c=MODULE + "void *give(void);\nvoid *give(void) { return NULL; }\nEXPORT_SYMBOL_GPL(give);\n",
                   Kbuild="obj-m := failover.o\n")
        said = subprocess.run([TOOL, self.dir], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        self.assertIn("not moved: failover is used by net_failover", said)

    def test_a_makefile_of_no_module_is_refused_also_where_there_was_one(self):
        self.listed("")
        self.write(Kbuild="# module.o no more\n")
        result = subprocess.run([TOOL, self.dir], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn(f"{self.dir} makes no module", result.stderr.splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
