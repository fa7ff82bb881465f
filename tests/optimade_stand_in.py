"""A small OPTIMADE server on loopback, which can also misbehave."""

from __future__ import annotations

import gzip
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

META = {"provider": {"name": "Stand-in", "prefix": "standin", "description": "for tests"}, "api_version": "1.2.0"}
INFO = {
    "data": {
        "type": "info",
        "id": "/",
        "attributes": {"available_licenses": ["CC-BY-4.0"], "license": {"href": "https://example.org/licence"}},
    },
    "meta": META,
}
PAGE = 2


def entry(number, symbols, positions, cell, **changes):
    """A structure as OPTIMADE has it: positions are fractions of the edges of an orthogonal cell."""
    attributes = {
        "lattice_vectors": [[cell[0], 0, 0], [0, cell[1], 0], [0, 0, cell[2]]],
        "cartesian_site_positions": [[x * e for x, e in zip(p, cell, strict=True)] for p in positions],
        "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in sorted(set(symbols))],
        "species_at_sites": list(symbols),
        "dimension_types": [1, 1, 1],
        "structure_features": [],
        **changes,
    }
    return {"type": "structures", "id": str(number), "attributes": attributes}


def perovskite(number, symbols=("Ca", "Ti", "O", "O", "O"), a=3.9, **changes):
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return entry(number, symbols, places, (a, a, a), **changes)


MIXED = [
    {"name": name, "chemical_symbols": [name] if name != "Ca" else ["Ca", "Sr"], "concentration": [1.0]}
    for name in ("Ca", "Ti", "O")
]
ENTRIES = [
    perovskite("0012"),
    perovskite("0013", ("Sr", "Ti", "O", "O", "O")),
    perovskite("0014", species=MIXED),
    perovskite("0015", a=1.2),
    perovskite("0016", lattice_vectors="nonsense"),
]


class Handler(BaseHTTPRequestHandler):
    """Answers as OPTIMADE 1.2, or as ``server.fault`` says."""

    def do_GET(self):
        parts = urlsplit(self.path)
        self.server.asked.append(self.path)
        fault = self.server.fault
        if fault == "slow":
            self.send_response(200)
            self.end_headers()
            while not self.server.stopping.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()
        elif fault == "huge":
            self.send(b'{"data": "' + b"x" * 3_000_000 + b'"}')
        elif fault == "bomb":
            self.send(gzip.compress(b" " * 3_000_000), encoding="gzip")
        elif isinstance(fault, str):
            self.send(b"", status=302, location=fault)
        elif isinstance(fault, int):
            self.send(b'{"errors": [{"title": "no", "detail": "\x1b[31m"}]}', status=fault)
        elif isinstance(fault, bytes):
            self.send(fault)
        elif parts.path == "/v1/info":
            self.send(json.dumps(INFO).encode())
        elif parts.path == "/v1/structures":
            self.send(json.dumps(self.page(parse_qs(parts.query))).encode())
        else:
            self.send(b"{}", status=404)

    def page(self, query):
        begin = int(query.get("page_offset", ["0"])[0])
        found = self.server.entries
        base = self.server.elsewhere or self.server.address
        following = f"{base}/v1/structures?page_offset={begin + PAGE}&filter={query['filter'][0]}"
        return {
            "data": found[begin : begin + PAGE],
            "meta": {**META, "data_returned": len(found), "data_available": 100},
            "links": {"next": following if begin + PAGE < len(found) else None},
        }

    def send(self, content, status=200, encoding=None, location=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def serving(entries=ENTRIES, fault=None, elsewhere=None):
    """Yield a server that runs; ``address`` is its base address, ``asked`` what it was asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.elsewhere = True, elsewhere
    server.entries, server.fault, server.asked, server.stopping = list(entries), fault, [], threading.Event()
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
