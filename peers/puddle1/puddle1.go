// Package puddle1 adapts the first major version of github.com/jackc/puddle.
package puddle1

import (
	"context"
	"errors"

	"github.com/jackc/puddle"

	"github.com/poolproof/poolproof/props"
)

// Targets returns the pool of two resources, and one whose constructor never fails.
// CreateResource is left out: it is documented to look at no limit.
func Targets() []props.Target {
	return []props.Target{target("puddle1", props.Spec{}), target("puddle1-sound", props.Spec{HooksSucceed: true})}
}

func target(name string, spec props.Spec) props.Target {
	const size = 2
	spec.CloseWaits = true // Close: blocks until all are back and destroyed
	return props.Target{
		Name: name, Capacity: size, Spec: spec,
		Outcome: func(err error) props.Outcome {
			if errors.Is(err, puddle.ErrClosedPool) {
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
		Open: func(env *props.Env) (props.Pool, error) {
			return pool{puddle.NewPool(
				func(ctx context.Context) (any, error) { return env.Create(ctx) },
				func(r any) { env.Destroy(r.(*props.Resource)) },
				size,
			)}, nil
		},
	}
}

type pool struct{ p *puddle.Pool }

func (p pool) Acquire(ctx context.Context) (props.Lease, error) {
	r, err := p.p.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return lease{r}, nil
}

func (p pool) Close() error { p.p.Close(); return nil }

type lease struct{ r *puddle.Resource }

func (l lease) Resource() *props.Resource { return l.r.Value().(*props.Resource) }
func (l lease) Release()                  { l.r.Release() }
func (l lease) Discard()                  { l.r.Destroy() }
