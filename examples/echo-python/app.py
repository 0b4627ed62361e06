"""Sends the body of a request back while it arrives, with its content type."""

import asyncio

from componentize_py_types import Ok
from poll_loop import PollLoop, Sink, Stream
from wit_world.exports import IncomingHandler as Handler
from wit_world.imports.types import Fields, IncomingRequest, OutgoingResponse, ResponseOutparam


class IncomingHandler(Handler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(echo(request, response_out))


async def echo(request: IncomingRequest, response_out: ResponseOutparam) -> None:
    content_type = [("content-type", value) for value in request.headers().get("content-type")]
    response = OutgoingResponse(Fields.from_list(content_type))
    stream, sink = Stream(request.consume()), Sink(response.body())
    ResponseOutparam.set(response_out, Ok(response))
    while (chunk := await stream.next()) is not None:
        await sink.send(chunk)
    sink.close()
