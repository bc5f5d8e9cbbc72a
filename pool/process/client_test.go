package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// mortal is a pool whose workers count what they execute, and die of it if they are told
// to.
type mortal struct {
	*process.Client
	pool       *recorded.Pool[*process.Worker]
	executions atomic.Int64
}

func newMortal(t *testing.T, poolCfg pool.Config[*process.Worker], cfg process.ClientConfig) *mortal {
	t.Helper()
	m := new(mortal)
	p, err := openPool(t, wireConfig(func(channel net.Conn) {
		methods := worker.Demo(func(int) { channel.Close() })
		methods["die"] = func(context.Context, json.RawMessage) (any, error) { // in the middle of the call
			m.executions.Add(1)
			channel.Close()
			return true, nil
		}
		methods["die_once"] = worker.Func(func(ctx context.Context, _ json.RawMessage) (int64, error) {
			n := m.executions.Add(1)
			if n == 1 {
				channel.Close()
			}
			return n, nil
		})
		methods["die_then_refuse"] = worker.Func(func(context.Context, json.RawMessage) (any, error) {
			if m.executions.Add(1) == 1 {
				channel.Close()
			}
			return nil, errors.New("no")
		})
		methods["refuse"] = func(context.Context, json.RawMessage) (any, error) {
			m.executions.Add(1)
			return nil, errors.New("no")
		}
		methods["hang"] = func(ctx context.Context, _ json.RawMessage) (any, error) {
			m.executions.Add(1)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		worker.Serve(context.Background(), channel, methods, worker.DemoOptions()...)
	}), poolCfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Client, m.pool = process.NewClient(p, cfg), p
	return m
}

// inPool runs a test with such a pool in virtual time, and checks in the end that all
// leases were given back.
func inPool(t *testing.T, poolCfg pool.Config[*process.Worker], cfg process.ClientConfig, test func(t *testing.T, m *mortal)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMortal(t, poolCfg, cfg)
		test(t, m)
		synctest.Wait()
		if stat := m.pool.Stat(); stat.Leased != 0 {
			t.Errorf("%d workers are leased in the end", stat.Leased)
		}
		if err := m.pool.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// Only idempotent calls are repeated, only after the loss of a worker, and only so often:
// the workers count.
func TestClientRepeatsOnlyIdempotentCalls(t *testing.T) {
	var remote *process.RemoteError
	for name, test := range map[string]struct {
		req        process.Request
		attempts   int
		executions int64
		check      func(err error) bool
	}{
		"idempotent, dies once":   {process.Request{Method: "die_once", Idempotent: true}, 0, 2, func(err error) bool { return err == nil }},
		"idempotent, always dies": {process.Request{Method: "die", Idempotent: true}, 0, process.DefaultAttempts, func(err error) bool { return errors.Is(err, process.ErrBroken) && errors.Is(err, io.EOF) }},
		"five attempts":           {process.Request{Method: "die", Idempotent: true}, 5, 5, func(err error) bool { return errors.Is(err, process.ErrBroken) }},
		"one attempt":             {process.Request{Method: "die", Idempotent: true}, 1, 1, func(err error) bool { return errors.Is(err, process.ErrBroken) }},
		"not idempotent":          {process.Request{Method: "die"}, 0, 1, func(err error) bool { return errors.Is(err, process.ErrBroken) }},
		"not idempotent, once":    {process.Request{Method: "die_once"}, 0, 1, func(err error) bool { return errors.Is(err, process.ErrBroken) }},
		"an error reply":          {process.Request{Method: "refuse", Idempotent: true}, 0, 1, func(err error) bool { return errors.As(err, &remote) && !errors.Is(err, process.ErrBroken) }},
		"dies, then an error":     {process.Request{Method: "die_then_refuse", Idempotent: true}, 0, 2, func(err error) bool { return errors.As(err, &remote) && errors.Is(err, process.ErrBroken) }},
		"an unknown method":       {process.Request{Method: "absent", Idempotent: true}, 0, 0, func(err error) bool { return errors.As(err, &remote) }},
		"bad params":              {process.Request{Method: "die", Params: make(chan int), Idempotent: true}, 0, 0, func(err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			inPool(t, pool.Config[*process.Worker]{MaxSize: 2}, process.ClientConfig{Attempts: test.attempts}, func(t *testing.T, m *mortal) {
				by, err := m.Exchange(t.Context(), "", &test.req, nil)
				if !test.check(err) {
					t.Errorf("got %v", err)
				}
				if got := m.executions.Load(); got != test.executions || by.Attempts != int(max(test.executions, 1)) || by.Worker == 0 {
					t.Errorf("executed %d times, served %+v; want %d", got, by, test.executions)
				}
				var broken *process.BrokenError
				if errors.As(err, &broken) && !errors.As(err, &remote) && broken.Worker != by.Worker {
					t.Errorf("the last error is of worker %d, the last worker %d", broken.Worker, by.Worker)
				}
				if _, err := m.Call(t.Context(), "", "echo", "x", nil); err != nil {
					t.Errorf("next call: %v", err)
				}
			})
		})
	}
}

// The plain forms are never repeated.
func TestClientRepeatsNoPlainCall(t *testing.T) {
	for name, call := range map[string]func(m *mortal) error{
		"Call": func(m *mortal) error { _, err := m.Call(context.Background(), "", "die", nil, nil); return err },
		"CallRaw": func(m *mortal) error {
			_, _, err := m.CallRaw(context.Background(), "", "die", nil, nil)
			return err
		},
		"Batch": func(m *mortal) error {
			_, err := m.Batch(context.Background(), "", []*process.BatchCall{{Method: "die"}})
			return err
		},
		"Stream": func(m *mortal) error {
			s, _, err := m.Stream(context.Background(), "", &process.Request{Method: "die", Idempotent: true})
			if err == nil {
				for s.Next() {
				}
				err = s.Err()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inPool(t, pool.Config[*process.Worker]{MaxSize: 1}, process.ClientConfig{}, func(t *testing.T, m *mortal) {
				if err := call(m); !errors.Is(err, process.ErrBroken) || m.executions.Load() != 1 {
					t.Errorf("got %v after %d executions, want ErrBroken after one", err, m.executions.Load())
				}
			})
		})
	}
}

func TestClientEndsWithItsContext(t *testing.T) {
	inPool(t, pool.Config[*process.Worker]{MaxSize: 1}, process.ClientConfig{}, func(t *testing.T, m *mortal) {
		begin := time.Now()
		ctx := deadline(t, time.Second)
		_, err := m.Exchange(ctx, "", &process.Request{Method: "hang", Idempotent: true}, nil)
		if !errors.Is(err, process.ErrBroken) || !errors.Is(err, context.Cause(ctx)) || m.executions.Load() != 1 || time.Since(begin) != time.Second {
			t.Errorf("got %v after %v and %d executions, want the deadline after 1s and one", err, time.Since(begin), m.executions.Load())
		}
		busy := make(chan error)
		go func() {
			_, err := m.Call(context.Background(), "", "nap", map[string]int{"seconds": 60}, nil)
			busy <- err
		}()
		synctest.Wait()
		begin = time.Now()
		ctx = deadline(t, time.Second)
		by, err := m.Exchange(ctx, "", &process.Request{Method: "echo", Idempotent: true}, nil)
		if !errors.Is(err, context.Cause(ctx)) || by != (process.Served{}) || time.Since(begin) != time.Second {
			t.Errorf("waiting for a worker: got %v, served %+v, after %v", err, by, time.Since(begin))
		}
		if err := <-busy; err != nil {
			t.Error(err)
		}
	})
}

// With CallTimeout the caller's context bounds the wait for a worker, and only that.
func TestClientCallTimeout(t *testing.T) {
	cfg := process.ClientConfig{CallTimeout: 10 * time.Second}
	inPool(t, pool.Config[*process.Worker]{MaxSize: 1}, cfg, func(t *testing.T, m *mortal) {
		if _, err := m.Call(t.Context(), "", "echo", "x", nil); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		ctx := deadline(t, time.Second)
		waiting := make(chan error)
		time.AfterFunc(time.Millisecond, func() {
			_, err := m.Call(ctx, "", "echo", "x", nil)
			waiting <- err
		})
		left, err := m.Call(ctx, "", "sleep", map[string]int{"seconds": 5}, nil)
		if err != nil || time.Since(begin) != 5*time.Second {
			t.Errorf("the call under way: error %v after %v, want none after 5s", err, time.Since(begin))
		}
		if err := <-waiting; !errors.Is(err, context.Cause(ctx)) {
			t.Errorf("waiting for a worker: got %v, want the caller's cause", err)
		}
		begin = time.Now()
		by, err := m.Exchange(t.Context(), "", &process.Request{Method: "hang", Idempotent: true}, nil)
		if !errors.Is(err, process.ErrBroken) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 10*time.Second ||
			by.Attempts != 1 || by.Worker != left.Worker || m.executions.Load() != 1 {
			t.Errorf("got %v after %v, served %+v, %d executions; want the deadline after 10s, on the same worker, and one",
				err, time.Since(begin), by, m.executions.Load())
		}
		if by, err = m.Exchange(t.Context(), "", &process.Request{Method: "die", Idempotent: true}, nil); by.Attempts != process.DefaultAttempts {
			t.Errorf("one that dies: served %+v, error %v; want it repeated", by, err)
		}
	})
}

func TestClientAndSessions(t *testing.T) {
	for name, affinity := range map[string]pool.Affinity{"strict": pool.Strict, "sticky": pool.Sticky} {
		t.Run(name, func(t *testing.T) {
			inPool(t, pool.Config[*process.Worker]{MaxSize: 2, Affinity: affinity}, process.ClientConfig{}, func(t *testing.T, m *mortal) {
				first, err := m.Call(t.Context(), "s", "put", worker.Item{Session: "s", Key: "k", Value: json.RawMessage(`1`)}, nil)
				if err != nil || !first.Fresh || first.Attempts != 1 {
					t.Fatalf("first call: served %+v, error %v; want a fresh session", first, err)
				}
				second, err := m.Call(t.Context(), "s", "echo", 1, nil)
				if err != nil || second.Fresh || second.Worker != first.Worker {
					t.Errorf("second call: served %+v, error %v; want the worker of %+v", second, err, first)
				}
				// The session's state dies with its worker: nothing is repeated elsewhere.
				_, err = m.Exchange(t.Context(), "s", &process.Request{Method: "die_once", Idempotent: true}, nil)
				if !errors.Is(err, process.ErrBroken) || m.executions.Load() != 1 {
					t.Errorf("got %v after %d executions, want ErrBroken after one", err, m.executions.Load())
				}
				third, err := m.Exchange(t.Context(), "s", &process.Request{Method: "die_once", Idempotent: true}, nil)
				if affinity == pool.Strict {
					if !errors.Is(err, pool.ErrSessionLost) || third.Worker != 0 || m.executions.Load() != 1 {
						t.Errorf("lost session: got %v, served %+v", err, third)
					}
				} else if err != nil || !third.Fresh || third.Worker == first.Worker {
					t.Errorf("rebound session: got %v, served %+v; want it fresh", err, third)
				}
			})
		})
	}
	// What a fresh session's worker did not know it cannot have lost; but a strict session
	// is lost with it all the same.
	for affinity, want := range map[pool.Affinity]int64{pool.Strict: 1, pool.Sticky: 2} {
		inPool(t, pool.Config[*process.Worker]{MaxSize: 2, Affinity: affinity}, process.ClientConfig{}, func(t *testing.T, m *mortal) {
			by, err := m.Exchange(t.Context(), "new", &process.Request{Method: "die_once", Idempotent: true}, nil)
			if m.executions.Load() != want || (err == nil) != (want == 2) || by.Attempts != int(want) {
				t.Errorf("affinity %v: got %v, served %+v, %d executions; want %d", affinity, err, by, m.executions.Load(), want)
			}
			if want == 1 && (!errors.Is(err, pool.ErrSessionLost) || !errors.Is(err, process.ErrBroken)) {
				t.Errorf("affinity %v: got %v, want the loss and its cause", affinity, err)
			}
		})
	}
}

// A stream has its worker until its end, however that comes.
func TestClientStreamHoldsItsLease(t *testing.T) {
	for name, end := range map[string]func(s *process.Stream, cancel func()){
		"read to its end": func(s *process.Stream, _ func()) {
			for s.Next() {
			}
		},
		"closed":  func(s *process.Stream, _ func()) { s.Close() },
		"context": func(s *process.Stream, cancel func()) { cancel(); s.Next() },
		"range": func(s *process.Stream, _ func()) {
			for range s.All() {
				return
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inPool(t, pool.Config[*process.Worker]{MaxSize: 1}, process.ClientConfig{}, func(t *testing.T, m *mortal) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req := countTo(100, 0)
				s, by, err := m.Stream(ctx, "s", &req)
				if err != nil || by.Worker == 0 || !by.Fresh {
					t.Fatalf("served %+v, error %v", by, err)
				}
				s.Next()
				if leased := m.pool.Stat().Leased; leased != 1 {
					t.Errorf("amid the stream %d workers are leased, want 1", leased)
				}
				end(s, cancel)
				if leased := m.pool.Stat().Leased; leased != 0 {
					t.Errorf("after the stream %d workers are leased, want 0", leased)
				}
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if next, err := m.Call(t.Context(), "s", "echo", 1, nil); err != nil || next.Worker != by.Worker {
					t.Errorf("next call: served %+v, error %v; want worker %d", next, err, by.Worker)
				}
			})
		})
	}
	inPool(t, pool.Config[*process.Worker]{MaxSize: 1}, process.ClientConfig{}, func(t *testing.T, m *mortal) {
		if _, _, err := m.Stream(t.Context(), "", &process.Request{Method: "x", Params: make(chan int)}); err == nil {
			t.Error("a stream with bad params gives no error")
		}
	})
}

func TestClientBatchAndRaw(t *testing.T) {
	inPool(t, pool.Config[*process.Worker]{MaxSize: 1}, process.ClientConfig{}, func(t *testing.T, m *mortal) {
		var got string
		if by, err := m.Batch(t.Context(), "", []*process.BatchCall{{Method: "echo", Params: "x", Result: &got}}); err != nil || got != "x" || by.Worker == 0 {
			t.Errorf("Batch: got %q, served %+v, error %v", got, by, err)
		}
		into := make([]byte, 10)
		if answer, by, err := m.CallRaw(t.Context(), "", "raw_echo", []byte("abc"), into); err != nil || string(answer) != "abc" || &answer[0] != &into[0] || by.Worker == 0 {
			t.Errorf("CallRaw: got %q, served %+v, error %v", answer, by, err)
		}
	})
}

// fragile panics when it is made JSON, or from it.
type fragile struct{}

func (fragile) MarshalJSON() ([]byte, error)  { panic("mine") }
func (*fragile) UnmarshalJSON(_ []byte) error { panic("mine") }

// A caller one of whose functions panics, or ends its goroutine, loses the worker, not its
// place in the pool.
func TestClientGivesBackAfterAPanic(t *testing.T) {
	steps := func(progress func(json.RawMessage)) *process.Request {
		return &process.Request{Method: "steps", Params: map[string]int{"n": 1}, Progress: progress}
	}
	for name, call := range map[string]func(ctx context.Context, m *mortal){
		"progress": func(ctx context.Context, m *mortal) {
			m.Exchange(ctx, "", steps(func(json.RawMessage) { panic("mine") }), nil)
		},
		"progress, when the reply is there": func(ctx context.Context, m *mortal) {
			m.Exchange(ctx, "", steps(func(json.RawMessage) { synctest.Wait(); panic("mine") }), nil)
		},
		"progress, goroutine ends": func(ctx context.Context, m *mortal) {
			m.Exchange(ctx, "", steps(func(json.RawMessage) { synctest.Wait(); runtime.Goexit() }), nil)
		},
		"params": func(ctx context.Context, m *mortal) { m.Call(ctx, "", "echo", fragile{}, nil) },
		"result": func(ctx context.Context, m *mortal) { m.Call(ctx, "", "echo", 1, &fragile{}) },
		"params of a batch": func(ctx context.Context, m *mortal) {
			m.Batch(ctx, "", []*process.BatchCall{{Method: "echo", Params: fragile{}}})
		},
		"result of a batch": func(ctx context.Context, m *mortal) {
			m.Batch(ctx, "", []*process.BatchCall{{Method: "echo", Result: &fragile{}}})
		},
		"params of a stream": func(ctx context.Context, m *mortal) {
			m.Stream(ctx, "", &process.Request{Method: "echo", Params: fragile{}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inPool(t, pool.Config[*process.Worker]{MaxSize: 1}, process.ClientConfig{}, func(t *testing.T, m *mortal) {
				recovered := make(chan any)
				go func() {
					defer func() { recovered <- recover() }()
					call(t.Context(), m)
					t.Error("the call has returned")
				}()
				if v := <-recovered; v != nil && v != "mine" {
					t.Errorf("recovered %v, want the caller's panic", v)
				}
				if _, err := m.Call(deadline(t, time.Minute), "", "echo", 1, nil); err != nil {
					t.Errorf("next call: %v", err)
				}
			})
		})
	}
}

// With 8 callers, 2 workers and deaths all the time, each execution is accounted for: one
// for each call that is not idempotent, and at most the attempts for the others.
func TestClientUnderDeaths(t *testing.T) {
	inPool(t, pool.Config[*process.Worker]{MaxSize: 2}, process.ClientConfig{Attempts: 2}, func(t *testing.T, m *mortal) {
		results := make(chan int)
		for range 8 {
			go func() {
				attempts := 0
				for i := range 40 {
					by, err := m.Exchange(t.Context(), "", &process.Request{Method: "die", Idempotent: i%2 == 0}, nil)
					if !errors.Is(err, process.ErrBroken) || by.Attempts != 2-i%2 {
						t.Errorf("call %d: served %+v, error %v", i, by, err)
					}
					attempts += by.Attempts
				}
				results <- attempts
			}()
		}
		total := 0
		for range 8 {
			total += <-results
		}
		if got := m.executions.Load(); got != int64(total) {
			t.Errorf("%d executions, the callers know of %d", got, total)
		}
		if total != 8*60 {
			t.Errorf("%d attempts, want %d", total, 8*60)
		}
	})
}
