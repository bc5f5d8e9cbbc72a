package props

import (
	"fmt"
	"time"

	"github.com/poolproof/poolproof/model"
)

// wind ends a run: hooks succeed, exactly the capacity can be taken and given back, Close
// returns, and nothing is left. Nothing is guessed: each step waits for what it wants.
func (r *raceRun) wind() *model.PromiseViolation {
	r.tail = true
	r.env.silence(true)
	if v := r.settled(); v != nil {
		return v
	}
	if _, closed := r.judge.Closing(); closed && genHas[Reopener](r.pool) {
		if v := r.must(genOp{verb: genVReopen}); v != nil {
			return v
		}
	}
	closed := func() bool { closing, _ := r.judge.Closing(); return closing }
	if !closed() {
		if v := r.full(); v != nil {
			return v
		}
		if v := r.must(genOp{verb: genVClose}); v != nil {
			return v
		}
	}
	if r.target.Spec.CloseTwice {
		if v := r.must(genOp{verb: genVClose}); v != nil {
			return v
		}
	}
	if v := r.settled(); v != nil {
		return v
	}
	return r.gone()
}

// must makes a call of the first client, which must return in time.
func (r *raceRun) must(o genOp) *model.PromiseViolation {
	if v := r.within(func() { r.crew[0].do(o) }); v != nil {
		return v
	}
	return r.judged()
}

// judged lets the judge see what has happened.
func (r *raceRun) judged() *model.PromiseViolation {
	for _, e := range r.env.drain() {
		r.seen = append(r.seen, e)
		if r.broken == nil {
			r.broken = r.judge.Observe(e)
			r.until = len(r.seen)
		}
	}
	return r.broken
}

// settled waits until the pool owes nothing any more.
func (r *raceRun) settled() *model.PromiseViolation {
	waited := time.Duration(0)
	for wait := 50 * time.Microsecond; ; wait *= 2 {
		if v := r.judged(); v != nil {
			return v
		}
		v := r.debts()
		late := waited >= r.target.patience() || v != nil && waited >= r.patience(v.Rule)
		switch {
		case v == nil && r.judge.Hooks() == 0:
			return nil
		case v != nil && !v.Debt:
			return v
		case late && v == nil:
			return &model.PromiseViolation{Rule: "I4", Text: "a hook that succeeds at once has not returned"}
		case late:
			return v
		}
		r.ahead.beat()
		time.Sleep(wait)
		waited += wait
	}
}

// full takes the whole capacity at once, tries for one more, and gives all back.
func (r *raceRun) full() *model.PromiseViolation {
	if genHas[Resizer](r.pool) { // several at once may have left any of their sizes
		if v := r.must(genOp{verb: genVResize, max: r.target.Capacity}); v != nil {
			return v
		}
	}
	if genHas[SessionAcquirer](r.pool) {
		for _, s := range genSessions() {
			if v := r.must(genOp{verb: genVEndSession, session: s}); v != nil {
				return v
			}
		}
	}
	least, most := r.judge.Capacity()
	crew := make([]raceClient, most+1)
	for i := range crew {
		crew[i].run, crew[i].number, crew[i].rng = r, len(r.crew)+1+i, r.rng
	}
	for i := range least {
		if v := r.take(&crew[i], i, least); v != nil {
			return v
		}
	}
	if least == most && !r.target.Spec.NoContext {
		if v := r.within(func() { crew[most].do(genOp{verb: genVAcquire, wait: time.Millisecond}) }); v != nil {
			return v
		}
	}
	for i := range crew {
		if crew[i].lease != nil {
			if v := r.within(func() { crew[i].do(genOp{verb: genVRelease}) }); v != nil {
				return v
			}
		}
	}
	return r.settled()
}

// take acquires, as often as a refusal may be due to what failed before.
func (r *raceRun) take(c *raceClient, held, want int) *model.PromiseViolation {
	left := r.target.patience()
	for wait := 100 * time.Microsecond; ; wait *= 2 {
		v := r.within(func() { c.do(genOp{verb: genVAcquire}) })
		if broken := r.judged(); broken != nil {
			return broken
		}
		if c.lease != nil {
			return nil
		}
		if v != nil && r.target.knows(v.Rule) {
			return v
		}
		if v != nil || left <= 0 {
			return &model.PromiseViolation{
				Rule: "I5", Text: fmt.Sprintf("only %d of %d could be taken at once, with nothing else under way", held, want),
			}
		}
		r.ahead.beat()
		time.Sleep(wait)
		left -= wait
	}
}
