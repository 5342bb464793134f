"""An issuer that calls itself by a name of its network, reached from outside it: by a proxy that knows where it is.

In the container form the issuer's own name is one of the containers' network. A service must not believe an issuer
that calls itself otherwise than it was told, so an api of a test's own asks for that name, and goes through here.
"""

from __future__ import annotations

import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx

PASSED_ON = ("authorization", "content-type", "accept")


@cache
def reach(url: str) -> dict[str, str]:
    """What a process is told so that it finds the issuer that is at ``url`` by the issuer's own name."""
    named = str(httpx.get(f"{url}/.well-known/openid-configuration", timeout=10).json()["issuer"])
    if named == url:
        return {"SIGNALBOX_ISSUER_URL": url}
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(named, url))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{proxy.server_port}"
    return {"SIGNALBOX_ISSUER_URL": named, "HTTP_PROXY": address, "NO_PROXY": "127.0.0.1,localhost"}


def _handler(named: str, url: str) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            asked = urlsplit(self.path)  # a proxy is asked for whole addresses
            if f"{asked.scheme}://{asked.netloc}" != named:
                self.send_error(502)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
            answer = httpx.request(self.command, f"{url}{asked.path}", content=body, headers=headers, timeout=10)
            self.send_response(answer.status_code)
            self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = _pass_on

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Proxy
