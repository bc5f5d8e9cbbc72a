package model

import (
	"fmt"
	"time"
)

// PromiseSpec says what a pool promises beyond the least that every pool owes. The zero
// value promises least: any waiter may be served from any idle resource.
type PromiseSpec struct {
	FIFO              bool            // waiters are served in order of arrival
	NoContext         bool            // acquiring ignores its context
	RefusesWhenFull   bool            // acquiring does not wait; without it a refusal is a finding unless the queue is full
	MaxWaiters        int             // longest queue; 0: no limit
	Affinity          PromiseAffinity // what a session may expect of its resource
	CloseWaits        bool            // Close returns after the leases and after all resources are destroyed
	CloseTwice        bool            // a second Close is allowed
	ClosedAtOnce      bool            // waiters are refused at Close without awaiting leases
	MaxAlive          int             // resources alive or being created at once; 0: Capacity; < 0: unbounded
	DestroyFreesEarly bool            // a slot may be reused before Destroy returns
	DestroyTwice      bool            // a resource may be destroyed more than once
	HookPanics        bool            // survives a panic in Create, Destroy, Check or a task
	NoGoexit          bool            // HookPanics says nothing of tasks that call runtime.Goexit
	HooksSucceed      bool            // nothing is promised for hooks that fail or panic: none is made to
	DoubleRelease     PromiseReaction // what a second release does

	// IdleTime and Lifetime bound a resource's age when it is granted, each by at most
	// Slack more; 0: no limit.
	IdleTime, Lifetime, Slack time.Duration

	DoneTakes      bool          // an acquire whose context had ended before it may still be granted what is there
	ShrinksLate    bool          // after a shrink, what was created before it may still be granted
	AcquireTimeout time.Duration // the pool itself ends an acquire that waited so long; 0: it does not
	SessionTTL     time.Duration // a session unused for so long may be forgotten; 0: it is kept until EndSession
}

// PromiseAffinity says what a session may expect of its resource.
type PromiseAffinity uint8

// The affinities.
const (
	PromiseNone   PromiseAffinity = iota // nothing
	PromiseStrict                        // the same resource, or the session is lost
	PromiseSticky                        // the same resource for as long as it lives
	PromisePrefer                        // the same resource if it is idle
)

// PromiseReaction says what a second release of one lease does.
type PromiseReaction uint8

// The reactions.
const (
	PromiseUndefined PromiseReaction = iota // not promised; never tried
	PromiseIgnored                          // nothing
	PromisePanics                           // panics, and changes nothing
)

// PromiseOutcome classifies how an acquire ended.
type PromiseOutcome int

// The outcomes.
const (
	PromiseGranted      PromiseOutcome = iota // a lease; for other calls: no error
	PromiseCancelled                          // the caller's context ended
	PromiseRefused                            // full, not available, or an error of its own
	PromiseClosed                             // the pool is closed
	PromiseCreateFailed                       // a Create failed
	PromiseSessionLost                        // the session's resource is gone
)

// String names the outcome.
func (o PromiseOutcome) String() string {
	names := [...]string{"granted", "cancelled", "refused", "closed", "create failed", "session lost"}
	if o < 0 || int(o) >= len(names) {
		return fmt.Sprintf("outcome %d", int(o))
	}
	return names[o]
}

// PromiseOp is what a call asks of the pool.
type PromiseOp uint8

// The calls.
const (
	PromiseAcquire    PromiseOp = iota // acquire, for Session if it is not empty
	PromiseTry                         // acquire without waiting
	PromiseRelease                     // give Lease back
	PromiseDiscard                     // give Lease back, its resource not to be reused
	PromiseAgain                       // release Lease, which was given back before
	PromiseEndSession                  // end Session
	PromiseResize                      // the capacity becomes Max
	PromiseReset                       // what was created before is not to be granted again
	PromiseCreate                      // add an idle resource
	PromiseClose                       // close
	PromiseShutdown                    // close, revoking the leases once the context ends
	PromiseReopen                      // open again
)

// String names the call.
func (o PromiseOp) String() string {
	names := [...]string{
		"acquire", "try", "release", "discard", "second release", "end of session", "resize", "reset",
		"create", "close", "shutdown", "reopen",
	}
	if int(o) >= len(names) {
		return fmt.Sprintf("call %d", int(o))
	}
	return names[o]
}

// PromiseKind says what a PromiseEvent reports.
type PromiseKind uint8

// The events. Those of hooks are reported by the factory itself, a call just before it
// reaches the pool, a return just after it has come back.
const (
	PromiseCallBegan    PromiseKind = iota // Call begins: Client asks for Op
	PromiseCallEnded                       // Call returns with Outcome
	PromiseCallCanceled                    // the context of Call ends
	PromiseCreateBegan                     // a Create begins; Resource numbers it, from 1
	PromiseCreateEnded                     // it returns; Failed says how
	PromiseDestroyBegan                    // Destroy of Resource begins
	PromiseDestroyEnded                    // it returns
	PromiseCheckBegan                      // Check of Resource begins
	PromiseCheckEnded                      // it returns; Failed says how
	PromiseMisuse                          // Text says how Resource was used against the rules; if 0, what was reported; Failed: hooks are called for ever
)

// PromiseEvent is one thing observed. Fields that its kind does not name are zero.
type PromiseEvent struct {
	Kind     PromiseKind
	Op       PromiseOp
	Outcome  PromiseOutcome
	Done     bool          // of an acquire or shutdown: its context had ended before the call
	Failed   bool          // the hook returned an error or panicked
	Panicked bool          // the call panicked, as Text says
	Injected bool          // the panic was one that the plan put into a hook or a task
	At       time.Duration // since the run began
	Deadline time.Duration // of the call's context, since the run began; 0: none
	Call     int           // numbers the call, from 1
	Client   int
	Lease    int // the acquire's Call, of a release
	Max      int
	Resource uint64
	Session  string
	Text     string
}

// PromiseViolation is a broken promise. Rule is the number of an invariant where one
// fits, else a short name; Text is one sentence.
type PromiseViolation struct {
	Rule, Text string
	Debt       bool // something owed: a finding only if it lasts while hooks succeed and time passes
}

// Error joins rule and text.
func (v *PromiseViolation) Error() string { return v.Rule + ": " + v.Text }

func promiseBroken(rule, format string, args ...any) *PromiseViolation {
	return &PromiseViolation{Rule: rule, Text: fmt.Sprintf(format, args...)}
}

// PromiseConfig is what a PromiseState judges by.
type PromiseConfig struct {
	Spec     PromiseSpec
	Capacity int           // resources usable at once
	Patience time.Duration // how long a failure of Create excuses others
	Loose    bool          // rests are guessed (real time): nothing is concluded from the order of steps
}
