"""A web app that can be replaced: it says which version answers and from which release, and it stops
without dropping a request that it has begun to answer."""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Links are resolved, so this is the release and not `current`.
RELEASE = Path(__file__).resolve().parent
VERSION = (RELEASE / "VERSION").read_text().strip()
PORT = int(os.environ.get("PORT", "3000"))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"version": VERSION, "release": str(RELEASE), "pid": os.getpid()}
        body = (json.dumps(said) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    # server_close() then waits for the answers that are on their way.
    daemon_threads = False


server = Server(("", PORT), Handler)


def stop(signum, frame):
    # shutdown() waits for the loop below, which this very thread runs.
    threading.Thread(target=server.shutdown).start()


# supervisord sends SIGTERM to stop a process.
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)

print(f"shop {VERSION} listens on port {PORT}", flush=True)
server.serve_forever()
server.server_close()
