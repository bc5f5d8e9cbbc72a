package process

import (
	"context"
	"errors"
	"fmt"

	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

// MaxBatch is the number of calls that a batch may have.
const MaxBatch = 1000

// BatchCall is one call of a batch.
type BatchCall struct {
	Method string
	Params any // as in Request

	// Result is what the result is decoded into, as in Worker.Call. Nil: dropped.
	Result any
	// Err is set to nil if the call succeeded, else to its *RemoteError, or to why its
	// result did not fit into Result. If Batch fails it is left as it was.
	Err error
}

// Batch sends 1 to MaxBatch calls in one message; the worker serves them one after the
// other, in order, and answers all in one message. The calls remain the caller's, who must
// not touch them while Batch runs. It blocks like Call, and cannot be cancelled: if ctx
// ends first, the worker is lost.
//
// Batch returns nil if all calls were answered: each one's Err says how. Its own errors
// are those of Call, and *FeatureError if the worker has not announced FeatureBatch; then
// none of the calls' results and errors are set.
func (w *Worker) Batch(ctx context.Context, calls []*BatchCall) error {
	if len(calls) == 0 || len(calls) > MaxBatch {
		return fmt.Errorf("process: batch of %d calls, want 1 to %d", len(calls), MaxBatch)
	}
	return w.explain(ctx, w.conn.batch(ctx, calls))
}

// batch sends calls and waits for the replies.
func (c *conn) batch(ctx context.Context, calls []*BatchCall) error {
	if err := c.begin(ctx, giveUp); err != nil {
		return err
	}
	returned := false
	defer func() { c.mind(returned) }()
	err := c.holdBatch(ctx, calls)
	returned = true
	return err
}

// holdBatch is batch for the holder of the turn.
func (c *conn) holdBatch(ctx context.Context, calls []*BatchCall) error {
	frame, err := c.encodeBatch(calls)
	if err != nil {
		c.end()
		return err
	}
	c.await(flight{first: c.id - uint64(len(calls)) + 1, last: c.id, batch: true})
	c.send(frame, nil, false)
	if err := c.wait(ctx, giveUp, nil); err != nil {
		return err
	}
	c.decodeBatch(calls)
	c.end()
	return nil
}

func (c *conn) encodeBatch(calls []*BatchCall) ([]byte, error) {
	if !c.peer.batch {
		return nil, &FeatureError{Worker: c.setup.worker, Feature: FeatureBatch}
	}
	c.startFrame()
	separator := byte('[')
	for _, call := range calls {
		if call.Method == MethodHello {
			return nil, errors.New("process: hello in a batch")
		}
		c.out.WriteByte(separator)
		separator = ','
		if err := c.encodeCall(call.Method, call.Params); err != nil {
			return nil, err
		}
		c.out.WriteByte('}')
	}
	c.out.WriteByte(']')
	return c.sealPlain()
}

// receiveBatch takes the replies to a batch: exactly one to each of its calls.
func (c *conn) receiveBatch(text, payload []byte) error {
	c.mu.Lock()
	f := c.flight
	c.mu.Unlock()
	switch {
	case f.first == 0 || !f.batch:
		return violation("an array of %d bytes that nobody asked for", len(text))
	case payload != nil:
		return violation("replies to a batch with a payload")
	}
	count := int(f.last - f.first + 1)
	r := &c.reply
	var err error
	if r.batch, err = wire.Batch(text, count, r.batch[:0]); err != nil {
		return violation("replies to a batch: %w", err)
	}
	if len(r.batch) != count {
		return violation("%d replies to a batch of %d calls", len(r.batch), count)
	}
	answered := make([]bool, count)
	for i := range r.batch {
		m := &r.batch[i]
		switch {
		case m.Method != nil:
			return violation("worker sent a request, method %.40q", m.Method)
		case m.ID < f.first || m.ID > f.last:
			return violation("reply has id %d, want one of %d to %d", m.ID, f.first, f.last)
		case answered[m.ID-f.first]:
			return violation("two replies to request %d", m.ID)
		case (m.Error == nil) == (m.Result == nil):
			return violation("reply must have a result or an error")
		case m.Shared != nil:
			return violation("a reply in a batch with a shared payload")
		}
		answered[m.ID-f.first] = true
		if m.Error != nil {
			if _, err := c.parseRemote(m.Error); err != nil {
				return err
			}
		}
	}
	c.deliver()
	return nil
}

// decodeBatch gives each reply to its call.
func (c *conn) decodeBatch(calls []*BatchCall) {
	first := c.id - uint64(len(calls)) + 1
	for i := range c.reply.batch {
		m := &c.reply.batch[i]
		call := calls[m.ID-first]
		if m.Error == nil {
			call.Err = decodeResult(m.Result, call.Result)
			continue
		}
		remote, err := c.parseRemote(m.Error)
		if call.Err = err; err == nil {
			call.Err = remote
		}
	}
}
