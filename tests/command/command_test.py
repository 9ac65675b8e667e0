#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The program `kombu` from the outside, on a broker: command_test.py KOMBU URL [TEST...]

What it publishes is read by Kombu, and the reverse.
"""
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

import kombu

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from free_port import free_port

PROGRAM, URL = sys.argv[1:3]
ON_REDIS = URL.startswith("redis")
SECRET = "kombu-secret"
COMMANDS = ["ping", "publish", "get", "consume", "declare", "purge", "move", "bench", "pools", "completion"]


def run(*arguments, data=None, code=0, timeout=60):
    """Runs the program; returns its output, or what it wrote to standard error when it should fail."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], input=data, capture_output=True, timeout=timeout)
    error = done.stderr.decode()
    if done.returncode != code:
        raise AssertionError(f"{arguments}: exit code {done.returncode}, not {code}: {error}{done.stdout.decode()}")
    if SECRET in error + done.stdout.decode(errors="replace"):
        raise AssertionError(f"{arguments}: the password was printed")
    return error if code not in (0, 130) else done.stdout.decode()


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def eventually(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(0.02)


class BrokerTest(unittest.TestCase):
    def setUp(self):
        self.queue = f"command.{os.getpid()}.{self.id().rsplit('.', 1)[1]}"
        self.other = self.queue + ".other"
        self.connection = kombu.Connection(URL)
        self.channel = self.connection.channel()
        for name in self.queue, self.other:
            run("declare", URL, name)

    def tearDown(self):
        for name in self.queue, self.other:
            self.channel.queue_delete(name)
        self.connection.close()

    def take(self, queue=None, content_types=("json", "text/plain", "application/data", "yaml")):
        """All messages of a queue, as Kombu reads them."""
        bound = kombu.Queue(queue or self.queue, channel=self.channel, durable=True)
        bound.no_declare = True
        taken = []
        while (message := bound.get(accept=list(content_types))) is not None:
            message.ack()
            taken.append(message)
        return taken

    def take_bodies(self, queue=None):
        """The same for many messages, by the program itself."""
        return [message["body"] for message in lines(run("consume", URL, queue or self.queue, "--ack"))]

    def publish(self, *bodies, queue=None, **options):
        with self.connection.Producer() as producer:
            for body in bodies:
                producer.publish(body, routing_key=queue or self.queue, **options)


class Ping(BrokerTest):
    def test_says_what_the_broker_is(self):
        text = run("ping", URL)
        self.assertIn("Redis 7." if ON_REDIS else "RabbitMQ 3.", text)
        self.assertIn("not encrypted", text)
        info = json.loads(run("ping", URL, "--json", "--count", 3))
        self.assertEqual(info["product"], "Redis" if ON_REDIS else "RabbitMQ")
        self.assertGreater(info["round_trip_ms"], 0)

    def test_reads_the_url_from_a_file(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(URL + "\n")
            file.flush()
            self.assertIn("round trip", run("ping", "@" + file.name))
        self.assertIn("round trip", run("ping", "@-", data=URL.encode()))
        self.assertIn("/nowhere", run("ping", "@/nowhere", code=2))


class Publish(BrokerTest):
    def test_sends_its_arguments(self):
        run("publish", URL, self.queue, "first", "zweite ä")
        messages = self.take()
        self.assertEqual([m.payload for m in messages], ["first", "zweite ä"])
        self.assertEqual(messages[0].content_type, "text/plain")

    def test_sends_each_line_of_its_input(self):
        run("publish", URL, self.queue, data=b"one\n\ntwo")
        self.assertEqual([m.payload or "" for m in self.take()], ["one", "", "two"])  # on Redis Kombu reads b""
        with tempfile.NamedTemporaryFile() as file:
            file.write(b'{"a": 1}\n[2]\n')
            file.flush()
            run("publish", URL, self.queue, "--file", file.name, "--serializer", "json")
            self.assertEqual([m.payload for m in self.take()], [{"a": 1}, [2]])
            run("publish", URL, self.queue, "--file", file.name, "--whole", "--serializer", "bytes")
            self.assertEqual([m.payload for m in self.take()], [b'{"a": 1}\n[2]\n'])
        self.assertIn("/nowhere", run("publish", URL, self.queue, "--file", "/nowhere", code=2))

    def test_sends_a_line_before_the_next_one_has_come(self):
        process = subprocess.Popen([PROGRAM, "publish", URL, self.queue], stdin=subprocess.PIPE)
        for number in range(3):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            seen = []
            eventually(lambda: seen.extend(self.take()) or seen, "the line arrives")
            self.assertEqual([m.payload for m in seen], [str(number)])
        process.stdin.close()
        self.assertEqual(process.wait(30), 0)

    def test_sends_headers_properties_and_compressed_bodies(self):
        run("publish", URL, self.queue, '{"x": [1]}', "-s", "json", "-c", "zlib", "-H", "n=1", "-H", "t=text", "-p",
            "message_id=m-1", "-p", "priority=3", "-p", "expiration=60", "-p", "delivery_mode=1", "-p", "type=kind")
        message, = self.take()
        self.assertEqual(message.payload, {"x": [1]})
        self.assertEqual((message.headers["n"], message.headers["t"]), (1, "text"))
        self.assertEqual(message.headers["compression"], "application/x-gzip")
        self.assertEqual(message.properties["message_id"], "m-1")
        self.assertEqual(message.properties["priority"], 3)
        self.assertEqual(message.properties["expiration"], "60000")
        self.assertEqual(message.properties["delivery_mode"], 1)

    def test_sends_through_an_exchange(self):
        exchange = self.queue + ".exchange"
        run("declare", URL, self.queue, "--exchange", exchange, "--type", "topic", "--routing-key", "a.#")
        run("publish", URL, exchange + "/a.b", "x")
        self.assertEqual(len(self.take()), 1)
        if not ON_REDIS:  # Redis itself has no exchanges
            self.assertIn("NO_ROUTE", run("publish", URL, exchange + "/b", "x", code=1))
            run("publish", URL, exchange + "/b", "x", "--allow-unroutable")
            run("publish", URL, exchange + "/b", "x", "--no-confirm")
            self.assertIn("404", run("publish", URL, "no such exchange/k", "x", code=1))
        self.channel.exchange_delete(exchange)

    def test_repeats_and_paces(self):
        begin = time.monotonic()
        run("publish", URL, self.queue, "a", "b", "--count", 10, "--rate", 50)
        self.assertGreater(time.monotonic() - begin, 0.36)  # 19 intervals
        self.assertEqual(len(self.take()), 20)

    def test_refuses_what_it_cannot_send(self):
        error = run("publish", URL, self.queue, "-s", "json", data=b"1\n{\n", code=2)
        self.assertIn("line 2", error)
        self.assertIn("1 message published", error)
        self.assertEqual([m.payload for m in self.take()], [1])
        self.assertIn("brotlin", run("publish", URL, self.queue, "x", "-c", "brotlin", code=2))
        self.assertIn("no property 'colour'", run("publish", URL, self.queue, "x", "-p", "colour=1", code=2))
        self.assertIn("NAME=VALUE", run("publish", URL, self.queue, "x", "-H", "colour", code=2))
        self.assertEqual(self.take(), [])

    def test_reads_the_url_before_the_messages(self):
        run("publish", "@-", self.queue, data=URL.encode() + b"\none\ntwo\n")
        self.assertEqual([m.payload for m in self.take()], ["one", "two"])

    def test_refuses_properties_out_of_range(self):
        for wrong in "priority=256", "priority=2.9", "priority=1e30", "timestamp=-5", "delivery_mode=3", "expiration=-1":
            self.assertIn("must be", run("publish", URL, self.queue, "x", "-p", wrong, code=2))
        self.assertEqual(self.take(), [])

    def test_stops_politely(self):
        process = subprocess.Popen([PROGRAM, "publish", URL, self.queue, "x", "-n", "1000000000", "-r", "20"],
                                   stderr=subprocess.PIPE)
        seen = []
        eventually(lambda: seen.extend(self.take()) or seen, "a message arrives")
        process.send_signal(signal.SIGUSR1)  # means nothing
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=30)[1].decode()
        self.assertEqual(process.returncode, 130)
        self.assertIn(f"kombu: interrupted: {len(seen) + len(self.take())} message", error)


class Get(BrokerTest):
    def test_leaves_messages_in_the_queue(self):
        self.publish({"a": 1}, {"b": 2}, headers={"h": "v"})
        for _ in range(2):
            first, second = lines(run("get", URL, self.queue, "--count", 5))
            self.assertEqual((first["body"], second["body"]), ({"a": 1}, {"b": 2}))
            self.assertEqual(first["headers"]["h"], "v")
            self.assertEqual(first["properties"]["content_type"], "application/json")
            self.assertEqual(first["routing_key"], self.queue)
        self.assertEqual(len(self.take()), 2)

    def test_removes_messages_with_ack(self):
        self.publish(1, 2, 3)
        self.assertEqual([m["body"] for m in lines(run("get", URL, self.queue, "--ack", "-n", 2))], [1, 2])
        self.assertEqual([m.payload for m in self.take()], [3])

    def test_tells_an_empty_queue(self):
        self.assertEqual(run("get", URL, self.queue, code=4), "")

    def test_prints_what_it_cannot_decode(self):
        self.publish(b"\xff\x00", content_type="application/data", content_encoding="binary")
        self.publish("no json", content_type="application/json", content_encoding="utf-8")
        self.publish(b"...", content_type="application/x-python-serialize", content_encoding="binary")
        data, broken, pickle = lines(run("consume", URL, self.queue, "--ack"))
        self.assertEqual(base64.b64decode(data["body_base64"]), b"\xff\x00")
        self.assertEqual(base64.b64decode(broken["body_base64"]), b"no json")
        self.assertIn("JSON", broken["error"])
        self.assertIn("error", pickle)


class Consume(BrokerTest):
    def test_ends_when_the_queue_is_empty(self):
        self.publish(*range(300))
        self.assertEqual([m["body"] for m in lines(run("consume", URL, self.queue))], list(range(300)))
        self.assertEqual(len(lines(run("consume", URL, self.queue, "--ack"))), 300)
        self.assertEqual(run("consume", URL, self.queue), "")

    def test_follows(self):
        process = subprocess.Popen([PROGRAM, "consume", URL, self.queue, "--ack", "--follow"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for number in range(5):
            self.publish(number)
            self.assertEqual(json.loads(process.stdout.readline())["body"], number)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=30)[1].decode()
        self.assertEqual((process.returncode, error), (130, "kombu: interrupted: 5 messages consumed\n"))
        self.assertEqual(self.take(), [])

    def test_follows_up_to_a_number_and_takes_no_more(self):
        process = subprocess.Popen([PROGRAM, "consume", URL, self.queue, "--ack", "--follow", "-n", "50"],
                                   stdout=subprocess.PIPE)
        self.publish(*range(80))
        output = process.communicate(timeout=60)[0].decode()
        self.assertEqual((process.returncode, len(output.splitlines())), (0, 50))
        self.assertEqual(len(self.take()), 30)

    def test_puts_back_what_it_followed_without_ack(self):
        process = subprocess.Popen([PROGRAM, "consume", URL, self.queue, "--follow", "-n", "150"],
                                   stdout=subprocess.PIPE)
        self.publish(*range(150))
        self.assertEqual(len(process.communicate(timeout=60)[0].splitlines()), 150)
        left = []
        eventually(lambda: left.extend(self.take()) or len(left) == 150, "all are back")

    def test_loses_nothing_when_its_reader_ends(self):
        run("publish", URL, self.queue, *range(2000), "-s", "json")
        script = f"'{PROGRAM}' consume '{URL}' '{self.queue}' --ack | head -n 10"
        printed = lines(subprocess.run(["sh", "-c", script], capture_output=True, timeout=60).stdout.decode())
        # The pipe held some that head has not read. All others, in their order, are still there.
        longest_line, pipe = 160, 65536 + 4096
        left = []
        eventually(lambda: left.extend(self.take_bodies()) or 1999 in left, "what was not printed is back")
        self.assertEqual([m["body"] for m in printed], list(range(10)))
        self.assertEqual(sorted(left), list(range(min(left), 2000)))
        self.assertLessEqual(min(left), 11 + pipe // longest_line)


class Declare(BrokerTest):
    def test_is_idempotent_and_names_a_difference(self):
        queue = self.queue + ".declared"
        self.assertIn("0 messages, 0 consumers", run("declare", URL, queue, "-a", "x-max-length=3"))
        run("declare", URL, queue, "-a", "x-max-length=3")
        if not ON_REDIS:
            self.assertIn("x-max-length", run("declare", URL, queue, "-a", "x-max-length=4", code=1))
            run("publish", URL, queue, "x", "-n", 10)
            self.assertIn("3 messages", run("declare", URL, queue, "-a", "x-max-length=3"))
            self.assertIn("declared", run("declare", URL, queue + ".quorum", "--queue-type", "quorum"))
            self.channel.queue_delete(queue + ".quorum")
        self.channel.queue_delete(queue)
        self.assertIn("neither a queue nor --exchange", run("declare", URL, code=2))
        self.assertIn("exchange command.e declared", run("declare", URL, "--exchange", "command.e"))


class Purge(BrokerTest):
    def test_counts(self):
        self.publish(1, 2)
        self.assertEqual(run("purge", URL, self.queue), "2 messages purged\n")
        self.assertEqual(run("purge", URL, self.queue), "0 messages purged\n")
        if not ON_REDIS:
            self.assertIn("404", run("purge", URL, self.queue + ".nowhere", code=1))


class Move(BrokerTest):
    def test_keeps_messages_as_they_are(self):
        self.publish({"a": ["ä", 1.5, None]}, headers={"h": [1, {"x": "y"}]}, compression="zlib", message_id="m",
                     correlation_id="c", reply_to="r", priority=2, expiration=100, delivery_mode=1, timestamp=5)
        self.publish(b"\x00\xff", content_type="application/data", content_encoding="binary")
        self.publish("text")
        before = lines(run("consume", URL, self.queue))
        self.assertEqual(run("move", URL, self.queue, URL, self.other), "3 messages moved\n")
        after = lines(run("consume", URL, self.other))
        for message in before + after:
            for place in "routing_key", "redelivered":
                message.pop(place)
            message["headers"].pop("redelivered", None)
            for unset in "type", "app_id", "user_id":
                message["properties"].pop(unset, None)
        self.assertEqual(before, after)
        self.assertEqual(self.take(), [])
        self.assertEqual([m.payload for m in self.take(self.other)], [{"a": ["ä", 1.5, None]}, b"\x00\xff", "text"])

    def test_is_not_routed_elsewhere_by_the_headers_of_the_first_publish(self):
        third = self.queue + ".third"
        run("declare", URL, third)
        self.publish("x", headers={"CC": [third]})
        if not ON_REDIS:
            eventually(lambda: self.take(third), "RabbitMQ routes by CC")
        run("move", URL, self.queue, URL, self.other)
        self.assertEqual((len(self.take(third)), len(self.take(self.other))), (0, 1))
        self.channel.queue_delete(third)

    def test_keeps_messages_with_properties_that_mean_nothing(self):
        if not ON_REDIS:
            self.skipTest("RabbitMQ refuses them")
        for wrong in "soon", "", "nan", "99999999999999":
            self.publish(wrong, expiration=60)
            name = self.queue
            record = json.loads(self.channel.client.lindex(name, 0))
            record["properties"]["expiration"] = wrong
            record["properties"]["delivery_mode"] = 7
            self.channel.client.lset(name, 0, json.dumps(record))
        run("move", URL, self.queue, URL, self.other)
        moved = self.take(self.other)
        self.assertEqual([m.payload or "" for m in moved], ["soon", "", "nan", "99999999999999"])

    def test_ends_when_both_queues_are_one(self):
        self.publish(*range(10))
        same = URL.replace("127.0.0.1", "localhost")
        self.assertNotEqual(same, URL)
        self.assertEqual(run("move", URL, self.queue, same, self.queue), "10 messages moved\n")
        self.assertEqual(len(self.take()), 10)

    def test_moves_some_in_their_order(self):
        run("publish", URL, self.queue, *range(1000), "-s", "json")
        run("move", URL, self.queue, URL, self.other, "-n", 501)
        left = []
        eventually(lambda: left.extend(self.take_bodies()) or len(left) == 499, "the rest is back")
        self.assertEqual(self.take_bodies(self.other), list(range(501)))
        self.assertEqual(sorted(left), list(range(501, 1000)))

    def test_refuses_the_same_queue(self):
        self.assertIn("the same", run("move", URL, self.queue, URL, self.queue, code=2))

    def test_loses_nothing_when_the_other_queue_does_not_exist(self):
        if ON_REDIS:
            self.skipTest("a queue of Redis exists as soon as something is in it")
        self.publish(*range(10))
        self.assertIn("0 messages moved", run("move", URL, self.queue, URL, self.other + ".nowhere", code=1))
        left = []
        eventually(lambda: left.extend(self.take()) or len(left) == 10, "all are back")

    def test_loses_nothing_when_it_is_stopped(self):
        run("publish", URL, self.queue, *range(20000), "-s", "json")
        process = subprocess.Popen([PROGRAM, "move", URL, self.queue, URL, self.other], stderr=subprocess.PIPE)
        moved = []
        eventually(lambda: self.channel._size(self.other) > 0 if ON_REDIS else
                   self.channel.queue_declare(self.other, passive=True).message_count > 0, "some are moved")
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1].decode()
        self.assertEqual(process.returncode, 130)
        left = []
        eventually(lambda: left.extend(self.take_bodies()) or moved.extend(self.take_bodies(self.other)) or
                   len(left) + len(moved) >= 20000, "all are in one of the queues")
        self.assertIn(f"interrupted: {len(moved)} messages moved", error)
        self.assertEqual(set(left + moved), set(range(20000)))

    def test_loses_nothing_when_the_other_broker_is_killed(self):
        port = free_port()
        target = f"redis://127.0.0.1:{port}/0"
        with tempfile.TemporaryDirectory() as folder:
            def start():
                server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder,
                                           "--appendonly", "yes", "--appendfsync", "always"],
                                          stdout=subprocess.DEVNULL)
                eventually(lambda: subprocess.run(["redis-cli", "-p", str(port), "ping"], stdout=subprocess.DEVNULL,
                                                  stderr=subprocess.DEVNULL).returncode == 0, "Redis answers")
                return server

            server = start()
            run("publish", URL, self.queue, *range(20000), "-s", "json")
            process = subprocess.Popen([PROGRAM, "move", URL, self.queue, target, "q"], stderr=subprocess.PIPE)
            length = ["redis-cli", "-p", str(port), "llen", "q"]
            eventually(lambda: int(subprocess.check_output(length)) > 0, "some are moved")
            server.kill()
            server.wait()
            error = process.communicate(timeout=60)[1].decode()
            self.assertEqual(process.returncode, 3, error)
            server = start()
            try:
                moved = {m["body"] for m in lines(run("consume", target, "q"))}
                left = []
                eventually(lambda: left.extend(self.take_bodies()) or len(moved | set(left)) == 20000,
                           "all are in one of the queues")
            finally:
                server.kill()
                server.wait()


class Bench(BrokerTest):
    def test_reports_in_every_form(self):
        with tempfile.TemporaryDirectory() as folder:
            plot, csv = folder + "/plot.svg", folder + "/seconds.csv"
            report = json.loads(run("bench", URL, "-d", 2, "-T", 3, "-l", 2, "-s", 500, "--json", "-", "--csv", csv,
                                    "--plot", plot))
            self.assertEqual(report["settings"]["limit"], 2)
            self.assertEqual(report["errors"], 0)
            self.assertGreater(report["published"], 10)
            self.assertGreater(report["received"], 10)
            self.assertLessEqual(report["received"], report["published"] + 3)
            latencies = report["publish_ms"]
            self.assertLessEqual(0, latencies["p50"])
            self.assertLessEqual(latencies["p50"], latencies["p99"])
            self.assertLessEqual(latencies["p99"], latencies["max"])
            self.assertEqual(sum(second["published"] for second in report["by_second"]), report["published"])
            with open(csv) as file:
                self.assertEqual(len(file.readlines()), 1 + len(report["by_second"]))
            tree = xml.etree.ElementTree.parse(plot)
            self.assertEqual(len(tree.findall(".//{http://www.w3.org/2000/svg}polyline")), 4)

    def test_keeps_to_a_rate_and_a_time(self):
        begin = time.monotonic()
        text = run("bench", URL, "-d", 2, "--rate", 100)
        self.assertLess(time.monotonic() - begin, 20)
        published = int(text[text.index("max\n"):].splitlines()[-1].split()[0])
        self.assertLessEqual(published, 210)
        self.assertGreater(published, 50)

    def test_refuses_a_queue_with_messages(self):
        self.publish(1)
        self.assertIn("has 1 message, which would be lost", run("bench", URL, "-d", 1, "--queue", self.queue, code=2))
        self.assertEqual(len(self.take()), 1)
        run("bench", URL, "-d", 0.5, "--queue", self.queue)

    def test_leaves_nothing_behind(self):
        process = subprocess.Popen([PROGRAM, "bench", URL, "-d", "0.5", "--consumers", "0"], stdout=subprocess.DEVNULL)
        self.assertEqual(process.wait(60), 0)
        queue = f"kombu.bench.{process.pid}"  # others may measure at the same time
        if ON_REDIS:
            self.assertEqual(self.channel.client.keys(f"*{queue}*"), [])
        else:
            self.assertIn("404", run("purge", URL, queue, code=1))


class Errors(unittest.TestCase):
    def test_are_one_sentence_and_an_exit_code(self):
        for code, arguments in [(2, []), (2, ["frob"]), (2, ["get", URL]), (2, ["get", URL, "q", "--count", "x"]),
                                (2, ["ping", "frob://"]), (2, ["ping", "amqp://h:x"]), (3, ["ping", "amqp://127.0.0.1:1"]),
                                (2, ["bench", URL, "--threads", "0"]), (2, ["publish", URL, "q", "x", "--rate", "0"]),
                                (2, ["get", URL, "q", "-n", "-1"]), (2, ["publish", URL, "q", "x", "--rate", "nan"])]:
            with self.subTest(arguments):
                error = run(*arguments, code=code)
                self.assertTrue(error.startswith("kombu: "), error)
                self.assertLess(len(error), 200, error)
                self.assertEqual(len(error.splitlines()), 1, error)

    def test_of_a_broker_that_does_not_answer_come_in_time(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            begin = time.monotonic()
            scheme = URL.split(":")[0]
            run("ping", f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.5", code=3)
            self.assertLess(time.monotonic() - begin, 20)

    def test_name_no_password(self):
        if ON_REDIS:
            self.skipTest("this server has no users")
        url = "amqp://user:top-secret@h/"
        for arguments in [[url], ["get", URL, "q", "x", url], ["get", URL, "q", "-t", url], ["bench", URL, "-T", url],
                          ["publish", URL, "q", "x", "-H", url], ["declare", URL, "q", "-T", url], [url, url],
                          ["pools", "http://user:top-secret@127.0.0.1:1/"], ["ping", url + " " + url]]:
            done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
            self.assertIn(done.returncode, (2, 3))
            self.assertNotIn("top-secret", done.stdout + done.stderr)
        error = run("ping", URL.replace(SECRET, "wrong-secret"), code=3)
        self.assertNotIn("wrong-secret", error)
        self.assertIn("refused", error)


class Help(unittest.TestCase):
    def test_fits_a_terminal(self):
        for command in [[], *[[name] for name in COMMANDS]]:
            text = run(*command, "--help")
            self.assertLessEqual(len(text.splitlines()), 24, command)
            self.assertLessEqual(max(map(len, text.splitlines())), 80, command)

    def test_and_the_manual_name_the_same_options(self):
        path = os.path.join(os.path.dirname(__file__), "../../tools/kombu/kombu.1")
        with open(path) as file:
            manual = file.read().replace("\\-", "-")
        for name in COMMANDS:
            section = manual[manual.index(f".SS kombu {name} "):]
            section = section[:section.find("\n.S", 1)]
            for word in run(name, "--help").replace(",", " ").split():
                if word.startswith("--") and word not in ("--help", "--timeout"):
                    self.assertIn(f"{word}", section, name)
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True)
        self.assertEqual((lint.returncode, lint.stdout), (0, b""))

    def test_completions_are_valid(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(run("completion", "bash"))
            file.flush()
            subprocess.run(["bash", "-n", file.name], check=True)
            script = ("source %s; COMP_WORDS=(kombu %s); COMP_CWORD=%d; _kombu; echo \"${COMPREPLY[@]}\"")
            complete = lambda words: subprocess.check_output(
                ["bash", "-c", script % (file.name, words, len(words.split()))]).decode().split()
            self.assertEqual(complete("pu"), ["publish", "purge"])
            self.assertEqual(complete("bench --th"), ["--threads"])
            self.assertEqual(complete("publish URL --ser"), ["--serializer"])
        for shell in "zsh", "fish":
            text = run("completion", shell)
            for name in COMMANDS:
                self.assertIn(name, text)
            subprocess.run([shell, "-n"], input=text.encode(), check=True)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
