"""A server on an event loop. The arguments are its port and addresses. It accepts until EAGAIN."""
import asyncio
import sys


async def serve(reader, writer):
    try:
        await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()
    except ConnectionError:
        pass


async def main():
    server = await asyncio.start_server(serve, sys.argv[2:], int(sys.argv[1]), backlog=512)
    await server.serve_forever()


asyncio.run(main())
