package faults

import (
	"math/rand/v2"
	"time"
)

// Plan says which faults hit whom and when. Times count from the moment at which the run
// begins to harm.
type Plan struct {
	Name   string
	Seed   uint64 // of all that the plan leaves to chance
	Faults []Planned
}

// Planned is a line of a plan.
type Planned struct {
	Kind    string // of injector
	Options Options
	When    When
	Who     Who
	For     time.Duration // healed so long after it landed; 0: when the plan is over
}

// When says at which times a fault is injected.
type When struct {
	From  time.Duration
	To    time.Duration // 0: at From, once
	Every time.Duration // 0: once, at a random moment from From to To; else again and again
}

// Aim says how victims are chosen.
type Aim uint8

// The aims.
const (
	AtRandom  Aim = iota // one worker that is ready
	AtShare              // Who.Share of the workers that are ready, rounded up
	AtAll                // all that are ready
	AtSession            // the worker that Who.Session is bound to
	AtStarts             // the next starts
	AtPool               // nobody in particular
)

// Who says whom a fault hits.
type Who struct {
	Aim     Aim
	Share   float64 // of AtShare, from 0 to 1
	Session string  // of AtSession; empty: any that is bound
}

// Span returns how long the plan takes: the end of its last fault.
func (p *Plan) Span() time.Duration {
	var span time.Duration
	for _, f := range p.Faults {
		span = max(span, max(f.When.From, f.When.To)+f.For)
	}
	return span
}

// times returns the moments at which a fault is injected.
func (w When) times(random *rand.Rand) (at []time.Duration) {
	switch {
	case w.To <= w.From:
		return []time.Duration{w.From}
	case w.Every == 0:
		return []time.Duration{w.From + time.Duration(random.Int64N(int64(w.To-w.From)))}
	}
	for t := w.From; t <= w.To; t += w.Every {
		at = append(at, t)
	}
	return at
}
