package main

import (
	"net/http/httptest"
	"testing"
)

func TestThePathIsInTheAnswer(t *testing.T) {
	answer := httptest.NewRecorder()
	handle(answer, httptest.NewRequest("GET", "/there?a=b", nil))
	if got, want := answer.Body.String(), "Hello from {{name}}. You asked for /there\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
