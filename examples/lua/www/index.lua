-- A guest book of one page: greets who gives a name, and says what an error looks like when the script handles it.

local function decoded(text)
  return (text:gsub('+', ' '):gsub('%%(%x%x)', function(digits) return string.char(tonumber(digits, 16)) end))
end

local function escaped(text)
  return (text:gsub('[&<>"]', { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ['"'] = '&quot;' }))
end

local function fields(form)
  local found = {}
  for name, value in form:gmatch('([^&=]+)=([^&]*)') do
    found[decoded(name)] = decoded(value)
  end
  return found
end

local form = os.getenv('QUERY_STRING') or ''
if os.getenv('REQUEST_METHOD') == 'POST' then
  form = io.read(tonumber(os.getenv('CONTENT_LENGTH') or 0)) or ''
end
local name = fields(form).name

-- An error is a longjmp in C and an exception in WebAssembly; here it ends at the pcall.
local caught, message = pcall(error, 'caught', 0)
assert(not caught and message == 'caught')

io.write('Content-Type: text/html; charset=utf-8\r\n\r\n')
io.write('<!doctype html>\n<title>Lua</title>\n')
io.write('<h1>Hello, ', escaped(name or 'world'), '!</h1>\n')
io.write('<form method="post"><input name="name" placeholder="Your name"> <button>Greet me</button></form>\n')
io.write('<p>', _VERSION, '</p>\n')
