package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

// call is one request.
type call struct {
	server     *server
	id         uint64
	method     string
	params     json.RawMessage
	payload    []byte
	hasPayload bool
	shared     json.RawMessage // where the payload is, if it is in shared memory
	stream     *outflow        // nil: the host asked for none
	hello      *process.HelloParams
	refused    *process.RemoteError // what is wrong with the request
	ctx        context.Context
	cancel     context.CancelCauseFunc
}

// findPayload finds a payload that is in shared memory.
func (c *call) findPayload(memory []byte) error {
	if c.shared == nil {
		return nil
	}
	offset, bytes, err := wire.Range(c.shared, 0, len(memory)/2)
	if err != nil || c.hasPayload {
		return &process.RemoteError{Code: process.CodeInvalidParams, Message: fmt.Sprintf("shared payload: %v", err)}
	}
	c.payload, c.hasPayload = memory[offset:offset+bytes:offset+bytes], true
	return nil
}

// callContext is the context of a call.
type callContext struct {
	context.Context
	call *call
}

type callKey struct{}

func (c callContext) Value(key any) any {
	if key == (callKey{}) {
		return c.call
	}
	return c.Context.Value(key)
}

// callOf returns the call that ctx belongs to, or nil.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// begin makes a call the one under way, which it is until its reply is sent. The reader
// does that, before it can read that the call is cancelled.
func (s *server) begin(ctx context.Context, c *call) {
	under, cancel := context.WithCancelCause(ctx)
	c.ctx, c.cancel = callContext{under, c}, cancel
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = c
}

// endLocked ends a call.
func (s *server) endLocked(c *call) {
	if s.current == c {
		s.current = nil
	}
	c.cancel(nil)
}

var errNoCall = errors.New("worker: context of no call")

// Payload returns the raw bytes that came with the call that ctx belongs to, and whether
// there were any. They are valid until the method returns, and may be sent back.
func Payload(ctx context.Context) ([]byte, bool) {
	c := callOf(ctx)
	if c == nil {
		return nil, false
	}
	return c.payload, c.hasPayload
}

// Progress tells the caller of the method that ctx belongs to how it is doing. It blocks
// while the host does not read, and fails with the channel, if value has no JSON form or
// exceeds the frame limit, or if ctx belongs to no call. It may be called by any goroutine
// until the method returns.
func Progress(ctx context.Context, value any) error {
	c := callOf(ctx)
	if c == nil {
		return errNoCall
	}
	return c.server.sendNote("progress", c.id, nil, value, nil)
}

// sendNote sends a notification about a call.
func (s *server) sendNote(method string, id uint64, seq *uint64, value any, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.startFrame()
	s.out.WriteString(`{"jsonrpc":"2.0","method":"` + method + `","params":{"id":`)
	s.out.Write(strconv.AppendUint(s.out.AvailableBuffer(), id, 10))
	if seq != nil {
		s.out.WriteString(`,"seq":`)
		s.out.Write(strconv.AppendUint(s.out.AvailableBuffer(), *seq, 10))
	}
	if value != nil || payload == nil {
		s.out.WriteString(`,"value":`)
		if err := encode(&s.out, value); err != nil {
			return fmt.Errorf("worker: %s: %w", method, err)
		}
	}
	s.out.WriteString("}}")
	if payload != nil {
		return s.sendBinary(payload)
	}
	return s.sendPlain()
}

// outflow is the worker's end of a stream.
type outflow struct {
	mu     sync.Mutex
	credit uint64        // guarded by mu: chunks that may be sent
	more   chan struct{} // has a value when credit has come
	seq    uint64        // of the next chunk; the method's goroutine's
}

func newOutflow(window int) *outflow {
	return &outflow{credit: uint64(window), more: make(chan struct{}, 1)}
}

func (o *outflow) grant(chunks uint64) {
	o.mu.Lock()
	o.credit += chunks
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// spend waits until a chunk may be sent.
func (o *outflow) spend(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		o.mu.Lock()
		ok := o.credit > 0
		if ok {
			o.credit--
		}
		o.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-o.more:
		case <-ctx.Done():
		}
	}
}

// Emitter sends the chunks of a stream. It belongs to the method's goroutine.
type Emitter struct {
	ctx      context.Context
	call     *call
	gathered []json.RawMessage
	bytes    int
}

// StreamFunc makes a Method of a function that answers in pieces, and at last with a
// result. When it is called without a stream, the values are gathered into an array, which
// is the result then. Params are as for Func.
func StreamFunc[P, R any](f func(ctx context.Context, params P, out *Emitter) (R, error)) Method {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		params, err := decode[P](raw)
		if err != nil {
			return nil, err
		}
		c := callOf(ctx)
		if c == nil {
			return nil, errNoCall
		}
		out := &Emitter{ctx: ctx, call: c, gathered: []json.RawMessage{}}
		result, err := f(ctx, params, out)
		if err == nil && c.stream == nil {
			return out.gathered, nil
		}
		return result, err
	}
}

// Value sends a chunk. It blocks until the caller has room for it. The method should
// return the error: the call was cancelled or the channel has ended, or value has no JSON
// form or exceeds the frame limit.
func (e *Emitter) Value(value any) error {
	if e.call.stream == nil {
		return e.gather(value)
	}
	return e.send(value, nil)
}

// Bytes sends a chunk with raw bytes, and a value unless that is nil. The payload may be
// changed afterwards. It is like Value, but refuses a call without a stream.
func (e *Emitter) Bytes(payload []byte, value any) error {
	if e.call.stream == nil {
		return &process.RemoteError{Code: process.CodeInvalidParams, Message: "the method sends raw bytes, ask for a stream"}
	}
	if payload == nil {
		payload = []byte{}
	}
	return e.send(value, payload)
}

func (e *Emitter) send(value any, payload []byte) error {
	stream := e.call.stream
	if err := stream.spend(e.ctx); err != nil {
		return err
	}
	if err := e.call.server.sendNote("chunk", e.call.id, &stream.seq, value, payload); err != nil {
		stream.grant(1)
		return err
	}
	stream.seq++
	return nil
}

// gather keeps a value for the array that stands for a stream.
func (e *Emitter) gather(value any) error {
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("worker: chunk: %w", err)
	}
	e.call.server.mu.Lock()
	limit := e.call.server.limit
	e.call.server.mu.Unlock()
	if e.bytes += len(text) + 1; e.bytes > limit {
		return fmt.Errorf("%w: values of %d bytes, limit %d", process.ErrFrameTooLarge, e.bytes, limit)
	}
	e.gathered = append(e.gathered, text)
	return nil
}
