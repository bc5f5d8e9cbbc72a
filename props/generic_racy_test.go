package props

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"

	"github.com/poolproof/poolproof/props/internal/racy"
)

// racyPool adapts a racy.Pool.
type racyPool struct{ *racy.Pool[*Resource] }

func (p racyPool) Acquire(ctx context.Context) (Lease, error) { return racyLease(p.Pool.Acquire(ctx)) }

func (p racyPool) TryAcquire() (Lease, error) { return racyLease(p.Pool.TryAcquire()) }

func racyLease(l *racy.Lease[*Resource], err error) (Lease, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}

// racyTarget is a racy pool of that size.
func racyTarget(size int, fault racy.Fault) Target {
	return Target{
		Name: "racy", Capacity: size,
		Open: func(env *Env) (Pool, error) {
			return racyPool{racy.New(racy.Config[*Resource]{
				Size: size, Create: env.Create, Destroy: env.Destroy, Check: env.Check,
			}, fault)}, nil
		},
		Outcome: func(err error) Outcome {
			if errors.Is(err, racy.ErrClosed) {
				return Closed
			}
			return DefaultOutcome(err)
		},
		Spec: Spec{FIFO: fault != racy.OneToken, CloseWaits: true, CloseTwice: true, ClosedAtOnce: true, ShrinksLate: true},
	}
}

// The pool without a fault passes. In an instrumented build it is preempted anywhere.
func TestRacyPool(t *testing.T) {
	for _, size := range []int{1, 2} {
		t.Run(fmt.Sprint(size), func(t *testing.T) { Verify(t, racyTarget(size, racy.None)) })
	}
}

// racyRules are the rules that each fault breaks. Who waits and is in no queue, or is in one that
// nobody looks at again, waits for a release (I5) and for a close (I13) alike. So do
// "looks twice", whose caller may queue after the close has refused all who waited, and
// "hands over", whose caller has been taken out of the queue without an answer. "Creates for
// good" looks neither for a close nor for a reset.
func racyRules() map[racy.Fault][]string {
	return map[racy.Fault][]string{
		racy.FailsQuietly: {"I5"}, racy.CreatesForGood: {"I13", "reset"}, racy.KeepsOld: {"reset"}, racy.DiscardsQuietly: {"I5"},
		racy.ChecksIntoPool: {"I13", "reset"}, racy.CountsLate: {"I2"}, racy.DropsGrant: {"I5", "I13"}, racy.LooksFirst: {"I5", "I13"},
		racy.LooksTwice: {"I5", "I13"}, racy.JoinsClosed: {"I13"}, racy.ReleasesIntoPool: {"I13"}, racy.TriesTwice: {"I1", "I2", "I3"},
		racy.ShrinksTwice: {"I1", "I3"}, racy.HandsOver: {"I5", "I13"}, racy.OneToken: {"I5"}, racy.ClosesTwice: {"panic"},
		racy.AddsLate: {"I13"}, racy.LosesCount: {"I5", "I2"},
	}
}

// Every plain fault is found within 5,000 checks and takes at most one preemption to show,
// in a hook or between two calls.
func TestRacyPlainFaults(t *testing.T) {
	for fault := racy.None + 1; fault < racy.Faults; fault++ {
		if fault.Plain() {
			t.Run(fault.String(), func(t *testing.T) { findRacy(t, fault, 1) })
		}
	}
}

// findRacy fails unless the fault is found.
func findRacy(t *testing.T, fault racy.Fault, preemptions int) Finding {
	t.Helper()
	seed := flag.Lookup("rapid.seed").Value.String()
	if seed == "0" { // else by hand
		seed = "1"
	}
	defer fullSetFlags(map[string]string{"rapid.seed": seed})()
	f := HuntTarget(t, racyTarget(2, fault), 5000)
	if !slices.Contains(racyRules()[fault], f.Rule) || f.Preemptions > preemptions {
		t.Fatalf("after %d checks: %q with %d preemptions; want one of %v with at most %d\n%s",
			f.Checks, f.Rule, f.Preemptions, racyRules()[fault], preemptions, f.Script)
	}
	t.Logf("after %d checks, %d preemptions\n%s", f.Checks, f.Preemptions, f.Script)
	return f
}
