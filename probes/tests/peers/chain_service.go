// A service that calls others while it serves, with no header that says for whom; as `chain_service.py`, by Go.
//
//	chain-go ADDRESS PORT
//
// The path of a request says what is to be called: `/ID/TREE`, where TREE is a list of `PLACE:PORT(TREE)`. Each call
// that is made is written to standard output as `own path<tab>called path`: what a span's parent has to be. Of one request
// in ten, those whose number ends in 3, another goroutine makes the calls while that of the connection waits.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

var (
	written sync.Mutex
	calls   atomic.Int64
	client  = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
)

// The outermost `PLACE:PORT(TREE)` of a list.
func branches(tree string) (found [][2]string) {
	depth, start := 0, 0
	for at, letter := range tree {
		switch letter {
		case '(':
			depth++
		case ')':
			depth--
			if depth == 0 {
				place, rest, _ := strings.Cut(tree[start:at], "(")
				found = append(found, [2]string{place, rest})
				start = at + 1
			}
		}
	}
	return found
}

func call(by, place, path string) {
	written.Lock()
	fmt.Printf("%s\t%s\n", by, path)
	written.Unlock()
	request, err := http.NewRequest("GET", "http://"+place, nil)
	check(err)
	request.URL = &url.URL{Scheme: "http", Host: place, Opaque: path}
	// One in ten makes a connection of its own.
	request.Close = calls.Add(1)%10 == 0
	answer, err := client.Do(request)
	check(err)
	body, err := io.ReadAll(answer.Body)
	check(err)
	answer.Body.Close()
	if string(body) != "done" {
		panic(string(body))
	}
}

func serve(out http.ResponseWriter, in *http.Request) {
	own := in.RequestURI
	parts := strings.SplitN(own, "/", 3)
	all := func() {
		for at, branch := range branches(parts[2]) {
			call(own, branch[0], fmt.Sprintf("/%s.%d/%s", parts[1], at, branch[1]))
		}
	}
	if number, _, _ := strings.Cut(parts[1], "."); strings.HasSuffix(number, "3") {
		done := make(chan bool)
		go func() { all(); close(done) }()
		<-done
	} else {
		all()
	}
	out.Header().Set("Content-Length", "4")
	io.WriteString(out, "done")
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	listener, err := net.Listen("tcp", net.JoinHostPort(os.Args[1], os.Args[2]))
	check(err)
	check(http.Serve(listener, http.HandlerFunc(serve)))
}
