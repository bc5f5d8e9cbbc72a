package broken

import (
	"fmt"
	"slices"
)

// Fault is one way in which a Pool is wrong. Each is modelled on a fault that a
// published pool had: L and G numbers name the rows of docs/guide.md.
type Fault int

// None makes a correct pool.
const None Fault = 0

// Faults of starts and of the capacity.
const (
	// BackoffWakesNobody: the end of a back-off begins no start (G2).
	BackoffWakesNobody Fault = iota + 1
	// FailedStartStrandsWaiters: a failed start fails no waiter, even with no worker left (G2).
	FailedStartStrandsWaiters
	// FailedStartFailsAll: a failed start fails the unbound waiters although workers live (L4).
	FailedStartFailsAll
	// StartsOverMax: starting workers do not count towards MaxSize (G6).
	StartsOverMax
	// StopFreesSlotEarly: stopping workers do not count towards MaxSize (G6).
	StopFreesSlotEarly
	// StopTimeoutFreesSlot: a worker whose Stop is late is forgotten while it lives (L27).
	StopTimeoutFreesSlot
	// ReplacementOverMax: a failed check starts a replacement without asking for room (G12).
	ReplacementOverMax
	// BackoffNeverEnds: no start follows a failed one (L16).
	BackoffNeverEnds
	// BackoffPerFailure: every failure doubles the delay, not every epoch (L16).
	BackoffPerFailure
	// HalfOpenSticks: a success does not close the back-off (L12).
	HalfOpenSticks
	// HalfOpenStampede: after a back-off all wanted starts go ahead, not one probe (L23).
	HalfOpenStampede
	// MinSizeNotKept: lost workers are not replaced without demand (L16).
	MinSizeNotKept
	// StartsOneByOne: one start at a time, whatever StartConcurrency says (L1).
	StartsOneByOne
	// StartStorm: StartConcurrency bounds nothing (L23).
	StartStorm
	// RetiredStartJoins: Retire of a starting worker is ignored; it joins later (L14).
	RetiredStartJoins
	// CancelKillsStart: a caller that gives up takes a start with it (L5).
	CancelKillsStart
	// PanicLosesSlot: a panicking hook never gives its slot back (G3).
	PanicLosesSlot
	// ResizeWakesNobody: new capacity is not used until something else happens (G9).
	ResizeWakesNobody
	// ShrinkIgnoredAtRelease: workers released after a shrink stay (L26).
	ShrinkIgnoredAtRelease
)

// Faults of waiters and of the choice of a worker.
const (
	// QueueUnbounded: MaxWaiters bounds nothing (L17).
	QueueUnbounded Fault = iota + 101
	// NewestFirst: the latest waiter is served first (L1).
	NewestFirst
	// TryStarts: a try that finds nothing starts a worker (L6).
	TryStarts
	// DoneContextTakes: an acquire whose context is done takes a worker (G14).
	DoneContextTakes
	// CancelLeaksSlot: a cancelled waiter stays in the queue and a worker is granted to nobody (G1).
	CancelLeaksSlot
	// CountsDrift: a cancelled waiter is counted for ever (G13).
	CountsDrift
	// TimeoutRestarts: each new waiter restarts the AcquireTimeout of all (L3).
	TimeoutRestarts
	// PacksSessions: the worker with the most bindings is chosen (L28).
	PacksSessions
	// PastMaxLeases: a worker gets one lease more than MaxLeases (G11).
	PastMaxLeases
	// LifetimeIgnored: a worker of any age is granted (G11).
	LifetimeIgnored
	// RetiredIdleGranted: an idle worker reported dead is kept and granted (L25).
	RetiredIdleGranted
	// UnusableReused: Usable is asked and its answer ignored (L38).
	UnusableReused
	// DoubleReleaseFrees: a second release frees the worker under its next holder (G8).
	DoubleReleaseFrees
)

// Faults of sessions.
const (
	// LostSessionRebinds: a strict session moves to a fresh worker when it is lost (L34).
	LostSessionRebinds Fault = iota + 201
	// BusySessionMoves: a session whose worker is busy moves to another (L30).
	BusySessionMoves
	// FirstCallsBindTwice: concurrent first calls of a session bind it one after the other (L33).
	FirstCallsBindTwice
	// PreferAlwaysMoves: a session under Prefer moves although its worker is idle (L36).
	PreferAlwaysMoves
	// WaitersOutliveWorker: the waiters of a lost strict session hang (L35).
	WaitersOutliveWorker
	// FreshForgotten: Fresh is true only for the first binding of a name (L34).
	FreshForgotten
	// TTLBySweep: sessions end when a sweeper comes by, not when they are over (L11).
	TTLBySweep
	// LostSessionsStay: a lost session never ends by itself (L18).
	LostSessionsStay
	// ExpiredSessionsStay: an expired session keeps its place in the table (L18).
	ExpiredSessionsStay
	// UnboundSessionsStay: a session that nobody waits for any more keeps its place (L22).
	UnboundSessionsStay
	// SessionEndUntold: EndSession does not tell the worker (L29).
	SessionEndUntold
	// EndSessionDropsWaiters: EndSession removes waiters from the queue without an answer (L2).
	EndSessionDropsWaiters
	// OldEpochTouchesNew: the end of a lease from before EndSession ends today's binding (L19).
	OldEpochTouchesNew
	// RecyclesUnderSession: a worker past its limits stops under its strict sessions (L9).
	RecyclesUnderSession
	// IdleTimeTakesBound: MaxIdleTime stops workers that have bindings (L9).
	IdleTimeTakesBound
)

// Faults of checks and of closing.
const (
	// CheckHoldsWorker: a waiter waits until the check of its worker is over (L2).
	CheckHoldsWorker Fault = iota + 301
	// CancelledCheckCounts: a check cancelled for a waiter counts as failed (L7).
	CancelledCheckCounts
	// FailuresNeverReset: a success does not reset the failures of a worker (L7).
	FailuresNeverReset
	// ChecksOverQuota: all idle workers are checked at once (L28).
	ChecksOverQuota
	// CloseStrandsWaiters: closing answers no waiter (G10).
	CloseStrandsWaiters
	// CloseWaitsForStart: closing does not cancel running starts (G4).
	CloseWaitsForStart
	// CloseBeforeStops: Close returns while workers are being stopped (G5).
	CloseBeforeStops
	// StopsTwice: a worker retired while leased is stopped twice (G5).
	StopsTwice
	// ShutdownRevokesNothing: a Shutdown whose context has ended goes on waiting for leases (L26).
	ShutdownRevokesNothing
)

// String returns the fault's name in kebab case, or "none".
func (f Fault) String() string {
	if f == None {
		return "none"
	}
	for _, info := range slices.Concat(Faults(), Races()) {
		if info.Fault == f {
			return info.Name
		}
	}
	return fmt.Sprintf("Fault(%d)", int(f))
}
