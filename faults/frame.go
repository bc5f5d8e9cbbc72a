package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// FrameKind is a way to harm the frames of a worker's channel.
type FrameKind string

// The kinds. Each is about frames as docs/protocol.md describes them: a length of 4 bytes,
// and a body. A message has an id if it is a request, a reply, or a batch of them.
const (
	// FrameBitFlip flips one drawn bit. Without FrameFault.Payload it aims at what the
	// protocol vouches for: a receiver cannot take the frame for a good one.
	FrameBitFlip FrameKind = "bit-flip"
	// FrameTruncate sends a drawn part of the frame, at least one byte and not all, and
	// then the end of file. To a worker that closes its channel altogether.
	FrameTruncate FrameKind = "truncate"
	// FrameOversize replaces the length by a drawn one above the frame limit.
	FrameOversize FrameKind = "oversize"
	// FrameGarbage replaces the body by as many random bytes.
	FrameGarbage FrameKind = "garbage"
	// FrameDuplicate sends a message with an id twice.
	FrameDuplicate FrameKind = "duplicate"
	// FrameLate holds a message with an id back for FrameFault.For. Those behind it do not
	// wait: they overtake it. The end of file does wait.
	FrameLate FrameKind = "late"
	// FrameWrongID gives a message another id, for a batch its first. One of three times
	// it is the one before, one of three the one after.
	FrameWrongID FrameKind = "wrong-id"
	// FrameNoise sends 1 to 64 random bytes before the frame.
	FrameNoise FrameKind = "noise"
	// FrameWrongVersion changes the version in the reply to hello. From the worker only.
	FrameWrongVersion FrameKind = "wrong-version"
	// FrameLoss drops the frame, as no pipe does and no network below a connection.
	FrameLoss FrameKind = "loss"
	// FrameDelay holds the frame back for FrameFault.For and a drawn part of
	// FrameFault.Jitter. Those behind it wait, so the order is kept; they are not delayed
	// by more than their own time if they have come later than that.
	FrameDelay FrameKind = "delay"
	// FrameSilence is a partition: nothing passes until it is healed, and then all does, in
	// order. So behaves a network, which sends again what was not acknowledged, as long as
	// neither side gives up. The sender notices nothing until 64 KiB are held, from when on
	// it is not read any more. An end of file is held as well, but not a Close of the
	// host's, which must not wait. One way it takes one direction, else both.
	FrameSilence FrameKind = "silence"
	// FrameStall is a receiver that has stopped reading: the link takes no more than the
	// beginning of one frame, so the sender blocks as soon as the pipe is full. Healed, all
	// passes.
	FrameStall FrameKind = "stall"
)

// FrameKinds returns all kinds, in the order in which they are listed.
func FrameKinds() []FrameKind {
	return []FrameKind{
		FrameBitFlip, FrameTruncate, FrameOversize, FrameGarbage, FrameDuplicate, FrameLate, FrameWrongID,
		FrameNoise, FrameWrongVersion, FrameLoss, FrameDelay, FrameSilence, FrameStall,
	}
}

// Direction says which frames of a channel are meant.
type Direction string

// The directions.
const (
	ToWorker   Direction = "to worker"
	FromWorker Direction = "from worker"
	BothWays   Direction = "both ways"
)

// covers reports whether frames that pass in the direction way are meant.
func (d Direction) covers(way Direction) bool { return d == BothWays || d == way }

// FrameFault says how to harm the frames of a channel. It is a value, which a Link takes
// any number of times.
type FrameFault struct {
	Kind FrameKind
	// Direction is where the frames go. With BothWays a fault for one frame harms the
	// first of either direction.
	Direction Direction
	// Lasting has every frame harmed until the fault is healed, in place of the next one.
	// FrameSilence and FrameStall always last.
	Lasting bool
	// Skip is how many frames that could be harmed pass before. From the beginning of a
	// channel, 1 spares hello, in one direction.
	Skip int
	// Payload has FrameBitFlip aim at the rest of the frame: what a request asks and what a
	// reply says. The protocol does not vouch for that, so the other side may take a wrong
	// value for a right one, or call another method.
	Payload bool
	// For is how long FrameLate and FrameDelay hold a frame.
	For time.Duration
	// Jitter is how much longer FrameDelay holds a frame at most.
	Jitter time.Duration
	// Rand is drawn from by Inject alone, twice for each, which seeds the draws that are
	// made when frames pass. Nil is allowed where the kind draws nothing.
	Rand *rand.Rand
}

// String returns the kind and the direction, as in "bit-flip from worker".
func (f FrameFault) String() string { return string(f.Kind) + " " + string(f.Direction) }

// Check returns what makes f impossible, or nil.
func (f FrameFault) Check() error {
	var errs []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("faults: FrameFault."+format, args...))
		}
	}
	held := f.Kind == FrameLate || f.Kind == FrameDelay
	complain(!slices.Contains(FrameKinds(), f.Kind), "Kind is %q; there is no such kind", f.Kind)
	complain(f.Direction != ToWorker && f.Direction != FromWorker && f.Direction != BothWays,
		"Direction is %q; there is no such direction", f.Direction)
	complain(f.Kind == FrameWrongVersion && f.Direction != FromWorker, "Direction is %q; the reply to hello goes from worker", f.Direction)
	complain(f.Skip < 0, "Skip is %d; it must not be negative", f.Skip)
	complain(f.Payload && f.Kind != FrameBitFlip, "Payload is set; only %s has it", FrameBitFlip)
	complain(f.For < 0 || f.Jitter < 0, "For and Jitter are %v and %v; they must not be negative", f.For, f.Jitter)
	complain(held && f.For+f.Jitter <= 0, "For is %v; %s needs a time", f.For, f.Kind)
	complain(!held && f.For > 0 || f.Kind != FrameDelay && f.Jitter > 0, "For and Jitter are %v and %v; %s has no such time", f.For, f.Jitter, f.Kind)
	complain(f.draws() && f.Rand == nil, "Rand is nil; %s draws", f.Kind)
	return errors.Join(errs...)
}

// Fatal reports whether the worker cannot be used again once the fault has landed and the
// call that met it, or the next one, has ended. False: it depends on how long what is held
// is held, on what was lost, or on what the other side makes of it.
func (f FrameFault) Fatal() bool {
	switch f.Kind {
	case FrameBitFlip: // a worker answers a request that is none with an error
		return !f.Payload && f.Direction == FromWorker
	case FrameLate, FrameLoss, FrameDelay, FrameSilence, FrameStall:
		return false
	}
	return true
}

// draws reports whether the harm is drawn.
func (f FrameFault) draws() bool {
	switch f.Kind {
	case FrameDuplicate, FrameLate, FrameLoss, FrameSilence, FrameStall:
		return false
	case FrameDelay:
		return f.Jitter > 0
	}
	return true
}

// lasts reports whether the fault goes on until it is healed.
func (f FrameFault) lasts() bool { return f.Lasting || f.holds() }

// holds reports whether frames are held until the fault is healed.
func (f FrameFault) holds() bool { return f.Kind == FrameSilence || f.Kind == FrameStall }

// paces reports whether the fault is about when frames pass, not about what they hold.
func (f FrameFault) paces() bool { return f.holds() || f.Kind == FrameDelay }
