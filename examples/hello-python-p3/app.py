"""The smallest handler in Python for wasi:http 0.3, where one instance serves many requests at once."""

import componentize_py_async_support
import wit_world
from componentize_py_types import Ok
from wit_world.exports import Handler as HttpHandler
from wit_world.imports.wasi_http_types import Fields, Request, Response


class Handler(HttpHandler):
    async def handle(self, request: Request) -> Response:
        body_writer, body = wit_world.byte_stream()
        _, trailers = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(lambda: Ok(None))
        response, _sent = Response.new(Fields.from_list([("content-type", b"text/plain")]), body, trailers)
        # The body follows while the response is already on its way.
        componentize_py_async_support.spawn(send(body_writer, b"Hello, world!\n"))
        return response


async def send(body_writer, data: bytes) -> None:
    with body_writer:
        await body_writer.write_all(data)
