#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests how tools/faults reads a kernel's log, and how it judges; no guest is booted.

    python3 test/tools/faults_test.py [-v] [FaultsTest.test_NAME]...
"""

import importlib.machinery
import importlib.util
import os
import sys
import unittest

TOOL = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools", "faults")
sys.dont_write_bytecode = True      # nothing is left in the tree
loader = importlib.machinery.SourceFileLoader("faults", TOOL)
faults = importlib.util.module_from_spec(importlib.util.spec_from_loader("faults", loader))
loader.exec_module(faults)

GPF = "general protection fault, probably for non-canonical address 0xe027a996dd224c49: 0000 [#1] PREEMPT SMP NOPTI"


def outcome(*lines, over=True):
    """The columns that a run with these lines in its log gives; words alone are the module's own."""
    log = ["[ 1.0] blockslab_faults: run row blockslab default"]
    log += [f"[    1.2] {line}" if ":" in line or "[" in line else f"[    1.2] blockslab_faults: {line}"
            for line in lines]
    log += ["[    1.3] blockslab_faults: done"] if over else []
    return faults.parse("\n".join(log))["row", "blockslab"]


def columns(*lines, over=True):
    return outcome(*lines, over=over).columns()


def of(when, how, on, harm):
    made = faults.Outcome()
    made.when, made.how, made.on, made.harm = when, how, on, harm
    return made


class FaultsTest(unittest.TestCase):
    def test_silence(self):
        self.assertEqual(columns("phase fault", "phase reuse", "phase destroy"), ("never", "silent", "yes", "none"))

    def test_the_first_report_counts(self):
        self.assertEqual(columns("phase fault", "phase next", "blockslab: fault: double free: slot 0000, by x+0x1/0x2",
                                 "phase free", "BUG faults-1 (Not tainted): Poison overwritten"),
                         ("next", "report", "yes", "none"))

    def test_each_kind_of_report(self):
        for line, how in (("BUG faults-1 (Tainted: G           OE     ): Object already free", "report"),
                          ("BUG kmalloc-96 (Not tainted): Poison overwritten", "report"),
                          ("blockslab: validate: heap h, class of 8 bytes: slots at 0: is 1, should be 2", "report"),
                          ("blockslab: heap faults-2 was destroyed with live slots; they stay valid", "report"),
                          ("cache_from_obj: Wrong slab cache. faults-0 but object is from kmalloc-96", "warning"),
                          ("WARNING: CPU: 0 PID: 1 at mm/slab_common.c:904 free_large_kmalloc+0x3c/0x70", "warning"),
                          ("kernel BUG at mm/slub.c:379!", "bug")):
            self.assertEqual(columns("phase fault", line)[:2], ("fault", how), line)

    def test_a_crash_finds_nothing_and_ends_the_task(self):
        self.assertEqual(columns("phase fault", "phase reuse", GPF, "Oops: 0000 [#1] PREEMPT SMP NOPTI", over=False),
                         ("never", "crash", "task", "unknown"))

    def test_a_bug_is_found_and_ends_the_task(self):
        self.assertEqual(columns("phase fault", "kernel BUG at mm/slub.c:379!", "invalid opcode: 0000", over=False),
                         ("fault", "bug", "task", "unknown"))

    def test_a_crash_after_a_report_was_still_reported(self):
        self.assertEqual(columns("phase fault", "BUG faults-1 (Not tainted): Object already free", GPF, over=False),
                         ("fault", "report", "task", "unknown"))

    def test_a_crash_after_the_end_counts(self):
        console = ("blockslab_faults: run row blockslab default\nblockslab_faults: phase fault\n"
                   "blockslab_faults: done\n"
                   f"WARNING: CPU: 0 of somebody else\n{GPF}\n")
        self.assertEqual(faults.parse(console)["row", "blockslab"].columns(), ("never", "crash", "task", "unknown"))

    def test_a_guest_that_stops_without_a_word(self):
        self.assertEqual(columns("phase fault", over=False), ("never", "crash", "no", "unknown"))

    def test_a_panic(self):
        self.assertEqual(columns("phase fault", GPF, "Kernel panic - not syncing: Fatal exception", over=False),
                         ("never", "crash", "no", "unknown"))

    def test_the_worst_harm_counts(self):
        self.assertEqual(columns("phase fault", "harm content", "harm twice", "harm lost")[3], "twice")

    def test_what_a_reader_gets(self):
        self.assertEqual(columns("phase fault", "read poison")[:2], ("never", "poison"))
        self.assertEqual(columns("phase fault", "read old")[:2], ("never", "silent"))

    def test_live_slots_of_a_heap_that_the_row_destroys_are_no_find(self):
        self.assertEqual(columns("phase destroyed", "blockslab: heap h was destroyed with live slots; they stay valid",
                                 "phase fault"), ("never", "silent", "yes", "none"))

    def test_what_is_told_late_counts_for_the_phase_in_which_it_was_found(self):
        late = "blockslab: fault: damaged descriptor: slot 0000"
        self.assertEqual(columns("phase next", "blockslab_faults: found", "phase reuse", late)[:2], ("next", "report"))
        self.assertEqual(columns("phase next", late, "blockslab_faults: found", "phase reuse")[:2], ("next", "report"))
        self.assertEqual(columns("phase destroyed", "blockslab_faults: found", "phase next", late)[:2],
                         ("next", "report"))

    def test_what_comes_as_a_new_heap_is_made_comes_with_reuse(self):
        self.assertEqual(columns("phase fault", "phase over", "BUG kmem_cache (Not tainted): Poison overwritten")[:2],
                         ("reuse", "report"))

    def test_an_oops_that_is_the_row_s_own_is_no_news(self):
        self.assertEqual(columns("phase oops", GPF, "phase next"), ("never", "silent", "yes", "none"))
        self.assertEqual(columns("phase oops", GPF, "phase next", GPF), ("never", "crash", "task", "unknown"))

    def test_a_run_that_could_not_be_made(self):
        self.assertEqual(outcome("blockslab_faults: not run: error -6", over=False).error, "run: error -6")

    def test_each_run_has_its_own_lines(self):
        console = "".join(f"blockslab_faults: run row {side} default\nblockslab_faults: phase fault\n{line}\n"
                          "blockslab_faults: done\n"
                          for side, line in (("blockslab", "blockslab: fault: double free: slot 1"), ("slub", "-")))
        parsed = faults.parse(console)
        self.assertEqual(parsed["row", "blockslab"].when, "fault")
        self.assertEqual(parsed["row", "slub"].when, "never")

    def test_what_sampled_slots_find(self):
        def line(text):
            return faults.sample_line("row", outcome("phase fault", f"blockslab_faults: sampled {text}"))

        self.assertEqual(line("20000 of 93 bytes one of 4096: 450 found 450"),
                         ("fault row sampled blockslab found 450 of 450 share 0.0225 expected 0.0224 ok", True))
        self.assertFalse(line("20000 of 93 bytes one of 4096: 450 found 449")[1])
        self.assertFalse(line("20000 of 93 bytes one of 4096: 300 found 300")[1])
        self.assertFalse(faults.sample_line("row", outcome("blockslab_faults: not run: error -12", over=False))[1])

    def test_better_or_the_same_is_ok(self):
        found, silent = of("fault", "report", "yes", "none"), of("never", "silent", "yes", "content")
        self.assertEqual(faults.verdict(["found"], "default", found, of("fault", "bug", "task", "unknown")), "ok")
        self.assertEqual(faults.verdict([], "default", silent, silent), "ok")

    def test_each_column_may_be_worse(self):
        slub = of("next", "report", "yes", "none")
        for ours, bad in ((of("free", "report", "yes", "none"), "when"), (of("next", "warning", "yes", "none"), "how"),
                          (of("next", "report", "task", "none"), "on"), (of("next", "report", "yes", "lost"), "harm")):
            self.assertEqual(faults.verdict([], "debug", ours, slub), f"worse:{bad}")

    def test_what_the_write_itself_reached_counts_for_neither(self):
        self.assertEqual(faults.verdict([], "debug", of("next", "report", "yes", "written"),
                                        of("next", "report", "yes", "none")), "ok")

    def test_a_promise_holds_whatever_slub_does(self):
        slub = of("never", "crash", "task", "unknown")
        self.assertEqual(faults.verdict(["found"], "default", of("next", "report", "yes", "none"), slub),
                         "worse:promise")
        self.assertEqual(faults.verdict([], "default", of("never", "silent", "yes", "twice"), slub), "worse:harm")
        self.assertEqual(faults.verdict(["found", "ours"], "default", of("never", "silent", "yes", "none"), None),
                         "worse:promise")

    def test_the_exception_is_for_the_default_mode_and_goes_no_further(self):
        slub = of("fault", "bug", "task", "unknown")
        twice = of("never", "silent", "yes", "twice")
        self.assertEqual(faults.verdict(["excepted"], "default", twice, slub), "excepted")
        self.assertTrue(faults.verdict(["excepted"], "debug", twice, slub).startswith("worse"))
        for ours in (of("never", "silent", "yes", "outside"), of("never", "crash", "task", "unknown")):
            self.assertTrue(faults.verdict(["excepted"], "default", ours, slub).startswith("worse"))


if __name__ == "__main__":
    unittest.main()
