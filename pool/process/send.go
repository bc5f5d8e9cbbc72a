package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

const (
	// headRoom is kept before a message for the frame's header and the binary prefix.
	headRoom = FrameHeaderBytes + wire.PrefixBytes
	// joinBytes is the size up to which a payload is copied behind its header, which
	// costs less than to have the kernel gather it.
	joinBytes = 4 << 10
	// settleGrace bounds the wait for the writer to report that it has written what was
	// answered already.
	settleGrace = time.Second
)

// encodeRequest makes the next request in c.out. What it returns is to be sent in this
// order; the payload is the caller's memory. A window makes it a stream.
func (c *conn) encodeRequest(req *Request, window int) (head, payload []byte, err error) {
	c.startFrame()
	if err := c.encodeCall(req.Method, req.Params); err != nil {
		return nil, nil, err
	}
	if window > 0 {
		c.out.WriteString(`,"stream":{"window":`)
		c.out.Write(strconv.AppendInt(c.out.AvailableBuffer(), int64(window), 10))
		c.out.WriteByte('}')
	}
	payload = req.Payload
	if payload != nil && !c.peer.binary {
		return nil, nil, &FeatureError{Worker: c.setup.worker, Feature: FeatureBinary}
	}
	if memory := c.peer.memory; memory != nil && len(payload) >= c.setup.sharedThreshold {
		if offset, ok := memory.put(payload); ok {
			c.out.Write(wire.AppendRange(c.out.AvailableBuffer(), offset, len(payload)))
			payload = nil
		}
	}
	c.out.WriteByte('}')
	if payload == nil {
		head, err = c.sealPlain()
		return head, nil, err
	}
	return c.sealBinary(payload)
}

// startFrame empties c.out but for the room that a frame needs before its message.
func (c *conn) startFrame() {
	if c.out.Cap() > retainBytes {
		c.out = bytes.Buffer{}
	}
	c.out.Reset()
	c.out.Write(make([]byte, headRoom))
}

// encodeCall appends a request but for its closing brace.
func (c *conn) encodeCall(method string, params any) error {
	c.id++
	text := append(c.out.AvailableBuffer(), `{"jsonrpc":"2.0","id":`...)
	text = strconv.AppendUint(text, c.id, 10)
	text = append(text, `,"method":`...)
	c.out.Write(wire.AppendString(text, method))
	if params == nil {
		return nil
	}
	c.out.WriteString(`,"params":`)
	if err := c.encodeValue(params); err != nil {
		return fmt.Errorf("process: params of %s: %w", method, err)
	}
	return nil
}

// sealPlain returns the frame of what is in c.out.
func (c *conn) sealPlain() ([]byte, error) {
	frame := c.out.Bytes()[headRoom-FrameHeaderBytes:]
	return frame, SealFrame(frame, c.setup.limit)
}

// sealBinary returns the frame of what is in c.out with a payload.
func (c *conn) sealBinary(payload []byte) (head, rest []byte, err error) {
	head = c.out.Bytes()
	body, header := len(head)-FrameHeaderBytes+len(payload), len(head)-headRoom
	if header > wire.MaxHeaderBytes {
		return nil, nil, fmt.Errorf("%w: params of %d bytes beside a payload, limit %d", ErrFrameTooLarge, header, wire.MaxHeaderBytes)
	}
	if err := sealHeader(head, body, c.setup.limit); err != nil {
		return nil, nil, err
	}
	wire.PutPrefix(head[FrameHeaderBytes:], header)
	if len(payload) <= joinBytes {
		c.out.Write(payload)
		return c.out.Bytes(), nil, nil
	}
	return head, payload, nil
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
	if !wire.Valid(raw) {
		return fmt.Errorf("raw message of %d bytes is not JSON in UTF-8", len(raw))
	}
	c.out.Write(raw)
	return nil
}

// send writes a request, or has the writer do what the channel does not take at once.
func (c *conn) send(head, payload []byte, lent bool) {
	if c.direct != nil {
		n, err := c.direct.tryWrite(head, payload)
		if err != nil {
			c.fail(&channelError{err})
			return
		}
		if n == len(head)+len(payload) {
			return
		}
		done := min(n, len(head))
		head, payload = head[done:], payload[n-done:]
	}
	c.writing, c.lent = true, lent
	c.writes <- outgoing{head, payload}
}

// wrote reports whether nothing is left to be written. It does not block.
func (c *conn) wrote() bool {
	if c.writing {
		select {
		case <-c.written:
			c.writing = false
		default:
		}
	}
	return !c.writing
}

// finishWrite waits until the request is written. If ctx ends first the conn breaks. It
// does not return before the caller's memory is back.
func (c *conn) finishWrite(ctx context.Context) error {
	if c.wrote() {
		return nil
	}
	select {
	case <-c.written:
		c.writing = false
		return nil
	case <-c.broken:
	case <-ctx.Done():
		c.fail(context.Cause(ctx))
	}
	c.reclaim()
	return c.failure()
}

// settleWrite is finishWrite for an exchange that has been answered. Its worker has read
// what it answers, so the writer is about to say so, or the worker has no business to.
func (c *conn) settleWrite() error {
	if c.wrote() {
		return nil
	}
	timer := time.NewTimer(settleGrace)
	defer timer.Stop()
	select {
	case <-c.written:
		c.writing = false
		return nil
	case <-c.broken:
		c.reclaim()
		return nil // the answer had come before
	case <-timer.C:
	}
	c.fail(violation("a reply before the request was read"))
	c.reclaim()
	return c.failure()
}

// write writes what the channel did not take at once, until the conn breaks.
func (c *conn) write() {
	for {
		select {
		case w := <-c.writes:
			for _, part := range [...][]byte{w.head, w.payload} {
				if len(part) == 0 {
					continue
				}
				if _, err := c.channel.Write(part); err != nil {
					c.fail(&channelError{err})
					return
				}
			}
			c.written <- struct{}{}
		case <-c.broken:
			return
		}
	}
}
