package props

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/props/internal/racy"
	gated "github.com/poolproof/poolproof/sched/shim/sync"
)

// Every fault that one operation after the other shows is found under a schedule, too, and
// the scripts are as short.
func TestScheduledControls(t *testing.T) {
	// At two seeds of ten, for one fault each, what is found lacks the word that would save a line.
	for _, seed := range []string{"1", "4"} {
		for _, c := range controls() {
			t.Run(c.name+", seed "+seed, func(t *testing.T) {
				defer fullSetFlags(map[string]string{"rapid.seed": seed})()
				f := HuntTarget(t, c.target(), 5000)
				shortest, ok := c.rules[f.Rule]
				if !ok || f.Length > shortest+1 || f.Preemptions > 1 {
					t.Errorf("got %s in %d lines with %d preemptions; want one of these rules in at most one line more: %v\n%s",
						f.Rule, f.Length, f.Preemptions, c.rules, f.Script)
				}
			})
		}
	}
}

// A pool that holds a lock while a hook runs hangs a bubble, for a task that stops in a hook
// keeps others waiting for what is no gate: that is no finding.
func TestScheduledUnfit(t *testing.T) {
	fewChecks(t)
	v := newGenVerifier(t, Target{
		Name: "locked", Capacity: 2,
		Open: func(env *Env) (Pool, error) { return &lockPool{env: env, slots: make(chan struct{}, 2)}, nil },
	})
	v.hang = time.Second
	v.checkSchedules(t)
}

// closesTwice is a pool of which two closes at once close a channel twice. Its lock is a
// scheduling point in every build.
type closesTwice struct {
	Pool
	mu     gated.Mutex
	closed bool // guarded by mu
	done   chan struct{}
}

func (p *closesTwice) Close() error {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if !closed {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		close(p.done)
	}
	return p.Pool.Close()
}

func closesTwiceTarget() Target {
	target := racyTarget(2, racy.None)
	open := target.Open
	target.Name = "twice"
	target.Open = func(env *Env) (Pool, error) {
		pool, err := open(env)
		return &closesTwice{Pool: pool, done: make(chan struct{})}, err
	}
	return target
}

func TestInChildScheduled(t *testing.T) {
	childOnly(t)
	newGenVerifier(t, closesTwiceTarget()).verify(t)
}

// A finding under a schedule is kept as a script with a schedule, which later runs replay.
func TestScheduledReports(t *testing.T) {
	dir := t.TempDir()
	out, ok := child(t, dir, "^TestInChildScheduled$/^Scheduled$", "-rapid.checks=5000", "-rapid.seed=1")
	if ok {
		t.Fatalf("Verify passed a broken pool:\n%s", out)
	}
	for _, want := range []string{
		"twice breaks panic: ", "target twice\n", "\n        schedule ", "# What came of it, in this order:", "5 of 5 replays",
		"1 preemptions; found after ", "-run '^TestInChildScheduled$/^Replay$/^twice-panic-", " step   c1 ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	kept, err := filepath.Glob(filepath.Join(dir, genTraces, "*.txt"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("scripts kept: %v, %v; want one", kept, err)
	}
	text, err := os.ReadFile(kept[0])
	if s, bad := parseScript(string(text)); err != nil || bad != nil || !s.scheduled || len(s.schedule) == 0 {
		t.Errorf("the kept script has no schedule: %+v, %v, %v\n%s", s, bad, err, text)
	}
	if out, ok = child(t, dir, "^TestInChildScheduled$/^Replay$"); ok || !strings.Contains(out, "breaks panic: ") {
		t.Errorf("a kept script was not replayed:\n%s", out)
	}
	// Without its schedule the same lines break nothing.
	s, _ := parseScript(string(text))
	v := newGenVerifier(t, closesTwiceTarget())
	s.schedule = nil
	if f := v.replayOnce(t, &s); f != nil {
		t.Errorf("the lines alone: got %v, want nothing", f.violation)
	}
}

// Schedules that preempt nobody, or hardly ever where the pool can be preempted anywhere, prove
// nothing.
func TestScheduledWantsPreemptions(t *testing.T) {
	for _, c := range []struct {
		runs, preemptions  int
		instrumented, want bool
	}{
		{100, 1, false, true}, {100, 0, false, false}, {99, 0, false, true}, {100, 50, true, true}, {100, 49, true, false},
	} {
		v, tb := newGenVerifier(t, chanTarget(2)), &complaints{}
		v.instrumented = c.instrumented
		v.enough(tb, genTraffic{runs: c.runs, grants: 3 * c.runs, waits: c.runs, cancels: 1, preemptions: c.preemptions}, true)
		if got := tb.n == 0; got != c.want {
			t.Errorf("%+v: enough: %t", c, got)
		}
	}
}
