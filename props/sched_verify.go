package props

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// schedFound is a run that is over.
type schedFound struct {
	script schedScript
	err    error // what is wrong
	result *sched.Result
	run    *schedRun
}

// schedTest runs a program under a strategy in a bubble of its own.
func (t *PoolTarget) schedTest(tt *testing.T, program *schedProgram, options sched.Options) *schedFound {
	tt.Helper()
	f := &schedFound{script: schedScript{program: program}}
	options.IdleTimeOnly = true // the model's time passes at rest
	options.MaxIdle, options.MaxSteps = schedMostIdle, schedMostSteps
	left := schedBubble(tt, func() {
		f.result = sched.Run(options, func(s *sched.Scheduler) error {
			f.run = newSchedRun(t, program)
			if w, ok := options.Strategy.(*schedWalk); ok {
				f.run.met = func() { w.meets = false }
			}
			return f.run.judged(s)
		})
	})
	f.script.schedule = f.result.Schedule
	switch finding := f.result.Finding; {
	case finding == nil:
		f.err = f.run.log.judge(program.cfg)
		if f.err == nil {
			f.err = f.run.history.verify(t.keeper)
		}
		if f.err == nil && left {
			f.err = errors.New("I13: goroutines remain")
		}
	case finding.Kind == sched.Failed:
		f.err = finding.Err
	default:
		// Where the log shows what led there, that says more.
		if f.err = f.run.log.judge(program.cfg); f.err == nil {
			f.err = fmt.Errorf("I13: %w\n%s", finding, finding.Stack)
		}
	}
	return f
}

// A run is stuck after schedMostIdle in which nothing happens, endless after schedMostSteps.
const (
	schedMostIdle  = 60 * fullTick
	schedMostSteps = 3000
)

// schedBubble calls fn in a bubble. It tells whether goroutines remained; a panic of fn
// goes on in the caller.
func schedBubble(t *testing.T, fn func()) (left bool) {
	t.Helper()
	var carried any
	defer func() {
		if p := recover(); p != nil {
			if left = genDeadlock(p); !left {
				panic(p)
			}
		}
	}()
	synctest.Test(t, func(*testing.T) {
		defer func() { carried = recover() }() // in a bubble it would end the program
		fn()
	})
	if carried != nil {
		panic(carried)
	}
	return false
}

// judged runs the program and says what is wrong, by the log if that shows it. The log of a
// run in which nothing else is wrong is judged later.
func (r *schedRun) judged(s *sched.Scheduler) error {
	failed := r.body(s)
	if failed == nil || errors.Is(failed, errFullOpen) {
		return failed
	}
	r.mu.Lock()
	if err := r.log.judge(r.program.cfg); err != nil {
		failed = err
	}
	r.mu.Unlock()
	r.abandon()
	return failed
}

// abandon ends, after a failure, as much of the run as can be ended.
func (r *schedRun) abandon() {
	r.mu.Lock()
	r.winding = true
	r.mu.Unlock()
	for i := range r.clients {
		r.giveUp(&r.clients[i])
	}
	r.s.Go("abandon", func() {
		defer func() { _ = recover() }()
		_ = r.subject.Shutdown(fullDone())
	})
}

// schedTraffic counts what runs have done.
type schedTraffic struct {
	checks, calls, grants, waits, cancels, hooks, steps, preemptions int
}

func (t *schedTraffic) add(f *schedFound) {
	t.checks++
	t.steps += f.result.Steps
	t.preemptions += f.result.Preemptions
	log := &f.run.log
	t.calls += len(log.calls)
	for i := range log.calls {
		if log.calls[i].granted {
			t.grants++
		}
	}
	for i := range log.entries {
		switch e := &log.entries[i]; e.kind {
		case schedGivenUp:
			t.cancels++
		case schedHookBegan:
			t.hooks++
		case schedReturned:
			if i > 0 && log.calls[e.call].granted && (log.entries[i-1].kind != schedCalled || log.entries[i-1].call != e.call) {
				t.waits++
			}
		}
	}
}

func (t schedTraffic) String() string {
	return fmt.Sprintf("%d checks: %d calls, %d grants, %d of them after something else, %d cancels, %d hooks, %d steps, %d preemptions",
		t.checks, t.calls, t.grants, t.waits, t.cancels, t.hooks, t.steps, t.preemptions)
}

// enough fails the test if too little of something was done: beside what a check does on the
// average, in hundredths, over 15,000 checks of the pool. Several checks share a program, so
// a hundred are but 17 programs, of which a sixteenth of the usual is asked for: the least in 150
// runs was a third. From a thousand on it is a quarter, of which the least in 15 runs was
// four fifths, unless the configuration is the target's own, which may offer less. Of thirty
// checks something is asked for.
func (t schedTraffic) enough(tt testing.TB, own *model.Config) {
	tt.Helper()
	for _, k := range []struct {
		what        string
		got, usual  int
		impossible  bool
		neverByLuck bool // thirty checks do some
	}{
		{"grants", t.grants, 180, false, true},
		{"grants after something else", t.waits, 135, false, false},
		{"cancels", t.cancels, 33, own != nil && !own.Offer.Cancels, false},
		{"hooks", t.hooks, 340, false, true},
		{"preemptions", t.preemptions, 50, false, false},
	} {
		usual, want := t.checks*k.usual/100, 0
		switch {
		case k.impossible:
		case t.checks >= 1000 && own == nil:
			want = usual / 4
		case t.checks >= 100:
			want = max(1, usual/16)
		case t.checks >= 30 && k.neverByLuck:
			want = 1
		}
		if k.got < want {
			tt.Errorf("props: too little traffic to prove anything: %d %s, want %d: %v", k.got, k.what, want, t)
		}
	}
}

// verifyScheduled is the subtest Scheduled.
func (t *PoolTarget) verifyScheduled(tt *testing.T) {
	tt.Helper()
	begin := time.Now()
	t.keeper = recorded.NewKeeper(tt)
	found, traffic, seed := t.searchSchedules(tt, tt)
	if t.Report != nil {
		defer func() {
			t.Report.Result(Result{
				Machine: "full", Subtest: schedSubtest, Asked: fullAsked(), Executed: traffic.checks, Operations: traffic.calls,
				Failed: tt.Failed(), Elapsed: time.Since(begin),
			})
		}()
	}
	if found != nil {
		tt.Fatalf("%s\n%s", t.shrinkSchedule(tt, found).report(t), seed)
	}
	took := time.Since(begin)
	tt.Logf("%s: %v; %.0f checks a second; %s", t.Name, traffic, float64(traffic.checks)/took.Seconds(), seed)
	if asked := fullAsked(); traffic.checks < asked {
		tt.Errorf("%s: %d checks were executed, want %d", schedSubtest, traffic.checks, asked)
	}
	traffic.enough(tt, t.Config)
}

const schedSubtest = "Scheduled"

// searchSchedules runs drawn programs under drawn schedules until one breaks a promise.
// Rapid does not shrink it: it would not know what a preemption is.
// It also says how to search in the same way again.
func (t *PoolTarget) searchSchedules(tt *testing.T, tb rapid.TB) (found *schedFound, traffic schedTraffic, again string) {
	seed := "0"
	if f := flag.Lookup("rapid.seed"); f != nil {
		seed = f.Value.String()
	}
	if seed == "0" {
		seed = strconv.FormatUint(rand.Uint64()>>1|1, 10)
	}
	defer fullSetFlags(map[string]string{"rapid.seed": seed})()
	if t.keeper != nil {
		t.keeper.Replay = historyReplay(tt, seed)
	}
	// One task runs at a time: more processors only pass it to and fro.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	rapid.Check(tb, func(rt *rapid.T) {
		if found != nil || genLate(tt) {
			return
		}
		d := t.drawer(tt, rt)
		program, strategy := d.next(func() *model.Config { return t.schedConfig(rt) })
		f := t.schedTest(tt, program, sched.Options{Strategy: strategy})
		traffic.add(f)
		if f.err != nil {
			found = f
		} else {
			t.spare = f.run
		}
		if t.Report != nil {
			t.Report.Progress("full", schedSubtest, traffic.checks, fullAsked())
		}
	})
	return found, traffic, "-rapid.seed=" + seed + " does the same again"
}

// report is the whole message of a finding.
func (f *schedFound) report(t *PoolTarget) string {
	command := "go test ./props -run TestSchedules"
	if t.able != nil && t.able.points {
		command = "go run ./cmd/poolproof test -instrument ./pool ./props -- -run TestSchedules"
	}
	var unsound *recorded.Failure
	files := ""
	if errors.As(f.err, &unsound) && t.keeper != nil {
		files = t.keeper.Keep(unsound)
	}
	return fmt.Sprintf("%s breaks %v\n%s\n%s\nscript (%d lines, %d preemptions):\n%s\n"+
		"To replay it, pass the script to props.ReplayScheduled; in this repository, save it in testdata/schedules and run\n"+
		"\t%s\n\n%v",
		t.Name, f.err, files, f.run.log.columns(f.script.program.cfg.Clients), f.script.program.length(), f.result.Preemptions,
		&f.script, command, f.result.Trace)
}

// ScheduledResult is what came of replaying a script.
type ScheduledResult struct {
	Rule        string // of the promise that is broken, "" if none is
	Message     string
	Preemptions int
	Steps       int
	Hash        uint64 // of all that happened; equal each time if the pool is instrumented
	Trace       *sched.Trace
}

// RunScheduled does on a pool what a script says: a program for each client, what hooks do,
// and a schedule, as a finding of the subtest Scheduled prints them. t fails if the script
// cannot be read, not if a promise is broken.
func RunScheduled(t *testing.T, target PoolTarget, script string) ScheduledResult {
	t.Helper()
	s, err := parseSchedScript(script)
	if err != nil {
		t.Fatalf("props: script: %v", err)
	}
	s.program.cfg = target.complete(s.program.cfg)
	f := target.schedTest(t, s.program, sched.Options{Strategy: sched.NewReplay(s.schedule), Positions: true})
	r := ScheduledResult{Preemptions: f.result.Preemptions, Steps: f.result.Steps, Hash: f.result.Hash, Trace: f.result.Trace}
	if f.err != nil {
		r.Rule, r.Message = fullRule(f.err), f.err.Error()
	}
	return r
}

// ReplayScheduled is RunScheduled that fails t if a promise is broken.
func ReplayScheduled(t *testing.T, target PoolTarget, script string) ScheduledResult {
	t.Helper()
	r := RunScheduled(t, target, script)
	if r.Rule != "" {
		t.Errorf("%s: %s\n%v", target.Name, r.Message, r.Trace)
	}
	return r
}
