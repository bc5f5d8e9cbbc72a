// Package puddle2 adapts github.com/jackc/puddle/v2.
package puddle2

import (
	"context"
	"errors"

	"github.com/jackc/puddle/v2"

	"github.com/poolproof/poolproof/props"
)

// Targets returns the pool of two resources.
func Targets() []props.Target {
	const size = 2
	return []props.Target{{
		Name: "puddle2", Capacity: size,
		Spec: props.Spec{
			CloseWaits: true, // Close: blocks until all are back and destroyed
			CloseTwice: true, // changelog, 1.1.1: Close may be called several times
			// Reset destroys in the background, and nothing says that a slot waits for that.
			DestroyFreesEarly: true,
		},
		Outcome: func(err error) props.Outcome {
			if errors.Is(err, puddle.ErrClosedPool) {
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
		Open: func(env *props.Env) (props.Pool, error) {
			p, err := puddle.NewPool(&puddle.Config[*props.Resource]{
				Constructor: env.Create, Destructor: env.Destroy, MaxSize: size,
			})
			return pool{p}, err
		},
	}}
}

type pool struct{ *puddle.Pool[*props.Resource] }

func (p pool) Acquire(ctx context.Context) (props.Lease, error) { return box(p.Pool.Acquire(ctx)) }

func (p pool) TryAcquire() (props.Lease, error) { return box(p.Pool.TryAcquire(context.Background())) }

func (p pool) Close() error { p.Pool.Close(); return nil }

func (p pool) Counts() (idle, leased, total int) {
	s := p.Stat()
	return int(s.IdleResources()), int(s.AcquiredResources()), int(s.TotalResources())
}

type lease struct {
	r *puddle.Resource[*props.Resource]
}

func (l lease) Resource() *props.Resource { return l.r.Value() }
func (l lease) Release()                  { l.r.Release() }
func (l lease) Discard()                  { l.r.Destroy() }

// box returns a nil interface with an error.
func box(r *puddle.Resource[*props.Resource], err error) (props.Lease, error) {
	if err != nil {
		return nil, err
	}
	return lease{r}, nil
}
