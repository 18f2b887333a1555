// net/http/fcgi: answers as the query string says; see tests/libraries.rs.
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/fcgi"
	"os"
	"time"
)

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	switch r.URL.RawQuery {
	case "early":
		fmt.Fprint(w, "early")
	case "big":
		piece := bytes.Repeat([]byte("b"), 100000)
		for i := 0; i < 100; i++ {
			w.Write(piece)
		}
	case "echo":
		io.Copy(w, r.Body)
	case "wait":
		// has begun, and goes on while its host may leave
		io.ReadFull(r.Body, make([]byte, 3))
		fmt.Fprint(w, "begun, ")
		w.(http.Flusher).Flush()
		log.Print("begun")
		for {
			if _, err := os.Stat(os.Getenv("GATE")); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		fmt.Fprint(w, "waited")
	case "stderr":
		log.Print("trouble")
		fallthrough
	default:
		fmt.Fprintf(w, "hello %s", r.Method)
	}
}

func main() {
	log.SetFlags(0)
	log.Fatal(fcgi.Serve(nil, http.HandlerFunc(answer)))
}
