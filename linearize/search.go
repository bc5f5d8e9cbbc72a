package linearize

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// search looks for an order of the points that the rules allow.
type search struct {
	*index
	ctx    context.Context
	budget Budget
	spent  Spent
	until  time.Time // of the budget's time; zero: none
	why    string    // what was spent, once the search has given up

	points []point
	last   []time.Duration // of each worker: its last grant can come no sooner
}

// maxWindow is the most points that porcupine is given at once.
const maxWindow = 1000

// bySearch judges the points. It runs after byWorker, whose narrower points it needs.
func (x *index) bySearch(ctx context.Context, budget Budget, points []point) Verdict {
	s := &search{index: x, ctx: ctx, budget: budget.withDefaults()}
	if budget.Timeout > 0 {
		s.until = time.Now().Add(budget.Timeout)
	}
	s.points = x.relevant(points)
	if v := x.narrowBySeq(s.points); v != nil {
		return *v
	}
	slices.SortStableFunc(s.points, func(a, b point) int { return cmp.Compare(a.lo, b.lo) })
	s.last = x.lastGrants(s.points)
	v := s.run()
	v.Spent = s.spent
	return v
}

// run searches for an order of each session by itself, and then of all points.
func (s *search) run() Verdict {
	turns, v := s.sessionTurns()
	if v != nil {
		return *v
	}
	j := s.newInTime(s.index, s.points, s.start())
	j.turns = turns
	j.countGrants()
	ok := j.run()
	switch {
	case s.why != "":
		return Verdict{Result: Unknown, Text: "the search gave up: " + s.why, Judge: "search"}
	case ok:
		return s.certified(j)
	}
	return s.confirmed(j)
}

// spend counts a step of the search; it is false once the budget is spent.
func (s *search) spend() bool {
	const clockEvery = 1024
	if s.why != "" {
		return false
	}
	s.spent.Steps++
	switch {
	case s.spent.Steps > s.budget.Steps:
		s.why = fmt.Sprintf("%d steps", s.budget.Steps)
	case s.spent.Bytes > s.budget.Bytes:
		s.why = fmt.Sprintf("%d bytes for the states remembered", s.budget.Bytes)
	case s.spent.Steps%clockEvery != 1:
	case s.ctx.Err() != nil:
		s.why = s.ctx.Err().Error()
	case !s.until.IsZero() && time.Now().After(s.until):
		s.why = s.budget.Timeout.String()
	}
	return s.why == ""
}

// certified plays the order that was found through the rules once more, and holds it beside
// the times of the calls: that a history is legal is not to rest on the search being right.
func (s *search) certified(j *inTime) Verdict {
	st := s.start()
	played := make([]bool, len(s.points))
	var began time.Duration // of the points so far, the latest beginning
	for _, a := range j.trail {
		p := &s.points[a.p]
		o := &s.h.Ops[p.op]
		ends := o.Return
		if o.Outcome == NoAnswer {
			ends = forever
		}
		began = max(began, o.Call)
		b := s.apply(st, p)
		if played[a.p] || ends < began || p.seq > 0 && p.seq < st.seq || b.why != fine {
			return Verdict{Result: Unknown, Text: fmt.Sprintf("the order found does not hold at %v", o), Judge: "search"}
		}
		st.seq = max(st.seq, p.seq)
		played[a.p] = true
	}
	for i, done := range played {
		if o := &s.h.Ops[s.points[i].op]; !done && o.Outcome != NoAnswer {
			return Verdict{Result: Unknown, Text: fmt.Sprintf("the order found lacks %v", o), Judge: "search"}
		}
	}
	return Verdict{Result: Ok, Judge: "search"}
}

// confirmed is the verdict on a history for which no order was found: if the part that
// decides is short, porcupine must come to the same end. That part begins where no call was
// under way and what came before left the pool in one state, whatever its order.
func (s *search) confirmed(j *inTime) Verdict {
	v := s.illegal("search", nil, &s.points[j.stuckAt], j.stuck)
	from, to := s.window(j.stuckAt)
	if len(s.parked) > 0 {
		from, to = 0, len(s.points) // those who wait connect what lies apart
	}
	if to-from > maxWindow {
		return v
	}
	before := s.newInTime(s.index, s.points[:from], s.start())
	if !before.run() {
		return v
	}
	order, b, p := s.porcupine(s.localise(s.points[from:to], before.st))
	switch {
	case s.why != "":
		s.why = "" // the search itself has finished
	case order != nil:
		return Verdict{Result: Unknown, Text: fmt.Sprintf("the searches disagree on %v", &s.h.Ops[s.points[j.stuckAt].op]), Judge: "search"}
	default:
		return s.illegal("search", nil, p, b)
	}
	return v
}

// window returns the points between the last moment before point i at which no call was
// under way and nothing was in doubt, and the next after it at which no call is under way.
func (s *search) window(i int32) (from, to int) {
	doubt := false
	for at := 0; at < len(s.points); at = to {
		last := s.points[at].hi
		for to = at + 1; to < len(s.points) && s.points[to].lo <= last; to++ {
			last = max(last, s.points[to].hi)
		}
		if !doubt {
			from = at
		}
		if to > int(i) {
			break
		}
		doubt = doubt || s.doubtful(s.points[at:to])
	}
	return from, to
}

// doubtful reports whether the state after the points may depend on their order.
func (s *search) doubtful(points []point) bool {
	if len(points) == 1 {
		return false
	}
	bound := map[int32]int32{}
	for i := range points {
		p := &points[i]
		if p.do == doGrant && p.s != none {
			if w, known := bound[p.s]; known && w != p.w {
				return true
			}
			bound[p.s] = p.w
		}
		switch {
		case p.do == doGhost, p.do == doEndSession, p.do == doResize:
			return true
		case p.s == none:
		case s.cfg.Affinity == Prefer, s.cfg.SessionTTL > 0:
			return true
		case p.do == doTurnAway && s.h.Ops[p.op].Outcome == SessionLost:
			return true
		}
	}
	return false
}

// relevant leaves out calls without an answer whose effect could only be in the way of
// others: that they had none is then as good.
func (x *index) relevant(points []point) []point {
	refused, closed, sessions := time.Duration(-1), time.Duration(-1), make([]time.Duration, len(x.sessions))
	for i := range sessions {
		sessions[i] = -1
	}
	for i := range points {
		p := &points[i]
		o := &x.h.Ops[p.op]
		if p.do == doTurnAway && x.cfg.FullOnly && (o.Outcome == Refused || o.Outcome == Saturated) {
			refused = max(refused, p.hi)
		}
		if p.do == doTurnAway && o.Outcome == Closed {
			closed = max(closed, p.hi)
		}
		if p.s != none && p.do != doFree && o.Outcome != NoAnswer {
			sessions[p.s] = max(sessions[p.s], p.hi)
		}
		if p.s != none && p.do == doGrant && x.cfg.Affinity == Prefer && x.cfg.FullOnly {
			refused = max(refused, p.hi) // its own worker may have been taken
		}
	}
	kept := make([]point, 0, len(points))
	for _, p := range points {
		if x.h.Ops[p.op].Outcome == NoAnswer {
			bound := p.s != none && sessions[p.s] >= p.lo
			switch {
			case p.do == doRetire,
				p.do == doGhost && refused < p.lo && !bound,
				p.do == doEndSession && !bound,
				p.do == doCloseBegin && closed < p.lo && refused < p.lo:
				continue
			case p.do == doFree && p.hi == forever && p.seq == 0 && refused < p.lo:
				p.hi = p.lo // the sooner the better
			}
		}
		kept = append(kept, p)
	}
	return kept
}

// narrowBySeq narrows the points whose order is known to the times that it leaves them.
func (x *index) narrowBySeq(points []point) *Verdict {
	var numbered []int
	for i := range points {
		if points[i].seq > 0 {
			numbered = append(numbered, i)
		}
	}
	slices.SortStableFunc(numbered, func(a, b int) int { return cmp.Compare(points[a].seq, points[b].seq) })
	var lo, latest time.Duration // of those with lower numbers; of those with the same one too
	after, seq := none, uint64(0)
	for _, i := range numbered {
		p := &points[i]
		if p.seq != seq {
			lo, seq = latest, p.seq
		}
		if lo > p.hi {
			v := x.illegal("search", nil, p, broken(whyTime, after))
			return &v
		}
		if p.lo > latest {
			latest, after = p.lo, p.op
		}
		p.lo = max(p.lo, lo)
	}
	hi, earliest := forever, forever
	seq = 0
	for _, i := range slices.Backward(numbered) {
		p := &points[i]
		if p.seq != seq {
			hi, seq = earliest, p.seq
		}
		earliest = min(earliest, p.hi)
		p.hi = min(p.hi, hi)
	}
	return nil
}
