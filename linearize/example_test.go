package linearize_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/pool"
)

// Four clients share two workers; what they see is recorded and judged.
func Example() {
	recorder := linearize.NewRecorder(linearize.RecorderConfig{Head: linearize.Head{
		Pool: "example", Config: linearize.Config{Capacity: 2, Affinity: linearize.Strict, Fresh: true, FIFO: true},
	}})
	p, err := pool.New(pool.Config[int]{
		Start:   func(context.Context, pool.WorkerID) (int, error) { return 0, nil },
		MinSize: 2, MaxSize: 2, Observer: recorder.Observe,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var group sync.WaitGroup
	for range 4 {
		client := recorder.Client()
		group.Go(func() {
			for range 10 {
				client.Call(linearize.Request{Kind: linearize.Acquire, Session: "a"})
				lease, err := p.AcquireSession(context.Background(), "a")
				if err != nil {
					client.Return(linearize.Answer{Outcome: linearize.OutcomeOf(err)})
					continue
				}
				l := client.Return(linearize.Answer{
					Outcome: linearize.Granted, Worker: uint64(lease.WorkerID()), Token: uint64(lease.Token()), Fresh: lease.Fresh(),
				})
				client.Call(linearize.Request{Kind: linearize.Release, Lease: l})
				lease.Release()
				client.Return(linearize.Answer{Outcome: linearize.Done})
			}
		})
	}
	group.Wait()
	history := recorder.History() // linearize.WriteFile saves it, before it is judged
	if err := p.Close(); err != nil {
		fmt.Println(err)
	}
	verdict := linearize.Judge(context.Background(), history, linearize.Budget{})
	fmt.Println(len(history.Ops), &verdict)
	// Output: 80 ok (witness)
}
