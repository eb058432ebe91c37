import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from traefikee.api import serving


async def endless(_request: Request) -> Response:
    async def beats() -> AsyncIterator[bytes]:
        while True:
            yield b"x\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(beats())


async def failing(_request: Request) -> Response:
    raise ValueError("a defect")


def test_a_stream_that_is_cut_at_the_end_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = Starlette(routes=[Route("/endless", endless), Route("/failing", failing)])

    async def run() -> None:
        path = tmp_path / "s"
        serving_it = asyncio.create_task(serving.serve(app, [serving.listen(path)]))
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            assert (await client.get("/failing")).status_code == 500
            async with client.stream("GET", "/endless") as answer:
                await anext(answer.aiter_bytes())
                serving_it.cancel()
                await asyncio.gather(serving_it, return_exceptions=True)
                others = asyncio.all_tasks() - {asyncio.current_task()}
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    told = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(one) for one in told] == [ValueError], told
