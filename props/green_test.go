package props

import (
	"context"
	"strings"
	"testing"
	"time"
)

// What proves nothing is no pass. Each of these was one.
func TestNothingProvedIsNoPass(t *testing.T) {
	for _, c := range []struct {
		name, test, want string
		times            int
		flags            []string
	}{
		{"no checks", "^TestInChildCorrect$", "props: tiny-0: nothing was checked; ask for one check at least (-rapid.checks is 0)", 5, []string{"-rapid.checks=0"}},
		{"all known", "^TestInChildLosing$/^(Sequential|Progress|Accounting|Race)$", "mend what is known first, or let the adapter keep clear of it (Known: I5, I13, I4)", 4, nil},
		{"one name", "^TestInChildTwice$", `this test has verified another target named "tiny-0"`, 1, nil},
		{"a stray method", "^TestInChildStray$/^Pool$/^Sequential$", "(props.strayPool) has a method Resize that nobody calls, " +
			"for it does not make it a props.Resizer, which is: Resize(int) error; mend its signature, or rename it", 1, nil},
		{"a lease's stray method", "^TestInChildStray$/^Lease$/^Sequential$", "(props.strayLease) has a method Discard that nobody calls", 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, ok := child(t, t.TempDir(), c.test, append(c.flags, "-rapid.nofailfile")...)
			if n := strings.Count(out, "props: ") + strings.Count(out, " breaks open: "); ok || strings.Count(out, c.want) < c.times || n < c.times {
				t.Errorf("got success %v, want %q, %d times at least:\n%s", ok, c.want, c.times, out)
			}
		})
	}
}

// losingPool never gets anything back.
type losingPool struct{ Pool }

type losingLease struct{ Lease }

func (losingLease) Release() {}

func (p losingPool) Acquire(ctx context.Context) (Lease, error) {
	l, err := p.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return losingLease{l}, nil
}

func losingTarget() Target {
	target := tinyTarget(2, tinyCorrect)
	open := target.Open
	target.Open = func(env *Env) (Pool, error) {
		p, err := open(env)
		return losingPool{p}, err
	}
	return target
}

func TestInChildLosing(t *testing.T) {
	childOnly(t)
	target := losingTarget()
	target.Known = []string{"I5", "I13", "I4"}
	target.Patience = 10 * time.Millisecond
	Verify(t, target)
}

// The second target would be found broken, if it were looked at.
func TestInChildTwice(t *testing.T) {
	childOnly(t)
	Verify(t, tinyTarget(2, tinyCorrect))
	Verify(t, losingTarget())
}

type strayPool struct{ Pool }

func (strayPool) Resize(int) {}

type strayLease struct{ Lease }

func (strayLease) Discard() error { return nil }

type strayLeases struct{ Pool }

func (p strayLeases) Acquire(ctx context.Context) (Lease, error) {
	l, err := p.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return strayLease{l}, nil
}

// plainPool hides what a pool has beside the least.
type plainPool struct{ Pool }

func TestInChildStray(t *testing.T) {
	childOnly(t)
	target := func(wrap func(Pool) Pool) Target {
		target := tinyTarget(2, tinyCorrect)
		open := target.Open
		target.Open = func(env *Env) (Pool, error) {
			p, err := open(env)
			return wrap(plainPool{p}), err
		}
		return target
	}
	t.Run("Pool", func(t *testing.T) { Verify(t, target(func(p Pool) Pool { return strayPool{p} })) })
	t.Run("Lease", func(t *testing.T) { Verify(t, target(func(p Pool) Pool { return strayLeases{p} })) })
}

// resizedPool has a method of its own that only looks like one of ours.
type resizedPool struct{ *tinyPool }

func (resizedPool) Resize(int) {}

// What an embedded pool is able to do is its own affair.
func TestPromotedMethodsAreNotStray(t *testing.T) {
	type adapter struct{ resizedPool }
	p := newTinyPool(newGenEnv(), 2, tinyCorrect)
	if v := genStrayPool(adapter{resizedPool{p}}); v != nil {
		t.Errorf("got %v, want nothing: the method is promoted", v)
	}
	if v := genStrayPool(p); v != nil {
		t.Errorf("got %v, want nothing: its methods are those of the interfaces", v)
	}
	for _, pool := range []Pool{strayPool{p}, &strayPool{p}} {
		if v := genStrayPool(pool); v == nil || v.Rule != "open" {
			t.Errorf("%T: got %v, want a stray Resize", pool, v)
		}
	}
}

// Schedules that cannot be had are skipped, not passed, and the log says how they can be.
func TestNoSchedulesAreNoPass(t *testing.T) {
	t.Parallel()
	out, ok := child(t, t.TempDir(), "^TestInChildLocked$/^Scheduled$", "-rapid.checks=400", "-rapid.nofailfile")
	if !ok || !strings.Contains(out, "--- SKIP: TestInChildLocked/Scheduled") || !strings.Contains(out, "poolproof test -instrument") {
		t.Errorf("got success %v, want a test that was skipped, and how it could be done:\n%s", ok, out)
	}
}

// What is passed by is not waited for as long as what would be a finding.
func TestKnownDebtsAreNotWaitedForLong(t *testing.T) {
	for _, c := range []struct {
		real bool
		rule string
		want time.Duration
	}{
		{false, "I5", time.Minute}, {true, "I5", time.Second}, {true, "I4", 10 * time.Second},
	} {
		r := &genRun{target: &Target{RealTime: c.real, Known: []string{"I5"}}}
		if got := r.patience(c.rule); got != c.want {
			t.Errorf("real time %v, %s: got %v, want %v", c.real, c.rule, got, c.want)
		}
	}
}

// A child that waits for what may take its time is not one that does nothing.
func TestWaitingIsNoSilence(t *testing.T) {
	v := newGenVerifier(t, tinyTarget(2, tinyCorrect))
	v.ahead = &genAhead{mem: make([]byte, genAheadSize)}
	clock := v.reals.next("waiting")
	r := newRaceRun(v.raceTarget(), clock, v.ahead, 1, nil)
	for name, wait := range map[string]func(){
		"for calls to return":   func() { r.within(func() {}) },
		"for goroutines to end": func() { v.leftRacing(r, clock, v.raceTarget()) },
	} {
		before := v.ahead.beats
		if wait(); v.ahead.beats == before {
			t.Errorf("%s: nothing tells that it is being waited", name)
		}
	}
}
