package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The refusals of an acquire. When several apply, the first in this order is
// returned: the context's cause, ErrClosed, ErrSessionLost, ErrSessionLimit,
// *StartError, ErrSaturated (I7). After any of them the caller holds nothing.
var (
	// ErrClosed reports that the pool is closing or closed. Retrying cannot help.
	ErrClosed = errors.New("pool: closed")

	// ErrSaturated reports that Config.MaxWaiters acquires are parked already.
	// Retrying later helps.
	ErrSaturated = errors.New("pool: too many waiters")

	// ErrNotAvailable reports that a try found no idle worker that it may use.
	// Retrying later helps.
	ErrNotAvailable = errors.New("pool: no worker available")

	// ErrSessionLost reports that the worker holding the session's state is gone, or not
	// known for certain any more because the binding to it was corrupt.
	// Retrying cannot help until EndSession, or until Config.SessionTTL has passed
	// since the loss: start a new session.
	ErrSessionLost = errors.New("pool: session lost")

	// ErrSessionLimit reports that Config.MaxSessions, or Config.MaxSessionsPerWorker
	// on every worker, is reached. Retrying helps once a session has ended.
	ErrSessionLimit = errors.New("pool: too many sessions")

	// ErrAcquireTimeout reports that Config.AcquireTimeout passed while the acquire was
	// parked. It wraps context.DeadlineExceeded. Retrying later helps.
	ErrAcquireTimeout = fmt.Errorf("pool: acquire timed out: %w", context.DeadlineExceeded)
)

// StartError reports that a worker could not be started and that no live worker could
// serve the caller. Retrying helps once the cause is mended.
type StartError struct {
	ID  WorkerID // the incarnation that failed to start
	Err error    // what Start returned, or why its context ended
}

// Error says which worker failed to start and why.
func (e *StartError) Error() string {
	return fmt.Sprintf("pool: worker %d did not start: %v", e.ID, e.Err)
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// WorkerError reports why a worker was stopped before its time: the cause given to
// Retire or Discard, the last failed check, a failed start, or a shutdown that revoked its
// lease. It is the cause that Config.Stop gets.
type WorkerError struct {
	ID  WorkerID
	Err error
}

// Error says which worker failed and why.
func (e *WorkerError) Error() string { return fmt.Sprintf("pool: worker %d failed: %v", e.ID, e.Err) }

// Unwrap returns the cause.
func (e *WorkerError) Unwrap() error { return e.Err }

// PanicError is the error that stands for a panic in a hook, or for its goroutine
// having ended by runtime.Goexit.
type PanicError struct {
	Value any    // the panic's value; nil for Goexit
	Stack []byte // the panicking goroutine's stack
}

// Error gives the panic's value without the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "pool: hook ended its goroutine"
	}
	return fmt.Sprintf("pool: hook panicked: %v", e.Value)
}

// ShutdownError reports that closing was not in good order: leases were revoked, or
// hooks had not returned StopTimeout after the last lease.
type ShutdownError struct {
	Revoked []WorkerID // the workers stopped under their holders
	Running []Hook     // the hooks that had not returned
}

// Hook names a hook that is still running.
type Hook struct {
	Name string // "Start", "Stop", "Check" or "SessionEnded"
	ID   WorkerID
}

// Error lists the revoked workers and the running hooks.
func (e *ShutdownError) Error() string {
	var parts []string
	if len(e.Revoked) > 0 {
		parts = append(parts, fmt.Sprintf("leases revoked on workers %v", e.Revoked))
	}
	for _, h := range e.Running {
		parts = append(parts, fmt.Sprintf("%s of worker %d has not returned", h.Name, h.ID))
	}
	return "pool: shutdown: " + strings.Join(parts, "; ")
}
