package process

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"
)

// recorded is a channel whose worker sends what was recorded, once it has been written to.
type recorded struct {
	replies *bytes.Reader
	asked   chan struct{}
	closed  chan struct{}
}

func (r *recorded) Write(p []byte) (int, error) {
	select {
	case r.asked <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (r *recorded) Read(p []byte) (int, error) {
	if r.replies.Size() == int64(r.replies.Len()) {
		select {
		case <-r.asked:
		case <-r.closed:
		}
	}
	return r.replies.Read(p)
}

func (r *recorded) Close() error { close(r.closed); return nil }

// replyTo is what FuzzReplies makes of a reply with encoding/json.
type replyTo struct {
	ID     uint64           `json:"id"`
	Method *json.RawMessage `json:"method"`
	Result *json.RawMessage `json:"result"`
}

// FuzzReplies lets a worker answer a call, a batch or a stream with any bytes. Whatever it
// says, the exchange ends, in an answer that is really there or in an error.
func FuzzReplies(f *testing.F) {
	whole := func(bodies ...string) (stream []byte) {
		for _, body := range bodies {
			stream = append(stream, frame(body)...)
		}
		return stream
	}
	f.Add(0, whole(`{"jsonrpc":"2.0","id":1,"result":"x"}`))
	f.Add(0, whole(`{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}`))
	f.Add(0, whole(`{"jsonrpc":"2.0","method":"progress","params":{"id":1,"value":5}}`, "\x00\x00\x00\x26"+`{"jsonrpc":"2.0","id":1,"result":null}`+"payload"))
	f.Add(0, whole("\x00\x00\x00\x26"+`{"jsonrpc":"2.0","id":1,"result":null}`+string(make([]byte, 10_000))))
	f.Add(0, whole(`{"jsonrpc":"2.0","id":1,"result":1,"shared":[0,1]}`))
	f.Add(1, whole(`[{"jsonrpc":"2.0","id":2,"result":2},{"jsonrpc":"2.0","id":1,"result":1}]`))
	f.Add(1, whole(`[{"jsonrpc":"2.0","id":1,"result":2},{"jsonrpc":"2.0","id":1,"result":1}]`))
	f.Add(2, whole(`{"jsonrpc":"2.0","method":"chunk","params":{"id":1,"seq":0,"value":[]}}`, `{"jsonrpc":"2.0","id":1,"result":0}`))
	f.Add(2, whole(`{"jsonrpc":"2.0","method":"log","params":{"level":"info","message":"m"}}`, "\x00\x00\x00\x3c"+`{"jsonrpc":"2.0","method":"chunk","params":{"id":1,"seq":0}} `+"raw"))
	f.Fuzz(func(t *testing.T, mode int, stream []byte) {
		cfg := Config{Logger: slog.New(slog.DiscardHandler)}
		channel := &recorded{replies: bytes.NewReader(stream), asked: make(chan struct{}, 1), closed: make(chan struct{})}
		w := &Worker{conn: newConn(channel, connSetup{worker: 1, limit: 1 << 16, cancelGrace: time.Second, hearing: hearing{1, &cfg}})}
		w.conn.peer = peer{binary: true, batch: true, stream: true}
		w.conn.greeted = true
		var err error
		var wanted []uint64
		switch mode % 3 {
		case 0:
			var rep Reply
			err, wanted = w.Exchange(t.Context(), &Request{Method: "m", Progress: func(json.RawMessage) {}}, &rep), []uint64{1}
		case 1:
			err, wanted = w.Batch(t.Context(), []*BatchCall{{Method: "a"}, {Method: "b"}}), []uint64{1, 2}
		default:
			var s *Stream
			if s, err = w.Stream(t.Context(), &Request{Method: "m", Window: 2}); err == nil {
				for s.Next() {
				}
				err, wanted = s.Err(), []uint64{1}
			}
		}
		checkAnswer(t, stream, err, wanted)
		w.conn.fail(io.EOF)
		<-w.conn.gone
	})
}

// checkAnswer checks that an exchange that succeeded was answered in the stream.
func checkAnswer(t *testing.T, stream []byte, err error, wanted []uint64) {
	t.Helper()
	var remote *RemoteError
	if err != nil {
		if !errors.Is(err, ErrBroken) && !errors.As(err, &remote) {
			t.Fatalf("got %v, want ErrBroken or an error reply", err)
		}
		return
	}
	var answered []uint64
	for len(stream) >= FrameHeaderBytes {
		length := int(binary.BigEndian.Uint32(stream))
		stream = stream[FrameHeaderBytes:]
		if length > len(stream) {
			break
		}
		body := stream[:length]
		stream = stream[length:]
		if length > 4 && body[0] == 0 {
			body = body[4 : 4+min(int(binary.BigEndian.Uint32(body)), length-4)]
		}
		replies := make([]replyTo, 1)
		if json.Unmarshal(body, &replies) != nil && json.Unmarshal(body, &replies[0]) != nil {
			continue
		}
		for _, r := range replies {
			if r.Method == nil {
				answered = append(answered, r.ID)
			}
		}
	}
	for _, id := range wanted {
		if !slices.Contains(answered, id) {
			t.Fatalf("request %d succeeded, but the worker answered %v", id, answered)
		}
	}
}
