// Package semaphore adapts golang.org/x/sync/semaphore: a lease is a weight of one.
package semaphore

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/poolproof/poolproof/props"
)

// Targets returns a semaphore of weight two. Its documentation says that a failed Acquire
// leaves it unchanged, and nothing of order.
func Targets() []props.Target {
	const size = 2
	return []props.Target{{
		Name: "semaphore", Capacity: size,
		Outcome: func(err error) props.Outcome {
			if errors.Is(err, errClosed) {
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
		Open: func(env *props.Env) (props.Pool, error) {
			return &pool{weighted: semaphore.NewWeighted(size), env: env}, nil
		},
	}}
}

var (
	errClosed = errors.New("closed") // of the adapter: a semaphore cannot be
	errFull   = errors.New("full")   // a semaphore says false
)

type pool struct {
	weighted *semaphore.Weighted
	env      *props.Env
	closed   atomic.Bool
}

func (p *pool) Acquire(ctx context.Context) (props.Lease, error) {
	if p.closed.Load() {
		return nil, errClosed
	}
	if err := p.weighted.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return p.granted()
}

func (p *pool) TryAcquire() (props.Lease, error) {
	if p.closed.Load() {
		return nil, errClosed
	}
	if !p.weighted.TryAcquire(1) {
		return nil, errFull
	}
	return p.granted()
}

// granted makes what stands for the weight that was acquired.
func (p *pool) granted() (props.Lease, error) {
	r, err := p.env.Create(context.Background())
	if err != nil {
		p.weighted.Release(1)
		return nil, err
	}
	return lease{p, r}, nil
}

func (p *pool) Close() error { p.closed.Store(true); return nil }

type lease struct {
	p *pool
	r *props.Resource
}

func (l lease) Resource() *props.Resource { return l.r }

func (l lease) Release() {
	l.p.env.Destroy(l.r)
	l.p.weighted.Release(1)
}
