// Package ants adapts github.com/panjf2000/ants/v2.
package ants

import (
	"context"
	"errors"
	"fmt"

	"github.com/panjf2000/ants/v2"

	"github.com/poolproof/poolproof/props"
)

// Targets returns the pool of two goroutines: blocking, with a bounded queue of blocked
// callers, and one that refuses.
func Targets() []props.Target {
	const blocked = 2
	return []props.Target{
		target("ants", props.Spec{}),
		target("ants-bounded", props.Spec{MaxWaiters: blocked}, ants.WithMaxBlockingTasks(blocked)),
		target("ants-nonblocking", props.Spec{RefusesWhenFull: true}, ants.WithNonblocking(true)),
	}
}

func target(name string, spec props.Spec, options ...ants.Option) props.Target {
	const size = 2
	spec.NoContext = true
	spec.HookPanics = true  // README: panics are handled, for the program not to crash
	spec.ShrinksLate = true // Tune: nothing is said of tasks that run
	return props.Target{
		Name: name, Capacity: size, Spec: spec,
		Outcome: func(err error) props.Outcome {
			if errors.Is(err, ants.ErrPoolClosed) {
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
		Open: func(env *props.Env) (props.Pool, error) {
			options := append(options[:len(options):len(options)],
				ants.WithPanicHandler(func(p any) { env.Report(fmt.Errorf("a task panicked: %v", p)) }))
			p, err := ants.NewPool(size, options...)
			if err != nil {
				return nil, err
			}
			submit := func(_ context.Context, task func()) error { return p.Submit(task) }
			return pool{props.FromTasks(env, submit, p.Release), p}, nil
		},
	}
}

type pool struct {
	props.Pool
	p *ants.Pool
}

func (p pool) Resize(most int) error { p.p.Tune(most); return nil }
