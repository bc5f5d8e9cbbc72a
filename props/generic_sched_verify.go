package props

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// genSchedMostSteps is after how many steps a run counts as endless.
const genSchedMostSteps = 20_000

// schedOptions are those of every run under a scheduler.
func (v *genVerifier) schedOptions(strategy sched.Strategy) sched.Options {
	spec := &v.target.Spec
	idle := time.Hour + v.target.patience()
	for _, limit := range []time.Duration{spec.IdleTime, spec.Lifetime, spec.AcquireTimeout, spec.SessionTTL} {
		idle += 2 * (limit + spec.Slack)
	}
	return sched.Options{
		Strategy: strategy, MaxSteps: genSchedMostSteps, MaxIdle: idle,
		IdleTimeOnly: true, // what takes no time is done before time passes, for the judge as for people
		Watchdog:     v.watchdog,
	}
}

// schedule does one run under a scheduler and returns what it found, did, and came to; the
// result is nil if the run hangs.
func (v *genVerifier) schedule(t *testing.T, play genPlay, options sched.Options) (*genFinding, genTraffic, *sched.Result) {
	var opened atomic.Pointer[genRun]
	var broken *model.PromiseViolation
	var result *sched.Result
	p, hung := genInBubble(t, v.hang, func() {
		result = sched.Run(options, func(s *sched.Scheduler) error {
			r := newGenRun(&v.target, genScheduled{s}, v.ahead)
			r.record(0, true)
			r.tasks = &genTasks{s: s, queues: make([]genQueue, len(r.clients))}
			opened.Store(r)
			if calm, ok := options.Strategy.(*genCalm); ok {
				calm.run = r
			}
			r.failed = func(violation *model.PromiseViolation) {
				broken = violation
				s.Fail(errors.New(violation.Error()))
			}
			r.drive(play)
			return nil
		})
	})
	r := opened.Load()
	if hung {
		r.env.kill()
		return v.hungSchedule(r), genTraffic{runs: 1}, nil
	}
	if result == nil {
		panic(p)
	}
	f := v.schedFinding(r, broken, result, p)
	if history := r.recorded(); f == nil {
		if broken := siftViolation(v.keeper, history); broken != nil {
			f = r.found(broken)
			f.scheduled, f.result, f.instrumented, f.schedule = true, result, v.instrumented, result.Schedule
		}
	}
	return f, r.traffic, result
}

// schedFinding says what is wrong with a run that is over, if anything.
func (v *genVerifier) schedFinding(r *genRun, broken *model.PromiseViolation, result *sched.Result, left any) *genFinding {
	var f *genFinding
	switch finding := result.Finding; {
	case finding == nil && left == nil:
		return nil
	case finding == nil && !genDeadlock(left):
		panic(left)
	case finding == nil:
		f = r.found(&model.PromiseViolation{Rule: "I13", Text: "goroutines are left after everything has ended"})
		f.stacks = genBubbleStacks()
	case finding.Kind == sched.Failed:
		f = r.found(broken)
	default:
		rule := map[sched.FindingKind]string{sched.Panicked: "panic", sched.Stuck: "I13", sched.Endless: "livelock"}[finding.Kind]
		f = r.found(&model.PromiseViolation{Rule: rule, Text: finding.Error()})
		f.stacks = finding.Stack
	}
	f.scheduled, f.result, f.instrumented = true, result, v.instrumented
	f.schedule = result.Schedule
	return f
}

// hungSchedule is the finding of a run that does not get on. Where the pool has no points
// of its own that may be the bubble's fault.
func (v *genVerifier) hungSchedule(r *genRun) *genFinding {
	f := r.found(&model.PromiseViolation{Rule: "hang", Text: fmt.Sprintf("nothing has moved for %v of real time", v.hang)})
	f.unfit, f.scheduled, f.stacks = !v.instrumented, true, genBubbleStacks()
	if h := v.hangs.take(); h != nil {
		f.schedule = h.Schedule
	}
	return f
}

// genHangs keeps what a watchdog says.
type genHangs struct {
	mu   sync.Mutex
	last *sched.Hang // guarded by mu
}

func (g *genHangs) put(h sched.Hang) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = &h
}

func (g *genHangs) take() *sched.Hang {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.last
	g.last = nil
	return h
}

// watch starts the watchdog of runs under a scheduler; the function that it returns ends it.
func (v *genVerifier) watch() func() {
	v.watchdog = sched.NewWatchdog(v.hang/2, v.hangs.put)
	return func() {
		v.watchdog.Close()
		v.watchdog = nil
	}
}

// genInstrumented reports whether the pool has points of its own: a trace then shows more
// than the points of this machine.
func genInstrumented(trace *sched.Trace) bool {
	for _, step := range trace.Steps() {
		for _, op := range []string{"Lock ", "RLock ", "Load ", "CompareAndSwap ", "Do ", "select", "send ", "receive ", "close channel"} {
			if strings.HasPrefix(step.Text, op) {
				return true
			}
		}
	}
	return false
}

// genSchedTraffic counts what runs under a scheduler have done.
type genSchedTraffic struct {
	genTraffic
	ran, steps, preemptions int
}

func (t genSchedTraffic) String() string {
	return fmt.Sprintf("%v, %d steps, %d preemptions", t.genTraffic, t.steps, t.preemptions)
}

// searchSchedules looks for a finding.
func (v *genVerifier) searchSchedules(t *testing.T) (found *genFinding, total genSchedTraffic) {
	t.Helper()
	defer v.watch()()
	source := newGenSchedSource()
	if f := flag.Lookup("rapid.seed"); f != nil && f.Value.String() != "0" && v.keeper != nil {
		v.keeper.Replay = historyReplay(t, f.Value.String())
	}
	rapid.Check(t, func(rt *rapid.T) {
		if found != nil || genLate(t) {
			return
		}
		total.ran++
		play, strategy := source.next(rt)
		f, traffic, result := v.schedule(t, play, v.schedOptions(strategy))
		total.add(traffic)
		if result != nil {
			total.steps += result.Steps
			total.preemptions += result.Preemptions
			v.instrumented = v.instrumented || total.ran == 1 && genInstrumented(result.Trace)
		}
		if v.target.Report != nil {
			v.target.Report.Progress("generic", genScheduledName, total.ran, genAsked())
		}
		if found = f; f != nil {
			f.checks = total.ran
		}
	})
	return found, total
}

const genScheduledName = "Scheduled"

// checkSchedules is the subtest Scheduled.
func (v *genVerifier) checkSchedules(t *testing.T) {
	t.Helper()
	started := time.Now()
	v.keeper = recorded.NewKeeper(t)
	found, total := v.searchSchedules(t)
	if found != nil && found.unfit {
		if found = v.fitting(t, found); found == nil {
			return
		}
	}
	asked := genAsked()
	if v.target.Report != nil {
		defer func() {
			v.target.Report.Result(Result{
				Machine: "generic", Subtest: genScheduledName, Asked: asked, Executed: total.ran, Operations: total.calls,
				Failed: t.Failed(), Elapsed: time.Since(started),
			})
		}()
	}
	if found != nil {
		v.fail(t, v.shrinkSchedule(t, found))
		return
	}
	took := time.Since(started)
	points := "between operations and in hooks"
	if v.instrumented {
		points = "at every lock, atomic and channel operation"
	}
	t.Logf("%s: %v in %v, %.0f checks a second; preempted %s", v.target.Name, total, took.Round(time.Millisecond),
		float64(total.ran)/took.Seconds(), points)
	if total.ran < asked {
		t.Errorf("props: only %d of %d checks ran; give the test more time (-timeout) or ask for fewer (-rapid.checks)", total.ran, asked)
	}
	v.enough(t, total.genTraffic)
}

// fitting is told that a bubble hangs in which hooks stop at points: the pool holds a lock
// while one runs, or it computes for ever. It does the same in real time to see which.
func (v *genVerifier) fitting(t *testing.T, hung *genFinding) *genFinding {
	t.Helper()
	real := genVerifier{target: v.target}
	real.target.RealTime = true
	if f, _ := real.run(t, replayOps(hung.ops)); f != nil {
		return f
	}
	t.Logf("%s: schedules not checked: %v. A pool that holds a lock while a hook runs can be checked when it is instrumented: "+
		"poolproof test -instrument\n%s", v.target.Name, hung.violation, hung.stacks)
	return nil
}
