package linearize

import (
	"math"
	"time"
)

// state is what the rules know of the pool between two points. In a search it is a value
// that points to nothing shared; the witness changes one in place.
type state struct {
	workers  []workerState
	sessions []sessionState

	capacity int32 // 0: unknown
	held     int32 // leases out
	ghosts   int32 // leases that calls without an answer may hold

	closing, closed, forced bool

	settled []bool // of each parked op: it has its outcome
	first   int32  // the first of them that may have none
	seq     uint64 // of the last change; the witness does without
	rank    int32  // of the last point that had one
}

type workerState struct {
	holder int32 // the op whose lease is out, plus 1; 0: none
	epoch  int32 // of the holder's session when it was granted
	dead   bool
	by     int32 // the op that ended it, plus 1; it decides nothing
}

type sessionState struct {
	worker int32 // the binding, plus 1; 0: none
	by     int32 // the op whose grant was the last, plus 1; it decides nothing
	leases int32 // of this epoch
	epoch  int32
	lost   bool          // the worker is gone, and whoever asks is told
	unsure bool          // there may be no binding after all
	used   time.Duration // it was in use at this time,
	rested time.Duration // and not later than this one
}

func (x *index) start() *state {
	st := &state{
		workers: make([]workerState, len(x.workers)), sessions: make([]sessionState, len(x.sessions)),
		capacity: capacityOf(x.cfg.Capacity),
	}
	if len(x.parked) > 0 {
		st.settled = make([]bool, len(x.parked))
	}
	return st
}

// capacityOf returns a capacity, or as much as counts.
func capacityOf(n int) int32 { return int32(min(n, math.MaxInt32)) }

// settle notes that a waiter has its outcome.
func (x *index) settle(st *state, op int32) {
	if k, parked := x.place[op]; parked {
		st.settled[k] = true
		for int(st.first) < len(st.settled) && st.settled[st.first] {
			st.first++
		}
	}
}

// breach says which rule a point breaks, and why. The zero breach is none.
type breach struct {
	why   why
	other int32 // another op that shows it, or none
}

// why names a way to break a rule.
type why uint8

const (
	fine why = iota
	whyHeld
	whyDead
	whyFull
	whyEnded
	whyClosed
	whyClosing
	whyOvertakes
	whyMoved
	whyMovedAlive
	whyMovedIdle
	whyBoundTwice
	whyNotFresh
	whyOutlived
	whyNotLost
	whyNotStrict
	whyNotClosed
	whyFree
	whyBoundFree
	whyCrowd
	whyNoLimit
	whyLeasesOut
	whyNotOut
	whyTime
	whyUnlike
	whyLeaked
	whyUntold
	whyUnasked
	whyToken
	whyTokenOrder
)

func broken(w why, other int32) breach { return breach{w, other} }

// apply has the point take effect, or says which rule forbids that; st is then unchanged.
func (x *index) apply(st *state, p *point) breach {
	if b := x.forbidden(st, p); b.why != fine {
		return b
	}
	switch p.do {
	case doGrant:
		x.grant(st, p)
	case doGhost:
		if st.capacity == 0 || st.held+st.ghosts < st.capacity {
			st.ghosts++
			if p.s != none {
				st.sessions[p.s].unsure = true
			}
		}
	case doTurnAway:
		x.leave(st, p)
	case doFree:
		x.free(st, p)
	case doEndSession:
		st.sessions[p.s] = sessionState{epoch: st.sessions[p.s].epoch + 1}
	case doResize:
		st.capacity = capacityOf(x.h.Ops[p.op].Max)
	case doRetire:
		if p.w != none {
			st.end(p.w, p.op)
		}
	case doCloseBegin:
		st.closing = true
		st.forced = st.forced || x.h.Ops[p.op].Kind == Shutdown
	case doCloseEnd:
		st.closed = true
	}
	return breach{}
}

// forbidden says which rule forbids the point to take effect now.
func (x *index) forbidden(st *state, p *point) breach {
	switch p.do {
	case doGrant:
		return x.grantable(st, p)
	case doTurnAway:
		return x.refusable(st, p)
	case doFree:
		if st.workers[p.w].holder != x.lease[p.op]+1 {
			return broken(whyNotOut, x.lease[p.op])
		}
	case doCloseEnd:
		switch {
		case !st.closing:
			return broken(whyNotClosed, none)
		case x.cfg.CloseWaits && !st.forced && st.held > 0:
			return broken(whyLeasesOut, x.anyHolder(st))
		}
	}
	return breach{}
}

// end marks the end of a worker, which an op shows.
func (st *state) end(w, op int32) {
	if to := &st.workers[w]; !to.dead {
		to.dead, to.by = true, op+1
	}
}

// anyHolder returns an op whose lease is out, or none.
func (x *index) anyHolder(st *state) int32 {
	for i := range st.workers {
		if h := st.workers[i].holder; h > 0 {
			return h - 1
		}
	}
	return none
}

// grantable judges a grant.
func (x *index) grantable(st *state, p *point) breach {
	o := &x.h.Ops[p.op]
	w := &st.workers[p.w]
	switch {
	case w.holder != 0:
		return broken(whyHeld, w.holder-1)
	case w.dead:
		return broken(whyDead, w.by-1)
	case o.Ended:
		return broken(whyEnded, none)
	case st.closed && (x.cfg.NoneAfter || x.cfg.CloseWaits || o.Call > x.closed):
		return broken(whyClosed, none)
	case st.closing && x.cfg.NoneAfter:
		return broken(whyClosing, none)
	case st.capacity > 0 && st.held+st.ghosts >= st.capacity:
		return broken(whyFull, none)
	}
	if p.s != none {
		if b := x.affine(st, p); b.why != fine {
			return b
		}
	}
	return x.inOrder(st, p)
}

// affine judges a grant by its session's binding.
func (x *index) affine(st *state, p *point) breach {
	o := &x.h.Ops[p.op]
	s := &st.sessions[p.s]
	switch {
	case s.unsure:
		return breach{}
	case s.worker == 0:
		if x.cfg.Fresh && !o.Fresh {
			return broken(whyNotFresh, none)
		}
		return breach{}
	}
	own := s.worker - 1
	gone := s.lost || x.gone(st, own, o)
	expired := (gone || !x.inUse(st, p.s)) && x.mayHaveExpired(s, o)
	switch {
	case own == p.w && s.lost && !expired:
		return broken(whyDead, s.by-1)
	case own == p.w && x.cfg.Fresh && o.Fresh && !expired:
		return broken(whyBoundTwice, s.by-1)
	case own == p.w && x.cfg.Fresh && !o.Fresh && x.overdue(p, s):
		return broken(whyOutlived, s.by-1)
	case own == p.w:
		return breach{}
	case !expired && !x.mayMove(st, p, gone):
		return broken(x.whyMoved(), s.by-1)
	case x.cfg.Fresh && !o.Fresh:
		return broken(whyNotFresh, s.by-1)
	}
	return breach{}
}

// gone reports whether a worker may have come to its end when o took effect. That somebody
// else was told so is no reason by itself: his call may have returned later than o.
func (x *index) gone(st *state, w int32, o *Op) bool {
	if x.exact {
		return st.workers[w].dead
	}
	return x.ends(w, o.Return)
}

// inUse reports whether a session has a lease of the worker to which it is bound.
func (x *index) inUse(st *state, n int32) bool {
	s := &st.sessions[n]
	w := &st.workers[s.worker-1]
	return w.holder > 0 && w.epoch == s.epoch && x.sessionOf(x.h.Ops[w.holder-1].Session) == n
}

// overdue reports whether a session must have expired by the call of p.
func (x *index) overdue(p *point, s *sessionState) bool {
	if x.cfg.SessionTTL == 0 || s.leases > 0 || s.rested == forever {
		return false
	}
	return x.h.Ops[p.op].Call-max(s.rested, x.touched[p.op]) >= x.cfg.SessionTTL+x.cfg.Slack
}

// mayHaveExpired reports whether a session not in use may have expired by the return of o.
func (x *index) mayHaveExpired(s *sessionState, o *Op) bool {
	return x.cfg.SessionTTL > 0 && o.Return-s.used >= x.cfg.SessionTTL
}

// mayMove reports whether a session that has not expired may be granted another worker
// than its own.
func (x *index) mayMove(st *state, p *point, gone bool) bool {
	switch x.cfg.Affinity {
	case Strict:
		return false
	case Sticky:
		return gone
	}
	own := st.sessions[p.s].worker - 1
	return !x.cfg.FullOnly || gone || st.workers[own].holder != 0 || st.ghosts > 0 || x.racing[p.op] > 0
}

func (x *index) whyMoved() why {
	switch x.cfg.Affinity {
	case Strict:
		return whyMoved
	case Sticky:
		return whyMovedAlive
	}
	return whyMovedIdle
}

// inOrder judges whether a grant overtakes a waiter who could have had the worker.
func (x *index) inOrder(st *state, p *point) breach {
	o := &x.h.Ops[p.op]
	for k := int(st.first); k < len(x.parked); k++ {
		i := x.parked[k]
		a := &x.h.Ops[i]
		if a.Parked >= o.Call {
			break
		}
		if i != p.op && !st.settled[k] && x.mayUse(st, a, p.w) {
			return broken(whyOvertakes, i)
		}
	}
	return breach{}
}

// mayUse reports whether a waiter certainly may use a worker.
func (x *index) mayUse(st *state, waiter *Op, w int32) bool {
	n := x.sessionOf(waiter.Session)
	if n == none {
		return true
	}
	s := &st.sessions[n]
	switch {
	case s.unsure || s.lost || x.cfg.SessionTTL > 0:
		return false
	case s.worker == 0 || s.worker-1 == w:
		return true
	}
	return x.cfg.Affinity == Prefer
}

// grant leases a worker.
func (x *index) grant(st *state, p *point) {
	o := &x.h.Ops[p.op]
	w := &st.workers[p.w]
	w.holder = p.op + 1
	st.held++
	x.settle(st, p.op)
	if p.s == none {
		return
	}
	s := &st.sessions[p.s]
	if s.worker-1 != p.w {
		if s.worker > 0 && x.cfg.Affinity == Sticky && !s.unsure && !x.mayHaveExpired(s, o) {
			st.end(s.worker-1, p.op) // else it could not have moved
		}
		s.worker = p.w + 1
	}
	s.unsure, s.lost = false, false
	s.by = p.op + 1
	s.leases++
	s.used, s.rested = o.Call, forever
	w.epoch = s.epoch
}

// free ends a lease.
func (x *index) free(st *state, p *point) {
	o := &x.h.Ops[p.op]
	w := &st.workers[p.w]
	w.holder = 0
	st.held--
	// The time of a strict session that has lost its worker runs from then on.
	lost := w.dead || x.cfg.Affinity == Strict && x.ends(p.w, o.Call-1)
	if o.Kind == Discard {
		st.end(p.w, p.op)
	}
	if p.s == none {
		return
	}
	if s := &st.sessions[p.s]; s.epoch == w.epoch && s.leases > 0 {
		s.leases--
		if s.rested = p.hi; o.Outcome == NoAnswer {
			s.rested = forever
		}
		if s.worker-1 == p.w && !lost {
			s.used = o.Call
		}
	}
}

// leave is what an acquire that is not granted changes.
func (x *index) leave(st *state, p *point) {
	o := &x.h.Ops[p.op]
	x.settle(st, p.op)
	if p.s == none {
		return
	}
	s := &st.sessions[p.s]
	switch {
	case o.Outcome == SessionLost && !s.unsure && s.worker > 0:
		st.end(s.worker-1, p.op)
		s.lost = true
	case o.Outcome == Cancelled && x.cfg.Affinity == Prefer && s.worker > 0:
		s.unsure = true // its grant may have moved the session, and have been undone
	}
}

// refusable judges the reason for which an acquire was not granted.
func (x *index) refusable(st *state, p *point) breach {
	o := &x.h.Ops[p.op]
	switch o.Outcome {
	case Closed:
		if !st.closing {
			return broken(whyNotClosed, none)
		}
	case SessionLost:
		return x.refusedLost(st, p)
	case Refused:
		return x.refusedFull(st, p)
	case Saturated:
		switch {
		case x.cfg.MaxWaiters == 0:
			return broken(whyNoLimit, none)
		case int(x.crowd[p.op]) < x.cfg.MaxWaiters:
			return broken(whyCrowd, none)
		}
		return x.refusedFull(st, p)
	}
	return breach{}
}

func (x *index) refusedLost(st *state, p *point) breach {
	if x.cfg.Affinity != Strict || p.s == none {
		return broken(whyNotStrict, none)
	}
	s := &st.sessions[p.s]
	o := &x.h.Ops[p.op]
	switch {
	case s.unsure, s.lost && (x.exact || s.worker == 0), s.worker == 0 && x.gaveUp[p.s] <= o.Return:
		return breach{} // one that gave up may have had a worker for a moment, which is gone
	case s.worker == 0:
		return broken(whyNotLost, none)
	case !x.gone(st, s.worker-1, o):
		return broken(whyNotLost, s.by-1)
	}
	return breach{}
}

// refusedFull judges a refusal for want of a worker.
func (x *index) refusedFull(st *state, p *point) breach {
	if !x.cfg.FullOnly || st.closing || st.capacity == 0 {
		return breach{}
	}
	maybe := st.ghosts + x.racing[p.op] // leases that nobody knows of
	if st.held+maybe >= st.capacity {
		return breach{}
	}
	if p.s != none && x.cfg.Affinity != Prefer {
		s := &st.sessions[p.s]
		switch {
		case s.unsure || s.worker > 0 && (st.workers[s.worker-1].holder != 0 || maybe > 0):
			return breach{} // its own worker may be taken
		case s.worker > 0:
			return broken(whyBoundFree, none)
		}
	}
	return broken(whyFree, none)
}
