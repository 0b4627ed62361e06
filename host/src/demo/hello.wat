;; The demo's handler: a `wasi:http/incoming-handler@0.2` component, written by hand so that the server carries a guest
;; without carrying a toolchain. It answers every request with the page at the end of this file.
;;
;; What a guest may call is what the `import`s say; types are written out as the definitions of WASI 0.2 have them,
;; because a component states the exact type of all that it imports. Errors end in `unreachable`, which the server
;; reports as a trap of this guest.

(component
  (import "wasi:io/error@0.2.0" (instance $io-error
    (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))

  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $outer-error))
    (export "error" (type $error (eq $outer-error)))
    (type $stream-error-cases (variant
      (case "last-operation-failed" (own $error))
      (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error-cases)))
    (export "output-stream" (type $output-stream (sub resource)))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $output-stream))
      (param "contents" (list u8))
      (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $output-stream))

  (import "wasi:http/types@0.2.0" (instance $http
    (alias outer 1 $output-stream (type $outer-output-stream))
    (export "output-stream" (type $output-stream (eq $outer-output-stream)))
    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type (sub resource)))
    (export "outgoing-response" (type $outgoing-response (sub resource)))
    (export "outgoing-body" (type $outgoing-body (sub resource)))
    (export "response-outparam" (type $response-outparam (sub resource)))

    (type $header-error-cases (variant
      (case "invalid-syntax")
      (case "forbidden")
      (case "immutable")))
    (export "header-error" (type $header-error (eq $header-error-cases)))

    (type $dns-error-record (record
      (field "rcode" (option string))
      (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns-error (eq $dns-error-record)))
    (type $tls-alert-record (record
      (field "alert-id" (option u8))
      (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls-alert (eq $tls-alert-record)))
    (type $field-size-record (record
      (field "field-name" (option string))
      (field "field-size" (option u32))))
    (export "field-size-payload" (type $field-size (eq $field-size-record)))
    (type $error-code-cases (variant
      (case "DNS-timeout")
      (case "DNS-error" $dns-error)
      (case "destination-not-found")
      (case "destination-unavailable")
      (case "destination-IP-prohibited")
      (case "destination-IP-unroutable")
      (case "connection-refused")
      (case "connection-terminated")
      (case "connection-timeout")
      (case "connection-read-timeout")
      (case "connection-write-timeout")
      (case "connection-limit-reached")
      (case "TLS-protocol-error")
      (case "TLS-certificate-error")
      (case "TLS-alert-received" $tls-alert)
      (case "HTTP-request-denied")
      (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64))
      (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid")
      (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $field-size))
      (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $field-size)
      (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $field-size)
      (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32))
      (case "HTTP-response-trailer-size" $field-size)
      (case "HTTP-response-transfer-coding" (option string))
      (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed")
      (case "HTTP-protocol-error")
      (case "loop-detected")
      (case "configuration-error")
      (case "internal-error" (option string))))
    (export "error-code" (type $error-code (eq $error-code-cases)))

    (export "[static]fields.from-list" (func
      (param "entries" (list (tuple string (list u8))))
      (result (result (own $fields) (error $header-error)))))
    (export "[constructor]outgoing-response" (func
      (param "headers" (own $fields))
      (result (own $outgoing-response))))
    (export "[method]outgoing-response.body" (func
      (param "self" (borrow $outgoing-response))
      (result (result (own $outgoing-body)))))
    (export "[static]response-outparam.set" (func
      (param "param" (own $response-outparam))
      (param "response" (result (own $outgoing-response) (error $error-code)))))
    (export "[method]outgoing-body.write" (func
      (param "self" (borrow $outgoing-body))
      (result (result (own $output-stream)))))
    (export "[static]outgoing-body.finish" (func
      (param "this" (own $outgoing-body))
      (param "trailers" (option (own $fields)))
      (result (result (error $error-code)))))))
  (alias export $http "incoming-request" (type $incoming-request))
  (alias export $http "response-outparam" (type $response-outparam))

  ;; The memory is a module of its own: the imported functions need it, and the handler needs the functions.
  (core module $memory-module
    (memory (export "memory") 1)

    ;; The first byte that nothing else uses. One call takes little, and every call has a memory of its own.
    (global $free (mut i32) (i32.const 8192))

    ;; Where the host puts a text, which only errors have. It never asks for more room for an old one.
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $begin i32)
      (local.set $begin (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $free (i32.add (local.get $begin) (local.get $size)))
      (if (i32.gt_u (global.get $free) (i32.const 65536)) (then (unreachable)))
      (local.get $begin))

    ;; 0: the list of headers, one entry: where the name begins, its length, where the value begins, its length.
    (data (i32.const 0) "\20\00\00\00\0c\00\00\00\30\00\00\00\18\00\00\00")
    (data (i32.const 0x20) "content-type")
    (data (i32.const 0x30) "text/html; charset=utf-8")
    ;; 128: where functions put results that are more than one number. 1024: the page.
    (data (i32.const 1024)
      "<!doctype html>\n"
      "<html lang=\"en\">\n"
      "<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n"
      "<title>Guesthouse is open</title>\n"
      "<style>\n"
      "  body { margin: 15vh auto; padding: 0 1rem; max-width: 34rem; font: 1.1rem/1.5 system-ui, sans-serif }\n"
      "  code { background: #8882; padding: .1em .3em; border-radius: .2em }\n"
      "  @media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } a { color: #9cf } }\n"
      "</style>\n"
      "<h1>Guesthouse is open</h1>\n"
      "<p>This page comes from a WebAssembly component. It was instantiated for your request, saw nothing of this\n"
      "machine, and is gone already.</p>\n"
      "<p>To serve a handler of your own, build it as a <code>wasi:http</code> component with the tools of your\n"
      "language, name it in a file <code>guesthouse.toml</code>, and run\n"
      "<code>guesthouse serve guesthouse.toml</code>:</p>\n"
      "<pre><code>[[module]]\n"
      "name = \"hello\"\n"
      "path = \"hello.wasm\"\n"
      "\n"
      "[[route]]\n"
      "path = \"/\"\n"
      "module = \"hello\"</code></pre>\n"
      "<p><code>guesthouse serve --help</code> says more.</p>\n"
      "</html>\n"))
  (core instance $store (instantiate $memory-module))
  (alias core export $store "memory" (core memory $memory))
  (alias core export $store "realloc" (core func $realloc))

  (core func $from-list
    (canon lower (func $http "[static]fields.from-list") (memory $memory)))
  (core func $new-response
    (canon lower (func $http "[constructor]outgoing-response")))
  (core func $body
    (canon lower (func $http "[method]outgoing-response.body") (memory $memory)))
  (core func $set
    (canon lower (func $http "[static]response-outparam.set") (memory $memory)))
  (core func $write
    (canon lower (func $http "[method]outgoing-body.write") (memory $memory)))
  (core func $write-and-flush
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $memory)))
  (core func $finish
    (canon lower (func $http "[static]outgoing-body.finish") (memory $memory) (realloc $realloc)))
  (core func $drop-request (canon resource.drop $incoming-request))
  (core func $drop-stream (canon resource.drop $output-stream))

  (core module $handler-module
    (import "host" "memory" (memory 1))
    (import "host" "from-list" (func $from-list (param i32 i32 i32)))
    (import "host" "new-response" (func $new-response (param i32) (result i32)))
    (import "host" "body" (func $body (param i32 i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "host" "write" (func $write (param i32 i32)))
    (import "host" "write-and-flush" (func $write-and-flush (param i32 i32 i32 i32)))
    (import "host" "finish" (func $finish (param i32 i32 i32 i32)))
    (import "host" "drop-request" (func $drop-request (param i32)))
    (import "host" "drop-stream" (func $drop-stream (param i32)))

    (global $result i32 (i32.const 128))
    (global $page i32 (i32.const 1024))

    ;; The handle in a result that lies at $result: its first byte says whether there is one, its fifth begins it.
    (func $handle-of-result (result i32)
      (if (i32.load8_u (global.get $result)) (then (unreachable)))
      (i32.load offset=4 (global.get $result)))

    ;; The page ends where there are only zeros; a write may have 4096 bytes at most, and the page has fewer.
    (func $page-length (result i32)
      (local $at i32)
      (local.set $at (global.get $page))
      (loop $next
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $next (i32.load8_u (local.get $at))))
      (i32.sub (local.get $at) (global.get $page)))

    (func (export "handle") (param $request i32) (param $answer-to i32)
      (local $response i32) (local $body i32) (local $stream i32)
      (call $drop-request (local.get $request))

      (call $from-list (i32.const 0) (i32.const 1) (global.get $result))
      (local.set $response (call $new-response (call $handle-of-result)))
      (call $body (local.get $response) (global.get $result))
      (local.set $body (call $handle-of-result))
      ;; The zeros: "ok", and nothing in the places that only an error would fill.
      (call $set (local.get $answer-to) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))

      (call $write (local.get $body) (global.get $result))
      (local.set $stream (call $handle-of-result))
      ;; Whether the client still takes it is not this guest's concern.
      (call $write-and-flush (local.get $stream) (global.get $page) (call $page-length) (global.get $result))
      (call $drop-stream (local.get $stream))
      ;; The zeros: no trailers.
      (call $finish (local.get $body) (i32.const 0) (i32.const 0) (global.get $result))))
  (core instance $handler (instantiate $handler-module
    (with "host" (instance
      (export "memory" (memory $memory))
      (export "from-list" (func $from-list))
      (export "new-response" (func $new-response))
      (export "body" (func $body))
      (export "set" (func $set))
      (export "write" (func $write))
      (export "write-and-flush" (func $write-and-flush))
      (export "finish" (func $finish))
      (export "drop-request" (func $drop-request))
      (export "drop-stream" (func $drop-stream))))))

  (func $handle
    (param "request" (own $incoming-request))
    (param "response-out" (own $response-outparam))
    (canon lift (core func $handler "handle")))
  (instance $incoming-handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $incoming-handler)))
