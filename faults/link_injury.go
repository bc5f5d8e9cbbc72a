package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// LinkInjury is a FrameFault on its way: it may have landed, and it may have been healed.
// All methods may be called concurrently.
type LinkInjury struct {
	link  *Link
	fault FrameFault
	rng   *rand.Rand    // used with link.mu held; nil if nothing is drawn
	since [2]int        // the frames to and from the worker that had begun before
	over  chan struct{} // closed when it can land no more
	// landed is closed once evidence is set.
	landed chan struct{}

	// The fields below are guarded by link.mu.
	skip     int
	healed   bool
	harmed   string // the frame that has been harmed last
	evidence string // what has landed first
	why      string // it can land no more
}

// Landed blocks until the fault has landed, and then says on what: the first frame, counted
// from 1 in its direction, the length of its body as it was, and what was done. A frame has
// been harmed once the receiver has taken what became of it: the host, by Read; the worker,
// by its channel, where a pipe of the kernel may hold it until the worker reads. A frame
// that is dropped or held back has been harmed at once, and nothing else counts for a fault
// that does that.
//
// The error says what has passed instead. It wraps ctx's cause if ctx ended first; otherwise
// the fault was healed, or the link closed, and it can land no more.
func (i *LinkInjury) Landed(ctx context.Context) (evidence string, err error) {
	var cause error
	select {
	case <-i.landed:
	case <-i.over:
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	l := i.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if i.evidence != "" {
		return i.evidence, nil
	}
	if i.why != "" {
		cause = errors.New(i.why)
	}
	return "", fmt.Errorf("faults: %v has not landed on worker %d: %s: %w", i.fault, l.id, i.missedLocked(), cause)
}

// missedLocked says what has passed instead of landing.
func (i *LinkInjury) missedLocked() string {
	if i.harmed != "" {
		return "not taken yet: " + i.harmed
	}
	l := i.link
	passed := 0
	for n, ln := range []*lane{&l.to, &l.from} {
		if i.fault.Direction.covers(ln.way) {
			passed += ln.frames - i.since[n]
			if ln.raw {
				return "frames can be told apart no more " + string(ln.way)
			}
		}
	}
	if passed == 0 {
		return "no frame passed " + string(i.fault.Direction)
	}
	return fmt.Sprintf("it fitted none of %d frames %s", passed, i.fault.Direction)
}

// Heal ends the fault: no further frame is harmed, and what it holds passes, now or, for
// FrameLate and FrameDelay, when it would have. A frame that has been harmed already passes
// as it is. Heal does not block, and does nothing the second time.
func (i *LinkInjury) Heal() {
	l := i.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if i.healed {
		return
	}
	i.healed = true
	i.spendLocked()
	if i.harmed == "" {
		i.endLocked("it was healed")
	}
	l.changed.Broadcast()
}

// Fatal is Fatal of the fault.
func (i *LinkInjury) Fatal() bool { return i.fault.Fatal() }

// String returns the fault and the worker, as in "bit-flip from worker 3".
func (i *LinkInjury) String() string { return fmt.Sprintf("%v %d", i.fault, i.link.id) }

// spendLocked has it harm no further frame.
func (i *LinkInjury) spendLocked() {
	l := i.link
	if n := slices.Index(l.injuries, i); n >= 0 {
		l.injuries = slices.Delete(slices.Clone(l.injuries), n, n+1)
	}
}

// landLocked notes that it has landed. Only the first time counts.
func (i *LinkInjury) landLocked(evidence string) {
	if i.evidence == "" && i.why == "" {
		i.evidence = evidence
		close(i.landed)
		i.settleLocked()
	}
}

// endLocked notes why it can land no more, unless it has.
func (i *LinkInjury) endLocked(why string) {
	if i.evidence == "" && i.why == "" {
		i.why = why
		close(i.over)
		i.settleLocked()
	}
}

// settleLocked has the link forget that it may land.
func (i *LinkInjury) settleLocked() {
	l := i.link
	if n := slices.Index(l.unlanded, i); n >= 0 {
		l.unlanded = slices.Delete(l.unlanded, n, n+1)
	}
}
