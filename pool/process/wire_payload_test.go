package process_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// payloadSizes lie on both sides of what is copied, gathered and read in place.
var payloadSizes = []int{0, 1, 100, 4<<10 - 1, 4 << 10, 4<<10 + 1, 8 << 10, 8<<10 + 100, 60 << 10, 64 << 10, 300_000, 3 << 20, 17}

func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// checkPayloads echoes payloads of many sizes into memory of many capacities.
func checkPayloads(t *testing.T, w *process.Worker, sizes []int) {
	t.Helper()
	for _, size := range sizes {
		payload := pattern(size)
		for _, capacity := range []int{0, size, 2*size + 1} {
			into := make([]byte, capacity)
			got, err := w.CallRaw(t.Context(), "raw_echo", payload, into)
			if err != nil || !bytes.Equal(got, payload) {
				t.Fatalf("echo of %d bytes into %d: got %d, error %v", size, capacity, len(got), err)
			}
			if size > 0 && capacity >= size && &got[0] != &into[0] {
				t.Errorf("echo of %d bytes into %d is in other memory", size, capacity)
			}
		}
	}
	if !w.Usable() {
		t.Error("not usable")
	}
}

func TestPayloads(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) { checkPayloads(t, w, payloadSizes) })
}

func TestPayloadBesideParamsAndResult(t *testing.T) {
	cfg := wireConfig(func(channel net.Conn) {
		worker.Serve(context.Background(), channel, map[string]worker.Method{
			"reverse": func(ctx context.Context, params json.RawMessage) (any, error) {
				payload, ok := worker.Payload(ctx)
				answer := worker.Answer{Result: map[string]any{"params": params, "payload": ok}}
				if ok {
					answer.Payload = []byte{}
				}
				for i := range payload {
					answer.Payload = append(answer.Payload, payload[len(payload)-1-i])
				}
				return answer, nil
			},
		})
	})
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		for _, test := range []struct{ payload, want string }{{"abc", "cba"}, {"", ""}} {
			var result struct {
				Params  int
				Payload bool
			}
			rep := process.Reply{Result: &result, Payload: []byte("old")}
			req := process.Request{Method: "reverse", Params: 5, Payload: []byte(test.payload)}
			if err := w.Exchange(t.Context(), &req, &rep); err != nil {
				t.Fatal(err)
			}
			if !rep.HasPayload || string(rep.Payload) != test.want || result.Params != 5 || !result.Payload {
				t.Errorf("reverse of %q: got %q and %+v", test.payload, rep.Payload, result)
			}
		}
		rep := process.Reply{Payload: []byte("old")}
		if err := w.Exchange(t.Context(), &process.Request{Method: "reverse"}, &rep); err != nil || rep.HasPayload || len(rep.Payload) != 0 {
			t.Errorf("without a payload: got %q, %v, error %v; want none", rep.Payload, rep.HasPayload, err)
		}
		if err := w.Exchange(t.Context(), &process.Request{Method: "reverse"}, nil); err != nil {
			t.Errorf("without a reply: %v", err)
		}
	})
}

func TestPayloadsAreRefused(t *testing.T) {
	t.Run("by a worker without the feature", func(t *testing.T) {
		inBubble(t, scriptConfig(func(s *script) {
			if s.next() && s.method != "echo" {
				panic("the host sent " + s.method)
			}
			s.result(`"x"`)
		}), func(t *testing.T, w *process.Worker) {
			_, err := w.CallRaw(t.Context(), "raw_echo", []byte("x"), nil)
			var missing *process.FeatureError
			if !errors.As(err, &missing) || missing.Feature != process.FeatureBinary || missing.Worker != 1 || !w.Usable() {
				t.Errorf("got %v, want *FeatureError and a usable worker", err)
			}
			if err := w.Call(t.Context(), "echo", "x", nil); err != nil {
				t.Error(err)
			}
		})
	})
	cfg := demoConfig()
	cfg.FrameLimit = 20_000
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		if _, err := w.CallRaw(t.Context(), "raw_echo", make([]byte, 20_000), nil); !errors.Is(err, process.ErrFrameTooLarge) || errors.Is(err, process.ErrBroken) {
			t.Errorf("above the limit: got %v, want ErrFrameTooLarge alone", err)
		}
		if _, err := w.CallRaw(t.Context(), "echo", []byte("x"), nil); !errors.Is(err, process.ErrNoPayload) {
			t.Errorf("answer without a payload: got %v, want ErrNoPayload", err)
		}
		var remote *process.RemoteError
		if err := w.Call(t.Context(), "raw_echo", nil, nil); !errors.As(err, &remote) || remote.Code != process.CodeInvalidParams || remote.Worker != 1 {
			t.Errorf("raw_echo without a payload: got %v, want error %d of worker 1", err, process.CodeInvalidParams)
		}
		checkPayloads(t, w, []int{5, 19_000})
	})
}

// A payload's memory is the caller's again once the call has returned, even if the worker
// never reads the request, or stops amid its answer.
func TestPayloadMemoryComesBack(t *testing.T) {
	const header = `{"jsonrpc":"2.0","id":2,"result":null}`
	stay := func() { time.Sleep(time.Minute) }
	for name, test := range map[string]struct {
		rest func(s *script)
		want error
	}{
		"request is not read": {func(*script) { stay() }, context.DeadlineExceeded},
		"answer comes not":    {func(s *script) { s.next(); stay() }, context.DeadlineExceeded},
		"answer is cut off": {func(s *script) {
			s.next()
			s.Write(binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+90_000)))
			s.Write([]byte("\x00\x00\x00\x26" + header + "abc"))
			stay()
		}, context.DeadlineExceeded},
		"answer comes too soon": {func(s *script) {
			s.Read(make([]byte, 10))
			s.binary(`{"jsonrpc":"2.0","id":2,"result":null}`, "abc")
			stay()
		}, process.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, featuredConfig(`,"features":["binary"]`, test.rest), func(t *testing.T, w *process.Worker) {
				payload, into := pattern(100_000), make([]byte, 100_000)
				_, err := w.CallRaw(deadline(t, 5*time.Second), "raw_echo", payload, into)
				for i := range into { // the race detector watches
					payload[i], into[i] = 1, 1
				}
				checkBroken(t, w, err, test.want)
			})
		})
	}
}

// A payload that comes when its call has returned does not get into the caller's memory,
// whatever the message says it answers.
func TestPayloadMemoryIsNotLentAgain(t *testing.T) {
	for name, id := range map[string]string{"no id": "", "null": `,"id":null`, "answered": `,"id":2`} {
		t.Run(name, func(t *testing.T) {
			unasked := make(chan struct{})
			inBubble(t, featuredConfig(`,"features":["binary"]`, func(s *script) {
				s.next()
				s.binary(`{"jsonrpc":"2.0","id":2,"result":null}`, string(pattern(20_000)))
				<-unasked
				s.binary(`{"jsonrpc":"2.0"`+id+`,"result":null}`, strings.Repeat("x", 20_000))
			}), func(t *testing.T, w *process.Worker) {
				into := make([]byte, 20_000)
				got, err := w.CallRaw(t.Context(), "m", nil, into)
				if err != nil || &got[0] != &into[0] {
					t.Fatalf("got %d bytes, error %v; want them in the caller's memory", len(got), err)
				}
				close(unasked)
				synctest.Wait()
				if !bytes.Equal(into, pattern(20_000)) {
					t.Error("the caller's memory was written to after the call")
				}
				checkBroken(t, w, w.Call(t.Context(), "m", nil, nil), process.ErrProtocol)
			})
		})
	}
}
