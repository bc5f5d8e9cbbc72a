package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// conn carries calls over a channel, one at a time:
//
//	idle ── request ──▶ awaiting ── reply ──▶ idle
//	                    awaiting ── cancelled ping ──▶ abandoned ── reply, dropped ──▶ idle
//	any of them ── cancelled call, violation, end of file, stop ──▶ broken
//
// Nothing leaves broken, so a late reply can reach nobody.
//
// A reader goroutine takes each frame as it comes, so that a frame nobody asked for, or
// the worker's end, is noticed at once. A writer goroutine writes the requests, so that
// a caller can leave a write that a stuck worker blocks.
type conn struct {
	channel io.ReadWriteCloser
	frames  *FrameReader
	limit   int

	turn     chan struct{} // holds a value unless an exchange is under way
	requests chan []byte   // to the writer; never full, as only the holder of the turn sends
	written  chan struct{} // from the writer to the reader, once for each request
	replies  chan struct{} // from the reader to the holder of the turn: reply is filled
	broken   chan struct{} // closed when err is set
	gone     chan struct{} // closed once the channel is closed and its goroutines have ended
	loops    sync.WaitGroup

	// The fields below belong to the holder of the turn.
	id      uint64 // of the last request
	out     bytes.Buffer
	encoder *json.Encoder // into out

	// reply belongs to the reader from the request until the reply, then to the holder
	// of the turn.
	reply reply

	mu        sync.Mutex
	awaited   uint64 // guarded by mu: the request without a reply, or 0
	abandoned bool   // guarded by mu: nobody waits for that reply
	err       error  // guarded by mu: why the conn is broken; wraps ErrBroken
}

// channelError is an end or failure of the channel itself, whose real cause may be that
// the process has exited.
type channelError struct{ err error }

func (e *channelError) Error() string { return "process: channel ended: " + e.err.Error() }
func (e *channelError) Unwrap() error { return e.err }

// newConn starts the conn's goroutines, which end after fail. It owns the channel.
func newConn(channel io.ReadWriteCloser, limit int) *conn {
	c := &conn{
		channel:  channel,
		frames:   NewFrameReader(channel, limit),
		limit:    limit,
		turn:     make(chan struct{}, 1),
		requests: make(chan []byte, 1),
		written:  make(chan struct{}, 1),
		replies:  make(chan struct{}, 1),
		broken:   make(chan struct{}),
		gone:     make(chan struct{}),
	}
	c.encoder = json.NewEncoder(&c.out)
	c.encoder.SetEscapeHTML(false)
	c.turn <- struct{}{}
	c.loops.Go(c.read)
	c.loops.Go(c.write)
	return c
}

// call sends a request and waits for its reply, which it decodes into result. When ctx
// ends first, the conn breaks, unless abandon is set: then the reply is dropped when it
// comes, and later calls wait for that.
func (c *conn) call(ctx context.Context, method string, params, result any, abandon bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.takeTurn(ctx, abandon); err != nil {
		return err
	}
	frame, err := c.encode(method, params)
	if err != nil {
		c.turn <- struct{}{}
		return err
	}
	c.await(c.id)
	c.requests <- frame
	select {
	case <-c.replies:
	case <-c.broken:
		if err := c.leave(nil, false); err != nil {
			return err
		}
	case <-ctx.Done():
		if err := c.leave(context.Cause(ctx), abandon); err != nil {
			return err
		}
	}
	err = c.decode(result)
	c.turn <- struct{}{}
	return err
}

// takeTurn waits until no exchange is under way. If ctx ends while the worker owes the
// reply to an abandoned ping, it is as stuck as in a call, and the conn breaks.
func (c *conn) takeTurn(ctx context.Context, abandon bool) error {
	select {
	case <-c.turn:
	case <-c.broken:
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.abandoned && !abandon {
			c.failLocked(context.Cause(ctx))
			return c.err
		}
		return context.Cause(ctx)
	}
	return c.failure()
}

// await notes that a reply is due.
func (c *conn) await(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited = id
}

// leave ends the wait for a reply because of cause, or because the conn is broken. It
// returns nil if the reply won the race; then it is there.
func (c *conn) leave(cause error, abandon bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.awaited == 0:
		<-c.replies // the reader is past awaited and about to send
		return nil
	case c.err != nil:
		return c.err
	case abandon:
		c.abandoned = true
		return cause
	}
	c.failLocked(cause)
	return c.err
}

// deliver hands the parsed reply to whoever waits for it.
func (c *conn) deliver() {
	c.mu.Lock()
	abandoned := c.abandoned
	c.awaited, c.abandoned = 0, false
	c.mu.Unlock()
	if abandoned {
		c.turn <- struct{}{}
		return
	}
	c.replies <- struct{}{}
}

// read takes frames until the conn breaks.
func (c *conn) read() {
	for {
		body, err := c.frames.Next()
		if err != nil {
			c.fail(&channelError{err})
			return
		}
		c.mu.Lock()
		id := c.awaited
		c.mu.Unlock()
		if id == 0 {
			c.fail(fmt.Errorf("%w: a frame of %d bytes that nobody asked for", ErrProtocol, len(body)))
			return
		}
		select {
		case <-c.written: // the request's buffer is free again
		case <-c.broken:
			return
		}
		if err := c.reply.parse(body, id); err != nil {
			c.fail(err)
			return
		}
		c.deliver()
	}
}

// write writes requests until the conn breaks.
func (c *conn) write() {
	for {
		select {
		case frame := <-c.requests:
			if _, err := c.channel.Write(frame); err != nil {
				c.fail(&channelError{err})
				return
			}
			c.written <- struct{}{}
		case <-c.broken:
			return
		}
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
	c.err = fmt.Errorf("%w: %w", ErrBroken, cause)
	close(c.broken)
	go func() {
		c.channel.Close()
		c.loops.Wait()
		close(c.gone)
	}()
}

// failure returns why the conn is broken, or nil.
func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// usable reports whether the conn is whole and owes no reply to a caller.
func (c *conn) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && (c.awaited == 0 || c.abandoned)
}

// drain breaks the conn soon: what the peer has sent already is still read.
func (c *conn) drain(grace time.Duration) {
	if d, ok := c.channel.(interface{ SetReadDeadline(time.Time) error }); ok && d.SetReadDeadline(time.Now().Add(grace)) == nil {
		return
	}
	c.fail(&channelError{io.EOF})
}

// encode makes the frame of the next request in c.out.
func (c *conn) encode(method string, params any) ([]byte, error) {
	if c.out.Cap() > retainBytes {
		c.out = bytes.Buffer{}
	}
	c.id++
	c.out.Reset()
	c.out.Write(make([]byte, FrameHeaderBytes))
	c.out.WriteString(`{"jsonrpc":"2.0","id":`)
	c.out.Write(strconv.AppendUint(c.out.AvailableBuffer(), c.id, 10))
	c.out.WriteString(`,"method":`)
	if err := c.encodeName(method); err != nil {
		return nil, err
	}
	if params != nil {
		c.out.WriteString(`,"params":`)
		if err := c.encodeValue(params); err != nil {
			return nil, fmt.Errorf("process: params of %s: %w", method, err)
		}
	}
	c.out.WriteByte('}')
	frame := c.out.Bytes()
	return frame, SealFrame(frame, c.limit)
}

// encodeName appends a string as JSON; the usual names need no escapes.
func (c *conn) encodeName(name string) error {
	for i := range len(name) {
		if ch := name[i]; ch < ' ' || ch > '~' || ch == '"' || ch == '\\' {
			return c.encoder.Encode(name)
		}
	}
	c.out.WriteByte('"')
	c.out.WriteString(name)
	c.out.WriteByte('"')
	return nil
}

// encodeValue appends v, copying what is JSON already.
func (c *conn) encodeValue(v any) error {
	switch raw := v.(type) {
	case json.RawMessage:
		return c.encodeRaw(raw)
	case *json.RawMessage:
		return c.encodeRaw(*raw)
	}
	return c.encoder.Encode(v)
}

func (c *conn) encodeRaw(raw json.RawMessage) error {
	if !json.Valid(raw) {
		return fmt.Errorf("raw message of %d bytes is not JSON", len(raw))
	}
	c.out.Write(raw)
	return nil
}

// decode gives the reply to the caller.
func (c *conn) decode(result any) error {
	if c.reply.Error != nil {
		return c.reply.Error
	}
	switch result := result.(type) {
	case nil:
		return nil
	case *json.RawMessage:
		*result = append((*result)[:0], c.reply.Result...)
		return nil
	}
	if err := json.Unmarshal(c.reply.Result, result); err != nil {
		return fmt.Errorf("process: result: %w", err)
	}
	return nil
}
