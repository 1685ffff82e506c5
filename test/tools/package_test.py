#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""tools/package: what the packages hold, and their lives in a fresh Debian: installed, upgraded, purged.

The Debian is a chroot that debootstrap makes in the cache, once; what is done in it goes to a layer above, and is gone
afterwards.
"""

import glob
import os
import re
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "blockslab")
BASE = os.path.join(CACHE, "chroot", "bookworm")
# What blockslab's packages ask for is there: the tests install nothing but these.
INCLUDED = "linux-headers-cloud-amd64,gcc,make,libc6-dev,man-db,dkms,python3,libncursesw6"
MAKE_BASE = """
set -eu
mirror=$("$3/tools/kernel" mirror)
rm -rf "$1.tmp"
mkdir -p "$1.tmp"
debootstrap --variant=minbase --include="$2" bookworm "$1.tmp" "$mirror"
rm -f "$1.tmp"/var/cache/apt/archives/*.deb
mv "$1.tmp" "$1"
"""
IN_LAYER = """
set -eu
mount -t tmpfs -o size=2G none "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" none "$2/root"
mount -t proc proc "$2/root/proc"
mkdir "$2/root/debs"
cp -r "$3/1" "$3/2" "$3/life" "$3/Kbuild" "$3/client.c" "$2/root/debs/"
exec chroot "$2/root" bash /debs/life
"""
LIFE = r"""
set -eux
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
release=$(ls /lib/modules)
listed()
{
	find / -xdev \( -path /proc -o -path /debs -o -path /client -o -path /tmp -o -path /var/cache -o -path /var/log \
		-o -path /var/lib/dpkg -o -path /var/lib/apt -o -path "/lib/modules/*/modules.*" \
		-o -path "/usr/lib/modules/*/modules.*" -o -path /var/lib/dkms/mok.* \) -prune -o -print | sort
}
client()
{
	mkdir -p /client
	cp /debs/client.c /debs/Kbuild /client/
	make -C "/lib/modules/$release/build" M=/client modules
	[ "$(modinfo -F depends /client/client.ko)" = blockslab ]
	rm -rf /client
}
listed >/tmp/before
dpkg -i /debs/1/*.deb
modinfo -k "$release" blockslab
modprobe -n -S "$release" blockslab
man -P cat blockslabtop >/dev/null
man -P cat blockslab_alloc >/dev/null
client
dpkg -i /debs/2/*.deb
dpkg-query -W -f '${Version}' blockslab-dkms | grep -e 'blockslab2$'
modinfo -k "$release" blockslab
[ "$(dkms status | grep -c blockslab)" = 1 ]
client
dkms build --force "blockslab/1.0" -k "$release" >/tmp/built
! grep 'bad exit status' /tmp/built
dpkg --purge blockslab-dkms blockslab-dev blockslab-tools
! modinfo -k "$release" blockslab
rm -rf /client
listed >/tmp/after
diff /tmp/before /tmp/after
echo done
"""


def packages(into, *words):
    subprocess.run([f"{TOP}/tools/package", *words, into], check=True, stdout=subprocess.DEVNULL)


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.dir = scratch.name
        packages(f"{cls.dir}/1")

    def files(self, name):
        deb, = glob.glob(f"{self.dir}/1/{name}_*.deb")
        listed = subprocess.run(["dpkg", "-c", deb], capture_output=True, text=True, check=True).stdout
        return set(re.findall(r" \.(/\S*[^/\s])$", listed, re.M))

    def test_what_they_hold(self):
        with open(f"{TOP}/blockslab.h") as file:
            includes = re.findall(r'^#include "(.*)"', file.read(), re.M)
        self.assertLessEqual({f"/usr/include/blockslab/{name}"
                              for name in ["blockslab.h", "blockslab_compat.h", "core/page.h", *includes]} |
                             {"/usr/bin/blockslab-config", "/usr/share/man/man9/blockslab_alloc.9.gz",
                              "/usr/share/doc/blockslab-dev/examples/blockslab_sample.c"}, self.files("blockslab-dev"))
        self.assertLessEqual({"/usr/src/blockslab-1.0/dkms.conf", "/usr/src/blockslab-1.0/blockslab.c"},
                             self.files("blockslab-dkms"))
        tools = self.files("blockslab-tools")
        for path in tools:
            if path.startswith(("/usr/sbin/", "/usr/bin/")):
                self.assertIn(f"/usr/share/man/man8/{os.path.basename(path)}.8.gz", tools)

    def test_lintian_has_nothing_to_say(self):
        result = subprocess.run(["lintian", *glob.glob(f"{self.dir}/1/*.deb")], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout), (0, ""))

    @unittest.skipUnless(os.geteuid() == 0, "a chroot wants root")
    def test_their_lives_in_a_fresh_debian(self):
        if not os.path.isdir(BASE):
            subprocess.run(["sh", "-c", MAKE_BASE, "base", BASE, INCLUDED, TOP], check=True, stdout=subprocess.DEVNULL)
        packages(f"{self.dir}/2", "--revision", "2")
        with open(f"{TOP}/README.md") as file:
            kbuild = re.search(r"^```make\n(.*?)^```", file.read(), re.M | re.S)[1]
        for name, text in ("life", LIFE), ("Kbuild", kbuild.replace("mydriver", "client")):
            with open(f"{self.dir}/{name}", "w") as file:
                file.write(text)
        with open(f"{TOP}/test/clients/blockslab_sample.c") as file, open(f"{self.dir}/client.c", "w") as copy:
            copy.write(file.read())
        os.mkdir(f"{self.dir}/layer")
        result = subprocess.run(["unshare", "-m", "sh", "-c", IN_LAYER, "layer", BASE, f"{self.dir}/layer", self.dir],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(result.returncode, 0, result.stdout[-6000:])


if __name__ == "__main__":
    unittest.main()
