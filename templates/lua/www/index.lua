-- Says what it was asked for.

local path = (os.getenv('REQUEST_URI') or '/'):match('^[^?]*')

io.write('Content-Type: text/plain; charset=utf-8\r\n\r\n')
io.write('Hello from {{name}}. You asked for ', path, '\n')
