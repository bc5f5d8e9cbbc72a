package faults

import (
	"slices"
	"testing"
	"time"
)

// TestScenarios: there are fifteen, by name, and each can be scaled and run as it is.
func TestScenarios(t *testing.T) {
	want := []string{
		"cascade", "combined", "corrupt-sessions", "corrupt-sessions-heavy", "crash-60-percent", "crash-at-500",
		"crash-storm", "everything", "exhaust", "partition", "partition-sustained", "slow-and-stuck",
		"start-failure-in-ramp", "start-outage", "worker-crash",
	}
	var got []string
	for _, s := range Scenarios() {
		got = append(got, s.Name)
		if s.Does == "" || len(s.Criteria) == 0 || len(s.Plan.Faults) == 0 {
			t.Errorf("%s does %q, has %d criteria and %d faults", s.Name, s.Does, len(s.Criteria), len(s.Plan.Faults))
		}
		small := s.Scale(0.1)
		if small.Plan.Span() > s.Plan.Span()/9+shortestLast || small.Before != shortestPhase {
			t.Errorf("%s at a tenth of its times: harm of %v, %v before; it had %v", s.Name, small.Plan.Span(), small.Before, s.Plan.Span())
		}
		cfg := small.Config(7, Process, goWorkers(t, "demo"))
		if cfg.Plan.Seed != 7 || cfg.Plan.Name != s.Name {
			t.Errorf("%s: plan %q with seed %d", s.Name, cfg.Plan.Name, cfg.Plan.Seed)
		}
		cfg = cfg.withDefaults()
		if err := cfg.check(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		if again, err := FindScenario(s.Name); err != nil || again.Name != s.Name {
			t.Errorf("%s is found as %q: %v", s.Name, again.Name, err)
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("scenarios %q, want %q", got, want)
	}
	if _, err := FindScenario("none"); err == nil {
		t.Error("a scenario that does not exist is found")
	}
}

// TestCrashesOfProcesses plays the scenarios of crashes on real processes.
func TestCrashesOfProcesses(t *testing.T) {
	for _, name := range []string{"worker-crash", "crash-60-percent", "crash-storm", "crash-at-500"} {
		t.Run(name, func(t *testing.T) {
			s, err := FindScenario(name)
			if err != nil {
				t.Fatal(err)
			}
			cfg := s.Scale(0.15).Config(1, Process, goWorkers(t, "demo"))
			cfg.Dir = t.TempDir()
			r, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			expectPass(t, r)
			if r.Start <= 0 {
				t.Error("nobody has seen how long a start takes")
			}
			harm := r.Phase("harm")
			t.Logf("%d landed, %d calls, harm: success %.3f of capacity %.3f, p50 %v, max %v, recovered after %v, used %+v, judged %s",
				r.Landed(""), len(r.Calls), harm.Success(), harm.Capacity, harm.Latency.P50, harm.Latency.Max, r.Recovered.Round(time.Millisecond), r.Used, r.Judged)
		})
	}
}
