package racy

import "context"

// acquireByToken is Acquire by callers that look again whenever there is a token. Whoever
// takes it ought to put it back if there is more to take.
func (p *Pool[R]) acquireByToken(ctx context.Context) (*Lease[R], error) {
	for {
		p.mu.Lock()
		if p.closed.Load() {
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
		p.mu.Unlock()
		select {
		case <-p.tokens:
		case <-p.quit:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *Pool[R]) wake() {
	select {
	case p.tokens <- struct{}{}:
	default:
	}
}

// TryAcquire returns a lease of an idle resource, or ErrFull.
func (p *Pool[R]) TryAcquire() (*Lease[R], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return nil, ErrClosed
	}
	if p.fault == TriesTwice && len(p.idle) > 0 {
		e := p.idle[len(p.idle)-1]
		p.mu.Unlock()
		p.mu.Lock()
		p.popLocked()
		return &Lease[R]{p, e}, nil
	}
	e, ok := p.popLocked()
	if !ok {
		return nil, ErrFull
	}
	return &Lease[R]{p, e}, nil
}

// CreateResource adds an idle resource, or returns ErrFull.
func (p *Pool[R]) CreateResource(ctx context.Context) error {
	p.mu.Lock()
	switch {
	case p.closed.Load():
		p.mu.Unlock()
		return ErrClosed
	case p.total >= p.max:
		p.mu.Unlock()
		return ErrFull
	}
	p.takeSlotLocked()
	p.mu.Unlock()
	e, err := p.create(ctx)
	if err != nil {
		return err
	}
	if p.fault == CreatesForGood {
		p.mu.Lock()
		p.keepLocked(e)
		p.mu.Unlock()
		return nil
	}
	p.put(e)
	return nil
}

// Resource returns what is leased.
func (l *Lease[R]) Resource() R { return l.entry.r }

// Release gives the resource back, unless its check fails.
func (l *Lease[R]) Release() {
	p := l.p
	closed := p.closed.Load()
	if err := p.cfg.Check(l.entry.r); err != nil {
		p.destroy(l.entry)
		return
	}
	if p.fault == ChecksIntoPool && !closed {
		p.mu.Lock()
		p.keepLocked(l.entry)
		p.mu.Unlock()
		return
	}
	p.put(l.entry)
}

// Discard ends the lease and destroys the resource.
func (l *Lease[R]) Discard() { l.p.destroy(l.entry) }

// Resize changes the size. What is leased beyond it is destroyed when it is released.
func (p *Pool[R]) Resize(size int) error {
	p.mu.Lock()
	p.max = size
	for p.total < p.max && len(p.waiters) > 0 {
		p.takeSlotLocked()
		p.grantLocked(grant[R]{slot: true})
	}
	extra := max(0, min(p.total-p.max, len(p.idle)))
	drop := append([]entry[R](nil), p.idle[:extra]...)
	if p.fault == ShrinksTwice {
		p.mu.Unlock()
		p.mu.Lock()
		extra = min(extra, len(p.idle))
	}
	p.idle = p.idle[extra:]
	p.mu.Unlock()
	for _, e := range drop {
		p.destroy(e)
	}
	return nil
}

// Reset has everything destroyed that was created so far, at once or when it is released.
func (p *Pool[R]) Reset() {
	p.mu.Lock()
	p.resets++
	drop := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, e := range drop {
		p.destroy(e)
	}
}

// Close refuses those who wait and those who come, and returns when everything has been
// given back and destroyed. It may be called more than once.
func (p *Pool[R]) Close() error {
	if p.fault == ClosesTwice {
		if !p.closed.Load() {
			p.closed.Store(true)
			close(p.quit)
		}
		p.mu.Lock()
	} else {
		p.mu.Lock()
		if !p.closed.Load() {
			p.closed.Store(true)
			close(p.quit)
		}
	}
	for p.grantLocked(grant[R]{err: ErrClosed}) {
	}
	drop := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, e := range drop {
		p.destroy(e)
	}
	p.alive.Wait()
	return nil
}
