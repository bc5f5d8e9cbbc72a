package faults_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/faults"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// patience bounds, in real time, what a passing test does much sooner.
const patience = 30 * time.Second

// executed returns a pool whose worker is a process.
func executed(t *testing.T) *rig {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, process.Config{Command: []string{self}, Env: []string{roleVariable + "=demo", "GORACE=atexit_sleep_ms=0"}})
	r.budget = patience
	return r
}

// childless fails the test if a child process is left.
func childless(t *testing.T) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Fatalf("the kernel lists no children: %v", err)
	}
	for _, list := range lists {
		if children, err := os.ReadFile(list); err == nil && len(children) > 0 { // threads come and go
			t.Errorf("child processes %s are left", children)
		}
	}
}

// landedInTime returns whether an injury has landed, which on a real channel takes time.
func landedInTime(injury *faults.LinkInjury) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return injury.Landed(ctx)
}

// Over pipes of the kernel and a process at the other end, faults land as in memory, the
// process is replaced, and nothing is left of it.
func TestFrameFaultsOnProcesses(t *testing.T) {
	for _, row := range harmRows() {
		if row.fault.For > 0 && !row.discards {
			row.fault.For, row.fault.Jitter = row.fault.For/20, row.fault.Jitter/20
		}
		switch row.fault.Kind {
		case faults.FrameTruncate, faults.FrameOversize, faults.FrameGarbage, faults.FrameDuplicate, faults.FrameWrongID,
			faults.FrameSilence, faults.FrameStall, faults.FrameDelay:
		default:
			continue // what differs between processes and memory has been seen by then
		}
		t.Run(row.name(), func(t *testing.T) {
			t.Parallel()
			r := executed(t)
			defer r.close(t)
			first := r.mustAsk(t)
			row.fault.Rand = rand.New(rand.NewPCG(1, 7))
			injury := r.links.Of(first).Inject(row.fault)
			if slices.Contains(row.may, error(context.DeadlineExceeded)) {
				r.budget = budget
			}
			_, err := r.ask(t)
			r.budget = patience
			var exit *process.ExitError
			if !row.permits(err) && !errors.As(err, &exit) {
				t.Errorf("the call that met it got %v, want one of %v, or that the process exited", err, row.may)
			}
			evidence, missed := landedInTime(injury)
			if missed != nil || !strings.Contains(evidence, "frame 3 ") {
				t.Errorf("landed %q, error %v; want frame 3", evidence, missed)
			}
			if row.discards {
				r.awaitAnother(t, first)
			} else if id := r.mustAsk(t); id != first {
				t.Errorf("worker %d answered, want %d", id, first)
			}
		})
	}
}

// awaitAnother asks until another worker than the first answers: one that has sent a reply
// twice may be asked once more before the host has read the second.
func (r *rig) awaitAnother(t *testing.T, first pool.WorkerID) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if id, err := r.ask(t); err == nil && id != first {
			return
		}
	}
	t.Errorf("worker %d is not replaced", first)
}

// A fault that meets no frame of a process has not landed.
func TestFrameFaultMissesAnIdleProcess(t *testing.T) {
	r := executed(t)
	first := r.mustAsk(t)
	injury := r.links.Of(first).Inject(faults.FrameFault{Kind: faults.FrameLoss, Direction: faults.BothWays})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if evidence, err := injury.Landed(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "no frame passed both ways") {
		t.Errorf("landed %q, error %v", evidence, err)
	}
	injury.Heal()
	if id := r.mustAsk(t); id != first {
		t.Errorf("worker %d answered, want %d", id, first)
	}
	r.close(t)
}

// A process whose requests are held answers them when the partition is healed in time.
func TestPartitionOfAProcessIsHealed(t *testing.T) {
	r := executed(t)
	first := r.mustAsk(t)
	for _, way := range []faults.Direction{faults.ToWorker, faults.FromWorker, faults.BothWays} {
		injury := r.links.Of(first).Inject(faults.FrameFault{Kind: faults.FrameSilence, Direction: way})
		go func() {
			if _, err := landedInTime(injury); err != nil {
				t.Error(err)
			}
			injury.Heal()
		}()
		if id := r.mustAsk(t); id != first {
			t.Errorf("%s: worker %d answered, want %d", way, id, first)
		}
	}
	r.close(t)
	childless(t)
}
