"""http.server with a thread per connection, on the port that is the argument."""
import http.server
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512

    def handle_error(self, *_):
        """Clients that reset the connection are no news."""


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
