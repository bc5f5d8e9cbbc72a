package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

const streams = `,"features":["stream","binary"]`

// chunk sends a chunk of the request that came last.
func (s *script) chunk(seq int) {
	s.note("chunk", fmt.Sprintf(`{"id":%d,"seq":%d,"value":%[2]d}`, s.id, seq))
}

// open starts a stream, which is closed when the test ends.
func open(t *testing.T, w *process.Worker, req process.Request) *process.Stream {
	t.Helper()
	s, err := w.Stream(t.Context(), &req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func countTo(n, size int) process.Request {
	return process.Request{Method: "count", Params: map[string]int{"n": n, "size": size}}
}

// checkEnded checks that a stream has ended, once and for all.
func checkEnded(t *testing.T, s *process.Stream) {
	t.Helper()
	err := s.Err()
	for range 2 {
		if s.Next() || !errors.Is(s.Err(), err) {
			t.Errorf("after its end a stream goes on, or ends with %v after %v", s.Err(), err)
		}
	}
}

func TestStream(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) { checkStreams(t, w) })
}

// checkStreams counts with a demo worker.
func checkStreams(t *testing.T, w *process.Worker) {
	t.Helper()
	for _, window := range []int{0, 1, 2, 7, 1000} {
		for _, n := range []int{0, 1, 8, 9, 100} {
			for _, size := range []int{0, 10, 20_000} {
				req := countTo(n, size)
				req.Window = window
				s, err := w.Stream(t.Context(), &req)
				if err != nil {
					t.Fatal(err)
				}
				got := 0
				for chunk, err := range s.All() {
					var value int
					if err != nil || chunk.Seq != uint64(got) || json.Unmarshal(chunk.Value, &value) != nil || value != got || len(chunk.Payload) != size {
						t.Fatalf("window %d, chunk %d: got %+v, error %v", window, got, chunk, err)
					}
					got++
				}
				var result int
				if err := s.Result(&result); err != nil || got != n || result != n {
					t.Errorf("window %d: %d chunks and result %d, error %v; want %d", window, got, result, err, n)
				}
				checkEnded(t, s)
			}
		}
	}
	if err := w.Ping(t.Context()); err != nil || !w.Usable() {
		t.Errorf("after the streams: %v, usable %v", err, w.Usable())
	}
}

func TestStreamOfAMethodThatDoesNotStream(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		var values []int
		if err := w.Call(t.Context(), "count", map[string]int{"n": 3}, &values); err != nil || fmt.Sprint(values) != "[0 1 2]" {
			t.Errorf("a call gathers %v, error %v", values, err)
		}
		var remote *process.RemoteError
		if err := w.Call(t.Context(), "count", map[string]int{"n": 3, "size": 1}, nil); !errors.As(err, &remote) || remote.Code != process.CodeInvalidParams {
			t.Errorf("a call for raw chunks: got %v, want it refused", err)
		}
		s := open(t, w, process.Request{Method: "echo", Params: "x"})
		if err := s.Result(nil); !errors.Is(err, process.ErrStreamOpen) {
			t.Errorf("before the end: got %v, want ErrStreamOpen", err)
		}
		var result string
		if s.Next() || s.Err() != nil || s.Result(&result) != nil || result != "x" {
			t.Errorf("got chunk %+v, result %q, error %v; want the result alone", s.Chunk(), result, s.Err())
		}
		s = open(t, w, process.Request{Method: "fail", Params: map[string]any{"code": 5, "message": "no"}})
		if s.Next() || !errors.As(s.Err(), &remote) || remote.Code != 5 || !errors.Is(s.Result(nil), s.Err()) || s.Close() != nil {
			t.Errorf("got %v, want error 5", s.Err())
		}
		checkEnded(t, s)
		if !w.Usable() {
			t.Error("not usable")
		}
	})
	inBubble(t, scriptConfig(func(*script) {}), func(t *testing.T, w *process.Worker) {
		_, err := w.Stream(t.Context(), &process.Request{Method: "count"})
		var missing *process.FeatureError
		if !errors.As(err, &missing) || missing.Feature != process.FeatureStream || !w.Usable() {
			t.Errorf("got %v, want *FeatureError", err)
		}
	})
}

// While the consumer is slow the worker has sent a window of chunks and no more.
func TestStreamHoldsTheWorkerBack(t *testing.T) {
	const window = 4
	var sent atomic.Int64
	cfg := wireConfig(func(channel net.Conn) {
		worker.Serve(context.Background(), channel, map[string]worker.Method{
			"flood": worker.StreamFunc(func(_ context.Context, _ struct{}, out *worker.Emitter) (bool, error) {
				for range 100 {
					if err := out.Value("x"); err != nil {
						return false, err
					}
					sent.Add(1)
				}
				return true, nil
			}),
		})
	})
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		s := open(t, w, process.Request{Method: "flood", Window: window})
		for read := range 100 {
			synctest.Wait()
			if n := int(sent.Load()); n < min(read+1, 100) || n > read+window {
				t.Fatalf("%d chunks are read, %d sent; want at most %d more", read, n, window)
			}
			if !s.Next() {
				t.Fatal(s.Err())
			}
		}
		if s.Next() || s.Err() != nil {
			t.Errorf("at the end: %v", s.Err())
		}
	})
}

// A full window holds up neither the end of a stream nor its error.
func TestStreamEndsBehindAFullWindow(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(s *script)
		want error
		as   bool
	}{
		"result": {func(s *script) { s.result(`"done"`) }, nil, false},
		"error": {func(s *script) {
			s.frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"error":{"code":9,"message":"no"}}`, s.id))
		}, nil, true},
		"death":       {func(s *script) { s.Close() }, io.EOF, false},
		"cut frame":   {func(s *script) { s.Write([]byte("\x00\x00\x00\x09{")); s.Close() }, io.ErrUnexpectedEOF, false},
		"wrong id":    {func(s *script) { s.reply(s.id+1, "1") }, process.ErrProtocol, false},
		"late notice": {func(s *script) { s.note("hint", "1"); s.result(`"done"`) }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, featuredConfig(streams, func(s *script) {
				s.next()
				s.chunk(0)
				s.chunk(1)
				test.end(s)
			}), func(t *testing.T, w *process.Worker) {
				s := open(t, w, process.Request{Method: "m", Window: 2})
				time.Sleep(time.Minute)
				got := 0
				for s.Next() {
					got++
				}
				var remote *process.RemoteError
				if got != 2 || test.want == nil && !test.as && s.Err() != nil || test.as && !errors.As(s.Err(), &remote) {
					t.Errorf("%d chunks, then %v", got, s.Err())
				}
				checkEnded(t, s)
				if test.want != nil {
					checkBroken(t, w, s.Err(), test.want)
					checkBroken(t, w, s.Close(), test.want)
				} else if s.Close() != nil || !w.Usable() {
					t.Errorf("Close: %v, usable %v", s.Close(), w.Usable())
				}
			})
		})
	}
}

func TestStreamViolations(t *testing.T) {
	for name, violate := range map[string]func(s *script){
		"more than the window": func(s *script) { s.chunk(0); s.chunk(1); s.chunk(2) },
		"sequence repeated":    func(s *script) { s.chunk(0); s.chunk(0) },
		"sequence skipped":     func(s *script) { s.chunk(1) },
		"another stream":       func(s *script) { s.id++; s.chunk(0) },
		"no id":                func(s *script) { s.note("chunk", `{"seq":0}`) },
		"sequence as text":     func(s *script) { s.note("chunk", fmt.Sprintf(`{"id":%d,"seq":"0"}`, s.id)) },
		"no params":            func(s *script) { s.frame(`{"jsonrpc":"2.0","method":"chunk"}`) },
		"after the end":        func(s *script) { s.result("1"); s.chunk(0) },
		"two ends":             func(s *script) { s.result("1"); s.result("2") },
		"malformed binary":     func(s *script) { s.frame("\x00\x00\x01\x00" + `{"jsonrpc":"2.0"`) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, featuredConfig(streams, func(s *script) { s.next(); violate(s) }), func(t *testing.T, w *process.Worker) {
				s := open(t, w, process.Request{Method: "m", Window: 2})
				time.Sleep(time.Minute)
				for s.Next() {
				}
				if !strings.Contains(name, "end") { // whose stream has ended well
					checkBroken(t, w, s.Err(), process.ErrProtocol)
				} else if s.Err() != nil {
					t.Error(s.Err())
				}
				checkBroken(t, w, w.Ping(t.Context()), process.ErrProtocol)
			})
		})
	}
	t.Run("chunk of a call", func(t *testing.T) {
		inBubble(t, featuredConfig(streams, func(s *script) { s.next(); s.chunk(0) }), func(t *testing.T, w *process.Worker) {
			checkBroken(t, w, w.Call(t.Context(), "m", nil, nil), process.ErrProtocol)
		})
	})
}

// A stream that is given up is cancelled; what still comes reaches nobody.
func TestStreamIsGivenUp(t *testing.T) {
	for name, giveUp := range map[string]func(t *testing.T, s *process.Stream, cancel func()){
		"closed at once":   func(t *testing.T, s *process.Stream, cancel func()) {},
		"closed amid":      func(t *testing.T, s *process.Stream, cancel func()) { s.Next() },
		"closed when full": func(t *testing.T, s *process.Stream, cancel func()) { synctest.Wait() },
		"left by a range": func(t *testing.T, s *process.Stream, cancel func()) {
			for range s.All() {
				break
			}
		},
		"context ended": func(t *testing.T, s *process.Stream, cancel func()) {
			s.Next()
			cancel()
			if s.Next() || !errors.Is(s.Err(), context.Canceled) || errors.Is(s.Err(), process.ErrBroken) {
				t.Errorf("got %v, want context.Canceled alone", s.Err())
			}
			checkEnded(t, s)
		},
		"context ended while it waited": func(t *testing.T, s *process.Stream, cancel func()) {
			time.AfterFunc(time.Second, cancel)
			for s.Next() {
				time.Sleep(300 * time.Millisecond)
			}
			if !errors.Is(s.Err(), context.Canceled) {
				t.Errorf("got %v, want context.Canceled", s.Err())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
				for range 3 {
					ctx, cancel := context.WithCancel(t.Context())
					req := countTo(1_000_000, 0)
					s, err := w.Stream(ctx, &req)
					if err != nil {
						t.Fatal(err)
					}
					giveUp(t, s, cancel)
					if err := s.Close(); err != nil {
						t.Fatalf("Close: %v", err)
					}
					cancel()
					var got string
					if err := w.Call(t.Context(), "echo", "mine", &got); err != nil || got != "mine" {
						t.Fatalf("next call: got %q, error %v", got, err)
					}
				}
			})
		})
	}
}

func TestStreamThatDoesNotEndInTheGraceBreaksTheWorker(t *testing.T) {
	rest := func(s *script) {
		s.next()
		s.chunk(0)
		s.next() // the cancel
		s.chunk(1)
		time.Sleep(time.Hour)
		s.result("1")
	}
	inBubble(t, featuredConfig(streams, rest), func(t *testing.T, w *process.Worker) {
		s := open(t, w, process.Request{Method: "m", Window: 2})
		s.Next()
		begin := time.Now()
		err := s.Close()
		if took := time.Since(begin); took != process.DefaultCancelGrace {
			t.Errorf("Close took %v, want %v", took, process.DefaultCancelGrace)
		}
		checkBroken(t, w, err, process.ErrStreamClosed)
		checkEnded(t, s)
	})
	inBubble(t, featuredConfig(streams, rest), func(t *testing.T, w *process.Worker) {
		ctx := deadline(t, time.Second)
		s, err := w.Stream(ctx, &process.Request{Method: "m", Window: 2})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for s.Next() {
		}
		if took := time.Since(begin); took != time.Second+process.DefaultCancelGrace {
			t.Errorf("ended after %v, want the deadline and %v", took, process.DefaultCancelGrace)
		}
		checkBroken(t, w, s.Err(), context.Cause(ctx))
	})
}

// A call waits until a stream has ended, and Stop ends both.
func TestStreamHasTheWorkerForItself(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		s := open(t, w, countTo(100, 0))
		call := make(chan error, 1)
		go func() { call <- w.Call(t.Context(), "echo", 1, nil) }()
		synctest.Wait()
		if w.Usable() || len(call) != 0 {
			t.Errorf("amid a stream: usable %v, %d calls answered", w.Usable(), len(call))
		}
		for s.Next() {
		}
		if err := <-call; err != nil || s.Err() != nil {
			t.Errorf("call: %v, stream: %v", err, s.Err())
		}
		s = open(t, w, countTo(100, 0))
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		for s.Next() {
		}
		checkBroken(t, w, s.Err(), process.ErrStopped)
	})
}

func TestStreamWithProgressAndAPayload(t *testing.T) {
	inBubble(t, featuredConfig(streams, func(s *script) {
		s.next()
		size := len(s.payload)
		s.note("progress", fmt.Sprintf(`{"id":%d,"value":%d}`, s.id, size))
		s.binary(fmt.Sprintf(`{"jsonrpc":"2.0","method":"chunk","params":{"id":%d,"seq":0}}`, s.id), "raw")
		s.note("progress", fmt.Sprintf(`{"id":%d}`, s.id))
		s.result("1")
	}), func(t *testing.T, w *process.Worker) {
		var progress []string
		s := open(t, w, process.Request{
			Method: "m", Payload: make([]byte, 100_000),
			Progress: func(value json.RawMessage) { progress = append(progress, string(value)) },
		})
		if !s.Next() || string(s.Chunk().Payload) != "raw" || s.Chunk().Value != nil || s.Next() || s.Err() != nil {
			t.Errorf("got %+v, error %v", s.Chunk(), s.Err())
		}
		if fmt.Sprint(progress) != "[100000 ]" {
			t.Errorf("progress %q, want 100000 and nothing", progress)
		}
	})
}
