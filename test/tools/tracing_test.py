#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The README's examples of tracing, run as they stand there on a live kernel, under a load."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = ("perf", "bpftrace", "trace-cmd")

# A load that goes on while it is wanted, and tells how often it came round. Where README sleeps, or has Ctrl-C, its
# next rounds are waited for, and before them bpftrace, until it waits for events itself: how long that takes, only the
# machine knows.
GUEST = r"""
mount -t tracefs none /sys/kernel/tracing
insmod /blockslab.ko && insmod /blockslab_replay.ko || exit 1
cd /sys/kernel/debug/blockslab_replay
zcat /small.trace.gz >trace
(while :; do
	[ -e /tmp/wanted ] || { usleep 100000; continue; }
	for step in "start all blockslab" "run 5000" free stop; do echo $step; done >control
	echo >>/tmp/rounds
done) &
load=$!
cat >/bin/rounds <<'END'
#!/bin/sh
before=$(wc -l </tmp/rounds)
: >/tmp/wanted
until [ $(wc -l </tmp/rounds) -gt $((before + 1)) ]; do usleep 100000; done
rm /tmp/wanted
END
chmod +x /bin/rounds
: >>/tmp/rounds
cd /tmp
export HOME=/tmp PAGER=cat
while read -r command; do
	echo "### $command"
	case $command in
	bpftrace*)
		sh -c "exec $command" >output 2>&1 &
		until grep -q epoll_wait /proc/$!/stack || ! kill -0 $!; do usleep 100000; done
		rounds
		kill -INT $!
		wait $! ;;
	*) sh -c "$command" >output 2>&1 ;;	# into a pipe, perf record would write its data
	esac
	head -n 400 output
done </examples
kill $load
"""


def examples():
    """Commands of the README's section on tracepoints."""
    with open(os.path.join(TOP, "README.md")) as stream:
        lines = re.findall(rf"^    ((?:{'|'.join(TOOLS)}) .*)$", stream.read(), re.MULTILINE)
    return [line.replace("sleep 10", "rounds") for line in lines]


@unittest.skipUnless(os.environ.get("GUEST_KERNEL") and os.environ.get("GUEST_MODULES"),
                     "needs GUEST_KERNEL (an image) and GUEST_MODULES (where blockslab.ko was built for it)")
@unittest.skipUnless(all(map(shutil.which, TOOLS)), f"needs {', '.join(TOOLS)}")
class Tracing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="blockslab-test.")
        cls.addClassCleanup(shutil.rmtree, folder)
        for name, text in (("guest", GUEST), ("examples", "\n".join(examples()) + "\n")):
            with open(f"{folder}/{name}", "w") as stream:
                stream.write(text)
        modules = os.environ["GUEST_MODULES"]
        files = [f"{folder}/guest", f"{folder}/examples", f"{modules}/blockslab.ko",
                 f"{modules}/test/clients/blockslab_replay.ko", f"{TOP}/test/small.trace.gz"]
        files += [f"{shutil.which(tool)}:/bin/{tool}" for tool in TOOLS]
        result = subprocess.run(
            [f"{TOP}/tools/vm", "--kernel", os.environ["GUEST_KERNEL"], "--smp", "2", "--mem", "2048",
             "--boot-time", "600", "--time", "1800", *(word for path in files for word in ("--file", path)),
             "--", "sh /guest"], stdout=subprocess.PIPE, text=True, errors="replace")
        if result.returncode:
            raise AssertionError(f"the guest failed with {result.returncode}: {result.stdout}")
        cls.output = dict(part.split("\n", 1) for part in result.stdout.split("### ")[1:])

    def expect(self, tool, pattern):
        text = next(text for command, text in self.output.items() if command.startswith(tool))
        self.assertTrue(re.search(pattern, text), f"no {pattern} in: {text[:2000]}")

    def test_perf_names_the_callers(self):
        self.expect("perf", r"of event 'blockslab:blockslab_alloc'")
        self.expect("perf", r"replay_\w+")

    def test_bpftrace_draws_a_histogram(self):
        self.expect("bpftrace", r"\[0, 32\) +\d+ +\|@+")

    def test_trace_cmd_shows_blocks(self):
        self.expect("trace-cmd", r"blockslab_block_get: +heap=replay ")


if __name__ == "__main__":
    unittest.main()
