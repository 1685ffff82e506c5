#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests tools/vm with the stock 6.1 kernel (and with the User Mode Linux that the environment's UML names, if any).

    python3 test/tools/vm_test.py [-v] [VmTest.test_NAME]...
"""

import hashlib
import os
import pty
import select
import shlex
import signal
import subprocess
import tempfile
import time
import unittest

TOOLS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools")
VM = os.path.join(TOOLS, "vm")


def setUpModule():
    global stock
    lines = subprocess.run([os.path.join(TOOLS, "kernel"), "stock", "6.1"], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    stock = dict(word.split("=", 1) for word in shlex.split(lines))


class Common:
    """What holds for QEMU and for UML; `machine` are the options that choose."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name
        # A cache of its own, to see that nothing is left in it.
        self.cache = self.path("cache")
        self.environment = {**os.environ, "XDG_CACHE_HOME": self.cache}

    def tearDown(self):
        folder = os.path.join(self.cache, "blockslab")
        left = [name for name in os.listdir(folder) if name.startswith("vm-")] if os.path.isdir(folder) else []
        self.assertEqual(left, [])

    def path(self, name):
        return os.path.join(self.scratch, name)

    def vm(self, *arguments):
        # A guest that hangs as it boots is booted again, in one thread: the limit leaves time for all of that.
        return subprocess.run([VM, *self.machine, "--boot-time", "90", "--time", "120", *arguments],
                              capture_output=True, text=True, env=self.environment, stdin=subprocess.DEVNULL,
                              timeout=400)

    def expect(self, status, *arguments):
        result = self.vm(*arguments)
        # rarely a guest hangs, for reasons of the emulator's own
        if result.returncode == 124 != status:
            result = self.vm(*arguments)
        self.assertEqual(result.returncode, status, result.stderr)
        return result

    def test_output_and_status(self):
        result = self.expect(3, "--log", self.path("log"), "echo to stdout; echo to stderr >&2; exit 3")
        self.assertEqual(result.stdout, "to stdout\nto stderr\n")
        with open(self.path("log")) as stream:
            self.assertIn("Run /init as init process", stream.read())

    def test_files_there_and_back(self):
        content = os.urandom(5_000_000)
        os.mkdir(self.path("folder"))
        with open(self.path("folder/file"), "wb") as stream:
            stream.write(content)
        result = self.expect(0, "--file", self.path("folder") + ":/in", "--get", f"/out:{self.path('copy')}",
                             "--get", f"/in:{self.path('back')}", "cp /in/file /out; sha256sum </out")
        self.assertEqual(result.stdout.split()[0], hashlib.sha256(content).hexdigest())
        for name in ("copy", "back/file"):
            with open(self.path(name), "rb") as stream:
                self.assertEqual(stream.read(), content)

    def test_complaint_fails_unless_allowed(self):
        plant = "echo 'BUG: planted' >/dev/kmsg"
        result = self.expect(125, plant)
        self.assertIn("BUG: planted", result.stderr)
        self.expect(0, "--allow", "BUG: planted", plant)

    def test_time_limit(self):
        start = time.monotonic()
        self.assertIn("--time", self.expect(124, "--time", "2", "sleep 1000").stderr)
        self.assertLess(time.monotonic() - start, 60)

    def test_killed_with_the_runner(self):
        # A shell starts what it puts in the background with SIGINT ignored; that goes on to children.
        runner = subprocess.Popen([VM, *self.machine, "echo up; sleep 1000"], stdout=subprocess.PIPE, text=True,
                                  env=self.environment,
                                  preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.assertEqual(runner.stdout.readline(), "up\n")
        with open(f"/proc/{runner.pid}/task/{runner.pid}/children") as stream:
            guest = stream.read().split()
        self.assertEqual(len(guest), 1)
        runner.send_signal(signal.SIGINT)
        self.assertEqual(runner.wait(20), 130)
        runner.stdout.close()
        self.assertFalse(os.path.exists(f"/proc/{guest[0]}"))

    def test_shell(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(VM, ["vm", *self.machine, "--shell", "echo before"], self.environment)
        seen = b""

        def until(text, seconds=60):
            nonlocal seen
            deadline = time.monotonic() + seconds
            while text not in seen:
                self.assertTrue(select.select([terminal], [], [], deadline - time.monotonic())[0], seen)
                seen += os.read(terminal, 4096)
            seen = seen.partition(text)[2]

        until(b"before\r\n")
        until(b"# ")
        os.write(terminal, b"sleep 1000\r")
        until(b"sleep 1000")
        time.sleep(1)
        os.write(terminal, b"\x03")                     # ends the sleep, not the shell or the runner
        until(b"# ")
        os.write(terminal, b"echo $((6 * 7)); exit\r")
        until(b"42\r\n")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(terminal)


class QemuTest(Common, unittest.TestCase):
    @property
    def machine(self):
        return ["--quiet", "--kernel", stock["vmlinuz"]]

    def test_no_boot(self):
        with open(self.path("junk"), "wb") as stream:
            stream.write(bytes(100_000))
        self.expect(126, "--kernel", self.path("junk"), "--boot-time", "2", "true")

    def test_hang_is_tried_again(self):
        result = self.expect(126, "--smp", "2", "--boot-time", "0.5", "true")
        self.assertEqual(result.stderr.count("no sign of life"), 2)
        self.assertIn("once more, emulated in one thread", result.stderr)

    def test_death_on_the_way_up_is_tried_again(self):
        result = self.expect(125, "--smp", "2", "--append", "rdinit=/none", "true")
        self.assertEqual(result.stderr.count("Kernel panic - not syncing: VFS"), 2)
        self.assertIn("once more, emulated in one thread", result.stderr)

    def test_panic(self):
        result = self.expect(125, "echo c >/proc/sysrq-trigger")
        self.assertIn("sysrq triggered crash", result.stderr)

    def test_goes_down_early(self):
        self.assertIn("went down", self.expect(125, "poweroff -f").stderr)

    def test_missing_file(self):
        self.expect(2, "--file", self.path("none"), "true")
        self.assertIn("/none", self.expect(1, "--get", f"/none:{self.path('none')}", "true").stderr)

    def test_processors_nodes_and_hotplug(self):
        result = self.expect(0, "--smp", "4", "--numa", "2",
                             "cd /sys/devices/system; cat node/node[01]/cpulist; echo 0 >cpu/cpu3/online; nproc")
        self.assertEqual(result.stdout.split(), ["0-1", "2-3", "3"])

    def test_node_without_memory(self):
        result = self.expect(0, "--smp", "2", "--numa", "2", "--bare",
                             "cd /sys/devices/system/node; cat node[01]/cpulist has_memory")
        self.assertEqual(result.stdout.split(), ["0", "1", "0"])
        self.assertIn("--bare wants", self.expect(2, "--bare", "true").stderr)

    def test_possible_processors(self):
        for possible, expected in (("3", "0-2"), ("256", "0-255")):
            result = self.expect(0, "--possible-cpus", possible, "--numa", "2",
                                 "cat /sys/devices/system/cpu/possible /sys/devices/system/cpu/online; "
                                 "ls -d /sys/devices/system/node/node*")
            self.assertEqual(result.stdout.split(), [expected, "0", "/sys/devices/system/node/node0",
                                                     "/sys/devices/system/node/node1"])

    def test_icount_counts_instructions(self):
        # 1 GHz: every instruction takes a nanosecond.
        result = self.expect(0, "--icount", "--boot-time", "300", "dmesg | grep 'tsc: Detected'")
        self.assertRegex(result.stdout, r"(1000\.0|999\.9)\d* MHz")

    def test_modules(self):
        result = self.expect(0, "--modules", stock["modules"], "--modprobe", "zram num_devices=2",
                             "cut -d' ' -f1 /proc/modules; ls /dev/zram*")
        self.assertEqual(result.stdout.split(), ["zram", "zsmalloc", "/dev/zram0", "/dev/zram1"])
        self.expect(2, "--modules", stock["modules"], "--modprobe", "nonesuch", "true")

    def test_program_with_libraries(self):
        self.assertIn("coreutils", self.expect(0, "--file", "/bin/ls:/opt/", "/opt/ls --version").stdout)


@unittest.skipUnless(os.environ.get("UML"), "UML=LINUX is not set")
class UmlTest(Common, unittest.TestCase):
    machine = ["--quiet", "--uml", os.environ.get("UML", "")]

    def test_processors(self):
        self.assertEqual(self.expect(0, "--smp", "4", "nproc").stdout, "4\n")


if __name__ == "__main__":
    unittest.main()
