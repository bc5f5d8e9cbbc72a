// Package commons1 adapts github.com/jolestar/go-commons-pool before its module of version 2.
package commons1

import (
	"context"
	"errors"

	commons "github.com/jolestar/go-commons-pool"

	"github.com/poolproof/poolproof/props"
)

// Targets returns the pool of two objects, and one whose factory never fails.
func Targets() []props.Target {
	return []props.Target{
		target("commons1", props.Spec{}),
		target("commons1-sound", props.Spec{HooksSucceed: true}),
	}
}

func target(name string, spec props.Spec) props.Target {
	const size = 2
	// BorrowObject: the context ends the wait of a full pool; nothing is said of one that
	// has ended before.
	spec.DoneTakes = true
	return props.Target{
		Name: name, Capacity: size, Spec: spec,
		Outcome: func(err error) props.Outcome {
			var state *commons.IllegalStateErr
			if errors.As(err, &state) {
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
		Open: func(env *props.Env) (props.Pool, error) {
			config := commons.NewDefaultPoolConfig()
			config.MaxTotal, config.MaxIdle = size, size
			factory := commons.NewPooledObjectFactory(
				func(ctx context.Context) (any, error) {
					r, err := env.Create(ctx)
					if err != nil {
						return nil, err
					}
					return r, nil
				},
				func(_ context.Context, o *commons.PooledObject) error {
					env.Destroy(o.Object.(*props.Resource))
					return nil
				}, nil, nil, nil)
			return pool{commons.NewObjectPool(context.Background(), factory, config), env}, nil
		},
	}
}

type pool struct {
	p   *commons.ObjectPool
	env *props.Env
}

func (p pool) Acquire(ctx context.Context) (props.Lease, error) {
	o, err := p.p.BorrowObject(ctx)
	if err != nil {
		return nil, err
	}
	return lease{p, o.(*props.Resource)}, nil
}

func (p pool) Close() error { p.p.Close(context.Background()); return nil }

type lease struct {
	pool
	r *props.Resource
}

func (l lease) Resource() *props.Resource { return l.r }
func (l lease) Release()                  { l.env.Report(l.p.ReturnObject(context.Background(), l.r)) }

func (l lease) Discard() { l.env.Report(l.p.InvalidateObject(context.Background(), l.r)) }
