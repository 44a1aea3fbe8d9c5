"""An agent: a model that asks for tools until it knows the answer. Its words are streamed while it speaks, and whoever
listens may stop it in the middle.

In this folder, in one terminal:   fencepost dev agent
In this folder, in another one:    python agent.py FOLDER
                                   python agent.py FOLDER --stop

With --stop the program cancels the run after a few words. The step that is speaking hears it wherever it runs, and the
workflow still writes down how far it came.

The model here is a stand-in that needs no network: put your provider's streaming call in the place of ``model``. The
rest stays as it is. Every answer of a model and every result of a tool is in the log: after a crash, none that is
complete is asked for or paid for again.
"""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fencepost import Client, Fatal, step, stream, workflow
from fencepost.errors import RunCancelled

ROUNDS_MAX = 50
WORDS_BEFORE_STOP = 8
CALL = re.compile(r"(list_files|count_words)\((.*)\)")


@dataclass
class Said:
    """What the model said in one round, and the tool that it asked for (None: this is the answer)."""

    text: str
    tool: str | None = None
    argument: str = ""


async def model(transcript: list[str]) -> AsyncGenerator[str]:
    """The stand-in: looks into the folder, then at each file, then answers. Speaks word by word, as models do."""
    folder = transcript[0].removeprefix("user: ")
    listed = [line.removeprefix("file: ") for line in transcript if line.startswith("file: ")]
    counted = [line.removeprefix("count: ").rsplit(" ", 1) for line in transcript if line.startswith("count: ")]
    if not listed:
        speech = f"First I look what is there: list_files({folder})"
    elif len(counted) < len(listed):
        speech = f"I have seen {len(counted)} of {len(listed)} files, next is count_words({listed[len(counted)]})"
    else:
        name, words = max(counted, key=lambda one: int(one[1]))
        speech = f"The longest of {len(listed)} files is {Path(name).name}, with {words} words."
    for word in re.findall(r"\S+\s*", speech):
        await asyncio.sleep(0.01)
        yield word


@step(retries=2)
async def speak(transcript: list[str]) -> Said:
    text = ""
    async with stream("words", str, shared=True) as out:
        async for word in model(transcript):
            text += word
            await out.write(word)
        await out.write("\n")
    asked = CALL.search(text)
    return Said(text) if asked is None else Said(text, asked[1], asked[2])


@step
def list_files(folder: str) -> list[str]:
    found = sorted(str(path) for path in Path(folder).glob("*.md"))
    if not found:
        raise Fatal(f"no *.md in {folder}")
    return [f"file: {path}" for path in found]


@step
def count_words(path: str) -> list[str]:
    return [f"count: {path} {len(Path(path).read_text(encoding='utf-8').split())}"]


@step
def write_down(folder: str, transcript: list[str]) -> None:
    (Path(folder) / "stopped.txt").write_text("\n".join(transcript), encoding="utf-8")


TOOLS: dict[str, Callable[[str], Awaitable[list[str]]]] = {"list_files": list_files, "count_words": count_words}


@workflow
async def agent(folder: str) -> str:
    transcript = [f"user: {folder}"]
    try:
        for _ in range(ROUNDS_MAX):
            said = await speak(transcript)
            if said.tool is None:
                return said.text
            transcript += [f"model: {said.text}", *await TOOLS[said.tool](said.argument)]
    except asyncio.CancelledError:
        await write_down(folder, transcript)
        raise
    return f"no answer in {ROUNDS_MAX} rounds"


async def main(folder: str, *, stop: bool) -> None:
    async with Client() as client:
        run = await client.start(agent, folder)
        heard, spoken_in = 0, {"": 0}
        async for chunk in run.stream("words", str).chunks():
            if chunk.attempt > spoken_in.setdefault(chunk.step, chunk.attempt):
                # Its worker died while it spoke, and it speaks again: a screen would take back the first half.
                spoken_in[chunk.step] = chunk.attempt
                print("\n(once more) ", end="")
            print(chunk.value, end="", flush=True)
            heard += 1
            if stop and heard == WORDS_BEFORE_STOP:
                await run.cancel("I have heard enough")
        try:
            print(f"answer: {await run.result(timeout=120)}")
        except RunCancelled as cancelled:
            print(f"\nstopped: {cancelled.detail}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--stop"]):
        sys.exit("usage: python agent.py FOLDER [--stop]")
    asyncio.run(main(str(Path(sys.argv[1]).resolve()), stop=len(sys.argv) == 3))
