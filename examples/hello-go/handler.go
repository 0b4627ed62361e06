// Package export_wasi_http_incoming_handler is where the bindings that wit-bindgen writes look for the handler. This one
// answers every request with one line of plain text.
package export_wasi_http_incoming_handler

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	. "wit_component/wasi_http_types"
)

// Handle answers one request.
func Handle(request *IncomingRequest, out *ResponseOutparam) {
	defer request.Drop()
	contentType := wit.Tuple2[string, []uint8]{F0: "content-type", F1: []byte("text/plain")}
	response := MakeOutgoingResponse(FieldsFromList([]wit.Tuple2[string, []uint8]{contentType}).Ok())
	body := response.Body().Ok()
	ResponseOutparamSet(out, wit.Ok[*OutgoingResponse, ErrorCode](response))

	stream := body.Write().Ok()
	stream.BlockingWriteAndFlush([]byte("Hello, world!\n"))
	// The body cannot be finished while its stream is open.
	stream.Drop()
	OutgoingBodyFinish(body, wit.None[*Fields]())
}
