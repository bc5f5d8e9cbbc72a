package faults

import (
	"fmt"
	"time"

	"pgregory.net/rapid"
)

// Vocabulary is what plans are drawn from.
type Vocabulary struct {
	Choices   []Choice
	MaxFaults int           // lines of a plan, at most; at least 1
	Span      time.Duration // the last fault is injected by then
	Sessions  int           // of the load; see Load
}

// Choice is a kind of fault that may be drawn.
type Choice struct {
	Kind    string
	Aims    []Aim                    // whom it may hit
	Options func(t *rapid.T) Options // nil: none
	Lasts   time.Duration            // it is healed after at most so long; 0: nothing is to be healed
}

// Draw draws a plan. A shorter one with earlier and shorter faults is simpler. No two of
// the times that it draws are equal.
func (v *Vocabulary) Draw(t *rapid.T) Plan {
	p := Plan{Name: "drawn", Seed: rapid.Uint64().Draw(t, "seed")}
	n := rapid.IntRange(1, v.MaxFaults).Draw(t, "faults")
	for i := range n {
		c := v.Choices[rapid.IntRange(0, len(v.Choices)-1).Draw(t, "kind")]
		f := Planned{Kind: c.Kind, When: v.when(t, i), Who: v.who(t, c.Aims)}
		if c.Options != nil {
			f.Options = c.Options(t)
		}
		if c.Lasts > 0 {
			f.For = ownTime(t, "for", time.Millisecond, c.Lasts, i)
		}
		p.Faults = append(p.Faults, f)
	}
	return p
}

// ownTime draws a time in milliseconds, with a residue that only line i has.
func ownTime(t *rapid.T, label string, least, most time.Duration, i int) time.Duration {
	ms := rapid.Int64Range(least.Milliseconds(), max(least, most).Milliseconds()).Draw(t, label)
	return time.Duration(ms)*time.Millisecond + time.Duration(i+1)*time.Microsecond
}

func (v *Vocabulary) when(t *rapid.T, i int) When {
	w := When{From: ownTime(t, "from", 0, v.Span, i)}
	switch rapid.IntRange(0, 3).Draw(t, "when") {
	case 2: // at a random moment
		w.To = w.From + ownTime(t, "window", time.Millisecond, v.Span/2, i)
	case 3: // again and again
		w.To = w.From + ownTime(t, "window", time.Millisecond, v.Span/2, i)
		w.Every = max(v.Span/10, (w.To-w.From)/5)
	}
	return w
}

func (v *Vocabulary) who(t *rapid.T, aims []Aim) Who {
	who := Who{Aim: aims[rapid.IntRange(0, len(aims)-1).Draw(t, "aim")]}
	switch who.Aim {
	case AtShare:
		who.Share = float64(rapid.IntRange(1, 10).Draw(t, "share")) / 10
	case AtSession:
		if n := rapid.IntRange(0, v.Sessions).Draw(t, "session"); n > 0 {
			who.Session = fmt.Sprint("s", n-1)
		}
	}
	return who
}
