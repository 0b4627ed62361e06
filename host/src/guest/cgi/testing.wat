;; A program that exports wasi:cli/run 0.2 for the tests: its instructions are put in place of BODY.
(component
  (import "wasi:io/error@0.2.0" (instance $io-error (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $output-stream (sub resource)))
    (alias outer 1 $error (type $outer-error))
    (export "error" (type $error (eq $outer-error)))
    (type $stream-error-is (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error-is)))
    (export "[method]output-stream.write" (func
      (param "self" (borrow $output-stream)) (param "contents" (list u8)) (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output-stream (type $outer-output-stream))
    (export "output-stream" (type $output-stream (eq $outer-output-stream)))
    (export "get-stdout" (func (result (own $output-stream))))))
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (alias outer 1 $output-stream (type $outer-output-stream))
    (export "output-stream" (type $output-stream (eq $outer-output-stream)))
    (export "get-stderr" (func (result (own $output-stream))))))

  (core module $Memory (memory (export "memory") 3))
  (core instance $memory (instantiate $Memory))
  (core func $stdout (canon lower (func $stdout "get-stdout")))
  (core func $stderr (canon lower (func $stderr "get-stderr")))
  (core func $write
    (canon lower (func $streams "[method]output-stream.write") (memory (core memory $memory "memory"))))

  (core module $Program
    (import "host" "stdout" (func $stdout (result i32)))
    (import "host" "stderr" (func $stderr (result i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "memory" "memory" (memory 3))
    (data (i32.const 64) "Content-Type: a/b\n\n")
    (global $out (mut i32) (i32.const 0))
    (global $err (mut i32) (i32.const 0))
    ;; Both write at once, whatever the stream is ready for.
    (func $head (call $write (global.get $out) (i32.const 64) (i32.const 19) (i32.const 16)))
    (func $say (param $length i32)
      (call $write (global.get $out) (i32.const 64) (local.get $length) (i32.const 16)))
    (func $print (param $length i32)
      (call $write (global.get $err) (i32.const 64) (local.get $length) (i32.const 16)))
    (func (export "run") (result i32) (local $count i32)
      (global.set $out (call $stdout))
      (global.set $err (call $stderr))
      (; BODY ;)
      (i32.const 0)))
  (core instance $program (instantiate $Program
    (with "memory" (instance $memory))
    (with "host" (instance
      (export "stdout" (func $stdout)) (export "stderr" (func $stderr)) (export "write" (func $write))))))
  (func $run (result (result)) (canon lift (core func $program "run")))
  (instance $run (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run)))
