"""The cost of publishing with Kombu in Python: processor time of the client per message.

    kombu_publish.py URL MESSAGES [THE-SAME-IN-CPP]

The last argument is the cost with the C++ library, in microseconds, for a row that compares them.
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
    print(f"{name:44} {cpu:10.3f} {'':10} {'':8} {'':6} {messages / (time.perf_counter() - start):12.0f}")
    return cpu


def pooled(count):
    for _ in range(count):
        with producers[connection].acquire(block=True) as producer:
            producer.publish(article, exchange=exchange, routing_key="key", serializer="json", declare=[exchange, queue])


def held(count):
    with producers[connection].acquire(block=True) as producer:
        for _ in range(count):
            producer.publish(article, exchange=exchange, routing_key="key", serializer="json", declare=[exchange, queue])


AIM = 1 / 120

of_kombu = cost(f"Kombu {kombu.__version__}, producers[connection]", pooled)
cost(f"Kombu {kombu.__version__}, a producer that is kept", held)
if len(sys.argv) > 3 and sys.argv[3]:
    ratio = float(sys.argv[3]) / of_kombu
    print(f"{'a JSON object of 100 B, x Kombu':44} {float(sys.argv[3]):10.3f} {ratio:10.4f} {AIM:8.4f}"
          f" {'met' if ratio <= AIM else 'missed':>6}")
