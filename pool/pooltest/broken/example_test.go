package broken_test

import (
	"context"
	"fmt"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
)

// A worker that was found unusable must not come back. Here it does.
func ExampleNew() {
	p, err := broken.New(pool.Config[pool.WorkerID]{
		Start:   func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) { return id, nil },
		Usable:  func(pool.WorkerID) bool { return false },
		MaxSize: 1,
	}, broken.UnusableReused)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	for range 2 {
		lease, err := p.Acquire(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("worker", lease.WorkerID())
		lease.Release()
	}
	// Output:
	// worker 1
	// worker 1
}

func ExampleFaults() {
	for _, info := range broken.Faults()[:2] {
		fmt.Printf("%s (%s) breaks %s: %s\n", info.Name, info.Lesson, info.Rule, info.Text)
	}
	// Output:
	// backoff-wakes-nobody (G2) breaks I5: a parked waiter gets no start when the back-off has run its time
	// failed-start-strands-waiters (G2) breaks I10: waiters stay parked when a start fails and no worker is left
}
