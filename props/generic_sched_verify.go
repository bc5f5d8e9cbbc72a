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
	strategy := options.Strategy
	if v.ahead != nil {
		options.Strategy = &genTold{Strategy: strategy, ahead: v.ahead}
	}
	p, hung := genInBubble(t, v.hang, func() {
		result = sched.Run(options, func(s *sched.Scheduler) error {
			r := newGenRun(&v.target, genScheduled{s}, v.ahead)
			r.record(0, true)
			r.tasks = &genTasks{s: s, queues: make([]genQueue, len(r.clients))}
			opened.Store(r)
			if calm, ok := strategy.(*genCalm); ok {
				calm.run = r
			}
			r.failed = func(violation *model.PromiseViolation) {
				broken = violation
				s.Fail(errors.New(violation.Error()))
			}
			r.drive(play)
			return nil
		})
		if result.Finding == nil {
			time.Sleep(v.target.patience()) // for goroutines that end by timers
		}
	})
	r := opened.Load()
	if hung {
		r.env.kill()
		return v.hungSchedule(r), genTraffic{runs: 1}, nil
	}
	if result == nil {
		panic(p)
	}
	r.traffic.steps, r.traffic.preemptions = result.Steps, result.Preemptions
	f := v.schedFinding(r, broken, result, p)
	if history := r.recorded(); f == nil {
		if broken := siftViolation(v.keeper, history); broken != nil {
			f = r.found(broken)
			f.scheduled, f.instrumented = true, v.instrumented
			f.took(result)
		}
	}
	if f != nil && v.target.knows(f.violation.Rule) {
		f = nil
		r.traffic.passBy()
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
	f.scheduled, f.instrumented = true, v.instrumented
	f.took(result)
	return f
}

// hungSchedule is the finding of a run that does not get on. Where the pool has no points
// of its own that may be the bubble's fault.
func (v *genVerifier) hungSchedule(r *genRun) *genFinding {
	f := r.found(&model.PromiseViolation{Rule: "hang", Text: fmt.Sprintf("nothing has moved for %v of real time", v.hang)})
	f.unfit, f.scheduled, f.stacks = !v.instrumented, true, genBubbleStacks()
	f.deadly, f.instrumented = v.ahead != nil, v.instrumented // the bubble is still there
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

// searchSchedules looks for a finding. It returns how many checks ran, and how many were
// asked for.
func (v *genVerifier) searchSchedules(t *testing.T) (found *genFinding, total genTraffic, ran, asked int) {
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
		ran++
		play, strategy := source.next(rt)
		f, traffic, result := v.schedule(t, play, v.schedOptions(strategy))
		total.add(traffic)
		v.instrumented = v.instrumented || result != nil && ran == 1 && genInstrumented(result.Trace)
		if v.target.Report != nil {
			v.target.Report.Progress("generic", genScheduledName, ran, genAsked())
		}
		v.progress(ran)
		if found = f; f != nil {
			f.checks = ran
		}
	})
	return found, total, ran, genAsked()
}

const genScheduledName = "Scheduled"

// checkSchedules is the subtest Scheduled.
func (v *genVerifier) checkSchedules(t *testing.T) {
	t.Helper()
	o := v.outcome(genScheduledName)
	if v.far != nil {
		o.found, o.total, o.ran, o.asked = v.far.searchSchedules(t)
	} else {
		v.keeper = recorded.NewKeeper(t)
		o.found, o.total, o.ran, o.asked = v.searchSchedules(t)
	}
	o.took = time.Since(o.began)
	defer o.report(t)
	if o.found != nil && o.found.unfit {
		hung := o.found
		if o.found = v.fitting(t, hung); o.found == nil {
			v.halted = true
			t.Skipf("%s: schedules not checked: %v. A pool that holds a lock while a hook runs can be checked when it is instrumented: "+
				"poolproof test -instrument\n%s", v.target.Name, hung.violation, hung.stacks)
		}
		defer func() { v.target.RealTime = false }() // it was for this script
	}
	points := "between operations and in hooks"
	if v.instrumented {
		points = "at every lock, atomic and channel operation"
	}
	o.judge(t, fmt.Sprintf(", %.0f checks a second; preempted %s", float64(o.ran)/o.took.Seconds(), points))
}

// fitting is told that a bubble hangs in which hooks stop at points: the pool holds a lock
// while one runs, or it computes for ever. It does the same in real time to see which; what
// that finds is real time's from then on.
func (v *genVerifier) fitting(t *testing.T, hung *genFinding) *genFinding {
	t.Helper()
	v.target.RealTime = true
	if f := v.replayOnce(t, &genScript{target: v.target.Name, ops: hung.ops}); f != nil {
		return f
	}
	v.target.RealTime = false
	return nil
}
