// Sends the body of a request back while it arrives, with its content type.
addEventListener('fetch', (event) => {
  const type = event.request.headers.get('content-type') || 'application/octet-stream';
  event.respondWith(new Response(event.request.body, { headers: { 'content-type': type } }));
});
