package sched

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
)

// Report is what a search through schedules came to.
type Report struct {
	Runs     int     // schedules tried, those of the shrinking not counted
	Complete bool    // every schedule within the bound was tried
	Result   *Result // the shrunk run with a finding, nil if there is none
}

// Test is one Run in a bubble of its own. A panic of Run goes on in the caller.
func Test(t *testing.T, o Options, body func(s *Scheduler) error) (r *Result) {
	t.Helper()
	var carried any
	defer func() {
		// Goroutines that could not be ended make the bubble panic; r names them.
		if p := recover(); p != nil && (r == nil || len(r.Left) == 0) {
			panic(p)
		}
	}()
	synctest.Test(t, func(*testing.T) {
		defer func() { carried = recover() }() // in a bubble it would end the program
		r = Run(o, body)
	})
	if carried != nil {
		panic(carried)
	}
	return r
}

// Explore runs body under the strategies that next returns for 0, 1, ..., until there is
// a finding, which it shrinks, or there were that many runs: at least one, or it panics, for
// none would find nothing and prove nothing. o.Strategy is not used.
func Explore(t *testing.T, o Options, runs int, next func(run int) Strategy, body func(s *Scheduler) error) *Report {
	t.Helper()
	if runs < 1 {
		panic(fmt.Sprintf("sched: Explore is asked for %d runs; want at least 1", runs))
	}
	report := &Report{}
	for i := range runs {
		report.Runs++
		o.Strategy = next(i)
		if r := Test(t, o, body); r.Finding != nil {
			report.Result = Shrink(t, o, r, body)
			break
		}
	}
	return report
}

// Random returns what Explore needs to draw from a seed.
func Random(seed uint64) func(run int) Strategy {
	return func(run int) Strategy {
		rng := rand.New(rand.NewPCG(seed, uint64(run)))
		return NewDrawn(func(_ string, n int) int { return rng.IntN(n) })
	}
}

// RandomPCT returns what Explore needs to search with PCT from a seed.
func RandomPCT(seed uint64, depth, points int) func(run int) Strategy {
	rng := rand.New(rand.NewPCG(seed, uint64(depth)))
	return func(int) Strategy { return NewPCT(rng.Uint64(), depth, points) }
}

// Exhaust runs body under every schedule with up to that many preemptions, a negative
// number being no bound, until there is a finding, which it shrinks, or there were as
// many runs as that, 0 being no limit; fewer panics. body must do the same whenever the choices are the
// same. o.Strategy is not used.
func Exhaust(t *testing.T, o Options, preemptions, runs int, body func(s *Scheduler) error) *Report {
	t.Helper()
	if runs < 0 {
		panic(fmt.Sprintf("sched: Exhaust is asked for %d runs; want at least 1, or 0 for all", runs))
	}
	e := NewExhaustive(preemptions)
	o.Strategy = e
	report := &Report{}
	for (runs == 0 || report.Runs < runs) && e.Next() {
		report.Runs = e.Schedules()
		if r := Test(t, o, body); r.Finding != nil {
			report.Result = Shrink(t, o, r, body)
			return report
		}
	}
	report.Complete = e.Complete()
	return report
}

// Shrink looks for a run of body with a finding of the same kind as r's and fewer
// preemptions, or fewer choices, or shorter, by leaving choices out and making them
// smaller. It returns the smallest one found, with positions in its trace.
func Shrink(t *testing.T, o Options, r *Result, body func(s *Scheduler) error) *Result {
	t.Helper()
	o.Positions = true
	kind := r.Finding.Kind
	best := r
	try := func(s Schedule) bool {
		o.Strategy = NewReplay(s)
		got := Test(t, o, body)
		if got.Finding == nil || got.Finding.Kind != kind || got.compare(best) >= 0 {
			return false
		}
		best = got
		return true
	}
	for shrunk := true; shrunk; {
		shrunk = false
		for size := len(best.Schedule); size > 0; size /= 2 {
			shrunk = leaveOut(best, size, try) || shrunk
		}
		shrunk = lower(best, try) || shrunk
	}
	o.Strategy = NewReplay(best.Schedule)
	if last := Test(t, o, body); last.Finding != nil {
		return last
	}
	return best
}

// leaveOut tries schedules without size choices in a row. What is chosen later is then
// also tried a little earlier: steps that are not taken any more need no decision.
func leaveOut(r *Result, size int, try func(Schedule) bool) bool {
	const earlier = 4
	decisions := slices.Sorted(maps.Keys(r.Schedule))
	for at := 0; at+size <= len(decisions); at++ {
		for by := range earlier {
			s := Schedule{}
			for i, d := range decisions {
				switch {
				case i < at:
					s[d] = r.Schedule[d]
				case i >= at+size:
					s[max(d-by, 0)] = r.Schedule[d]
				}
			}
			if try(s) {
				return true
			}
		}
	}
	return false
}

// lower tries schedules with one choice smaller, or made a little earlier or later.
func lower(r *Result, try func(Schedule) bool) bool {
	for _, d := range slices.Sorted(maps.Keys(r.Schedule)) {
		for choice := 1; choice <= r.Schedule[d]; choice++ {
			for _, by := range []int{0, -1, 1, -2, 2} {
				s := maps.Clone(r.Schedule)
				delete(s, d)
				s[max(d+by, 0)] = choice
				if try(s) {
					return true
				}
			}
		}
	}
	return false
}

// compare orders runs by how simple they are.
func (r *Result) compare(other *Result) int {
	return cmp.Or(
		cmp.Compare(r.Preemptions, other.Preemptions),
		cmp.Compare(len(r.Schedule), len(other.Schedule)),
		cmp.Compare(r.Schedule.sum(), other.Schedule.sum()),
		cmp.Compare(r.Steps, other.Steps),
	)
}

// sum adds up the choices.
func (s Schedule) sum() int {
	sum := 0
	for _, choice := range s {
		sum += choice
	}
	return sum
}
