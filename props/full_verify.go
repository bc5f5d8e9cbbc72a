package props

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
)

// PoolTarget says which pool the fuller machine drives, and how.
type PoolTarget struct {
	Name string
	// Open makes the pool. The hooks that cfg has must be called as pool.Config says;
	// its durations are whole seconds.
	Open func(cfg pool.Config[*FullWorker]) (Subject, error)
	// Backend makes the workers. Nil: workers are nothing but their ID.
	Backend Backend
	// RealTime says that the backend cannot live in a testing/synctest bubble. No time
	// passes then between operations, and rest is waited for by polling.
	RealTime bool
	// Config is what to verify. Nil: drawn for each check. Without Clients there are 3, and
	// 2 sessions; without Ticks or Resizes in its Offer everything is offered.
	Config *model.Config
	// Report is told how it goes. Nil: nobody.
	Report Reporter

	choices *fullChooser
	draws   *schedDrawer
	able    *schedAbilities
	keeper  *recorded.Keeper // of Scheduled
	spare   *schedRun        // one that is over, whose memory the next one may have
}

// VerifyPool holds a pool to I1 to I18 with the fuller machine, in subtests:
//
//   - Sequential: one operation at a time in lock step with the reference model.
//   - Progress: operations, some of them two at once; then everything heals, and every
//     waiter must be served, every worker be held, and closing leave nothing. No model.
//   - Accounting: clients that run freely, and slow, failing and panicking hooks, judged
//     by the factory's books. Not in real time.
//   - Scheduled: clients, hooks and the moments at which contexts end are interleaved as a
//     drawn schedule says; some order of what was done must fit the model, and the history
//     with what the Observer was told must be sound. Not in real time.
//   - Race: real goroutines by the clock on the wall, judged by the factory's books, the
//     race detector under -race, and its history. Not with a backend that cannot
//     live in a bubble. It takes a second; if -rapid.checks is given,
//     ten calls are a check.
//
// -rapid.checks and -rapid.steps set how much is done; a subtest that executed fewer
// checks than asked for fails.
func VerifyPool(t *testing.T, target PoolTarget) {
	t.Logf("%s: the fuller machine. Not checked: what the Logger is told, and jitter", target.Name)
	for _, property := range fullProperties() {
		if target.RealTime && !property.realTime {
			continue
		}
		t.Run(property.name, func(t *testing.T) { target.verify(t, property) })
	}
	if !target.RealTime {
		t.Run(schedSubtest, target.verifyScheduled)
		t.Run(raceName, target.verifyRaces)
	}
}

// verify runs one property and reports.
func (t *PoolTarget) verify(tt *testing.T, property fullProperty) {
	var found fullFound
	begin := time.Now()
	if t.Report != nil {
		defer func() {
			t.Report.Result(Result{
				Machine: "full", Subtest: property.name, Asked: fullAsked(), Executed: found.done, Operations: found.operations,
				Failed: tt.Failed(), Elapsed: time.Since(begin),
			})
		}()
	}
	t.check(tt, tt, property, &found)
}

// fullProperty is one way to judge a pool. Its draw comes first and outside the bubble.
type fullProperty struct {
	name     string
	realTime bool // needs no virtual time
	draw     func(t *PoolTarget, rt *rapid.T) fullJudge
}

// fullJudge is a drawn check.
type fullJudge interface {
	// run opens a pool, does what was drawn, and ends everything that it began. It
	// returns what is wrong.
	run() error
	// report says what was done.
	report() string
	// length is the number of operations done.
	length() int
}

func fullProperties() []fullProperty {
	return []fullProperty{
		{name: "Sequential", realTime: true, draw: drawFullMachine},
		{name: "Progress", realTime: true, draw: drawFullProgress},
		{name: "Accounting", draw: drawFullAccounting},
	}
}

// fullFound is what came of running a property.
type fullFound struct {
	done       int       // checks that passed before the first failure
	operations int       // in these
	judge      fullJudge // the last one that failed: the shrunk one
	err        error     // what it found
}

// check runs one property under rapid and reports to tb; the bubbles belong to another T,
// because a bubble needs a *testing.T and tb may be something else.
func (t *PoolTarget) check(bubbles *testing.T, tb rapid.TB, property fullProperty, found *fullFound) {
	draw := rapid.Custom(func(rt *rapid.T) fullJudge { return property.draw(t, rt) })
	rapid.Check(tb, func(rt *rapid.T) {
		judge := draw.Draw(rt, property.name)
		if err := t.judge(bubbles, judge); err != nil {
			// The failure names the rule alone: it has to be the same each time, and in what
			// order things are reported that happen at once is not.
			found.judge, found.err = judge, err
			rt.Logf("%v\n\n%s", err, judge.report())
			rt.Fatalf("%s is broken", fullRule(err))
		}
		if found.err == nil {
			found.done++
			found.operations += judge.length()
			if t.Report != nil {
				t.Report.Progress("full", property.name, found.done, fullAsked())
			}
		}
	})
	if asked := fullAsked(); found.done < asked {
		tb.Errorf("%s: %d checks were executed, want %d", property.name, found.done, asked)
	}
}

// fullRule is the number of the rule that err says is broken.
func fullRule(err error) string {
	rule, _, _ := strings.Cut(err.Error(), ":")
	return rule
}

// judge runs a check where the target wants it, and turns panics into failures.
func (t *PoolTarget) judge(bubbles *testing.T, judge fullJudge) (err error) {
	if t.RealTime {
		return judge.run()
	}
	defer func() {
		if p := recover(); p != nil && err == nil {
			err = fmt.Errorf("I13: goroutines remain: %v", p)
		}
	}()
	synctest.Test(bubbles, func(*testing.T) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		err = judge.run()
	})
	return err
}

// fullAsked returns the number of checks that rapid is asked for.
func fullAsked() int {
	f := flag.Lookup("rapid.checks")
	if f == nil {
		return 0
	}
	n, err := strconv.Atoi(f.Value.String())
	if err != nil {
		return 0
	}
	if testing.Short() {
		n /= 5
	}
	return n
}
