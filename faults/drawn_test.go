package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/sched"
)

// memoryVocabulary is what fakes can be harmed with.
func memoryVocabulary() *Vocabulary {
	one := []Aim{AtRandom, AtShare, AtAll, AtSession}
	v := &Vocabulary{MaxFaults: 5, Span: time.Second, Sessions: 4, Choices: []Choice{
		{Kind: "kill", Aims: one},
		{Kind: "stop", Aims: one, Lasts: 500 * time.Millisecond},
		{Kind: "slow", Aims: one, Lasts: 500 * time.Millisecond, Options: func(t *rapid.T) Options {
			return Options{"delay": fmt.Sprint(rapid.IntRange(1, 50).Draw(t, "ms"), "ms")}
		}},
		{Kind: "swap-bindings", Aims: []Aim{AtPool}},
		{Kind: "bind-other", Aims: []Aim{AtPool}},
	}}
	for _, kind := range []string{"start-exit", "start-hang", "start-slow"} {
		v.Choices = append(v.Choices, Choice{
			Kind: kind, Aims: []Aim{AtStarts}, Lasts: 500 * time.Millisecond,
			Options: func(t *rapid.T) Options { return Options{"n": fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "n"))} },
		})
	}
	return v
}

// wireVocabulary is what workers behind a pipe in memory can be harmed with.
func wireVocabulary() *Vocabulary {
	v := memoryVocabulary()
	v.MaxFaults, v.Choices = 4, v.Choices[3:5]
	for _, kind := range slices.Sorted(maps.Keys(wireKinds())) {
		v.Choices = append(v.Choices, Choice{Kind: kind, Aims: []Aim{AtRandom, AtShare, AtSession}, Lasts: 500 * time.Millisecond})
	}
	return v
}

// drawnRun is a run of a plan that was drawn.
func drawnRun(layer Layer, affinity pool.Affinity, plan Plan) RunConfig {
	cfg := RunConfig{
		System: SystemConfig{Name: "drawn", Layer: layer, Pool: pool.Config[Worker]{
			MinSize: 3, MaxSize: 3, Affinity: affinity, StartTimeout: 300 * time.Millisecond,
			HealthCheckPeriod: 100 * time.Millisecond, HealthCheckTimeout: 50 * time.Millisecond,
			StartBackoff: pool.Backoff{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond},
			Observer:     func(e pool.Event) { sched.Point(e.Kind.String()) },
		}},
		Load:   Load{Rate: 100, Sessions: 4, SessionShare: 0.6, Timeout: 300 * time.Millisecond},
		Plan:   plan,
		Before: 250 * time.Millisecond, After: 250 * time.Millisecond, LandWithin: time.Second,
	}
	if layer == Wire {
		cfg.System.Workers = wireWorkers()
	}
	return cfg
}

// grave returns the findings that no drawn plan excuses. A plan may aim at workers that are
// all harmed already, may leave less capacity than short phases need, and may be short.
func grave(r *Report) (found []string) {
	for _, f := range r.Findings {
		if strings.HasPrefix(f, "fault ") || strings.Contains(f, "% of capacity was left") ||
			strings.HasPrefix(f, "harm: ") && strings.Contains(f, "too little traffic") {
			continue
		}
		found = append(found, f)
	}
	return found
}

// tally counts what drawn plans did.
type tally struct {
	plans, faults int
	landed        map[string]int
}

// drawnPlans executes plans that are drawn, under schedules that are drawn, and shrinks one
// that fails.
func drawnPlans(t *testing.T, layer Layer, v *Vocabulary) {
	count := tally{landed: make(map[string]int)}
	rapid.Check(t, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) {
			plan := v.Draw(rt)
			affinity := pool.Affinity(rapid.IntRange(0, 2).Draw(rt, "affinity"))
			strategy := sched.NewDrawn(func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, label) })
			var report *Report
			result := sched.Run(sched.Options{Strategy: strategy, MaxSteps: 1_000_000, IdleTimeOnly: true}, func(*sched.Scheduler) (err error) {
				report, err = Run(rt.Context(), drawnRun(layer, affinity, plan))
				return err
			})
			if result.Finding != nil {
				rt.Fatalf("%v\nschedule %v\n%v", result.Finding, result.Schedule, &plan)
			}
			if found := grave(report); len(found) > 0 {
				rt.Fatalf("%v: %q\nschedule %v\n%v", affinity, found, result.Schedule, &plan)
			}
			count.plans++
			for _, f := range report.Faults {
				if count.faults++; f.Error == "" {
					count.landed[f.Kind]++
				}
			}
		})
	})
	landed := 0
	for _, n := range count.landed {
		landed += n
	}
	t.Logf("%d plans, %d faults, landed: %v", count.plans, count.faults, count.landed)
	if count.plans < 100 {
		return
	}
	if landed < count.faults*2/3 { // no start meets many of the faults of starts
		t.Errorf("%d of %d faults landed; want two of three", landed, count.faults)
	}
	for _, c := range v.Choices {
		if count.landed[c.Kind] == 0 {
			t.Errorf("%s never landed in %d plans", c.Kind, count.plans)
		}
	}
}

func TestDrawnPlansInMemory(t *testing.T)  { drawnPlans(t, Memory, memoryVocabulary()) }
func TestDrawnPlansOnTheWire(t *testing.T) { drawnPlans(t, Wire, wireVocabulary()) }

// TestDrawnPlansFindABrokenPool: plans that are drawn find a pool that replaces no worker, and
// one that goes on with lost sessions as if nothing were, and shrink to the fault that it takes.
func TestDrawnPlansFindABrokenPool(t *testing.T) {
	for name, c := range map[string]struct {
		tampered func() tampered
		finding  string
	}{
		"replaces no worker":   {func() tampered { return tampered{config: startsOnly(3)} }, "capacity did not come back"},
		"rebinds lost session": {func() tampered { return tampered{acquired: rebind} }, "session s"},
	} {
		t.Run(name, func(t *testing.T) {
			fails := func(p Plan) bool {
				cfg := drawnRun(Memory, pool.Strict, p)
				cfg.System.Pool.Observer = nil
				cfg.System.forge = c.tampered().forge
				cfg.RecoverWithin = 2 * time.Second
				return slices.ContainsFunc(grave(inBubble(t, cfg)), func(f string) bool { return strings.Contains(f, c.finding) })
			}
			plans := rapid.Custom(memoryVocabulary().Draw)
			for seed := range 20 {
				plan := plans.Example(seed)
				if !fails(plan) {
					continue
				}
				small, runs := Shrink(plan, 200, fails)
				if len(small.Faults) != 1 || small.Faults[0].When.To != 0 {
					t.Errorf("after %d runs the plan is\n%v\nwant one fault that happens once", runs, &small)
				}
				return
			}
			t.Error("20 plans have not found it")
		})
	}
}
