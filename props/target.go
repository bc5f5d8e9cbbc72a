// Package props checks pools against what they promise. [Verify] checks any Go pool
// behind a small adapter: a [Target] says how to open it and what it promises, an [Env]
// is the factory of its resources and counts them by itself, and random operations,
// hook failures and time steps are judged step by step by [model.PromiseState].
//
//	func TestPool(t *testing.T) {
//		props.Verify(t, props.Target{
//			Name:     "mypool",
//			Capacity: 2,
//			Open:     func(env *props.Env) (props.Pool, error) { return adapt(env), nil },
//		})
//	}
//
// A violation is reported as a script that can be edited and replayed.
package props

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/poolproof/poolproof/model"
)

// Target describes a pool to verify.
type Target struct {
	Name     string                       // names the target in messages and traces; one word, used once in a test
	Capacity int                          // resources usable at once, 1 to 32; small ones find most
	Open     func(env *Env) (Pool, error) // builds the pool; its resources come from env
	Outcome  func(err error) Outcome      // classifies the target's errors; nil: see DefaultOutcome
	Spec     Spec                         // what the pool promises beyond the least
	Report   Reporter                     // told how it goes; nil: nobody
	Known    []string                     // rules known to be broken: a run ends there and is no finding
	RealTime bool                         // cannot run in a testing/synctest bubble

	// InProcess keeps the runs in this process: a panic in a goroutine of the pool's own then
	// ends the test binary, and nothing is found out about data races. Without it they take
	// place in child processes, where there are any (on Linux).
	InProcess bool

	Patience time.Duration // every debt is paid within it once hooks succeed; 0: a minute (real time: 10 s)
}

// Spec says what a pool promises beyond the least; the zero value promises nothing more.
type Spec = model.PromiseSpec

// Outcome classifies how an acquire ended.
type Outcome = model.PromiseOutcome

// The outcomes of an acquire.
const (
	Granted      = model.PromiseGranted
	Cancelled    = model.PromiseCancelled
	Refused      = model.PromiseRefused
	Closed       = model.PromiseClosed
	CreateFailed = model.PromiseCreateFailed
	SessionLost  = model.PromiseSessionLost
)

// Affinity says what a session may expect of its resource.
type Affinity = model.PromiseAffinity

// The affinities.
const (
	None   = model.PromiseNone
	Strict = model.PromiseStrict
	Sticky = model.PromiseSticky
	Prefer = model.PromisePrefer
)

// Reaction says what a second release of one lease does.
type Reaction = model.PromiseReaction

// The reactions to a second release.
const (
	Undefined = model.PromiseUndefined
	Ignored   = model.PromiseIgnored
	Panics    = model.PromisePanics
)

// Ending says how a task ends.
type Ending uint8

// The endings of a task.
const (
	Normal Ending = iota // it returns
	Error                // it returns an error, where tasks can
	Panic                // it panics with an error that wraps ErrInjected
	Goexit               // it calls runtime.Goexit
)

// ErrInjected is wrapped by the failures and panics that are put into hooks and tasks.
var ErrInjected = errors.New("poolproof: injected failure")

// Pool is what every target provides. Both methods are called from several goroutines.
type Pool interface {
	// Acquire returns a lease of a resource, waiting for one if need be until ctx ends.
	Acquire(ctx context.Context) (Lease, error)
	// Close closes the pool. It is called once, unless Spec.CloseTwice is set.
	Close() error
}

// Lease is the right to use one resource.
type Lease interface {
	// Resource returns what is leased; the same at every call.
	Resource() *Resource
	// Release gives the resource back. It is called once, unless Spec.DoubleRelease says more.
	Release()
}

// TryAcquirer is a Pool with an acquire that never waits.
type TryAcquirer interface{ TryAcquire() (Lease, error) }

// SessionAcquirer is a Pool with sessions, which keep to a resource as Spec.Affinity says.
type SessionAcquirer interface {
	AcquireSession(ctx context.Context, session string) (Lease, error)
	EndSession(session string)
}

// Resizer is a Pool whose capacity can be changed. An error means that it may or may not
// have been.
type Resizer interface{ Resize(max int) error }

// Resetter is a Pool that can be told not to grant again what it has created so far.
type Resetter interface{ Reset() }

// Creator is a Pool that can be told to add an idle resource.
type Creator interface {
	CreateResource(ctx context.Context) error
}

// Counter is a Pool that counts its resources. Counts is called only while nothing moves.
type Counter interface {
	Counts() (idle, leased, total int)
}

// Waiting is a Pool that counts its waiters. Waiting is called only while nothing moves.
type Waiting interface{ Waiting() int }

// Forcer is a Pool whose closing can be forced: once ctx ends, leases are revoked.
type Forcer interface {
	Shutdown(ctx context.Context) error
}

// Reopener is a Pool that can be used again after Close.
type Reopener interface{ Reopen() error }

// Discarder is a Lease whose resource can be given back as not to be reused.
type Discarder interface{ Discard() }

// Ender is a Lease that stands for a running task, which End makes end in some way; it
// is called instead of Release. Panic and Goexit are drawn under Spec.HookPanics only.
type Ender interface{ End(how Ending) }

// DefaultOutcome is used where Target.Outcome is nil: context errors are Cancelled, what
// wraps ErrInjected is CreateFailed, and the rest Refused.
func DefaultOutcome(err error) Outcome {
	switch {
	case err == nil:
		return Granted
	case errors.Is(err, ErrInjected):
		return CreateFailed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Cancelled
	}
	return Refused
}

// genMaxCapacity bounds Target.Capacity: a run has a client for each lease and more.
const genMaxCapacity = 32

// check returns every complaint about the target, joined.
func (t *Target) check() error {
	var errs []error
	if t.Name == "" {
		errs = append(errs, errors.New("target without a Name"))
	}
	if t.Open == nil {
		errs = append(errs, errors.New("target without Open"))
	}
	if t.Capacity < 1 || t.Capacity > genMaxCapacity {
		errs = append(errs, fmt.Errorf("target of capacity %d; want 1 to %d", t.Capacity, genMaxCapacity))
	}
	for _, rule := range t.Known {
		if !slices.Contains(genRules(), rule) && !regexp.MustCompile(`^I([1-9]|1[0-8])$`).MatchString(rule) {
			errs = append(errs, fmt.Errorf("%q in Known is no rule; want I1 to I18, %s", rule, strings.Join(genRules(), ", ")))
		}
	}
	return errors.Join(errs...)
}

// genRules are the rules that have no number.
func genRules() []string {
	return []string{"panic", "fatal", "race", "exit", "hang", "reset", "report", "open", "livelock"}
}

// outcome classifies err.
func (t *Target) outcome(err error) Outcome {
	if err == nil || t.Outcome == nil {
		return DefaultOutcome(err)
	}
	return t.Outcome(err)
}

// knows reports whether a rule is known to be broken.
func (t *Target) knows(rule string) bool { return slices.Contains(t.Known, rule) }

// patience returns how long a debt may last.
func (t *Target) patience() time.Duration {
	switch {
	case t.Patience > 0:
		return t.Patience
	case t.RealTime:
		return 10 * time.Second
	}
	return time.Minute
}
