package linearize

import (
	"cmp"
	"slices"
	"time"
)

// saved is a part of a state, to be put back.
type saved struct {
	scalars  state
	workers  map[int32]workerState
	sessions map[int32]sessionState
	settled  []bool
}

// save keeps what the points may change.
func (s *search) save(points []point) *saved {
	if len(points) == 1 {
		return &saved{scalars: *s.st} // it is applied or not
	}
	to := &saved{scalars: *s.st, workers: map[int32]workerState{}, sessions: map[int32]sessionState{}}
	to.settled = slices.Clone(s.st.settled)
	for i := range points {
		if w := points[i].w; w != none {
			to.workers[w] = s.st.workers[w]
		}
		if n := points[i].s; n != none {
			of := s.st.sessions[n]
			to.sessions[n] = of
			if of.worker > 0 {
				to.workers[of.worker-1] = s.st.workers[of.worker-1]
			}
		}
	}
	return to
}

func (s *search) restore(from *saved) {
	workers, sessions := s.st.workers, s.st.sessions
	*s.st = from.scalars
	s.st.workers, s.st.sessions = workers, sessions
	for w, of := range from.workers {
		workers[w] = of
	}
	for n, of := range from.sessions {
		sessions[n] = of
	}
	if from.settled != nil {
		s.st.settled = from.settled
	}
}

// likely tries one order: a call takes effect when its time is over, but grants and
// refusals as soon as they can, and what another one waits for when that one needs it.
type likely struct {
	*search
	points []point
	done   []bool
	active []int32
}

// likely reports whether the points can be taken in that order; if so they have been.
func (s *search) likely(points []point) bool {
	if len(points) == 1 {
		return s.step(&points[0]).why == fine
	}
	l := &likely{search: s, points: points, done: make([]bool, len(points))}
	type turn struct {
		at   time.Duration
		ends bool
		seq  uint64
		p    int32
	}
	turns := make([]turn, 0, 2*len(points))
	for i := range points {
		p := &points[i]
		turns = append(turns, turn{p.lo, false, 0, int32(i)}, turn{p.hi, true, p.seq, int32(i)})
	}
	slices.SortStableFunc(turns, func(a, b turn) int {
		if c := cmp.Compare(a.at, b.at); c != 0 || a.ends == b.ends {
			return cmp.Or(c, cmp.Compare(a.seq, b.seq))
		}
		if b.ends {
			return -1 // what begins now may come before what ends now
		}
		return 1
	})
	for _, t := range turns {
		switch p := &points[t.p]; {
		case l.done[t.p]:
		case t.ends:
			if !l.force(t.p, 3) {
				return false
			}
		default:
			l.active = append(l.active, t.p)
			if p.seq == 0 && p.do == doGrant && l.room(p) {
				l.force(t.p, 1)
			} else if p.seq == 0 && p.do == doTurnAway {
				l.try(t.p)
			}
		}
	}
	return true
}

// step applies a point if its number allows it.
func (s *search) step(p *point) breach {
	if p.seq > 0 && p.seq < s.st.seq {
		return broken(whyTime, none)
	}
	b := s.apply(s.st, p)
	if b.why == fine && p.seq > 0 {
		s.st.seq = p.seq
	}
	return b
}

// try applies point i if the rules allow it now, and then those that it makes possible.
func (l *likely) try(i int32) breach {
	if l.done[i] {
		return breach{}
	}
	b := l.step(&l.points[i])
	if b.why != fine {
		return b
	}
	l.done[i] = true
	if at := slices.Index(l.active, i); at >= 0 {
		l.active = slices.Delete(l.active, at, at+1)
	}
	p := &l.points[i]
	for k := len(l.active) - 1; k >= 0 && k < len(l.active); k-- {
		q := &l.points[l.active[k]]
		eager := q.do == doTurnAway || q.do == doGrant && q.w == p.w && l.room(q)
		if q.seq == 0 && eager {
			l.try(l.active[k])
		}
	}
	return b
}

// force applies point i, after others that it needs and that may come before it.
func (l *likely) force(i int32, rounds int) bool {
	b := l.try(i)
	for ; b.why != fine && rounds > 0; rounds-- {
		helped := false
		urgent := slices.Clone(l.active)
		slices.SortStableFunc(urgent, func(a, b int32) int { return cmp.Compare(l.points[a].hi, l.points[b].hi) })
		for _, k := range urgent {
			if k == i || l.done[k] || l.points[k].seq > 0 || !l.helps(&l.points[k], &l.points[i], b) {
				continue
			}
			if b.why == whyOvertakes && l.force(k, rounds-1) || l.try(k).why == fine {
				helped = true
				if b = l.try(i); b.why == fine {
					return true
				}
			}
		}
		if !helped {
			break
		}
	}
	return b.why == fine
}

// room reports whether a grant may be made early: it leaves room for those that have to be
// made before it.
func (l *likely) room(p *point) bool {
	if l.st.capacity == 0 {
		return true
	}
	urgent := int32(0)
	if l.st.workers[p.w].holder != 0 {
		urgent-- // the worker is handed on
	}
	for _, i := range l.active {
		if q := &l.points[i]; q.do == doGrant && q.hi < p.hi {
			urgent++
		}
	}
	return l.st.held+l.st.ghosts+urgent < l.st.capacity
}

// helps reports whether q may do away with the reason for which p cannot be applied.
func (l *likely) helps(q, p *point, b breach) bool {
	switch b.why {
	case whyHeld:
		return q.do == doFree && q.w == p.w
	case whyFull, whyLeasesOut:
		return q.do == doFree || q.do == doResize
	case whyNotClosed:
		return q.do == doCloseBegin
	case whyFree, whyBoundFree:
		return q.do == doGrant || q.do == doGhost || q.do == doCloseBegin || q.do == doResize
	case whyMoved, whyMovedAlive, whyMovedIdle, whyBoundTwice, whyNotFresh, whyOutlived, whyDead, whyNotLost:
		return q.s == p.s && (q.do == doEndSession || q.do == doGhost || q.do == doGrant) || q.do == doGrant && q.w == l.own(p)
	case whyOvertakes:
		return q.op == b.other
	}
	return false
}

// own returns the worker of p's session.
func (l *likely) own(p *point) int32 {
	if p.s == none {
		return none
	}
	return l.st.sessions[p.s].worker - 1
}
