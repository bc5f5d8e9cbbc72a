package pool

// What a session has in a worker is only as safe as one pointer. So a binding carries a
// check value, made of a salt that no other session has and of the worker's ID: one that
// was overwritten behind the pool's back does not fit any more. It is looked at wherever
// the pool acts on a binding, and one that does not fit counts as the loss of the worker,
// whichever it was (I8). The lists and counts are then mended from what has not been hurt.

// fit returns the check value of a binding of s to w, nil for none. WorkerIDs begin at 1.
func (s *session) fit(w *worker) uint64 {
	if w == nil {
		return s.salt
	}
	return s.salt + uint64(w.id)
}

// sound reports whether the binding of s is the one that the pool made.
func (s *session) sound() bool { return s.check == s.fit(s.w) }

// tie sets the binding of s, nil for none. Nothing else does.
func (s *session) tie(w *worker) { s.w, s.check = w, s.fit(w) }

// lookup returns the entry of id, whose binding can be relied on, or nil.
func (st *state) lookup(id SessionID) *session {
	s := st.sessions[id]
	if s != nil && !s.sound() {
		st.trust(s)
		return st.sessions[id]
	}
	return s
}

// trust makes sure that the binding of s, nil if anonymous, can be relied on: a corrupt one
// is lost, with all that follows from that. The pool must be at rest but for the change
// that is about to be made.
func (st *state) trust(s *session) {
	if s != nil && !s.sound() {
		st.disown(s)
		st.settle() // its worker may owe a telling, which is due before any grant
	}
}

// disown mends the binding of s, which is corrupt, and loses it.
func (st *state) disown(s *session) {
	st.effects = append(st.effects, effect{corrupt: true, id: s.id})
	w := st.holder(s)
	s.tie(w)
	if w == nil { // it had none to lose
		st.rematch = true
		return
	}
	st.lose(s, true)
}

// holder finds the worker that s is bound to by the lists alone, or nil.
func (st *state) holder(s *session) *worker {
	for _, w := range st.live {
		for b := w.bound; b != nil; b = b.wnext {
			if b == s {
				return w
			}
		}
	}
	return nil
}
