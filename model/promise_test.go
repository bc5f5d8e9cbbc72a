package model

import (
	"strings"
	"testing"
	"time"
)

// promiseRun feeds events in groups, each followed by a rest, and returns the first
// violation. Groups end at an event whose Text is "rest".
func promiseRun(cfg PromiseConfig, events []PromiseEvent) *PromiseViolation {
	s := NewPromise(cfg)
	for _, e := range events {
		if e.Text == "rest" {
			if v := s.Rest(e.At); v != nil {
				return v
			}
			continue
		}
		if v := s.Observe(e); v != nil {
			return v
		}
	}
	return nil
}

// Short names for the events of the tests.
func promiseRest(at time.Duration) PromiseEvent { return PromiseEvent{Text: "rest", At: at} }

func promiseCallOf(n int, op PromiseOp) PromiseEvent {
	return PromiseEvent{Kind: PromiseCallBegan, Op: op, Call: n, Client: n}
}

func promiseGot(n int, res uint64) PromiseEvent {
	return PromiseEvent{Kind: PromiseCallEnded, Call: n, Client: n, Resource: res}
}

func promiseEnd(n int, o PromiseOutcome) PromiseEvent {
	return PromiseEvent{Kind: PromiseCallEnded, Call: n, Client: n, Outcome: o}
}

func promiseBack(n, lease int, op PromiseOp, res uint64) PromiseEvent {
	return PromiseEvent{Kind: PromiseCallBegan, Op: op, Call: n, Client: lease, Lease: lease, Resource: res}
}

func promiseHook(k PromiseKind, res uint64) PromiseEvent {
	return PromiseEvent{Kind: k, Resource: res}
}

// made is a create that succeeds.
func promiseMade(res uint64) []PromiseEvent {
	return []PromiseEvent{promiseHook(PromiseCreateBegan, res), promiseHook(PromiseCreateEnded, res)}
}

func promiseJoin(parts ...any) []PromiseEvent {
	var all []PromiseEvent
	for _, p := range parts {
		switch p := p.(type) {
		case PromiseEvent:
			all = append(all, p)
		case []PromiseEvent:
			all = append(all, p...)
		}
	}
	return all
}

// promiseLeased is an acquire, the n-th call, that is granted a new resource.
func promiseLeased(n int, res uint64) []PromiseEvent {
	return promiseJoin(promiseCallOf(n, PromiseAcquire), promiseMade(res), promiseGot(n, res), promiseRest(0))
}

// Each rule refuses the history that breaks it, and only under the spec that promises it.
func TestPromiseRules(t *testing.T) {
	leased := promiseLeased
	done := PromiseEvent{Kind: PromiseCallBegan, Call: 1, Client: 1, Done: true}
	failed := PromiseEvent{Kind: PromiseCreateEnded, Resource: 1, Failed: true}
	session := func(n int) PromiseEvent {
		return PromiseEvent{Kind: PromiseCallBegan, Call: n, Client: n, Session: "a"}
	}
	fifo := promiseJoin(leased(1, 1), promiseCallOf(2, PromiseAcquire), promiseRest(0), promiseCallOf(3, PromiseAcquire),
		promiseRest(0), promiseBack(4, 1, PromiseRelease, 1), promiseEnd(4, PromiseGranted), promiseGot(3, 1), promiseRest(0))
	closedEarly := promiseJoin(leased(1, 1), promiseCallOf(2, PromiseClose), promiseEnd(2, PromiseGranted), promiseRest(0))
	moved := promiseJoin(session(1), promiseMade(1), promiseGot(1, 1), session(2), promiseMade(2), promiseGot(2, 2))
	told := promiseJoin(session(1), promiseMade(1), promiseGot(1, 1), promiseBack(3, 1, PromiseRelease, 1), promiseEnd(3, PromiseGranted),
		session(2), promiseEnd(2, PromiseSessionLost))
	stale := promiseJoin(session(1), promiseMade(1), promiseGot(1, 1), promiseBack(3, 1, PromiseRelease, 1), promiseEnd(3, PromiseGranted),
		session(2), promiseMade(2), promiseGot(2, 2))
	reset := promiseJoin(leased(1, 1), promiseBack(2, 1, PromiseRelease, 1), promiseEnd(2, PromiseGranted),
		promiseCallOf(3, PromiseReset), promiseEnd(3, PromiseGranted), promiseCallOf(4, PromiseAcquire), promiseGot(4, 1))
	late := PromiseEvent{Kind: PromiseCallBegan, Call: 3, Client: 3, At: time.Hour}
	aged := promiseJoin(leased(1, 1), promiseBack(2, 1, PromiseRelease, 1), promiseEnd(2, PromiseGranted), promiseRest(0),
		late, promiseGot(3, 1))
	for _, c := range []struct {
		name   string
		spec   PromiseSpec
		events []PromiseEvent
		want   string // the rule, or "" for no violation
	}{
		{"two holders", PromiseSpec{}, promiseJoin(leased(1, 1), promiseCallOf(2, PromiseAcquire), promiseGot(2, 1)), "I1"},
		{"destroyed under its holder", PromiseSpec{}, promiseJoin(leased(1, 1), promiseHook(PromiseDestroyBegan, 1)), "I1"},
		{"over capacity", PromiseSpec{}, promiseJoin(promiseMade(1), promiseMade(2), promiseHook(PromiseCreateBegan, 3)), "I2"},
		{"over capacity, unbounded", PromiseSpec{MaxAlive: -1}, promiseJoin(promiseMade(1), promiseMade(2), promiseHook(PromiseCreateBegan, 3)), ""},
		{"destroyed twice", PromiseSpec{}, promiseJoin(promiseMade(1), promiseHook(PromiseDestroyBegan, 1), promiseHook(PromiseDestroyBegan, 1)), "I3"},
		{"destroyed twice, allowed", PromiseSpec{DestroyTwice: true}, promiseJoin(promiseMade(1), promiseHook(PromiseDestroyBegan, 1), promiseHook(PromiseDestroyBegan, 1)), ""},
		{"granted after its end", PromiseSpec{}, promiseJoin(promiseMade(1), promiseHook(PromiseDestroyBegan, 1), promiseCallOf(1, PromiseAcquire), promiseGot(1, 1)), "I3"},
		{"left after close", PromiseSpec{}, promiseJoin(promiseMade(1), promiseCallOf(1, PromiseClose), promiseEnd(1, PromiseGranted), promiseRest(0)), "I3"},
		{"waits while there is room", PromiseSpec{}, promiseJoin(promiseCallOf(1, PromiseAcquire), promiseRest(0)), "I5"},
		{"waits for a create", PromiseSpec{}, promiseJoin(promiseCallOf(1, PromiseAcquire), promiseHook(PromiseCreateBegan, 1), promiseRest(0)), ""},
		{"done context takes", PromiseSpec{}, promiseJoin(done, promiseMade(1), promiseGot(1, 1)), "I6"},
		{"done context, no context", PromiseSpec{NoContext: true}, promiseJoin(done, promiseMade(1), promiseGot(1, 1)), ""},
		{"done context, not promised", PromiseSpec{DoneTakes: true}, promiseJoin(done, promiseMade(1), promiseGot(1, 1)), ""},
		{"cancelled for no reason", PromiseSpec{}, promiseJoin(promiseCallOf(1, PromiseAcquire), promiseEnd(1, PromiseCancelled)), "I6"},
		{"out of order", PromiseSpec{FIFO: true}, fifo, "I7"},
		{"out of order, not promised", PromiseSpec{}, fifo, ""},
		{"refused", PromiseSpec{}, promiseJoin(promiseCallOf(1, PromiseAcquire), promiseEnd(1, PromiseRefused)), "I7"},
		{"refused though not full", PromiseSpec{RefusesWhenFull: true}, promiseJoin(promiseRest(0), promiseCallOf(1, PromiseAcquire), promiseEnd(1, PromiseRefused)), "I5"},
		{"strict session moved", PromiseSpec{Affinity: PromiseStrict}, moved, "I8"},
		{"told of a loss that is none", PromiseSpec{Affinity: PromiseStrict}, promiseJoin(told, promiseRest(0)), "I8"},
		{"told of a loss before the end", PromiseSpec{Affinity: PromiseStrict}, promiseJoin(told, promiseHook(PromiseDestroyBegan, 1), promiseRest(0)), ""},
		{"session moved, not promised", PromiseSpec{}, moved, ""},
		{"sticky session moved", PromiseSpec{Affinity: PromiseSticky}, promiseJoin(moved, promiseRest(0)), "I8"},
		{"sticky session moved before the end", PromiseSpec{Affinity: PromiseSticky}, promiseJoin(stale, promiseHook(PromiseDestroyBegan, 1), promiseRest(0)), ""},
		{"refused by a full queue", PromiseSpec{MaxWaiters: 1}, promiseJoin(leased(1, 1), promiseCallOf(2, PromiseAcquire), promiseCallOf(3, PromiseAcquire), promiseEnd(2, PromiseRefused)), ""},
		{"refused by a queue with room", PromiseSpec{MaxWaiters: 2}, promiseJoin(leased(1, 1), promiseCallOf(2, PromiseAcquire), promiseCallOf(3, PromiseAcquire), promiseEnd(2, PromiseRefused)), "I7"},
		{"create failed for no reason", PromiseSpec{}, promiseJoin(promiseCallOf(1, PromiseAcquire), promiseEnd(1, PromiseCreateFailed)), "I10"},
		{"create failed", PromiseSpec{}, promiseJoin(promiseCallOf(1, PromiseAcquire), promiseHook(PromiseCreateBegan, 1), failed, promiseEnd(1, PromiseCreateFailed), promiseRest(0)), ""},
		{
			"refused, another took the rest",
			PromiseSpec{RefusesWhenFull: true},
			promiseJoin(leased(1, 1), promiseCallOf(2, PromiseAcquire), promiseCallOf(3, PromiseAcquire), promiseEnd(2, PromiseRefused)), "",
		},
		{"close did not wait", PromiseSpec{CloseWaits: true}, closedEarly, "I13"},
		{"close need not wait", PromiseSpec{}, closedEarly, ""},
		{"closed for no reason", PromiseSpec{}, promiseJoin(promiseCallOf(1, PromiseAcquire), promiseEnd(1, PromiseClosed)), "I13"},
		{"close hangs", PromiseSpec{}, promiseJoin(promiseCallOf(1, PromiseClose), promiseRest(0)), "I13"},
		{"old after reset", PromiseSpec{}, reset, "reset"},
		{"past its lifetime", PromiseSpec{Lifetime: time.Minute}, aged, "I17"},
		{"past its idle time", PromiseSpec{IdleTime: time.Minute}, aged, "I17"},
		{"old, no limit", PromiseSpec{}, aged, ""},
	} {
		t.Run(c.name, func(t *testing.T) { checkPromise(t, c.name, c.spec, c.events, c.want) })
	}
}

// checkPromise judges a history and compares the rule that it breaks, "" for none.
func checkPromise(t *testing.T, name string, spec PromiseSpec, events []PromiseEvent, want string) {
	t.Helper()
	capacity := 2
	if strings.HasPrefix(name, "out of order") {
		capacity = 1
	}
	v := promiseRun(PromiseConfig{Spec: spec, Capacity: capacity, Patience: time.Second}, events)
	switch {
	case v == nil && want != "":
		t.Fatalf("no violation, want %s", want)
	case v != nil && v.Rule != want:
		t.Fatalf("got %v, want %q", v, want)
	}
}

// What the pool says about itself is held against the judge's own count.
func TestPromiseCounted(t *testing.T) {
	s := NewPromise(PromiseConfig{Capacity: 2})
	if v := s.Observe(promiseJoin(promiseMade(1), promiseCallOf(1, PromiseAcquire), promiseGot(1, 1))...); v != nil {
		t.Fatal(v)
	}
	if v := s.Counted(0, 1, 1); v != nil {
		t.Errorf("true counts: got %v", v)
	}
	for _, wrong := range [][3]int{{-1, 1, 0}, {0, 0, 0}, {0, 1, 2}, {1, 1, 2}} {
		if v := s.Counted(wrong[0], wrong[1], wrong[2]); v == nil || v.Rule != "I15" {
			t.Errorf("counts %v: got %v, want I15", wrong, v)
		}
	}
	if v := s.CountedWaiting(1); v == nil || v.Rule != "I15" {
		t.Errorf("one waiter counted, none waits: got %v, want I15", v)
	}
}
