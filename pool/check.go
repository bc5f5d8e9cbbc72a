package pool

import "errors"

// errNeeded is the cause of a check's context when a caller needs its worker.
var errNeeded = errors.New("pool: a caller needs the worker")

// beginChecks checks due workers while the quota allows (I12).
func (st *state) beginChecks() {
	for st.due > 0 && st.checking-st.telling < (st.idle()+st.checking+3)/4 {
		var w *worker
		for _, l := range st.live {
			if l.due && l.phase == idle && (w == nil || l.checkAt < w.checkAt) {
				w = l
			}
		}
		st.takeIdle(w)
		w.phase, w.running, w.cancelled, w.due = checking, hookCheck, false, false
		st.checking++
		st.effects = append(st.effects, effect{hook: hookCheck, w: w})
		st.note(Event{Kind: CheckBegun, Worker: w.id})
	}
}

// tell has w told of the first of the ended sessions that it does not know of.
func (st *state) tell(w *worker) {
	w.phase, w.running = checking, hookTell
	st.checking++
	st.telling++
	st.effects = append(st.effects, effect{hook: hookTell, w: w, id: w.debts[0]})
	w.debts = w.debts[1:]
}

// leaveChecking undoes what beginChecks or tell counted.
func (st *state) leaveChecking(w *worker) {
	st.checking--
	if w.running == hookTell {
		st.telling--
	}
	if w.cancelled {
		w.cancelled = false
		st.cancelledChecks--
	}
}

// checkReturned takes the result of w's Check or SessionEnded.
func (st *state) checkReturned(w *worker, err error) {
	ran := w.running
	if w.phase == stopping {
		w.running = hookNone
		st.stopOrBury(w)
		return
	}
	ignored := w.cancelled
	st.leaveChecking(w)
	w.running = hookNone
	if ran == hookCheck {
		w.checkAt = after(st.now, st.HealthCheckPeriod)
		st.alarmAt(w.checkAt)
	}
	switch {
	case err == nil:
		w.failures = 0
	case !ignored:
		w.failures++
	}
	st.note(Event{Kind: CheckEnded, Worker: w.id, Err: err})
	w.phase = idle // in no list, as stop and available expect
	if err != nil && w.failures >= st.HealthCheckFailures {
		st.stop(w, &WorkerError{ID: w.id, Err: err})
		return
	}
	st.available(w)
}

// yieldChecks cancels the checks whose workers waiters need, in order of arrival, and
// returns for how many of the waiters that would want a start they provide.
func (st *state) yieldChecks() (provided int) {
	open := make([]*worker, 0, st.checking) // unclaimed checking workers
	own := make([]*waiter, 0, st.checking)  // the first waiter that is bound to each
	for _, w := range st.live {
		if w.running == hookCheck && w.phase == checking {
			open = append(open, w)
			if w.waiters.head != nil {
				own = append(own, w.waiters.head)
			}
		}
	}
	seen := map[*session]bool{}
	next := st.unbound.head
	for len(open) > 0 {
		x := next
		first := -1
		for i, o := range own {
			if x == nil || o.ticket < x.ticket {
				x, first = o, i
			}
		}
		switch {
		case x == nil:
			return provided
		case first >= 0:
			own = append(own[:first], own[first+1:]...)
		default:
			next = x.next
			if s := x.session; s != nil && s.w == nil {
				if seen[s] {
					continue
				}
				seen[s] = true
			}
		}
		if i := st.claim(x, open); i >= 0 {
			st.cancelCheck(open[i])
			open = append(open[:i], open[i+1:]...)
			if first < 0 {
				provided++
			}
		}
	}
	return provided
}

// claim returns which of the checking workers x takes, or -1: its own; else one whose
// check is cancelled already; else one with the fewest bindings.
func (st *state) claim(x *waiter, open []*worker) int {
	best := -1
	for i, w := range open {
		if !st.mayUse(x, w) {
			continue
		}
		switch {
		case x.session != nil && x.session.w == w:
			return i
		case best < 0,
			w.cancelled && !open[best].cancelled,
			w.cancelled == open[best].cancelled && w.bindings < open[best].bindings:
			best = i
		}
	}
	return best
}

func (st *state) cancelCheck(w *worker) {
	if !w.cancelled {
		w.cancelled = true
		st.cancelledChecks++
		st.effects = append(st.effects, effect{stop: true, w: w, cause: errNeeded})
	}
}
