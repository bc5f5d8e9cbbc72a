package pool

import "time"

// Nearly all traffic is made of a few changes: an acquire that finds an idle worker, or
// that parks because all are leased, and a release that hands its worker to the first
// waiter or makes it idle. These have short cuts. Each does what the long way (acquire,
// release, settle) would do, or reports false and does nothing.

// takeCalm notes, after every long change, whether the short cuts may rely on there being
// no waiters and nothing else to look after.
func (st *state) takeCalm() {
	st.calm = st.waiting == 0 && st.simple()
}

// simple reports whether a release has nothing to look after but waiters and its worker.
func (st *state) simple() bool {
	return st.due == 0 && !st.closing && !st.observed && st.present() <= st.MaxSize && (st.MaxIdleTime == 0 || st.sweeping)
}

// quickAcquire grants an anonymous acquire the worker without bindings that was used last.
func (st *state) quickAcquire() (grant, bool) {
	n := len(st.free) - 1
	if n < 0 || !st.calm {
		return grant{}, false
	}
	w := st.free[n]
	st.free = st.free[:n]
	return st.quickGrant(w), true
}

// quickGrant leases w, which is in no list, to a caller that makes no binding.
func (st *state) quickGrant(w *worker) grant {
	st.seq++
	st.token++
	st.leased++
	w.phase, w.freshBind, w.idleFrom = leased, false, never
	if w.leases++; w.leases == st.MaxLeases {
		w.past = true
	}
	return grant{w: w, gen: w.gen.Load(), token: st.token}
}

// quickRelease makes a worker idle after an anonymous lease when nobody waits.
func (st *state) quickRelease(g grant) bool {
	w := g.w
	if !st.calm || w.session != nil || w.bindings > 0 || w.past || len(w.debts) > 0 || w.phase != leased || !g.valid() {
		return false
	}
	g.end()
	st.seq++
	st.leased--
	w.phase, w.pos = idle, len(st.free)
	st.free = append(st.free, w)
	return true
}

// quickSession grants a bound session its idle worker.
func (st *state) quickSession(id SessionID, now time.Duration) (grant, bool) {
	if st.due > 0 || st.observed || now >= st.alarm {
		return grant{}, false
	}
	s := st.sessions[id]
	if s == nil || s.w == nil || s.w.phase != idle || !s.sound() {
		return grant{}, false
	}
	w := s.w
	st.takeIdle(w)
	st.now = max(st.now, now)
	st.wake(s)
	s.leases++
	w.session, w.leaseEpoch = s, s.epoch
	return st.quickGrant(w), true
}

// quickPark parks x for an anonymous acquire when nothing but a release can serve it.
func (st *state) quickPark(x *waiter) bool {
	if len(st.live) < st.MaxSize || st.leased < len(st.live) || st.MaxWaiters > 0 || st.AcquireTimeout > 0 ||
		st.delay > 0 || st.closing || st.observed {
		return false
	}
	st.seq++
	st.calm = false
	st.park(x, nil)
	return true
}

// quickHandOver ends a lease whose worker goes to an anonymous waiter, which it returns,
// or becomes idle with its bindings. now is the clock if wantsClock says so, else 0.
func (st *state) quickHandOver(g grant, now time.Duration) (x *waiter, ok bool) {
	w := g.w
	if !st.simple() || w.past || len(w.debts) > 0 || w.phase != leased || !g.valid() || now >= st.alarm {
		return nil, false
	}
	if s := w.session; s != nil && !s.sound() {
		return nil, false
	}
	if st.waiting > 0 {
		if x = st.unbound.head; x == nil || x.session != nil || w.waiters.head != nil {
			return nil, false
		}
	}
	g.end()
	st.seq++
	st.leased--
	st.now = max(st.now, now)
	if s := w.session; s != nil {
		w.session = nil
		if w.leaseEpoch == s.epoch {
			s.leases--
			st.rest(s)
		}
	}
	if x == nil {
		w.phase = idle
		st.list(w)
		return nil, true
	}
	st.unpark(x)
	x.got = st.quickGrant(w)
	st.takeCalm()
	return x, true
}
