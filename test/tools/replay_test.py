#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests the trace format in both that read it (tools/replay, blockslab_replay.ko), the replay, and tools/record-trace.

    python3 test/tools/replay_test.py [-v] [ReplayTest.test_NAME]...
"""

import gzip
import os
import re
import shlex
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.path.join(TOP, "tools")

# A trace, and the number of its line that is bad.
BAD = [
    ("k 0 1\n", 1),
    ("k 0 1 24 \n", 1),
    ("k 0 1 24 5\n", 1),
    ("k  0 1 24\n", 1),
    ("k 0 1 24\r\n", 1),
    ("k 0 1 -24\n", 1),
    ("k 0 1 +24\n", 1),
    ("k 0 1 0x18\n", 1),
    ("k 0 1 4194305\n", 1),
    ("k 65536 1 24\n", 1),
    ("k 0 x 24\n", 1),
    ("K 0 1 24\n", 1),
    ("kk 0 1 24\n", 1),
    ("\n", 1),
    (" # not a comment\n", 1),
    ("k 0 1 24\n\nk 0 2 24\n", 2),
    ("# a comment\nk 0 1 24\nc 1 1 24\n", 3),
    ("k 0 1 24\n- 0 1\nk 0 1 24\n", 3),
    ("k 0 1 24\n- 0 2\n", 2),
    ("k 0 1 24\n- 0 1\n- 0 1\n", 3),
    ("- 0 1\n", 1),
    ("k 0 1 24\n- 0 1 24\n", 2),
    ("k 0 1 24\n" + "k" * 300 + "\n", 2),
    ("k 0 1 24\nc 0 2", 2),
]
# Six events, of which four are of mode k; 8328 bytes are pages, 0 bytes are nothing.
GOOD = "# " + "long " * 100 + "\nk 0 7 24\nc 1 3 1000\nk 5 18446744073709551615 8328\n- 1 3\nk 0 1 0\n- 0 7"
STATE = "# mode allocator event events peak asked held ns damaged"

GUEST = r"""
insmod blockslab.ko && insmod blockslab_replay.ko || exit
cd /sys/kernel/debug/blockslab_replay
try() { echo "$1" >control || echo "refused: $1"; }
state() { tail -n +3 control; }
"""


def setUpModule():
    global stock, built
    lines = subprocess.run([os.path.join(TOOLS, "kernel"), "stock", "6.1"], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    stock = dict(word.split("=", 1) for word in shlex.split(lines))
    built = os.environ.get("GUEST_MODULES") or make_modules()


def make_modules():
    """Where make builds them, which is for this kernel and this checkout."""
    said = subprocess.run(["make", "-s", "-C", TOP, f"KDIR={stock['kdir']}"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    return re.search(r"(?m)^blockslab\.ko and .* are in (.*)$", said)[1]


class ReplayTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name

    def write(self, name, text):
        path = os.path.join(self.scratch, name)
        with open(path, "w", newline="") as stream:
            stream.write(text)
        return path

    def guest(self, script, *files):
        """What the script printed, run in a guest with both modules."""
        files = [os.path.join(built, "blockslab.ko"), os.path.join(built, "test/clients/blockslab_replay.ko"),
                 self.write("script", GUEST + script), *files]
        options = [word for file in files for word in ("--file", file)]
        for _ in range(2):
            result = subprocess.run([os.path.join(TOOLS, "vm"), "--kernel", stock["vmlinuz"], "--smp", "2",
                                     "--boot-time", "300", "--time", "900", *options,
                                     "--", "sh /script 2>/dev/null"], stdout=subprocess.PIPE, text=True,
                                    stdin=subprocess.DEVNULL, timeout=400)
            # rarely a guest hangs, for reasons of the emulator's own
            if result.returncode != 124:
                break
        self.assertEqual(result.returncode, 0, result.stdout)
        return result.stdout

    def replay(self, *arguments):
        return subprocess.run([os.path.join(TOOLS, "replay"), *arguments], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=800)

    def test_tool_refuses_bad_lines(self):
        good = self.write("good", GOOD)
        for text, line in BAD:
            with self.subTest(text=text):
                path = self.write("bad", text)
                result = self.replay(good, path)
                self.assertEqual(result.returncode, 1)
                self.assertEqual(re.findall(r"^(.*): line (\d+): ", result.stderr, re.M)[0], (path, str(line)))
                self.assertIn("nothing was run", result.stderr)
                self.assertEqual(result.stdout, "")

    def test_tool_refuses_what_is_no_trace(self):
        damaged = os.path.join(self.scratch, "damaged.gz")
        with open(damaged, "wb") as stream:
            stream.write(gzip.compress(GOOD.encode())[:-9])
        for path in (damaged, self.write("empty", ""), os.path.join(self.scratch, "missing")):
            result = self.replay(path)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertIn(path, result.stderr)

    def test_module_refuses_bad_lines(self):
        os.mkdir(os.path.join(self.scratch, "bad"))
        for number, (text, _) in enumerate(BAD):
            self.write(f"bad/{number}", text)
        output = self.guest(f"""
            for number in $(seq 0 {len(BAD) - 1}); do
                dmesg -c >/dev/null
                cat /bad/$number >trace
                echo start all slub >control && echo started
                echo $number $(dmesg | grep -o 'line [0-9]* of the trace')
            done""", os.path.join(self.scratch, "bad"))
        self.assertEqual(output.splitlines(),
                         [f"{number} line {line} of the trace" for number, (_, line) in enumerate(BAD)])

    def test_states_of_a_replay(self):
        output = self.guest("""
            try "start k slub"
            cat /good >trace
            for command in "" x start "start k" "start k x" "start x slub" "start k slub x" "run end" free stop; do
                try "$command"
            done
            for way in k all exact; do
                for allocator in slub blockslab; do
                    try "start $way $allocator"
                    try "start $way $allocator"
                    cat /good >trace && echo a trace is taken in a replay
                    for run in 2 peak end; do
                        try "run $run"
                        state | cut -d ' ' -f 1-6,9
                    done
                    try "run 7"
                    try "run 0"
                    try free
                    state | cut -d ' ' -f 1-6,9
                    try stop
                done
            done
            tail -n 1 control""", self.write("good", GOOD))
        expected = ["refused: start k slub"]
        expected += [f"refused: {command}" for command in ("", "x", "start", "start k", "start k x", "start x slub",
                                                           "start k slub x", "run end", "free", "stop")]
        for way in ("k", "all", "exact"):
            for allocator in ("slub", "blockslab"):
                asked = (24, 8352, 8328, 0) if way == "k" else (1024, 9352, 8328, 0)
                expected.append(f"refused: start {way} {allocator}")
                expected += [f"{way} {allocator} {at} 6 3 {now} 0" for at, now in zip((2, 3, 6), asked)]
                expected += ["refused: run 7", f"{way} {allocator} 6 6 3 0 0"]
        self.assertEqual(output.splitlines(), expected + [STATE])

    def test_recorded_trace_replays(self):
        output = self.guest("""
            sh /tools/record-trace -o /x.gz sh -c 'seq 200 | while read i; do mkdir -p /tmp/a/$i; done; exit 3'
            echo status $?
            sh /tools/record-trace -b 1 -o /y.gz sh -c 'seq 1000 | while read i; do mkdir -p /tmp/b/$i; done'
            echo status $?
            ls /y.gz; ls /sys/kernel/tracing/instances
            zcat /x.gz >trace || echo the trace is refused
            zcat /x.gz | grep -c '^[kc]'
            try "start all blockslab"
            try "run end"
            state | awk '{ print $3 == $4, ($6 > 200 * 100), $9 }'
            try stop""", f"{TOOLS}/record-trace:/tools/record-trace", f"{TOOLS}/lib.sh:/tools/lib.sh")
        lines = output.splitlines()
        self.assertEqual(lines[:2] + lines[3:], ["status 3", "status 1", "1 1 0"], output)
        self.assertGreater(int(lines[2]), 400)

    def test_figures(self):
        """SLUB's are known: a slab of one page, however few of its slots are in use."""
        path = self.write("trace", "".join(f"k 0 {i} 24\n" for i in range(100)) + "c 1 100 9000\n")
        result = self.replay("--samples", "101", path)
        self.assertEqual(result.returncode, 0, result.stderr)
        number = r"(\d+)"
        found = {(way, what): tuple(map(int, figures)) for way, what, *figures in re.findall(
            rf"^replay {re.escape(path)} (\w+) (peak|mean) asked {number} blockslab {number} slub {number} "
            r"ratio [\d.]+ held/asked [\d.]+$", result.stdout, re.M)}
        self.assertEqual(len(found), 6, result.stdout)
        self.assertEqual(len(re.findall(r" time blockslab [\d.]+ s slub [\d.]+ s$", result.stdout, re.M)), 3)
        self.assertEqual(found["k", "peak"][::2], (2400, 4096))
        self.assertEqual(found["all", "peak"][::2], (11400, 4096 + 12288))
        self.assertEqual(found["exact", "peak"][::2], (11400, 4096 + 12288))
        self.assertEqual(found["k", "mean"][0], round((sum(range(101)) + 100) * 24 / 101))


if __name__ == "__main__":
    unittest.main()
