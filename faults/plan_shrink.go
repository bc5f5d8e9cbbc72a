package faults

import (
	"slices"
	"time"
)

// Shrink looks for a simpler plan that still fails: with fewer faults first, then with
// faults that happen once, to one worker, for a shorter time, and earlier. fails runs a
// plan and reports whether it fails in the way that is looked into; it is called at most
// budget times, and never with the plan itself. Shrink returns the simplest plan that
// failed, which is p if none did, and how often it called fails. It blocks until then.
func Shrink(p Plan, budget int, fails func(Plan) bool) (_ Plan, runs int) {
	s := &planShrinker{best: p, fails: fails, left: budget}
	for again := true; again; {
		again = s.dropFaults()
		for i := range s.best.Faults {
			again = s.simplify(i) || again
		}
	}
	return s.best, budget - s.left
}

type planShrinker struct {
	best  Plan
	fails func(Plan) bool
	left  int
}

// try takes a list of faults if the plan with it fails.
func (s *planShrinker) try(faults []Planned) bool {
	if s.left == 0 {
		return false
	}
	s.left--
	candidate := s.best
	candidate.Faults = faults
	if !s.fails(candidate) {
		return false
	}
	s.best = candidate
	return true
}

// dropFaults leaves out runs of faults, halves of all first, then ever fewer.
func (s *planShrinker) dropFaults() (dropped bool) {
	for n := len(s.best.Faults); n > 0; n /= 2 {
		for i := 0; i+n <= len(s.best.Faults); {
			if s.try(slices.Concat(s.best.Faults[:i], s.best.Faults[i+n:])) {
				dropped = true
			} else {
				i += n
			}
		}
	}
	return dropped
}

// simplify makes one fault simpler, as long as that can be done.
func (s *planShrinker) simplify(i int) (simpler bool) {
	for again := true; again; {
		again = false
		for _, f := range s.best.Faults[i].simpler() {
			faults := slices.Clone(s.best.Faults)
			faults[i] = f
			if s.try(faults) {
				again, simpler = true, true
				break
			}
		}
	}
	return simpler
}

// shortestFor is a time that is not made shorter.
const shortestFor = 10 * time.Millisecond

// simpler returns what is simpler than f by one step, the simplest first.
func (f Planned) simpler() (all []Planned) {
	add := func(change func(*Planned)) {
		g := f
		change(&g)
		all = append(all, g)
	}
	w := f.When
	if w.To > w.From {
		add(func(g *Planned) { g.When = When{From: w.From} })
		if w.Every > 0 {
			last := w.From + time.Duration(w.count()-1)*w.Every
			add(func(g *Planned) { g.When = When{From: last} })
			if w.count() > 2 {
				half := w.From + time.Duration(w.count()/2)*w.Every
				add(func(g *Planned) { g.When.To = half })
				add(func(g *Planned) { g.When.From = half })
			}
		} else {
			add(func(g *Planned) { g.When = When{From: w.To} })
		}
	}
	if f.Who.Aim == AtAll || f.Who.Aim == AtShare {
		add(func(g *Planned) { g.Who = Who{} })
	}
	if half := (f.For / 2).Round(time.Millisecond); half >= shortestFor && half < f.For {
		add(func(g *Planned) { g.For = half })
	}
	if half := (w.From / 2).Round(time.Millisecond); half > 0 && half < w.From && w.To <= w.From {
		add(func(g *Planned) { g.When.From = half })
	}
	return all
}
