"""The other side of the interop tests: Kombu in Python.

    kombu_peer.py read URL QUEUE               print the next message of the queue, as Kombu sees it, as one JSON object
    kombu_peer.py publish URL EXCHANGE KEY COMPRESSION BODY
                                               publish a JSON body with the json serializer
"""
import json
import sys

import kombu


def read(connection, queue):
    with connection.SimpleQueue(kombu.Queue(queue, no_declare=True)) as simple:
        message = simple.get(timeout=10)
        message.ack()
        print(json.dumps({
            "payload": message.payload,
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
            "headers": message.headers,
            "properties": {k: v for k, v in message.properties.items() if k != "application_headers"},
            "has_headers": "application_headers" in message.properties,
            "exchange": message.delivery_info["exchange"],
            "routing_key": message.delivery_info["routing_key"],
        }, sort_keys=True))


def publish(connection, exchange, key, compression, body):
    connection.Producer().publish(json.loads(body), exchange=exchange, routing_key=key, serializer="json",
                                  compression=compression or None)


command, url, *arguments = sys.argv[1:]
with kombu.Connection(url) as connection:
    {"read": read, "publish": publish}[command](connection, *arguments)
