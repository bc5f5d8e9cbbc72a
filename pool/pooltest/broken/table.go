package broken

import (
	"slices"

	"github.com/poolproof/poolproof/pool"
)

// Info describes a fault to the machine that must notice it.
type Info struct {
	Fault  Fault
	Name   string // kebab case
	Lesson string // the row of docs/guide.md that it is modelled on
	Rule   string // the rule of package pool that it breaks
	Text   string // what goes wrong, in one sentence
	Needs  Needs  // without which it cannot show
}

// Needs says what a run must have for a fault to show. Everything else may be anything.
type Needs struct {
	Affinities []pool.Affinity // one of these; nil: any
	MaxSize    int             // at least
	Failures   int             // HealthCheckFailures at least
	Parallel   int             // StartConcurrency at least, and less than MaxSize if Storm

	// Fields of Config that must not be zero.
	MinSize, MaxWaiters, AcquireTimeout, MaxIdleTime, MaxLifetime, MaxLeases bool
	SessionTTL, MaxSessions                                                  bool
	Check, Usable, SessionEnded                                              bool // with a HealthCheckPeriod
	Storm                                                                    bool // StartConcurrency less than MaxSize

	// What must happen in the run.
	Sessions   bool // acquires of sessions
	StartFails bool // failing starts
	SlowStart  bool // a start that takes time
	SlowStop   bool // a stop that takes time
	LateStop   bool // a stop that takes longer than StopTimeout
	SlowCheck  bool // a check that takes time
	CheckFails bool // a failing check, or one that fails when it is cancelled
	Panics     bool // a hook that panics
	Cancel     bool // an acquire whose context ends
	Resize     bool
	Retire     bool
	EndSession bool
	Shutdown   bool // while something is going on; with a context that ends for revoking
}

// Faults returns all faults but None. The caller owns the result.
func Faults() []Info {
	return slices.Concat(startFaults(), capacityFaults(), waiterFaults(), workerFaults(), bindingFaults(), epochFaults(), checkFaults(), closingFaults())
}

func startFaults() []Info {
	return []Info{
		{
			BackoffWakesNobody, "backoff-wakes-nobody", "G2", "I5",
			"a parked waiter gets no start when the back-off has run its time",
			Needs{MaxSize: 2, StartFails: true},
		},
		{
			FailedStartStrandsWaiters, "failed-start-strands-waiters", "G2", "I10",
			"waiters stay parked when a start fails and no worker is left",
			Needs{StartFails: true},
		},
		{
			FailedStartFailsAll, "failed-start-fails-all", "L4", "I10",
			"a failed start fails unbound waiters although other workers live",
			Needs{MaxSize: 2, StartFails: true},
		},
		{
			BackoffNeverEnds, "backoff-never-ends", "L16", "I10",
			"after a failed start no other ever begins",
			Needs{StartFails: true},
		},
		{
			BackoffPerFailure, "backoff-per-failure", "L16", "I10",
			"several failures of one epoch double the delay several times",
			Needs{MaxSize: 2, Parallel: 2, StartFails: true},
		},
		{
			HalfOpenSticks, "half-open-sticks", "L12", "I10",
			"a successful start does not close the back-off: starts stay one at a time and the delay grows",
			Needs{MaxSize: 2, StartFails: true},
		},
		{
			HalfOpenStampede, "half-open-stampede", "L23", "I10",
			"after a back-off every wanted start begins at once",
			Needs{MaxSize: 2, Parallel: 2, StartFails: true, SlowStart: true},
		},
		{
			StartsOneByOne, "starts-one-by-one", "L1", "I5",
			"a second start waits for the first",
			Needs{MaxSize: 2, Parallel: 2, SlowStart: true},
		},
		{
			StartStorm, "start-storm", "L23", "I5",
			"more than StartConcurrency starts run at once",
			Needs{MaxSize: 2, Storm: true, SlowStart: true},
		},
		{
			RetiredStartJoins, "retired-start-joins", "L14", "I10",
			"a worker reported dead before its start returned is used once it returns",
			Needs{SlowStart: true, Retire: true},
		},
		{
			CancelKillsStart, "cancel-kills-start", "L5", "I6",
			"a caller that gives up ends a start",
			Needs{SlowStart: true, Cancel: true},
		},
		{
			MinSizeNotKept, "min-size-not-kept", "L16", "I5",
			"workers that are lost are not replaced up to MinSize",
			Needs{MinSize: true},
		},
	}
}

func capacityFaults() []Info {
	return []Info{
		{
			StartsOverMax, "starts-over-max", "G6", "I2",
			"starting workers do not count towards MaxSize",
			Needs{Parallel: 2, SlowStart: true},
		},
		{
			StopFreesSlotEarly, "stop-frees-slot-early", "G6", "I2",
			"a start begins in the slot of a worker that is being stopped",
			Needs{SlowStop: true},
		},
		{
			StopTimeoutFreesSlot, "stop-timeout-frees-slot", "L27", "I11",
			"a worker whose Stop is late is dropped from the books while it lives",
			Needs{LateStop: true},
		},
		{
			ReplacementOverMax, "replacement-over-max", "G12", "I2",
			"a worker that failed its checks is replaced before it is gone",
			Needs{Check: true, CheckFails: true},
		},
		{
			PanicLosesSlot, "panic-loses-slot", "G3", "I11",
			"a worker whose hook panicked keeps its slot for ever",
			Needs{Panics: true},
		},
		{
			ResizeWakesNobody, "resize-wakes-nobody", "G9", "I5",
			"waiters get no worker from a larger MaxSize",
			Needs{Resize: true},
		},
		{
			ShrinkIgnoredAtRelease, "shrink-ignored-at-release", "L26", "I16",
			"a worker released while there are too many stays",
			Needs{MaxSize: 2, Resize: true},
		},
	}
}

func waiterFaults() []Info {
	return []Info{
		{
			QueueUnbounded, "queue-unbounded", "L17", "I7",
			"more than MaxWaiters acquires are parked",
			Needs{MaxWaiters: true},
		},
		{
			NewestFirst, "newest-first", "L1", "I7",
			"the latest waiter is served first",
			Needs{},
		},
		{
			TryStarts, "try-starts", "L6", "I7",
			"a refused try begins a start",
			Needs{},
		},
		{
			DoneContextTakes, "done-context-takes", "G14", "I6",
			"an acquire whose context is done gets a worker",
			Needs{Cancel: true},
		},
		{
			CancelLeaksSlot, "cancel-leaks-slot", "G1", "I6",
			"a worker is granted to a waiter that has gone",
			Needs{Cancel: true},
		},
		{
			CountsDrift, "counts-drift", "G13", "I15",
			"cancelled waiters stay in the counts",
			Needs{Cancel: true},
		},
		{
			TimeoutRestarts, "timeout-restarts", "L3", "I4",
			"every new waiter restarts the AcquireTimeout of the others",
			Needs{AcquireTimeout: true},
		},
		{
			PacksSessions, "packs-sessions", "L28", "I7",
			"the idle worker with the most bindings is chosen",
			Needs{MaxSize: 2, Sessions: true},
		},
	}
}

func workerFaults() []Info {
	return []Info{
		{
			PastMaxLeases, "past-max-leases", "G11", "I17",
			"a worker is granted once more than MaxLeases",
			Needs{MaxLeases: true},
		},
		{
			LifetimeIgnored, "lifetime-ignored", "G11", "I17",
			"a worker is granted past its lifetime",
			Needs{MaxLifetime: true},
		},
		{
			RetiredIdleGranted, "retired-idle-granted", "L25", "I3",
			"an idle worker reported dead is granted",
			Needs{Retire: true},
		},
		{
			UnusableReused, "unusable-reused", "L38", "I3",
			"a worker found unusable at release is granted again",
			Needs{Usable: true},
		},
		{
			DoubleReleaseFrees, "double-release-frees", "G8", "I14",
			"a second release gives a worker away under its next holder",
			Needs{},
		},
		{
			RecyclesUnderSession, "recycles-under-session", "L9", "I17",
			"a worker past its limits stops although strict sessions are bound to it",
			Needs{Affinities: []pool.Affinity{pool.Strict}, MaxLeases: true, SessionTTL: true, Sessions: true},
		},
		{
			IdleTimeTakesBound, "idle-time-takes-bound", "L9", "I17",
			"MaxIdleTime stops a worker that has bindings",
			Needs{MaxIdleTime: true, Sessions: true},
		},
	}
}

func bindingFaults() []Info {
	strict := []pool.Affinity{pool.Strict}
	kept := []pool.Affinity{pool.Strict, pool.Sticky}
	return []Info{
		{
			LostSessionRebinds, "lost-session-rebinds", "L34", "I8",
			"a strict session goes to another incarnation when its worker is gone",
			Needs{Affinities: strict, Sessions: true},
		},
		{
			BusySessionMoves, "busy-session-moves", "L30", "I8",
			"a session whose worker is busy moves to an idle one",
			Needs{Affinities: kept, MaxSize: 2, Sessions: true},
		},
		{
			FirstCallsBindTwice, "first-calls-bind-twice", "L33", "I8",
			"the second of two concurrent first calls binds the session to another worker",
			Needs{Affinities: kept, MaxSize: 2, MinSize: true, SlowStart: true, Sessions: true},
		},
		{
			PreferAlwaysMoves, "prefer-always-moves", "L36", "I7",
			"a session moves although its worker is idle",
			Needs{Affinities: []pool.Affinity{pool.Prefer}, MaxSize: 2, Sessions: true},
		},
		{
			WaitersOutliveWorker, "waiters-outlive-worker", "L35", "I8",
			"the waiters of a lost session get no outcome",
			Needs{Affinities: strict, Sessions: true},
		},
		{
			FreshForgotten, "fresh-forgotten", "L34", "I8",
			"a session bound anew is not told that its state is gone",
			Needs{Sessions: true, EndSession: true},
		},
	}
}

func epochFaults() []Info {
	return []Info{
		{
			TTLBySweep, "ttl-by-sweep", "L11", "I9",
			"a session ends at the next multiple of SessionTTL since the pool was made",
			Needs{SessionTTL: true, Sessions: true},
		},
		{
			LostSessionsStay, "lost-sessions-stay", "L18", "I9",
			"a lost session never ends by itself",
			Needs{Affinities: []pool.Affinity{pool.Strict}, SessionTTL: true, Sessions: true},
		},
		{
			ExpiredSessionsStay, "expired-sessions-stay", "L18", "I9",
			"an expired session stays in the table and counts towards MaxSessions",
			Needs{SessionTTL: true, Sessions: true},
		},
		{
			UnboundSessionsStay, "unbound-sessions-stay", "L22", "I9",
			"a session whose only waiter has left stays in the table",
			Needs{Sessions: true, Cancel: true},
		},
		{
			SessionEndUntold, "session-end-untold", "L29", "I9",
			"the worker is not told of EndSession",
			Needs{SessionEnded: true, Sessions: true, EndSession: true},
		},
		{
			EndSessionDropsWaiters, "end-session-drops-waiters", "L2", "I4",
			"the waiters of an ended session never get an outcome",
			Needs{Sessions: true, EndSession: true},
		},
		{
			OldEpochTouchesNew, "old-epoch-touches-new", "L19", "I9",
			"the release of a lease from before EndSession ends the binding of today",
			Needs{MaxSize: 2, Sessions: true, EndSession: true},
		},
	}
}

func checkFaults() []Info {
	return []Info{
		{
			CheckHoldsWorker, "check-holds-worker", "L2", "I12",
			"a waiter does not cancel the check of the worker it needs",
			Needs{Check: true, SlowCheck: true},
		},
		{
			CancelledCheckCounts, "cancelled-check-counts", "L7", "I12",
			"a check that was cancelled for a waiter counts as failed",
			Needs{Check: true, SlowCheck: true, CheckFails: true},
		},
		{
			FailuresNeverReset, "failures-never-reset", "L7", "I12",
			"failures that are not in a row make a worker bad",
			Needs{Failures: 2, Check: true, CheckFails: true},
		},
		{
			ChecksOverQuota, "checks-over-quota", "L28", "I12",
			"all idle workers are checked at once",
			Needs{MaxSize: 2, Check: true, SlowCheck: true},
		},
	}
}

func closingFaults() []Info {
	return []Info{
		{
			CloseStrandsWaiters, "close-strands-waiters", "G10", "I13",
			"waiters stay parked when the pool closes",
			Needs{Shutdown: true},
		},
		{
			CloseWaitsForStart, "close-waits-for-start", "G4", "I13",
			"closing does not cancel the starts in flight",
			Needs{SlowStart: true, Shutdown: true},
		},
		{
			CloseBeforeStops, "close-before-stops", "G5", "I13",
			"Close returns before the workers are stopped",
			Needs{SlowStop: true, Shutdown: true},
		},
		{
			StopsTwice, "stops-twice", "G5", "I3",
			"a worker retired while it was leased is stopped twice",
			Needs{Retire: true},
		},
		{
			ShutdownRevokesNothing, "shutdown-revokes-nothing", "L26", "I13",
			"a Shutdown whose context has ended waits for the leases all the same",
			Needs{Shutdown: true, Cancel: true},
		},
	}
}
