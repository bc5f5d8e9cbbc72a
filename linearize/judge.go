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
	return new(Series).Judge(ctx, h, budget)
}

// Series judges histories one after the other, and keeps its memory from one to the next:
// it is for thousands of short ones a second. The zero Series is ready. Its method must not
// be called concurrently.
type Series struct {
	form  form
	index index
	steps []step // of the witness
}

// Judge is [Judge].
func (s *Series) Judge(ctx context.Context, h *History, budget Budget) Verdict {
	began := time.Now()
	v := s.judge(ctx, h, budget)
	v.Spent.Elapsed = time.Since(began)
	if v.Result != Ok {
		*s = Series{} // a search that was cut off may still look at it
	}
	return v
}

func (s *Series) judge(ctx context.Context, h *History, budget Budget) Verdict {
	if err := s.form.check(h); err != nil {
		return Verdict{Result: Unknown, Text: err.Error(), Judge: "form"}
	}
	x := &s.index
	x.prepare(h)
	witnessed, ok := s.byWitness()
	if ok && witnessed.Result == Ok {
		if v := x.byToken(); v != nil {
			return *v
		}
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
	if v := x.byToken(); v != nil {
		return *v
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
