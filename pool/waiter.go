package pool

import (
	"errors"
	"time"
)

var errCancelled = errors.New("pool: the caller's context ended")

// waiter is a parked acquire. It is settled exactly once, under Pool.mu, by removing it
// from its list and recording the outcome; ch then tells its goroutine.
type waiter struct {
	ch      chan struct{} // one signal, sent after the lock is released
	ticket  uint64        // order of arrival
	session *session      // nil: anonymous
	until   time.Duration // when it times out; never if it does not

	parked bool
	got    grant // the outcome: a grant,
	err    error // or a refusal

	list       *waiterList // the list it is in: state.unbound or a worker's
	prev, next *waiter     // in list; next also links the waiters to wake

	sprev, snext *waiter // among the session's waiters, in order of arrival
}

// grant is a lease as the core sees it. It has three words, so that a Lease has four and
// travels in registers.
type grant struct {
	w     *worker
	gen   uint64 // the worker's, with freshBit
	token Token
}

// freshBit is set in grant.gen if the grant made a binding; worker.gen counts above it.
const freshBit = 1

func (g grant) fresh() bool { return g.gen&freshBit != 0 }

// valid reports whether the lease has not ended.
func (g grant) valid() bool { return g.w.gen.Load() == g.gen&^freshBit }

// end makes the lease invalid. It is called under Pool.mu.
func (g grant) end() { g.w.gen.Store(g.gen&^freshBit + 2*freshBit) }

// waiterList is a list in order of arrival.
type waiterList struct{ head, tail *waiter }

// insert puts x where its ticket belongs, looking from the end.
func (l *waiterList) insert(x *waiter) {
	at := l.tail
	for at != nil && at.ticket > x.ticket {
		at = at.prev
	}
	x.list, x.prev = l, at
	if at == nil {
		x.next, l.head = l.head, x
	} else {
		x.next, at.next = at.next, x
	}
	if x.next == nil {
		l.tail = x
	} else {
		x.next.prev = x
	}
}

// remove takes x out of its list.
func (x *waiter) remove() {
	l := x.list
	if x.prev == nil {
		l.head = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		l.tail = x.prev
	} else {
		x.next.prev = x.prev
	}
	x.list, x.prev, x.next = nil, nil, nil
}

// park enqueues x for the acquire of s, nil if anonymous.
func (st *state) park(x *waiter, s *session) {
	st.ticket++
	x.ticket, x.session, x.until = st.ticket, s, never
	x.parked, x.got, x.err = true, grant{}, nil
	if st.AcquireTimeout > 0 {
		x.until = after(st.now, st.AcquireTimeout)
		st.alarmAt(x.until)
	}
	st.waiting++
	if s != nil {
		st.joinSession(x, s)
	}
	st.enlist(x)
	st.note(Event{Kind: AcquireParked, Session: s.name()})
}

// enlist puts a parked waiter into the list that its session's binding says, and counts
// what it asks for.
func (st *state) enlist(x *waiter) {
	s := x.session
	switch {
	case s == nil:
		st.anonymous++
	case s.w != nil && st.Affinity == Prefer:
		st.boundPrefer++
	case s.w != nil:
		s.w.waiters.insert(x)
		return
	}
	st.unbound.insert(x)
}

// delist undoes enlist; the session must still have the binding that it had then.
func (st *state) delist(x *waiter) {
	switch {
	case x.session == nil:
		st.anonymous--
	case x.session.w != nil && st.Affinity == Prefer:
		st.boundPrefer--
	}
	x.remove()
}

// settleWaiter takes x out of the queue and has its goroutine woken. The caller has set
// its outcome.
func (st *state) settleWaiter(x *waiter) {
	st.unpark(x)
	x.next, st.woken = st.woken, x
}

// unpark takes x out of the queue.
func (st *state) unpark(x *waiter) {
	st.delist(x)
	st.waiting--
	x.parked = false
	if s := x.session; s != nil {
		st.leaveSession(x, s)
	}
}

// cancel takes the parked x out of the queue because its context has ended.
func (st *state) cancel(x *waiter) {
	s := x.session
	st.unpark(x)
	if s != nil {
		st.rest(s)
	}
	st.note(Event{Kind: AcquireRefused, Session: s.name(), Err: errCancelled})
}

// refuse settles x with err.
func (st *state) refuse(x *waiter, err error) {
	s := x.session
	if s != nil && !s.sound() {
		if st.disown(s); !x.parked { // refused with that
			return
		}
	}
	x.err = err
	st.settleWaiter(x)
	if s != nil {
		st.rest(s)
	}
	st.note(Event{Kind: AcquireRefused, Session: s.name(), Err: err})
}

// mayUse reports whether x may be granted w when w is available.
func (st *state) mayUse(x *waiter, w *worker) bool {
	switch s := x.session; {
	case s == nil:
		return !w.past
	case s.w == w:
		return !w.past || st.Affinity == Strict
	case s.w != nil && st.Affinity != Prefer:
		return false
	}
	return w.roomy(st.MaxSessionsPerWorker)
}

// nextFor returns the first waiter in order of arrival who may use w, or nil. If it comes
// across a corrupt binding it loses that, which sets rematch, and returns nil.
func (st *state) nextFor(w *worker) *waiter {
	own := w.waiters.head
	if own != nil && !own.session.sound() {
		st.disown(own.session)
		return nil
	}
	if w.past {
		return own
	}
	for x := st.unbound.head; x != nil; x = x.next {
		if own != nil && own.ticket < x.ticket {
			return own
		}
		if x.session != nil && !x.session.sound() {
			st.disown(x.session)
			return nil
		}
		if st.mayUse(x, w) {
			return x
		}
	}
	return own
}

// nextOf returns the first waiter in order of arrival who may use an idle worker, as match
// is to serve them, or nil; or one whose binding is corrupt, who might.
func (st *state) nextOf(added *worker) *waiter {
	var first *waiter
	for x := st.unbound.head; x != nil; x = x.next {
		if x.session != nil && !x.session.sound() {
			return x
		}
		if st.choose(x.session) != nil {
			first = x
			break
		}
	}
	if added != nil && added.phase == idle {
		if own := added.waiters.head; own != nil && (first == nil || own.ticket < first.ticket) {
			first = own
		}
	}
	return first
}
