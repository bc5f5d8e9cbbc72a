package faults

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/poolproof/poolproof/linearize"
)

// fewest is how many calls a phase must have.
const fewest = 20

// margin is by how much the success rate may be below the share of capacity left.
const margin = 0.05

// finish judges the run once all is closed. Nobody else is at work any more.
func (r *Report) finish(run *run) {
	run.loader.mu.Lock()
	calls, issued, wrongs := slices.Clone(run.loader.done), run.loader.issued, run.loader.wrongs
	run.loader.mu.Unlock()
	r.Calls, r.Planned = calls, run.planned
	r.answers(issued)
	slices.SortStableFunc(r.Calls, func(a, b Call) int { return cmp.Compare(a.Intended, b.Intended) })
	for _, w := range wrongs {
		r.find("wrong answer: %s", w)
	}
	r.faults(run)
	for _, name := range []string{"before", "harm", "recovery", "after"} {
		if r.Phase(name).To == 0 {
			r.find("%s: the run did not come to it", name)
		}
	}
	for i := range r.Phases {
		r.measure(&r.Phases[i], run.sys)
		r.phase(&r.Phases[i], run.cfg.System.Pool.MaxWaiters > 0)
	}
	for _, text := range r.Memory.judge() {
		r.find("memory grew: %s", text)
	}
	r.times(run.sys)
	r.Series = series(r.Calls, run.sys)
	r.Verdict = linearize.Judge(context.Background(), r.History, linearize.Budget{})
	if r.Judged = r.Verdict.String(); r.Verdict.Result != linearize.Ok {
		r.find("the history is not sound: %s", r.Judged)
	}
	for _, c := range run.cfg.Criteria {
		if err := c.Holds(r); err != nil {
			r.find("%s: %v", c.Says, err)
		}
	}
}

// answers counts the answers of each call: it must be one.
func (r *Report) answers(issued int) {
	counts := make([]int, issued)
	for _, c := range r.Calls {
		counts[c.Number]++
	}
	unanswered, often := 0, 0
	for _, n := range counts {
		switch {
		case n == 0:
			unanswered++
		case n > 1:
			often++
		}
	}
	if unanswered > 0 || often > 0 {
		r.find("I4: of %d calls %d were not answered, and %d more than once", issued, unanswered, often)
	}
}

// faults judges what was injected.
func (r *Report) faults(run *run) {
	slices.SortStableFunc(r.Faults, func(a, b *FaultReport) int { return cmp.Compare(a.At, b.At) })
	if r.Strikes < r.Planned || r.Planned == 0 && len(run.cfg.Plan.Faults) > 0 {
		r.find("%d of %d planned faults were injected", r.Strikes, r.Planned)
	}
	for _, f := range r.Faults {
		if f.Error != "" {
			r.find("fault %s of worker %d at %v: %s", f.Kind, f.Worker, f.At.Round(time.Millisecond), f.Error)
		}
	}
}

// has says that a call belongs to a phase.
func (p *PhaseReport) has(c *Call) bool {
	switch {
	case p.Name == "before" && c.End() >= p.To:
		return false
	case p.Name == "harm" && c.Number < p.first:
		return c.End() >= p.From
	}
	return c.Number >= p.first && c.Number < p.last
}

// measure fills in what the calls of a phase came to.
func (r *Report) measure(p *PhaseReport, sys *System) {
	var latencies []time.Duration
	for i := range r.Calls {
		if c := &r.Calls[i]; p.has(c) {
			p.Calls++
			p.Results[c.Result]++
			latencies = append(latencies, c.Latency)
		}
	}
	p.Capacity = sys.capacity(p.From, p.To)
	p.Latency = latencyOf(latencies)
}

// phase judges a phase.
func (r *Report) phase(p *PhaseReport, bounded bool) {
	if p.Calls < fewest {
		r.find("%s: %d calls are too little traffic; want at least %d", p.Name, p.Calls, fewest)
	}
	for _, never := range []Result{Overrun, Wrong, Unexpected} {
		if n := p.Results[never]; n > 0 {
			r.find("%s: %d calls ended with: %v", p.Name, n, never)
		}
	}
	if n := p.Results[Saturated]; n > 0 && !bounded {
		r.find("%s: %d calls were refused because too many waited, which nothing bounds", p.Name, n)
	}
	for i := range r.Calls {
		if c := &r.Calls[i]; c.Result == Lost && c.Session == "" && p.has(c) {
			r.find("I8: %s: call %d is for no session, and was told that it is lost", p.Name, c.Number)
		}
	}
	switch p.Name {
	case "before", "after":
		if bad := p.Results.Errors(); bad > 0 {
			r.find("%s: %d of %d calls failed without any harm: %v", p.Name, bad, p.Calls, p.Results.list())
		}
	case "harm":
		if got, want := p.Success(), p.Capacity-margin; got < want {
			r.find("harm: %.1f %% of %d calls were answered as asked; %.1f %% of capacity was left: %v",
				100*got, p.Calls, 100*p.Capacity, p.Results.list())
		}
	}
}

// times fills in when things were noticed and mended.
func (r *Report) times(sys *System) {
	var landed, last time.Duration
	for _, f := range r.Faults {
		landed = max(landed, f.Landed)
		last = max(last, f.Landed, f.Healed)
		if f.Landed == 0 {
			continue
		}
		f.Detected = r.noticed(f, sys)
		f.Restored = sys.whole(f.Landed)
	}
	if landed == 0 {
		return
	}
	for i := range r.Calls {
		if c := &r.Calls[i]; c.Intended >= landed && c.Result == OK {
			if d := c.End() - landed; r.FirstSuccess < 0 || d < r.FirstSuccess {
				r.FirstSuccess = d
			}
		}
	}
	if at := sys.whole(last); at > 0 {
		r.Recovered = at - last
	}
}

// noticed returns when a fault was first noticed, or 0 if it was not: what happens once it
// is healed, or once the pool is being closed, is no sign of it.
func (r *Report) noticed(f *FaultReport, sys *System) (first time.Duration) {
	over := r.closing
	if f.Healed > 0 && !f.Ends {
		over = f.Healed
	}
	note := func(at time.Duration) {
		if at >= f.At && at <= over && (first == 0 || at < first) {
			first = at
		}
	}
	sys.mu.Lock()
	if f.Worker == 0 {
		for _, at := range sys.fails {
			note(at)
		}
	} else if at, gone := sys.ended[f.Worker]; gone {
		note(at)
	}
	sys.mu.Unlock()
	for i := range r.Calls {
		if c := &r.Calls[i]; c.Worker == f.Worker && c.Worker != 0 && c.Result != OK {
			note(c.End())
		}
	}
	return first
}
