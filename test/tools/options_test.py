#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests that tools refuse what they cannot do, in words, before they fetch, build or boot anything. It needs no guest.

    python3 test/tools/options_test.py [-v] [OptionsTest.test_NAME]...
"""

import os
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.path.join(TOP, "tools")
TRACE = os.path.join(TOP, "test", "small.trace.gz")

NUMBERS = (
    ("test", "--track", "NONSENSE 0 1073741825"), ("test", "--seconds", "x 0 08"), ("test", "--repeat", "x 0 -1"),
    ("stress", "--minutes", "0 x"), ("stress", "--cpus", "0 17"), ("stress", "--nodes", "0 x"),
    ("stress", "--fail", "101 -1"), ("stress", "--seed", "x 4294967296"), ("giveback", "--operations", "0 x"),
    ("replay", "--cpus", "0 x"), ("replay", "--samples", "0 10000"), ("package", "--revision", "x"),
    ("port", "--boots", "0 x"), ("port", "--scale", "0 x"), ("port", "--track", "x"),
    ("sampling", "--rate", "0 -5 x"), ("sampling", "--size", "0 1.5"), ("sampling", "--period", "0 8Q"),
    ("sampling", "--days", "0"))


class OptionsTest(unittest.TestCase):
    def run_tool(self, tool, *options):
        """Of an empty cache, which stays so."""
        with tempfile.TemporaryDirectory() as cache:
            result = subprocess.run([os.path.join(TOOLS, tool), *options], capture_output=True, text=True, timeout=30,
                                    stdin=subprocess.DEVNULL, env={**os.environ, "XDG_CACHE_HOME": cache})
            found = [name for _, _, names in os.walk(cache) for name in names]
        self.assertEqual(found, [], result.stderr)
        return result

    def refused(self, tool, said, *options):
        """It fails, and the last line says what is wrong."""
        with self.subTest(tool=tool, options=options):
            result = self.run_tool(tool, *options)
            self.assertIn(result.returncode, (1, 2))
            self.assertEqual(result.stdout, "")
            self.assertNotIn("Traceback", result.stderr)
            self.assertIn(said, result.stderr.splitlines()[-1])
            self.assertIn(options[-1], result.stderr.splitlines()[-1])

    def test_numbers(self):
        for tool, option, bad in NUMBERS:
            for number in bad.split():
                self.refused(tool, option, option, number)

    def test_names(self):
        self.refused("faults", "no row", "--only", "nosuch")
        self.refused("faults", "no row", "--kernel", "7.3", "--only", "nosuch")
        self.refused("port", "one module", "first", "second")

    def test_a_kernel_that_is_not_to_be_had_is_told_before_others_are_brought(self):
        result = self.run_tool("bench", "--kernel", "6.1,um-9.9")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("kernel 9.9 is not to be had", result.stderr)

    def test_a_plot_that_cannot_be_written(self):
        for tool, trace in ("replay", [TRACE]), ("bench", []):
            result = self.run_tool(tool, "--plot", "/missing/plot.svg", *trace)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertRegex(result.stderr, f"^{tool}: .*/missing/plot.svg.*\n$")

    def test_periods_as_the_module_takes_them(self):
        outputs = [self.run_tool("sampling", "--days", "1", "--period", *period) for period in
                   (("8M", "512k"), ("8388608", "524288"))]
        self.assertEqual(outputs[0].stdout, outputs[1].stdout)
        self.assertIn("One of 512 KiB, ", outputs[0].stdout)
        self.assertIn("One of 93 bytes, ", self.run_tool("sampling", "--days", "1", "--period", "93").stdout)

    def test_help_by_its_long_name(self):
        for tool in "record-trace", "stress", "sampling":
            outputs = [self.run_tool(tool, option) for option in ("-h", "--help")]
            self.assertEqual([output.returncode for output in outputs], [0, 0])
            self.assertEqual(outputs[0].stdout, outputs[1].stdout)


if __name__ == "__main__":
    unittest.main()
