package props

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/model"
)

const raceName = "Race"

// How long Race may take unless the number of checks was given by hand, and how long a call
// may then be under way.
const (
	raceTime     = time.Second
	racePatience = 10 * time.Second
)

// raceSeed is where the numbers of Race come from: -rapid.seed, or else the clock.
func raceSeed() uint64 {
	if fl := flag.Lookup("rapid.seed"); fl != nil {
		if n, err := strconv.ParseUint(fl.Value.String(), 10, 64); err == nil && n > 0 {
			return n
		}
	}
	return uint64(time.Now().UnixNano())
}

// raceCalls is how many calls into the pool count as one check.
const raceCalls = 10

// raceAsked returns how many checks Race is to do; if they were not given by hand it is 0, and
// Race takes so long instead.
func raceAsked() (checks int, limit time.Duration) {
	switch {
	case genGiven("rapid.checks", "RAPID_CHECKS"):
		return genAsked(), 0
	case testing.Short():
		return 0, raceTime / 5
	}
	return 0, raceTime
}

// raceRounds calls round, which returns how many calls it made and whether to go on, until
// so many checks are done, or if that is 0, for so long. The seeds of the rounds follow from
// one.
func raceRounds(t *testing.T, seed uint64, checks int, limit time.Duration, round func(seed uint64) (calls int, ok bool)) (done int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	calls, started := 0, time.Now()
	for ok := true; ok && !genLate(t) && (calls < checks*raceCalls || checks == 0 && time.Since(started) < limit); {
		var n int
		n, ok = round(rng.Uint64())
		calls += n
	}
	if done = calls / raceCalls; checks > 0 {
		done = min(done, checks)
	}
	return done
}

// raceAgain says how a race is begun again with the same seed.
func raceAgain(t *testing.T, seed uint64) {
	t.Helper()
	t.Logf("seed %d; to do the same operations again: -rapid.seed=%d", seed, seed)
}

// checkRaces is the subtest Race.
func (v *genVerifier) checkRaces(t *testing.T) {
	t.Helper()
	o := v.outcome(raceName)
	seed := raceSeed()
	raceAgain(t, seed)
	checks, limit := raceAsked()
	search := v.searchRaces
	if v.far != nil {
		search = v.far.searchRaces
	} else {
		v.keeper = recorded.NewKeeper(t)
		v.keeper.Replay = historyReplay(t, strconv.FormatUint(seed, 10))
	}
	o.found, o.total, o.ran = search(t, seed, checks, limit)
	if o.asked = checks; checks == 0 {
		o.asked = o.ran
	}
	o.took = time.Since(o.began)
	defer o.report(t)
	o.judge(t, "")
}

// raceTarget is the target as it is checked by the clock on the wall.
func (v *genVerifier) raceTarget() *Target {
	target := v.target
	target.RealTime, target.Patience = true, min(v.target.patience(), racePatience)
	return &target
}

// searchRaces looks for a finding. It returns how many checks ran.
func (v *genVerifier) searchRaces(t *testing.T, seed uint64, checks int, limit time.Duration) (found *genFinding, total genTraffic, ran int) {
	t.Helper()
	target := v.raceTarget()
	clock := v.reals.next(target.Name)
	var last *raceRun
	said := 0
	ran = raceRounds(t, seed, checks, limit, func(seed uint64) (int, bool) {
		r, broken := v.race(target, clock, seed, nil)
		last = r
		did := r.counted()
		if broken != nil {
			if found = r.raced(broken, seed); target.knows(broken.Rule) {
				found = nil
				did.passBy()
				clock = v.reals.next(target.Name) // what that run has left is no other's
			}
		}
		total.add(did)
		done := total.calls / raceCalls
		if v.target.Report != nil {
			v.target.Report.Progress("generic", raceName, min(done, genAsked()), genAsked())
		}
		for ; said < done; said++ {
			v.progress(said + 1)
		}
		return did.calls, found == nil
	})
	if found == nil && last != nil {
		found = v.leftRacing(last, clock, target)
	}
	return found, total, ran
}

// raceTries is how many runs of a script are one replay: what happens is a matter of chance.
const raceTries = 100

// replayRace does what a script says until something is found, or often enough.
func (v *genVerifier) replayRace(s *genScript) (found *genFinding, total genTraffic) {
	target := v.raceTarget()
	clock := v.reals.next(target.Name)
	var last *raceRun
	for try := uint64(0); try < raceTries && found == nil; try++ {
		seed := s.seed
		if try > 0 {
			seed = genMix(s.seed, try)
		}
		r, broken := v.race(target, clock, seed, append([]genOp{}, s.ops...))
		last = r
		if broken != nil {
			found = r.raced(broken, seed)
		}
	}
	if found == nil {
		found = v.leftRacing(last, clock, target)
	}
	return found, genTraffic{runs: 1}
}

// leftRacing says which goroutines of the runs have not ended.
func (v *genVerifier) leftRacing(last *raceRun, clock *genReal, target *Target) *genFinding {
	v.ahead.beat()
	left := clock.leaked(target.patience())
	if left == "" || target.knows("I13") {
		return nil
	}
	f := last.raced(&model.PromiseViolation{Rule: "I13", Text: "goroutines are left after everything has ended"}, last.seed)
	f.stacks = left
	return f
}

// raceJudged is after how many runs on a small pool somebody must have come while all was lent.
const raceJudged = 100

// raceIdle reports whether runs have done too little to prove anything.
func (v *genVerifier) raceIdle(total *genTraffic) bool {
	small := 2*v.target.Capacity <= raceMostClients
	return total.runs >= 5 && (total.grants < total.runs-total.known || total.grants == 0) || small && total.runs >= raceJudged && total.waits == 0
}

// race does one run and returns what it found.
func (v *genVerifier) race(target *Target, clock *genReal, seed uint64, script []genOp) (r *raceRun, broken *model.PromiseViolation) {
	pprof.SetGoroutineLabels(clock.labels) // what the pool starts has them, too
	defer pprof.SetGoroutineLabels(context.Background())
	r = newRaceRun(target, clock, v.ahead, seed, script)
	r.record(seed, false)
	if broken = r.open(); broken == nil {
		broken = r.play()
	}
	late := broken
	if seen := r.judged(); seen != nil { // what came first says most
		broken = seen
	} else if late != nil && !target.knows(late.Rule) {
		if owed := r.debts(); owed != nil { // and what the pool owes more than who waits for it
			broken = owed
		}
	}
	if broken == nil {
		broken = r.wind()
	}
	if history := r.recorded(); broken == nil {
		broken = v.raceHistory(history)
	}
	return r, broken
}

// raceHistory judges the history of a run. A child may be ended at any moment, and then leaves
// no file.
func (v *genVerifier) raceHistory(h *linearize.History) *model.PromiseViolation {
	if v.keeper == nil || v.ahead != nil {
		return siftViolation(v.keeper, h)
	}
	return historyViolation(v.keeper, h)
}

// counted says what the run has done. An acquire counts as a wait if all was lent when it began.
func (r *raceRun) counted() genTraffic {
	t := genTraffic{runs: 1}
	held := 0
	for i := range r.seen {
		switch e := &r.seen[i]; e.Kind {
		case model.PromiseCallBegan:
			t.calls++
			switch {
			case e.Op == model.PromiseAcquire && held >= r.target.Capacity:
				t.waits++
			case e.Op == model.PromiseRelease || e.Op == model.PromiseDiscard:
				held--
			}
		case model.PromiseCreateBegan:
			t.creates++
		case model.PromiseCallEnded:
			switch {
			case e.Resource > 0:
				t.grants++
				held++
			case e.Outcome == Cancelled && e.Op == model.PromiseAcquire:
				t.cancels++
			case e.Op == model.PromiseClose || e.Op == model.PromiseShutdown:
				t.closes++
			}
		case model.PromiseCreateEnded, model.PromiseCheckEnded:
			if e.Failed {
				t.failures++
			}
		}
	}
	return t
}

// raceBegun returns those of ops, each of which is a call of its client, that had begun.
func raceBegun(seen []model.PromiseEvent, ops []genOp) []genOp {
	begun := map[int]int{}
	for i := range seen {
		if seen[i].Kind == model.PromiseCallBegan {
			begun[seen[i].Client]++
		}
	}
	return slices.DeleteFunc(ops, func(o genOp) bool {
		begun[o.client]--
		return begun[o.client] < 0
	})
}

// raceShown is how many of the last events a finding shows.
const raceShown = 60

// raced makes a finding of the run. Callers may be left behind in it.
func (r *raceRun) raced(v *model.PromiseViolation, seed uint64) *genFinding {
	r.mu.Lock()
	f := &genFinding{violation: v, ops: slices.Clone(r.ops), racing: true, seed: seed}
	r.mu.Unlock()
	seen := r.seen
	if v == r.broken { // what came later had no part in it
		seen = seen[:r.until]
		if !r.told {
			f.ops = raceBegun(seen, f.ops)
		}
	}
	for _, e := range seen[max(0, len(seen)-raceShown):] {
		text := genNote(&e)
		if e.Kind == model.PromiseCallBegan {
			text = e.Op.String()
		}
		if text != "" {
			f.events = append(f.events, fmt.Sprintf("%9.3fms %s%s", float64(e.At)/1e6, strings.Repeat(" ", genColumn*max(0, e.Client-1)), text))
		}
	}
	if v.Rule == "I4" || v.Rule == "I5" || v.Rule == "I13" {
		buf := make([]byte, 1<<20)
		f.stacks = genAllStacks(string(buf[:runtime.Stack(buf, true)]))
	}
	return f
}
