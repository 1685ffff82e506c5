#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make: where it builds, what it removes and installs, and what it says; dkms, and a module that depends on it."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLIENT = r"""
#include <linux/module.h>
#include "blockslab.h"

static int __init client_init(void)
{
	blockslab_free(blockslab_alloc(NULL, 24, GFP_KERNEL));
	return 0;
}
module_init(client_init);

static void __exit client_exit(void)
{
}
module_exit(client_exit);

MODULE_DESCRIPTION("a client");
MODULE_LICENSE("GPL");
"""
KBUILD = r"""
obj-m += client.o
ccflags-y += $(shell blockslab-config --cflags)
KBUILD_EXTRA_SYMBOLS := $(shell blockslab-config --symvers -k $(objtree))
"""
DEPENDENT = r"""
PACKAGE_NAME="client"
PACKAGE_VERSION="2.0"
BUILT_MODULE_NAME[0]="client"
DEST_MODULE_LOCATION[0]="/updates/dkms"
MAKE[0]="make -C $kernel_source_dir M=$dkms_tree/client/2.0/build modules"
CLEAN="make -C $kernel_source_dir M=$dkms_tree/client/2.0/build clean"
BUILD_DEPENDS[0]="blockslab"
AUTOINSTALL="yes"
"""
# Names that make or Kbuild would take for something else.
SPLIT = "my home", "a:b", "a%b", "a'b", "a;b", "a&b", "a(b)", "a*b"


def setUpModule():
    global KDIR, RELEASE
    lines = subprocess.run([f"{TOP}/tools/kernel", "stock", "6.1"], capture_output=True, text=True, check=True).stdout
    KDIR = re.search("kdir='(.*)'", lines)[1]
    RELEASE = re.search("release='(.*)'", lines)[1]


def written(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def as_module(code):
    """A whole module of lines of which some stand outside of functions and the rest in one."""
    outside = re.compile(r"^(#include .*|static [^(]*;)$", re.M)
    head = "\n".join(line for line in outside.findall(code))
    body = outside.sub("", code)
    return f"#include <linux/module.h>\nstruct item {{ int number; }};\n{head}\nstatic int __init use(void)\n{{\n" \
           f"{body}\nreturn 0;\n}}\nmodule_init(use);\nMODULE_DESCRIPTION(\"README\");\nMODULE_LICENSE(\"GPL\");\n"


class Scratch(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)

    def run_it(self, *command, ok=True, **environment):
        result = subprocess.run(command, cwd=environment.pop("cwd", TOP), capture_output=True, text=True,
                                env=os.environ | environment)
        if ok is not None:
            self.assertEqual(result.returncode == 0, ok, result.stdout + result.stderr)
        return result.stdout + result.stderr

    def make(self, *words, **named):
        return self.run_it("make", "-s", f"KDIR={KDIR}", *words, **named)

    def files(self, top):
        return sorted(os.path.relpath(os.path.join(at, name), top)
                      for at, _, names in os.walk(top) for name in names)


class BuildDirectory(Scratch):
    """Made by make, and by it alone emptied."""

    def refused(self, said, *words, **named):
        said_then = [line for line in self.make(*words, ok=False, **named).splitlines() if "***" not in line]
        self.assertEqual(len(said_then), 1, said_then)
        self.assertIn(said, said_then[0])

    def test_what_was_there_before_stays(self):
        written(f"{self.dir}/x/.git/HEAD", "mine")
        for goal in "all", "clean", "modules_install":
            self.refused("make", goal, f"BUILD={self.dir}/x")
        self.assertEqual(self.files(self.dir), ["x/.git/HEAD"])

    def test_the_sources_are_no_build_directory(self):
        before = self.files(TOP)
        for build in TOP, os.path.dirname(TOP):
            for goal in "all", "clean":
                self.refused("make", goal, f"BUILD={build}")
        self.assertEqual(self.files(TOP), before)

    def test_space_and_colon_are_refused(self):
        for name in SPLIT:
            written(f"{self.dir}/{name}/x", "mine")
            for goal in "all", "clean":
                self.refused("take no path", goal, f"BUILD={self.dir}/{name}")
            self.assertEqual(self.files(f"{self.dir}/{name}"), ["x"])

    def test_a_home_with_a_space_stays_whole(self):
        for name in "my", "my home", "home":
            written(f"{self.dir}/{name}/precious", "mine")
        environment = {"HOME": f"{self.dir}/my home", "XDG_CACHE_HOME": "", "cwd": TOP}
        before = self.files(self.dir)
        for goal in "all", "clean":
            self.refused("take no path", goal, **environment)
        self.assertEqual(self.files(self.dir), before)

    def test_the_tools_refuse_them_too(self):
        written(f"{self.dir}/my", "mine")
        for name in "my home", "my:b", "my%b", "my'b":
            for goal in "all", "clean":
                for named in {"BUILD": f"{self.dir}/{name}"}, {"HOME": f"{self.dir}/{name}", "XDG_CACHE_HOME": ""}:
                    said = self.run_it("make", "-s", "-C", "tools", goal, ok=False, **named)
                    self.assertIn("take", said)
                    self.assertEqual(len(said.splitlines()), 1, said)
        self.assertEqual(self.files(self.dir), ["my"])

    def test_clean_leaves_what_was_added(self):
        self.make("BLOCKSLAB_ALONE=y", f"BUILD={self.dir}/b")
        written(f"{self.dir}/b/mine", "mine")
        self.assertIn("mine", self.make("clean", f"BUILD={self.dir}/b"))
        self.assertEqual(self.files(f"{self.dir}/b"), [".made-by-blockslab", "mine"])
        os.remove(f"{self.dir}/b/mine")
        self.make("clean", f"BUILD={self.dir}/b")
        self.assertFalse(os.path.exists(f"{self.dir}/b"))
        self.make("clean", f"BUILD={self.dir}/b")

    def test_clean_where_the_disk_was_full(self):
        for name in ".made-by-blockslab", "Kbuild", "core/page.c":
            written(f"{self.dir}/b/{name}", "")
        self.make("clean", f"BUILD={self.dir}/b")
        self.assertEqual(os.listdir(f"{self.dir}/b"), [])

    def test_one_for_each_kernel_and_checkout(self):
        def default(top, kdir):
            said = self.run_it("make", "-s", "help", f"KDIR={kdir}", cwd=top)
            return re.search("^BUILD=(.*?)  ", said, re.M)[1]

        other = f"{self.dir}/other"
        os.makedirs(f"{other}/include/generated")
        shutil.copy(f"{KDIR}/include/generated/utsrelease.h", f"{other}/include/generated/")
        os.symlink(KDIR, f"{self.dir}/link")
        shutil.copy(f"{TOP}/Makefile", self.dir)
        self.assertEqual(len({default(TOP, KDIR), default(TOP, other), default(self.dir, KDIR)}), 3)
        self.assertEqual(default(TOP, KDIR), default(TOP, f"{self.dir}/link"))
        self.assertIn(RELEASE, default(TOP, KDIR))

    def test_a_source_that_is_gone_is_not_built(self):
        build = f"BUILD={self.dir}/b"
        self.make("sync", build)
        written(f"{self.dir}/b/test/clients/blockslab_gone.c", "this is no C\n")
        self.make("sync", build)
        self.assertNotIn("test/clients/blockslab_gone.c", self.files(f"{self.dir}/b"))

    def test_a_check_that_cannot_be_made_fails(self):
        self.refused("checkpatch", "check", "CHECKPATCH=/nowhere", f"BUILD={self.dir}/b")
        bare = f"{self.dir}/bin"
        os.mkdir(bare)
        for directory in os.environ["PATH"].split(":"):
            for name in os.listdir(directory) if os.path.isdir(directory) else []:
                if name != "sparse" and not os.path.lexists(f"{bare}/{name}"):
                    os.symlink(f"{directory}/{name}", f"{bare}/{name}")
        self.refused("sparse", "check", f"BUILD={self.dir}/b", PATH=bare)

    def test_without_headers_the_package_is_named(self):
        self.refused("apt install linux-headers-9.9-none", "all", "KDIR=/lib/modules/9.9-none/build")
        self.refused("no kernel headers in KDIR=/nowhere", "modules_install", "KDIR=/nowhere")


class Installed(Scratch):
    @classmethod
    def setUpClass(cls):
        cls.build = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.build)

    def test_modules_install(self):
        root = f"{self.dir}/root"
        self.make("modules_install", f"BUILD={self.build}", f"INSTALL_MOD_PATH={root}")
        self.assertEqual([name for name in self.files(root) if "/modules." not in name],
                         [f"lib/modules/{RELEASE}/updates/blockslab.ko"])
        module = f"{root}/lib/modules/{RELEASE}/updates/blockslab.ko"
        self.assertNotIn(".debug_info", self.run_it("readelf", "-SW", module))
        self.assertIn("insmod", self.run_it("modprobe", "-n", "-v", "-d", root, "-S", RELEASE, "blockslab",
                                            PATH="/sbin:/usr/sbin:" + os.environ["PATH"]))

    def test_modules_install_below_a_path_that_begins_here(self):
        root = f"{self.dir}/root"
        self.make("modules_install", f"BUILD={self.build}", f"INSTALL_MOD_PATH={os.path.relpath(root, TOP)}")
        self.assertTrue(os.path.exists(f"{root}/lib/modules/{RELEASE}/updates/blockslab.ko"))
        written(f"{self.dir}/my", "mine")
        for goal in "modules_install", "uninstall":
            said = self.make(goal, f"BUILD={self.build}", f"INSTALL_MOD_PATH={self.dir}/my root",
                             f"DESTDIR={self.dir}/root", ok=False)
            self.assertIn("take no path", said)
        self.assertTrue(os.path.exists(f"{self.dir}/my"))

    def test_all_goes_below_destdir(self):
        root = f"{self.dir}/root"
        self.make("install", f"BUILD={self.build}", f"DESTDIR={root}")
        module = f"{root}/lib/modules/{RELEASE}/updates/blockslab.ko"
        self.assertTrue(os.path.exists(module))
        self.make("uninstall", f"BUILD={self.build}", f"DESTDIR={root}")
        self.assertFalse(os.path.exists(module))

    def test_uninstall_leaves_other_kernels_theirs(self):
        root = f"{self.dir}/my root"
        words = [f"BUILD={self.build}", f"INSTALL_MOD_PATH={self.dir}/modules", f"DESTDIR={root}"]
        self.make("install", *words)
        before = self.files(root)
        written(f"{root}/usr/local/lib/blockslab/9.9-other/Module.symvers", "theirs")
        self.make("uninstall", *words)
        ours = f"usr/local/lib/blockslab/{RELEASE}/Module.symvers"
        self.assertIn(ours, before)
        self.assertEqual(self.files(root), sorted(
            {"usr/local/lib/blockslab/9.9-other/Module.symvers", *before} - {ours}))
        self.make("uninstall", "RELEASE=9.9-other", *words)
        self.assertEqual(self.files(root), [])

    def test_it_is_signed_where_there_is_a_key(self):
        kdir = f"{self.dir}/kdir"
        os.mkdir(kdir)
        for name in os.listdir(KDIR):
            os.symlink(os.path.join(KDIR, name), os.path.join(kdir, name))
        os.mkdir(f"{kdir}/certs")
        key = os.path.join(kdir, "certs/signing_key")
        self.run_it("openssl", "req", "-new", "-x509", "-nodes", "-subj", "/CN=a test/", "-newkey", "rsa:2048",
                    "-keyout", f"{key}.pem", "-outform", "DER", "-out", f"{key}.x509")
        root = f"{self.dir}/root"
        self.make("modules_install", f"BUILD={self.build}", f"INSTALL_MOD_PATH={root}", f"KDIR={kdir}",
                  "CONFIG_MODULE_SIG_KEY=certs/signing_key.pem")
        self.assertIn("a test", self.run_it("modinfo", f"{root}/lib/modules/{RELEASE}/updates/blockslab.ko",
                                            PATH="/sbin:/usr/sbin:" + os.environ["PATH"]))

    def test_clients_of_what_make_installed(self):
        root = f"{self.dir}/root"
        self.make("install", f"BUILD={self.build}", f"INSTALL_MOD_PATH={root}", f"DESTDIR={root}")
        for kbuild in self.blocks("make"):
            for code in self.blocks("c"):
                self.client(f"{root}/usr/local/bin", as_module(code), kbuild.replace("mydriver.o", "client.o"))
        self.make("uninstall", f"BUILD={self.build}", f"INSTALL_MOD_PATH={root}", f"DESTDIR={root}")
        self.assertEqual([name for name in self.files(root) if "/modules." not in name], [])

    def blocks(self, language):
        """README's code, to be used as it stands."""
        with open(f"{TOP}/README.md") as file:
            found = re.findall(rf"^```{language}\n(.*?)^```", file.read(), re.M | re.S)
        self.assertTrue(found)
        return found

    def client(self, path, code, kbuild):
        at = tempfile.mkdtemp(dir=self.dir)
        written(f"{at}/client.c", code)
        written(f"{at}/Kbuild", kbuild)
        said = self.run_it("make", "-C", KDIR, f"M={at}", "modules", "KCFLAGS=-Werror",
                           PATH=f"{path}:{os.environ['PATH']}")
        self.assertNotIn("undefined", said)
        self.assertTrue(os.path.exists(f"{at}/client.ko"))

    def test_config_names_what_is_missing(self):
        said = self.run_it(f"{TOP}/tools/blockslab-config", "--symvers", "-k", "9.9-none", ok=False)
        self.assertIn("9.9-none", said)
        self.assertEqual(self.run_it(f"{TOP}/tools/blockslab-config", "--includedir").strip(), TOP)
        said = self.run_it(f"{TOP}/tools/blockslab-config", "--symvers", "-k", self.dir, ok=False)
        self.assertEqual(said, f"blockslab-config: {self.dir} is no kernel's build directory\n")

    def test_config_names_no_path_that_make_would_split(self):
        for name in "a place", "a:place":
            self.run_it(f"{TOP}/tools/blockslab-config", "--install", f"{self.dir}/{name}")
            config = f"{self.dir}/{name}/bin/blockslab-config"
            self.assertEqual(self.run_it(config, "--includedir"), f"{self.dir}/{name}/include/blockslab\n")
            self.assertIn("take no path", self.run_it(config, "--cflags", ok=False))
            self.assertIn("take no path", self.run_it(config, "--symvers", ok=False, BLOCKSLAB_SYMVERS=f"/{name}/x"))


class NoHome(Scratch):
    def test_a_cache_that_cannot_be_made_is_told_in_one_line(self):
        environment = {"HOME": "/dev/null/home", "XDG_CACHE_HOME": ""}
        for command in (["make", "-s", "docs"], ["tools/kernel", "stock", "6.1"], ["tools/package", f"{self.dir}/debs"],
                        ["tools/replay", "test/small.trace.gz"], ["tools/bench", "--quick"], ["tools/demo"],
                        ["tools/vm", "--kernel", f"{TOP}/README.md", "true"]):
            said = [line for line in self.run_it(*command, ok=False, **environment).splitlines() if "***" not in line]
            self.assertEqual(len(said), 1, said)
            self.assertIn("XDG_CACHE_HOME", said[0])

    def test_a_cache_that_make_would_split_is_refused_before_anything_is_fetched(self):
        commands = [["tools/demo"], ["tools/port", "test/moved"]]
        for name, command in [(SPLIT[0], command) for command in commands] + \
                [(name, ["tools/kernel", "stock", "6.12"]) for name in SPLIT]:
            said = self.run_it(*command, ok=False, HOME=f"{self.dir}/{name}", XDG_CACHE_HOME="").splitlines()
            self.assertEqual(len(said), 1, said)
            self.assertIn("XDG_CACHE_HOME", said[0])
        self.assertEqual(os.listdir(self.dir), [])


class OwnKernel(Scratch):
    def test_kdir_names_its_own_release(self):
        said = self.run_it(f"{TOP}/tools/kernel", "stock", KDIR=KDIR, KERNEL_IMAGE=KDIR + "/.config")
        self.assertIn(f"release='{RELEASE}'", said)


@unittest.skipUnless(os.geteuid() == 0, "dkms wants root")
class Dkms(Scratch):
    def dkms(self, *words):
        return self.run_it("dkms", *words, "--dkmstree", f"{self.dir}/dkms", "--sourcetree", f"{self.dir}/src",
                           "--installtree", f"{self.dir}/lib", "--kernelsourcedir", KDIR, "-k", RELEASE,
                           "--no-depmod", DKMS_TREE=f"{self.dir}/dkms",
                           PATH=f"{self.dir}/src/blockslab-1.0/tools:{os.environ['PATH']}")

    def test_a_module_that_depends_on_it(self):
        for name in "dkms", "src", f"lib/{RELEASE}":
            os.makedirs(f"{self.dir}/{name}")
        shutil.copytree(TOP, f"{self.dir}/src/blockslab-1.0", ignore=shutil.ignore_patterns(".git*"))
        client = f"{self.dir}/src/client-2.0"
        written(f"{client}/client.c", CLIENT)
        written(f"{client}/Kbuild", KBUILD)
        written(f"{client}/dkms.conf", DEPENDENT)
        for module in "client/2.0", "blockslab/1.0":
            self.dkms("add", module)
        self.dkms("autoinstall")
        kept = f"{self.dir}/dkms/blockslab/1.0/{RELEASE}/x86_64"
        self.assertEqual([name for name in self.files(kept) if not name.startswith("log/")],
                         ["Module.symvers", "module/blockslab.ko"])
        self.assertTrue(os.path.exists(f"{self.dir}/dkms/client/2.0/{RELEASE}/x86_64/module/client.ko"))
        self.assertEqual(len([name for name in self.files(f"{self.dir}/lib") if name.endswith(".ko")]), 2)
        for module in "client/2.0", "blockslab/1.0":
            self.dkms("remove", module)
        self.assertEqual([name for name in self.files(f"{self.dir}/lib") if name.endswith(".ko")], [])
        self.assertFalse(os.path.exists(kept))


if __name__ == "__main__":
    unittest.main()
