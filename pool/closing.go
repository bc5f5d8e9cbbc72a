package pool

import "errors"

var errRevoked = errors.New("pool: lease revoked by shutdown")

// resize sets the bounds and stops idle workers beyond them, fewest bindings first (I16).
func (st *state) resize(least, most int) {
	st.MinSize, st.MaxSize = least, most
	st.started = true // callers of Ready may want fewer now
	st.note(Event{Kind: Resized})
	for st.present() > most && st.idle() > 0 {
		var w *worker
		if len(st.free) > 0 {
			w = st.free[0]
		} else {
			for _, b := range st.bound {
				if w == nil || b.bindings < w.bindings {
					w = b
				}
			}
		}
		st.takeIdle(w)
		st.stop(w, nil)
	}
}

// close begins closing: whatever is not leased ends now (I13).
func (st *state) close() {
	if st.closing {
		return
	}
	st.closing, st.started = true, true
	st.delay = 0
	st.note(Event{Kind: Closing})
	for st.unbound.head != nil {
		st.refuse(st.unbound.head, ErrClosed)
	}
	for _, w := range st.live {
		for w.waiters.head != nil {
			st.refuse(w.waiters.head, ErrClosed)
		}
		if w.session != nil {
			w.session.epoch++ // the lease's end does not touch it
		}
		w.bound, w.bindings, w.debts = nil, 0, nil
	}
	st.sessions, st.oldest, st.youngest = nil, nil, nil
	st.bindings, st.lost = 0, 0
	for _, w := range st.live {
		switch w.phase {
		case idle:
			st.takeIdle(w)
			st.stop(w, nil)
		case starting, checking:
			st.stop(w, nil)
		}
	}
	if st.leased == 0 {
		st.drain()
	}
	if len(st.live) == 0 {
		st.finish()
	}
}

// drain notes that no lease is out any more: the rest is up to the hooks.
func (st *state) drain() {
	if st.drained == never {
		st.drained = st.now
		st.doneAt = after(st.now, st.StopTimeout)
		st.alarmAt(st.doneAt)
	}
}

// force revokes every lease.
func (st *state) force() {
	for _, w := range st.live {
		if w.phase != leased {
			continue
		}
		st.leased--
		w.revoked.Store(true)
		st.revokedOf = append(st.revokedOf, w.id)
		st.note(Event{Kind: LeaseRevoked, Worker: w.id})
		cause := w.cause
		if cause == nil {
			cause = &WorkerError{ID: w.id, Err: errRevoked}
		}
		st.stop(w, cause)
	}
	st.drain()
}

// finish lets every Close and Shutdown that waits return, with one outcome.
func (st *state) finish() {
	if !st.finished {
		st.finished = true
		st.outcome = st.shutdownError()
		st.alarm = never
		st.note(Event{Kind: Closed})
	}
}

// shutdownError describes what was not in good order, nil if all was.
func (st *state) shutdownError() error {
	e := &ShutdownError{Revoked: append([]WorkerID(nil), st.revokedOf...)}
	for _, w := range st.live {
		if w.running != hookNone {
			e.Running = append(e.Running, Hook{Name: w.running.String(), ID: w.id})
		}
	}
	if len(e.Revoked)+len(e.Running) == 0 {
		return nil
	}
	return e
}

// errStartTimeout is what a start that takes too long fails with.
var errStartTimeout = startTimeout{}

type startTimeout struct{}

func (startTimeout) Error() string   { return "pool: start timed out" }
func (startTimeout) Timeout() bool   { return true }
func (startTimeout) Temporary() bool { return true }
