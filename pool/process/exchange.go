package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Request is one call in its general form.
type Request struct {
	Method string
	// Params is encoded as JSON, unless it is a json.RawMessage or a pointer to one,
	// which is copied as it is. Nil: none.
	Params any
	// Payload is sent as raw bytes beside the params. The caller may change it once the
	// call has returned. Nil: none; an empty one that is not nil is sent. It needs
	// FeatureBinary.
	Payload []byte
	// Progress is called with each value of progress that the worker sends, in order, on
	// the goroutine that waits for the reply, never after the call has returned. The
	// value is the function's to keep. While Progress runs, later values are kept; of
	// more than 64, or 1 MiB, the oldest are dropped. Nil: nobody is told.
	Progress func(value json.RawMessage)
	// Idempotent says that the call may be executed more than once, so that a Client may
	// repeat it on another worker. Worker itself repeats nothing.
	Idempotent bool
	// Window is how many chunks of a Stream may be under way or unread. Zero:
	// DefaultWindow. Elsewhere it is not used.
	Window int
}

// Reply is where the answer to a Request goes.
type Reply struct {
	// Result is what the result is decoded into, as in Worker.Call. Nil: dropped.
	Result any
	// Payload is overwritten with the payload, which begins where it begins and reuses
	// its memory if its capacity suffices; else it is memory of its own. It is empty,
	// but keeps its capacity, if the reply has none. After an error its contents are
	// undefined.
	Payload []byte
	// HasPayload is set to whether the reply carries a payload, which may be empty.
	HasPayload bool
}

// ErrNoPayload reports that CallRaw's reply had a result alone. The worker is unharmed.
var ErrNoPayload = errors.New("process: reply without a payload")

// decode gives the reply to the caller.
func (c *conn) decode(rep *Reply) error {
	r := &c.reply
	if r.remote != nil {
		return r.remote
	}
	if err := decodeResult(r.result, rep.Result); err != nil {
		return err
	}
	rep.HasPayload = r.payload != nil || r.shared
	switch {
	case r.shared:
		var err error
		if rep.Payload, err = c.peer.memory.copyOut(rep.Payload, r.offset, r.bytes); err != nil {
			c.fail(err)
			return c.failure()
		}
	case r.placed:
		rep.Payload = r.payload
	default:
		rep.Payload = append(rep.Payload[:0], r.payload...)
	}
	return nil
}

// decodeResult decodes text, which is JSON, into result.
func decodeResult(text []byte, result any) error {
	switch result := result.(type) {
	case nil:
		return nil
	case *json.RawMessage:
		*result = append((*result)[:0], text...)
		return nil
	}
	if err := json.Unmarshal(text, result); err != nil {
		return fmt.Errorf("process: result: %w", err)
	}
	return nil
}

// CallRaw sends payload to a method, without params, and returns the payload of its
// reply, which reuses the memory of into if its capacity suffices; that may be the
// payload's own. A result beside the payload is dropped; a reply without a payload gives
// ErrNoPayload. Otherwise it is like Call. It needs FeatureBinary, and allocates nothing if
// into is large enough.
func (w *Worker) CallRaw(ctx context.Context, method string, payload, into []byte) ([]byte, error) {
	if payload == nil {
		payload = []byte{}
	}
	req := Request{Method: method, Payload: payload}
	rep := Reply{Payload: into}
	if err := w.Exchange(ctx, &req, &rep); err != nil {
		return nil, err
	}
	if !rep.HasPayload {
		return nil, fmt.Errorf("%w: worker %d, method %s", ErrNoPayload, w.id, method)
	}
	return rep.Payload, nil
}

// Exchange is Call in its general form: req says what is sent, and the answer goes into
// rep, which may be nil. Both remain the caller's, who must not touch them while it runs.
// It blocks like Call. The error is *FeatureError if req has a payload and the worker has
// not announced FeatureBinary; then nothing was sent. Otherwise errors are those of Call.
func (w *Worker) Exchange(ctx context.Context, req *Request, rep *Reply) error {
	var none Reply
	if rep == nil {
		rep = &none
	}
	p := giveUp
	if w.conn.peer.cancellable[req.Method] {
		p = cancel
	}
	return w.explain(ctx, w.conn.exchange(ctx, req, rep, p))
}
