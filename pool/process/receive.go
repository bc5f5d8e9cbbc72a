package process

import (
	"encoding/json"
	"fmt"

	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

const (
	// progressValues and progressBytes bound what is kept for a caller that is busy
	// with earlier progress.
	progressValues = 64
	progressBytes  = 1 << 20
)

// flight is the exchange under way, as the reader needs to know it.
type flight struct {
	first, last uint64 // the ids that replies are due to; first is 0 once they have come
	batch       bool
	abandoned   bool    // nobody waits for the reply
	cancelled   bool    // the reply will be dropped
	into        []byte  // the caller's memory for a payload
	lent        bool    // the reader is filling it
	stream      *inflow // takes chunks, if the request allowed them

	progress      bool // the caller wants to know
	values        []json.RawMessage
	valuesInBytes int
}

// takeProgress returns the values that have come since the last call.
func (f *flight) takeProgress() []json.RawMessage {
	values := f.values
	f.values, f.valuesInBytes = nil, 0
	return values
}

// addProgress keeps a copy of a value, in the place of the oldest if there are too many.
func (f *flight) addProgress(value []byte) {
	f.values = append(f.values, append(json.RawMessage(nil), value...))
	f.valuesInBytes += len(value)
	for len(f.values) > progressValues || len(f.values) > 1 && f.valuesInBytes > progressBytes {
		f.valuesInBytes -= len(f.values[0])
		f.values = append(f.values[:0], f.values[1:]...)
	}
}

// reply is the answer to an exchange. It is filled again and again and keeps its memory.
type reply struct {
	body    []byte // exchanged with the reader's; the fields below are parts of it
	result  []byte
	payload []byte // nil if there is none
	batch   []wire.Message

	placed        bool // payload is not part of body but what the reader was lent, or made
	shared        bool // payload is in shared memory
	offset, bytes int  // there
	remote        *RemoteError
}

// forget drops what has been used, and memory that is too large to be kept.
func (r *reply) forget() {
	body, batch := r.body, r.batch[:0]
	if cap(body) > retainBytes {
		body = nil
	}
	*r = reply{body: body, batch: batch}
}

// read takes frames until the conn breaks.
func (c *conn) read() {
	place := c.place
	for {
		text, payload, err := c.frames.NextParts(place)
		if err != nil {
			c.fail(frameFailure(err))
			return
		}
		if err := c.receive(text, payload); err != nil {
			c.fail(err)
			return
		}
	}
}

// place says where a payload is to be read to, if that is known: the memory of the
// caller, as far as it suffices.
func (c *conn) place(text []byte, payloadBytes int) []byte {
	m := &c.message
	if m.Parse(text) != nil || m.Method != nil || m.Result == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.flight
	if f.first == 0 || f.first != m.ID || f.batch || f.abandoned || f.cancelled {
		return nil
	}
	c.reply.placed = true
	if cap(f.into) < payloadBytes {
		return make([]byte, payloadBytes)
	}
	f.lent = true
	return f.into[:payloadBytes]
}

// receive takes one message. Any error breaks the conn.
func (c *conn) receive(text, payload []byte) error {
	if wire.IsBatch(text) {
		return c.receiveBatch(text, payload)
	}
	m := &c.message
	if err := m.Parse(text); err != nil {
		return violation("a message of %d bytes: %w", len(text), err)
	}
	switch {
	case m.Method == nil:
		return c.receiveReply(m, payload)
	case m.ID != 0:
		return violation("worker sent a request, method %.40q", m.Method)
	}
	return c.receiveNotification(m, payload)
}

// receiveReply takes the reply to a call or a stream.
func (c *conn) receiveReply(m *wire.Message, payload []byte) error {
	c.mu.Lock()
	f := c.flight
	c.mu.Unlock()
	switch {
	case f.first == 0:
		return violation("a reply to request %d that nobody waits for", m.ID)
	case f.batch:
		return violation("reply to a batch is no array")
	case m.ID != f.first:
		return violation("reply has id %d, want %d", m.ID, f.first)
	case (m.Error == nil) == (m.Result == nil):
		return violation("reply must have a result or an error")
	}
	r := &c.reply
	if m.Error != nil {
		var err error
		if r.remote, err = c.parseRemote(m.Error); err != nil {
			return err
		}
	}
	if m.Shared != nil {
		if c.peer.memory == nil || payload != nil {
			return violation("a shared payload, want none")
		}
		var err error
		if r.offset, r.bytes, err = c.peer.memory.workerRange(m.Shared); err != nil {
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		r.shared = true
	}
	r.result, r.payload = m.Result, payload
	c.deliver()
	return nil
}

// parseRemote decodes the error of a reply.
func (c *conn) parseRemote(text []byte) (*RemoteError, error) {
	remote := new(RemoteError)
	if err := json.Unmarshal(text, remote); err != nil {
		return nil, violation("malformed error: %w", err)
	}
	remote.Worker = c.setup.worker
	return remote, nil
}

// deliver hands the reply, whose parts are in the reader's memory, to whoever waits for it.
func (c *conn) deliver() {
	c.frames.body, c.reply.body = c.reply.body, c.frames.body
	c.mu.Lock()
	if c.err != nil { // what the exchange came to is settled: a stop can bring an answer about
		c.mu.Unlock()
		return
	}
	abandoned := c.flight.abandoned
	c.flight.first, c.flight.abandoned, c.flight.lent = 0, false, false
	c.greeted, c.served = true, c.greeted
	c.mu.Unlock()
	if abandoned {
		c.end()
		return
	}
	c.rouse()
}

// receiveNotification takes a message that answers nothing.
func (c *conn) receiveNotification(m *wire.Message, payload []byte) error {
	c.mu.Lock()
	greeted := c.greeted
	c.mu.Unlock()
	if !greeted {
		return violation("notification %.40q before hello was answered", m.Method)
	}
	if string(m.Method) == "chunk" {
		return c.receiveChunk(m, payload)
	}
	if payload != nil {
		return violation("notification %.40q with a payload", m.Method)
	}
	if string(m.Method) != "progress" {
		c.notify(string(m.Method), m.Params)
		return nil
	}
	var note wire.Note
	if err := note.Parse(m.Params); err != nil {
		return violation("progress: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.flight
	if f.first != 0 && f.first == note.ID && f.progress && !f.abandoned && !f.cancelled {
		f.addProgress(note.Value)
		c.rouse()
	}
	return nil
}
