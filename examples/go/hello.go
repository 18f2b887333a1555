// A FastCGI program on net/http/fcgi: says what it was asked, and how long the body was.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/fcgi"
)

func hello(w http.ResponseWriter, r *http.Request) {
	length, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if length > 100000 {
		log.Printf("a body of %d bytes", length)
	}
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s\nThe body has %d bytes.\n", r.Method, r.URL.RequestURI(), length)
}

func main() {
	log.SetFlags(0)
	// without a listener of its own it takes descriptor 0, where Stockade puts the listening socket
	log.Fatal(fcgi.Serve(nil, http.HandlerFunc(hello)))
}
