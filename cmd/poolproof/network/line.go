package network

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// Way is a direction.
type Way string

// The ways.
const (
	Out  Way = "out" // from clients to the service
	In   Way = "in"  // from the service to clients
	Both Way = "both"
)

func (w Way) has(other Way) bool { return w == other || w == Both }

// The places at which a connection is seen to end.
const (
	fromClient = iota
	toService
	fromService
	toClient
)

// event is something seen at a tap.
type event struct {
	line *line
	way  Way           // of bytes; empty: something else
	in   bool          // they entered toxiproxy; else they left it
	n    int64         // how many
	sent time.Time     // when the oldest of the bytes that left had entered
	held time.Duration // how long that one took

	reset bool          // a client's connection was reset by toxiproxy
	ended bool          // toxiproxy has closed its connection to a client
	late  time.Duration // how long after the first end toxiproxy closed its connection to the service
}

// mark is when bytes up to an offset had entered.
type mark struct {
	upTo int64
	at   time.Time
}

// line is a connection of a client with the service.
type line struct {
	proxy *Proxy

	mu      sync.Mutex
	in, out [2]int64  // guarded by mu: bytes that have entered and left toxiproxy, by way
	marks   [2][]mark // guarded by mu: of bytes that have not left, by way
	ending  time.Time // guarded by mu: when a side was first seen to end
}

func index(w Way) int {
	if w == Out {
		return 0
	}
	return 1
}

// entered takes down that bytes go into toxiproxy.
func (l *line) entered(w Way, n int) {
	l.mu.Lock()
	i := index(w)
	l.in[i] += int64(n)
	l.marks[i] = append(l.marks[i], mark{l.in[i], time.Now()})
	l.mu.Unlock()
	l.proxy.happened(event{line: l, way: w, in: true, n: int64(n)})
}

// left takes down that bytes have come out of toxiproxy.
func (l *line) left(w Way, n int) {
	l.mu.Lock()
	i := index(w)
	e := event{line: l, way: w, n: int64(n)}
	if len(l.marks[i]) > 0 {
		e.sent = l.marks[i][0].at
		e.held = time.Since(e.sent)
	}
	l.out[i] += int64(n)
	for len(l.marks[i]) > 0 && l.marks[i][0].upTo <= l.out[i] {
		l.marks[i] = l.marks[i][1:]
	}
	l.mu.Unlock()
	l.proxy.happened(e)
}

// passed returns how many bytes have entered and left one way.
func (l *line) passed(w Way) (in, out int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.in[index(w)], l.out[index(w)]
}

// pump copies from one connection to another until either ends.
func (l *line) pump(from, to net.Conn, count func(int), place int) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			count(n)
			if _, err := to.Write(buffer[:n]); err != nil {
				l.end(from, to, place, nil)
				return
			}
		}
		if err != nil {
			l.end(from, to, place, err)
			return
		}
	}
}

// end passes on that a connection has ended, and how.
func (l *line) end(from, to net.Conn, place int, err error) {
	reset := errors.Is(err, syscall.ECONNRESET)
	e := event{line: l, reset: reset && place == toClient, ended: place == toClient}
	l.mu.Lock()
	switch {
	case place != toService:
		if l.ending.IsZero() {
			l.ending = time.Now()
		}
	case !l.ending.IsZero():
		e.late = time.Since(l.ending)
	}
	l.mu.Unlock()
	l.proxy.happened(e)
	if reset {
		_ = to.(*net.TCPConn).SetLinger(0)
		l.proxy.forget(to)
	} else {
		_ = to.(*net.TCPConn).CloseWrite()
	}
	switch place {
	case toClient, toService: // toxiproxy has closed its side, so nothing more gets through
		l.proxy.forget(from)
		l.proxy.forget(to)
	}
}
