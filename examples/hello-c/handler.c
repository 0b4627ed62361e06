// The smallest handler in C: answers every request with one line of plain text, over the bindings that wit-bindgen writes.
#include "handler.h"

#include <string.h>

static const char GREETING[] = "Hello, world!\n";

static wasi_http_types_own_fields_t plain_text(void) {
	wasi_http_types_tuple2_field_name_field_value_t field;
	handler_string_set(&field.f0, "content-type");
	field.f1.ptr = (uint8_t *)"text/plain";
	field.f1.len = strlen("text/plain");
	wasi_http_types_list_tuple2_field_name_field_value_t list = { &field, 1 };
	wasi_http_types_own_fields_t fields;
	wasi_http_types_header_error_t error;
	if (!wasi_http_types_static_fields_from_list(&list, &fields, &error)) {
		__builtin_trap();
	}
	return fields;
}

static void send(wasi_http_types_own_outgoing_body_t body, const char *text) {
	wasi_http_types_own_output_stream_t stream;
	wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream);
	handler_list_u8_t bytes = { (uint8_t *)text, strlen(text) };
	wasi_io_streams_stream_error_t failure;
	wasi_io_streams_method_output_stream_blocking_write_and_flush(
		wasi_io_streams_borrow_output_stream(stream), &bytes, &failure);
	// The body cannot be finished while its stream is open.
	wasi_io_streams_output_stream_drop_own(stream);
	wasi_http_types_error_code_t error;
	wasi_http_types_static_outgoing_body_finish(body, NULL, &error);
}

void exports_wasi_http_incoming_handler_handle(exports_wasi_http_incoming_handler_own_incoming_request_t request,
                                               exports_wasi_http_incoming_handler_own_response_outparam_t out) {
	wasi_http_types_own_outgoing_response_t response = wasi_http_types_constructor_outgoing_response(plain_text());
	wasi_http_types_own_outgoing_body_t body;
	wasi_http_types_method_outgoing_response_body(wasi_http_types_borrow_outgoing_response(response), &body);
	wasi_http_types_result_own_outgoing_response_error_code_t result = { .is_err = false, .val.ok = response };
	wasi_http_types_static_response_outparam_set(out, &result);
	send(body, GREETING);
	wasi_http_types_incoming_request_drop_own(request);
}
