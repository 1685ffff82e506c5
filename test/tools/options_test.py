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

NUMBERS = (
    ("test", "--track", "NONSENSE 0 1073741825"), ("test", "--seconds", "x 0 08"), ("test", "--repeat", "x 0 -1"),
    ("stress", "--minutes", "0 x"), ("stress", "--cpus", "0 17"), ("stress", "--nodes", "0 x"),
    ("stress", "--fail", "101 -1"), ("stress", "--seed", "x 4294967296"), ("giveback", "--operations", "0 x"),
    ("replay", "--cpus", "0 x"), ("replay", "--samples", "0 10000"), ("package", "--revision", "x"),
    ("port", "--boots", "0 x"), ("port", "--scale", "0 x"), ("port", "--track", "x"))


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
        self.refused("port", "one module", "first", "second")


if __name__ == "__main__":
    unittest.main()
