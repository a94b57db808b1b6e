"""Listens on the port that is its first argument, and passes the socket on to who asks for it.

With the word "take" it asks for the socket of such a process, and answers the clients."""
import socket
import sys

PORT = int(sys.argv[1])
ADDRESS = f"\0tcptally-passes-on-{PORT}"


def give():
    listener = socket.create_server(("", PORT), backlog=512)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(ADDRESS)
        door.listen()
        while True:
            taker, _ = door.accept()
            with taker:
                socket.send_fds(taker, [b"x"], [listener.fileno()])


def take():
    with socket.socket(socket.AF_UNIX) as giver:
        giver.connect(ADDRESS)
        _, descriptors, _, _ = socket.recv_fds(giver, 1, 1)
    listener = socket.socket(fileno=descriptors[0])
    while True:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")


take() if sys.argv[2:] == ["take"] else give()
