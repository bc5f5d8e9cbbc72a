package faults

import (
	"fmt"
	"slices"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// Scenario is a named plan with its load and its pass criteria. Beside those, every run must
// meet what Report lists: each call answered exactly once, no rule broken, capacity back in
// full, no error once it is, and until then as many calls answered as asked as capacity was
// left, less 5 points.
type Scenario struct {
	Name     string
	Does     string // one sentence
	Plan     Plan
	Load     Load
	Pool     pool.Config[Worker]
	Before   time.Duration
	After    time.Duration
	Criteria []Criterion
}

// shortestPhase bounds how far Scale shortens the phases before and after: at the rates of
// the scenarios they have enough traffic.
const shortestPhase = 500 * time.Millisecond

// closest bounds how close to each other Scale brings faults that repeat, unless they were
// closer before: a pool is to have time to recover from one.
const closest = 400 * time.Millisecond

// shortestLast bounds how short Scale makes faults that last, unless they were shorter
// before: the pool is to have time to notice them.
const shortestLast = 1500 * time.Millisecond

// Scale returns the scenario with its times multiplied by f, which shortens it if f is less
// than 1: the phases before and after to no less than half a second, the times between
// faults that repeat to no less than 400 ms, and those that a fault lasts to no less than 1.5 s. At times that are too short for its faults to
// land a scenario fails. Scale panics if f is not more than 0.
func (s Scenario) Scale(f float64) Scenario {
	if !(f > 0) {
		panic(fmt.Sprintf("faults: Scale(%v): want more than 0", f))
	}
	scaled := func(d time.Duration) time.Duration { return time.Duration(float64(d) * f).Round(time.Millisecond) }
	s.Before, s.After = max(shortestPhase, scaled(s.Before)), max(shortestPhase, scaled(s.After))
	s.Plan.Faults = slices.Clone(s.Plan.Faults)
	for i := range s.Plan.Faults {
		p := &s.Plan.Faults[i]
		p.When.From, p.When.To, p.For = scaled(p.When.From), scaled(p.When.To), max(min(p.For, shortestLast), scaled(p.For))
		if every := p.When.Every; every > 0 {
			p.When.Every = max(min(every, closest), scaled(every))
		}
	}
	return s
}

// Config returns the configuration of a run of the scenario. workers is that of
// SystemConfig; it is not changed. What is zero in it may be set by the caller.
func (s Scenario) Config(seed uint64, layer Layer, workers *process.Config) RunConfig {
	plan := s.Plan
	plan.Name, plan.Seed = s.Name, seed
	return RunConfig{
		System: SystemConfig{Name: s.Name, Layer: layer, Pool: s.Pool, Workers: workers},
		Load:   s.Load, Plan: plan, Before: s.Before, After: s.After, Criteria: s.Criteria,
	}
}

// FindScenario returns the scenario of that name.
func FindScenario(name string) (Scenario, error) {
	var names []string
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("faults: no scenario is called %q; want one of %q", name, names)
}

// allLanded is the criterion that every planned fault hit somebody, of a kind at least so
// many for each time that the plan injects it.
func allLanded(kind string, victims int) Criterion {
	return Criterion{
		Says: fmt.Sprintf("at least %d %s landed for each time that it was planned", victims, kind),
		Holds: func(r *Report) error {
			times := r.strikes[kind]
			if got := r.Landed(kind); got < victims*times || times == 0 {
				return fmt.Errorf("%d landed of %d times", got, times)
			}
			return nil
		},
	}
}

// noticed is the criterion that each fault of a kind was noticed by the pool or a call.
func noticed(kind string) Criterion {
	return Criterion{
		Says: "every " + kind + " was noticed",
		Holds: func(r *Report) error {
			for _, f := range r.Faults {
				if _, ok := f.Detection(); f.Kind == kind && !ok {
					return fmt.Errorf("that of worker %d at %v was not", f.Worker, f.At)
				}
			}
			return nil
		},
	}
}

// some is the criterion that calls ended so while the harm lasted: that the scenario does
// what it is for.
func some(result Result) Criterion {
	return Criterion{
		Says: fmt.Sprintf("some call ended with: %v", result),
		Holds: func(r *Report) error {
			n := 0
			for _, p := range r.Phases {
				n += p.Results[result]
			}
			if n == 0 {
				return fmt.Errorf("none did")
			}
			return nil
		},
	}
}

// recoversWithin is the criterion that capacity is back so soon, and a worker's start, after
// each fault of a kind.
func recoversWithin(kind string, d time.Duration) Criterion {
	return Criterion{
		Says: fmt.Sprintf("capacity is back in full within %v, and the time that a worker takes to start, of each %s", d, kind),
		Holds: func(r *Report) error {
			for _, f := range r.Faults {
				if f.Kind == kind && f.Landed > 0 && (f.Restored == 0 || f.Restored-f.Landed > d+r.Start) {
					return fmt.Errorf("after that at %v it was not: it was at %v, and a start takes %v", f.At, f.Restored, r.Start)
				}
			}
			return nil
		},
	}
}
