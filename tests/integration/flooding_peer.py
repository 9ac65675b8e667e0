"""A TLS server that sends heartbeats of AMQP for ever, as fast as it can.

    flooding_peer.py CERTIFICATE KEY

Answers each line of its input with its port.
"""
import json
import socket
import ssl
import sys
import threading

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))


def flood():
    while True:
        try:
            stream = context.wrap_socket(listener.accept()[0], server_side=True)
            while True:
                stream.sendall(b"\x08\0\0\0\0\0\0\xce" * 10_000)
        except OSError:
            pass


threading.Thread(target=flood, daemon=True).start()
print("{}", flush=True)
for line in sys.stdin:
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
