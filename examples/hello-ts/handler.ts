// The smallest handler in TypeScript. The types are checked by whoever edits it; the build only drops them.
interface FetchEvent {
  readonly request: Request;
  respondWith(response: Response | Promise<Response>): void;
}

addEventListener('fetch', (event) => {
  (event as unknown as FetchEvent).respondWith(greet());
});

function greet(): Response {
  return new Response('Hello, world!\n', { headers: { 'content-type': 'text/plain' } });
}
