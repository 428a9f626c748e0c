"""Optuna's storage in a browser: optuna-dashboard, for reading alone."""

import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from bnstudy.books import registry, tuning
from bnstudy.commands import study
from bnstudy.commands.options import say
from bnstudy.design import Ablation
from bnstudy.errors import BnstudyError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LOOPBACK = "127.0.0.1"


def fill(place: study.Place, ablations: Path | None = None) -> None:
    """Bring into the storage what only the ledgers know, unless a run is about to do so itself."""
    from bnstudy.books.storage import Taken, identity, open_storage

    found = registry.find(ablations).ablations.values()
    recorded = [a.at(place.profile) for a in found if _parts(place, a.name)]
    if not recorded and not place.storage:
        raise BnstudyError(
            f"Nothing is recorded in {place.folder}; `bnstudy run lr-sweep{place.options}` records something."
        )
    if not recorded:  # a team's storage, seen from a machine that trains nothing
        return
    try:
        with study.holding(place):
            storage = open_storage(place.folder, say, place.storage)
            where = identity(place.folder) if place.storage else ""
            for ablation in recorded:
                _fill(ablation, place, storage, where)
    except Taken:
        say(f"A run goes on in {place.folder}: the dashboard shows it as it comes.")


def _parts(place: study.Place, name: str) -> list[str]:
    """Return which ledgers of an ablation exist: its own (""), that of its search."""
    return [part for part in ("", tuning.PART) if place.ledger(name, part).path.exists()]


def _fill(ablation: Ablation, place: study.Place, storage: Any, where: str) -> None:
    """Bring an ablation's records into the storage, and its search."""
    from bnstudy.books import search
    from bnstudy.books.schedule import Queue

    parts = _parts(place, ablation.name)
    final = place.at_tuned(ablation)
    if "" in parts and not any(arm.untuned for arm in final.arms):
        Queue(storage, final, where).recover(final, place.ledger(ablation.name).recorded())
    if tuning.PART in parts:
        search.publish(ablation, place.ledger(ablation.name, tuning.PART), storage, where)


def serve(place: study.Place, host: str, port: int) -> WSGIServer:
    """Return a server of the dashboard that listens already and answers questions alone."""
    from bnstudy.books.storage import read_storage

    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError as error:
        raise BnstudyError(
            f"The dashboard needs one more package ({error.name}): pip install 'bnstudy[dashboard]'."
        ) from None
    app = for_reading(wsgi(read_storage(place.folder, place.storage)), only_here=_is_loopback(host))
    try:
        return make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise BnstudyError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}. Choose another --port."
        ) from None


def for_reading(app: "WSGIApplication", only_here: bool) -> "WSGIApplication":
    """Return a web application that refuses whatever could change something.

    optuna-dashboard itself lets everyone who reaches it delete studies and tell trials. Where the server is
    for this machine only, a page from elsewhere that had its own name lead here is refused as well.
    """

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        named = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname or ""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            why = "This dashboard is for reading: what it shows comes from the ledgers."
        elif only_here and not _is_loopback(named):
            why = f"This dashboard is for this machine: ask for it as {LOOPBACK}."
        else:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [why.encode()]

    return guarded


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a browser asks every few seconds."""
