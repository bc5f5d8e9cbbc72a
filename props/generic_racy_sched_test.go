//go:build sched

package props

import (
	"runtime"
	"testing"

	"github.com/poolproof/poolproof/props/internal/racy"
	"github.com/poolproof/poolproof/sched"
)

// Every fault is found within 5,000 checks and takes at most two preemptions to show. The
// build instruments the pool: 'make sched'.
func TestRacyFaults(t *testing.T) {
	for fault := racy.None + 1; fault < racy.Faults; fault++ {
		t.Run(fault.String(), func(t *testing.T) {
			f := findRacy(t, fault, 2)
			if !f.Instrumented {
				t.Error("the pool is not instrumented; run 'make sched'")
			}
			sameAgain(t, racyTarget(2, fault), f)
		})
	}
}

// sameAgain replays a finding ten times, on one processor and on two: the same happens.
func sameAgain(t *testing.T, target Target, f Finding) {
	t.Helper()
	script, err := parseScript(f.Script)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	v := newGenVerifier(t, target)
	hashes := map[uint64]int{}
	for i := range 10 {
		runtime.GOMAXPROCS(1 + i%2)
		again, _, result := v.schedule(t, replayOps(script.ops), v.schedOptions(sched.NewReplay(script.schedule)))
		if again == nil || again.violation.Rule != f.Rule {
			t.Fatalf("replay %d: got %+v, want %s", i, again, f.Rule)
		}
		hashes[result.Hash]++
	}
	if len(hashes) > 1 {
		t.Errorf("ten replays differ: %v", hashes)
	}
}
