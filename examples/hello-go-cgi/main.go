// A Go program that speaks CGI with the standard library's own package: GET is greeted, POST gets its body back.
// Nothing in it knows of WebAssembly; run under Apache it does the same.
package main

import (
	"io"
	"log"
	"net/http"
	"net/http/cgi"
)

func main() {
	if err := cgi.Serve(http.HandlerFunc(handle)); err != nil {
		log.Fatal(err)
	}
}

func handle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	if r.Method == http.MethodPost {
		if _, err := io.Copy(w, r.Body); err != nil {
			log.Print("cannot send the body back: ", err)
		}
		return
	}
	io.WriteString(w, "Hello, world!\n")
}
