package pooltest

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Gate holds goroutines until the test opens it. It is closed at first. Its methods may
// be called by any goroutine.
type Gate struct {
	mu      sync.Mutex
	opened  chan struct{} // closed by Open
	arrived int
	changed chan struct{} // closed and replaced at every arrival
}

// NewGate returns a closed gate.
func NewGate() *Gate { return &Gate{opened: make(chan struct{}), changed: make(chan struct{})} }

// Pass waits until the gate is open. If ctx ends first it returns the context's cause.
func (g *Gate) Pass(ctx context.Context) error {
	g.mu.Lock()
	opened := g.opened
	g.arrived++
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Open lets everybody pass, now and from now on. It may be called again.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
}

// Arrived returns how many have come to the gate, whether or not they went on.
func (g *Gate) Arrived() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.arrived
}

// WaitArrived waits until n have come to the gate since it was made, and fails the test
// when the deadline passes.
func (g *Gate) WaitArrived(t testing.TB, n int, opts ...Option) {
	t.Helper()
	deadline := newSettings(opts).deadline
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	for {
		g.mu.Lock()
		arrived, changed := g.arrived, g.changed
		g.mu.Unlock()
		if arrived >= n {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("Gate: %d have arrived within %v, want %d", arrived, deadline, n)
		}
	}
}
