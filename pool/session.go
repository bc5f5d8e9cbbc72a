package pool

import (
	"hash/maphash"
	"time"
)

// session is an entry of the session table: unbound (it has waiters only), bound, or
// lost. An entry outside the table is kept only by the leases of its last epoch.
type session struct {
	id    SessionID
	w     *worker // the binding
	salt  uint64  // of the check value: see table.go
	check uint64  // says which worker w must be
	epoch uint64  // advances when the name begins a new life, or the entry leaves the table
	lost  bool

	leases       int // of this epoch
	parked       int
	first, final *waiter // its waiters in order of arrival

	wprev, wnext *session // among the sessions bound to w

	resting    bool // in the list of those that only wait to expire
	expires    time.Duration
	prev, next *session
}

// name returns the session's ID, empty for none.
func (s *session) name() SessionID {
	if s == nil {
		return ""
	}
	return s.id
}

// reserve makes an entry for id; the caller settles it with a grant, a waiter or rest.
func (st *state) reserve(id SessionID) (*session, error) {
	limit := st.MaxSessions
	if n := st.MaxSessionsPerWorker * st.MaxSize; n > 0 && (limit == 0 || n < limit) {
		limit = n
	}
	if limit > 0 && len(st.sessions) >= limit {
		return nil, ErrSessionLimit
	}
	salt := maphash.String(st.seed, string(id))
	s := &session{id: id, salt: salt, check: salt}
	st.sessions[id] = s
	return s, nil
}

// bind ties s to w.
func (st *state) bind(s *session, w *worker) {
	st.withdraw(s)
	s.tie(w)
	s.wprev, s.wnext = nil, w.bound
	if w.bound != nil {
		w.bound.wprev = s
	}
	w.bound = s
	w.bindings++
	st.bindings++
	st.enter(s)
	st.note(Event{Kind: SessionBound, Worker: w.id, Session: s.id})
}

// unbind cuts the binding of s. If tell, the worker owes a telling.
func (st *state) unbind(s *session, tell bool) {
	w := s.w
	st.withdraw(s)
	s.tie(nil)
	if s.wprev == nil {
		w.bound = s.wnext
	} else {
		s.wprev.wnext = s.wnext
	}
	if s.wnext != nil {
		s.wnext.wprev = s.wprev
	}
	s.wprev, s.wnext = nil, nil
	w.bindings--
	st.bindings--
	st.enter(s)
	if tell && st.tells {
		w.debts = append(w.debts, s.id)
	}
	st.watchIdle(w)
	if w.phase == idle {
		st.attend(w)
	}
}

// withdraw takes the waiters of s out of their lists while its binding changes, enter
// puts them back where they now belong, at their places.
func (st *state) withdraw(s *session) {
	if s.parked > 0 && s.w == nil {
		st.unboundSessions--
	}
	for x := s.first; x != nil; x = x.snext {
		st.delist(x)
	}
}

func (st *state) enter(s *session) {
	if s.parked > 0 && s.w == nil {
		st.unboundSessions++
	}
	for x := s.first; x != nil; x = x.snext {
		st.enlist(x)
	}
	if s.parked > 0 {
		st.rematch = true
	}
}

func (st *state) joinSession(x *waiter, s *session) {
	if s.parked == 0 && s.w == nil {
		st.unboundSessions++
	}
	s.parked++
	st.wake(s)
	x.sprev, x.snext = s.final, nil
	if s.final == nil {
		s.first = x
	} else {
		s.final.snext = x
	}
	s.final = x
}

func (st *state) leaveSession(x *waiter, s *session) {
	if x.sprev == nil {
		s.first = x.snext
	} else {
		x.sprev.snext = x.snext
	}
	if x.snext == nil {
		s.final = x.sprev
	} else {
		x.snext.sprev = x.sprev
	}
	x.sprev, x.snext = nil, nil
	s.parked--
	if s.parked == 0 && s.w == nil {
		st.unboundSessions--
	}
}

// rest settles what becomes of s when it may have neither lease nor waiter left.
func (st *state) rest(s *session) {
	switch {
	case s.parked > 0 || s.lost || s.resting:
	case s.w == nil:
		st.forget(s)
	case s.leases == 0:
		st.expireLater(s)
	}
}

// expireLater puts s at the end of those that wait to expire: all have the same TTL, so
// the list is in order of expiry.
func (st *state) expireLater(s *session) {
	if st.SessionTTL == 0 {
		return
	}
	s.expires = after(st.now, st.SessionTTL)
	st.alarmAt(s.expires)
	s.resting = true
	s.prev, s.next = st.youngest, nil
	if st.youngest == nil {
		st.oldest = s
	} else {
		st.youngest.next = s
	}
	st.youngest = s
}

// wake takes s off the list of those that wait to expire.
func (st *state) wake(s *session) {
	if !s.resting {
		return
	}
	s.resting = false
	if s.prev == nil {
		st.oldest = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		st.youngest = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
}

// forget takes s, which has neither binding nor waiter, out of the table.
func (st *state) forget(s *session) {
	st.wake(s)
	if s.lost {
		s.lost = false
		st.lost--
	}
	s.epoch++
	delete(st.sessions, s.id)
}

// endSession ends s: its waiters stay as those of a new epoch, unbound (I9).
func (st *state) endSession(s *session) {
	if !s.sound() {
		st.disown(s)
		if st.sessions[s.id] != s { // lost, and forgotten with that
			return
		}
	}
	st.note(Event{Kind: SessionEnded, Session: s.id})
	st.wake(s)
	if s.w != nil {
		st.unbind(s, true)
	}
	s.leases = 0
	if s.parked == 0 {
		st.forget(s)
		return
	}
	s.epoch++
}

// lose cuts the binding of s because its worker is gone, or is not known for certain any
// more (I8). If tell, the worker stays and owes a telling.
func (st *state) lose(s *session, tell bool) {
	st.wake(s)
	st.unbind(s, tell)
	if st.closing {
		return
	}
	st.note(Event{Kind: SessionLost, Session: s.id})
	if st.Affinity != Strict {
		if s.parked == 0 {
			st.forget(s)
		}
		return
	}
	s.lost = true
	st.lost++
	for s.first != nil {
		st.refuse(s.first, ErrSessionLost)
	}
	st.expireLater(s)
}
