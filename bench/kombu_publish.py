"""The cost of publishing with Kombu in Python: processor time of the client per message.

    kombu_publish.py URL MESSAGES
"""
import resource
import sys
import time

import kombu
from kombu.pools import producers

url, messages = sys.argv[1], int(sys.argv[2])
connection = kombu.Connection(url)
exchange = kombu.Exchange("bench.exchange")
queue = kombu.Queue("bench.queue", exchange, "key")
article = {"id": 1234567, "name": "a line of text of some length", "price": 12.5, "tags": ["a", "b", "c"], "stock": True}


def cost(name, publish):
    publish(200)
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    publish(messages)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / messages * 1e6
    print(f"{name:44} {cpu:12.1f} {'':20} {messages / (time.perf_counter() - start):12.0f}")


def pooled(count):
    for _ in range(count):
        with producers[connection].acquire(block=True) as producer:
            producer.publish(article, exchange=exchange, routing_key="key", serializer="json", declare=[exchange, queue])


def held(count):
    with producers[connection].acquire(block=True) as producer:
        for _ in range(count):
            producer.publish(article, exchange=exchange, routing_key="key", serializer="json", declare=[exchange, queue])


cost(f"Kombu {kombu.__version__}, producers[connection]", pooled)
cost(f"Kombu {kombu.__version__}, a producer that is kept", held)
