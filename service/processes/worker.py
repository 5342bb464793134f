"""The worker: jobs and the schedule, and what is watched over the queue and the servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from uuid import UUID

from fastapi import FastAPI

from service import faults as fault
from service import health
from service.app import assemble, build_telemetry
from service.data.cache import build_cache_client
from service.data.consumer import Consumer, Unreadable
from service.data.figures import read_postgres, read_valkey
from service.data.jobs import parked_jobs, replay
from service.data.queue import forget_history, observe_queue
from service.data.queue_connection import close, connect
from service.data.schedule import Scheduler
from service.orders.keys import SqlOrderKeys
from service.orders.payments_client import HttpPayments, build_payments_client
from service.orders.repository import CANCEL_QUEUE, FULFIL_QUEUE, SqlOrderRepository
from service.orders.workflow import RESERVATION_TTL_S, fulfil_order
from service.processes.identity import build_issuer_client, build_own_token
from service.processes.pools import build_databases, database_password, database_timeouts
from service.settings import Settings
from service.worker import Worker

# What is done again and again, as cron expressions whose sixth field are seconds. What was charged for an order that
# never came to be is given back at most ten seconds later than it must; that is one look at an index.
SCHEDULE = {
    "stock.release-expired": "* * * * * */10",
    "jobs.forget-history": "*/10 * * * * 30",
    "orders.forget-keys": "*/10 * * * * 45",
}
HISTORY_TO_KEEP = timedelta(days=1)
PARKING_S = 1.0  # what is being parked at this moment is parked by then


def build_app(settings: Settings) -> FastAPI:
    """The worker, and around it the probes, metrics and faults over HTTP. ``app.state.health`` is its state."""
    tel = build_telemetry(settings)
    databases = build_databases(settings, tel)
    faults = fault.Faults(fault.WORKER_FAULTS, allowed=settings.faults_allowed, seed=settings.fault_seed)
    client = build_payments_client(settings.payments_url, pool_size=settings.pool_size)
    tel.instrument_http_client(client, peer="payments")
    issuer = build_issuer_client(tel)
    orders, payments = SqlOrderRepository(databases), HttpPayments(client, build_own_token(issuer, settings, tel))

    async def fulfil(payload: str, headers: Mapping[str, str]) -> None:
        await faults.disturb_job(headers.get(fault.SCOPE_HEADER), payload)
        await fulfil_order(orders, _order_id(faults.read_job(payload)))

    async def cancel_charge(payload: str, headers: Mapping[str, str]) -> None:
        await faults.disturb_job(headers.get(fault.SCOPE_HEADER))
        await payments.cancel(_order_id(payload))

    async def release_expired(payload: str, headers: Mapping[str, str]) -> None:
        await orders.release_expired(RESERVATION_TTL_S)

    async def forget(payload: str, headers: Mapping[str, str]) -> None:
        await forget_history(databases, HISTORY_TO_KEEP)

    async def forget_keys(payload: str, headers: Mapping[str, str]) -> None:
        await SqlOrderKeys(databases).forget()

    scheduled = dict(zip(SCHEDULE, (release_expired, forget, forget_keys), strict=True))
    jobs = {FULFIL_QUEUE: fulfil, CANCEL_QUEUE: cancel_charge, **scheduled}
    url, name = settings.database_url, f"signalbox/{settings.instance_id}"
    how = {"password": database_password(settings, tel), "timeouts": database_timeouts(settings)}
    worker = Worker(
        lambda: Consumer(url, jobs, application_name=f"{name}/queue", **how),
        lambda: Scheduler(url, SCHEDULE, application_name=f"{name}/schedule", **how),
    )

    async def put_back() -> None:
        """What a person would do once the worker reads its jobs again: ``jobs replay --all``."""
        await asyncio.sleep(PARKING_S)
        connection = await connect(url, f"{name}/replay", **how)
        try:
            await replay(connection, await parked_jobs(connection, FULFIL_QUEUE))
        finally:
            await close(connection)

    putting_back: set[asyncio.Task[None]] = set()

    def begin_to_put_back() -> None:
        putting_back.add(task := asyncio.create_task(put_back()))
        task.add_done_callback(putting_back.discard)

    faults.on_end(fault.UNREADABLE_JOBS, begin_to_put_back)
    for queue in jobs:
        tel.observe_queue(queue, partial(observe_queue, databases, queue))
    valkey = build_cache_client(settings.valkey_url, pool_size=1)
    tel.observe_figures("postgres", lambda: read_postgres(databases))
    tel.observe_figures("valkey", lambda: read_valkey(valkey))
    state = health.Health()
    state.register("queue", worker.ping)
    state.on_drain(worker.stop_fetching)
    return assemble(
        "signalbox worker",
        settings,
        tel,
        state,
        faults,
        opening=[worker.start],
        closing=[worker.finish, issuer.aclose, client.aclose, valkey.aclose, databases.dispose],
    )


def _order_id(payload: str) -> UUID:
    try:
        return UUID(payload)
    except ValueError:
        raise Unreadable("this is not the id of an order") from None
