"""Receives 5 packages of arrays from Lapwing, times them, and tells the server. Needs only: pip install websockets"""

import json
import sys
import time

from websockets.sync.client import connect

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
MESSAGES = 5

with connect(URL + "?topics=arrays") as server:
    began = time.perf_counter()
    for _ in range(MESSAGES):
        message = json.loads(server.recv())
        print(f"{message['topic']} {message['offset']} at {message['time']}: {message['data']}")
    took = time.perf_counter() - began
    server.send(f"Time taken to receive {MESSAGES} messages: {took:.6f} s")
