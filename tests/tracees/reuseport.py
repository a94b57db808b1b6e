"""Workers with a listening socket each (SO_REUSEPORT), on the port that is the argument. The first process
listens on none. SIGUSR1 creates another worker."""
import os
import signal
import socket
import sys


def serve():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", int(sys.argv[1])))
        listener.listen(512)
        while True:
            client = listener.accept()[0]
            client.recv(4096)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            client.close()


def create(*_):
    if os.fork() == 0:
        serve()


signal.signal(signal.SIGUSR1, create)
create()
while True:
    signal.pause()
