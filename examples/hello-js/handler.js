// The smallest handler in JavaScript: answers every request with one line of plain text.
addEventListener('fetch', (event) =>
  event.respondWith(new Response('Hello, world!\n', { headers: { 'content-type': 'text/plain' } })));
