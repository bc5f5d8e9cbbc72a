package faults

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// wireWorkers are workers that speak the protocol over a pipe in memory.
func wireWorkers() *process.Config {
	return &process.Config{Dial: func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) {
		host, far := net.Pipe()
		go func() {
			defer far.Close()
			_ = worker.Serve(context.Background(), far, worker.Demo(func(int) { far.Close() }), worker.DemoOptions()...)
		}()
		return host, nil
	}}
}

// onWire is a run of one fault on the wire layer.
func onWire(t *testing.T, line string) RunConfig {
	plan, err := ParsePlan("plan one\nseed 3\n" + line)
	if err != nil {
		t.Fatal(err)
	}
	return RunConfig{
		System: SystemConfig{Name: t.Name(), Layer: Wire, Workers: wireWorkers(), Pool: pool.Config[Worker]{
			MinSize: 4, MaxSize: 4, HealthCheckPeriod: 200 * time.Millisecond, HealthCheckTimeout: 100 * time.Millisecond,
		}},
		Load: Load{Rate: 200, Sessions: 8, SessionShare: 0.5, Timeout: 500 * time.Millisecond},
		Plan: *plan,
	}
}

// TestFaultsOnTheWire has the pool recover from each kind of fault that the wire layer has.
func TestFaultsOnTheWire(t *testing.T) {
	var lines []string
	for kind := range wireKinds() {
		lines = append(lines, "at 100ms: "+kind+" random for 300ms")
	}
	lines = append(lines,
		"at 100ms: partition direction=to random for 300ms", "at 100ms: partition direction=from random for 300ms",
		"at 100ms: delay d=5ms jitter=5ms all for 1s",
		"at 100ms: start-version starts\nat 200ms: garbage random",
		"at 100ms: swap-bindings pool", "at 100ms: bind-other pool",
		"at 100ms: garbage random\nat 2s: bind-dead pool",
	)
	slices.Sort(lines)
	for _, line := range lines {
		t.Run(strings.ReplaceAll(line, "\n", "; "), func(t *testing.T) {
			cfg := onWire(t, line)
			r := inBubble(t, cfg)
			expectPass(t, r)
			if r.Landed("") < r.Planned {
				t.Errorf("%d of %d faults landed", r.Landed(""), r.Planned)
			}
		})
	}
}

// TestFaultsOnTheWireThatDoNotLand has nobody meet the fault.
func TestFaultsOnTheWireThatDoNotLand(t *testing.T) {
	for line, want := range map[string]string{
		"at 100ms: start-version starts":     "no start began",
		"at 100ms: bind-dead pool":           "no dead worker is known",
		"at 100ms: flip direction=up random": `option direction is "up"; want to, from or both`,
		"at 100ms: late d=soon random":       `option d is "soon"`,
		"at 100ms: exit-mid-frame random":    "has no process",
	} {
		t.Run(line, func(t *testing.T) {
			r := inBubble(t, onWire(t, line))
			if !slices.ContainsFunc(r.Findings, func(f string) bool { return strings.Contains(f, want) }) {
				t.Errorf("got %q, want %q", r.Findings, want)
			}
		})
	}
}
