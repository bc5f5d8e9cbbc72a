package linearize

import (
	"context"
	"time"
)

// Judge says whether the pool can have kept the promises of the history's Config, the
// cheapest way first: by the order in which the pool numbered its changes, if it did; by
// the intervals of each worker's and each session's calls and of those that close the pool
// or are refused; and by a search for an order that the rules allow.
// The search ends with ctx and with the budget; the verdict is then Unknown, which is no
// success. Judge may be called concurrently; it does not change h.
func Judge(ctx context.Context, h *History, budget Budget) Verdict {
	began := time.Now()
	v := judge(ctx, h, budget)
	v.Spent.Elapsed = time.Since(began)
	return v
}

func judge(ctx context.Context, h *History, budget Budget) Verdict {
	if err := checkForm(h); err != nil {
		return Verdict{Result: Unknown, Text: err.Error(), Judge: "form"}
	}
	x := newIndex(h)
	witnessed, ok := x.byWitness()
	if ok && witnessed.Result == Ok {
		return witnessed
	}
	for _, partition := range []func() *Verdict{x.byWorker, x.bySession, x.byPool} {
		if v := partition(); v != nil {
			return *v
		}
	}
	if ok {
		return witnessed
	}
	return x.bySearch(ctx, budget, x.points)
}

// VerifyAffinity judges the history only by what it shows of sessions and their workers
// (I1, I3, I8, I9): loss, rebinding, ends, times to live, and concurrent calls of one
// session. It is Judge with all promises forgotten that are not about these.
func VerifyAffinity(ctx context.Context, h *History, budget Budget) Verdict {
	bare := *h
	c := &bare.Head.Config
	c.FIFO, c.CloseWaits, c.NoneAfter = false, false, false
	if c.Affinity != Prefer {
		c.Capacity, c.FullOnly = 0, false
	}
	bare.Ops = make([]Op, 0, len(h.Ops))
	for _, o := range h.Ops {
		if o.Acquires() && o.Outcome != Granted && o.Outcome != NoAnswer && o.Outcome != SessionLost && o.Outcome != Cancelled {
			continue
		}
		bare.Ops = append(bare.Ops, o)
	}
	return Judge(ctx, &bare, budget)
}
