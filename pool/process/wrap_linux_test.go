package process_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// tape is a channel that keeps what was written to it. Besides that it offers nothing of
// what the channel below can do.
type tape struct {
	below io.ReadWriteCloser

	mu     sync.Mutex
	said   bytes.Buffer // guarded by mu
	closes int          // guarded by mu
}

func (c *tape) Read(p []byte) (int, error) { return c.below.Read(p) }

func (c *tape) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.said.Write(p)
	c.mu.Unlock()
	return c.below.Write(p)
}

func (c *tape) Close() error {
	c.mu.Lock()
	c.closes++
	c.mu.Unlock()
	return c.below.Close()
}

// heard returns what was written, and how often the tape was closed.
func (c *tape) heard() (string, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.String(), c.closes
}

// tapes are the channels of all starts.
type tapes struct {
	mu  sync.Mutex
	ids []pool.WorkerID // guarded by mu
	all []*tape         // guarded by mu
}

func (ts *tapes) wrap(id pool.WorkerID, channel io.ReadWriteCloser) io.ReadWriteCloser {
	c := &tape{below: channel}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.ids, ts.all = append(ts.ids, id), append(ts.all, c)
	return c
}

// checkTaped checks that all that a worker was told, from hello on, went through the one
// wrapped channel, and that this was closed once with the worker.
func checkTaped(t *testing.T, ts *tapes, w *process.Worker) {
	t.Helper()
	var answer string
	if err := w.Call(t.Context(), "echo", "taped", &answer); err != nil || answer != "taped" {
		t.Errorf("got %q, error %v", answer, err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if len(ts.ids) != 1 || ts.ids[0] != w.ID() {
		t.Fatalf("wrapped for the workers %v, want once for %d", ts.ids, w.ID())
	}
	said, closes := ts.all[0].heard()
	if !strings.Contains(said[:min(64, len(said))], `"hello"`) || !strings.Contains(said, `"taped"`) || closes != 1 {
		t.Errorf("the worker was told %q and its channel closed %d times; want hello first, the call, one", said, closes)
	}
}

func TestWrapOfEachKindOfChannel(t *testing.T) {
	t.Run("dial", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var ts tapes
			cfg := demoConfig()
			cfg.Wrap = ts.wrap
			w, err := process.Start(t.Context(), cfg, 5)
			if err != nil {
				t.Fatal(err)
			}
			checkTaped(t, &ts, w)
		})
	})
	t.Run("command", func(t *testing.T) {
		var ts tapes
		cfg := roleConfig("demo")
		cfg.Wrap = ts.wrap
		checkTaped(t, &ts, start(t, cfg))
	})
	t.Run("fork", func(t *testing.T) {
		var ts tapes
		cfg := forkedConfig(t, "demo")
		cfg.Wrap = ts.wrap
		checkTaped(t, &ts, start(t, cfg))
	})
}

// However Wrap fails, the start does, and nothing is left of the process.
func TestWrapThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		wrap func(pool.WorkerID, io.ReadWriteCloser) io.ReadWriteCloser
		says string
	}{
		"nil":   {func(pool.WorkerID, io.ReadWriteCloser) io.ReadWriteCloser { return nil }, "Wrap returned nil"},
		"panic": {func(pool.WorkerID, io.ReadWriteCloser) io.ReadWriteCloser { panic("no tape") }, "Wrap panicked: no tape"},
		"end of the goroutine": {func(pool.WorkerID, io.ReadWriteCloser) io.ReadWriteCloser {
			runtime.Goexit()
			return nil
		}, "Wrap ended its goroutine"},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeftovers(t)
			for _, cfg := range []process.Config{demoConfig(), roleConfig("demo")} {
				cfg.Wrap = test.wrap
				if w, err := process.Start(t.Context(), cfg, 3); w != nil || err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("got worker %v, error %v; want that %s", w, err, test.says)
				}
			}
		})
	}
}

// endless hides the end of the channel below: a read returns only when it is closed.
type endless struct {
	io.ReadWriteCloser
	closed chan struct{}
}

func (c *endless) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p)
	if err != nil {
		<-c.closed
	}
	return n, err
}

func (c *endless) Close() error {
	defer close(c.closed)
	return c.ReadWriteCloser.Close()
}

// The end of a process ends its channel, although what was put around that has no deadlines
// and does not tell of an end; and the cause is the process's.
func TestProcessEndsUnderAWrapThatHidesIt(t *testing.T) {
	cfg := roleConfig("demo")
	cfg.Wrap = func(_ pool.WorkerID, channel io.ReadWriteCloser) io.ReadWriteCloser {
		return &endless{channel, make(chan struct{})}
	}
	w := start(t, cfg)
	err := w.Call(t.Context(), "crash", map[string]int{"code": 3}, nil)
	var exit *process.ExitError
	if !errors.Is(err, process.ErrBroken) || !errors.As(err, &exit) || exit.Code != 3 {
		t.Errorf("got %v, want ErrBroken and exit code 3", err)
	}
	await(t, w.Done(), "the worker's end")
}

// plugged takes nothing more once it is told to: a write returns only when it is closed.
type plugged struct {
	io.ReadWriteCloser
	plug, closed chan struct{}
}

func (c *plugged) Write(p []byte) (int, error) {
	select {
	case <-c.plug:
		<-c.closed
		return 0, io.ErrClosedPipe
	default:
		return c.ReadWriteCloser.Write(p)
	}
}

func (c *plugged) Close() error {
	defer close(c.closed)
	return c.ReadWriteCloser.Close()
}

// A caller can leave a write that blocks in the wrapped channel of a process, as requests to
// it are written by a goroutine of their own.
func TestWrapThatTakesNothing(t *testing.T) {
	cfg := roleConfig("demo")
	plug := make(chan struct{})
	cfg.Wrap = func(_ pool.WorkerID, channel io.ReadWriteCloser) io.ReadWriteCloser {
		return &plugged{channel, plug, make(chan struct{})}
	}
	w := start(t, cfg)
	close(plug)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- w.Call(ctx, "echo", "x", nil) }()
	eventually(t, "the call is under way", func() bool { return !w.Usable() })
	cancel()
	checkBroken(t, w, <-result, context.Canceled)
	await(t, w.Done(), "the worker's end")
}
