// A server and a client that speak HTTP/1.1 and HTTP/2 inside Go's own TLS.
//
//	tls-go serve CERTIFICATE KEY       prints the port of 127.0.0.1 on which it serves
//	tls-go ask COUNT PORT...           sends requests and prints what it did, as JSON
//
// The record of a request is [number, port, method, path, status, request bytes, response bytes, start,
// end, TLS version or null, server name or null], times as wall clock nanoseconds around it. The number
// stands in the query. Connections of each kind are opened and used before "ready" is printed; the rest
// waits for a line on standard input. On those each side is inside a call when the agent comes: a
// request without a number goes first.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

var sizes = []int{0, 1, 100, 4_096, 65_536, 100_000, 1_048_576}

func main() {
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2], os.Args[3])
	case "ask":
		count := number(os.Args[2])
		var ports []int
		for _, port := range os.Args[3:] {
			ports = append(ports, number(port))
		}
		ask(count, ports)
	}
}

func serve(certificate, key string) {
	http.HandleFunc("/bytes/", func(w http.ResponseWriter, r *http.Request) {
		size := number(strings.TrimPrefix(r.URL.Path, "/bytes/"))
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Write(bytes.Repeat([]byte("g"), size))
	})
	http.HandleFunc("/take", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "taken")
	})
	http.HandleFunc("/parts/", func(w http.ResponseWriter, r *http.Request) {
		parts := number(strings.TrimPrefix(r.URL.Path, "/parts/"))
		for range make([]int, parts) {
			w.Write(bytes.Repeat([]byte("p"), 700))
			w.(http.Flusher).Flush()
		}
	})
	http.HandleFunc("/status/", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(number(strings.TrimPrefix(r.URL.Path, "/status/")))
	})
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	check(http.ServeTLS(listener, nil, certificate, key))
}

// wrapped is a connection of nobody's kind: what is beneath it is not where Go has it.
type wrapped struct{ net.Conn }

// client opens connections of its own, over HTTP/2 or over HTTP/1.1.
func client(second, wrap bool) *http.Client {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: second,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(address)
			conn, err := new(net.Dialer).DialContext(ctx, "tcp4", "127.0.0.1:"+port)
			if wrap && err == nil {
				return wrapped{conn}, nil
			}
			return conn, err
		},
	}
	return &http.Client{Transport: transport, Timeout: 60 * time.Second}
}

var (
	lock sync.Mutex
	rows [][]any
)

// next takes a number.
func next() int {
	lock.Lock()
	defer lock.Unlock()
	rows = append(rows, nil)
	return len(rows) - 1
}

func note(number, port int, method, path string, status, sent, got int, start int64, known bool) {
	var version, name any
	if known {
		version, name = "1.3", "localhost"
	}
	end := time.Now().UnixNano()
	lock.Lock()
	defer lock.Unlock()
	rows[number] = []any{number, port, method, path, status, sent, got, start, end, version, name}
}

func send(client *http.Client, port int, method, path, query string, body []byte) (int, int) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	url := fmt.Sprintf("https://localhost:%d%s?%s", port, path, query)
	request, err := http.NewRequest(method, url, reader)
	check(err)
	response, err := client.Do(request)
	check(err)
	defer response.Body.Close()
	got, err := io.Copy(io.Discard, response.Body)
	check(err)
	return response.StatusCode, int(got)
}

func request(client *http.Client, port int, method, path string, body []byte, known bool) {
	number, start := next(), time.Now().UnixNano()
	status, got := send(client, port, method, path, fmt.Sprintf("number=%d", number), body)
	note(number, port, method, path, status, len(body), got, start, known)
}

func turn(client *http.Client, port, index int, known bool) {
	size := sizes[index%len(sizes)]
	request(client, port, "GET", fmt.Sprintf("/bytes/%d", size), nil, known)
	request(client, port, "POST", "/take", bytes.Repeat([]byte("t"), size+1), known)
	request(client, port, "GET", fmt.Sprintf("/parts/%d", index%5+1), nil, known)
	request(client, port, "GET", fmt.Sprintf("/status/%d", []int{204, 304, 404, 500}[index%4]), nil, known)
	request(client, port, "HEAD", fmt.Sprintf("/bytes/%d", size), nil, known)
}

// deep has the stack grow before it goes on.
func deep(levels int, then func()) byte {
	var room [1024]byte
	room[levels%len(room)] = byte(levels)
	if levels > 0 {
		return deep(levels-1, then) + room[levels%len(room)]
	}
	then()
	return room[0]
}

// bare writes and reads by itself, each request in a goroutine with a new and small stack, on which the
// bytes lie that are read.
func bare(port, times int) {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	conn, err := tls.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port), config)
	check(err)
	defer conn.Close()
	for index := range make([]int, times) {
		done := make(chan bool)
		one := func() {
			number, start := next(), time.Now().UnixNano()
			fmt.Fprintf(conn, "GET /bytes/100?number=%d HTTP/1.1\r\nHost: x\r\n\r\n", number)
			var read bytes.Buffer
			for !strings.HasSuffix(read.String(), strings.Repeat("g", 100)) {
				var buffer [200]byte
				n, err := conn.Read(buffer[:])
				check(err)
				read.Write(buffer[:n])
			}
			note(number, port, "GET", "/bytes/100", 200, 0, 100, start, true)
			close(done)
		}
		go deep(index*3, one)
		<-done
	}
}

func ask(count int, ports []int) {
	type older struct {
		client *http.Client
		port   int
	}
	var olders []older
	for index, port := range ports {
		for _, second := range []bool{false, true} {
			one := older{client(second, index == 1), port}
			send(one.client, port, "GET", "/bytes/100", "before", nil)
			olders = append(olders, one)
		}
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')

	for _, one := range olders {
		send(one.client, one.port, "GET", "/bytes/100", "first", nil)
	}
	// Until whoever has read that answer waits for the next.
	time.Sleep(100 * time.Millisecond)
	var all sync.WaitGroup
	each := func(work func()) {
		all.Add(1)
		go func() {
			defer all.Done()
			work()
		}()
	}
	for _, one := range olders {
		one := one
		each(func() {
			for index := range sizes {
				turn(one.client, one.port, index, false)
			}
		})
	}
	all.Wait()
	for index, port := range ports {
		port := port
		each(func() { bare(port, 8) })
		for _, second := range []bool{false, true} {
			client := client(second, index == 1)
			for worker := range make([]int, 4) {
				worker := worker
				each(func() {
					for round := 0; round*5*4*2*len(ports) < count; round++ {
						turn(client, port, worker+round, true)
					}
				})
			}
		}
	}
	all.Wait()
	check(json.NewEncoder(os.Stdout).Encode(rows))
}

func number(text string) int {
	parsed, err := strconv.Atoi(text)
	check(err)
	return parsed
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
