#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The services of examples/, with Kombu as their peer: services_test.py URL FOLDER"""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import kombu

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from free_port import free_port

URL, FOLDER = sys.argv[1:3]


def take(url, queue, delete=True):
    """The messages of a queue, as Kombu reads them."""
    with kombu.Connection(url) as connection:
        channel = connection.channel()
        bound = kombu.Queue(queue, channel=channel, no_declare=True)
        messages = []
        while (message := bound.get(accept=["json", "text/plain"])) is not None:
            message.ack()
            messages.append(message)
        if delete:
            channel.queue_delete(queue)
        return messages


def start(name, *arguments, **options):
    return subprocess.Popen([os.path.join(FOLDER, name), *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                            **options)


class OrderService(unittest.TestCase):
    def test_publishes_every_order(self):
        orders = [f"{number} rolls" for number in range(500)]
        service = start("order_service", URL, stdin=subprocess.PIPE)
        output = service.communicate("\n".join(orders), timeout=60)[0]
        self.assertEqual((service.returncode, output), (0, "500 orders published\n"))
        messages = take(URL, "orders.accepted")
        self.assertEqual(sorted(m.payload["text"] for m in messages), sorted(orders))
        self.assertEqual(len({m.properties["message_id"] for m in messages}), 500)

    def test_loses_no_order_while_the_broker_is_away(self):
        port = free_port()
        url = f"redis://127.0.0.1:{port}/0"
        with tempfile.TemporaryDirectory() as folder:
            def start_redis():
                server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder,
                                           "--appendonly", "yes", "--appendfsync", "always"],
                                          stdout=subprocess.DEVNULL)
                while subprocess.run(["redis-cli", "-p", str(port), "ping"], capture_output=True).returncode != 0:
                    time.sleep(0.02)
                return server

            server = start_redis()
            service = start("order_service", url, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            for number in range(300):
                service.stdin.write(f"{number}\n")
                service.stdin.flush()
                if number == 100:
                    server.kill()
                    server.wait()
                if number == 200:
                    self.assertIn("trying again", service.stderr.readline())
                    server = start_redis()
            output = service.communicate(timeout=60)[0]
            self.assertEqual((service.returncode, output), (0, "300 orders published\n"))
            self.assertEqual({m.payload["text"] for m in take(url, "orders.accepted")},
                             {str(number) for number in range(300)})
            server.kill()
            server.wait()

    def test_says_what_it_could_not_publish(self):
        service = start("order_service", f"redis://127.0.0.1:{free_port()}/0", stdin=subprocess.PIPE,
                        stderr=subprocess.DEVNULL)
        output = service.communicate("lost\n", timeout=60)[0]
        self.assertEqual((service.returncode, output), (1, "not published: lost\n0 orders published\n"))


class PreforkServer(unittest.TestCase):
    def test_publishes_from_each_process_and_ends_well(self):
        server = start("prefork_server", URL, 3)
        port = int(server.stdout.readline().split()[-1])
        processes = set()
        lines = 0
        deadline = time.monotonic() + 30
        while len(processes) < 3 and time.monotonic() < deadline:
            clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(3)]
            for client in clients:
                client.sendall(b"a line\n")
                lines += 1
            for client in clients:
                answer = client.makefile().readline()
                self.assertTrue(answer.startswith("ok "), answer)
                processes.add(answer)
                client.close()
        self.assertEqual(len(processes), 3)
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.communicate(timeout=30)[0], "3 processes ended, 0 badly\n")
        self.assertEqual(server.returncode, 0)
        self.assertEqual([m.payload for m in take(URL, "prefork.lines")], ["a line"] * lines)


class RequestReply(unittest.TestCase):
    def test_gets_the_reply_to_its_own_request(self):
        server = start("request_reply", "serve", URL)
        self.assertEqual(server.stdout.readline(), "serving\n")
        askers = [start("request_reply", "ask", URL, f"word {number}", 30) for number in range(8)]
        for number, asker in enumerate(askers):
            self.assertEqual(asker.communicate(timeout=60)[0], f"WORD {number}\n")
        server.send_signal(signal.SIGTERM)
        self.assertIn("8 requests answered", server.communicate(timeout=30)[0])
        take(URL, "requests.upper")

    def test_tells_when_nobody_answers(self):
        asker = start("request_reply", "ask", URL, "word", 0.3, stderr=subprocess.PIPE)
        self.assertIn("nobody has answered in time", asker.communicate(timeout=30)[1])
        self.assertEqual(asker.returncode, 1)
        take(URL, "requests.upper")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
