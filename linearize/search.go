package linearize

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// search looks for an order of the points that the rules allow, window by window: where no
// call is under way the points before come first. In a window it tries the likely order and
// leaves the rest to porcupine.
type search struct {
	*index
	ctx    context.Context
	budget Budget
	spent  Spent
	until  time.Time // of the budget's time; zero: none
	why    string    // what was spent, once the search has given up

	points []point
	st     *state

	// What a window leaves may depend on the order chosen. From the first such window on, a
	// failure is only one if it is one for every order: that window's points are searched
	// again with it.
	doubt      *state
	doubtSince int
}

// maxWindow is the most points that porcupine is given at once.
const maxWindow = 20_000

// bySearch judges the points. It runs after byWorker, whose narrower points it needs.
func (x *index) bySearch(ctx context.Context, budget Budget, points []point) Verdict {
	s := &search{index: x, ctx: ctx, budget: budget.withDefaults(), st: x.start()}
	if budget.Timeout > 0 {
		s.until = time.Now().Add(budget.Timeout)
	}
	s.points = x.relevant(points)
	if v := x.narrowBySeq(s.points); v != nil {
		return *v
	}
	slices.SortStableFunc(s.points, func(a, b point) int { return cmp.Compare(a.lo, b.lo) })
	v := s.run()
	v.Spent = s.spent
	return v
}

// run takes the windows in order.
func (s *search) run() Verdict {
	for from := 0; from < len(s.points); {
		to, last := from+1, s.points[from].hi
		for to < len(s.points) && s.points[to].lo <= last {
			last = max(last, s.points[to].hi)
			to++
		}
		if v := s.window(from, to); v != nil {
			return *v
		}
		from = to
	}
	return Verdict{Result: Ok, Judge: "search"}
}

// window judges the points of a window, and leaves the state after them.
func (s *search) window(from, to int) *Verdict {
	points := s.points[from:to]
	saved := s.save(points)
	if s.doubt == nil && s.doubtful(points) {
		s.doubt, s.doubtSince = s.st.clone(), from
	}
	if s.likely(points) {
		return nil
	}
	start := s.doubt
	if start == nil {
		s.restore(saved)
		start = s.st
	} else {
		points = s.points[s.doubtSince:to]
	}
	if len(points) > maxWindow {
		return s.unknown(fmt.Sprintf("a window of %d operations, of at most %d", len(points), maxWindow))
	}
	local := s.localise(points, start)
	order, breach, p := s.porcupine(local)
	switch {
	case s.why != "":
		return s.unknown(s.why)
	case p != nil:
		v := local.illegal("search", local.st, p, breach)
		return &v
	}
	after := start.clone()
	for _, i := range order {
		s.apply(after, &points[i])
	}
	s.st = after
	return nil
}

func (s *search) unknown(text string) *Verdict {
	return &Verdict{Result: Unknown, Text: "the search gave up: " + text, Judge: "search"}
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
			case p.do == doFree && p.hi == forever && refused < p.lo:
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
