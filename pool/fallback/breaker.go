package fallback

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sony/gobreaker/v2"
)

// State is the state of a layer's breaker.
type State uint8

// The states of a breaker; the package comment shows the transitions.
const (
	Closed   State = iota // calls go through
	HalfOpen              // probes go through
	Open                  // nothing goes through
)

// String returns the state in words.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case HalfOpen:
		return "half-open"
	case Open:
		return "open"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

func stateOf(s gobreaker.State) State {
	switch s {
	case gobreaker.StateOpen:
		return Open
	case gobreaker.StateHalfOpen:
		return HalfOpen
	}
	return Closed
}

// Change is a change of a breaker.
type Change struct {
	Seq      uint64 // counts the changes of a chain
	Layer    string
	From, To State
	Cause    error // of opening: the failure that made it
}

// verdict is what a call's outcome says about its layer.
type verdict uint8

const (
	neither verdict = iota
	success
	failure
)

// What the breaker is told; only their identity matters.
var (
	errFailure = errors.New("failure")
	errNeither = errors.New("neither")
)

// breaker is a layer's breaker: that of the library, and what that leaves undone. The
// library admits and judges in two steps, so that no way for a call to end can skip the
// second; but a probe whose call never ends would keep its place, so that places are
// given back by the clock. All of it is guarded by Chain.mu.
type breaker struct {
	inner        *gobreaker.TwoStepCircuitBreaker[struct{}]
	probeTimeout time.Duration
	probes       []*permit // that hold a place, in the order in which they took it
	cause        error     // of the failure that is being counted
}

// permit is the right to one call. It must be settled once.
type permit struct {
	done  func(error)
	until time.Time // when it gives back the place of a probe, if it is one
	freed bool      // it has
}

func newBreaker(settings Breaker, changed func(from, to State, cause error)) *breaker {
	b := &breaker{probeTimeout: settings.ProbeTimeout}
	s := gobreaker.Settings{
		MaxRequests:  uint32(settings.Probes),
		Timeout:      settings.OpenFor - 1, // the library waits until more than that has passed
		IsSuccessful: func(err error) bool { return err == nil },
		IsExcluded:   func(err error) bool { return err == errNeither },
		ReadyToTrip: func(n gobreaker.Counts) bool {
			return int64(n.ConsecutiveFailures) >= int64(settings.FailuresInRow)
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			var cause error
			if to == gobreaker.StateOpen {
				cause = b.cause
			}
			changed(stateOf(from), stateOf(to), cause)
		},
	}
	if settings.FailureRatio > 0 {
		// Only here: a window makes the library forget failures in a row, too.
		s.Interval, s.BucketPeriod = settings.Window, settings.Window/10
		s.ReadyToTrip = func(n gobreaker.Counts) bool {
			calls := float64(n.TotalSuccesses) + float64(n.TotalFailures) // Requests has those in flight
			return calls >= float64(settings.MinCalls) && float64(n.TotalFailures) >= settings.FailureRatio*calls
		}
	}
	b.inner = gobreaker.NewTwoStepCircuitBreaker[struct{}](s)
	return b
}

// state returns the state at now, which is the present.
func (b *breaker) state() State { return stateOf(b.inner.State()) }

// allow admits a call, or says why not.
func (b *breaker) allow(now time.Time) (*permit, Reason) {
	for len(b.probes) > 0 && !b.probes[0].until.After(now) {
		x := b.probes[0]
		b.probes = slices.Delete(b.probes, 0, 1)
		x.freed = true
		x.done(errNeither)
	}
	done, err := b.inner.Allow()
	switch {
	case errors.Is(err, gobreaker.ErrOpenState):
		return nil, BreakerOpen
	case err != nil:
		return nil, ProbesOut
	}
	x := &permit{done: done}
	if b.state() == HalfOpen {
		x.until = now.Add(b.probeTimeout)
		b.probes = append(b.probes, x)
	}
	return x, 0
}

// settle takes the outcome of the call that x admitted. The library ignores it if the
// breaker has changed its state since.
func (b *breaker) settle(x *permit, v verdict, cause error) {
	if i := slices.Index(b.probes, x); i >= 0 {
		b.probes = slices.Delete(b.probes, i, i+1)
	}
	switch {
	case v == success:
		x.done(nil)
	case v == failure:
		b.cause = cause
		x.done(errFailure)
		b.cause = nil
	case !x.freed: // a place is given back once
		x.done(errNeither)
	}
}
