#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The demo's shell, as somebody at a terminal uses it."""

import os
import pty
import re
import shutil
import subprocess
import threading
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMANDS = """blockslabtop -o -H replay | head -n 4
blockslab-snapshot /snapshot && blockslab-report -o /report.html /snapshot && echo reported
blockslab-snapshot --openmetrics | tail -n 1
exit
"""


@unittest.skipUnless(os.environ.get("GUEST_KERNEL"), "needs what a guest needs; set GUEST_KERNEL")
@unittest.skipUnless(shutil.which("qemu-system-x86_64"), "needs qemu-system-x86")
class Demo(unittest.TestCase):
    def test_shell_has_the_tools(self):
        ours, theirs = pty.openpty()
        process = subprocess.Popen([f"{TOP}/tools/demo", "--shell"], stdin=theirs, stdout=theirs, stderr=theirs,
                                   start_new_session=True)
        os.close(theirs)
        watchdog = threading.Timer(900, process.kill)
        watchdog.start()
        text, commands = "", COMMANDS.splitlines(keepends=True)
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:
                break
            if not data:
                break
            # The shell asks where the cursor is.
            text += re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", data.decode(errors="replace"))
            # A prompt, after which nothing has come yet.
            if commands and "ends the guest" in text and re.search(r"(?m)^[/~]\S* # \Z", text):
                text += "\n"
                os.write(ours, commands.pop(0).encode())
        watchdog.cancel()
        os.close(ours)
        self.assertEqual(process.wait(60), 0, text[-3000:])
        self.assertRegex(text, r"replay  held [\d.]+M")
        self.assertRegex(text, r"(?m)^reported\r?$")
        self.assertRegex(text, r"(?m)^# EOF\r?$")
        with open(re.search(r"the report is (\S+)", text)[1]) as stream:
            self.assertIn("<h2>replay</h2>", stream.read())


if __name__ == "__main__":
    unittest.main()
