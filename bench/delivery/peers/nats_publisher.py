"""Publishes into a NATS server by its own protocol over TCP: the same messages at the same pace as everybody else.

nats_publisher.py --port PORT [--every-ms MS --burst N | --saturate]
"""
import argparse
import datetime
import itertools
import socket
import time

SATURATED_BURST = 50
OFFSETS = itertools.count()


def message():
    """Lapwing's envelope, 250 bytes: delivery/src/message.rs."""
    time_made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    text = f'{{"topic":"feed","offset":{next(OFFSETS)},"time":"{time_made}","data":"'.ljust(248, "x") + '"}'
    return f"PUB feed {len(text)}\r\n{text}\r\n".encode()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--every-ms", type=int, default=0)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--saturate", action="store_true")
    asked = parser.parse_args()
    server = socket.create_connection(("127.0.0.1", asked.port))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.sendall(b'CONNECT {"verbose":false}\r\n')
    while asked.saturate:
        # The answer to PING says that everything before it was taken, so the server sets the pace.
        server.sendall(b"".join(message() for _ in range(SATURATED_BURST)) + b"PING\r\n")
        answered = b""
        while b"PONG\r\n" not in answered:
            answered += server.recv(4096)
    due = time.monotonic()
    while asked.every_ms:
        due += asked.every_ms / 1000
        time.sleep(max(0.0, due - time.monotonic()))
        server.sendall(b"".join(message() for _ in range(asked.burst)))
    time.sleep(1e9)


main()
