package linearize

import (
	"context"
	"errors"

	"github.com/poolproof/poolproof/pool"
)

// Observe takes down a change that package pool reports; it is meant for
// [pool.Config.Observer]:
//
//	cfg.Observer = recorder.Observe
//
// The History then gives each grant and release the number of its change, which makes
// judging fast and exact, and shows what no caller sees: starts and stops of workers, the
// loss of sessions, and grants that were given back.
func (r *Recorder) Observe(e pool.Event) {
	c := Change{
		Seq: e.Seq, Kind: ChangeKind(e.Kind), Fresh: e.Fresh, Worker: uint64(e.Worker), Token: uint64(e.Token),
		Session: string(e.Session),
	}
	if e.Kind == pool.AcquireRefused {
		c.Outcome = OutcomeOf(e.Err)
		if c.Outcome == Failed {
			c.Outcome = Cancelled // what the pool has for a context's end is not exported
		}
	}
	r.Change(c)
}

// OutcomeOf returns the outcome of an acquire of package pool that returned err.
func OutcomeOf(err error) Outcome {
	var start *pool.StartError
	switch {
	case err == nil:
		return Granted
	case errors.Is(err, pool.ErrClosed):
		return Closed
	case errors.Is(err, pool.ErrSessionLost):
		return SessionLost
	case errors.Is(err, pool.ErrSessionLimit):
		return SessionLimit
	case errors.Is(err, pool.ErrSaturated):
		return Saturated
	case errors.Is(err, pool.ErrNotAvailable):
		return Refused
	case errors.Is(err, pool.ErrAcquireTimeout):
		return TimedOut
	case errors.As(err, &start):
		return StartFailed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Cancelled
	}
	return Failed
}
