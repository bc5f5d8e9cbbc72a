package main

import (
	"context"
	"errors"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/props"
)

// genericTarget is the pool as any pool is verified: by the promises that it shares with
// others, through an adapter.
func genericTarget(report props.Reporter) props.Target {
	const capacity = 3
	return props.Target{
		Name:     "pool",
		Capacity: capacity,
		// The layer is a child process of its own.
		InProcess: true,
		Report:    report,
		Outcome: func(err error) props.Outcome {
			var start *pool.StartError
			switch {
			case errors.As(err, &start):
				return props.CreateFailed
			case errors.Is(err, pool.ErrSessionLost):
				return props.SessionLost
			case errors.Is(err, pool.ErrClosed):
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
		Open: func(env *props.Env) (props.Pool, error) {
			p, err := pool.New(pool.Config[*props.Resource]{
				MaxSize: capacity,
				// A gated hook may take for ever, and the contract knows no timeouts.
				StartTimeout: 1000 * time.Hour,
				StopTimeout:  1000 * time.Hour,
				Start: func(ctx context.Context, _ pool.WorkerID) (*props.Resource, error) {
					return env.Create(ctx)
				},
				Stop: func(_ context.Context, r *props.Resource, _ error) error {
					env.Destroy(r)
					return nil
				},
			})
			if err != nil {
				return nil, err
			}
			return adapted{p}, nil
		},
		Spec: props.Spec{
			FIFO: true, Affinity: props.Strict, CloseWaits: true, CloseTwice: true, ClosedAtOnce: true,
			HookPanics: true, DoubleRelease: props.Panics,
		},
	}
}

// adapted gives the pool the interfaces of package props.
type adapted struct{ p *pool.Pool[*props.Resource] }

func (a adapted) Acquire(ctx context.Context) (props.Lease, error) {
	return box(a.p.Acquire(ctx))
}

func (a adapted) AcquireSession(ctx context.Context, session string) (props.Lease, error) {
	return box(a.p.AcquireSession(ctx, pool.SessionID(session)))
}

func (a adapted) TryAcquire() (props.Lease, error)   { return box(a.p.TryAcquire()) }
func (a adapted) EndSession(session string)          { a.p.EndSession(pool.SessionID(session)) }
func (a adapted) Resize(most int) error              { return a.p.Resize(0, most) }
func (a adapted) Close() error                       { return a.p.Close() }
func (a adapted) Shutdown(ctx context.Context) error { return a.p.Shutdown(ctx) }
func (a adapted) Waiting() int                       { return a.p.Stat().Waiting }

type adaptedLease struct{ pool.Lease[*props.Resource] }

func (l adaptedLease) Resource() *props.Resource { return l.Worker() }
func (l adaptedLease) Discard()                  { l.Lease.Discard(nil) }

// box returns a nil interface with an error.
func box(lease pool.Lease[*props.Resource], err error) (props.Lease, error) {
	if err != nil {
		return nil, err
	}
	return adaptedLease{lease}, nil
}
