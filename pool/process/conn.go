package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

// conn carries exchanges over a channel, one at a time: a call, a batch or a stream.
//
//	idle ── request ──▶ awaiting ── reply ──▶ idle
//	                    awaiting ── cancelled ping ──▶ abandoned ── reply, dropped ──▶ idle
//	                    awaiting ── cancel sent ──▶ cancelled ── reply, dropped ──▶ idle
//	any of them ── given up, violation, end of file, stop ──▶ broken
//
// Nothing leaves broken, so a late reply can reach nobody.
//
// The holder of the turn writes its request itself as far as the channel takes it at once;
// the rest goes to a writer goroutine, so that a caller can leave a write that a stuck
// worker blocks. A reader goroutine takes each frame as it comes, so that a frame nobody
// asked for, or the worker's end, is noticed at once. It never waits for anyone but the
// channel.
//
// Memory of a caller that the writer or the reader may be using is lent to them. A caller
// leaves only once it has it back, which breaking the conn brings about.
type conn struct {
	channel io.ReadWriteCloser
	direct  *directWriter // nil if the channel cannot be written to without blocking
	frames  *FrameReader
	notices notices
	setup   connSetup
	peer    peer // set before the worker is handed out

	turn     chan struct{} // holds a value unless an exchange is under way
	writes   chan outgoing // to the writer; never full, as only the holder of the turn sends
	written  chan struct{} // from the writer to the holder of the turn, once for each write
	wake     chan struct{} // to the holder of the turn: flight or err has changed
	broken   chan struct{} // closed when err is set
	returned chan struct{} // closed once reader and writer have ended: nothing is lent to them
	gone     chan struct{} // closed once the channel is closed and all goroutines have ended
	io       sync.WaitGroup
	others   sync.WaitGroup

	// The fields below belong to the holder of the turn.
	id      uint64 // of the last request
	out     bytes.Buffer
	encoder *json.Encoder // into out
	note    []byte        // the last credit or cancel
	writing bool          // the writer has not reported the end of a write
	lent    bool          // that write is of the caller's memory

	// reply belongs to the reader from the request until the reply, then to the holder
	// of the turn.
	reply reply
	// message belongs to the reader.
	message wire.Message

	mu      sync.Mutex
	flight  flight // guarded by mu
	greeted bool   // guarded by mu: hello was answered
	served  bool   // guarded by mu: another request was answered
	err     error  // guarded by mu: why the conn is broken; wraps ErrBroken
}

// connSetup is what a conn is told when it is made.
type connSetup struct {
	worker      pool.WorkerID
	limit       int           // of a frame's body
	cancelGrace time.Duration // not positive: nothing is cancelled
	// sharedThreshold is the size from which a payload goes through shared memory.
	sharedThreshold int
	hearing         // of notifications
}

// outgoing is what the writer has to write.
type outgoing struct{ head, payload []byte }

// errAborted is why a conn breaks whose holder has not returned.
var errAborted = errors.New("process: a function of the caller's panicked or ended its goroutine amid the call")

// channelError is an end or failure of the channel itself, whose real cause may be that
// the process has exited.
type channelError struct{ err error }

func (e *channelError) Error() string { return "process: channel ended: " + e.err.Error() }
func (e *channelError) Unwrap() error { return e.err }

// newConn starts the conn's goroutines, which end after fail. It owns the channel.
func newConn(channel io.ReadWriteCloser, setup connSetup) *conn {
	c := &conn{
		channel:  channel,
		direct:   newDirectWriter(channel),
		frames:   NewFrameReader(channel, setup.limit),
		setup:    setup,
		turn:     make(chan struct{}, 1),
		writes:   make(chan outgoing, 1),
		written:  make(chan struct{}, 1),
		wake:     make(chan struct{}, 1),
		broken:   make(chan struct{}),
		returned: make(chan struct{}),
		gone:     make(chan struct{}),
	}
	c.encoder = json.NewEncoder(&c.out)
	c.encoder.SetEscapeHTML(false)
	c.turn <- struct{}{}
	c.io.Go(c.read)
	c.io.Go(c.write)
	return c
}

// patience says what becomes of an exchange whose context ends first.
type patience int

const (
	giveUp  patience = iota // the conn breaks
	abandon                 // the reply is dropped when it comes; later calls wait for it
	cancel                  // the worker is asked to end the call, and breaks the conn if it does not
)

// exchange sends a request and waits for its reply.
func (c *conn) exchange(ctx context.Context, req *Request, rep *Reply, p patience) error {
	if err := c.begin(ctx, p); err != nil {
		return err
	}
	returned := false
	defer func() { c.mind(returned) }()
	err := c.hold(ctx, req, rep, p)
	returned = true
	return err
}

// hold is exchange for the holder of the turn.
func (c *conn) hold(ctx context.Context, req *Request, rep *Reply, p patience) error {
	head, payload, err := c.encodeRequest(req, 0)
	if err != nil {
		c.end()
		return err
	}
	c.await(flight{first: c.id, last: c.id, into: rep.Payload, progress: req.Progress != nil})
	c.send(head, payload, payload != nil)
	if err := c.wait(ctx, p, req.Progress); err != nil {
		return err
	}
	err = c.decode(rep)
	c.end()
	return err
}

// begin takes the turn and sees to it that nothing of an abandoned exchange is left.
func (c *conn) begin(ctx context.Context, p patience) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-c.turn:
	default:
		if err := c.takeTurn(ctx, p); err != nil {
			return err
		}
	}
	if err := c.failure(); err != nil {
		return err
	}
	return c.settleWrite()
}

// takeTurn waits until no exchange is under way. If ctx ends while the worker owes the
// reply to an abandoned ping, it is as stuck as in a call, and the conn breaks.
func (c *conn) takeTurn(ctx context.Context, p patience) error {
	select {
	case <-c.turn:
	case <-c.broken:
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.flight.abandoned && p != abandon {
			c.failLocked(context.Cause(ctx))
			return c.err
		}
		return context.Cause(ctx)
	}
	return nil
}

// mind breaks the conn if the holder of the turn has not returned, as a function of the
// caller's panicked or ended its goroutine: nobody would give the turn back.
func (c *conn) mind(returned bool) {
	if !returned {
		c.fail(errAborted)
		c.reclaim()
	}
}

// end gives the turn back.
func (c *conn) end() {
	c.reply.forget()
	c.turn <- struct{}{}
}

// await notes that a reply is due.
func (c *conn) await(f flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flight = f
	if c.err != nil {
		return // the news of that is still to be taken
	}
	select {
	case <-c.wake: // news of the last exchange
	default:
	}
}

// wait waits for the reply; then the holder of the turn owns it. After an error the turn
// is not the caller's any more.
func (c *conn) wait(ctx context.Context, p patience, progress func(json.RawMessage)) error {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			if err := c.leave(context.Cause(ctx), p); err != nil {
				return err
			}
		}
		values, answered, err := c.news()
		for _, value := range values {
			progress(value)
		}
		switch {
		case answered:
			return c.settleWrite()
		case err != nil:
			c.reclaim()
			return err
		}
	}
}

// news returns what has happened to the exchange since it was last asked.
func (c *conn) news() (progress []json.RawMessage, answered bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flight.takeProgress(), c.flight.first == 0, c.err
}

// leave ends the wait for a reply because of cause. It returns nil if the reply won the
// race; then it is there.
func (c *conn) leave(cause error, p patience) error {
	if p == cancel && c.setup.cancelGrace > 0 {
		return c.cancel(cause)
	}
	c.mu.Lock()
	if c.flight.first == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.err == nil && p == abandon {
		c.flight.abandoned = true
		c.mu.Unlock()
		return cause
	}
	c.failLocked(cause)
	err := c.err
	c.mu.Unlock()
	c.reclaim()
	return err
}

// reclaim waits until the reader and the writer have let go of the caller's memory, after
// the conn has broken.
func (c *conn) reclaim() {
	c.mu.Lock()
	lent := c.flight.lent
	c.mu.Unlock()
	if lent || c.writing && c.lent {
		<-c.returned
	}
}

// fail breaks the conn because of cause and closes the channel in the background. Only
// the first call counts.
func (c *conn) fail(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(cause)
}

func (c *conn) failLocked(cause error) {
	if c.err != nil {
		return
	}
	c.err = &BrokenError{Worker: c.setup.worker, Cause: cause}
	close(c.broken)
	c.rouse()
	go func() {
		c.channel.Close()
		c.io.Wait()
		close(c.returned)
		c.others.Wait()
		close(c.gone)
	}()
}

// rouse has the holder of the turn look at the news. It does not block.
func (c *conn) rouse() {
	select {
	case c.wake <- struct{}{}:
	default: // it has yet to look
	}
}

// failure returns why the conn is broken, or nil.
func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// hasServed reports whether a request other than hello was answered.
func (c *conn) hasServed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.served
}

// usable reports whether the conn is whole and owes no reply to a caller.
func (c *conn) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && (c.flight.first == 0 || c.flight.abandoned)
}

// drain returns when the conn has broken, which it sees to within the grace: what the peer
// has sent already is still read. It asks no deadline of the channel, which may be anything
// that Config.Wrap has made.
func (c *conn) drain(grace time.Duration) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.broken:
	case <-timer.C:
		c.fail(&channelError{io.EOF})
	}
}

// violation returns the error for a breach of the protocol.
func violation(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}

// frameFailure says why no further frame can be read.
func frameFailure(err error) error {
	if errors.Is(err, ErrProtocol) {
		return err
	}
	if errors.Is(err, ErrFrameTooLarge) {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return &channelError{err}
}
