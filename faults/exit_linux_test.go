package faults

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// TestExitMidFrame: the caller whose answer is cut gets an error, nobody else does, and the
// process is gone.
func TestExitMidFrame(t *testing.T) {
	cfg := goWorker(t, "demo")
	w := openWard(t, &cfg, pool.Config[Worker]{MaxSize: 1})
	victim := w.serves()
	injury, err := w.inject("exit-mid-frame", victim)
	if err != nil {
		t.Fatal(err)
	}
	if !injury.Ends {
		t.Error("a worker is to survive it")
	}
	if _, err := w.ask(); !errors.Is(err, process.ErrBroken) {
		t.Errorf("the call whose answer was cut returned %v", err)
	}
	evidence, err := injury.Landed(w.ctx)
	if err != nil || !strings.Contains(evidence, "is reaped") {
		t.Errorf("it did not land: %q, %v", evidence, err)
	}
	if next := w.serves(); next == victim {
		t.Errorf("worker %d serves on", next)
	}
}

// TestExitMidFrameThatDoesNotLand: nobody calls the worker.
func TestExitMidFrameThatDoesNotLand(t *testing.T) {
	cfg := goWorker(t, "demo")
	w := openWard(t, &cfg, pool.Config[Worker]{MaxSize: 1})
	victim := w.serves()
	injury, err := w.inject("exit-mid-frame", victim)
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(w.ctx, 30*time.Millisecond)
	defer cancel()
	if evidence, err := injury.Landed(soon); err == nil {
		t.Errorf("nobody was answered, and it landed: %s", evidence)
	}
	if err := injury.Heal(w.ctx); err != nil {
		t.Error(err)
	}
	if next := w.serves(); next != victim {
		t.Errorf("healed, and worker %d serves, not %d", next, victim)
	}
}
