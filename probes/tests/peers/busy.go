// Burns a CPU: nearly all of it in hot(), some calls below main().
package main

import (
	"fmt"
	"os"
)

type worker struct{ seed uint64 }

//go:noinline
func (w *worker) hot() uint64 {
	sum := w.seed
	for i := 0; i < 20000; i++ {
		sum = sum*6364136223846793005 + sum>>33
	}
	return sum
}

//go:noinline
func (w *worker) middle(depth int) uint64 {
	if depth > 0 {
		return w.middle(depth-1) ^ 1
	}
	return w.hot() ^ 1
}

func main() {
	fmt.Println("ready")
	w := &worker{uint64(os.Getpid())}
	for {
		w.seed = w.middle(3)
	}
}
