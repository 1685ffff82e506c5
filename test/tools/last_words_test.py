#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What blockslab says of its heaps when a guest runs out of memory, and when it panics."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# The one that takes all memory is the one that is killed. The log is not cleared: the second time is too soon.
GUEST = """
insmod /blockslab.ko && insmod /blockslab_paths.ko && insmod /blockslab_sample.ko || exit 1
echo 200000 >/sys/module/blockslab_paths/parameters/run
cat /sys/kernel/debug/blockslab/heaps
sh -c 'echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero'
dmesg
echo c >/proc/sysrq-trigger
"""


@unittest.skipUnless(os.environ.get("GUEST_KERNEL") and os.environ.get("GUEST_MODULES"),
                     "needs GUEST_KERNEL (an image) and GUEST_MODULES (where blockslab.ko was built for it)")
class LastWords(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="blockslab-test.")
        cls.addClassCleanup(shutil.rmtree, folder)
        with open(f"{folder}/guest", "w") as stream:
            stream.write(GUEST)
        modules = os.environ["GUEST_MODULES"]
        files = [f"{folder}/guest", f"{modules}/blockslab.ko",
                 *(f"{modules}/test/clients/{name}.ko" for name in ("blockslab_paths", "blockslab_sample"))]
        result = subprocess.run(
            [f"{TOP}/tools/vm", "--kernel", os.environ["GUEST_KERNEL"], "--mem", "256", "--time", "300",
             "--log", f"{folder}/log", *(word for path in files for word in ("--file", path)), "--", "sh /guest"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace")
        cls.status, cls.output = result.returncode, result.stdout
        with open(f"{folder}/log", errors="replace") as stream:
            cls.log = stream.read()

    def told(self, text):
        """The heaps that are told, in their order: name, KiB, size of the class, KiB of the class, module."""
        head = re.search(r"blockslab: (\d+) heaps hold (\d+) KiB; the largest:", text)
        self.assertTrue(head, text[-3000:])
        found = re.findall(r"blockslab:   (\S+): (\d+) KiB(?:, slots of (\d+) bytes are (\d+) KiB of it)?; made by (\S+)",
                           text[head.end():])
        self.assertGreaterEqual(int(head[2]), sum(int(line[1]) for line in found))
        return int(head[1]), found

    def assertTold(self, text):
        number, heaps = self.told(text)
        self.assertEqual(number, 3)
        self.assertEqual(len(heaps), 2)	# the shared one holds nothing
        by_name = {line[0]: line for line in heaps}
        self.assertEqual(by_name["sample"][2], "64")
        self.assertLessEqual(int(by_name["sample"][3]), int(by_name["sample"][1]))
        self.assertEqual([by_name[name][4] for name in ("sample", "paths")],
                         ["blockslab_sample", "blockslab_paths"])
        held = [int(line[1]) for line in heaps]
        self.assertEqual(held, sorted(held, reverse=True))

    def test_out_of_memory(self):
        self.assertRegex(self.output, r"Out of memory: Killed process \d+ \(tail\)")
        before = self.output[:self.output.index("Out of memory: Killed")]
        self.assertTold(before)
        self.assertEqual(len(re.findall("KiB; the largest:", self.output)), 1)

    def test_panic(self):
        self.assertEqual(self.status, 125)
        self.assertTold(self.log[self.log.index("Kernel panic"):])


if __name__ == "__main__":
    unittest.main()
