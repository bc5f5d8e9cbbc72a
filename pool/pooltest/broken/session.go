package broken

import (
	"slices"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// session is one epoch of a session's name. In the table it is unbound (it has waiters
// only), bound, or lost.
type session[T any] struct {
	id       pool.SessionID
	worker   *worker[T] // nil: not bound
	bindings int        // how often it was bound
	lost     bool
	fresh    bool // whether its last lease made a binding (FreshReadLate)
	leases   int
	since    time.Time // when it last had neither lease nor waiter, or was lost
}

// session returns the current epoch of a name, or nil.
func (p *Pool[T]) session(id pool.SessionID) *session[T] {
	for _, s := range p.table {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (p *Pool[T]) forget(s *session[T]) {
	p.table = slices.DeleteFunc(p.table, func(v *session[T]) bool { return v == s })
}

// full reports whether the table takes no more sessions.
func (p *Pool[T]) full() bool {
	perWorker := p.cfg.MaxSessionsPerWorker * p.cfg.MaxSize
	return p.cfg.MaxSessions > 0 && len(p.table) >= p.cfg.MaxSessions || perWorker > 0 && len(p.table) >= perWorker
}

func (p *Pool[T]) waiting(s *session[T]) bool {
	return slices.ContainsFunc(p.waiters, func(q *waiter[T]) bool { return q.session == s })
}

// quiet notes that s has lost a waiter, a lease or its binding.
func (p *Pool[T]) quiet(s *session[T]) {
	switch {
	case s.lost || p.waiting(s):
	case s.worker == nil:
		if p.fault != UnboundSessionsStay {
			p.forget(s)
		}
	case s.leases == 0:
		s.since = p.now
	}
}

// sessionEnd returns when s ends by its TTL, if it does.
func (p *Pool[T]) sessionEnd(s *session[T]) (time.Time, bool) {
	resting := s.worker != nil && s.leases == 0 && !p.waiting(s)
	if p.cfg.SessionTTL == 0 || !s.lost && !resting || s.lost && p.fault == LostSessionsStay {
		return time.Time{}, false
	}
	end := s.since.Add(p.cfg.SessionTTL)
	if p.fault == TTLBySweep {
		sweeps := (end.Sub(p.opened) + p.cfg.SessionTTL - 1) / p.cfg.SessionTTL
		end = p.opened.Add(sweeps * p.cfg.SessionTTL)
	}
	return end, true
}

// EndSession ends the current epoch of a session. Its waiters keep their places as
// those of a new session; its leases go on. It does not wait.
func (p *Pool[T]) EndSession(id pool.SessionID) {
	queued := p.queuedBefore(id)
	p.update(func() {
		s := p.session(id)
		if s == nil {
			return
		}
		w := s.worker
		p.endSession(s)
		p.parkAgain(id, queued)
		if w != nil && p.fault == SessionEndUntold {
			w.debts = slices.DeleteFunc(w.debts, func(d pool.SessionID) bool { return d == id })
		}
	})
}

func (p *Pool[T]) endSession(s *session[T]) {
	p.forget(s)
	p.endBinding(s)
	if !p.waiting(s) {
		return
	}
	if p.fault == EndSessionDropsWaiters {
		p.waiters = slices.DeleteFunc(p.waiters, func(q *waiter[T]) bool { return q.session == s })
		return
	}
	next := &session[T]{id: s.id}
	p.table = append(p.table, next)
	for _, q := range p.waiters {
		if q.session == s {
			q.session = next
		}
	}
}

// endBinding ends the binding of s, of which its worker is to be told.
func (p *Pool[T]) endBinding(s *session[T]) {
	w := s.worker
	s.worker = nil
	if w == nil || w.phase == stopping {
		return
	}
	if p.cfg.SessionEnded != nil {
		w.debts = append(w.debts, s.id)
	}
	if p.bindings(w) == 0 {
		w.since = p.now
	}
}

// loseSessions settles the sessions bound to w, which takes no more work.
func (p *Pool[T]) loseSessions(w *worker[T]) {
	for _, s := range slices.Clone(p.table) {
		if s.worker != w {
			continue
		}
		s.worker = nil
		if p.cfg.Affinity != pool.Strict || p.fault == LostSessionRebinds {
			p.quiet(s)
			continue
		}
		s.lost, s.since = true, p.now
		for _, q := range slices.Clone(p.waiters) {
			if q.session == s && p.fault != WaitersOutliveWorker {
				p.answer(q, nil, pool.ErrSessionLost)
			}
		}
	}
}

// bind binds s to w and reports whether that is a new binding.
func (p *Pool[T]) bind(s *session[T], w *worker[T]) (fresh bool) {
	if s.worker == w {
		return false
	}
	p.endBinding(s)
	s.worker = w
	s.bindings++
	p.bound[string(s.id)]++
	return p.fault != FreshForgotten || p.bound[string(s.id)] == 1
}
