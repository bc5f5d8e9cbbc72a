package fallback

import (
	"errors"
	"fmt"
	"strings"

	"github.com/poolproof/poolproof/pool"
)

// The refusals of a chain, beside those of its layers' pools. After any of them the caller
// holds nothing.
var (
	// ErrExhausted reports that every layer was passed over. The error is an
	// *ExhaustedError, which wraps the cause of each. Retrying later helps, unless every
	// cause is pool.ErrClosed.
	ErrExhausted = errors.New("fallback: no layer can serve")

	// ErrSessionHeld reports that the layer which holds the session cannot serve, and
	// that the session may not move. The error is a *HeldError, which wraps the cause.
	// Retrying later helps; EndSession lets the session begin anew on any layer.
	ErrSessionHeld = errors.New("fallback: the session's layer cannot serve")

	// ErrBreakerOpen is the cause of a layer that was left alone because of failures.
	ErrBreakerOpen = errors.New("fallback: breaker is open")

	// ErrProbesOut is the cause of a layer that is being probed by other calls.
	ErrProbesOut = errors.New("fallback: breaker is half-open, its probes are out")
)

// Reason says why a layer was passed over.
type Reason uint8

// The reasons.
const (
	BreakerOpen    Reason = iota + 1 // Err: ErrBreakerOpen
	ProbesOut                        // Err: ErrProbesOut
	PoolClosed                       // Err: wraps pool.ErrClosed
	Saturated                        // Err: wraps pool.ErrSaturated
	StartFailed                      // Err: wraps a *pool.StartError
	AcquireTimeout                   // Err: wraps pool.ErrAcquireTimeout
	WorkerBroke                      // Err: what the function of DoIdempotent returned
)

// String returns the reason in words.
func (r Reason) String() string {
	names := [...]string{
		"none", "breaker open", "probes out", "pool closed", "saturated", "start failed",
		"acquire timeout", "worker broke",
	}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// busy reports whether the layer only has too much to do.
func (r Reason) busy() bool { return r == Saturated || r == AcquireTimeout }

// failure reports whether the reason, given by a pool, is a failure of its layer.
func (r Reason) failure() bool { return r == PoolClosed || r == StartFailed || r == AcquireTimeout }

// reasonOf classifies what a pool refused an acquire with; zero moves no call.
func reasonOf(err error) Reason {
	var start *pool.StartError
	switch {
	case errors.As(err, &start): // first: its cause may be anything
		return StartFailed
	case errors.Is(err, pool.ErrSessionLost), errors.Is(err, pool.ErrSessionLimit):
		return 0
	case errors.Is(err, pool.ErrClosed):
		return PoolClosed
	case errors.Is(err, pool.ErrSaturated):
		return Saturated
	case errors.Is(err, pool.ErrAcquireTimeout):
		return AcquireTimeout
	}
	return 0
}

// Passed is a layer that a call passed over.
type Passed struct {
	Layer  string
	Reason Reason
	Err    error // never nil
}

// String names the layer and the reason.
func (p Passed) String() string { return p.Layer + ": " + p.Reason.String() }

// ExhaustedError reports that every layer was passed over. It wraps ErrExhausted and the
// cause of each layer.
type ExhaustedError struct {
	Passed []Passed // in the order in which they were asked
}

// Error lists the layers and their causes.
func (e *ExhaustedError) Error() string {
	parts := make([]string, len(e.Passed))
	for i, p := range e.Passed {
		parts[i] = fmt.Sprintf("%s: %v", p.Layer, p.Err)
	}
	return ErrExhausted.Error() + ": " + strings.Join(parts, "; ")
}

// Unwrap returns ErrExhausted and the causes.
func (e *ExhaustedError) Unwrap() []error {
	errs := []error{ErrExhausted}
	for _, p := range e.Passed {
		errs = append(errs, p.Err)
	}
	return errs
}

// HeldError reports that the layer which holds a session cannot serve, and that the
// session may not move. It wraps ErrSessionHeld and the cause, and pool.ErrSessionLost
// where the layer's pool is closed: what it knew of the session is gone.
type HeldError struct {
	Session pool.SessionID
	Passed  Passed // the layer
}

// Error names the layer and the cause. It does not give the session's name away.
func (e *HeldError) Error() string {
	return fmt.Sprintf("%v: %s: %v", ErrSessionHeld, e.Passed.Layer, e.Passed.Err)
}

// Unwrap returns ErrSessionHeld, the cause, and pool.ErrSessionLost where it applies.
func (e *HeldError) Unwrap() []error {
	errs := []error{ErrSessionHeld, e.Passed.Err}
	if e.Passed.Reason == PoolClosed {
		errs = append(errs, pool.ErrSessionLost)
	}
	return errs
}
