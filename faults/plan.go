package faults

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"
)

// Plan says which faults hit whom and when. Times count from the moment at which the run
// begins to harm. Its text form is read by ParsePlan:
//
//	plan crash-60-percent
//	seed 7
//
//	at 2s: kill share 60%
//	every 500ms from 1s to 8s: kill random
//	between 2s and 5s: delay d=20ms jitter=5ms session s3 for 1s
//	at 1s: start-exit n=3 starts
//
// What is left to chance in a line depends on Seed and on the line alone, so that leaving
// out other lines does not change whom it hits.
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
	Share   float64 // of AtShare: more than 0, at most 1
	Session string  // of AtSession; empty: any that is bound
}

// The most that a plan may ask for.
const (
	MostFaults = 1000             // lines
	MostTimes  = 10_000           // injections, of all lines together
	LongestRun = 24 * time.Hour   // Plan.Span
	mostOption = 64               // bytes of a word of a line
	shortest   = time.Millisecond // of When.Every
)

// Span returns how long the plan takes: the end of its last fault.
func (p *Plan) Span() time.Duration {
	var span time.Duration
	for _, f := range p.Faults {
		span = max(span, max(f.When.From, f.When.To)+f.For)
	}
	return span
}

// Check reports all that is wrong with a plan, whatever the injectors are.
func (p *Plan) Check() error {
	var errs []error
	if p.Name != "" && !isWord(p.Name) {
		errs = append(errs, fmt.Errorf("faults: Plan.Name is %q; want one word", p.Name))
	}
	if len(p.Faults) > MostFaults {
		errs = append(errs, fmt.Errorf("faults: Plan.Faults are %d; want at most %d", len(p.Faults), MostFaults))
	}
	times := 0
	for i := range p.Faults {
		f := &p.Faults[i]
		for _, complaint := range f.complaints() {
			errs = append(errs, fmt.Errorf("faults: Plan.Faults[%d].%s", i, complaint))
		}
		times += f.When.count()
	}
	if times > MostTimes {
		errs = append(errs, fmt.Errorf("faults: the plan injects %d times; want at most %d", times, MostTimes))
	}
	if span := p.Span(); span > LongestRun {
		errs = append(errs, fmt.Errorf("faults: the plan takes %v; want at most %v", span, LongestRun))
	}
	return errors.Join(errs...)
}

// complaints says what is wrong with a line.
func (f *Planned) complaints() (all []string) {
	complain := func(bad bool, format string, args ...any) {
		if bad {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	complain(!isWord(f.Kind), "Kind is %q; want one word", f.Kind)
	for key, value := range f.Options {
		complain(!isWord(key) || !isWord(value) || strings.Contains(key, "="), "Options has %q=%q; want words", key, value)
	}
	w := f.When
	complain(w.From < 0, "When.From is %v; it must not be negative", w.From)
	complain(w.To != 0 && w.To <= w.From, "When.To is %v; it must be later than From, which is %v, or 0", w.To, w.From)
	complain(w.Every != 0 && w.Every < shortest, "When.Every is %v; it must be at least %v, or 0", w.Every, shortest)
	complain(w.Every != 0 && w.To == 0, "When.Every is %v and To is 0; a repetition needs an end", w.Every)
	complain(f.For < 0, "For is %v; it must not be negative", f.For)
	complain(f.Who.Aim > AtPool, "Who.Aim is %d; want one of the aims", f.Who.Aim)
	share := f.Who.Share
	complain(f.Who.Aim == AtShare && !(share > 0 && share <= 1), "Who.Share is %v; it must be more than 0 and at most 1", share)
	complain(f.Who.Session != "" && (f.Who.Aim != AtSession || !isWord(f.Who.Session) || f.Who.Session == "for"),
		"Who.Session is %q; want one word other than for, and the aim at a session", f.Who.Session)
	return all
}

// isWord says that a text stands in a line as one word.
func isWord(text string) bool {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./%+@,", r)
	}
	return text != "" && len(text) <= mostOption && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0
}

// count returns how many times there are.
func (w When) count() int {
	if w.Every <= 0 || w.To <= w.From {
		return 1
	}
	return int((w.To-w.From)/w.Every) + 1
}

// times returns the moments at which a fault is injected.
func (w When) times(random *rand.Rand) []time.Duration {
	switch {
	case w.To <= w.From:
		return []time.Duration{w.From}
	case w.Every == 0:
		return []time.Duration{w.From + time.Duration(random.Int64N(int64(w.To-w.From)))}
	}
	at := make([]time.Duration, w.count())
	for i := range at {
		at[i] = w.From + time.Duration(i)*w.Every
	}
	return at
}

// random returns the source of what line i leaves to chance.
func (p *Plan) random(i int) *rand.Rand {
	line := p.Faults[i].String()
	same := uint64(0) // lines before it that are equal to it
	for j := range i {
		if p.Faults[j].String() == line {
			same++
		}
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(line)) // which never fails
	return rand.New(rand.NewPCG(p.Seed, h.Sum64()+same))
}
