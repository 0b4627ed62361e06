// The smallest handler in JavaScript for wasi:http 0.3, where one instance serves many requests at once. The engine is
// QuickJS: plain ECMAScript, and the interfaces of WASI in place of `fetch` and `Response`.
import { Fields, Response } from 'wasi:http/types@0.3.0';

const bytes = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const TEXT = bytes('text/plain');
const GREETING = bytes('Hello, world!\n');

export const handler = {
  async handle(_request) {
    const { readable, writable } = wit.Stream(wit.Stream.U8);
    const trailers = wit.Future(wit.Future.RESULT_OPTION_OTHER_ERROR_CODE);
    const [response] = Response.new(Fields.fromList([['content-type', TEXT]]), readable, trailers.readable);
    // The body follows while the response is already on its way.
    send(writable, trailers.writable);
    return response;
  },
};

async function send(body, trailers) {
  await body.writeAll(GREETING);
  body.drop();
  await trailers.write({ tag: 'ok', val: null });
}
