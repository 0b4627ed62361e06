// A program that speaks CGI, with nothing but Go's standard library: the same program runs under Apache.
package main

import (
	"fmt"
	"log"
	"net/http"
	"net/http/cgi"
)

func main() {
	if err := cgi.Serve(http.HandlerFunc(handle)); err != nil {
		log.Fatal(err)
	}
}

// Says what it was asked for.
func handle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hello from {{name}}. You asked for %s\n", r.URL.Path)
}
