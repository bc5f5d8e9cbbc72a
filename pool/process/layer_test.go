package process_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

// checkFeatures checks what a demo worker does beyond plain calls, on any layer.
func checkFeatures(t *testing.T, w *process.Worker) {
	t.Helper()
	checkPayloads(t, w, []int{0, 10, 5000, 70_000, 5 << 20})
	checkProgress(t, w)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.Call(ctx, "nap", map[string]int{"seconds": 60}, nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, process.ErrBroken) {
		t.Errorf("cancelled call: got %v, want the deadline alone", err)
	}
	var remote *process.RemoteError
	if err := w.Call(t.Context(), "fail", map[string]any{"code": 42, "message": "no"}, nil); !errors.As(err, &remote) || remote.Code != 42 || remote.Message != "no" || len(remote.Data) == 0 {
		t.Errorf("fail: got %v, want error 42 with data", err)
	}
	calls := []*process.BatchCall{{Method: "echo", Params: []int{1}}, {Method: "absent"}}
	if err := w.Batch(t.Context(), calls); err != nil || calls[0].Err != nil || calls[1].Err == nil {
		t.Errorf("batch: %v, calls %v and %v", err, calls[0].Err, calls[1].Err)
	}
	req := countTo(1_000_000, 0)
	s, err := w.Stream(t.Context(), &req)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if !s.Next() {
			t.Fatal(s.Err())
		}
	}
	if err := s.Close(); err != nil || !w.Usable() {
		t.Errorf("closing a stream: %v", err)
	}
	req = countTo(50, 1000)
	got := 0
	if s, err = w.Stream(t.Context(), &req); err != nil {
		t.Fatal(err)
	}
	for chunk, err := range s.All() {
		if err != nil || len(chunk.Payload) != 1000 {
			t.Fatalf("chunk %d: %+v, error %v", got, chunk.Seq, err)
		}
		got++
	}
	if got != 50 || s.Err() != nil || w.Ping(t.Context()) != nil {
		t.Errorf("%d chunks, error %v", got, s.Err())
	}
}

func TestFeaturesOnTheWire(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) { checkFeatures(t, w) })
}

func TestFeaturesOfAProcess(t *testing.T) {
	for name, edit := range map[string]func(*process.Config){
		"default":     func(*process.Config) {},
		"stdio":       func(cfg *process.Config) { cfg.Stdio = true },
		"pipes alone": func(cfg *process.Config) { cfg.SharedMemory = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := roleConfig("demo")
			edit(&cfg)
			checkFeatures(t, start(t, cfg))
		})
	}
}

// A worker that is killed amid a stream ends it, with how the process exited.
func TestProcessKilledAmidAStream(t *testing.T) {
	w := start(t, roleConfig("demo"))
	s := open(t, w, countTo(1_000_000, 100))
	if !s.Next() {
		t.Fatal(s.Err())
	}
	syscall.Kill(w.PID(), syscall.SIGKILL)
	for s.Next() {
	}
	var exit *process.ExitError
	if !errors.As(s.Err(), &exit) || !errors.Is(s.Err(), process.ErrBroken) {
		t.Errorf("got %v, want *ExitError", s.Err())
	}
}

// Raw calls cost the host no memory.
func TestRawCallsAllocateNothing(t *testing.T) {
	for name, cfg := range map[string]process.Config{"pipe": {SharedMemory: -1}, "shared": {}} {
		t.Run(name, func(t *testing.T) {
			demo := roleConfig("demo")
			demo.SharedMemory = cfg.SharedMemory
			w := start(t, demo)
			for _, size := range []int{16, 1 << 10, 64 << 10, 512 << 10} {
				call := callRaw(t.Context(), w, size)
				allocs := testing.AllocsPerRun(100, func() {
					if err := call(); err != nil {
						t.Fatal(err)
					}
				})
				if allocs != 0 {
					t.Errorf("a raw call of %d bytes allocates %v times, want 0", size, allocs)
				}
			}
		})
	}
}
