# SPDX-License-Identifier: BSD-3-Clause
"""Ports for the servers of the tests in Python."""
import random
import socket


def free_port():
    """A port that nobody listens on, nor gets for a connection: below those that the kernel gives out."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(20000, 28000)))
                return probe.getsockname()[1]
            except OSError:
                continue
