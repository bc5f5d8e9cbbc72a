package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// panicking is a handler of log records that fails on those of workers, and says so.
type panicking struct {
	slog.Handler
	seen chan string
}

func (p panicking) Handle(_ context.Context, r slog.Record) error {
	p.seen <- r.Message
	if strings.HasPrefix(r.Message, "panic in ") {
		return nil
	}
	panic("a handler that is broken")
}

// TestPanicsOfCallbacksAreContained has everything that a Config may call panic.
func TestPanicsOfCallbacksAreContained(t *testing.T) {
	checkLeftovers(t)
	seen := make(chan string, 100)
	cfg := demoConfig()
	cfg.Logger = slog.New(panicking{slog.NewTextHandler(io.Discard, nil), seen})
	cfg.OnNotification = func(pool.WorkerID, string, json.RawMessage) { panic("notified") }
	cfg.OnExit = func(pool.WorkerID, error) { panic("exited") }
	w := start(t, cfg)
	if err := w.Call(t.Context(), "log", map[string]string{"level": "info", "message": "hello"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Call(t.Context(), "echo", []int{1}, nil); err != nil {
		t.Errorf("after the panics: %v", err)
	}
	if err := w.Call(t.Context(), "crash", map[string]int{"code": 1}, nil); !errors.Is(err, process.ErrBroken) {
		t.Errorf("got %v, want ErrBroken", err)
	}
	await(t, w.Done(), "Done")
	for want := map[string]bool{"hello": true, "panic in OnExit": true}; len(want) > 0; {
		select {
		case message := <-seen:
			delete(want, message)
		case <-t.Context().Done():
			t.Fatalf("not logged: %v", want)
		}
	}
}
