// Package commons1 adapts github.com/jolestar/go-commons-pool before its module of version 2.
package commons1

import (
	"context"
	"errors"
	"sync"

	commons "github.com/jolestar/go-commons-pool"

	"github.com/poolproof/poolproof/props"
)

// Targets returns the pool of two objects, one whose factory never fails, and such a one that
// is closed only when nobody is borrowing and gets all objects back: a waiter may miss a Close,
// and that room was made by InvalidateObject.
func Targets() []props.Target {
	return []props.Target{
		target("commons1", props.Spec{}),
		target("commons1-sound", props.Spec{HooksSucceed: true}),
		inOrder(target("commons1-orderly", props.Spec{HooksSucceed: true})),
	}
}

// inOrder closes the pool once no borrow is under way, and begins none then.
func inOrder(t props.Target) props.Target {
	open := t.Open
	t.Open = func(env *props.Env) (props.Pool, error) {
		p, err := open(env)
		return &orderly{Pool: p}, err
	}
	return t
}

type orderly struct {
	props.Pool
	mu        sync.Mutex
	closing   bool // guarded by mu
	borrowing sync.WaitGroup
}

func (o *orderly) Acquire(ctx context.Context) (props.Lease, error) {
	o.mu.Lock()
	if o.closing {
		o.mu.Unlock()
		return nil, commons.NewIllegalStateErr("closing")
	}
	o.borrowing.Add(1)
	o.mu.Unlock()
	defer o.borrowing.Done()
	l, err := o.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return returned{l}, nil
}

// returned hides Discard.
type returned struct{ props.Lease }

func (o *orderly) Close() error {
	o.mu.Lock()
	o.closing = true
	o.mu.Unlock()
	o.borrowing.Wait()
	return o.Pool.Close()
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
