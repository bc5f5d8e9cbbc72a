package broken

import (
	"context"
	"runtime/debug"
	"slices"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// waiter is a parked acquire.
type waiter[T any] struct {
	session *session[T] // nil: anonymous
	unbound bool        // when it was parked (FirstCallsBindTwice)
	since   time.Time
	done    chan struct{} // closed when lease or err is set
	lease   *lease[T]
	err     error
}

// lease is what Lease points to.
type lease[T any] struct {
	worker  *worker[T]
	session *session[T]
	token   pool.Token
	fresh   bool
	binding int // of the session, if this grant made one

	revoked bool // guarded by Pool.mu
	ended   bool // guarded by Pool.mu
}

// Acquire takes a worker that no other caller has, and waits for one if need be. It
// fails with the cause of ctx or with an error of package pool; the caller then holds
// nothing. Otherwise the caller owes one Release or Discard.
func (p *Pool[T]) Acquire(ctx context.Context) (Lease[T], error) { return p.acquire(ctx, "", false) }

// AcquireSession is Acquire for a session, by the rules of Config.Affinity.
func (p *Pool[T]) AcquireSession(ctx context.Context, id pool.SessionID) (Lease[T], error) {
	return p.acquire(ctx, id, false)
}

// TryAcquire is Acquire without waiting: it fails with pool.ErrNotAvailable if no idle
// worker may be used.
func (p *Pool[T]) TryAcquire() (Lease[T], error) { return p.acquire(context.Background(), "", true) }

// TryAcquireSession is TryAcquire for a session.
func (p *Pool[T]) TryAcquireSession(id pool.SessionID) (Lease[T], error) {
	return p.acquire(context.Background(), id, true)
}

func (p *Pool[T]) acquire(ctx context.Context, id pool.SessionID, try bool) (Lease[T], error) {
	l, q, err := p.arrive(ctx, id, try)
	if err != nil {
		return Lease[T]{}, err
	}
	if q == nil {
		return Lease[T]{p, l}, nil
	}
	cancelled := false
	select {
	case <-q.done:
	case <-ctx.Done():
		if p.fault == CancelLeaksSlot {
			return Lease[T]{}, context.Cause(ctx)
		}
		if p.fault >= CancelDropsGrant && p.fault <= CancelAfterLook && p.drops(q) {
			return Lease[T]{}, context.Cause(ctx)
		}
		cancelled = true
		p.update(func() { p.leave(q, context.Cause(ctx)) })
	}
	if q.err != nil {
		return Lease[T]{}, q.err
	}
	if ctx.Err() != nil {
		if p.fault != GiveBackForgotten || cancelled {
			p.update(func() { p.giveBack(q.lease) })
		}
		return Lease[T]{}, context.Cause(ctx)
	}
	if p.fault == FreshReadLate && q.session != nil {
		p.look(func() { q.lease.fresh = q.session.fresh })
	}
	return Lease[T]{p, q.lease}, nil
}

// enter grants, refuses or parks an acquire.
func (p *Pool[T]) enter(ctx context.Context, id pool.SessionID, try bool) (*lease[T], *waiter[T], error) {
	if ctx.Err() != nil && p.fault != DoneContextTakes {
		return nil, nil, context.Cause(ctx)
	}
	if p.closing {
		return nil, nil, pool.ErrClosed
	}
	s := p.session(id)
	known := s != nil
	switch {
	case known && s.lost:
		return nil, nil, pool.ErrSessionLost
	case known || id == "":
	case p.full():
		return nil, nil, pool.ErrSessionLimit
	default:
		s = &session[T]{id: id}
	}
	if w := p.choose(s); w != nil {
		if s != nil && !known {
			p.table = append(p.table, s)
		}
		return p.grant(s, w, !try), nil, nil
	}
	if err := p.refusal(s, try); err != nil {
		return nil, nil, err
	}
	if s != nil && !known {
		p.table = append(p.table, s)
	}
	return nil, p.park(s), nil
}

// refusal returns why an acquire that found no idle worker may not wait, or nil.
func (p *Pool[T]) refusal(s *session[T], try bool) error {
	if try {
		if p.fault == TryStarts && p.mayStart() {
			p.begin()
		}
		return pool.ErrNotAvailable
	}
	servable := s != nil && s.worker != nil || slices.ContainsFunc(p.workers, func(w *worker[T]) bool {
		return w.phase == starting || w.phase != stopping && !w.retired && !p.past(w)
	})
	if !servable && p.backingOff() {
		return p.failure
	}
	room := p.cfg.MaxWaiters + p.count(starting)
	if !p.backingOff() {
		room += max(0, p.cfg.MaxSize-len(p.workers))
	}
	if p.cfg.MaxWaiters > 0 && len(p.waiters) >= room && p.fault != QueueUnbounded {
		return pool.ErrSaturated
	}
	return nil
}

func (p *Pool[T]) park(s *session[T]) *waiter[T] {
	q := &waiter[T]{session: s, unbound: s != nil && s.worker == nil, since: p.now, done: make(chan struct{})}
	if p.fault == TimeoutRestarts {
		for _, other := range p.waiters {
			other.since = p.now
		}
	}
	if p.fault == NewestFirst {
		p.waiters = slices.Insert(p.waiters, 0, q)
	} else {
		p.waiters = append(p.waiters, q)
	}
	return q
}

// mayUse reports whether an acquire of s may use w once it is idle.
func (p *Pool[T]) mayUse(s *session[T], w *worker[T]) bool {
	switch {
	case w.retired || s != nil && s.lost:
		return false
	case s == nil:
		return !p.past(w)
	case s.worker == w:
		return !p.past(w) || p.cfg.Affinity == pool.Strict
	case s.worker != nil && p.cfg.Affinity != pool.Prefer && p.fault != BusySessionMoves:
		return false
	}
	return !p.past(w) && (p.cfg.MaxSessionsPerWorker == 0 || p.bindings(w) < p.cfg.MaxSessionsPerWorker)
}

// choose returns the idle worker that an acquire of s takes, or nil.
func (p *Pool[T]) choose(s *session[T]) (best *worker[T]) {
	for _, w := range p.workers {
		if w.phase != idle || !p.mayUse(s, w) {
			continue
		}
		if s != nil && s.worker == w && p.fault != PreferAlwaysMoves {
			return w
		}
		better := best == nil || p.bindings(w) < p.bindings(best)
		if p.fault == PacksSessions {
			better = best == nil || p.bindings(w) > p.bindings(best)
		}
		if better {
			best = w
		}
	}
	return best
}

// serve grants idle workers to waiters, in order of arrival.
func (p *Pool[T]) serve() {
	for _, q := range slices.Clone(p.waiters) {
		s := q.session
		if p.fault == FirstCallsBindTwice && q.unbound && s.worker != nil {
			s = &session[T]{id: s.id} // as it was when the waiter was parked
		}
		if w := p.choose(s); w != nil {
			p.answer(q, p.grant(q.session, w, true), nil)
		}
	}
}

// grant leases an idle worker to an acquire of s. If spread is set and the grant adds a
// binding to others, a start begins as well (I18).
func (p *Pool[T]) grant(s *session[T], w *worker[T], spread bool) *lease[T] {
	crowded := p.bindings(w) > 0
	w.phase = leased
	w.leases++
	p.skipCheck(w)
	p.lastToken++
	w.lease = &lease[T]{worker: w, session: s, token: p.lastToken}
	if s == nil {
		return w.lease
	}
	s.leases++
	s.fresh = false
	if s.worker == w {
		return w.lease
	}
	w.lease.fresh = p.bind(s, w)
	s.fresh = true
	w.lease.binding = s.bindings
	if spread && crowded && p.mayStart() && p.delay == 0 {
		p.begin()
	}
	return w.lease
}

// answer gives a waiter its outcome.
func (p *Pool[T]) answer(q *waiter[T], l *lease[T], err error) {
	p.waiters = slices.DeleteFunc(p.waiters, func(v *waiter[T]) bool { return v == q })
	q.lease, q.err = l, err
	close(q.done)
	if q.session != nil {
		p.quiet(q.session)
	}
}

// leave ends the wait of a caller that gave up, unless it has its outcome.
func (p *Pool[T]) leave(q *waiter[T], cause error) {
	select {
	case <-q.done:
		return
	default:
	}
	p.answer(q, nil, cause)
	if p.fault == CountsDrift {
		p.drift++
	}
	if i := slices.IndexFunc(p.workers, func(w *worker[T]) bool { return w.phase == starting }); p.fault == CancelKillsStart && i >= 0 {
		p.stop(p.workers[i], cause)
	}
}

// giveBack undoes a grant whose caller had given up when it learned of it.
func (p *Pool[T]) giveBack(l *lease[T]) {
	l.ended = true
	if l.revoked {
		return
	}
	l.worker.leases--
	if s := l.session; s != nil && s.worker == l.worker && l.binding == s.bindings && p.fault != GiveBackKeepsBinding {
		s.worker = nil
		p.quiet(s)
	}
	p.end(l, nil)
}

// end ends a lease; a worker with a cause stops.
func (p *Pool[T]) end(l *lease[T], cause error) {
	w, s := l.worker, l.session
	if l.revoked {
		return
	}
	if s != nil && p.fault == OldEpochTouchesNew {
		if current := p.session(s.id); current != nil && current != s && current.worker != nil {
			p.endBinding(current)
			p.quiet(current)
		}
	}
	if s != nil {
		s.leases--
		p.quiet(s)
	}
	w.lease = nil
	switch {
	case w.retired:
		p.stop(w, w.cause)
	case cause != nil:
		p.stop(w, cause)
	default:
		p.available(w)
	}
}

// Lease is the exclusive right to one worker, until the first Release or Discard. It
// may be copied and used from any goroutine.
type Lease[T any] struct {
	p *Pool[T]
	l *lease[T]
}

// Worker returns the worker. It panics (I14) after Release or Discard.
func (l Lease[T]) Worker() T {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.mustBeOut()
	return l.l.worker.value
}

func (l Lease[T]) mustBeOut() {
	if l.l.ended {
		panic("broken: I14: lease used after its release")
	}
}

// WorkerID returns the incarnation.
func (l Lease[T]) WorkerID() pool.WorkerID { return l.l.worker.id }

// Token returns the number of the lease in the order of grants.
func (l Lease[T]) Token() pool.Token { return l.l.token }

// Fresh reports whether this grant bound the session to the worker.
func (l Lease[T]) Fresh() bool { return l.l.fresh }

// Revoked reports whether Shutdown has ended the lease under its holder. It panics
// (I14) after Release or Discard.
func (l Lease[T]) Revoked() bool {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.mustBeOut()
	return l.l.revoked
}

// Release gives the worker back. A second one panics (I14); the first of a revoked
// lease does nothing. It waits for nothing but Config.Usable.
func (l Lease[T]) Release() {
	if !l.finish() {
		return
	}
	var cause error = &pool.PanicError{}
	defer func() {
		if v := recover(); v != nil {
			cause = &pool.PanicError{Value: v, Stack: debug.Stack()}
		}
		l.p.conclude(l.l, cause)
	}()
	if usable := l.p.cfg.Usable; usable != nil && !usable(l.l.worker.value) && l.p.fault != UnusableReused {
		cause = errUnusable
		return
	}
	cause = nil
}

// Discard gives the worker back to be stopped because of cause. Otherwise it is like
// Release.
func (l Lease[T]) Discard(cause error) {
	if l.finish() {
		l.p.update(func() { l.p.end(l.l, &pool.WorkerError{ID: l.l.worker.id, Err: cause}) })
	}
}

// finish marks the lease as ended and reports whether there is anything to give back.
func (l Lease[T]) finish() bool {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if !l.l.ended {
		l.l.ended = true
		return !l.l.revoked
	}
	if l.p.fault != DoubleReleaseFrees {
		panic("broken: I14: lease released twice")
	}
	return l.l.worker.phase == leased
}
