# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the add-ons look at: a service (status_probe.cpp) and its Redis server."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from free_port import free_port


def eventually(get, is_right, what, seconds=30):
    """Returns what get() returns once it is right."""
    deadline = time.monotonic() + seconds
    while not is_right(value := get()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}; at last {value!r}")
        time.sleep(0.05)
    return value


class Probe:
    def __init__(self, program, broker, port):
        self._process = subprocess.Popen([program, broker, f"127.0.0.1:{port}"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().strip()

    def __call__(self, command):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def kill(self):
        self._process.kill()
        self._process.communicate()


class Redis:
    def __init__(self):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        self._process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
                                         stdout=subprocess.DEVNULL)
        eventually(lambda: subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True).returncode,
                   lambda code: code == 0, "Redis answers")

    def kill(self):
        self._process.kill()
        self._process.wait()
