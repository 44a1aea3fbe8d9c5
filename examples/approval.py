"""An expense that a person approves over HTTP, and a workflow that answers the request itself.

In this folder, in one terminal:   fencepost dev approval
In this folder, in another one:    uvicorn approval:app --port 8001
In this folder, in a third one:    python approval.py 120.50

The program hands in an expense, finds the letter with the link that the workflow has sent (a file in outbox/), and
approves, as the person would. Everything but the link is open: the token in it cannot be guessed. The worker, the web
app and the program may die and come back at any moment; sending again does no harm, for everything carries an id.
"""

import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from fencepost import Client, hook, patched, step, workflow
from fencepost.web.webhooks import webhooks

WEB = os.environ.get("APPROVAL_URL", "http://127.0.0.1:8001")
OUTBOX = Path("outbox")
WITHOUT_ASKING = 50_00
GIVE_UP_SECONDS = 120


@dataclass
class Expense:
    id: str
    who: str
    cents: int


@dataclass
class Decision:
    by: str
    ok: bool


@step
def write_letter(expense: Expense, link: str) -> None:
    """Whole or not at all, and the same letter if it is written again."""
    OUTBOX.mkdir(exist_ok=True)
    beside = OUTBOX / f".{expense.id}"
    beside.write_text(json.dumps({"to": "the boss", "cents": expense.cents, "approve": link}), encoding="utf-8")
    beside.replace(OUTBOX / f"{expense.id}.json")


@step
async def pay_out(expense: Expense) -> str:
    return f"{expense.cents / 100:.2f} paid to {expense.who}"


@workflow
async def reimburse(expense: Expense) -> str:
    if expense.cents <= WITHOUT_ASKING:
        return await pay_out(expense)
    async with hook(Decision, http=True, respond=timedelta(seconds=10), metadata={"expense": expense.id}) as asked:
        await write_letter(expense, f"{WEB}/hooks/{asked.token}")
        try:
            async with asyncio.timeout(timedelta(days=14).total_seconds()):
                decision = await asked
        except TimeoutError:
            return "nobody has decided"
        asked.respond({"thanks": decision.by})
    if not decision.ok:
        return f"refused by {decision.by}"
    paid = await pay_out(expense)
    # Came later: runs that wait for their boss since before that end as they began.
    return f"{paid}, approved by {decision.by}" if patched("name-the-boss") else paid


# The web app: it starts runs and passes on what people send. It runs no workflow.

client = Client()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    async with client:
        yield


async def hand_in(request: Request) -> JSONResponse:
    expense = Expense(**await request.json())
    run = await client.start(reimburse, expense, key=expense.id)
    return JSONResponse({"run": run.id}, 202)


async def outcome(request: Request) -> JSONResponse:
    run = client.run(request.path_params["run"], reimburse)
    try:
        return JSONResponse({"outcome": await run.result(timeout=10)})
    except TimeoutError:
        return JSONResponse({"outcome": None}, 202)


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/expenses", hand_in, methods=["POST"]),
        Route("/expenses/{run}", outcome),
        Mount("/hooks", webhooks(client, secrets=os.environ.get("WEBHOOK_SECRET") or ())),
    ],
)


# The program: a browser would do the same.


def fetch(url: str, body: object = None, event: str = "") -> Any:
    """The JSON that is answered. Asks again, under the same id, while there is no answer yet."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"webhook-id": event} if event else {})
    until = time.monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code not in (503, 504) or time.monotonic() > until:
                raise
        time.sleep(0.2)


def main(cents: int) -> None:
    expense = {"id": f"expense-{uuid.uuid4().hex[:8]}", "who": "Ada", "cents": cents}
    run = fetch(f"{WEB}/expenses", expense)["run"]
    if cents > WITHOUT_ASKING:
        letter = OUTBOX / f"{expense['id']}.json"
        until = time.monotonic() + GIVE_UP_SECONDS
        while not letter.exists():
            if time.monotonic() > until:
                sys.exit("no letter has come: does `fencepost dev approval` run?")
            time.sleep(0.1)
        link = json.loads(letter.read_text(encoding="utf-8"))["approve"]
        answer = fetch(link, {"by": "Grace", "ok": True}, event=uuid.uuid4().hex)
        print(f"answered: {answer}")
    while (end := fetch(f"{WEB}/expenses/{run}")["outcome"]) is None:
        pass
    print(end)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python approval.py AMOUNT, for instance 120.50")
    main(round(float(sys.argv[1]) * 100))
