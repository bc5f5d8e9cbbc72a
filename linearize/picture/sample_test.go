package picture

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/poolproof/poolproof/linearize"
)

// run returns what a pool without faults might show: clients that take a worker, for a
// session of their own most of the time, and give it back.
func run(clients, workers, calls int, seed uint64) *linearize.History {
	rng := rand.New(rand.NewPCG(seed, 0))
	h := &linearize.History{Head: linearize.Head{
		Pool: "sample", Seed: seed, Replay: "go test -run TestSample",
		Config: linearize.Config{Capacity: workers, Affinity: linearize.Sticky, FIFO: true},
	}}
	free := make([]time.Duration, workers) // when each worker is to be had again
	holds := make([]int, clients)          // the acquire whose lease a client has
	now := time.Duration(1000)
	seq := uint64(0)
	next := func(spread int) time.Duration { return time.Duration(1 + rng.IntN(spread)) }
	for id := 1; id <= calls; id++ {
		now += next(900)
		client := rng.IntN(clients)
		o := linearize.Op{ID: id, Client: client + 1, Call: now}
		seq++
		switch lease := holds[client]; {
		case lease > 0:
			of := &h.Ops[lease-1]
			o.Call = max(now, of.Return+1)
			now = o.Call
			o.Kind, o.Outcome, o.Lease, o.Worker, o.Seq = linearize.Release, linearize.Done, lease, of.Worker, seq
			o.Return = o.Call + next(300)
			free[of.Worker-1] = o.Return
			holds[client] = 0
		case rng.IntN(40) == 0:
			o.Kind, o.Outcome, o.Return = linearize.Try, linearize.Refused, now+next(200)
		default:
			o.Kind, o.Outcome = linearize.Acquire, linearize.Cancelled
			o.Return = now + next(2000)
			o.Session = fmt.Sprintf("user-%d", client%7)
			for w, at := range free {
				if at >= 0 && at < o.Call+5000 {
					o.Outcome, o.Worker, o.Token, o.Seq = linearize.Granted, uint64(w+1), seq, seq
					o.Return = max(o.Call, at) + next(500)
					free[w], holds[client] = -1, id
					break
				}
			}
		}
		h.Ops = append(h.Ops, o)
	}
	return h
}

// doubled plants a second grant of a worker that is held already, and returns the verdict
// on it.
func doubled(h *linearize.History) *linearize.Verdict {
	for i := len(h.Ops) / 2; ; i++ {
		first := &h.Ops[i]
		if first.Outcome != linearize.Granted {
			continue
		}
		for j := i + 1; j < len(h.Ops) && h.Ops[j].Call < first.Return+4000; j++ {
			if second := &h.Ops[j]; second.Outcome == linearize.Granted {
				second.Worker, second.Call = first.Worker, max(second.Call, h.Ops[j-1].Call)
				return &linearize.Verdict{
					Result: linearize.Illegal, Rule: "I1", Judge: "partition", Ops: []int{first.ID, second.ID},
					Text: fmt.Sprintf("worker %d is granted by op %d while op %d has it", first.Worker, second.ID, first.ID),
				}
			}
		}
	}
}
