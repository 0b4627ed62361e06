// Says what it was asked for. Apart from the handler, so that a test can call it where no server is.
export async function answer(request) {
  const { pathname } = new URL(request.url);
  return new Response(`Hello from {{name}}. You asked for ${pathname}\n`, {
    headers: { 'content-type': 'text/plain; charset=utf-8' },
  });
}
