package sched_test

import (
	"errors"
	"flag"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/sched"
	"github.com/poolproof/poolproof/sched/shim/lang"
	"github.com/poolproof/poolproof/sched/shim/sync"
)

// searches are the ways to look for a finding.
func searches(t *testing.T, body func(*sched.Scheduler) error) map[string]*sched.Report {
	t.Helper()
	idle := sched.Options{IdleTimeOnly: true}
	return map[string]*sched.Report{
		"drawn":      sched.Explore(t, sched.Options{}, 300, sched.Random(1), body),
		"pct":        sched.Explore(t, sched.Options{}, 300, sched.RandomPCT(1, 3, 20), body),
		"exhaustive": sched.Exhaust(t, idle, 2, 0, body),
	}
}

func TestEachStrategyFindsEachFault(t *testing.T) {
	for _, p := range programs() {
		t.Run(p.name, func(t *testing.T) {
			for name, report := range searches(t, p.body) {
				if report.Result == nil {
					t.Errorf("%s: nothing found in %d runs", name, report.Runs)
					continue
				}
				r := report.Result
				if r.Finding.Kind != p.kind || r.Preemptions > p.preemptions {
					t.Errorf("%s: got %v with %d preemptions, want %v with %d\n%v",
						name, r.Finding, r.Preemptions, p.kind, p.preemptions, r.Trace)
				}
			}
		})
	}
}

// Nothing is wrong with any of the programs as long as no task is preempted.
func TestWithoutPreemptionNothingIsFound(t *testing.T) {
	for _, p := range programs() {
		r := sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil)}, p.body)
		if r.Finding != nil || r.Preemptions != 0 || len(r.Schedule) != 0 {
			t.Errorf("%s: got %v, %d preemptions, schedule %v", p.name, r.Finding, r.Preemptions, r.Schedule)
		}
	}
}

func TestSameChoicesSameHash(t *testing.T) {
	for _, p := range programs() {
		first := sched.Explore(t, sched.Options{}, 300, sched.Random(2), p.body).Result
		hashes := map[uint64]bool{}
		for _, procs := range []int{1, 2} {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			for range 10 {
				s, err := sched.ParseSchedule(first.Schedule.String())
				if err != nil {
					t.Fatal(err)
				}
				r := sched.Test(t, sched.Options{Strategy: sched.NewReplay(s)}, p.body)
				if r.Finding == nil || r.Finding.Error() != first.Finding.Error() {
					t.Fatalf("%s: replayed: %v, want %v", p.name, r.Finding, first.Finding)
				}
				hashes[r.Hash] = true
			}
		}
		if len(hashes) != 1 || !hashes[first.Hash] {
			t.Errorf("%s: %d hashes, want one, that of the first run", p.name, len(hashes))
		}
	}
}

func TestOtherChoicesOtherHash(t *testing.T) {
	hashes := map[uint64]bool{}
	e := sched.NewExhaustive(-1)
	for e.Next() {
		r := sched.Test(t, sched.Options{Strategy: e, IdleTimeOnly: true}, steps(2, 2))
		hashes[r.Hash] = true
	}
	if len(hashes) != e.Schedules() {
		t.Errorf("%d hashes of %d schedules", len(hashes), e.Schedules())
	}
}

// steps has a task for each number, which passes so many points, its start among them.
func steps(points ...int) func(*sched.Scheduler) error {
	return func(s *sched.Scheduler) error {
		for _, n := range points {
			s.Go("", func() {
				for range n - 1 {
					sched.Point("step")
				}
			})
		}
		return nil
	}
}

// The numbers of interleavings are (a+b+...)!/(a!·b!·...), and with up to p preemptions
// are counted by hand: to the tasks in a row, those are added in which one is interrupted.
func TestExhaustCountsInterleavings(t *testing.T) {
	for _, c := range []struct {
		points      []int
		preemptions int
		want        int
	}{
		{[]int{1}, -1, 1},
		{[]int{1, 1}, -1, 2},
		{[]int{2, 2}, -1, 6},
		{[]int{3, 3}, -1, 20},
		{[]int{4, 4}, -1, 70},
		{[]int{2, 2, 2}, -1, 90},
		{[]int{1, 2, 3}, -1, 60},
		{[]int{3, 3, 3}, -1, 1680},
		{[]int{2, 2}, 0, 2},    // ab, ba
		{[]int{2, 2}, 1, 4},    // and a|b.a, b|a.b, where | is the preemption
		{[]int{2, 2}, 2, 6},    // and a|b|a.b, b|a|b.a
		{[]int{3, 3}, 1, 6},    // ab, ba, two places in each of the two
		{[]int{2, 2, 2}, 0, 6}, // 3!
	} {
		report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, c.preemptions, 0, steps(c.points...))
		if report.Runs != c.want || !report.Complete || report.Result != nil {
			t.Errorf("%v with %d preemptions: %d schedules, complete %v, finding %v; want %d",
				c.points, c.preemptions, report.Runs, report.Complete, report.Result, c.want)
		}
	}
	report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, -1, 10, steps(3, 3))
	if report.Runs != 10 || report.Complete {
		t.Errorf("bounded: %d schedules, complete %v; want 10, false", report.Runs, report.Complete)
	}
}

// A lock held keeps the other task out, so two critical sections of one point each, with
// a point at either end of both, can only come one after the other.
func TestExhaustCountsWhatLocksAllow(t *testing.T) {
	body := func(s *sched.Scheduler) error {
		var mu sync.Mutex
		inside := 0
		section := func() {
			mu.Lock()
			if inside++; inside > 1 {
				s.Fail(errors.New("two inside"))
			}
			sched.Point("inside")
			inside--
			mu.Unlock()
		}
		s.Go("a", section)
		s.Go("b", section)
		return nil
	}
	// Let the tasks be s l i u each. Whoever locks first, the other can only start before,
	// at, or after any of l i u: after s of the one, s' comes at one of 4 places, or before
	// it; then l' i' u' follow u. By symmetry 2·(1+4) - the 2 orders of s s' counted for
	// both who locks first: s s' l.. and s' s l.. for a, likewise for b.
	report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, -1, 0, body)
	if report.Result != nil || !report.Complete || report.Runs != 10 {
		t.Errorf("got %+v, want 10 schedules and no finding", report)
	}
}

// quietTB lets a check fail without failing the test.
type quietTB struct {
	testing.TB
	failed bool
}

func (q *quietTB) Errorf(string, ...any) { q.failed = true }
func (q *quietTB) Fatalf(string, ...any) { q.failed = true }
func (q *quietTB) FailNow()              { q.failed = true }
func (q *quietTB) Fail()                 { q.failed = true }
func (q *quietTB) Failed() bool          { return q.failed }
func (q *quietTB) Logf(string, ...any)   {}
func (q *quietTB) Log(...any)            {}

// Rapid shrinks without knowing what it shrinks; Shrink takes it from there.
func TestShrinksToThePreemptionsNeeded(t *testing.T) {
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.checks": "2000", "rapid.seed": "1"} {
		before := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := flag.Set(name, before); err != nil {
				t.Error(err)
			}
		}()
	}
	for _, p := range programs() {
		var last *sched.Result
		quiet := &quietTB{TB: t}
		rapid.Check(quiet, func(rt *rapid.T) {
			draw := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, label) }
			if r := sched.Test(t, sched.Options{Strategy: sched.NewDrawn(draw)}, p.body); r.Finding != nil {
				last = r
				rt.Fatalf("%v", r.Finding)
			}
		})
		switch {
		case !quiet.failed || last == nil:
			t.Errorf("%s: nothing found", p.name)
		case last.Preemptions > 2:
			t.Errorf("%s: rapid shrinks to %d preemptions, want at most 2\n%v", p.name, last.Preemptions, last.Trace)
		default:
			if r := sched.Shrink(t, sched.Options{}, last, p.body); r.Preemptions != p.preemptions {
				t.Errorf("%s: then shrunk to %d preemptions, want %d\n%v", p.name, r.Preemptions, p.preemptions, r.Trace)
			}
		}
	}
}

// A body may abandon a check of rapid's, in any of its tasks: that reaches rapid.
func TestRapidMayAbandonARun(t *testing.T) {
	skipped := 0
	rapid.Check(t, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) {
			odd := rapid.Bool().Draw(rt, "odd")
			sched.Run(sched.Options{Strategy: sched.NewReplay(nil)}, func(s *sched.Scheduler) error {
				s.Go("skips", func() {
					if odd {
						skipped++
						rt.Skip("not this one")
					}
				})
				return nil
			})
			if odd {
				t.Error("the run went on")
			}
		})
	})
	if skipped == 0 {
		t.Error("nothing was skipped")
	}
}

func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name string
		body func(s *sched.Scheduler) error
		kind sched.FindingKind
		text string
	}{
		{"error", func(*sched.Scheduler) error { return errors.New("no") }, sched.Failed, "failed: no"},
		{"fail", func(s *sched.Scheduler) error {
			s.Go("x", func() { s.Fail(errors.New("by x")) })
			return nil
		}, sched.Failed, "failed: by x"},
		{"panic", func(s *sched.Scheduler) error {
			s.Go("x", func() { var none []int; none[len(none)]++ })
			return nil
		}, sched.Panicked, "panicked: task x: panic: runtime error: index out of range [0] with length 0"},
		{"exit", func(*sched.Scheduler) error { runtime.Goexit(); return nil }, sched.Exited, "exited: task main: the body"},
		{"stuck", func(s *sched.Scheduler) error {
			s.Go("x", func() { lang.Receive(make(chan int)) })
			return nil
		}, sched.Stuck, "x is blocked after receive channel 1 at sched_test.go:"},
		{"endless", func(s *sched.Scheduler) error {
			for {
				sched.Point("again")
			}
		}, sched.Endless, "endless: the run takes more steps than MaxSteps; main is before again at sched_test.go:"},
		{"lives too long", func(s *sched.Scheduler) error {
			time.Sleep(2 * time.Hour)
			return nil
		}, sched.Stuck, "main is blocked after starts"},
	} {
		r := sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil)}, c.body)
		if r.Finding == nil || r.Finding.Kind != c.kind || !strings.Contains(r.Finding.Error(), c.text) {
			t.Errorf("%s: got %v, want %v: %q", c.name, r.Finding, c.kind, c.text)
		}
		if len(r.Left) > 0 && c.name != "lives too long" {
			t.Errorf("%s: left: %v", c.name, r.Left)
		}
	}
}

// After a finding tasks end, by themselves if they can, and deferred functions run.
func TestTasksEndAfterAFinding(t *testing.T) {
	var ended, deferred int
	r := sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil)}, func(s *sched.Scheduler) error {
		var mu sync.Mutex
		s.Go("ends by itself", func() {
			for range 10 {
				sched.Point("step")
			}
			time.Sleep(time.Minute)
			ended++
		})
		for range 2 {
			s.Go("", func() {
				defer func() { deferred++ }()
				mu.Lock()
				defer mu.Unlock()
				lang.Send(make(chan int))(1)
			})
		}
		return errors.New("over")
	})
	if ended != 1 || deferred != 2 || len(r.Left) != 0 {
		t.Errorf("ended %d, deferred %d, left %v; want 1, 2, none", ended, deferred, r.Left)
	}
}

func TestTimePasses(t *testing.T) {
	timeout := func(s *sched.Scheduler) error {
		fired := false
		lang.AfterFunc(time.Second, func() { fired = true })
		for range 3 {
			sched.Point("busy")
		}
		if fired {
			return errors.New("time passed while the task could go on")
		}
		lang.Sleep(2 * time.Second)
		return nil
	}
	sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil)}, func(s *sched.Scheduler) error {
		err := timeout(s)
		if s.Idle() != 2*time.Second {
			t.Errorf("after 2 s: idle for %v", s.Idle())
		}
		return err
	})
	early := sched.Explore(t, sched.Options{}, 300, sched.Random(1), timeout)
	if early.Result == nil || early.Result.Preemptions != 1 || early.Result.Finding.Kind != sched.Failed {
		t.Errorf("time is a choice: got %+v, want a finding with one preemption", early.Result)
	}
	only := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, -1, 0, timeout)
	if only.Result != nil || !only.Complete {
		t.Errorf("IdleTimeOnly: got %+v, want no finding", only.Result)
	}
}

// A task that waits in a loop does not keep others, or time, from getting on.
func TestSpinning(t *testing.T) {
	for name, wait := range map[string]func(){
		"Gosched": lang.Gosched,
		"nothing": func() {},
	} {
		r := sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil), MaxSteps: 1000}, func(s *sched.Scheduler) error {
			var mu sync.Mutex
			byTask, byTimer := false, false
			is := func(flag *bool) bool {
				mu.Lock()
				defer mu.Unlock()
				return *flag
			}
			s.Go("sets", func() { mu.Lock(); byTask = true; mu.Unlock() })
			lang.AfterFunc(time.Second, func() { mu.Lock(); byTimer = true; mu.Unlock() })
			for !is(&byTask) || !is(&byTimer) {
				wait()
			}
			return nil
		})
		if r.Finding != nil {
			t.Errorf("%s: %v", name, r.Finding)
		}
	}
}

func TestRest(t *testing.T) {
	report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, -1, 0, func(s *sched.Scheduler) error {
		steps := 0
		for range 2 {
			s.Go("", func() { sched.Point("one"); steps++; lang.Sleep(time.Second); steps++ })
		}
		s.Rest()
		if steps != 2 {
			return errors.New("no rest")
		}
		return nil
	})
	if report.Result != nil || !report.Complete {
		t.Errorf("got %+v", report.Result)
	}
}

// Nobody comes between the points of Solo, unless the task cannot go on.
func TestSolo(t *testing.T) {
	report := sched.Exhaust(t, sched.Options{}, 2, 0, func(s *sched.Scheduler) error {
		var mu sync.Mutex
		n := 0
		s.Go("counts", func() {
			for range 3 {
				mu.Lock()
				n++
				mu.Unlock()
			}
		})
		same := false
		s.Solo(func() {
			sched.Point("before")
			before := n
			sched.Point("after")
			same = n == before
			mu.Lock()
			defer mu.Unlock()
		})
		if !same {
			return errors.New("somebody came between")
		}
		return nil
	})
	if report.Result != nil || !report.Complete {
		t.Errorf("got %+v", report.Result)
	}
}

// Goroutines that were not started by Go are found out at their first point.
func TestGoroutinesOfOthersAreControlled(t *testing.T) {
	report := sched.Explore(t, sched.Options{}, 300, sched.Random(1), func(s *sched.Scheduler) error {
		n, done := 0, make(chan bool)
		for range 2 {
			go func() {
				sched.Point("read")
				got := n
				sched.Point("write")
				n = got + 1
				done <- true
			}()
		}
		<-done
		<-done
		if n != 2 {
			return errors.New("an update is lost")
		}
		return nil
	})
	if report.Result == nil || report.Result.Preemptions > 1 {
		t.Fatalf("got %+v", report.Result)
	}
	if text := report.Result.Trace.String(); !strings.Contains(text, "1.1") || !strings.Contains(text, "1.2") {
		t.Errorf("they are no children of main:\n%s", text)
	}
}

func TestRunNeedsABubble(t *testing.T) {
	want := func(what string, fn func()) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", what)
			}
		}()
		fn()
	}
	o := sched.Options{Strategy: sched.NewReplay(nil)}
	nothing := func(*sched.Scheduler) error { return nil }
	want("outside", func() { sched.Run(o, nothing) })
	want("no strategy", func() { sched.Run(sched.Options{}, nothing) })
	synctest.Test(t, func(t *testing.T) {
		r := sched.Run(o, func(*sched.Scheduler) error { sched.Run(o, nothing); return nil })
		if r.Finding == nil || r.Finding.Kind != sched.Panicked {
			t.Errorf("in a task: %v, want a panic", r.Finding)
		}
	})
}

func TestWatchdog(t *testing.T) {
	release, hung := make(chan struct{}), make(chan sched.Hang, 1)
	w := sched.NewWatchdog(50*time.Millisecond, func(h sched.Hang) {
		hung <- h
		close(release)
	})
	defer w.Close()
	sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil), Watchdog: w}, func(*sched.Scheduler) error {
		sched.Point("before")
		<-release // not durable: the channel is from elsewhere
		return nil
	})
	h := <-hung
	if !strings.Contains(h.Stacks, "TestWatchdog") || !strings.Contains(h.Trace, "before") || !strings.Contains(h.Error(), "hangs") {
		t.Errorf("the finding lacks the stack or the trace:\n%v", h)
	}
}
