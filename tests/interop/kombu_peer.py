"""The other side of the interop tests: Kombu in Python.

    kombu_peer.py URL [TRANSPORT-OPTIONS]

Reads one command per line, a JSON object, and prints its result, one JSON object per line: {"error": TEXT} on failure.
A "queue" is [NAME, EXCHANGE, TYPE, KEY].

    {"do": "publish", "exchange", "type", "key", "body", "serializer", "compression", "priority", "properties"}
                                    a body of {"base64": TEXT} is bytes
    {"do": "publish_headers", "exchange", "type", "key", "headers"}
                                    the headers are a Python expression
    {"do": "listen", "queue"}       declare it, and consume from now on
    {"do": "receive", "count", "ack", "timeout"}
                                    messages of the consumed queues
                                    "header_types" has the type and the text of each header
    {"do": "work", "queue", "first", "count", "idle"}
                                    publish these numbers while consuming, until nothing has come for `idle` seconds:
                                    what was handled
    {"do": "declare", "queue"}
    {"do": "delete", "queue"}       and cancel all consumers
"""
import base64
import datetime
import decimal
import json
import socket
import sys

import kombu


def typed(value):
    """What JSON cannot tell apart, as text."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [typed(inner) for inner in value]
    if isinstance(value, memoryview):
        value = bytes(value)
    return repr(value)


class Peer:
    def __init__(self, url, options):
        self.connection = kombu.Connection(url, transport_options=options)
        self.channel = self.connection.channel()
        self.producer = kombu.Producer(self.channel)
        self.consumers = []
        self.received = []

    @staticmethod
    def queue(name, exchange, type, key):
        return kombu.Queue(name, kombu.Exchange(exchange, type), key)

    def do_publish(self, exchange, key, body, type="direct", serializer=None, compression=None, priority=0, properties={}):
        if isinstance(body, dict) and set(body) == {"base64"}:
            body = base64.b64decode(body["base64"])
        target = kombu.Exchange(exchange, type)
        self.producer.publish(body, exchange=target, routing_key=key, serializer=serializer, compression=compression or None,
                              priority=priority, declare=[target] if exchange else [], **properties)
        return {}

    def do_publish_headers(self, exchange, key, headers, type="direct"):
        names = {"datetime": datetime.datetime, "Decimal": decimal.Decimal}
        self.producer.publish("", exchange=kombu.Exchange(exchange, type), routing_key=key, headers=eval(headers, names))
        return {}

    def do_declare(self, queue):
        self.queue(*queue)(self.channel).declare()
        return {}

    def do_work(self, queue, first, count, idle=1):
        name, exchange, type, key = queue
        handled = []

        def on_message(message):
            handled.append(message.decode())
            message.ack()

        numbers = list(range(first, first + count))
        with kombu.Consumer(self.channel, [self.queue(*queue)], on_message=on_message, prefetch_count=20):
            while True:
                for number in numbers[:10]:
                    self.producer.publish(number, exchange=kombu.Exchange(exchange, type), routing_key=key)
                del numbers[:10]
                if not self.drain(0.001) and not numbers and not self.drain(idle):
                    return {"handled": handled}

    def do_delete(self, queue):
        for consumer in self.consumers:
            consumer.cancel()
        self.consumers = []
        self.queue(*queue)(self.channel).delete()
        return {}

    def do_listen(self, queue):
        consumer = kombu.Consumer(self.channel, [self.queue(*queue)], on_message=self.received.append,
                                  accept=["json", "text/plain", "application/data", "yaml", "msgpack"])
        consumer.consume()
        self.consumers.append(consumer)
        self.drain(0.2)     # the Redis transport subscribes in drain_events()
        return {}

    def drain(self, timeout):
        try:
            self.connection.drain_events(timeout=timeout)
            return True
        except socket.timeout:
            return False

    def do_receive(self, count=1, ack=True, timeout=10):
        while len(self.received) < count and self.drain(timeout):
            pass
        messages = self.received[:]
        self.received.clear()
        return {"messages": [self.shown(message, ack) for message in messages]}

    def shown(self, message, ack):
        payload = message.decode()
        if ack:
            message.ack()
        return {
            "payload": {"base64": base64.b64encode(payload).decode()} if isinstance(payload, bytes) else payload,
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
            "headers": json.loads(json.dumps(message.headers, default=repr)),
            "header_types": typed(message.headers),
            # Without what the Redis transport adds, and without the headers, which py-amqp keeps here.
            "properties": {name: value for name, value in message.properties.items() if name not in
                           ("application_headers", "delivery_info", "delivery_tag", "body_encoding")},
            "exchange": message.delivery_info["exchange"],
            "routing_key": message.delivery_info["routing_key"],
            "redelivered": bool(message.delivery_info.get("redelivered")),
        }


peer = Peer(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
print("{}", flush=True)
for line in sys.stdin:
    command = json.loads(line)
    try:
        result = getattr(peer, "do_" + command.pop("do"))(**command)
    except Exception as error:
        result = {"error": repr(error)}
    print(json.dumps(result), flush=True)
