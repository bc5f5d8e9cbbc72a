package props

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// Verify checks a pool against what its target promises, as subtests:
//
//   - Replay: the scripts in testdata/traces that name the target, one subtest each.
//   - Sequential: one operation at a time, each followed by rest and a comparison.
//   - Progress: bursts followed by calm; every debt must be paid.
//   - Accounting: endings of every kind, held against the factory's own books.
//   - Scheduled: clients, hooks and the moments at which contexts end are interleaved as a
//     drawn schedule says, by package sched. They stop before each operation and in each
//     hook; in a build by 'poolproof test -instrument' the pool itself stops at each of its
//     locks, atomic operations, channel operations and go statements, too. Not in real time;
//     skipped if the pool hangs there.
//   - Race: real goroutines by the clock on the wall, with hooks that are slow and fail at
//     random. Under -race the race detector sees whatever the pool leaves unordered between
//     one holder of a resource and the next. It takes a second; if -rapid.checks is given,
//     ten calls are a check.
//
// Each run ends with the hooks healed: every waiter is served, exactly the capacity can
// be taken at once and given back, Close returns, everything has been destroyed once, and
// no goroutine is left.
//
// The number of runs is that of the flag -rapid.checks (a fifth of the default under
// -short); fewer fail the test. Runs take place in testing/synctest bubbles, with virtual
// time, but for those of Race; for a target with RealTime, and one that is found to hang a
// bubble, there is one run in real time for every twenty. If only hooks that wait hang it,
// the others stay there. A finding is made short, printed as a script, and written to
// testdata/traces (unless -rapid.nofailfile is set), where every later run of the test
// replays it; one of Race is not. The short script breaks the same rule, as certainly, and mostly no
// other script of the same words does so in fewer lines. How much is tried for that is
// counted in runs, so the machine's speed does not matter; -rapid.shrinktime bounds the time
// as well, by default only in real time.
//
// The runs take place in child processes, unless Target.InProcess is set: the test binary
// again, told to run the test that called Verify, which gets no further than that call. So
// what stands before it runs in each child, too, and targets that one test verifies need
// names of their own. A child that panics, exits, does nothing any more or (under -race)
// meets a data race is a finding like any other. In real time, and where there are many
// checks, there are as many children as processors. No child outlives its parent.
//
// Verify must not be called from within a bubble.
func Verify(t *testing.T, target Target) {
	t.Helper()
	if err := target.check(); err != nil {
		t.Fatalf("props: %v", err)
	}
	newGenVerifier(t, target).start(t)
}

// start does the work of Verify, or that of a child for it.
func (v *genVerifier) start(t *testing.T) {
	t.Helper()
	switch role, child, err := genRoleNow(); {
	case err != nil:
		t.Fatalf("props: %v", err)
	case child && role == v.role(t):
		v.serve(t)
	case child:
		return // another call is meant
	}
	v.part(t)
	v.verify(t)
}

// verify runs the subtests.
func (v *genVerifier) verify(t *testing.T) {
	t.Helper()
	t.Logf("%s: generic machine; not checked: %s", v.target.Name, v.unchecked())
	if traces := v.traces(t); len(traces) > 0 {
		t.Run("Replay", func(t *testing.T) {
			for _, file := range traces {
				t.Run(filepath.Base(file), func(t *testing.T) { v.replayFile(t, file) })
			}
		})
	}
	for _, p := range genProfiles() {
		t.Run(p.name, func(t *testing.T) { v.check(t, p) })
	}
	if !v.target.RealTime {
		t.Run(genScheduledName, v.checkSchedules)
	}
	t.Run(raceName, v.checkRaces)
}

// Replay does what a script says and fails the test if a promise is broken. A script is
// what a finding prints: a line for each operation, with # before comments.
func Replay(t *testing.T, target Target, script string) {
	t.Helper()
	if err := target.check(); err != nil {
		t.Fatalf("props: %v", err)
	}
	v := newGenVerifier(t, target)
	v.replayScript(t, script)
}

// part lets runs take place in children from now on, if it can be done.
func (v *genVerifier) part(t *testing.T) {
	t.Helper()
	if genChildren && !v.target.InProcess && flag.Lookup("test.run") != nil {
		v.alone(t)
		v.far = newGenFar(v, v.role(t))
		t.Cleanup(v.far.stop)
	}
}

// alone fails the test if it has verified a target of that name, capacity and Spec before:
// children would come to that one, and this one would pass unseen. What tells is kept in the
// test's own folder.
func (v *genVerifier) alone(t *testing.T) {
	t.Helper()
	role := fnv.New64a()
	fmt.Fprintf(role, "%+v", v.role(t))
	mark := filepath.Join(filepath.Dir(t.TempDir()), fmt.Sprintf("verified %x", role.Sum64()))
	switch err := os.Mkdir(mark, 0o777); {
	case errors.Is(err, fs.ErrExist):
		t.Fatalf("props: this test has verified another target named %q, of the same capacity and Spec; give each a name of its own, or a subtest", v.target.Name)
	case err != nil:
		t.Fatalf("props: %v", err)
	}
}

// genVerifier verifies one target.
type genVerifier struct {
	target Target
	replay string // the name of the test that called Verify
	reals  genRealRuns
	far    *genFar       // runs take place in children; nil: here
	mixed  bool          // hooks are made to wait in real time only
	halted bool          // a scheduler cannot run it
	ahead  *genAhead     // of a child; nil: this is none
	say    *json.Encoder // of a child, to its parent; nil: this is none
	hang   time.Duration // how long, in real time, a bubble may take for one run

	instrumented bool // the pool has points of its own
	watchdog     *sched.Watchdog
	keeper       *recorded.Keeper // of Scheduled; nil: nothing is written
	hangs        genHangs
}

func newGenVerifier(t *testing.T, target Target) *genVerifier {
	return &genVerifier{target: target, replay: t.Name(), hang: genHangAfter}
}

// genRunsPerReal is how many runs in a bubble count as one in real time.
const genRunsPerReal = 20

// unchecked lists what cannot be checked for lack of an interface or a promise.
func (v *genVerifier) unchecked() string {
	var list []string
	spec := &v.target.Spec
	add := func(missing bool, what string) {
		if missing {
			list = append(list, what)
		}
	}
	add(!spec.FIFO, "order of waiters")
	add(spec.NoContext, "cancellation")
	add(!spec.HookPanics, "panics in hooks")
	add(spec.DoubleRelease == Undefined, "second releases")
	add(spec.Affinity == None, "affinity")
	add(spec.IdleTime == 0 && spec.Lifetime == 0, "ages")
	add(v.target.RealTime, "virtual time")
	add(v.target.RealTime || v.halted, "schedules")
	add(v.mixed && !v.target.RealTime, "hooks that wait, in virtual time")
	return strings.Join(list, ", ")
}

// run does one run and returns what it found and did.
func (v *genVerifier) run(t *testing.T, play func(*genRun) *model.PromiseViolation) (*genFinding, genTraffic) {
	do := v.genBubbleRun
	if v.target.RealTime {
		do = v.genRealRun
	}
	f, traffic := do(t, play)
	if f != nil && !f.unfit && v.target.knows(f.violation.Rule) {
		f = nil
		traffic.passBy()
	}
	return f, traffic
}

// passBy notes that the run broke a rule known to be broken. What it was granted came to no
// good end, so it proves nothing.
func (t *genTraffic) passBy() { t.known, t.grants = 1, 0 }

// genBubbleRun does one run in a bubble.
func (v *genVerifier) genBubbleRun(t *testing.T, play func(*genRun) *model.PromiseViolation) (*genFinding, genTraffic) {
	var run atomic.Pointer[genRun]
	var broken *model.PromiseViolation
	p, hung := genInBubble(t, v.hang, func() {
		r := newGenRun(&v.target, genBubble{}, v.ahead)
		run.Store(r)
		if broken = r.drive(play); broken == nil {
			time.Sleep(v.target.patience()) // for goroutines that end by timers
		}
	})
	r := run.Load()
	switch {
	case hung:
		r.env.kill()
		f := r.found(&model.PromiseViolation{Rule: "hang", Text: fmt.Sprintf("a bubble did not come to rest within %v", v.hang)})
		f.unfit, f.stacks = true, genBubbleStacks()
		return f, genTraffic{runs: 1}
	case broken != nil:
		f := r.found(broken)
		f.unfit = strings.Contains(f.violation.Text, "synctest")
		return f, r.traffic
	case genDeadlock(p):
		f := r.found(&model.PromiseViolation{Rule: "I13", Text: "goroutines are left after everything has ended"})
		f.stacks = genBubbleStacks()
		return f, r.traffic
	case p != nil:
		panic(p)
	}
	return nil, r.traffic
}

// genRealRun does one run in real time.
func (v *genVerifier) genRealRun(_ *testing.T, play func(*genRun) *model.PromiseViolation) (*genFinding, genTraffic) {
	clock := v.reals.next(v.target.Name)
	var r *genRun
	var broken *model.PromiseViolation
	pprof.Do(clock.labels, pprof.Labels(), func(context.Context) {
		r = newGenRun(&v.target, clock, v.ahead)
		broken = r.drive(play)
	})
	if broken != nil {
		return r.found(broken), r.traffic
	}
	v.ahead.beat()
	if left := clock.leaked(v.target.patience()); left != "" {
		f := r.found(&model.PromiseViolation{Rule: "I13", Text: "goroutines are left after everything has ended"})
		f.stacks = left
		return f, r.traffic
	}
	return nil, r.traffic
}

// drive opens the pool, plays, and winds down; after a finding, or if play panics, all is
// let go.
func (r *genRun) drive(play func(*genRun) *model.PromiseViolation) (v *model.PromiseViolation) {
	clean := false
	defer func() {
		if !clean && r.failed != nil && v != nil {
			r.failed(v)
		}
		if !clean {
			r.abort()
		}
	}()
	if v = r.open(); v == nil {
		v = play(r)
	}
	if v == nil {
		v = r.wind()
	}
	clean = v == nil
	return v
}

// found makes a finding of a run. It may be called while a hung run is still there.
func (r *genRun) found(v *model.PromiseViolation) *genFinding {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, stacks, _ := strings.Cut(v.Text, "\n")
	return &genFinding{
		violation: &model.PromiseViolation{Rule: v.Rule, Text: text, Debt: v.Debt}, stacks: stacks,
		ops: append([]genOp(nil), r.ops...), lines: append([]genLine(nil), r.lines...),
	}
}

// replayOps returns a play that does what a script says.
func replayOps(ops []genOp) func(*genRun) *model.PromiseViolation {
	return func(r *genRun) *model.PromiseViolation {
		for i := 0; i < len(ops); {
			j := i + 1
			for j < len(ops) && ops[j-1].together {
				j++
			}
			if v := r.step(ops[i:j]...); v != nil {
				return v
			}
			i = j
		}
		return nil
	}
}

// check runs one profile as often as asked and reports a finding.
func (v *genVerifier) check(t *testing.T, profile genProfile) {
	t.Helper()
	search := v.search
	if v.far != nil {
		search = v.far.search
	}
	o := v.outcome(profile.name)
	o.found, o.total, o.ran, o.asked = search(t, profile)
	o.took = time.Since(o.began)
	defer o.report(t)
	o.judge(t, "")
}

// search looks for a finding. It returns how many checks ran, and how many were asked for.
func (v *genVerifier) search(t *testing.T, profile genProfile) (found *genFinding, total genTraffic, ran, asked int) {
	t.Helper()
	asked = genAsked()
	rapid.Check(t, func(rt *rapid.T) {
		if found != nil || genLate(t) {
			return
		}
		ran++
		if v.target.RealTime && ran%genRunsPerReal != 1 {
			return
		}
		if v.target.RealTime {
			profile.steps = min(profile.steps, 15)
		}
		play := func(r *genRun) *model.PromiseViolation { return newGenDrawer(genWordsOf(rt), profile).play(r) }
		f, traffic := v.run(t, play)
		total.add(traffic)
		if v.target.Report != nil {
			v.target.Report.Progress("generic", profile.name, ran, asked)
		}
		v.progress(ran)
		if f != nil && f.unfit && v.ahead == nil {
			t.Logf("%s cannot live in a bubble, so it is checked in real time: %v\n%s", v.target.Name, f.violation, f.stacks)
			v.target.RealTime = true
			f, traffic = v.run(t, replayOps(f.ops))
			total.add(traffic)
		}
		found = f
	})
	return found, total, ran, asked
}

// genLate reports whether the test is about to be killed for taking too long, which would
// take what it has to say along.
func genLate(t *testing.T) bool {
	deadline, ok := t.Deadline()
	return ok && time.Until(deadline) < time.Second
}

// enough fails the test if the runs did too little to prove anything.
func (v *genVerifier) enough(t testing.TB, total genTraffic, scheduled bool) {
	t.Helper()
	spec := &v.target.Spec
	var missing []string
	add := func(is bool, what string) {
		if is {
			missing = append(missing, what)
		}
	}
	add(total.runs >= 5 && (total.grants < total.runs-total.known || total.grants == 0), "grants")
	if total.runs >= 20 {
		add(total.waits == 0 && !spec.RefusesWhenFull, "waits")
		add(total.cancels == 0 && !spec.NoContext, "cancels")
	}
	if scheduled && total.runs >= 100 {
		// A check has a half on the average where only hooks and clients have points, and
		// several where the pool has.
		few := 1
		if v.instrumented {
			few = total.runs / 2
		}
		add(total.preemptions < few, "preemptions")
	}
	if len(missing) > 0 {
		v.idle(t, ", no "+strings.Join(missing, ", no "), &total)
	}
}

// idle fails the test because its runs have done too little.
func (v *genVerifier) idle(t testing.TB, missing string, total *genTraffic) {
	t.Helper()
	advice := "ask for more checks (-rapid.checks), or see whether the adapter passes on what it is asked"
	if total.known > 0 {
		advice = "mend what is known first, or let the adapter keep clear of it (Known: " + strings.Join(v.target.Known, ", ") + ")"
	}
	t.Errorf("props: %s: too little traffic to prove anything%s: %v; %s", v.target.Name, missing, total, advice)
}

// genShortens is by how much rapid divides the number of checks under -short.
const genShortens = 5

// genAsked returns how many checks were asked for: what rapid was told, of which it does
// a fifth under -short. A number given by hand is asked for in full.
func genAsked() int {
	fl := flag.Lookup("rapid.checks")
	n, err := strconv.Atoi(fl.Value.String())
	if err != nil {
		return 0
	}
	if testing.Short() && !genGiven(fl.Name, "RAPID_CHECKS") {
		n /= genShortens
	}
	return n
}

// genGiven reports whether a flag was set by hand, or its default by the environment.
func genGiven(name, variable string) bool {
	_, given := os.LookupEnv(variable)
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}
