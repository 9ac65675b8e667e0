#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The program `kombu` as a person uses it, in a terminal: terminal_test.py KOMBU URL [TEST...]"""
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, URL = sys.argv[1:3]


class Terminal:
    """A terminal of 80 columns and 24 lines with bash in it, by tmux."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._tmux = ["tmux", "-S", self._folder.name + "/socket"]
        environment = dict(os.environ, PATH=os.path.dirname(PROGRAM) + ":" + os.environ["PATH"])
        subprocess.run([*self._tmux, "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24",
                        "bash --norc --noprofile"], env=environment, check=True)

    def close(self):
        subprocess.run([*self._tmux, "kill-server"], stderr=subprocess.DEVNULL)
        self._folder.cleanup()

    def type(self, text, *keys):
        subprocess.run([*self._tmux, "send-keys", "-l", text], check=True)
        for key in keys:
            subprocess.run([*self._tmux, "send-keys", key], check=True)

    def screen(self):
        return subprocess.check_output([*self._tmux, "capture-pane", "-p"]).decode()

    def await_prompt(self):
        self.await_text(r"^bash-[\d.]+[#$]\s*$")

    def await_text(self, pattern):
        deadline = time.monotonic() + 30
        while not (found := re.search(pattern, self.screen(), re.MULTILINE)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} does not appear:\n{self.screen()}")
            time.sleep(0.05)
        return found


class InATerminal(unittest.TestCase):
    def setUp(self):
        self.queue = f"terminal.{os.getpid()}"
        subprocess.run([PROGRAM, "declare", URL, self.queue], stdout=subprocess.DEVNULL, check=True)
        self.terminal = Terminal()
        self.addCleanup(self.terminal.close)
        self.terminal.await_prompt()

    def tearDown(self):
        subprocess.run([PROGRAM, "purge", URL, self.queue], stdout=subprocess.DEVNULL, check=True)

    def test_long_work_shows_its_progress_and_ends_politely(self):
        self.terminal.type(f"kombu publish '{URL}' {self.queue} x -n 100000 -r 1000; echo code $?", "Enter")
        first = int(self.terminal.await_text(r"^published (\d+) of 100000 \(\d+ %\), \d+/s, \d+ s left$")[1])
        deadline = time.monotonic() + 30
        while int(self.terminal.await_text(r"^published (\d+) of")[1]) <= first and time.monotonic() < deadline:
            pass
        self.terminal.type("", "C-c")
        self.terminal.await_text(r"^kombu: interrupted: \d+ messages published\s+code 130$")
        self.assertNotIn("s left", self.terminal.screen())

    def test_consuming_shows_messages_as_they_come(self):
        self.terminal.type(f"kombu consume '{URL}' {self.queue} --ack -f; echo code $?", "Enter")
        subprocess.run([PROGRAM, "publish", URL, self.queue, "hello"], check=True)
        self.terminal.await_text(r'"body":"hello"')
        self.terminal.type("", "C-c")
        self.terminal.await_text(r"kombu: interrupted: 1 message consumed\s+code 130$")

    def test_a_measurement_says_how_long_it_takes(self):
        self.terminal.type(f"kombu bench '{URL}' -d 3; echo code $?", "Enter")
        self.terminal.await_text(r"^\d s of 3, \d s left: published \d+/s, received \d+/s, p99 [\d.]+ ms$")
        self.terminal.await_text(r"^code 0$")
        self.assertNotIn("s left", self.terminal.screen())
        self.assertRegex(self.terminal.screen(), r"publish +\d+/s( +[\d.]+){5}")

    def test_bash_completes_commands_and_options(self):
        self.terminal.type("source <(kombu completion bash); clear", "Enter")
        self.terminal.await_prompt()
        self.terminal.type("kombu mo", "Tab")
        self.terminal.await_text(r"kombu move\s*$")
        self.terminal.type("", "C-u")
        self.terminal.type("kombu bench amqp:// --dur", "Tab")
        self.terminal.await_text(r"kombu bench amqp:// --duration")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
