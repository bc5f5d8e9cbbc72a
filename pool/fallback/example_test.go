package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
)

// A fast pool whose workers do not start, and a slow one that steps in. The third failure
// opens the breaker, which spares the fourth call the attempt; ten seconds later a probe
// would go ahead.
func ExampleChain_Do() {
	open := func(name string, err error) *pool.Pool[string] {
		p, _ := pool.New(pool.Config[string]{
			Start:   func(context.Context, pool.WorkerID) (string, error) { return name, err },
			MaxSize: 1,
		})
		return p
	}
	fast, slow := open("fast", errors.New("no device")), open("slow", nil)
	defer fast.Close()
	defer slow.Close()

	chain, err := fallback.New(fallback.Config[string]{
		Layers: []fallback.Layer[string]{
			{Name: "gpu", Pool: fast, Breaker: fallback.Breaker{FailuresInRow: 3, OpenFor: 10 * time.Second}},
			{Name: "cpu", Pool: slow},
		},
		OnChange: func(c fallback.Change) { fmt.Println("breaker of", c.Layer, "is", c.To) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 4 {
		served, err := chain.Do(context.Background(), "", func(_ context.Context, worker string) error {
			fmt.Println("on a", worker, "worker")
			return nil
		})
		fmt.Println(served.Layer, served.Passed, err)
	}
	// Output:
	// on a slow worker
	// cpu [gpu: start failed] <nil>
	// on a slow worker
	// cpu [gpu: start failed] <nil>
	// breaker of gpu is open
	// on a slow worker
	// cpu [gpu: start failed] <nil>
	// on a slow worker
	// cpu [gpu: breaker open] <nil>
}

// A strict session stays where its state is: while that layer cannot serve, its calls fail.
func ExampleChain_EndSession() {
	open := func() *pool.Pool[string] {
		p, _ := pool.New(pool.Config[string]{
			Start: func(context.Context, pool.WorkerID) (string, error) { return "", nil }, MaxSize: 1,
		})
		return p
	}
	first, second := open(), open()
	defer second.Close()
	chain, err := fallback.New(fallback.Config[string]{Layers: []fallback.Layer[string]{
		{Name: "first", Pool: first}, {Name: "second", Pool: second},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	call := func() {
		served, err := chain.Do(context.Background(), "user-42", func(context.Context, string) error { return nil })
		var held *fallback.HeldError
		if errors.As(err, &held) {
			fmt.Println("held by", held.Passed.Layer, "lost:", errors.Is(err, pool.ErrSessionLost))
			return
		}
		fmt.Println("served by", served.Layer, "fresh:", served.Fresh)
	}
	call()
	first.Close()
	call()
	chain.EndSession("user-42")
	call()
	// Output:
	// served by first fresh: true
	// held by first lost: true
	// served by second fresh: true
}
