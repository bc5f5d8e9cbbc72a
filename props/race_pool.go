package props

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strconv"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
)

// verifyRaces is the subtest Race.
func (t *PoolTarget) verifyRaces(tt *testing.T) {
	tt.Helper()
	started := time.Now()
	var reals genRealRuns
	clock, keeper := reals.next(t.Name), recorded.NewKeeper(tt)
	runs, calls, grants := 0, 0, 0
	var found error
	seed := raceSeed()
	raceAgain(tt, seed)
	asked, limit := raceAsked()
	keeper.Replay = historyReplay(tt, strconv.FormatUint(seed, 10))
	ran := raceRounds(tt, seed, asked, limit, func(seed uint64) (int, bool) {
		var r *raceFull
		if r, found = t.race(tt, clock, keeper, seed); found != nil {
			return 0, false
		}
		runs, calls, grants = runs+1, calls+int(r.calls.Load()), grants+int(r.grants.Load())
		if t.Report != nil {
			t.Report.Progress("full", raceName, min(calls/raceCalls, fullAsked()), fullAsked())
		}
		return int(r.calls.Load()), !tt.Failed()
	})
	if asked == 0 {
		asked = ran
	}
	if found == nil {
		if left := clock.leaked(racePatience); left != "" {
			found = fmt.Errorf("I13: goroutines are left after everything has ended\n%s", left)
		}
	}
	if t.Report != nil {
		defer func() {
			t.Report.Result(Result{
				Machine: "full", Subtest: raceName, Asked: asked, Executed: ran, Operations: calls,
				Failed: tt.Failed(), Elapsed: time.Since(started),
			})
		}()
	}
	if found != nil {
		buf := make([]byte, 1<<20)
		tt.Fatalf("%s breaks %v\n\n%s", t.Name, found, buf[:runtime.Stack(buf, true)])
	}
	tt.Logf("%s: %d runs: %d calls, %d grants in %v", t.Name, runs, calls, grants, time.Since(started).Round(time.Millisecond))
	if ran < asked && !tt.Failed() {
		tt.Errorf("%s: %d checks were executed, want %d", raceName, ran, asked)
	}
	if runs >= 10 && grants < runs {
		tt.Errorf("props: too little traffic to prove anything: %d runs, %d calls, %d grants", runs, calls, grants)
	}
}

// race does one run.
func (t *PoolTarget) race(tt *testing.T, clock *genReal, keeper *recorded.Keeper, seed uint64) (*raceFull, error) {
	tt.Helper()
	pprof.SetGoroutineLabels(clock.labels) // what the pool starts has them, too
	defer pprof.SetGoroutineLabels(context.Background())
	r, err := newRaceFull(t, clock, seed)
	if err != nil {
		return nil, err
	}
	if err = r.play(); err == nil {
		err = r.wind()
	}
	r.mu.Lock()
	if fault := r.firstFaultLocked(); fault != nil { // what came first says most
		err = fault
	}
	r.mu.Unlock()
	if err == nil {
		r.verifyAffinity(tt)
		historyTold(r.subject)
	}
	history := r.recorder.History()
	if err == nil {
		err = keeper.Verify(history)
	}
	return r, err
}

// firstFaultLocked is the first fault that the books have found.
func (f *fullFactory) firstFaultLocked() error {
	if len(f.books.faults) > 0 {
		return errors.New(f.books.faults[0])
	}
	return nil
}

// wind ends a run: hooks succeed, all workers can be held at once and given back, Close
// returns, and nothing is left.
func (r *raceFull) wind() error {
	r.openAll()
	if !r.closed.Load() {
		if err := r.full(); err != nil {
			return err
		}
	}
	r.closed.Store(true)
	if err := r.within(func() {
		r.crew[0].call("close", func() { r.shut(r.crew[0].logClose(linearize.Close, r.subject.Close)) })
	}); err != nil {
		return err
	}
	if err := r.returned(); err != nil {
		return err
	}
	r.book(func(b *fullBooks) { b.left() })
	return nil
}

// returned waits for the hooks that a forced shutdown has left running.
func (r *raceFull) returned() error {
	for left, wait := racePatience, 50*time.Microsecond; ; wait *= 2 {
		r.mu.Lock()
		inside := r.inside
		r.mu.Unlock()
		switch {
		case inside == 0:
			return nil
		case left <= 0:
			return fmt.Errorf("I4: %d hooks that succeed at once have not returned", inside)
		}
		time.Sleep(wait)
		left -= wait
	}
}

// full holds every worker at once.
func (r *raceFull) full() error {
	size := 1 + r.rng.IntN(4)
	r.book(func(b *fullBooks) { b.most = max(b.most, size) })
	var err error
	if late := r.within(func() {
		r.crew[0].log.Call(linearize.Request{Kind: linearize.Resize, Max: size})
		err = r.subject.Resize(0, size)
		r.crew[0].log.Return(historyDone(err))
	}); late != nil || err != nil {
		return errors.Join(late, err)
	}
	crew := make([]raceCaller, size)
	for i := range crew {
		c := &crew[i]
		c.run, c.rng, c.log = r, r.rng, r.recorder.Client()
		c.number = r.crew[len(r.crew)-1].number + 1 + r.crew[i%len(r.crew)].number
		if err := r.hold(c, i, size); err != nil {
			return err
		}
	}
	for i := range crew {
		if err := r.within(crew[i].giveBack); err != nil {
			return err
		}
	}
	return nil
}

// hold acquires, as often as a refusal may be due to starts that failed before.
func (r *raceFull) hold(c *raceCaller, held, want int) error {
	left := racePatience
	for wait := 100 * time.Microsecond; ; wait *= 2 {
		var err error
		late := r.within(func() {
			c.call("acquire", func() {
				c.log.Call(linearize.Request{Kind: linearize.Acquire})
				c.lease, err = r.subject.Acquire(context.Background())
				c.taken = c.log.Return(historyGrant(c.lease, err))
				if err == nil {
					c.held = c.lease.Worker()
					c.granted(c.held.takeHold(c.number))
				}
			})
		})
		var start *pool.StartError
		switch {
		case late == nil && err == nil:
			return nil
		case late != nil || left <= 0 || !errors.As(err, &start):
			return fmt.Errorf("I5: only %d of %d workers can be held at once: %w", held, want, errors.Join(late, err))
		}
		time.Sleep(wait)
		left -= wait
	}
}
