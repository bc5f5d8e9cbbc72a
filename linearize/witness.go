package linearize

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// witness judges a history whose pool numbered its changes. The numbers say in which order
// the calls took effect, so no order is searched for: the witness checks that this one
// fits the times of the calls, and plays it through the rules. Calls that changed nothing
// have no number; each needs one moment among those at which it may have happened.
type witness struct {
	*index
	st      *state
	steps   []step
	pending []pending // calls without a number, by the first gap between steps that they may take
	active  []pending
	grants  []int32   // the points of those so far
	closes  []pending // closes that have returned, by the last gap

	orphans map[int32]orphan   // leases that no caller got, by worker
	queues  map[int32]*queue   // by session
	asked   map[int32][]*point // calls that end each session, and have not been accounted for
	loose   loose
	sooner  []time.Duration // of each step: it had not happened before,
	hints   []time.Duration // and it had by then
}

// step is a change at its place in the order.
type step struct {
	p      int32 // the point, or none
	change int32 // the change that reported it, or none
	lo, hi time.Duration
}

// pending is a point that may take the gap before any of the steps from to upTo.
type pending struct {
	p          int32
	from, upTo int32
	grants     int32 // of a close: when it could have returned last, so many grants had been made, plus 1; 0: it never could
}

// orphan is a lease that no caller has told of.
type orphan struct {
	change int32
	s      int32
	epoch  int32
	fresh  bool
}

// byWitness judges the history; ok is false if its numbers do not say enough.
func (s *Series) byWitness() (v Verdict, ok bool) {
	x := &s.index
	w := &witness{index: x, orphans: map[int32]orphan{}, queues: map[int32]*queue{}, asked: map[int32][]*point{}, steps: s.steps[:0]}
	defer func() { s.steps = w.steps[:0] }()
	for i := range x.points {
		if p := &x.points[i]; p.do == doEndSession {
			w.asked[p.s] = append(w.asked[p.s], p)
		}
	}
	var unlike *Verdict
	if len(x.h.Changes) > 0 {
		unlike, ok = w.orderByChanges()
	} else {
		ok = w.orderBySeq()
	}
	if !ok {
		return Verdict{}, false
	}
	x.exact = len(x.h.Changes) > 0
	defer func() { x.exact = false }()
	for _, judge := range []func() *Verdict{w.fitTimes, w.play, func() *Verdict { return unlike }} {
		if v := judge(); v != nil {
			return *v, true
		}
	}
	return Verdict{Result: Ok, Judge: "witness"}, true
}

// orderBySeq orders the points by the numbers that the calls brought.
func (w *witness) orderBySeq() bool {
	for i := range w.points {
		p := &w.points[i]
		if p.do == doTurnAway || p.do == doCloseEnd {
			if o := &w.h.Ops[p.op]; p.s != none && (o.Outcome == SessionLost || o.Outcome == Cancelled && w.cfg.Affinity == Prefer) {
				return false // it may have changed something after all
			}
			continue
		}
		if p.seq == 0 {
			return false
		}
		w.steps = append(w.steps, step{int32(i), none, p.lo, p.hi})
	}
	slices.SortStableFunc(w.steps, func(a, b step) int { return cmp.Compare(w.points[a.p].seq, w.points[b.p].seq) })
	return len(w.steps) > 0
}

// fitTimes looks for times, one for each step, that are in order and within the calls; and
// finds the gaps that calls without a number may take.
func (w *witness) fitTimes() *Verdict {
	var lo time.Duration
	latest := none
	w.sooner = make([]time.Duration, len(w.steps))
	for i := range w.steps {
		s := &w.steps[i]
		if s.lo > lo {
			lo, latest = s.lo, int32(i)
		}
		if w.sooner[i] = lo; lo > s.hi {
			return w.outOfOrder(s, &w.steps[latest])
		}
	}
	w.hints = make([]time.Duration, len(w.steps))
	hi := forever
	for i := len(w.steps) - 1; i >= 0; i-- {
		hi = min(hi, w.steps[i].hi)
		w.hints[i] = hi
	}
	for i := range w.points {
		p := &w.points[i]
		if p.do != doTurnAway && p.do != doCloseEnd {
			continue
		}
		from, _ := slices.BinarySearch(w.hints, p.lo)
		upTo, _ := slices.BinarySearch(w.sooner, p.hi+1)
		w.pending = append(w.pending, pending{p: int32(i), from: int32(from), upTo: int32(upTo)})
		if p.do == doCloseEnd {
			w.closes = append(w.closes, w.pending[len(w.pending)-1])
		}
	}
	slices.SortStableFunc(w.pending, func(a, b pending) int { return cmp.Compare(a.from, b.from) })
	slices.SortStableFunc(w.closes, func(a, b pending) int { return cmp.Compare(a.upTo, b.upTo) })
	return nil
}

func (w *witness) outOfOrder(s, after *step) *Verdict {
	v := Verdict{Result: Illegal, Rule: reasons[whyTime].rule, Judge: "witness", why: whyTime}
	v.Text = fmt.Sprintf("%s: %s took effect by %v, after %s, which began at %v",
		reasons[whyTime].text, w.name(s), s.hi, w.name(after), after.lo)
	for _, s := range []*step{s, after} {
		if s.p != none {
			v.Ops = append(v.Ops, w.h.Ops[w.points[s.p].op].ID)
		}
		if s.change != none {
			v.Changes = append(v.Changes, w.h.Changes[s.change].Seq)
		}
	}
	slices.Sort(v.Ops)
	slices.Sort(v.Changes)
	return &v
}

// name says what a step is.
func (w *witness) name(s *step) string {
	if s.p != none {
		return fmt.Sprintf("op %d", w.h.Ops[w.points[s.p].op].ID)
	}
	c := &w.h.Changes[s.change]
	return fmt.Sprintf("change %d (%s)", c.Seq, c.Kind)
}

// play takes the steps in order.
func (w *witness) play() *Verdict {
	w.st = w.start()
	for g := range len(w.steps) + 1 {
		if v := w.gap(int32(g)); v != nil {
			return v
		}
		if g == len(w.steps) {
			break
		}
		s := &w.steps[g]
		if s.change != none {
			if v := w.report(int32(g)); v != nil {
				return v
			}
		}
		if s.p == none {
			continue
		}
		p := &w.points[s.p]
		if b := w.apply(w.st, p); b.why != fine {
			v := w.illegal("witness", w.st, p, b)
			if s.change != none {
				v.Changes = append(v.Changes, w.h.Changes[s.change].Seq)
			}
			return &v
		}
		if p.do == doGrant {
			w.grants = append(w.grants, s.p)
		}
	}
	return w.leaks()
}

// gap has the calls without a number happen that may happen before step g.
func (w *witness) gap(g int32) *Verdict {
	for len(w.pending) > 0 && w.pending[0].from <= g {
		w.active = append(w.active, w.pending[0])
		w.pending = w.pending[1:]
	}
	kept := w.active[:0]
	for _, q := range w.active {
		p := &w.points[q.p]
		b := w.passes(p)
		if p.do == doCloseEnd {
			if v := w.returns(&q, g, b); v != nil {
				return v
			}
			if g < q.upTo {
				kept = append(kept, q)
			}
			continue
		}
		switch {
		case b.why == fine:
			w.settle(w.st, p.op)
		case g >= q.upTo:
			v := w.illegal("witness", w.st, p, b)
			return &v
		default:
			kept = append(kept, q)
		}
	}
	w.active = kept
	for len(w.closes) > 0 && w.closes[0].upTo <= g {
		w.st.closed = true
		w.closes = w.closes[1:]
	}
	return nil
}

// returns judges a close that has returned at gap g or later, which b forbids now: nothing
// is granted after it.
func (w *witness) returns(q *pending, g int32, b breach) *Verdict {
	made := int32(len(w.grants))
	var v Verdict
	switch {
	case b.why == fine:
		q.grants = made + 1
		return nil
	case g < q.upTo:
		return nil
	case q.grants == 0:
		v = w.illegal("witness", w.st, &w.points[q.p], b)
	case q.grants > made:
		return nil
	default:
		v = w.illegal("witness", w.st, &w.points[w.grants[made-1]], broken(whyClosed, w.points[q.p].op))
	}
	return &v
}

// passes judges a call that changes nothing.
func (w *witness) passes(p *point) breach {
	if p.do == doTurnAway {
		b := w.refusable(w.st, p)
		told := b.why == fine && w.h.Ops[p.op].Outcome == SessionLost && len(w.h.Changes) > 0
		if told && !w.st.sessions[p.s].lost {
			return broken(whyNotLost, none) // the pool would have reported the loss
		}
		return b
	}
	trial := *w.st // of a close only closed changes
	return w.apply(&trial, p)
}
