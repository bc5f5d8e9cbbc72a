package pool

import "time"

// alarmAt makes sure that the pool looks at the clock at t.
func (st *state) alarmAt(t time.Duration) {
	if t < st.alarm {
		st.alarm = t
	}
}

// look finds the next deadline anew, after one may have gone: a timer that is armed for
// nothing slows every switch between goroutines.
func (st *state) look() {
	if !st.finished {
		st.alarm = st.now
		st.advance(st.now)
	}
}

// advance moves the clock to now and acts on every deadline that has been reached.
func (st *state) advance(now time.Duration) {
	st.now = max(st.now, now)
	if st.now < st.alarm || st.finished {
		return
	}
	st.alarm = never
	if st.expire() {
		st.settle() // a worker past its limits is that before anything else happens
	}
	for st.oldest != nil && st.oldest.expires <= st.now {
		s := st.oldest
		if s.lost {
			st.note(Event{Kind: SessionEnded, Session: s.id})
			st.forget(s)
		} else {
			st.endSession(s)
			st.settle()
		}
	}
	if st.oldest != nil {
		st.alarmAt(st.oldest.expires)
	}
	if st.AcquireTimeout > 0 {
		st.timeOut(&st.unbound)
	}
	for _, w := range st.live {
		st.advanceWorker(w)
	}
	st.stopIdle()
	if st.sweeping && st.sweepAt <= st.now {
		st.sweep()
	}
	if st.sweeping {
		st.alarmAt(st.sweepAt)
	}
	if st.backingOff() {
		st.alarmAt(st.resume)
	}
	if st.closing && st.drained != never && !st.finished {
		if st.doneAt <= st.now {
			st.finish()
		} else {
			st.alarmAt(st.doneAt)
		}
	}
	st.settle()
}

// expire marks the workers whose lifetime has ended, and reports whether there are any.
func (st *state) expire() (any bool) {
	for _, w := range st.live {
		switch {
		case w.expired || w.pastAt == never:
		case w.pastAt > st.now:
			st.alarmAt(w.pastAt)
		default:
			any = true
			w.expired, w.past = true, true
			if w.phase == idle {
				st.attend(w)
			}
		}
	}
	return any
}

// advanceWorker acts on the other deadlines of w.
func (st *state) advanceWorker(w *worker) {
	if st.AcquireTimeout > 0 {
		st.timeOut(&w.waiters)
	}
	switch {
	case w.phase == starting && w.startBy <= st.now:
		st.abandon(w, errStartTimeout)
		st.settle()
		return
	case w.phase == starting:
		st.alarmAt(w.startBy)
		return
	case w.phase == stopping:
		return
	}
	if w.checkAt <= st.now {
		w.checkAt = after(st.now, st.HealthCheckPeriod)
		if w.phase == idle && !w.due {
			w.due = true
			st.due++
		}
	}
	st.alarmAt(w.checkAt)
}

// stopIdle stops the workers that have been idle for MaxIdleTime, longest first, while
// more than MinSize are present; the others' idle time begins anew.
func (st *state) stopIdle() {
	if st.MaxIdleTime == 0 {
		return
	}
	for {
		var w *worker
		for _, l := range st.free {
			if w == nil || l.idleFrom < w.idleFrom {
				w = l
			}
		}
		if w == nil || w.idleFrom == never {
			return
		}
		if until := after(w.idleFrom, st.MaxIdleTime); until > st.now {
			st.alarmAt(until)
			return
		}
		if st.present() <= st.MinSize {
			w.idleFrom = st.now
			continue
		}
		st.takeIdle(w)
		st.stop(w, nil)
	}
}

// timeOut refuses the waiters of l whose time is up.
func (st *state) timeOut(l *waiterList) {
	for l.head != nil && l.head.until <= st.now {
		st.refuse(l.head, ErrAcquireTimeout)
	}
	if l.head != nil {
		st.alarmAt(l.head.until)
	}
}

// watchIdle has the idle time of w, which has become available or unbound, measured. A
// release reads no clock: the next sweep stamps the worker, at most an eighth of
// MaxIdleTime later.
func (st *state) watchIdle(w *worker) {
	switch {
	case st.MaxIdleTime == 0 || w.bindings > 0:
	case w.idleFrom != never:
		st.alarmAt(after(w.idleFrom, st.MaxIdleTime))
	case !st.sweeping:
		st.sweeping = true
		st.sweepAt = after(st.now, st.MaxIdleTime/8)
		st.alarmAt(st.sweepAt)
	}
}

// sweep stamps the workers that have become idle since the last one.
func (st *state) sweep() {
	st.sweeping = false
	for _, w := range st.live {
		if (w.phase == idle || w.phase == checking) && w.bindings == 0 && w.idleFrom == never {
			w.idleFrom = st.now
			st.alarmAt(after(st.now, st.MaxIdleTime))
			st.sweeping = true
		}
	}
	st.sweepAt = after(st.now, st.MaxIdleTime/8)
}
