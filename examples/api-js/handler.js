// An API with outbound calls: GET /preview?url=... fetches a page and answers with its status and title as JSON.
//
// The handler may ask for any address. Whether a connection is made is decided outside of it: by `outbound` in the
// server's configuration, which a mistake here, or a clever `url`, cannot get around.
addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

const MOST = 64 * 1024;

async function answer(request) {
  const { pathname, searchParams } = new URL(request.url);
  const url = searchParams.get('url');
  if (!pathname.endsWith('/preview') || !url) {
    return json(404, { error: 'ask for /preview?url=ADDRESS' });
  }
  let page;
  try {
    page = await fetch(url);
  } catch (error) {
    return json(502, { url, error: `cannot fetch: ${error.message}` });
  }
  const text = await beginning(page);
  const title = /<title[^>]*>([^<]*)/i.exec(text)?.[1].trim() ?? null;
  return json(200, { url, status: page.status, title });
}

// A title stands at the beginning: the rest of a page, however long, is not waited for.
async function beginning(page) {
  const reader = page.body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  while (text.length < MOST && !/<\/title/i.test(text)) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  return text;
}

function json(status, value) {
  const headers = { 'content-type': 'application/json' };
  return new Response(JSON.stringify(value) + '\n', { status, headers });
}
