"""The cost of receiving with Kombu in Python, messages of 1 KiB that are acknowledged.

    kombu_consume.py amqp://... MESSAGES     processor time of the client per message, from a peer that replays
    kombu_consume.py redis://... MESSAGES    processor time of the server per message of a backlog
"""
import resource
import sys

import kombu

url, messages = sys.argv[1], int(sys.argv[2])
on_redis = url.startswith("redis")
connection = kombu.Connection(url)
queue = kombu.Queue("bench.consume" if on_redis else "q", no_declare=True)
received = 0


def on_message(message):
    global received
    message.ack()
    received += 1


def client_time():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e6


def server_time():
    if not on_redis:
        return 0
    info = connection.default_channel.client.info("cpu")
    return (info["used_cpu_sys"] + info["used_cpu_user"]) * 1e6


if on_redis:
    with connection.Producer() as producer:
        for _ in range(messages):
            producer.publish("x" * 1024, routing_key="bench.consume")
consumer = kombu.Consumer(connection.default_channel, [queue], on_message=on_message, prefetch_count=256,
                          auto_declare=False)
server, client = server_time(), client_time()
with consumer:
    while received < messages:
        connection.drain_events(timeout=10)
client, server = client_time() - client, server_time() - server
if on_redis:
    print(f"Kombu {kombu.__version__}, prefetch 256: server {server / messages:.1f} us a message, "
          f"client {client / messages:.1f} us")
else:
    print(f"{f'Kombu {kombu.__version__}, Consumer':44} {client / messages:12.2f}")
