"""A WebSocket server that is not ours: the library `websockets`, driven line by line.

What it tells on its standard output:
    listening PORT
    request PATH HOST ORIGIN        somebody has connected; a - where there is no such header
    pong                            the answer to a ping
    message ...                     the client sent something, which it shouldn't
    closed CODE                     the connection is over

What it takes on its standard input, with \\r, \\n, \\x00 and so on in TEXT:
    text TEXT
    binary TEXT
    fragments TEXT|TEXT|...
    ping
    close
"""

import queue
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

connections = queue.Queue()


def tell(*words):
    print(*words, flush=True)


def handle(connection):
    headers = connection.request.headers
    tell("request", connection.request.path, headers.get("Host", "-"), headers.get("Origin", "-"))
    connections.put(connection)
    try:
        for message in connection:
            tell("message", repr(message))
    except ConnectionClosed:
        pass
    tell("closed", connection.close_code)


def obey(command, text, connection):
    text = text.encode().decode("unicode_escape")
    if command == "text":
        connection.send(text)
    elif command == "binary":
        connection.send(text.encode("latin-1"))
    elif command == "fragments":
        connection.send(text.split("|"))
    elif command == "ping":
        if connection.ping("are you there?").wait(10):
            tell("pong")
    elif command == "close":
        connection.close(1001, "going for a walk")


def main():
    compression = None if sys.argv[1] == "none" else sys.argv[1]
    with serve(handle, "127.0.0.1", 0, compression=compression) as server:
        tell("listening", server.socket.getsockname()[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = connections.get()
        for line in sys.stdin:
            command, _, text = line.rstrip("\n").partition(" ")
            obey(command, text, connection)
            if command == "close":
                connection = connections.get()


main()
