package pool

import (
	"context"
	"sync/atomic"
	"time"
)

// phase is where a worker is in its life:
//
//	starting → idle ⇄ leased, idle ⇄ checking, each → stopping → gone
type phase uint8

const (
	starting phase = iota
	idle
	checking // a check or a telling runs
	leased
	stopping // never granted again; waits for its hooks to return
	gone
)

// hook names a hook that is running for a worker.
type hook uint8

const (
	hookNone hook = iota
	hookStart
	hookStop
	hookCheck
	hookTell
)

func (h hook) String() string {
	return [...]string{"none", "Start", "Stop", "Check", "SessionEnded"}[h]
}

// worker is one incarnation. All fields but the atomic ones are guarded by Pool.mu.
type worker struct {
	id    WorkerID
	phase phase
	value any  // a pointer to what Start returned, from then on
	alive bool // Start returned it, and Stop has not been called

	// The running hook. cancel ends its context; it is set where the hook is begun.
	running   hook
	cancel    context.CancelCauseFunc
	cancelled bool  // the running check was cancelled for a waiter
	cause     error // why it stops

	// The lease. gen advances when a lease ends: a grant is valid while its own gen is
	// the worker's. revoked stays set from the revocation on.
	gen        atomic.Uint64
	revoked    atomic.Bool
	session    *session // of the running lease, nil if anonymous
	leaseEpoch uint64   // the session's epoch at the grant
	freshBind  bool     // the running lease made the binding
	leases     int

	// Sessions bound to it, waiters that may use nothing else, and the ended sessions
	// that it has not been told of.
	bindings int
	bound    *session
	waiters  waiterList
	debts    []SessionID

	pos      int // index in state.free or state.bound while idle
	retired  bool
	past     bool // takes no new work (I17): expired, or has had MaxLeases leases
	expired  bool // its lifetime has ended
	due      bool // a check is due, once it is idle
	failures int
	epoch    uint64 // the back-off epoch in which its start began

	startBy  time.Duration // when its start fails by timeout
	pastAt   time.Duration // when its lifetime ends; never if it has none
	checkAt  time.Duration // when its next check is due; never if it has none
	idleFrom time.Duration // when a sweep first saw it idle and unbound; never before that
}

// never is later than any deadline.
const never = time.Duration(1<<63 - 1)

func (w *worker) roomy(limit int) bool {
	return !w.past && (limit == 0 || w.bindings < limit)
}
