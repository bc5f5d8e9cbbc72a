package props

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

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

// raceRounds calls round, which returns how many calls it made and whether to go on, until
// as many checks were done as were asked for, or for a while if their number was not given
// by hand. The seeds of the rounds follow from one.
func raceRounds(t *testing.T, keeper *recorded.Keeper, round func(seed uint64) (calls int, ok bool)) (done, asked int) {
	t.Helper()
	seed := raceSeed()
	rng := rand.New(rand.NewPCG(seed, 0))
	keeper.Replay = historyReplay(t, strconv.FormatUint(seed, 10))
	asked = genAsked()
	given := genGiven("rapid.checks", "RAPID_CHECKS")
	t.Logf("seed %d; to do the same operations again: -rapid.seed=%d", seed, seed)
	limit := raceTime
	if testing.Short() {
		limit /= 5
	}
	calls, started := 0, time.Now()
	for ok := true; ok && !genLate(t) && (given && calls < asked*raceCalls || !given && time.Since(started) < limit); {
		var n int
		n, ok = round(rng.Uint64())
		calls += n
	}
	if done = calls / raceCalls; !given {
		return done, done
	}
	return min(done, asked), asked
}

// checkRaces is the subtest Race.
func (v *genVerifier) checkRaces(t *testing.T) {
	t.Helper()
	started := time.Now()
	target := v.target
	target.RealTime, target.Patience = true, min(v.target.patience(), racePatience)
	clock, keeper := v.reals.next(target.Name), recorded.NewKeeper(t)
	var total genTraffic
	var found string
	ran, asked := raceRounds(t, keeper, func(seed uint64) (int, bool) {
		r, broken := newRace(&target, clock, keeper, seed)
		did := r.counted()
		total.add(did)
		if broken != nil {
			found = r.report(target.Name, broken)
		}
		if v.target.Report != nil {
			v.target.Report.Progress("generic", raceName, min(total.calls/raceCalls, genAsked()), genAsked())
		}
		return did.calls, broken == nil
	})
	if found == "" {
		found = v.leftRacing(clock, target.patience())
	}
	if v.target.Report != nil {
		defer func() {
			v.target.Report.Result(Result{
				Machine: "generic", Subtest: raceName, Asked: asked, Executed: ran, Operations: total.calls,
				Failed: t.Failed(), Elapsed: time.Since(started),
			})
		}()
	}
	if found != "" {
		t.Fatal(found)
	}
	t.Logf("%s: %v in %v", target.Name, total, time.Since(started).Round(time.Millisecond))
	if ran < asked {
		t.Errorf("props: only %d of %d checks ran; give the test more time (-timeout) or ask for fewer (-rapid.checks)", ran, asked)
	}
	small := 2*target.Capacity <= raceMostClients
	if total.runs >= 5 && total.grants < total.runs || small && total.runs >= raceJudged && total.waits == 0 {
		t.Errorf("props: %s: too little traffic to prove anything: %v", target.Name, total)
	}
}

// raceJudged is after how many runs on a small pool somebody must have come while all was lent.
const raceJudged = 100

// leftRacing says which goroutines of the runs have not ended.
func (v *genVerifier) leftRacing(clock *genReal, patience time.Duration) string {
	left := clock.leaked(patience)
	if left == "" {
		return ""
	}
	return fmt.Sprintf("%s breaks I13: goroutines are left after everything has ended\n\n%s", v.target.Name, left)
}

// newRace does one run and returns what it found.
func newRace(target *Target, clock *genReal, keeper *recorded.Keeper, seed uint64) (r *raceRun, broken *model.PromiseViolation) {
	pprof.SetGoroutineLabels(clock.labels) // what the pool starts has them, too
	defer pprof.SetGoroutineLabels(context.Background())
	r = newRaceRun(target, clock, seed)
	r.record(seed, false)
	if broken = r.open(); broken == nil {
		broken = r.play()
	}
	if seen := r.judged(); seen != nil { // what came first says most
		broken = seen
	}
	if broken == nil {
		broken = r.wind()
	}
	if history := r.recorded(); broken == nil {
		broken = historyViolation(keeper, history)
	}
	return r, broken
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

// raceShown is how many of the last events a report shows.
const raceShown = 60

// report is the whole message of a finding.
func (r *raceRun) report(target string, v *model.PromiseViolation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s breaks %s\n\nThe last that happened, one column per client:\n", target, v.Error())
	for _, e := range r.seen[max(0, len(r.seen)-raceShown):] {
		text := genNote(&e)
		if e.Kind == model.PromiseCallBegan {
			text = e.Op.String()
		}
		if text != "" {
			fmt.Fprintf(&b, "%9.3fms %s%s\n", float64(e.At)/1e6, strings.Repeat(" ", genColumn*max(0, e.Client-1)), text)
		}
	}
	if v.Rule == "I4" || v.Rule == "I5" || v.Rule == "I13" {
		buf := make([]byte, 1<<20)
		b.WriteString("\n")
		b.Write(buf[:runtime.Stack(buf, true)])
	}
	return b.String()
}
