package linearize

import (
	"fmt"
	"time"

	"github.com/poolproof/poolproof/model"
)

// History is what was observed of a pool in one run.
type History struct {
	Head    Head
	Ops     []Op     // in order of their calls; Ops[i].ID is i+1, except in a minimised history
	Changes []Change // what the pool said of itself, in order of Seq; none if it says nothing
	Faults  []Fault  // what was done to the pool, in order of From
}

// Head says where a history comes from and what its pool promised.
type Head struct {
	Pool   string // names the pool
	Seed   uint64 // of the run
	Replay string // the command that repeats the run; may be empty
	Config Config
}

// Config says what the pool promised: a history is judged by it. The zero value promises
// least, namely that nobody gets a worker that another one holds.
type Config struct {
	Capacity   int           // leases out at once, until a Resize; 0: no limit is known
	Affinity   Affinity      // what a session may expect of its worker
	SessionTTL time.Duration // a session without lease and waiter ends after it; 0: never
	Slack      time.Duration // by so much more its end may be late
	FIFO       bool          // waiters who may use the same worker are served in order of arrival
	MaxWaiters int           // an acquire is saturated only while so many others wait; 0: never
	FullOnly   bool          // an acquire or try is refused only while Capacity leases are out
	CloseWaits bool          // Close returns when no lease is out, and nothing is granted afterwards
	NoneAfter  bool          // nothing is granted once a Close has begun; else no call is that begins when one has returned
	Fresh      bool          // a grant says truly whether it bound its session
	Ends       bool          // whatever ends a worker is in the history: a Discard, Retire, Resize, Fault or Change
}

// Affinity says what a session may expect of its worker.
type Affinity = model.PromiseAffinity

// The affinities.
const (
	None   = model.PromiseNone   // nothing
	Strict = model.PromiseStrict // the same worker; once that is gone it is lost until it has ended
	Sticky = model.PromiseSticky // the same worker for as long as that lives
	Prefer = model.PromisePrefer // the same worker if that is idle
)

// ConfigOf returns what a pool of that capacity promises by spec, as far as histories can
// show it. FullOnly, Fresh and Ends are left to the caller: they say how the run was made.
func ConfigOf(spec model.PromiseSpec, capacity int) Config {
	return Config{
		Capacity: capacity, Affinity: spec.Affinity, SessionTTL: spec.SessionTTL, Slack: spec.Slack,
		FIFO: spec.FIFO, MaxWaiters: spec.MaxWaiters, CloseWaits: spec.CloseWaits, NoneAfter: spec.ClosedAtOnce,
	}
}

// Kind says what a call asks of the pool.
type Kind uint8

// The calls.
const (
	Acquire    Kind = iota + 1 // acquire, for Session if it is not empty
	Try                        // acquire without waiting
	Release                    // give the lease of op Lease back
	Discard                    // give it back, its worker not to be used again
	EndSession                 // end Session
	Resize                     // the capacity becomes Max
	Retire                     // Worker is reported dead
	Close                      // close
	Shutdown                   // close, revoking leases once its context ends
)

var kindNames = [...]string{
	"", "acquire", "try", "release", "discard", "end-session", "resize", "retire", "close", "shutdown",
}

// String names the kind as files do.
func (k Kind) String() string { return nameOf(kindNames[:], int(k), "kind") }

// Outcome says how a call ended.
type Outcome uint8

// The outcomes. NoAnswer is that of a call that never returned: it may have taken effect
// at any time since it began, or never.
const (
	NoAnswer     Outcome = iota
	Granted              // of an acquire or try: Worker is leased
	Done                 // of any other call: it returned, without an error or with one that changes nothing
	Cancelled            // the caller's context ended
	Refused              // nothing is available, and it does not wait
	Saturated            // too many wait
	TimedOut             // the pool's own limit on waiting
	Closed               // the pool is closing or closed
	StartFailed          // no worker could be started
	SessionLost          // the session's worker is gone
	SessionLimit         // too many sessions
	Failed               // any other error; the call had no effect
)

var outcomeNames = [...]string{
	"no-answer", "granted", "done", "cancelled", "refused", "saturated", "timed-out", "closed", "start-failed",
	"session-lost", "session-limit", "failed",
}

// String names the outcome as files do.
func (o Outcome) String() string { return nameOf(outcomeNames[:], int(o), "outcome") }

// Op is one call. Times count from the beginning of the run on a monotonic clock. Fields
// that its kind and outcome do not name are zero.
type Op struct {
	ID      int // from 1, in order of calls
	Client  int // who called; a client's calls follow one another
	Kind    Kind
	Outcome Outcome
	Fresh   bool // of a grant: it bound its session to the worker
	Ended   bool // of an acquire: its context had ended before the call
	Session string
	Call    time.Duration
	Return  time.Duration // 0 if there was no answer
	Parked  time.Duration // by then it certainly waited; 0: nobody knows
	Worker  uint64        // of a grant, of what ends a lease, of Retire
	Token   uint64        // of a grant: the number that the pool gave the lease; 0: none
	Seq     uint64        // the number of the change that it made in the pool; 0: nobody knows
	Lease   int           // of Release and Discard: the ID of the acquire whose lease they end
	Max     int           // of Resize
}

// Acquires says that the op asks for a lease.
func (o *Op) Acquires() bool { return o.Kind == Acquire || o.Kind == Try }

// Frees says that the op ends a lease.
func (o *Op) Frees() bool { return o.Kind == Release || o.Kind == Discard }

// Closes says that the op closes the pool.
func (o *Op) Closes() bool { return o.Kind == Close || o.Kind == Shutdown }

// String says what was called, and when, and what came of it.
func (o *Op) String() string {
	s := fmt.Sprintf("op %d: client %d: %s", o.ID, o.Client, o.Kind)
	if o.Session != "" {
		s += fmt.Sprintf(" session=%s", o.Session)
	}
	switch {
	case o.Frees():
		s += fmt.Sprintf(" worker=%d lease=%d", o.Worker, o.Lease)
	case o.Kind == Retire:
		s += fmt.Sprintf(" worker=%d", o.Worker)
	case o.Kind == Resize:
		s += fmt.Sprintf(" max=%d", o.Max)
	}
	s += ": " + o.Outcome.String()
	if o.Outcome == Granted {
		s += fmt.Sprintf(" worker=%d", o.Worker)
	}
	if o.Fresh {
		s += " fresh"
	}
	if o.Outcome == NoAnswer {
		return s + fmt.Sprintf(" (from %v)", o.Call)
	}
	return s + fmt.Sprintf(" (%v to %v)", o.Call, o.Return)
}

// ChangeKind says what a Change reports.
type ChangeKind uint8

// The changes that a pool may report of itself.
const (
	WorkerStarting ChangeKind = iota + 1
	WorkerStarted
	WorkerStartFailed
	WorkerStopping // never granted from now on
	WorkerStopped
	CheckBegun // Worker is not to be had until CheckEnded
	CheckEnded
	AcquireParked  // Session
	AcquireRefused // Session, Outcome
	LeaseGranted   // Worker, Session, Token, Fresh
	LeaseEnded     // Worker, Session
	LeaseRevoked   // Worker
	SessionBound   // Session, Worker
	SessionGone    // Session: its worker is gone
	SessionEnded   // Session: by EndSession, or its time was over
	Resized
	ClosingBegun
	ClosingEnded
)

var changeNames = [...]string{
	"", "worker-starting", "worker-started", "worker-start-failed", "worker-stopping", "worker-stopped",
	"check-begun", "check-ended", "parked", "refused", "granted", "lease-ended", "lease-revoked",
	"session-bound", "session-lost", "session-ended", "resized", "closing", "closed",
}

// String names the kind of change as files do.
func (k ChangeKind) String() string { return nameOf(changeNames[:], int(k), "change") }

// Change is a change of its state that a pool reported. It had happened by At.
type Change struct {
	Seq     uint64 // later changes have higher ones; one may be reported in several parts
	At      time.Duration
	Kind    ChangeKind
	Outcome Outcome
	Fresh   bool
	Worker  uint64
	Token   uint64
	Session string
}

// Fault is something done to the pool on purpose, which landed between From and To.
type Fault struct {
	Kind   string // "kill", for one
	From   time.Duration
	To     time.Duration
	Worker uint64 // whom it hit; 0: nobody in particular
	Ends   bool   // Worker died of it
	Text   string
}

// nameOf returns the i-th name, or one that says that there is none.
func nameOf(names []string, i int, what string) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s-%d", what, i)
}

// Span returns the time of the last thing in the history.
func (h *History) Span() time.Duration {
	var last time.Duration
	for i := range h.Ops {
		last = max(last, h.Ops[i].Call, h.Ops[i].Return)
	}
	for i := range h.Changes {
		last = max(last, h.Changes[i].At)
	}
	for i := range h.Faults {
		last = max(last, h.Faults[i].To)
	}
	return last
}
