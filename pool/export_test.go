package pool

// Ref is a worker as a binding refers to it, dead or alive.
type Ref = *worker

// Ref returns the live worker id, or nil.
func (p *Pool[T]) Ref(id WorkerID) Ref {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st.find(id)
}

// Overwrite has the binding of a session point to w, as a stray write would. If forged, its
// check value is made to fit: that is what a pool without the check would be like. It
// reports whether there is such a session.
func (p *Pool[T]) Overwrite(id SessionID, w Ref, forged bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.st.sessions[id]
	if s != nil {
		s.overwrite(w, forged)
	}
	return s != nil
}

// Swap exchanges the bindings of two sessions like Overwrite.
func (p *Pool[T]) Swap(a, b SessionID, forged bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, other := p.st.sessions[a], p.st.sessions[b]
	if s == nil || other == nil {
		return false
	}
	was := s.w
	s.overwrite(other.w, forged)
	other.overwrite(was, forged)
	return true
}

func (s *session) overwrite(w *worker, forged bool) {
	if s.w = w; forged {
		s.check = s.fit(w)
	}
}

// Mend ties every session to the worker whose list has it.
func (p *Pool[T]) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.st.sessions {
		s.tie(p.st.holder(s))
	}
}

// MustHold panics if the pool's books do not add up, with and without the build tag.
func (p *Pool[T]) MustHold() {
	p.mu.Lock()
	p.mustHold()
	p.mu.Unlock()
}
