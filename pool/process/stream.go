package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strconv"

	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

// DefaultWindow is the Window of a Request that names none.
const DefaultWindow = 8

var (
	// ErrStreamClosed is the cause given to the worker's part of a stream that was closed
	// before its end. It comes, together with ErrBroken, from Close.
	ErrStreamClosed = errors.New("process: stream closed by its consumer")

	// ErrStreamOpen reports that a stream was asked for its result before its end.
	ErrStreamOpen = errors.New("process: stream has not ended")
)

// Chunk is one piece of a stream.
type Chunk struct {
	Seq     uint64          // counts the chunks of a stream from 0
	Value   json.RawMessage // nil if the worker sent none
	Payload []byte          // raw bytes; nil if the worker sent none
}

// Stream is a result that comes in pieces. Whoever holds one must Close it, and uses the
// worker alone until then. It is not safe for concurrent use.
//
//	for s.Next() {
//		use(s.Chunk())
//	}
//	err := s.Close()
//	if s.Err() != nil { ... }
type Stream struct {
	w       *Worker
	ctx     context.Context
	flow    *inflow
	release func(error) // told once how the worker came out of it; nil: nobody

	progress func(json.RawMessage)
	current  slot
	chunk    Chunk
	seq      uint64 // of the next chunk
	held     bool   // current holds a chunk that was given to the consumer
	used     int    // chunks that the consumer is done with and no credit was sent for
	ended    bool
	result   []byte
	err      error // why the stream ended, other than by a result
	broken   error // why the worker cannot be used any more
}

// inflow takes chunks from the reader. It is guarded by the conn's mu.
type inflow struct {
	slots  []slot // a ring with room for the window
	first  int    // of the chunks in it
	count  int
	seq    uint64 // of the next chunk to come
	credit int    // how many chunks the worker may send
}

// slot holds a chunk. Its memory is exchanged with the reader's and the consumer's.
type slot struct{ body, value, payload []byte }

// Stream calls a method and returns its result in pieces. It blocks until the request is
// on its way, and its context holds until the stream's end: when it ends, so does the
// stream. At most req.Window chunks are under way or unread; the worker waits while the
// consumer is slow. After an error there is no stream; errors are those of Exchange.
//
// A stream that is given up, because ctx ended or Close was called, is cancelled. The
// worker has Config.CancelGrace to end it, else it is lost.
func (w *Worker) Stream(ctx context.Context, req *Request) (*Stream, error) {
	c := w.conn
	window := req.Window
	if window <= 0 {
		window = DefaultWindow
	}
	if err := c.begin(ctx, giveUp); err != nil {
		return nil, w.explain(ctx, err)
	}
	if !c.peer.stream {
		c.end()
		return nil, &FeatureError{Worker: w.id, Feature: FeatureStream}
	}
	encoded := false
	defer func() { c.mind(encoded) }()
	head, payload, err := c.encodeRequest(req, window)
	encoded = true
	if err != nil {
		c.end()
		return nil, err
	}
	s := &Stream{
		w: w, ctx: ctx, progress: req.Progress,
		flow: &inflow{slots: make([]slot, window), credit: window},
	}
	c.await(flight{first: c.id, last: c.id, stream: s.flow, progress: req.Progress != nil})
	c.send(head, payload, payload != nil)
	if payload != nil {
		// The payload is the caller's again once Stream has returned.
		if err := c.finishWrite(ctx); err != nil {
			return nil, w.explain(ctx, err)
		}
	}
	return s, nil
}

// Next waits for a chunk and reports whether there is one; Chunk returns it. False means
// that the stream has ended, which it does exactly once: Err says how.
func (s *Stream) Next() bool {
	s.chunk = Chunk{}
	if s.held {
		s.held = false
		s.used++
	}
	for !s.ended {
		if s.ctx.Err() != nil {
			s.abort(context.Cause(s.ctx))
			return false
		}
		s.grant()
		values, took, answered, err := s.take()
		for _, value := range values {
			s.progress(value)
		}
		switch {
		case took:
			return true
		case answered:
			s.finish()
			return false
		case err != nil:
			s.w.conn.reclaim()
			s.end(err, err)
			return false
		}
		s.pause()
	}
	return false
}

// Chunk returns the chunk that the last Next found. It is valid until the next Next or
// Close.
func (s *Stream) Chunk() Chunk { return s.chunk }

// Err returns why the stream ended: nil before its end, after a result and after a Close
// that came first; *RemoteError if the worker ended it with an error; ctx's cause, wrapped
// beside ErrBroken if the worker was lost by it; otherwise as for Call.
func (s *Stream) Err() error { return s.err }

// Result decodes the result that ended the stream into result, as Worker.Call does. It
// returns Err if the stream ended otherwise, and ErrStreamOpen before its end. A payload
// beside the result is dropped.
func (s *Stream) Result(result any) error {
	switch {
	case s.err != nil:
		return s.err
	case !s.ended || s.result == nil:
		return ErrStreamOpen
	}
	return decodeResult(s.result, result)
}

// Close ends the stream if it has not ended, and gives the worker free. It blocks until
// the worker has ended the stream, at most for Config.CancelGrace. It returns nil if the
// worker can be used further, else an error that wraps ErrBroken. Closing again does
// nothing and returns the same.
func (s *Stream) Close() error {
	if !s.ended {
		s.abort(ErrStreamClosed)
		if s.broken == nil {
			s.err = nil
		}
	}
	return s.broken
}

// All returns the remaining chunks for a range statement, and closes the stream when that
// ends. A stream that ends with an error yields it at last, with a zero Chunk.
func (s *Stream) All() iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		defer s.Close()
		for s.Next() {
			if !yield(s.chunk, nil) {
				return
			}
		}
		if s.err != nil {
			yield(Chunk{}, s.err)
		}
	}
}

// take moves the next chunk out of the ring, if there is one, and returns what else has
// happened.
func (s *Stream) take() (progress []json.RawMessage, took, answered bool, err error) {
	c, f := s.w.conn, s.flow
	c.mu.Lock()
	defer c.mu.Unlock()
	progress = c.flight.takeProgress()
	if f.count == 0 {
		return progress, false, c.flight.first == 0, c.err
	}
	s.current, f.slots[f.first] = f.slots[f.first], s.current
	f.first = (f.first + 1) % len(f.slots)
	f.count--
	s.chunk = Chunk{Seq: s.seq, Value: s.current.value, Payload: s.current.payload}
	s.seq++
	s.held = true
	return progress, true, false, nil
}

// pause waits for news.
func (s *Stream) pause() {
	c := s.w.conn
	var written chan struct{}
	if c.writing {
		written = c.written // then a credit can go out
	}
	select {
	case <-c.wake:
	case <-written:
		c.writing = false
	case <-s.ctx.Done():
	}
}

// grant lets the worker send as many chunks as the consumer is done with, once they are
// half a window: a credit for each would double the messages.
func (s *Stream) grant() {
	c := s.w.conn
	if 2*s.used < len(s.flow.slots) || s.used == 0 || !c.wrote() {
		return
	}
	c.mu.Lock()
	ended := c.flight.first == 0 || c.err != nil
	if !ended {
		s.flow.credit += s.used
	}
	c.mu.Unlock()
	if ended {
		return
	}
	var member [32]byte
	credit := append(member[:0], `,"chunks":`...)
	c.sendNote("credit", strconv.AppendInt(credit, int64(s.used), 10))
	s.used = 0
}

// finish takes the reply that ended the stream.
func (s *Stream) finish() {
	c := s.w.conn
	if err := c.settleWrite(); err != nil {
		s.end(err, err)
		return
	}
	var err error
	if c.reply.remote != nil {
		err = c.reply.remote
	} else {
		s.result = bytes.Clone(c.reply.result)
	}
	c.end()
	s.end(err, nil)
}

// abort ends the stream before the worker has.
func (s *Stream) abort(cause error) {
	c := s.w.conn
	err := c.leave(cause, cancel)
	if err == nil { // the reply is there, and comes too late
		if err = c.settleWrite(); err == nil {
			c.end()
			err = cause
		}
	}
	if errors.Is(err, ErrBroken) {
		s.end(err, err)
		return
	}
	s.end(err, nil)
}

// end ends the stream, once.
func (s *Stream) end(err, broken error) {
	s.ended = true
	s.current, s.chunk, s.held, s.flow = slot{}, Chunk{}, false, nil
	if broken != nil {
		broken = s.w.explain(s.ctx, broken)
		err = broken
	}
	s.err, s.broken = err, broken
	if s.release != nil {
		s.release(broken)
	}
}

// receiveChunk takes a chunk, which a stream with credit must have asked for.
func (c *conn) receiveChunk(m *wire.Message, payload []byte) error {
	var note wire.Note
	if err := note.Parse(m.Params); err != nil {
		return violation("chunk: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flight.stream
	switch {
	case c.flight.first == 0 || f == nil || note.ID != c.flight.first:
		return violation("a chunk of request %d, which is no stream under way", note.ID)
	case note.Seq != f.seq:
		return violation("chunk %d of request %d, want %d", note.Seq, note.ID, f.seq)
	case f.credit == 0:
		return violation("chunk %d of request %d exceeds the window", note.Seq, note.ID)
	}
	f.seq++
	f.credit--
	if c.flight.cancelled {
		return nil
	}
	free := &f.slots[(f.first+f.count)%len(f.slots)]
	c.frames.body, free.body = free.body, c.frames.body
	free.value, free.payload = note.Value, payload
	f.count++
	c.rouse()
	return nil
}
