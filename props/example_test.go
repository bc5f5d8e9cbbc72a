package props_test

import (
	"context"
	"errors"
	"testing"

	"github.com/poolproof/poolproof/props"
)

// adapter makes a props.Pool of myPool, which has the methods Get, Put and Close.
type adapter struct{ *myPool[*props.Resource] }

func (a adapter) Acquire(ctx context.Context) (props.Lease, error) {
	r, err := a.Get(ctx)
	if err != nil {
		return nil, err
	}
	return lease{a, r}, nil
}

func (a adapter) Close() error { a.myPool.Close(); return nil }

type lease struct {
	a adapter
	r *props.Resource
}

func (l lease) Resource() *props.Resource { return l.r }
func (l lease) Release()                  { l.a.Put(l.r) }

// myTarget says how myPool is opened and what it promises.
func myTarget() props.Target {
	return props.Target{
		Name: "mypool", Capacity: 2, Spec: props.Spec{CloseWaits: true},
		Open: func(env *props.Env) (props.Pool, error) {
			return adapter{newMyPool(2, env.Create, env.Destroy)}, nil
		},
		Outcome: func(err error) props.Outcome {
			if errors.Is(err, errClosed) {
				return props.Closed
			}
			return props.DefaultOutcome(err)
		},
	}
}

// The resources of the pool under test come from the suite, which so counts them by itself.
func ExampleVerify() {
	var t *testing.T // of the test function
	props.Verify(t, myTarget())
}
