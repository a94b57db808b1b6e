// A server on the port that is the argument: a goroutine per connection, and the runtime's own
// signals (SIGURG) all the time.
package main

import (
	"net"
	"os"
	"runtime"
	"time"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	// A busy goroutine is what the runtime preempts with SIGURG.
	go func() {
		for n := 0; ; n++ {
			if n%30_000_000 == 0 {
				time.Sleep(30 * time.Millisecond)
			}
		}
	}()
	runtime.GOMAXPROCS(4)
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			connection.Write([]byte("ok\n"))
			connection.Close()
		}()
	}
}
