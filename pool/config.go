package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"time"
)

// Defaults of the Config fields whose zero value is not "no limit".
const (
	DefaultStartTimeout        = time.Minute
	DefaultStopTimeout         = 10 * time.Second
	DefaultStartConcurrency    = 4
	DefaultStartBackoffMin     = 100 * time.Millisecond
	DefaultStartBackoffMax     = 30 * time.Second
	DefaultHealthCheckTimeout  = 5 * time.Second
	DefaultHealthCheckFailures = 1
)

// WorkerID names one incarnation of a worker. IDs count up from 1 in the order in
// which starts begin and are never used again.
type WorkerID uint64

// SessionID is an affinity key. The empty SessionID means no session.
type SessionID string

// Token numbers leases in the order in which they were granted. A system that a
// worker writes to can use it as a fencing token: a higher token is a later lease.
type Token uint64

// Affinity says what a session is promised about its worker (I8).
type Affinity uint8

const (
	// Strict keeps a session on one incarnation. Once that is gone, every acquire of
	// the session fails with ErrSessionLost until the session ends.
	Strict Affinity = iota
	// Sticky keeps a session on its worker while that lives, then binds it to another.
	Sticky
	// Prefer uses the session's worker if it is idle, else any other, which it is then bound to.
	Prefer
)

// String returns the name of the mode in lower case.
func (a Affinity) String() string {
	switch a {
	case Strict:
		return "strict"
	case Sticky:
		return "sticky"
	case Prefer:
		return "prefer"
	}
	return fmt.Sprintf("Affinity(%d)", uint8(a))
}

// Config describes a pool. Only Start is required. Hooks run without the pool's lock,
// each start, stop and check on a goroutine of its own; an error or a panic in one
// affects its worker alone (I11).
type Config[T any] struct {
	// Start makes a worker, which is ready for work when Start returns nil. It should
	// return soon after ctx ends: at StartTimeout, at Retire of this worker, and when
	// the pool closes; never because a caller gave up. Until it returns it keeps its
	// slot of MaxSize. A start counts as failed when ctx ends, whatever it returns
	// afterwards; a worker that it still returns is stopped.
	Start func(ctx context.Context, id WorkerID) (T, error)

	// Stop ends a worker and returns when it is gone. It is called exactly once for
	// each worker that Start returned (I3). cause says why; nil means in good order.
	// ctx ends after StopTimeout; until Stop returns the worker keeps its slot. An
	// error is reported to the Observer and the Logger. Nil: nothing to do.
	Stop func(ctx context.Context, worker T, cause error) error

	// Check asks an idle worker whether it is well. ctx ends after HealthCheckTimeout,
	// when a caller needs the worker (the result is then ignored), and when the pool
	// closes. Nil: no checks.
	Check func(ctx context.Context, worker T) error

	// Usable is asked at every release whether the worker may serve another lease;
	// false, or a panic, discards it. It runs on the releasing goroutine and must not
	// block. Nil: always usable.
	Usable func(worker T) bool

	// SessionEnded tells an idle worker that a session bound to it is over, before the
	// worker is granted again. It is bounded like Check, by HealthCheckTimeout; an error
	// or a panic counts like a failed check. Callers do not cancel it. Nil: not told.
	SessionEnded func(ctx context.Context, worker T, id SessionID) error

	// MinSize is how many workers are kept started without demand. Zero: none.
	// Range: 0 to MaxSize.
	MinSize int
	// MaxSize bounds the live workers: starting, idle, checking, leased and stopping
	// ones together (I2). Zero: runtime.GOMAXPROCS(0).
	MaxSize int
	// MaxWaiters bounds the parked acquires beyond starts in flight and starts that
	// could begin; one more is refused with ErrSaturated. Zero: no limit.
	MaxWaiters int

	// AcquireTimeout bounds the time that an acquire is parked, in addition to its
	// context; past it the acquire fails with ErrAcquireTimeout. Zero: no limit.
	AcquireTimeout time.Duration
	// StartTimeout bounds a start. Zero: DefaultStartTimeout.
	StartTimeout time.Duration
	// StopTimeout bounds a stop, and how long Close and Shutdown wait for hooks once no
	// lease is out. Zero: DefaultStopTimeout.
	StopTimeout time.Duration

	// StartConcurrency bounds the starts in flight. Zero: DefaultStartConcurrency.
	StartConcurrency int
	// StartBackoff is the pause of starts after a failed one (I10).
	StartBackoff Backoff

	// HealthCheckPeriod is the time from a worker's start, or from its last check, to
	// its next one; a worker that is leased at that moment proves itself by its work
	// and is skipped once. Zero: no checks.
	HealthCheckPeriod time.Duration
	// HealthCheckTimeout bounds Check and SessionEnded. Zero: DefaultHealthCheckTimeout.
	HealthCheckTimeout time.Duration
	// HealthCheckFailures is how many failures in a row make a worker bad, which stops
	// it. Zero: DefaultHealthCheckFailures.
	HealthCheckFailures int

	// MaxIdleTime is how long a worker without bindings may be idle before it is
	// stopped, unless that would leave fewer than MinSize workers. It is measured with
	// a coarse clock: a worker may stay up to an eighth of MaxIdleTime longer, never
	// less. Zero: no limit.
	MaxIdleTime time.Duration
	// MaxLifetime is the age, counted from the return of Start, from which a worker
	// takes no new work (I17). The pool's timer notices it: on a busy machine, and after
	// the program was suspended, some milliseconds late. Under Strict it requires a
	// SessionTTL. Zero: no limit.
	MaxLifetime time.Duration
	// MaxLifetimeJitter shortens each worker's MaxLifetime by a random part of itself,
	// so that workers started together do not end together. Zero: none.
	// Range: less than MaxLifetime.
	MaxLifetimeJitter time.Duration
	// MaxLeases is the number of leases after which a worker takes no new work (I17).
	// Under Strict it requires a SessionTTL. Zero: no limit.
	MaxLeases int

	// Affinity is the promise to sessions. Zero: Strict.
	Affinity Affinity
	// SessionTTL ends a session that had neither a lease nor a waiter for so long, and
	// a lost one so long after the loss (I9). Zero: only EndSession ends sessions.
	SessionTTL time.Duration
	// MaxSessions bounds the sessions known at once, lost ones included; an acquire of
	// one more fails with ErrSessionLimit. Zero: no limit.
	MaxSessions int
	// MaxSessionsPerWorker bounds the sessions bound to one worker, and with it all
	// sessions to MaxSize times as many. Zero: no limit.
	MaxSessionsPerWorker int

	// Rand returns random numbers in [0, 1) for jitter. It is called under the pool's
	// lock and must not block or call the pool; a panic or a number out of range counts as
	// one half. Nil: math/rand/v2.
	Rand func() float64
	// Observer is told every state change, without the pool's lock, possibly
	// concurrently and out of order; Event.Seq gives the order. A panic in it is
	// contained and logged. It must not block for long, nor end its goroutine: it runs on
	// the one that made the change, and may still run when Close has returned. Nil: nobody
	// is told.
	Observer func(Event)
	// Logger gets failures of hooks, losses of workers and, with the session's name, bindings
	// that were corrupt. Nil: discarded.
	Logger *slog.Logger
}

// Backoff is a pause that doubles from Min to Max with each epoch of failures. Its
// actual length is drawn between half of it and the whole.
type Backoff struct {
	Min time.Duration // Zero: DefaultStartBackoffMin
	Max time.Duration // Zero: DefaultStartBackoffMax, or Min where that is more
}

// withDefaults returns cfg with every zero value that means a default replaced.
func (cfg Config[T]) withDefaults() Config[T] {
	orDefault(&cfg.MaxSize, runtime.GOMAXPROCS(0))
	orDefault(&cfg.StartTimeout, DefaultStartTimeout)
	orDefault(&cfg.StopTimeout, DefaultStopTimeout)
	orDefault(&cfg.StartConcurrency, DefaultStartConcurrency)
	orDefault(&cfg.StartBackoff.Min, DefaultStartBackoffMin)
	orDefault(&cfg.StartBackoff.Max, max(DefaultStartBackoffMax, cfg.StartBackoff.Min))
	orDefault(&cfg.HealthCheckTimeout, DefaultHealthCheckTimeout)
	orDefault(&cfg.HealthCheckFailures, DefaultHealthCheckFailures)
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

func orDefault[V comparable](field *V, value V) {
	var zero V
	if *field == zero {
		*field = value
	}
}

// validate reports every complaint about a Config whose defaults are filled in.
func (cfg *Config[T]) validate() error {
	var errs []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("pool: Config."+format, args...))
		}
	}
	complain(cfg.Start == nil, "Start is nil; it is required")
	for _, f := range []struct {
		name  string
		value int
		least int
	}{
		{"MinSize", cfg.MinSize, 0},
		{"MaxSize", cfg.MaxSize, 1},
		{"MaxWaiters", cfg.MaxWaiters, 0},
		{"StartConcurrency", cfg.StartConcurrency, 1},
		{"HealthCheckFailures", cfg.HealthCheckFailures, 1},
		{"MaxLeases", cfg.MaxLeases, 0},
		{"MaxSessions", cfg.MaxSessions, 0},
		{"MaxSessionsPerWorker", cfg.MaxSessionsPerWorker, 0},
	} {
		complain(f.value < f.least, "%s is %d; it must be at least %d", f.name, f.value, f.least)
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"AcquireTimeout", cfg.AcquireTimeout},
		{"StartTimeout", cfg.StartTimeout},
		{"StopTimeout", cfg.StopTimeout},
		{"StartBackoff.Min", cfg.StartBackoff.Min},
		{"StartBackoff.Max", cfg.StartBackoff.Max},
		{"HealthCheckPeriod", cfg.HealthCheckPeriod},
		{"HealthCheckTimeout", cfg.HealthCheckTimeout},
		{"MaxIdleTime", cfg.MaxIdleTime},
		{"MaxLifetime", cfg.MaxLifetime},
		{"MaxLifetimeJitter", cfg.MaxLifetimeJitter},
		{"SessionTTL", cfg.SessionTTL},
	} {
		complain(f.value < 0, "%s is %v; it must not be negative", f.name, f.value)
	}
	complain(cfg.MinSize > cfg.MaxSize, "MinSize is %d; it must be at most MaxSize, which is %d", cfg.MinSize, cfg.MaxSize)
	complain(cfg.StartBackoff.Max < cfg.StartBackoff.Min, "StartBackoff.Max is %v; it must be at least StartBackoff.Min, which is %v",
		cfg.StartBackoff.Max, cfg.StartBackoff.Min)
	complain(cfg.Affinity > Prefer, "Affinity is %d; it must be Strict, Sticky or Prefer", uint8(cfg.Affinity))
	complain(cfg.MaxLifetimeJitter > 0 && cfg.MaxLifetimeJitter >= cfg.MaxLifetime,
		"MaxLifetimeJitter is %v; it must be less than MaxLifetime, which is %v", cfg.MaxLifetimeJitter, cfg.MaxLifetime)
	endless := cfg.Affinity == Strict && cfg.SessionTTL == 0
	complain(endless && cfg.MaxLifetime > 0, "MaxLifetime is %v; under Strict it requires a SessionTTL", cfg.MaxLifetime)
	complain(endless && cfg.MaxLeases > 0, "MaxLeases is %d; under Strict it requires a SessionTTL", cfg.MaxLeases)
	return errors.Join(errs...)
}
