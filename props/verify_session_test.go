package props

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

var errTinyLost = errors.New("tiny: session lost")

// sessionPool gives every session the resource that it had first. It is serial and slow to
// look at: one goroutine at a time looks at everything.
type sessionPool struct {
	*tinyPool
	affinity Affinity
	moves    bool // a session takes whatever is idle
	token    chan struct{}
	bound    map[string]*tinyResource // guarded by token
	gone     map[*tinyResource]bool   // guarded by token
	changed  chan struct{}            // closed and replaced at every change; guarded by token
}

func newSessionPool(env *Env, affinity Affinity, moves bool) *sessionPool {
	return &sessionPool{
		tinyPool: newTinyPool(env, 2, tinyCorrect), affinity: affinity, moves: moves, token: make(chan struct{}, 1),
		bound: map[string]*tinyResource{}, gone: map[*tinyResource]bool{}, changed: make(chan struct{}),
	}
}

func (p *sessionPool) signal() { close(p.changed); p.changed = make(chan struct{}) }

func (p *sessionPool) AcquireSession(ctx context.Context, s string) (Lease, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p.token <- struct{}{}
		own, changed := p.bound[s], p.changed
		if own != nil && p.gone[own] {
			if p.affinity == Strict {
				<-p.token
				return nil, errTinyLost
			}
			delete(p.bound, s)
			own = nil
		}
		if own == nil || p.moves {
			<-p.token
			return p.first(ctx, s)
		}
		if p.pick(own) {
			<-p.token
			return p.own(own), nil
		}
		<-p.token
		p.tinyPool.mu.Lock()
		closed := p.closed
		p.tinyPool.mu.Unlock()
		if closed {
			return nil, errTinyClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// first acquires anything and binds it, unless another call bound the session meanwhile.
func (p *sessionPool) first(ctx context.Context, s string) (Lease, error) {
	l, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	r := l.(*tinyLease).r
	p.token <- struct{}{}
	other := p.bound[s]
	if other == nil || p.moves {
		p.bound[s] = r
		other = r
	}
	<-p.token
	if other == r {
		return p.own(r), nil
	}
	p.own(r).Release()
	return p.AcquireSession(ctx, s)
}

func (p *sessionPool) own(r *tinyResource) *sessionLease {
	return &sessionLease{&tinyLease{p: p.tinyPool, r: r}, p}
}

// pick takes that very resource if it is idle.
func (p *sessionPool) pick(own *tinyResource) bool {
	p.tinyPool.mu.Lock()
	defer p.tinyPool.mu.Unlock()
	for i, r := range p.idle {
		if r == own {
			p.idle = append(p.idle[:i:i], p.idle[i+1:]...)
			p.leased++
			return true
		}
	}
	return false
}

func (p *sessionPool) EndSession(s string) {
	p.token <- struct{}{}
	delete(p.bound, s)
	p.signal()
	<-p.token
}

// Acquire wraps the leases, so that those who wait for a resource hear of its release.
func (p *sessionPool) Acquire(ctx context.Context) (Lease, error) {
	l, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	return p.own(l.(*tinyLease).r), nil
}

// take acquires anything. A cancelled one may have given back what it was just granted,
// so those who wait for a resource hear of that too.
func (p *sessionPool) take(ctx context.Context) (Lease, error) {
	l, err := p.tinyPool.Acquire(ctx)
	if err != nil {
		p.token <- struct{}{}
		p.signal()
		<-p.token
	}
	return l, err
}

func (p *sessionPool) Close() error {
	p.tinyPool.mu.Lock()
	p.closed = true
	p.tinyPool.mu.Unlock()
	p.token <- struct{}{}
	p.signal()
	<-p.token
	return p.tinyPool.Close()
}

type sessionLease struct {
	*tinyLease
	sp *sessionPool
}

func (l *sessionLease) Release() {
	l.tinyLease.Release()
	l.sp.token <- struct{}{}
	l.sp.signal()
	<-l.sp.token
}

func (l *sessionLease) Discard() {
	l.sp.token <- struct{}{}
	l.sp.gone[l.r] = true
	l.sp.signal()
	<-l.sp.token
	l.tinyLease.Discard()
}

// sessionFace hides what the pool behind it can do besides sessions.
type sessionFace struct{ p *sessionPool }

func (f sessionFace) Acquire(ctx context.Context) (Lease, error) { return f.p.Acquire(ctx) }
func (f sessionFace) Close() error                               { return f.p.Close() }
func (f sessionFace) EndSession(s string)                        { f.p.EndSession(s) }
func (f sessionFace) AcquireSession(ctx context.Context, s string) (Lease, error) {
	return f.p.AcquireSession(ctx, s)
}

func sessionTarget(affinity Affinity, moves bool) Target {
	return Target{
		Name: fmt.Sprintf("session-%d", affinity), Capacity: 2, Spec: Spec{Affinity: affinity, CloseWaits: true, CloseTwice: true},
		Open: func(env *Env) (Pool, error) { return sessionFace{newSessionPool(env, affinity, moves)}, nil },
		Outcome: func(err error) Outcome {
			switch {
			case errors.Is(err, errTinyLost):
				return SessionLost
			case errors.Is(err, errTinyClosed):
				return Closed
			}
			return DefaultOutcome(err)
		},
	}
}

// Sessions keep to their resources; a pool that moves them is caught.
func TestSessions(t *testing.T) {
	for _, affinity := range []Affinity{Strict, Sticky} {
		t.Run(fmt.Sprint(affinity), func(t *testing.T) { Verify(t, sessionTarget(affinity, false)) })
		if t.Failed() {
			return
		}
		f, _, checks := hunt(t, sessionTarget(affinity, true), 20)
		if f == nil || f.violation.Rule != "I8" || len(f.ops) > 8 {
			t.Fatalf("affinity %d, a session that moves: got %+v after %d checks, want I8 in at most 8 lines", affinity, f, checks)
		}
	}
}
