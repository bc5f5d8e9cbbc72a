package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

const naps = `,"cancellable":["nap"]`

// deadline returns a context that ends after d with a cause of its own.
func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("patience is over: %w", context.DeadlineExceeded))
	t.Cleanup(cancel)
	return ctx
}

func TestCancelledCallKeepsTheWorker(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		for range 3 {
			ctx, begin := deadline(t, time.Second), time.Now()
			err := w.Call(ctx, "nap", map[string]int{"seconds": 60}, nil)
			if !errors.Is(err, context.Cause(ctx)) || errors.Is(err, process.ErrBroken) || !w.Usable() {
				t.Fatalf("got %v, usable %v; want the cause alone and a usable worker", err, w.Usable())
			}
			if took := time.Since(begin); took != time.Second {
				t.Errorf("took %v, want 1s", took)
			}
			var answer string
			if err := w.Call(t.Context(), "echo", "mine", &answer); err != nil || answer != "mine" {
				t.Fatalf("next call: got %q, error %v", answer, err)
			}
		}
	})
}

func TestCancelledCallsAnswerIsDropped(t *testing.T) {
	for name, answer := range map[string]string{
		"result":  `{"jsonrpc":"2.0","id":2,"result":"late"}`,
		"error":   `{"jsonrpc":"2.0","id":2,"error":{"code":-32003,"message":"cancelled"}}`,
		"payload": "\x00\x00\x00\x26" + `{"jsonrpc":"2.0","id":2,"result":null}` + string(make([]byte, 9000)),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, featuredConfig(naps+`,"features":["binary"]`, func(s *script) {
				s.next()
				s.next()
				if s.method != "cancel" || s.params != `{"id":2}` {
					panic("got " + s.method + s.params + ", want a cancel of 2")
				}
				time.Sleep(100 * time.Millisecond)
				s.note("progress", `{"id":2,"value":1}`)
				s.frame(answer)
				s.next()
				s.result(`"` + s.method + `"`)
			}), func(t *testing.T, w *process.Worker) {
				begin, late := time.Now(), "untouched"
				req := process.Request{Method: "nap", Progress: func(json.RawMessage) { t.Error("progress after the end") }}
				rep := process.Reply{Result: &late, Payload: make([]byte, 10_000)}
				ctx := deadline(t, time.Second)
				err := w.Exchange(ctx, &req, &rep)
				if !errors.Is(err, context.Cause(ctx)) || errors.Is(err, process.ErrBroken) || late != "untouched" || rep.Payload[0] != 0 {
					t.Errorf("got %q and error %v, want the cause alone", late, err)
				}
				if took := time.Since(begin); took != 1100*time.Millisecond {
					t.Errorf("took %v, want 1.1s: until the answer", took)
				}
				if err := w.Call(t.Context(), "next", nil, &late); err != nil || late != "next" {
					t.Errorf("next call: got %q, error %v; want its own reply", late, err)
				}
			})
		})
	}
}

func TestCancelThatIsNotHeededBreaksTheWorker(t *testing.T) {
	for name, test := range map[string]struct {
		members string
		grace   time.Duration
		rest    func(s *script)
		took    time.Duration
	}{
		"no answer":         {naps, 0, func(s *script) { s.next(); s.next() }, time.Second + process.DefaultCancelGrace},
		"cancel is unread":  {naps, 0, func(s *script) { s.next(); time.Sleep(time.Minute) }, time.Second + process.DefaultCancelGrace},
		"request is unread": {naps, 0, func(*script) { time.Sleep(time.Minute) }, time.Second + process.DefaultCancelGrace},
		"another grace":     {naps, 10 * time.Second, func(s *script) { s.next(); s.next() }, 11 * time.Second},
		"no grace":          {naps, -1, func(s *script) { s.next(); s.next() }, time.Second},
		"not announced":     {"", 0, func(s *script) { s.next(); s.next() }, time.Second},
		"end of file":       {naps, 0, func(s *script) { s.next(); s.next(); s.Close() }, time.Second},
		"wrong id":          {naps, 0, func(s *script) { s.next(); s.next(); s.reply(s.id+1, "1") }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := featuredConfig(test.members, test.rest)
			cfg.CancelGrace = test.grace
			inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
				ctx, begin := deadline(t, time.Second), time.Now()
				err := w.Call(ctx, "nap", nil, nil)
				if took := time.Since(begin); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				checkBroken(t, w, err, context.Cause(ctx))
			})
		})
	}
}

// The deadline is one budget from the entry of a call: for its turn, its writing and its
// reply.
func TestDeadlineIsOneBudget(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		first := make(chan error)
		go func() { first <- w.Call(t.Context(), "nap", map[string]int{"seconds": 3}, nil) }()
		time.Sleep(time.Second)
		begin := time.Now()
		err := w.Call(deadline(t, 5*time.Second), "nap", map[string]int{"seconds": 4}, nil)
		if took := time.Since(begin); err == nil || took != 5*time.Second || !w.Usable() {
			t.Errorf("got %v after %v, want the deadline after 5s", err, took)
		}
		begin = time.Now()
		if err := <-first; err != nil {
			t.Error(err)
		}
		go func() { first <- w.Call(t.Context(), "nap", map[string]int{"seconds": 3}, nil) }()
		time.Sleep(time.Second)
		if err := w.Call(deadline(t, time.Second), "echo", 1, nil); err == nil || errors.Is(err, process.ErrBroken) || time.Since(begin) != 2*time.Second {
			t.Errorf("while it waited for its turn: got %v after %v, want the cause alone after 2s", err, time.Since(begin))
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

// A cancel that crosses the reply is stale for the worker, which must ignore it.
func TestStaleCancelsAndCreditsAreIgnored(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		for i := range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			err := w.Call(ctx, "nap", map[string]int{"seconds": 1}, nil) // both at the same moment
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) || errors.Is(err, process.ErrBroken) {
				t.Fatalf("round %d: %v", i, err)
			}
			var got string
			if err := w.Call(t.Context(), "echo", fmt.Sprint(i), &got); err != nil || got != fmt.Sprint(i) {
				t.Fatalf("round %d: got %q, error %v", i, got, err)
			}
		}
	})
}

// lastWord is a channel at whose close the worker answers, as one may whose call ends
// because it is told to stop.
type lastWord struct {
	net.Conn
	remote *script
}

func (l *lastWord) Close() error {
	l.remote.result(`"late"`)
	return l.Conn.Close()
}

func TestAnswerThatAStopBringsAboutReachesNobody(t *testing.T) {
	cfg := process.Config{Dial: func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) {
		host, remote := net.Pipe()
		s := &script{Conn: remote, frames: process.NewFrameReader(remote, 1<<20)}
		go func() {
			s.next()
			s.result(`{"protocol":1,"pid":1,"instance":"late","methods":[]}`)
			s.next()
			s.note("progress", `{"id":2}`)
		}()
		return &lastWord{host, s}, nil
	}}
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		stopped := make(chan error, 1)
		answer := ""
		req := process.Request{Method: "m", Progress: func(json.RawMessage) {
			go func() { stopped <- w.Stop(context.Background()) }()
			synctest.Wait() // the stop and the answer come while this caller is busy
		}}
		err := w.Exchange(t.Context(), &req, &process.Reply{Result: &answer})
		checkBroken(t, w, err, process.ErrStopped)
		if answer != "" {
			t.Errorf("got %q", answer)
		}
		if err := <-stopped; err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
}
