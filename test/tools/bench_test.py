#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests tools/bench: what it makes of a guest's lines; and, in two guests with the stock 6.1 kernel, a profile and rows
of a machine with many possible CPUs.

    python3 test/tools/bench_test.py [-v] [BenchTest.test_NAME]...
"""

import argparse
import contextlib
import importlib.machinery
import importlib.util
import io
import os
import re
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(TOP, "tools/bench")


def load():
    """tools/bench as a module; it leaves no __pycache__ in the tree."""
    loader = importlib.machinery.SourceFileLoader("bench", BENCH)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
    exec(compile(loader.get_source("bench"), BENCH, "exec"), module.__dict__)
    return module


bench = load()


def result(figures, unit="instr", kernel="6.1", zeroes="0"):
    return bench.Result(kernel, zeroes, unit, figures)


def options(**more):
    return argparse.Namespace(**{"only": "*", "quick": False, "profile": None, "slub": False, "names": {}, "cpus": 2,
                                 "mem": 1024, "append": "", "failed": False, **more})


def tool(*arguments):
    return subprocess.run([BENCH, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=1500)


class BenchTest(unittest.TestCase):
    def test_lines_of_a_guest(self):
        self.assertEqual(bench.parse("pair/24 slub 272.1 blockslab 72.0 faults 0\n"), ("pair/24", "72.0", "272.1"))
        self.assertEqual(bench.parse("memory_heap/2x1 slub -16 blockslab 6000 faults 0"),
                         ("memory_heap/2x1", "6000", "-16"))
        for line in ("pair/24 slub 272.1 blockslab 72.0 faults 1", "grow cat: read error: Out of memory", "",
                     "pair/24 slub 1 blockslab faults 0", "validate heap shared: 2 faults"):
            self.assertIsNone(bench.parse(line), line)

    def test_names_stand_for_what_follows(self):
        for globs, there, not_there in (("pair", "pair pair/24 pair_const/8", "unpair pair2/24"),
                                        ("batch*/200 grow", "batch2/200 batch256_rev/200 grow", "batch2/24 growth"),
                                        ("zero", "zero_heap/24 zero_cache/200", "zalloc/24"),
                                        ("memory first", "memory_heap/256x4 first/24 first/2x1", "destroy/2x1")):
            patterns = bench.patterns(globs)
            for row in there.split():
                self.assertTrue(bench.matches(row, patterns), row)
            for row in not_there.split():
                self.assertFalse(bench.matches(row, patterns), row)

    def test_rows_of_machines(self):
        self.assertEqual(bench.machine_rows(options(only="memory_heap first/64x1"), 64, 1),
                         ["memory_heap/64x1", "first/64x1"])
        self.assertEqual(len(bench.machine_rows(options(), 256, 4)), len(bench.MACHINE_ROWS))
        quick = [machine for machine in bench.MACHINES if bench.machine_rows(options(quick=True), *machine)]
        self.assertEqual(quick, [(2, 1), (256, 4)])
        self.assertEqual(set(bench.MACHINES), {(cpus, nodes) for cpus in (2, 64, 256) for nodes in (1, 4)})
        for only, expected in (("memory", True), ("memory_heap/2x1 destroy/256x4", True), ("first/*x4", True),
                               ("first", False), ("*", False), ("memory pair/24", False)):
            self.assertEqual(bench.only_machines(options(only=only)), expected, only)

    def test_every_row_is_in_the_help(self):
        with open(os.path.join(TOP, "test/clients/blockslab_bench.c")) as stream:
            names = re.findall(r'^\t\{ "(\w+)", ', stream.read(), re.M)
        self.assertGreater(len(names), 40)
        for name in ("batch2", "batch16", "batch256", "fork", "packet", "node", "grow", "zalloc", "rcu", "first"):
            self.assertIn(name, names)
        head = re.compile(r"\d.*|_(cache|heap|own|same|rev|max|p999)$")
        for name in names:
            self.assertIn(head.sub("", name), bench.__doc__, name)

    def test_table(self):
        lines = list(bench.table(result({"pair/24": (72, 272), "pair/8193": (1041, 1060), "pair/200": (72, 272),
                                         "grow": (254, 130.5), "first/256x4": (124000, 8400)})))
        self.assertIn("init_on_alloc=0", lines[0])
        self.assertEqual(lines[1].split(), ["workload", "SLUB", "blockslab", "24", "200", "8193", "256x4"])
        self.assertEqual([line.split() for line in lines[2:]],
                         [["pair", "272.0", "72.0", "0.26", "0.26", "0.98"], ["grow", "130.5", "254.0", "1.95"],
                          ["first", "8400.0", "124000.0", "14.76"]])

    def test_runs_side_by_side(self):
        lines = list(bench.side_by_side([result({"pair/24": (72, 288), "grow": (254, 0)}),
                                         result({"memory_heap/2x1": (12000, 4000)}, unit="bytes"),
                                         result({"pair/24": (80, 160)}, zeroes="1")]))
        self.assertEqual(lines[0], "| blockslab/SLUB | 6.1, instr, init_on_alloc=0 | 6.1, instr, init_on_alloc=1 |")
        self.assertEqual(lines[2:], ["| pair/24 | 72/288 0.25 | 80/160 0.50 |", "| grow | 254/0 - |  |",
                                     "| memory_heap/2x1 | 12000/4000 3.00 |  |"])

    def test_changes_of_over_two_percent(self):
        old = result({"pair/24": (100, 200), "grow": (100, 200), "rcu/24": (100, 200), "gone": (1, 1)})
        new = result({"pair/24": (101.9, 200), "grow": (97.9, 202), "rcu/24": (103, 200), "new": (1, 1)})
        self.assertEqual(list(bench.changes(old, new)),
                         ["compare 6.1 init_on_alloc=0 instr grow from 100 to 97.9, -2.1% (SLUB +1.0%)",
                          "compare 6.1 init_on_alloc=0 instr rcu/24 from 100 to 103, +3.0% (SLUB +0.0%)"])

    def test_two_revisions_take_turns(self):
        """And what was checked out for it is gone afterwards."""
        order, trees = [], []

        def prepare(kernel, tree=TOP):
            trees.append(tree)
            with open(f"{tree}/test/clients/blockslab_bench.c") as there, \
                 open(f"{TOP}/test/clients/blockslab_bench.c") as here:
                self.assertEqual(there.read(), here.read())
            self.assertTrue(os.path.exists(f"{tree}/blockslab.c"))
            built = os.path.join(self.scratch, str(len(trees)))
            os.mkdir(built)
            open(f"{built}.lock", "w").close()
            return bench.Setup(kernel, "image", True, built)

        def boot(args, setup, *rest):
            order.append(os.path.basename(setup.built))
            return {"ns": {"packet/256": (100 - len(order), 50)}}

        with tempfile.TemporaryDirectory() as self.scratch, contextlib.redirect_stdout(io.StringIO()) as out:
            kept = bench.prepare, bench.boot, bench.CACHE
            bench.prepare, bench.boot, bench.CACHE = prepare, boot, self.scratch
            try:
                new = bench.compare(options(compare="HEAD"), "um-7.3", "0")
            finally:
                bench.prepare, bench.boot, bench.CACHE = kept
            self.assertFalse(os.path.exists(os.path.join(self.scratch, "1")))
        self.assertEqual(order, ["1", "2", "1", "2"])
        self.assertEqual(new, [bench.Result("um-7.3", "0", "ns", {"packet/256": (96, 50)})])
        self.assertIn("# 1 rows in ns: 0 changed by over 2% since HEAD", out.getvalue())
        self.assertNotEqual(trees[0], TOP)
        self.assertFalse(os.path.exists(trees[0]))
        listed = subprocess.run(["git", "-C", TOP, "worktree", "list"], capture_output=True, text=True).stdout
        self.assertNotIn(trees[0], listed)

    def test_profile_by_function(self):
        symbols = [(0x100, "alloc"), (0x200, "free[blockslab]"), (0x300, "rare")]
        counts = [(0x100, 500, 50), (0x110, 100, 100), (0x200, 396, 40), (0x300, 4, 1)]
        self.assertEqual([line.split() for line in bench.by_function(symbols, counts, 100)],
                         [["60.0", "60.0%", "5.0000", "alloc"], ["39.6", "39.6%", "4.0000", "free[blockslab]"]])

    def test_plot(self):
        text = "\n".join(bench.plot_script([result({"pair/24": (72, 288), "grow": (254, 127)})]))
        self.assertIn("workload any 24\npair ? 0.25\ngrow 2.00 ?\nEOF", text)

    def test_what_it_refuses(self):
        for words, status, said in ((["--compare", "HEAD", "--profile", "grow"], 2, "--compare goes with neither"),
                                    (["--init-on-alloc", "2"], 2, "--init-on-alloc"),
                                    (["--compare", "no-such-revision"], 1, "no-such-revision"),
                                    (["--trace", "/missing"], 1, "/missing"), (["--nonsense"], 2, "--nonsense")):
            answer = tool(*words)
            self.assertEqual((answer.returncode, answer.stdout), (status, ""), answer.stderr)
            self.assertIn(said, answer.stderr)

    def test_no_workload_of_the_name(self):
        answer = tool("--quick", "--only", "nosuch")
        self.assertEqual(answer.returncode, 1)
        self.assertIn("no workload is named nosuch", answer.stderr.splitlines()[-1])

    def test_profile_of_a_row(self):
        answer = tool("--quick", "--profile", "grow")
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertRegex(answer.stdout, r"(?m)^bench 6\.1 instr grow blockslab [\d.]+ slub [\d.]+ ratio [\d.]+$")
        lines = [line.split() for line in answer.stdout.splitlines() if line.endswith("[blockslab]")]
        self.assertIn("blockslab_realloc[blockslab]", [line[-1] for line in lines])
        self.assertTrue(all(float(line[0]) > 0 and line[1].endswith("%") for line in lines), answer.stdout)

    def test_rows_of_many_possible_processors(self):
        answer = tool("--quick", "--only", "memory/256x4 memory_heap/256x4 first/256x4")
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        self.assertRegex(answer.stdout, r"(?m)^bench 6\.1 bytes memory_heap/256x4 blockslab \d+ slub \d+ ratio [\d.]+$")
        self.assertRegex(answer.stdout, r"(?m)^bench 6\.1 instr first/256x4 blockslab [\d.]+ slub [\d.]+ ratio")


if __name__ == "__main__":
    unittest.main()
