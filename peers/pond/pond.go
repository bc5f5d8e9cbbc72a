// Package pond adapts github.com/alitto/pond/v2.
package pond

import (
	"context"
	"errors"

	"github.com/alitto/pond/v2"

	"github.com/poolproof/poolproof/props"
)

// Targets returns the pool with a queue without end, and with one that holds a task and
// blocks whoever submits more; and with tasks that call runtime.Goexit, of which the
// documentation says nothing, but issue 135, which was answered by a fix. Wait says that it
// waits for the task to complete.
func Targets() []props.Target {
	goexit := target("pond-goexit", 2, plain)
	goexit.Spec.NoGoexit = false
	wait := target("pond-wait", 2, func(p pond.Pool, task func()) error { return p.Submit(task).Wait() })
	wait.Spec.NoGoexit = false
	return []props.Target{
		target("pond", 2, plain),
		target("pond-queue", 1, plain, pond.WithQueueSize(1)),
		goexit,
		wait,
	}
}

func plain(p pond.Pool, task func()) error { return p.Go(task) }

func target(name string, size int, run func(pond.Pool, func()) error, options ...pond.Option) props.Target {
	return props.Target{
		Name: name, Capacity: size,
		Spec: props.Spec{
			NoContext:   true,
			HookPanics:  true, // README: panics of tasks are captured
			NoGoexit:    true,
			CloseWaits:  true, // StopAndWait: waits for all submitted tasks
			ShrinksLate: true, // Resize: nothing is said of tasks that run
		},
		Outcome: func(err error) props.Outcome {
			if errors.Is(err, pond.ErrPoolStopped) {
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
		Open: func(env *props.Env) (props.Pool, error) {
			p := pond.NewPool(size, options...)
			submit := func(_ context.Context, task func()) error { return run(p, task) }
			return props.FromTasks(env, submit, p.StopAndWait), nil
		},
	}
}
