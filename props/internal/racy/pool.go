package racy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// Errors of a Pool.
var (
	ErrClosed = errors.New("racy: closed")
	ErrFull   = errors.New("racy: full")
)

// Config is what a Pool is made of. Every hook is required.
type Config[R comparable] struct {
	Size    int
	Create  func(context.Context) (R, error)
	Destroy func(R)
	Check   func(R) error // asked at release
}

// Pool lends resources to one caller at a time. All methods may be called concurrently.
type Pool[R comparable] struct {
	cfg   Config[R]
	fault Fault

	mu      sync.Mutex
	max     int           // guarded by mu
	total   int           // guarded by mu; slots taken: by what is created, alive or destroyed
	idle    []entry[R]    // guarded by mu
	waiters []*waiter[R]  // guarded by mu
	resets  int           // guarded by mu
	closed  atomic.Bool   // written under mu
	quit    chan struct{} // closed with the pool
	tokens  chan struct{} // of OneToken
	alive   sync.WaitGroup
}

type entry[R comparable] struct {
	r      R
	resets int // before its create
}

type waiter[R comparable] struct {
	granted chan grant[R] // has room for one
	waits   atomic.Bool   // of HandsOver
}

// grant is a resource, a slot in which to create one, or an error.
type grant[R comparable] struct {
	entry entry[R]
	slot  bool
	err   error
}

// Lease is the right to use a resource. One of Release and Discard is called once.
type Lease[R comparable] struct {
	p     *Pool[R]
	entry entry[R]
}

// New returns a pool with that fault.
func New[R comparable](cfg Config[R], fault Fault) *Pool[R] {
	return &Pool[R]{
		cfg: cfg, fault: fault, max: cfg.Size, quit: make(chan struct{}), tokens: make(chan struct{}, 1),
	}
}

// Acquire returns a lease, waiting for one until ctx ends or the pool is closed.
func (p *Pool[R]) Acquire(ctx context.Context) (*Lease[R], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.fault == OneToken {
		return p.acquireByToken(ctx)
	}
	if p.fault == JoinsClosed && p.closed.Load() {
		return nil, ErrClosed
	}
	p.mu.Lock()
	if p.fault != JoinsClosed && p.closed.Load() {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	if e, ok := p.popLocked(); ok {
		p.mu.Unlock()
		return &Lease[R]{p, e}, nil
	}
	if p.total < p.max {
		return p.createIn(ctx)
	}
	if p.fault == LooksTwice {
		p.mu.Unlock()
		p.mu.Lock()
	}
	w := &waiter[R]{granted: make(chan grant[R], 1)}
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	w.waits.Store(true)
	select {
	case g := <-w.granted:
		return p.lease(ctx, g)
	case <-ctx.Done():
		return p.cancel(ctx, w)
	}
}

// createIn takes a slot and creates in it. It unlocks mu.
func (p *Pool[R]) createIn(ctx context.Context) (*Lease[R], error) {
	if p.fault == CountsLate {
		p.mu.Unlock()
		p.mu.Lock()
	}
	p.takeSlotLocked()
	p.mu.Unlock()
	return p.lease(ctx, grant[R]{slot: true})
}

func (p *Pool[R]) takeSlotLocked() {
	p.total++
	if p.fault != AddsLate {
		p.alive.Add(1)
	}
}

// lease makes a lease of a grant.
func (p *Pool[R]) lease(ctx context.Context, g grant[R]) (*Lease[R], error) {
	if g.err != nil {
		return nil, g.err
	}
	if !g.slot {
		return &Lease[R]{p, g.entry}, nil
	}
	e, err := p.create(ctx)
	if err != nil {
		return nil, err
	}
	if p.closed.Load() && p.fault != CreatesForGood {
		p.destroy(e)
		return nil, ErrClosed
	}
	return &Lease[R]{p, e}, nil
}

// create fills a slot that is taken, or frees it.
func (p *Pool[R]) create(ctx context.Context) (entry[R], error) {
	if p.fault == AddsLate {
		p.alive.Add(1)
	}
	p.mu.Lock()
	e := entry[R]{resets: p.resets}
	p.mu.Unlock()
	r, err := p.cfg.Create(ctx)
	if err != nil {
		p.free(p.fault != FailsQuietly)
		return e, err
	}
	e.r = r
	if p.fault == KeepsOld {
		p.mu.Lock()
		e.resets = p.resets
		p.mu.Unlock()
	}
	return e, nil
}

// cancel takes w out of the queue; what it has been granted meanwhile goes back.
func (p *Pool[R]) cancel(ctx context.Context, w *waiter[R]) (*Lease[R], error) {
	if p.fault == LooksFirst {
		select {
		case g := <-w.granted:
			return p.lease(ctx, g)
		default:
		}
	}
	p.mu.Lock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 || p.fault == DropsGrant || p.fault == LooksFirst {
		return nil, ctx.Err()
	}
	select {
	case g := <-w.granted:
		switch {
		case g.err != nil:
		case g.slot:
			p.free(true)
		default:
			p.put(g.entry)
		}
	default: // HandsOver alone
	}
	return nil, ctx.Err()
}

func (p *Pool[R]) popLocked() (e entry[R], ok bool) {
	n := len(p.idle)
	if n == 0 {
		return e, false
	}
	e = p.idle[n-1]
	p.idle = p.idle[:n-1]
	return e, true
}

// grantLocked answers the first waiter, if there is one.
func (p *Pool[R]) grantLocked(g grant[R]) bool {
	if len(p.waiters) == 0 {
		return false
	}
	w := p.waiters[0]
	p.waiters = slices.Delete(p.waiters, 0, 1)
	if p.fault == HandsOver && g.err == nil && !w.waits.Load() {
		return false
	}
	w.granted <- g // has room: a waiter is answered once
	return true
}

// put makes e idle or gives it to a waiter; what is not wanted is destroyed.
func (p *Pool[R]) put(e entry[R]) {
	closed := p.closed.Load()
	p.mu.Lock()
	if p.fault != ReleasesIntoPool {
		closed = p.closed.Load()
	}
	if closed || e.resets != p.resets || p.total > p.max {
		p.mu.Unlock()
		p.destroy(e)
		return
	}
	p.keepLocked(e)
	p.mu.Unlock()
}

func (p *Pool[R]) keepLocked(e entry[R]) {
	if p.grantLocked(grant[R]{entry: e}) {
		return
	}
	p.idle = append(p.idle, e)
	if p.fault == OneToken {
		p.wake()
	}
}

// destroy destroys e and frees its slot.
func (p *Pool[R]) destroy(e entry[R]) {
	tell := true
	if p.fault == DiscardsQuietly {
		p.mu.Lock()
		tell = len(p.waiters) > 0
		p.mu.Unlock()
	}
	p.cfg.Destroy(e.r)
	p.free(tell)
}

// free gives a slot to a waiter, or counts it as free.
func (p *Pool[R]) free(tell bool) {
	p.mu.Lock()
	if tell && p.total <= p.max && p.grantLocked(grant[R]{slot: true}) {
		p.mu.Unlock()
		return
	}
	total := p.total
	if p.fault == LosesCount {
		p.mu.Unlock()
		p.mu.Lock()
	}
	p.total = total - 1
	if p.fault == OneToken {
		p.wake()
	}
	p.mu.Unlock()
	p.alive.Done()
}
