package linearize

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Recorder takes down what is seen of a pool. Each goroutine that calls the pool gets a
// [Client] of its own; taking down a call locks nothing and, amortised, allocates nothing.
// All methods may be called concurrently.
type Recorder struct {
	head  Head
	epoch time.Time
	last  *atomic.Int64 // the last stamp given, if they must all differ; else nil

	changes changeLog

	mu      sync.Mutex
	clients []*Client
	faults  []*OpenFault
}

// RecorderConfig says how to record.
type RecorderConfig struct {
	Head Head
	// Ordered makes every stamp later than all those given before, by a counter that all
	// clients share. It is for bubbles of testing/synctest, where the clock stands still
	// while things happen one after another.
	Ordered bool
}

// NewRecorder returns a Recorder whose times count from now.
func NewRecorder(cfg RecorderConfig) *Recorder {
	r := &Recorder{head: cfg.Head, epoch: time.Now()}
	if cfg.Ordered {
		r.last = new(atomic.Int64)
	}
	return r
}

// Reset makes the Recorder what NewRecorder returns, in the memory that it has: its former
// clients are no more to be used, and those of the new recording may be the same ones. It
// is for many short recordings, one after the other. Nobody may use the Recorder or its
// clients meanwhile; the History that was made stays as it is.
func (r *Recorder) Reset(cfg RecorderConfig) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head, r.epoch, r.last = cfg.Head, time.Now(), nil
	if cfg.Ordered {
		r.last = new(atomic.Int64)
	}
	r.changes.reset()
	for _, c := range r.clients {
		c.reset()
	}
	r.clients, r.faults = r.clients[:0], nil
}

// now returns a stamp. The first is at least 1: zero stands for none.
func (r *Recorder) now() time.Duration {
	at := time.Since(r.epoch)
	if r.last == nil {
		return max(at, 1)
	}
	for {
		last := r.last.Load()
		next := max(int64(at), last+1)
		if r.last.CompareAndSwap(last, next) {
			return time.Duration(next)
		}
	}
}

// Lease names a lease that a client was granted, in the calls that end it.
type Lease uint64

// Request is what a client calls. Fields that Kind does not name are zero.
type Request struct {
	Kind    Kind
	Session string
	Lease   Lease  // of Release and Discard
	Worker  uint64 // of Retire
	Max     int    // of Resize
	Ended   bool   // the call's context has ended already
}

// Answer is what a call returns. Fields that Outcome does not name are zero.
type Answer struct {
	Outcome Outcome
	Fresh   bool
	Worker  uint64
	Token   uint64
	Seq     uint64 // if the caller knows it: see also Recorder.Observe
}

// Client takes down the calls of one goroutine, which follow one another. Its methods must
// not be called concurrently; they may run when the Recorder makes the History, and what
// they bring too late is dropped.
type Client struct {
	r      *Recorder
	number uint64
	state  atomic.Uint32 // clientQuiet, clientWriting or clientSealed
	chunks [][]entry
	open   *entry // the call under way
	count  uint64

	names  map[string]uint32 // numbers of sessions
	listed []string          // and the names, by number; 0 is none
	name   string            // the last one
	last   uint32            // its number
}

// reset makes the client one that has called nothing. Its first chunk stays.
func (c *Client) reset() {
	c.open, c.count, c.name, c.last = nil, 0, "", 0
	clear(c.names)
	clear(c.listed)
	c.listed = c.listed[:0]
	if len(c.chunks) > 0 {
		clear(c.chunks[0])
		clear(c.chunks[1:])
		c.chunks[0], c.chunks = c.chunks[0][:0], c.chunks[:1]
	}
	c.state.Store(clientQuiet)
}

const (
	clientQuiet uint32 = iota
	clientWriting
	clientSealed
)

// entry is a call as it is taken down: one cache line, without pointers, so that the
// garbage collector passes over it.
type entry struct {
	call, back, parked time.Duration
	worker, token, seq uint64
	arg                uint64 // the request's Lease, Worker or Max
	session            uint32 // among the client's names; 0: none
	kind               Kind
	outcome            Outcome
	fresh, ended       bool
}

// Client returns a client with the next number, from 1.
func (r *Recorder) Client() *Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.clients); n < cap(r.clients) {
		if c := r.clients[:n+1][n]; c != nil { // of a recording before Reset
			r.clients = r.clients[:n+1]
			return c
		}
	}
	c := &Client{r: r, number: uint64(len(r.clients)) + 1}
	r.clients = append(r.clients, c)
	return c
}

// The sizes of a client's chunks, in entries.
const (
	firstChunk = 16
	lastChunk  = 4096
)

// Call says that q is about to be called. A call of this client that is still under way
// stays without an answer.
func (c *Client) Call(q Request) {
	if !c.state.CompareAndSwap(clientQuiet, clientWriting) {
		return
	}
	last := len(c.chunks) - 1
	if last < 0 || len(c.chunks[last]) == cap(c.chunks[last]) {
		size := firstChunk
		if last >= 0 {
			size = min(2*cap(c.chunks[last]), lastChunk)
		}
		c.chunks = append(c.chunks, make([]entry, 0, size))
		last++
	}
	chunk := c.chunks[last]
	chunk = chunk[:len(chunk)+1]
	c.chunks[last] = chunk
	c.count++
	e := &chunk[len(chunk)-1]
	e.kind, e.ended = q.Kind, q.Ended
	switch q.Kind {
	case Release, Discard:
		e.arg = uint64(q.Lease)
	case Retire:
		e.arg = q.Worker
	case Resize:
		e.arg = uint64(q.Max)
	}
	if q.Session != "" {
		e.session = c.session(q.Session)
	}
	c.open = e
	e.call = c.r.now()
	c.state.Store(clientQuiet)
}

// session returns the number of a name.
func (c *Client) session(name string) uint32 {
	if name == c.name {
		return c.last
	}
	n, known := c.names[name]
	if !known {
		if c.names == nil {
			c.names = make(map[string]uint32)
		}
		if len(c.listed) == 0 {
			c.listed = append(c.listed, "")
		}
		n = uint32(len(c.listed))
		c.names[name] = n
		c.listed = append(c.listed, name)
	}
	c.name, c.last = name, n
	return n
}

// Return says that the call has returned a. If a lease was granted, the result names it.
func (c *Client) Return(a Answer) Lease {
	at := c.r.now()
	if !c.state.CompareAndSwap(clientQuiet, clientWriting) {
		return 0
	}
	if e := c.open; e != nil {
		e.outcome, e.fresh, e.worker, e.token, e.seq = a.Outcome, a.Fresh, a.Worker, a.Token, a.Seq
		e.back = at
		c.open = nil
	}
	c.state.Store(clientQuiet)
	return Lease(c.number<<32 | c.count)
}

// Parked says that the call under way certainly waits by now, as [testing/synctest.Wait]
// can tell. It is the one method that another goroutine may call, while the client's is
// known to be blocked.
func (c *Client) Parked() {
	at := c.r.now()
	if !c.state.CompareAndSwap(clientQuiet, clientWriting) {
		return
	}
	if c.open != nil && c.open.parked == 0 {
		c.open.parked = at
	}
	c.state.Store(clientQuiet)
}

// OpenFault is a fault on its way.
type OpenFault struct {
	r     *Recorder
	fault Fault
}

// Fault says that a fault is about to be injected, into the worker unless that is 0.
func (r *Recorder) Fault(kind string, worker uint64) *OpenFault {
	f := &OpenFault{r, Fault{Kind: kind, Worker: worker, From: r.now()}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, f)
	return f
}

// Landed says that the fault has landed, and whether its worker died of it. Without it the
// fault lasts until the end of the history.
func (f *OpenFault) Landed(ends bool, text string) {
	at := f.r.now()
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.fault.To, f.fault.Ends, f.fault.Text = at, ends, text
}

// Change takes down what a pool reports of itself; c.At is set. [Recorder.Observe] is the
// adapter for package pool.
func (r *Recorder) Change(c Change) {
	c.At = r.now()
	r.changes.add(c)
}

// History ends the recording and returns what was recorded. Calls that have not returned
// are without an answer. It blocks for no longer than the clients take to write.
func (r *Recorder) History() *History {
	end := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &History{Head: r.head, Changes: r.changes.seal()}
	for _, c := range r.clients {
		for c.state.Load() != clientSealed && !c.state.CompareAndSwap(clientQuiet, clientSealed) {
			runtime.Gosched() // it is writing an entry
		}
	}
	h.Ops = r.merge()
	for _, f := range r.faults {
		fault := f.fault
		if fault.To == 0 {
			fault.To = max(end, fault.From)
		}
		h.Faults = append(h.Faults, fault)
	}
	slices.SortStableFunc(h.Faults, func(a, b Fault) int { return int(a.From - b.From) })
	h.assignSeqs()
	return h
}
