package linearize

import (
	"slices"
	"time"
)

// loose is what is known of calls without a change of their own among those reported.
type loose struct {
	ends    map[uint64]*point // calls that end a session, by the number that they say
	closing time.Duration     // no close had been called before
	undone  map[string]*undone
}

// undone are the calls of one session, or of none, that may have had a lease although no
// caller got one: their contexts ended, or the pool failed them, as they were granted.
type undone struct {
	calls []time.Duration
	until []time.Duration // the latest end of the calls so far
}

// noteLoose finds those calls.
func (w *witness) noteLoose() {
	l := &w.loose
	*l = loose{ends: map[uint64]*point{}, closing: forever, undone: map[string]*undone{}}
	for i := range w.points {
		switch p := &w.points[i]; {
		case p.do == doEndSession && p.seq != 0:
			l.ends[p.seq] = p
		case p.do == doCloseBegin:
			l.closing = min(l.closing, p.lo)
		}
	}
	for i := range w.h.Ops {
		o := &w.h.Ops[i]
		if !o.Acquires() || o.Outcome == Granted || o.Outcome == Refused || o.Outcome == Saturated || o.Outcome == SessionLimit {
			continue
		}
		of := l.undone[o.Session]
		if of == nil {
			of = &undone{}
			l.undone[o.Session] = of
		}
		until := o.Return
		if o.Outcome == NoAnswer {
			until = forever
		}
		if n := len(of.until); n > 0 {
			until = max(until, of.until[n-1])
		}
		of.calls, of.until = append(of.calls, o.Call), append(of.until, until)
	}
}

// bound narrows the step of a change that no point brought.
func (l *loose) bound(s *step, c *Change) {
	switch end, of := l.ends[c.Seq], l.undone[c.Session]; {
	case end != nil:
		s.lo, s.hi = end.lo, min(end.hi, c.At)
	case c.Kind == ClosingBegun && l.closing != forever:
		s.lo = l.closing
	case c.Kind == LeaseGranted && of != nil:
		s.lo = of.calls[0]
	}
}

// mayHave reports whether a call of that session, under way at some time from sooner to by,
// may have been granted a lease that no caller got.
func (l *loose) mayHave(session string, sooner, by time.Duration) bool {
	of := l.undone[session]
	if of == nil {
		return false
	}
	n, _ := slices.BinarySearch(of.calls, by+1)
	return n > 0 && of.until[n-1] >= sooner
}
