package faults

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// killing is a run on fakes that kills one after the other.
func killing(t *testing.T) RunConfig {
	return RunConfig{
		System: SystemConfig{Name: t.Name(), Layer: Memory, Pool: pool.Config[Worker]{MaxSize: 3}},
		Load:   Load{Rate: 200, Sessions: 10, SessionShare: 0.5},
		Plan: Plan{Name: "kills", Seed: 1, Faults: []Planned{
			{Kind: "kill", When: When{From: time.Second, To: 5 * time.Second, Every: time.Second}},
		}},
	}
}

// inBubble executes a run in a bubble.
func inBubble(t *testing.T, cfg RunConfig) (report *Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if report, err = Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	})
	return report
}

// expectPass reports the findings of a run that should have none.
func expectPass(t *testing.T, r *Report) {
	t.Helper()
	for _, f := range r.Findings {
		t.Error(f)
	}
	if t.Failed() {
		for _, p := range r.Phases {
			t.Logf("%+v", p)
		}
		for _, f := range r.Faults {
			t.Logf("%+v", *f)
		}
	}
}

// TestRunKills kills fakes one after the other: the pool recovers from each, and the report
// says so.
func TestRunKills(t *testing.T) {
	for _, affinity := range []pool.Affinity{pool.Strict, pool.Sticky, pool.Prefer} {
		t.Run(affinity.String(), func(t *testing.T) {
			cfg := killing(t)
			cfg.System.Pool.Affinity = affinity
			r := inBubble(t, cfg)
			expectPass(t, r)
			if r.Planned != 5 || r.Strikes != 5 || r.Landed("kill") != 5 || r.Landed("") != 5 {
				t.Errorf("%d faults were planned, %d injected and %d landed; want 5", r.Planned, r.Strikes, r.Landed("kill"))
			}
			for _, f := range r.Faults {
				if d, ok := f.Detection(); !ok || d != 0 || f.Restored < f.Landed {
					t.Errorf("%+v: want it detected at once, and capacity restored", *f)
				}
			}
			if r.FirstSuccess < 0 || r.Recovered < 0 {
				t.Errorf("first success after %v, recovered after %v: want both", r.FirstSuccess, r.Recovered)
			}
			lost := r.Phase("harm").Results[Lost] + r.Phase("recovery").Results[Lost]
			if (affinity == pool.Strict) != (lost > 0) {
				t.Errorf("%d calls were told that their session is lost", lost)
			}
		})
	}
}
